// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a server sends and its clients have still: it counts for the server's port, and there a
//! user has a part of it that nobody else has.

use std::os::fd::{AsRawFd, OwnedFd};

use alpc_tests::files::*;
use alpc_tests::pair::attach_as;
use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// What clients of the port may have of its messages.
const ALL: u32 = 1 << 18;
/// What one user may.
const PART: u32 = ALL / 8;
/// The payload of the messages here, of which a user gets a few.
const LONG: usize = 4096;

fn in_use(port: &Port) -> u32 {
    let info = port.query_port().expect("query");
    assert_eq!(info.told_limit, ALL);
    info.told_bytes
}

fn make(name: &str) -> Port {
    let mut create = Create::named(name).open().takes(ALPC_TAKE_HANDLES, 0);
    create.arg.told_bytes = ALL;
    create.run().expect("create")
}

fn connect(name: &str) -> Port {
    let connect = Connect::to(name).takes(ALPC_TAKE_HANDLES, 0);
    { connect }.run().expect("connect").port
}

/// A process of a user that has so many connections and does what it is told to.
fn stranger(user: User, name: &'static str, connections: usize, body: fn(&Link, &[Port])) -> Peer {
    as_user(user, move |link| {
        let clients: Vec<_> = (0..connections).map(|_| connect(name)).collect();
        body(link, &clients);
    })
}

fn accept(port: &Port, connections: usize) -> Vec<Port> {
    (0..connections).map(|_| views::accept(port)).collect()
}

/// Sends over all connections until each refuses, and says how much that was.
fn until_refused(
    servers: &[Port],
    send: impl Fn(&Port) -> Result<(), Failure>,
    expected: Failure,
) -> usize {
    let count = |server| {
        let (sent, failure) = until_failure(|| send(server));
        assert_eq!(failure, expected);
        sent.len()
    };
    servers.iter().map(count).sum()
}

fn tell(server: &Port) -> Result<(), Failure> {
    let send = Transfer::new().send(&[7; LONG]);
    { send }
        .flags(ALPC_RELEASE | ALPC_NONBLOCK)
        .run(server)
        .map(drop)
}

fn ask(server: &Port) -> Result<(), Failure> {
    let send = Transfer::new().send(&[7; LONG]).flags(ALPC_NONBLOCK);
    { send }.run(server).map(drop)
}

/// Reads all that is there.
fn read_all(link: &Link, clients: &[Port]) {
    link.sync();
    for client in clients {
        while client.receive_now().is_ok() {}
    }
    link.sync();
    link.sync();
}

#[test]
fn a_user_has_an_eighth_of_what_a_server_may_have_sent_over_all_connections() {
    isolated(|| {
        let port = make("told/part");
        let bob = stranger(BOB, "told/part", 8, read_all);
        let servers = accept(&port, 8);
        let carol = stranger(CAROL, "told/part", 1, read_all);
        let other = accept(&port, 1);
        let sent = until_refused(&servers, tell, fail::LIMIT);
        let used = in_use(&port);
        assert!(used <= PART && used > PART - LONG as u32 * 2, "{used}");
        assert!((2..8).contains(&sent), "{sent}");
        // Nobody else has less for that.
        assert_eq!(until_refused(&other, tell, fail::LIMIT), sent);
        // It comes back when it is received.
        bob.sync();
        bob.sync();
        eventually(|| in_use(&port) == used);
        assert_eq!(until_refused(&servers, tell, fail::LIMIT), sent);
        carol.sync();
        carol.sync();
        carol.sync();
        carol.wait();
        bob.kill();
        drop((servers, other));
        eventually(|| in_use(&port) == 0);
    });
}

#[test]
fn many_users_leave_something_for_the_next_one() {
    isolated_long(2, || {
        let port = make("told/many");
        let users: Vec<_> = (0..12)
            .map(|index| {
                let id = 3000 + index;
                let user = User {
                    name: "one of many",
                    uid: id,
                    gid: id,
                    groups: &[],
                };
                let peer = stranger(user, "told/many", 1, read_all);
                let servers = accept(&port, 1);
                let sent = until_refused(&servers, tell, fail::LIMIT);
                (peer, servers, sent)
            })
            .collect();
        let sent: Vec<_> = users.iter().map(|(_, _, sent)| *sent).collect();
        note!("{sent:?}");
        assert!(sent.windows(2).all(|two| two[1] <= two[0]), "{sent:?}");
        assert!(in_use(&port) < ALL);
        assert!(sent[..8].iter().all(|&sent| sent > 0), "{sent:?}");
        for (peer, _, _) in users {
            peer.kill();
        }
    });
}

