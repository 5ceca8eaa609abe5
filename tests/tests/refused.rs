// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a port tells of itself and of its maker to a user whom its list refuses, field by field,
//! and what to the others.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::inspect::fdinfo;
use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "refused/port";
const MAX: u32 = 1234;
const GROUPS: [u32; 2] = [5001, 5002];
/// The maker's real, effective and saved ids. The effective user is that of [`OWNER`].
const USERS: [u32; 3] = [2011, 2012, 2013];
const MAKER_GROUPS: [u32; 3] = [2021, 2022, 2023];
const OWNER: User = User {
    name: "owner",
    uid: USERS[1],
    gid: 3000,
    groups: &[],
};
/// Whom nobody has in the place of an id.
const OVERFLOW: u32 = 65534;

/// A process of odd ids that has made a port which admits nobody but Alice.
fn maker() -> Peer {
    Peer::spawn(ROOT, |link| {
        // SAFETY: The list is live for the call; the others take numbers.
        unsafe {
            assert_eq!(libc::setgroups(GROUPS.len(), GROUPS.as_ptr()), 0);
            let [real, effective, saved] = MAKER_GROUPS;
            assert_eq!(libc::setresgid(real, effective, saved), 0);
            let [real, effective, saved] = USERS;
            assert_eq!(libc::setresuid(real, effective, saved), 0);
        }
        let create = Create::named(NAME).max(MAX).flags(ALPC_PORT_ARRIVAL_ORDER);
        let mut create = create.acl(&[grant(ALPC_ACL_USER, ALICE.uid, ALPC_RIGHT_CONNECT)]);
        let port = create.run().expect("create");
        link.put_fd(&port);
        link.sync();
    })
}

/// Runs `ask` as somebody who has opened the name.
fn as_user(user: User, ask: impl FnOnce(&Port)) {
    Peer::spawn(user, |_| ask(&open_port(NAME).expect("open"))).wait();
}

fn identity(port: &Port) -> Identity {
    port.identity_with_room(0, 0, 8, 256).expect("identity")
}

/// Both ways to ask what a port is say the same.
fn agree(port: &Port) -> alpc_query_port {
    let query = port.query_port().expect("query");
    let line = |key: &str| fdinfo(port, key).unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(line("alpc-role"), "connect");
    let state = match query.state {
        ALPC_STATE_OPEN => "open",
        ALPC_STATE_DISCONNECTED => "disconnected",
        state => panic!("state {state}"),
    };
    assert_eq!(line("alpc-state"), state);
    assert_eq!(line("alpc-flags"), format!("{:#x}", query.flags));
    assert_eq!(
        line("alpc-max-message"),
        query.max_message_length.to_string()
    );
    assert_eq!(line("alpc-share"), "0 messages, 0 bytes");
    assert_eq!(line("alpc-queued"), "0 messages, 0 bytes");
    for key in [
        "connections",
        "conversations",
        "refused",
        "sections",
        "views",
    ] {
        assert_eq!(line(&format!("alpc-{key}")), "0", "{key}");
    }
    assert_eq!(fdinfo(port, "alpc-peer"), None);
    let rest = alpc_query_port {
        role: ALPC_ROLE_CONNECT,
        state: query.state,
        flags: query.flags,
        max_message_length: query.max_message_length,
        ..Default::default()
    };
    assert_eq!(format!("{query:?}"), format!("{rest:?}"));
    query
}

/// The whole of it is told.
fn is_told_everything(port: &Port, maker: u32) {
    let query = agree(port);
    let flags = ALPC_PORT_ARRIVAL_ORDER | ALPC_PORT_ACL;
    assert_eq!((query.flags, query.max_message_length), (flags, MAX));
    assert_eq!(fdinfo(port, "alpc-name").as_deref(), Some(NAME));
    let who = identity(port);
    assert_eq!((who.arg.pid, who.arg.tid), (maker, maker));
    let ids =
        [USERS, MAKER_GROUPS].map(|[real, effective, saved]| [real, effective, saved, effective]);
    assert_eq!(who.ids(), ids);
    assert_eq!((who.arg.group_count, &who.groups[..]), (2, &GROUPS[..]));
    assert_eq!(who.arg.user_ns, ALPC_USER_NS_SAME);
    assert_ne!(who.arg.cap_bounding, 0);
    assert_ne!(who.arg.cgroup, 0);
    assert_eq!(port.verify(0, 0, 0), Ok(()));
}

/// Whose port it is, and nothing else.
fn is_told_who(port: &Port, maker: u32, label: &str) {
    let query = agree(port);
    assert_eq!(query.state, ALPC_STATE_OPEN);
    assert_eq!((query.flags, query.max_message_length), (0, 0));
    assert_eq!(fdinfo(port, "alpc-name"), None);
    let who = identity(port);
    // Told: process, effective user and group, label.
    assert_eq!(who.arg.pid, maker);
    let [user, group] = [USERS[1], MAKER_GROUPS[1]];
    let ids = [user, group].map(|effective| [OVERFLOW, effective, OVERFLOW, OVERFLOW]);
    assert_eq!(who.ids(), ids);
    assert_eq!(who.label(), label);
    // Not told: anything else.
    assert_eq!(who.arg.tid, 0);
    assert_eq!((who.arg.group_count, who.groups.len()), (0, 0));
    assert_eq!(who.capabilities(), [0; 5]);
    assert_eq!(who.arg.cgroup, 0);
    assert_eq!((who.arg.loginuid, who.arg.session), (u32::MAX, u32::MAX));
    assert_eq!(who.arg.user_ns, ALPC_USER_NS_OTHER);
    // No group is written either.
    let mut room = [JUNK32; 8];
    let mut arg = identity_argument(0, 0);
    (arg.groups, arg.group_count) = (room.as_mut_ptr() as u64, 8);
    port.ask_identity(&mut arg).expect("identity");
    assert_eq!(room, [JUNK32; 8]);
    // Whether it has its number still is told.
    assert_eq!(port.verify(0, 0, 0), Ok(()));
}

