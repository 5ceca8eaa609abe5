// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a client may do beside connecting: lend, send, offer, and be waited for.

use std::thread;

use alpc_tests::files::eventfd;
use alpc_tests::privilege::become_effective;
use alpc_tests::raw::*;
use alpc_tests::views::{accept, filled, PAGE};
use alpc_tests::*;

const TAKES: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;
const PUSHES: u32 = ALPC_RIGHT_VIEW | ALPC_RIGHT_HANDLE | ALPC_RIGHT_MEMORY;

/// A port that takes everything from those the list admits.
fn server(name: &str, entries: &[alpc_acl_entry]) -> Port {
    let mut create = Create::named(name).acl(entries).taking(TAKES);
    create.run().expect("create")
}

/// A client that takes everything.
fn client(name: &str) -> Port {
    let mut connect = Connect::to(name).taking(TAKES);
    connect.run().expect("connect").port
}

/// A client in a process of `user`'s, which ends after `body`, and the server's end.
fn client_of(
    user: User,
    port: &Port,
    name: &'static str,
    body: impl FnOnce(&Link, &Port),
) -> (Peer, Port) {
    let peer = Peer::spawn(user, |link| body(link, &client(name)));
    let end = accept(port);
    (peer, end)
}

fn lend(port: &Port) -> Result<(), Failure> {
    let (section, view) = filled(port, PAGE, 7);
    let send = Transfer::new().send(b"view").flags(ALPC_RELEASE);
    let result = send.lend(port, view, 0).map(|_| ());
    if result.is_err() {
        view.assert_back(7);
        section.delete_view(view.base).expect("an own view");
    }
    result
}

fn send_handle(port: &Port) -> Result<(), Failure> {
    let file = eventfd();
    let mut handles = HandleContainer::one(&file);
    let result = port.one_way_with(&mut handles);
    // None of them in particular is refused.
    assert_eq!(handles.handle().index, JUNK32);
    result
}

fn offer(port: &Port) -> Result<(), Failure> {
    let memory = [1_u8; 8];
    let ranges = Ranges::of(&[(memory.as_ptr() as u64, memory.len(), ALPC_MEMORY_READ)]);
    // Sent, if it may be, and then not waited for.
    match Transfer::offering(&ranges).now().run(port) {
        Err(fail::TIMED_OUT_SENT) => Ok(()),
        result => result.map(|_| panic!("answered by nobody")),
    }
}

/// Sends what there is beside payload, and says what was let through. The rest fails in one way.
#[track_caller]
fn pushed(port: &Port, denied: Failure) -> u32 {
    let mut done = 0;
    for (right, result) in [
        (ALPC_RIGHT_VIEW, lend(port)),
        (ALPC_RIGHT_HANDLE, send_handle(port)),
        (ALPC_RIGHT_MEMORY, offer(port)),
    ] {
        match result {
            Ok(()) => done |= right,
            failure => assert_eq!(failure, Err(denied), "right {right}"),
        }
    }
    port.one_way(b"payload").expect("payload needs no right");
    done
}

/// Makes a client of `user`'s try everything. It may do what `rights` says.
#[track_caller]
fn may_push(user: User, port: &Port, name: &'static str, rights: u32) {
    let (peer, _end) = client_of(user, port, name, |link, client| {
        link.put(pushed(client, fail::ACCESS_DENIED).into());
        link.sync();
    });
    let done = peer.take() as u32;
    assert_eq!(done & PUSHES, rights & PUSHES, "{} of {name}", user.name);
    // Nothing of the rest has come. What was withdrawn again, the memory, may not come either.
    let mut arrived = Vec::new();
    while let Ok(message) = port.receive_now() {
        arrived.push(message.data);
    }
    let came = |data: &[u8]| arrived.iter().filter(|other| *other == data).count();
    assert_eq!(came(b"view"), usize::from(rights & ALPC_RIGHT_VIEW != 0));
    assert_eq!(came(b""), usize::from(rights & ALPC_RIGHT_HANDLE != 0));
    assert_eq!(came(b"payload"), 1);
    peer.sync();
    peer.wait();
    // The notice that it has gone.
    assert_eq!(port.receive().expect("receive").kind, ALPC_TYPE_PORT_CLOSED);
}

