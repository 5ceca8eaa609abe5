// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a newcomer writes in the first hour, from the documents alone: a service with users of its
//! own, an upload, threads whose clients are killed, an event loop, and a pair of programs in C.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use alpc::bulk::{Caller, Outbox, Received as Bulk, Receiver};
use alpc::{
    Accept, Acl, Admission, Answer, Client, ConnectBuilder, ConnectionRequest, NoticeKind, Options,
    Outcome, PortBuilder, Received, Request, ServerLoop, ServerPort, Service, Turn, Who,
};
use alpc_tests::{isolated, shared::Shared, wait, Peer, User, ALICE, BOB, CAROL, MALLORY, ROOT};

/// What a client's call gives, as text.
#[track_caller]
fn call(client: &Client, request: &str) -> String {
    let mut buffer = Vec::new();
    let reply = client.call_vec(request.as_bytes(), &mut buffer);
    String::from_utf8_lossy(reply.expect(request).data()).into_owned()
}

#[derive(Default)]
struct Store(HashMap<String, String>);

impl Service for Store {
    fn connection(
        &mut self,
        request: &ConnectionRequest<'_, '_>,
        _context: u64,
        answer: &mut Vec<u8>,
    ) -> Admission {
        if request.sender().uid == MALLORY.uid {
            answer.extend_from_slice(b"not you");
            return Admission::Refuse;
        }
        answer.extend_from_slice(b"version 1");
        Admission::Accept
    }

    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        let text = String::from_utf8_lossy(request.data());
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        let answer = match words[..] {
            ["put", ..] if request.sender().uid != ALICE.uid => "may not",
            ["put", key, value] => {
                self.0.insert(key.into(), value.into());
                "done"
            }
            ["get", key] => self.0.get(key).map_or("no key", |value| value),
            ["del", key] => self.0.remove(key).map_or("no key", |_| "done"),
            ["stop"] => return Answer::Stop,
            _ => "what?",
        };
        reply.extend_from_slice(answer.as_bytes());
        Answer::Reply
    }
}

#[test]
fn a_store_serves_whom_it_admits_and_tells_others_why_not() {
    const NAME: &str = "first/store";
    isolated(|| {
        let server = Peer::spawn(ROOT, |link| {
            let acl = Acl::new().deny(Who::User(CAROL.uid)).allow(Who::Everyone);
            let server = PortBuilder::new(NAME).acl(&acl).create().expect("create");
            link.sync();
            let serving = ServerLoop::new(&server);
            serving.run(&mut Store::default()).expect("the loop's end");
        });
        server.sync();
        let as_user = |user: User, calls: &'static [(&str, &str)]| {
            Peer::spawn(user, |_| {
                let mut answer = [0; 64];
                let builder = ConnectBuilder::new(NAME).require_uid(ROOT.uid);
                let connected = builder.connect_with(&mut answer).expect("connect");
                assert_eq!(&answer[..connected.length], b"version 1");
                for (request, reply) in calls {
                    assert_eq!(call(&connected.client, request), *reply);
                }
            })
            .wait();
        };
        as_user(
            ALICE,
            &[
                ("get a", "no key"),
                ("put a one two", "done"),
                ("get a", "one two"),
                ("sing", "what?"),
            ],
        );
        as_user(BOB, &[("get a", "one two"), ("put a three", "may not")]);
        as_user(BOB, &[("del a", "done"), ("del a", "no key")]);
        Peer::spawn(CAROL, |_| {
            let error = Client::connect(NAME).expect_err("the list denies");
            assert_eq!(error.outcome(), Some(Outcome::AccessDenied));
        })
        .wait();
        Peer::spawn(MALLORY, |_| {
            let mut answer = [0; 64];
            let connected = ConnectBuilder::new(NAME).connect_with(&mut answer);
            let error = connected.expect_err("the service refuses");
            assert_eq!(error.outcome(), Some(Outcome::Refused));
            assert_eq!(&answer[..error.length()], b"not you");
        })
        .wait();
        as_user(ALICE, &[("stop", "")]);
        server.wait();
    });
}

/// How many bytes there are, their sum, and how they came.
fn receipt(bytes: &[u8], way: &str) -> String {
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    format!("{} bytes by {way}, {sum}", bytes.len())
}

