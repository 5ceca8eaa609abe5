// SPDX-License-Identifier: MIT OR Apache-2.0

//! Servers: their loop, their connections, their errors.

use std::thread;
use std::time::Duration;

use alpc::{
    Acl, Answer, Client, ConnectBuilder, Device, Flush, NoticeKind, Outcome, PortBuilder, Received,
    Request, Role, ServerLoop, State,
};
use alpc_tests::{isolated, wait, Peer, BOB};

use super::{outcome, pair, request};

#[test]
fn a_server_loop_answers_with_the_callers_identity_until_it_is_closed() {
    isolated(|| {
        let server = PortBuilder::new("userlib/serve").create().expect("create");
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                server.serve(|request, reply| {
                    let who = request.sender();
                    reply.extend_from_slice(request.data());
                    reply.extend_from_slice(&who.pid.to_le_bytes());
                })
            });
            let client = Client::connect("userlib/serve").expect("connect");
            let mut buffer = [0; 64];
            for _ in 0..3 {
                let reply = client.call(b"who", &mut buffer).expect("call");
                assert!(reply.is_final());
                let (head, pid) = reply.data().split_at(3);
                assert_eq!(
                    (head, pid),
                    (&b"who"[..], &std::process::id().to_le_bytes()[..])
                );
            }
            server.disconnect(Flush::Everything).expect("disconnect");
            serving.join().expect("join").expect("the loop's end");
            assert!(client.call(b"x", &mut buffer).is_err());
        });
    });
}

#[test]
fn a_server_loop_stops_discards_and_survives_replies_that_are_too_long() {
    isolated(|| {
        let server = PortBuilder::new("userlib/stop").create().expect("create");
        let serving = ServerLoop::new(&server);
        struct Odd;
        impl alpc::Service for Odd {
            fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
                match request.data() {
                    b"discard" => Answer::Discard,
                    b"stop" => Answer::Stop,
                    _ => {
                        reply.resize(4097, 0);
                        Answer::Reply
                    }
                }
            }
        }
        thread::scope(|scope| {
            let thread = scope.spawn(|| serving.run(&mut Odd));
            let client = Client::connect("userlib/stop").expect("connect");
            let mut buffer = [0; 64];
            assert_eq!(outcome(client.call(b"discard", &mut buffer)), Outcome::Lost);
            assert_eq!(outcome(client.call(b"long", &mut buffer)), Outcome::Lost);
            let reply = client.call(b"stop", &mut buffer).expect("call");
            assert_eq!(reply.data(), b"");
            thread.join().expect("join").expect("the loop's end");
            let port = serving.port(1).expect("the connection is kept");
            port.send(b"still here").expect("send");
            let received = client.receive(&mut buffer).expect("receive");
            assert!(matches!(received, Received::Datagram(m) if m.data() == b"still here"));
        });
    });
}

#[test]
fn a_server_loop_survives_clients_that_have_made_no_room_for_its_reply() {
    isolated(|| {
        let server = PortBuilder::new("userlib/no-room")
            .create()
            .expect("create");
        thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(|_, reply| reply.resize(1000, 7)));
            let client = Client::connect("userlib/no-room").expect("connect");
            let mut buffer = [0; 1000];
            let asked = client.send_request(b"?").expect("send");
            // A reply is for whoever waits when it comes.
            wait::poll_wait(&client, libc::POLLIN);
            match client.receive(&mut buffer).expect("receive") {
                Received::Notice(notice) => {
                    assert_eq!(notice.kind(), NoticeKind::LostReply);
                    assert_eq!(notice.conversation(), Some(asked));
                }
                other => panic!("{other:?}"),
            }
            let reply = client.call(b"?", &mut buffer).expect("served still");
            assert_eq!(reply.data(), [7; 1000]);
            server.disconnect(Flush::Everything).expect("disconnect");
            serving.join().expect("join").expect("the loop's end");
        });
    });
}

#[test]
fn what_is_dropped_unanswered_is_settled() {
    isolated(|| {
        let (server, _port, client) = pair();
        let connector = server.connector().expect("connector");
        thread::scope(|scope| {
            let call = scope.spawn(|| outcome(client.call(b"x", &mut [0; 64])));
            drop(request(&server, &mut [0; 64]));
            assert_eq!(call.join().expect("join"), Outcome::Lost);
            let connect = scope.spawn(|| outcome(connector.connect()));
            drop(server.receive(&mut [0; 64]).expect("receive"));
            assert_eq!(connect.join().expect("join"), Outcome::Refused);
        });
        assert_eq!(server.query().expect("query").conversations, 0);
    });
}

#[test]
fn a_request_is_answered_in_one_word() {
    isolated(|| {
        let (server, _port, client) = pair();
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let mut buffer = [0; 64];
                let reply = client.call(b"x", &mut buffer).expect("call");
                assert!(reply.is_final());
                assert_eq!(reply.data(), b"at once");
            });
            let mut buffer = [0; 64];
            let request = request(&server, &mut buffer);
            request.reply(b"at once").expect("reply");
            call.join().expect("join");
        });
    });
}

