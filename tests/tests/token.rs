// SPDX-License-Identifier: MIT OR Apache-2.0

//! The TOKEN attribute: whether it is the same sender with the same credentials again.

use std::collections::BTreeSet;

use alpc_tests::raw::*;
use alpc_tests::*;

type Token = alpc_attr_token;

fn ids(token: &Token) -> (u64, u64) {
    assert!(token.token_id != 0 && token.modified_id != 0);
    (token.token_id, token.modified_id)
}

/// The token of a message that `send` sends.
fn of(pair: &Pair, send: impl FnOnce(&Port)) -> Token {
    send(&pair.client);
    pair.port.receive_token().expect("receive").1
}

fn one_way(pair: &Pair) -> (u64, u64) {
    ids(&of(pair, |client| client.one_way(b"x").expect("send")))
}

/// Changes the credentials of the calling thread alone.
fn change_group(id: libc::gid_t) {
    // SAFETY: Takes no pointer.
    let set = unsafe { libc::syscall(libc::SYS_setresgid, -1, id, -1) };
    assert_eq!(set, 0);
}

#[test]
fn the_same_sender_has_the_same_token_whatever_it_sends() {
    isolated(|| {
        let pair = Pair::new();
        let first = one_way(&pair);
        assert_eq!(one_way(&pair), first);
        let posted = of(&pair, |client| {
            client.post(b"x").expect("post");
        });
        assert_eq!(ids(&posted), first);
        std::thread::scope(|scope| {
            // Another thread of the process, which has the same credentials; and the straight way.
            for _ in 0..2 {
                let client = scope.spawn(|| pair.client.request(b"x"));
                let (request, token) = pair.port.receive_token().expect("receive");
                assert_eq!(ids(&token), first);
                pair.port.reply(&request, b"").expect("reply");
                client.join().expect("client").expect("reply");
            }
        });
        // Programs that are executed have credentials of their own.
        let other = Peer::fork(ROOT, |_| pair.client.one_way(b"x").expect("send"));
        let (_, token) = pair.port.receive_token().expect("receive");
        other.wait();
        let (process, credentials) = ids(&token);
        assert_ne!(process, first.0);
        assert_ne!(credentials, first.1);
        assert_eq!(one_way(&pair), first);
    });
}

#[test]
fn any_change_of_credentials_changes_the_token_and_no_change_back_brings_the_old_one() {
    isolated(|| {
        let pair = Pair::new();
        let mut seen = BTreeSet::new();
        let (process, credentials) = one_way(&pair);
        seen.insert(credentials);
        let changes: [&dyn Fn(); 5] = [
            &|| change_group(1234),
            // The same ids as at first.
            &|| change_group(0),
            // SAFETY: The list is live for the call.
            &|| assert_eq!(unsafe { libc::setgroups(2, [5, 6].as_ptr()) }, 0),
            &|| {
                // SAFETY: Takes no pointer.
                let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 38) };
                assert_eq!(dropped, 0);
            },
            &|| {
                // SAFETY: Takes no pointer.
                let set = unsafe { libc::syscall(libc::SYS_setresuid, -1, 7, -1) };
                assert_eq!(set, 0);
            },
        ];
        for change in changes {
            change();
            let (same, credentials) = one_way(&pair);
            assert_eq!(same, process);
            assert!(seen.insert(credentials), "a number was used again");
            assert_eq!(one_way(&pair), (process, credentials));
        }
    });
}

#[test]
fn threads_of_one_process_have_the_tokens_of_their_credentials() {
    isolated(|| {
        let pair = &Pair::new();
        let own = one_way(pair);
        for id in [1234, 1235] {
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    change_group(id);
                    let theirs = one_way(pair);
                    assert_eq!(theirs.0, own.0);
                    assert_ne!(theirs.1, own.1);
                });
            });
        }
        assert_eq!(one_way(pair), own);
    });
}

#[test]
fn a_number_is_never_used_again_by_however_many_senders() {
    isolated(|| {
        let pair = Pair::new();
        let mut seen = BTreeSet::new();
        // More than a connection remembers, of processes whose credentials are freed each time.
        for round in 0..40 {
            let peer = Peer::fork(ROOT, |_| {
                for _ in 0..2 {
                    pair.client.one_way(b"x").expect("send");
                }
            });
            let [first, second] =
                [(); 2].map(|()| ids(&pair.port.receive_token().expect("receive").1));
            peer.wait();
            assert_eq!(first, second);
            assert!(
                seen.insert(first.0) && seen.insert(first.1),
                "round {round}"
            );
        }
    });
}

