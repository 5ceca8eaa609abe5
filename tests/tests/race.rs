// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happens at the same moment: whoever wins, both sides agree on it, and
//! nothing is left over. Meant for two processors; on one it says less.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::raw::*;
use alpc_tests::rng::Rng;
use alpc_tests::*;

/// How often each way of ending was seen.
#[derive(Default)]
struct Seen(BTreeMap<String, u64>);

impl Seen {
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Every one of these must have been seen often, where that is likely:
    /// with two processors and the full number of rounds.
    fn expect(&self, expected: &[&str], full: bool) {
        note!("{:?}", self.0);
        let two = thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        for what in expected {
            let count = self.0.get(*what).copied().unwrap_or(0);
            assert!(
                !(full && two) || count >= 100,
                "{what} was seen {count} times"
            );
        }
    }
}

fn outcome_of<T>(result: &Result<T, Failure>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(failure) => {
            let known = fail::ALL.iter().position(|known| known == failure);
            let index = known.unwrap_or_else(|| panic!("not in alpc.h: {failure:?}"));
            fail::NAMES[index].into()
        }
    }
}

/// Keeps a processor busy for some microseconds: sleeping takes too long.
fn spin(microseconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(microseconds) {}
}

fn drain(port: &Port) -> Vec<Message> {
    std::iter::from_fn(|| port.receive_now().ok()).collect()
}

#[test]
fn a_reply_races_with_a_cancel() {
    isolated_long(5, || {
        let pair = Pair::new();
        let mut seen = Seen::default();
        let mut rng = Rng::new(rng::seed());
        let total = rounds(20_000);
        let start = Barrier::new(2);
        let (id, delay) = (AtomicU64::new(0), AtomicU64::new(0));
        let (stop, canceled) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| loop {
                start.wait();
                if stop.load(SeqCst) {
                    break;
                }
                spin(delay.load(SeqCst));
                let result = pair.client.cancel(id.load(SeqCst), 0);
                canceled.store(
                    result
                        .is_ok_and(|o| o == ALPC_OUTCOME_ALREADY_RECEIVED)
                        .into(),
                    SeqCst,
                );
                start.wait();
            });
            for _ in 0..total {
                id.store(pair.client.post(b"x").expect("post"), SeqCst);
                let request = pair.port.receive().expect("receive");
                delay.store(rng.below(60), SeqCst);
                start.wait();
                spin(rng.below(60));
                let reply = pair.port.reply(&request, b"y");
                start.wait();
                let (to_client, to_server) = (drain(&pair.client), drain(&pair.port));
                let canceled = canceled.load(SeqCst) == 1;
                if reply.is_ok() {
                    // Cancelled or not, the server has done its part.
                    assert!(to_server.is_empty());
                    assert!(to_client.len() <= usize::from(!canceled));
                    seen.count("replied");
                } else {
                    assert_eq!(reply, Err(fail::CANCELED));
                    assert!(canceled, "nobody cancelled it");
                    assert!(to_client.is_empty());
                    let notices: Vec<_> = to_server.iter().map(|m| (m.kind, m.id)).collect();
                    assert_eq!(notices, [(ALPC_TYPE_CANCELED, request.id)]);
                    seen.count("cancelled");
                }
                assert_eq!(pair.port.reply(&request, b"z"), Err(fail::NOT_FOUND));
            }
            stop.store(true, SeqCst);
            start.wait();
        });
        seen.expect(&["cancelled", "replied"], total >= 20_000);
    });
}

#[test]
fn a_reply_races_with_the_timeout_of_the_call() {
    isolated_long(5, || {
        let pair = Pair::new();
        let mut seen = Seen::default();
        let total = rounds(20_000);
        let (replied, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = Rng::new(7);
                while let Ok(message) = pair.port.receive() {
                    match message.kind {
                        ALPC_TYPE_REQUEST => {
                            spin(rng.below(300));
                            match pair.port.reply(&message, &message.data) {
                                Ok(()) => replied.fetch_add(1, SeqCst),
                                Err(fail::CANCELED | fail::NOT_FOUND) => {
                                    refused.fetch_add(1, SeqCst)
                                }
                                Err(failure) => panic!("{failure:?}"),
                            };
                        }
                        ALPC_TYPE_CANCELED => {}
                        ALPC_TYPE_PORT_CLOSED => break,
                        other => panic!("type {other}"),
                    }
                }
            });
            let mut rng = Rng::new(rng::seed());
            for number in 0..total {
                let data = number.to_le_bytes();
                let mut call = Transfer::new().send(&data).receive().flags(ALPC_SYNC);
                call = call.timeout(rng.below(200_000));
                let result = call.run(&pair.client);
                if let Ok(reply) = &result {
                    assert_eq!(reply.data, data, "the reply to another call");
                }
                seen.count(outcome_of(&result));
            }
            pair.client.disconnect().expect("disconnect");
        });
        let answered = seen.0.get("ok").copied().unwrap_or(0);
        // A reply that was accepted reached its caller, and no other did.
        assert_eq!(replied.load(SeqCst), answered);
        let late = "TIMED_OUT_SENT";
        assert_eq!(seen.0.values().sum::<u64>(), total);
        assert!(
            seen.0.keys().all(|k| k == late || k == "ok"),
            "{:?}",
            seen.0
        );
        note!("late replies refused: {}", refused.load(SeqCst));
        seen.expect(&["ok", late], total >= 20_000);
    });
}

