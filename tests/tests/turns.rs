// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whose turn it is: callbacks, answers, and headers that are out of date.

use std::thread;

use alpc_tests::raw::*;
use alpc_tests::*;

/// The message with one part of its header changed.
fn with_turn(message: &Message, callback_id: u32) -> Message {
    Message {
        callback_id,
        ..message.clone()
    }
}

#[test]
fn a_fresh_request_has_turn_zero() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"x").expect("post");
        assert_eq!(pair.port.receive().expect("receive").callback_id, 0);
    });
}

#[test]
fn a_callback_reaches_the_waiting_requester_and_returns_its_answer() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let callback = pair.client.request(b"request").expect("request");
                assert_eq!(callback.kind, ALPC_TYPE_REQUEST);
                assert!(callback.open());
                assert_ne!(callback.callback_id, 0);
                assert_eq!(callback.data, b"callback");
                let reply = pair.client.answer(&callback, b"answer").expect("answer");
                assert_eq!(reply.kind, ALPC_TYPE_REPLY);
                assert_eq!(
                    (reply.id, reply.data.as_slice()),
                    (callback.id, &b"reply"[..])
                );
                assert!(!reply.open());
            });
            let request = pair.port.receive().expect("receive");
            let answer = pair.port.callback(&request, b"callback").expect("callback");
            assert_eq!(answer.kind, ALPC_TYPE_REPLY);
            assert_eq!(
                (answer.id, answer.data.as_slice()),
                (request.id, &b"answer"[..])
            );
            assert!(answer.open(), "the first request is still to be answered");
            assert_ne!(answer.callback_id, request.callback_id);
            pair.port.reply(&answer, b"reply").expect("reply");
            client.join().expect("join");
        });
    });
}

#[test]
fn a_callback_goes_through_either_port_of_the_server() {
    isolated(|| {
        let pair = Pair::new();
        for port in [&pair.port, &pair.server] {
            thread::scope(|scope| {
                let client = scope.spawn(|| {
                    let callback = pair.client.request(b"1").expect("request");
                    pair.client.answer(&callback, b"3").expect("answer").data
                });
                let request = pair.port.receive().expect("receive");
                let answer = port.callback(&request, b"2").expect("callback");
                assert_eq!(answer.data, b"3");
                port.reply(&answer, b"4").expect("reply");
                assert_eq!(client.join().expect("join"), b"4");
            });
        }
    });
}

#[test]
fn a_header_older_than_the_one_received_last_is_stale() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let callback = pair.client.request(b"1").expect("request");
                pair.client.answer(&callback, b"3").expect("answer")
            });
            let request = pair.port.receive().expect("receive");
            let answer = pair.port.callback(&request, b"2").expect("callback");
            let stale = Err(fail::STALE_TURN);
            assert_eq!(pair.port.reply(&request, b"x"), stale);
            assert_eq!(pair.port.reply_open(&request, b"x"), stale);
            assert_eq!(pair.port.release(&request), stale);
            assert_eq!(pair.port.callback(&request, b"x").map(|_| ()), stale);
            for turn in [answer.callback_id + 1, answer.callback_id - 1, u32::MAX] {
                assert_eq!(pair.port.reply(&with_turn(&answer, turn), b"x"), stale);
            }
            pair.port.reply(&answer, b"4").expect("reply");
            assert_eq!(client.join().expect("join").data, b"4");
        });
    });
}

#[test]
fn each_reply_that_keeps_the_conversation_open_makes_older_headers_stale() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"1").expect("post");
        let first = pair.port.receive().expect("receive");
        pair.port.reply_open(&first, b"2").expect("reply");
        let second = pair.client.receive().expect("receive");
        pair.client.reply_open(&second, b"3").expect("reply");
        let third = pair.port.receive().expect("receive");
        assert_eq!(pair.port.reply(&first, b"x"), Err(fail::STALE_TURN));
        pair.port.reply_open(&third, b"4").expect("reply");
        let fourth = pair.client.receive().expect("receive");
        assert_eq!(pair.client.reply(&second, b"x"), Err(fail::STALE_TURN));
        pair.client.reply(&fourth, b"5").expect("reply");
        let turns = [first, second, third, fourth].map(|m| m.callback_id);
        assert!(turns.windows(2).all(|w| w[0] < w[1]), "{turns:?}");
    });
}

#[test]
fn only_the_side_that_has_the_turn_may_send() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"1").expect("post");
        let own = Message {
            id,
            callback_id: 0,
            ..some_message()
        };
        // Not even received yet: the turn is on its way to the server.
        assert_eq!(pair.client.reply(&own, b"x"), Err(fail::NOT_OWNER));
        assert_eq!(pair.port.reply(&own, b"x"), Err(fail::NOT_OWNER));
        let request = pair.port.receive().expect("receive");
        assert_eq!(pair.client.reply(&own, b"x"), Err(fail::NOT_OWNER));
        assert_eq!(pair.client.release(&own), Err(fail::NOT_OWNER));
        pair.port.reply_open(&request, b"2").expect("reply");
        assert_eq!(pair.port.reply(&request, b"x"), Err(fail::NOT_OWNER));
        let second = pair.client.receive().expect("receive");
        assert_eq!(second.data, b"2");
        assert_eq!(pair.port.release(&request), Err(fail::NOT_OWNER));
    });
}

