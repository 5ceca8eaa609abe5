// SPDX-License-Identifier: GPL-2.0

//! One connection with one conversation: every state that can be reached, every event in each, and
//! what comes of it, against a list that was read line by line. And all sequences of three events.
//!
//! After a change that is meant, `ALPC_TABLE=write cargo test -p alpc-logic --test engine table`
//! writes the list anew: read the difference.

use crate::engine::*;
use crate::world::*;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// Deeper calls are like those.
const DEPTH: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Connect,
    Accept,
    Refuse,
    Request,
    OneWay,
    /// Receives from the side's own queue.
    Next,
    /// Receives from the connection port.
    Port,
    /// Receives, and can't copy.
    Bounce,
    Collect,
    Wait,
    Leave,
    Reply,
    Final,
    Callback,
    Answer,
    /// Replies with the turn after the last.
    Stale,
    Discard,
    Cancel,
    Try,
    Flush,
    NoFlush,
    Close,
    Shut,
    /// Makes a connect descriptor. It is closed as it is connected through, or by `Unmint`.
    Mint,
    Unmint,
}

type Event = (Side, Act);

fn events() -> Vec<Event> {
    use Act::*;
    let both = [
        Request, OneWay, Next, Bounce, Collect, Wait, Leave, Reply, Final, Callback, Answer, Stale,
        Discard, Cancel, Try, Flush, NoFlush, Close,
    ];
    let mut all: Vec<_> = both
        .into_iter()
        .flat_map(|act| [(Client, act), (Server, act)])
        .collect();
    all.push((Client, Connect));
    all.extend([Accept, Refuse, Port, Shut, Mint, Unmint].map(|act| (Server, act)));
    all
}

/// The world, and what the two sides have in mind.
struct Play {
    w: World,
    /// The connection's descriptors.
    conn: u32,
    open: [bool; 2],
    request: u64,
    id: u64,
}

impl Play {
    fn new() -> Self {
        Self {
            w: World::new(),
            conn: NONE,
            open: [false; 2],
            request: 0,
            id: 0,
        }
    }

    fn sketch(&self) -> Option<Sketch> {
        let slots = self.w.engine.table_len(Table::Slots);
        (0..slots).find_map(|slot| self.w.engine.sketch(slot))
    }

    /// Where everything stands, in words.
    fn state(&self) -> String {
        let mut text = format!("{:?}", self.w.engine.phase(self.conn));
        for (side, open) in [Client, Server].into_iter().zip(self.open) {
            if open {
                write!(text, " {}", letter(side)).unwrap();
            }
        }
        if self.w.engine.is_closed() {
            text += " shut";
        }
        if self.w.descriptors > 0 {
            text += " descriptor";
        }
        if self.w.engine.has_no_clients() {
            text += " no-clients";
        }
        match self.sketch() {
            Some(s) => {
                write!(text, ", {:?} {:?} by {:?}", s.state, s.what, s.origin).unwrap();
                for (word, on) in [
                    (" open", s.open),
                    (" answered", s.answered && !s.what.is_notice()),
                    (" known-c", s.seen[0]),
                    (" known-s", s.seen[1]),
                    (" waits-c", s.waits[0]),
                    (" waits-s", s.waits[1]),
                ] {
                    text += if on { word } else { "" };
                }
                if s.depth > 0 && !s.what.is_notice() {
                    write!(text, " depth {}", s.depth).unwrap();
                }
            }
            None if self.w.engine.readiness(PORT).0 => text += ", notice of the end",
            None => {}
        }
        text
    }

    /// Whether an event can be asked for: by a descriptor that exists, and with
    /// one conversation at most.
    fn can(&self, (side, act): Event) -> bool {
        let sketch = self.sketch();
        let open = match side {
            Client => self.open[0],
            Server => self.open[1],
        };
        let stands = self.w.inboxes.contains_key(&(side as usize));
        match act {
            Act::Connect => self.w.engine.phase(self.conn) == Phase::Free && self.w.descriptors > 0,
            Act::Mint => {
                let phase = self.w.engine.phase(self.conn);
                self.w.descriptors == 0 && !matches!(phase, Phase::Pending | Phase::Open)
            }
            Act::Unmint => self.w.descriptors > 0,
            Act::Accept | Act::Refuse => self.request != 0,
            Act::Shut => !self.w.engine.is_closed(),
            Act::Port => true,
            Act::Leave => stands && self.w.is_waiting(side as usize),
            Act::Request | Act::OneWay => open && sketch.is_none(),
            Act::Next | Act::Flush | Act::NoFlush => open,
            Act::Close => open && !stands,
            Act::Wait => self.id != 0 && !stands,
            Act::Callback => self.id != 0 && sketch.is_none_or(|s| s.depth < DEPTH),
            Act::Bounce => open || side == Server,
            _ => self.id != 0,
        }
    }

