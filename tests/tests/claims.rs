// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles on the receiving side: claimed, or gone with their message.

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use alpc_tests::files::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// The pipe of which the reading end is here is open elsewhere for writing.
fn is_open(reader: &OwnedFd) -> bool {
    wait::poll_now(reader, libc::POLLIN) & libc::POLLHUP == 0
}

/// A request with the only writing end of a pipe, and the reading end.
fn posted(pair: &Pair) -> (u64, OwnedFd) {
    let (reader, writer) = pipe();
    let id = pair.client.post_with(&mut HandleContainer::one(&writer));
    drop(writer);
    assert!(is_open(&reader), "the message keeps it");
    (id.expect("post"), reader)
}

/// Descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("fd").count()
}

#[test]
fn a_handle_is_no_descriptor_before_it_is_claimed() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let (_, reader) = posted(&pair);
        let before = descriptors();
        let mut room = HandleContainer::room(3);
        let request = pair.port.receive_with(&mut room).expect("receive");
        assert_eq!(descriptors(), before);
        assert_eq!((room.handle().count, room.handle().index), (1, 0));
        assert_eq!(room.handle().error, 0);
        let writer = pair.port.claim(&request, 0).expect("claim");
        assert_eq!(descriptors(), before + 1);
        // It is the receiver's for good.
        pair.port.reply(&request, b"").expect("reply");
        pair.client.receive().expect("the answer");
        drop(pair);
        write(&writer, b"still there");
        assert_eq!(read(&reader), b"still there");
        drop(writer);
        assert_eq!(read(&reader), b"");
    });
}

#[test]
fn unclaimed_handles_go_with_their_message() {
    isolated(|| {
        type Way = fn(&Pair, &Message, u64);
        let ways: [(&str, Way); 6] = [
            ("reply", |pair, request, _| {
                pair.port.reply(request, b"").expect("reply");
            }),
            ("release", |pair, request, _| {
                pair.port.release(request).expect("release");
            }),
            ("cancel", |pair, _, id| {
                pair.client.cancel(id, 0).expect("cancel");
            }),
            ("client disconnects", |pair, _, _| {
                pair.client.disconnect().expect("disconnect");
            }),
            ("server disconnects", |pair, _, _| {
                pair.server.disconnect().expect("disconnect");
            }),
            ("port disconnects", |pair, _, _| {
                pair.port.disconnect().expect("disconnect");
            }),
        ];
        for (name, way) in ways {
            let pair = Pair::with_handles(0);
            let (id, reader) = posted(&pair);
            let request = pair.port.receive().expect("receive");
            assert!(is_open(&reader), "{name}");
            way(&pair, &request, id);
            while pair.client.receive_now().is_ok() {}
            while pair.port.receive_now().is_ok() {}
            eventually(|| !is_open(&reader));
            assert_eq!(read(&reader), b"", "{name}");
            let claim = pair.port.claim(&request, 0);
            assert!(claim.is_err(), "{name}");
        }
    });
}

#[test]
fn handles_nobody_received_go_with_their_message() {
    isolated(|| {
        for which in 0..5 {
            let pair = Pair::with_handles(0);
            let (id, reader) = posted(&pair);
            match which {
                0 => drop(pair.client.cancel(id, 0)),
                1 => pair.client.disconnect().expect("disconnect"),
                2 => pair.server.disconnect().expect("disconnect"),
                3 => pair.port.disconnect().expect("disconnect"),
                _ => drop(pair),
            }
            eventually(|| !is_open(&reader));
        }
    });
}

#[test]
fn a_reply_nobody_receives_gives_its_handles_back() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        pair.client.post(b"").expect("post");
        let request = pair.port.receive().expect("receive");
        let (reader, writer) = pipe();
        let mut handles = HandleContainer::one(&writer);
        pair.port.reply_with(&request, &mut handles).expect("reply");
        drop(writer);
        assert!(is_open(&reader));
        drop(pair.client);
        eventually(|| !is_open(&reader));
    });
}

