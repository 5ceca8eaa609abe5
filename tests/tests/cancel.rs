// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cancelling: by requester or holder, before and after receipt.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use alpc_tests::pair::SERVER_CONTEXT;
use alpc_tests::raw::*;
use alpc_tests::*;

/// What a plain cancel says when the request had not, or had, been received.
const REMOVED: Result<u32, Failure> = Ok(ALPC_OUTCOME_OK);
const TOLD_HOLDER: Result<u32, Failure> = Ok(ALPC_OUTCOME_ALREADY_RECEIVED);

fn nothing_left(pair: &Pair) {
    assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
    assert_eq!(pair.client.query_port().expect("query").conversations, 0);
}

#[test]
fn a_request_cancelled_before_receipt_is_never_seen() {
    isolated(|| {
        for flags in [0, ALPC_CANCEL_TRY] {
            let pair = Pair::new();
            let id = pair.client.post(b"x").expect("post");
            assert_eq!(pair.client.cancel(id, flags), REMOVED);
            nothing_left(&pair);
            assert_eq!(pair.client.cancel(id, flags), Err(fail::NOT_FOUND));
        }
    });
}

#[test]
fn a_request_cancelled_after_receipt_gives_the_holder_a_notice() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        let request = pair.port.receive().expect("receive");
        assert_eq!(pair.client.cancel(id, 0), TOLD_HOLDER);
        // It is once for all.
        for flags in [0, ALPC_CANCEL_TRY] {
            assert_eq!(pair.client.cancel(id, flags), Err(fail::CANCELED));
        }
        assert_eq!(pair.port.reply(&request, b"late"), Err(fail::CANCELED));
        let notice = pair.port.receive().expect("receive");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, id));
        assert_eq!(notice.port_context, SERVER_CONTEXT);
        assert!(!notice.open() && notice.data.is_empty());
        assert_eq!(pair.client.cancel(id, 0), Err(fail::NOT_FOUND));
        assert_eq!(pair.port.reply(&request, b"late"), Err(fail::NOT_FOUND));
        nothing_left(&pair);
    });
}

#[test]
fn a_try_leaves_what_has_been_received_alone() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        let request = pair.port.receive().expect("receive");
        for _ in 0..3 {
            let result = pair.client.cancel(id, ALPC_CANCEL_TRY);
            assert_eq!(result, Err(fail::ALREADY_RECEIVED));
        }
        pair.port.reply(&request, b"in time").expect("reply");
        assert_eq!(pair.client.receive().expect("receive").data, b"in time");
        nothing_left(&pair);
    });
}

#[test]
fn a_waiting_requester_is_told_whether_the_request_was_received() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                let failure = call.run(&pair.client).unwrap_err();
                assert!(call.recv.iter().all(|&b| b == JUNK));
                failure
            });
            let request = pair.port.receive().expect("receive");
            assert_eq!(pair.client.cancel(request.id, 0), TOLD_HOLDER);
            assert_eq!(client.join().expect("join"), fail::LOST);
            let notice = pair.port.receive().expect("receive");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, request.id));
        });
        nothing_left(&pair);
        // Before receipt: an interruption tells the id, then the wait goes on.
        signals::catch(libc::SIGUSR1, 0);
        let (tid, id) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                tid.store(signals::tid() as u64, SeqCst);
                let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                let first = call.run(&pair.client).unwrap_err();
                assert_eq!(first, fail::INTERRUPTED_SENT);
                // One more may be on its way.
                signals::block(libc::SIGUSR1);
                id.store(call.arg.send_id, SeqCst);
                call.run(&pair.client).unwrap_err()
            });
            eventually(|| pair.port.query_port().expect("query").queued_messages == 1);
            while id.load(SeqCst) == 0 {
                signals::to_thread(tid.load(SeqCst) as i32, libc::SIGUSR1);
                thread::sleep(Duration::from_millis(10));
            }
            eventually(|| inspect::thread_sleeps(tid.load(SeqCst) as i32));
            assert_eq!(pair.client.cancel(id.load(SeqCst), 0), REMOVED);
            assert_eq!(client.join().expect("join"), fail::CANCELED);
        });
        nothing_left(&pair);
    });
}

#[test]
fn the_holder_may_cancel_and_the_requester_is_told() {
    isolated(|| {
        let pair = Pair::new();
        // Waiting for it.
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"x");
            assert!(pair.port.cancel(request.id, 0).is_ok());
            let result = client.join().expect("join").map(|_| ());
            assert_eq!(result, Err(fail::LOST));
        });
        nothing_left(&pair);
        // Not waiting for it: told by a message.
        for by_server_port in [false, true] {
            let id = pair.client.post(b"x").expect("post");
            let request = pair.port.receive().expect("receive");
            let port = if by_server_port {
                &pair.server
            } else {
                &pair.port
            };
            assert!(port.cancel(request.id, 0).is_ok());
            let notice = pair.client.receive().expect("receive");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
            nothing_left(&pair);
        }
    });
}

#[test]
fn letting_go_without_a_word_tells_the_requester_that_no_reply_will_come() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        let request = pair.port.receive().expect("receive");
        pair.port.release(&request).expect("release");
        let notice = pair.client.receive().expect("receive");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"y");
            pair.port.release(&request).expect("release");
            let result = client.join().expect("join").map(|_| ());
            assert_eq!(result, Err(fail::LOST));
        });
        nothing_left(&pair);
    });
}

#[test]
fn a_server_cannot_cancel_what_it_has_not_received() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        assert!(pair.port.cancel(id, 0).is_err());
        assert!(pair.server.cancel(id, ALPC_CANCEL_TRY).is_err());
        let request = pair.port.receive().expect("receive");
        pair.port.reply(&request, b"").expect("reply");
    });
}

#[test]
fn strangers_cancel_nothing() {
    isolated(|| {
        let pair = Pair::new();
        let (other_server, other_client) = pair::attach(&pair.port, 2);
        let stranger = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        for received in [false, true] {
            for port in [
                &other_server,
                &other_client,
                &stranger.port,
                &stranger.client,
            ] {
                assert_eq!(port.cancel(id, 0), Err(fail::NOT_FOUND));
            }
            if !received {
                pair.port.receive().expect("receive");
            }
        }
        for id in [0, 1, id + 1, u64::MAX] {
            assert_eq!(pair.client.cancel(id, 0), Err(fail::NOT_FOUND), "{id:#x}");
        }
    });
}

#[test]
fn a_reply_under_way_can_still_be_cancelled() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        let request = pair.port.receive().expect("receive");
        pair.port.reply(&request, b"reply").expect("reply");
        // The requester hasn't received it, and now doesn't want to.
        let _ = pair.client.cancel(id, 0);
        while pair.client.receive_now().is_ok() {}
        while pair.port.receive_now().is_ok() {}
        nothing_left(&pair);
    });
}

#[test]
fn cancel_validates_its_argument() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        for bit in 1..32 {
            refused_with(pair.client.cancel(id, 1 << bit), libc::EINVAL, "flag");
        }
        use std::os::fd::AsFd;
        for address in memory::HOSTILE {
            // SAFETY: The kernel checks the address.
            let result = unsafe { ioctl_at(pair.client.as_fd(), ALPC_IOCTL_CANCEL, address) };
            assert_eq!(result, Err(libc::EFAULT), "{address:#x}");
        }
        pair.port.receive().expect("it is still there");
    });
}
