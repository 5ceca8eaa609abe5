// SPDX-License-Identifier: MIT OR Apache-2.0

//! What Linux already has, each with the fewest calls that do the job.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::{between, moved, Count};
use crate::link::socketpair;

/// Two counters and no payload: the price of two wake-ups.
pub fn eventfd() -> Count {
    let make = || {
        // SAFETY: Makes a new descriptor.
        owned(unsafe { libc::syscall(libc::SYS_eventfd2, 0, 0) } as RawFd)
    };
    let (there, back) = (make(), make());
    let (t, b) = (there.as_raw_fd(), back.as_raw_fd());
    let mut one = 1_u64.to_ne_bytes();
    let mut got = [0; 8];
    between(
        || {
            move || {
                read(t, &mut got);
                write(b, &mut one);
            }
        },
        || {
            move || {
                write(t, &mut one);
                read(b, &mut got);
            }
        },
    )
}

pub fn pipe(bytes: usize) -> Count {
    let make = || {
        let mut fds = [-1; 2];
        // SAFETY: Two live slots.
        assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), 0) }, 0);
        (owned(fds[0]), owned(fds[1]))
    };
    let (there, back) = (make(), make());
    let (there_in, there_out) = (there.0.as_raw_fd(), there.1.as_raw_fd());
    let (back_in, back_out) = (back.0.as_raw_fd(), back.1.as_raw_fd());
    between(
        || {
            let mut buffer = vec![0; bytes];
            move || {
                read(there_in, &mut buffer);
                write(back_out, &mut buffer);
            }
        },
        || {
            let (mut send, mut recv) = (vec![0x5a; bytes], vec![0; bytes]);
            move || {
                write(there_out, &mut send);
                read(back_in, &mut recv);
            }
        },
    )
}

pub fn posix_mq(bytes: usize) -> Count {
    let make = |name: &std::ffi::CStr| {
        // SAFETY: Plain numbers; a queue of our own that ends with its
        // descriptor.
        unsafe {
            let mut attributes: libc::mq_attr = zeroed();
            attributes.mq_maxmsg = 10;
            attributes.mq_msgsize = bytes.max(1) as _;
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
            let fd = libc::syscall(
                libc::SYS_mq_open,
                name.as_ptr(),
                flags,
                0o600,
                ptr::from_mut(&mut attributes),
            );
            let queue = owned(fd as RawFd);
            libc::syscall(libc::SYS_mq_unlink, name.as_ptr());
            queue
        }
    };
    let (there, back) = (make(c"alpc-bench-there"), make(c"alpc-bench-back"));
    let (t, b) = (there.as_raw_fd(), back.as_raw_fd());
    let room = bytes.max(1);
    let send = move |fd: RawFd, data: &mut [u8]| {
        let (p, none) = (data.as_ptr(), ptr::null::<libc::timespec>());
        // SAFETY: `data` holds `bytes` bytes.
        let sent = unsafe { libc::syscall(libc::SYS_mq_timedsend, fd, p, bytes, 0, none) };
        moved(sent as isize, 0);
    };
    let receive = move |fd: RawFd, data: &mut [u8]| {
        let (p, none) = (data.as_mut_ptr(), ptr::null::<libc::timespec>());
        let no_priority = ptr::null_mut::<u32>();
        // SAFETY: `data` has room for `room` bytes.
        let got =
            unsafe { libc::syscall(libc::SYS_mq_timedreceive, fd, p, room, no_priority, none) };
        moved(got as isize, bytes);
    };
    between(
        || {
            let mut buffer = vec![0; room];
            move || {
                receive(t, &mut buffer);
                send(b, &mut buffer);
            }
        },
        || {
            let (mut data, mut answer) = (vec![0x5a; room], vec![0; room]);
            move || {
                send(t, &mut data);
                receive(b, &mut answer);
            }
        },
    )
}

