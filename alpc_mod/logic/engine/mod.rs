// SPDX-License-Identifier: GPL-2.0

//! The state of one connection port: its connections, their conversations, and
//! every decision about them.
//!
//! A *conversation* is one message that goes back and forth between the two
//! sides of a connection. It is always either *queued* towards a side or *held*
//! by one, which then has the turn. A new message begins one, a final reply, a
//! release, a cancel or the connection's end ends it.
//!
//! ```text
//!            send            receive            final reply, release
//!   Idle ───────────► Queued ───────► Held ─────────────────► Idle
//!                       ▲               │
//!                       └───────────────┘
//!              reply, callback, answer: the other side's turn
//!
//!   Queued, Held ── cancel, end of the connection ──► Idle, or Queued as a notice
//! ```
//!
//! A message goes straight to a thread that waits for it; else it is queued.
//! The conversation's own waiter comes first, then those that receive on the
//! port it goes to. At most one thread waits for a conversation, and only while
//! the other side has the turn.
//!
//! The engine never allocates, blocks or drops a message: what is to be woken
//! or dropped goes into [`Effects`]. It is called under the port's lock.
#![deny(unsafe_code)]

#[cfg(test)]
mod audit;
#[cfg(test)]
pub use audit::Sketch;
mod close;
mod connect;
mod deliver;
mod effects;
mod end;
mod gauges;
mod holder;
mod list;
mod lost;
mod receive;
mod send;
mod straight;
mod types;

pub use close::Progress;
pub use effects::Effects;
pub use gauges::Found;
#[cfg(test)]
pub use holder::HOLDERS_PER_CLIENT;
pub use holder::{Hold, Holder, Who};
pub use list::{Store, NONE};
pub use lost::{Ending, Flush, Next};
pub use receive::{Received, Source};
pub use send::{How, New, Sent};
pub use straight::{Straight, Then};
pub use types::{
    Body, Conn, Delivery, End, Hand, Host, Kind, Peer, Phase, Refusal, Share, Side, Slot, Waiters,
    What,
};

use holder::Holders;
use list::{List, Via};
use types::{Queue, State};

/// Nested calls in one conversation.
pub const DEPTH_MAX: u32 = 64;
/// Open conversations of one connection: as many as a thousand threads that
/// call at once, and few enough that one client can't fill a port.
pub const CONVERSATIONS_PER_CONNECTION: u32 = 1024;
/// Connection requests that wait to be received or answered at one port.
pub const PENDING_MAX: u32 = 1024;

/// Low bits of an id that hold the slot's index plus one, so that none is 0. The
/// others count how often the slot was used: 2^40 times, before one comes again.
const INDEX_BITS: u32 = 24;
/// Conversations of one port that ids can tell apart.
pub const SLOTS_MAX: u32 = (1 << INDEX_BITS) - 1;

/// Which table must grow before the refused call can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The conversations.
    Slots,
    /// The connections.
    Conns,
    /// Those who hold conversations.
    Holders,
}

/// Where threads wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For the next message of a port.
    Next(Source),
    /// For the next message of a conversation.
    Conversation {
        /// Its slot.
        slot: u32,
        /// Its id.
        id: u64,
        /// The side that waits.
        side: Side,
    },
    /// For room to send.
    Room {
        /// The connection.
        conn: u32,
        /// The side that wants to send.
        side: Side,
    },
}

/// The state of one connection port.
pub struct Engine<H: Host> {
    slots: H::Slots,
    conns: H::Conns,
    holders: Holders<H>,
    free_slots: List,
    free_conns: List,
    /// Connections that have something for the connection port.
    ready: List,
    /// With strict arrival order, all messages for the connection port.
    arrivals: List,
    arrival_order: bool,
    receivers: H::Waiters,
    sequence: u64,
    messages: u32,
    bytes: u32,
    /// Slots in use that hold no conversation: idle ones, one-way messages.
    nameless: u32,
    pending: u32,
    connections: u32,
    max_connections: u32,
    /// What leads others here: connect descriptors, and connections that have not ended.
    ways: u64,
    /// Whether a connect descriptor has been among them.
    had_descriptor: bool,
    /// The server's context value of connections that are not accepted yet.
    context: u64,
    closed: bool,
    /// The last descriptor is gone, and all that it could receive.
    gone: bool,
}

