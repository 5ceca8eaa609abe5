// SPDX-License-Identifier: GPL-2.0

//! For the tests: whether all that the engine keeps twice agrees.
#![deny(unsafe_code)]

use super::deliver::place;
use super::holder::{index_of, CHAINS};
use super::list::{Linked, List, Store, Via, NONE};
use super::types::{Conn, Host, Kind, Phase, Place, Queue, Side, Slot, State, Waiters};
use super::{Engine, Source};

pub(super) type Verdict = Result<(), &'static str>;

pub(super) fn claim(holds: bool, what: &'static str) -> Verdict {
    holds.then_some(()).ok_or(what)
}

/// Calls `each` for the entries of a list, and checks its links and length.
pub(super) fn walk<T: Linked>(
    list: &List,
    store: &mut impl Store<T>,
    via: Via,
    mut each: impl FnMut(u32, &mut T) -> Verdict,
) -> Verdict {
    let (mut index, mut prev, mut len) = (list.head(), NONE, 0);
    while let Some(entry) = store.get_mut(index) {
        each(index, entry)?;
        let links = *entry.links_mut(via);
        claim(links.before() == prev, "a link back is wrong")?;
        (prev, index) = (index, links.after());
        len += 1;
        claim(len <= list.len(), "a list is longer than it says")?;
    }
    claim(index == NONE, "a link leads nowhere")?;
    claim(list.tail() == prev, "a tail is wrong")?;
    claim(len == list.len(), "a list is shorter than it says")
}

const SIDES: [Side; 2] = [Side::Client, Side::Server];

impl<H: Host> Engine<H> {
    /// Checks everything. With `settled`, no end is half done and no thread
    /// has been told to serve others.
    pub fn audit(&mut self, settled: bool) -> Verdict {
        let mut free = 0;
        walk(&self.free_slots, &mut self.slots, Via::Queue, |_, slot| {
            free += 1;
            claim(slot.conn == NONE, "a free slot belongs to somebody")?;
            claim(slot.state == State::Free, "a slot on the free list is not")
        })?;
        let mut free_conns = 0;
        walk(&self.free_conns, &mut self.conns, Via::Queue, |_, c| {
            free_conns += 1;
            claim(
                c.phase == Phase::Free,
                "a connection on the free list is not",
            )
        })?;
        for index in 0..self.slots.len() {
            self.slots.get(index).map_or(Ok(()), Self::audit_slot)?;
        }
        self.audit_holders()?;
        let (mut used, mut pending, mut connections) = (0, 0, 0);
        let (mut messages, mut bytes, mut ready, mut nameless) = (0, 0, 0, 0);
        for index in 0..self.conns.len() {
            self.audit_conn(index, settled)?;
            let Some(c) = self.conns.get(index) else {
                continue;
            };
            used += c.all.len();
            pending += u32::from(c.phase == Phase::Pending);
            connections += u32::from(c.phase != Phase::Free);
            messages += c.port.messages;
            bytes += c.port.bytes;
            ready += u32::from(c.ready);
            nameless += c.nameless;
        }
        claim(nameless == self.nameless, "conversations are miscounted")?;
        claim(free + used == self.slots.len(), "a slot is lost")?;
        claim(
            free_conns + connections == self.conns.len(),
            "a connection is lost",
        )?;
        claim(pending == self.pending, "pending is miscounted")?;
        claim(
            connections == self.connections,
            "connections are miscounted",
        )?;
        claim(
            messages == self.messages,
            "the port's messages are miscounted",
        )?;
        claim(bytes == self.bytes, "the port's bytes are miscounted")?;
        walk(&self.ready, &mut self.conns, Via::Owner, |_, c| {
            claim(c.ready, "a connection on the ready list is not")
        })?;
        claim(
            ready == self.ready.len(),
            "a ready connection is on no list",
        )?;
        let mut arrivals = 0;
        walk(&self.arrivals, &mut self.slots, Via::Queue, |_, slot| {
            arrivals += 1;
            claim(slot.place == Place::Port, "an arrival is elsewhere")
        })?;
        claim(
            arrivals == if self.arrival_order { messages } else { 0 },
            "arrivals are miscounted",
        )?;
        self.audit_waits(Source::Port, settled)
    }

