// SPDX-License-Identifier: MIT OR Apache-2.0

//! How connections and ports end, and what everybody is told of it.

use std::thread;

use alpc_tests::pair::{attach, PORT_CONTEXT, SERVER_CONTEXT};
use alpc_tests::raw::*;
use alpc_tests::*;

fn state(port: &Port) -> u32 {
    port.query_port().expect("query").state
}

/// The next message, which must be the notice that the client has gone.
#[track_caller]
fn expect_closed(port: &Port, context: u64) {
    let notice = port.receive().expect("receive");
    assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
    assert_eq!(notice.port_context, context);
    assert_eq!((notice.id, notice.flags, notice.data.len()), (0, 0, 0));
}

#[test]
fn closing_the_client_port_is_told_to_the_server_once() {
    isolated(|| {
        let pair = Pair::new();
        drop(pair.client);
        expect_closed(&pair.port, SERVER_CONTEXT);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::NO_CLIENTS);
        assert_eq!(state(&pair.server), ALPC_STATE_DISCONNECTED);
        assert_eq!(pair.server.post(b"x"), Err(fail::DISCONNECTED));
        assert_eq!(pair.server.receive().unwrap_err(), fail::DISCONNECTED);
    });
}

#[test]
fn closing_one_of_two_descriptors_ends_nothing() {
    isolated(|| {
        let pair = Pair::new();
        drop(pair.client.duplicate());
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        pair.client.one_way(b"still here").expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"still here");
        drop(pair.port.duplicate());
        drop(pair.server.duplicate());
        pair.client.one_way(b"and here").expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"and here");
    });
}

#[test]
fn a_descriptor_in_another_process_keeps_the_port_open() {
    isolated(|| {
        let pair = Pair::new();
        let peer = Peer::spawn(BOB, |link| {
            let _client = link.take_fd();
            link.sync();
            link.sync();
        });
        peer.put_fd(&pair.client);
        peer.sync();
        drop(pair.client);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        peer.sync();
        peer.wait();
        expect_closed(&pair.port, SERVER_CONTEXT);
    });
}

#[test]
fn the_notice_comes_after_what_the_client_had_sent() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.one_way(b"last words").expect("send");
        drop(pair.client);
        assert_eq!(pair.port.receive().expect("receive").data, b"last words");
        expect_closed(&pair.port, SERVER_CONTEXT);
    });
}

#[test]
fn each_open_conversation_of_a_client_that_goes_is_cancelled() {
    isolated(|| {
        let pair = Pair::new();
        for number in 0..3_u8 {
            pair.client.post(&[number]).expect("post");
        }
        let held: Vec<_> = (0..2)
            .map(|_| pair.port.receive().expect("receive"))
            .collect();
        // The third has not been received: it just disappears.
        drop(pair.client);
        let mut canceled = Vec::new();
        loop {
            let notice = pair.port.receive().expect("receive");
            if notice.kind == ALPC_TYPE_PORT_CLOSED {
                break;
            }
            assert_eq!(notice.kind, ALPC_TYPE_CANCELED);
            assert!(!notice.open());
            canceled.push(notice.id);
        }
        canceled.sort_unstable();
        let mut expected: Vec<_> = held.iter().map(|m| m.id).collect();
        expected.sort_unstable();
        assert_eq!(canceled, expected);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::NO_CLIENTS);
        for request in &held {
            assert!(pair.port.reply(request, b"late").is_err());
        }
        drop(pair.server);
        let query = pair.port.query_port().expect("query");
        assert_eq!((query.connections, query.conversations), (0, 0));
    });
}

#[test]
fn a_reply_to_a_client_that_has_gone_is_cancelled() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"x").expect("post");
        let request = pair.port.receive().expect("receive");
        drop(pair.client);
        assert_eq!(pair.port.reply(&request, b"late"), Err(fail::CANCELED));
        // Trying doesn't consume the notice.
        assert_eq!(
            pair.port.receive().expect("receive").kind,
            ALPC_TYPE_CANCELED
        );
        expect_closed(&pair.port, SERVER_CONTEXT);
        assert_eq!(pair.port.reply(&request, b"late"), Err(fail::NOT_FOUND));
    });
}

#[test]
fn a_client_killed_in_mid_call_is_noticed() {
    isolated(|| {
        let port = Create::named("lifecycle/killed")
            .open()
            .run()
            .expect("create");
        let client = Peer::spawn(BOB, |_| {
            let client = Connect::to("lifecycle/killed").run().expect("connect").port;
            let _ = client.request(b"never answered");
            unreachable!("it is killed while it waits");
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id)
            .context(9)
            .run(&port)
            .expect("accept");
        let request = port.receive().expect("receive");
        client.kill();
        let notice = port.receive().expect("receive");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, request.id));
        assert_eq!(notice.port_context, 9);
        expect_closed(&port, 9);
    });
}

