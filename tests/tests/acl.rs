// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who is admitted to a port, and to which server a client will talk.

use alpc_tests::privilege::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// What `user` gets on connecting to `name`: a pending connection or an errno.
fn try_connect(user: User, name: &'static str) -> Result<(), Failure> {
    let peer = Peer::spawn(user, move |link| {
        let result = Connect::to(name).asynchronous().run();
        let (errno, outcome) = result.map_or_else(|f| (f.errno, f.outcome), |_| (0, 0));
        link.put(errno as u64);
        link.put(outcome.into());
    });
    let (errno, outcome) = (peer.take() as i32, peer.take() as u32);
    peer.wait();
    if errno == 0 {
        Ok(())
    } else {
        Err(Failure { errno, outcome })
    }
}

/// Makes `owner` create a port, for as long as the peer lives.
fn port_of(owner: User, create: impl FnOnce() -> Create) -> Peer {
    let peer = Peer::spawn(owner, |link| {
        let _port = create().run().expect("create");
        link.sync();
        link.sync();
    });
    peer.sync();
    peer
}

/// Asserts who of the usual users is admitted.
#[track_caller]
fn admits(name: &'static str, admitted: &[User]) {
    for user in [ROOT, ALICE, BOB, CAROL, MALLORY] {
        let expected = if admitted.contains(&user) {
            Ok(())
        } else {
            Err(fail::ACCESS_DENIED)
        };
        assert_eq!(try_connect(user, name), expected, "{}", user.name);
    }
}

#[test]
fn without_a_list_only_the_owner_is_admitted() {
    isolated(|| {
        let _port = port_of(ALICE, || Create::named("acl/owner"));
        admits("acl/owner", &[ALICE]);
    });
}

#[test]
fn root_has_no_way_past_the_list() {
    isolated(|| {
        let _port = port_of(ALICE, || {
            Create::named("acl/no-root").acl(&[allow(ALPC_ACL_USER, BOB.uid)])
        });
        admits("acl/no-root", &[BOB]);
    });
}

#[test]
fn an_empty_list_admits_nobody_not_even_the_owner() {
    isolated(|| {
        let _port = port_of(ALICE, || Create::named("acl/empty").acl(&[]));
        admits("acl/empty", &[]);
    });
}

#[test]
fn everyone_is_everyone() {
    isolated(|| {
        let _port = port_of(ALICE, || Create::named("acl/everyone").open());
        admits("acl/everyone", &[ROOT, ALICE, BOB, CAROL, MALLORY]);
    });
}

#[test]
fn the_first_entry_that_names_the_right_settles_it() {
    isolated(|| {
        let everyone = allow(ALPC_ACL_EVERYONE, 0);
        let nobody = deny(ALPC_ACL_EVERYONE, 0);
        let not_mallory = deny(ALPC_ACL_USER, MALLORY.uid);
        let bob = allow(ALPC_ACL_USER, BOB.uid);
        let _a = port_of(ALICE, || {
            Create::named("acl/deny-first").acl(&[not_mallory, everyone])
        });
        admits("acl/deny-first", &[ROOT, ALICE, BOB, CAROL]);
        let _b = port_of(ALICE, || {
            Create::named("acl/allow-first").acl(&[everyone, not_mallory])
        });
        admits("acl/allow-first", &[ROOT, ALICE, BOB, CAROL, MALLORY]);
        let _c = port_of(ALICE, || {
            Create::named("acl/one-then-none").acl(&[bob, nobody, everyone])
        });
        admits("acl/one-then-none", &[BOB]);
    });
}

#[test]
fn an_entry_that_does_not_name_the_right_settles_nothing() {
    isolated(|| {
        let other_right = withhold(ALPC_ACL_EVERYONE, 0, ALPC_RIGHT_CALLBACK);
        let _port = port_of(ALICE, || {
            Create::named("acl/other").acl(&[other_right, allow(ALPC_ACL_USER, BOB.uid)])
        });
        admits("acl/other", &[BOB]);
    });
}