    fn audit_slot(slot: &Slot<H>) -> Verdict {
        claim(
            slot.holder == NONE || matches!(slot.state, State::Held(_)),
            "somebody holds what is not held",
        )?;
        let queued = match slot.state {
            State::Free | State::Idle => {
                for side in SIDES {
                    claim(slot.waiters.get(side).is_empty(), "a wait in a free slot")?;
                    claim(slot.bodies.get(side).is_none(), "a body in a free slot")?;
                }
                None
            }
            State::Queued(to) => Some(to),
            State::Held(by) => {
                claim(slot.open, "held with nothing to do")?;
                claim(*slot.seen.get(by), "held unseen")?;
                claim(slot.waiters.get(by).is_empty(), "a wait for one's own turn")?;
                let body = slot.bodies.get(by.other());
                claim(body.is_some(), "what is held has gone")?;
                None
            }
        };
        let Some(to) = queued else {
            return claim(slot.place == Place::Nowhere, "queued and not queued");
        };
        claim(slot.place == place(slot, to), "in the wrong queue")?;
        claim(slot.waiters.get(to).is_empty(), "a wait for what is there")?;
        if !slot.open {
            let waits = !slot.waiters.get(to.other()).is_empty();
            claim(!waits, "a wait for what will not come")?;
        }
        if slot.what.is_notice() {
            claim(!slot.open, "a notice to be answered")?;
            let payload = slot.bodies.get(to.other());
            claim(payload.is_none(), "a notice with a payload")?;
            let kept = slot.bodies.get(to);
            claim(
                kept.is_none() || slot.origin == to,
                "a notice that keeps what it was not begun with",
            )?;
        } else {
            let body = slot.bodies.get(to.other());
            claim(body.is_some(), "what is queued has gone")?;
        }
        claim(slot.kind != Kind::OneWay || !slot.open, "one-way and open")
    }

    fn audit_conn(&mut self, conn: u32, settled: bool) -> Verdict {
        let Some(c) = self.conns.get(conn) else {
            return Ok(());
        };
        let mut nameless = 0;
        walk(&c.all, &mut self.slots, Via::Owner, |_, slot| {
            nameless += u32::from(slot.state == State::Idle || slot.kind == Kind::OneWay);
            claim(slot.conn == conn, "a slot belongs elsewhere")?;
            claim(slot.state != State::Free, "a free slot belongs somewhere")
        })?;
        claim(nameless == c.nameless, "conversations are miscounted")?;
        let mut arrived = (0, 0);
        if self.arrival_order {
            claim(c.port.list.is_empty(), "not in order of arrival")?;
            walk(&self.arrivals, &mut self.slots, Via::Queue, |_, slot| {
                if let (true, State::Queued(to)) = (slot.conn == conn, slot.state) {
                    arrived.0 += 1;
                    arrived.1 += slot.len(to);
                }
                Ok(())
            })?;
        }
        for (queue, at) in [
            (&c.port, Place::Port),
            (c.queues.get(Side::Client), Place::Side(Side::Client)),
            (c.queues.get(Side::Server), Place::Side(Side::Server)),
        ] {
            let mut sum = match at {
                Place::Port => arrived,
                _ => (0, 0),
            };
            walk(&queue.list, &mut self.slots, Via::Queue, |_, slot| {
                claim(slot.conn == conn && slot.place == at, "in two queues")?;
                if let State::Queued(to) = slot.state {
                    sum.0 += 1;
                    sum.1 += slot.len(to);
                }
                Ok(())
            })?;
            let Queue {
                messages, bytes, ..
            } = queue;
            claim(sum == (*messages, *bytes), "a queue is miscounted")?;
        }
        let tells = match self.arrival_order {
            true => c.closed_notice && c.port.messages == 0,
            false => c.closed_notice || c.port.messages > 0,
        };
        claim(
            c.ready == tells,
            "ready with nothing, or not with something",
        )?;
        let unused = !*c.open.get(Side::Client)
            && !*c.open.get(Side::Server)
            && c.all.is_empty()
            && !c.closed_notice
            && !c.notice_in_hand;
        claim(
            unused == (c.phase == Phase::Free),
            "a connection is kept for nothing",
        )?;
        claim(c.peer.is_none() == unused, "a peer is kept for nothing")?;
        for side in SIDES {
            let waits = !c.room.get(side).is_empty();
            claim(
                !waits || !settled || c.phase == Phase::Open,
                "a wait for room that will not come",
            )?;
        }
        for side in SIDES {
            self.audit_waits(Source::Side(conn, side), settled)?;
        }
        Ok(())
    }

    fn audit_waits(&mut self, source: Source, settled: bool) -> Verdict {
        let (len, end) = (self.head_len(source), self.end_of(source));
        let (conn, at) = match source {
            Source::Port => (NONE, Place::Port),
            Source::Side(conn, side) => (conn, Place::Side(side)),
        };
        let Some(receivers) = self.receivers_at(conn, at) else {
            return Ok(());
        };
        let serve = len.is_some_and(|len| receivers.fits(len));
        claim(!settled || !serve, "a wait for what is there")?;
        claim(
            !settled || end.is_none() || receivers.is_empty(),
            "a wait for what will not come",
        )
    }

    /// How many descriptors and connections lead here, and of the latter those that have not ended.
    pub fn ways(&self) -> (u64, u64) {
        let live = (0..self.conns.len())
            .filter(|conn| matches!(self.phase(*conn), Phase::Pending | Phase::Open));
        (self.ways, live.count() as u64)
    }

