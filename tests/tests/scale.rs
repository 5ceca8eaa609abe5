// SPDX-License-Identifier: MIT OR Apache-2.0

//! Many of everything at once, and the balance at the end.

use std::collections::BTreeMap;

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::rng::Rng;
use alpc_tests::*;

#[test]
fn ten_thousand_ports_are_each_found_by_their_name() {
    isolated_long(3, || {
        many_descriptors();
        // Where the kernel was told to allow a user less, that many.
        let count = 10_000.min(u64::from(query().ports_per_user));
        let ports: Vec<_> = (0..count)
            .map(|number| {
                let create = Create::named(format!("scale/{number}")).context(number);
                { create }.run().expect("create")
            })
            .collect();
        let mut rng = Rng::new(rng::seed());
        for _ in 0..500 {
            let number = rng.below(count);
            let name = format!("scale/{number}");
            let mut connect = Connect::to(&name).asynchronous();
            let _client = connect.run().expect("connect");
            let request = ports[number as usize].receive_now().expect("receive");
            assert_eq!(request.port_context, number);
        }
        drop(ports);
        assert_eq!(
            Connect::to("scale/1").run().unwrap_err(),
            fail::NAME_NOT_FOUND
        );
    });
}

const PROCESSES: u64 = 100;
const CONNECTIONS: u64 = 10;

/// What one client process did, message by message, over all its connections.
fn client(link: &Link, seed: u64) {
    let mut rng = Rng::new(seed);
    let ports: Vec<_> = (0..CONNECTIONS)
        .map(|_| Connect::to("scale/server").run().expect("connect").port)
        .collect();
    link.sync();
    let (mut sent, mut answered, mut canceled) = (0, 0, 0);
    for _ in 0..rounds(50) {
        let port = rng.pick(&ports);
        match rng.below(4) {
            0 => port.one_way(b"d").expect("send"),
            1 => {
                let id = port.post(b"r").expect("post");
                // Too late as often as not.
                match port.cancel(id, ALPC_CANCEL_TRY) {
                    Ok(_) => canceled += 1,
                    Err(fail::ALREADY_RECEIVED | fail::NOT_FOUND) => {
                        let reply = port.receive().expect("receive");
                        assert_eq!((reply.kind, reply.id), (ALPC_TYPE_REPLY, id));
                        answered += 1;
                    }
                    Err(failure) => panic!("{failure:?}"),
                }
            }
            _ => {
                port.request(b"r").expect("request");
                answered += 1;
            }
        }
        sent += 1;
    }
    for number in [sent, answered, canceled] {
        link.put(number);
    }
}

#[test]
fn a_thousand_connections_of_a_hundred_processes_balance() {
    isolated_long(5, || {
        many_descriptors();
        let port = Create::named("scale/server").open().run().expect("create");
        let users = [ALICE, BOB, CAROL];
        let clients: Vec<_> = (0..PROCESSES)
            .map(|n| Peer::spawn(users[n as usize % 3], move |link| client(link, n)))
            .collect();
        let (mut requests, mut datagrams, mut closed) = (0, 0, 0);
        let mut servers = BTreeMap::new();
        let mut started = false;
        while closed < PROCESSES * CONNECTIONS {
            let message = port.receive().expect("receive");
            match message.kind {
                ALPC_TYPE_CONNECTION_REQUEST => {
                    let context = servers.len() as u64;
                    let mut accept = Accept::new(message.id).context(context);
                    let server = accept.run(&port).expect("accept");
                    servers.insert(context, (server, message.uid));
                }
                ALPC_TYPE_REQUEST => {
                    assert_eq!(servers[&message.port_context].1, message.uid);
                    port.reply(&message, b"").expect("reply");
                    requests += 1;
                }
                ALPC_TYPE_DATAGRAM => datagrams += 1,
                ALPC_TYPE_PORT_CLOSED => {
                    servers.remove(&message.port_context).expect("closed twice");
                    closed += 1;
                }
                other => panic!("type {other}"),
            }
            if !started && servers.len() as u64 == PROCESSES * CONNECTIONS {
                started = true;
                let connections = port.query_port().expect("query").connections;
                assert_eq!(u64::from(connections), PROCESSES * CONNECTIONS);
                for client in &clients {
                    client.sync();
                }
            }
        }
        let (mut sent, mut answered, mut canceled) = (0, 0, 0);
        for client in clients {
            sent += client.take();
            answered += client.take();
            canceled += client.take();
            client.wait();
        }
        assert_eq!(requests, answered, "each request has one answer");
        assert_eq!(
            sent,
            requests + datagrams + canceled,
            "sent = received + cancelled"
        );
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        let query = port.query_port().expect("query");
        assert_eq!((query.connections, query.conversations), (0, 0));
        note!("{sent} sent, {requests} answered, {datagrams} one-way, {canceled} cancelled");
    });
}

#[test]
fn a_flood_delays_a_stranger_by_a_message_a_connection() {
    isolated(|| {
        let pair = Pair::new();
        let others: Vec<_> = (0..8).map(|n| pair::attach(&pair.port, n)).collect();
        for (_, flooder) in &others {
            for _ in 0..100 {
                flooder.one_way(b"flood").expect("send");
            }
        }
        pair.client.one_way(b"me").expect("send");
        let position = (0..).find(|_| pair.port.receive().expect("receive").data == b"me");
        assert!(position.expect("found") <= others.len(), "{position:?}");
    });
}
