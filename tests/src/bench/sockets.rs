// SPDX-License-Identifier: MIT OR Apache-2.0

//! AF_UNIX in all its kinds, each with the fewest calls that do the job.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;

use super::control::Message;
use super::sys::{owned, recv, send, Signal};
use super::{between, failed, identity, moved, Running, BATCH};
use crate::link::socketpair;

const NOBODY: libc::ucred = libc::ucred {
    pid: 0,
    uid: 0,
    gid: 0,
};

/// The ordinary use: send and recv.
pub fn seqpacket(bytes: usize) -> Running<impl FnMut()> {
    ping_pong(libc::SOCK_SEQPACKET, bytes)
}

pub fn stream(bytes: usize) -> Running<impl FnMut()> {
    ping_pong(libc::SOCK_STREAM, bytes)
}

pub fn dgram(bytes: usize) -> Running<impl FnMut()> {
    ping_pong(libc::SOCK_DGRAM, bytes)
}

fn ping_pong(kind: i32, bytes: usize) -> Running<impl FnMut()> {
    let ends = socketpair(kind);
    let (n, f) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
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
                let _alive = &ends;
                send(n, &mut data, bytes);
                recv(n, &mut answer, bytes);
            }
        },
    )
}

/// Both sides learn who sent: SO_PASSCRED, and room for it with each receive.
pub fn seqpacket_cred(bytes: usize) -> Running<impl FnMut()> {
    let ends = socketpair(libc::SOCK_SEQPACKET);
    let (n, f) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
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
            let mut message = Message::new(bytes, libc::SCM_CREDENTIALS, NOBODY);
            let sender = message.receive_checked(f);
            identity::is_client(sender.pid as u32, sender.uid);
            send(f, &mut message.data, bytes);
            move || {
                message.receive(f);
                send(f, &mut message.data, bytes);
            }
        },
        || {
            let mut data = vec![0x5a; bytes.max(1)];
            let mut message = Message::new(bytes, libc::SCM_CREDENTIALS, NOBODY);
            send(n, &mut data, bytes);
            let sender = message.receive_checked(n);
            identity::is_server(sender.pid as u32, sender.uid);
            move || {
                let _alive = &ends;
                send(n, &mut data, bytes);
                message.receive(n);
            }
        },
    )
}

/// A pair of sockets that holds a batch of datagrams. The usual queue of ten
/// would put the sender to sleep amid each batch.
fn batch_pair() -> (OwnedFd, OwnedFd) {
    // A socket takes the limit over when it is made.
    const LIMIT: &str = "/proc/sys/net/unix/max_dgram_qlen";
    std::fs::write(LIMIT, "512").unwrap_or_else(|e| panic!("{LIMIT}: {e}"));
    socketpair(libc::SOCK_DGRAM)
}

/// A batch of datagrams with one system call a message and side, until the
/// receiver says that it has them all.
pub fn dgram_loop(bytes: usize) -> Running<impl FnMut()> {
    let ends = batch_pair();
    let (n, f) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
    let mine = Rc::new(Signal::new());
    let theirs = mine.clone();
    between(
        || {
            let mut buffer = vec![0; bytes];
            move || {
                for _ in 0..BATCH {
                    recv(f, &mut buffer, bytes);
                }
                theirs.give();
            }
        },
        || {
            let mut data = vec![0x5a; bytes];
            move || {
                let _alive = &ends;
                for _ in 0..BATCH {
                    send(n, &mut data, bytes);
                }
                mine.take();
            }
        },
    )
}

/// A batch of datagrams with one system call a side, until the receiver says
/// that it has them all.
pub fn dgram_mmsg(bytes: usize) -> Running<impl FnMut()> {
    let ends = batch_pair();
    let (n, f) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
    let mine = Rc::new(Signal::new());
    let theirs = mine.clone();
    between(
        || {
            let mut batch = Batch::new(bytes);
            move || {
                batch.transfer(libc::SYS_recvmmsg, f);
                theirs.give();
            }
        },
        || {
            let mut batch = Batch::new(bytes);
            move || {
                let _alive = &ends;
                batch.transfer(libc::SYS_sendmmsg, n);
                mine.take();
            }
        },
    )
}

/// A batch of messages, each with a buffer of its own.
struct Batch {
    headers: Vec<libc::mmsghdr>,
    _iovs: Vec<libc::iovec>,
    _data: Vec<u8>,
    bytes: usize,
}

impl Batch {
    fn new(bytes: usize) -> Self {
        let mut data = vec![0x5a_u8; bytes * BATCH];
        let mut iovs: Vec<libc::iovec> = data
            .chunks_mut(bytes)
            .map(|chunk| libc::iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: bytes,
            })
            .collect();
        let headers = iovs
            .iter_mut()
            .map(|iov| {
                // SAFETY: Plain numbers and pointers: zero is valid.
                let mut header: libc::mmsghdr = unsafe { zeroed() };
                header.msg_hdr.msg_iov = iov;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            headers,
            _iovs: iovs,
            _data: data,
            bytes,
        }
    }

    /// Sends or receives all of it.
    fn transfer(&mut self, call: libc::c_long, fd: RawFd) {
        let none = ptr::null_mut::<libc::timespec>();
        // SAFETY: The headers point into the two other vectors of `self`.
        let count = unsafe { libc::syscall(call, fd, self.headers.as_mut_ptr(), BATCH, 0, none) };
        let last = self.headers[BATCH - 1].msg_len as usize;
        if count != BATCH as i64 || last != self.bytes {
            failed(last as isize, self.bytes);
        }
    }
}

/// A connection by name, accepted, and closed at both ends. The client waits
/// for the server's end: else it would be counted alone.
pub fn connect() -> Running<impl FnMut()> {
    // SAFETY: Plain numbers: zero is valid.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    // The first byte stays 0: a name that is no file.
    for (to, from) in address.sun_path[1..].iter_mut().zip(*b"alpc-bench") {
        *to = from as libc::c_char;
    }
    let size = size_of::<libc::sa_family_t>() + 1 + b"alpc-bench".len();
    let socket = || {
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: Makes a new descriptor.
        owned(unsafe { libc::syscall(libc::SYS_socket, libc::AF_UNIX, kind, 0) })
    };
    let named = move |call: libc::c_long, socket: &OwnedFd| {
        let address = ptr::from_ref(&address);
        // SAFETY: A live address of the stated size.
        let result = unsafe { libc::syscall(call, socket.as_raw_fd(), address, size) };
        moved(result as isize, 0);
    };
    let listener = socket();
    named(libc::SYS_bind, &listener);
    // SAFETY: Plain numbers.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 8) };
    moved(result as isize, 0);
    let l = listener.as_raw_fd();
    let nobody = ptr::null_mut::<libc::sockaddr>();
    between(
        || {
            move || {
                // SAFETY: The address isn't asked for.
                drop(owned(unsafe {
                    libc::syscall(libc::SYS_accept4, l, nobody, nobody, libc::SOCK_CLOEXEC)
                }));
            }
        },
        || {
            move || {
                let _alive = &listener;
                let client = socket();
                named(libc::SYS_connect, &client);
                recv(client.as_raw_fd(), &mut [0], 0);
            }
        },
    )
}
