// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every kind of message, in order, between whom it should be, and nothing
//! but what was sent.

use std::thread;

use alpc_tests::pair::{attach, CLIENT_CONTEXT, SERVER_CONTEXT};
use alpc_tests::raw::*;
use alpc_tests::*;

#[test]
fn a_synchronous_request_returns_its_final_reply() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"question");
            assert_eq!(request.kind, ALPC_TYPE_REQUEST);
            assert!(request.open());
            assert_ne!(request.id, 0);
            assert_eq!(request.port_context, SERVER_CONTEXT);
            pair.port.reply(&request, b"answer").expect("reply");
            let reply = client.join().expect("join").expect("request");
            assert_eq!(reply.kind, ALPC_TYPE_REPLY);
            assert!(!reply.open());
            assert_eq!(reply.data, b"answer");
            assert_eq!(reply.id, request.id);
            assert_eq!(reply.port_context, CLIENT_CONTEXT);
            assert_eq!(reply.pid, std::process::id());
        });
        assert_eq!(pair.server.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn the_reply_to_an_asynchronous_request_arrives_in_the_own_queue() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"question").expect("post");
        let request = pair.port.receive().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_REQUEST);
        assert!(request.open());
        assert_eq!(
            (request.id, request.data.as_slice()),
            (id, &b"question"[..])
        );
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
        pair.port.reply(&request, b"answer").expect("reply");
        let reply = pair.client.receive().expect("receive");
        assert_eq!(reply.kind, ALPC_TYPE_REPLY);
        assert_eq!((reply.id, reply.data.as_slice()), (id, &b"answer"[..]));
        assert!(!reply.open());
        // The conversation is over.
        assert_eq!(pair.client.reply(&reply, b"x"), Err(fail::NOT_FOUND));
        assert_eq!(pair.port.reply(&request, b"x"), Err(fail::NOT_FOUND));
    });
}

#[test]
fn a_one_way_message_cannot_be_replied_to() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.one_way(b"by the way").expect("send");
        let message = pair.port.receive().expect("receive");
        assert_eq!(message.kind, ALPC_TYPE_DATAGRAM);
        assert!(!message.open());
        assert_eq!(message.id, 0);
        assert_eq!(message.data, b"by the way");
        assert_eq!(message.port_context, SERVER_CONTEXT);
        assert_eq!(pair.server.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn a_reply_without_release_leaves_the_conversation_with_the_receiver() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"1").expect("post");
        let request = pair.port.receive().expect("receive");
        pair.port.reply_open(&request, b"2").expect("reply");
        let second = pair.client.receive().expect("receive");
        assert_eq!(second.kind, ALPC_TYPE_REPLY);
        assert!(second.open(), "the client owes an answer or a release");
        assert_eq!(second.id, id);
        // And so on, for as long as both like.
        pair.client.reply_open(&second, b"3").expect("reply");
        let third = pair.port.receive().expect("receive");
        assert!(third.open());
        assert_eq!((third.id, third.data.as_slice()), (id, &b"3"[..]));
        pair.port.reply_open(&third, b"4").expect("reply");
        let fourth = pair.client.receive().expect("receive");
        pair.client.release(&fourth).expect("release");
        assert_eq!(pair.client.release(&fourth), Err(fail::NOT_FOUND));
        assert_eq!(pair.client.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn a_reply_goes_through_either_port_of_the_server() {
    isolated(|| {
        let pair = Pair::new();
        for port in [&pair.port, &pair.server] {
            pair.client.post(b"?").expect("post");
            let request = pair.port.receive().expect("receive");
            port.reply(&request, b"!").expect("reply");
            assert_eq!(pair.client.receive().expect("receive").data, b"!");
        }
    });
}

#[test]
fn a_reply_through_another_connection_finds_nothing() {
    isolated(|| {
        let pair = Pair::new();
        let (other_server, other_client) = attach(&pair.port, 2);
        pair.client.post(b"?").expect("post");
        let request = pair.port.receive().expect("receive");
        assert_eq!(other_server.reply(&request, b"x"), Err(fail::NOT_FOUND));
        assert_eq!(other_client.reply(&request, b"x"), Err(fail::NOT_FOUND));
        let stranger = Pair::new();
        assert_eq!(stranger.port.reply(&request, b"x"), Err(fail::NOT_FOUND));
        pair.port.reply(&request, b"!").expect("reply");
        assert_eq!(pair.client.receive().expect("receive").data, b"!");
        assert_eq!(other_client.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn what_the_server_begins_comes_back_to_its_communication_port() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.server.post(b"are you there?").expect("post");
        let request = pair.client.receive().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_REQUEST);
        assert!(request.open());
        assert_eq!((request.id, request.port_context), (id, CLIENT_CONTEXT));
        pair.client.reply(&request, b"yes").expect("reply");
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        let reply = pair.server.receive().expect("receive");
        assert_eq!((reply.kind, reply.id), (ALPC_TYPE_REPLY, id));
        assert_eq!(reply.data, b"yes");
        assert_eq!(reply.port_context, SERVER_CONTEXT);

        thread::scope(|scope| {
            let server = scope.spawn(|| pair.server.request(b"really?"));
            let request = pair.client.receive().expect("receive");
            pair.client.reply(&request, b"really").expect("reply");
            let reply = server.join().expect("join").expect("request");
            assert_eq!(reply.data, b"really");
        });
        pair.server.one_way(b"good").expect("send");
        let message = pair.client.receive().expect("receive");
        assert_eq!(message.kind, ALPC_TYPE_DATAGRAM);
    });
}

#[test]
fn a_server_communication_port_never_yields_requests_of_its_client() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"1").expect("post");
        pair.client.one_way(b"2").expect("send");
        assert_eq!(pair.server.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(pair.port.receive().expect("receive").data, b"1");
        assert_eq!(pair.port.receive().expect("receive").data, b"2");
    });
}

