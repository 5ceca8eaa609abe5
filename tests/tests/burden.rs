// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a client leaves unread, or has no room for, is a burden to itself: not
//! to its server, and not to other clients.

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// Opens `connections` to `name`, and stays until told.
fn crowd(link: &Link, name: &str, connections: u32, mut each: impl FnMut(&Port)) {
    let mut kept = Vec::new();
    for _ in 0..connections {
        let client = knock(name).expect("knock");
        let reply = client.receive().expect("receive");
        assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
        each(&client);
        kept.push(client);
    }
    link.sync();
    link.sync();
}

#[test]
fn replies_that_a_client_does_not_read_cost_the_server_no_conversations() {
    isolated_long(10, || {
        let limits = query();
        let connections = limits.conversations_per_user / limits.conversations_per_connection + 1;
        let server = as_user(ALICE, |link| {
            let port = Create::named("hostile/replies")
                .open()
                .run()
                .expect("create");
            link.sync();
            let mut servers = Vec::new();
            for (index, message) in std::iter::repeat_with(|| port.receive()).enumerate() {
                let message = message.expect("receive");
                match message.kind {
                    ALPC_TYPE_CONNECTION_REQUEST => {
                        let context = servers.len() as u64;
                        let mut accept = Accept::new(message.id).context(context);
                        servers.push(accept.run(&port).expect("accept"));
                    }
                    ALPC_TYPE_REQUEST => {
                        let server = &servers[message.port_context as usize];
                        if let Err(failure) = server.reply(&message, b"") {
                            panic!("message {index} of user {}: {failure:?}", message.uid);
                        }
                        if message.uid == BOB.uid {
                            break;
                        }
                    }
                    _ => {}
                }
            }
        });
        server.sync();
        let mallory = as_user(MALLORY, move |link| {
            crowd(link, "hostile/replies", connections, |client| {
                let mut sent = 0;
                for _ in 0..limits.conversations_per_connection {
                    // When her own account is full, she has done what she could.
                    if client.post(b"").is_err() {
                        break;
                    }
                    sent += 1;
                }
                eventually(|| client.query_port().expect("query").queued_messages == sent);
            });
        });
        mallory.sync();
        Peer::spawn(BOB, |_| {
            let client = Connect::to("hostile/replies").run().expect("connect").port;
            client.request(b"").expect("a reply");
        })
        .wait();
        mallory.sync();
        mallory.wait();
        server.wait();
    });
}

#[test]
fn news_that_a_client_does_not_read_cost_other_clients_nothing() {
    isolated_long(10, || {
        let limits = query();
        let connections = limits.conversations_per_user / limits.queue_messages + 1;
        let server = as_user(ALICE, move |link| {
            let port = Create::named("hostile/news").open().run().expect("create");
            link.sync();
            let mut servers = Vec::new();
            loop {
                let message = port.receive().expect("receive");
                if message.kind != ALPC_TYPE_CONNECTION_REQUEST {
                    continue;
                }
                let server = Accept::new(message.id).run(&port).expect("accept");
                let news = || {
                    Transfer::new()
                        .send(b"")
                        .flags(ALPC_RELEASE | ALPC_NONBLOCK)
                        .run(&server)
                };
                if message.uid == BOB.uid {
                    news().expect("Bob has read everything");
                    break;
                }
                let mut sent = 0;
                while news().is_ok() {
                    sent += 1;
                }
                assert!(sent <= limits.queue_messages);
                servers.push(server);
            }
        });
        server.sync();
        let mallory = as_user(MALLORY, move |link| {
            crowd(link, "hostile/news", connections, |_| {});
        });
        mallory.sync();
        Peer::spawn(BOB, |_| {
            let client = Connect::to("hostile/news").run().expect("connect").port;
            client.receive().expect("news");
        })
        .wait();
        mallory.sync();
        mallory.wait();
        server.wait();
    });
}

#[test]
fn threads_without_room_do_not_make_it_dear_to_send_to_their_client() {
    isolated_long(5, || {
        // One with room may stay for a moment now and then.
        for between in [false, true] {
            sends_cost_the_same_whoever_waits(between);
        }
    });
}

/// Runs `body` with so many connections, whose clients have so many threads waiting each, all
/// without room.
fn with_waiters<R>(connections: usize, threads: usize, body: impl FnOnce(&[Pair]) -> R) -> R {
    let pairs: Vec<_> = (0..connections).map(|_| Pair::new()).collect();
    std::thread::scope(|scope| {
        for pair in &pairs {
            for _ in 0..threads {
                std::thread::Builder::new()
                    .stack_size(32768)
                    .spawn_scoped(scope, move || {
                        Transfer::new().capacity(0).run(&pair.client).unwrap_err()
                    })
                    .expect("spawn");
            }
        }
        let tasks = || std::fs::read_dir("/proc/self/task").expect("tasks");
        let asleep = || {
            tasks().flatten().filter(|task| {
                let tid = task.file_name().to_string_lossy().parse();
                inspect::thread_sleeps(tid.expect("a number"))
            })
        };
        eventually(|| asleep().count() >= connections * threads);
        let result = body(&pairs);
        for pair in &pairs {
            pair.server.disconnect().expect("disconnect");
            while pair.client.receive_now().is_ok() {}
        }
        result
    })
}

