// SPDX-License-Identifier: GPL-2.0

//! Everything that takes a message out: receiving the next one of a port,
//! collecting the next one of a conversation, and putting one back that could
//! not be copied to its receiver.
#![deny(unsafe_code)]

use super::deliver::place;
use super::list::{Store, Via, NONE};
use super::types::{
    Delivery, End, Hand, Host, Kind, Phase, Place, Refusal, Side, State, Waiters, What,
};
use super::{Effects, Engine};

/// What is received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The connection port.
    Port,
    /// One side's communication port of a connection.
    Side(u32, Side),
}

/// What a receive found.
pub enum Received<H: Host> {
    /// A message.
    Message(Delivery<H>),
    /// A message that needs this many bytes of room. It stays.
    TooSmall(u32),
    /// Nothing yet.
    Empty,
    /// Nothing, and nothing will come.
    Ended(End),
    /// Nothing that this caller may wait for.
    Refused(Refusal),
}

/// What is first in line.
pub(super) enum Head {
    /// A message, in this slot.
    Message(u32),
    /// The notice that this connection's client has gone.
    PortClosed(u32),
}

impl<H: Host> Engine<H> {
    /// Takes the next message, if it fits into `capacity` bytes.
    pub fn receive(&mut self, source: Source, capacity: u32, fx: &mut Effects<H>) -> Received<H> {
        if let Some(len) = self.head_len(source) {
            if len > capacity {
                return Received::TooSmall(len);
            }
            if let Some(delivery) = self.take_head(source, fx) {
                let (conn, target) = match source {
                    Source::Port => (NONE, Place::Port),
                    Source::Side(conn, side) => (conn, Place::Side(side)),
                };
                self.dispatch(conn, target, fx);
                return Received::Message(delivery);
            }
        }
        match self.end_of(source) {
            Some(end) => Received::Ended(end),
            None => Received::Empty,
        }
    }

    /// Why nothing more comes to a port, if so.
    pub(super) fn end_of(&self, source: Source) -> Option<End> {
        match source {
            Source::Port if self.closed => Some(End::Closed),
            Source::Port => self.has_no_clients().then_some(End::NoClients),
            Source::Side(conn, side) => match self.phase(conn) {
                Phase::Pending | Phase::Open => None,
                Phase::Refused => Some(End::Refused),
                Phase::Ended(by) if by == side => Some(End::Closed),
                Phase::Ended(_) | Phase::Free => Some(End::Disconnected),
            },
        }
    }

    /// Takes the next message of conversation `id`, which `side` has begun or
    /// sent into and whose turn it is not.
    pub fn collect(
        &mut self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        capacity: u32,
        fx: &mut Effects<H>,
    ) -> (Received<H>, u32) {
        let index = match self.find(conn, id) {
            Ok(index) => index,
            Err(refusal) => return (Received::Refused(refusal), NONE),
        };
        let Some(slot) = self.slots.get(index) else {
            return (Received::Refused(Refusal::NotFound), NONE);
        };
        if !*slot.seen.get(side) {
            return (Received::Refused(Refusal::NotFound), NONE);
        }
        let (conn, target) = (slot.conn, slot.place);
        let received = match slot.state {
            State::Queued(to) if to == side && slot.what.is_notice() => {
                let end = slot.what.end();
                self.unqueue(index, fx);
                self.free_slot(index, fx);
                Received::Ended(end)
            }
            State::Queued(to) if to == side => {
                let len = slot.len(to);
                if len > capacity {
                    Received::TooSmall(len)
                } else {
                    self.unqueue(index, fx);
                    Received::Message(self.take_out(index, side))
                }
            }
            // This side has given it up: nothing comes back, and nobody may wait
            // in a slot that is about to be free.
            State::Queued(_) if !slot.open => Received::Refused(Refusal::NotFound),
            // Somebody of this side has it already.
            State::Held(by) if by == side => Received::Refused(Refusal::AlreadyReceived),
            // One thread at a time waits for a conversation.
            _ if !slot.waiters.get(side).is_empty() => Received::Refused(Refusal::NotOwner),
            _ => Received::Empty,
        };
        if matches!(received, Received::Message(_) | Received::Ended(_)) {
            self.dispatch(conn, target, fx);
        }
        (received, index)
    }

