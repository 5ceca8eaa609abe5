// SPDX-License-Identifier: GPL-2.0

//! Asking for a connection, and the server's answer.
#![deny(unsafe_code)]

use super::list::{Store, Via, NONE};
use super::types::{End, Host, Kind, Phase, Place, Refusal, Share, Side, State, What};
use super::{Effects, Engine, Sent, PENDING_MAX};

impl<H: Host> Engine<H> {
    /// Asks for a connection; `body` is what the server shall read. The caller has
    /// another reference to what `peer` refers to: a refusal drops this one.
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
                self.free_conns
                    .push_front(&mut self.conns, Via::Queue, conn);
                return Err((refusal, body));
            }
        };
        self.connections = self.connections.saturating_add(1);
        self.ways = self.ways.saturating_add(1);
        self.pending = self.pending.saturating_add(1);
        if let Some(c) = self.conns.get_mut(conn) {
            c.phase = Phase::Pending;
            *c.open.get_mut(Side::Client) = true;
            *c.context.get_mut(Side::Client) = context;
            *c.context.get_mut(Side::Server) = self.context;
            *c.sequence.get_mut(Side::Client) = 0;
            *c.sequence.get_mut(Side::Server) = 0;
            c.share = share;
            c.refused = 0;
            c.peer = Some(peer);
        }
        let id = self.begin(index, Kind::Connect, Side::Client, body);
        self.deliver(index, Side::Server, fx);
        Ok((conn, Sent { id, slot: index }))
    }

    /// Whether a user who has so many places, with the one that is asked for, may
    /// have that one. Nobody may have more than are free, so one alone gets half of
    /// them, and the next one half of the rest.
    pub fn has_place(&self, pending: u32, connections: u32) -> bool {
        self.closed
            || (pending <= PENDING_MAX.saturating_sub(self.pending)
                && connections <= self.max_connections.saturating_sub(self.connections))
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
        self.answer_request(index, conn, What::ConnectionReply, body, fx);
        Ok(conn)
    }

    /// Refuses the received connection request `id`. [`Self::lose_way`] is to follow, in a step of
    /// its own.
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
        self.answer_request(index, conn, What::ConnectionRefused, body, fx);
        // The answer is for one, the end for all who wait on the client's port.
        self.dispatch(conn, Place::Side(Side::Client), fx);
        Ok(())
    }

    /// There is a connect descriptor, which counts until [`Self::lose_way`]. Of a port that has a
    /// name none is counted: it can always be found.
    pub fn add_descriptor(&mut self) {
        self.ways = self.ways.saturating_add(1);
        self.had_descriptor = true;
    }

    /// What led here does no more: a connect descriptor is gone, or a connection has ended and what
    /// is to be told of that is queued. Tells who waits at the port if it was the last.
    pub fn lose_way(&mut self, fx: &mut Effects<H>) {
        self.ways = self.ways.saturating_sub(1);
        if self.has_no_clients() {
            fx.poll_port = true;
            self.dispatch(NONE, Place::Port, fx);
        }
    }

    /// Whether nobody can reach the port: there were connect descriptors, and none is left, nor is a
    /// connection. What has been sent may be queued still.
    pub fn has_no_clients(&self) -> bool {
        self.had_descriptor && self.ways == 0 && !self.closed
    }

    /// The connection of the received connection request `id`, and its peer.
    pub fn peer_of_request(&self, id: u64) -> Result<(u32, H::Peer), Refusal> {
        let (_, conn) = self.received_request(id)?;
        let c = self.conns.get(conn).ok_or(Refusal::NotFound)?;
        Ok((conn, c.peer.clone().ok_or(Refusal::NotFound)?))
    }

    fn received_request(&self, id: u64) -> Result<(u32, u32), Refusal> {
        let found = self.slots.get(self.find(None, id)?);
        // Its answer is under way: it has been accepted or refused.
        if found.is_some_and(|s| s.kind == Kind::Connect && s.state == State::Queued(Side::Client))
        {
            return Err(Refusal::NotFound);
        }
        let index = self.held(None, Side::Server, id, 0)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        if slot.kind != Kind::Connect {
            return Err(Refusal::WrongKind);
        }
        // The client has gone, and the step that says so to the server is to come.
        if self.phase(slot.conn) != Phase::Pending {
            return Err(Refusal::Ended(End::Canceled));
        }
        Ok((index, slot.conn))
    }

    fn answer_request(
        &mut self,
        index: u32,
        conn: u32,
        what: What,
        body: H::Body,
        fx: &mut Effects<H>,
    ) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.what = what;
        slot.open = false;
        *slot.bodies.get_mut(Side::Server) = Some(body);
        self.pending = self.pending.saturating_sub(1);
        self.deliver(index, Side::Client, fx);
        // Even if a thread has the answer, the client can send now, or never.
        if fx.poll.is_none() {
            fx.poll = self.polled_peer(conn);
        }
    }
}
