// SPDX-License-Identifier: MIT OR Apache-2.0

//! Levels of security, and the contexts that have them.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "security/server";
const OVERFLOW: u32 = 65534;
const ANONYMOUS: u32 = ALPC_SECURITY_ANONYMOUS;
const IDENTIFY: u32 = ALPC_SECURITY_IDENTIFY;
const IMPERSONATE: u32 = ALPC_SECURITY_IMPERSONATE;
const GROUPS: &[u32] = &[7, 4242];

fn pair() -> Pair {
    Pair::taking(ALPC_TAKE_SECURITY)
}

/// A server of this test that admits everyone, and takes what there is.
fn server() -> Port {
    let takes = ALPC_TAKE_SECURITY | ALPC_TAKE_IDENTITY;
    let create = Create::named(NAME).open().taking(takes);
    { create }.run().expect("create")
}

fn connect(security: u32) -> Port {
    let mut connect = Connect::to(NAME).taking(ALPC_TAKE_SECURITY);
    connect.arg.security = security;
    connect.run().expect("connect").port
}

fn fdinfo(port: &Port) -> String {
    let path = format!("/proc/self/fdinfo/{}", port.as_fd().as_raw_fd());
    std::fs::read_to_string(path).expect("fdinfo")
}

/// Whether nothing at all is told.
#[track_caller]
fn assert_tells_nothing(identity: &Identity) {
    assert_eq!((identity.arg.pid, identity.arg.tid), (0, 0));
    assert_eq!(identity.ids(), [[OVERFLOW; 4]; 2]);
    assert_eq!(identity.capabilities(), [0; 5]);
    assert_eq!(identity.groups, []);
    assert_eq!(identity.label(), "");
    let arg = &identity.arg;
    assert_eq!((arg.cgroup, arg.loginuid, arg.session), (0, !0, !0));
    assert_eq!(arg.user_ns, ALPC_USER_NS_OTHER);
}

#[track_caller]
fn assert_from_nobody(message: &Message) {
    let seen = (message.pid, message.tid, message.uid, message.gid);
    assert_eq!(seen, (0, 0, OVERFLOW, OVERFLOW));
}

#[test]
fn an_anonymous_client_is_nobody_wherever_one_could_learn_of_it() {
    isolated(|| {
        let port = server();
        let client = Peer::spawn(ALICE.with_groups(GROUPS), |link| {
            let client = connect(ANONYMOUS);
            for _ in 0..3 {
                client.request(b"hot").expect("request");
            }
            // From another thread, whose credentials are captured anew.
            std::thread::scope(|scope| {
                let call = || client.request(b"thread").map(drop);
                scope.spawn(call).join().expect("join").expect("request");
            });
            client.one_way(b"one way").expect("send");
            client.post(b"post").expect("post");
            link.sync();
            // The client knows the server as ever.
            assert_eq!(client.peer_identity().expect("identity").arg.euid, 0);
        });
        let request = port.receive().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
        assert_from_nobody(&request);
        assert_tells_nothing(&port.identity(&request).expect("identity"));
        let server = Accept::new(request.id).run(&port).expect("accept");
        assert_tells_nothing(&server.peer_identity().expect("identity"));
        let info = server.query_port().expect("query");
        let peer = (info.peer_pid, info.peer_uid, info.peer_gid);
        assert_eq!(peer, (0, OVERFLOW, OVERFLOW));
        assert!(!fdinfo(&server).contains("peer"), "{}", fdinfo(&server));
        for _ in 0..6 {
            let message = port.receive().expect("receive");
            assert_from_nobody(&message);
            if message.id != 0 {
                assert_tells_nothing(&port.identity(&message).expect("identity"));
                assert_tells_nothing(&server.identity(&message).expect("identity"));
                // Not even whether it is there, though it waits.
                for flags in [0, ALPC_VERIFY_THREAD] {
                    let verified = port.verify(message.id, message.callback_id, flags);
                    assert_eq!(verified, Err(fail::SENDER_GONE));
                }
            }
            if message.data == b"hot" || message.data == b"thread" {
                port.reply(&message, b"").expect("reply");
            }
        }
        client.sync();
        client.wait();
        // The notices too: of what was cancelled, and of the end.
        loop {
            let notice = port.receive().expect("receive");
            assert_from_nobody(&notice);
            if notice.kind == ALPC_TYPE_PORT_CLOSED {
                break;
            }
        }
    });
}

