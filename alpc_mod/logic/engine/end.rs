// SPDX-License-Identifier: GPL-2.0

//! The end of conversations: by cancel, by release, with their connection.
#![deny(unsafe_code)]

use super::list::Store;
use super::types::{
    Delivery, End, Hand, Host, Kind, Phase, Place, Refusal, Side, State, Waiters, What,
};
use super::{Effects, Engine};

/// Why a conversation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A side wants it to.
    Cancel,
    /// A side ended the connection.
    Disconnect,
    /// A thread received it that it was not for.
    Mismatch,
    /// There is no room for the answer.
    TooLong,
}

impl<H: Host> Engine<H> {
    /// Cancels conversation `id` for `side`. True says that the other side knows
    /// of it, which `try_only` refuses to cancel.
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
                State::Queued(to) if to == side => Refusal::Ended(slot.what.end()),
                // This side has cancelled it, and the other is still to hear of it.
                State::Queued(_) if slot.what == What::Canceled => Refusal::Ended(End::Canceled),
                _ => Refusal::NotFound,
            });
        }
        if slot.kind != Kind::Request {
            return Err(Refusal::WrongKind);
        }
        match slot.state {
            State::Queued(to) if to == side && !*slot.seen.get(side) => {
                return Err(Refusal::NotOwner)
            }
            // Its final answer is under way: this side has given it up.
            State::Queued(to) if to != side && !slot.open => return Err(Refusal::NotFound),
            _ => {}
        }
        let received = *slot.seen.get(side.other());
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

    /// Ends the conversation `id`, held at `turn` by the server, whose answer is too long for the
    /// room that the client has made.
    pub fn end_too_long(
        &mut self,
        conn: Option<u32>,
        id: u64,
        turn: u32,
        fx: &mut Effects<H>,
    ) -> Result<(), Refusal> {
        let index = self.held(conn, Side::Server, id, turn)?;
        self.end_conversation(index, Side::Server, Why::TooLong, fx);
        Ok(())
    }

    /// Ends a conversation that began with a request which the receiver may not have.
    pub fn reject(&mut self, delivery: &Delivery<H>, fx: &mut Effects<H>) {
        let (index, to) = (delivery.slot, delivery.to);
        // It may have been cancelled meanwhile.
        let is_held = self.slots.get(index).is_some_and(|slot| {
            slot.kind == Kind::Request
                && slot.id == delivery.id
                && slot.state == State::Held(to)
                && slot.turn == delivery.turn
        });
        if is_held {
            self.end_conversation(index, to, Why::Mismatch, fx);
        }
    }

    /// Ends a conversation: wakes who waits for it, leaves a notice to who must
    /// know, and frees the slot else.
    pub(super) fn end_conversation(&mut self, index: u32, by: Side, why: Why, fx: &mut Effects<H>) {
        self.unqueue_for_end(index, fx);
        let other = by.other();
        let listens = self.takes_notices(index, other);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let state = slot.state;
        let knows = *slot.seen.get(other);
        let unreceived = !(knows && *slot.seen.get(by));
        // The end as each side would see it in its wait.
        let end_for = |side: Side| match (why, unreceived) {
            (Why::Mismatch, _) => End::Mismatch,
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
        // What was begun, or a call within it. And who began it, and has gone on with it after the
        // answer, has asked for the next.
        let goes_on = slot.open && slot.origin == other;
        let owed = !slot.answered || slot.depth > 0 || goes_on;
        let notice = match (why, state) {
            _ if told || !knows || !listens => None,
            (Why::Disconnect, State::Queued(to)) if to == Side::Client && !slot.open => None,
            (Why::Disconnect, _) => Some(What::Canceled),
            (Why::Mismatch, _) => owed.then_some(What::LostReply),
            // It waits for one, whatever it had before.
            (Why::TooLong, _) => Some(What::LostReply),
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
        // What it was begun with stays, and what that is charged to: else there would be
        // any number of conversations whose notices the side that began them does not read.
        let stays = why != Why::Disconnect && slot.origin == other;
        for side in [Side::Client, Side::Server] {
            if !(stays && side == other) {
                *fx.bodies.get_mut(side) = slot.bodies.get_mut(side).take();
            }
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

    /// Whether a notice about a conversation would find somebody. The end of a
    /// connection tells its client all there is to say.
    fn takes_notices(&self, index: u32, side: Side) -> bool {
        let Some(slot) = self.slots.get(index) else {
            return false;
        };
        match side {
            Side::Client => self.phase(slot.conn) == Phase::Open,
            Side::Server => !self.is_gone(slot.conn, Place::Port),
        }
    }

    /// Ends a connection request, or its answer on the way to the client.
    pub(super) fn end_request(&mut self, index: u32, by: Side, fx: &mut Effects<H>) {
        self.unqueue_for_end(index, fx);
        let listens = self.takes_notices(index, Side::Server);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let end = match by {
            Side::Client => End::Closed,
            Side::Server => End::Refused,
        };
        let held = slot.state == State::Held(Side::Server);
        if let Ok(waker) = slot.waiters.get_mut(Side::Client).hand(0, Hand::Ended(end)) {
            fx.add_wake(waker);
        }
        if !(held && by == Side::Client && listens) {
            self.free_slot(index, fx);
            return;
        }
        slot.what = What::Canceled;
        slot.open = false;
        *fx.bodies.get_mut(Side::Client) = slot.bodies.get_mut(Side::Client).take();
        self.deliver(index, Side::Server, fx);
    }
}
