// SPDX-License-Identifier: MIT OR Apache-2.0

//! Timeouts: none, zero, relative, absolute by three clocks. Never an upper
//! bound on what a wait took: only that it wasn't too short.

use std::thread;

use alpc_tests::raw::*;
use alpc_tests::wait::clock;
use alpc_tests::*;

const MS: u64 = 1_000_000;

const CLOCKS: [(u32, libc::clockid_t); 3] = [
    (ALPC_TIMEOUT_MONOTONIC, libc::CLOCK_MONOTONIC),
    (ALPC_TIMEOUT_BOOTTIME, libc::CLOCK_BOOTTIME),
    (ALPC_TIMEOUT_REALTIME, libc::CLOCK_REALTIME),
];

/// A receive with this timeout, and how long it took at least.
fn receive_until(port: &Port, mode: u32, timeout: u64) -> (Failure, u64) {
    let before = clock(libc::CLOCK_MONOTONIC);
    let mut receive = Transfer::new().receive().flags(mode);
    receive.arg.timeout = timeout;
    let failure = receive.run(port).unwrap_err();
    (failure, clock(libc::CLOCK_MONOTONIC) - before)
}

#[test]
fn zero_and_the_past_never_wait() {
    isolated(|| {
        let pair = Pair::new();
        let mut cases = vec![(ALPC_TIMEOUT_RELATIVE, 0)];
        for (mode, id) in CLOCKS {
            cases.extend([
                (mode, 0),
                (mode, 1),
                (mode, clock(id) - 1),
                (mode, clock(id)),
            ]);
        }
        for (mode, timeout) in cases {
            for port in [&pair.port, &pair.client, &pair.server] {
                let (failure, _) = receive_until(port, mode, timeout);
                assert_eq!(failure, fail::TIMED_OUT, "mode {mode} {timeout}");
            }
        }
    });
}

#[test]
fn a_message_that_is_there_is_received_whatever_the_timeout() {
    isolated(|| {
        let pair = Pair::new();
        for (mode, timeout) in [
            (ALPC_TIMEOUT_RELATIVE, 0),
            (ALPC_TIMEOUT_RELATIVE, u64::MAX),
            (ALPC_TIMEOUT_MONOTONIC, 1),
            (ALPC_TIMEOUT_REALTIME, 0),
            (ALPC_TIMEOUT_BOOTTIME, u64::MAX),
        ] {
            pair.client.one_way(b"there").expect("send");
            let mut receive = Transfer::new().receive().flags(mode);
            receive.arg.timeout = timeout;
            let message = receive.run(&pair.port).expect("receive");
            assert_eq!(message.data, b"there");
        }
    });
}

#[test]
fn a_relative_timeout_is_never_too_short() {
    isolated(|| {
        let pair = Pair::new();
        for milliseconds in [1, 10, 50] {
            let timeout = milliseconds * MS;
            let (failure, took) = receive_until(&pair.port, ALPC_TIMEOUT_RELATIVE, timeout);
            assert_eq!(failure, fail::TIMED_OUT);
            assert!(took >= timeout, "{took} ns of {timeout}");
        }
    });
}

#[test]
fn an_absolute_timeout_ends_at_its_time_by_each_clock() {
    isolated(|| {
        let pair = Pair::new();
        for (mode, id) in CLOCKS {
            let end = clock(id) + 30 * MS;
            let (failure, _) = receive_until(&pair.client, mode, end);
            assert_eq!(failure, fail::TIMED_OUT);
            assert!(clock(id) >= end, "too early by clock {id}");
        }
    });
}

#[test]
fn endless_timeouts_do_not_end() {
    isolated(|| {
        let pair = Pair::new();
        let cases = [
            (ALPC_TIMEOUT_INFINITE, 0),
            (ALPC_TIMEOUT_RELATIVE, u64::MAX),
            (ALPC_TIMEOUT_RELATIVE, i64::MAX as u64),
            (ALPC_TIMEOUT_MONOTONIC, u64::MAX),
            (ALPC_TIMEOUT_REALTIME, i64::MAX as u64 + 1),
        ];
        thread::scope(|scope| {
            let waiters: Vec<_> = cases
                .into_iter()
                .map(|(mode, timeout)| {
                    let pair = &pair;
                    scope.spawn(move || {
                        let mut receive = Transfer::new().receive().flags(mode);
                        receive.arg.timeout = timeout;
                        receive.run(&pair.port).map(|m| m.data)
                    })
                })
                .collect();
            thread::sleep(std::time::Duration::from_millis(100));
            for waiter in &waiters {
                assert!(!waiter.is_finished());
            }
            for _ in &waiters {
                pair.client.one_way(b"end").expect("send");
            }
            for waiter in waiters {
                assert_eq!(waiter.join().expect("join"), Ok(b"end".to_vec()));
            }
        });
    });
}

#[test]
fn modes_that_do_not_exist_are_invalid() {
    isolated(|| {
        let pair = Pair::new();
        let invalid = |mode: u32, timeout: u64| {
            let mut receive = Transfer::new().receive().flags(mode);
            receive.arg.timeout = timeout;
            let what = format!("mode {mode} {timeout}");
            refused_with(receive.run(&pair.port), libc::EINVAL, &what);
        };
        for mode in 5..=ALPC_TIMEOUT_MASK {
            invalid(mode, 0);
            invalid(mode, 1);
        }
        invalid(ALPC_TIMEOUT_INFINITE, 1);
        invalid(ALPC_TIMEOUT_INFINITE, u64::MAX);
    });
}

