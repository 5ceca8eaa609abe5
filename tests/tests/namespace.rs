// SPDX-License-Identifier: MIT OR Apache-2.0

//! Identities as seen from the receiver's namespaces, and time as the caller's has it.

use alpc_tests::privilege::*;
use alpc_tests::raw::*;
use alpc_tests::wait::clock;
use alpc_tests::*;

const OVERFLOW: u32 = 65534;

#[test]
fn a_sender_in_a_pid_namespace_has_the_receivers_number_for_it() {
    isolated(|| {
        let pair = Pair::new();
        let outer = Peer::fork(ROOT, |link| {
            unshare(libc::CLONE_NEWPID);
            // Its first child is number 1 in there.
            let inner = Peer::fork(ROOT, |_| {
                assert_eq!(std::process::id(), 1);
                pair.client.one_way(b"x").expect("send");
                // What comes from outside has no number in here.
                let message = pair.client.receive().expect("receive");
                assert_eq!((message.pid, message.tid), (0, 0));
                assert_eq!((message.uid, message.gid), (0, 0));
            });
            link.put(inner.pid() as u64);
            inner.wait();
        });
        let message = pair.port.receive().expect("receive");
        assert_eq!(u64::from(message.pid), outer.take());
        assert_eq!(message.tid, message.pid);
        pair.server.one_way(b"y").expect("send");
        outer.wait();
    });
}

#[test]
fn a_user_without_a_number_here_is_the_overflow_user() {
    isolated(|| {
        let pair = Pair::new();
        let inside = Peer::fork(ROOT, |link| {
            unshare(libc::CLONE_NEWUSER);
            link.sync();
            link.sync();
            // Root in here is 100000 outside.
            // SAFETY: Plain numbers; one thread.
            unsafe {
                assert_eq!(libc::setresgid(0, 0, 0), 0);
                assert_eq!(libc::setresuid(0, 0, 0), 0);
            }
            pair.client.one_way(b"x").expect("send");
            // Outer root has no number in here, and 100001 is 1.
            for expected in [OVERFLOW, 1] {
                let message = pair.client.receive().expect("receive");
                assert_eq!((message.uid, message.gid), (expected, expected));
            }
        });
        inside.sync();
        map_ids(inside.pid(), "0 100000 2\n");
        inside.sync();
        let message = pair.port.receive().expect("receive");
        assert_eq!((message.uid, message.gid), (100_000, 100_000));
        pair.server.one_way(b"y").expect("send");
        let second = User {
            name: "second",
            uid: 100_001,
            gid: 100_001,
            groups: &[],
        };
        Peer::fork(second, |_| pair.server.one_way(b"z").expect("send")).wait();
        inside.wait();
    });
}

#[test]
fn a_list_names_ids_of_its_makers_namespace() {
    isolated(|| {
        let inside = Peer::spawn(ROOT, |link| {
            unshare(libc::CLONE_NEWUSER);
            link.sync();
            link.sync();
            // User 1 in here; user 7 doesn't exist.
            let one = allow(ALPC_ACL_USER, 1);
            let _port = Create::named("namespace/list")
                .acl(&[one])
                .run()
                .expect("create");
            let seven = allow(ALPC_ACL_USER, 7);
            let result = Create::anonymous().acl(&[seven]).run().map(|_| ());
            refused_with(result, libc::EINVAL, "an id that isn't mapped");
            link.sync();
            link.sync();
        });
        inside.sync();
        map_ids(inside.pid(), "0 0 1\n1 100001 1\n");
        inside.sync();
        inside.sync();
        for (uid, expected) in [(1, Err(fail::ACCESS_DENIED)), (100_001, Ok(()))] {
            let user = User {
                name: "someone",
                uid,
                gid: uid,
                groups: &[],
            };
            Peer::spawn(user, move |_| {
                let result = Connect::to("namespace/list").asynchronous().run();
                assert_eq!(result.map(|_| ()), expected);
            })
            .wait();
        }
        inside.sync();
        inside.wait();
    });
}

#[test]
fn a_required_user_is_one_of_the_clients_namespace() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            let _port = Create::named("namespace/required")
                .open()
                .run()
                .expect("create");
            link.sync();
            link.sync();
        });
        alice.sync();
        let inside = Peer::spawn(ROOT, |link| {
            unshare(libc::CLONE_NEWUSER);
            link.sync();
            link.sync();
            let require = |uid| {
                let mut connect = Connect::to("namespace/required").asynchronous();
                connect = connect.required_uid(uid);
                connect.run().map(|_| ())
            };
            // Alice is 5 in here.
            assert_eq!(require(5), Ok(()));
            assert_eq!(require(0), Err(fail::SERVER_MISMATCH));
            refused_with(require(ALICE.uid), libc::EINVAL, "an id that isn't mapped");
        });
        inside.sync();
        map_ids(inside.pid(), "0 0 1\n5 1000 1\n");
        inside.sync();
        inside.wait();
        alice.sync();
        alice.wait();
    });
}

