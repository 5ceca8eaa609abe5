// SPDX-License-Identifier: GPL-2.0

//! What a process, or a thread, leaves behind when it ends or can't answer any more.

use crate::engine::*;
use crate::host::*;
use crate::threads::{finds, staged};
use crate::world::*;

/// The process that receives unless a test says otherwise.
pub const SOMEBODY: Who = Who {
    files: 1,
    thread: 0,
    since: 0,
};

/// Another one.
const OTHER: Who = Who {
    files: 2,
    thread: 0,
    since: 0,
};

/// A thread of the first with which what it holds ends.
const THREAD: Who = Who {
    files: 1,
    thread: 77,
    since: 0,
};

impl World {
    /// Notes who has received something that is to be answered.
    pub fn note(&mut self, delivery: &Delivery<Test>, who: Who) {
        if !delivery.open || delivery.noted {
            return;
        }
        let source = match delivery.to {
            Client => client(delivery.conn),
            Server => PORT,
        };
        loop {
            match self.step(|engine, _| engine.hold(delivery, source, who)) {
                Ok(hold) => return self.look_up(source, who, hold),
                Err(refusal) => self.prepare(source, who, refusal),
            }
        }
    }

    /// Notes who has received what somebody in a test got.
    pub fn note_got(&mut self, got: &Got) {
        if let Got::Message(delivery) = got {
            self.note(delivery, SOMEBODY);
        }
    }

    fn look_up(&mut self, source: Source, who: Who, hold: Hold) {
        if let Hold::Unsure(stamp) = hold {
            assert!(self.step(|engine, _| engine.is_sure(source, who, stamp)));
        }
    }