#[test]
fn what_a_client_holds_counts_until_the_server_has_the_turn_again() {
    isolated(|| {
        let port = make("told/held");
        let bob = stranger(BOB, "told/held", 1, |link, clients| {
            link.sync();
            let mut held = Vec::new();
            while let Ok(message) = clients[0].receive_now() {
                held.push(message);
            }
            link.put(held.len() as u64);
            link.take();
            for message in &held {
                clients[0].reply(message, b"").expect("reply");
            }
            link.sync();
            link.sync();
        });
        let servers = accept(&port, 1);
        let sent = until_refused(&servers, ask, fail::LIMIT);
        bob.sync();
        assert_eq!(bob.take(), sent as u64);
        assert_eq!(ask(&servers[0]), Err(fail::LIMIT), "it is read, and held");
        bob.put(0);
        bob.sync();
        for _ in 0..sent {
            servers[0].receive_now().expect("a reply");
        }
        assert_eq!(in_use(&port), 0);
        assert_eq!(until_refused(&servers, ask, fail::LIMIT), sent);
        bob.kill();
    });
}

#[test]
fn an_open_reply_counts_as_long_as_the_client_has_the_turn() {
    isolated(|| {
        let port = make("told/open");
        let bob = stranger(BOB, "told/open", 1, |link, clients| {
            let data = [0; LONG];
            let sum: Vec<_> = std::thread::scope(|scope| {
                let calls: Vec<_> = (0..10)
                    .map(|_| scope.spawn(|| clients[0].request(&data)))
                    .collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            let held: Vec<_> = sum.into_iter().filter_map(Result::ok).collect();
            link.put(held.len() as u64);
            link.take();
            for message in held {
                clients[0].reply(&message, b"").expect("reply");
            }
            link.sync();
            link.sync();
        });
        let _servers = accept(&port, 1);
        let requests: Vec<_> = (0..10).map(|_| port.receive().expect("receive")).collect();
        let (mut sent, mut refused) = (0, Vec::new());
        for request in &requests {
            match port.reply_open(request, &[7; LONG]) {
                Ok(()) => sent += 1,
                Err(failure) => {
                    assert_eq!(failure, fail::LIMIT);
                    refused.push(request);
                }
            }
        }
        assert!(sent > 1 && refused.len() > 1, "{sent} sent");
        // The turn is where it was, and a final reply to who waits costs nothing.
        for request in refused {
            port.cancel(request.id, 0).expect("cancel");
        }
        assert_eq!(bob.take(), sent);
        assert!(in_use(&port) > PART / 2);
        bob.put(0);
        bob.sync();
        for _ in 0..sent {
            port.receive_now().expect("a reply");
        }
        assert_eq!(in_use(&port), 0);
        bob.kill();
    });
}

#[test]
fn a_reply_to_a_thread_that_waits_needs_no_part() {
    isolated(|| {
        let port = make("told/waits");
        let bob = stranger(BOB, "told/waits", 2, |_, clients| {
            for _ in 0..rounds(100) {
                let reply = clients[1].request(b"?").expect("request");
                assert_eq!(reply.data, [8; LONG]);
            }
        });
        let servers = accept(&port, 2);
        until_refused(&servers[..1], tell, fail::LIMIT);
        let used = in_use(&port);
        for _ in 0..rounds(100) {
            let request = port.receive().expect("receive");
            port.reply(&request, &[8; LONG]).expect("reply");
        }
        bob.wait();
        assert!(in_use(&port) <= used);
    });
}

#[test]
fn who_made_the_port_has_no_part_of_its_own() {
    isolated(|| {
        let mut create = Create::anonymous();
        create.arg.told_bytes = ALL;
        let pair = Pair::with(create);
        let sent = until_refused(&[pair.server], tell, fail::LIMIT);
        assert!(sent as u32 * LONG as u32 > ALL / 8 * 6, "{sent}");
        drop(pair.client);
        assert_eq!(in_use(&pair.port), 0);
    });
}

#[test]
fn an_answer_has_its_room_still_if_what_was_to_go_with_it_had_none() {
    isolated(|| {
        let mut create = Create::anonymous().takes(ALPC_TAKE_HANDLES, 0);
        create.arg.told_bytes = ALL;
        let port = create.run().expect("create");
        let taking = Connect::new(None).takes(ALPC_TAKE_HANDLES, 0);
        let (server, client) = attach_as(&port, 0, taking);
        let requests = [(); 2].map(|()| {
            client.post(b"?").expect("post");
            port.receive().expect("receive")
        });
        for payload in [LONG, 0] {
            let more = || {
                let send = Transfer::new().send(&vec![7; payload]);
                { send }
                    .flags(ALPC_RELEASE | ALPC_NONBLOCK)
                    .run(&server)
                    .map(drop)
            };
            assert_eq!(until_failure(more).1, fail::LIMIT);
        }
        let (file, _other) = pipe();
        for request in &requests {
            let mut handles = HandleContainer::sending(&[file.as_raw_fd(); 64]);
            let refused = port.reply_with(request, &mut handles);
            assert_eq!(refused, Err(fail::LIMIT));
        }
        port.reply(&requests[0], b"!").expect("reply");
        let too_long = port.reply(&requests[1], &[7; LONG]);
        assert_eq!(too_long, Err(fail::TOO_LONG_FOR_REPLY));
    });
}

#[test]
fn an_answer_to_a_request_for_a_connection_counts_if_it_says_anything() {
    isolated(|| {
        let port = make("told/answers");
        let bob = as_user(BOB, |link| {
            let ports: Vec<_> = (0..12)
                .map(|_| {
                    let connect = Connect::to("told/answers").asynchronous();
                    { connect }.run().expect("connect").port
                })
                .collect();
            link.sync();
            link.sync();
            for port in &ports {
                let answer = port.receive().expect("an answer");
                assert!([ALPC_TYPE_CONNECTION_REPLY, ALPC_TYPE_CONNECTION_REFUSED]
                    .contains(&answer.kind));
            }
            link.sync();
        });
        bob.sync();
        let requests: Vec<_> = (0..12).map(|_| port.receive().expect("receive")).collect();
        let mut ends = Vec::new();
        let mut refused = Vec::new();
        for request in &requests {
            let mut accept = Accept::new(request.id).data(&[7; LONG]);
            match accept.run(&port) {
                Ok(end) => ends.push(end),
                Err(failure) => {
                    assert_eq!(failure, fail::LIMIT);
                    refused.push(request.id);
                }
            }
        }
        assert!(
            ends.len() > 1 && refused.len() > 2,
            "{} accepted",
            ends.len()
        );
        // The requests are there still, and can be answered in a word.
        Accept::new(refused[0]).refuse(&port).expect("refuse");
        for id in &refused[1..] {
            ends.push(Accept::new(*id).run(&port).expect("accept"));
        }
        bob.sync();
        bob.sync();
        bob.wait();
        assert_eq!(in_use(&port), 0);
    });
}

#[test]
fn a_port_must_allow_each_user_a_message() {
    isolated(|| {
        let create = |max: u32, told: u32| {
            let mut create = Create::anonymous().max(max);
            create.arg.told_bytes = told;
            create.run()
        };
        for max in [1, 256, 4096, 5000, 32768, ALPC_MESSAGE_MAX] {
            let port = create(max, 16 * max + 8192).expect("enough");
            assert_eq!(
                port.query_port().expect("query").told_limit,
                16 * max + 8192
            );
            assert_eq!(
                create(max, 8 * max).err().map(|it| it.errno),
                Some(libc::EINVAL)
            );
        }
        let info = create(0, 0).expect("create").query_port().expect("query");
        assert_eq!((info.told_limit, info.told_bytes), (ALPC_TOLD_DEFAULT, 0));
        let pair = Pair::new();
        for end in [&pair.client, &pair.server] {
            let info = end.query_port().expect("query");
            assert_eq!(
                (info.told_limit, info.told_bytes),
                (0, 0),
                "the port's alone"
            );
        }
        let mut create = Create::anonymous();
        create.arg.reserved = 1;
        assert_eq!(create.run().err().map(|it| it.errno), Some(libc::EINVAL));
    });
}

/// A server of a user that sends handles to all who connect until it may not.
fn hostile(user: User, name: &'static str, connections: usize) -> Peer {
    as_user(user, move |link| {
        let create = Create::named(name).open().takes(ALPC_TAKE_HANDLES, 0);
        let port = { create }.run().expect("create");
        link.sync();
        let servers = accept(&port, connections);
        let file = eventfd();
        let full = |file: &OwnedFd| {
            HandleContainer::sending(&[file.as_raw_fd(); ALPC_HANDLES_MAX as usize])
        };
        for server in &servers {
            let (_, failure) = until_failure(|| server.one_way_with(&mut full(&file)));
            assert!([fail::LIMIT, fail::QUEUE_FULL].contains(&failure));
            let (_, failure) = until_failure(|| tell(server));
            assert!([fail::LIMIT, fail::QUEUE_FULL].contains(&failure));
        }
        link.sync();
        link.sync();
    })
}

#[test]
fn a_hostile_server_uses_up_nothing_of_what_other_servers_may_send_to_a_user() {
    isolated_long(2, || {
        let mallory = hostile(MALLORY, "told/hostile", 16);
        mallory.sync();
        let port = make("told/honest");
        let bob = as_user(BOB, |link| {
            let _hostile: Vec<_> = (0..16).map(|_| connect("told/hostile")).collect();
            let honest = connect("told/honest");
            link.sync();
            let mut room = HandleContainer::claiming(1);
            let got = honest.receive_with(&mut room).expect("receive");
            assert_eq!((got.kind, room.handle().count), (ALPC_TYPE_DATAGRAM, 1));
            assert_eq!(honest.receive().expect("receive").kind, ALPC_TYPE_REQUEST);
            link.sync();
        });
        let servers = accept(&port, 1);
        bob.sync();
        mallory.sync();
        let file = eventfd();
        let sent = servers[0].one_way_with(&mut HandleContainer::one(&file));
        sent.expect("handles");
        ask(&servers[0]).expect("a request");
        bob.sync();
        bob.wait();
        mallory.sync();
        mallory.wait();
    });
}

#[test]
fn a_user_has_an_eighth_of_the_handles_that_a_server_may_have_sent() {
    isolated(|| {
        let port = make("told/handles");
        let bob = stranger(BOB, "told/handles", 4, read_all);
        let servers = accept(&port, 4);
        let carol = stranger(CAROL, "told/handles", 1, read_all);
        let other = accept(&port, 1);
        let file = eventfd();
        let fds = [file.as_raw_fd(); 64];
        let send = |server: &Port| server.one_way_with(&mut HandleContainer::sending(&fds));
        let sent = until_refused(&servers, send, fail::LIMIT);
        assert!(sent > 0);
        send(&other[0]).expect("another user is not concerned");
        bob.sync();
        bob.sync();
        assert_eq!(until_refused(&servers, send, fail::LIMIT), sent);
        bob.kill();
        carol.kill();
    });
}

#[test]
fn a_user_of_many_ports_leaves_others_what_their_maker_may_send() {
    isolated(|| {
        const NAMES: [&str; 16] = [
            "told/0", "told/1", "told/2", "told/3", "told/4", "told/5", "told/6", "told/7",
            "told/8", "told/9", "told/10", "told/11", "told/12", "told/13", "told/14", "told/15",
        ];
        let ports = NAMES.map(make);
        let bob = as_user(BOB, |link| {
            let _clients = NAMES.map(connect);
            link.sync();
            link.sync();
        });
        let servers: Vec<_> = ports.iter().flat_map(|port| accept(port, 1)).collect();
        bob.sync();
        let file = eventfd();
        let fds = [file.as_raw_fd(); ALPC_HANDLES_MAX as usize];
        let send = |server: &Port| server.one_way_with(&mut HandleContainer::sending(&fds));
        for server in &servers {
            let (_, failure) = until_failure(|| send(server));
            assert!([fail::LIMIT, fail::QUEUE_FULL].contains(&failure));
        }
        let carol = stranger(CAROL, NAMES[0], 1, read_all);
        let other = accept(&ports[0], 1);
        send(&other[0]).expect("another user is not concerned");
        carol.kill();
        bob.kill();
    });
}
