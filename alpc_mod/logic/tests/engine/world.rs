// SPDX-License-Identifier: GPL-2.0

//! Threads and descriptors around one engine, doing to it what the module does.

use crate::engine::*;
use crate::host::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub use crate::engine::Side::{Client, Server};

/// What a connection may use unless a test says otherwise.
pub const SHARE: Share = Share {
    max_length: 100,
    messages: 4,
    bytes: 200,
};

/// The connection port.
pub const PORT: Source = Source::Port;

/// The client's end of a connection.
pub fn client(conn: u32) -> Source {
    Source::Side(conn, Client)
}

/// The server's end.
pub fn server(conn: u32) -> Source {
    Source::Side(conn, Server)
}

/// What a receive gave.
pub enum Got {
    Message(Delivery<Test>),
    TooSmall(u32),
    Empty,
    Ended(End),
    Refused(Refusal),
}

impl Got {
    pub fn message(self) -> Delivery<Test> {
        match self {
            Got::Message(delivery) => delivery,
            other => panic!("no message: {}", other.word()),
        }
    }

    /// In words, for comparisons.
    pub fn word(&self) -> String {
        match self {
            Got::Message(d) => format!("{:?}{}", d.what, if d.open { " open" } else { "" }),
            Got::TooSmall(len) => format!("TooSmall {len}"),
            Got::Empty => "Empty".into(),
            Got::Ended(end) => format!("Ended {end:?}"),
            Got::Refused(refusal) => format!("{refusal:?}"),
        }
    }
}

impl From<Received<Test>> for Got {
    fn from(received: Received<Test>) -> Self {
        match received {
            Received::Message(delivery) => Got::Message(delivery),
            Received::TooSmall(len) => Got::TooSmall(len),
            Received::Empty => Got::Empty,
            Received::Ended(end) => Got::Ended(end),
            Received::Refused(refusal) => Got::Refused(refusal),
        }
    }
}

pub struct World {
    pub engine: Engine<Test>,
    pub live: Live,
    pub links: Rc<Cell<u32>>,
    /// What tells of ends of threads.
    pub watches: Rc<Cell<u32>>,
    pub peers: BTreeMap<u32, Link>,
    /// Threads that stand somewhere, or were handed something they have not seen.
    pub inboxes: BTreeMap<usize, (Wait, Inbox)>,
    pub awake: BTreeSet<usize>,
    /// Whether pollers of the connection port were woken since last asked.
    pub port_polled: bool,
    /// Connect descriptors.
    pub descriptors: u64,
    /// Ends that are half done.
    pub half_done: u32,
    serial: u64,
    /// Places that `Effects::again` named, when `lazy` leaves them alone.
    pub owed: Vec<Source>,
    pub lazy: bool,
}

impl World {
    pub fn new() -> Self {
        Self::with(false, 8)
    }

    pub fn in_arrival_order() -> Self {
        Self::with(true, 8)
    }

    pub fn with(arrival_order: bool, max_connections: u32) -> Self {
        let engine = Engine::new(
            Rows(Vec::new()),
            Rows(Vec::new()),
            Rows(Vec::new()),
            arrival_order,
            max_connections,
        );
        let mut world = Self {
            engine,
            live: Live::default(),
            links: Rc::default(),
            watches: Rc::default(),
            peers: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            awake: BTreeSet::new(),
            port_polled: false,
            descriptors: 0,
            half_done: 0,
            serial: 0,
            owed: Vec::new(),
            lazy: false,
        };
        world.grow();
        world
    }

    /// Makes all tables grow by a chunk where they are full.
    pub fn grow(&mut self) {
        if self.engine.is_full(Table::Slots) {
            let len = self.engine.table_len(Table::Slots);
            let slots = &mut self.engine.slots_mut().0;
            slots.resize_with(slots.len() + 4, Slot::default);
            self.engine.grown(Table::Slots, len);
        }
        if self.engine.is_full(Table::Conns) {
            let len = self.engine.table_len(Table::Conns);
            let conns = &mut self.engine.conns_mut().0;
            conns.resize_with(conns.len() + 2, Conn::default);
            self.engine.grown(Table::Conns, len);
        }
        if self.engine.is_full(Table::Holders) {
            let len = self.engine.table_len(Table::Holders);
            let holders = &mut self.engine.holders_mut().0;
            holders.resize_with(holders.len() + 2, Holder::default);
            self.engine.grown(Table::Holders, len);
        }
    }