#[test]
fn a_server_does_not_find_out_an_anonymous_client_by_whom_it_asks_for() {
    isolated(|| {
        let port = server();
        let client = Peer::spawn(ALICE.with_groups(GROUPS), |link| {
            let client = connect(ANONYMOUS);
            link.sync();
            // It receives all that it is sent.
            while client.receive().expect("receive").data != b"end" {}
        });
        let request = port.receive().expect("receive");
        let server = Accept::new(request.id).run(&port).expect("accept");
        client.sync();
        for (uid, gid) in [
            (Some(ALICE.uid), None),
            (Some(BOB.uid), None),
            (None, Some(GROUPS[1])),
            (None, Some(9)),
        ] {
            // Right or wrong, it is told the same, at once, and nothing is sent.
            let asked = server.request_for(b"?", uid, gid);
            assert_eq!(asked.unwrap_err(), fail::RECEIVER_MISMATCH);
            let mut container = ReceiverContainer::new(uid, gid);
            let mut post = Transfer::new().send(b"?");
            post.arg.send_attributes = container.address();
            assert_eq!(post.run(&server).unwrap_err(), fail::RECEIVER_MISMATCH);
        }
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        server.one_way(b"end").expect("send");
        client.wait();
    });
}

#[test]
fn the_kernel_knows_an_anonymous_client_all_the_same() {
    isolated(|| {
        let acl = [allow(ALPC_ACL_USER, ALICE.uid)];
        let port = { Create::named(NAME).acl(&acl) }.run().expect("create");
        let try_as = |user: User| {
            Peer::spawn(user, |link| {
                let mut connect = Connect::to(NAME).asynchronous();
                connect.arg.security = ANONYMOUS;
                let result = connect.run();
                link.put(u64::from(result.is_ok()));
                link.sync();
            })
        };
        let (alice, bob) = (try_as(ALICE), try_as(BOB));
        assert_eq!((alice.take(), bob.take()), (1, 0));
        assert_from_nobody(&port.receive().expect("receive"));
        alice.sync();
        bob.sync();
        alice.wait();
        bob.wait();
    });
}

#[test]
fn a_client_that_says_nothing_is_identified() {
    isolated(|| {
        let port = server();
        for level in [0, IDENTIFY, IMPERSONATE, ALPC_SECURITY_DYNAMIC] {
            let client = Peer::spawn(ALICE, |_| {
                connect(level).request(b"").expect("request");
            });
            let request = port.receive().expect("receive");
            let _server = Accept::new(request.id).run(&port).expect("accept");
            let request = port.receive().expect("receive");
            assert_eq!((request.uid, request.pid), (ALICE.uid, client.pid() as u32));
            port.reply(&request, b"").expect("reply");
            client.wait();
            while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
        }
    });
}

#[test]
fn a_context_is_told_to_the_receiver_that_asks() {
    isolated(|| {
        let pair = pair();
        let id = pair.client.create_security(IMPERSONATE).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        pair.client
            .post_secured(b"x", &mut container)
            .expect("post");
        let (_, told) = pair.port.receive_secured().expect("receive");
        assert_eq!(told.told(), Some((id, IMPERSONATE, 0)));
        // Who has no room for it has the message all the same.
        pair.client
            .post_secured(b"y", &mut container)
            .expect("post");
        assert_eq!(pair.port.receive().expect("receive").data, b"y");
        // What has none tells none.
        pair.client.post(b"z").expect("post");
        assert_eq!(pair.port.receive_secured().expect("receive").1.told(), None);
        // The default is filled in.
        let flags = ALPC_SECURITY_DYNAMIC | ALPC_SECURITY_EFFECTIVE_ONLY;
        let id = pair.server.create_security(flags).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        pair.server
            .post_secured(b"x", &mut container)
            .expect("post");
        let (_, told) = pair.client.receive_secured().expect("receive");
        assert_eq!(told.told(), Some((id, IDENTIFY | flags, 0)));
    });
}

