// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names that are kept for somebody: who may make them, and where that is decided.

use alpc_tests::privilege::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// Asserts that the calling process may make each of these, or none.
#[track_caller]
fn can_make(names: &[&str], expected: bool) {
    let expected = match expected {
        true => Ok(()),
        false => Err(fail::ACCESS_DENIED),
    };
    for name in names {
        let result = Create::named(name).run().map(|_| ());
        assert_eq!(result, expected, "{name}");
    }
}

/// Names that read as if they were a user's.
const LOOK_ALIKES: &[&str] = &[
    "user",
    "user/x",
    "user/alice/x",
    "user/01000/x",
    "user/007",
    "user/+1000/x",
    "user/0x3e8/x",
    "user/1000 /x",
    "user/\u{ff11}000/x",
    "user/4294967295/x",
    "user/4294968296/x",
];

#[test]
fn names_of_the_system_are_made_by_the_privileged() {
    isolated(|| {
        let names = ["system", "system/x", "system/1000/x"];
        can_make(&names, true);
        Peer::spawn(ALICE, move |_| can_make(&names, false)).wait();
        // It is the capability that counts, not the user.
        Peer::spawn(ROOT, move |_| {
            keep_capabilities(1 << CAP_IPC_OWNER);
            can_make(&names, true);
            keep_capabilities(0);
            can_make(&names, false);
        })
        .wait();
        Peer::spawn(ROOT, move |_| {
            keep_capabilities(!(1 << CAP_IPC_OWNER));
            can_make(&names, false);
        })
        .wait();
    });
}

#[test]
fn names_of_a_user_are_made_by_that_user_and_the_privileged() {
    isolated(|| {
        let alices = ["user/1000", "user/1000/x", "user/1000/x/y"];
        Peer::spawn(ALICE, move |_| can_make(&alices, true)).wait();
        can_make(&alices, true);
        for other in [BOB, MALLORY] {
            Peer::spawn(other, move |_| can_make(&alices, false)).wait();
        }
        // A group of that number is nobody's user.
        const MEMBER: User = BOB.with_groups(&[ALICE.gid]);
        Peer::spawn(MEMBER, move |_| can_make(&alices, false)).wait();
    });
}

#[test]
fn the_user_is_the_effective_one() {
    isolated(|| {
        Peer::spawn(ROOT, |_| {
            become_effective(ALICE.uid);
            can_make(&["user/1000/x"], true);
            can_make(&["user/0/x"], false);
            become_effective(0);
            keep_capabilities(0);
            can_make(&["user/0/x"], true);
            can_make(&["user/1000/x"], false);
        })
        .wait();
    });
}

#[test]
fn what_looks_like_a_users_name_is_no_users() {
    isolated(|| {
        for user in [ALICE, MALLORY] {
            Peer::spawn(user, |_| can_make(LOOK_ALIKES, false)).wait();
        }
        can_make(LOOK_ALIKES, true);
    });
}

#[test]
fn other_names_are_for_whoever_comes_first() {
    isolated(|| {
        Peer::spawn(MALLORY, |_| {
            can_make(
                &["systems/x", "a/system", "users/1000", "x/user/1000"],
                true,
            );
        })
        .wait();
    });
}

#[test]
fn a_refused_name_stays_free() {
    isolated(|| {
        Peer::spawn(MALLORY, |_| can_make(&["user/1000/free"], false)).wait();
        Peer::spawn(ALICE, |_| can_make(&["user/1000/free"], true)).wait();
    });
}

#[test]
fn connecting_to_a_kept_name_needs_no_more_than_the_list_says() {
    isolated(|| {
        let _port = Create::named("system/open").open().run().expect("create");
        Peer::spawn(MALLORY, |_| {
            let mut connect = Connect::to("system/open").asynchronous();
            connect.run().expect("connect");
        })
        .wait();
    });
}

#[test]
fn root_of_a_user_namespace_is_nobody_to_names_outside() {
    isolated(|| {
        // Root in there is 100000 to the IPC namespace, which it shares.
        nested("0 100000 2\n", 0, |_| {
            can_make(&["system/x", "user/0/x", "user/1/x", "user/1000/x"], false);
            can_make(&["user/100000/x", "a/b"], true);
            can_make(LOOK_ALIKES, false);
        })
        .wait();
    });
}

#[test]
fn a_user_that_made_a_namespace_keeps_its_own_names_and_gets_no_others() {
    isolated(|| {
        Peer::spawn(MALLORY, |_| {
            unshare(libc::CLONE_NEWUSER);
            std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
            std::fs::write("/proc/self/uid_map", "0 1003 1\n").expect("uid_map");
            can_make(&["system/x", "user/0/x"], false);
            can_make(&["user/1003/x"], true);
        })
        .wait();
    });
}

#[test]
fn the_owner_of_an_ipc_namespace_decides_over_its_names() {
    isolated(|| {
        nested("0 100000 3\n", libc::CLONE_NEWIPC, |_| {
            can_make(&["system/x", "user/0/x", "user/1/x", "user/100000/x"], true);
            // Users are those of the namespace that owns it.
            Peer::spawn(
                User {
                    uid: 1,
                    gid: 1,
                    ..BOB
                },
                |_| {
                    can_make(&["user/1/x"], true);
                    can_make(
                        &["system/x", "user/0/x", "user/2/x", "user/100001/x"],
                        false,
                    );
                },
            )
            .wait();
        })
        .wait();
        // A namespace that doesn't map its user knows no names of it.
        Peer::spawn(MALLORY, |_| {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWIPC);
            keep_capabilities(0);
            can_make(
                &["user/1003/x", "user/65534/x", "user/0/x", "system/x"],
                false,
            );
        })
        .wait();
    });
}