#[test]
fn a_queued_message_keeps_its_files_open_when_its_sender_is_killed() {
    isolated(|| {
        let create = Create::named("claims/kill").open();
        let port = create.takes(ALPC_TAKE_HANDLES, 0).run().expect("create");
        let client = Peer::spawn(BOB, |link| {
            let client = Connect::to("claims/kill").run().expect("connect").port;
            let (reader, writer) = pipe();
            write(&writer, b"last words");
            link.put_fd(&writer);
            client
                .one_way_with(&mut HandleContainer::one(&reader))
                .expect("send");
            link.sync();
            link.take();
        });
        let request = port.receive().expect("connection request");
        let server = Accept::new(request.id).run(&port).expect("accept");
        let writer = client.take_fd();
        client.sync();
        client.kill();
        let mut room = HandleContainer::claiming(1);
        match port.receive_with(&mut room) {
            // What needs no answer survives its sender, unless it is flushed.
            Ok(message) if message.kind == ALPC_TYPE_DATAGRAM => {
                let (claimed, _) = room.claimed();
                assert_eq!(read(&claimed[0]), b"last words");
            }
            other => {
                assert_eq!(other.expect("receive").kind, ALPC_TYPE_PORT_CLOSED);
                eventually(|| wait::poll_now(&writer, libc::POLLOUT) & libc::POLLERR != 0);
            }
        }
        drop(server);
    });
}

#[test]
fn a_killed_receiver_leaves_nothing_open() {
    isolated(|| {
        let (reader, writer) = pipe();
        let server = Peer::spawn(ALICE, |link| {
            let create = Create::named("claims/server").open();
            let port = create.takes(ALPC_TAKE_HANDLES, 0).run().expect("create");
            link.sync();
            let id = port.receive().expect("connection request").id;
            let _server = Accept::new(id).run(&port).expect("accept");
            let request = port.receive().expect("request");
            let _claimed = port.claim(&request, 1).expect("claim");
            link.sync();
            link.take();
        });
        server.sync();
        let client = Connect::to("claims/server").run().expect("connect").port;
        let fds = [writer.as_raw_fd(); 2];
        let mut handles = HandleContainer::sending(&fds);
        client.post_with(&mut handles).expect("post");
        drop(writer);
        server.sync();
        assert!(is_open(&reader));
        server.kill();
        eventually(|| !is_open(&reader));
    });
}

#[test]
fn handles_are_claimed_by_index_and_as_often_as_wanted() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let files: Vec<OwnedFd> = (0..20).map(|_| unnamed_file()).collect();
        let fds: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let mut sent = HandleContainer::sending(&fds);
        pair.client.post_with(&mut sent).expect("post");
        let request = pair.port.receive().expect("receive");
        for index in [19, 0, 7, 7, 8] {
            // Either of the server's ports will do.
            for port in [&pair.port, &pair.server] {
                let claimed = port.claim(&request, index).expect("claim");
                assert!(same(&claimed, &files[index as usize]), "{index}");
            }
        }
        let some = Claim::new(&request, 5, 15).run(&pair.port).expect("claim");
        assert!(some.iter().zip(&files[5..]).all(|(a, b)| same(a, b)));
    });
}

