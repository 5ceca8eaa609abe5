// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's audit records, as whoever may read them gets them.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A record of a kernel module's.
pub const KERNEL_OTHER: u16 = 1316;
/// What a security module has refused.
pub const AVC: u16 = 1400;

const AUDIT_SET: u16 = 1001;
const AUDIT_ADD_RULE: u16 = 1011;
const AUDIT_DEL_RULE: u16 = 1012;
const FILTER_EXCLUDE: u32 = 5;
const ACTION_ALWAYS: u32 = 2;
const FIELD_TYPE: u32 = 12;
const EQUAL: u32 = 0x4000_0000;
const STATUS_ENABLED: u32 = 1;
const STATUS_BACKLOG_LIMIT: u32 = 0x10;
const HEADER: usize = 16;

/// A reader of all records from now on.
pub struct Records(OwnedFd);

/// Switches auditing on or off for the whole guest.
pub fn enable(on: bool) {
    // mask, enabled, failure, pid, rate_limit, backlog_limit
    let status = [
        STATUS_ENABLED | STATUS_BACKLOG_LIMIT,
        u32::from(on),
        0,
        0,
        0,
        8192,
    ];
    ask(AUDIT_SET, &status);
}

/// Has the audit system take no records of a kind, or take them again.
pub fn exclude(kind: u16, on: bool) {
    // flags, action, field_count, mask, fields, values, fieldflags, buflen
    let mut rule = [0; 3 + 4 * 64 + 1];
    rule[..3].copy_from_slice(&[FILTER_EXCLUDE, ACTION_ALWAYS, 1]);
    rule[3 + 64] = FIELD_TYPE;
    rule[3 + 2 * 64] = u32::from(kind);
    rule[3 + 3 * 64] = EQUAL;
    let request = match on {
        true => AUDIT_ADD_RULE,
        false => AUDIT_DEL_RULE,
    };
    ask(request, &rule);
}

/// Asks the audit system for something, and waits until it is done.
fn ask(kind: u16, words: &[u32]) {
    let socket = netlink(0);
    let mut request = Vec::new();
    let length = HEADER + size_of_val(words);
    request.extend((length as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    // SAFETY: The buffer is there, with so many bytes.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        )
    };
    assert_eq!(sent, request.len() as isize, "request {kind}");
    let mut answer = [0xa5; 4096];
    let got = receive(&socket, &mut answer, 0).expect("an answer");
    assert!(got >= HEADER + 4, "{got}");
    let error = i32::from_ne_bytes(answer[HEADER..HEADER + 4].try_into().unwrap());
    assert_eq!(error, 0, "request {kind}");
}

fn netlink(groups: u32) -> OwnedFd {
    // SAFETY: Takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 9) };
    assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: It is a descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: A plain structure, for which zeroes are valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = groups;
    // SAFETY: The address is there, with so many bytes.
    let bound = unsafe {
        libc::bind(
            fd,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as u32,
        )
    };
    assert_eq!(bound, 0, "bind: {}", std::io::Error::last_os_error());
    // Each record comes with others, of the system call that it is about.
    let room: i32 = 32 << 20;
    // SAFETY: The number is there, with so many bytes.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const room).cast(),
            size_of::<i32>() as u32,
        )
    };
    assert_eq!(set, 0, "room: {}", std::io::Error::last_os_error());
    socket
}

fn receive(socket: &OwnedFd, buffer: &mut [u8], flags: i32) -> Option<usize> {
    // SAFETY: The buffer is there, with so many bytes.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
        )
    };
    usize::try_from(got).ok()
}

impl Records {
    /// Begins to read.
    pub fn open() -> Self {
        Self(netlink(1))
    }

    /// The next record of a kind, waited for.
    pub fn next(&self, kind: u16) -> String {
        loop {
            if let Some(text) = self.read(kind, 0) {
                return text;
            }
        }
    }

    /// All records of a kind that have come by now.
    pub fn rest(&self, kind: u16) -> Vec<String> {
        let mut all = Vec::new();
        let mut quiet = 0;
        // The kernel's thread hands them out.
        while quiet < 20 {
            match self.read(kind, libc::MSG_DONTWAIT) {
                Some(text) => all.push(text),
                None => {
                    quiet += 1;
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        }
        all
    }

    fn read(&self, kind: u16, flags: i32) -> Option<String> {
        let mut buffer = [0xa5; 16384];
        let got = receive(&self.0, &mut buffer, flags)?;
        let found = u16::from_ne_bytes(buffer[4..6].try_into().unwrap());
        let text = String::from_utf8_lossy(&buffer[HEADER..got]);
        let text = text.trim_end_matches('\0').to_string();
        match found == kind {
            true => Some(text),
            // Others, until there are none.
            false => self.read(kind, flags),
        }
    }
}

/// The value of a field.
pub fn field<'a>(record: &'a str, name: &str) -> &'a str {
    let words = record.split(' ');
    let found = words.filter_map(|word| word.split_once('='));
    let mut values = found
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    values
        .next()
        .unwrap_or_else(|| panic!("no {name} in {record}"))
}