#[test]
fn ten_mebibytes_arrive_by_bulk_and_by_a_view() {
    const NAME: &str = "first/upload";
    const SIZE: usize = 10 << 20;
    isolated(|| {
        let server = Peer::spawn(ALICE, |link| {
            let everyone = Acl::everyone();
            let builder = PortBuilder::new(NAME).acl(&everyone).take_views();
            let server = builder.take_memory().create().expect("create");
            link.sync();
            let mut receiver = Receiver::new(&server).expect("receiver");
            let mut outbox = Outbox::new(&server).expect("outbox");
            let mut client = None;
            loop {
                match receiver.receive().expect("receive") {
                    Bulk::Request(message, turn) => {
                        let way = format!("{:?}", message.bytes.way());
                        let text = receipt(&message.bytes, &way);
                        drop(message);
                        outbox.reply(turn, text.as_bytes()).expect("reply");
                    }
                    Bulk::Other(Received::Connection(request)) => {
                        client = Some(request.accept().expect("accept"));
                    }
                    Bulk::Other(Received::Notice(_)) => break,
                    other => panic!("{other:?}"),
                }
            }
            drop(client);
        });
        server.sync();
        Peer::spawn(BOB, |_| {
            let data: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
            let expected = receipt(&data, "View");
            let client = Client::connect(NAME).expect("connect");
            let reply = Caller::new(&client).expect("caller").call(&data);
            assert_eq!(&reply.expect("call")[..], expected.as_bytes());

            let section = client.section(SIZE).expect("section");
            let mut view = section.view(SIZE).expect("view");
            view.copy_from_slice(&data);
            let lent = view.lend();
            let (mut buffer, options) = ([0; 64], Options::new().lend(&lent));
            let reply = client.call_with(b"a file", &mut buffer, options);
            assert_eq!(reply.expect("call").data(), expected.as_bytes());
            let mut view = lent.reclaim().expect("released before the reply");
            view.fill(0);
        })
        .wait();
        server.wait();
    });
}

/// Keeps its thread for `slow` until somebody says that it may go on.
#[derive(Clone)]
struct Echo<'a> {
    slow: &'a AtomicU64,
    go_on: &'a AtomicU64,
}

impl Service for Echo<'_> {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        match request.data() {
            b"slow" => {
                self.slow.fetch_add(1, SeqCst);
                wait::eventually(|| self.go_on.load(SeqCst) == 1);
            }
            b"stop" => return Answer::Stop,
            _ => {}
        }
        reply.extend_from_slice(request.data());
        Answer::Reply
    }
}

#[test]
fn four_threads_serve_on_when_a_client_is_killed_in_mid_call() {
    const NAME: &str = "first/four";
    isolated(|| {
        let shared = Shared::new();
        let (slow, go_on) = (&shared[0], &shared[1]);
        let server = Peer::spawn(ROOT, |link| {
            let everyone = Acl::everyone();
            let server = PortBuilder::new(NAME).acl(&everyone).create();
            let server = server.expect("create");
            link.sync();
            let serving = ServerLoop::new(&server);
            let ended = serving.run_threads(4, || Echo { slow, go_on });
            ended.expect("the loop's end");
        });
        server.sync();
        let victim = Peer::spawn(ALICE, |_| {
            call(&Client::connect(NAME).expect("connect"), "slow");
        });
        let others = [BOB, CAROL, ROOT].map(|user| {
            Peer::spawn(user, |link| {
                let client = Client::connect(NAME).expect("connect");
                for round in 0..200 {
                    assert_eq!(call(&client, &round.to_string()), round.to_string());
                    if round == 100 {
                        link.sync();
                    }
                }
            })
        });
        wait::eventually(|| slow.load(SeqCst) == 1);
        victim.kill();
        for other in &others {
            other.sync();
        }
        for other in others {
            other.wait();
        }
        // Its thread finds nobody to answer, and serves on.
        go_on.store(1, SeqCst);
        let client = Client::connect(NAME).expect("connect");
        assert_eq!(call(&client, "still there"), "still there");
        assert_eq!(call(&client, "stop"), "");
        server.wait();
    });
}

