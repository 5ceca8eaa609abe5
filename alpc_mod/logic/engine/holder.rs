// SPDX-License-Identifier: GPL-2.0

//! Who holds what has been received: a table of descriptors, or a thread. When it ends, or has no
//! descriptor left to answer by, those who wait for its answers must be told.
//!
//! A conversation that is held is in the list of its holder, through the links by which it
//! would be in a queue. Whoever has received it puts it there before it learns of the message, or
//! whoever hands it over does. It leaves the list when it is held no more.
//!
//! A server may answer at the connection port and at the server communication port, so a table of
//! descriptors is one holder for all connections. Each client is one for itself.
#![deny(unsafe_code)]

use super::list::{Linked, Links, List, Store, Via, NONE};
use super::types::{Delivery, End, Host, Refusal, Side, State};
use super::{Engine, Source, Wait};

/// Chains in which the holders of a port's server are looked for.
pub(super) const CHAINS: usize = 64;

/// Holders of one port's server: as many as keep the chains short.
const HOLDERS_PER_PORT: u32 = 64 * CHAINS as u32;

/// The most in one chain, which all who use the port may have to walk with the lock held. It is
/// twice what there is in each if they are spread, which nobody who chooses has to see to.
const HOLDERS_PER_CHAIN: u32 = 128;

/// Holders of one client's side.
pub const HOLDERS_PER_CLIENT: u32 = 64;

/// Who receives.
///
/// Both are numbers that tell one from another and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The table of descriptors.
    pub files: usize,
    /// The thread with which its conversations end; 0 where they don't.
    pub thread: usize,
    /// When that began: another one may get its number after its end.
    pub since: u64,
}

impl Who {
    /// All threads that have the table of descriptors.
    pub fn all(self) -> Self {
        Self {
            thread: 0,
            since: 0,
            ..self
        }
    }

    /// The chain that it is in.
    pub(super) fn chain(self) -> usize {
        // Neighbours in memory are far from each other: that is all there is to this number.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let both = (self.files ^ self.thread.rotate_left(16)) as u64;
        (both.wrapping_mul(SPREAD) >> 32) as usize % CHAINS
    }
}

/// Who holds conversations, or the place for one.
pub struct Holder<H: Host> {
    /// Its place, and how often that was used.
    pub(super) id: u64,
    pub(super) who: Who,
    /// The connection of which it is the client; [`NONE`] for the server.
    pub(super) client: u32,
    pub(super) held: List,
    /// Whether its table is known to have a descriptor of the connection port, or of the client's.
    pub(super) sure: bool,
    /// Changes whenever that may have changed. No two holders have the same.
    pub(super) stamp: u32,
    /// Who has looked through it last, by when that began.
    pub(super) walk: u64,
    /// Holders that are single threads of this table.
    pub(super) threads: u32,
    /// What tells of the thread's end.
    pub(super) watch: Option<H::Watch>,
    pub(super) links: Links,
}

impl<H: Host> Default for Holder<H> {
    fn default() -> Self {
        Self {
            id: 0,
            who: Who {
                files: 0,
                thread: 0,
                since: 0,
            },
            client: NONE,
            held: List::default(),
            sure: false,
            stamp: 0,
            walk: 0,
            threads: 0,
            watch: None,
            links: Links::default(),
        }
    }
}

impl<H: Host> Holder<H> {
    /// Its place in the table.
    #[inline(always)]
    pub(super) fn place(&self) -> u32 {
        index_of(self.id)
    }
}

impl<H: Host> Linked for Holder<H> {
    fn links_mut(&mut self, _via: Via) -> &mut Links {
        &mut self.links
    }
}

/// All holders of a port.
pub(super) struct Holders<H: Host> {
    pub(super) table: H::Holders,
    pub(super) free: List,
    pub(super) chains: [List; CHAINS],
    /// How many are the server's.
    pub(super) count: u32,
    /// How often somebody has looked through them.
    pub(super) walks: u64,
    /// The stamp that was given last.
    stamps: u32,
}

impl<H: Host> Holders<H> {
    /// None.
    pub(super) fn new(table: H::Holders) -> Self {
        Self {
            table,
            free: List::default(),
            chains: [List::default(); CHAINS],
            count: 0,
            walks: 0,
            stamps: 0,
        }
    }

    /// A stamp that none has: what was found out about a holder says nothing of one that has come in
    /// its place.
    pub(super) fn next_stamp(&mut self) -> u32 {
        self.stamps = self.stamps.wrapping_add(1);
        self.stamps
    }

    /// The holder that has this id still, if it is known to be able to answer.
    #[inline(always)]
    pub(super) fn sure(&mut self, id: u64) -> Option<&mut Holder<H>> {
        self.table
            .get_mut(index_of(id))
            .filter(|holder| holder.id == id && holder.sure)
    }
}

/// The place of a holder with that id.
#[inline(always)]
pub(super) fn index_of(id: u64) -> u32 {
    // CAST: The lower half is the place.
    id as u32
}

