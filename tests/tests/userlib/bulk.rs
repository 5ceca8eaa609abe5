// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes of any length, by all ways and in both directions.

use std::os::fd::AsFd;
use std::thread;

use alpc::bulk::{Caller, Outbox, Received, Receiver, Way, VIEW_MOST};
use alpc::{Client, Flush, HandleKinds, NoticeKind, Options, Outcome, PortBuilder, Server};
use alpc_tests::raw::ViewContainer;
use alpc_tests::{files, isolated, isolated_long, Transfer};

use super::{outcome, pair_of, pair_with_views};

/// The port's largest message.
const MOST: usize = 4096;

fn block(seed: u8) -> Vec<u8> {
    (0..4093_u32).map(|n| (n * 7) as u8 ^ seed).collect()
}

/// Bytes that differ from place to place, and from seed to seed.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let block = block(seed);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let part = block.len().min(length - bytes.len());
        bytes.extend_from_slice(&block[..part]);
    }
    bytes
}

#[track_caller]
fn assert_same(left: &[u8], right: &[u8]) {
    // Of megabytes nobody wants to see what they are.
    assert_eq!(left.len(), right.len());
    assert!(left == right, "{} bytes differ", left.len());
}

/// Whether that is a [`pattern`], without another of hundreds of megabytes.
#[track_caller]
fn assert_pattern(bytes: &[u8], length: usize, seed: u8) {
    let block = block(seed);
    assert_eq!(bytes.len(), length);
    let is_same = |part: &[u8]| *part == block[..part.len()];
    assert!(bytes.chunks(block.len()).all(is_same), "bytes differ");
}

/// More than this is not replied.
const LARGE: usize = 32 << 20;

/// Replies what is asked, or its length if that is too long for a reply.
fn echo(server: &Server) {
    let mut receiver = Receiver::new(server).expect("receiver");
    let mut outbox = Outbox::new(server).expect("outbox");
    loop {
        let received = match receiver.receive() {
            Ok(received) => received,
            Err(error) => return assert_eq!(error.outcome(), Some(Outcome::Closed)),
        };
        match received {
            Received::Request(message, turn) if message.bytes.len() > VIEW_MOST => {
                let failed = outbox.reply(turn, &message.bytes).expect_err("too long");
                assert_eq!(failed.error.outcome(), Some(Outcome::TooLong));
                let turn = failed.turn.expect("nothing was sent");
                let length = message.bytes.len() as u64;
                assert_eq!(message.bytes.way(), Way::Memory);
                assert_pattern(&message.bytes, message.bytes.len(), 1);
                outbox.reply(turn, &length.to_le_bytes()).expect("reply");
            }
            // There and back at once that would be more than a user gets on a small machine.
            Received::Request(message, turn) if message.bytes.len() > LARGE => {
                let length = message.bytes.len() as u64;
                assert_eq!(message.bytes.way(), Way::View);
                assert_pattern(&message.bytes, message.bytes.len(), 1);
                outbox.reply(turn, &length.to_le_bytes()).expect("reply");
            }
            Received::Request(message, turn) => {
                outbox.reply(turn, &message.bytes).expect("reply");
            }
            Received::Other(alpc::Received::Notice(notice)) => {
                assert_eq!(notice.kind(), NoticeKind::PortClosed);
            }
            other => panic!("a request was expected: {other:?}"),
        }
    }
}

fn with_echo(server: &Server, threads: usize, body: impl FnOnce()) {
    thread::scope(|scope| {
        let serving: Vec<_> = (0..threads).map(|_| scope.spawn(|| echo(server))).collect();
        body();
        server.disconnect(Flush::Everything).expect("disconnect");
        for thread in serving {
            thread.join().expect("join");
        }
    });
}

fn round_trip(caller: &mut Caller<'_>, length: usize, seed: u8) -> Way {
    let request = pattern(length, seed);
    let reply = caller.call(&request).expect("call");
    assert_same(&reply, &request);
    reply.way()
}

#[test]
fn every_length_comes_and_goes_as_it_was() {
    isolated_long(3, || {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous().take_memory());
        with_echo(&server, 1, || {
            let mut caller = Caller::new(&client).expect("caller");
            for length in [0, 1, MOST - 1, MOST] {
                assert_eq!(round_trip(&mut caller, length, 1), Way::Inline);
            }
            let more = [MOST + 1, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1];
            for length in more {
                assert_eq!(round_trip(&mut caller, length, 2), Way::View, "{length}");
            }
            assert_eq!(round_trip(&mut caller, LARGE, 3), Way::View);
            for length in [VIEW_MOST - 1, VIEW_MOST, VIEW_MOST + 1, 200 << 20] {
                caller.shrink();
                let reply = caller.call(&pattern(length, 1)).expect("call");
                assert_eq!(*reply, (length as u64).to_le_bytes());
            }
        });
    });
}

