// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a server loop does about what goes wrong for one client, and whom it tells.

use std::fs::File;
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use alpc::{
    Accept, Admission, Answer, Cause, Claimed, Client, ConnectionRequest, Failure, Flush,
    HandleKinds, Inbox, Message, Notice, NoticeKind, Options, Outcome, PortBuilder, Received,
    Request, ServerLoop, Service,
};
use alpc_tests::{eventually, isolated, Peer, Shared, ROOT};

use super::{outcome, pair};

/// Does what it is asked to do, and keeps what it is told.
#[derive(Default)]
struct Odd {
    failures: Mutex<Vec<String>>,
    refused: AtomicU64,
}

impl Odd {
    fn fail(&self, what: &str) {
        self.failures.lock().expect("lock").push(what.into());
    }

    /// What it has been told since the last time.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.failures.lock().expect("lock"))
    }

    fn told_next(&self) -> Vec<String> {
        eventually(|| !self.failures.lock().expect("lock").is_empty());
        self.told()
    }
}

fn what(error: &alpc::Error) -> String {
    let outcome = error.outcome();
    outcome.map_or_else(|| error.to_string(), |outcome| format!("{outcome:?}"))
}

impl Service for &Odd {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        match request.data() {
            b"long" => reply.resize(4097, 0),
            b"whole" => reply.resize(1000, 7),
            b"panic" => panic!("at the request"),
            data => reply.extend_from_slice(data),
        }
        Answer::Reply
    }

    fn connection(
        &mut self,
        request: &ConnectionRequest<'_, '_>,
        _context: u64,
        answer: &mut Vec<u8>,
    ) -> Admission {
        match request.data() {
            b"panic" => panic!("at the connection"),
            b"small" => {
                let who = request.identity().expect("identity");
                assert_eq!(who.user.effective, request.sender().uid);
                drop(request.sender_pidfd().expect("pidfd"));
                Admission::AcceptWith(Accept::new().max_message_length(16))
            }
            b"no" => {
                self.refused.fetch_add(1, SeqCst);
                answer.extend_from_slice(b"not you");
                Admission::Refuse
            }
            _ => Admission::Accept,
        }
    }

    fn datagram(&mut self, message: &Message<'_>) {
        assert_ne!(message.data(), b"panic", "at the datagram");
    }

    fn notice(&mut self, notice: &Notice) {
        assert_ne!(notice.port_context(), 3, "at the notice");
    }

    fn failed(&mut self, failure: Failure<'_>) {
        let context = failure.port_context;
        assert_eq!(
            failure.sender.map(|sender| sender.pid),
            Some(std::process::id())
        );
        self.fail(&match failure.cause {
            Cause::Reply(error) => format!("reply to {context:?}: {}", what(error)),
            Cause::Accept(error) => format!("accept of {context:?}: {}", what(error)),
            Cause::Receive(error) => format!("receive: {}", what(error)),
            Cause::View => format!("view of {context:?}"),
            Cause::Panic(_) => format!("{context:?}: {failure}"),
            _ => "something new".into(),
        });
        assert!(!matches!(failure.cause, Cause::View), "at the failure");
    }
}

/// Runs a loop of that service while `body` runs. Only panics of the latter end the test.
fn serving(builder: PortBuilder<'_>, body: impl FnOnce(&Odd, &ServerLoop<'_>)) {
    let fatal = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() != Some("service") {
            fatal(info);
        }
    }));
    let server = builder.create().expect("create");
    let (odd, serving) = (Odd::default(), ServerLoop::new(&server));
    thread::scope(|scope| {
        let service = thread::Builder::new().name("service".into());
        let thread = service
            .spawn_scoped(scope, || serving.run(&mut &odd))
            .expect("spawn");
        body(&odd, &serving);
        server.disconnect(Flush::Everything).expect("disconnect");
        thread.join().expect("join").expect("the loop's end");
    });
}

fn connect(name: &str, payload: &[u8]) -> alpc::Result<Client> {
    let connect = alpc::ConnectBuilder::new(name).payload(payload);
    connect.connect_with(&mut [0; 64]).map(|made| made.client)
}