/// The label that the security module gives a process of these tests.
fn label() -> String {
    let text = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    text.trim_end_matches(['\0', '\n']).to_string()
}

#[test]
fn who_is_refused_is_told_whose_port_it_is_and_nothing_else() {
    isolated(|| {
        let maker = maker();
        let port = Port::from(maker.take_fd());
        let (pid, label) = (maker.pid() as u32, label());
        for user in [MALLORY, BOB.with_groups(&[ALICE.gid])] {
            as_user(user, |port| {
                is_told_who(port, pid, &label);
                // The list says no to all that would tell more.
                let refused = Connect::new(None).run_on(port);
                assert_eq!(refused.unwrap_err(), fail::ACCESS_DENIED);
                assert_eq!(port.query_acl().unwrap_err(), fail::ACCESS_DENIED);
                assert_eq!(port.set_acl(None), Err(fail::ACCESS_DENIED));
                // What is told could be found out by connecting.
                let connect = Connect::new(None).required_uid(USERS[0]);
                let mismatch = { connect }.run_on(port);
                assert_eq!(mismatch.unwrap_err(), fail::SERVER_MISMATCH);
                let connect = Connect::new(None).required_gid(MAKER_GROUPS[0]);
                let mismatch = { connect }.run_on(port);
                assert_eq!(mismatch.unwrap_err(), fail::SERVER_MISMATCH);
                let connect = Connect::new(None).required_uid(USERS[1]);
                let connect = connect.required_gid(MAKER_GROUPS[1]);
                let refused = { connect }.run_on(port);
                assert_eq!(refused.unwrap_err(), fail::ACCESS_DENIED);
            });
        }
        drop(port);
        maker.sync();
        maker.wait();
    });
}

#[test]
fn who_may_connect_or_change_the_list_is_told_everything() {
    isolated(|| {
        let maker = maker();
        let _port = Port::from(maker.take_fd());
        let pid = maker.pid() as u32;
        // The owner and root are on no list: they could change it.
        for user in [ALICE, OWNER, ROOT] {
            as_user(user, |port| is_told_everything(port, pid));
        }
        maker.sync();
        maker.wait();
    });
}

#[test]
fn what_is_told_goes_by_the_list_of_that_moment() {
    isolated(|| {
        let maker = maker();
        let port = Port::from(maker.take_fd());
        let (pid, label) = (maker.pid() as u32, label());
        let mallory = Peer::spawn(MALLORY, |link| {
            let port = open_port(NAME).expect("open");
            is_told_who(&port, pid, &label);
            link.sync();
            link.sync();
            is_told_everything(&port, pid);
            link.sync();
            link.sync();
            is_told_who(&port, pid, &label);
        });
        for who in [MALLORY, ALICE] {
            mallory.sync();
            let list = [grant(ALPC_ACL_USER, who.uid, ALPC_RIGHT_CONNECT)];
            port.set_acl(Some(&list)).expect("set");
            mallory.sync();
        }
        mallory.wait();
        // A right that is not the one to connect is none to know.
        let list = [grant(
            ALPC_ACL_EVERYONE,
            0,
            ALPC_RIGHT_ALL & !ALPC_RIGHT_CONNECT,
        )];
        port.set_acl(Some(&list)).expect("set");
        as_user(MALLORY, |port| is_told_who(port, pid, &label));
        maker.sync();
        maker.wait();
    });
}

#[test]
fn a_descriptor_that_was_passed_on_tells_no_more_than_one_that_was_opened() {
    isolated(|| {
        let maker = maker();
        let port = Port::from(maker.take_fd());
        let (pid, label) = (maker.pid() as u32, label());
        let mallory = Peer::spawn(MALLORY, |link| {
            is_told_who(&Port::from(link.take_fd()), pid, &label);
        });
        mallory.put_fd(&port.connect_descriptor().expect("connect descriptor"));
        mallory.wait();
        // It is who reads that is told, whoever has the descriptor.
        let alice = Peer::spawn(ALICE, |link| {
            let port = open_port(NAME).expect("open");
            link.put(port.as_fd().as_raw_fd() as u64);
            link.sync();
        });
        let path = format!("/proc/{}/fdinfo/{}", alice.pid(), alice.take());
        let text = std::fs::read_to_string(&path).expect("fdinfo");
        assert!(text.contains(NAME), "{text}");
        alice.sync();
        alice.wait();
        maker.sync();
        maker.wait();
    });
}

#[test]
fn who_is_refused_learns_that_the_maker_has_gone() {
    isolated(|| {
        let maker = maker();
        let port = Port::from(maker.take_fd());
        let pid = maker.pid() as u32;
        let mallory = Peer::spawn(MALLORY, |link| {
            let port = open_port(NAME).expect("open");
            assert_eq!(port.verify(0, 0, 0), Ok(()));
            link.sync();
            link.sync();
            assert_eq!(port.verify(0, 0, 0), Err(fail::SENDER_GONE));
            assert_eq!(identity(&port).arg.pid, pid, "as it was then");
            assert_eq!(agree(&port).state, ALPC_STATE_OPEN);
            link.sync();
            link.sync();
            assert_eq!(agree(&port).state, ALPC_STATE_DISCONNECTED);
        });
        mallory.sync();
        maker.sync();
        maker.wait();
        mallory.sync();
        mallory.sync();
        drop(port);
        mallory.sync();
        mallory.wait();
    });
}
