// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every limit at its default, reached; and given back afterwards.

use std::any::Any;

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

fn post_now(port: &Port, data: &[u8]) -> Result<u64, Failure> {
    let mut transfer = Transfer::new().send(data).flags(ALPC_NONBLOCK);
    transfer.run(port)?;
    Ok(transfer.arg.send_id)
}

#[test]
fn a_connection_queues_as_many_messages_as_stated_in_each_direction() {
    isolated(|| {
        let pair = Pair::new();
        for (from, to) in [(&pair.client, &pair.port), (&pair.server, &pair.client)] {
            let (sent, failure) = until_failure(|| post_now(from, b""));
            assert_eq!(failure, fail::QUEUE_FULL);
            assert_eq!(sent.len() as u32, query().queue_messages);
            // One taken, one more fits; the other direction is its own.
            to.receive().expect("receive");
            post_now(from, b"").expect("there is room");
            assert_eq!(post_now(from, b"").unwrap_err(), fail::QUEUE_FULL);
        }
    });
}

#[test]
fn a_connection_queues_as_many_bytes_as_stated_in_each_direction() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().max(ALPC_MESSAGE_MAX));
        let data = vec![0; ALPC_MESSAGE_MAX as usize];
        for (from, to) in [(&pair.client, &pair.port), (&pair.server, &pair.client)] {
            let (sent, failure) = until_failure(|| post_now(from, &data));
            assert_eq!(failure, fail::QUEUE_FULL);
            assert_eq!(sent.len() as u32, query().queue_bytes / ALPC_MESSAGE_MAX);
            Transfer::new()
                .capacity(data.len())
                .run(to)
                .expect("receive");
            post_now(from, &data).expect("there is room");
        }
    });
}

#[test]
fn a_share_is_a_connections_own() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().share(3, 0));
        let (_server, other) = pair::attach(&pair.port, 2);
        let (sent, _) = until_failure(|| post_now(&pair.client, b""));
        assert_eq!(sent.len(), 3);
        let (sent, _) = until_failure(|| post_now(&other, b""));
        assert_eq!(sent.len(), 3, "one that floods takes nothing from another");
    });
}

#[test]
fn an_accept_can_make_the_share_of_a_connection_smaller() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        let mut accept = Accept::new(request.id);
        accept.arg.queue_messages = 2;
        let server = accept.run(&port).expect("accept");
        assert_eq!(server.query_port().expect("query").queue_messages, 2);
        let (sent, failure) = until_failure(|| post_now(&client, b""));
        assert_eq!((sent.len(), failure), (2, fail::QUEUE_FULL));
    });
}

#[test]
fn o_nonblock_makes_every_send_nonblocking() {
    isolated(|| {
        use std::os::fd::{AsFd, AsRawFd};
        let pair = Pair::with(Create::anonymous().share(1, 0));
        let fd = pair.client.as_fd().as_raw_fd();
        // SAFETY: Takes no pointer.
        assert_eq!(
            unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) },
            0
        );
        pair.client.one_way(b"1").expect("send");
        assert_eq!(pair.client.one_way(b"2"), Err(fail::QUEUE_FULL));
    });
}

#[test]
fn o_nonblock_makes_every_receive_of_the_next_message_nonblocking() {
    isolated(|| {
        use std::os::fd::{AsFd, AsRawFd};
        let pair = Pair::new();
        for port in [&pair.port, &pair.client, &pair.server] {
            let fd = port.as_fd().as_raw_fd();
            // SAFETY: Takes no pointer.
            assert_eq!(
                unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) },
                0
            );
            let failure = port.receive().unwrap_err();
            assert_eq!(failure.errno, libc::EAGAIN);
            assert_eq!(failure.outcome, ALPC_OUTCOME_TIMED_OUT);
        }
        // A wait for one conversation is what its caller asked for.
        std::thread::scope(|scope| {
            let client = scope.spawn(|| pair.client.request(b"x"));
            eventually(|| match pair.port.receive() {
                Ok(request) => pair.port.reply(&request, b"y").is_ok(),
                Err(_) => false,
            });
            assert_eq!(client.join().expect("join").expect("request").data, b"y");
        });
    });
}

#[test]
fn a_connection_has_as_many_open_conversations_as_stated() {
    isolated_long(3, || {
        let pair = Pair::new();
        let most = query().conversations_per_connection;
        let (posted, failure) = until_failure(|| {
            let id = post_now(&pair.client, b"")?;
            pair.port.receive().map(|request| (id, request))
        });
        assert_eq!(failure, fail::LIMIT);
        assert_eq!(posted.len() as u32, most);
        let (_, request) = &posted[0];
        pair.port.reply(request, b"").expect("reply");
        pair.client.receive().expect("receive");
        post_now(&pair.client, b"").expect("there is room again");
    });
}