#[test]
fn a_client_sends_what_it_has_the_right_to() {
    isolated(|| {
        for mask in 0..8 {
            // They follow each other.
            let rights = mask * ALPC_RIGHT_VIEW;
            let entry = grant(ALPC_ACL_USER, BOB.uid, ALPC_RIGHT_CONNECT | rights);
            let port = server("rights/mask", &[entry]);
            may_push(BOB, &port, "rights/mask", rights);
        }
    });
}

#[test]
fn each_right_is_settled_by_the_first_entry_that_names_it() {
    isolated(|| {
        const NAME: &str = "rights/order";
        let port = server(
            NAME,
            &[
                withhold(ALPC_ACL_USER, BOB.uid, ALPC_RIGHT_VIEW),
                grant(ALPC_ACL_GROUP, 77, ALPC_RIGHT_HANDLE),
                withhold(
                    ALPC_ACL_USER,
                    CAROL.uid,
                    ALPC_RIGHT_ALL & !ALPC_RIGHT_CONNECT,
                ),
                withhold(ALPC_ACL_EVERYONE, 0, ALPC_RIGHT_HANDLE),
                allow(ALPC_ACL_EVERYONE, 0),
            ],
        );
        const MEMBER: User = BOB.with_groups(&[77]);
        const CAROL_TOO: User = CAROL.with_groups(&[77]);
        may_push(BOB, &port, NAME, ALPC_RIGHT_MEMORY);
        may_push(MEMBER, &port, NAME, ALPC_RIGHT_MEMORY | ALPC_RIGHT_HANDLE);
        may_push(CAROL, &port, NAME, 0);
        may_push(CAROL_TOO, &port, NAME, ALPC_RIGHT_HANDLE);
        may_push(ALICE, &port, NAME, ALPC_RIGHT_MEMORY | ALPC_RIGHT_VIEW);
        // Its maker, and root.
        may_push(ROOT, &port, NAME, ALPC_RIGHT_MEMORY | ALPC_RIGHT_VIEW);
    });
}

#[test]
fn without_a_list_the_owner_has_every_right() {
    isolated(|| {
        const NAME: &str = "rights/owner";
        let port = Create::named(NAME).taking(TAKES).run().expect("create");
        may_push(ROOT, &port, NAME, PUSHES);
    });
}

#[test]
fn what_the_server_does_not_take_is_not_taken_with_or_without_the_right() {
    isolated(|| {
        for rights in [ALPC_RIGHT_CONNECT, ALPC_RIGHT_ALL] {
            let entry = grant(ALPC_ACL_USER, BOB.uid, rights);
            let create = Create::named("rights/taken").acl(&[entry]).run();
            let port = create.expect("create");
            let (bob, _end) = client_of(BOB, &port, "rights/taken", |_, client| {
                assert_eq!(pushed(client, fail::NOT_TAKEN), 0);
            });
            bob.wait();
        }
    });
}

#[test]
fn rights_without_that_to_connect_let_nobody_in() {
    isolated(|| {
        let rights = ALPC_RIGHT_ALL & !ALPC_RIGHT_CONNECT;
        let _port = server("rights/out", &[grant(ALPC_ACL_EVERYONE, 0, rights)]);
        for user in [ROOT, BOB] {
            Peer::spawn(user, |_| {
                let result = Connect::to("rights/out").asynchronous().run();
                assert_eq!(result.map(|_| ()), Err(fail::ACCESS_DENIED));
            })
            .wait();
        }
    });
}

#[test]
fn rights_are_the_connections_whoever_uses_it() {
    isolated(|| {
        const NAME: &str = "rights/passed";
        let port = server(
            NAME,
            &[
                grant(
                    ALPC_ACL_USER,
                    BOB.uid,
                    ALPC_RIGHT_CONNECT | ALPC_RIGHT_HANDLE,
                ),
                grant(
                    ALPC_ACL_USER,
                    CAROL.uid,
                    ALPC_RIGHT_CONNECT | ALPC_RIGHT_VIEW,
                ),
            ],
        );
        let (bob, _end) = client_of(BOB, &port, NAME, |link, client| {
            link.put_fd(client);
            link.sync();
        });
        let passed = bob.take_fd();
        let carol = Peer::spawn(CAROL, |link| {
            let client = Port::from(link.take_fd());
            assert_eq!(pushed(&client, fail::ACCESS_DENIED), ALPC_RIGHT_HANDLE);
        });
        carol.put_fd(&passed);
        carol.wait();
        bob.sync();
        bob.wait();
    });
}

