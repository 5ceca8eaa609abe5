// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a user can't do to another one: as its client, as its server, as a
//! third party.

use std::iter;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

#[test]
fn an_answer_that_has_come_before_it_is_waited_for_again_is_taken() {
    isolated(|| {
        for accept in [true, false] {
            let port = Create::anonymous().run().expect("create");
            let through = port.connect_descriptor().expect("connect descriptor");
            let mut connect = Connect::new(None).asynchronous();
            let pending = connect.run_on(&through).expect("connect").port;
            let request = port.receive().expect("receive");
            let mut answer = Accept::new(request.id).data(b"answer");
            let server = match accept {
                true => Some(answer.run(&port).expect("accept")),
                false => answer.refuse(&port).map(|()| None).expect("refuse"),
            };
            let mut again = Connect::new(None).flags(ALPC_CONNECT_SENT);
            again.arg.fd = OwnedFd::from(pending).into_raw_fd();
            let result = again.run_on(&through);
            match &server {
                Some(server) => {
                    let connected = result.expect("the answer");
                    assert_eq!(connected.data, b"answer");
                    connected.port.one_way(b"x").expect("send");
                    assert_eq!(port.receive().expect("receive").data, b"x");
                    drop(connected);
                    assert_eq!(server.one_way(b"y"), Err(fail::DISCONNECTED));
                }
                None => assert_eq!(result.unwrap_err(), fail::REFUSED),
            }
        }
    });
}

#[test]
fn a_connect_is_resumed_once_and_by_one() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let resume = |fd: &Port| {
            let mut connect = Connect::new(None).flags(ALPC_CONNECT_SENT);
            connect.arg.fd = fd.as_fd().as_raw_fd();
            // On success it is the same descriptor, which has its owner.
            let connected = connect.run_on(&through)?;
            std::mem::forget(connected.port);
            Ok::<_, Failure>(connected.data)
        };
        let pending = || {
            let mut connect = Connect::new(None).asynchronous();
            connect.run_on(&through).expect("connect").port
        };
        let client = pending();
        std::thread::scope(|scope| {
            // Whichever of two comes second is told so; a wait of no time is one as well.
            let first = scope.spawn(|| loop {
                let result = resume(&client);
                if result != Err(fail::NOT_OWNER) {
                    break result;
                }
            });
            eventually(|| {
                let mut connect = Connect::new(None).flags(ALPC_CONNECT_SENT).timeout(0);
                connect.arg.fd = client.as_fd().as_raw_fd();
                connect.run_on(&through).unwrap_err() == fail::NOT_OWNER
            });
            let request = port.receive().expect("receive");
            let _server = Accept::new(request.id).run(&port).expect("accept");
            assert_eq!(first.join().expect("join").expect("the answer"), b"");
        });
        assert_eq!(resume(&client), Err(fail::NOT_FOUND));
        // Withdrawn under the feet of who waits.
        let client = pending();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| resume(&client));
            wait::settle();
            client.disconnect().expect("disconnect");
            assert_eq!(waiter.join().expect("join"), Err(fail::CLOSED));
        });
    });
}

#[test]
fn a_port_that_has_ended_is_not_counted_whoever_keeps_its_other_descriptors() {
    isolated_long(5, || {
        let most = query().ports_per_user;
        many_descriptors();
        // What a broker would do who makes a port for each of its clients.
        let alice = as_user(ALICE, move |link| {
            for _ in 0..most {
                let port = Create::anonymous().open().run().expect("create");
                link.put_fd(&port.connect_descriptor().expect("connect descriptor"));
            }
            link.sync();
            drop(Create::anonymous().run().expect("no port of hers is left"));
        });
        let kept: Vec<_> = (0..most).map(|_| alice.take_fd()).collect();
        alice.sync();
        alice.wait();
        drop(kept);
    });
}

/// Serves `name` as a user who keeps all she can: every connection, for good.
fn hoard(link: &Link, name: &str, rounds: u64) {
    let mut kept = Vec::new();
    for round in 0..rounds {
        let port = Create::named(format!("{name}/{round}"))
            .open()
            .run()
            .expect("create");
        link.sync();
        let mut batch = link.take();
        while batch != 0 {
            for _ in 0..batch {
                let request = loop {
                    let message = port.receive().expect("receive");
                    if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
                        break message;
                    }
                };
                kept.push(Accept::new(request.id).run(&port).expect("accept"));
            }
            link.sync();
            batch = link.take();
        }
        // The port stays as well.
        kept.push(port);
    }
    link.sync();
}