    /// One pass through the lock, then all that it left to do, then the audit.
    pub fn step<R>(&mut self, f: impl FnOnce(&mut Engine<Test>, &mut Effects<Test>) -> R) -> R {
        let mut fx = Effects::default();
        let result = locked(|| f(&mut self.engine, &mut fx));
        self.act(fx);
        self.check();
        result
    }

    fn act(&mut self, mut fx: Effects<Test>) {
        loop {
            let alarms = [fx.wake.take(), fx.room.take()];
            for alarm in alarms
                .into_iter()
                .chain(fx.also.iter_mut().map(Option::take))
            {
                if let Some(thread) = alarm.map(Alarm::ring) {
                    assert!(self.awake.insert(thread), "thread {thread} woken twice");
                }
            }
            self.port_polled |= core::mem::take(&mut fx.poll_port);
            for peer in [fx.poll.take(), fx.poll_also.take()].into_iter().flatten() {
                peer.wake();
            }
            drop((fx.bodies, fx.peer.take()));
            let Some(source) = fx.again.take() else {
                return;
            };
            fx = Effects::default();
            if self.lazy {
                self.owed.push(source);
                return;
            }
            locked(|| self.engine.serve(source, &mut fx));
        }
    }

    /// Does what `again` has asked for and was put off.
    pub fn serve_owed(&mut self) {
        for source in core::mem::take(&mut self.owed) {
            self.step(|engine, fx| engine.serve(source, fx));
        }
    }

    pub fn check(&mut self) {
        let settled = self.half_done == 0 && self.owed.is_empty();
        if let Err(what) = self.engine.audit(settled) {
            panic!("{what}");
        }
        let (ways, live) = self.engine.ways();
        match self.half_done {
            0 => assert_eq!(ways, self.descriptors + live, "ways are miscounted"),
            _ => assert!(ways >= self.descriptors + live, "a way is lost too early"),
        }
        let wrong = take_wrong();
        assert!(wrong.is_empty(), "{wrong:?}");
        for (thread, (_, inbox)) in &self.inboxes {
            let handed = inbox.borrow().is_some();
            let awake = self.awake.contains(thread);
            assert_eq!(handed, awake, "thread {thread}: handed, awake");
        }
        let live = self.live.borrow();
        self.engine.each_body(|body| {
            assert!(live.contains(&body.serial()), "a message is inside twice");
        });
        drop(live);
        for conn in 0..self.engine.table_len(Table::Conns) {
            for side in [Client, Server] {
                if self.engine.waits_for_room_in_vain(conn, side) {
                    let on_the_way = self.inboxes.values().any(|(at, inbox)| {
                        *at == Wait::Room { conn, side }
                            && matches!(*inbox.borrow(), Some(Hand::Room))
                    });
                    assert!(on_the_way, "a wait for room in an empty queue");
                }
            }
        }
    }

    pub fn text(&mut self, len: u32) -> Text {
        self.serial += 1;
        Text::new(self.serial, len, &self.live)
    }

