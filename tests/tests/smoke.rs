// SPDX-License-Identifier: MIT OR Apache-2.0

//! The walking skeleton: if this fails, nothing else is worth reading.

use alpc_tests::raw::*;
use alpc_tests::*;

/// Accepts one client and echoes until it has gone.
fn echo_server(name: &str, ready: &Link) {
    let port = Create::named(name).open().run().expect("create");
    ready.sync();
    let request = port.receive().expect("connection request");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    let _server = Accept::new(request.id).run(&port).expect("accept");
    let mut next = port.receive().expect("receive");
    while next.kind == ALPC_TYPE_REQUEST {
        let data = next.data.clone();
        next = port.reply_receive(&next, &data).expect("reply and receive");
    }
    assert_eq!(next.kind, ALPC_TYPE_PORT_CLOSED);
}

#[test]
fn the_device_answers_a_query() {
    isolated(|| {
        let query = query();
        assert_eq!(query.abi_version, ALPC_ABI_VERSION);
        assert_ne!(query.features & u64::from(ALPC_FEATURE_PORTS), 0);
    });
}

#[test]
fn one_process_calls_another() {
    isolated(|| {
        let server = Peer::spawn(ROOT, |link| echo_server("smoke/echo", link));
        server.sync();
        let client = Peer::spawn(ROOT, |_| {
            let client = Connect::to("smoke/echo").run().expect("connect").port;
            for round in 0..10_u8 {
                let data = vec![round; usize::from(round) * 10];
                let reply = client.request(&data).expect("request");
                assert_eq!(reply.kind, ALPC_TYPE_REPLY);
                assert_eq!(reply.data, data);
                assert!(!reply.open());
            }
        });
        client.wait();
        server.wait();
    });
}

#[test]
fn a_process_of_another_user_calls() {
    isolated(|| {
        let server = Peer::spawn(ALICE, |link| echo_server("smoke/other", link));
        server.sync();
        let client = Peer::spawn(BOB, |_| {
            let connected = Connect::to("smoke/other").run().expect("connect");
            assert_eq!(connected.server_uid, ALICE.uid);
            assert_eq!(connected.server_gid, ALICE.gid);
            let reply = connected.port.request(b"hello").expect("request");
            assert_eq!(reply.data, b"hello");
            assert_eq!((reply.uid, reply.gid), (ALICE.uid, ALICE.gid));
            assert_eq!(reply.pid, connected.server_pid);
        });
        client.wait();
        server.wait();
    });
}