impl<H: Host> Engine<H> {
    /// An engine with the given, empty or unused, tables.
    pub fn new(
        slots: H::Slots,
        conns: H::Conns,
        holders: H::Holders,
        arrival_order: bool,
        max_connections: u32,
    ) -> Self {
        Self {
            slots,
            conns,
            holders: Holders::new(holders),
            free_slots: List::default(),
            free_conns: List::default(),
            ready: List::default(),
            arrivals: List::default(),
            arrival_order,
            receivers: H::Waiters::default(),
            sequence: 0,
            messages: 0,
            bytes: 0,
            nameless: 0,
            pending: 0,
            connections: 0,
            max_connections,
            ways: 0,
            had_descriptor: false,
            context: 0,
            closed: false,
            gone: false,
        }
    }

    /// The table of conversations, to make it grow. Call [`Self::grown`] after.
    pub fn slots_mut(&mut self) -> &mut H::Slots {
        &mut self.slots
    }

    /// The table of connections, to make it grow. Call [`Self::grown`] after.
    pub fn conns_mut(&mut self) -> &mut H::Conns {
        &mut self.conns
    }

    /// How long a table is.
    pub fn table_len(&self, table: Table) -> u32 {
        match table {
            Table::Slots => self.slots.len(),
            Table::Conns => self.conns.len(),
            Table::Holders => self.holders.table.len(),
        }
    }

    /// Whether a table has no entry to give away.
    pub fn is_full(&self, table: Table) -> bool {
        match table {
            Table::Slots => self.free_slots.is_empty(),
            Table::Conns => self.free_conns.is_empty(),
            // A thread's may need two: one for all of its process, and its own.
            Table::Holders => self.holders.free.len() < 2,
        }
    }

    /// Takes over the entries from `old_len` on, which are new.
    pub fn grown(&mut self, table: Table, old_len: u32) {
        match table {
            Table::Slots => {
                // Ids tell no more of them apart.
                for index in old_len..self.slots.len().min(SLOTS_MAX) {
                    self.free_slots
                        .push_back(&mut self.slots, Via::Queue, index);
                }
            }
            Table::Conns => {
                for index in old_len..self.conns.len() {
                    self.free_conns
                        .push_back(&mut self.conns, Via::Queue, index);
                }
            }
            Table::Holders => {
                let holders = &mut self.holders;
                for index in old_len..holders.table.len() {
                    holders
                        .free
                        .push_back(&mut holders.table, Via::Owner, index);
                }
            }
        }
    }

    /// Whether the connection port is closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Sets the value that the server gets back with what comes from connections
    /// that it has not accepted yet.
    pub fn set_port_context(&mut self, value: u64) {
        self.context = value;
    }

    /// Where a connection stands.
    pub fn phase(&self, conn: u32) -> Phase {
        self.conns.get(conn).map_or(Phase::Free, |c| c.phase)
    }

    /// The share of a connection.
    pub fn share(&self, conn: u32) -> Option<Share> {
        self.conns.get(conn).map(|c| c.share)
    }

    /// A side's context value of a connection.
    pub fn context(&self, conn: u32, side: Side) -> u64 {
        self.conns.get(conn).map_or(0, |c| *c.context.get(side))
    }

    /// Sets the value that `side` gets back with every message.
    pub fn set_context(&mut self, conn: u32, side: Side, value: u64) {
        if let Some(c) = self.conns.get_mut(conn) {
            *c.context.get_mut(side) = value;
        }
    }

