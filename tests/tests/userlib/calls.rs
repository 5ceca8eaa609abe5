// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a call needs, and what it leaves behind.

use std::thread;

use alpc::{Client, Options, Outcome, PortBuilder, Server};
use alpc_tests::isolated;

use super::{outcome, pair, pair_of, request};

/// Conversations that are open, and messages that wait for this client.
fn left(client: &Client) -> (u32, u32) {
    let port = client.query().expect("query");
    (port.conversations, port.queued_messages)
}

/// Answers so many requests, each with `length` bytes.
fn answer(server: &Server, requests: usize, length: usize) {
    for _ in 0..requests {
        let turn = request(server, &mut [0; 64]).into_turn();
        turn.reply(&vec![9; length]).expect("reply");
    }
}

#[test]
fn calls_with_too_small_a_buffer_leave_nothing_behind() {
    const CALLS: usize = 1500;
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            scope.spawn(|| answer(&server, CALLS + 2, 100));
            let mut flat = None;
            for _ in 0..CALLS {
                let error = client.call(b"?", &mut [0; 10]).expect_err("too small");
                assert_eq!(error.outcome(), Some(Outcome::BufferTooSmall));
                assert_eq!((error.length(), error.was_sent()), (100, true));
                // There is nothing to go on with.
                assert_eq!(error.conversation(), None);
                let text = error.to_string();
                assert!(text.contains("has had its effect"), "{text}");
                assert!(text.contains("100 bytes"), "{text}");
                assert_eq!(*flat.get_or_insert(left(&client)), left(&client));
            }
            let mut buffer = [0; 100];
            assert_eq!(
                client.call(b"?", &mut buffer).expect("call").data(),
                [9; 100]
            );
            let mut vector = Vec::new();
            assert_eq!(
                client.call(b"?", &mut vector).expect("call").data(),
                [9; 100]
            );
        });
        assert_eq!(left(&client), (0, 0));
    });
}

#[test]
fn a_vector_has_room_for_every_reply_of_its_connection() {
    isolated(|| {
        for most in [256, 4096, 65536] {
            let (server, _port, client) =
                pair_of(PortBuilder::anonymous().max_message_length(most));
            let lengths = [0, 1, most as usize, 7, most as usize - 1];
            thread::scope(|scope| {
                scope.spawn(|| lengths.map(|length| answer(&server, 1, length)));
                let mut buffer = vec![1, 2, 3];
                let mut place = None;
                for length in lengths {
                    let reply = client.call_vec(b"?", &mut buffer).expect("call");
                    assert_eq!(reply.data(), vec![9; length]);
                    drop(reply);
                    assert_eq!(buffer, vec![9; length]);
                    // It is made large enough once.
                    let now = (buffer.as_ptr(), buffer.capacity());
                    assert_eq!(*place.get_or_insert(now), now);
                }
                drop(server.clone());
            });
            client.clone().close().expect("close");
            let mut buffer = vec![1, 2, 3];
            assert_eq!(outcome(client.call_vec(b"?", &mut buffer)), Outcome::Closed);
            assert!(buffer.is_empty());
        }
    });
}

#[test]
fn an_open_reply_and_a_callback_that_dont_fit_give_the_conversation_up() {
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            let calls = scope.spawn(|| [(); 2].map(|()| client.call(b"?", &mut [0; 10]).map(drop)));
            let turn = request(&server, &mut [0; 64]).into_turn();
            turn.reply_open(&[9; 100], Options::new()).expect("reply");
            let mut turn = request(&server, &mut [0; 64]).into_turn();
            assert_eq!(outcome(turn.call(&[9; 100], &mut [0; 64])), Outcome::Lost);
            let [open, callback] = calls.join().expect("join");
            let open = open.expect_err("too small");
            assert_eq!(
                (open.outcome(), open.length()),
                (Some(Outcome::BufferTooSmall), 100)
            );
            assert_eq!(outcome(callback), Outcome::BufferTooSmall);
        });
        assert_eq!(left(&client), (0, 0));
    });
}
