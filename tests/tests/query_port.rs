// SPDX-License-Identifier: MIT OR Apache-2.0

//! `ALPC_IOC_QUERY_PORT`, field by field and role by role. What a connect descriptor tells, and to
//! whom, is in `refused`.

use alpc_tests::raw::*;
use alpc_tests::*;

const CONTEXT: u64 = 0x1111_2222_3333_4444;
const SERVER: u64 = 0x5555_6666_7777_8888;
const CLIENT: u64 = 0x9999_aaaa_bbbb_cccc;

fn query(port: &Port) -> alpc_query_port {
    port.query_port().expect("query")
}

/// Fails unless all of it is as expected, the fields that say 0 too.
#[track_caller]
fn is(port: &Port, expected: alpc_query_port) {
    assert_eq!(format!("{:?}", query(port)), format!("{expected:?}"));
}

fn listening() -> (Port, alpc_query_port) {
    let create = Create::anonymous().max(100).share(7, 300).context(CONTEXT);
    let port = { create }.run().expect("create");
    let fresh = alpc_query_port {
        role: ALPC_ROLE_CONNECTION,
        state: ALPC_STATE_OPEN,
        max_message_length: 100,
        queue_messages: 7,
        queue_bytes: 300,
        context: CONTEXT,
        told_limit: ALPC_TOLD_DEFAULT,
        ..Default::default()
    };
    (port, fresh)
}

fn ask(port: &Port) -> Port {
    let through = port.connect_descriptor().expect("connect descriptor");
    let connect = Connect::new(None).asynchronous().data(b"hello");
    let mut connect = connect.context(CLIENT);
    // Less than the port has, but for one thing of which it wants more.
    connect.arg.max_message_length = 80;
    connect.arg.queue_messages = 50;
    connect.arg.queue_bytes = 200;
    connect.run_on(&through).expect("connect").port
}

#[test]
fn a_connection_port_tells_of_itself_and_of_all_its_connections() {
    isolated(|| {
        let (port, fresh) = listening();
        is(&port, fresh);
        let client = ask(&port);
        // The request waits to be received, is a conversation, and has arrived.
        let asked = alpc_query_port {
            queued_messages: 1,
            queued_bytes: 5,
            connections: 1,
            conversations: 1,
            sequence: 1,
            ..fresh
        };
        is(&port, asked);
        let request = port.receive().expect("receive");
        let received = alpc_query_port {
            queued_messages: 0,
            queued_bytes: 0,
            ..asked
        };
        is(&port, received);
        let server = Accept::new(request.id).context(SERVER).run(&port);
        let server = server.expect("accept");
        client.receive().expect("the answer");
        let open = alpc_query_port {
            conversations: 0,
            ..received
        };
        is(&port, open);
        // A one-way message is no conversation, a request is one until its answer is received.
        client.one_way(b"123").expect("send");
        client.post(b"4567").expect("post");
        let busy = alpc_query_port {
            queued_messages: 2,
            queued_bytes: 7,
            conversations: 1,
            sequence: 3,
            ..open
        };
        is(&port, busy);
        port.receive().expect("receive");
        let held = port.receive().expect("receive");
        port.reply(&held, b"").expect("reply");
        is(
            &port,
            alpc_query_port {
                sequence: 3,
                conversations: 1,
                ..open
            },
        );
        client.receive().expect("the reply");
        is(
            &port,
            alpc_query_port {
                sequence: 3,
                ..open
            },
        );
        // A section counts as long as there is one.
        let section = port.section(4096).expect("section");
        let with = alpc_query_port {
            sequence: 3,
            sections: 1,
            ..open
        };
        is(&port, with);
        drop(section);
        // What has ended is there while the server has its end, or the notice of it is unread,
        // which is no message in the queue.
        drop(client);
        is(
            &port,
            alpc_query_port {
                sequence: 3,
                ..open
            },
        );
        let notice = port.receive().expect("the end");
        assert_eq!((notice.kind, notice.sequence), (ALPC_TYPE_PORT_CLOSED, 4));
        is(
            &port,
            alpc_query_port {
                sequence: 4,
                ..open
            },
        );
        drop(server);
        is(
            &port,
            alpc_query_port {
                sequence: 4,
                ..fresh
            },
        );
        port.disconnect().expect("disconnect");
        let ended = alpc_query_port {
            state: ALPC_STATE_DISCONNECTED,
            sequence: 4,
            ..fresh
        };
        is(&port, ended);
    });
}

#[test]
fn a_connection_that_there_was_no_place_for_is_counted_and_one_that_was_refused_is_not() {
    isolated(|| {
        let port = Create::anonymous().connections(2).run().expect("create");
        let client = ask(&port);
        let request = port.receive().expect("receive");
        Accept::new(request.id).refuse(&port).expect("refuse");
        assert_eq!((query(&port).refused, query(&port).connections), (0, 1));
        assert_eq!(query(&client).state, ALPC_STATE_REFUSED);
        let second = ask(&port);
        let through = port.connect_descriptor().expect("connect descriptor");
        let third = Connect::new(None).asynchronous().run_on(&through);
        assert_eq!(third.unwrap_err(), fail::LIMIT);
        assert_eq!((query(&port).refused, query(&port).connections), (1, 2));
        drop((client, second));
    });
}