    /// The threads that wait for something, if it still can happen.
    ///
    /// A thread may be added only right after the engine said that there is
    /// nothing yet, under the same lock.
    #[inline(always)]
    pub fn waiters(&mut self, wait: Wait) -> Option<&mut H::Waiters> {
        match wait {
            Wait::Next(Source::Port) => Some(&mut self.receivers),
            Wait::Next(Source::Side(conn, side)) => {
                Some(self.conns.get_mut(conn)?.receivers.get_mut(side))
            }
            Wait::Room { conn, side } => Some(self.conns.get_mut(conn)?.room.get_mut(side)),
            Wait::Conversation { slot, id, side } => {
                let s = self.slots.get_mut(slot)?;
                (s.id == id).then_some(s.waiters.get_mut(side))
            }
        }
    }

    /// The threads that wait for something, for one of them that leaves: it has been added there,
    /// whatever has become of the conversation.
    #[inline(never)]
    pub fn place(&mut self, wait: Wait) -> Option<&mut H::Waiters> {
        match wait {
            Wait::Conversation { slot, side, .. } => {
                Some(self.slots.get_mut(slot)?.waiters.get_mut(side))
            }
            _ => self.waiters(wait),
        }
    }

    /// Whether a receive would return at once, and whether the end is reached.
    pub fn readiness(&self, source: Source) -> (bool, bool) {
        match source {
            Source::Port => (
                !self.ready.is_empty() || !self.arrivals.is_empty(),
                self.closed,
            ),
            Source::Side(conn, side) => match self.conns.get(conn) {
                Some(c) => (
                    !c.queues.get(side).list.is_empty(),
                    !matches!(c.phase, Phase::Pending | Phase::Open),
                ),
                None => (false, true),
            },
        }
    }

    /// Whether a side may send any new message without waiting, also of the largest size.
    pub fn has_room(&self, conn: u32, side: Side) -> bool {
        self.conns.get(conn).is_some_and(|c| {
            let queue = Self::outgoing(c, side);
            c.phase == Phase::Open && c.share.has_room(queue, c.share.max_length)
        })
    }

    /// The queue that new messages of `side` go into.
    fn outgoing(c: &Conn<H>, side: Side) -> &Queue {
        match side {
            Side::Client => &c.port,
            Side::Server => c.queues.get(Side::Client),
        }
    }

    /// The conversation `id` of connection `conn`, or of any.
    fn find(&self, conn: Option<u32>, id: u64) -> Result<u32, Refusal> {
        let index = ((id & u64::from(SLOTS_MAX)) as u32).wrapping_sub(1);
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        if slot.id != id
            || matches!(slot.state, State::Free | State::Idle)
            // What is one-way has no name.
            || slot.kind == Kind::OneWay
            || conn.is_some_and(|conn| conn != slot.conn)
        {
            return Err(Refusal::NotFound);
        }
        Ok(index)
    }

    /// What stands for the connection of a conversation.
    pub fn peer_of(&self, id: u64) -> Result<H::Peer, Refusal> {
        let index = self.find(None, id)?;
        let conn = self.slots.get(index).map_or(NONE, |slot| slot.conn);
        let peer = self.conns.get(conn).and_then(|c| c.peer.clone());
        peer.ok_or(Refusal::NotFound)
    }

    /// The connection of a number that was one's a moment ago: by now it may be another one's.
    pub fn peer_at(&self, conn: u32) -> Option<H::Peer> {
        self.conns.get(conn)?.peer.clone()
    }

    /// The message that `side` holds, for what its holder may do with what it carries.
    pub fn held_body(
        &self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
    ) -> Result<H::Body, Refusal> {
        let (kind, body) = self.held_any(conn, side, id, turn)?;
        match kind {
            Kind::Connect => Err(Refusal::WrongKind),
            // They may be given up under the lock: the slot has another.
            Kind::Request | Kind::OneWay => Ok(body),
        }
    }

    /// The same for a connection request too.
    pub fn held_any(
        &self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
    ) -> Result<(Kind, H::Body), Refusal> {
        let index = self.held(conn, side, id, turn)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        let body = slot.bodies.get(side.other()).clone();
        Ok((slot.kind, body.ok_or(Refusal::NotFound)?))
    }