#[test]
fn a_refusal_brings_its_payload() {
    isolated(|| {
        let server = PortBuilder::anonymous().create().expect("create");
        let connector = server.connector().expect("connector");
        thread::scope(|scope| {
            let connect = scope.spawn(|| {
                let mut answer = [0; 64];
                let result = ConnectBuilder::through(&connector)
                    .payload(b"please")
                    .connect_with(&mut answer);
                let error = result.expect_err("it was refused");
                assert_eq!(error.outcome(), Some(Outcome::Refused));
                answer[..error.length()].to_vec()
            });
            let mut buffer = [0; 64];
            let Received::Connection(request) = server.receive(&mut buffer).expect("receive")
            else {
                panic!("a connection request was expected");
            };
            assert_eq!(request.data(), b"please");
            request.refuse(b"not you").expect("refuse");
            assert_eq!(connect.join().expect("join"), b"not you");
        });
    });
}

#[test]
fn a_connection_begun_without_waiting_is_answered_in_the_queue() {
    isolated(|| {
        let server = PortBuilder::anonymous().create().expect("create");
        let connector = server.connector().expect("connector");
        let client = ConnectBuilder::through(&connector)
            .options(Duration::from_secs(1))
            .start()
            .expect("start");
        assert_eq!(client.query().expect("query").state, State::Pending);
        assert_eq!(outcome(client.send(b"early")), Outcome::NotConnected);
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let accept = alpc::Accept::new().payload(b"welcome");
        let _port = request.accept_with(accept).expect("accept");
        match client.receive(&mut buffer).expect("receive") {
            Received::Accepted(message) => assert_eq!(message.data(), b"welcome"),
            other => panic!("{other:?}"),
        }
        let refused = ConnectBuilder::through(&connector).start().expect("start");
        drop(server.receive(&mut buffer).expect("receive"));
        let answer = refused.receive(&mut buffer).expect("receive");
        assert!(matches!(answer, Received::Refused(_)));
    });
}

#[test]
fn errors_say_what_to_do_and_queries_what_is() {
    isolated(|| {
        let limits = Device::open().expect("open").query().expect("query");
        assert_ne!(limits.queue_messages, 0);
        let error = Client::connect("userlib/nobody").expect_err("no such port");
        assert_eq!(error.outcome(), Some(Outcome::NameNotFound));
        assert!(
            error.to_string().contains("no port has that name"),
            "{error}"
        );
        Peer::spawn(BOB, |_| {
            let reserved = PortBuilder::new("system/x").create().expect_err("reserved");
            assert!(reserved.to_string().contains("reserved"), "{reserved}");
        })
        .wait();
        let nobody = Acl::new();
        let server = PortBuilder::new("userlib/empty")
            .acl(&nobody)
            .create()
            .expect("create");
        let info = server.query().expect("query");
        assert_eq!((info.role, info.state), (Role::Connection, State::Open));
        let error = Client::connect("userlib/empty").expect_err("an empty list");
        assert_eq!(error.outcome(), Some(Outcome::AccessDenied));
        assert_eq!(
            std::io::Error::from(error).kind(),
            std::io::ErrorKind::PermissionDenied
        );
        let error = ConnectBuilder::new("userlib/empty")
            .require_uid(4711)
            .connect();
        assert_eq!(outcome(error), Outcome::ServerMismatch);
    });
}

#[test]
fn a_service_without_a_name_ends_with_its_last_client() {
    isolated(|| {
        let server = PortBuilder::anonymous().create().expect("create");
        let serving = ServerLoop::new(&server);
        struct Echo;
        impl alpc::Service for Echo {
            fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
                reply.extend_from_slice(request.data());
                Answer::Reply
            }
        }
        for _ in 0..2 {
            let connector = server.connector().expect("connector");
            thread::scope(|scope| {
                let threads: Vec<_> = (0..2)
                    .map(|_| scope.spawn(|| serving.run(&mut Echo)))
                    .collect();
                let clients = [0; 3].map(|_| connector.connect().expect("connect"));
                drop(connector);
                for client in clients {
                    assert!(!threads.iter().any(thread::ScopedJoinHandle::is_finished));
                    let mut buffer = [0; 8];
                    let reply = client.call(b"here", &mut buffer).expect("call");
                    assert_eq!(reply.data(), b"here");
                }
                for thread in threads {
                    thread.join().expect("join").expect("the loop's end");
                }
            });
            let error = server.receive(&mut [0; 64]).expect_err("nobody is left");
            assert_eq!(error.outcome(), Some(Outcome::NoClients));
            assert!(!error.is_gone(), "the port goes on");
        }
    });
}

#[test]
fn a_connector_that_is_kept_keeps_a_service_going() {
    isolated(|| {
        let server = PortBuilder::anonymous().create().expect("create");
        let connector = server.connector().expect("connector");
        thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(|_, _| {}));
            for _ in 0..5 {
                let client = connector.connect().expect("connect");
                client.call(b"", &mut [0; 8]).expect("call");
            }
            assert!(!serving.is_finished());
            drop(connector);
            serving.join().expect("join").expect("the loop's end");
        });
    });
}
