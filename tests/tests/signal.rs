// SPDX-License-Identifier: MIT OR Apache-2.0

//! Signals: whatever interrupts a call, each message is sent exactly once.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use alpc_tests::raw::*;
use alpc_tests::wait::clock;
use alpc_tests::*;

const MS: u64 = 1_000_000;

/// A thread that can be signalled by whoever waits for it.
struct Target(AtomicI32);

impl Target {
    const fn new() -> Self {
        Self(AtomicI32::new(0))
    }

    fn register(&self) {
        self.0.store(signals::tid(), SeqCst);
    }

    /// Waits until the thread sleeps, then signals it.
    fn interrupt(&self, signal: i32) {
        eventually(|| self.0.load(SeqCst) != 0);
        let tid = self.0.load(SeqCst);
        eventually(|| inspect::thread_sleeps(tid));
        wait::settle();
        signals::to_thread(tid, signal);
    }
}

#[test]
fn a_receive_is_interrupted_without_sa_restart() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::new();
        let target = Target::new();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                target.register();
                pair.port.receive().map(|_| ())
            });
            target.interrupt(libc::SIGUSR1);
            assert_eq!(waiter.join().expect("join"), Err(fail::INTERRUPTED));
        });
        pair.client.one_way(b"later").expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"later");
    });
}

#[test]
fn a_receive_goes_on_with_sa_restart() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, libc::SA_RESTART);
        let pair = Pair::new();
        let target = Target::new();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                target.register();
                pair.port.receive().map(|m| m.data)
            });
            for count in 1..=3 {
                target.interrupt(libc::SIGUSR1);
                eventually(|| signals::caught() == count);
            }
            wait::settle();
            pair.client.one_way(b"x").expect("send");
            assert_eq!(waiter.join().expect("join"), Ok(b"x".to_vec()));
        });
    });
}

#[test]
fn a_call_interrupted_while_it_waits_says_that_the_request_lives_on() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::new();
        let target = Target::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                target.register();
                let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                let failure = call.run(&pair.client).unwrap_err();
                assert_eq!(failure, fail::INTERRUPTED_SENT);
                assert_ne!(call.arg.flags & ALPC_SENT, 0);
                assert_ne!(call.arg.send_id, 0);
                assert_eq!((call.arg.id, call.arg.recv_length), (JUNK64, JUNK32));
                let id = call.arg.send_id;
                // The same argument once more only waits.
                let reply = call.run(&pair.client).expect("resume");
                assert_eq!(reply.id, id);
                reply.data
            });
            let request = pair.port.receive().expect("receive");
            target.interrupt(libc::SIGUSR1);
            eventually(|| signals::caught() == 1);
            pair.port.reply(&request, b"y").expect("reply");
            assert_eq!(client.join().expect("join"), b"y");
        });
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn a_reply_that_came_before_the_call_was_resumed_is_there() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::new();
        let target = Target::new();
        let replied = AtomicBool::new(false);
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                target.register();
                let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                assert_eq!(call.run(&pair.client).unwrap_err(), fail::INTERRUPTED_SENT);
                eventually(|| replied.load(SeqCst));
                call.run(&pair.client).expect("resume").data
            });
            let request = pair.port.receive().expect("receive");
            target.interrupt(libc::SIGUSR1);
            // The reply comes while nobody waits.
            eventually(|| signals::caught() == 1);
            wait::settle();
            pair.port.reply(&request, b"y").expect("reply");
            replied.store(true, SeqCst);
            assert_eq!(client.join().expect("join"), b"y");
        });
    });
}

#[test]
fn an_interrupted_wait_keeps_its_deadline() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::new();
        let target = Target::new();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                target.register();
                let before = clock(libc::CLOCK_MONOTONIC);
                let mut receive = Transfer::new().receive().timeout(300 * MS);
                assert_eq!(receive.run(&pair.port).unwrap_err(), fail::INTERRUPTED);
                let mode = receive.arg.flags & ALPC_TIMEOUT_MASK;
                assert_ne!(mode, ALPC_TIMEOUT_RELATIVE, "it would start anew");
                assert_ne!(mode, ALPC_TIMEOUT_INFINITE);
                assert_eq!(receive.run(&pair.port).unwrap_err(), fail::TIMED_OUT);
                clock(libc::CLOCK_MONOTONIC) - before
            });
            target.interrupt(libc::SIGUSR1);
            let took = waiter.join().expect("join");
            assert!(took >= 300 * MS, "{took} ns");
        });
    });
}