#[test]
fn contexts_are_made_kept_and_deleted_by_sends() {
    isolated(|| {
        let pair = pair();
        let mut make = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_CREATE);
        pair.client.post_secured(b"", &mut make).expect("post");
        let made = make.security.context;
        assert_ne!(made, 0);
        let mut named = SecurityContainer::sending(made, 0, 0);
        pair.client.post_secured(b"", &mut named).expect("post");
        let mut once = SecurityContainer::sending(0, ANONYMOUS, ALPC_SECURITY_ONCE);
        pair.client.post_secured(b"", &mut once).expect("post");
        assert_eq!(once.security.context, 0);
        let mut last = SecurityContainer::sending(made, 0, ALPC_SECURITY_DELETE);
        pair.client.post_secured(b"", &mut last).expect("post");
        let again = pair.client.post_secured(b"", &mut named).map(drop);
        assert_eq!(again.unwrap_err(), fail::NOT_A_CONTEXT);
        let told = [(); 4].map(|()| pair.port.receive_secured().expect("receive").1.told());
        let expected = [made, made, 0, made].map(|id| match id {
            0 => Some((0, ANONYMOUS, 0)),
            id => Some((id, IMPERSONATE, 0)),
        });
        assert_eq!(told, expected);
        let another = pair.client.create_security(0).expect("create");
        assert!(another > made, "a number is not used again");
    });
}

#[test]
fn a_send_that_fails_leaves_the_contexts_as_they_were() {
    isolated(|| {
        let pair = pair();
        let kept = pair.client.create_security(IMPERSONATE).expect("create");
        let fails = |container: &mut SecurityContainer| {
            let mut transfer = Transfer::new().send(b"x").flags(ALPC_NONBLOCK);
            // No such conversation.
            transfer.arg.send_id = 0x1234_5678;
            transfer.arg.send_attributes = container.address();
            assert_eq!(transfer.run(&pair.client).unwrap_err(), fail::NOT_FOUND);
        };
        let mut deletes = SecurityContainer::sending(kept, 0, ALPC_SECURITY_DELETE);
        fails(&mut deletes);
        // More often than there is room for.
        for _ in 0..2 * ALPC_CONTEXTS_MAX {
            fails(&mut SecurityContainer::sending(
                0,
                IDENTIFY,
                ALPC_SECURITY_CREATE,
            ));
        }
        pair.client.post_secured(b"", &mut deletes).expect("post");
    });
}

#[test]
fn a_number_means_something_on_its_own_side_only() {
    isolated(|| {
        let (pair, other) = (pair(), pair());
        let id = pair.client.create_security(IDENTIFY).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        for port in [&pair.server, &other.client, &other.server] {
            let posted = port.post_secured(b"", &mut container).map(drop);
            assert_eq!(posted.unwrap_err(), fail::NOT_A_CONTEXT);
            let refused = port.revoke_security(id);
            assert_eq!(refused.unwrap_err(), fail::NOT_A_CONTEXT);
            let refused = port.delete_security(id);
            assert_eq!(refused.unwrap_err(), fail::NOT_A_CONTEXT);
        }
    });
}

#[test]
fn a_side_has_so_many_contexts_and_no_more() {
    isolated(|| {
        let pair = pair();
        let made: Vec<_> = (0..ALPC_CONTEXTS_MAX)
            .map(|_| pair.client.create_security(0).expect("create"))
            .collect();
        assert_eq!(
            pair.client.create_security(0).map(drop).unwrap_err(),
            fail::LIMIT
        );
        // The other side has its own.
        pair.server.create_security(0).expect("create");
        let mut make = SecurityContainer::sending(0, 0, ALPC_SECURITY_CREATE);
        let posted = pair.client.post_secured(b"", &mut make).map(drop);
        assert_eq!(posted.unwrap_err(), fail::LIMIT);
        pair.client.delete_security(made[7]).expect("delete");
        pair.client.post_secured(b"", &mut make).expect("post");
    });
}

#[test]
fn what_is_not_taken_is_not_sent() {
    isolated(|| {
        let pair = Pair::new();
        for port in [&pair.client, &pair.server] {
            let id = port.create_security(IDENTIFY).expect("create");
            let mut container = SecurityContainer::sending(id, 0, ALPC_SECURITY_DELETE);
            let posted = port.post_secured(b"", &mut container).map(drop);
            assert_eq!(posted.unwrap_err(), fail::NOT_TAKEN);
            port.delete_security(id).expect("it is there still");
        }
    });
}