#[test]
fn a_client_killed_before_its_request_is_received_leaves_only_the_notice() {
    isolated(|| {
        let port = Create::named("lifecycle/early")
            .open()
            .run()
            .expect("create");
        let client = Peer::spawn(BOB, |_| {
            let client = Connect::to("lifecycle/early").run().expect("connect").port;
            let _ = client.request(b"never received");
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id)
            .context(9)
            .run(&port)
            .expect("accept");
        eventually(|| port.query_port().expect("query").queued_messages == 1);
        client.kill();
        expect_closed(&port, 9);
    });
}

#[test]
fn a_server_that_dies_ends_every_wait_of_its_clients() {
    isolated(|| {
        let server = Peer::spawn(ALICE, |link| {
            let port = Create::named("lifecycle/dies")
                .open()
                .run()
                .expect("create");
            link.sync();
            let request = port.receive().expect("receive");
            let _server = Accept::new(request.id).run(&port).expect("accept");
            let held = port.receive().expect("receive");
            assert_eq!(held.data, b"held");
            link.sync();
            loop {
                thread::park();
            }
        });
        server.sync();
        let client = Connect::to("lifecycle/dies").run().expect("connect").port;
        thread::scope(|scope| {
            let held = scope.spawn(|| client.request(b"held").map(|_| ()));
            server.sync();
            let queued = scope.spawn(|| client.request(b"queued").map(|_| ()));
            let receiver = scope.spawn(|| client.receive().map(|_| ()));
            wait::settle();
            server.kill();
            assert_eq!(held.join().expect("join"), Err(fail::LOST));
            assert_eq!(queued.join().expect("join"), Err(fail::DISCONNECTED));
            assert_eq!(receiver.join().expect("join"), Err(fail::DISCONNECTED));
        });
        assert_eq!(state(&client), ALPC_STATE_DISCONNECTED);
        assert_eq!(client.post(b"x"), Err(fail::DISCONNECTED));
        // The name is free.
        Create::named("lifecycle/dies").run().expect("create again");
    });
}

#[test]
fn closing_the_connection_port_ends_every_connection() {
    isolated(|| {
        let pair = Pair::new();
        let (other_server, other_client) = attach(&pair.port, 2);
        drop(pair.port);
        for end in [&pair.client, &other_client] {
            assert_eq!(end.post(b"x"), Err(fail::DISCONNECTED));
            assert_eq!(end.receive().unwrap_err(), fail::DISCONNECTED);
        }
        for end in [&pair.server, &other_server] {
            assert_eq!(end.post(b"x"), Err(fail::CLOSED));
        }
    });
}

#[test]
fn what_had_been_replied_can_be_received_after_the_server_has_gone() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"?").expect("post");
        let request = pair.port.receive().expect("receive");
        pair.port.reply(&request, b"!").expect("reply");
        drop(pair.server);
        drop(pair.port);
        assert_eq!(pair.client.receive().expect("receive").data, b"!");
        assert_eq!(pair.client.receive().unwrap_err(), fail::DISCONNECTED);
    });
}

#[test]
fn closing_the_server_communication_port_disconnects_its_client() {
    isolated(|| {
        let pair = Pair::new();
        let (_other_server, other_client) = attach(&pair.port, 2);
        drop(pair.server);
        assert_eq!(pair.client.post(b"x"), Err(fail::DISCONNECTED));
        assert_eq!(state(&pair.client), ALPC_STATE_DISCONNECTED);
        // The server did it itself: nobody need tell it.
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        other_client.one_way(b"not me").expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"not me");
    });
}

#[test]
fn disconnect_ends_every_wait_on_the_port_at_once() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let receivers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| pair.client.receive().map(|_| ())))
                .collect();
            let (held, _request) = pair.requested(scope, b"held");
            wait::settle();
            pair.client.disconnect().expect("disconnect");
            for receiver in receivers {
                assert_eq!(receiver.join().expect("join"), Err(fail::CLOSED));
            }
            let held = held.join().expect("join").map(|_| ());
            assert_eq!(held, Err(fail::CLOSED));
        });
        assert_eq!(state(&pair.client), ALPC_STATE_DISCONNECTED);
        assert_eq!(pair.client.post(b"x"), Err(fail::CLOSED));
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::CLOSED);
    });
}

#[test]
fn disconnect_twice_does_nothing_more() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.disconnect().expect("disconnect");
        let _ = pair.client.disconnect();
        expect_closed(&pair.port, SERVER_CONTEXT);
        drop(pair.client);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::NO_CLIENTS);
    });
}

#[test]
fn disconnect_of_the_server_port_ends_the_waits_of_its_client() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| pair.client.receive().map(|_| ()));
            let (held, _request) = pair.requested(scope, b"held");
            wait::settle();
            pair.server.disconnect().expect("disconnect");
            assert_eq!(receiver.join().expect("join"), Err(fail::DISCONNECTED));
            let held = held.join().expect("join").map(|_| ());
            assert_eq!(held, Err(fail::LOST));
        });
        assert_eq!(pair.server.post(b"x"), Err(fail::CLOSED));
        assert_eq!(pair.client.post(b"x"), Err(fail::DISCONNECTED));
    });
}

