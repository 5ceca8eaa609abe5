// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whose turn it is, and what becomes of it.

use std::thread;

use alpc::{
    ConversationId, Exchange, NoticeKind, Options, Outcome, PortBuilder, Received, TurnError,
    TurnId,
};
use alpc_tests::{isolated, Peer, ROOT};

use super::{outcome, pair, pair_of, request};

#[test]
fn a_vector_grows_to_the_reply_and_a_slice_says_how_much_it_needs() {
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 {
                    let turn = request(&server, &mut [0; 64]).into_turn();
                    turn.reply(&[9; 60_000]).expect("reply");
                }
            });
            let mut vector = Vec::new();
            let reply = client.call(b"x", &mut vector).expect("call");
            assert_eq!(reply.data(), [9; 60_000]);
            drop(reply);
            assert_eq!(vector.len(), 60_000);

            let error = client
                .call_with(b"x", &mut [0; 10], Options::new())
                .expect_err("too small");
            assert_eq!(error.outcome(), Some(Outcome::BufferTooSmall));
            assert_eq!((error.length(), error.was_sent()), (60_000, true));
            let id = error.conversation().expect("a conversation");
            let resumed = client.resume(id, &mut vector, Options::new());
            let Exchange::Reply(reply) = resumed.expect("resume") else {
                panic!("a reply was expected");
            };
            assert_eq!(reply.data().len(), 60_000);
        });
    });
}

#[test]
fn a_reply_that_is_too_long_gives_the_turn_back() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous());
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let mut buffer = [0; 64];
                client.call(b"x", &mut buffer).expect("call").data().len()
            });
            let turn = request(&server, &mut [0; 64]).into_turn();
            let TurnError { error, turn } = turn.reply(&[0; 4097]).expect_err("too long");
            assert_eq!(error.outcome(), Some(Outcome::TooLong));
            let turn = turn.expect("the turn is still this side's");
            turn.reply(b"short").expect("reply");
            assert_eq!(call.join().expect("join"), 5);
        });
    });
}

#[test]
fn a_reply_that_nobody_waits_for_has_the_room_that_was_asked_for() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous().told_bytes(100_000));
        let options = Options::new().reply_bytes(2000);
        let mut buffer = vec![0; 4096];
        for (length, fits) in [(2000, true), (2001, false), (1, true)] {
            let id = client.send_request_with(b"?", options).expect("send");
            let turn = request(&server, &mut [0; 64]).into_turn();
            let replied = turn.reply(&vec![7; length]);
            let received = client.receive(&mut buffer[..]).expect("receive");
            match (replied, received) {
                (Ok(()), Received::Reply(reply)) => {
                    assert_eq!((reply.data().len(), fits), (length, true));
                }
                (Err(TurnError { error, turn }), Received::Notice(notice)) => {
                    assert_eq!(error.outcome(), Some(Outcome::TooLongForReply));
                    assert!(turn.is_none() && !fits, "the conversation is over");
                    let told = (notice.kind(), notice.conversation());
                    assert_eq!(told, (NoticeKind::LostReply, Some(id)));
                }
                (replied, received) => panic!("{replied:?}, {received:?}"),
            }
        }
        let refused = client.call_with(b"?", &mut buffer[..], options);
        assert_eq!(refused.expect_err("it waits").errno(), libc::EINVAL);
    });
}

#[test]
fn callbacks_nest_both_ways() {
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let mut buffer = [0; 64];
                let handler = |callback: &mut alpc::Callback<'_, '_>, answer: &mut Vec<u8>| {
                    assert_eq!(callback.data(), b"why?");
                    let mut more = [0; 64];
                    let back = callback.call(b"why not?", &mut more, Options::new());
                    assert_eq!(back.expect("nested call").data(), b"hm");
                    answer.extend_from_slice(b"because");
                };
                let reply =
                    client.call_with_callbacks(b"do it", &mut buffer, Options::new(), handler);
                reply.expect("call").data().to_vec()
            });
            let mut buffer = [0; 64];
            let mut turn = request(&server, &mut buffer).into_turn();
            let answer = turn.call_with_callbacks(
                b"why?",
                &mut buffer,
                Options::new(),
                |callback, answer| {
                    assert_eq!(callback.data(), b"why not?");
                    answer.extend_from_slice(b"hm");
                },
            );
            assert_eq!(answer.expect("callback").data(), b"because");
            turn.reply(b"done").expect("reply");
            assert_eq!(call.join().expect("join"), b"done");
        });
    });
}

#[test]
fn callbacks_one_by_one_without_a_handler() {
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let mut buffer = [0; 64];
                let mut turn = request(&server, &mut buffer).into_turn();
                for number in 0..3 {
                    let answer = turn.call(&[number], &mut buffer).expect("callback");
                    assert_eq!(answer.data(), [number + 100]);
                }
                turn.reply(b"done").expect("reply");
                // The one that nobody expects.
                let mut turn = request(&server, &mut buffer).into_turn();
                outcome(turn.call(b"?", &mut buffer))
            });
            let mut buffer = [0; 64];
            let mut exchange = client
                .exchange(b"go", &mut buffer, Options::new())
                .expect("exchange");
            let mut callbacks = 0;
            loop {
                exchange = match exchange {
                    Exchange::Callback(callback) => {
                        callbacks += 1;
                        let (message, turn) = callback.split();
                        let answer = [message.data()[0] + 100];
                        turn.answer(&answer, &mut buffer, Options::new())
                            .expect("answer")
                    }
                    Exchange::Reply(reply) => {
                        assert_eq!(reply.data(), b"done");
                        break;
                    }
                };
            }
            assert_eq!(callbacks, 3);
            let error = client.call(b"go", &mut buffer).expect_err("a callback");
            assert_eq!(error.outcome(), Some(Outcome::WrongKind));
            assert!(error.was_sent(), "the server has the request");
            assert_eq!(serving.join().expect("join"), Outcome::Lost);
        });
        assert_eq!(client.query().expect("query").conversations, 0);
    });
}

