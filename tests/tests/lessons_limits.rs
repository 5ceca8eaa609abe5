// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong in other systems' calls between processes, and does not here: nothing, too much,
//! the same again. One test for each bug, with what it was there and what holds here.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use alpc_tests::files::{adopt, open, pidfd, pipe, unnamed_file};
use alpc_tests::raw::*;
use alpc_tests::views::{self, PAGE};
use alpc_tests::*;

const EVERYTHING: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;

/// CVE-2026-23194 of Rust Binder: a length of 0 stood for something else, and an empty array was
/// taken for that. Here nothing at all is nothing at all, or is refused, wherever there is a length,
/// a count, an id or a time.
#[test]
fn a_length_of_zero_is_nothing_and_stands_for_nothing_else() {
    isolated(|| {
        let pair = Pair::taking(EVERYTHING);
        let nobody = Create::named("lessons/zero").acl(&[]).run();
        let nobody = nobody.expect("create");
        let refused = Connect::to("lessons/zero").run();
        assert_eq!(refused.unwrap_err(), fail::ACCESS_DENIED);
        drop(nobody);

        // Messages of no bytes, where there is no room, in each kind.
        let empty = |flags: u32, to: Option<&Message>| {
            let mut send = Transfer::new().flags(ALPC_SEND | flags);
            if let Some(to) = to {
                send = send.into(to);
            }
            send.arg.send_data = 8;
            send
        };
        let nothing = |port: &Port, kind: u32| {
            let mut receive = Transfer::new().flags(ALPC_RECEIVE);
            receive.arg.recv_data = 8;
            let message = receive.run(port).expect("receive");
            assert_eq!((message.kind, receive.arg.recv_length), (kind, 0));
            message
        };
        empty(ALPC_RELEASE, None)
            .run_as_is(&pair.client)
            .expect("send");
        assert_eq!(nothing(&pair.port, ALPC_TYPE_DATAGRAM).id, 0);
        empty(0, None).run_as_is(&pair.client).expect("send");
        let request = nothing(&pair.port, ALPC_TYPE_REQUEST);
        assert!(request.id != 0 && request.callback_id == 0 && request.open());
        empty(0, Some(&request))
            .run_as_is(&pair.port)
            .expect("reply");
        let reply = nothing(&pair.client, ALPC_TYPE_REPLY);
        assert_eq!(reply.id, request.id);
        empty(ALPC_RELEASE, Some(&reply))
            .run_as_is(&pair.client)
            .expect("reply");
        nothing(&pair.port, ALPC_TYPE_REPLY);
        // One byte is not none.
        pair.client.one_way(b"1").expect("send");
        let none = Transfer::new().flags(ALPC_RECEIVE).run(&pair.port);
        assert_eq!(none.unwrap_err(), fail::BUFFER_TOO_SMALL);
        pair.port.receive().expect("receive");

        // Ids and addresses of 0 name nothing, not the first of anything.
        let held = {
            pair.client.post(b"").expect("post");
            pair.port.receive().expect("receive")
        };
        let zero = Message {
            id: 0,
            ..held.clone()
        };
        assert_eq!(pair.port.cancel(0, 0), Err(fail::NOT_FOUND));
        assert_eq!(Accept::new(0).run(&pair.port).err(), Some(fail::NOT_FOUND));
        assert_eq!(pair.port.claim(&zero, 0).err(), Some(fail::NOT_FOUND));
        assert_eq!(
            pair.port.peek(&zero, 0, 0, 1).unwrap_err().failure,
            fail::NOT_FOUND
        );
        assert_eq!(pair.port.delete_view(0), Err(fail::NOT_A_VIEW));
        assert_eq!(pair.port.query_view(0), Err(libc::ENXIO));
        refused_with(pair.client.section(0), libc::EINVAL, "section");
        let (section, view) = pair.view(PAGE, 1);
        refused_with(section.view(0), libc::EINVAL, "view");
        for (base, size) in [(view.base, 0), (0, view.size)] {
            let mut container = ViewContainer::lending(base, size, 0);
            let sent = Transfer::new().send(b"").with(&pair.client, &mut container);
            refused_with(sent, libc::EINVAL, "half a view");
        }
        let mut whole = ViewContainer::lending(0, 0, 0);
        let sent = Transfer::new().send(b"none").flags(ALPC_RELEASE);
        sent.with(&pair.client, &mut whole).expect("no view at all");
        let (message, none) = pair.port.receive_view().expect("receive");
        assert_eq!((&message.data[..], none), (&b"none"[..], None));

        // Counts of 0.
        let sent = pair.client.one_way_with(&mut HandleContainer::sending(&[]));
        refused_with(sent, libc::EINVAL, "no handles");
        let sent = Transfer::offering(&Ranges::of(&[])).run(&pair.client);
        refused_with(sent, libc::EINVAL, "no ranges");
        let sent = Transfer::offering(&Ranges::of(&[(view.base, 0, BOTH)])).run(&pair.client);
        refused_with(sent, libc::EINVAL, "an empty range");
        refused_with(
            Claim::new(&held, 0, 0).run(&pair.port),
            libc::EINVAL,
            "no claim",
        );
        assert_eq!(pair.port.claim(&held, 0).err(), Some(fail::NO_HANDLE));
        let told = pair
            .port
            .identity_with_room(held.id, held.callback_id, 0, 0);
        assert_eq!(told.expect("identity").arg.uid, ROOT.uid);
        let (reader, _writer) = pipe();
        pair.client
            .one_way_with(&mut HandleContainer::one(&reader))
            .expect("send");
        let mut none = HandleContainer::claiming(0);
        pair.port.receive_with(&mut none).expect("receive");
        assert_eq!((none.handle().count, none.handle().index), (1, 0));

        // A part of nothing, in a range that is there.
        let ranges = Ranges::of(&[(view.base, 1, BOTH)]);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let held = pair.port.receive().expect("receive");
            for offset in [0, 1] {
                assert_eq!(pair.port.peek(&held, 0, offset, 0), Ok(vec![]));
                assert_eq!(pair.port.poke(&held, 0, offset, b""), Ok(()));
            }
            view.assert_holds(1);
            pair.port.reply(&held, b"").expect("reply");
            call.join().unwrap().expect("call");
        });
        pair.port.reply(&held, b"").expect("reply");
    });
}