#[test]
fn a_connection_that_its_client_has_closed_is_not_counted_for_it_whatever_the_server_keeps() {
    isolated_long(10, || {
        let limits = query();
        let rounds = u64::from(limits.connections_per_user / limits.connections_per_port * 2 + 2);
        let mallory = as_user(MALLORY, move |link| hoard(link, "hostile/hoard", rounds));
        let bob = Peer::spawn(BOB, |link| {
            let port = Create::named("hostile/bob").open().run().expect("create");
            link.sync();
            link.sync();
            drop(port);
        });
        bob.sync();
        let (ours, theirs) = Link::pair();
        let alice = Peer::fork(ROOT, move |_| {
            many_descriptors();
            ALICE.become_it();
            let link = theirs;
            let mut made = 0;
            for round in 0..rounds {
                link.sync();
                loop {
                    let batch: Vec<_> = (0..256)
                        .map_while(|_| knock(&format!("hostile/hoard/{round}")).ok())
                        .collect();
                    made += batch.len();
                    link.put(batch.len() as u64);
                    if batch.is_empty() {
                        break;
                    }
                    link.sync();
                }
            }
            note!("{made} connections came and went");
            link.sync();
            drop(knock("hostile/bob").expect("she has no connection"));
        });
        // From one link to the other.
        for _ in 0..rounds {
            mallory.sync();
            ours.sync();
            loop {
                let batch = ours.take();
                mallory.put(batch);
                if batch == 0 {
                    break;
                }
                mallory.sync();
                ours.sync();
            }
        }
        ours.sync();
        alice.wait();
        mallory.sync();
        mallory.wait();
        bob.sync();
        bob.wait();
    });
}

#[test]
fn one_user_cannot_take_all_the_places_of_those_who_wait_to_be_accepted() {
    isolated(|| {
        // A server that is busy with something else.
        let server = Peer::spawn(ALICE, |link| {
            let port = Create::named("hostile/pending")
                .open()
                .run()
                .expect("create");
            link.sync();
            link.sync();
            drop(port);
        });
        server.sync();
        let mallory = as_user(MALLORY, |link| {
            let (kept, failure) = until_failure(|| knock("hostile/pending"));
            assert_eq!(failure, fail::LIMIT);
            link.put(kept.len() as u64);
            link.sync();
            // What she gives up she can have again.
            drop(kept);
            drop(knock("hostile/pending").expect("knock"));
        });
        let most = u64::from(query().pending_connections);
        assert_eq!(mallory.take(), most / 2);
        Peer::spawn(BOB, |_| drop(knock("hostile/pending").expect("a place"))).wait();
        mallory.sync();
        mallory.wait();
        server.sync();
        server.wait();
    });
}

#[test]
fn one_user_cannot_take_all_connections_of_a_port_even_those_that_were_refused_or_ended() {
    isolated(|| {
        let server = Peer::spawn(ALICE, |link| {
            let port = Create::named("hostile/full").open().connections(64).run();
            let port = port.expect("create");
            link.sync();
            for i in 0.. {
                let message = port.receive().expect("receive");
                if message.kind != ALPC_TYPE_CONNECTION_REQUEST {
                    continue;
                }
                let mut answer = Accept::new(message.id);
                if message.uid == BOB.uid {
                    drop(answer.run(&port).expect("accept"));
                    break;
                }
                match i % 2 {
                    0 => drop(answer.run(&port).expect("accept")),
                    _ => answer.refuse(&port).expect("refuse"),
                }
            }
            // Her own connections are her own affair.
            let mut own = Vec::new();
            while let Ok(client) = knock("hostile/full") {
                // Notices about those who have left may come before it.
                let request = iter::repeat_with(|| port.receive().expect("receive"))
                    .find(|message| message.kind == ALPC_TYPE_CONNECTION_REQUEST)
                    .expect("a request");
                own.push((client, Accept::new(request.id).run(&port).expect("accept")));
            }
            assert!(own.len() > 16, "{} connections of her own", own.len());
        });
        server.sync();
        let mallory = Peer::spawn(MALLORY, |link| {
            let mut kept = Vec::new();
            let failure = loop {
                // Waits for the answer, so that it is not a matter of pending ones.
                match knock("hostile/full") {
                    Ok(port) => {
                        port.receive().expect("an answer");
                        kept.push(port);
                    }
                    Err(failure) => break failure,
                }
            };
            assert_eq!(failure, fail::LIMIT);
            link.put(kept.len() as u64);
            link.sync();
        });
        assert_eq!(mallory.take(), 32);
        Peer::spawn(BOB, |_| {
            Connect::to("hostile/full").run().expect("a place");
        })
        .wait();
        mallory.sync();
        mallory.wait();
        server.wait();
    });
}

