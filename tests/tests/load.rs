// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is left of a service for a client that behaves, while others do their worst.
//!
//! What is asserted is counted in messages, not in time: how many of others' the server gets while
//! one of the good client's waits. The rates that are printed are for comparison within one run.

use std::sync::atomic::Ordering;
use std::time::Instant;

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "load/service";
const CALLS: u32 = 300;
/// Connections of each of those who do their worst.
const EACH: u32 = 8;

/// Numbers that all processes share: whether the good client has had all its answers, what the
/// most that the server got of others while one of its requests waited.
const DONE: usize = 0;
const MOST: usize = 1;

/// Accepts everybody and answers everything, until the good client has gone.
fn serve(board: &Shared) {
    let port = Create::named(NAME).open().share(16, 0).run();
    let port = port.expect("create");
    let mut servers = std::collections::HashMap::new();
    let mut next = 1;
    let (mut good, mut passed) = (None, 0);
    loop {
        let waits = |index| {
            let usage = port.connection_usage(index).expect("usage");
            usage.index == index && usage.to_server_messages != 0
        };
        let is_passed = good.is_some_and(waits);
        let message = port.receive().expect("receive");
        match message.kind {
            ALPC_TYPE_CONNECTION_REQUEST => {
                let accepted = Accept::new(message.id).context(next).run(&port);
                // It may have withdrawn the request.
                if let Ok(server) = accepted {
                    servers.insert(next, server);
                    next += 1;
                }
            }
            ALPC_TYPE_PORT_CLOSED => {
                servers.remove(&message.port_context);
            }
            kind => {
                if message.data == b"good" {
                    let usage = port.connections_usage();
                    let own = usage.iter().find(|one| one.context == message.port_context);
                    good = good.or(own.map(|own| own.index));
                    board[MOST].fetch_max(passed, Ordering::Relaxed);
                    passed = 0;
                } else if is_passed {
                    passed += 1;
                }
                if kind == ALPC_TYPE_REQUEST {
                    // Whoever has gone meanwhile gets no answer.
                    let _ = port.reply(&message, b"answer");
                }
                if message.data == b"stop" {
                    return;
                }
            }
        }
    }
}

/// Calls, and measures.
fn behave(board: &Shared) -> f64 {
    let client = loop {
        match Connect::to(NAME).run() {
            Ok(connected) => break connected.port,
            Err(fail::NAME_NOT_FOUND) => std::thread::yield_now(),
            Err(failure) => panic!("the good client can't connect: {failure:?}"),
        }
    };
    client.request(b"good").expect("call");
    let begin = Instant::now();
    for _ in 0..CALLS {
        let reply = client.request(b"good").expect("call");
        assert_eq!(reply.data, b"answer");
    }
    let rate = f64::from(CALLS) / begin.elapsed().as_secs_f64();
    board[DONE].store(1, Ordering::Release);
    client.request(b"stop").expect("call");
    rate
}

fn is_done(board: &Shared) -> bool {
    board[DONE].load(Ordering::Acquire) != 0
}

/// Many connections, as many as it gets while there is a server.
fn crowd(board: &Shared) -> Vec<Port> {
    let mut all = Vec::new();
    while all.len() < EACH as usize && !is_done(board) {
        match knock(NAME) {
            Ok(client) => all.push(client),
            Err(fail::NAME_NOT_FOUND) => std::thread::yield_now(),
            Err(_) => break,
        }
    }
    all
}

/// Sends as fast as it can, one-way.
fn flood(board: &Shared) {
    let clients = crowd(board);
    while !is_done(board) {
        for client in &clients {
            let mut transfer = Transfer::new().send(b"flood");
            let _ = transfer.flags_now(ALPC_RELEASE | ALPC_NONBLOCK).run(client);
        }
    }
}

/// Begins conversations, and never reads what comes of them.
fn hoard(board: &Shared) {
    let clients = crowd(board);
    while !is_done(board) {
        for client in &clients {
            let mut transfer = Transfer::new().send(b"hoard");
            let _ = transfer.flags_now(ALPC_NONBLOCK).run(client);
        }
    }
}

/// Connects, asks, and is killed before it has the answer, again and again.
fn die(board: &Shared) {
    while !is_done(board) {
        let peer = Peer::fork(ROOT, |link| {
            if let Ok(client) = knock(NAME) {
                let _ = client.receive();
                let _ = client.post(b"last words");
            }
            link.sync();
            // It is killed here.
            link.sync();
        });
        peer.sync();
        peer.kill();
    }
}

/// Becomes one user after the other of a range that one user owns, and floods as each.
fn range(board: &Shared) {
    let mut uid = 100_000;
    while !is_done(board) {
        uid += 1;
        // SAFETY: Takes no pointer. It forks as root, of one thread.
        Peer::fork(ROOT, |_| unsafe {
            assert_eq!(libc::setresuid(uid, uid, uid), 0);
            for client in crowd(board) {
                for _ in 0..16 {
                    let mut transfer = Transfer::new().send(b"range");
                    let _ = transfer.flags_now(ALPC_NONBLOCK).run(&client);
                }
            }
        })
        .wait();
    }
}

trait FlagsNow {
    /// The same with more flags, in place.
    fn flags_now(&mut self, flags: u32) -> &mut Self;
}

impl FlagsNow for Transfer {
    fn flags_now(&mut self, flags: u32) -> &mut Self {
        self.arg.flags |= flags;
        self
    }
}

/// The good client's calls beside one who does its worst: their rate, and the most of others' that
/// the server got while one of them waited.
fn beside(user: User, worst: Option<fn(&Shared)>) -> (f64, u32) {
    let board = &Shared::new();
    let server = Peer::fork(CAROL, |_| serve(board));
    let bad = worst.map(|worst| Peer::fork(user, move |_| worst(board)));
    let good = Peer::fork(ALICE, |link| link.put(behave(board).to_bits()));
    let rate = f64::from_bits(good.take());
    good.wait();
    server.wait();
    if let Some(bad) = bad {
        bad.wait();
    }
    (rate, board[MOST].load(Ordering::Relaxed) as u32)
}

#[test]
fn who_behaves_is_served_in_turn_whatever_others_do() {
    isolated_long(10, || {
        let (alone, passed) = beside(MALLORY, None);
        assert_eq!(passed, 0);
        note!("alone: {alone:.0} calls/s");
        type Worst = fn(&Shared);
        let cases: [(&str, User, Worst); 4] = [
            ("flooded", MALLORY, flood),
            ("beside a hoard that is never read", MALLORY, hoard),
            ("beside those who die and come again", ROOT, die),
            ("beside a range of users", ROOT, range),
        ];
        for (what, user, worst) in cases {
            let (rate, passed) = beside(user, Some(worst));
            note!("{what}: {rate:.0} calls/s, at most {passed} of others first");
            // Each connection gives one before it is the good client's turn. Those of a range come
            // and go, and so do those who die: what is left of a few of them is there.
            let most = match user.uid {
                0 => 8 * EACH,
                _ => EACH + 1,
            };
            assert!(passed <= most, "{what}: {passed}");
        }
    });
}