/// Whether who holds something can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// As far as can be told under the lock.
    Sure,
    /// That has to be looked up, and goes with this stamp.
    Unsure(u32),
}

/// The client that answers where `source` is; [`NONE`] for the server.
pub(super) fn client_of(source: Source) -> u32 {
    match source {
        Source::Side(conn, Side::Client) => conn,
        Source::Side(_, Side::Server) | Source::Port => NONE,
    }
}

impl<H: Host> Engine<H> {
    /// The table of holders, to make it grow. Call [`Self::grown`] after.
    pub fn holders_mut(&mut self) -> &mut H::Holders {
        &mut self.holders.table
    }

    /// The first holder of a chain.
    pub(super) fn first(&self, client: u32, chain: usize) -> u32 {
        let list = match client {
            NONE => self.holders.chains.get(chain),
            conn => self.conns.get(conn).map(|c| &c.holders),
        };
        list.map_or(NONE, List::head)
    }

    /// The holder that somebody is, or [`NONE`].
    pub(super) fn find_holder(&self, client: u32, who: Who) -> u32 {
        let mut index = self.first(client, who.chain());
        while let Some(holder) = self.holders.table.get(index) {
            if holder.who == who {
                break;
            }
            index = holder.links.after();
        }
        index
    }

    /// The holder that somebody is, a new one if there is none yet.
    fn make_holder(&mut self, client: u32, who: Who) -> Result<u32, Refusal> {
        let index = self.find_holder(client, who);
        if index != NONE {
            return Ok(index);
        }
        let holders = &mut self.holders;
        let stamp = holders.next_stamp();
        let (chain, is_full) = match client {
            NONE => {
                let chain = holders.chains.get_mut(who.chain());
                let is_long = chain
                    .as_ref()
                    .is_some_and(|chain| chain.len() >= HOLDERS_PER_CHAIN);
                (chain, is_long || holders.count >= HOLDERS_PER_PORT)
            }
            conn => {
                let list = self.conns.get_mut(conn).map(|c| &mut c.holders);
                let is_full = list
                    .as_ref()
                    .is_some_and(|list| list.len() >= HOLDERS_PER_CLIENT);
                (list, is_full)
            }
        };
        let chain = chain.ok_or(Refusal::NotFound)?;
        if is_full {
            return Err(Refusal::Limit);
        }
        let Some(index) = holders.free.pop_front(&mut holders.table, Via::Owner) else {
            return Err(Refusal::Grow);
        };
        if client == NONE {
            holders.count = holders.count.saturating_add(1);
        }
        if let Some(holder) = holders.table.get_mut(index) {
            let uses = (holder.id >> 32).wrapping_add(1);
            *holder = Holder {
                id: (uses << 32) | u64::from(index),
                who,
                client,
                stamp,
                ..Holder::default()
            };
        }
        chain.push_front(&mut holders.table, Via::Owner, index);
        Ok(index)
    }

    /// Gives a holder's place back. What told of its thread's end is the caller's, to be dropped
    /// with no lock held.
    pub(super) fn free_holder(&mut self, index: u32) -> Option<H::Watch> {
        let holders = &mut self.holders;
        let holder = holders.table.get_mut(index)?;
        let (who, client, watch) = (holder.who, holder.client, holder.watch.take());
        // Whoever has noted the id finds that it is another one's.
        holder.id = (holder.id >> 32).wrapping_add(1) << 32;
        let chain = match client {
            NONE => {
                holders.count = holders.count.saturating_sub(1);
                holders.chains.get_mut(who.chain())
            }
            conn => self.conns.get_mut(conn).map(|c| &mut c.holders),
        };
        if let Some(chain) = chain {
            chain.remove(&mut holders.table, Via::Owner, index);
        }
        holders
            .free
            .push_front(&mut holders.table, Via::Owner, index);
        if who.thread != 0 {
            let all = self.find_holder(client, who.all());
            if let Some(holder) = self.holders.table.get_mut(all) {
                holder.threads = holder.threads.saturating_sub(1);
            }
            self.free_if_unused(all);
        }
        watch
    }

    /// Gives the place of a holder back that may be gone, and has nothing to be told of.
    pub(super) fn free_if_unused(&mut self, index: u32) {
        let unused = self.holders.table.get(index).is_some_and(|holder| {
            !holder.sure && holder.held.is_empty() && holder.threads == 0 && holder.who.thread == 0
        });
        if unused {
            // It is no thread's, so nothing tells of its end.
            let _ = self.free_holder(index);
        }
    }

    /// Notes who has received a message, before it is given to its receiver. There may be
    /// nothing to note any more: then it has been cancelled meanwhile.
    pub fn hold(
        &mut self,
        delivery: &Delivery<H>,
        source: Source,
        who: Who,
    ) -> Result<Hold, Refusal> {
        let is_held = self.slots.get(delivery.slot).is_some_and(|slot| {
            slot.id == delivery.id
                && slot.state == State::Held(delivery.to)
                && slot.turn == delivery.turn
        });
        match is_held {
            true => self.hold_slot(delivery.slot, source, who),
            false => Ok(Hold::Sure),
        }
    }

