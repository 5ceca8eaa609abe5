// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reading and replacing the access control list of a port that is open.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;

use alpc_tests::files::eventfd;
use alpc_tests::memory::Pages;
use alpc_tests::privilege::*;
use alpc_tests::raw::*;
use alpc_tests::views::accept;
use alpc_tests::*;

const EVERYONE: alpc_acl_entry = alpc_acl_entry {
    type_: ALPC_ACL_ALLOW as u16,
    who: ALPC_ACL_EVERYONE as u16,
    id: 0,
    rights: ALPC_RIGHT_ALL,
    reserved: 0,
};

/// What a port without a list says.
const NO_LIST: Listed = Listed {
    count: 0,
    flags: ALPC_ACL_NO_LIST,
    entries: Vec::new(),
};

/// What a port with this list says.
fn listed(entries: &[alpc_acl_entry]) -> Listed {
    Listed {
        count: entries.len() as u32,
        flags: 0,
        entries: entries.iter().map(fields).collect(),
    }
}

/// One of each, in an order that matters.
fn mixed() -> Vec<alpc_acl_entry> {
    vec![
        deny(ALPC_ACL_USER, MALLORY.uid),
        grant(ALPC_ACL_GROUP, 77, ALPC_RIGHT_CONNECT | ALPC_RIGHT_VIEW),
        allow(ALPC_ACL_OWNER, 0),
        withhold(ALPC_ACL_USER_NS, 0, ALPC_RIGHT_CALLBACK),
        grant(ALPC_ACL_EVERYONE, 0, 0),
    ]
}

/// Whether `user` is admitted to `name`.
fn admitted(user: User, name: &'static str) -> Result<(), Failure> {
    let peer = Peer::spawn(user, move |link| {
        let result = Connect::to(name).asynchronous().run();
        link.put(result.map_or_else(|failure| failure.outcome, |_| 0).into());
    });
    let outcome = peer.take() as u32;
    peer.wait();
    match outcome {
        0 => Ok(()),
        outcome => {
            assert_eq!(outcome, ALPC_OUTCOME_ACCESS_DENIED);
            Err(fail::ACCESS_DENIED)
        }
    }
}

#[test]
fn the_list_is_read_as_it_was_given() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        assert_eq!(port.query_acl(), Ok(NO_LIST));
        for entries in [vec![], vec![EVERYONE], mixed()] {
            let port = Create::anonymous().acl(&entries).run().expect("create");
            assert_eq!(port.query_acl(), Ok(listed(&entries)));
            let through = port.connect_descriptor().expect("connect descriptor");
            assert_eq!(through.query_acl(), Ok(listed(&entries)));
        }
    });
}

#[test]
fn as_many_entries_are_read_as_there_is_room_for() {
    isolated(|| {
        let entries = mixed();
        let port = Create::anonymous().acl(&entries).run().expect("create");
        for room in 0..entries.len() + 2 {
            let whole = listed(&entries);
            let expected = Listed {
                entries: whole.entries.into_iter().take(room).collect(),
                ..whole
            };
            assert_eq!(port.query_acl_with(room), Ok(expected), "room {room}");
        }
    });
}

#[test]
fn a_list_that_is_replaced_counts_for_who_connects_later() {
    isolated(|| {
        const NAME: &str = "live/replaced";
        let port = Create::named(NAME).run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        assert_eq!(admitted(BOB, NAME), Err(fail::ACCESS_DENIED));
        let bob = [allow(ALPC_ACL_USER, BOB.uid)];
        port.set_acl(Some(&bob)).expect("set");
        assert_eq!(port.query_acl(), Ok(listed(&bob)));
        assert_eq!(admitted(BOB, NAME), Ok(()));
        assert_eq!(admitted(ROOT, NAME), Err(fail::ACCESS_DENIED));
        // Once denied is denied, through the connect descriptor as well.
        through
            .set_acl(Some(&[deny(ALPC_ACL_USER, BOB.uid), EVERYONE]))
            .expect("set");
        assert_eq!(admitted(BOB, NAME), Err(fail::ACCESS_DENIED));
        assert_eq!(admitted(CAROL, NAME), Ok(()));
        port.set_acl(Some(&[])).expect("set");
        assert_eq!(port.query_acl(), Ok(listed(&[])));
        assert_eq!(admitted(ROOT, NAME), Err(fail::ACCESS_DENIED));
        port.set_acl(None).expect("set");
        assert_eq!(port.query_acl(), Ok(NO_LIST));
        assert_eq!(admitted(ROOT, NAME), Ok(()));
        assert_eq!(admitted(CAROL, NAME), Err(fail::ACCESS_DENIED));
    });
}

