// SPDX-License-Identifier: MIT OR Apache-2.0

//! A request is received, and whoever has received it can't answer any more, while the port
//! lives on elsewhere: who waits for the answer is told. Who can still answer, still may.

use std::thread;

use alpc_tests::pair::attach;
use alpc_tests::raw::*;
use alpc_tests::signals::tid;
use alpc_tests::wait::eventually;
use alpc_tests::worker::{close, during, requested, stay, worker, Alone};
use alpc_tests::*;

#[test]
fn who_waits_for_a_worker_that_is_killed_is_told() {
    isolated(|| {
        let pair = Pair::new();
        for _ in 0..3 {
            let result = requested(&pair, stay, |worker, _| worker.kill());
            assert_eq!(result.unwrap_err(), fail::LOST);
        }
        // The port lives on.
        let result = requested(
            &pair,
            |_, message| pair.port.reply(&message, b"reply").expect("reply"),
            Alone::wait,
        );
        assert_eq!(result.expect("reply").data, b"reply");
    });
}

#[test]
fn who_waits_for_a_worker_that_ends_by_itself_or_crashes_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let result = requested(&pair, |_, _| (), |worker, _| Peer::wait(worker));
        assert_eq!(result.unwrap_err(), fail::LOST);
        // With as much of a core dump as the machine makes.
        let crashes = |_: &Link, _: Message| std::process::abort();
        let result = requested(&pair, crashes, |worker, _| worker.aborted());
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn who_does_not_wait_gets_a_notice() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"request").expect("post");
        let worker = worker(&pair, stay);
        assert_eq!(worker.take(), id);
        worker.kill();
        let notice = pair.client.receive().expect("notice");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
    });
}

#[test]
fn who_goes_on_with_a_conversation_and_does_not_wait_gets_a_notice_too() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"request").expect("post");
        let message = pair.port.receive().expect("receive");
        pair.port.reply_open(&message, b"a part").expect("reply");
        let part = pair.client.receive().expect("reply");
        let worker = worker(&pair, stay);
        pair.client.reply_open(&part, b"the next").expect("reply");
        assert_eq!(worker.take(), id);
        worker.kill();
        let notice = pair.client.receive().expect("notice");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
    });
}