/// Does the same in several processes at once until each fails, and counts how often it was done.
fn together<T>(make: impl Fn() -> Result<T, Failure>, expected: Failure) -> u64 {
    let make = &make;
    let ask = || {
        Peer::fork(ROOT, move |link| {
            link.sync();
            let (made, failure) = plenty::until_failure(make);
            assert_eq!(failure, expected);
            link.put(made.len() as u64);
            link.take();
        })
    };
    let peers = [ask(), ask(), ask(), ask()];
    peers.iter().for_each(|peer| peer.sync());
    let total = peers.iter().map(|peer| peer.take()).sum();
    peers.iter().for_each(|peer| peer.put(0));
    peers.into_iter().for_each(Peer::wait);
    total
}

/// CVE-2026-43435 of Rust Binder: a quota was looked at before it was charged, and a second way in
/// did not look at all. Here as much is had as stated, however many ask at once.
#[test]
fn a_limit_is_not_passed_by_those_who_ask_at_once() {
    isolated(|| {
        let limits = query();
        for _ in 0..3 {
            let port = Create::anonymous().connections(40).run().expect("create");
            let through = port.connect_descriptor().expect("connect descriptor");
            let connected = together(
                || Connect::new(None).asynchronous().run_on(&through),
                fail::LIMIT,
            );
            assert_eq!(connected, 40);

            let pair = Pair::new();
            let flags = [0, ALPC_RELEASE];
            for flags in flags {
                let send = || {
                    let send = Transfer::new().send(b"x").flags(ALPC_NONBLOCK | flags);
                    { send }.run(&pair.client)
                };
                let sent = together(send, fail::QUEUE_FULL);
                assert_eq!(sent, limits.queue_messages.into());
                while pair.port.receive_now().is_ok() {}
            }
            // What was received is still open, and counts.
            let most = u64::from(limits.conversations_per_connection);
            let mut open = u64::from(limits.queue_messages);
            while open < most {
                let send = || {
                    Transfer::new()
                        .send(b"x")
                        .flags(ALPC_NONBLOCK)
                        .run(&pair.client)
                };
                let full = open + u64::from(limits.queue_messages) <= most;
                open += together(send, if full { fail::QUEUE_FULL } else { fail::LIMIT });
                while pair.port.receive_now().is_ok() {}
            }
            assert_eq!(open, most);
            assert_eq!(pair.client.post(b"x"), Err(fail::LIMIT));

            let section = pair.client.section(512 * PAGE).expect("section");
            let no_space = Failure {
                errno: libc::ENOSPC,
                outcome: JUNK32,
            };
            let views = together(|| section.view(1), no_space);
            assert_eq!(views, ALPC_SECTION_VIEWS_MAX.into());
            // One has been made already.
            let sections = together(|| pair.client.section(1), fail::LIMIT);
            assert_eq!(sections + 1, 64);
        }
    });
}