#[test]
fn a_reply_that_cannot_be_sent_is_told_to_the_service_and_ends_nothing() {
    isolated(|| {
        const NAME: &str = "userlib/replies";
        serving(PortBuilder::new(NAME), |odd, _| {
            let client = Client::connect(NAME).expect("connect");
            let mut buffer = [0; 64];
            assert_eq!(outcome(client.call(b"long", &mut buffer)), Outcome::Lost);
            assert_eq!(odd.told_next(), ["reply to Some(1): TooLong"]);

            // It has made no room for so much.
            let asked = client.send_request(b"whole").expect("send");
            match client.receive(&mut buffer).expect("receive") {
                Received::Notice(notice) => {
                    assert_eq!(notice.kind(), NoticeKind::LostReply);
                    assert_eq!(notice.conversation(), Some(asked));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(odd.told_next(), ["reply to Some(1): TooLongForReply"]);

            // That is this connection's own limit.
            let small = connect(NAME, b"small").expect("connect");
            assert_eq!(outcome(small.call(b"whole", &mut buffer)), Outcome::Lost);
            assert_eq!(odd.told_next(), ["reply to Some(2): TooLong"]);

            let reply = client.call(b"still here", &mut buffer).expect("call");
            assert_eq!(reply.data(), b"still here");
            assert_eq!(odd.told(), [""; 0]);
        });
    });
}

#[test]
fn a_service_decides_on_connections_by_all_that_is_known_of_them() {
    isolated(|| {
        const NAME: &str = "userlib/admission";
        serving(PortBuilder::new(NAME), |odd, _| {
            let small = connect(NAME, b"small").expect("connect");
            assert_eq!(outcome(small.send(&[0; 17])), Outcome::TooLong);
            let large = connect(NAME, b"").expect("connect");
            large.send(&[0; 17]).expect("send");

            let mut answer = [0; 64];
            let connect = alpc::ConnectBuilder::new(NAME).payload(b"no");
            let error = connect.connect_with(&mut answer).expect_err("refused");
            assert_eq!(error.outcome(), Some(Outcome::Refused));
            assert_eq!(answer[..error.length()], *b"not you");
            assert_eq!(odd.refused.load(SeqCst), 1);
            assert_eq!(odd.told(), [""; 0]);
        });
    });
}

#[test]
fn a_service_that_panics_goes_on_and_whoever_asked_is_told_at_once() {
    isolated(|| {
        const NAME: &str = "userlib/panics";
        serving(PortBuilder::new(NAME), |odd, serving| {
            let client = Client::connect(NAME).expect("connect");
            let mut buffer = [0; 64];
            assert_eq!(outcome(client.call(b"panic", &mut buffer)), Outcome::Lost);
            let pid = std::process::id();
            let told = |context: u64, at: &str| {
                let told = odd.told_next().join("\n");
                let who =
                    format!("Some({context}): process {pid} of user 0: the service panicked: ");
                assert!(told.starts_with(&who), "{told}");
                assert!(told.contains(at), "{told}");
            };
            told(1, "at the request");

            client.send(b"panic").expect("send");
            told(1, "at the datagram");

            assert_eq!(outcome(connect(NAME, b"panic")), Outcome::Refused);
            told(2, "at the connection");

            drop(connect(NAME, b"").expect("connect"));
            eventually(|| serving.port(3).is_none());
            told(3, "at the notice");

            let reply = client.call(b"still here", &mut buffer).expect("call");
            assert_eq!(reply.data(), b"still here");
        });
    });
}

#[test]
fn a_service_that_is_to_abort_ends_its_process_by_a_panic() {
    isolated(|| {
        Peer::spawn(ROOT, |_| {
            panic::set_hook(Box::new(|_| {}));
            let server = PortBuilder::new("userlib/abort").create().expect("create");
            let serving = ServerLoop::new(&server).abort_on_panic();
            let odd = Odd::default();
            thread::scope(|scope| {
                scope.spawn(|| serving.run(&mut &odd));
                let client = Client::connect("userlib/abort").expect("connect");
                let _ = client.call(b"panic", &mut [0; 64]);
                unreachable!("the process has ended");
            });
        })
        .aborted();
    });
}

#[test]
fn a_view_that_a_service_cannot_take_is_told_to_both_sides() {
    isolated(|| {
        const NAME: &str = "userlib/unwanted";
        serving(PortBuilder::new(NAME).take_views(), |odd, _| {
            let client = Client::connect(NAME).expect("connect");
            let section = client.section(4096).expect("section");
            let lent = section.view(4096).expect("view").lend();
            let mut buffer = [0; 64];
            let options = Options::new().lend(&lent);
            let called = client.call_with(b"look", &mut buffer, options);
            assert_eq!(outcome(called), Outcome::Lost);
            assert_eq!(odd.told_next(), ["view of Some(1)"]);
            // What is told panics at that, which is no reason to end.
            let lent = lent.reclaim().expect("it was released").lend();
            client
                .send_with(b"look", Options::new().lend(&lent))
                .expect("send");
            assert_eq!(odd.told_next(), ["view of Some(1)"]);
            lent.reclaim().expect("it was released");
            let reply = client.call(b"without", &mut buffer).expect("call");
            assert_eq!(reply.data(), b"without");
        });
    });
}

/// Takes views of those who say so.
struct Takes<'a>(&'a Inbox, &'a Odd);

impl Service for Takes<'_> {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        if request.data() == b"take" {
            reply.push(u8::from(self.0.take().is_some()));
        }
        Answer::Reply
    }

    fn failed(&mut self, failure: Failure<'_>) {
        assert!(matches!(failure.cause, Cause::View));
        self.1.fail("view");
    }
}

