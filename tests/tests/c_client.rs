// SPDX-License-Identifier: MIT OR Apache-2.0

//! A client in C that knows nothing but the header, and a server in Rust.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use alpc_tests::raw::*;
use alpc_tests::*;

const PROGRAM: &[u8] = include_bytes!(env!("ALPC_C_CLIENT"));
const PATH: &str = "/tmp/alpc-c-client";

/// Starts the client as `user`.
fn start(user: User, name: &str, text: &str) -> Child {
    fs::write(PATH, PROGRAM).expect(PATH);
    fs::set_permissions(PATH, fs::Permissions::from_mode(0o755)).expect(PATH);
    Command::new(PATH)
        .args([name, text])
        .uid(user.uid)
        .gid(user.gid)
        .stdout(Stdio::piped())
        .spawn()
        .expect(PATH)
}

/// Its exit status and what it said.
fn end(client: Child) -> (Option<i32>, String) {
    let output = client.wait_with_output().expect("wait");
    let said = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), said)
}

/// Receives its connection request.
fn greeted(port: &Port, client: &Child, text: &str) -> Message {
    let request = port.receive().expect("receive");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    assert_eq!(request.data, text.as_bytes());
    assert_eq!((request.pid, request.uid), (client.id(), ALICE.uid));
    request
}

/// Accepts it and receives its call.
fn called(port: &Port, client: &Child, text: &str) -> (Port, Message) {
    let request = greeted(port, client, text);
    let mut accept = Accept::new(request.id).data(b"welcome");
    let server = accept.run(port).expect("accept");
    let request = port.receive().expect("receive");
    assert_eq!(request.kind, ALPC_TYPE_REQUEST);
    assert_eq!(request.data, text.as_bytes());
    assert_eq!((request.pid, request.uid), (client.id(), ALICE.uid));
    (server, request)
}

#[test]
fn a_c_client_connects_calls_and_answers_callbacks() {
    isolated(|| {
        let port = Create::named("c/echo").open().run().expect("create");
        let client = start(ALICE, "c/echo", "abcdef");
        let (_server, request) = called(&port, &client, "abcdef");
        let answer = port.callback(&request, b"why?").expect("callback");
        assert_eq!(answer.data, b"why?");
        port.reply(&answer, b"fedcba").expect("reply");
        assert_eq!(
            end(client),
            (
                Some(0),
                "connected to uid 0: welcome\ncallback: why?\nreply: fedcba\n".into()
            )
        );
        assert_eq!(port.receive().expect("receive").kind, ALPC_TYPE_PORT_CLOSED);
    });
}

#[test]
fn a_c_client_notices_a_wrong_reply() {
    isolated(|| {
        let port = Create::named("c/wrong").open().run().expect("create");
        let client = start(ALICE, "c/wrong", "abcdef");
        let (_server, request) = called(&port, &client, "abcdef");
        port.reply(&request, b"abcdef").expect("reply");
        assert_eq!(end(client).0, Some(1));
    });
}

/// What the client prints when it is refused in this way.
fn refusal(step: &str, failure: Failure) -> (Option<i32>, String) {
    let Failure { errno, outcome } = failure;
    (
        Some(2),
        format!("{step}: errno {errno}, outcome {outcome}\n"),
    )
}

#[test]
fn a_c_client_tells_refusals_apart() {
    isolated(|| {
        let nobody = end(start(ALICE, "c/nobody", "x"));
        assert_eq!(nobody, refusal("connect", fail::NAME_NOT_FOUND));

        let _closed = Create::named("c/closed").run().expect("create");
        let denied = end(start(ALICE, "c/closed", "x"));
        assert_eq!(denied, refusal("connect", fail::ACCESS_DENIED));

        let port = Create::named("c/refusing").open().run().expect("create");
        let client = start(ALICE, "c/refusing", "x");
        let request = greeted(&port, &client, "x");
        Accept::new(request.id).refuse(&port).expect("refuse");
        assert_eq!(end(client), refusal("connect", fail::REFUSED));

        let client = start(ALICE, "c/refusing", "x");
        let (_server, request) = called(&port, &client, "x");
        port.release(&request).expect("release");
        let (status, said) = end(client);
        let (expected, lost) = refusal("call", fail::LOST);
        assert_eq!(
            (status, said),
            (expected, format!("connected to uid 0: welcome\n{lost}"))
        );
    });
}