#[test]
fn who_is_connected_or_has_asked_keeps_what_it_was_granted() {
    isolated(|| {
        const NAME: &str = "live/kept";
        let mut create = Create::named(NAME).open().taking(ALPC_TAKE_HANDLES);
        let port = create.run().expect("create");
        let bob = Peer::spawn(BOB, |link| {
            let open = Connect::to(NAME).run().expect("connect").port;
            let asked = Connect::to(NAME).asynchronous().run().expect("ask").port;
            link.sync();
            link.sync();
            let file = eventfd();
            open.one_way_with(&mut HandleContainer::one(&file))
                .expect("handles");
            let reply = asked.receive().expect("the answer");
            assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
            asked
                .one_way_with(&mut HandleContainer::one(&file))
                .expect("handles");
            let again = Connect::to(NAME).run().map(|_| ());
            assert_eq!(again, Err(fail::ACCESS_DENIED));
        });
        let _open = accept(&port);
        bob.sync();
        port.set_acl(Some(&[])).expect("set");
        bob.sync();
        let mut handles = 0;
        let mut ends = Vec::new();
        while handles < 2 {
            let message = port.receive().expect("receive");
            match message.kind {
                ALPC_TYPE_DATAGRAM => handles += 1,
                ALPC_TYPE_CONNECTION_REQUEST => {
                    ends.push(Accept::new(message.id).run(&port).expect("accept"));
                }
                _ => {}
            }
        }
        bob.wait();
    });
}

/// Asserts that the calling process can neither read nor replace the list.
#[track_caller]
fn has_no_say(fd: &Port) {
    let denied = fail::ACCESS_DENIED;
    assert_eq!(fd.query_acl(), Err(denied));
    assert_eq!(fd.query_acl_with(0), Err(denied));
    for entries in [None, Some(&[][..]), Some(&[EVERYONE][..])] {
        assert_eq!(fd.set_acl(entries), Err(denied));
    }
}

/// Asserts that it can do both. The list is what it was, then.
#[track_caller]
fn has_a_say(fd: &Port) {
    let before = fd.query_acl().expect("query");
    fd.set_acl(Some(&[EVERYONE])).expect("set");
    assert_eq!(fd.query_acl(), Ok(listed(&[EVERYONE])));
    fd.set_acl(None).expect("set");
    assert_eq!(before, NO_LIST);
    assert_eq!(fd.query_acl(), Ok(NO_LIST));
}

/// A port of `owner`'s, and what `body` does with it and its connect descriptor as `user`.
fn another(owner: User, user: User, body: impl Fn(&Port)) {
    let owner = Peer::spawn(owner, |link| {
        let port = Create::anonymous().run().expect("create");
        link.put_fd(&port);
        link.put_fd(&port.connect_descriptor().expect("connect descriptor"));
        link.sync();
        assert_eq!(port.query_acl(), Ok(NO_LIST));
    });
    let passed = [owner.take_fd(), owner.take_fd()];
    for fd in &passed {
        let other = Peer::spawn(user, |link| body(&Port::from(link.take_fd())));
        other.put_fd(fd);
        other.wait();
    }
    owner.sync();
    owner.wait();
}

#[test]
fn nobody_but_the_owner_reads_or_replaces_a_list() {
    isolated(|| {
        another(ALICE, BOB, has_no_say);
        const MEMBER: User = MALLORY.with_groups(&[ALICE.gid]);
        another(ALICE, MEMBER, has_no_say);
        another(ROOT, BOB, has_no_say);
        // Not by the right to be admitted to everything, either.
        let port = Create::anonymous().open().run().expect("create");
        let bob = Peer::spawn(BOB, |link| {
            let through = Port::from(link.take_fd());
            assert_eq!(through.query_acl(), Err(fail::ACCESS_DENIED));
            assert_eq!(through.set_acl(None), Err(fail::ACCESS_DENIED));
        });
        bob.put_fd(&port.connect_descriptor().expect("connect descriptor"));
        bob.wait();
    });
}

