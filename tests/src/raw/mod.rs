// SPDX-License-Identifier: MIT OR Apache-2.0

//! One function for each ioctl, hiding nothing: tests say exactly what goes
//! in, and see exactly what comes out. Outputs are filled with junk first.

mod acl;
mod connect;
mod create;
mod every;
mod handles;
mod identity;
mod memory;
mod security;
mod token;
mod transfer;
mod usage;
mod view;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use acl::{acl_argument, acl_as_is, fields, Fields, Listed};
pub use alpc_uapi::*;
pub use connect::{Accept, Connect, Connected};
pub use create::{allow, deny, grant, withhold, Create};
pub use every::*;
pub use handles::{own, Claim, HandleContainer};
pub use identity::{identity_argument, Identity};
pub use memory::*;
pub use security::SecurityContainer;
pub use token::*;
pub use transfer::{ContextContainer, Message, Transfer};
pub use usage::{user_usage, user_usage_on};
pub use view::{View, ViewContainer};

/// What outputs hold before a call.
pub const JUNK: u8 = 0xcc;
pub const JUNK16: u16 = 0xcccc;
pub const JUNK32: u32 = 0xcccc_cccc;
pub const JUNK64: u64 = 0xcccc_cccc_cccc_cccc;

/// How a call failed. The outcome is junk when the kernel didn't say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub errno: i32,
    pub outcome: u32,
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = std::io::Error::from_raw_os_error(self.errno);
        match fail::ALL.iter().position(|known| known == self) {
            Some(index) => write!(f, "{} ({error})", fail::NAMES[index]),
            None => write!(f, "{error}, outcome {:#x}", self.outcome),
        }
    }
}

/// The failures that alpc.h names, each with the errno it promises.
pub mod fail {
    use super::Failure;
    use libc as c;

    macro_rules! failures {
        ($($name:ident $errno:ident $outcome:ident;)*) => {
            $(pub const $name: Failure = Failure {
                errno: c::$errno,
                outcome: alpc_uapi::$outcome,
            };)*
            /// All of them.
            pub const ALL: &[Failure] = &[$($name),*];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];
        };
    }

    failures! {
        REFUSED ECONNREFUSED ALPC_OUTCOME_REFUSED;
        NOT_CONNECTED ENOTCONN ALPC_OUTCOME_NOT_CONNECTED;
        DISCONNECTED EPIPE ALPC_OUTCOME_DISCONNECTED;
        CLOSED ESHUTDOWN ALPC_OUTCOME_CLOSED;
        LOST ECONNRESET ALPC_OUTCOME_LOST;
        CANCELED ECANCELED ALPC_OUTCOME_CANCELED;
        ALREADY_RECEIVED EALREADY ALPC_OUTCOME_ALREADY_RECEIVED;
        TIMED_OUT ETIMEDOUT ALPC_OUTCOME_TIMED_OUT;
        TIMED_OUT_SENT ETIMEDOUT ALPC_OUTCOME_TIMED_OUT_SENT;
        INTERRUPTED EINTR ALPC_OUTCOME_INTERRUPTED;
        INTERRUPTED_SENT EINTR ALPC_OUTCOME_INTERRUPTED_SENT;
        NOT_FOUND ENOENT ALPC_OUTCOME_NOT_FOUND;
        NOT_OWNER EPERM ALPC_OUTCOME_NOT_OWNER;
        STALE_TURN ESTALE ALPC_OUTCOME_STALE_TURN;
        WRONG_KIND EPROTO ALPC_OUTCOME_WRONG_KIND;
        BUFFER_TOO_SMALL ENOBUFS ALPC_OUTCOME_BUFFER_TOO_SMALL;
        TOO_LONG EMSGSIZE ALPC_OUTCOME_TOO_LONG;
        QUEUE_FULL EAGAIN ALPC_OUTCOME_QUEUE_FULL;
        LIMIT EDQUOT ALPC_OUTCOME_LIMIT;
        NAME_IN_USE EADDRINUSE ALPC_OUTCOME_NAME_IN_USE;
        NAME_NOT_FOUND ENOENT ALPC_OUTCOME_NAME_NOT_FOUND;
        ACCESS_DENIED EACCES ALPC_OUTCOME_ACCESS_DENIED;
        SERVER_MISMATCH EACCES ALPC_OUTCOME_SERVER_MISMATCH;
        TOO_DEEP ELOOP ALPC_OUTCOME_TOO_DEEP;
        NOT_TAKEN EOPNOTSUPP ALPC_OUTCOME_NOT_TAKEN;
        LENT EBUSY ALPC_OUTCOME_LENT;
        NOT_A_VIEW ENXIO ALPC_OUTCOME_NOT_A_VIEW;
        NO_WINDOW ENOBUFS ALPC_OUTCOME_NO_WINDOW;
        MEMORY_CLOSED ESTALE ALPC_OUTCOME_MEMORY_CLOSED;
        NOT_A_CONTEXT ENXIO ALPC_OUTCOME_NOT_A_CONTEXT;
        REVOKED ESTALE ALPC_OUTCOME_REVOKED;
        NOT_GRANTED EACCES ALPC_OUTCOME_NOT_GRANTED;
        BEYOND_REACH EPERM ALPC_OUTCOME_BEYOND_REACH;
        NO_CLIENTS ENOLINK ALPC_OUTCOME_NO_CLIENTS;
        TOO_LONG_FOR_REPLY EMSGSIZE ALPC_OUTCOME_TOO_LONG_FOR_REPLY;
        BAD_HANDLE EPERM ALPC_OUTCOME_BAD_HANDLE;
        RECEIVER_MISMATCH EACCES ALPC_OUTCOME_RECEIVER_MISMATCH;
        SENDER_GONE ESRCH ALPC_OUTCOME_SENDER_GONE;
        NO_HANDLE EBADF ALPC_OUTCOME_BAD_HANDLE;
    }
}