#[test]
fn a_wait_for_room_is_interrupted_with_nothing_sent() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::with(Create::anonymous().share(1, 0));
        pair.client.one_way(b"1").expect("send");
        let target = Target::new();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                target.register();
                let mut send = Transfer::new().send(b"2").flags(ALPC_RELEASE);
                let failure = send.run(&pair.client).unwrap_err();
                assert_eq!(send.arg.flags & ALPC_SENT, 0);
                failure
            });
            target.interrupt(libc::SIGUSR1);
            assert_eq!(sender.join().expect("join"), fail::INTERRUPTED);
        });
        assert_eq!(pair.port.receive().expect("receive").data, b"1");
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn stop_and_continue_neither_end_nor_repeat_a_call() {
    isolated(|| {
        let port = Create::named("signal/stop").open().run().expect("create");
        let client = Peer::spawn(BOB, |_| {
            let client = Connect::to("signal/stop").run().expect("connect").port;
            for number in 0..10_u8 {
                let reply = client.request(&[number]).expect("request");
                assert_eq!(reply.data, [number]);
            }
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        for number in 0..10_u8 {
            let request = port.receive().expect("receive");
            assert_eq!(request.data, [number]);
            client.until_asleep();
            client.signal(libc::SIGSTOP);
            wait::settle();
            client.signal(libc::SIGCONT);
            wait::settle();
            let repeated = port.receive_now().map(|m| m.data);
            assert_eq!(repeated, Err(fail::TIMED_OUT), "sent a second time");
            port.reply(&request, &[number]).expect("reply");
        }
        client.wait();
    });
}

#[test]
fn stop_and_continue_during_connect_neither_end_nor_repeat_it() {
    isolated(|| {
        let port = Create::named("signal/connect")
            .open()
            .run()
            .expect("create");
        let client = Peer::spawn(BOB, |link| {
            let connected = Connect::to("signal/connect").run().expect("connect");
            link.sync();
            connected.port.one_way(b"x").expect("send");
        });
        let request = port.receive().expect("receive");
        for _ in 0..3 {
            client.until_asleep();
            client.signal(libc::SIGSTOP);
            wait::settle();
            client.signal(libc::SIGCONT);
        }
        wait::settle();
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        let _server = Accept::new(request.id).run(&port).expect("accept");
        client.sync();
        assert_eq!(port.receive().expect("receive").data, b"x");
        client.wait();
    });
}

#[test]
fn an_interrupted_connect_is_resumed_by_its_own_argument() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let target = Target::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                target.register();
                let mut connect = Connect::new(None);
                let failure = connect.run_on(&through).unwrap_err();
                assert_eq!(failure, fail::INTERRUPTED_SENT);
                assert_ne!(connect.arg.flags & ALPC_CONNECT_SENT, 0);
                assert!(connect.arg.fd >= 0, "its pending client port");
                let resumed = connect.run_on(&through).expect("resume");
                resumed.port.one_way(b"x").expect("send");
                // The caller has the port once, whichever number tells it.
                use std::os::fd::{AsFd, AsRawFd};
                assert_eq!(resumed.port.as_fd().as_raw_fd(), connect.arg.fd);
            });
            let request = port.receive().expect("receive");
            target.interrupt(libc::SIGUSR1);
            eventually(|| signals::caught() == 1);
            wait::settle();
            let mut accept = Accept::new(request.id);
            let _server = accept.run(&port).expect("accept");
            client.join().expect("join");
            assert_eq!(port.receive().expect("receive").data, b"x");
        });
    });
}

/// Makes many calls while signals rain on the caller; the server counts.
fn rain(flags: i32, calls: u64) {
    signals::catch(libc::SIGUSR1, flags);
    let pair = Pair::new();
    let target = Target::new();
    let (done, interruptions) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut seen = 0;
            while let Ok(request) = pair.port.receive() {
                if request.kind == ALPC_TYPE_PORT_CLOSED {
                    break;
                }
                assert_eq!(request.kind, ALPC_TYPE_REQUEST);
                let number = u64::from_le_bytes(request.data[..].try_into().expect("8 bytes"));
                assert_eq!(number, seen, "a request was lost or came twice");
                seen += 1;
                pair.server.reply(&request, &request.data).expect("reply");
            }
            seen
        });
        scope.spawn(|| {
            let mut rng = rng::Rng::new(1);
            while !done.load(SeqCst) {
                let tid = target.0.load(SeqCst);
                if tid != 0 {
                    signals::to_thread(tid, libc::SIGUSR1);
                }
                thread::sleep(Duration::from_micros(rng.below(150)));
            }
        });
        let client = scope.spawn(|| {
            target.register();
            for number in 0..calls {
                let mut call = Transfer::new()
                    .send(&number.to_le_bytes())
                    .receive()
                    .flags(ALPC_SYNC);
                let reply = loop {
                    match call.run(&pair.client) {
                        Ok(reply) => break reply,
                        Err(fail::INTERRUPTED) => {
                            assert_eq!(call.arg.flags & ALPC_SENT, 0);
                        }
                        Err(fail::INTERRUPTED_SENT) => {
                            assert_ne!(call.arg.flags & ALPC_SENT, 0);
                        }
                        Err(failure) => panic!("{failure:?}"),
                    }
                    interruptions.fetch_add(1, SeqCst);
                };
                assert_eq!(reply.data, number.to_le_bytes());
            }
            target.0.store(0, SeqCst);
        });
        let ended = client.join();
        done.store(true, SeqCst);
        pair.client.disconnect().expect("disconnect");
        assert!(ended.is_ok(), "the client failed");
        assert_eq!(server.join().expect("join"), calls);
    });
    note!(
        "{calls} calls, {} signals, {} interruptions",
        signals::caught(),
        interruptions.load(SeqCst)
    );
}

#[test]
fn each_of_many_restarted_calls_sends_once() {
    isolated(|| rain(libc::SA_RESTART, rounds(20_000)));
}

#[test]
fn each_of_many_interrupted_calls_sends_once() {
    isolated(|| rain(0, rounds(20_000)));
}
