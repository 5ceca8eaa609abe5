// SPDX-License-Identifier: GPL-2.0

//! Everything that ends: conversations by cancel or release, connections by
//! either side, the whole port.
//!
//! What may be long is done in steps. A caller repeats a step until it says
//! that nothing is left, acting on the effects in between with no lock held.
//! The new phase is set by the first step, so nothing is added behind it.

use super::list::{Store, Via};
use super::types::{
    Effects, End, Hand, Host, Kind, Phase, Place, Refusal, Side, State, Waiters, What,
};
use super::{Engine, NONE};

/// Why a conversation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// A side wants it to.
    Cancel,
    /// A side ended the connection.
    Disconnect,
}

/// Where an end that is done in steps has got to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    begun: bool,
    left: u32,
    conn: u32,
}

impl<H: Host> Engine<H> {
    /// Cancels conversation `id` for `side`. True says that the other side had
    /// received it, which `try_only` refuses to cancel.
    pub fn cancel(
        &mut self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        try_only: bool,
        fx: &mut Effects<H>,
    ) -> Result<bool, Refusal> {
        let index = self.find(conn, id)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        if slot.what.is_notice() {
            return Err(match slot.state {
                State::Queued(to) if to == side => Refusal::Ended(End::Canceled),
                _ => Refusal::NotFound,
            });
        }
        if slot.kind != Kind::Request {
            return Err(Refusal::WrongKind);
        }
        let received = match slot.state {
            State::Queued(to) if to == side && !*slot.seen.get(side) => {
                return Err(Refusal::NotOwner)
            }
            State::Queued(_) => false,
            _ => true,
        };
        if received && try_only {
            return Err(Refusal::AlreadyReceived);
        }
        self.end_conversation(index, side, Why::Cancel, fx);
        Ok(received)
    }

    /// Lets go of the conversation `id`, held at `turn`, without an answer.
    pub fn discard(
        &mut self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
        fx: &mut Effects<H>,
    ) -> Result<(), Refusal> {
        let index = self.held(conn, side, id, turn)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        if slot.kind != Kind::Request {
            return Err(Refusal::WrongKind);
        }
        self.end_conversation(index, side, Why::Cancel, fx);
        Ok(())
    }

    /// Ends a conversation: wakes who waits for it, leaves a notice to who must
    /// know, and frees the slot else.
    fn end_conversation(&mut self, index: u32, by: Side, why: Why, fx: &mut Effects<H>) {
        self.unqueue_for_end(index, fx);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let other = by.other();
        let state = slot.state;
        let knows = *slot.seen.get(other);
        let unreceived = !(knows && *slot.seen.get(by));
        // The end as each side would see it in its wait.
        let end_for = |side: Side| match (why, unreceived) {
            (Why::Disconnect, _) if side == by => End::Closed,
            (Why::Disconnect, true) => End::Disconnected,
            (Why::Cancel, true) if side == by => End::Canceled,
            _ => End::Lost,
        };
        let mut told = false;
        for side in [Side::Client, Side::Server] {
            let hand = Hand::Ended(end_for(side));
            if let Ok(waker) = slot.waiters.get_mut(side).hand(0, hand) {
                fx.add_wake(waker);
                told |= side == other;
            }
        }
        let owed = slot.what == What::Request;
        let notice = match (why, state) {
            _ if told || !knows || slot.kind == Kind::OneWay => None,
            // The client's port says by its end what it has to say.
            (Why::Disconnect, _) if other == Side::Client => None,
            (Why::Disconnect, State::Queued(to)) if to == Side::Client && !slot.open => None,
            (Why::Disconnect, _) => Some(What::Canceled),
            (Why::Cancel, State::Held(holder)) if holder == other => Some(What::Canceled),
            (Why::Cancel, State::Held(_)) if owed => Some(What::LostReply),
            (Why::Cancel, State::Held(_)) => None,
            (Why::Cancel, State::Queued(to)) if to == other && slot.origin == other => {
                Some(What::LostReply)
            }
            (Why::Cancel, State::Queued(to)) if to == other => Some(What::Canceled),
            (Why::Cancel, State::Queued(_)) if owed => Some(What::LostReply),
            _ => None,
        };
        let Some(what) = notice else {
            self.free_slot(index, fx);
            return;
        };
        slot.what = what;
        slot.open = false;
        for side in [Side::Client, Side::Server] {
            *fx.bodies.get_mut(side) = slot.bodies.get_mut(side).take();
        }
        self.deliver(index, other, fx);
    }

    /// Takes a conversation that is to end off its queue, keeping its state,
    /// and serves who waits for what was behind it.
    fn unqueue_for_end(&mut self, index: u32, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let (conn, target) = (slot.conn, slot.place);
        self.unqueue(index, fx);
        self.dispatch(conn, target, fx);
    }

    /// Ends connection `conn` for `side`, a step at a time; true says that more
    /// is to do. With `flush`, what is queued is dropped, else what needs no
    /// answer stays receivable.
    pub fn disconnect(
        &mut self,
        conn: u32,
        side: Side,
        flush: bool,
        progress: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        if !progress.begun {
            progress.begun = true;
            match (c.phase, side) {
                (Phase::Open, _) => {
                    c.phase = Phase::Ended(side);
                    c.closed_notice = side == Side::Client;
                }
                (Phase::Pending, Side::Client) => {
                    c.phase = Phase::Ended(side);
                    self.pending = self.pending.saturating_sub(1);
                }
                (Phase::Pending, Side::Server) => {
                    c.phase = Phase::Refused;
                    self.pending = self.pending.saturating_sub(1);
                }
                // It has ended before. Whoever ends it again does so in vain.
                _ => return false,
            }
            progress.left = c.all.len();
            let announce = c.closed_notice && (c.port.messages == 0 || !self.arrival_order);
            fx.poll = self.polled_peer(conn);
            if announce {
                self.announce_close(conn, fx);
            }
            return true;
        }
        if self.end_waits(conn, fx) {
            return true;
        }
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        if progress.left == 0 {
            return false;
        }
        progress.left = progress.left.saturating_sub(1);
        let Some(index) = c.all.pop_front(&mut self.slots, Via::Owner) else {
            return false;
        };
        c.all.push_back(&mut self.slots, Via::Owner, index);
        self.end_by_disconnect(index, side, flush, fx);
        true
    }