#[test]
fn a_worker_is_told_of_that_waits_with_its_reply_for_the_next() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            let mut message = pair.port.receive().expect("receive");
            loop {
                link.put(message.id);
                message = pair.port.reply_receive(&message, b"reply").expect("next");
                if message.data == b"last" {
                    break;
                }
            }
            link.put(message.id);
            link.take();
        });
        for _ in 0..20 {
            assert!(pair.client.request(b"request").is_ok());
            worker.take();
        }
        worker.until_asleep();
        let result = during(
            || pair.client.request(b"last"),
            || {
                worker.take();
                worker.kill();
            },
        );
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn a_worker_that_closes_its_last_descriptor_can_not_answer() {
    isolated(|| {
        let pair = Pair::new();
        let result = requested(
            &pair,
            |link, _| {
                close(&[&pair.port, &pair.server]);
                link.sync();
                link.take();
            },
            |worker, _| {
                worker.sync();
                worker.until_asleep();
                worker.kill();
            },
        );
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn a_worker_lives_on_and_the_end_of_its_descriptors_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let worker = worker(&pair, |link, _| {
            link.sync();
            close(&[&pair.port, &pair.server]);
            link.take();
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                worker.take();
                worker.sync();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        worker.kill();
    });
}

#[test]
fn a_worker_answers_by_whichever_descriptor_it_has_left() {
    isolated(|| {
        let pair = Pair::new();
        let by_server = |_: &Link, message: Message| {
            close(&[&pair.port]);
            pair.server
                .reply(&message, b"by the server's")
                .expect("reply");
        };
        let result = requested(&pair, by_server, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by the server's");

        let by_port = |_: &Link, message: Message| {
            close(&[&pair.server]);
            pair.port.reply(&message, b"by the port").expect("reply");
        };
        let result = requested(&pair, by_port, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by the port");

        let by_duplicate = |_: &Link, message: Message| {
            let duplicate = pair.port.duplicate();
            close(&[&pair.port, &pair.server]);
            duplicate.reply(&message, b"by a duplicate").expect("reply");
        };
        let result = requested(&pair, by_duplicate, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by a duplicate");
    });
}

#[test]
fn the_last_of_several_descriptors_counts() {
    isolated(|| {
        let pair = Pair::new();
        let closes: [fn(&Pair, &Port); 4] = [
            |pair, duplicate| close(&[&pair.port, &pair.server, duplicate]),
            |pair, duplicate| close(&[&pair.server, duplicate, &pair.port]),
            |pair, duplicate| close(&[duplicate, &pair.port, &pair.server]),
            |_, _| {
                // SAFETY: All but what the link needs; the process uses none of them again.
                let all = unsafe { libc::syscall(libc::SYS_close_range, 3, 2, 0) };
                assert_eq!(all, -1, "an empty range is refused");
                for fd in 3..200 {
                    let link = format!("/proc/self/fd/{fd}");
                    let is_port = std::fs::read_link(link)
                        .is_ok_and(|to| to.to_string_lossy().contains("[alpc-"));
                    if is_port {
                        // SAFETY: As above.
                        let closed = unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) };
                        assert_eq!(closed, 0);
                    }
                }
            },
        ];
        for close_all in closes {
            let worker = worker(&pair, |link, _| {
                let duplicate = pair.port.duplicate();
                link.sync();
                close_all(&pair, &duplicate);
                link.take();
            });
            let failure = during(
                || pair.client.request(b"request"),
                || {
                    worker.take();
                    worker.sync();
                },
            )
            .unwrap_err();
            assert_eq!(failure, fail::LOST);
            worker.kill();
        }
    });
}

#[test]
fn other_requests_of_the_worker_are_told_of_by_their_own_connection() {
    isolated(|| {
        let pair = Pair::new();
        let (server, client) = attach(&pair.port, 7);
        let first = pair.client.post(b"first").expect("post");
        let second = client.post(b"second").expect("post");
        let worker = Peer::fork(ROOT, |link| {
            for _ in 0..2 {
                pair.port.receive().expect("receive");
            }
            // Of the first it can answer still.
            close(&[&pair.port, &server]);
            link.sync();
            link.take();
            close(&[&pair.server]);
            link.take();
        });
        worker.sync();
        assert_eq!(client.receive().expect("notice").id, second);
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
        worker.put(0);
        assert_eq!(pair.client.receive().expect("notice").id, first);
        worker.kill();
    });
}

#[test]
fn a_client_whose_request_for_a_connection_nobody_holds_any_more_is_refused() {
    isolated(|| {
        let pair = Pair::new();
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        let worker = worker(&pair, stay);
        let failure = during(
            || Connect::new(None).run_on(&through).map(|_| ()),
            || {
                worker.take();
                worker.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::REFUSED);
        // There is nothing left to be answered, and the next one is served.
        let (_server, _client) = attach(&pair.port, 1);
    });
}

#[test]
fn requests_for_a_connection_that_are_lost_take_no_place_of_those_to_come() {
    isolated_long(2, || {
        let pair = Pair::with(Create::anonymous().open());
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        let client = Peer::fork(ALICE, |link| {
            let many = || -> Vec<_> {
                (0..400)
                    .map(|_| {
                        let mut connect = Connect::new(None).asynchronous();
                        connect.run_on(&through).expect("a place")
                    })
                    .collect()
            };
            let lost = many();
            link.sync();
            link.sync();
            // Nobody has more places than are free.
            drop((many(), lost));
        });
        client.sync();
        // Who receives them ends before the client goes on.
        let worker = Peer::fork(ROOT, |_| {
            for _ in 0..400 {
                pair.port.receive().expect("receive");
            }
        });
        Peer::wait(worker);
        client.sync();
        Peer::wait(client);
    });
}

#[test]
fn a_server_whose_question_a_client_takes_into_its_grave_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let client = Peer::fork(ROOT, |link| {
            let message = pair.client.receive().expect("receive");
            link.put(message.id);
            link.take();
        });
        let failure = during(
            || pair.server.request(b"question"),
            || {
                client.take();
                client.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        // The connection is there still.
        pair.client.one_way(b"still").expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"still");
    });
}

#[test]
fn what_a_thread_receives_whose_process_has_closed_the_port_stays_for_others() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            thread::scope(|scope| {
                let (sender, receiver) = std::sync::mpsc::channel();
                let port = &pair.port;
                let waits = scope.spawn(move || {
                    sender.send(tid()).expect("send");
                    port.receive()
                });
                let tid = receiver.recv().expect("a thread");
                eventually(|| inspect::thread_sleeps(tid));
                close(&[&pair.port, &pair.server]);
                link.sync();
                let failure = waits.join().expect("join").unwrap_err();
                assert_eq!(failure.errno, libc::EBADF);
            });
        });
        worker.sync();
        let id = pair.client.post(b"request").expect("post");
        Peer::wait(worker);
        let message = pair.port.receive().expect("receive");
        assert_eq!((message.id, message.data.as_slice()), (id, &b"request"[..]));
        pair.port.reply(&message, b"reply").expect("reply");
        assert_eq!(pair.client.receive().expect("reply").data, b"reply");
    });
}

#[test]
fn workers_killed_at_any_moment_leave_nobody_waiting() {
    isolated_long(2, || {
        let pair = Pair::new();
        let mut outcomes = [0u32; 2];
        for round in 0..rounds(60).max(10) {
            let worker = Peer::fork(ROOT, |_| {
                let mut message = pair.port.receive().expect("receive");
                loop {
                    message = pair.port.reply_receive(&message, b"reply").expect("next");
                }
            });
            let killer = thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_micros(round * 37 % 3000));
                    // SAFETY: A child that is not reaped yet.
                    unsafe { libc::kill(worker.pid(), libc::SIGKILL) };
                });
                let calls = scope.spawn(|| {
                    let mut answered = 0;
                    loop {
                        // With a worker that is gone it would wait for the next one.
                        let mut transfer = Transfer::new().send(b"request").receive();
                        transfer = transfer.flags(ALPC_SYNC).timeout(100_000_000);
                        match transfer.run(&pair.client) {
                            Ok(_) => answered += 1,
                            Err(failure) => return (answered, failure),
                        }
                    }
                });
                killer.join().expect("join");
                calls.join().expect("join")
            });
            drop(worker);
            outcomes[usize::from(killer.1 == fail::LOST)] += 1;
            assert!(
                killer.1 == fail::LOST || killer.1 == fail::TIMED_OUT_SENT,
                "{:?}",
                killer.1
            );
            // What it had not received is here, or has been cancelled.
            while pair.port.receive_now().is_ok() {}
        }
        eprintln!("queued, lost: {outcomes:?}");
        let left = pair.client.query_port().expect("query").conversations;
        assert_eq!(left, 0);
    });
}
