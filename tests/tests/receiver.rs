// SPDX-License-Identifier: MIT OR Apache-2.0

//! The RECEIVER attribute: who a request is for.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::files::pipe;
use alpc_tests::pair::attach;
use alpc_tests::raw::*;
use alpc_tests::*;

/// An asynchronous request for a user, a group, or both.
fn post_for(port: &Port, uid: Option<u32>, gid: Option<u32>) -> Result<Message, Failure> {
    let mut container = ReceiverContainer::new(uid, gid);
    let mut transfer = Transfer::new().send(b"secret");
    transfer.arg.send_attributes = container.address();
    transfer.run(port)
}

/// A port of Bob's with groups, which answers what it receives until it is told to stop.
fn bob(name: &'static str) -> Peer {
    Peer::spawn(BOB.with_groups(&[77, 78]), move |link| {
        let port = Create::named(name).open().run().expect("create");
        link.sync();
        let request = port.receive().expect("receive");
        let _end = Accept::new(request.id).run(&port).expect("accept");
        loop {
            let request = port.receive().expect("receive");
            match request.kind {
                ALPC_TYPE_PORT_CLOSED => return,
                _ => port.reply(&request, &request.data).expect("reply"),
            }
        }
    })
}

#[test]
fn a_request_reaches_a_thread_that_has_the_ids() {
    isolated(|| {
        let server = bob("receiver/bob");
        server.sync();
        let client = Connect::to("receiver/bob").run().expect("connect").port;
        for (uid, gid) in [
            (Some(BOB.uid), None),
            (None, Some(BOB.gid)),
            (None, Some(78)),
            (Some(BOB.uid), Some(77)),
        ] {
            let reply = client.request_for(b"secret", uid, gid).expect("request");
            assert_eq!(reply.data, b"secret");
        }
        drop(client);
        server.wait();
    });
}

#[test]
fn nobody_else_sees_anything_of_it_and_its_sender_is_told() {
    isolated(|| {
        let server = bob("receiver/bob");
        server.sync();
        let client = Connect::to("receiver/bob").run().expect("connect").port;
        for (uid, gid) in [
            (Some(ALICE.uid), None),
            (Some(0), None),
            (None, Some(ALICE.gid)),
            (Some(BOB.uid), Some(79)),
            (Some(ALICE.uid), Some(77)),
        ] {
            let refused = client.request_for(b"secret", uid, gid);
            assert_eq!(refused.unwrap_err(), fail::RECEIVER_MISMATCH);
            // It still serves, and has not counted what it could not have.
            let reply = client.request(b"for anybody").expect("request");
            assert_eq!(reply.data, b"for anybody");
        }
        drop(client);
        server.wait();
    });
}

#[test]
fn what_is_not_for_the_receiver_leaves_its_buffer_alone() {
    isolated(|| {
        let pair = Pair::new();
        // It is queued when the receive begins.
        post_for(&pair.client, Some(ALICE.uid), None).expect("post");
        let mut transfer = Transfer::new().receive().now();
        let nothing = transfer.run(&pair.port);
        assert_eq!(nothing.unwrap_err(), fail::TIMED_OUT);
        assert!(transfer.recv.iter().all(|&byte| byte == JUNK));
        assert_eq!((transfer.arg.uid, transfer.arg.id), (JUNK32, JUNK64));
        let notice = pair.client.receive().expect("notice");
        assert_eq!(notice.kind, ALPC_TYPE_LOST_REPLY);
        // Behind it, there is one that is.
        post_for(&pair.client, Some(ALICE.uid), None).expect("post");
        post_for(&pair.client, Some(0), None).expect("post");
        let request = pair.port.receive().expect("receive");
        assert_eq!(request.data, b"secret");
        pair.port.reply(&request, b"").expect("reply");
    });
}