#[test]
fn an_entry_for_the_owner_is_for_the_user_that_made_the_port() {
    isolated(|| {
        let owner = allow(ALPC_ACL_OWNER, 0);
        let _a = port_of(ALICE, || Create::named("acl/owner-only").acl(&[owner]));
        admits("acl/owner-only", &[ALICE]);
        let _b = port_of(ALICE, || {
            let not_owner = deny(ALPC_ACL_OWNER, 0);
            Create::named("acl/not-owner").acl(&[not_owner, allow(ALPC_ACL_EVERYONE, 0)])
        });
        admits("acl/not-owner", &[ROOT, BOB, CAROL, MALLORY]);
        // The effective user, then and now.
        let _c = port_of(ROOT, || {
            become_effective(BOB.uid);
            Create::named("acl/effective-owner").acl(&[owner])
        });
        admits("acl/effective-owner", &[BOB]);
    });
}

#[test]
fn a_group_is_the_effective_or_a_supplementary_one() {
    isolated(|| {
        let _port = port_of(ALICE, || {
            Create::named("acl/group").acl(&[allow(ALPC_ACL_GROUP, 77)])
        });
        admits("acl/group", &[]);
        assert_eq!(
            try_connect(BOB.with_groups(&[5, 77, 99]), "acl/group"),
            Ok(())
        );
        assert_eq!(try_connect(User { gid: 77, ..CAROL }, "acl/group"), Ok(()));
        let outside = try_connect(BOB.with_groups(&[76, 78]), "acl/group");
        assert_eq!(outside, Err(fail::ACCESS_DENIED));
    });
}

#[test]
fn a_group_can_be_denied() {
    isolated(|| {
        let _port = port_of(ALICE, || {
            Create::named("acl/group-denied")
                .acl(&[deny(ALPC_ACL_GROUP, 77), allow(ALPC_ACL_EVERYONE, 0)])
        });
        assert_eq!(try_connect(BOB, "acl/group-denied"), Ok(()));
        let member = try_connect(BOB.with_groups(&[77]), "acl/group-denied");
        assert_eq!(member, Err(fail::ACCESS_DENIED));
    });
}

#[test]
fn the_credentials_of_the_moment_of_connecting_count() {
    isolated(|| {
        let _port = port_of(ALICE, || Create::named("acl/moment"));
        Peer::spawn(ROOT, |_| {
            // The device was opened by root; alice connects.
            let device = device();
            let connect = || {
                let mut connect = Connect::to("acl/moment").asynchronous();
                connect.run_on(&device).map(|_| ())
            };
            assert_eq!(connect(), Err(fail::ACCESS_DENIED));
            become_effective(ALICE.uid);
            assert_eq!(connect(), Ok(()));
            become_effective(0);
            assert_eq!(connect(), Err(fail::ACCESS_DENIED));
        })
        .wait();
    });
}

#[test]
fn a_refused_connector_leaves_no_trace_at_the_port() {
    isolated(|| {
        let port = Create::named("acl/trace").acl(&[]).run().expect("create");
        assert_eq!(try_connect(MALLORY, "acl/trace"), Err(fail::ACCESS_DENIED));
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        let query = port.query_port().expect("query");
        assert_eq!((query.connections, query.sequence), (0, 0));
    });
}

#[test]
fn a_connect_descriptor_reaches_an_anonymous_port_from_another_process() {
    isolated(|| {
        let port = Create::anonymous()
            .acl(&[allow(ALPC_ACL_USER, BOB.uid)])
            .run()
            .expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let connect = |link: &Link| {
            let through = link.take_fd();
            let mut connect = Connect::new(None).data(b"hello");
            match connect.run_on(&through) {
                Ok(_) => link.put(0),
                Err(failure) => link.put(failure.outcome.into()),
            }
        };
        // The descriptor carries the right to try; the list still decides.
        let mallory = Peer::spawn(MALLORY, connect);
        mallory.put_fd(&through);
        assert_eq!(mallory.take(), u64::from(ALPC_OUTCOME_ACCESS_DENIED));
        mallory.wait();

        let bob = Peer::spawn(BOB, connect);
        bob.put_fd(&through);
        let request = port.receive().expect("receive");
        assert_eq!(request.data, b"hello");
        assert_eq!((request.uid, request.gid), (BOB.uid, BOB.gid));
        assert_eq!(request.pid, bob.pid() as u32);
        Accept::new(request.id).run(&port).expect("accept");
        assert_eq!(bob.take(), 0);
        bob.wait();
    });
}