/// The ordinary use: send and recv.
pub fn seqpacket(bytes: usize) -> Count {
    let (near, far) = socketpair(libc::SOCK_SEQPACKET);
    let (n, f) = (near.as_raw_fd(), far.as_raw_fd());
    between(
        || {
            let mut buffer = vec![0; bytes.max(1)];
            move || {
                recv(f, &mut buffer, bytes);
                send(f, &mut buffer, bytes);
            }
        },
        || {
            let (mut data, mut answer) = (vec![0x5a; bytes.max(1)], vec![0; bytes.max(1)]);
            move || {
                send(n, &mut data, bytes);
                recv(n, &mut answer, bytes);
            }
        },
    )
}

/// Both sides learn who sent: SO_PASSCRED, and room for it with each receive.
pub fn seqpacket_cred(bytes: usize) -> Count {
    let (near, far) = socketpair(libc::SOCK_SEQPACKET);
    let (n, f) = (near.as_raw_fd(), far.as_raw_fd());
    for fd in [n, f] {
        let on = 1_i32;
        // SAFETY: A live option value of the stated size.
        let set = unsafe {
            let value = ptr::from_ref(&on).cast();
            let size = size_of::<i32>() as u32;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, value, size)
        };
        assert_eq!(set, 0);
    }
    between(
        || {
            let mut message = CredMessage::new(bytes);
            move || {
                message.receive(f, bytes);
                send(f, &mut message.data, bytes);
            }
        },
        || {
            let mut data = vec![0x5a; bytes.max(1)];
            let mut message = CredMessage::new(bytes);
            move || {
                send(n, &mut data, bytes);
                message.receive(n, bytes);
            }
        },
    )
}

/// A receive buffer with room for the sender's credentials.
struct CredMessage {
    data: Vec<u8>,
    control: Box<CredControl>,
    iov: Box<libc::iovec>,
    header: libc::msghdr,
}

#[repr(C)]
struct CredControl {
    header: libc::cmsghdr,
    cred: libc::ucred,
    _padding: u32,
}

impl CredMessage {
    fn new(bytes: usize) -> Self {
        let mut data = vec![0_u8; bytes.max(1)];
        // SAFETY: All three are plain numbers and pointers: zero is valid.
        let (control, mut header): (CredControl, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
        let mut control = Box::new(control);
        let mut iov = Box::new(libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: bytes,
        });
        header.msg_iov = ptr::from_mut(&mut *iov);
        header.msg_iovlen = 1;
        header.msg_control = ptr::from_mut(&mut *control).cast();
        Self {
            data,
            control,
            iov,
            header,
        }
    }

    fn receive(&mut self, fd: RawFd, bytes: usize) {
        let _alive = &self.iov;
        self.header.msg_controllen = size_of::<CredControl>();
        // SAFETY: The header points into boxes and the vector of `self`.
        let got = unsafe { libc::syscall(libc::SYS_recvmsg, fd, &mut self.header, 0) };
        moved(got as isize, bytes);
        assert_eq!(self.control.header.cmsg_type, libc::SCM_CREDENTIALS);
    }
}

/// No address, as a whole register.
const NOWHERE: *mut u8 = ptr::null_mut();

fn owned(fd: RawFd) -> OwnedFd {
    assert!(
        fd >= 0,
        "no descriptor: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: Just made, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[inline]
fn read(fd: RawFd, data: &mut [u8]) {
    // SAFETY: A live buffer of that length.
    let got = unsafe { libc::syscall(libc::SYS_read, fd, data.as_mut_ptr(), data.len()) };
    moved(got as isize, data.len());
}

#[inline]
fn write(fd: RawFd, data: &mut [u8]) {
    // SAFETY: As above.
    let sent = unsafe { libc::syscall(libc::SYS_write, fd, data.as_ptr(), data.len()) };
    moved(sent as isize, data.len());
}

#[inline]
fn send(fd: RawFd, data: &mut [u8], bytes: usize) {
    // SAFETY: At least `bytes` long.
    let sent = unsafe { libc::syscall(libc::SYS_sendto, fd, data.as_ptr(), bytes, 0, NOWHERE, 0) };
    moved(sent as isize, bytes);
}

#[inline]
fn recv(fd: RawFd, data: &mut [u8], bytes: usize) {
    let p = data.as_mut_ptr();
    // SAFETY: As above.
    let got = unsafe { libc::syscall(libc::SYS_recvfrom, fd, p, bytes, 0, NOWHERE, NOWHERE) };
    moved(got as isize, bytes);
}