#[test]
fn rights_are_those_of_the_moment_of_connecting() {
    isolated(|| {
        const NAME: &str = "rights/moment";
        let port = server(
            NAME,
            &[
                grant(ALPC_ACL_USER, ALICE.uid, ALPC_RIGHT_CONNECT),
                allow(ALPC_ACL_USER, 0),
            ],
        );
        let peer = Peer::spawn(ROOT, |_| {
            become_effective(ALICE.uid);
            let poor = client(NAME);
            become_effective(0);
            let rich = client(NAME);
            assert_eq!(pushed(&poor, fail::ACCESS_DENIED), 0);
            become_effective(ALICE.uid);
            assert_eq!(pushed(&rich, fail::ACCESS_DENIED), PUSHES);
        });
        let mut ends = Vec::new();
        while ends.len() < 2 {
            let request = port.receive().expect("receive");
            if request.kind == ALPC_TYPE_CONNECTION_REQUEST {
                ends.push(Accept::new(request.id).run(&port).expect("accept"));
            }
        }
        peer.wait();
    });
}

#[test]
fn what_comes_from_the_server_needs_no_right() {
    isolated(|| {
        const NAME: &str = "rights/back";
        let entry = grant(ALPC_ACL_USER, BOB.uid, ALPC_RIGHT_CONNECT);
        let port = server(NAME, &[entry]);
        let (bob, end) = client_of(BOB, &port, NAME, |_, client| {
            let mut room = HandleContainer::claiming(1);
            client.receive_with(&mut room).expect("handles");
            assert_eq!(room.claimed().0.len(), 1);
            let (_, view) = client.receive_view().expect("a view");
            let view = view.expect("a view");
            view.assert_holds(3);
            // What is the server's goes back to it.
            let send = Transfer::new().send(b"back").flags(ALPC_RELEASE);
            send.with(client, &mut ViewContainer::releasing(view.base))
                .expect("given back");
        });
        end.one_way_with(&mut HandleContainer::one(&eventfd()))
            .expect("handles");
        let (_section, view) = filled(&end, PAGE, 3);
        let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
        send.lend(&end, view, ALPC_VIEW_SECURE).expect("a view");
        assert_eq!(port.receive().expect("receive").data, b"back");
        view.assert_back(3);
        bob.wait();
    });
}

/// A conversation that waits for its reply, by a thread of its own.
fn waits<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    client: &'scope Port,
) -> thread::ScopedJoinHandle<'scope, Vec<u8>> {
    scope.spawn(|| client.request(b"request").expect("request").data)
}

#[test]
fn without_the_right_no_thread_of_the_server_waits_for_a_client() {
    isolated(|| {
        const NAME: &str = "rights/wait";
        let rights = ALPC_RIGHT_ALL & !ALPC_RIGHT_CALLBACK;
        let port = server(NAME, &[grant(ALPC_ACL_EVERYONE, 0, rights)]);
        let denied = || Err::<(), _>(fail::ACCESS_DENIED);
        thread::scope(|scope| {
            let connect = scope.spawn(|| client(NAME));
            let end = accept(&port);
            let client = connect.join().expect("join");
            // Called back through either port, called, or waited for later.
            let waiting = thread::scope(|scope| {
                let waiting = waits(scope, &client);
                let request = port.receive().expect("receive");
                for through in [&port, &end] {
                    assert_eq!(through.callback(&request, b"x").map(|_| ()), denied());
                }
                assert_eq!(end.request(b"x").map(|_| ()), denied());
                port.reply(&request, b"reply").expect("reply");
                waiting.join().expect("join")
            });
            assert_eq!(waiting, b"reply");
            let id = end.post(b"asynchronous").expect("needs no right");
            let mut later = Transfer::new().send(b"").receive();
            later = later.flags(ALPC_SYNC | ALPC_SENT);
            later.arg.send_id = id;
            assert_eq!(later.run(&end).map(|_| ()), denied());
            // The client may wait for the server, also within what the server began.
            let asked = client.receive().expect("receive");
            assert_eq!(
                (asked.id, asked.data.as_slice()),
                (id, &b"asynchronous"[..])
            );
            thread::scope(|scope| {
                let asked = &asked;
                let client = &client;
                let waiting = scope.spawn(|| client.callback(asked, b"callback").expect("answer"));
                let callback = end.receive().expect("receive");
                assert_eq!(callback.data, b"callback");
                for through in [&port, &end] {
                    assert_eq!(through.answer(&callback, b"x").map(|_| ()), denied());
                }
                end.reply_open(&callback, b"answer").expect("answer");
                let answer = waiting.join().expect("join");
                assert_eq!(answer.data, b"answer");
                client.reply(&answer, b"done").expect("reply");
            });
            assert_eq!(end.receive().expect("receive").data, b"done");
        });
    });
}

