// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong in NT's ports, and does not here: kinds, ids, lengths, identities. One test for
//! each bug, with what it was there and what holds here.

use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::memory::Pages;
use alpc_tests::pair::attach;
use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::*;

const EVERYTHING: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;

/// Tries everything that can be done to a conversation by who names it at its turn, waiting for
/// nothing.
fn attempts(port: &Port, named: &Message) -> Vec<(&'static str, Failure)> {
    let send = |flags: u32| {
        let send = Transfer::new().send(b"forged").into(named).now();
        send.flags(flags).run(port).err()
    };
    let call = |flags: u32| {
        let call = Transfer::new().send(b"forged").into(named).receive().now();
        call.flags(ALPC_SYNC | flags).run(port).err()
    };
    let plain = |errno, outcome| Failure { errno, outcome };
    let short = |short: Short| plain(short.failure.errno, short.failure.outcome);
    let tried = [
        ("reply", send(ALPC_RELEASE)),
        // The one that has a short cut.
        (
            "reply and receive",
            port.reply_receive(named, b"forged").err(),
        ),
        ("reply that stays open", send(0)),
        ("callback", call(0)),
        ("answer", call(ALPC_ANSWER)),
        ("release", port.release(named).err()),
        ("claim", port.claim(named, 0).err()),
        ("read memory", port.peek(named, 0, 0, 1).err().map(short)),
        (
            "write memory",
            port.poke(named, 0, 0, b"x").err().map(short),
        ),
    ];
    let failed = tried.map(|(what, failure)| (what, failure.expect(what)));
    failed.into()
}

/// The same and to cancel it, for which no turn is needed: how it failed other than like this.
fn other_than(port: &Port, named: &Message, one: Failure) -> Vec<(&'static str, Failure)> {
    let mut failed = attempts(port, named);
    for flags in [0, ALPC_CANCEL_TRY] {
        failed.push(("cancel", port.cancel(named.id, flags).unwrap_err()));
    }
    failed.retain(|(_, how)| *how != one);
    failed
}

/// KB259773: NT crashed when a server answered a connection request by a plain reply, as the path
/// of replies took it for a request. Here only accepting and refusing consume one, and nothing
/// else that names it has an effect.
#[test]
fn a_plain_reply_to_a_connection_request_is_refused_and_changes_nothing() {
    isolated(|| {
        let port = Create::named("lessons/kind")
            .open()
            .taking(EVERYTHING)
            .run();
        let port = port.expect("create");
        let (other, _client) = attach(&port, 7);
        let client = Peer::spawn(MALLORY, |_| {
            let mut connect = Connect::to("lessons/kind").data(b"let me in");
            let connected = connect.run().expect("connect");
            assert_eq!(connected.data, b"welcome");
            let reply = connected.port.request(b"first").expect("request");
            assert_eq!(reply.data, b"last");
        });
        let request = port.receive().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
        assert_eq!(other_than(&port, &request, fail::WRONG_KIND), []);
        assert_eq!(other_than(&other, &request, fail::NOT_FOUND), []);
        let mut accept = Accept::new(request.id).data(b"welcome").context(9);
        let _server = accept.run(&port).expect("accept");
        // And the other way round: a request is not accepted.
        let first = port.receive().expect("receive");
        assert_eq!((first.port_context, &first.data[..]), (9, &b"first"[..]));
        for id in [first.id, request.id] {
            let expected = match id == first.id {
                true => fail::WRONG_KIND,
                false => fail::NOT_FOUND,
            };
            assert_eq!(Accept::new(id).run(&port).err(), Some(expected));
            assert_eq!(Accept::new(id).refuse(&port).err(), Some(expected));
        }
        port.reply(&first, b"last").expect("reply");
        client.wait();
    });
}