    fn took(&mut self, got: Got) -> String {
        let text = got.word();
        if let Got::Message(delivery) = got {
            if delivery.idle {
                self.w.settle(delivery);
            }
        }
        text
    }

    fn told(&mut self) -> String {
        let mut text = String::new();
        for thread in core::mem::take(&mut self.w.awake) {
            let (_, inbox) = self.w.inboxes.remove(&thread).expect("a thread");
            let hand = inbox.borrow_mut().take().expect("something");
            let side = if thread == 0 { Client } else { Server };
            write!(text, " {}: {}", letter(side), word(&hand)).unwrap();
            if let Hand::Message(delivery) = hand {
                if delivery.idle {
                    self.w.settle(delivery);
                }
            }
        }
        text
    }

    /// What comes of an event.
    fn act(&mut self, (side, act): Event) -> String {
        let (conn, id) = (self.conn, self.id);
        let turn = self.w.engine.turn_of(id);
        let source = Source::Side(conn, side);
        let how = |play: &mut Self, how: How| said(play.w.answer(side, id, turn, how).map(drop));
        let result = match act {
            Act::Connect => {
                let (result, phase) = (self.w.connect_with(SHARE), Phase::Pending);
                if let Ok((conn, sent)) = result {
                    (self.conn, self.request, self.id) = (conn, sent.id, sent.id);
                    self.open = [true, false];
                    assert_eq!(self.w.engine.phase(conn), phase);
                    self.w.lose_descriptor();
                }
                said(result.map(drop))
            }
            Act::Accept => {
                let result = self.w.accept(self.request);
                self.open[1] |= result.is_ok();
                said(result.map(drop))
            }
            Act::Refuse => said(self.w.refuse(self.request)),
            Act::Request => {
                let result = self.w.send(conn, side, New::Request, 10);
                self.id = result.as_ref().map_or(self.id, |sent| sent.id);
                said(result.map(drop))
            }
            Act::OneWay => {
                let result = self.w.send(conn, side, New::OneWay, 10);
                self.id = result.as_ref().map_or(self.id, |sent| sent.id);
                said(result.map(drop))
            }
            Act::Next => {
                let got = self.w.next(source);
                self.took(got)
            }
            Act::Port => {
                let got = self.w.next(PORT);
                self.took(got)
            }
            Act::Bounce => {
                let from = if side == Client { source } else { PORT };
                let got = self.w.next(from);
                let text = got.word();
                if let Got::Message(delivery) = got {
                    self.w.undeliver(delivery);
                }
                text
            }
            Act::Collect => {
                let got = self.w.collect(side, id, 100);
                self.took(got)
            }
            Act::Wait => {
                let (got, inbox) = self.w.step(|engine, fx| {
                    let (received, slot) = engine.collect(None, side, id, 100, fx);
                    let got = Got::from(received);
                    let inbox = matches!(got, Got::Empty).then(|| {
                        let at = Wait::Conversation { slot, id, side };
                        let set = engine.waiters(at).expect("a place");
                        (at, set.add(side as usize, 100, false))
                    });
                    (got, inbox)
                });
                if let Some((at, inbox)) = inbox {
                    self.w.stand(side as usize, at, inbox);
                }
                self.took(got)
            }
            Act::Leave => {
                self.w.leave(side as usize);
                "left".into()
            }
            Act::Reply => how(self, How::Reply),
            Act::Final => how(self, How::FinalReply),
            Act::Callback => how(self, How::Callback),
            Act::Answer => how(self, How::Answer),
            Act::Stale => said(self.w.answer(side, id, turn + 1, How::Reply).map(drop)),
            Act::Discard => said(self.w.discard(side, id, turn)),
            Act::Cancel => said(self.w.cancel(side, id, false)),
            Act::Try => said(self.w.cancel(side, id, true)),
            Act::Flush | Act::NoFlush => {
                self.w.disconnect(conn, side, act == Act::Flush);
                "done".into()
            }
            Act::Close => {
                self.w.close(conn, side);
                self.open[side as usize] = false;
                "done".into()
            }
            Act::Shut => {
                self.w.shut(false);
                "done".into()
            }
            Act::Mint => {
                self.w.add_descriptor();
                "done".into()
            }
            Act::Unmint => {
                self.w.lose_descriptor();
                "done".into()
            }
        };
        result + &self.told()
    }

