// SPDX-License-Identifier: GPL-2.0

//! The two sends of nearly every call: a request to a server that waits, and
//! its final reply to the client that waits.
//!
//! They do what [`Engine::send_new`] and [`Engine::send_into`] would do, in fewer
//! steps and with no effect but the one thread to wake, or they do nothing.
#![deny(unsafe_code)]

use core::mem::forget;

use super::list::{List, Store, Via, NONE};
use super::types::{Body, Delivery, Hand, Host, Kind, Phase, Side, State, Waiters, What};
use super::{Engine, Who, INDEX_BITS, SLOTS_MAX};

/// What has been sent so, for as long as the lock is held.
pub struct Straight<'to, 'next, H: Host + 'to> {
    /// The thread that has it.
    pub to: H::Handed<'to>,
    /// The conversation.
    pub id: u64,
    /// Where the sender waits now, for the answer or for the next request. Nothing
    /// is there yet.
    pub next: &'next mut H::Waiters,
    /// The id of the holder that the sender is, where it waits for the next request.
    pub holder: u64,
}

/// What a sender does when it has sent so, while the lock is held.
pub trait Then<H: Host> {
    /// What comes of it.
    type Out;

    /// Does it.
    fn then(self, sent: Straight<'_, '_, H>) -> Self::Out;
}

impl<H: Host> Engine<H> {
    /// Sends a new request of the client into the hands of a thread that waits at
    /// the connection port. `kept` is the slot that came idle with `body`. Gives
    /// the body back if this is not such a case.
    /// `then` is called with the lock held.
    #[inline(always)]
    pub fn call_straight<T: Then<H>>(
        &mut self,
        conn: u32,
        kept: u32,
        body: H::Body,
        then: T,
    ) -> Result<T::Out, H::Body> {
        let len = body.len();
        let mut handed = Some(body.clone());
        let Some(c) = self.conns.get_mut(conn) else {
            return Err(body);
        };
        let Some(slot) = self.slots.get_mut(kept) else {
            return Err(body);
        };
        if c.phase != Phase::Open
            || len > c.share.max_length
            || !c.room.get(Side::Client).is_empty()
            || slot.state != State::Idle
            || slot.conn != conn
            || slot.bodies.get(Side::Client).is_some()
            || !self.ready.is_empty()
            || !self.arrivals.is_empty()
        {
            return Err(body);
        }
        let generation = slot.generation.wrapping_add(1);
        let id = (generation << INDEX_BITS) | u64::from(kept.wrapping_add(1));
        let sequence = self.sequence.wrapping_add(1);
        let port_context = *c.context.get(Side::Server);
        let holder = self.holders.sure(self.receivers.holder(len));
        let noted = holder.is_some();
        let to = self.receivers.hand_with(len, || {
            Hand::Message(Delivery {
                conn,
                slot: kept,
                to: Side::Server,
                id,
                turn: 0,
                what: What::Request,
                open: true,
                idle: false,
                noted,
                body: handed.take(),
                own: None,
                peer: None,
                port_context,
                message_context: 0,
                sequence,
            })
        });
        let Some(to) = to else {
            return Err(body);
        };
        c.nameless = c.nameless.wrapping_sub(1);
        self.nameless = self.nameless.wrapping_sub(1);
        self.sequence = sequence;
        slot.generation = generation;
        slot.id = id;
        slot.state = State::Held(Side::Server);
        slot.kind = Kind::Request;
        slot.origin = Side::Client;
        slot.what = What::Request;
        slot.open = true;
        *slot.seen.get_mut(Side::Client) = true;
        *slot.seen.get_mut(Side::Server) = true;
        slot.turn = 0;
        slot.depth = 0;
        slot.answered = false;
        slot.sequence = sequence;
        slot.context = Default::default();
        // There was none. Both forgotten values are `None`, which the compiler can't see.
        forget(slot.bodies.get_mut(Side::Client).replace(body));
        forget(handed);
        let done = then.then(Straight {
            to,
            id,
            next: slot.waiters.get_mut(Side::Client),
            holder: 0,
        });
        if let Some(holder) = holder {
            slot.holder = holder.place();
            match holder.held.is_empty() {
                true => holder.held.begin(slot, Via::Queue, kept),
                false => holder.held.push_front(&mut self.slots, Via::Queue, kept),
            }
        }
        Ok(done)
    }

    /// Sends the server's final reply to a request of a client that waits for it, when
    /// there is nothing to receive at the port, and `who` holds it. Gives the body back if this
    /// is not such a case. `then` is called with the lock held.
    #[inline(always)]
    pub fn reply_straight<T: Then<H>>(
        &mut self,
        id: u64,
        turn: u32,
        who: Who,
        body: H::Body,
        then: T,
    ) -> Result<T::Out, Option<H::Body>> {
        let len = body.len();
        let index = ((id & u64::from(SLOTS_MAX)) as u32).wrapping_sub(1);
        let Some(mut slot) = self.slots.get_mut(index) else {
            return Err(Some(body));
        };
        let Some(c) = self.conns.get_mut(slot.conn) else {
            return Err(Some(body));
        };
        let Some(found) = self.holders.table.get_mut(slot.holder) else {
            return Err(Some(body));
        };
        if found.who != who
            || found.client != NONE
            || !found.sure
            || !self.ready.is_empty()
            || !self.arrivals.is_empty()
            || self.closed
            || slot.id != id
            || slot.state != State::Held(Side::Server)
            || slot.kind != Kind::Request
            || slot.turn != turn
            || slot.depth != 0
            || slot.bodies.get(Side::Server).is_some()
            || c.phase != Phase::Open
            || len > c.share.max_length
        {
            return Err(Some(body));
        }
        let (holder, is_only) = (found.id, found.held.len() == 1);
        if !is_only {
            // Before it is handed over: the other entries can't be touched behind that.
            if !slot.waiters.get(Side::Client).fits(len) {
                return Err(Some(body));
            }
            found.held.remove(&mut self.slots, Via::Queue, index);
            slot = match self.slots.get_mut(index) {
                Some(slot) => slot,
                None => return Err(Some(body)),
            };
        }
        let mut body = Some(body);
        let sequence = c.sequence.get(Side::Client).wrapping_add(1);
        let (conn, port_context) = (slot.conn, *c.context.get(Side::Client));
        let message_context = *slot.context.get(Side::Client);
        let request = slot.bodies.get_mut(Side::Client);
        let to = slot.waiters.get_mut(Side::Client).hand_with(len, || {
            Hand::Message(Delivery {
                conn,
                slot: index,
                to: Side::Client,
                id,
                turn,
                what: What::Reply,
                open: false,
                idle: true,
                noted: false,
                body: body.take(),
                own: request.take(),
                peer: None,
                port_context,
                message_context,
                sequence,
            })
        });
        let Some(to) = to else {
            return Err(body);
        };
        // It is `None`: the thread has it.
        forget(body);
        *c.sequence.get_mut(Side::Client) = sequence;
        c.nameless = c.nameless.wrapping_add(1);
        self.nameless = self.nameless.wrapping_add(1);
        slot.holder = NONE;
        if is_only {
            // It has no neighbours that would have to be told.
            found.held = List::default();
        }
        slot.state = State::Idle;
        slot.what = What::Reply;
        slot.open = false;
        slot.answered = true;
        slot.sequence = sequence;
        *slot.seen.get_mut(Side::Client) = true;
        Ok(then.then(Straight {
            to,
            id,
            next: &mut self.receivers,
            holder,
        }))
    }
}