/// MS00-070: message ids could be foretold, and whoever named one replied in the server's place.
/// Here an id means something only to the two ends of its connection, at one turn: knowing it, let
/// alone guessing it, is worth nothing.
#[test]
fn a_reply_with_a_guessed_id_reaches_nobody() {
    isolated(|| {
        let port = Create::named("lessons/guess")
            .open()
            .taking(EVERYTHING)
            .run();
        let port = port.expect("create");
        let join = || {
            let connect = Connect::to("lessons/guess").run();
            connect.expect("connect").port
        };
        let total = rounds(300);
        let shared = Shared::new();
        let (stop, last, tried) = (&shared[0], &shared[1], &shared[2]);
        let victim = Peer::spawn(ALICE, |link| {
            let client = join();
            link.sync();
            for round in 0..=total {
                let data = round.to_le_bytes();
                let reply = client.request(&data).expect("request");
                assert_eq!((&reply.data[..], reply.uid), (&data[..], ROOT.uid));
            }
        });
        let victims_end = views::accept(&port);
        let thief = Peer::spawn(MALLORY, |link| {
            let client = join();
            // Both ends of a connection of the thief's own.
            let own = Create::anonymous()
                .taking(EVERYTHING)
                .run()
                .expect("create");
            let (end, own_client) = attach(&own, 0);
            let mut rng = Rng::new(seed());
            let mut known = Message {
                id: link.take(),
                callback_id: 0,
                ..end_of_nothing(&own, &own_client)
            };
            let everywhere = |known: &Message| {
                for port in [&client, &own, &end, &own_client] {
                    assert_eq!(other_than(port, known, fail::NOT_FOUND), []);
                }
            };
            everywhere(&known);
            link.sync();
            while stop.load(SeqCst) == 0 {
                known.id = match rng.below(4) {
                    0 => last.load(SeqCst),
                    1 => last.load(SeqCst) + rng.below(4),
                    2 => last.load(SeqCst) ^ (1 << rng.below(64)),
                    _ => last.load(SeqCst) + (1 << 32),
                };
                known.id = known.id.max(1);
                known.callback_id = rng.below(2) as u32;
                everywhere(&known);
                tried.fetch_add(1, SeqCst);
            }
        });
        let _thiefs_end = views::accept(&port);
        victim.sync();
        let mut request = port.receive().expect("receive");
        thief.put(request.id);
        thief.sync();
        for _ in 0..total {
            last.store(request.id, SeqCst);
            let before = tried.load(SeqCst);
            if before % 8 == 0 {
                // Some are guessed while their client waits.
                eventually(|| tried.load(SeqCst) > before);
            }
            let data = request.data.clone();
            request = port.reply_receive(&request, &data).expect("next");
            assert_eq!(request.uid, ALICE.uid);
        }
        let data = request.data.clone();
        victims_end.reply(&request, &data).expect("reply");
        victim.wait();
        stop.store(1, SeqCst);
        thief.wait();
    });
}

/// A message that is over.
fn end_of_nothing(port: &Port, client: &Port) -> Message {
    client.one_way(b"").expect("send");
    port.receive().expect("receive")
}

/// MS00-070: requests that nobody read were kept without bound, and used up the system's memory.
/// Here each connection has a share, each user a share of the connections, and none of it is taken
/// from anybody else's.
#[test]
fn unread_requests_of_one_user_leave_room_for_those_of_others() {
    isolated(|| {
        let create = Create::named("lessons/unread").open().share(16, 65_536);
        let port = create.connections(64).run().expect("create");
        let flood = Peer::spawn(MALLORY, |link| {
            let (clients, failure) = plenty::until_failure(|| plenty::knock("lessons/unread"));
            assert_eq!(failure, fail::LIMIT);
            link.put(clients.len() as u64);
            link.sync();
            for client in &clients {
                let reply = client.receive().expect("receive");
                assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
                let send = |flags| {
                    let send = Transfer::new().send(&[0x5a; 4096]);
                    send.flags(ALPC_NONBLOCK | flags).run(client).map(|_| ())
                };
                let (sent, failure) = plenty::until_failure(|| send(0));
                assert_eq!((sent.len(), failure), (16, fail::QUEUE_FULL));
                assert_eq!(send(ALPC_RELEASE), Err(fail::QUEUE_FULL));
            }
            link.sync();
            link.take();
        });
        let knocked = flood.take();
        assert!((1..64).contains(&knocked), "{knocked}");
        let ends: Vec<_> = (0..knocked).map(|_| views::accept(&port)).collect();
        flood.sync();
        flood.sync();
        let told = port.query_port().expect("query");
        assert_eq!(u64::from(told.queued_messages), 16 * knocked);
        assert_eq!(u64::from(told.queued_bytes), 65_536 * knocked);

        let other = Peer::spawn(BOB, |_| {
            let connected = Connect::to("lessons/unread").run().expect("connect");
            assert_eq!(
                connected.port.request(b"me too").expect("call").data,
                b"yes"
            );
        });
        // Whatever is in front of it is a message of each connection at a time.
        let mut end = None;
        let mut before = 0;
        let request = loop {
            match port.receive().expect("receive") {
                message if message.uid != BOB.uid => before += 1,
                message if message.kind == ALPC_TYPE_REQUEST => break message,
                message => end = Accept::new(message.id).run(&port).ok(),
            }
            assert!(before <= 16 * knocked);
        };
        port.reply(&request, b"yes").expect("reply");
        other.wait();
        flood.kill();
        let left = || std::iter::from_fn(|| port.receive_now().ok());
        eventually(|| {
            left().for_each(drop);
            port.query_port().expect("query").queued_bytes == 0
        });
        drop((end, ends));
    });
}

