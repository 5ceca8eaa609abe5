// SPDX-License-Identifier: GPL-2.0

//! Any threads doing anything: what holds after every step, and that the end leaves nothing.

use crate::engine::*;
use crate::host::{Test, Text};
use crate::world::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const THREADS: usize = 14;

/// A descriptor: the connection port's, or an end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fd {
    Port,
    End(usize),
}

/// An end of a connection.
pub struct Descriptor {
    pub conn: u32,
    pub side: Side,
    pub closed: bool,
    pub kept: Vec<u32>,
}

/// Something that is done in steps, by a thread of its own.
pub enum Job {
    Disconnect(usize, bool, Progress),
    Close(usize, u32, Progress, Progress),
    Shut(bool, Progress, Progress),
    Drain,
    /// A connection request was.
    Refused,
}

pub struct Sim {
    pub w: World,
    pub ends: Vec<Descriptor>,
    pub jobs: Vec<Job>,
    pub port_closed: bool,
    /// What each busy thread uses, and what it would send.
    pub uses: BTreeMap<usize, (Fd, u32)>,
    /// Messages that threads are copying.
    pub hands: BTreeMap<usize, Delivery<Test>>,
    /// What a side has been told of: ids, with the turn if it has that.
    pub ids: Vec<(Side, u64, u32)>,
    pub turns: Vec<(Side, u64, u32)>,
    pub requests: Vec<u64>,
    pub received: BTreeSet<u64>,
    /// Whether threads try the short way.
    pub straight: bool,
    /// Whether holders end.
    pub mortal: bool,
}

type Op = (u8, u8, u8, u8);

impl Sim {
    fn new(arrival_order: bool) -> Self {
        Self {
            w: World::with(arrival_order, 5),
            ends: Vec::new(),
            jobs: Vec::new(),
            port_closed: false,
            uses: BTreeMap::new(),
            hands: BTreeMap::new(),
            ids: Vec::new(),
            turns: Vec::new(),
            requests: Vec::new(),
            received: BTreeSet::new(),
            straight: true,
            mortal: true,
        }
    }

    /// A connection that is open.
    fn open(&mut self) {
        let conn = self.w.open();
        for side in [Client, Server] {
            self.ends.push(Descriptor {
                conn,
                side,
                closed: false,
                kept: Vec::new(),
            });
        }
    }

    pub fn text(&mut self, len: u32) -> Text {
        self.w.text(len)
    }

    pub fn source(&self, fd: Fd) -> Source {
        match fd {
            Fd::Port => Source::Port,
            Fd::End(at) => Source::Side(self.ends[at].conn, self.ends[at].side),
        }
    }

    pub fn scope(&self, fd: Fd) -> (Option<u32>, Side) {
        match fd {
            Fd::Port => (None, Server),
            Fd::End(at) => (Some(self.ends[at].conn), self.ends[at].side),
        }
    }

    /// A descriptor that can be used.
    fn fd(&self, pick: u8) -> Option<Fd> {
        let mut all: Vec<_> = (0..self.ends.len())
            .filter(|at| !self.ends[*at].closed)
            .map(Fd::End)
            .collect();
        if !self.port_closed {
            all.extend([Fd::Port; 2]);
        }
        (!all.is_empty()).then(|| all[usize::from(pick) % all.len()])
    }

    fn end(&self, pick: u8) -> Option<usize> {
        match self.fd(pick)? {
            Fd::End(at) => Some(at),
            Fd::Port => None,
        }
    }

    fn is_free(&self, thread: usize) -> bool {
        !self.uses.contains_key(&thread)
    }

    /// A conversation that a side knows, or once knew.
    pub fn id(&self, side: Side, pick: u8) -> (u64, u32) {
        Self::pick(&self.ids, side, pick)
    }

    /// A turn that a side has, or once had.
    pub fn turn(&mut self, side: Side, pick: u8) -> (u64, u32) {
        let turn = Self::pick(&self.turns, side, pick);
        if pick % 4 != 0 {
            self.turns.retain(|known| (known.1, known.2) != turn);
        }
        turn
    }

    fn pick(all: &[(Side, u64, u32)], side: Side, pick: u8) -> (u64, u32) {
        let known: Vec<_> = all.iter().rev().filter(|id| id.0 == side).take(6).collect();
        match known.is_empty() {
            true => (u64::from(pick), 0),
            false => {
                let (_, id, turn) = *known[usize::from(pick) % known.len()];
                (id, turn + u32::from(pick > 240))
            }
        }
    }

    fn begin(&mut self, job: Job) {
        self.w.half_done += 1;
        self.jobs.push(job);
    }

