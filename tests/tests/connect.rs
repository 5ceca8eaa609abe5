// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connecting: request, acceptance, refusal, and every way it can fail.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use alpc_tests::pair::{CLIENT_CONTEXT, PORT_CONTEXT, SERVER_CONTEXT};
use alpc_tests::raw::*;
use alpc_tests::*;

const MS: u64 = 1_000_000;

/// A port and a descriptor to connect to it.
fn listening(mut create: Create) -> (Port, Port) {
    let port = create.run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    (port, through)
}

fn state(port: &Port) -> u32 {
    port.query_port().expect("query").state
}

#[test]
fn a_connection_request_carries_payload_identity_and_port_context() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous().context(PORT_CONTEXT));
        let mut connect = Connect::new(None).data(b"let me in").asynchronous();
        let _client = connect.run_on(&through).expect("connect");
        let request = port.receive().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
        assert!(request.open(), "it must be accepted or refused");
        assert_eq!(request.data, b"let me in");
        assert_eq!(request.port_context, PORT_CONTEXT);
        assert_eq!(request.pid, std::process::id());
        assert_eq!(request.tid, signals::tid() as u32);
        assert_eq!((request.uid, request.gid), (0, 0));
        assert_ne!(request.id, 0);
    });
}

#[test]
fn a_synchronous_connect_returns_the_answer_of_the_server() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        thread::scope(|scope| {
            let client = scope.spawn(|| Connect::new(None).run_on(&through));
            let request = port.receive().expect("receive");
            assert!(!client.is_finished(), "it returned before it was accepted");
            let mut accept = Accept::new(request.id).data(b"welcome");
            let _server = accept.run(&port).expect("accept");
            let connected = client.join().expect("join").expect("connect");
            assert_eq!(connected.data, b"welcome");
            assert_eq!(connected.server_pid, std::process::id());
            assert_eq!((connected.server_uid, connected.server_gid), (0, 0));
            assert_eq!(state(&connected.port), ALPC_STATE_OPEN);
        });
    });
}

#[test]
fn a_synchronous_connect_may_be_refused_with_a_payload() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut connect = Connect::new(None);
                let failure = connect.run_on(&through).expect_err("it was refused");
                (failure, connect)
            });
            let request = port.receive().expect("receive");
            let mut refuse = Accept::new(request.id).data(b"not you");
            refuse.refuse(&port).expect("refuse");
            let (failure, connect) = client.join().expect("join");
            assert_eq!(failure, fail::REFUSED);
            assert_eq!(connect.arg.recv_length, 7);
            assert_eq!(&connect.recv[..7], b"not you");
            assert!(connect.recv[7..].iter().all(|&b| b == JUNK));
            assert_eq!(connect.arg.fd, -1);
        });
        assert_eq!(port.query_port().expect("query").connections, 0);
    });
}

#[test]
fn a_refusal_is_one_even_if_its_payload_does_not_fit() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut connect = Connect::new(None).capacity(6);
                let failure = connect.run_on(&through).expect_err("it was refused");
                (failure, connect)
            });
            let request = port.receive().expect("receive");
            let mut refuse = Accept::new(request.id).data(b"not you");
            refuse.refuse(&port).expect("refuse");
            let (failure, connect) = client.join().expect("join");
            assert_eq!(failure, fail::REFUSED);
            assert_eq!(connect.arg.recv_length, 7, "what it takes");
            assert_eq!(connect.recv, [JUNK; 6]);
            assert_eq!((connect.arg.server_pid, connect.arg.fd), (JUNK32, -1));
        });
    });
}

#[test]
fn a_refusal_that_did_not_fit_can_be_read_by_who_keeps_the_descriptor() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        let mut refuse = Accept::new(request.id).data(b"not you");
        refuse.refuse(&port).expect("refuse");
        for (capacity, expected) in [(6, &[JUNK; 6][..]), (7, b"not you")] {
            let mut resume = Connect::new(None).capacity(capacity);
            resume = resume.flags(ALPC_CONNECT_SENT);
            resume.arg.fd = client.as_fd().as_raw_fd();
            assert_eq!(resume.run_on(&through).unwrap_err(), fail::REFUSED);
            assert_eq!(resume.arg.recv_length, 7);
            assert_eq!(resume.recv, expected);
        }
    });
}

#[test]
fn a_server_that_went_has_said_nothing_of_a_length() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut connect = Connect::new(None).capacity(6);
                let failure = connect.run_on(&through).expect_err("it was refused");
                (failure, connect.arg.recv_length)
            });
            port.receive().expect("receive");
            drop(port);
            let answer = client.join().expect("join");
            assert_eq!(answer, (fail::REFUSED, JUNK32));
        });
    });
}

