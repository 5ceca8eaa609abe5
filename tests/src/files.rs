// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors of every kind there is.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::link::socketpair;
use crate::places::identity;
use crate::raw::*;
use crate::Pair;

/// A descriptor that a system call returned.
pub fn adopt(fd: i64) -> OwnedFd {
    let error = std::io::Error::last_os_error();
    assert!(fd >= 0, "{error}");
    // SAFETY: Just made, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A descriptor that a system call returned, or nothing where the kernel has no such thing.
fn adopt_any(fd: i64) -> Option<OwnedFd> {
    (fd >= 0).then(|| adopt(fd))
}

/// A pipe: the end to read, the end to write.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: Two live slots; both results are owned here.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

/// An open file without a name.
pub fn unnamed_file() -> OwnedFd {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = format!("/tmp/handles.{}.{serial}", std::process::id());
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.expect(&path);
    std::fs::remove_file(&path).expect("remove");
    file.into()
}

pub fn open(path: &str) -> OwnedFd {
    File::open(path).expect(path).into()
}

pub fn memfd(flags: u32) -> Option<OwnedFd> {
    // SAFETY: A live name.
    adopt_any(unsafe { libc::memfd_create(c"handles".as_ptr(), flags) }.into())
}

pub fn eventfd() -> OwnedFd {
    // SAFETY: Takes no pointers.
    adopt(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }.into())
}

pub fn timerfd() -> OwnedFd {
    // SAFETY: Takes no pointers.
    adopt(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) }.into())
}

/// Of this process.
pub fn pidfd() -> OwnedFd {
    // SAFETY: Takes no pointers.
    adopt(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) })
}

pub fn socket(domain: i32, kind: i32) -> Option<OwnedFd> {
    // SAFETY: Takes no pointers.
    adopt_any(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, 0) }.into())
}

/// One or more of each kind that can be sent without being asked for.
pub fn sendable() -> Vec<(&'static str, u32, OwnedFd)> {
    let fifo = format!("/tmp/handles.{}.fifo", std::process::id());
    let path = std::ffi::CString::new(fifo.as_str()).expect("a path");
    // SAFETY: A live name.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let both = File::options().read(true).write(true).open(&fifo);
    let mut all = vec![
        ("file", ALPC_HANDLE_FILE, unnamed_file()),
        ("file of procfs", ALPC_HANDLE_FILE, open("/proc/self/stat")),
        ("directory", ALPC_HANDLE_DIRECTORY, open("/tmp")),
        ("reading end", ALPC_HANDLE_PIPE, pipe().0),
        ("writing end", ALPC_HANDLE_PIPE, pipe().1),
        ("FIFO", ALPC_HANDLE_PIPE, both.expect("FIFO").into()),
        ("eventfd", ALPC_HANDLE_EVENTFD, eventfd()),
        ("timerfd", ALPC_HANDLE_TIMERFD, timerfd()),
        ("pidfd", ALPC_HANDLE_PIDFD, pidfd()),
    ];
    std::fs::remove_file(&fifo).expect("remove");
    let optional = [
        ("memfd", ALPC_HANDLE_MEMFD, memfd(0)),
        (
            "memfd of huge pages",
            ALPC_HANDLE_MEMFD,
            memfd(libc::MFD_HUGETLB),
        ),
        (
            "TCP",
            ALPC_HANDLE_SOCKET,
            socket(libc::AF_INET, libc::SOCK_STREAM),
        ),
        (
            "UDP",
            ALPC_HANDLE_SOCKET,
            socket(libc::AF_INET, libc::SOCK_DGRAM),
        ),
        (
            "TCP 6",
            ALPC_HANDLE_SOCKET,
            socket(libc::AF_INET6, libc::SOCK_STREAM),
        ),
        (
            "netlink",
            ALPC_HANDLE_SOCKET,
            socket(libc::AF_NETLINK, libc::SOCK_RAW),
        ),
        (
            "vsock",
            ALPC_HANDLE_SOCKET,
            socket(libc::AF_VSOCK, libc::SOCK_STREAM),
        ),
    ];
    for (name, kind, fd) in optional {
        match fd {
            Some(fd) => all.push((name, kind, fd)),
            None => crate::note!("no {name} here"),
        }
    }
    all
}