#[test]
fn a_revoked_context_is_not_sent_and_messages_that_have_it_say_so() {
    isolated(|| {
        let pair = pair();
        let id = pair.client.create_security(IMPERSONATE).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        pair.client
            .post_secured(b"x", &mut container)
            .expect("post");
        pair.client.revoke_security(id).expect("revoke");
        let posted = pair.client.post_secured(b"", &mut container).map(drop);
        assert_eq!(posted.unwrap_err(), fail::REVOKED);
        let mut deletes = SecurityContainer::sending(id, 0, ALPC_SECURITY_DELETE);
        let posted = pair.client.post_secured(b"", &mut deletes).map(drop);
        assert_eq!(posted.unwrap_err(), fail::REVOKED);
        let (_, told) = pair.port.receive_secured().expect("receive");
        assert_eq!(told.told(), Some((id, IMPERSONATE, ALPC_SECURITY_REVOKED)));
        pair.client.revoke_security(id).expect("once more");
        pair.client.delete_security(id).expect("delete");
    });
}

#[test]
fn deleting_a_context_changes_nothing_for_messages_under_way() {
    isolated(|| {
        let pair = pair();
        let id = pair.client.create_security(IMPERSONATE).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        pair.client
            .post_secured(b"x", &mut container)
            .expect("post");
        pair.client.delete_security(id).expect("delete");
        let (request, told) = pair.port.receive_secured().expect("receive");
        assert_eq!(told.told(), Some((id, IMPERSONATE, 0)));
        pair.port.reply(&request, b"").expect("reply");
    });
}

#[test]
fn one_message_may_be_anonymous_and_the_next_is_not() {
    isolated(|| {
        let takes = ALPC_TAKE_SECURITY | ALPC_TAKE_IDENTITY;
        for takes in [takes, ALPC_TAKE_SECURITY] {
            let pair = Pair::with(Create::anonymous().taking(takes));
            let own = std::process::id();
            for _ in 0..3 {
                let mut once = SecurityContainer::sending(0, ANONYMOUS, ALPC_SECURITY_ONCE);
                let call = |transfer: Transfer| {
                    std::thread::scope(|scope| {
                        let (client, mut transfer) = (&pair.client, transfer);
                        let run = move || transfer.run(client).map(drop);
                        let caller = scope.spawn(run);
                        let request = pair.port.receive().expect("receive");
                        let identity = pair.port.identity(&request).expect("identity");
                        pair.port.reply(&request, b"").expect("reply");
                        caller.join().expect("join").expect("call");
                        (request, identity)
                    })
                };
                let transfer = || Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                let mut hidden = transfer();
                hidden.arg.send_attributes = once.address();
                let (request, identity) = call(hidden);
                assert_from_nobody(&request);
                assert_tells_nothing(&identity);
                let (request, identity) = call(transfer());
                assert_eq!((request.pid, identity.arg.pid), (own, own));
                assert_ne!(identity.arg.cap_effective, 0);
            }
        }
    });
}

#[test]
fn on_an_anonymous_connection_no_context_tells_more() {
    isolated(|| {
        let port = server();
        let request = |connect: &mut Connect| {
            connect.arg.security = ANONYMOUS;
            let client = connect.run().expect("connect").port;
            let request = port.receive().expect("receive");
            let server = Accept::new(request.id).run(&port).expect("accept");
            (client, server)
        };
        let mut connect = Connect::to(NAME).asynchronous();
        let (client, _server) = request(&mut connect);
        for level in [0, IDENTIFY, IMPERSONATE] {
            let made = client.create_security(level).map(drop);
            refused_with(made, libc::EINVAL, "create");
            let mut make = SecurityContainer::sending(0, level, ALPC_SECURITY_ONCE);
            let posted = client.post_secured(b"", &mut make).map(drop);
            refused_with(posted, libc::EINVAL, "once");
        }
        let id = client.create_security(ANONYMOUS).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        for attributes in [container.address(), 0] {
            let mut post = Transfer::new().send(b"x");
            post.arg.send_attributes = attributes;
            post.run(&client).expect("post");
            assert_from_nobody(&port.receive().expect("receive"));
        }
    });
}