#[test]
fn a_client_port_tells_of_its_connection_and_who_has_accepted() {
    isolated(|| {
        let (port, _) = listening();
        let client = ask(&port);
        let pending = alpc_query_port {
            role: ALPC_ROLE_CLIENT,
            state: ALPC_STATE_PENDING,
            max_message_length: 80,
            queue_messages: 7,
            queue_bytes: 200,
            connections: 1,
            conversations: 1,
            context: CLIENT,
            ..Default::default()
        };
        is(&client, pending);
        let request = port.receive().expect("receive");
        let mut accept = Accept::new(request.id).context(SERVER).data(b"welcome");
        accept.arg.queue_messages = 3;
        let server = accept.run(&port).expect("accept");
        let accepted = alpc_query_port {
            state: ALPC_STATE_OPEN,
            queue_messages: 3,
            queued_messages: 1,
            queued_bytes: 7,
            sequence: 1,
            peer_pid: std::process::id(),
            ..pending
        };
        is(&client, accepted);
        client.receive().expect("the answer");
        let open = alpc_query_port {
            queued_messages: 0,
            queued_bytes: 0,
            conversations: 0,
            ..accepted
        };
        is(&client, open);
        // What others have sent to the server is not its affair.
        let (_other, busy) = pair::attach(&port, 1);
        busy.post(b"x").expect("post");
        is(&client, open);
        client.post(b"x").expect("post");
        is(
            &client,
            alpc_query_port {
                conversations: 1,
                ..open
            },
        );
        server.one_way(b"ab").expect("send");
        let told = alpc_query_port {
            conversations: 1,
            queued_messages: 1,
            queued_bytes: 2,
            sequence: 2,
            ..open
        };
        is(&client, told);
        server.disconnect().expect("disconnect");
        let state = ALPC_STATE_DISCONNECTED;
        let ended = query(&client);
        assert_eq!(
            (ended.state, ended.connections, ended.queued_messages),
            (state, 1, 0)
        );
    });
}

#[test]
fn a_server_port_tells_of_its_connection_and_who_has_connected() {
    isolated(|| {
        let (port, _) = listening();
        let alice = Peer::spawn(ALICE, |link| {
            let through = Port::from(link.take_fd());
            let client = { Connect::new(None).asynchronous() }.run_on(&through);
            let client = client.expect("connect").port;
            client.receive().expect("the answer");
            let request = client.receive().expect("a request");
            client.reply(&request, b"12345").expect("reply");
            link.sync();
            link.sync();
        });
        port.set_acl(Some(&[allow(ALPC_ACL_EVERYONE, 0)]))
            .expect("set");
        alice.put_fd(&port.connect_descriptor().expect("connect descriptor"));
        let request = port.receive().expect("receive");
        let server = Accept::new(request.id).context(SERVER).run(&port);
        let server = server.expect("accept");
        let open = alpc_query_port {
            role: ALPC_ROLE_SERVER,
            state: ALPC_STATE_OPEN,
            flags: query(&port).flags,
            max_message_length: 100,
            queue_messages: 7,
            queue_bytes: 300,
            connections: 1,
            context: SERVER,
            peer_pid: alice.pid() as u32,
            peer_uid: ALICE.uid,
            peer_gid: ALICE.gid,
            ..Default::default()
        };
        // Its client's own messages arrive at the connection port, and what the server begins
        // comes back here.
        server.post(b"what?").expect("post");
        alice.sync();
        let told = alpc_query_port {
            conversations: 1,
            queued_messages: 1,
            queued_bytes: 5,
            sequence: 1,
            ..open
        };
        is(&server, told);
        server.receive().expect("the reply");
        is(
            &server,
            alpc_query_port {
                sequence: 1,
                ..open
            },
        );
        alice.sync();
        alice.wait();
        let state = ALPC_STATE_DISCONNECTED;
        is(
            &server,
            alpc_query_port {
                sequence: 1,
                state,
                ..open
            },
        );
    });
}

#[test]
fn views_are_counted_at_the_end_that_has_them() {
    isolated(|| {
        let pair = Pair::of_views();
        let views = || [&pair.port, &pair.server, &pair.client].map(|port| query(port).views);
        let sections = || [&pair.port, &pair.server, &pair.client].map(|port| query(port).sections);
        assert_eq!((views(), sections()), ([0; 3], [0; 3]));
        let lent = pair.lent(4096, 7, 0);
        assert_eq!((views(), sections()), ([0, 1, 0], [0, 0, 1]));
        drop(lent);
    });
}
