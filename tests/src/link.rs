// SPDX-License-Identifier: MIT OR Apache-2.0

//! A link between two processes of a test: order, numbers, descriptors.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// One end of a socket pair that keeps message bounds.
pub struct Link(OwnedFd);

/// What travels in one message, beside an optional descriptor.
const NOTHING: u64 = 0x0073_796e_6300;

impl Link {
    pub fn pair() -> (Self, Self) {
        let (a, b) = socketpair(libc::SOCK_SEQPACKET);
        (Self(a), Self(b))
    }

    /// Waits until the other side has come to its matching `sync`.
    pub fn sync(&self) {
        self.put(NOTHING);
        let got = self.take();
        assert_eq!(got, NOTHING, "a number came where an order was expected");
    }

    /// Gives the other side a number.
    pub fn put(&self, value: u64) {
        self.send(value, None);
    }

    /// Waits for a number of the other side.
    pub fn take(&self) -> u64 {
        let (value, fd) = self.receive();
        assert!(fd.is_none(), "a descriptor came where none was expected");
        value
    }

    /// Gives the other side a duplicate of `fd`.
    pub fn put_fd(&self, fd: &impl AsFd) {
        self.send(NOTHING, Some(fd.as_fd()));
    }

    /// Waits for a descriptor of the other side.
    pub fn take_fd(&self) -> OwnedFd {
        self.receive().1.expect("a descriptor was expected")
    }

    /// Waits for what the other side has put, if this process gets it.
    pub fn try_take_fd(&self) -> Option<OwnedFd> {
        self.receive().1
    }

    fn send(&self, value: u64, fd: Option<BorrowedFd<'_>>) {
        let mut value = value;
        let mut iov = libc::iovec {
            iov_base: ptr::from_mut(&mut value).cast(),
            iov_len: size_of::<u64>(),
        };
        let mut control = Control::default();
        // SAFETY: All zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &mut iov;
        message.msg_iovlen = 1;
        if let Some(fd) = fd {
            control.header.cmsg_len = size_of::<libc::cmsghdr>() + size_of::<RawFd>();
            control.header.cmsg_level = libc::SOL_SOCKET;
            control.header.cmsg_type = libc::SCM_RIGHTS;
            control.fd = fd.as_raw_fd();
            message.msg_control = ptr::from_mut(&mut control).cast();
            message.msg_controllen = size_of::<Control>();
        }
        let sent = retry(|| {
            // SAFETY: The message points to live memory of the stated lengths.
            unsafe { libc::sendmsg(self.0.as_raw_fd(), &message, libc::MSG_NOSIGNAL) }
        });
        assert_eq!(
            sent,
            size_of::<u64>() as isize,
            "the other process has gone: {}",
            std::io::Error::last_os_error()
        );
    }

    fn receive(&self) -> (u64, Option<OwnedFd>) {
        let mut value = 0_u64;
        let mut iov = libc::iovec {
            iov_base: ptr::from_mut(&mut value).cast(),
            iov_len: size_of::<u64>(),
        };
        let mut control = Control::default();
        // SAFETY: All zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &mut iov;
        message.msg_iovlen = 1;
        message.msg_control = ptr::from_mut(&mut control).cast();
        message.msg_controllen = size_of::<Control>();
        let got = retry(|| {
            // SAFETY: As in send.
            unsafe { libc::recvmsg(self.0.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) }
        });
        assert_eq!(got, size_of::<u64>() as isize, "the other process has gone");
        let carries = message.msg_controllen >= size_of::<libc::cmsghdr>() + size_of::<RawFd>()
            && control.header.cmsg_type == libc::SCM_RIGHTS;
        // SAFETY: The kernel has just installed this descriptor for us.
        let fd = carries.then(|| unsafe { OwnedFd::from_raw_fd(control.fd) });
        (value, fd)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Control data with room for one descriptor, laid out as the kernel reads it.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fd: RawFd,
    _padding: u32,
}

impl Default for Control {
    fn default() -> Self {
        // SAFETY: Plain numbers: all zero is valid.
        unsafe { zeroed() }
    }
}

pub fn socketpair(kind: i32) -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: Two live slots; both results are owned here.
    unsafe {
        let kind = kind | libc::SOCK_CLOEXEC;
        assert_eq!(
            libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()),
            0
        );
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

fn retry(mut call: impl FnMut() -> isize) -> isize {
    loop {
        let result = call();
        if result >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return result;
        }
    }
}