#[test]
fn an_anonymous_server_answers_as_nobody() {
    isolated(|| {
        let pair = pair();
        std::thread::scope(|scope| {
            for attributes in [true, false] {
                let (caller, request) = pair.requested(scope, b"who?");
                let mut once = SecurityContainer::sending(0, ANONYMOUS, ALPC_SECURITY_ONCE);
                let mut reply = { Transfer::new().send(b"me").into(&request) }.flags(ALPC_RELEASE);
                if attributes {
                    reply.arg.send_attributes = once.address();
                }
                reply.run(&pair.port).expect("reply");
                let answer = caller.join().expect("join").expect("answer");
                match attributes {
                    true => assert_from_nobody(&answer),
                    false => assert_eq!(answer.pid, std::process::id()),
                }
            }
        });
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    isolated(|| {
        let pair = pair();
        let refuses = |context, security, flags| {
            let mut container = SecurityContainer::sending(context, security, flags);
            let posted = pair.client.post_secured(b"", &mut container).map(drop);
            refused_with(
                posted,
                libc::EINVAL,
                &format!("{context} {security} {flags}"),
            );
        };
        let id = pair.client.create_security(0).expect("create");
        refuses(0, 0, 0);
        refuses(0, 0, ALPC_SECURITY_DELETE);
        refuses(id, IDENTIFY, 0);
        refuses(id, 0, ALPC_SECURITY_CREATE);
        refuses(id, 0, ALPC_SECURITY_ONCE);
        refuses(0, 0, ALPC_SECURITY_CREATE | ALPC_SECURITY_ONCE);
        refuses(id, 0, ALPC_SECURITY_REVOKED);
        for bit in 4..32 {
            refuses(0, 1 << bit, ALPC_SECURITY_ONCE);
            refuses(id, 0, 1 << bit);
            let made = pair.client.create_security(1 << bit).map(drop);
            refused_with(made, libc::EINVAL, "create");
        }
        let bad = |command, arg: alpc_security| {
            let mut arg = alpc_security {
                outcome: JUNK32,
                ..arg
            };
            let asked = pair.client.ask_security(command, &mut arg);
            refused_with(asked, libc::EINVAL, &format!("{arg:?}"));
        };
        let arg = alpc_security::default();
        for command in [
            ALPC_IOCTL_CREATE_SECURITY,
            ALPC_IOCTL_DELETE_SECURITY,
            ALPC_IOCTL_REVOKE_SECURITY,
        ] {
            bad(command, alpc_security { flags: 1, ..arg });
            bad(command, alpc_security { reserved: 1, ..arg });
            let mut both = alpc_security {
                context: id,
                security: IDENTIFY,
                ..arg
            };
            bad(command, both);
            // Not on a connection port.
            let asked = pair.port.ask_security(command, &mut both);
            refused_with(asked, libc::ENOTTY, "connection port");
            // SAFETY: The kernel checks the address.
            let asked = unsafe { ioctl_at(pair.client.as_fd(), command, memory::unmapped()) };
            assert_eq!(asked, Err(libc::EFAULT));
        }
    });
}

#[test]
fn a_number_that_can_not_be_told_is_not_made() {
    isolated(|| {
        let pair = pair();
        let fixed = |words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            memory::Pages::read_only(&bytes)
        };
        for _ in 0..2 * ALPC_CONTEXTS_MAX {
            let argument = fixed(&[0, u64::from(IDENTIFY), 0]);
            // SAFETY: The kernel checks the address.
            let made = unsafe {
                ioctl_at(
                    pair.client.as_fd(),
                    ALPC_IOCTL_CREATE_SECURITY,
                    argument.address(),
                )
            };
            assert_eq!(made, Err(libc::EFAULT));
            let security = ALPC_ATTR_SECURITY as u64;
            let creates = (u64::from(ALPC_SECURITY_CREATE) << 32) | u64::from(IDENTIFY);
            let container = fixed(&[(security << 32) | security, 0, creates]);
            let mut post = Transfer::new().send(b"x");
            post.arg.send_attributes = container.address();
            refused_with(post.run(&pair.client), libc::EFAULT, "post");
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        pair.client.create_security(0).expect("create");
    });
}

#[test]
fn a_context_ends_with_its_side() {
    isolated(|| {
        let pair = pair();
        let id = pair.client.create_security(IMPERSONATE).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        let mut one_way = Transfer::new().send(b"x").flags(ALPC_RELEASE);
        one_way.arg.send_attributes = container.address();
        one_way.run(&pair.client).expect("send");
        let Pair { port, client, .. } = pair;
        drop(client);
        // What has left it is there still, with its context.
        let (message, told) = port.receive_secured().expect("receive");
        assert_eq!(message.data, b"x");
        assert_eq!(told.told(), Some((id, IMPERSONATE, 0)));
    });
}