/// Fails the test unless the call failed with this errno.
#[track_caller]
pub fn refused_with<T>(result: Result<T, Failure>, errno: i32, what: &str) {
    match result {
        Ok(_) => panic!("{what}: succeeded, expected {}", name(errno)),
        Err(failure) if failure.errno != errno => {
            panic!("{what}: {failure:?}, expected {}", name(errno))
        }
        Err(_) => {}
    }
}

fn name(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

/// Any descriptor of the module, or one that pretends to be.
pub struct Port(OwnedFd);

impl From<OwnedFd> for Port {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Port> for OwnedFd {
    fn from(port: Port) -> Self {
        port.0
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The bare system call.
///
/// # Safety
///
/// `argument` is what `request` says it is, or an address the kernel refuses.
pub unsafe fn ioctl_at(fd: BorrowedFd<'_>, request: u32, argument: u64) -> Result<i32, i32> {
    // SAFETY: Promised by the caller.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), request, argument) };
    if result >= 0 {
        Ok(result as i32)
    } else {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

/// An ioctl with a structure of ours as its argument.
pub fn ioctl<T>(fd: &impl AsFd, request: u32, argument: &mut T) -> Result<i32, i32> {
    let address = std::ptr::from_mut(argument) as u64;
    // SAFETY: A live structure; the size in the request number bounds what the
    // kernel touches, and the tests pass the structure that belongs to it.
    unsafe { ioctl_at(fd.as_fd(), request, address) }
}

/// A new descriptor that an ioctl returned.
pub(crate) fn adopt(fd: i32) -> Port {
    // SAFETY: Just installed by the kernel, owned by nobody else.
    let port = Port(unsafe { OwnedFd::from_raw_fd(fd) });
    assert!(close_on_exec(&port), "a new descriptor isn't close-on-exec");
    port
}

pub fn close_on_exec(fd: &impl AsFd) -> bool {
    // SAFETY: Takes no pointer.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFD) };
    flags & libc::FD_CLOEXEC != 0
}

/// `/dev/alpc`.
pub fn device() -> Port {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/alpc")
        .unwrap_or_else(|e| panic!("/dev/alpc: {e}"));
    Port(file.into())
}

pub fn query() -> alpc_query {
    query_on(&device())
}

pub fn query_on(device: &impl AsFd) -> alpc_query {
    let mut arg = alpc_query {
        reserved: 0,
        reserved1: 0,
        ..junk_query()
    };
    ioctl(device, ALPC_IOCTL_QUERY, &mut arg).expect("QUERY");
    arg
}

fn junk_query() -> alpc_query {
    // SAFETY: Plain numbers: any bytes are valid.
    unsafe { std::mem::transmute([JUNK; std::mem::size_of::<alpc_query>()]) }
}

impl Port {
    /// Another descriptor of the same open file.
    pub fn duplicate(&self) -> Port {
        Port(self.0.try_clone().expect("dup"))
    }

    /// A connect descriptor of this connection port.
    pub fn connect_descriptor(&self) -> Result<Port, Failure> {
        // SAFETY: Takes no argument.
        let result = unsafe { ioctl_at(self.as_fd(), ALPC_IOCTL_CREATE_CONNECT, 0) };
        result.map(adopt).map_err(|errno| Failure {
            errno,
            outcome: JUNK32,
        })
    }

    pub fn query_port(&self) -> Result<alpc_query_port, Failure> {
        // SAFETY: Plain numbers: any bytes are valid.
        let mut arg: alpc_query_port =
            unsafe { std::mem::transmute([JUNK; std::mem::size_of::<alpc_query_port>()]) };
        ioctl(self, ALPC_IOCTL_QUERY_PORT, &mut arg).map_err(|errno| Failure {
            errno,
            outcome: JUNK32,
        })?;
        Ok(arg)
    }

    /// Cancels; success says whether the holder had received the request.
    pub fn cancel(&self, id: u64, flags: u32) -> Result<u32, Failure> {
        let mut arg = alpc_cancel {
            id,
            flags,
            outcome: JUNK32,
        };
        let result = ioctl(self, ALPC_IOCTL_CANCEL, &mut arg);
        let outcome = arg.outcome;
        result
            .map(|_| outcome)
            .map_err(|errno| Failure { errno, outcome })
    }

    pub fn disconnect(&self) -> Result<(), Failure> {
        self.disconnect_with(0)
    }

    pub fn disconnect_with(&self, flags: u32) -> Result<(), Failure> {
        let mut arg = alpc_disconnect { flags, reserved: 0 };
        ioctl(self, ALPC_IOCTL_DISCONNECT, &mut arg)
            .map(|_| ())
            .map_err(|errno| Failure {
                errno,
                outcome: JUNK32,
            })
    }
}