#[test]
fn a_claim_of_what_is_not_there_installs_nothing() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let (_, _reader) = posted(&pair);
        let request = pair.port.receive().expect("receive");
        let before = descriptors();
        for (index, count) in [
            (1, 1),
            (0, 2),
            (u32::MAX, 1),
            (u32::MAX, u32::MAX),
            (0, 513),
        ] {
            let mut claim = Claim::new(&request, index, 1);
            claim.arg.count = count;
            let result = claim.run(&pair.port).map(|_| ());
            assert_eq!(result, Err(fail::NO_HANDLE), "{index}, {count}");
            assert_eq!(claim.arg.claimed, 0);
        }
        for (count, flags) in [(0, 0), (1, 1), (1, 4), (1, 1 << 31)] {
            let mut claim = Claim::new(&request, 0, 1).flags(flags);
            claim.arg.count = count;
            refused_with(claim.run(&pair.port), libc::EINVAL, "count or flags");
            assert_eq!((claim.arg.claimed, claim.arg.outcome), (JUNK32, JUNK32));
        }
        for address in memory::HOSTILE.into_iter().chain([0, memory::unmapped()]) {
            let mut claim = Claim::new(&request, 0, 1);
            claim.arg.handles = address;
            let result = ioctl(&pair.port, ALPC_IOCTL_CLAIM, &mut claim.arg);
            assert_eq!(result, Err(libc::EFAULT), "{address:#x}");
            assert_eq!((claim.arg.claimed, claim.arg.outcome), (0, JUNK32));
        }
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn only_who_holds_a_message_claims_from_it() {
    isolated(|| {
        let (pair, other) = (Pair::with_handles(0), Pair::with_handles(0));
        let (id, _reader) = posted(&pair);
        let unreceived = Message {
            id,
            ..some_message()
        };
        assert_eq!(
            pair.port.claim(&unreceived, 0).unwrap_err(),
            fail::NOT_OWNER
        );
        let request = pair.port.receive().expect("receive");
        let stale = Message {
            callback_id: request.callback_id + 1,
            ..request.clone()
        };
        assert_eq!(pair.port.claim(&stale, 0).unwrap_err(), fail::STALE_TURN);
        assert_eq!(pair.client.claim(&request, 0).unwrap_err(), fail::NOT_OWNER);
        for port in [&other.port, &other.server, &other.client] {
            assert_eq!(port.claim(&request, 0).unwrap_err(), fail::NOT_FOUND);
        }
        pair.port.claim(&request, 0).expect("claim");
        pair.port.reply_open(&request, b"").expect("reply");
        assert_eq!(pair.port.claim(&request, 0).unwrap_err(), fail::NOT_OWNER);
    });
}

/// A message of another port.
fn some_message() -> Message {
    let pair = Pair::new();
    pair.client.post(b"").expect("post");
    pair.port.receive().expect("receive")
}

#[test]
fn claiming_all_ends_where_there_are_no_more_descriptors() {
    isolated(|| {
        for at_receive in [false, true] {
            let pair = Pair::with_handles(0);
            let file = unnamed_file();
            let mut sent = HandleContainer::sending(&[file.as_raw_fd(); 100]);
            pair.client.post_with(&mut sent).expect("post");
            let most = descriptors() as u64 + 10;
            let (claimed, entries) = if at_receive {
                let mut room = HandleContainer::claiming(100);
                limited(most, || pair.port.receive_with(&mut room).expect("receive"));
                let (fds, error) = room.claimed();
                assert_eq!(error, libc::EMFILE as u32);
                (fds.len(), room.entries)
            } else {
                let request = pair.port.receive().expect("receive");
                let mut claim = Claim::new(&request, 0, 100);
                let result = limited(most, || claim.run(&pair.port).map(|_| ()));
                refused_with(result, libc::EMFILE, "claim all");
                assert_eq!(claim.arg.outcome, JUNK32);
                let claimed = claim.arg.claimed as usize;
                drop(raw::own(&claim.entries[..claimed]));
                (claimed, claim.entries)
            };
            assert!((1..100).contains(&claimed), "{claimed}");
            assert_eq!(entries[claimed].fd, -1, "the one that was not installed");
        }
    });
}

/// Runs with a lower limit of descriptors.
fn limited<T>(most: u64, run: impl FnOnce() -> T) -> T {
    let limit = |cur| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: A live limit.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            let before = std::mem::replace(&mut limit.rlim_cur, cur);
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
            before
        }
    };
    let before = limit(most);
    let result = run();
    limit(before);
    result
}

#[test]
fn claimed_descriptors_are_close_on_exec_unless_told_otherwise() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        for (flags, expected) in [(0, true), (ALPC_HANDLES_INHERIT, false)] {
            let (_, _reader) = posted(&pair);
            let mut room = HandleContainer::claiming(1);
            room.handle().flags |= flags;
            let request = pair.port.receive_with(&mut room).expect("receive");
            assert_eq!(close_on_exec(&room.claimed().0[0]), expected);
            let again = Claim::new(&request, 0, 1).flags(flags).run(&pair.port);
            assert_eq!(close_on_exec(&again.expect("claim")[0]), expected);
        }
    });
}

