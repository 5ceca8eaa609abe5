// SPDX-License-Identifier: MIT OR Apache-2.0

//! `SENT | SYNC`: waiting again for a conversation that was begun before.

use std::thread;

use alpc_tests::raw::*;
use alpc_tests::*;

/// Waits again for the next message of conversation `id`.
fn resume(id: u64) -> Transfer {
    let mut call = Transfer::new().send(&[]).receive();
    call.arg.send_id = id;
    call.flags(ALPC_SYNC | ALPC_SENT)
}

#[test]
fn a_request_that_nobody_waits_for_can_be_waited_for_later() {
    isolated(|| {
        let pair = Pair::new();
        // Both before the reply has come and after it.
        for early in [true, false] {
            let id = pair.client.post(b"?").expect("post");
            let request = pair.port.receive().expect("receive");
            thread::scope(|scope| {
                if !early {
                    pair.port.reply(&request, b"!").expect("reply");
                }
                let waiter = scope.spawn(|| resume(id).run(&pair.client));
                if early {
                    wait::settle();
                    pair.port.reply(&request, b"!").expect("reply");
                }
                let reply = waiter.join().expect("join").expect("resume");
                assert_eq!((reply.id, reply.kind), (id, ALPC_TYPE_REPLY));
                assert_eq!(reply.data, b"!");
            });
            assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
        }
    });
}

#[test]
fn what_this_side_holds_it_has_received_already() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"?").expect("post");
        let request = pair.port.receive().expect("receive");
        let mut again = resume(id);
        let failure = again.run(&pair.port).unwrap_err();
        assert_eq!(failure, fail::ALREADY_RECEIVED);
        // It has said nothing but that.
        assert_eq!((again.arg.id, again.arg.recv_length), (JUNK64, JUNK32));
        pair.port.reply_open(&request, b"1").expect("reply");
        let open = pair.client.receive().expect("receive");
        assert!(open.open());
        let failure = resume(id).run(&pair.client).unwrap_err();
        assert_eq!(failure, fail::ALREADY_RECEIVED);
        // Nobody lost the turn by asking.
        pair.client.reply_open(&open, b"2").expect("reply");
        let answer = pair.port.receive().expect("receive");
        pair.port.reply(&answer, b"3").expect("reply");
        assert_eq!(pair.client.receive().expect("receive").data, b"3");
    });
}

#[test]
fn a_second_thread_does_not_take_the_wait_of_the_first() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"?");
            // The first may have sent and not begun to wait: then this one
            // would wait, and leave again.
            eventually(|| {
                let failure = resume(request.id).now().run(&pair.client).unwrap_err();
                assert!(failure == fail::NOT_OWNER || failure == fail::TIMED_OUT_SENT);
                failure == fail::NOT_OWNER
            });
            let failure = resume(request.id).run(&pair.client).unwrap_err();
            assert_eq!(failure, fail::NOT_OWNER);
            pair.port.reply(&request, b"!").expect("reply");
            assert_eq!(client.join().expect("join").expect("reply").data, b"!");
        });
    });
}

#[test]
fn a_conversation_that_is_over_or_never_was_is_not_found() {
    isolated(|| {
        let pair = Pair::new();
        for port in [&pair.client, &pair.server, &pair.port] {
            for id in [1, 0x1234_5678, u64::MAX] {
                assert_eq!(resume(id).run(port).unwrap_err(), fail::NOT_FOUND);
            }
        }
        let id = pair.client.post(b"?").expect("post");
        let request = pair.port.receive().expect("receive");
        pair.port.reply(&request, b"!").expect("reply");
        // The side that ended it knows it no more, the other until it has it.
        assert_eq!(resume(id).run(&pair.port).unwrap_err(), fail::NOT_FOUND);
        assert_eq!(resume(id).run(&pair.client).expect("reply").data, b"!");
        assert_eq!(resume(id).run(&pair.client).unwrap_err(), fail::NOT_FOUND);
        // What another client began is nobody else's to wait for.
        let (_server, other) = pair::attach(&pair.port, 2);
        let id = pair.client.post(b"?").expect("post");
        assert_eq!(resume(id).run(&other).unwrap_err(), fail::NOT_FOUND);
        // The server has received nothing of it.
        assert_eq!(resume(id).run(&pair.port).unwrap_err(), fail::NOT_FOUND);
        pair.port.receive().expect("it is still there");
    });
}

#[test]
fn a_resumed_call_gets_its_reply_once_the_buffer_is_large_enough() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut call = Transfer::new().send(b"?").capacity(10).flags(ALPC_SYNC);
                // As often as it likes, and each time it learns the length.
                for capacity in [10, 0, 99] {
                    call.recv = vec![JUNK; capacity];
                    call.arg.recv_data = 0;
                    call.arg.recv_length = JUNK32;
                    let failure = call.run(&pair.client).unwrap_err();
                    assert_eq!(failure, fail::BUFFER_TOO_SMALL);
                    assert_eq!(call.arg.recv_length, 100);
                }
                call.recv = vec![JUNK; 100];
                let reply = call.run(&pair.client).expect("resume");
                call.recv = vec![JUNK; 100];
                let again = call.run(&pair.client).unwrap_err();
                (reply, again)
            });
            let request = pair.port.receive().expect("receive");
            pair.port.reply(&request, &[9; 100]).expect("reply");
            let (reply, again) = client.join().expect("join");
            assert_eq!((reply.id, reply.data), (request.id, vec![9; 100]));
            assert_eq!(again, fail::NOT_FOUND, "it was there once");
        });
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(pair.port.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn a_resumed_callback_gets_its_answer_once_the_buffer_is_large_enough() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let callback = pair.client.request(b"1").expect("request");
                pair.client.answer(&callback, &[3; 100]).expect("answer")
            });
            let request = pair.port.receive().expect("receive");
            let mut call = Transfer::new().send(b"2").into(&request);
            call = call.capacity(10).flags(ALPC_SYNC);
            let failure = call.run(&pair.port).unwrap_err();
            assert_eq!(failure, fail::BUFFER_TOO_SMALL);
            call.recv = vec![JUNK; 100];
            let answer = call.run(&pair.port).expect("resume");
            assert_eq!(answer.data, [3; 100]);
            pair.port.reply(&answer, b"4").expect("reply");
            assert_eq!(client.join().expect("join").data, b"4");
        });
    });
}

#[test]
fn a_send_that_was_made_is_skipped_before_a_receive() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"next").expect("post");
        let mut call = Transfer::new().send(b"x").receive();
        call = call.flags(ALPC_SENT | ALPC_RELEASE);
        assert_eq!(call.run(&pair.port).expect("receive").data, b"next");
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}
