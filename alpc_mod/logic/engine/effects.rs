// SPDX-License-Identifier: GPL-2.0

//! What an operation leaves to be done once no lock is held.
#![deny(unsafe_code)]

use super::receive::Source;
use super::types::{Host, Sides};

/// What must be done once no lock is held.
///
/// One value serves for a send and the receive that follows it. The numbers:
///
/// | operation | threads handed something | threads handed room |
/// | --- | --- | --- |
/// | send | 2: the conversation's own, too small, then one at the port | 1 |
/// | receive | 1: behind the message, unless `room` or `poll` is in use | 1 |
/// | cancel | 3: behind it, its waiter, who gets its notice | 1 |
///
/// So four threads are enough. Both a send and a receive can concern one
/// connection that is polled.
pub struct Effects<H: Host> {
    /// A thread that was handed something.
    pub wake: Option<H::Waker>,
    /// A thread that waits for room.
    pub room: Option<H::Waker>,
    /// Further threads that were handed something.
    pub also: [Option<H::Waker>; 2],
    /// Wake who polls the connection port.
    pub poll_port: bool,
    /// Wake who polls communication ports of this connection.
    pub poll: Option<H::Peer>,
    /// And of this one.
    pub poll_also: Option<H::Peer>,
    /// Messages nobody refers to any more.
    pub bodies: Sides<Option<H::Body>>,
    /// A connection that is no more.
    pub peer: Option<H::Peer>,
    /// More threads than one must be served here: once all else is done, call
    /// [`super::Engine::serve`] and act on its effects.
    pub again: Option<Source>,
}

impl<H: Host> Default for Effects<H> {
    fn default() -> Self {
        Self {
            wake: None,
            room: None,
            also: [None, None],
            poll_port: false,
            poll: None,
            poll_also: None,
            bodies: Sides::new(None, None),
            peer: None,
            again: None,
        }
    }
}

impl<H: Host> Effects<H> {
    /// Adds a thread to wake.
    pub(super) fn add_wake(&mut self, waker: H::Waker) {
        let [second, third] = &mut self.also;
        if self.wake.is_none() {
            self.wake = Some(waker);
        } else if second.is_none() {
            *second = Some(waker);
        } else {
            *third = Some(waker);
        }
    }

    /// Adds a thread that has got room to send.
    pub(super) fn add_room(&mut self, waker: H::Waker) {
        if self.room.is_none() {
            self.room = Some(waker);
        } else {
            self.add_wake(waker);
        }
    }

    /// Adds a connection whose pollers must look again.
    pub(super) fn add_poll(&mut self, peer: H::Peer) {
        if self.poll.is_none() {
            self.poll = Some(peer);
        } else {
            self.poll_also = Some(peer);
        }
    }

    /// Whether another message can't be taken out of a queue: what that leaves
    /// might find no place here.
    pub(super) fn is_crowded(&self) -> bool {
        self.room.is_some() || self.poll.is_some()
    }
}