#[test]
fn without_the_right_no_thread_of_the_server_waits_for_room() {
    isolated(|| {
        const NAME: &str = "rights/room";
        const ROOM: u32 = 4;
        for rights in [ALPC_RIGHT_ALL & !ALPC_RIGHT_CALLBACK, ALPC_RIGHT_ALL] {
            let create = Create::named(NAME).share(ROOM, 0);
            let port = create
                .acl(&[grant(ALPC_ACL_EVERYONE, 0, rights)])
                .run()
                .expect("create");
            let (mallory, end) = client_of(MALLORY, &port, NAME, |link, _| link.sync());
            for _ in 0..ROOM {
                end.one_way(b"unread").expect("send");
            }
            // Neither of them is told not to wait. The second has a long time.
            let sends = [
                Transfer::new().send(b"").flags(ALPC_RELEASE),
                Transfer::new().send(b"").timeout(50_000_000),
            ];
            match rights & ALPC_RIGHT_CALLBACK {
                0 => {
                    for mut send in sends {
                        assert_eq!(send.run(&end).unwrap_err(), fail::QUEUE_FULL);
                    }
                }
                _ => {
                    let [_, mut send] = sends;
                    assert_eq!(send.run(&end).unwrap_err(), fail::TIMED_OUT);
                }
            }
            mallory.sync();
            mallory.wait();
        }
    });
}

#[test]
fn with_the_right_a_client_is_called_and_called_back() {
    isolated(|| {
        const NAME: &str = "rights/called";
        let rights = ALPC_RIGHT_CONNECT | ALPC_RIGHT_CALLBACK;
        let port = server(NAME, &[grant(ALPC_ACL_USER, BOB.uid, rights)]);
        let (bob, end) = client_of(BOB, &port, NAME, |_, client| {
            let request = client.receive().expect("receive");
            client.reply(&request, b"called").expect("reply");
            let callback = client.request(b"request").expect("request");
            let reply = client.answer(&callback, b"called back").expect("answer");
            assert_eq!(reply.data, b"done");
        });
        assert_eq!(end.request(b"x").expect("request").data, b"called");
        let request = port.receive().expect("receive");
        let answer = port.callback(&request, b"x").expect("callback");
        assert_eq!(answer.data, b"called back");
        port.reply(&answer, b"done").expect("reply");
        bob.wait();
    });
}

#[test]
fn the_right_is_looked_at_before_the_turn_and_after_the_conversation() {
    isolated(|| {
        const NAME: &str = "rights/id";
        let port = server(NAME, &[grant(ALPC_ACL_EVERYONE, 0, ALPC_RIGHT_CONNECT)]);
        thread::scope(|scope| {
            let connect = scope.spawn(|| client(NAME));
            let _end = accept(&port);
            let client = connect.join().expect("join");
            let id = client.post(b"x").expect("post");
            let mut message = port.receive().expect("receive");
            assert_eq!(message.id, id);
            message.callback_id += 1;
            let result = port.callback(&message, b"x").map(|_| ());
            assert_eq!(result, Err(fail::ACCESS_DENIED));
            message.id += 1 << 40;
            let result = port.callback(&message, b"x").map(|_| ());
            assert_eq!(result, Err(fail::NOT_FOUND));
        });
    });
}