#[test]
fn requests_without_waiting_are_told_apart_by_conversation_and_context() {
    isolated(|| {
        let (server, _port, client) = pair();
        let options = Options::new().message_context(0xabc);
        let first = client.send_request_with(b"1", options).expect("send");
        let mut buffer = [0; 64];
        let (message, turn) = request(&server, &mut buffer).split();
        assert_eq!(message.conversation(), Some(first));
        assert_eq!((message.data(), message.port_context()), (&b"1"[..], 7));
        turn.reply(b"one").expect("reply");
        let (second, received) = client
            .send_request_and_receive(b"2", &mut buffer, Options::new().ask_message_context())
            .expect("send and receive");
        assert_ne!(first, second);
        let Received::Reply(reply) = received else {
            panic!("{received:?}");
        };
        assert_eq!(reply.conversation(), Some(first));
        assert_eq!(reply.message_context(), Some(0xabc));
        assert_eq!(reply.data(), b"one");
        drop(reply);
        let (message, turn) = request(&server, &mut buffer).split();
        assert_eq!(message.conversation(), Some(second));
        // Kept as data, and answered from the other port.
        let id = turn.into_id();
        _port.turn(id).reply(b"two").expect("reply");
        assert!(client.try_receive(&mut buffer).expect("receive").is_some());
        assert!(client.try_receive(&mut buffer).expect("receive").is_none());
    });
}

#[test]
fn an_open_reply_passes_the_turn_and_a_server_may_begin() {
    isolated(|| {
        let (server, port, client) = pair();
        let mut buffer = [0; 64];
        client.send_request(b"1").expect("send");
        let turn = request(&server, &mut buffer).into_turn();
        turn.reply_open(b"2", Options::new()).expect("reply");
        let Received::Reply(reply) = client.receive(&mut buffer).expect("receive") else {
            panic!("a reply was expected");
        };
        assert!(!reply.is_final());
        let (message, turn) = reply.split();
        assert_eq!(message.data(), b"2");
        turn.expect("the client's turn").reply(b"3").expect("reply");
        let last = server.receive(&mut buffer).expect("receive");
        assert!(matches!(last, Received::Reply(reply) if reply.is_final()));

        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let mut buffer = [0; 64];
                let Received::Request(request) = client.receive(&mut buffer).expect("receive")
                else {
                    panic!("a request was expected");
                };
                request.into_turn().reply(b"yes").expect("reply");
            });
            let reply = port.call(b"are you there?", &mut buffer).expect("call");
            assert_eq!(reply.data(), b"yes");
            serving.join().expect("join");
        });
    });
}

#[test]
fn a_process_that_adopts_a_turn_answers_after_its_receivers_end() {
    isolated(|| {
        let (server, _port, client) = pair();
        let heir = Peer::fork(ROOT, |link| {
            let turn = server.turn(TurnId {
                conversation: ConversationId::from_raw(link.take()),
                callback_id: 0,
            });
            turn.adopt().expect("adopt");
            link.sync();
            link.take();
            turn.reply(b"from the heir").expect("reply");
        });
        let first = Peer::fork(ROOT, |link| {
            let turn = request(&server, &mut [0; 64]).into_turn();
            link.put(turn.into_id().conversation.to_raw());
            link.take();
        });
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let mut buffer = [0; 64];
                client
                    .call(b"x", &mut buffer)
                    .map(|reply| reply.data().to_vec())
            });
            heir.put(first.take());
            heir.sync();
            first.kill();
            heir.put(0);
            let reply = call.join().expect("join").expect("reply");
            assert_eq!(reply, b"from the heir");
        });
        heir.wait();
    });
}

#[test]
fn a_turn_ends_with_its_thread_where_that_is_asked_for() {
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 64];
                let options = Options::new().ending_with_thread();
                match server.receive_with(&mut buffer, options).expect("receive") {
                    Received::Request(request) => {
                        let _ = request.into_turn().into_id();
                    }
                    other => panic!("{other:?}"),
                }
            });
            let error = client.call(b"x", &mut [0; 64]).expect_err("nobody answers");
            assert_eq!(error.outcome(), Some(Outcome::Lost));
            // Nor what has been taken over.
            scope.spawn(|| {
                let turn = request(&server, &mut [0; 64]).into_turn();
                turn.adopt_with(Options::new().ending_with_thread())
                    .expect("adopt");
                let _ = turn.into_id();
            });
            let error = client.call(b"x", &mut [0; 64]).expect_err("nobody answers");
            assert_eq!(error.outcome(), Some(Outcome::Lost));
        });
    });
}
