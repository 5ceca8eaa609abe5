// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory and time: when it is open, how it is shut, and that neither side can
//! hold the other meanwhile.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::hang::Hang;
use alpc_tests::raw::*;
use alpc_tests::*;

const READ: u32 = ALPC_MEMORY_READ;
const MS: u64 = 1_000_000;
/// A time in which nothing that hangs is over.
const PROMPT: Duration = Duration::from_secs(8);

fn taking() -> Pair {
    Pair::with(Create::anonymous().taking_memory())
}

fn told(failure: Failure) -> Short {
    Short { failure, done: 0 }
}

fn closed() -> Short {
    told(fail::MEMORY_CLOSED)
}

fn resume(id: u64) -> Transfer {
    let mut call = Transfer::new().send(b"").receive();
    call.arg.send_id = id;
    call.flags(ALPC_SYNC | ALPC_SENT)
}

/// Writes again and again until it can't, and says why.
fn scribble(port: &Port, request: &Message, length: usize, begun: &AtomicBool) -> Failure {
    let mut round = 1_u8;
    loop {
        if let Err(short) = port.poke(request, 0, 0, &vec![round; length]) {
            return short.failure;
        }
        round = round.wrapping_add(1);
        begun.store(true, SeqCst);
    }
}

#[test]
fn when_the_call_has_returned_not_a_byte_more_is_written() {
    const LENGTH: usize = 1 << 20;
    isolated_long(2, || {
        signals::catch(libc::SIGUSR1, 0);
        for way in [
            "timeout", "cancel", "signal", "reply", "client", "server", "port",
        ] {
            for _ in 0..rounds(3) {
                let pair = taking();
                let mut memory = vec![0_u8; LENGTH];
                let ranges = Ranges::of(&[(memory.as_mut_ptr() as u64, LENGTH, BOTH)]);
                let tid = AtomicI32::new(0);
                let begun = AtomicBool::new(false);
                thread::scope(|scope| {
                    let client = scope.spawn(|| {
                        tid.store(signals::tid(), SeqCst);
                        let mut call = Transfer::offering(&ranges);
                        if way == "timeout" {
                            call = call.timeout(30 * MS);
                        }
                        let result = call.run(&pair.client);
                        // SAFETY: It lives, and nothing writes it any more.
                        let look = || unsafe {
                            std::slice::from_raw_parts(ranges.list[0].base as *const u8, LENGTH)
                        };
                        let before = look().to_vec();
                        thread::sleep(Duration::from_millis(20));
                        assert!(before == look(), "written after {way}");
                        result.map(|_| ())
                    });
                    let request = pair.port.receive().expect("receive");
                    let (port, held, begun) = (&pair.port, request.clone(), &begun);
                    let writer = scope.spawn(move || scribble(port, &held, LENGTH, begun));
                    eventually(|| begun.load(SeqCst) || writer.is_finished());
                    match way {
                        "cancel" => drop(pair.client.cancel(request.id, 0)),
                        "signal" => drop(signals::to_thread(tid.load(SeqCst), libc::SIGUSR1)),
                        "reply" => pair.server.reply(&request, b"").expect("reply"),
                        "client" => pair.client.disconnect().expect("disconnect"),
                        "server" => pair.server.disconnect().expect("disconnect"),
                        "port" => pair.port.disconnect().expect("disconnect"),
                        _ => {}
                    }
                    let expected: &[Failure] = match way {
                        "timeout" => &[fail::TIMED_OUT_SENT],
                        "signal" => &[fail::INTERRUPTED_SENT],
                        "cancel" => &[fail::LOST],
                        "client" => &[fail::LOST, fail::CLOSED],
                        _ => &[fail::LOST, fail::DISCONNECTED],
                    };
                    match client.join().expect("join") {
                        Ok(()) => assert_eq!(way, "reply"),
                        Err(failure) => assert!(expected.contains(&failure), "{way}: {failure:?}"),
                    }
                    let failure = writer.join().expect("join");
                    let known = [fail::MEMORY_CLOSED, fail::NOT_FOUND, fail::CANCELED];
                    assert!(known.contains(&failure), "{way}: {failure:?}");
                });
            }
        }
    });
}

