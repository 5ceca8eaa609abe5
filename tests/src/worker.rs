// SPDX-License-Identifier: MIT OR Apache-2.0

//! Workers: processes that receive at the port of a test, and what becomes of what they hold.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use crate::raw::*;
use crate::*;

/// Takes a conversation over that another one has told of: its id and its turn.
pub fn take_over(port: &Port, id: u64, turn: u32, flags: u32) -> Result<(), Failure> {
    let mut transfer = Transfer::new().flags(ALPC_SEND | ALPC_ADOPT | flags);
    transfer.arg.send_id = id;
    transfer.arg.send_callback_id = turn;
    transfer.run(port)?;
    assert_ne!(transfer.arg.flags & ALPC_SENT, 0, "it is done");
    Ok(())
}

/// A message as somebody knows it who has been told its id, and begins at its first turn.
pub fn named(id: u64) -> Message {
    Message {
        id,
        callback_id: 0,
        kind: ALPC_TYPE_REQUEST,
        flags: 0,
        data: Vec::new(),
        pid: 0,
        tid: 0,
        uid: 0,
        gid: 0,
        port_context: 0,
        sequence: 0,
    }
}

/// Closes descriptors by their numbers, whoever owns them.
pub fn close(fds: &[&Port]) {
    for fd in fds {
        // SAFETY: The process ends soon, and uses none of them again.
        assert_eq!(unsafe { libc::close(fd.as_fd().as_raw_fd()) }, 0);
    }
}

/// A worker that has all descriptors of the test, in a table of its own. It receives one message,
/// says so, and goes on.
pub fn worker(pair: &Pair, goes_on: impl FnOnce(&Link, Message)) -> Peer {
    Peer::fork(ROOT, |link| {
        let message = pair.port.receive().expect("receive");
        link.put(message.id);
        goes_on(link, message);
    })
}

/// A call in a thread of its own, and something else meanwhile, which may end the call at once.
pub fn during<R: Send>(call: impl FnOnce() -> R + Send, meanwhile: impl FnOnce()) -> R {
    thread::scope(|scope| {
        let thread = scope.spawn(call);
        meanwhile();
        thread.join().expect("join")
    })
}

/// A request, and what comes of it, while a worker that has received it goes on and `meanwhile`
/// happens.
pub fn requested(
    pair: &Pair,
    goes_on: impl FnOnce(&Link, Message),
    meanwhile: impl FnOnce(Peer, u64),
) -> Result<Message, Failure> {
    let worker = worker(pair, goes_on);
    during(
        || pair.client.request(b"request"),
        || {
            let id = worker.take();
            meanwhile(worker, id);
        },
    )
}

/// Waits for what the test says, which is nothing.
pub fn stay(link: &Link, _message: Message) {
    link.take();
}

/// A peer that ends as it should, whatever it has received.
pub trait Alone {
    fn wait(self, id: u64);
}

impl Alone for Peer {
    fn wait(self, _id: u64) {
        Peer::wait(self);
    }
}