/// MS04-044: lengths of a message were believed where they had not been checked, and the kernel
/// copied beyond its buffers. Here no length, however large, moves a byte beside what both sides
/// have: memory that ends at a forbidden page shows it.
#[test]
fn no_length_moves_a_byte_more_than_there_is() {
    isolated(|| {
        let pair = Pair::taking(EVERYTHING);
        let pages = Pages::cliff();
        pages.write(pages.end(64), &[0x5a; 64]);
        for length in [1, 63, 64, 65, 4096, 4097, 65_536, 65_537, 1 << 31, u32::MAX] {
            let mut send = Transfer::new().flags(ALPC_SEND | ALPC_RELEASE);
            send.arg.send_data = pages.end(64);
            send.arg.send_length = length;
            let expected = match length {
                ..=64 => None,
                65..=4096 => Some(libc::EFAULT),
                _ => Some(libc::EMSGSIZE),
            };
            let sent = send.run_as_is(&pair.client).err();
            assert_eq!(sent.map(|failure| failure.errno), expected, "{length}");
        }
        // Room that is said to be there and is not is not used by what doesn't need it.
        for length in [1, 63, 64] {
            let mut receive = Transfer::new().flags(ALPC_RECEIVE);
            receive.arg.recv_data = pages.end(length as usize);
            receive.arg.recv_capacity = u32::MAX;
            pages.write(
                pages.end(length as usize + 1),
                &[JUNK; 65][..length as usize + 1],
            );
            let received = ioctl(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive.arg);
            assert_eq!((received, receive.arg.recv_length), (Ok(0), length));
            let (around, at) = (length as usize + 1, pages.end(length as usize + 1));
            let seen = pages.read(at, around);
            assert_eq!((seen[0], &seen[1..]), (JUNK, &vec![0x5a; around - 1][..]));
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);

        // Of a caller's memory, too: what is at the edge, and nothing that a sum wraps to.
        let ranges = Ranges::of(&[(pages.end(8), 8, BOTH)]);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let held = pair.port.receive().expect("receive");
            let mut room = vec![JUNK; 16];
            for (offset, length) in [
                (0, 9),
                (8, 1),
                (9, 0),
                (1, u64::MAX),
                (u64::MAX, 1),
                (u64::MAX, u64::MAX),
                (8, u64::MAX - 7),
                (1 << 63, 1 << 63),
            ] {
                let mut arg = memory_argument(&held, 0, ALPC_MEMORY_READ);
                (arg.offset, arg.length) = (offset, length);
                arg.data = room.as_mut_ptr() as u64;
                let failure = memory_as_is(&pair.port, &mut arg).unwrap_err().failure;
                assert_eq!(failure.errno, libc::EINVAL, "{offset} {length}");
            }
            assert_eq!(room, [JUNK; 16]);
            pair.port.reply(&held, b"").expect("reply");
            call.join().unwrap().expect("call");
        });
    });
}

/// MS07-066: the path of replies that was kept for old programs left out what the new one checks.
/// Here a port in LPC mode is the same code with smaller limits: it refuses what any other refuses,
/// for the same reason.
#[test]
fn the_replies_of_an_lpc_port_are_checked_as_all_others_are() {
    let refused = |flags: u32| {
        let create = Create::anonymous().flags(flags).max(256).taking(EVERYTHING);
        let pair = Pair::with(create);
        let (other, _other_client) = attach(&pair.port, 1);
        let mut all = Vec::new();
        std::thread::scope(|scope| {
            let (call, held) = pair.requested(scope, b"request");
            let turned = |callback_id| Message {
                callback_id,
                ..held.clone()
            };
            all.push(attempts(&pair.port, &turned(1)));
            all.push(attempts(&pair.server, &turned(u32::MAX)));
            all.push(attempts(&other, &held));
            all.push(attempts(&pair.client, &held));
            let long = pair.port.reply(&held, &[0; 257]).unwrap_err();
            all.push(vec![("long", long)]);
            let unreadable = {
                let mut send = Transfer::new().into(&held).flags(ALPC_SEND | ALPC_RELEASE);
                (send.arg.send_data, send.arg.send_length) = (8, 8);
                send.run_as_is(&pair.port).unwrap_err()
            };
            all.push(vec![("unreadable", unreadable)]);
            pair.port.reply(&held, b"reply").expect("reply");
            assert_eq!(call.join().unwrap().expect("call").data, b"reply");
            all.push(attempts(&pair.port, &held));
        });
        all
    };
    isolated(|| {
        let plain = refused(0);
        // Nothing of it was done, whatever the reason, and cancelling needs no turn.
        assert!(plain
            .iter()
            .flatten()
            .all(|(_, how)| how.errno != libc::ETIMEDOUT));
        assert_eq!(refused(ALPC_PORT_LPC_MODE), plain);
    });
}