    /// One pass that leaves something to be done if it succeeds.
    pub fn begin_half<T, E>(
        &mut self,
        f: impl FnOnce(&mut Engine<Test>, &mut Effects<Test>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.half_done += 1;
        let result = self.step(f);
        self.half_done -= u32::from(result.is_err());
        result
    }

    /// Steps until there are no more.
    pub fn run(&mut self, mut f: impl FnMut(&mut Engine<Test>, &mut Effects<Test>) -> bool) {
        self.half_done += 1;
        let mut steps = 0;
        while self.step(&mut f) {
            steps += 1;
            assert!(steps < 10_000, "an end without end");
        }
        self.half_done -= 1;
        self.check();
    }

    pub fn disconnect(&mut self, conn: u32, side: Side, flush: bool) {
        let mut progress = Progress::default();
        self.run(|engine, fx| engine.disconnect(conn, side, flush, &mut progress, fx));
    }

    /// The first so many steps of a disconnect.
    pub fn disconnect_partly(&mut self, conn: u32, side: Side, steps: u32) -> Progress {
        let mut progress = Progress::default();
        self.half_done += 1;
        for _ in 0..steps {
            assert!(self.step(|engine, fx| engine.disconnect(conn, side, true, &mut progress, fx)));
        }
        progress
    }

    /// The others.
    pub fn disconnect_on(&mut self, conn: u32, side: Side, mut progress: Progress) {
        self.run(|engine, fx| engine.disconnect(conn, side, true, &mut progress, fx));
        self.half_done -= 1;
        self.check();
    }

    /// The last descriptor of a side goes away, without keeping a slot.
    pub fn close(&mut self, conn: u32, side: Side) {
        self.disconnect(conn, side, false);
        self.close_side(conn, side);
    }

    pub fn close_side(&mut self, conn: u32, side: Side) {
        self.forget(Source::Side(conn, side));
        let mut progress = Progress::default();
        self.run(|engine, fx| engine.close_side(conn, side, &mut progress, fx));
        self.retire();
    }

    /// Gives back the tables that are not needed any more.
    pub fn retire(&mut self) {
        let (mut slots, mut conns, mut holders) =
            (Rows(Vec::new()), Rows(Vec::new()), Rows(Vec::new()));
        locked(|| self.engine.retire(&mut slots, &mut conns, &mut holders));
        drop((slots, conns, holders));
        self.check();
    }

    pub fn shut(&mut self, flush: bool) {
        let (mut progress, mut inner) = Default::default();
        self.run(|engine, fx| engine.close_port(flush, &mut progress, &mut inner, fx));
    }

    pub fn drain(&mut self) {
        self.run(|engine, fx| engine.drain_port(fx));
        self.forget(Source::Port);
        self.retire();
    }

    /// Closes all, in an order that a test may have begun. Nothing may be left.
    pub fn end(mut self) {
        self.shut(false);
        self.drain();
        for conn in 0..self.engine.table_len(Table::Conns) {
            for side in [Client, Server] {
                let is_open = side == Client || self.engine.phase(conn) != Phase::Refused;
                if self.engine.phase(conn) != Phase::Free && is_open {
                    self.close(conn, side);
                }
            }
        }
        self.expect_no_tables();
        self.expect_nothing();
    }

    pub fn expect_no_tables(&self) {
        for table in [Table::Slots, Table::Conns, Table::Holders] {
            assert_eq!(self.engine.table_len(table), 0, "{table:?}");
        }
    }

    /// The same, where a test has dropped notices it had received.
    pub fn end_with_notices(mut self) {
        for slot in 0..self.engine.table_len(Table::Slots) {
            for conn in 0..self.engine.table_len(Table::Conns) {
                self.step(|engine, fx| engine.release(conn, slot, fx));
            }
        }
        self.end();
    }

    pub fn expect_nothing(&mut self) {
        self.check();
        for thread in self.inboxes.keys() {
            assert!(
                self.awake.contains(thread),
                "thread {thread} waits for ever"
            );
        }
        self.inboxes.clear();
        self.peers.clear();
        let gauges = self.engine.gauges(Source::Port);
        assert_eq!(gauges.connections, 0, "connections");
        assert_eq!(gauges.conversations, 0, "conversations");
        assert_eq!((gauges.messages, gauges.bytes), (0, 0), "messages");
    }
}

/// What a thread was handed, in words.
pub fn word(hand: &Hand<Test>) -> String {
    match hand {
        Hand::Message(d) => format!("{:?}{}", d.what, if d.open { " open" } else { "" }),
        Hand::TooSmall(len) => format!("TooSmall {len}"),
        Hand::Ended(end) => format!("Ended {end:?}"),
        Hand::Room => "Room".into(),
    }
}