/// Devices that can be sent to who asks for devices.
pub fn devices() -> Vec<(&'static str, OwnedFd)> {
    let paths = ["/dev/null", "/dev/zero", "/dev/ptmx", "/dev/tty0"];
    let there = paths.into_iter().filter_map(|path| {
        let file = File::options().read(true).write(true).open(path).ok()?;
        Some((path, file.into()))
    });
    there.collect()
}

/// What can't be sent at all.
pub fn forbidden() -> Vec<(&'static str, OwnedFd)> {
    let pair = Pair::new();
    let through = pair.port.connect_descriptor().expect("connect descriptor");
    // SAFETY: A live mask, a zeroed parameter block, and numbers.
    let made = unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut mask);
        let mut ring = [0_u8; 256];
        [
            ("epoll", libc::epoll_create1(0).into()),
            ("inotify", libc::inotify_init1(0).into()),
            ("fanotify", libc::fanotify_init(0, 0).into()),
            ("signalfd", libc::signalfd(-1, &mask, 0).into()),
            (
                "io_uring",
                libc::syscall(libc::SYS_io_uring_setup, 4, ring.as_mut_ptr()),
            ),
            ("userfaultfd", libc::syscall(libc::SYS_userfaultfd, 0)),
            ("secret memory", libc::syscall(libc::SYS_memfd_secret, 0)),
            (
                "file system context",
                libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0),
            ),
        ]
    };
    let mut all = Vec::new();
    for (name, fd) in made {
        match adopt_any(fd) {
            Some(fd) => all.push((name, fd)),
            None => crate::note!("no {name} here"),
        }
    }
    for (name, kind) in [
        ("stream", libc::SOCK_STREAM),
        ("datagram", libc::SOCK_DGRAM),
        ("sequence", libc::SOCK_SEQPACKET),
    ] {
        all.push((name, socketpair(kind).0));
        all.push((name, socket(libc::AF_UNIX, kind).expect("AF_UNIX")));
    }
    for (name, family) in [("packet", libc::AF_PACKET), ("algorithm", libc::AF_ALG)] {
        if let Some(fd) = socket(family, libc::SOCK_DGRAM) {
            all.push((name, fd));
        }
    }
    for path in [
        "/dev/net/tun",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/loop-control",
        "/dev/userfaultfd",
    ] {
        if let Ok(file) = File::open(path) {
            all.push((path, file.into()));
        }
    }
    all.extend(crate::kinds::lookalikes());
    all.push(("connection port", pair.port.into()));
    all.push(("server port", pair.server.into()));
    all.push(("client port", pair.client.into()));
    all.push(("connect descriptor", through.into()));
    all.push(("/dev/alpc", device().into()));
    all
}

/// What reading a pipe end gives: some bytes, nothing at its end.
pub fn read(fd: &OwnedFd) -> Vec<u8> {
    let mut room = [0_u8; 64];
    // SAFETY: A live buffer of that size.
    let got = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
    assert!(got >= 0, "read: {}", std::io::Error::last_os_error());
    room[..got as usize].to_vec()
}

pub fn write(fd: &OwnedFd, data: &[u8]) {
    // SAFETY: A live buffer of that size.
    let put = unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) };
    assert_eq!(
        put,
        data.len() as isize,
        "{}",
        std::io::Error::last_os_error()
    );
}

/// Whether both are the same open file: one has the status flags of the other. Those of a place
/// can't be changed, and one is like the other.
pub fn same(a: &OwnedFd, b: &OwnedFd) -> bool {
    let flags = |fd: &OwnedFd| {
        // SAFETY: Takes no pointers.
        let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
        assert!(flags >= 0, "F_GETFL");
        flags
    };
    let agree_on = |value: i32| {
        // SAFETY: Takes no pointers.
        assert_eq!(
            unsafe { libc::fcntl(a.as_raw_fd(), libc::F_SETFL, value) },
            0
        );
        flags(a) == flags(b)
    };
    let before = flags(a);
    if before & libc::O_PATH != 0 {
        return before == flags(b) && identity(a) == identity(b);
    }
    let toggled = agree_on(before ^ libc::O_NONBLOCK);
    agree_on(before) && toggled
}