    /// Whether the thread that sent what `side` holds waits for the answer.
    pub fn sender_waits(
        &self,
        conn: Option<u32>,
        side: Side,
        id: u64,
        turn: u32,
    ) -> Result<bool, Refusal> {
        let index = self.held(conn, side, id, turn)?;
        let slot = self.slots.get(index).ok_or(Refusal::NotFound)?;
        let body = slot.bodies.get(side.other()).as_ref();
        let waiters = slot.waiters.get(side.other());
        Ok(body.is_some_and(|body| waiters.begins_with_sender(body)))
    }

    /// Gives a slot to a connection: the one it kept, or a free one.
    fn take_slot(&mut self, conn: u32, kept: Option<u32>) -> Result<u32, Refusal> {
        let index = match kept {
            Some(index)
                if self
                    .slots
                    .get(index)
                    .is_some_and(|slot| slot.state == State::Idle && slot.conn == conn) =>
            {
                self.get_name(conn);
                index
            }
            _ => {
                let c = self.conns.get_mut(conn).ok_or(Refusal::NotFound)?;
                if c.all.len() >= CONVERSATIONS_PER_CONNECTION {
                    return Err(Refusal::Limit);
                }
                let index = match self.free_slots.pop_front(&mut self.slots, Via::Queue) {
                    Some(index) => index,
                    None if self.slots.len() >= SLOTS_MAX => return Err(Refusal::Limit),
                    None => return Err(Refusal::Grow),
                };
                c.all.push_back(&mut self.slots, Via::Owner, index);
                index
            }
        };
        let slot = self.slots.get_mut(index).ok_or(Refusal::NotFound)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.id = (slot.generation << INDEX_BITS) | u64::from(index.saturating_add(1));
        slot.conn = conn;
        slot.state = State::Idle;
        slot.open = false;
        slot.seen = Default::default();
        slot.turn = 0;
        slot.depth = 0;
        slot.answered = false;
        slot.context = Default::default();
        Ok(index)
    }

    /// Puts a slot back on the free list; its messages go to `fx`.
    fn free_slot(&mut self, index: u32, fx: &mut Effects<H>) {
        self.let_go(index);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let conn = slot.conn;
        let nameless = slot.state == State::Idle || slot.kind == Kind::OneWay;
        slot.state = State::Free;
        slot.conn = NONE;
        for side in [Side::Client, Side::Server] {
            if let Some(body) = slot.bodies.get_mut(side).take() {
                *fx.bodies.get_mut(side) = Some(body);
            }
        }
        if nameless {
            self.get_name(conn);
        }
        if let Some(c) = self.conns.get_mut(conn) {
            c.all.remove(&mut self.slots, Via::Owner, index);
        }
        self.free_slots
            .push_front(&mut self.slots, Via::Queue, index);
        self.free_conn_if_done(conn, fx);
    }

    /// A slot of the connection is in use, and holds no conversation.
    fn lose_name(&mut self, conn: u32) {
        self.nameless = self.nameless.wrapping_add(1);
        if let Some(c) = self.conns.get_mut(conn) {
            c.nameless = c.nameless.wrapping_add(1);
        }
    }

    /// A slot of the connection that held no conversation holds one, or is free.
    fn get_name(&mut self, conn: u32) {
        self.nameless = self.nameless.wrapping_sub(1);
        if let Some(c) = self.conns.get_mut(conn) {
            c.nameless = c.nameless.wrapping_sub(1);
        }
    }

    /// Frees a connection that neither a descriptor nor a message needs.
    fn free_conn_if_done(&mut self, conn: u32, fx: &mut Effects<H>) {
        let Some(c) = self.conns.get_mut(conn) else {
            return;
        };
        if *c.open.get(Side::Client)
            || *c.open.get(Side::Server)
            || !c.all.is_empty()
            || c.closed_notice
            || c.notice_in_hand
            || c.phase == Phase::Free
        {
            return;
        }
        fx.peer = c.peer.take();
        c.phase = Phase::Free;
        self.connections = self.connections.saturating_sub(1);
        self.free_conns
            .push_front(&mut self.conns, Via::Queue, conn);
    }
}