#[test]
fn a_port_has_as_many_pending_connections_as_stated() {
    isolated(|| {
        let most = query().pending_connections;
        as_user(ALICE, move |_| {
            let port = Create::anonymous().run().expect("create");
            let through = port.connect_descriptor().expect("connect descriptor");
            let connect = || {
                let mut connect = Connect::new(None).asynchronous();
                connect.run_on(&through).map(|connected| connected.port)
            };
            let (mut pending, failure) = until_failure(connect);
            assert_eq!(failure, fail::LIMIT);
            assert_eq!(pending.len() as u32, most);
            pending.pop();
            pending.push(connect().expect("there is room again"));
            let request = port.receive().expect("receive");
            let _server = Accept::new(request.id).run(&port).expect("accept");
            connect().expect("an accepted one is not pending");
        })
        .wait();
    });
}

#[test]
fn a_port_has_as_many_connections_as_stated() {
    isolated_long(5, || {
        let limits = query();
        // Where the kernel was told to allow a user less than that, a user can't show it.
        let most = limits.connections_per_port.min(limits.connections_per_user);
        as_user(ALICE, move |_| {
            let port = Create::anonymous().run().expect("create");
            let through = port.connect_descriptor().expect("connect descriptor");
            let (connections, failure) = until_failure(|| {
                let mut connect = Connect::new(None).asynchronous();
                let client = connect.run_on(&through)?.port;
                let request = port.receive()?;
                let server = Accept::new(request.id).run(&port)?;
                Ok((client, server))
            });
            assert_eq!(failure, fail::LIMIT);
            assert_eq!(connections.len() as u32, most);
            assert_eq!(port.query_port().expect("query").connections, most);
        })
        .wait();
    });
}

#[test]
fn a_user_has_as_many_ports_as_stated_over_all_processes() {
    isolated_long(5, || {
        let most = query().ports_per_user;
        let half = most / 2;
        let first = as_user(ALICE, move |link| {
            let ports: Vec<_> = (0..half).map(|_| Create::anonymous().run()).collect();
            assert!(ports.iter().all(Result::is_ok));
            link.sync();
            link.sync();
        });
        first.sync();
        as_user(ALICE, move |_| {
            let (ports, failure) = until_failure(|| Create::anonymous().run());
            assert_eq!(failure, fail::LIMIT);
            assert_eq!(ports.len() as u32, most - half);
        })
        .wait();
        // Another user is not concerned, and what has ended doesn't count.
        as_user(BOB, |_| drop(Create::anonymous().run().expect("create"))).wait();
        first.sync();
        first.wait();
        as_user(ALICE, |_| drop(Create::anonymous().run().expect("create"))).wait();
    });
}

#[test]
fn a_user_has_as_many_connections_as_stated_over_all_ports() {
    isolated_long(10, || {
        let limits = query();
        as_user(BOB, move |_| {
            let mut ports = Vec::new();
            let mut made = 0;
            let failure = 'full: loop {
                let port = Create::anonymous().run().expect("create");
                let through = port.connect_descriptor().expect("connect descriptor");
                // Left pending: that is the cheapest connection.
                let mut pending = Vec::new();
                for _ in 0..limits.pending_connections {
                    let mut connect = Connect::new(None).asynchronous();
                    match connect.run_on(&through) {
                        Ok(connected) => pending.push(connected.port),
                        Err(failure) => break 'full failure,
                    }
                    made += 1;
                }
                ports.push((port, pending));
            };
            assert_eq!(failure, fail::LIMIT);
            assert_eq!(made, limits.connections_per_user);
        })
        .wait();
    });
}

#[test]
fn a_user_has_as_many_conversations_as_stated_over_all_connections() {
    isolated_long(10, || {
        let limits = query();
        as_user(CAROL, move |_| {
            let mut pairs = Vec::new();
            let mut made = 0;
            let failure = 'full: loop {
                let pair = Pair::new();
                for _ in 0..limits.conversations_per_connection {
                    match post_now(&pair.client, b"") {
                        Ok(_) => pair.port.receive().expect("receive"),
                        Err(failure) => break 'full failure,
                    };
                    made += 1;
                }
                pairs.push(pair);
            };
            assert_eq!(failure, fail::LIMIT);
            assert_eq!(made, limits.conversations_per_user);
        })
        .wait();
    });
}