#[test]
fn a_call_races_with_the_end_of_its_connection() {
    isolated_long(5, || {
        let mut seen = Seen::default();
        let mut rng = Rng::new(rng::seed());
        let total = rounds(20_000);
        let port = Create::anonymous().run().expect("create");
        let start = Barrier::new(3);
        // The connection of the round, who ends it, and when.
        let round: Mutex<Option<Arc<(Port, Port)>>> = Mutex::default();
        let (ours, before) = (AtomicBool::new(false), AtomicU64::new(0));
        let result = Mutex::new(String::new());
        let connection = || round.lock().expect("lock").clone();
        thread::scope(|scope| {
            scope.spawn(|| loop {
                start.wait();
                let Some(ends) = connection() else { break };
                *result.lock().expect("lock") = outcome_of(&ends.1.request(b"x"));
                drop(ends);
                start.wait();
            });
            scope.spawn(|| loop {
                start.wait();
                let Some(ends) = connection() else { break };
                spin(before.load(SeqCst));
                let end = if ours.load(SeqCst) { &ends.1 } else { &ends.0 };
                end.disconnect().expect("disconnect");
                drop(ends);
                start.wait();
            });
            for number in 0..total {
                *round.lock().expect("lock") = Some(Arc::new(pair::attach(&port, number)));
                ours.store(rng.one_in(2), SeqCst);
                before.store(rng.below(600), SeqCst);
                start.wait();
                let mut receive = Transfer::new().receive().timeout(1_000_000);
                let mut told: Vec<_> = receive.run(&port).into_iter().collect();
                if told.first().is_some_and(|m| m.kind == ALPC_TYPE_REQUEST) {
                    spin(rng.below(300));
                    let _ = port.reply(&told.remove(0), b"y");
                }
                start.wait();
                *round.lock().expect("lock") = None;
                let side = if ours.load(SeqCst) { "own" } else { "server's" };
                seen.count(format!("{side} end: {}", result.lock().expect("lock")));
                told.extend(drain(&port));
                let closed = told.iter().filter(|m| m.kind == ALPC_TYPE_PORT_CLOSED);
                let closed: Vec<_> = closed.map(|m| m.port_context).collect();
                // One who ends it itself need not be told.
                let expected = if side == "own" {
                    vec![number]
                } else {
                    Vec::new()
                };
                assert_eq!(closed, expected);
            }
            start.wait();
        });
        let expected = [
            "own end: CLOSED",
            "own end: ok",
            "server's end: DISCONNECTED",
            "server's end: LOST",
            "server's end: ok",
        ];
        seen.expect(&expected, total >= 20_000);
        let query = port.query_port().expect("query");
        assert_eq!((query.connections, query.queued_messages), (0, 0));
    });
}

#[test]
fn each_message_is_received_by_one_of_many_receivers() {
    isolated_long(5, || {
        let pair = Pair::new();
        let total = rounds(20_000);
        let received = AtomicU64::new(0);
        let sum = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Ok(message) = pair.port.receive() {
                        if message.kind != ALPC_TYPE_DATAGRAM {
                            break;
                        }
                        let number = u64::from_le_bytes(message.data[..].try_into().expect("8"));
                        received.fetch_add(1, SeqCst);
                        sum.fetch_add(number, SeqCst);
                    }
                });
            }
            thread::scope(|senders| {
                for sender in 0..2 {
                    let client = &pair.client;
                    senders.spawn(move || {
                        for number in (sender..total).step_by(2) {
                            client.one_way(&number.to_le_bytes()).expect("send");
                        }
                    });
                }
            });
            eventually(|| received.load(SeqCst) == total);
            pair.port.disconnect().expect("disconnect");
        });
        assert_eq!(received.load(SeqCst), total);
        assert_eq!(sum.load(SeqCst), total * (total - 1) / 2);
    });
}