#[test]
fn several_threads_do_it_at_once() {
    isolated_long(3, || {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous().take_memory());
        with_echo(&server, 2, || {
            thread::scope(|scope| {
                for seed in 0..3 {
                    let client = client.clone();
                    scope.spawn(move || {
                        let mut caller = Caller::new(&client).expect("caller");
                        for round in 0..20_usize {
                            round_trip(&mut caller, round * 7919, seed);
                        }
                    });
                }
            });
        });
    });
}

/// How many views there are in all sections of this process.
fn views() -> usize {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc/self/fdinfo").expect("fdinfo") {
        let text = std::fs::read_to_string(entry.expect("entry").path()).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("alpc-views:"));
        let count = line.and_then(|line| line.split(',').next());
        sum += count.map_or(0, |count| count.trim().parse().expect("a number"));
    }
    sum
}

#[test]
fn similar_messages_make_no_new_views() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        with_echo(&server, 1, || {
            let mut caller = Caller::new(&client).expect("caller");
            for length in 100_000..100_050 {
                round_trip(&mut caller, length, 1);
                // One may be held over there while the next call begins.
                assert!(views() <= 4, "{} views", views());
            }
            caller.shrink();
        });
        // Those of the server's thread have gone with it.
        assert_eq!(views(), 0);
    });
}

#[test]
fn nothing_of_an_earlier_message_is_shown() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let mut caller = Caller::new(&client).expect("caller");
        for (length, byte) in [(60_000, 0xaa), (5000, 0xbb), (30_000, 0xcc)] {
            caller.send(&vec![byte; length]).expect("send");
            let mut container = ViewContainer::receiving();
            let mut receive = Transfer::new().receive();
            receive.arg.recv_attributes = container.address();
            receive.run(&server).expect("receive");
            let view = container.received().expect("a view");
            let page = alpc_tests::raw::View {
                base: view.base,
                size: view.size.next_multiple_of(4096),
            };
            let seen = page.read(0, page.size as usize);
            let (bytes, rest) = seen.split_at(length);
            assert!(bytes.iter().all(|&seen| seen == byte));
            assert!(rest.iter().all(|&seen| seen == 0));
            let mut release = ViewContainer::releasing(view.base);
            let released = Transfer::new()
                .send(b"")
                .flags(alpc_tests::raw::ALPC_RELEASE)
                .with(&_port, &mut release);
            released.expect("release");
        }
    });
}

#[test]
fn a_server_without_views_reads_memory_and_one_without_either_says_so() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut receiver = Receiver::new(&server).expect("receiver").memory_most(9000);
                for length in [5000, 9000] {
                    let Received::Request(message, turn) = receiver.receive().expect("receive")
                    else {
                        panic!("a request was expected");
                    };
                    assert_eq!(message.bytes.way(), Way::Memory);
                    assert_pattern(&message.bytes, length, 1);
                    let mut outbox = Outbox::new(&server).expect("outbox");
                    let failed = outbox.reply(turn, &message.bytes).expect_err("no views");
                    assert_eq!(failed.error.outcome(), Some(Outcome::NotTaken));
                    let turn = failed.turn.expect("nothing was sent");
                    outbox.reply(turn, b"thanks").expect("reply");
                }
                let Received::Unread(unread, _turn) = receiver.receive().expect("receive") else {
                    panic!("a request that is too long was expected");
                };
                assert_eq!(unread.error.outcome(), Some(Outcome::TooLong));
            });
            let mut caller = Caller::new(&client).expect("caller");
            for length in [5000, 9000] {
                let reply = caller.call(&pattern(length, 1)).expect("call");
                assert_eq!((&*reply, reply.way()), (&b"thanks"[..], Way::Inline));
            }
            let lost = caller.call(&pattern(9001, 1));
            assert_eq!(outcome(lost), Outcome::Lost);
            let one_way = caller.send(&pattern(5000, 1));
            assert_eq!(outcome(one_way), Outcome::NotTaken);
        });
        let (_server, _port, client) = pair_of(PortBuilder::anonymous());
        let mut caller = Caller::new(&client).expect("caller");
        assert_eq!(outcome(caller.call(&[0; MOST + 1])), Outcome::NotTaken);
        assert_eq!(outcome(caller.send(&[0; VIEW_MOST + 1])), Outcome::TooLong);
    });
}