#[test]
fn a_server_that_replies_and_receives_goes_on_to_the_next_one() {
    isolated(|| {
        let pair = &Pair::new();
        let (other, client) = attach(&pair.port, 1);
        std::thread::scope(|scope| {
            for attributes in [false, true] {
                let (first, request) = pair.requested(scope, b"first");
                // The reply and receive is under way, and waits, when the others come.
                let server = scope.spawn(move || {
                    let mut room = TokenContainer::room();
                    let mut transfer = Transfer::new().into(&request).send(b"reply").receive();
                    transfer = transfer.flags(ALPC_RELEASE);
                    if attributes {
                        transfer.arg.recv_attributes = room.address();
                    }
                    transfer.run(&pair.port).expect("reply, receive")
                });
                assert_eq!(first.join().expect("first").expect("reply").data, b"reply");
                let refused = client.request_for(b"secret", Some(1), None);
                assert_eq!(refused.unwrap_err(), fail::RECEIVER_MISMATCH);
                let last = scope.spawn(move || pair.client.request(b"last"));
                let request = server.join().expect("server");
                assert_eq!(request.data, b"last");
                pair.port.reply(&request, b"").expect("reply");
                last.join().expect("last").expect("reply");
            }
        });
        drop(other);
    });
}

#[test]
fn a_server_asks_for_a_receiver_at_its_client_too() {
    isolated(|| {
        let pair = Pair::new();
        post_for(&pair.server, Some(ALICE.uid), None).expect("post");
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
        let notice = pair.port.receive().expect("notice");
        assert_eq!(notice.kind, ALPC_TYPE_LOST_REPLY);
        post_for(&pair.server, Some(0), Some(0)).expect("post");
        let request = pair.client.receive().expect("receive");
        assert_eq!(request.data, b"secret");
    });
}

#[test]
fn what_is_for_others_does_not_hold_up_a_call_whose_time_is_over() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().share(256, 1 << 20));
        for _ in 0..200 {
            post_for(&pair.client, Some(ALICE.uid), None).expect("post");
        }
        let mut late = Transfer::new().receive();
        (late.arg.flags, late.arg.timeout) = (late.arg.flags | ALPC_TIMEOUT_MONOTONIC, 1);
        for left in [199, 198] {
            assert_eq!(late.run(&pair.port).unwrap_err(), fail::TIMED_OUT);
            assert_eq!(pair.port.query_port().expect("query").queued_messages, left);
        }
        // One that doesn't wait has no time that could be over, and looks at more of them.
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert!((1..198).contains(&pair.port.query_port().expect("query").queued_messages));
    });
}

#[test]
fn who_does_not_wait_and_leaves_some_behind_is_told_of_it_again() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().share(256, 1 << 20));
        // SAFETY: Takes no pointer.
        let epoll = files::adopt(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into());
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: 1,
        };
        let (set, port) = (epoll.as_raw_fd(), pair.port.as_fd().as_raw_fd());
        // SAFETY: A live structure.
        let added = unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, port, &mut event) };
        assert_eq!(added, 0);
        for _ in 0..200 {
            post_for(&pair.client, Some(ALICE.uid), None).expect("post");
        }
        post_for(&pair.client, Some(0), None).expect("post");
        let mut looks = 0;
        // Edge by edge, until there is what it is for. Nobody sends any more.
        loop {
            // SAFETY: A live structure.
            let ready = unsafe { libc::epoll_wait(set, &mut event, 1, 10_000) };
            assert_eq!(ready, 1, "after {looks}");
            looks += 1;
            match pair.port.receive_now() {
                Ok(request) => break pair.port.reply(&request, b"").expect("reply"),
                Err(failure) => assert_eq!(failure, fail::TIMED_OUT),
            }
        }
        assert!(looks > 1);
    });
}