    fn close(&mut self, end: usize) {
        let busy = self.uses.values().any(|(fd, _)| *fd == Fd::End(end))
            || self
                .jobs
                .iter()
                .any(|job| matches!(job, Job::Disconnect(at, ..) if *at == end));
        if !busy {
            self.ends[end].closed = true;
            self.begin(Job::Close(end, 0, Progress::default(), Progress::default()));
        }
    }

    fn close_port(&mut self) {
        let busy = self.uses.values().any(|(fd, _)| *fd == Fd::Port);
        let shuts = self.jobs.iter().any(|job| matches!(job, Job::Shut(..)));
        if !busy && !shuts && !self.port_closed {
            self.port_closed = true;
            self.begin(Job::Shut(false, Progress::default(), Progress::default()));
        }
    }

    /// One step of something that takes several.
    fn go_on(&mut self, pick: u8) {
        if self.jobs.is_empty() {
            return;
        }
        let at = usize::from(pick) % self.jobs.len();
        let mut job = self.jobs.swap_remove(at);
        let ends = &mut self.ends;
        let closing = self.port_closed;
        let more = match &mut job {
            Job::Disconnect(end, flush, progress) => {
                let (conn, side) = (ends[*end].conn, ends[*end].side);
                self.w
                    .step(|e, fx| e.disconnect(conn, side, *flush, progress, fx))
            }
            Job::Close(end, stage, first, last) => {
                let (conn, side) = (ends[*end].conn, ends[*end].side);
                match *stage {
                    0 => {
                        if !self
                            .w
                            .step(|e, fx| e.disconnect(conn, side, false, first, fx))
                        {
                            *stage = 1;
                        }
                        true
                    }
                    1 => {
                        match ends[*end].kept.pop() {
                            Some(slot) => self.w.step(|e, fx| e.release(conn, slot, fx)),
                            None => *stage = 2,
                        }
                        true
                    }
                    2 => {
                        self.w.forget(Source::Side(conn, side));
                        *stage = 3;
                        true
                    }
                    _ => self.w.step(|e, fx| e.close_side(conn, side, last, fx)),
                }
            }
            Job::Shut(flush, progress, inner) => {
                let more = self
                    .w
                    .step(|e, fx| e.close_port(*flush, progress, inner, fx));
                if !more && closing {
                    self.jobs.push(Job::Drain);
                    self.w.half_done += 1;
                }
                more
            }
            Job::Drain => {
                let more = self.w.step(|e, fx| e.drain_port(fx));
                if !more {
                    self.w.forget(Source::Port);
                }
                more
            }
            Job::Refused => {
                self.w.step(Engine::lose_way);
                false
            }
        };
        match more {
            true => self.jobs.push(job),
            false => {
                self.w.half_done -= 1;
                self.w.retire();
            }
        }
    }

    fn apply(&mut self, (kind, thread, a, b): Op) {
        let thread = usize::from(thread) % THREADS;
        let free = self.is_free(thread);
        let fd = self.fd(b);
        match (kind % 32, fd) {
            (0, _) if free => self.connect(thread, a),
            (1..=3, Some(fd)) if free => self.receive(thread, fd, kind % 32 >= 3, a),
            (4..=6, _) if free && !self.port_closed => {
                self.receive(thread, Fd::Port, kind % 32 >= 5, a);
            }
            (7..=11, Some(Fd::End(end))) if free => {
                self.send_new(thread, end, u32::from(a) % 101, b.wrapping_add(kind));
            }
            (12..=15, Some(fd)) if free => self.send_into(thread, fd, a, b),
            (16, Some(fd)) if free => self.collect(thread, fd, a, b),
            (17, Some(fd)) => {
                let (conn, side) = self.scope(fd);
                let (id, _) = self.id(side, a);
                let _ = self
                    .w
                    .step(|e, fx| e.cancel(conn, side, id, b % 2 == 0, fx));
            }
            (18, Some(fd)) if b % 4 == 0 => {
                let (conn, side) = self.scope(fd);
                let (id, turn) = self.turn(side, a);
                let _ = self.w.step(|e, fx| e.discard(conn, side, id, turn, fx));
            }
            (19, _) if !self.port_closed => self.answer_request(a, b),
            (20..=24, _) => self.wake(a),
            (25, _) => self.interrupt(thread, a),
            (26, _) => self.resolve(thread, a),
            (27, Some(Fd::End(end))) if a % 16 == 0 => {
                self.begin(Job::Disconnect(end, b % 2 == 0, Progress::default()));
            }
            (28, _) if a % 8 == 0 => {
                if let Some(end) = self.end(b) {
                    self.close(end);
                }
            }
            (29, _) if a > 250 && b > 128 => self.close_port(),
            (30, _) if a % 8 == 0 => {
                self.w.lazy = !self.w.lazy;
                if !self.w.lazy {
                    self.w.serve_owed();
                }
            }
            (31, Some(fd)) if self.mortal && thread % 4 == 0 => self.flush(fd, a, b),
            (31, Some(fd)) if self.mortal && thread % 4 == 1 => self.end_thread(thread, fd),
            (31, Some(fd)) if thread % 4 == 2 => self.adopt(fd, a, b),
            (31, _) if a % 8 == 0 => self.w.add_descriptor(),
            (31, _) if a % 8 < 4 && self.w.descriptors > 0 => self.w.lose_descriptor(),
            _ => self.go_on(a),
        }
    }