#[test]
fn a_call_that_goes_on_after_a_signal_is_open_again() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = taking();
        let mut memory = [1_u8; 8];
        let ranges = Ranges::of(&[(memory.as_mut_ptr() as u64, 8, BOTH)]);
        let (tid, go) = (AtomicI32::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                tid.store(signals::tid(), SeqCst);
                let mut call = Transfer::offering(&ranges);
                let failure = call.run(&pair.client).unwrap_err();
                assert_eq!(failure, fail::INTERRUPTED_SENT);
                eventually(|| go.load(SeqCst));
                call.run(&pair.client).expect("reply")
            });
            let request = pair.port.receive().expect("receive");
            assert_eq!(pair.port.peek(&request, 0, 0, 8), Ok(vec![1; 8]));
            signals::to_thread(tid.load(SeqCst), libc::SIGUSR1);
            eventually(|| pair.port.peek(&request, 0, 0, 8).is_err());
            assert_eq!(pair.port.poke(&request, 0, 0, &[3; 8]), Err(closed()));
            // Nothing to be moved needs nobody.
            assert_eq!(pair.port.poke(&request, 0, 0, &[]), Ok(()));
            // A wait of another process is not the caller's.
            let other = Peer::fork(ROOT, |link| {
                link.sync();
                let failure = resume(request.id).run(&pair.client).unwrap_err();
                assert_eq!(failure, fail::INTERRUPTED_SENT);
            });
            other.sync();
            other.until_asleep();
            assert_eq!(pair.port.poke(&request, 0, 0, &[3; 8]), Err(closed()));
            other.signal(libc::SIGUSR1);
            other.wait();
            go.store(true, SeqCst);
            eventually(|| pair.port.poke(&request, 0, 0, &[2; 8]).is_ok());
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join");
        });
        assert_eq!(memory, [2; 8]);
    });
}

#[test]
fn the_memory_stays_through_callbacks() {
    isolated(|| {
        let pair = taking();
        let client = Peer::fork(ROOT, |_| {
            let mut memory = [0_u8; 4];
            let base = memory.as_mut_ptr() as u64;
            let ranges = Ranges::of(&[(base, 4, BOTH)]);
            let mut next = Transfer::offering(&ranges).run(&pair.client).expect("call");
            while next.kind == ALPC_TYPE_REQUEST {
                let answer = pair.client.answer(&next, b"answer");
                next = answer.expect("answer");
            }
            assert_eq!(std::hint::black_box(memory), [1, 2, 3, 4]);
        });
        let port = &pair.port;
        let first = port.receive().expect("receive");
        port.poke(&first, 0, 0, &[1]).expect("poke");
        let mut held = first.clone();
        for turn in 1..4_u8 {
            let mut shown = Ranges::room(1);
            let mut call = Transfer::new().send(b"callback").into(&held).receive();
            call = call.flags(ALPC_SYNC);
            call.arg.recv_attributes = shown.address();
            let next = call.run(port).expect("callback");
            // It is open from the first moment on.
            port.poke(&next, 0, turn.into(), &[turn + 1]).expect("poke");
            assert_eq!(shown.container.head.valid, ALPC_ATTR_MEMORY);
            assert_eq!((shown.list[0].length, shown.list[0].base), (4, 0));
            shown.list.clear();
            let stale = port.peek(&held, 0, 0, 1);
            assert_eq!(stale, Err(told(fail::STALE_TURN)));
            held = next;
        }
        let stale = port.peek(&first, 0, 0, 1);
        assert_eq!(stale, Err(told(fail::STALE_TURN)));
        port.reply(&held, b"").expect("reply");
        client.wait();
    });
}