    fn end(self) {
        let mut w = self.w;
        w.shut(false);
        w.drain();
        for (side, open) in [Client, Server].into_iter().zip(self.open) {
            if open {
                w.close(self.conn, side);
            }
        }
        w.expect_nothing();
    }

    fn after(path: &[Event]) -> Self {
        let mut play = Self::new();
        for event in path {
            play.act(*event);
        }
        play
    }
}

fn letter(side: Side) -> char {
    match side {
        Client => 'c',
        Server => 's',
    }
}

fn said<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    match result {
        Ok(value) => format!("Ok({value:?})").replace("(())", ""),
        Err(refusal) => format!("{refusal:?}"),
    }
}

/// All states and what each event makes of them.
fn table() -> String {
    let mut paths = BTreeMap::from([(Play::new().state(), vec![])]);
    let mut order = VecDeque::from_iter(paths.keys().cloned());
    let mut text = String::new();
    while let Some(state) = order.pop_front() {
        let path = paths[&state].clone();
        let mut results: Vec<(String, Vec<String>)> = Vec::new();
        for event in events() {
            let mut play = Play::after(&path);
            assert_eq!(play.state(), state);
            if !play.can(event) {
                play.end();
                continue;
            }
            let mut result = play.act(event);
            let next = play.state();
            if next != state {
                write!(result, " => {next}").unwrap();
                let further = [path.as_slice(), &[event]].concat();
                let ends = next.starts_with("Ended") || next.contains("shut");
                if !ends && !paths.contains_key(&next) {
                    paths.insert(next.clone(), further);
                    order.push_back(next);
                }
            }
            play.end();
            let name = format!("{}.{:?}", letter(event.0), event.1).to_lowercase();
            match results.iter_mut().find(|known| known.0 == result) {
                Some(known) => known.1.push(name),
                None => results.push((result, vec![name])),
            }
        }
        writeln!(text, "{state}").unwrap();
        for (result, names) in results {
            writeln!(text, "    {}: {result}", names.join(" ")).unwrap();
        }
    }
    text
}

#[test]
fn every_event_in_every_state_is_in_the_table() {
    let found = table();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/table.txt");
    if std::env::var_os("ALPC_TABLE").is_some() {
        std::fs::write(file, &found).expect("the table is written");
    }
    let known = include_str!("table.txt");
    for (line, (found, known)) in found.lines().zip(known.lines()).enumerate() {
        assert_eq!(found, known, "line {} of table.txt", line + 1);
    }
    assert_eq!(found.lines().count(), known.lines().count());
}

#[test]
fn any_three_events_leave_nothing_behind() {
    use Act::*;
    let open = [
        (Server, Mint),
        (Client, Connect),
        (Server, Port),
        (Server, Accept),
        (Client, Next),
    ];
    let held = [(Client, Request), (Client, Wait), (Server, Port)];
    let called = [(Server, Callback), (Server, Wait)];
    let starts = [
        vec![],
        open.to_vec(),
        [&open[..], &held[..]].concat(),
        [&open[..], &held[..], &called[..]].concat(),
    ];
    for start in starts {
        let all = events();
        for first in &all {
            let mut play = Play::after(&start);
            if !play.can(*first) {
                play.end();
                continue;
            }
            play.act(*first);
            let second: Vec<_> = all.iter().filter(|event| play.can(**event)).collect();
            play.end();
            for second in second {
                let path = [start.as_slice(), &[*first, *second]].concat();
                let play = Play::after(&path);
                let third: Vec<_> = all.iter().filter(|event| play.can(**event)).collect();
                play.end();
                for third in third {
                    let mut play = Play::after(&path);
                    play.act(*third);
                    play.end();
                }
            }
        }
    }
}
