// SPDX-License-Identifier: MIT OR Apache-2.0

//! A request that ends with the thread that has received it, where that is asked for.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use alpc_tests::raw::*;
use alpc_tests::wait::settle;
use alpc_tests::worker::{during, take_over};
use alpc_tests::*;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_conversation_ends_with_its_thread_if_that_is_asked_for() {
    isolated(|| {
        let pair = Pair::new();
        for (flags, told) in [(0, false), (ALPC_HOLD_THREAD, true)] {
            let id = pair.client.post(b"request").expect("post");
            let message = thread::scope(|scope| {
                scope
                    .spawn(|| Transfer::new().receive().flags(flags).run(&pair.port))
                    .join()
            });
            let message = message.expect("join").expect("receive");
            assert_eq!(message.id, id);
            match told {
                true => {
                    let notice = pair.client.receive().expect("notice");
                    assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
                    let failure = pair.port.reply(&message, b"reply").unwrap_err();
                    assert_eq!(failure, fail::NOT_FOUND);
                }
                false => {
                    settle();
                    pair.port.reply(&message, b"reply").expect("reply");
                    assert_eq!(pair.client.receive().expect("reply").data, b"reply");
                }
            }
        }
    });
}

#[test]
fn a_thread_that_lives_answers_what_ends_with_it() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                for _ in 0..100 {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    let message = transfer.run(&pair.port).expect("receive");
                    pair.port.reply(&message, b"reply").expect("reply");
                }
                // What it takes over goes with it, too.
                let message = pair.port.receive().expect("receive");
                take_over(&pair.port, message.id, 0, ALPC_HOLD_THREAD).expect("adopt");
            });
            for _ in 0..100 {
                assert_eq!(
                    pair.client.request(b"request").expect("reply").data,
                    b"reply"
                );
            }
            assert_eq!(pair.client.request(b"last").unwrap_err(), fail::LOST);
            server.join().expect("join");
        });
    });
}

#[test]
fn many_threads_end_with_what_they_hold() {
    isolated(|| {
        let pair = Pair::new();
        let threads = rounds(100).max(5);
        let ids: Vec<u64> = (0..threads)
            .map(|_| pair.client.post(b"request").expect("post"))
            .collect();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    transfer.run(&pair.port).expect("receive");
                });
            }
        });
        let mut told: Vec<u64> = ids
            .iter()
            .map(|_| {
                let notice = pair.client.receive().expect("notice");
                assert_eq!(notice.kind, ALPC_TYPE_LOST_REPLY);
                notice.id
            })
            .collect();
        told.sort_unstable();
        let mut ids = ids;
        ids.sort_unstable();
        assert_eq!(told, ids);
    });
}

#[test]
fn one_thread_too_many_is_told_the_limit_and_the_message_stays() {
    isolated(|| {
        let pair = &Pair::new();
        thread::scope(|scope| {
            // Those that hold something, which end with this.
            let mut held = Vec::new();
            let failure = loop {
                pair.server.post(b"question").expect("post");
                let (tell, told) = channel();
                let (keep, kept) = channel::<()>();
                scope.spawn(move || {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    tell.send(transfer.run(&pair.client).err()).expect("tell");
                    let _ = kept.recv();
                });
                match told.recv_timeout(LIMIT).expect("a thread that tells") {
                    None => held.push(keep),
                    Some(failure) => break failure,
                }
            };
            assert_eq!(failure, fail::LIMIT);
            // One more is that of the process.
            assert_eq!(held.len(), 63);
            let message = pair.client.receive().expect("receive");
            pair.client.reply(&message, b"answer").expect("reply");
        });
    });
}

#[test]
fn a_thread_ends_with_what_it_holds_at_several_ports() {
    isolated(|| {
        let pairs: Vec<Pair> = (0..20).map(|_| Pair::new()).collect();
        let ids: Vec<u64> = pairs
            .iter()
            .map(|pair| pair.client.post(b"request").expect("post"))
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for pair in &pairs {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    let message = transfer.run(&pair.port).expect("receive");
                    assert_eq!(message.kind, ALPC_TYPE_REQUEST);
                }
            });
        });
        for (pair, id) in pairs.iter().zip(ids) {
            let notice = pair.client.receive().expect("notice");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
        }
    });
}

#[test]
fn a_process_ends_with_what_its_threads_hold() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
            transfer.run(&pair.port).expect("receive");
            link.put(0);
            link.take();
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                worker.take();
                worker.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
    });
}