#[test]
fn nothing_new_can_be_sent_through_a_connection_port() {
    isolated(|| {
        let pair = Pair::new();
        refused_with(pair.port.post(b"to whom?"), libc::EINVAL, "asynchronous");
        refused_with(pair.port.one_way(b"to whom?"), libc::EINVAL, "one-way");
        refused_with(pair.port.request(b"to whom?"), libc::EINVAL, "synchronous");
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn messages_of_a_connection_stay_in_order_whatever_their_kind() {
    isolated(|| {
        let pair = Pair::new();
        for number in 0..30_u8 {
            if number % 3 == 0 {
                pair.client.one_way(&[number]).expect("send");
            } else {
                pair.client.post(&[number]).expect("post");
            }
        }
        let mut sequence = 0;
        for number in 0..30_u8 {
            let message = pair.port.receive().expect("receive");
            assert_eq!(message.data, [number]);
            assert!(message.sequence > sequence, "the sequence must grow");
            sequence = message.sequence;
        }
    });
}

#[test]
fn a_synchronous_waiter_gets_its_own_reply_and_nothing_else() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"async").expect("post");
        let other = pair.port.receive().expect("receive");
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"sync");
            pair.server.one_way(b"noise").expect("send");
            pair.port.reply(&other, b"async reply").expect("reply");
            wait::settle();
            assert!(!client.is_finished());
            pair.port.reply(&request, b"sync reply").expect("reply");
            let reply = client.join().expect("join").expect("request");
            assert_eq!(reply.data, b"sync reply");
        });
        assert_eq!(pair.client.receive().expect("receive").data, b"noise");
        assert_eq!(pair.client.receive().expect("receive").data, b"async reply");
    });
}

#[test]
fn each_of_many_threads_gets_the_reply_to_its_own_request() {
    isolated(|| {
        let pair = Pair::new();
        let threads = 8;
        let each = rounds(200);
        thread::scope(|scope| {
            for number in 0..threads {
                let client = &pair.client;
                scope.spawn(move || {
                    for round in 0..each {
                        let question = (number * each + round).to_le_bytes();
                        let reply = client.request(&question).expect("request");
                        assert_eq!(reply.data, question);
                    }
                });
            }
            // Answered in pairs, the later one first, where there are two.
            let mut answered = 0;
            while answered < threads * each {
                let first = pair.port.receive().expect("receive");
                if let Ok(second) = pair.port.receive_now() {
                    pair.port.reply(&second, &second.data).expect("reply");
                    answered += 1;
                }
                pair.server.reply(&first, &first.data).expect("reply");
                answered += 1;
            }
        });
    });
}

