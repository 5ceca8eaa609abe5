// SPDX-License-Identifier: MIT OR Apache-2.0

//! What handles own, and what ends a wait.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use alpc::{
    CancelMode, Canceled, Client, Exchange, NoticeKind, Options, Outcome, Received, State, Timeout,
    TurnError,
};
use alpc_tests::{eventually, inspect, isolated, signals, wait};

use super::{expect_notice, outcome, pair, request};

#[test]
fn the_last_handle_disconnects_and_into_fd_does_not() {
    isolated(|| {
        let (server, port, client) = pair();
        let clone = client.clone();
        drop(client);
        clone.send(b"still here").expect("send");
        assert!(matches!(
            server.receive(&mut [0; 64]).expect("receive"),
            Received::Datagram(_)
        ));
        let fd = clone.into_fd().expect("into_fd");
        assert!(server.try_receive(&mut [0; 64]).expect("receive").is_none());
        let client = Client::from(fd);

        // A child's copy of the handle closes the child's descriptor only.
        // SAFETY: The child drops a handle and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop((client, port, server));
            // SAFETY: Ends this process.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: Our own child and a live integer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(client.query().expect("query").state, State::Open);
        assert_eq!(port.peer().expect("peer").pid, std::process::id());

        // What was sent before the end can still be received.
        client.send(b"last words").expect("send");
        drop(client);
        assert!(matches!(
            server.receive(&mut [0; 64]).expect("receive"),
            Received::Datagram(_)
        ));
        expect_notice(&server, NoticeKind::PortClosed);
        assert!(port.send(b"x").expect_err("gone").is_gone());
    });
}

#[test]
fn close_ends_waits_in_other_threads() {
    isolated(|| {
        let (_server, _port, client) = pair();
        let waiting = client.clone();
        let waiter = thread::spawn(move || outcome(waiting.receive(&mut [0; 64])));
        wait::settle();
        client.close().expect("close");
        assert_eq!(waiter.join().expect("join"), Outcome::Closed);
    });
}

#[test]
fn a_canceller_cancels_and_holds_nothing_open() {
    isolated(|| {
        let (server, _port, client) = pair();
        let canceller = client.canceller();
        let id = client.send_request(b"x").expect("send");
        let early = canceller.cancel(id, CancelMode::Always);
        assert_eq!(early, Ok(Canceled::BeforeReceipt));
        let id = client.send_request(b"x").expect("send");
        let mut buffer = [0; 64];
        let turn = request(&server, &mut buffer).into_turn();
        let refused = canceller.cancel(id, CancelMode::Try);
        assert_eq!(outcome(refused), Outcome::AlreadyReceived);
        let late = canceller.cancel(id, CancelMode::Always);
        assert_eq!(late, Ok(Canceled::AfterReceipt));
        let TurnError { error, turn } = turn.reply(b"y").expect_err("it is void");
        assert_eq!(
            (error.outcome(), turn.is_none()),
            (Some(Outcome::Canceled), true)
        );
        expect_notice(&server, NoticeKind::Canceled);
        drop(client);
        expect_notice(&server, NoticeKind::PortClosed);
        let gone = canceller.cancel(id, CancelMode::Always);
        assert_eq!(outcome(gone), Outcome::Closed);
    });
}

#[test]
fn calls_go_on_after_signals_unless_asked_not_to() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let (server, _port, client) = pair();
        for interruptible in [false, true] {
            let tid = AtomicI32::new(0);
            thread::scope(|scope| {
                let call = scope.spawn(|| {
                    tid.store(signals::tid(), SeqCst);
                    let mut buffer = [0; 64];
                    if !interruptible {
                        let reply = client.call(b"x", &mut buffer).expect("call");
                        return reply.data().to_vec();
                    }
                    let options = Options::new().interruptible();
                    let error = client
                        .call_with(b"x", &mut buffer, options)
                        .expect_err("a signal");
                    assert_eq!(error.outcome(), Some(Outcome::InterruptedSent));
                    let id = error.conversation().expect("a conversation");
                    match client.resume(id, &mut buffer, Options::new()) {
                        Ok(Exchange::Reply(reply)) => reply.data().to_vec(),
                        other => panic!("{other:?}"),
                    }
                });
                let turn = request(&server, &mut [0; 64]).into_turn();
                let tid = tid.load(SeqCst);
                eventually(|| inspect::thread_sleeps(tid));
                wait::settle();
                let before = signals::caught();
                signals::to_thread(tid, libc::SIGUSR1);
                eventually(|| signals::caught() > before);
                wait::settle();
                assert!(server.try_receive(&mut [0; 64]).expect("receive").is_none());
                turn.reply(b"y").expect("reply");
                assert_eq!(call.join().expect("join"), b"y");
            });
        }
    });
}

#[test]
fn timeouts_say_whether_something_was_sent() {
    isolated(|| {
        let (server, _port, client) = pair();
        let mut buffer = [0; 64];
        let soon = Duration::from_millis(20);
        let error = server.receive_with(&mut buffer, soon).expect_err("nothing");
        assert_eq!(
            (error.outcome(), error.is_timeout()),
            (Some(Outcome::TimedOut), true)
        );
        let error = client
            .call_with(b"x", &mut buffer, soon)
            .expect_err("nobody");
        assert_eq!(
            (error.outcome(), error.was_sent()),
            (Some(Outcome::TimedOutSent), true)
        );
        assert!(server.try_receive(&mut buffer).expect("receive").is_none());
        let past = Timeout::Realtime(std::time::UNIX_EPOCH);
        assert!(client.receive_with(&mut buffer, past).is_err());
    });
}