#[test]
fn the_owner_is_whoever_has_its_effective_user() {
    isolated(|| {
        another(ALICE, ALICE, has_a_say);
        another(BOB, ROOT, |fd| {
            keep_capabilities(1 << 7);
            become_effective(BOB.uid);
            has_a_say(fd);
            become_effective(0);
            has_no_say(fd);
        });
    });
}

#[test]
fn one_capability_acts_as_the_owner() {
    isolated(|| {
        another(ALICE, ROOT, has_a_say);
        another(ALICE, ROOT, |fd| {
            keep_capabilities(1 << CAP_FOWNER);
            has_a_say(fd);
            keep_capabilities(0);
            has_no_say(fd);
        });
        another(ALICE, ROOT, |fd| {
            keep_capabilities(!(1 << CAP_FOWNER));
            has_no_say(fd);
        });
    });
}

#[test]
fn the_owner_in_a_list_is_the_maker_whoever_gives_the_list() {
    isolated(|| {
        const NAME: &str = "live/maker";
        let alice = Peer::spawn(ALICE, |link| {
            let port = Create::named(NAME).run().expect("create");
            link.put_fd(&port);
            link.sync();
        });
        let port = Port::from(alice.take_fd());
        for entries in [Some(&[allow(ALPC_ACL_OWNER, 0)][..]), None] {
            port.set_acl(entries).expect("set");
            assert_eq!(admitted(ALICE, NAME), Ok(()));
            assert_eq!(admitted(ROOT, NAME), Err(fail::ACCESS_DENIED));
        }
        alice.sync();
        alice.wait();
    });
}

#[test]
fn root_of_a_user_namespace_is_nobody_to_ports_outside() {
    isolated(|| {
        let port = Create::named("live/outside").run().expect("create");
        let owned = Peer::spawn(MALLORY, |link| {
            let port = Create::named("live/own").run().expect("create");
            link.put_fd(&port);
            link.sync();
        });
        let own = owned.take_fd();
        // Somebody else's namespace; then a port of its owner's, who is the same user inside.
        let inside = nested("0 100000 1\n", 0, |link| {
            for _ in 0..2 {
                has_no_say(&Port::from(link.take_fd()));
            }
            let result = Connect::to("live/outside").asynchronous().run();
            assert_eq!(result.map(|_| ()), Err(fail::ACCESS_DENIED));
        });
        inside.put_fd(&port);
        inside.put_fd(&own);
        inside.wait();
        let inside = Peer::spawn(MALLORY, |link| {
            unshare(libc::CLONE_NEWUSER);
            std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
            std::fs::write("/proc/self/uid_map", "0 1003 1\n").expect("uid_map");
            has_no_say(&Port::from(link.take_fd()));
            has_a_say(&Port::from(link.take_fd()));
        });
        inside.put_fd(&port);
        inside.put_fd(&own);
        inside.wait();
        owned.sync();
        owned.wait();
        assert_eq!(port.query_acl(), Ok(NO_LIST));
    });
}

#[test]
fn root_outside_acts_as_the_owner_of_ports_in_a_user_namespace() {
    isolated(|| {
        let inside = nested("0 100000 2\n", 0, |link| {
            let port = Create::anonymous().run().expect("create");
            link.put_fd(&port);
            // Another user in there, and root of there.
            for (uid, has_say) in [(1, false), (0, true)] {
                let user = User {
                    uid,
                    gid: uid,
                    ..BOB
                };
                let other = Peer::spawn(user, |link| {
                    let port = Port::from(link.take_fd());
                    match has_say {
                        true => has_a_say(&port),
                        false => has_no_say(&port),
                    }
                });
                other.put_fd(&port);
                other.wait();
            }
            link.sync();
        });
        let port = Port::from(inside.take_fd());
        inside.sync();
        has_a_say(&port);
        inside.wait();
    });
}