#[test]
fn a_view_that_a_service_leaves_is_not_the_next_clients() {
    isolated(|| {
        const NAME: &str = "userlib/left";
        let server = PortBuilder::new(NAME)
            .take_views()
            .create()
            .expect("create");
        let (odd, serving) = (Odd::default(), ServerLoop::new(&server));
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let inbox = Inbox::new();
                serving.run_with(&mut Takes(&inbox, &odd), Options::new().view_into(&inbox))
            });
            let client = Client::connect(NAME).expect("connect");
            let other = Client::connect(NAME).expect("connect");
            let section = client.section(4096).expect("section");
            let lent = section.view(4096).expect("view").lend();
            let mut buffer = [0; 64];
            let options = Options::new().lend(&lent);
            client
                .call_with(b"leave", &mut buffer, options)
                .expect("call");
            let reply = other.call(b"take", &mut buffer).expect("call");
            assert_eq!(reply.data(), [0], "another client's view");
            assert_eq!(odd.told(), ["view"]);
            let options = Options::new().lend(&lent);
            let reply = client
                .call_with(b"take", &mut buffer, options)
                .expect("call");
            assert_eq!(reply.data(), [1]);
            assert_eq!(odd.told(), [""; 0]);
            server.disconnect(Flush::Everything).expect("disconnect");
            thread.join().expect("join").expect("the loop's end");
        });
    });
}

/// Tells each client how many handles have been claimed of its request.
struct Counts<'a>(&'a Claimed);

impl Service for Counts<'_> {
    fn request(&mut self, _: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        reply.push(self.0.take().len() as u8);
        Answer::Reply
    }
}

#[test]
fn a_handle_that_comes_with_a_view_that_no_service_takes_is_not_the_next_clients() {
    isolated(|| {
        const NAME: &str = "userlib/left-handle";
        let builder = PortBuilder::new(NAME).take_views();
        let server = builder.take_handles(HandleKinds::FILE).create();
        let server = server.expect("create");
        let serving = ServerLoop::new(&server);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let claimed = Claimed::with_room(4);
                serving.run_with(&mut Counts(&claimed), Options::new().claim_into(&claimed))
            });
            let client = Client::connect(NAME).expect("connect");
            let other = Client::connect(NAME).expect("connect");
            let file = File::open("/proc/self/exe").expect("a file");
            let handles = [file.as_fd()];
            let mut buffer = [0; 64];
            let options = Options::new().handles(&handles);
            let reply = client.call_with(b"", &mut buffer, options).expect("call");
            assert_eq!(reply.data(), [1]);
            let section = client.section(4096).expect("section");
            let lent = section.view(4096).expect("view").lend();
            let called = client.call_with(b"", &mut buffer, options.lend(&lent));
            assert_eq!(outcome(called), Outcome::Lost);
            let reply = other.call(b"", &mut buffer).expect("call");
            assert_eq!(reply.data(), [0], "another client's file");
            server.disconnect(Flush::Everything).expect("disconnect");
            thread.join().expect("join").expect("the loop's end");
        });
    });
}

