// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server and its clients, each a process of its own user: calls answered
//! with the caller's identity, one client refused, one killed in mid-call.
//! Ends with status 0 only if each of these things happened.

use std::collections::BTreeMap;

use alpc_tests::raw::*;
use alpc_tests::*;

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

    let version = query().abi_version;
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
        let client = Connect::to(NAME).run().expect("connect").port;
        let _ = client.request(HOLD);
        unreachable!("the server holds this call until its caller is dead");
    });
    // The server says when it holds the request.
    server.sync();
    say("demo", "kill -9 for carol, in mid-call");
    victim.kill();
    server.wait();
    say("demo", "everything happened as it should");
}

/// A client with nothing special about it.
fn call_twice(user: User) {
    let name = user.name;
    let connected = Connect::to(NAME)
        .data(b"good morning")
        .required_uid(ALICE.uid)
        .run()
        .expect("connect");
    assert_eq!(connected.server_uid, ALICE.uid);
    say(
        name,
        &format!(
            "connected to pid {} of uid {}, who says \"{}\"",
            connected.server_pid,
            connected.server_uid,
            text(&connected.data)
        ),
    );
    for question in ["who am I?", "and still?"] {
        let reply = connected.port.request(question.as_bytes()).expect("call");
        let expected = format!(
            "uid {}, gid {}, pid {}",
            user.uid,
            user.gid,
            std::process::id()
        );
        say(
            name,
            &format!("\"{question}\" -> \"{}\"", text(&reply.data)),
        );
        assert_eq!(text(&reply.data), expected);
    }
}

/// A client that the access control list doesn't admit.
fn be_refused() {
    let failure = Connect::to(NAME).run().expect_err("mallory was admitted");
    assert_eq!(failure, fail::ACCESS_DENIED);
    say("mallory", &format!("not admitted: {failure:?}"));
}

fn serve(link: &Link) {
    let me = "alice";
    let admitted = [BOB, CAROL].map(|user| allow(ALPC_ACL_USER, user.uid));
    let port = Create::named(NAME).acl(&admitted).run().expect("create");
    say(me, &format!("listens on \"{NAME}\", for bob and carol"));
    link.sync();

    // The server side of each connection, by the context value it was given.
    let mut connections = BTreeMap::new();
    let mut held: Option<Message> = None;
    let mut canceled = false;
    loop {
        let message = port.receive().expect("receive");
        let who = format!("uid {} (pid {})", message.uid, message.pid);
        match message.kind {
            ALPC_TYPE_CONNECTION_REQUEST => {
                say(me, &format!("{who} connects: \"{}\"", text(&message.data)));
                let context = connections.len() as u64 + 1;
                let accepted = Accept::new(message.id)
                    .data(b"welcome")
                    .context(context)
                    .run(&port)
                    .expect("accept");
                connections.insert(context, Some(accepted));
            }
            ALPC_TYPE_REQUEST if message.data == HOLD => {
                say(me, &format!("{who} calls: \"{}\": I do", text(HOLD)));
                held = Some(message);
                link.sync();
            }
            ALPC_TYPE_REQUEST => {
                let answer = format!(
                    "uid {}, gid {}, pid {}",
                    message.uid, message.gid, message.pid
                );
                say(me, &format!("{who} calls: \"{}\"", text(&message.data)));
                port.reply(&message, answer.as_bytes()).expect("reply");
            }
            ALPC_TYPE_CANCELED => {
                say(me, "notice: the caller of the held request is gone");
                let request = held.take().expect("a held request");
                assert_eq!(message.id, request.id);
                let late = port.reply(&request, b"too late").expect_err("a late reply");
                say(me, &format!("a late reply: {late:?}"));
                canceled = true;
            }
            ALPC_TYPE_PORT_CLOSED => {
                let context = message.port_context;
                let connection = connections.get_mut(&context).expect("a known context");
                assert!(connection.take().is_some(), "closed once");
                say(me, &format!("notice: connection {context} is closed"));
                if connections.len() == 4 {
                    break;
                }
                link.sync();
            }
            other => panic!("unexpected message of type {other}"),
        }
    }
    assert!(canceled, "no notice of the killed caller");
    assert!(connections.values().all(Option::is_none));
    say(me, "served three clients and lost one");
}