    /// Ends a delivery whose slot is in the receiver's hands: the message has
    /// been copied out. With `keep`, the slot stays with its connection, idle,
    /// for the receiver's next new message; true says that it did.
    pub fn finish(&mut self, delivery: &Delivery<H>, keep: bool, fx: &mut Effects<H>) -> bool {
        if delivery.slot == NONE {
            if let Some(c) = self.conns.get_mut(delivery.conn) {
                c.notice_in_hand = false;
            }
            self.free_conn_if_done(delivery.conn, fx);
            return false;
        }
        if delivery.idle && !keep {
            self.release(delivery.conn, delivery.slot, fx);
        }
        delivery.idle && keep
    }

    /// Frees a slot that was kept idle.
    pub fn release(&mut self, conn: u32, index: u32, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        if slot.state == State::Idle && slot.conn == conn {
            self.free_slot(index, fx);
        }
    }

    /// Puts a message back that could not be given to its receiver: it is first
    /// in line again.
    pub fn undeliver(&mut self, delivery: Delivery<H>, fx: &mut Effects<H>) {
        let Delivery {
            conn,
            slot: index,
            to,
            id,
            turn,
            idle,
            body,
            own,
            ..
        } = delivery;
        if index == NONE {
            if let Some(c) = self.conns.get_mut(conn) {
                c.notice_in_hand = false;
            }
            self.announce_close(conn, true, fx);
            return;
        }
        let Some(slot) = self.slots.get_mut(index) else {
            // Cancelled meanwhile, and the port gone with its tables.
            *fx.bodies.get_mut(to.other()) = body;
            *fx.bodies.get_mut(to) = own;
            return;
        };
        if idle {
            if slot.kind != Kind::OneWay {
                self.get_name(conn);
            }
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            *slot.bodies.get_mut(to.other()) = body;
            *slot.bodies.get_mut(to) = own;
            slot.state = State::Queued(to);
            let target = place(slot, to);
            if self.is_gone(conn, target) {
                self.free_slot(index, fx);
                return;
            }
        } else if slot.id != id || slot.state != State::Held(to) || slot.turn != turn {
            // It has been cancelled or answered meanwhile.
            *fx.bodies.get_mut(to.other()) = body;
            return;
        } else {
            *fx.bodies.get_mut(to.other()) = body;
        }
        self.let_go(index);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if turn == 0 && slot.origin != to && !slot.what.is_notice() {
            // It was the first of its conversation: `to` knows of none.
            *slot.seen.get_mut(to) = false;
        }
        slot.state = State::Queued(to);
        let target = place(slot, to);
        self.enqueue(index, target, true, fx);
    }

    pub(super) fn head(&self, source: Source) -> Option<Head> {
        match source {
            Source::Side(conn, side) => {
                let index = self.conns.get(conn)?.queues.get(side).list.head();
                self.slots.get(index).map(|_| Head::Message(index))
            }
            Source::Port => {
                let Some(c) = self.conns.get(self.ready.head()) else {
                    let index = self.arrivals.head();
                    return self.slots.get(index).map(|_| Head::Message(index));
                };
                let index = c.port.list.head();
                match self.slots.get(index) {
                    Some(_) => Some(Head::Message(index)),
                    None => Some(Head::PortClosed(self.ready.head())),
                }
            }
        }
    }

    /// Bytes of the message that is first in line.
    pub(super) fn head_len(&self, source: Source) -> Option<u32> {
        match self.head(source)? {
            Head::PortClosed(_) => Some(0),
            Head::Message(index) => {
                let slot = self.slots.get(index)?;
                match slot.state {
                    State::Queued(to) => Some(slot.len(to)),
                    _ => Some(0),
                }
            }
        }
    }

