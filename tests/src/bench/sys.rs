// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls without a library in between, each checked for what it moved.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::moved;

/// No address, as a whole register.
const NOWHERE: *mut u8 = ptr::null_mut();

/// A descriptor that a call just made.
pub fn owned(fd: impl TryInto<RawFd>) -> OwnedFd {
    let fd = fd.try_into().unwrap_or(-1);
    assert!(
        fd >= 0,
        "no descriptor: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: Just made, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A counter that one side adds to, and the other waits for.
pub struct Signal(OwnedFd);

impl Signal {
    pub fn new() -> Self {
        // SAFETY: Makes a new descriptor.
        Self(owned(unsafe {
            libc::syscall(libc::SYS_eventfd2, 0, libc::EFD_CLOEXEC)
        }))
    }

    #[inline]
    pub fn give(&self) {
        write(self.0.as_raw_fd(), &mut 1_u64.to_ne_bytes());
    }

    #[inline]
    pub fn take(&self) {
        read(self.0.as_raw_fd(), &mut [0; 8]);
    }
}

#[inline]
pub fn read(fd: RawFd, data: &mut [u8]) {
    // SAFETY: A live buffer of that length.
    let got = unsafe { libc::syscall(libc::SYS_read, fd, data.as_mut_ptr(), data.len()) };
    moved(got as isize, data.len());
}

#[inline]
pub fn write(fd: RawFd, data: &mut [u8]) {
    // SAFETY: As above.
    let sent = unsafe { libc::syscall(libc::SYS_write, fd, data.as_ptr(), data.len()) };
    moved(sent as isize, data.len());
}

#[inline]
pub fn send(fd: RawFd, data: &mut [u8], bytes: usize) {
    // SAFETY: At least `bytes` long.
    let sent = unsafe { libc::syscall(libc::SYS_sendto, fd, data.as_ptr(), bytes, 0, NOWHERE, 0) };
    moved(sent as isize, bytes);
}

#[inline]
pub fn recv(fd: RawFd, data: &mut [u8], bytes: usize) {
    let p = data.as_mut_ptr();
    // SAFETY: As above.
    let got = unsafe { libc::syscall(libc::SYS_recvfrom, fd, p, bytes, 0, NOWHERE, NOWHERE) };
    moved(got as isize, bytes);
}

#[inline]
pub fn close(fd: RawFd) {
    // SAFETY: The descriptor is the caller's, who doesn't use it any more.
    let closed = unsafe { libc::syscall(libc::SYS_close, fd) };
    moved(closed as isize, 0);
}