#[test]
fn handles_of_one_way_messages_and_final_replies_are_claimed_at_receive() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let files = [unnamed_file(), unnamed_file(), unnamed_file()];
        let fds = files.each_ref().map(AsRawFd::as_raw_fd);
        let mut sent = HandleContainer::sending(&fds);
        pair.client.one_way_with(&mut sent).expect("send");
        let mut room = HandleContainer::claiming(2);
        pair.port.receive_with(&mut room).expect("receive");
        assert_eq!(
            room.handle().count,
            3,
            "there are more than there is room for"
        );
        let (claimed, error) = room.claimed();
        assert_eq!((claimed.len(), error), (2, 0));
        assert!(claimed.iter().zip(&files).all(|(a, b)| same(a, b)));
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut room = HandleContainer::claiming(8);
                let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
                call = call.room_for(&mut room);
                let reply = call.run(&pair.client).expect("call");
                assert!(!reply.open());
                room.claimed().0
            });
            let request = pair.port.receive().expect("receive");
            pair.port.reply_with(&request, &mut sent).expect("reply");
            let claimed = client.join().expect("join");
            assert_eq!(claimed.len(), 3);
            assert!(claimed.iter().zip(&files).all(|(a, b)| same(a, b)));
        });
    });
}

#[test]
fn a_receive_that_fails_keeps_message_and_handles() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let (reader, writer) = pipe();
        let mut sent = HandleContainer::one(&writer);
        let mut post = Transfer::new().send(&[1; 100]).handles(&mut sent);
        post.run(&pair.client).expect("post");
        drop(writer);
        let mut room = HandleContainer::claiming(1);
        let mut small = Transfer::new().capacity(10).room_for(&mut room);
        assert_eq!(small.run(&pair.port).unwrap_err(), fail::BUFFER_TOO_SMALL);
        let mut room = HandleContainer::claiming(1);
        let request = pair.port.receive_with(&mut room).expect("receive");
        assert_eq!(request.data, [1; 100]);
        let (claimed, _) = room.claimed();
        write(&claimed[0], b"x");
        assert_eq!(read(&reader), b"x");
        drop(claimed);
        pair.port.reply(&request, b"").expect("reply");
        pair.client.receive().expect("the answer");

        let (_, reader) = posted(&pair);
        let before = descriptors();
        let read_only = memory::Pages::read_only(b"");
        for address in [memory::unmapped(), read_only.address()] {
            let mut room = HandleContainer::claiming(1);
            room.handle().handles = address;
            refused_with(pair.port.receive_with(&mut room), libc::EFAULT, "entries");
        }
        for (handles, count, flags) in [(0, 1, 0), (8, 0, 0), (0, 0, 4)] {
            let mut room = HandleContainer::room(0);
            *room.handle() = alpc_attr_handle {
                handles,
                count,
                flags,
                ..Default::default()
            };
            refused_with(pair.port.receive_with(&mut room), libc::EINVAL, "room");
        }
        assert_eq!(descriptors(), before);
        let mut room = HandleContainer::claiming(1);
        pair.port.receive_with(&mut room).expect("receive");
        write(&room.claimed().0[0], b"x");
        assert_eq!(read(&reader), b"x");
    });
}

#[test]
fn handles_travel_in_both_directions_of_nested_calls() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mine = eventfd();
                let mut sent = HandleContainer::one(&mine);
                let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
                call = call.handles(&mut sent);
                let callback = call.run(&pair.client).expect("call");
                let theirs = pair.client.claim(&callback, 0).expect("claim");
                assert_eq!(read(&theirs), 5_u64.to_ne_bytes());
                pair.client.answer(&callback, b"").expect("answer");
                assert_eq!(read(&mine), 6_u64.to_ne_bytes());
            });
            let request = pair.port.receive().expect("receive");
            let theirs = pair.port.claim(&request, 0).expect("claim");
            let mine = eventfd();
            write(&mine, &5_u64.to_ne_bytes());
            let mut sent = HandleContainer::one(&mine);
            let mut call = Transfer::new().send(b"").into(&request).receive();
            call = call.flags(ALPC_SYNC).handles(&mut sent);
            let answer = call.run(&pair.port).expect("callback");
            write(&theirs, &6_u64.to_ne_bytes());
            pair.port.reply(&answer, b"").expect("reply");
            client.join().expect("join");
        });
    });
}