    /// Tells the server, behind all messages, that the client has gone.
    fn announce_close(&mut self, conn: u32, fx: &mut Effects<H>) {
        self.make_ready(conn, false);
        fx.poll_port = true;
        self.dispatch(conn, Place::Port, fx);
    }

    /// Ends one wait on the ports of an ended connection; false when none is.
    fn end_waits(&mut self, conn: u32, fx: &mut Effects<H>) -> bool {
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        let phase = c.phase;
        let end_for = |side: Side| match phase {
            Phase::Ended(by) if by == side => End::Closed,
            Phase::Refused => End::Refused,
            _ => End::Disconnected,
        };
        let mut found = false;
        for side in [Side::Client, Side::Server] {
            if let Ok(waker) = c.room.get_mut(side).hand(0, Hand::Ended(end_for(side))) {
                fx.add_wake(waker);
                return true;
            }
            // Who waits while something is queued was told to bring more room.
            let receivers = c.receivers.get_mut(side);
            if let Ok(waker) = receivers.hand(0, Hand::Ended(end_for(side))) {
                fx.add_wake(waker);
                found = true;
                break;
            }
        }
        found
    }

    fn end_by_disconnect(&mut self, index: u32, by: Side, flush: bool, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        match slot.state {
            State::Free | State::Idle => {}
            State::Queued(_) if slot.what.is_notice() => {}
            State::Queued(_) if !slot.open && !flush => {}
            // A connection request that the server has not seen is withdrawn, one
            // that waits for the server's answer is answered by its end.
            State::Queued(_) | State::Held(_) if slot.kind == Kind::Connect => {
                self.end_request(index, by, fx);
            }
            State::Queued(_) | State::Held(_) => {
                self.end_conversation(index, by, Why::Disconnect, fx);
            }
        }
    }

    fn end_request(&mut self, index: u32, by: Side, fx: &mut Effects<H>) {
        self.unqueue_for_end(index, fx);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let end = match by {
            Side::Client => End::Closed,
            Side::Server => End::Refused,
        };
        let held = slot.state == State::Held(Side::Server);
        if let Ok(waker) = slot
            .waiters
            .get_mut(Side::Client)
            .hand(0, Hand::Ended(end))
        {
            fx.add_wake(waker);
        }
        if !(held && by == Side::Client) {
            self.free_slot(index, fx);
            return;
        }
        slot.what = What::Canceled;
        slot.open = false;
        *fx.bodies.get_mut(Side::Client) = slot.bodies.get_mut(Side::Client).take();
        self.deliver(index, Side::Server, fx);
    }

    /// The last descriptor of `side`'s communication port is gone, a step at a
    /// time after [`Self::disconnect`]: drops what only it could receive.
    pub fn close_side(
        &mut self,
        conn: u32,
        side: Side,
        progress: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        let index = c.queues.get(side).list.head();
        if self.slots.get(index).is_some() {
            self.unqueue(index, fx);
            self.free_slot(index, fx);
            return true;
        }
        if !progress.begun {
            progress.begun = true;
            *c.open.get_mut(side) = false;
            self.free_conn_if_done(conn, fx);
        }
        false
    }

    /// Closes the connection port, a step at a time.
    pub fn close_port(
        &mut self,
        flush: bool,
        progress: &mut Progress,
        inner: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        if !progress.begun {
            progress.begun = true;
            progress.conn = 0;
            self.closed = true;
            fx.poll_port = true;
            return true;
        }
        if let Ok(waker) = self.receivers.hand(0, Hand::Ended(End::Closed)) {
            fx.add_wake(waker);
            return true;
        }
        if progress.conn >= self.conns.len() {
            return false;
        }
        if !self.disconnect(progress.conn, Side::Server, flush, inner, fx) {
            *inner = Progress::default();
            progress.conn = progress.conn.saturating_add(1);
        }
        true
    }

    /// After the last descriptor of the connection port is gone, drops what only
    /// it could receive, a message at a time.
    pub fn drain_port(&mut self, fx: &mut Effects<H>) -> bool {
        let Some(delivery) = self.take_head(super::Source::Port, fx) else {
            return false;
        };
        if delivery.idle {
            self.finish(&delivery, false, fx);
        } else {
            // Nobody is left to hold it.
            self.end_conversation(delivery.slot, Side::Server, Why::Disconnect, fx);
        }
        for (side, body) in [
            (delivery.to.other(), delivery.body),
            (delivery.to, delivery.own),
        ] {
            if body.is_some() {
                *fx.bodies.get_mut(side) = body;
            }
        }
        true
    }

    /// The slot of a connection's unanswered request, to wait for its answer.
    pub fn request_of(&self, conn: u32) -> Option<super::Sent> {
        let index = self.conns.get(conn)?.request;
        if index == NONE {
            return None;
        }
        let slot = self.slots.get(index)?;
        Some(super::Sent {
            id: slot.id,
            slot: index,
        })
    }
}