#[test]
fn a_server_thread_replies_and_receives_with_one_call() {
    isolated(|| {
        let pair = Pair::new();
        for number in 0..3_u8 {
            pair.client.post(&[number]).expect("post");
        }
        let mut request = pair.port.receive().expect("receive");
        for number in 1..3_u8 {
            request = pair
                .port
                .reply_receive(&request, &[100 + number])
                .expect("loop");
            assert_eq!(request.data, [number]);
        }
        // The reply is committed, whatever becomes of the receive.
        let mut last = Transfer::new().send(b"last").into(&request);
        last = last.flags(ALPC_RELEASE).receive().now();
        assert_eq!(last.run(&pair.port).unwrap_err(), fail::TIMED_OUT_SENT);
        assert_ne!(last.arg.flags & ALPC_SENT, 0);
        for expected in [&[101][..], &[102], b"last"] {
            assert_eq!(pair.client.receive().expect("receive").data, expected);
        }
    });
}

#[test]
fn a_combined_call_whose_send_fails_receives_nothing() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"waiting").expect("post");
        let mut call = Transfer::new().send(b"x").flags(ALPC_RELEASE).receive();
        call.arg.send_id = 0x1234_5678;
        assert_eq!(call.run(&pair.port).unwrap_err(), fail::NOT_FOUND);
        assert_eq!(call.arg.flags & ALPC_SENT, 0);
        assert_eq!((call.arg.id, call.arg.recv_length), (JUNK64, JUNK32));
        assert_eq!(pair.port.receive().expect("receive").data, b"waiting");
    });
}

#[test]
fn connections_are_served_in_turn() {
    isolated(|| {
        let pair = Pair::new();
        let (_s2, second) = attach(&pair.port, 2);
        let (_s3, third) = attach(&pair.port, 3);
        // One floods before the others say a word.
        for _ in 0..20 {
            pair.client.one_way(b"flood").expect("send");
        }
        second.one_way(b"a").expect("send");
        third.one_way(b"b").expect("send");
        let first_three: Vec<_> = (0..4)
            .map(|_| pair.port.receive().expect("receive").data)
            .collect();
        assert!(first_three.contains(&b"a".to_vec()), "{first_three:?}");
        assert!(first_three.contains(&b"b".to_vec()), "{first_three:?}");
        for _ in 0..18 {
            assert_eq!(pair.port.receive().expect("receive").data, b"flood");
        }
    });
}

#[test]
fn a_port_in_arrival_order_serves_messages_as_they_came() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().flags(ALPC_PORT_ARRIVAL_ORDER));
        let (_s2, second) = attach(&pair.port, 2);
        let mut expected = Vec::new();
        for number in 0..12_u8 {
            let client = if number % 4 == 3 {
                &second
            } else {
                &pair.client
            };
            client.one_way(&[number]).expect("send");
            expected.push(vec![number]);
        }
        let received: Vec<_> = (0..12)
            .map(|_| pair.port.receive().expect("receive").data)
            .collect();
        assert_eq!(received, expected);
    });
}

#[test]
fn ids_of_ended_conversations_are_not_used_again() {
    isolated(|| {
        let pair = Pair::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..rounds(2000) {
            let id = pair.client.post(b"").expect("post");
            assert!(seen.insert(id), "id {id:#x} came twice");
            let request = pair.port.receive().expect("receive");
            pair.port.reply(&request, b"").expect("reply");
            pair.client.receive().expect("receive");
        }
    });
}

#[test]
fn every_success_writes_the_reserved_output_as_zero() {
    isolated(|| {
        let pair = Pair::new();
        let run = |mut call: Transfer, port: &Port| {
            assert_eq!(call.arg.reserved1, JUNK32);
            let message = call.run(port).expect("transfer");
            assert_eq!(call.arg.reserved1, 0);
            message
        };
        let send = || Transfer::new().send(b"x");
        run(send().flags(ALPC_RELEASE), &pair.client);
        run(send(), &pair.client);
        run(Transfer::new().receive(), &pair.port);
        let request = run(Transfer::new().receive(), &pair.port);
        let both = send().receive().now().flags(ALPC_RELEASE).into(&request);
        pair.client.one_way(b"next").expect("send");
        run(both, &pair.port);
        run(Transfer::new().receive(), &pair.client);
        std::thread::scope(|scope| {
            let call = send().receive().flags(ALPC_SYNC);
            let client = scope.spawn(|| run(call, &pair.client));
            let request = pair.port.receive().expect("receive");
            pair.port.reply(&request, b"y").expect("reply");
            client.join().expect("join");
        });
        // A failure writes nothing.
        let mut nothing = Transfer::new().receive().now();
        assert_eq!(nothing.run(&pair.port).unwrap_err(), fail::TIMED_OUT);
        assert_eq!(nothing.arg.reserved1, JUNK32);
    });
}