/// Things that are kept, and how many they are.
type Made = (Box<dyn Any>, u32);

/// Lets two users of a namespace that `owner` owns make things, which are kept:
/// `make` is given how many the first may make, or `None` for as many as can
/// be, and says how many it made. Then it is the turn of the owner, and of
/// somebody else.
fn as_subordinates(owner: u32, most: u32, make: fn(Option<u32>) -> Made) {
    let owner = User {
        name: "owner",
        uid: owner,
        gid: owner,
        groups: &[],
    };
    let half = most / 2;
    let inside = as_user(owner, move |link| {
        // SAFETY: Takes no pointer.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
        link.sync();
        link.sync();
        let mut kept = Vec::new();
        for (uid, asked, expected) in [(1, Some(half), half), (2, None, most - half)] {
            // SAFETY: Plain numbers; the effective id of this thread only.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, -1, uid, -1), 0) };
            let (made, count) = make(asked);
            assert_eq!(count, expected, "made by user {uid}");
            kept.push(made);
            // SAFETY: As above: back to who may change again.
            unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, -1, 0, -1), 0) };
        }
        assert_eq!(
            make(None).1,
            0,
            "nothing is left, to the owner in there either"
        );
        link.sync();
        link.sync();
    });
    inside.sync();
    let map = |file: &str, text: &str| {
        std::fs::write(format!("/proc/{}/{file}", inside.pid()), text).expect(file);
    };
    map("uid_map", &format!("0 {} 1\n1 100000 2\n", owner.uid));
    map("gid_map", &format!("0 {} 1\n", owner.gid));
    inside.sync();
    inside.sync();
    as_user(owner, move |_| {
        assert_eq!(make(Some(1)).1, 1, "what it has outside is another share")
    })
    .wait();
    as_user(BOB, move |_| {
        assert_eq!(make(Some(1)).1, 1, "not concerned")
    })
    .wait();
    inside.sync();
    inside.wait();
    as_user(owner, move |_| assert_eq!(make(Some(1)).1, 1, "given back")).wait();
}

/// Makes things a bundle at a time, up to a number of them or to the limit;
/// `begin` makes what holds a bundle, `one` one thing more in it.
fn bundles<B: 'static, T: 'static>(
    asked: Option<u32>,
    size: u32,
    begin: fn() -> Result<B, Failure>,
    one: fn(&B) -> Result<T, Failure>,
) -> Made {
    let (mut kept, mut count) = (Vec::new(), 0);
    let failure = 'full: loop {
        if asked == Some(count) {
            return (Box::new(kept), count);
        }
        let bundle = begin().expect("what holds them");
        let mut things = Vec::new();
        for _ in 0..size {
            if asked == Some(count) {
                break;
            }
            match one(&bundle) {
                Ok(thing) => things.push(thing),
                Err(failure) => {
                    kept.push((bundle, things));
                    break 'full failure;
                }
            }
            count += 1;
        }
        kept.push((bundle, things));
    };
    assert_eq!(failure, fail::LIMIT);
    (Box::new(kept), count)
}

#[test]
fn subordinate_users_share_the_ports_of_their_owner() {
    isolated_long(5, || {
        as_subordinates(2000, query().ports_per_user, |asked| {
            bundles(asked, u32::MAX, || Ok(()), |()| Create::anonymous().run())
        });
    });
}

#[test]
fn subordinate_users_share_the_connections_of_their_owner() {
    isolated_long(10, || {
        as_subordinates(2001, query().connections_per_user, |asked| {
            let begin = || {
                let port = Create::anonymous().run()?;
                let through = port.connect_descriptor()?;
                Ok((port, through))
            };
            // Not the places of a port are to be at an end.
            let few = query().pending_connections / 4;
            bundles(asked, few, begin, |(_, through)| {
                let mut connect = Connect::new(None).asynchronous();
                connect.run_on(through).map(|connected| connected.port)
            })
        });
    });
}

#[test]
fn subordinate_users_share_the_conversations_of_their_owner() {
    isolated_long(10, || {
        as_subordinates(2002, query().conversations_per_user, |asked| {
            let most = query().conversations_per_connection;
            bundles(
                asked,
                most,
                || Ok(Pair::new()),
                |pair| {
                    post_now(&pair.client, b"")?;
                    pair.port.receive().map(drop)
                },
            )
        });
    });
}