/// An event loop of one thread: `wait` is answered when somebody says `go`.
fn serve_events(name: &str, ready: impl FnOnce()) {
    let everyone = Acl::everyone();
    let server = PortBuilder::new(name).acl(&everyone).create();
    let server = server.expect("create");
    // SAFETY: No memory is passed.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    // SAFETY: The event is valid, and both descriptors are open.
    let added =
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, server.as_raw_fd(), &mut event) };
    assert_eq!(added, 0);
    ready();
    let mut clients: HashMap<u64, ServerPort> = HashMap::new();
    let mut waiting: Vec<Turn<'_>> = Vec::new();
    let mut next = 0;
    let mut buffer = [0; 4096];
    loop {
        // SAFETY: There is room for one event.
        unsafe { libc::epoll_wait(epoll, &mut event, 1, -1) };
        while let Some(received) = server.try_receive(&mut buffer).expect("receive") {
            match received {
                Received::Connection(request) => {
                    next += 1;
                    if let Ok(port) = request.accept_with(Accept::new().context(next)) {
                        clients.insert(next, port);
                    }
                }
                Received::Request(request) => match request.data() {
                    b"wait" => waiting.push(request.into_turn()),
                    b"waiting?" => {
                        let count = waiting.len().to_string();
                        answer(request.into_turn(), count.as_bytes());
                    }
                    b"go" => {
                        for turn in waiting.drain(..) {
                            answer(turn, b"gone");
                        }
                        answer(request.into_turn(), b"done");
                    }
                    _ => {
                        let (message, turn) = request.split();
                        answer(turn, message.data());
                    }
                },
                Received::Notice(notice) => match notice.kind() {
                    NoticeKind::PortClosed => drop(clients.remove(&notice.port_context())),
                    // Its caller has gone: the turn is worth nothing any more.
                    NoticeKind::Canceled => {
                        waiting.retain(|turn| Some(turn.id().conversation) != notice.conversation())
                    }
                    _ => {}
                },
                // Whatever else a client sends is nothing that this serves.
                _ => {}
            }
        }
    }
}

/// Answers whoever is still there. Who has gone, or has made no room, is no concern of others.
fn answer(turn: Turn<'_>, reply: &[u8]) {
    drop(turn.reply(reply));
}

#[test]
fn an_event_loop_serves_others_while_some_wait_for_their_answer() {
    const NAME: &str = "first/events";
    isolated(|| {
        let server = Peer::spawn(ROOT, |link| serve_events(NAME, || link.sync()));
        server.sync();
        let waiter = |user| {
            Peer::spawn(user, |_| {
                let client = Client::connect(NAME).expect("connect");
                assert_eq!(call(&client, "wait"), "gone");
            })
        };
        let (waiter, victim) = (waiter(ALICE), waiter(MALLORY));
        let client = Client::connect(NAME).expect("connect");
        wait::eventually(|| call(&client, "waiting?") == "2");
        Peer::spawn(BOB, |_| {
            let client = Client::connect(NAME).expect("connect");
            for word in ["one", "two"] {
                assert_eq!(call(&client, word), word);
            }
        })
        .wait();
        // One-way, and gone before there is a reply.
        Peer::spawn(MALLORY, |_| {
            let client = Client::connect(NAME).expect("connect");
            client.send(b"one-way").expect("send");
            client.send_request(&[7; 300]).expect("send");
        })
        .wait();
        victim.kill();
        wait::eventually(|| call(&client, "waiting?") == "1");
        assert_eq!(call(&client, "go"), "done");
        waiter.wait();
        server.kill();
    });
}

fn program(bytes: &[u8], path: &str, user: User) -> Command {
    std::fs::write(path, bytes).expect(path);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect(path);
    let mut command = Command::new(path);
    command.uid(user.uid).gid(user.gid).stdout(Stdio::piped());
    command
}

/// What the client in C prints, which ends well.
#[track_caller]
fn counted(user: User, words: &[&str]) -> String {
    let bytes = include_bytes!(env!("ALPC_C_COUNTER_CLIENT"));
    let mut command = program(bytes, "/tmp/first-counter-client", user);
    let output = command.arg("first/counter").args(words).output();
    let output = output.expect("client");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_server_in_c_counts_for_each_user() {
    isolated(|| {
        let bytes = include_bytes!(env!("ALPC_C_COUNTER_SERVER"));
        let mut command = program(bytes, "/tmp/first-counter-server", BOB);
        let mut server: Child = command.arg("first/counter").spawn().expect("server");
        let mut line = String::new();
        let said = server.stdout.take().expect("stdout");
        BufReader::new(said).read_line(&mut line).expect("a line");
        assert_eq!(line, "first/counter counts\n");

        assert_eq!(counted(ALICE, &["1", "2"]), "1000: 1\n1000: 3\n");
        assert_eq!(counted(BOB, &["5"]), "1001: 5\n");
        assert_eq!(counted(ALICE, &["?", "4"]), "1000: error 22\n1000: 7\n");
        assert_eq!(counted(ALICE, &["stop"]), "1000: error 1\n");
        assert_eq!(counted(BOB, &["stop"]), "1001: 0\n");
        let mut status = None;
        wait::eventually(|| {
            status = server.try_wait().expect("wait");
            status.is_some()
        });
        assert!(status.expect("its end").success());
    });
}
