// SPDX-License-Identifier: GPL-2.0

//! Bringing a message to its side: into the hands of who waits, or into a queue.
#![deny(unsafe_code)]

use super::holder::Holders;
use super::list::{Store, Via, NONE};
use super::types::{Delivery, Hand, Host, Peer, Phase, Place, Side, Slot, State, Waiters};
use super::{Effects, Engine, Source};

impl<H: Host> Engine<H> {
    /// Brings the message in slot `index` to side `to`: into the hands of a
    /// thread that waits for it, or into a queue.
    pub(super) fn deliver(&mut self, index: u32, to: Side, fx: &mut Effects<H>) {
        self.let_go(index);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.state = State::Queued(to);
        let len = slot.len(to);
        let target = place(slot, to);
        let conn = slot.conn;
        let sequence = self.next_sequence(conn, target);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.sequence = sequence;
        if !slot.waiters.get(to).is_empty() {
            if slot.waiters.get(to).fits(len) {
                let delivery = self.take_out(index, to);
                self.hand_to_conversation(index, to, len, delivery, fx);
                return;
            }
            if let Ok(waker) = slot.waiters.get_mut(to).hand(0, Hand::TooSmall(len)) {
                fx.add_wake(waker);
            }
        } else if self.is_free_for(conn, target, len) {
            let delivery = self.take_out(index, to);
            self.hand_to_receiver(conn, target, len, delivery, fx);
            return;
        }
        self.enqueue(index, target, false, fx);
    }