#[test]
fn a_name_has_one_winner() {
    isolated_long(5, || {
        let (wins, open) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..rounds(3_000) {
                        match Create::named("race/name").run() {
                            Ok(port) => {
                                assert_eq!(open.fetch_add(1, SeqCst), 0, "two ports of one name");
                                wins.fetch_add(1, SeqCst);
                                open.fetch_sub(1, SeqCst);
                                drop(port);
                            }
                            Err(failure) => assert_eq!(failure, fail::NAME_IN_USE),
                        }
                    }
                });
            }
        });
        note!("{} creations succeeded", wins.load(SeqCst));
        Create::named("race/name").run().expect("create");
    });
}

#[test]
fn a_connect_to_a_port_that_closes_fails_cleanly() {
    isolated_long(5, || {
        let seen = Mutex::new(Seen::default());
        let done = AtomicBool::new(false);
        let total = rounds(3_000);
        thread::scope(|scope| {
            for seed in 0..2 {
                let (done, seen) = (&done, &seen);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed);
                    while !done.load(SeqCst) {
                        let mut connect = Connect::to("race/closing");
                        if rng.one_in(2) {
                            connect = connect.asynchronous();
                        }
                        let result = connect.run();
                        seen.lock().expect("lock").count(outcome_of(&result));
                    }
                });
            }
            let mut rng = Rng::new(rng::seed());
            for _ in 0..total {
                let port = Create::named("race/closing").run().expect("create");
                spin(rng.below(500));
                if let Ok(request) = port.receive_now() {
                    let _ = Accept::new(request.id).run(&port);
                }
                drop(port);
            }
            done.store(true, SeqCst);
        });
        let expected = ["ok", "NAME_NOT_FOUND", "REFUSED"];
        let seen = seen.into_inner().expect("lock");
        seen.expect(&expected, total >= 3_000);
    });
}

#[test]
fn clients_killed_at_any_moment_are_each_told_of_once() {
    isolated_long(5, || {
        let port = Create::named("race/killed").open().run().expect("create");
        let mut rng = Rng::new(rng::seed());
        let mut requests = 0;
        for round in 0..rounds(200) {
            let user = *rng.pick(&[ALICE, BOB, CAROL]);
            let victim = Peer::spawn(user, |_| {
                let client = Connect::to("race/killed").run().expect("connect").port;
                loop {
                    let _ = client.post(b"async");
                    let _ = client.request(b"sync");
                    while client.receive_now().is_ok() {}
                }
            });
            let request = port.receive().expect("receive");
            assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
            let _server = Accept::new(request.id)
                .context(round)
                .run(&port)
                .expect("accept");
            for _ in 0..rng.below(30) {
                let message = port.receive().expect("receive");
                requests += 1;
                if !rng.one_in(10) {
                    port.reply(&message, b"").expect("reply");
                } else if message.data == b"sync" {
                    break;
                }
            }
            victim.kill();
            // Requests, notices of those that were held, then the end.
            loop {
                let message = port.receive().expect("receive");
                assert_eq!(message.port_context, round);
                if message.kind == ALPC_TYPE_PORT_CLOSED {
                    break;
                }
                assert_eq!(message.kind, ALPC_TYPE_CANCELED, "a request of the dead");
            }
            assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        }
        note!("{requests} requests");
        let query = port.query_port().expect("query");
        assert_eq!((query.connections, query.conversations), (0, 0));
    });
}

#[test]
fn who_sees_that_it_is_connected_sees_to_whom() {
    const NAME: &str = "race/to-whom";
    isolated_long(2, || {
        let server = Peer::spawn(MALLORY, |link| {
            let port = Create::named(NAME).open().run().expect("create");
            link.sync();
            loop {
                let request = port.receive().expect("receive");
                if request.kind == ALPC_TYPE_CONNECTION_REQUEST {
                    // Not always at the same moment.
                    (0..request.id % 977).for_each(|_| std::hint::spin_loop());
                    drop(Accept::new(request.id).run(&port));
                }
            }
        });
        server.sync();
        for _ in 0..rounds(500) {
            let connected = Connect::to(NAME).asynchronous().run();
            let client = connected.expect("connect").port;
            let asks = || loop {
                let info = client.query_port().expect("query");
                if info.state != ALPC_STATE_PENDING {
                    break info;
                }
            };
            // Several of them, so that they wait for each other in there.
            thread::scope(|scope| {
                for asked in [(); 3].map(|()| scope.spawn(asks)) {
                    let info = asked.join().expect("join");
                    if info.state == ALPC_STATE_OPEN {
                        assert_eq!(info.peer_uid, MALLORY.uid);
                    }
                }
            });
        }
        server.kill();
    });
}