#[test]
fn during_a_callback_it_is_shut() {
    isolated(|| {
        let pair = taking();
        let memory = [5_u8; 4];
        let ranges = Ranges::of(&[(memory.as_ptr() as u64, 4, READ)]);
        thread::scope(|scope| {
            let client = &pair.client;
            let caller = scope.spawn(move || {
                let callback = Transfer::offering(&ranges).run(client);
                let callback = callback.expect("callback");
                // An answer that does not wait leaves it shut, but keeps it.
                client.reply_open(&callback, b"").expect("answer");
                callback.id
            });
            let request = pair.port.receive().expect("receive");
            let next = pair.port.callback(&request, b"").expect("callback");
            let id = caller.join().expect("join");
            assert_eq!(pair.port.peek(&next, 0, 0, 4), Err(closed()));
            let waiter = scope.spawn(move || resume(id).run(client));
            let port = &pair.port;
            eventually(|| port.peek(&next, 0, 0, 4) == Ok(vec![5; 4]));
            pair.port.reply(&next, b"").expect("reply");
            waiter.join().expect("join").expect("reply");
        });
    });
}

#[test]
fn an_answered_request_has_none_though_its_conversation_goes_on() {
    isolated(|| {
        let pair = taking();
        let memory = [5_u8; 4];
        let ranges = Ranges::of(&[(memory.as_ptr() as u64, 4, READ)]);
        thread::scope(|scope| {
            let client = &pair.client;
            let caller = scope.spawn(move || {
                let reply = Transfer::offering(&ranges).run(client).expect("reply");
                assert!(reply.open());
                client.callback(&reply, b"more").expect("reply")
            });
            let request = pair.port.receive().expect("receive");
            assert_eq!(pair.port.peek(&request, 0, 0, 4), Ok(vec![5; 4]));
            pair.port.reply_open(&request, b"").expect("reply");
            let more = pair.port.receive().expect("receive");
            let failed = pair.port.peek(&more, 0, 0, 4).unwrap_err();
            assert_eq!(failed.failure.errno, libc::EINVAL);
            pair.port.reply_open(&more, b"").expect("reply");
            let last = caller.join().expect("join");
            client.reply(&last, b"").expect("reply");
        });
    });
}

#[test]
fn a_server_whose_own_buffer_hangs_does_not_hold_the_client() {
    isolated(|| {
        for kill in [false, true] {
            for write in [false, true] {
                let Pair {
                    port,
                    server,
                    client,
                } = taking();
                let peer = Peer::fork(ROOT, |link| {
                    let hang = Hang::new(4);
                    let request = port.receive().expect("receive");
                    let access = if write { ALPC_MEMORY_WRITE } else { READ };
                    let mut arg = memory_argument(&request, 0, access);
                    (arg.data, arg.length) = (hang.address(), 16384);
                    link.put_fd(&hang);
                    let _ = memory_as_is(&port, &mut arg);
                });
                drop((port, server));
                let mut memory = vec![1_u8; 16384];
                let ranges = Ranges::of(&[(memory.as_mut_ptr() as u64, 16384, BOTH)]);
                let start = Instant::now();
                thread::scope(|scope| {
                    let mut call = Transfer::offering(&ranges);
                    if !kill {
                        call = call.timeout(300 * MS);
                    }
                    let client = scope.spawn(move || call.run(&client));
                    let hang = peer.take_fd();
                    wait::poll_wait(&hang, libc::POLLIN);
                    if kill {
                        peer.kill();
                    }
                    let failure = client.join().expect("join").unwrap_err();
                    let expected = if kill {
                        fail::LOST
                    } else {
                        fail::TIMED_OUT_SENT
                    };
                    assert_eq!(failure, expected);
                    assert!(start.elapsed() < PROMPT);
                });
                assert!(memory == vec![1; 16384]);
            }
        }
    });
}

/// A client with a page that hangs, in a process of its own, and that page's descriptor.
fn hanging(client: &Port, timeout: u64) -> (Peer, std::os::fd::OwnedFd) {
    let peer = Peer::fork(ROOT, |link| {
        let hang = Hang::new(4);
        link.put_fd(&hang);
        let ranges = Ranges::of(&[(hang.address(), 16384, BOTH)]);
        let mut call = Transfer::offering(&ranges);
        if timeout != 0 {
            call = call.timeout(timeout);
        }
        let result = call.run(client).map(|_| ());
        link.put(result.map_or_else(|failure| failure.outcome, |()| 0).into());
        link.sync();
    });
    let fd = peer.take_fd();
    (peer, fd)
}