#[test]
fn what_it_carried_comes_back() {
    isolated(|| {
        #[repr(C)]
        struct Both {
            head: alpc_attributes,
            handle: alpc_attr_handle,
            receiver: alpc_attr_receiver,
        }
        let pair = Pair::with_handles(0);
        let (read, write) = pipe();
        let handle = alpc_handle {
            fd: write.as_raw_fd(),
            kind: ALPC_HANDLE_PIPE,
        };
        let mut both = Both {
            head: alpc_attributes {
                allocated: ALPC_ATTR_HANDLE | ALPC_ATTR_RECEIVER,
                valid: ALPC_ATTR_HANDLE | ALPC_ATTR_RECEIVER,
            },
            handle: alpc_attr_handle {
                handles: std::ptr::from_ref(&handle) as u64,
                count: 1,
                ..Default::default()
            },
            receiver: ReceiverContainer::new(Some(ALICE.uid), None).receiver,
        };
        let mut transfer = Transfer::new().send(b"handle");
        transfer.arg.send_attributes = std::ptr::from_mut(&mut both) as u64;
        transfer.run(&pair.client).expect("post");
        drop(write);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        let notice = pair.client.receive().expect("notice");
        assert_eq!(notice.kind, ALPC_TYPE_LOST_REPLY);
        // The end of the file: nobody has the other end any more.
        assert_eq!(files::read(&read), b"");
    });
}

#[test]
fn the_ids_are_those_of_the_moment_and_of_the_senders_namespace() {
    isolated(|| {
        let pair = &Pair::new();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| pair.client.request_for(b"later", None, Some(4321)));
            eventually(|| pair.port.query_port().expect("query").queued_messages == 1);
            // SAFETY: For this thread alone. Takes no pointer.
            let set = unsafe { libc::syscall(libc::SYS_setresgid, -1, 4321, -1) };
            assert_eq!(set, 0);
            let request = pair.port.receive().expect("receive");
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("client").expect("reply");
        });
        let inside = Peer::fork(ROOT, |_| {
            // SAFETY: Takes no pointer; one thread.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
            let refused = pair.client.request_for(b"root", Some(0), None);
            refused_with(refused, libc::EINVAL, "there is no user 0 yet");
            std::fs::write("/proc/self/uid_map", "5 0 1").expect("map");
            // User 5 in there is root out here.
            let reply = pair.client.request_for(b"five", Some(5), None);
            assert_eq!(reply.expect("request").data, b"done");
            refused_with(
                pair.client.request_for(b"root", Some(0), None),
                libc::EINVAL,
                "nor any",
            );
        });
        let request = pair.port.receive().expect("receive");
        assert_eq!(request.data, b"five");
        pair.port.reply(&request, b"done").expect("reply");
        inside.wait();
    });
}

#[test]
fn only_a_new_request_says_who_it_is_for() {
    isolated(|| {
        let pair = Pair::new();
        let mut container = ReceiverContainer::new(Some(0), None);
        let mut one_way = Transfer::new().send(b"x").flags(ALPC_RELEASE);
        one_way.arg.send_attributes = container.address();
        refused_with(one_way.run(&pair.client), libc::EINVAL, "one-way");
        pair.client.post(b"x").expect("post");
        let request = pair.port.receive().expect("receive");
        for flags in [
            0,
            ALPC_RELEASE,
            ALPC_RELEASE | ALPC_RECEIVE,
            ALPC_RECEIVE | ALPC_SYNC,
        ] {
            let mut reply = Transfer::new().into(&request).send(b"x").flags(flags);
            reply.arg.send_attributes = container.address();
            refused_with(reply.run(&pair.port), libc::EINVAL, "a reply");
        }
        pair.port.reply(&request, b"").expect("reply");
        let good = container;
        let edits: [fn(&mut alpc_attr_receiver); 6] = [
            |it| it.flags = 0,
            |it| it.flags |= 4,
            |it| it.gid = 1,
            |it| (it.flags, it.uid) = (ALPC_RECEIVER_GID, 1),
            |it| it.reserved = 1,
            |it| it.uid = u32::MAX,
        ];
        for edit in edits {
            let mut container = good;
            edit(&mut container.receiver);
            let mut post = Transfer::new().send(b"x");
            post.arg.send_attributes = container.address();
            refused_with(post.run(&pair.client), libc::EINVAL, "attribute");
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}