#[test]
fn a_request_that_times_out_was_sent_and_is_withdrawn() {
    isolated(|| {
        let pair = Pair::new();
        // Not received: it disappears.
        let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
        call = call.timeout(20 * MS);
        assert_eq!(call.run(&pair.client).unwrap_err(), fail::TIMED_OUT_SENT);
        assert_ne!(call.arg.flags & ALPC_SENT, 0);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(pair.client.query_port().expect("query").conversations, 0);

        // Received: the holder gets a notice.
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                call = call.timeout(100 * MS);
                call.run(&pair.client).map(|_| ())
            });
            let request = pair.port.receive().expect("receive");
            assert_eq!(client.join().expect("join"), Err(fail::TIMED_OUT_SENT));
            let notice = pair.port.receive().expect("receive");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, request.id));
        });
    });
}

#[test]
fn a_synchronous_request_with_zero_timeout_only_looks_for_a_reply() {
    isolated(|| {
        let pair = Pair::new();
        let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
        call = call.now();
        assert_eq!(call.run(&pair.client).unwrap_err(), fail::TIMED_OUT_SENT);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn an_asynchronous_request_and_a_receive_that_times_out_leave_the_request_alone() {
    isolated(|| {
        let pair = Pair::new();
        let mut call = Transfer::new().send(b"x").receive().timeout(10 * MS);
        assert_eq!(call.run(&pair.client).unwrap_err(), fail::TIMED_OUT_SENT);
        let request = pair.port.receive().expect("receive");
        assert_eq!(request.id, call.arg.send_id);
        pair.port.reply(&request, b"y").expect("reply");
        assert_eq!(pair.client.receive().expect("receive").data, b"y");
    });
}

#[test]
fn a_callback_that_times_out_ends_the_conversation() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| pair.client.request(b"1"));
            let request = pair.port.receive().expect("receive");
            let mut callback = Transfer::new().send(b"2").into(&request).receive();
            callback = callback.flags(ALPC_SYNC).timeout(20 * MS);
            let failure = callback.run(&pair.port).unwrap_err();
            assert_eq!(failure, fail::TIMED_OUT_SENT);
            let received = client.join().expect("join").expect("the callback");
            assert_eq!(received.data, b"2");
            let answer = pair.client.answer(&received, b"3").map(|_| ());
            assert_eq!(answer, Err(fail::CANCELED));
            let notice = pair.client.receive().expect("receive");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, request.id));
            assert_eq!(pair.port.reply(&request, b"4"), Err(fail::NOT_FOUND));
            let answer = pair.client.answer(&received, b"3").map(|_| ());
            assert_eq!(answer, Err(fail::NOT_FOUND));
        });
    });
}

#[test]
fn a_send_waits_for_room_until_its_timeout() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().share(1, 0));
        pair.client.one_way(b"1").expect("send");
        let before = clock(libc::CLOCK_MONOTONIC);
        let mut send = Transfer::new().send(b"2").flags(ALPC_RELEASE);
        send = send.timeout(20 * MS);
        assert_eq!(send.run(&pair.client).unwrap_err(), fail::TIMED_OUT);
        assert!(clock(libc::CLOCK_MONOTONIC) - before >= 20 * MS);
        assert_eq!(send.arg.flags & ALPC_SENT, 0);
        let mut send = Transfer::new().send(b"3");
        send = send.flags(ALPC_RELEASE | ALPC_NONBLOCK);
        assert_eq!(send.run(&pair.client).unwrap_err(), fail::QUEUE_FULL);
        thread::scope(|scope| {
            let sender = scope.spawn(|| pair.client.one_way(b"4"));
            wait::settle();
            assert!(!sender.is_finished());
            assert_eq!(pair.port.receive().expect("receive").data, b"1");
            assert_eq!(sender.join().expect("join"), Ok(()));
        });
        assert_eq!(pair.port.receive().expect("receive").data, b"4");
    });
}

#[test]
fn a_realtime_timeout_follows_the_clock_when_it_is_set() {
    isolated(|| {
        let pair = Pair::new();
        let hour = 3600 * 1000 * MS;
        let end = clock(libc::CLOCK_REALTIME) + hour;
        thread::scope(|scope| {
            let waiter = scope.spawn(|| receive_until(&pair.port, ALPC_TIMEOUT_REALTIME, end).0);
            let monotonic_end = clock(libc::CLOCK_MONOTONIC) + hour;
            let other = scope.spawn(move || {
                receive_until(&pair_client(), ALPC_TIMEOUT_MONOTONIC, monotonic_end).0
            });
            wait::settle();
            set_realtime(end + 1000 * MS);
            assert_eq!(waiter.join().expect("join"), fail::TIMED_OUT);
            wait::settle();
            let unmoved = !other.is_finished();
            set_realtime(clock(libc::CLOCK_REALTIME) - hour);
            assert!(unmoved, "a monotonic time followed the clock");
            // Nothing ends the other wait in time: the process does.
            // SAFETY: The test is over; its success is what is left to say.
            unsafe { libc::_exit(0) };
        });
    });
}

/// A port of its own, so that nothing ends a wait on it.
fn pair_client() -> Port {
    let pair = Pair::new();
    std::mem::forget((pair.port, pair.server));
    pair.client
}

fn set_realtime(nanoseconds: u64) {
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    // SAFETY: A live timespec; the guest's clock is the tests' own.
    let result = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