#[test]
fn a_client_whose_page_hangs_is_not_held_and_does_not_hold_the_server() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        for write in [false, true] {
            for way in ["timeout", "kill", "signal", "cancel"] {
                let Pair {
                    port,
                    server: _server,
                    client,
                } = taking();
                // Until then the page is wanted.
                let long = 300 * MS * u64::from(scale::slowness());
                let timeout = if way == "timeout" { long } else { 0 };
                let (peer, hang) = hanging(&client, timeout);
                let client = (way == "cancel").then_some(client);
                let request = port.receive().expect("receive");
                let tid = AtomicI32::new(0);
                let start = Instant::now();
                thread::scope(|scope| {
                    // More of them than may wait for pages at once.
                    let servers: Vec<_> = (0..6)
                        .map(|_| {
                            scope.spawn(|| {
                                tid.store(signals::tid(), SeqCst);
                                match write {
                                    true => port.poke(&request, 0, 1, b"x").map(|()| vec![]),
                                    false => port.peek(&request, 0, 4096, 7000),
                                }
                            })
                        })
                        .collect();
                    wait::poll_wait(&hang, libc::POLLIN);
                    let mut peer = Some(peer);
                    match way {
                        "kill" => peer.take().into_iter().for_each(Peer::kill),
                        "cancel" => drop(client.as_ref().map(|c| c.cancel(request.id, 0))),
                        "signal" => {
                            eventually(|| {
                                signals::to_thread(tid.load(SeqCst), libc::SIGUSR1);
                                servers.iter().any(|server| server.is_finished())
                            });
                            peer.take().into_iter().for_each(Peer::kill);
                        }
                        _ => {}
                    }
                    let mut interrupted = 0;
                    for server in servers {
                        let failed = server.join().expect("join").unwrap_err();
                        if failed.failure.errno == libc::EINTR {
                            assert_eq!(failed.done, 0);
                            interrupted += 1;
                        } else {
                            let failure = failed.failure;
                            let known = [fail::MEMORY_CLOSED, fail::NOT_FOUND, fail::CANCELED];
                            assert!(known.contains(&failure), "{way}: {failure:?}");
                        }
                    }
                    assert_eq!(interrupted != 0, way == "signal", "{way}");
                    assert!(start.elapsed() < PROMPT);
                    if let Some(peer) = peer {
                        let outcome = match way {
                            "timeout" => ALPC_OUTCOME_TIMED_OUT_SENT,
                            _ => ALPC_OUTCOME_LOST,
                        };
                        assert_eq!(peer.take(), outcome.into());
                        peer.sync();
                        peer.wait();
                    }
                });
            }
        }
    });
}

#[test]
fn a_server_that_is_killed_while_the_clients_page_hangs_ends_both() {
    isolated(|| {
        let mut create = Create::named("memory/hang").open().taking_memory();
        let port = create.run().expect("create");
        let client = Peer::spawn(ROOT, |link| {
            let client = Connect::to("memory/hang").run().expect("connect").port;
            let hang = Hang::new(4);
            link.put_fd(&hang);
            let ranges = Ranges::of(&[(hang.address(), 16384, BOTH)]);
            let failure = Transfer::offering(&ranges).run(&client).unwrap_err();
            assert_eq!(failure, fail::LOST);
        });
        let request = port.receive().expect("receive");
        let server = Accept::new(request.id).run(&port).expect("accept");
        let hang = client.take_fd();
        let holder = Peer::fork(ROOT, |_| {
            let request = port.receive().expect("receive");
            let _ = port.peek(&request, 0, 0, 16384);
        });
        drop((port, server));
        wait::poll_wait(&hang, libc::POLLIN);
        let start = Instant::now();
        holder.kill();
        client.wait();
        assert!(start.elapsed() < PROMPT);
    });
}