    /// Makes somebody the holder of the conversation `id`, held by its side at `turn`. Gives its
    /// connection too.
    pub fn adopt(
        &mut self,
        conn: Option<u32>,
        source: Source,
        id: u64,
        turn: u32,
        who: Who,
    ) -> Result<(Hold, u32), Refusal> {
        let side = match source {
            Source::Port => Side::Server,
            Source::Side(_, side) => side,
        };
        let index = self.held(conn, side, id, turn)?;
        let conn = self.slots.get(index).map_or(NONE, |slot| slot.conn);
        Ok((self.hold_slot(index, source, who)?, conn))
    }

    fn hold_slot(&mut self, index: u32, source: Source, who: Who) -> Result<Hold, Refusal> {
        let client = client_of(source);
        let holder = self.make_holder(client, who.all())?;
        let (sure, stamp) = match self.holders.table.get(holder) {
            Some(holder) => (holder.sure, holder.stamp),
            None => return Err(Refusal::NotFound),
        };
        let holder = match who.thread {
            0 => holder,
            _ => {
                // The place just made may be given back when the next can't be.
                let thread = self.find_holder(client, who);
                if thread == NONE {
                    self.free_if_unused(holder);
                    return Err(Refusal::NotWatched);
                }
                thread
            }
        };
        if self
            .slots
            .get(index)
            .is_some_and(|slot| slot.holder != holder)
        {
            self.let_go(index);
            if let Some(slot) = self.slots.get_mut(index) {
                slot.holder = holder;
            }
            if let Some(holder) = self.holders.table.get_mut(holder) {
                // Behind what somebody who looks through them has still to see.
                holder.held.push_back(&mut self.slots, Via::Queue, index);
            }
        }
        Ok(match sure {
            true => Hold::Sure,
            false => Hold::Unsure(stamp),
        })
    }

    /// Makes a holder of a single thread, of whose end `watch` will tell. Gives that back if
    /// there is one already, which is no refusal, or can't be any.
    pub fn watch(
        &mut self,
        source: Source,
        who: Who,
        watch: H::Watch,
    ) -> Result<(), (Option<Refusal>, H::Watch)> {
        let client = client_of(source);
        // Nobody forgets those any more who come when a port is gone.
        if client == NONE && self.gone {
            return Err((Some(Refusal::Ended(End::Closed)), watch));
        }
        if self.find_holder(client, who) != NONE {
            return Err((None, watch));
        }
        let all = match self.make_holder(client, who.all()) {
            Ok(all) => all,
            Err(refusal) => return Err((Some(refusal), watch)),
        };
        match self.make_holder(client, who) {
            Ok(index) => {
                if let Some(holder) = self.holders.table.get_mut(all) {
                    holder.threads = holder.threads.saturating_add(1);
                }
                if let Some(holder) = self.holders.table.get_mut(index) {
                    holder.watch = Some(watch);
                }
                Ok(())
            }
            Err(refusal) => {
                self.free_if_unused(all);
                Err((Some(refusal), watch))
            }
        }
    }

    /// The id of the holder that somebody is who waits, if that is known to be able to answer; or 0.
    pub fn holder_at(&self, at: Wait, who: Who) -> u64 {
        let client = match at {
            Wait::Next(source) => client_of(source),
            Wait::Conversation { slot, side, .. } => match (side, self.slots.get(slot)) {
                (Side::Client, Some(slot)) => slot.conn,
                _ => NONE,
            },
            // Nothing is received there.
            Wait::Room { .. } => return 0,
        };
        let holder = self.holders.table.get(self.find_holder(client, who));
        holder.filter(|h| h.sure).map_or(0, |h| h.id)
    }

    /// Notes who has just been handed what is in a slot.
    pub(super) fn note_handed(&mut self, index: u32, receiver: u64) {
        let Some(holder) = self.holders.sure(receiver) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.holder = holder.place();
            match holder.held.is_empty() {
                true => holder.held.begin(slot, Via::Queue, index),
                false => holder.held.push_front(&mut self.slots, Via::Queue, index),
            }
        }
    }

    /// Takes a conversation that is held off its holder's list.
    #[inline(always)]
    pub(super) fn let_go(&mut self, index: u32) {
        if self
            .slots
            .get(index)
            .is_some_and(|slot| slot.holder != NONE)
        {
            self.let_go_held(index);
        }
    }

    #[inline(never)]
    fn let_go_held(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let holder = core::mem::replace(&mut slot.holder, NONE);
        if let Some(found) = self.holders.table.get_mut(holder) {
            match found.held.len() {
                // It has no neighbours that would have to be told.
                1 => found.held = List::default(),
                _ => found.held.remove(&mut self.slots, Via::Queue, index),
            }
            if !found.sure {
                self.free_if_unused(holder);
            }
        }
    }
}