#[test]
fn ids_are_read_in_the_callers_numbers() {
    const OVERFLOW: u32 = 65534;
    isolated(|| {
        let entries = [
            allow(ALPC_ACL_USER, 100_001),
            deny(ALPC_ACL_GROUP, 100_000),
            allow(ALPC_ACL_USER, BOB.uid),
            deny(ALPC_ACL_GROUP, 77),
            allow(ALPC_ACL_OWNER, 0),
        ];
        // Made outside by the user that is root inside, so that it may read.
        let root = User {
            name: "inner root",
            uid: 100_000,
            gid: 100_000,
            groups: &[],
        };
        let maker = Peer::spawn(root, |link| {
            let port = Create::anonymous().acl(&entries).run().expect("create");
            link.put_fd(&port);
            link.sync();
        });
        let port = maker.take_fd();
        let inside = nested("0 100000 2\n", 0, |link| {
            let port = Port::from(link.take_fd());
            let ids = |listed: Listed| -> Vec<u32> {
                listed.entries.iter().map(|entry| entry.2).collect()
            };
            let read = port.query_acl().expect("query");
            assert_eq!(ids(read), [1, 0, OVERFLOW, OVERFLOW, 0]);
            // What has no number here can't be given back.
            let unknown = [allow(ALPC_ACL_USER, OVERFLOW)];
            refused_with(port.set_acl(Some(&unknown)), libc::EINVAL, "no such user");
            port.set_acl(Some(&[allow(ALPC_ACL_USER, 1)])).expect("set");
        });
        inside.put_fd(&port);
        inside.wait();
        let read = Port::from(port).query_acl().expect("query");
        assert_eq!(read, listed(&[allow(ALPC_ACL_USER, 100_001)]));
        maker.sync();
        maker.wait();
    });
}

#[test]
fn arguments_are_checked_and_nothing_changes() {
    isolated(|| {
        let entries = mixed();
        let port = Create::anonymous().acl(&entries).run().expect("create");
        let mut room = [EVERYONE; 4];
        let good = acl_argument(&[]);
        let address = room.as_mut_ptr() as u64;
        let refuses = |request: u32, errno: i32, what: &str, edit: &dyn Fn(&mut alpc_acl)| {
            let mut arg = good;
            edit(&mut arg);
            let failure = acl_as_is(&port, request, &mut arg).expect_err(what);
            assert_eq!(failure.errno, errno, "{what}");
            assert_eq!(failure.outcome, JUNK32, "{what}");
            assert_eq!(port.query_acl(), Ok(listed(&entries)), "{what}");
        };
        for request in [ALPC_IOCTL_QUERY_ACL, ALPC_IOCTL_SET_ACL] {
            let bad = |what: &str, edit: &dyn Fn(&mut alpc_acl)| {
                refuses(request, libc::EINVAL, what, edit);
            };
            bad("reserved", &|arg| arg.reserved = 1);
            bad("no address", &|arg| arg.count = 1);
            bad("no count", &|arg| arg.entries = address);
            for bit in 1..32 {
                bad("a flag", &|arg| arg.flags = 1 << bit);
            }
            let cliff = Pages::cliff();
            // SAFETY: An entry has no padding.
            let bytes: [u8; 16] = unsafe { std::mem::transmute(EVERYONE) };
            cliff.write(cliff.end(24), &bytes);
            refuses(request, libc::EFAULT, "over the edge", &|arg| {
                arg.entries = cliff.end(24);
                arg.count = 2;
            });
            refuses(request, libc::EFAULT, "impossible", &|arg| {
                arg.entries = u64::MAX - 8;
                arg.count = 2;
            });
        }
        refuses(ALPC_IOCTL_QUERY_ACL, libc::EINVAL, "a flag", &|arg| {
            arg.flags = ALPC_ACL_NO_LIST
        });
        let bad = |what: &str, edit: &dyn Fn(&mut alpc_acl)| {
            refuses(ALPC_IOCTL_SET_ACL, libc::EINVAL, what, edit);
        };
        bad("a list that is none", &|arg| {
            (arg.entries, arg.count, arg.flags) = (address, 1, ALPC_ACL_NO_LIST);
        });
        let many = vec![EVERYONE; ALPC_ACL_MAX as usize + 1];
        bad("too many", &|arg| {
            (arg.entries, arg.count) = (many.as_ptr() as u64, many.len() as u32)
        });
        bad("far too many", &|arg| {
            (arg.entries, arg.count) = (many.as_ptr() as u64, u32::MAX)
        });
        for entry in [
            alpc_acl_entry { who: 6, ..EVERYONE },
            alpc_acl_entry { id: 1, ..EVERYONE },
            alpc_acl_entry {
                rights: ALPC_RIGHT_ALL + 1,
                ..EVERYONE
            },
            alpc_acl_entry {
                reserved: 1,
                ..EVERYONE
            },
        ] {
            let list = [EVERYONE, entry];
            bad("an entry", &|arg| {
                (arg.entries, arg.count) = (list.as_ptr() as u64, 2)
            });
        }
        port.set_acl(Some(&many[1..])).expect("as many as may be");
        assert_eq!(port.query_acl(), Ok(listed(&many[1..])));
    });
}