#[test]
fn an_asynchronous_connect_is_pending_until_its_reply_is_queued() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).context(CLIENT_CONTEXT).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        assert_eq!(state(&client), ALPC_STATE_PENDING);
        assert_eq!(client.post(b"early"), Err(fail::NOT_CONNECTED));
        assert_eq!(client.request(b"early").unwrap_err(), fail::NOT_CONNECTED);
        assert_eq!(client.receive_now().unwrap_err(), fail::TIMED_OUT);

        let request = port.receive().expect("receive");
        let mut accept = Accept::new(request.id).data(b"welcome");
        let _server = accept.run(&port).expect("accept");
        assert_eq!(state(&client), ALPC_STATE_OPEN);
        // Being accepted is enough: the reply need not have been read.
        client.one_way(b"hello").expect("send");
        let reply = client.receive().expect("receive");
        assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
        assert_eq!(reply.data, b"welcome");
        assert_eq!(reply.port_context, CLIENT_CONTEXT);
        assert!(!reply.open(), "nothing is owed for it");
        assert_eq!(reply.pid, std::process::id());
        assert_eq!(port.receive().expect("receive").data, b"hello");
    });
}

#[test]
fn an_asynchronous_connect_learns_of_a_refusal_by_a_message() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        let mut refuse = Accept::new(request.id).data(b"no");
        refuse.refuse(&port).expect("refuse");
        assert_eq!(state(&client), ALPC_STATE_REFUSED);
        assert_eq!(client.post(b"late"), Err(fail::REFUSED));
        let refusal = client.receive().expect("receive");
        assert_eq!(refusal.kind, ALPC_TYPE_CONNECTION_REFUSED);
        assert_eq!(refusal.data, b"no");
        assert!(!refusal.open());
        assert_eq!(client.receive().unwrap_err(), fail::REFUSED);
    });
}

#[test]
fn a_connection_request_is_consumed_once() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).asynchronous();
        let _client = connect.run_on(&through).expect("connect");
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let again = Accept::new(request.id).run(&port).map(|_| ());
        assert_eq!(again, Err(fail::NOT_FOUND));
        let refuse = Accept::new(request.id).refuse(&port);
        assert_eq!(refuse, Err(fail::NOT_FOUND));
    });
}

#[test]
fn a_connection_request_is_consumed_by_accept_and_refuse_only() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        for result in [
            port.reply(&request, b"x"),
            port.reply_open(&request, b"x"),
            port.release(&request),
            port.callback(&request, b"x").map(|_| ()),
            port.answer(&request, b"x").map(|_| ()),
            port.cancel(request.id, 0).map(|_| ()),
        ] {
            assert_eq!(result, Err(fail::WRONG_KIND));
        }
        assert_eq!(state(&client), ALPC_STATE_PENDING);
        Accept::new(request.id).run(&port).expect("accept");
    });
}

#[test]
fn an_answer_that_fails_without_an_outcome_writes_nothing_and_answers_nothing() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        for flags in [0, ALPC_REFUSE] {
            // The payload can't be read.
            let mut accept = Accept::new(request.id);
            accept.arg.flags = flags;
            accept.arg.send_data = memory::unmapped();
            accept.arg.send_length = 1;
            let result = ioctl(&port, ALPC_IOCTL_ACCEPT, &mut accept.arg);
            assert_eq!(result, Err(libc::EFAULT));
            assert_eq!(accept.arg.outcome, JUNK32);
            // The outcome can't be written.
            accept.arg.send_length = 0;
            // SAFETY: Plain numbers, seen as bytes.
            let bytes: [u8; size_of::<alpc_accept>()] = unsafe { std::mem::transmute(accept.arg) };
            let page = memory::Pages::read_only(&bytes);
            // SAFETY: The kernel checks the address.
            let result = unsafe { ioctl_at(port.as_fd(), ALPC_IOCTL_ACCEPT, page.address()) };
            assert_eq!(result, Err(libc::EFAULT));
            assert_eq!(state(&client), ALPC_STATE_PENDING);
        }
        let _server = Accept::new(request.id).run(&port).expect("accept");
        assert_eq!(state(&client), ALPC_STATE_OPEN);
    });
}