#[test]
fn a_page_that_comes_in_the_end_is_moved() {
    isolated(|| {
        let pair = taking();
        let hang = Hang::new(4);
        let ranges = Ranges::of(&[(hang.address(), 16384, BOTH)]);
        thread::scope(|scope| {
            let client = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let request = pair.port.receive().expect("receive");
            let (port, held) = (&pair.port, request.clone());
            let reader = scope.spawn(move || port.peek(&held, 0, 5, 16379));
            hang.until_wanted();
            hang.end();
            assert!(reader.join().expect("join") == Ok(vec![0; 16379]));
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
    });
}

#[test]
fn a_long_copy_ends_with_a_signal_and_says_how_far_it_came() {
    const LENGTH: usize = 64 << 20;
    isolated_long(2, || {
        signals::catch(libc::SIGUSR1, 0);
        let pair = taking();
        let memory = vec![1_u8; LENGTH];
        let ranges = Ranges::of(&[(memory.as_ptr() as u64, LENGTH, BOTH)]);
        thread::scope(|scope| {
            let client = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let request = pair.port.receive().expect("receive");
            let mut ended = 0;
            for _ in 0..100 {
                let target = AtomicI32::new(0);
                let mut data = vec![2_u8; LENGTH];
                let mut arg = memory_argument(&request, 0, READ);
                (arg.data, arg.length) = (data.as_mut_ptr() as u64, LENGTH as u64);
                let result = thread::scope(|inner| {
                    let reader = inner.spawn(|| {
                        target.store(signals::tid(), SeqCst);
                        memory_as_is(&pair.port, &mut arg)
                    });
                    eventually(|| target.load(SeqCst) != 0);
                    signals::to_thread(target.load(SeqCst), libc::SIGUSR1);
                    reader.join().expect("join")
                });
                if let Err(failed) = result {
                    assert_eq!(failed.failure.errno, libc::EINTR);
                    let done = failed.done as usize;
                    assert!(data[..done].iter().all(|&byte| byte == 1));
                    assert!(data[done..].iter().all(|&byte| byte == 2));
                    ended += u32::from(done != 0);
                }
                if ended == 3 {
                    break;
                }
            }
            assert_ne!(ended, 0, "no signal came in the middle");
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
    });
}

#[test]
fn many_calls_and_copies_at_once_keep_to_themselves() {
    const LENGTH: usize = 20_000;
    isolated_long(2, || {
        let pair = taking();
        let calls = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut held = pair.port.receive();
                    while let Ok(message) = held {
                        if !message.open() {
                            held = pair.port.receive();
                            continue;
                        }
                        let seen = pair.port.peek(&message, 0, 3, LENGTH - 3);
                        let _ = seen.and_then(|mut seen| {
                            assert!(seen.iter().all(|&byte| byte == seen[0]));
                            let next = seen[0].wrapping_add(1);
                            seen.fill(next);
                            pair.port.poke(&message, 1, 3, &seen)
                        });
                        held = pair.port.reply_receive(&message, b"");
                        if let Err(failure) = &held {
                            if !matches!(failure, &fail::CLOSED) {
                                held = pair.port.receive();
                            }
                        }
                    }
                });
            }
            let clients: Vec<_> = (0..3_u8)
                .map(|n| {
                    let (client, calls) = (&pair.client, &calls);
                    scope.spawn(move || {
                        let mut rng = rng::Rng::new(u64::from(n));
                        for round in 0..rounds(200) {
                            let value = (round as u8).wrapping_mul(3).wrapping_add(n);
                            let memory = vec![value; LENGTH];
                            let mut answer = vec![77_u8; LENGTH];
                            let ranges = Ranges::of(&[
                                (memory.as_ptr() as u64, LENGTH, READ),
                                (answer.as_mut_ptr() as u64, LENGTH, BOTH),
                            ]);
                            let mut call = Transfer::offering(&ranges);
                            if rng.below(3) == 0 {
                                call = call.timeout(rng.below(300) * 1000);
                            }
                            let result = call.run(client);
                            let before = std::hint::black_box(&answer).clone();
                            if result.is_ok() {
                                calls.fetch_add(1, SeqCst);
                                assert_eq!(before[..3], [77; 3]);
                                let expected = value.wrapping_add(1);
                                assert!(before[3..].iter().all(|&byte| byte == expected));
                            }
                            thread::yield_now();
                            assert!(before == *std::hint::black_box(&answer));
                        }
                    })
                })
                .collect();
            for client in clients {
                client.join().expect("join");
            }
            pair.port.disconnect().expect("disconnect");
        });
        assert_ne!(calls.load(SeqCst), 0);
    });
}