#[test]
fn a_connect_descriptor_does_nothing_but_connect() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        assert_eq!(through.query_port().expect("query").role, ALPC_ROLE_CONNECT);
        refused_with(through.receive_now(), libc::ENOTTY, "receive");
        refused_with(through.post(b"x"), libc::ENOTTY, "send");
        refused_with(through.disconnect(), libc::ENOTTY, "disconnect");
        refused_with(through.cancel(1, 0), libc::ENOTTY, "cancel");
        refused_with(
            through.connect_descriptor().map(|_| ()),
            libc::ENOTTY,
            "descriptor",
        );
        refused_with(
            Accept::new(1).run(&through).map(|_| ()),
            libc::ENOTTY,
            "accept",
        );
    });
}

#[test]
fn a_connect_descriptor_does_not_keep_the_port_alive() {
    isolated(|| {
        let port = Create::named("acl/kept").run().expect("create");
        let _through = port.connect_descriptor().expect("connect descriptor");
        drop(port);
        // The name is free again, although the descriptor exists.
        Create::named("acl/kept").run().expect("create again");
    });
}

#[test]
fn a_client_can_name_the_user_the_server_must_be() {
    isolated(|| {
        let server = Peer::spawn(ALICE, |link| {
            let port = Create::named("acl/server").open().run().expect("create");
            link.sync();
            // The wrong expectation must not deliver a byte.
            link.sync();
            assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
            assert_eq!(port.query_port().expect("query").sequence, 0);
            link.sync();
            let mut servers = Vec::new();
            while servers.len() < 3 {
                let message = port.receive().expect("receive");
                if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
                    servers.push(Accept::new(message.id).run(&port).expect("accept"));
                }
            }
        });
        server.sync();
        let client = Peer::spawn(BOB, |link| {
            let to = || Connect::to("acl/server").data(b"secret");
            for mut wrong in [
                to().required_uid(BOB.uid),
                to().required_uid(0),
                to().required_gid(BOB.gid),
                to().required_uid(ALICE.uid).required_gid(0),
                to().required_uid(0).required_gid(ALICE.gid),
            ] {
                assert_eq!(wrong.run().unwrap_err(), fail::SERVER_MISMATCH);
            }
            link.sync();
            link.sync();
            for mut right in [
                to().required_uid(ALICE.uid),
                to().required_gid(ALICE.gid),
                to().required_uid(ALICE.uid).required_gid(ALICE.gid),
            ] {
                let connected = right.run().expect("connect");
                assert_eq!(connected.server_uid, ALICE.uid);
            }
        });
        client.sync();
        server.sync();
        server.sync();
        client.sync();
        client.wait();
        server.wait();
    });
}

#[test]
fn the_required_user_is_the_one_that_created_the_port() {
    isolated(|| {
        // Root creates as alice, then goes on as root.
        let server = Peer::spawn(ROOT, |link| {
            become_effective(ALICE.uid);
            let _port = Create::named("acl/creator").open().run().expect("create");
            become_effective(0);
            link.sync();
            link.sync();
        });
        server.sync();
        Peer::spawn(BOB, |_| {
            let to = || Connect::to("acl/creator").asynchronous();
            assert_eq!(
                to().required_uid(0).run().unwrap_err(),
                fail::SERVER_MISMATCH
            );
            to().required_uid(ALICE.uid).run().expect("connect");
        })
        .wait();
        server.sync();
        server.wait();
    });
}