#[test]
fn a_service_without_room_for_views_gets_the_message_without_and_goes_on() {
    isolated(|| {
        const NAME: &str = "userlib/no-space";
        struct Tight<'a>(&'a Inbox, Shared);
        impl Service for Tight<'_> {
            fn request(&mut self, _: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
                reply.push(u8::from(self.0.take().is_some()));
                Answer::Reply
            }
            fn failed(&mut self, failure: Failure<'_>) {
                let Cause::Receive(error) = failure.cause else {
                    return;
                };
                if error.errno() == libc::ENOMEM {
                    self.1[0].fetch_add(1, SeqCst);
                }
            }
        }
        let told = Shared::new();
        let server = Peer::spawn(ROOT, |link| {
            let builder = PortBuilder::new(NAME).take_views();
            let server = builder.create().expect("create");
            let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
            let pages = status
                .split(' ')
                .next()
                .and_then(|pages| pages.parse().ok());
            let most = pages.map_or(0, |pages: u64| pages * 4096 + (1 << 20));
            let limit = libc::rlimit {
                rlim_cur: most,
                rlim_max: most,
            };
            // SAFETY: A live limit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
            link.sync();
            let inbox = Inbox::new();
            let options = Options::new().view_into(&inbox);
            let _ = ServerLoop::new(&server).run_with(&mut Tight(&inbox, told), options);
        });
        server.sync();
        let client = Client::connect(NAME).expect("connect");
        let section = client.section(1 << 20).expect("section");
        let mut buffer = [0; 64];
        for times in 1..10 {
            let lent = section.view(4096).expect("view").lend();
            let options = Options::new().lend(&lent);
            let reply = client.call_with(b"", &mut buffer, options).expect("call");
            assert_eq!(reply.data(), [0], "there is room for it after all");
            assert_eq!(told[0].load(SeqCst), times);
            lent.reclaim().expect("it was released");
        }
        client.call(b"", &mut buffer).expect("served still");
        server.kill();
    });
}

#[test]
fn a_service_that_nobody_can_reach_is_told_so_before_it_ends() {
    isolated(|| {
        #[derive(Default)]
        struct Last(Vec<Option<Outcome>>);
        impl Service for Last {
            fn request(&mut self, _: &mut Request<'_, '_>, _: &mut Vec<u8>) -> Answer {
                Answer::Reply
            }
            fn failed(&mut self, failure: Failure<'_>) {
                let error = failure.error().expect("an error");
                assert!(matches!(failure.cause, Cause::Receive(_)));
                self.0.push(error.outcome());
            }
        }
        let server = PortBuilder::anonymous().create().expect("create");
        drop(server.connector().expect("connector"));
        let mut last = Last::default();
        ServerLoop::new(&server)
            .run(&mut last)
            .expect("the loop's end");
        assert_eq!(last.0, [Some(Outcome::NoClients)]);
    });
}

#[test]
fn a_server_waits_for_room_only_where_it_is_told_to() {
    isolated(|| {
        let (_server, port, client) = pair();
        let full = |result: alpc::Result<()>| {
            let error = result.expect_err("the queue is full");
            assert_eq!(error.outcome(), Some(Outcome::QueueFull));
            assert!(error.would_block());
        };
        while port.send(b"x").is_ok() {}
        full(port.send(b"x"));
        full(port.send_request(b"x").map(drop));
        full(port.call(b"x", &mut [0; 8]).map(drop));
        full(port.clone().send_with(b"x", Duration::from_secs(3600)));
        let patient = Options::from(Duration::from_millis(20)).waiting();
        let error = port.send_with(b"x", patient).expect_err("still full");
        assert_eq!(error.outcome(), Some(Outcome::TimedOut));
        assert!(!error.would_block());

        thread::scope(|scope| {
            let waits = scope.spawn(|| port.send_with(b"last", Options::new().waiting()));
            let mut buffer = [0; 64];
            loop {
                let next = client.try_receive_with(&mut buffer, Options::new().ask_token());
                match next.expect("receive") {
                    Some(Received::Datagram(message)) => {
                        assert!(message.token().is_some());
                        if message.data() == b"last" {
                            break;
                        }
                    }
                    Some(other) => panic!("{other:?}"),
                    None => thread::yield_now(),
                }
            }
            waits.join().expect("join").expect("it got room");
        });
    });
}
