// SPDX-License-Identifier: MIT OR Apache-2.0

//! A call whose request brings a descriptor.

use std::os::fd::{AsFd, AsRawFd};

use super::alpc::{accept, answer, connect, received, transfer, transfer_in};
use super::sys::close;
use super::{between, failed, Running};
use crate::files;
use crate::raw::*;

/// The server claims it as it receives the request, and closes it.
pub fn claimed(bytes: usize) -> Running<impl FnMut()> {
    passing(bytes, HandleContainer::claiming(1))
}

/// The server is told of it, and answers.
pub fn dropped(bytes: usize) -> Running<impl FnMut()> {
    passing(bytes, HandleContainer::room(1))
}

fn passing(bytes: usize, mut incoming: HandleContainer) -> Running<impl FnMut()> {
    let mut create = Create::anonymous().takes(ALPC_TAKE_HANDLES, ALPC_HANDLE_EVENTFD);
    let port = create.run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    let fd = port.as_fd().as_raw_fd();
    between(
        || {
            let server = accept(&port);
            let mut buffer = vec![0_u8; bytes];
            let mut arg = transfer_in(&mut buffer, bytes);
            arg.flags = ALPC_RECEIVE;
            arg.recv_attributes = incoming.address();
            let claims = incoming.handle().flags == ALPC_HANDLES_CLAIM;
            move || {
                let _alive = (&server, &buffer);
                transfer(fd, &mut arg);
                received(&arg, bytes);
                match (incoming.handle().count, claims) {
                    (1, true) => close(incoming.entries[0].fd),
                    (1, false) => {}
                    (count, _) => failed(count as isize, 1),
                }
                // The number of those there are is where the room for them was said.
                (incoming.handle().count, incoming.handle().index) = (1, 0);
                answer(&mut arg);
                arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_RECEIVE;
            }
        },
        || {
            let client = connect(&through);
            let passed = files::eventfd();
            let mut outgoing = HandleContainer::one(&passed);
            let (mut data, mut reply) = (vec![0x5a_u8; bytes], vec![0_u8; bytes]);
            let mut arg = transfer_in(&mut data, bytes);
            arg.recv_data = reply.as_mut_ptr() as u64;
            arg.send_attributes = outgoing.address();
            let fd = client.as_fd().as_raw_fd();
            move || {
                let _alive = (&client, &passed, &outgoing, &data, &reply);
                arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
                arg.send_id = 0;
                transfer(fd, &mut arg);
                received(&arg, bytes);
            }
        },
    )
}
