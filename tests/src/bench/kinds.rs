// SPDX-License-Identifier: MIT OR Apache-2.0

//! What can be done with a port beside a plain call.

use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use super::alpc::{accept, answer, connect as connect_through, received, transfer, transfer_in};
use super::sys::Signal;
use super::{between, Running, BATCH};
use crate::raw::*;

/// A batch of one-way messages, until the receiver says that it has them all:
/// one system call a message and side, since no ioctl takes several.
pub fn one_way(bytes: usize) -> Running<impl FnMut()> {
    let mine = Rc::new(Signal::new());
    let theirs = mine.clone();
    let port = Create::anonymous().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let server = accept(&port);
            let fd = port.as_fd().as_raw_fd();
            let mut buffer = vec![0_u8; bytes];
            let mut arg = transfer_in(&mut buffer, bytes);
            arg.flags = ALPC_RECEIVE;
            move || {
                let _alive = (&server, &buffer);
                for _ in 0..BATCH {
                    transfer(fd, &mut arg);
                    received(&arg, bytes);
                }
                theirs.give();
            }
        },
        || {
            let client = connect_through(&through);
            let mut buffer = vec![0x5a_u8; bytes];
            let mut arg = transfer_in(&mut buffer, bytes);
            move || {
                let _alive = &buffer;
                for _ in 0..BATCH {
                    arg.flags = ALPC_SEND | ALPC_RELEASE;
                    arg.send_id = 0;
                    transfer(client.as_fd().as_raw_fd(), &mut arg);
                }
                mine.take();
            }
        },
    )
}

/// A request that isn't waited for, and its reply out of the client's queue:
/// two system calls of the client, as other work may lie between them.
pub fn asynchronous(bytes: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || serve(&port, bytes, false),
        || {
            let client = connect_through(&through);
            let mut buffer = vec![0x5a_u8; bytes];
            let mut arg = transfer_in(&mut buffer, bytes);
            move || {
                let _alive = &buffer;
                let fd = client.as_fd().as_raw_fd();
                arg.flags = ALPC_SEND;
                arg.send_id = 0;
                transfer(fd, &mut arg);
                arg.flags = ALPC_RECEIVE;
                transfer(fd, &mut arg);
                received(&arg, bytes);
            }
        },
    )
}

/// A call in whose course the server calls back once: two round trips, two
/// system calls of either side.
pub fn callback(bytes: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || serve(&port, bytes, true),
        || {
            let client = connect_through(&through);
            let mut buffer = vec![0x5a_u8; bytes];
            let mut arg = transfer_in(&mut buffer, bytes);
            move || {
                let _alive = &buffer;
                let fd = client.as_fd().as_raw_fd();
                arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
                arg.send_id = 0;
                arg.send_callback_id = 0;
                transfer(fd, &mut arg);
                received(&arg, bytes);
                answer(&mut arg);
                arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_ANSWER;
                transfer(fd, &mut arg);
                received(&arg, bytes);
            }
        },
    )
}

/// Answers the last request and takes the next with one call; before an answer
/// it may call back.
fn serve(port: &Port, bytes: usize, calls_back: bool) -> impl FnMut() {
    let server = accept(port);
    let fd = port.as_fd().as_raw_fd();
    let mut buffer = vec![0_u8; bytes];
    let mut arg = transfer_in(&mut buffer, bytes);
    arg.flags = ALPC_RECEIVE;
    move || {
        let _alive = (&server, &buffer);
        transfer(fd, &mut arg);
        received(&arg, bytes);
        answer(&mut arg);
        if calls_back {
            arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
            transfer(fd, &mut arg);
            received(&arg, bytes);
            answer(&mut arg);
        }
        arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_RECEIVE;
    }
}

/// A connection by name, accepted, and closed at both ends.
pub fn connect() -> Running<impl FnMut()> {
    const NAME: &[u8] = b"alpc-bench";
    let port = Create::named(NAME).run().expect("create");
    between(
        || {
            move || {
                // The end of the connection before may be told first.
                let mut arg = alpc_transfer {
                    flags: ALPC_RECEIVE,
                    ..Default::default()
                };
                while u32::from(arg.type_) != ALPC_TYPE_CONNECTION_REQUEST {
                    transfer(port.as_fd().as_raw_fd(), &mut arg);
                }
                let mut arg = alpc_accept {
                    id: arg.id,
                    ..Default::default()
                };
                drop(adopted(ioctl(&port, ALPC_IOCTL_ACCEPT, &mut arg)));
            }
        },
        || {
            let device = device();
            move || {
                let mut arg = alpc_connect {
                    name: NAME.as_ptr() as u64,
                    name_length: NAME.len() as u32,
                    ..Default::default()
                };
                drop(adopted(ioctl(&device, ALPC_IOCTL_CONNECT, &mut arg)));
            }
        },
    )
}

fn adopted(result: Result<i32, i32>) -> std::os::fd::OwnedFd {
    super::sys::owned(result.unwrap_or(-1))
}