    /// All that anybody can see, but for the numbers of messages.
    fn seen(&self) -> String {
        let engine = &self.w.engine;
        let mut all = format!("{:?} {:?}", self.w.awake, engine.gauges(Source::Port));
        for slot in 0..engine.table_len(Table::Slots) {
            all += &format!("\n{slot} {:?}", engine.sketch(slot));
        }
        for end in &self.ends {
            let source = Source::Side(end.conn, end.side);
            all += &format!("\n{:?} {:?}", end.kept, engine.gauges(source));
        }
        for (thread, delivery) in &self.hands {
            all += &format!("\n{thread} holds {}", told(delivery));
        }
        for (thread, (at, inbox)) in &self.w.inboxes {
            let hand = inbox.borrow();
            let hand = match &*hand {
                Some(Hand::Message(delivery)) => told(delivery),
                Some(hand) => word(hand),
                None => "nothing".into(),
            };
            all += &format!("\n{thread} at {at:?} has {hand}");
        }
        all + &format!("\n{:?} {:?}", self.ids.last(), self.turns.last())
    }

    /// Everything goes away, in whatever order; nothing may be left.
    fn finish(mut self) {
        self.w.lazy = false;
        self.w.serve_owed();
        for end in 0..self.ends.len() {
            if !self.ends[end].closed {
                self.begin(Job::Disconnect(end, end % 2 == 0, Progress::default()));
            }
            if self.w.descriptors > 0 {
                self.w.lose_descriptor();
            }
        }
        if !self.port_closed {
            self.begin(Job::Shut(true, Progress::default(), Progress::default()));
        }
        self.run_jobs();
        for thread in 0..THREADS {
            assert!(!self.w.is_waiting(thread), "thread {thread} waits for ever");
        }
        for round in 0..THREADS {
            self.wake(round as u8);
        }
        for thread in 0..THREADS {
            self.resolve(thread, thread as u8);
        }
        for end in 0..self.ends.len() {
            if !self.ends[end].closed {
                self.close(end);
            }
        }
        self.close_port();
        self.run_jobs();
        self.w.expect_nothing();
        // A thread may have made them grow again, which was too late with its call.
        self.w.retire();
        self.w.expect_no_tables();
        assert!(self.w.live.borrow().is_empty(), "messages are left");
        assert_eq!(self.w.links.get(), 0, "peers are left");
        assert_eq!(self.w.watches.get(), 0, "watches are left");
    }

    fn run_jobs(&mut self) {
        let mut steps = 0u32;
        while !self.jobs.is_empty() {
            self.go_on((steps % 251) as u8);
            steps += 1;
            assert!(steps < 100_000, "ends without end");
        }
    }
}

/// What a receiver is told, but for the numbers of messages.
fn told(d: &Delivery<Test>) -> String {
    let len = |body: &Option<Text>| body.as_ref().map(Body::len);
    let at = (d.conn, d.slot, d.to, d.id, d.turn, d.what, d.open, d.idle);
    let with = (len(&d.body), len(&d.own), d.peer.is_some());
    let numbers = (d.port_context, d.message_context, d.sequence);
    format!("{at:?} {with:?} {numbers:?}")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn anything_goes_and_nothing_is_lost(
        arrival_order: bool,
        ops in prop::collection::vec(any::<Op>(), 1..600),
    ) {
        let mut sim = Sim::new(arrival_order);
        sim.open();
        sim.open();
        for op in ops {
            sim.apply(op);
        }
        sim.finish();
    }

    #[test]
    fn whoever_goes_the_short_way_nobody_sees_it(
        arrival_order: bool,
        ops in prop::collection::vec(any::<Op>(), 1..600),
    ) {
        let mut sims = [true, false].map(|straight| Sim {
            straight,
            // It is a moment earlier that the short way notes who holds.
            mortal: false,
            ..Sim::new(arrival_order)
        });
        for sim in &mut sims {
            sim.open();
            sim.open();
        }
        for op in ops {
            let seen = sims.each_mut().map(|sim| {
                sim.apply(op);
                sim.seen()
            });
            assert_eq!(seen[0], seen[1], "after {op:?}");
        }
        for sim in sims {
            sim.finish();
        }
    }
}