fn some_message() -> Message {
    Message {
        id: 0,
        callback_id: 0,
        kind: 0,
        flags: 0,
        data: Vec::new(),
        pid: 0,
        tid: 0,
        uid: 0,
        gid: 0,
        port_context: 0,
        sequence: 0,
    }
}

#[test]
fn ids_that_never_were_are_not_found() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"1").expect("post");
        let request = pair.port.receive().expect("receive");
        for id in [
            1,
            request.id + 1,
            request.id - 1,
            request.id ^ (1 << 63),
            u64::MAX,
        ] {
            let wrong = Message {
                id,
                ..request.clone()
            };
            assert_eq!(
                pair.port.reply(&wrong, b"x"),
                Err(fail::NOT_FOUND),
                "{id:#x}"
            );
        }
        // An old generation of the same place is no better.
        pair.port.reply(&request, b"2").expect("reply");
        pair.client.receive().expect("receive");
        pair.client.post(b"3").expect("post");
        let next = pair.port.receive().expect("receive");
        assert_ne!(next.id, request.id);
        assert_eq!(pair.port.reply(&request, b"x"), Err(fail::NOT_FOUND));
        pair.port.reply(&next, b"4").expect("reply");
    });
}

#[test]
fn callbacks_nest_as_deep_as_stated_and_no_deeper() {
    isolated(|| {
        let pair = Pair::new();
        // The server asks into the conversation again and again, and every
        // time the client asks back instead of answering: each adds a level.
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut message = pair.client.request(b"").expect("request");
                let mut levels = 1;
                loop {
                    match pair.client.callback(&message, b"") {
                        Ok(next) => message = next,
                        Err(failure) => return (levels, failure),
                    }
                    levels += 2;
                }
            });
            let mut message = pair.port.receive().expect("receive");
            let mut levels = 0;
            let failure = loop {
                match pair.port.callback(&message, b"") {
                    Ok(next) => message = next,
                    Err(failure) => break failure,
                }
                levels += 2;
            };
            // One side hit the bound; the other waits until it is told.
            pair.server.disconnect().expect("disconnect");
            let (reached, other) = client.join().expect("join");
            let deepest = if failure == fail::TOO_DEEP {
                levels
            } else {
                assert_eq!(other, fail::TOO_DEEP);
                reached
            };
            assert_eq!(deepest, ALPC_CALLBACK_DEPTH_MAX);
        });
    });
}

#[test]
fn one_callback_after_another_may_be_made_without_end() {
    isolated(|| {
        let pair = Pair::new();
        let times = ALPC_CALLBACK_DEPTH_MAX * 3;
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut message = pair.client.request(b"go").expect("request");
                let mut callbacks = 0;
                while message.kind == ALPC_TYPE_REQUEST {
                    callbacks += 1;
                    let data = message.data.clone();
                    message = pair.client.answer(&message, &data).expect("answer");
                }
                callbacks
            });
            let mut message = pair.port.receive().expect("receive");
            for number in 0..times {
                let number = number.to_le_bytes();
                message = pair.port.callback(&message, &number).expect("callback");
                assert_eq!(message.data, number);
            }
            pair.port.reply(&message, b"done").expect("reply");
            assert_eq!(client.join().expect("join"), times);
        });
    });
}

#[test]
fn an_answer_needs_a_callback_to_answer() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"1").expect("post");
        let request = pair.port.receive().expect("receive");
        let result = pair.port.answer(&request, b"x").map(|_| ());
        assert_eq!(result, Err(fail::WRONG_KIND));
        pair.port.reply(&request, b"2").expect("reply");
    });
}

#[test]
fn a_callback_cannot_end_the_conversation() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let callback = pair.client.request(b"1").expect("request");
                let result = pair.client.reply(&callback, b"x");
                assert_eq!(result, Err(fail::WRONG_KIND));
                pair.client.answer(&callback, b"3").expect("answer")
            });
            let request = pair.port.receive().expect("receive");
            let answer = pair.port.callback(&request, b"2").expect("callback");
            assert_eq!(answer.data, b"3");
            pair.port.reply(&answer, b"4").expect("reply");
            assert_eq!(client.join().expect("join").data, b"4");
        });
    });
}

#[test]
fn a_callback_to_an_asynchronous_requester_arrives_in_its_queue() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"1").expect("post");
        let request = pair.port.receive().expect("receive");
        thread::scope(|scope| {
            let server = scope.spawn(|| pair.port.callback(&request, b"2"));
            let callback = pair.client.receive().expect("receive");
            assert_eq!(callback.kind, ALPC_TYPE_REQUEST);
            assert_eq!(callback.data, b"2");
            pair.client.reply_open(&callback, b"3").expect("answer");
            let answer = server.join().expect("join").expect("callback");
            assert_eq!(answer.data, b"3");
            pair.port.reply(&answer, b"4").expect("reply");
        });
        assert_eq!(pair.client.receive().expect("receive").data, b"4");
    });
}