#[test]
fn root_of_a_user_namespace_is_not_root_to_the_list() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            let entries = [allow(ALPC_ACL_USER, ALICE.uid)];
            let _port = Create::named("namespace/root")
                .acl(&entries)
                .run()
                .expect("create");
            link.sync();
            link.sync();
        });
        alice.sync();
        Peer::spawn(MALLORY, |_| {
            unshare(libc::CLONE_NEWUSER);
            std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
            std::fs::write("/proc/self/uid_map", "0 1003 1\n").expect("uid_map");
            let result = Connect::to("namespace/root").asynchronous().run();
            assert_eq!(result.map(|_| ()), Err(fail::ACCESS_DENIED));
        })
        .wait();
        alice.sync();
        alice.wait();
    });
}

/// Whether somebody who is in new namespaces, or in none, is admitted to `name`.
fn admitted(name: &'static str) -> Result<(), Failure> {
    let result = Connect::to(name).asynchronous().run();
    result.map(|_| ())
}

#[test]
fn an_entry_for_a_user_namespace_is_for_the_very_one_of_the_maker() {
    isolated(|| {
        let near = allow(ALPC_ACL_USER_NS, 0);
        let _outside = Create::named("namespace/outside")
            .acl(&[near])
            .run()
            .expect("create");
        for user in [ROOT, BOB] {
            Peer::spawn(user, |_| assert_eq!(admitted("namespace/outside"), Ok(()))).wait();
        }
        // Root in a namespace below, who is the maker's own user.
        let inside = nested("0 0 1\n", 0, |link| {
            assert_eq!(admitted("namespace/outside"), Err(fail::ACCESS_DENIED));
            let _inside = Create::named("namespace/inside")
                .acl(&[near])
                .run()
                .expect("create");
            assert_eq!(admitted("namespace/inside"), Ok(()));
            Peer::fork(ROOT, |_| {
                unshare(libc::CLONE_NEWUSER);
                assert_eq!(admitted("namespace/inside"), Err(fail::ACCESS_DENIED));
            })
            .wait();
            link.sync();
            link.sync();
        });
        inside.sync();
        // From above, and from beside.
        for user in [ROOT, BOB] {
            Peer::spawn(user, |_| {
                assert_eq!(admitted("namespace/inside"), Err(fail::ACCESS_DENIED));
            })
            .wait();
        }
        nested("0 0 1\n", 0, |_| {
            assert_eq!(admitted("namespace/inside"), Err(fail::ACCESS_DENIED));
        })
        .wait();
        inside.sync();
        inside.wait();
    });
}

#[test]
fn the_owner_is_one_user_in_all_namespaces() {
    isolated(|| {
        let create = Create::named("namespace/owner").acl(&[allow(ALPC_ACL_OWNER, 0)]);
        let _port = { create }.run().expect("create");
        // The same user by another number, and another one by the same.
        nested("5 0 1\n0 100000 1\n", 0, |_| {
            assert_eq!(admitted("namespace/owner"), Err(fail::ACCESS_DENIED));
            become_effective(5);
            assert_eq!(admitted("namespace/owner"), Ok(()));
        })
        .wait();
    });
}

#[test]
fn a_deadline_is_by_the_clocks_of_the_callers_time_namespace() {
    const MS: u64 = 1_000_000;
    const CLONE_NEWTIME: i32 = 0x80;
    // Ahead of the others, and behind them.
    for seconds in [100_000, -1] {
        isolated(|| {
            let pair = Pair::new();
            Peer::fork(ROOT, |_| {
                unshare(CLONE_NEWTIME);
                let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
                std::fs::write("/proc/self/timens_offsets", offsets).expect("offsets");
                // The first that is in it is a child.
                Peer::fork(ROOT, |_| in_time_namespace(&pair.port, 50 * MS)).wait();
            })
            .wait();
        });
    }
}

fn in_time_namespace(port: &Port, timeout: u64) {
    for (mode, id) in [
        (ALPC_TIMEOUT_MONOTONIC, libc::CLOCK_MONOTONIC),
        (ALPC_TIMEOUT_BOOTTIME, libc::CLOCK_BOOTTIME),
        (ALPC_TIMEOUT_REALTIME, libc::CLOCK_REALTIME),
    ] {
        let end = clock(id) + timeout;
        let mut receive = Transfer::new().receive().flags(mode);
        receive.arg.timeout = end;
        assert_eq!(receive.run(port).unwrap_err(), fail::TIMED_OUT);
        assert!(clock(id) >= end, "too early by clock {id}");
    }
    let before = clock(libc::CLOCK_MONOTONIC);
    let mut receive = Transfer::new().receive().timeout(timeout);
    assert_eq!(receive.run(port).unwrap_err(), fail::TIMED_OUT);
    assert!(clock(libc::CLOCK_MONOTONIC) >= before + timeout);
    // What an interrupted call says is by the same clock.
    signals::catch(libc::SIGUSR1, 0);
    let tid = signals::tid();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually(|| inspect::thread_sleeps(tid));
            wait::settle();
            signals::to_thread(tid, libc::SIGUSR1);
        });
        let before = clock(libc::CLOCK_MONOTONIC);
        let mut receive = Transfer::new().receive().timeout(1_000_000 * timeout);
        assert_eq!(receive.run(port).unwrap_err(), fail::INTERRUPTED);
        let after = clock(libc::CLOCK_MONOTONIC);
        let said = receive.arg.timeout - 1_000_000 * timeout;
        assert!((before..=after).contains(&said), "{before} {said} {after}");
    });
}
