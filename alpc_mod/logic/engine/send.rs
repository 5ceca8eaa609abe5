// SPDX-License-Identifier: GPL-2.0

//! Everything that puts a message under way: connection requests, new messages,
//! replies and callbacks, accept and refuse.

use super::list::{Store, Via, NONE};
use super::types::{
    Body, Conn, Delivery, Effects, End, Hand, Host, Kind, Peer, Phase, Place, Refusal, Share, Side,
    Slot, State, Waiters, What,
};
use super::{Engine, Source, DEPTH_MAX, PENDING_MAX};

/// What a new message asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// An answer.
    Request,
    /// Nothing.
    OneWay,
}

/// What is sent into a held conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// An answer that leaves the conversation open.
    Reply,
    /// An answer that ends it.
    FinalReply,
    /// A nested request.
    Callback,
    /// The answer to a nested request, by a thread that waits on.
    Answer,
}

/// A message that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The conversation.
    pub id: u64,
    /// Its slot.
    pub slot: u32,
}

impl<H: Host> Engine<H> {
    /// Asks for a connection; `body` is what the server shall read.
    pub fn connect(
        &mut self,
        peer: H::Peer,
        body: H::Body,
        share: Share,
        context: u64,
        fx: &mut Effects<H>,
    ) -> Result<(u32, Sent), (Refusal, H::Body)> {
        if self.closed {
            return Err((Refusal::Ended(End::Refused), body));
        }
        if self.pending >= PENDING_MAX || self.connections >= self.max_connections {
            return Err((Refusal::Limit, body));
        }
        let Some(conn) = self.free_conns.pop_front(&mut self.conns, Via::Queue) else {
            return Err((Refusal::Grow, body));
        };
        let index = match self.take_slot(conn, None) {
            Ok(index) => index,
            Err(refusal) => {
                self.free_conns.push_front(&mut self.conns, Via::Queue, conn);
                return Err((refusal, body));
            }
        };
        self.connections = self.connections.saturating_add(1);
        self.pending = self.pending.saturating_add(1);
        if let Some(c) = self.conns.get_mut(conn) {
            c.phase = Phase::Pending;
            *c.open.get_mut(Side::Client) = true;
            *c.open.get_mut(Side::Server) = false;
            *c.context.get_mut(Side::Client) = context;
            *c.context.get_mut(Side::Server) = 0;
            *c.sequence.get_mut(Side::Client) = 0;
            *c.sequence.get_mut(Side::Server) = 0;
            c.share = share;
            c.request = index;
            c.peer = Some(peer);
        }
        let id = self.begin(index, Kind::Connect, Side::Client, body);
        self.deliver(index, Side::Server, fx);
        Ok((conn, Sent { id, slot: index }))
    }

    /// Sends a new message. `kept` is the slot that came idle with `body`.
    pub fn send_new(
        &mut self,
        conn: u32,
        side: Side,
        new: New,
        kept: Option<u32>,
        body: H::Body,
        fx: &mut Effects<H>,
    ) -> Result<Sent, (Refusal, H::Body)> {
        let len = body.len();
        if let Err(refusal) = self.may_send_new(conn, side, len) {
            return Err((refusal, body));
        }
        let index = match self.take_slot(conn, kept) {
            Ok(index) => index,
            Err(refusal) => return Err((refusal, body)),
        };
        let kind = match new {
            New::Request => Kind::Request,
            New::OneWay => Kind::OneWay,
        };
        let id = self.begin(index, kind, side, body);
        self.deliver(index, side.other(), fx);
        Ok(Sent { id, slot: index })
    }

    fn may_send_new(&self, conn: u32, side: Side, len: u32) -> Result<(), Refusal> {
        let c = self.conns.get(conn).ok_or(Refusal::NotFound)?;
        may_send(c, side)?;
        if len > c.share.max_length {
            return Err(Refusal::TooLong);
        }
        let queue = Self::outgoing(c, side);
        if queue.messages >= c.share.messages
            || queue.bytes.saturating_add(len) > c.share.bytes
        {
            return Err(Refusal::QueueFull);
        }
        Ok(())
    }

    /// Makes a conversation of an idle slot.
    fn begin(&mut self, index: u32, kind: Kind, origin: Side, body: H::Body) -> u64 {
        let Some(slot) = self.slots.get_mut(index) else {
            return 0;
        };
        slot.kind = kind;
        slot.origin = origin;
        slot.what = match kind {
            Kind::Connect => What::ConnectionRequest,
            Kind::Request => What::Request,
            Kind::OneWay => What::Datagram,
        };
        slot.open = kind != Kind::OneWay;
        *slot.seen.get_mut(origin) = true;
        *slot.bodies.get_mut(origin) = Some(body);
        slot.id
    }