#[test]
fn disconnect_of_the_connection_port_ends_the_waits_of_its_receivers() {
    isolated(|| {
        let pair = Pair::with(Create::named("lifecycle/shut"));
        thread::scope(|scope| {
            let receivers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| pair.port.receive().map(|_| ())))
                .collect();
            wait::settle();
            pair.port.disconnect().expect("disconnect");
            for receiver in receivers {
                assert_eq!(receiver.join().expect("join"), Err(fail::CLOSED));
            }
        });
        assert_eq!(pair.client.post(b"x"), Err(fail::DISCONNECTED));
        assert!(Connect::to("lifecycle/shut").run().is_err());
    });
}

#[test]
fn disconnect_drops_what_is_queued_unless_told_not_to() {
    isolated(|| {
        for (flags, arrives) in [(0, false), (ALPC_DISCONNECT_NO_FLUSH, true)] {
            let pair = Pair::new();
            pair.client.one_way(b"to the server").expect("send");
            pair.server.one_way(b"to the client").expect("send");
            pair.client.disconnect_with(flags).expect("disconnect");
            let message = pair.port.receive().expect("receive");
            if arrives {
                assert_eq!(message.data, b"to the server");
                expect_closed(&pair.port, SERVER_CONTEXT);
            } else {
                assert_eq!(message.kind, ALPC_TYPE_PORT_CLOSED);
            }

            let pair = Pair::new();
            pair.server.one_way(b"to the client").expect("send");
            pair.server.disconnect_with(flags).expect("disconnect");
            let result = pair.client.receive().map(|m| m.data);
            if arrives {
                assert_eq!(result, Ok(b"to the client".to_vec()));
                assert_eq!(pair.client.receive().unwrap_err(), fail::DISCONNECTED);
            } else {
                assert_eq!(result, Err(fail::DISCONNECTED));
            }
        }
    });
}

#[test]
fn disconnect_never_keeps_a_request_that_would_need_an_answer() {
    isolated(|| {
        for flags in [0, ALPC_DISCONNECT_NO_FLUSH] {
            let pair = Pair::new();
            pair.client.post(b"unanswerable").expect("post");
            pair.client.disconnect_with(flags).expect("disconnect");
            expect_closed(&pair.port, SERVER_CONTEXT);
        }
    });
}

#[test]
fn disconnect_takes_no_other_flags_and_no_connect_descriptor() {
    isolated(|| {
        let pair = Pair::new();
        for bit in 1..32 {
            let result = pair.client.disconnect_with(1 << bit);
            refused_with(result, libc::EINVAL, &format!("bit {bit}"));
        }
        let mut arg = alpc_disconnect {
            flags: 0,
            reserved: 1,
        };
        let result = ioctl(&pair.client, ALPC_IOCTL_DISCONNECT, &mut arg);
        assert_eq!(result, Err(libc::EINVAL));
        assert_eq!(state(&pair.client), ALPC_STATE_OPEN);
    });
}

#[test]
fn closing_the_descriptor_does_not_end_a_wait_begun_on_it() {
    isolated(|| {
        let pair = Pair::new();
        let fd = std::os::fd::OwnedFd::from(pair.client);
        let raw = std::os::fd::IntoRawFd::into_raw_fd(fd);
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let waiter = scope.spawn(move || {
                tell.send(signals::tid()).expect("send");
                // SAFETY: Open when the call begins; the call holds the file.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(raw) };
                Transfer::new().receive().run(&fd)
            });
            let tid = told.recv().expect("receive");
            wait::eventually(|| inspect::thread_sleeps(tid));
            wait::settle();
            wait::eventually(|| inspect::thread_sleeps(tid));
            // SAFETY: Nobody uses the number any more.
            assert_eq!(unsafe { libc::close(raw) }, 0);
            pair.server.one_way(b"late").expect("send");
            let message = waiter.join().expect("join").expect("receive");
            assert_eq!(message.data, b"late");
        });
        expect_closed(&pair.port, SERVER_CONTEXT);
    });
}

#[test]
fn a_name_is_free_again_after_the_last_close() {
    isolated(|| {
        for _ in 0..rounds(100) {
            let port = Create::named("lifecycle/name").run().expect("create");
            let again = Create::named("lifecycle/name").run().map(|_| ());
            assert_eq!(again, Err(fail::NAME_IN_USE));
            drop(port);
        }
    });
}

#[test]
fn a_connection_that_was_never_answered_ends_without_a_notice() {
    isolated(|| {
        let port = Create::anonymous()
            .context(PORT_CONTEXT)
            .run()
            .expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        for _ in 0..3 {
            let mut connect = Connect::new(None).asynchronous();
            drop(connect.run_on(&through).expect("connect"));
        }
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}