#[test]
fn a_connection_with_shorter_messages_takes_views_earlier() {
    isolated(|| {
        let server = PortBuilder::anonymous().take_views().create();
        let server = server.expect("create");
        let connector = server.connector().expect("connector");
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let connect = alpc::ConnectBuilder::through(&connector).take_views();
                connect.max_message_length(100).connect().expect("connect")
            });
            let mut buffer = [0; 64];
            let alpc::Received::Connection(request) = server.receive(&mut buffer).expect("receive")
            else {
                panic!("a connection request was expected");
            };
            let _port = request.accept().expect("accept");
            let client: Client = client.join().expect("join");
            with_echo(&server, 1, || {
                let mut caller = Caller::new(&client).expect("caller");
                for length in [100, 101, 4096] {
                    round_trip(&mut caller, length, 5);
                }
            });
        });
    });
}

#[test]
fn other_attributes_go_along() {
    isolated(|| {
        let builder = PortBuilder::anonymous().take_handles(HandleKinds::ANY);
        let (server, port, client) = pair_with_views(builder);
        let file = files::unnamed_file();
        let handles = [file.as_fd()];
        let mut caller = Caller::new(&client).expect("caller");
        let options = Options::new().handles(&handles).message_context(99);
        let id = caller.send_request_with(&pattern(70_000, 1), options);
        let id = id.expect("send");
        let mut receiver = Receiver::new(&server).expect("receiver");
        let asking = Options::new().ask_handles();
        let Received::Request(message, turn) = receiver.receive_with(asking).expect("receive")
        else {
            panic!("a request was expected");
        };
        assert_pattern(&message.bytes, 70_000, 1);
        assert_eq!((message.handles.len(), message.port_context), (1, 7));
        assert_eq!(message.sender.pid, std::process::id());
        assert!(files::same(&turn.claim(0).expect("claim"), &file));
        assert_eq!(turn.id().conversation, id);
        let mut outbox = Outbox::new(&server).expect("outbox");
        outbox.reply(turn, &pattern(80_000, 2)).expect("reply");
        let mut replies = Receiver::new(&client).expect("receiver");
        let asking = Options::new().ask_message_context();
        let Received::Reply(message, None) = replies.receive_with(asking).expect("receive") else {
            panic!("a reply was expected");
        };
        assert_pattern(&message.bytes, 80_000, 2);
        assert_eq!(message.message_context, Some(99));
        // The other way round, and without an answer.
        let mut notes = Caller::new(&port).expect("caller");
        notes.send(&pattern(90_000, 3)).expect("send");
        let Received::Datagram(message) = replies.receive().expect("receive") else {
            panic!("a one-way message was expected");
        };
        assert_pattern(&message.bytes.into_vec(), 90_000, 3);
    });
}

#[test]
fn what_its_sender_may_write_is_copied() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(4096).expect("section");
        let mut view = section.view(4096).expect("view");
        view.fill(1);
        let mut container = ViewContainer::lending(view.as_ptr() as u64, 4000, 0);
        let post = Transfer::new().send(b"").with(&client, &mut container);
        post.expect("send");
        let mut receiver = Receiver::new(&server).expect("receiver");
        let Received::Request(message, turn) = receiver.receive().expect("receive") else {
            panic!("a request was expected");
        };
        view.fill(2);
        assert_eq!(*message.bytes, [1; 4000]);
        drop(turn);
    });
}

#[test]
fn what_its_sender_may_write_is_copied_no_further_than_the_receiver_says() {
    isolated(|| {
        let (server, port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(4096).expect("section");
        let view = section.view(4096).expect("view");
        let mut container = ViewContainer::lending(view.as_ptr() as u64, 4000, 0);
        let post = Transfer::new().send(b"").with(&client, &mut container);
        post.expect("send");
        let receiver = Receiver::new(&server).expect("receiver");
        let mut receiver = receiver.memory_most(3999);
        let Received::Unread(unread, turn) = receiver.receive().expect("receive") else {
            panic!("a request without bytes was expected");
        };
        assert_eq!(unread.error.outcome(), Some(Outcome::TooLong));
        assert_eq!(port.query().expect("query").views, 0, "it is released");
        drop(turn);
    });
}