#[test]
fn numbers_do_not_say_how_many_senders_are_new_elsewhere() {
    isolated(|| {
        let (pair, elsewhere) = (Pair::new(), Pair::new());
        let mut seen = Vec::new();
        for round in 0..4 {
            for _ in 0..round {
                change_group(round);
                one_way(&elsewhere);
            }
            change_group(100 + round);
            seen.push(one_way(&pair).1);
        }
        seen.sort_unstable();
        for pair in seen.windows(2) {
            // A counter's would be a few apart.
            assert!(pair[1] - pair[0] > 1 << 20, "{seen:x?}");
        }
    });
}

#[test]
fn a_client_knows_its_server_by_a_token_too() {
    isolated(|| {
        let pair = Pair::new();
        let serve = || {
            let request = pair.port.receive().expect("receive");
            pair.port.reply(&request, b"").expect("reply");
        };
        let call = || {
            pair.client.post(b"x").expect("post");
            serve();
            ids(&pair.client.receive_token().expect("receive").1)
        };
        let own = call();
        assert_eq!(call(), own);
        // It is one table for both directions.
        assert_eq!(one_way(&pair), own);
        pair.client.post(b"x").expect("post");
        let other = Peer::fork(BOB, |_| serve());
        let (_, token) = pair.client.receive_token().expect("receive");
        other.wait();
        assert_ne!(ids(&token).0, own.0);
    });
}

#[test]
fn who_connects_has_the_token_that_it_sends_with() {
    isolated(|| {
        let port = Create::named("token/port").run().expect("create");
        let client = Connect::to("token/port").asynchronous().run();
        let client = client.expect("connect").port;
        let (request, connecting) = port.receive_token().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let (reply, accepting) = client.receive_token().expect("receive");
        assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
        client.one_way(b"x").expect("send");
        let (_, sending) = port.receive_token().expect("receive");
        assert_eq!(ids(&connecting), ids(&sending));
        assert_eq!(ids(&connecting), ids(&accepting));
    });
}

#[test]
fn the_session_is_the_one_of_audit_where_the_server_takes_it() {
    isolated(|| {
        for takes in [0, ALPC_TAKE_IDENTITY] {
            let pair = Pair::with(Create::anonymous().takes(takes, 0));
            pair.client.post(b"x").expect("post");
            let (request, token) = pair.port.receive_token().expect("receive");
            let identity = pair.port.identity(&request).expect("identity");
            assert_eq!(token.session_id, u64::from(identity.arg.session));
            if takes == 0 {
                assert_eq!(token.session_id, u64::from(u32::MAX));
            }
        }
    });
}

#[test]
fn a_notice_has_no_token() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"x").expect("post");
        pair.port.receive().expect("receive");
        pair.client.cancel(id, 0).expect("cancel");
        let mut room = TokenContainer::room();
        let mut transfer = Transfer::new().receive();
        transfer.arg.recv_attributes = room.address();
        let notice = transfer.run(&pair.port).expect("receive");
        assert_eq!(notice.kind, ALPC_TYPE_CANCELED);
        assert_eq!(room.head.valid, 0);
        assert_eq!(room.token.token_id, JUNK64);
    });
}

#[test]
fn nobody_says_what_token_it_has() {
    isolated(|| {
        let pair = Pair::new();
        let mut room = TokenContainer::room();
        room.head.valid = ALPC_ATTR_TOKEN;
        let mut transfer = Transfer::new().send(b"x").flags(ALPC_RELEASE);
        transfer.arg.send_attributes = room.address();
        refused_with(transfer.run(&pair.client), libc::EINVAL, "a token");
        // Room for one is no harm, so that one container will do for both directions.
        let mut room = TokenContainer::room();
        transfer.arg.send_attributes = room.address();
        transfer.run(&pair.client).expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"x");
    });
}

#[test]
fn a_token_stands_between_handles_and_memory() {
    #[repr(C)]
    struct All {
        head: alpc_attributes,
        context: alpc_attr_context,
        token: alpc_attr_token,
        memory: alpc_attr_memory,
    }
    isolated(|| {
        let pair = Pair::new();
        let own = one_way(&pair);
        pair.client.post(b"x").expect("post");
        // SAFETY: Plain numbers: any bytes are valid.
        let mut all: All = unsafe { std::mem::transmute([JUNK; size_of::<All>()]) };
        all.head = alpc_attributes {
            allocated: ALPC_ATTR_CONTEXT | ALPC_ATTR_TOKEN | ALPC_ATTR_MEMORY,
            valid: 0,
        };
        all.memory = alpc_attr_memory::default();
        let mut transfer = Transfer::new().receive();
        transfer.arg.recv_attributes = std::ptr::from_mut(&mut all) as u64;
        let message = transfer.run(&pair.port).expect("receive");
        assert_eq!(all.head.valid, ALPC_ATTR_CONTEXT | ALPC_ATTR_TOKEN);
        assert_eq!(all.context.id, message.id);
        assert_eq!(ids(&all.token), own);
        assert_eq!(all.memory.count, 0);
    });
}
