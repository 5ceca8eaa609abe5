// SPDX-License-Identifier: MIT OR Apache-2.0

//! Views on their way between two processes, and memory that may refuse.

use std::arch::asm;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::raw::*;
use crate::{Link, Pair, Peer, User};

pub const PAGE: u64 = 4096;

/// A view that has been lent and received.
pub struct Lent {
    pub section: Port,
    /// Where the sender has it.
    pub view: View,
    pub message: Message,
    /// Where the receiver has it.
    pub held: View,
}

impl Pair {
    /// Both sides take views.
    pub fn of_views() -> Self {
        Self::taking(ALPC_TAKE_VIEWS)
    }

    /// A view of the client's, full of `byte`.
    pub fn view(&self, size: u64, byte: u8) -> (Port, View) {
        filled(&self.client, size, byte)
    }

    /// A view full of `byte`, lent to the server in a request that is open, and received.
    pub fn lent(&self, size: u64, byte: u8, flags: u32) -> Lent {
        let (section, view) = self.view(size, byte);
        let send = Transfer::new().send(b"lent");
        send.lend(&self.client, view, flags).expect("send");
        let (message, held) = self.port.receive_view().expect("receive");
        let held = held.expect("a view");
        held.assert_holds(byte);
        Lent {
            section,
            view,
            message,
            held,
        }
    }
}

/// A section made on `port`, and a view in it, full of `byte`.
pub fn filled(port: &Port, size: u64, byte: u8) -> (Port, View) {
    let section = port.section(size).expect("section");
    let view = section.view(size).expect("view");
    view.fill(byte);
    (section, view)
}

impl View {
    /// Every byte is this one.
    #[track_caller]
    pub fn assert_holds(&self, byte: u8) {
        let other = (0..self.size as usize).find(|&at| self.get(at) != byte);
        if let Some(at) = other {
            panic!("byte {at} is {:#x}, not {byte:#x}", self.get(at));
        }
    }

    /// Whoever lent it can't touch it, by itself or through a system call.
    #[track_caller]
    pub fn assert_closed(&self) {
        for at in [0, self.size as usize - 1] {
            assert!(!self.readable(at), "readable at {at}");
            assert!(!self.writable(at, 0xee), "writable at {at}");
        }
    }

    /// Its owner has it: what was there still is, and can be changed.
    #[track_caller]
    pub fn assert_back(&self, byte: u8) {
        self.assert_holds(byte);
        for at in [0, self.size as usize - 1] {
            assert!(self.writable(at, !byte) && self.get(at) == !byte);
            self.set(at, byte);
        }
    }

    /// Whether this process can read it, which no more can be said of one that is somebody's.
    pub fn is_there(&self) -> bool {
        self.readable(0)
    }

    /// The mapping that it is in: where it begins, how long it is, and the line of it.
    pub fn mapping(&self) -> (u64, u64, String) {
        mapping(self.base).expect("a mapping")
    }

    /// Ends the mapping that it is in.
    pub fn unmap(&self) {
        let (start, len, _) = self.mapping();
        // SAFETY: The whole mapping, of which the test uses nothing any more.
        assert_eq!(unsafe { libc::munmap(start as *mut _, len as usize) }, 0);
    }
}

/// The mapping of this process that has an address.
pub fn mapping(address: u64) -> Option<(u64, u64, String)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines().find_map(|line| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (number(from), number(to));
        (from..to)
            .contains(&address)
            .then(|| (from, to - from, line.to_string()))
    })
}

/// Ends every mapping of a section or window in this process.
pub fn unmap_everything() {
    unmap_all("[alpc-");
}

/// Ends every mapping of a window in this process.
pub fn unmap_windows() {
    unmap_all("[alpc-window]");
}

fn unmap_all(name: &str) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    for line in maps.lines().filter(|line| line.contains(name)) {
        let (base, _) = line.split_once('-').expect("an address");
        let base = u64::from_str_radix(base, 16).expect("an address");
        View { base, size: 0 }.unmap();
    }
}

/// A port in this process for the views of anybody.
pub fn server(name: &str) -> Port {
    // Few enough to fill a queue where a user may have little.
    let mut create = Create::named(name)
        .share(64, 0)
        .open()
        .taking(ALPC_TAKE_VIEWS);
    create.run().expect("create")
}

/// Accepts the connection that is asked for next.
pub fn accept(port: &Port) -> Port {
    let request = port.receive().expect("connection request");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    Accept::new(request.id).run(port).expect("accept")
}

/// Connects to a port for views in both directions.
pub fn client(name: &str) -> Port {
    let mut connect = Connect::to(name).taking(ALPC_TAKE_VIEWS);
    connect.run().expect("connect").port
}

/// A server in this process, connected to a client in a process of `user`'s, which runs `body`.
pub fn client_peer(
    name: &'static str,
    user: User,
    body: impl FnOnce(&Link, Port),
) -> (Port, Port, Peer) {
    let port = server(name);
    let peer = Peer::spawn(user, |link| body(link, client(name)));
    let end = accept(&port);
    (port, end, peer)
}