/// AF_UNIX needs a collector for files in flight that hold each other, and had holes in it again and
/// again (CVE-2021-0920, CVE-2025-40214). Here there is nothing to be collected: what could hold a
/// port can't be sent, and all that can be sent goes when the port goes, although it came from there.
#[test]
fn no_circle_of_messages_outlives_its_descriptors() {
    isolated(|| {
        let before = inspect::module_references().expect("the module");
        let pair = Pair::taking(EVERYTHING);
        // What holds a port by having it, and not only by what it is.
        let (held_by_link, other_end) = Link::pair();
        held_by_link.put_fd(&pair.port);
        // SAFETY: A live event.
        let epoll = unsafe {
            let epoll = adopt(libc::epoll_create1(libc::EPOLL_CLOEXEC).into());
            let mut event = libc::epoll_event { events: 1, u64: 0 };
            let fd = pair.port.as_fd().as_raw_fd();
            let added = libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event);
            assert_eq!(added, 0);
            epoll
        };
        for holder in [held_by_link.as_fd(), other_end.as_fd(), epoll.as_fd()] {
            let sent = pair.client.one_way_with(&mut HandleContainer::one(&holder));
            assert_eq!(sent, Err(fail::BAD_HANDLE));
        }
        let number = pair.port.as_fd().as_raw_fd();
        // A path to the port leads to nothing that can be opened.
        assert!(std::fs::File::open(format!("/proc/self/fd/{number}")).is_err());

        // What has to do with this process, whose mappings hold sections and windows.
        let (section, view) = pair.view(PAGE, 1);
        let info = format!("/proc/self/fdinfo/{number}");
        let paths = [
            "mem",
            "maps",
            "pagemap",
            "smaps",
            "environ",
            "fd",
            "task",
            "map_files",
        ];
        let about = paths.map(|name| open(&format!("/proc/self/{name}")));
        let mut all: Vec<OwnedFd> = about.into_iter().chain([open(&info), pidfd()]).collect();
        all.extend([section.duplicate().into(), unnamed_file()]);
        for fd in &all {
            // It is in the queue of the port whose process it is about, and lent a view of itself.
            pair.client
                .one_way_with(&mut HandleContainer::one(fd))
                .expect("send");
        }
        let entries = [alpc_handle {
            fd: section.as_fd().as_raw_fd(),
            kind: ALPC_HANDLE_SECTION,
        }];
        let valid = ALPC_ATTR_VIEW | ALPC_ATTR_HANDLE;
        let lent = (view.base, PAGE, ALPC_VIEW_SECURE);
        let mut itself = EveryContainer::sending(valid, lent, &entries, &Ranges::of(&[]));
        let mut send = Transfer::new().send(b"");
        send.arg.send_attributes = itself.address();
        send.run(&pair.client).expect("send");
        view.unmap();
        drop((pair, section, all, held_by_link, other_end, epoll));
        eventually(|| inspect::module_references() == Some(before));
    });
}

/// Runs `run` in this process while it can get no descriptor.
fn full<T>(run: impl FnOnce() -> T) -> T {
    let limit = |soft| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: A live limit.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            let before = std::mem::replace(&mut limit.rlim_cur, soft);
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
            before
        }
    };
    let before = limit(0);
    let result = run();
    limit(before);
    result
}