/// How long a send of the server's takes.
fn send_time(pair: &Pair) -> u128 {
    let start = std::time::Instant::now();
    pair.server.one_way(b"x").expect("send");
    start.elapsed().as_nanos()
}

/// Sends to a client with one thread without room, and to one with many. With `passing`, before
/// each send a thread with room comes, and goes with nothing.
fn sends_cost_the_same_whoever_waits(passing: bool) {
    // The shortest of many, so that it is not a matter of who else runs.
    let cost = |threads| {
        with_waiters(1, threads, |pairs| {
            let pair = &pairs[0];
            let cost = (0..200).map(|_| {
                let cost = send_time(pair);
                if passing {
                    pair.client.receive_now().expect("receive");
                    pair.client.receive_now().unwrap_err();
                }
                cost
            });
            cost.min().expect("a number")
        })
    };
    let (few, many) = (cost(1), cost(2000));
    note!("{few} ns with one thread, {many} ns with 2000");
    assert!(
        many < 10 * few,
        "{few} ns with one thread, {many} ns with 2000"
    );
}

#[test]
fn the_first_message_that_finds_no_room_is_not_dear_either() {
    isolated_long(5, || {
        // The shortest of some, of which each is its connection's first.
        let cost = |threads| {
            with_waiters(4, threads, |pairs| {
                let cost = pairs.iter().map(send_time).min();
                cost.expect("a number")
            })
        };
        let (few, many) = (cost(2), cost(500));
        note!("{few} ns with two threads, {many} ns with 500");
        assert!(
            many < 5 * few,
            "{few} ns with two threads, {many} ns with 500"
        );
    });
}

#[test]
fn replies_to_threads_without_room_stay_within_the_clients_share() {
    isolated(|| {
        const LENGTH: usize = 4096;
        const SHARE: u32 = 4;
        let pair = Pair::with(Create::anonymous().share(0, SHARE * LENGTH as u32));
        let client = &pair.client;
        let requests = 3 * SHARE;
        std::thread::scope(|scope| {
            for _ in 0..requests {
                scope.spawn(move || {
                    let mut call = Transfer::new()
                        .send(b"")
                        .flags(ALPC_SYNC)
                        .receive()
                        .capacity(0);
                    call.run(client).unwrap_err()
                });
            }
            let mut refused = 0;
            for _ in 0..requests {
                let message = pair.port.receive().expect("receive");
                if let Err(failure) = pair.port.reply(&message, &[0; LENGTH]) {
                    assert_eq!(failure, fail::QUEUE_FULL);
                    refused += 1;
                }
            }
            let state = client.query_port().expect("query");
            assert_eq!(state.queue_bytes, SHARE * LENGTH as u32);
            assert!(
                state.queued_bytes <= state.queue_bytes,
                "{} bytes wait, of {}",
                state.queued_bytes,
                state.queue_bytes
            );
            assert_eq!(refused, requests - SHARE);
            pair.server.disconnect().expect("disconnect");
        });
    });
}

#[test]
fn notices_that_a_client_does_not_read_are_its_conversations() {
    isolated_long(10, || {
        let limits = query();
        as_user(MALLORY, move |_| {
            let mut pairs = Vec::new();
            let mut unread = 0;
            // Two connections more than the limit has room for.
            let most = limits.conversations_per_user / limits.conversations_per_connection + 2;
            let failure = 'full: {
                for _ in 0..most {
                    let pair = Pair::new();
                    for _ in 0..limits.conversations_per_connection {
                        let mut send = Transfer::new().send(b"").flags(ALPC_NONBLOCK);
                        match send.run(&pair.client) {
                            Ok(_) => {}
                            Err(fail::QUEUE_FULL) => break,
                            Err(failure) => break 'full Some(failure),
                        }
                        let message = pair.port.receive().expect("receive");
                        pair.port.release(&message).expect("release");
                        unread += 1;
                    }
                    pairs.push(pair);
                }
                None
            };
            assert_eq!(failure, Some(fail::LIMIT), "{unread} notices wait");
            assert_eq!(unread, limits.conversations_per_user);
            // Who reads them has room again.
            let pair: &Pair = pairs.first().expect("a pair");
            let notice = pair.client.receive().expect("receive");
            assert_eq!(notice.kind, ALPC_TYPE_LOST_REPLY);
            pair.client.post(b"").expect("post");
        })
        .wait();
    });
}