/// A client in this process, connected to a server in a process of `user`'s, which runs `body` with
/// its connection port and its communication port.
pub fn server_peer(
    name: &'static str,
    user: User,
    body: impl FnOnce(&Link, Port, Port),
) -> (Port, Peer) {
    let peer = Peer::spawn(user, |link| {
        let port = server(name);
        link.sync();
        let end = accept(&port);
        body(link, port, end);
    });
    peer.sync();
    (client(name), peer)
}

impl Transfer {
    /// Runs it with a container each for what is sent and what is received.
    pub fn exchange(
        mut self,
        port: &impl AsFd,
        sent: &mut ViewContainer,
    ) -> Result<(Message, Option<View>), Failure> {
        let mut received = ViewContainer::receiving();
        self.arg.send_attributes = sent.address();
        self.arg.recv_attributes = received.address();
        let message = self.run(port)?;
        let view = received.received().map(|view| View {
            base: view.base,
            size: view.size,
        });
        Ok((message, view))
    }
}

/// Tells an access that may be refused from any other.
const MAY_FAIL: i64 = 0x616c_7063_6d61_7966;

/// Goes on behind the access that a signal refused.
extern "C" fn land(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: A handler with SA_SIGINFO is given this.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    if registers[libc::REG_R11 as usize] != MAY_FAIL {
        // SAFETY: Dies of it when the access is tried again.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    registers[libc::REG_RIP as usize] = registers[libc::REG_R10 as usize];
    registers[libc::REG_RAX as usize] = signal.into();
}

/// Lets this process live on when [`peek`] or [`poke`] is refused.
pub fn survive_refusals() {
    for signal in [libc::SIGBUS, libc::SIGSEGV] {
        // SAFETY: All zero is a valid sigaction; the handler touches registers only.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = land as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

/// Reads a byte, or says which signal that gave.
pub fn peek(address: u64) -> Result<u8, i32> {
    let (signal, byte): (i64, u64);
    // SAFETY: A refused access goes on at the label, with rax changed.
    unsafe {
        asm!(
            "lea r10, [rip + 2f]",
            "movzx {byte:e}, byte ptr [{address}]",
            "2:",
            address = in(reg) address,
            byte = out(reg) byte,
            inout("rax") 0_i64 => signal,
            out("r10") _,
            inout("r11") MAY_FAIL => _,
        );
    }
    match signal {
        0 => Ok(byte as u8),
        signal => Err(signal as i32),
    }
}

/// Writes a byte, or says which signal that gave.
pub fn poke(address: u64, byte: u8) -> Result<(), i32> {
    let signal: i64;
    // SAFETY: As above. The test knows what it overwrites.
    unsafe {
        asm!(
            "lea r10, [rip + 2f]",
            "mov byte ptr [{address}], {byte}",
            "2:",
            address = in(reg) address,
            byte = in(reg_byte) byte,
            inout("rax") 0_i64 => signal,
            out("r10") _,
            inout("r11") MAY_FAIL => _,
        );
    }
    match signal {
        0 => Ok(()),
        signal => Err(signal as i32),
    }
}

/// The errno of a call that must have failed.
#[track_caller]
pub fn errno(result: i64, what: &str) -> i32 {
    assert_eq!(result, -1, "{what} succeeded");
    last_errno()
}

/// The errno of the call that has just failed.
pub fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The bytes of the view in [`attacked`].
pub const LENT: u64 = 2 * PAGE;

/// Lends a view of fives securely, lets `attack` do what it can to it as its sender, which may get
/// at the view's bytes neither way, and gives it back.
pub fn attacked(attack: impl FnOnce(&Pair, &Lent)) {
    crate::isolated(|| {
        survive_refusals();
        let pair = Pair::of_views();
        let lent = pair.lent(LENT, 5, ALPC_VIEW_SECURE);
        attack(&pair, &lent);
        lent.held.assert_holds(5);
        lent.view.assert_closed();
        pair.port.delete_view(lent.held.base).expect("release");
        lent.view.assert_back(5);
        assert_eq!(poke(lent.view.base, 6), Ok(()));
        assert_eq!(peek(lent.view.base), Ok(6));
    });
}

/// A pipe: where it is read, and where it is written.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: Two live slots; both results are owned here.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

/// Maps a section by hand.
pub fn map_at(
    section: &Port,
    address: u64,
    length: u64,
    protection: i32,
    flags: i32,
    offset: i64,
) -> Result<u64, i32> {
    let fd = section.as_fd().as_raw_fd();
    let (address, length) = (address as *mut _, length as usize);
    // SAFETY: A new mapping, over nothing that is used.
    let start = unsafe { libc::mmap(address, length, protection, flags, fd, offset) };
    match start {
        libc::MAP_FAILED => Err(last_errno()),
        start => Ok(start as u64),
    }
}

/// Maps a section as it must be.
pub fn map_section(section: &Port, length: u64, protection: i32) -> Result<u64, i32> {
    map_at(section, 0, length, protection, libc::MAP_SHARED, 0)
}