    /// Whether senders wait for room in an empty queue.
    pub fn waits_for_room_in_vain(&self, conn: u32, side: Side) -> bool {
        self.conns.get(conn).is_some_and(|c: &Conn<H>| {
            !c.room.get(side).is_empty()
                && c.phase == Phase::Open
                && Self::outgoing(c, side).messages == 0
        })
    }

    /// Shows the messages that are inside.
    pub fn each_body(&self, mut show: impl FnMut(&H::Body)) {
        for index in 0..self.slots.len() {
            for side in SIDES {
                let slot = self.slots.get(index);
                if let Some(body) = slot.and_then(|slot| slot.bodies.get(side).as_ref()) {
                    show(body);
                }
            }
        }
    }

    /// The turn of a conversation, 0 if there is none.
    pub fn turn_of(&self, id: u64) -> u32 {
        let slot = self.find(None, id).ok().and_then(|at| self.slots.get(at));
        slot.map_or(0, |slot| slot.turn)
    }

    /// What is in a slot, if anything.
    pub fn sketch(&self, index: u32) -> Option<Sketch> {
        let slot = self.slots.get(index)?;
        (slot.state != State::Free).then(|| Sketch {
            state: slot.state,
            kind: slot.kind,
            origin: slot.origin,
            what: slot.what,
            open: slot.open,
            seen: SIDES.map(|side| *slot.seen.get(side)),
            depth: slot.depth,
            answered: slot.answered,
            waits: SIDES.map(|side| !slot.waiters.get(side).is_empty()),
        })
    }
}

/// A conversation as a test sees it. Client first, then server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Where it stands.
    pub state: State,
    /// What it was begun as.
    pub kind: Kind,
    /// Who began it.
    pub origin: Side,
    /// What the message in transit is.
    pub what: super::What,
    /// Whether the receiver gets the turn.
    pub open: bool,
    /// Which sides know of it.
    pub seen: [bool; 2],
    /// How deep it is nested.
    pub depth: u32,
    /// Whether it has got its answer.
    pub answered: bool,
    /// Which sides have a thread waiting for it.
    pub waits: [bool; 2],
}

impl<H: Host> Engine<H> {
    /// Checks that holders and what they hold agree.
    fn audit_holders(&mut self) -> Verdict {
        let holders = &mut self.holders;
        let mut free = 0;
        walk(
            &holders.free,
            &mut holders.table,
            Via::Owner,
            |_, holder| {
                free += 1;
                claim(holder.held.is_empty(), "nobody holds something")?;
                claim(holder.watch.is_none(), "a free holder is watched")
            },
        )?;
        let mut used = 0;
        for chain in 0..CHAINS {
            used += self.audit_chain(NONE, chain)?;
        }
        claim(used == self.holders.count, "holders are miscounted")?;
        for conn in 0..self.conns.len() {
            used += self.audit_chain(conn, 0)?;
        }
        let all = self.holders.table.len();
        claim(free + used == all, "a holder is lost")?;
        let mut noted = 0;
        for index in 0..all {
            let Some(holder) = self.holders.table.get(index) else {
                continue;
            };
            let (client, list) = (holder.client, holder.held);
            walk(&list, &mut self.slots, Via::Queue, |_, slot| {
                noted += 1;
                let by = match client {
                    NONE => State::Held(Side::Server),
                    _ => State::Held(Side::Client),
                };
                claim(slot.holder == index, "two hold it")?;
                claim(slot.state == by, "it holds what it does not")?;
                claim(client == NONE || slot.conn == client, "another's is held")
            })?;
        }
        let mut held = 0;
        for index in 0..self.slots.len() {
            let slot = self.slots.get(index);
            held += u32::from(slot.is_some_and(|slot| slot.holder != NONE));
        }
        claim(held == noted, "what is held is in no list")
    }

    fn audit_chain(&mut self, client: u32, chain: usize) -> Result<u32, &'static str> {
        let list = match client {
            NONE => self.holders.chains.get(chain).copied(),
            conn => self.conns.get(conn).map(|c| c.holders),
        };
        let mut threads = 0;
        walk(
            &list.unwrap_or_default(),
            &mut self.holders.table,
            Via::Owner,
            |index, holder| {
                threads += u32::from(holder.who.thread != 0);
                claim(
                    index_of(holder.id) == index,
                    "a holder's id leads elsewhere",
                )?;
                claim(holder.client == client, "a holder is in the wrong chain")?;
                claim(
                    client != NONE || holder.who.chain() == chain,
                    "a holder is in the wrong chain",
                )?;
                claim(
                    holder.watch.is_some() == (holder.who.thread != 0),
                    "a thread's holder is not watched, or another",
                )?;
                claim(
                    holder.sure
                        || !holder.held.is_empty()
                        || holder.threads != 0
                        || holder.who.thread != 0,
                    "a holder is kept for nothing",
                )
            },
        )?;
        Ok(list.map_or(0, |list| list.len()))
    }
}
