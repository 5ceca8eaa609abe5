// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server and its clients, each a process of its own user: calls answered
//! with the caller's identity, one client refused, one killed in mid-call. Then a
//! file that one hands to another without a copy, and services that are started with files
//! of their users.
//! Ends with status 0 only if each of these things happened.

mod file;
mod services;

use std::collections::BTreeMap;

use alpc::{
    Accept, Acl, Client, ConnectBuilder, Device, NoticeKind, Outcome, PortBuilder, Received, Turn,
    Who,
};
use alpc_tests::{Link, Peer, User, ALICE, BOB, CAROL, MALLORY};

const NAME: &str = "demo/who-am-i";
/// The request that the server doesn't answer at once.
const HOLD: &[u8] = b"think about it";

fn say(who: &str, what: &str) {
    println!("{who:>8} | {what}");
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn main() {
    // Whatever hangs ends by this signal, and the status tells.
    // SAFETY: A plain number.
    unsafe { libc::alarm(120) };

    let device = Device::open().expect("/dev/alpc");
    let version = device.query().expect("query").abi_version;
    say("demo", &format!("/dev/alpc speaks ABI version {version}"));
    let server = Peer::spawn(ALICE, serve);
    server.sync();

    for user in [BOB, CAROL, BOB] {
        Peer::spawn(user, move |_| call_twice(user)).wait();
        server.sync();
    }
    Peer::spawn(MALLORY, |_| be_refused()).wait();

    let victim = Peer::spawn(CAROL, |_| {
        say("carol", "connects again, and calls once more");
        let client = Client::connect(NAME).expect("connect");
        let _ = client.call(HOLD, &mut [0; 256]);
        unreachable!("the server holds this call until its caller is dead");
    });
    // The server says when it holds the request.
    server.sync();
    say("demo", "kill -9 for carol, in mid-call");
    victim.kill();
    server.wait();

    file::chapter();
    services::chapter();
    say("demo", "everything happened as it should");
}

/// A client with nothing special about it.
fn call_twice(user: User) {
    let name = user.name;
    let mut buffer = [0; 256];
    let connected = ConnectBuilder::new(NAME)
        .payload(b"good morning")
        .require_uid(ALICE.uid)
        .connect_with(&mut buffer)
        .expect("connect");
    let server = connected.server;
    assert_eq!(server.uid, ALICE.uid);
    let answer = text(&buffer[..connected.length]);
    say(
        name,
        &format!(
            "connected to pid {} of uid {}, who says \"{answer}\"",
            server.pid, server.uid
        ),
    );
    for question in ["who am I?", "and still?"] {
        let client = &connected.client;
        let reply = client.call(question.as_bytes(), &mut buffer).expect("call");
        let answer = text(reply.data());
        say(name, &format!("\"{question}\" -> \"{answer}\""));
        let pid = std::process::id();
        let expected = format!("uid {}, gid {}, pid {pid}", user.uid, user.gid);
        assert_eq!(answer, expected);
    }
}

/// A client that the access control list doesn't admit.
fn be_refused() {
    let error = Client::connect(NAME).expect_err("mallory was admitted");
    assert_eq!(error.outcome(), Some(Outcome::AccessDenied));
    say("mallory", &format!("not admitted: {error}"));
}

fn serve(link: &Link) {
    let me = "alice";
    let acl = Acl::new()
        .allow(Who::User(BOB.uid))
        .allow(Who::User(CAROL.uid));
    let server = PortBuilder::new(NAME).acl(&acl).create().expect("create");
    say(me, &format!("listens on \"{NAME}\", for bob and carol"));
    link.sync();

    // The server side of each connection, by the context value it was given.
    let mut connections = BTreeMap::new();
    let mut held: Option<Turn<'_>> = None;
    let mut canceled = false;
    let mut buffer = [0; 4096];
    loop {
        match server.receive(&mut buffer).expect("receive") {
            Received::Connection(request) => {
                let (who, data) = (caller(request.sender()), text(request.data()));
                say(me, &format!("{who} connects: \"{data}\""));
                let context = connections.len() as u64 + 1;
                let accept = Accept::new().payload(b"welcome").context(context);
                let port = request.accept_with(accept).expect("accept");
                connections.insert(context, Some(port));
            }
            Received::Request(request) => {
                let (message, turn) = request.split();
                let who = message.sender();
                let question = text(message.data());
                say(me, &format!("{} calls: \"{question}\"", caller(who)));
                if message.data() == HOLD {
                    held = Some(turn);
                    link.sync();
                    continue;
                }
                let answer = format!("uid {}, gid {}, pid {}", who.uid, who.gid, who.pid);
                turn.reply(answer.as_bytes()).expect("reply");
            }
            Received::Notice(notice) if notice.kind() == NoticeKind::Canceled => {
                let turn = held.take().expect("a held request");
                assert_eq!(notice.conversation(), Some(turn.id().conversation));
                say(me, "notice: the caller of the held request is gone");
                let late = turn.reply(b"too late").expect_err("a late reply");
                say(me, &format!("a late reply gets: {late}"));
                canceled = true;
            }
            Received::Notice(notice) if notice.kind() == NoticeKind::PortClosed => {
                let context = notice.port_context();
                let port = connections.get_mut(&context).expect("a known context");
                assert!(port.take().is_some(), "closed once");
                say(me, &format!("notice: connection {context} is closed"));
                if connections.len() == 4 {
                    break;
                }
                link.sync();
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert!(canceled, "no notice of the killed caller");
    assert!(connections.values().all(Option::is_none));
    say(me, "served three clients and lost one");
}

fn caller(sender: alpc::Sender) -> String {
    format!("uid {} (pid {})", sender.uid, sender.pid)
}
