// SPDX-License-Identifier: GPL-2.0

//! Sending: new messages, replies and callbacks.
#![deny(unsafe_code)]

use super::deliver::place;
use super::list::Store;
use super::types::{
    Body, Conn, End, Host, Kind, Phase, Place, Refusal, Side, State, Waiters, What,
};
use super::{Effects, Engine, DEPTH_MAX};

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

/// What the server is about to send stays where it is for as long as the client likes: in a
/// queue, or with the client if that gets the turn.
pub struct Stay<'a, H: Host> {
    /// The connection.
    pub peer: &'a H::Peer,
    /// What the client has sent into the conversation last.
    pub request: Option<&'a H::Body>,
    /// Whether a thread of the client's waits for it.
    pub waited: bool,
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
        let result = self.try_send_new(conn, side, new, kept, body, fx);
        // If this thread had waited for room: there may be enough for the next.
        if !matches!(result, Err((Refusal::QueueFull, _))) {
            self.pass_room(conn, side, fx);
        }
        result
    }

    fn try_send_new(
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
            self.note_refusal(conn, refusal);
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

    /// Refuses what `side` would send on a connection that is not open.
    pub fn may_send(&self, conn: u32, side: Side) -> Result<(), Refusal> {
        may_send(self.conns.get(conn).ok_or(Refusal::NotFound)?, side)
    }

    fn may_send_new(&self, conn: u32, side: Side, len: u32) -> Result<(), Refusal> {
        let c = self.conns.get(conn).ok_or(Refusal::NotFound)?;
        may_send(c, side)?;
        if len > c.share.max_length {
            return Err(Refusal::TooLong);
        }
        match c.share.has_room(Self::outgoing(c, side), len) {
            true => Ok(()),
            false => Err(Refusal::QueueFull),
        }
    }

    #[cold]
    fn note_refusal(&mut self, conn: u32, refusal: Refusal) {
        if let (Refusal::QueueFull, Some(c)) = (refusal, self.conns.get_mut(conn)) {
            c.refused = c.refused.saturating_add(1);
        }
    }

    /// Makes a conversation of an idle slot.
    pub(super) fn begin(&mut self, index: u32, kind: Kind, origin: Side, body: H::Body) -> u64 {
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
        let (id, conn) = (slot.id, slot.conn);
        if kind == Kind::OneWay {
            self.lose_name(conn);
        }
        id
    }

    /// Sends into the held conversation `id`, whose turn the sender knows.
    #[expect(clippy::too_many_arguments)]
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
        let found = self
            .may_send_into(conn, side, id, turn, how, body.len())
            .and_then(|found| {
                match body.is_paid() || self.has_share(found.0, side.other(), body.len()) {
                    true => Ok(found),
                    false => Err(Refusal::QueueFull),
                }
            });
        let (index, depth) = match found {
            Ok(found) => found,
            Err(refusal) => return Err((refusal, body)),
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return Err((Refusal::NotFound, body));
        };
        slot.answered |= slot.depth == 0 && how != How::Callback;
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
        Ok((index, depth))
    }

    /// Whether `len` bytes into the conversation in slot `index` find room in what the connection
    /// has towards `to`.
    fn has_share(&self, index: u32, to: Side, len: u32) -> bool {
        let Some(slot) = self.slots.get(index) else {
            return false;
        };
        // A thread that waits and has not enough room leaves it in the queue.
        if slot.waiters.get(to).fits(len) {
            return true;
        }
        let Some(c) = self.conns.get(slot.conn) else {
            return false;
        };
        let queue = match place(slot, to) {
            Place::Side(to) => c.queues.get(to),
            Place::Port | Place::Nowhere => &c.port,
        };
        queue.bytes.saturating_add(len) <= c.share.bytes
    }

    /// Whether `len` bytes that the server would send into conversation `id` stay anywhere. If it
    /// may not send them it is of no concern.
    pub fn stays(
        &mut self,
        conn: Option<u32>,
        id: u64,
        turn: u32,
        how: How,
        len: u32,
    ) -> Option<Stay<'_, H>> {
        let (side, to) = (Side::Server, Side::Client);
        let index = self.held(conn, side, id, turn).ok()?;
        let slot = self.slots.get(index)?;
        let (waiters, at) = (slot.waiters.get(to), slot.conn);
        let waited = match waiters.is_empty() {
            true => self.is_free_for(at, place(slot, to), len),
            false => waiters.fits(len),
        };
        if waited && how == How::FinalReply {
            return None;
        }
        self.may_send_into(conn, side, id, turn, how, len).ok()?;
        let request = self.slots.get(index)?.bodies.get(to).as_ref();
        let peer = self.conns.get(at)?.peer.as_ref()?;
        Some(Stay {
            peer,
            request,
            waited,
        })
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
            (State::Queued(to), What::Canceled) if to == side => Err(Refusal::Ended(End::Canceled)),
            (State::Queued(to), What::LostReply) if to == side => Err(Refusal::Ended(End::Lost)),
            (State::Held(by), _) if by == side && slot.turn == turn => Ok(index),
            (State::Held(by), _) if by == side => Err(Refusal::StaleTurn),
            _ => Err(Refusal::NotOwner),
        }
    }

    /// What `side` last sent into conversation `id`, and the turn, while what the conversation
    /// was begun with has not got its answer.
    pub fn own_body(&self, conn: Option<u32>, side: Side, id: u64) -> Option<(u32, &H::Body)> {
        let slot = self.slots.get(self.find(conn, id).ok()?)?;
        if slot.answered && slot.depth == 0 {
            return None;
        }
        let body = slot.bodies.get(side).as_ref()?;
        Some((slot.turn, body))
    }

    /// Sets the value that `side` gets back with every message of `id`.
    pub fn set_message_context(&mut self, sent: Sent, side: Side, value: u64) {
        if let Some(slot) = self.slots.get_mut(sent.slot) {
            if slot.id == sent.id {
                *slot.context.get_mut(side) = value;
            }
        }
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
