// SPDX-License-Identifier: GPL-2.0

//! What holders leave behind: a table of descriptors that can't answer any more, a thread that has
//! ended, a side whose last descriptor is gone.
//!
//! All of it is done in steps. Whoever holds something meanwhile, and whoever else looks for what is
//! lost, changes the same lists between the steps.
#![deny(unsafe_code)]

use super::end::Why;
use super::holder::{client_of, index_of, Who, CHAINS};
use super::list::{Store, Via, NONE};
use super::types::{Host, Kind, Phase, Place, Side, State};
use super::{Effects, Engine, Source};

/// Conversations that are looked at in a step.
const STEP: u32 = 64;

/// What a table of descriptors that has let go of one leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Nothing.
    Nothing,
    /// Conversations, if it has no other descriptor. That goes with this stamp.
    Held(u32),
}

/// How far somebody has got who looks through what is held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    begun: bool,
    chain: usize,
    /// The holder that is looked through, and how much of it is left.
    holder: u64,
    left: u32,
    walk: u64,
    /// How far the table of conversations has been looked through.
    slot: u32,
}

/// A conversation that may be lost.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    slot: u32,
    id: u64,
    /// Its connection.
    pub conn: u32,
}

/// What has been found in a step.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// A conversation that is held.
    Held(Lost),
    /// Nothing in this step.
    Again,
    /// Nothing more.
    Done,
}

impl<H: Host> Engine<H> {
    /// A holder's table has been seen to have the descriptor, at a time when its stamp was this.
    /// False says that it must be looked up again.
    pub fn is_sure(&mut self, source: Source, who: Who, stamp: u32) -> bool {
        let index = self.find_holder(client_of(source), who.all());
        match self.holders.table.get_mut(index) {
            Some(holder) if holder.stamp != stamp => false,
            Some(holder) => {
                holder.sure = true;
                true
            }
            // What it held has ended meanwhile.
            None => true,
        }
    }

    /// A table of descriptors has let go of one of `source`.
    pub fn flush(&mut self, source: Source, who: Who) -> Flush {
        let index = self.find_holder(client_of(source), who);
        let stamp = self.holders.next_stamp();
        let Some(holder) = self.holders.table.get_mut(index) else {
            return Flush::Nothing;
        };
        if let Source::Side(conn, Side::Server) = source {
            // As long as it can answer at the connection port, it needs no other.
            let may_hold = !holder.held.is_empty() || holder.threads != 0;
            let has_some = self.conns.get(conn).is_some_and(|c| !c.all.is_empty());
            return match !holder.sure && may_hold && has_some {
                true => Flush::Held(holder.stamp),
                false => Flush::Nothing,
            };
        }
        holder.stamp = stamp;
        holder.sure = false;
        if holder.held.is_empty() && holder.threads == 0 {
            self.free_if_unused(index);
            return Flush::Nothing;
        }
        Flush::Held(stamp)
    }

    /// Looks at the next conversation that a table of descriptors, or one of its threads, holds:
    /// all of the port's or the client's, or those of the server communication port's connection.
    pub fn next_held(&mut self, source: Source, who: Who, ending: &mut Ending) -> Next {
        match source {
            Source::Side(conn, Side::Server) => self.next_of_conn(conn, who, ending),
            _ => self.next_of_all(client_of(source), who, ending),
        }
    }

    /// Looks through the table, which stays as it is whoever else looks there, or ends what is in
    /// it: those who each move on in a list they change skip what the others have moved.
    fn next_of_conn(&mut self, conn: u32, who: Who, ending: &mut Ending) -> Next {
        let len = self.slots.len();
        for _ in 0..STEP {
            let index = ending.slot;
            if index >= len {
                return Next::Done;
            }
            ending.slot = index.saturating_add(1);
            let is_there = self.slots.get(index).is_some_and(|slot| slot.conn == conn);
            if is_there && self.is_held_by(index, NONE, who.files) {
                return self.found(index);
            }
        }
        Next::Again
    }

    fn next_of_all(&mut self, client: u32, who: Who, ending: &mut Ending) -> Next {
        if !ending.begun {
            ending.begun = true;
            self.holders.walks = self.holders.walks.wrapping_add(1);
            ending.walk = self.holders.walks;
        }
        if ending.left > 0 {
            ending.left = ending.left.saturating_sub(1);
            let holder = self.holders.table.get_mut(index_of(ending.holder));
            if let Some(holder) = holder.filter(|holder| holder.id == ending.holder) {
                if let Some(index) = holder.held.pop_front(&mut self.slots, Via::Queue) {
                    holder.held.push_back(&mut self.slots, Via::Queue, index);
                    return self.found(index);
                }
            }
            ending.left = 0;
        }
        let mut index = self.first(client, ending.chain);
        while let Some(holder) = self.holders.table.get_mut(index) {
            // One who began later, and has been here, loses all that is to be lost here.
            let is_seen = holder.walk >= ending.walk;
            if holder.who.files == who.files && !is_seen {
                holder.walk = ending.walk;
                ending.holder = holder.id;
                ending.left = holder.held.len();
                return Next::Again;
            }
            index = holder.links.after();
        }
        ending.chain = ending.chain.saturating_add(1);
        match client == NONE && ending.chain < CHAINS {
            true => Next::Again,
            false => Next::Done,
        }
    }