/// dbus-broker ended when it had no descriptor left for one more client. Here the shortage is that
/// client's: its request waits, the handles of a message stay with it, and all others go on.
#[test]
fn a_server_without_descriptors_goes_on_serving() {
    isolated(|| {
        let create = Create::named("lessons/full").open();
        let port = create.takes(ALPC_TAKE_HANDLES, 0).run().expect("create");
        let client = Peer::spawn(ALICE, |link| {
            let client = Connect::to("lessons/full").run().expect("connect").port;
            link.sync();
            let (reader, writer) = pipe();
            client
                .post_with(&mut HandleContainer::one(&reader))
                .expect("post");
            files::write(&writer, b"late");
            for _ in 0..rounds(100) {
                assert_eq!(client.request(b"?").expect("request").data, b"!");
            }
            link.sync();
        });
        let _end = views::accept(&port);
        let knock = || {
            Peer::spawn(BOB, |_| {
                let client = Connect::to("lessons/full").run().expect("connect").port;
                assert_eq!(client.request(b"?").expect("request").data, b"!");
            })
        };
        let strangers = [knock(), knock()];
        let waiting = [(); 2].map(|()| port.receive().expect("receive"));
        full(|| {
            client.sync();
            for request in &waiting {
                assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
                refused_with(Accept::new(request.id).run(&port), libc::EMFILE, "accept");
            }
            let mut room = HandleContainer::claiming(1);
            let posted = port.receive_with(&mut room).expect("receive");
            let (claimed, error) = room.claimed();
            assert_eq!((claimed.len(), error as i32), (0, libc::EMFILE));
            for _ in 0..rounds(100) {
                let request = port.receive().expect("receive");
                refused_with(port.claim(&posted, 0), libc::EMFILE, "claim");
                port.reply(&request, b"!").expect("reply");
            }
            posted
        });
        client.sync();
        let ends = waiting.map(|request| Accept::new(request.id).run(&port).expect("accept"));
        for _ in 0..2 {
            let request = loop {
                // The first client's end is told of in between.
                match port.receive().expect("receive") {
                    message if message.kind == ALPC_TYPE_REQUEST => break message,
                    message => assert_ne!(message.kind, ALPC_TYPE_CONNECTION_REQUEST),
                }
            };
            port.reply(&request, b"!").expect("reply");
        }
        strangers.into_iter().for_each(Peer::wait);
        client.wait();
        drop(ends);
    });
}

/// A reply slot that was used again took the reply to the call before (ABA, in NSPA's user space).
/// Here an id has a generation beside the slot, and a reply that comes late finds nothing, even if
/// the next call waits in the same slot.
#[test]
fn a_late_reply_never_answers_the_next_call_in_its_slot() {
    isolated(|| {
        let port = views::server("lessons/slot");
        let total = rounds(300);
        let client = Peer::spawn(ALICE, |_| {
            let client = views::client("lessons/slot");
            for round in 0..total {
                let given_up = Transfer::new().send(b"old").receive().flags(ALPC_SYNC);
                let given_up = given_up.timeout(0).run(&client);
                assert_eq!(given_up.unwrap_err(), fail::TIMED_OUT_SENT);
                let id = client.post(b"cancelled").expect("post");
                client.one_way(b"now").expect("send");
                // It may have been received by now, or not.
                let _ = client.cancel(id, 0);
                let reply = client.request(&round.to_le_bytes()).expect("request");
                assert_eq!(reply.data, round.to_le_bytes(), "the reply to another call");
            }
        });
        let end = views::accept(&port);
        let mut late: Vec<Message> = Vec::new();
        let mut again = 0;
        for _ in 0..total {
            let request = loop {
                let message = port.receive().expect("receive");
                match (message.kind, &message.data[..]) {
                    (ALPC_TYPE_REQUEST, b"old" | b"cancelled") => late.push(message),
                    (ALPC_TYPE_REQUEST, _) => break message,
                    _ => {}
                }
            };
            for old in late.iter().rev().take(8) {
                // The slot is the lower part of the id, the generation the rest.
                again += u64::from((old.id ^ request.id) << 40 == 0);
                for port in [&port, &end] {
                    for turn in [old.callback_id, request.callback_id] {
                        let old = Message {
                            callback_id: turn,
                            ..old.clone()
                        };
                        assert_eq!(port.reply(&old, b"late"), Err(fail::NOT_FOUND));
                        assert_eq!(port.reply_open(&old, b"late"), Err(fail::NOT_FOUND));
                    }
                }
            }
            port.reply(&request, &request.data).expect("reply");
        }
        client.wait();
        note!("{} late, {again} in the slot of the next", late.len());
        assert!(late.is_empty() || again > 0);
    });
}