    /// Sends into the held conversation `id`, whose turn the sender knows.
    pub fn send_into(
        &mut self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
        how: How,
        body: H::Body,
        fx: &mut Effects<H>,
    ) -> Result<Sent, (Refusal, H::Body)> {
        let (index, depth) = match self.may_send_into(conn, side, id, turn, how, body.len()) {
            Ok(found) => found,
            Err(refusal) => return Err((refusal, body)),
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return Err((Refusal::NotFound, body));
        };
        slot.depth = depth;
        slot.open = how != How::FinalReply;
        slot.what = match how {
            How::Callback => What::Request,
            How::Reply | How::FinalReply | How::Answer => What::Reply,
        };
        if slot.open {
            slot.turn = slot.turn.wrapping_add(1);
        }
        *fx.bodies.get_mut(side) = slot.bodies.get_mut(side).replace(body);
        self.deliver(index, side.other(), fx);
        Ok(Sent { id, slot: index })
    }

    /// The slot of `id` and its nesting after the send, if it may be sent into.
    fn may_send_into(
        &self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
        how: How,
        len: u32,
    ) -> Result<(u32, u32), Refusal> {
        let index = self.held(conn, side, id, turn)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        if slot.kind != Kind::Request {
            return Err(Refusal::WrongKind);
        }
        let c = self.conns.get(slot.conn).ok_or(Refusal::NotFound)?;
        may_send(c, side)?;
        if len > c.share.max_length {
            return Err(Refusal::TooLong);
        }
        let depth = match how {
            How::Callback if slot.depth >= DEPTH_MAX => return Err(Refusal::TooDeep),
            How::Callback => slot.depth.saturating_add(1),
            // The outer request is still open: it can't be ended from inside.
            How::FinalReply if slot.depth > 0 => return Err(Refusal::WrongKind),
            How::Answer if slot.depth == 0 => return Err(Refusal::WrongKind),
            How::Reply | How::FinalReply | How::Answer => slot.depth.saturating_sub(1),
        };
        let to = side.other();
        if slot.waiters.get(to).is_empty() {
            let queue = match place(slot, to) {
                Place::Side(to) => c.queues.get(to),
                Place::Port | Place::Nowhere => &c.port,
            };
            if queue.bytes.saturating_add(len) > c.share.bytes {
                return Err(Refusal::QueueFull);
            }
        }
        Ok((index, depth))
    }

    /// The slot of conversation `id`, which `side` must hold at `turn`.
    pub(super) fn held(
        &self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
    ) -> Result<u32, Refusal> {
        let index = self.find(conn, id)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        match (slot.state, slot.what) {
            (State::Queued(to), What::Canceled) if to == side => {
                Err(Refusal::Ended(End::Canceled))
            }
            (State::Queued(to), What::LostReply) if to == side => Err(Refusal::Ended(End::Lost)),
            (State::Held(by), _) if by == side && slot.turn == turn => Ok(index),
            (State::Held(by), _) if by == side => Err(Refusal::StaleTurn),
            _ => Err(Refusal::NotOwner),
        }
    }

    /// Sets the value that `side` gets back with every message of `id`.
    pub fn set_message_context(&mut self, sent: Sent, side: Side, value: u64) {
        if let Some(slot) = self.slots.get_mut(sent.slot) {
            if slot.id == sent.id {
                *slot.context.get_mut(side) = value;
            }
        }
    }

    /// Accepts the received connection request `id`. The connection is open,
    /// with its context bound, before the client can learn of it.
    pub fn accept(
        &mut self,
        id: u64,
        share: Share,
        context: u64,
        body: H::Body,
        fx: &mut Effects<H>,
    ) -> Result<u32, (Refusal, H::Body)> {
        let (index, conn) = match self.received_request(id) {
            Ok(found) => found,
            Err(refusal) => return Err((refusal, body)),
        };
        if let Some(c) = self.conns.get_mut(conn) {
            c.phase = Phase::Open;
            *c.open.get_mut(Side::Server) = true;
            *c.context.get_mut(Side::Server) = context;
            c.share = Share {
                max_length: c.share.max_length.min(share.max_length),
                messages: c.share.messages.min(share.messages),
                bytes: c.share.bytes.min(share.bytes),
            };
        }
        self.answer_request(index, What::ConnectionReply, body, fx);
        Ok(conn)
    }