/// Runs `body` in a user namespace of `owner`'s, who is user 0 in it. Users 1 and 2
/// are others.
fn in_namespace_of(owner: User, body: impl FnOnce(&Link)) -> Peer {
    let inside = as_user(owner, move |link| {
        // SAFETY: Takes no pointer.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
        link.sync();
        link.sync();
        body(link);
    });
    inside.sync();
    let map = format!("0 {} 1\n1 {} 2\n", owner.uid, owner.uid * 100);
    std::fs::write(format!("/proc/{}/uid_map", inside.pid()), map).expect("uid_map");
    inside.sync();
    inside
}

/// What `act` gives when it is user `uid` of this process's namespace who acts.
fn acting_as<T>(uid: u32, act: impl FnOnce() -> T) -> T {
    let become_effective = |uid: u32| {
        // SAFETY: Plain numbers; the effective id of this thread only.
        unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, -1, uid, -1), 0) };
    };
    become_effective(uid);
    let result = act();
    become_effective(0);
    result
}

/// As many connections to `name` as it gives this user.
fn all_places(name: &str) -> Vec<Port> {
    let (kept, failure) = until_failure(|| knock(name));
    assert_eq!(failure, fail::LIMIT);
    kept
}

#[test]
fn a_port_that_is_made_in_a_namespace_tells_its_users_apart_and_exempts_its_maker() {
    isolated(|| {
        let name = "hostile/inside";
        let inside = in_namespace_of(CAROL, |link| {
            let port = acting_as(1, || Create::named(name).open().connections(64).run());
            let _port = port.expect("create");
            // Who owns the namespace answers for all of them, so that tells nothing.
            let second = acting_as(2, || all_places(name));
            let owner = acting_as(0, || all_places(name));
            assert_eq!((second.len(), owner.len()), (32, 16));
            link.sync();
            link.sync();
            assert_eq!(
                acting_as(1, || all_places(name)).len(),
                4,
                "all that is left"
            );
        });
        inside.sync();
        let bob = Peer::spawn(BOB, |link| {
            let kept = all_places(name);
            assert_eq!(kept.len(), 8);
            link.sync();
            link.sync();
        });
        bob.sync();
        // Not so from outside, where the owner of a namespace is one among others.
        let mallory = in_namespace_of(MALLORY, |link| {
            let first = acting_as(1, || all_places(name));
            let second = acting_as(2, || all_places(name));
            assert_eq!((first.len(), second.len()), (4, 0));
            link.sync();
            link.sync();
        });
        mallory.sync();
        inside.sync();
        inside.wait();
        for peer in [bob, mallory] {
            peer.sync();
            peer.wait();
        }
    });
}

#[test]
fn other_users_of_a_namespace_that_a_ports_maker_owns_are_one_stranger_together() {
    isolated(|| {
        let name = "hostile/outside";
        let maker = Peer::spawn(CAROL, |link| {
            let port = Create::named(name).open().connections(64).run();
            let _port = port.expect("create");
            link.sync();
            link.sync();
        });
        maker.sync();
        let inside = in_namespace_of(CAROL, |link| {
            let first = acting_as(1, || all_places(name));
            let second = acting_as(2, || all_places(name));
            assert_eq!((first.len(), second.len()), (32, 0));
            link.sync();
            link.sync();
            // She herself is exempt in there as well.
            assert_eq!(
                acting_as(0, || all_places(name)).len(),
                16,
                "all that is left"
            );
        });
        inside.sync();
        let bob = Peer::spawn(BOB, |link| {
            let kept = all_places(name);
            assert_eq!(kept.len(), 16);
            link.sync();
            link.sync();
        });
        bob.sync();
        inside.sync();
        inside.wait();
        for peer in [bob, maker] {
            peer.sync();
            peer.wait();
        }
    });
}