    /// Takes what is first in line.
    pub(super) fn take_head(&mut self, source: Source, fx: &mut Effects<H>) -> Option<Delivery<H>> {
        match self.head(source)? {
            Head::Message(index) => {
                let State::Queued(to) = self.slots.get(index)?.state else {
                    return None;
                };
                self.unqueue(index, fx);
                Some(self.take_out(index, to))
            }
            Head::PortClosed(conn) => {
                self.unready(conn);
                let sequence = self.sequence.wrapping_add(1);
                self.sequence = sequence;
                let c = self.conns.get_mut(conn)?;
                c.closed_notice = false;
                c.notice_in_hand = true;
                Some(Delivery {
                    conn,
                    slot: NONE,
                    to: Side::Server,
                    id: 0,
                    turn: 0,
                    what: What::PortClosed,
                    open: false,
                    idle: true,
                    noted: false,
                    body: None,
                    own: None,
                    peer: c.peer.clone(),
                    port_context: *c.context.get(Side::Server),
                    message_context: 0,
                    sequence,
                })
            }
        }
    }

    /// Takes a queued message off its queue.
    pub(super) fn unqueue(&mut self, index: u32, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let State::Queued(to) = slot.state else {
            return;
        };
        let target = core::mem::replace(&mut slot.place, Place::Nowhere);
        let len = slot.len(to);
        let conn = slot.conn;
        let Some(c) = self.conns.get_mut(conn) else {
            return;
        };
        let queue = match target {
            Place::Side(side) => c.queues.get_mut(side),
            Place::Port => &mut c.port,
            Place::Nowhere => return,
        };
        // What a poll of the sender's says changes here, or not.
        let full = !c.share.has_room(queue, c.share.max_length);
        queue.messages = queue.messages.saturating_sub(1);
        queue.bytes = queue.bytes.saturating_sub(len);
        let freed = full && c.share.has_room(queue, c.share.max_length);
        match target {
            Place::Port if self.arrival_order => {
                self.arrivals.remove(&mut self.slots, Via::Queue, index);
            }
            _ => queue.list.remove(&mut self.slots, Via::Queue, index),
        }
        // New messages of the server's go to the client's queue alone.
        if target != Place::Side(Side::Server) {
            let room = c.room.get_mut(to.other());
            if !room.is_empty() {
                if let Ok(waker) = room.hand(0, Hand::Room) {
                    fx.add_room(waker);
                }
            }
        }
        let more = match self.arrival_order {
            true => c.closed_notice && c.port.messages == 0,
            false => c.closed_notice || !c.port.list.is_empty(),
        };
        if target == Place::Port {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(len);
            // To the end of the line: every connection has its turn.
            self.unready(conn);
            if more {
                self.make_ready(conn, false);
            }
        }
        if freed && target != Place::Side(Side::Server) {
            if let Some(peer) = self.polled_peer(conn) {
                fx.add_poll(peer);
            }
        }
    }

    /// Makes a delivery of the message in slot `index`, which is in no queue.
    pub(super) fn take_out(&mut self, index: u32, to: Side) -> Delivery<H> {
        let mut delivery = Delivery {
            conn: NONE,
            slot: index,
            to,
            id: 0,
            turn: 0,
            what: What::LostReply,
            open: false,
            idle: false,
            noted: false,
            body: None,
            own: None,
            peer: None,
            port_context: 0,
            message_context: 0,
            sequence: 0,
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return delivery;
        };
        delivery.conn = slot.conn;
        // What is one-way has no name to answer to.
        if slot.what != What::Datagram {
            delivery.id = slot.id;
        }
        delivery.turn = slot.turn;
        delivery.what = slot.what;
        delivery.open = slot.open;
        delivery.idle = !slot.open;
        delivery.message_context = *slot.context.get(to);
        delivery.sequence = slot.sequence;
        *slot.seen.get_mut(to) = true;
        let from = to.other();
        if slot.open {
            slot.state = State::Held(to);
            delivery.body = slot.bodies.get(from).clone();
        } else {
            slot.state = State::Idle;
            delivery.body = slot.bodies.get_mut(from).take();
            delivery.own = slot.bodies.get_mut(to).take();
        }
        if let Some(c) = self.conns.get_mut(delivery.conn) {
            if delivery.idle && delivery.what != What::Datagram {
                c.nameless = c.nameless.wrapping_add(1);
                self.nameless = self.nameless.wrapping_add(1);
            }
            delivery.port_context = *c.context.get(to);
            if delivery.body.is_none() {
                delivery.peer = c.peer.clone();
            }
        }
        delivery
    }
}