    fn prepare(&mut self, source: Source, who: Who, refusal: Refusal) {
        match refusal {
            Refusal::Grow => self.grow(),
            Refusal::NotWatched => {
                let watch = Watch::new(&self.watches);
                let result = self.step(|engine, _| engine.watch(source, who, watch));
                if let Err((why, watch)) = result {
                    drop(watch);
                    assert_eq!(why, Some(Refusal::Grow));
                    self.grow();
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Somebody takes over what may be held.
    pub fn adopt(&mut self, at: Source, id: u64, turn: u32, who: Who) -> Result<(), Refusal> {
        let conn = match at {
            Source::Port => None,
            Source::Side(conn, _) => Some(conn),
        };
        loop {
            match self.step(|engine, _| engine.adopt(conn, at, id, turn, who)) {
                Ok((hold, _)) => {
                    self.look_up(at, who, hold);
                    return Ok(());
                }
                Err(refusal @ (Refusal::Grow | Refusal::NotWatched)) => {
                    self.prepare(at, who, refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// A process lets go of a descriptor. If that was its last, it may have others for the
    /// connections that `answers` names. Gives how many were lost.
    pub fn flush(
        &mut self,
        at: Source,
        files: usize,
        is_last: bool,
        answers: impl Fn(u32) -> bool,
    ) -> u32 {
        let who = Who {
            files,
            thread: 0,
            since: 0,
        };
        let Flush::Held(stamp) = self.step(|engine, _| engine.flush(at, who)) else {
            return 0;
        };
        if !is_last {
            assert!(self.step(|engine, _| engine.is_sure(at, who, stamp)));
            return 0;
        }
        let (mut ending, mut lost) = (Ending::default(), 0);
        for _ in 0..10_000 {
            match self.step(|engine, _| engine.next_held(at, who, &mut ending)) {
                Next::Held(held) if answers(held.conn) => {}
                Next::Held(held) => {
                    self.half_done += 1;
                    if self
                        .step(|engine, fx| engine.lose(at, who, held, fx))
                        .is_some()
                    {
                        self.step(Engine::lose_way);
                    }
                    self.half_done -= 1;
                    lost += 1;
                }
                Next::Again => {}
                Next::Done => return lost,
            }
        }
        panic!("an end without end");
    }

    /// A thread ends.
    pub fn end_thread(&mut self, at: Source, who: Who) {
        let (mut watch, mut more) = (None, true);
        self.half_done += 1;
        while more {
            let refused;
            (more, refused) = self.step(|engine, fx| engine.thread_ended(at, who, &mut watch, fx));
            if refused.is_some() {
                self.step(Engine::lose_way);
            }
        }
        self.half_done -= 1;
        drop(watch);
        self.check();
    }

    /// The last descriptor of a side has gone.
    pub fn forget(&mut self, at: Source) {
        let mut ending = Ending::default();
        loop {
            let mut watch = None;
            let more = self.step(|engine, _| engine.forget_holders(at, &mut ending, &mut watch));
            drop(watch);
            if !more {
                return;
            }
        }
    }
}

/// Nobody answers.
fn nowhere(_conn: u32) -> bool {
    false
}

#[test]
fn who_waits_is_told_that_the_holder_has_gone() {
    let mut w = World::new();
    let conn = w.open();
    w.call(1, conn, Client, 100);
    drop(w.next(PORT).message());
    assert_eq!(
        w.flush(PORT, OTHER.files, true, nowhere),
        0,
        "it holds nothing"
    );
    assert!(w.is_waiting(1));
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Lost");
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, nowhere), 0);
    w.end();
}

#[test]
fn who_does_not_wait_gets_a_notice() {
    let mut w = World::new();
    let conn = w.open();
    w.request(conn, Client);
    drop(w.next(PORT).message());
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, nowhere), 1);
    assert_eq!(finds(&mut w, conn, Client), "LostReply");
    w.end();
}

#[test]
fn a_process_with_another_descriptor_holds_on() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    w.call(1, conn, Client, 100);
    w.call(2, other, Client, 100);
    for _ in 0..2 {
        drop(w.next(PORT).message());
    }
    assert_eq!(w.flush(PORT, SOMEBODY.files, false, nowhere), 0);
    assert_eq!(w.flush(server(conn), SOMEBODY.files, true, nowhere), 0);
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, |at| at == conn), 1);
    assert!(w.is_waiting(1));
    assert_eq!(word(&w.taken(2)), "Ended Lost");
    // What it could answer by goes as well.
    assert_eq!(w.flush(server(other), SOMEBODY.files, true, nowhere), 0);
    assert_eq!(w.flush(server(conn), SOMEBODY.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Lost");
    w.end();
}

#[test]
fn what_is_answered_is_not_lost() {
    for by in [SOMEBODY, OTHER] {
        let mut w = World::new();
        let conn = w.open();
        let id = w.call(1, conn, Client, 100);
        drop(w.next(PORT).message());
        w.adopt(PORT, id, 0, by).unwrap();
        w.answer(Server, id, 0, How::FinalReply).unwrap();
        let reply = w.taken_message(1);
        w.settle(reply);
        assert_eq!(w.flush(PORT, by.files, true, nowhere), 0);
        w.end();
    }
}

#[test]
fn what_has_been_taken_over_is_the_new_holders() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    drop(w.next(PORT).message());
    assert_eq!(w.adopt(PORT, id, 1, OTHER), Err(Refusal::StaleTurn));
    assert_eq!(w.adopt(client(conn), id, 0, OTHER), Err(Refusal::NotOwner));
    w.adopt(PORT, id, 0, OTHER).unwrap();
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, nowhere), 0);
    assert!(w.is_waiting(1));
    assert_eq!(w.flush(PORT, OTHER.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Lost");
    w.end();
}

#[test]
fn a_client_holds_what_the_server_asks() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Server).id;
    w.wait_for(1, Server, id, 100);
    drop(w.next(client(conn)).message());
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, nowhere), 0);
    assert_eq!(w.flush(client(conn), SOMEBODY.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Lost");
    w.end();
}

#[test]
fn a_client_whose_request_is_held_by_nobody_is_refused() {
    let mut w = World::new();
    let (conn, sent) = w.connect();
    w.wait_for(1, Client, sent.id, 100);
    drop(w.next(PORT).message());
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Refused");
    assert_eq!(w.engine.phase(conn), Phase::Refused);
    assert_eq!(w.accept(sent.id), Err(Refusal::NotFound));
    w.end();
}

#[test]
fn a_conversation_ends_with_its_thread_where_that_is_asked_for() {
    let mut w = World::new();
    let conn = w.open();
    let mut ids = [0; 2];
    for (thread, who) in [(1, SOMEBODY), (2, THREAD)] {
        let id = w.call(thread, conn, Client, 100);
        drop(w.next(PORT).message());
        w.adopt(PORT, id, 0, who).unwrap();
        ids[thread - 1] = id;
    }
    assert_eq!(w.watches.get(), 1);
    w.end_thread(PORT, THREAD);
    assert_eq!(w.watches.get(), 0);
    assert_eq!(word(&w.taken(2)), "Ended Lost");
    assert!(w.is_waiting(1));
    w.end_thread(PORT, THREAD);
    // The end of the process is that of its threads.
    w.adopt(PORT, ids[0], 0, THREAD).unwrap();
    assert_eq!(w.flush(PORT, THREAD.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Lost");
    w.end_thread(PORT, THREAD);
    assert_eq!(w.watches.get(), 0);
    w.end();
}

#[test]
fn a_receive_behind_the_last_close_is_looked_up() {
    let mut w = World::new();
    let conn = w.open();
    w.call(1, conn, Client, 100);
    let first = Got::from(w.step(|e, fx| e.receive(PORT, 100, fx))).message();
    w.grow();
    let Ok(Hold::Unsure(stamp)) = w.step(|e, _| e.hold(&first, PORT, OTHER)) else {
        panic!("nobody has looked it up");
    };
    // The descriptor goes after it has been found, and before that is noted.
    let Flush::Held(later) = w.step(|e, _| e.flush(PORT, OTHER)) else {
        panic!("it is held");
    };
    assert!(!w.step(|e, _| e.is_sure(PORT, OTHER, stamp)));
    assert!(w.step(|e, _| e.is_sure(PORT, OTHER, later)));
    w.undeliver(first);
    // Nothing is held: the flush leaves a mark.
    assert_eq!(w.flush(PORT, OTHER.files, true, nowhere), 0);
    let again = Got::from(w.step(|e, fx| e.receive(PORT, 100, fx))).message();
    let hold = w.step(|e, _| e.hold(&again, PORT, OTHER));
    assert!(matches!(hold, Ok(Hold::Unsure(_))));
    w.undeliver(again);
    w.end();
}

#[test]
fn what_was_found_for_a_holder_that_is_gone_says_nothing_of_the_next() {
    let mut w = World::new();
    let conn = w.open();
    w.call(1, conn, Client, 100);
    let first = Got::from(w.step(|e, fx| e.receive(PORT, 100, fx))).message();
    w.grow();
    let Ok(Hold::Unsure(stamp)) = w.step(|e, _| e.hold(&first, PORT, OTHER)) else {
        panic!("nobody has looked it up");
    };
    // One thread has found the descriptor, another closes it, and what is held is lost.
    assert_eq!(w.flush(PORT, OTHER.files, true, nowhere), 1);
    assert_eq!(word(&w.taken(1)), "Ended Lost");
    drop(first);
    // A third one is about to learn that there is none, when the first says what it has found.
    w.call(2, conn, Client, 100);
    let second = Got::from(w.step(|e, fx| e.receive(PORT, 100, fx))).message();
    let hold = w.step(|e, _| e.hold(&second, PORT, OTHER));
    assert!(matches!(hold, Ok(Hold::Unsure(_))));
    assert!(!w.step(|e, _| e.is_sure(PORT, OTHER, stamp)));
    w.undeliver(second);
    w.end();
}

#[test]
fn there_are_no_more_holders_than_are_found_soon() {
    let mut w = World::new();
    let conn = w.open();
    for files in 1..=HOLDERS_PER_CLIENT as usize + 1 {
        let id = w.request(conn, Server).id;
        let request = Got::from(w.step(|e, fx| e.receive(client(conn), 100, fx))).message();
        let who = Who {
            files,
            thread: 0,
            since: 0,
        };
        w.grow();
        let hold = w.step(|e, _| e.hold(&request, client(conn), who));
        match files > HOLDERS_PER_CLIENT as usize {
            false => assert!(hold.is_ok()),
            true => {
                assert_eq!(hold, Err(Refusal::Limit));
                w.undeliver(request);
            }
        }
        let _ = id;
    }
    w.end();
}

#[test]
fn an_end_of_a_connection_and_one_of_its_holders_at_once_leave_nobody_waiting() {
    let mut w = World::new();
    let conn = w.open();
    for thread in 1..=4 {
        w.call(thread, conn, Client, 100);
        drop(w.next(PORT).message());
    }
    assert_eq!(w.flush(PORT, SOMEBODY.files, true, |_| true), 0);
    w.half_done += 1;
    let (mut progress, mut ending) = (Progress::default(), Ending::default());
    let (mut more, mut looks) = (true, true);
    while more || looks {
        more = more && w.step(|e, fx| e.disconnect(conn, Client, false, &mut progress, fx));
        // Another process looks for what it holds there.
        looks = looks
            && !matches!(
                w.step(|e, _| e.next_held(server(conn), OTHER, &mut ending)),
                Next::Done
            );
    }
    w.half_done -= 1;
    for thread in 1..=4 {
        assert!(!w.is_waiting(thread), "{thread}");
        drop(w.taken(thread));
    }
    w.end_with_notices();
}

#[test]
fn two_holders_that_end_at_once_leave_nobody_waiting() {
    let mut w = World::new();
    let conn = w.open();
    for thread in 1..=4 {
        let id = w.call(thread, conn, Client, 100);
        drop(w.next(PORT).message());
        if thread <= 2 {
            w.adopt(PORT, id, 0, OTHER).unwrap();
        }
    }
    for who in [SOMEBODY, OTHER] {
        assert_eq!(w.flush(PORT, who.files, true, |_| true), 0);
    }
    w.half_done += 1;
    let mut endings = [(SOMEBODY, Ending::default()), (OTHER, Ending::default())];
    for _ in 0..1000 {
        for (who, ending) in &mut endings {
            let next = w.step(|e, _| e.next_held(server(conn), *who, ending));
            if let Next::Held(held) = next {
                w.step(|e, fx| e.lose(server(conn), *who, held, fx));
            }
        }
    }
    w.half_done -= 1;
    for thread in 1..=4 {
        assert!(!w.is_waiting(thread), "{thread}");
        drop(w.taken(thread));
    }
    w.end();
}

#[test]
fn what_is_received_meanwhile_hides_nothing_that_is_lost() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    for (thread, conn) in [(1, other), (2, conn), (3, conn)] {
        w.call(thread, conn, Client, 100);
        drop(w.next(PORT).message());
    }
    let Flush::Held(_) = w.step(|e, _| e.flush(PORT, SOMEBODY)) else {
        panic!("it is held");
    };
    w.half_done += 1;
    let (mut ending, mut thread) = (Ending::default(), 4);
    loop {
        match w.step(|e, _| e.next_held(PORT, SOMEBODY, &mut ending)) {
            Next::Held(held) if held.conn == conn => {
                // Another thread receives at the end that it has still.
                if thread < 7 {
                    w.call(thread, conn, Client, 100);
                    thread += 1;
                    let got = Got::from(w.step(|e, fx| e.receive(PORT, 100, fx))).message();
                    let hold = w.step(|e, _| e.hold(&got, server(conn), SOMEBODY));
                    assert!(matches!(hold, Ok(Hold::Unsure(_))));
                }
            }
            Next::Held(held) => {
                w.step(|e, fx| e.lose(PORT, SOMEBODY, held, fx));
            }
            Next::Again => {}
            Next::Done => break,
        }
    }
    w.half_done -= 1;
    assert!(!w.is_waiting(1), "nobody answers it");
    drop(w.taken(1));
    w.end();
}

#[test]
fn two_threads_that_look_at_once_come_to_an_end() {
    let mut w = World::new();
    let conn = w.open();
    w.call(1, conn, Client, 100);
    drop(w.next(PORT).message());
    let mut endings = [Ending::default(), Ending::default()];
    let mut done = [false; 2];
    for _ in 0..10_000 {
        for (ending, done) in endings.iter_mut().zip(&mut done) {
            let next = w.step(|e, _| e.next_held(PORT, SOMEBODY, ending));
            *done |= matches!(next, Next::Done);
        }
    }
    assert_eq!(done, [true; 2]);
    w.end();
}

#[test]
fn no_chain_of_holders_is_long() {
    let mut w = World::new();
    let _conn = w.open();
    let mut refused = false;
    for since in 0..200 {
        let who = Who { since, ..THREAD };
        let watch = Watch::new(&w.watches);
        w.grow();
        if let Err((why, watch)) = w.step(|e, _| e.watch(PORT, who, watch)) {
            drop(watch);
            assert_eq!(why, Some(Refusal::Limit));
            refused = true;
            break;
        }
    }
    assert!(refused);
    w.end();
}

#[test]
fn nobody_is_watched_for_a_port_that_is_gone() {
    let mut w = World::new();
    let conn = w.open();
    let id = staged(&mut w, conn, Server, 1);
    w.answer(Client, id, 0, How::Reply).unwrap();
    // The client's end has not got so far yet, and somebody has the server's port of it.
    let progress = w.disconnect_partly(conn, Client, 1);
    w.shut(false);
    w.drain();
    w.forget(PORT);
    let at = server(conn);
    let reply = Got::from(w.step(|e, fx| e.receive(at, 100, fx))).message();
    w.grow();
    let hold = w.step(|e, _| e.hold(&reply, at, THREAD));
    assert_eq!(hold, Err(Refusal::NotWatched));
    let watch = Watch::new(&w.watches);
    let Err((why, watch)) = w.step(|e, _| e.watch(at, THREAD, watch)) else {
        panic!("nobody forgets it");
    };
    drop(watch);
    // Not that it is to look again: it would find the same.
    assert_eq!(why, Some(Refusal::Ended(End::Closed)));
    w.undeliver(reply);
    w.disconnect_on(conn, Client, progress);
    w.end();
}