#[test]
fn only_a_received_connection_request_can_be_accepted() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        for id in [0, 1, u64::MAX] {
            let result = Accept::new(id).run(&port).map(|_| ());
            assert_eq!(result, Err(fail::NOT_FOUND), "{id:#x}");
        }
        let mut connect = Connect::new(None).asynchronous();
        let _first = connect.run_on(&through).expect("connect");
        let first = port.receive().expect("receive");
        let mut connect = Connect::new(None).asynchronous();
        let _second = connect.run_on(&through).expect("connect");
        // The next id may be guessed, but it isn't the server's turn there.
        for id in first.id + 1..first.id + 64 {
            let failure = Accept::new(id).run(&port).map(|_| ()).unwrap_err();
            let known = [fail::NOT_FOUND, fail::NOT_OWNER].contains(&failure);
            assert!(known, "{id:#x}: {failure:?}");
        }

        let pair = Pair::new();
        pair.client.post(b"a request").expect("post");
        let request = pair.port.receive().expect("receive");
        let result = Accept::new(request.id).run(&pair.port).map(|_| ());
        assert_eq!(result, Err(fail::WRONG_KIND));
        // The request is still there to be answered.
        pair.port.reply(&request, b"reply").expect("reply");
    });
}

#[test]
fn the_context_of_accept_is_bound_before_the_client_can_send() {
    isolated(|| {
        for round in 0..rounds(50) {
            let (port, through) = listening(Create::anonymous());
            thread::scope(|scope| {
                scope.spawn(|| {
                    let client = Connect::new(None).run_on(&through).expect("connect");
                    client.port.one_way(b"first").expect("send");
                });
                let request = port.receive().expect("receive");
                let mut accept = Accept::new(request.id).context(SERVER_CONTEXT + round);
                let _server = accept.run(&port).expect("accept");
                let first = port.receive().expect("receive");
                assert_eq!(first.port_context, SERVER_CONTEXT + round);
            });
        }
    });
}

/// The answer of `length` bytes to a connect with this buffer.
fn answered(
    length: usize,
    edit: impl FnOnce(&mut Connect) + Send,
) -> (Result<(), Failure>, Connect) {
    let (port, through) = listening(Create::anonymous().max(1024));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut connect = Connect::new(None);
            connect.point();
            edit(&mut connect);
            let result = connect.run_as_is(&through).map(|_| ());
            (result, connect)
        });
        let request = port.receive().expect("receive");
        let mut accept = Accept::new(request.id).data(&vec![7; length]);
        let _server = accept.run(&port).expect("accept");
        let (result, connect) = client.join().expect("join");
        // Whichever way it went, the client side is closed by now.
        let notice = port.receive().expect("receive");
        assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
        (result, connect)
    })
}

#[test]
fn an_answer_that_fits_exactly_is_given_whole() {
    isolated(|| {
        let (result, connect) = answered(100, |connect| connect.arg.recv_capacity = 100);
        assert_eq!(result, Ok(()));
        assert_eq!(connect.arg.recv_length, 100);
        assert_eq!(connect.recv[..100], [7; 100]);
    });
}

#[test]
fn an_answer_that_does_not_fit_ends_the_connection_and_says_what_it_needed() {
    isolated(|| {
        for capacity in [0, 1, 99] {
            let (result, connect) = answered(100, |c| c.arg.recv_capacity = capacity);
            assert_eq!(result, Err(fail::BUFFER_TOO_SMALL));
            assert_eq!(connect.arg.recv_length, 100);
            assert!(
                connect.recv.iter().all(|&b| b == JUNK),
                "the buffer was touched"
            );
            assert_eq!(connect.arg.fd, -1);
        }
    });
}

#[test]
fn an_answer_without_a_buffer_is_dropped_but_its_capacity_counts() {
    isolated(|| {
        let (result, connect) = answered(100, |c| {
            c.arg.recv_data = 0;
            c.arg.recv_capacity = 100;
        });
        assert_eq!(result, Ok(()));
        assert_eq!(connect.arg.recv_length, 100);
        let (result, connect) = answered(100, |c| {
            c.arg.recv_data = 0;
            c.arg.recv_capacity = 99;
        });
        assert_eq!(result, Err(fail::BUFFER_TOO_SMALL));
        assert_eq!(connect.arg.recv_length, 100);
    });
}

#[test]
fn an_answer_that_cannot_be_written_ends_the_connection() {
    isolated(|| {
        let (result, connect) = answered(100, |connect| connect.arg.recv_data = memory::unmapped());
        refused_with(result, libc::EFAULT, "unmapped buffer");
        assert_eq!(connect.arg.fd, -1);
    });
}