    /// Refuses the received connection request `id`.
    pub fn refuse(
        &mut self,
        id: u64,
        body: H::Body,
        fx: &mut Effects<H>,
    ) -> Result<(), (Refusal, H::Body)> {
        let (index, conn) = match self.received_request(id) {
            Ok(found) => found,
            Err(refusal) => return Err((refusal, body)),
        };
        if let Some(c) = self.conns.get_mut(conn) {
            c.phase = Phase::Refused;
        }
        self.answer_request(index, What::ConnectionRefused, body, fx);
        Ok(())
    }

    /// The connection of the received connection request `id`, and its peer.
    pub fn peer_of_request(&self, id: u64) -> Result<(u32, H::Peer), Refusal> {
        let (_, conn) = self.received_request(id)?;
        let c = self.conns.get(conn).ok_or(Refusal::NotFound)?;
        Ok((conn, c.peer.clone().ok_or(Refusal::NotFound)?))
    }

    fn received_request(&self, id: u64) -> Result<(u32, u32), Refusal> {
        let index = self.held(None, Side::Server, id, 0)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        if slot.kind != Kind::Connect {
            return Err(Refusal::WrongKind);
        }
        Ok((index, slot.conn))
    }

    fn answer_request(&mut self, index: u32, what: What, body: H::Body, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.what = what;
        slot.open = false;
        *slot.bodies.get_mut(Side::Server) = Some(body);
        let conn = slot.conn;
        self.pending = self.pending.saturating_sub(1);
        if let Some(c) = self.conns.get_mut(conn) {
            c.request = NONE;
        }
        self.deliver(index, Side::Client, fx);
    }

    /// Brings the message in slot `index` to side `to`: into the hands of a
    /// thread that waits for it, or into a queue.
    pub(super) fn deliver(&mut self, index: u32, to: Side, fx: &mut Effects<H>) {
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
        match slot.waiters.get_mut(to).hand(len, Hand::Message(delivery)) {
            Ok(waker) => fx.add_wake(waker),
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
        let Some(receivers) = self.receivers_at(conn, target) else {
            return;
        };
        match receivers.hand(len, Hand::Message(delivery)) {
            Ok(waker) => fx.add_wake(waker),
            Err(Hand::Message(delivery)) => self.undeliver(delivery, fx),
            Err(_) => {}
        }
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
    fn is_free_for(&mut self, conn: u32, target: Place, len: u32) -> bool {
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
        match target {
            Place::Side(_) => fx.poll = self.polled_peer(conn),
            Place::Port | Place::Nowhere => {
                self.messages = self.messages.saturating_add(1);
                self.bytes = self.bytes.saturating_add(len);
                fx.poll_port = true;
                if !self.arrival_order {
                    self.make_ready(conn, front);
                }
            }
        }
        self.dispatch(conn, target, fx);
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

    /// Serves one thread that waits at a queue which is not empty.
    pub(super) fn dispatch(&mut self, conn: u32, target: Place, fx: &mut Effects<H>) {
        let source = match target {
            Place::Port => Source::Port,
            Place::Side(side) => Source::Side(conn, side),
            Place::Nowhere => return,
        };
        let Some(receivers) = self.receivers_at(conn, target) else {
            return;
        };
        if receivers.is_empty() {
            return;
        }
        let Some(len) = self.head_len(source) else {
            return;
        };
        let fits = self
            .receivers_at(conn, target)
            .is_some_and(|receivers| receivers.fits(len));
        if fits {
            if let Some(delivery) = self.take_head(source, fx) {
                self.hand_to_receiver(conn, target, len, delivery, fx);
            }
        } else if let Some(receivers) = self.receivers_at(conn, target) {
            if let Ok(waker) = receivers.hand(0, Hand::TooSmall(len)) {
                fx.add_wake(waker);
            }
        }
    }
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

/// Whether a side may send on a connection.
pub(super) fn may_send<H: Host>(c: &Conn<H>, side: Side) -> Result<(), Refusal> {
    match c.phase {
        Phase::Open => Ok(()),
        Phase::Pending => Err(Refusal::Ended(End::NotConnected)),
        Phase::Refused => Err(Refusal::Ended(End::Refused)),
        Phase::Ended(by) if by == side => Err(Refusal::Ended(End::Closed)),
        Phase::Ended(_) => Err(Refusal::Ended(End::Disconnected)),
        Phase::Free => Err(Refusal::NotFound),
    }
}