#[test]
fn a_port_that_is_shut_has_its_list_still() {
    isolated(|| {
        let port = Create::anonymous().acl(&mixed()).run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        port.disconnect().expect("disconnect");
        assert_eq!(port.query_acl(), Ok(listed(&mixed())));
        port.set_acl(Some(&[EVERYONE])).expect("set");
        drop(port);
        assert_eq!(through.query_acl(), Ok(listed(&[EVERYONE])));
        through.set_acl(None).expect("set");
        assert_eq!(through.query_acl(), Ok(NO_LIST));
    });
}

/// Two lists of the largest size, of which each grants one right that the other one doesn't: half
/// of one and half of the other would grant both or neither.
fn extremes() -> [Vec<alpc_acl_entry>; 2] {
    let list = |right| {
        let mut list = vec![deny(ALPC_ACL_USER, MALLORY.uid); ALPC_ACL_MAX as usize - 2];
        list.insert(0, grant(ALPC_ACL_OWNER, 0, right));
        list.push(grant(ALPC_ACL_EVERYONE, 0, ALPC_RIGHT_CONNECT));
        list
    };
    [list(ALPC_RIGHT_HANDLE), list(ALPC_RIGHT_MEMORY)]
}

#[test]
fn who_connects_while_lists_are_replaced_meets_one_of_them() {
    isolated_long(3, || {
        const NAME: &str = "live/race";
        let lists = extremes();
        let takes = ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;
        let mut create = Create::named(NAME).acl(&lists[0]).taking(takes);
        let port = create.run().expect("create");
        let shared = Shared::new();
        let over = || shared[0].load(Ordering::Relaxed) != 0;
        let rounds = rounds(2_000);
        let mut met = [0_u32; 2];
        thread::scope(|scope| {
            for first in 0..2 {
                let (port, lists) = (&port, &lists);
                scope.spawn(move || {
                    let mut next = first;
                    while !over() {
                        port.set_acl(Some(&lists[next])).expect("set");
                        next = 1 - next;
                    }
                });
            }
            scope.spawn(|| {
                while !over() {
                    let read = port.query_acl().expect("query");
                    assert!(lists.iter().any(|list| read == listed(list)));
                }
            });
            let served = scope.spawn(|| {
                let mut ends = HashMap::new();
                for number in 0.. {
                    let Ok(message) = port.receive() else { break };
                    match message.kind {
                        ALPC_TYPE_CONNECTION_REQUEST => {
                            let mut accept = Accept::new(message.id).context(number);
                            ends.insert(number, accept.run(&port).expect("accept"));
                        }
                        ALPC_TYPE_PORT_CLOSED => drop(ends.remove(&message.port_context)),
                        _ => {}
                    }
                }
            });
            let file = eventfd();
            let memory = [0_u8; 8];
            let ranges = Ranges::of(&[(memory.as_ptr() as u64, 8, ALPC_MEMORY_READ)]);
            for _ in 0..rounds {
                let client = Connect::to(NAME).run().expect("connect").port;
                let handles = client.one_way_with(&mut HandleContainer::one(&file));
                let offered = Transfer::offering(&ranges).now().run(&client).map(|_| ());
                match (handles, offered) {
                    (Ok(()), Err(fail::ACCESS_DENIED)) => met[0] += 1,
                    (Err(fail::ACCESS_DENIED), Err(fail::TIMED_OUT_SENT)) => met[1] += 1,
                    other => panic!("neither list: {other:?}"),
                }
            }
            shared[0].store(1, Ordering::Relaxed);
            port.disconnect().expect("disconnect");
            served.join().expect("join");
        });
        note!("lists met: {met:?}");
        assert!(met.iter().all(|&count| count != 0), "{met:?}");
    });
}