    fn found(&self, index: u32) -> Next {
        match self.slots.get(index) {
            Some(slot) => Next::Held(Lost {
                slot: index,
                id: slot.id,
                conn: slot.conn,
            }),
            None => Next::Again,
        }
    }

    /// Whether a table of descriptors, or one of its threads, holds what is in a slot.
    fn is_held_by(&self, index: u32, client: u32, files: usize) -> bool {
        let holder = self.slots.get(index).map_or(NONE, |slot| slot.holder);
        let holder = self.holders.table.get(holder);
        holder.is_some_and(|holder| holder.client == client && holder.who.files == files)
    }

    /// Ends a conversation if it is still held by the same: no answer will come. Gives the
    /// connection that has been refused so: [`Self::lose_way`] is to follow, in a step of its own.
    pub fn lose(
        &mut self,
        source: Source,
        who: Who,
        lost: Lost,
        fx: &mut Effects<H>,
    ) -> Option<H::Peer> {
        let is_same = self.slots.get(lost.slot).is_some_and(|s| s.id == lost.id)
            && self.is_held_by(lost.slot, client_of(source), who.files);
        match is_same {
            true => self.lose_slot(lost.slot, fx),
            false => None,
        }
    }

    fn lose_slot(&mut self, index: u32, fx: &mut Effects<H>) -> Option<H::Peer> {
        let slot = self.slots.get(index)?;
        let State::Held(by) = slot.state else {
            return None;
        };
        let conn = slot.conn;
        match (slot.kind, self.phase(conn)) {
            (Kind::Connect, Phase::Pending) => {
                let refused = self.conns.get_mut(conn).and_then(|c| {
                    c.phase = Phase::Refused;
                    c.peer.clone()
                });
                self.pending = self.pending.saturating_sub(1);
                fx.poll = self.polled_peer(conn);
                self.end_request(index, Side::Server, fx);
                // The end is for all who wait on the client's port.
                self.dispatch(conn, Place::Side(Side::Client), fx);
                return refused;
            }
            // Its client has ended it, and the step that says so is to come.
            (Kind::Connect, _) => self.let_go(index),
            _ => self.end_conversation(index, by, Why::Cancel, fx),
        }
        None
    }

    /// Ends the conversation that somebody has made itself the holder of who can't answer, as
    /// [`Self::lose`] does.
    pub fn lose_adopted(
        &mut self,
        conn: Option<u32>,
        source: Source,
        id: u64,
        turn: u32,
        who: Who,
        fx: &mut Effects<H>,
    ) -> Option<H::Peer> {
        let side = match source {
            Source::Port => Side::Server,
            Source::Side(_, side) => side,
        };
        // Another one may have taken it over meanwhile.
        match self.held(conn, side, id, turn) {
            Ok(index) if self.is_held_by(index, client_of(source), who.files) => {
                self.lose_slot(index, fx)
            }
            _ => None,
        }
    }

    /// A thread has ended with which its conversations end: does that a step at a time. The first
    /// says that more is to do, the second what [`Self::lose`] says. What told of the end comes
    /// out at last, to be dropped with no lock held.
    pub fn thread_ended(
        &mut self,
        source: Source,
        who: Who,
        watch: &mut Option<H::Watch>,
        fx: &mut Effects<H>,
    ) -> (bool, Option<H::Peer>) {
        let index = self.find_holder(client_of(source), who);
        let Some(holder) = self.holders.table.get(index) else {
            return (false, None);
        };
        let first = holder.held.head();
        if first == NONE {
            *watch = self.free_holder(index);
            return (false, None);
        }
        let refused = self.lose_slot(first, fx);
        (true, refused)
    }

    /// Forgets all holders of a side whose last descriptor is gone, a step at a time; true
    /// says that more is to do. What told of the end of a thread is to be dropped with no lock held.
    pub fn forget_holders(
        &mut self,
        source: Source,
        ending: &mut Ending,
        watch: &mut Option<H::Watch>,
    ) -> bool {
        let client = client_of(source);
        let index = self.first(client, ending.chain);
        let Some(holder) = self.holders.table.get(index) else {
            ending.chain = ending.chain.saturating_add(1);
            return client == NONE && ending.chain < CHAINS;
        };
        match holder.held.head() {
            NONE => *watch = self.free_holder(index),
            first => self.let_go(first),
        }
        true
    }
}
