// SPDX-License-Identifier: MIT OR Apache-2.0

//! Socket messages that carry something beside their payload.

use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;
use std::ptr;

use super::{failed, moved};

/// Buffers for a payload and for one value of a kind of control data.
pub struct Message<T> {
    pub data: Vec<u8>,
    control: Box<Control<T>>,
    _iov: Box<libc::iovec>,
    header: libc::msghdr,
    bytes: usize,
}

/// One value as the kernel reads and writes it. What is carried here is 4 bytes
/// short of a multiple of 8.
#[repr(C)]
struct Control<T> {
    header: libc::cmsghdr,
    value: T,
    _padding: u32,
}

impl<T: Copy> Message<T> {
    /// With room for `bytes` of payload and, of the kind `kind`, for `value`.
    pub fn new(bytes: usize, kind: i32, value: T) -> Self {
        let mut data = vec![0x5a_u8; bytes.max(1)];
        let mut control = Box::new(Control {
            header: libc::cmsghdr {
                cmsg_len: size_of::<libc::cmsghdr>() + size_of::<T>(),
                cmsg_level: libc::SOL_SOCKET,
                cmsg_type: kind,
            },
            value,
            _padding: 0,
        });
        let mut iov = Box::new(libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: bytes,
        });
        // SAFETY: Plain numbers and pointers: zero is valid.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = ptr::from_mut(&mut *iov);
        header.msg_iovlen = 1;
        header.msg_control = ptr::from_mut(&mut *control).cast();
        header.msg_controllen = size_of::<Control<T>>();
        Self {
            data,
            control,
            _iov: iov,
            header,
            bytes,
        }
    }

    #[inline]
    pub fn send(&mut self, fd: RawFd, value: T) {
        self.control.value = value;
        // SAFETY: The header points into boxes and the vector of `self`.
        let sent = unsafe { libc::syscall(libc::SYS_sendmsg, fd, &mut self.header, 0) };
        moved(sent as isize, self.bytes);
    }

    #[inline]
    pub fn receive(&mut self, fd: RawFd) -> T {
        self.header.msg_controllen = size_of::<Control<T>>();
        // SAFETY: As above.
        let got = unsafe { libc::syscall(libc::SYS_recvmsg, fd, &mut self.header, 0) };
        moved(got as isize, self.bytes);
        self.control.value
    }

    /// Receives, and ends the run unless the value came beside the payload.
    pub fn receive_checked(&mut self, fd: RawFd) -> T {
        let value = self.receive(fd);
        if self.header.msg_controllen != size_of::<Control<T>>() {
            failed(0, size_of::<Control<T>>());
        }
        value
    }
}