#[test]
fn an_unknown_name_is_not_found() {
    isolated(|| {
        let port = Create::named("connect/known").run().expect("create");
        for name in [
            "connect/unknown",
            "connect/know",
            "connect/knownn",
            "connect",
        ] {
            let failure = Connect::to(name).run().unwrap_err();
            assert_eq!(failure, fail::NAME_NOT_FOUND, "{name}");
        }
        drop(port);
        let failure = Connect::to("connect/known").run().unwrap_err();
        assert_eq!(failure, fail::NAME_NOT_FOUND, "after the last close");
    });
}

#[test]
fn a_connect_that_times_out_is_withdrawn() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).timeout(20 * MS);
        let failure = connect.run_on(&through).unwrap_err();
        assert_eq!(failure, fail::TIMED_OUT_SENT);
        assert_eq!(connect.arg.fd, -1);
        // Not received, so nobody need know.
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(port.query_port().expect("query").connections, 0);
    });
}

#[test]
fn a_connect_that_times_out_after_it_was_received_cannot_be_accepted() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut connect = Connect::new(None).timeout(100 * MS);
                connect.run_on(&through).map(|_| ())
            });
            let request = port.receive().expect("receive");
            let failure = client.join().expect("join").unwrap_err();
            assert_eq!(failure, fail::TIMED_OUT_SENT);
            let result = Accept::new(request.id).run(&port).map(|_| ());
            assert_eq!(result, Err(fail::CANCELED));
            let notice = port.receive().expect("receive");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, request.id));
            let result = Accept::new(request.id).run(&port).map(|_| ());
            assert_eq!(result, Err(fail::NOT_FOUND));
        });
        assert_eq!(port.query_port().expect("query").connections, 0);
    });
}

#[test]
fn a_server_that_goes_before_it_answers_has_refused() {
    isolated(|| {
        for receive_first in [false, true] {
            let (port, through) = listening(Create::anonymous());
            let mut connect = Connect::new(None).asynchronous();
            let waiting = connect.run_on(&through).expect("connect").port;
            thread::scope(|scope| {
                let client = scope.spawn(|| Connect::new(None).run_on(&through).map(|_| ()));
                if receive_first {
                    port.receive().expect("receive");
                    port.receive().expect("receive");
                } else {
                    eventually(|| port.query_port().expect("query").queued_messages == 2);
                }
                drop(port);
                assert_eq!(client.join().expect("join"), Err(fail::REFUSED));
            });
            assert_eq!(state(&waiting), ALPC_STATE_REFUSED);
            assert_eq!(waiting.post(b"x"), Err(fail::REFUSED));
            // There is nobody to connect to any more.
            let failure = Connect::new(None).run_on(&through).unwrap_err();
            assert_eq!(failure, fail::REFUSED);
        }
    });
}

#[test]
fn a_client_that_goes_before_it_is_answered_cannot_be_accepted() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous());
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        drop(client);
        let result = Accept::new(request.id).run(&port).map(|_| ());
        assert_eq!(result, Err(fail::CANCELED));

        // Not received yet: the request disappears without a trace.
        let mut connect = Connect::new(None).asynchronous();
        drop(connect.run_on(&through).expect("connect"));
        let mut notices = 0;
        while let Ok(message) = port.receive_now() {
            assert_ne!(message.kind, ALPC_TYPE_CONNECTION_REQUEST);
            notices += 1;
        }
        assert!(notices <= 1, "at most the one that was received is told of");
        assert_eq!(port.query_port().expect("query").connections, 0);
    });
}

#[test]
fn a_refused_or_failed_connect_leaves_no_connection_behind() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous().connections(1));
        for _ in 0..5 {
            thread::scope(|scope| {
                let client = scope.spawn(|| Connect::new(None).run_on(&through).map(|_| ()));
                let request = port.receive().expect("receive");
                Accept::new(request.id).refuse(&port).expect("refuse");
                assert_eq!(client.join().expect("join"), Err(fail::REFUSED));
            });
        }
        assert_eq!(port.query_port().expect("query").connections, 0);
    });
}

#[test]
fn a_port_has_no_more_connections_than_it_allows() {
    isolated(|| {
        let (port, through) = listening(Create::anonymous().connections(2));
        let connect = || {
            let mut connect = Connect::new(None).asynchronous();
            connect.run_on(&through).map(|connected| connected.port)
        };
        let first = connect().expect("first");
        let _second = connect().expect("second");
        assert_eq!(connect().map(|_| ()), Err(fail::LIMIT));
        drop(first);
        while port.receive_now().is_ok() {}
        connect().expect("there is room again");
    });
}