    fn hand_to_conversation(
        &mut self,
        index: u32,
        to: Side,
        len: u32,
        delivery: Delivery<H>,
        fx: &mut Effects<H>,
    ) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let waiters = slot.waiters.get_mut(to);
        let handed = hand_message(waiters, &mut self.holders, len, delivery);
        self.handed(index, handed, fx);
    }

    /// Goes on with a message that a thread has been handed, or has not.
    fn handed(&mut self, index: u32, handed: HandedTo<H>, fx: &mut Effects<H>) {
        match handed {
            Ok((waker, receiver)) => {
                fx.add_wake(waker);
                if receiver != 0 {
                    self.note_handed(index, receiver);
                }
            }
            Err(Hand::Message(delivery)) => self.undeliver(delivery, fx),
            Err(_) => {}
        }
    }

    /// Hands a message to a thread that receives at `target`.
    pub(super) fn hand_to_receiver(
        &mut self,
        conn: u32,
        target: Place,
        len: u32,
        delivery: Delivery<H>,
        fx: &mut Effects<H>,
    ) {
        let index = delivery.slot;
        let receivers = match target {
            Place::Port => &mut self.receivers,
            Place::Side(side) => match self.conns.get_mut(conn) {
                Some(c) => c.receivers.get_mut(side),
                None => return,
            },
            Place::Nowhere => return,
        };
        let handed = hand_message(receivers, &mut self.holders, len, delivery);
        self.handed(index, handed, fx);
    }

    pub(super) fn receivers_at(&mut self, conn: u32, target: Place) -> Option<&mut H::Waiters> {
        match target {
            Place::Port => Some(&mut self.receivers),
            Place::Side(side) => Some(self.conns.get_mut(conn)?.receivers.get_mut(side)),
            Place::Nowhere => None,
        }
    }

    /// Whether nothing is queued at `target` and a thread waits there that has
    /// room for `len` bytes.
    pub(super) fn is_free_for(&mut self, conn: u32, target: Place, len: u32) -> bool {
        let empty = match target {
            Place::Port => self.ready.is_empty() && self.arrivals.is_empty(),
            Place::Side(side) => self
                .conns
                .get(conn)
                .is_some_and(|c| c.queues.get(side).list.is_empty()),
            Place::Nowhere => false,
        };
        empty
            && self
                .receivers_at(conn, target)
                .is_some_and(|receivers| receivers.fits(len))
    }

    fn next_sequence(&mut self, conn: u32, target: Place) -> u64 {
        let counter = match target {
            Place::Side(side) => match self.conns.get_mut(conn) {
                Some(c) => c.sequence.get_mut(side),
                None => return 0,
            },
            Place::Port | Place::Nowhere => &mut self.sequence,
        };
        *counter = counter.wrapping_add(1);
        *counter
    }

    /// Puts a message into a queue, and tells who waits or polls there.
    pub(super) fn enqueue(&mut self, index: u32, target: Place, front: bool, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let State::Queued(to) = slot.state else {
            return;
        };
        slot.place = target;
        let len = slot.len(to);
        let conn = slot.conn;
        let Some(c) = self.conns.get_mut(conn) else {
            return;
        };
        let queue = match target {
            Place::Side(side) => c.queues.get_mut(side),
            Place::Port | Place::Nowhere => &mut c.port,
        };
        queue.messages = queue.messages.saturating_add(1);
        queue.bytes = queue.bytes.saturating_add(len);
        let list = match target {
            Place::Port if self.arrival_order => &mut self.arrivals,
            _ => &mut queue.list,
        };
        if front {
            list.push_front(&mut self.slots, Via::Queue, index);
        } else {
            list.push_back(&mut self.slots, Via::Queue, index);
        }
        if !matches!(target, Place::Side(_)) {
            self.messages = self.messages.saturating_add(1);
            self.bytes = self.bytes.saturating_add(len);
            if self.arrival_order {
                // The notice of the end is behind all messages, also behind one
                // that comes back.
                self.unready(conn);
            } else {
                self.make_ready(conn, front);
            }
        }
        self.dispatch(conn, target, fx);
        self.tell_pollers(index, fx);
    }

    /// Tells who polls that a message has stayed in its queue.
    fn tell_pollers(&self, index: u32, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        match slot.place {
            Place::Port => fx.poll_port = true,
            Place::Side(_) => {
                if let Some(peer) = self.polled_peer(slot.conn) {
                    fx.add_poll(peer);
                }
            }
            Place::Nowhere => {}
        }
    }

    /// The peer of a connection, if somebody polls its communication ports.
    pub(super) fn polled_peer(&self, conn: u32) -> Option<H::Peer> {
        let peer = self.conns.get(conn)?.peer.as_ref()?;
        (peer.is_polled(Side::Client) || peer.is_polled(Side::Server)).then(|| peer.clone())
    }

    /// Puts a connection on the list of those with something to tell.
    pub(super) fn make_ready(&mut self, conn: u32, front: bool) {
        let Some(c) = self.conns.get_mut(conn) else {
            return;
        };
        if c.ready {
            return;
        }
        c.ready = true;
        if front {
            self.ready.push_front(&mut self.conns, Via::Owner, conn);
        } else {
            self.ready.push_back(&mut self.conns, Via::Owner, conn);
        }
    }

    /// Takes a connection off that list.
    pub(super) fn unready(&mut self, conn: u32) {
        let Some(c) = self.conns.get_mut(conn) else {
            return;
        };
        if core::mem::take(&mut c.ready) {
            self.ready.remove(&mut self.conns, Via::Owner, conn);
        }
    }

    /// Serves one more thread that waits at `source` though it need not. Call it
    /// as [`Effects::again`] says.
    pub fn serve(&mut self, source: Source, fx: &mut Effects<H>) {
        match source {
            Source::Port => self.dispatch(NONE, Place::Port, fx),
            Source::Side(conn, side) => self.dispatch(conn, Place::Side(side), fx),
        }
    }

    /// Passes on room to send that a thread of `side` was handed, and does not
    /// use. To have sent again, successfully or not, has done it already.
    pub fn pass_room(&mut self, conn: u32, side: Side, fx: &mut Effects<H>) {
        let Some(c) = self.conns.get_mut(conn).filter(|_| fx.room.is_none()) else {
            return;
        };
        // How long its message is, only who waits knows.
        if c.phase != Phase::Open || !c.share.has_room(Self::outgoing(c, side), 0) {
            return;
        }
        fx.room = c.room.get_mut(side).hand(0, Hand::Room).ok();
    }

    /// Serves one thread that waits at `target` though it need not: because a
    /// message is there, or because none will come.
    ///
    /// After each operation nobody waits for a message that is first in line and
    /// fits, or some thread has been told by [`Effects::again`] to see to it.
    pub(super) fn dispatch(&mut self, conn: u32, target: Place, fx: &mut Effects<H>) {
        let source = match target {
            Place::Port => Source::Port,
            Place::Side(side) => Source::Side(conn, side),
            Place::Nowhere => return,
        };
        // As nearly always.
        if self
            .receivers_at(conn, target)
            .is_none_or(|receivers| receivers.is_empty())
        {
            return;
        }
        let len = self.head_len(source);
        let end = self.end_of(source);
        let Some(receivers) = self.receivers_at(conn, target) else {
            return;
        };
        let hand = match (len, end) {
            (Some(len), _) if receivers.fits(len) => {
                if fx.is_crowded() {
                    fx.again.get_or_insert(source);
                    return;
                }
                if let Some(delivery) = self.take_head(source, fx) {
                    self.hand_to_receiver(conn, target, len, delivery, fx);
                }
                self.look_again(conn, target, source, fx);
                return;
            }
            (Some(len), _) => Hand::TooSmall(len),
            (None, Some(end)) => Hand::Ended(end),
            (None, None) => return,
        };
        if let Ok(waker) = receivers.hand(0, hand) {
            fx.add_wake(waker);
        }
        self.look_again(conn, target, source, fx);
    }

    /// Notes if another thread must be served at the same place.
    fn look_again(&mut self, conn: u32, target: Place, source: Source, fx: &mut Effects<H>) {
        let len = self.head_len(source);
        let ended = self.end_of(source).is_some();
        let Some(receivers) = self.receivers_at(conn, target) else {
            return;
        };
        let due = len.is_some_and(|len| receivers.fits(len));
        if due || (ended && !receivers.is_empty()) {
            fx.again.get_or_insert(source);
        }
    }

    /// Whether nobody can receive at `target` any more.
    pub(super) fn is_gone(&self, conn: u32, target: Place) -> bool {
        match target {
            Place::Port => self.gone,
            Place::Side(side) => !self.conns.get(conn).is_some_and(|c| *c.open.get(side)),
            Place::Nowhere => true,
        }
    }
}

/// The thread that has a message, and the id of the holder that it is; or the message.
type HandedTo<H> = Result<(<H as Host>::Waker, u64), Hand<H>>;

/// Hands a message to a thread, which learns whether it is noted who it is. The id is 0 if
/// there is nothing to note.
#[inline(always)]
fn hand_message<H: Host>(
    waiters: &mut H::Waiters,
    holders: &mut Holders<H>,
    len: u32,
    mut delivery: Delivery<H>,
) -> HandedTo<H> {
    let mut receiver = 0;
    if delivery.open {
        receiver = waiters.holder(len);
        delivery.noted = holders.sure(receiver).is_some();
    }
    let waker = waiters.hand(len, Hand::Message(delivery))?;
    Ok((waker, receiver))
}

/// The queue where a message of `slot` to side `to` belongs.
pub(super) fn place<H: Host>(slot: &Slot<H>, to: Side) -> Place {
    match to {
        Side::Client => Place::Side(Side::Client),
        // What the server began by its communication port comes back there.
        Side::Server if slot.origin == Side::Server && !slot.what.is_notice() => {
            Place::Side(Side::Server)
        }
        Side::Server => Place::Port,
    }
}
