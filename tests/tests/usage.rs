// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who has what of all that is limited: by user, by port, in fdinfo and in debugfs.

use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// What a user has of each thing, in the order of the structure.
fn used(uid: u32) -> [u32; 8] {
    gauges(&user_usage(uid, 0).expect("usage")).map(|gauge| gauge.used)
}

fn gauges(usage: &alpc_query_user) -> [alpc_gauge; 8] {
    [
        usage.ports,
        usage.connections,
        usage.left_connections,
        usage.conversations,
        usage.told_conversations,
        usage.view_pages,
        usage.handles,
        usage.told_handles,
    ]
}

#[test]
fn what_a_user_has_is_counted_while_it_has_it() {
    isolated(|| {
        let limits = query();
        // Nobody has anything of Alice's yet.
        assert_eq!(used(ALICE.uid), [0; 8]);
        let usage = user_usage(ALICE.uid, 0).expect("usage");
        assert_eq!(usage.ports.limit, limits.ports_per_user);
        assert_eq!(usage.connections.limit, limits.connections_per_user);
        assert_eq!(usage.left_connections.limit, limits.connections_per_user);
        assert_eq!(usage.conversations.limit, limits.conversations_per_user);
        assert_eq!(
            usage.told_conversations.limit,
            limits.conversations_per_user
        );
        assert_eq!(usage.view_pages.limit, limits.view_pages_per_user);
        assert!(usage.handles.limit != 0 && usage.handles.limit == usage.told_handles.limit);

        let create = Create::named("usage/root").open();
        let takes = ALPC_TAKE_HANDLES | ALPC_TAKE_VIEWS;
        let port = { create }.takes(takes, 0).run().expect("create");
        let alice = Peer::spawn(ALICE, |link| {
            let own = Create::anonymous().run().expect("create");
            let connect = Connect::to("usage/root").takes(ALPC_TAKE_HANDLES, 0);
            let client = { connect }.run().expect("connect").port;
            let section = client.section(16384).expect("section");
            let _view = section.view(8192).expect("view");
            let pipe = files::pipe();
            let fds = [&pipe.0, &pipe.1].map(std::os::fd::AsRawFd::as_raw_fd);
            let mut handles = HandleContainer::sending(&fds);
            let mut transfer = Transfer::new().send(b"two");
            transfer.arg.send_attributes = handles.address();
            transfer.run(&client).expect("post");
            link.sync();
            link.sync();
            drop((own, client));
            link.sync();
            link.sync();
        });
        let request = port.receive().expect("receive");
        let server = Accept::new(request.id).run(&port).expect("accept");
        alice.sync();
        let (pipe, _) = files::pipe();
        let mut handles = HandleContainer::sending(&[std::os::fd::AsRawFd::as_raw_fd(&pipe)]);
        let mut transfer = Transfer::new().send(b"one");
        transfer.arg.send_attributes = handles.address();
        transfer.run(&server).expect("post");
        assert_eq!(used(ALICE.uid), [1, 1, 0, 1, 0, 2, 2, 0]);
        // What a server sends counts for who made its port.
        assert_eq!(used(ROOT.uid), [1, 0, 0, 0, 1, 0, 0, 1]);
        alice.sync();
        alice.sync();
        // She has closed all; the server keeps its end.
        assert_eq!(used(ALICE.uid)[..2], [0, 0]);
        eventually(|| user_usage(0, 0).expect("usage").left_connections.used == 1);
        drop(server);
        while port.receive_now().is_ok() {}
        alice.sync();
        alice.wait();
        eventually(|| used(ALICE.uid) == [0; 8]);
        assert_eq!(user_usage(0, 0).expect("usage").left_connections.used, 0);
    });
}

#[test]
fn a_refusal_is_counted_at_who_could_not_have_more() {
    isolated(|| {
        let port = Create::named("usage/port").open().run().expect("create");
        let before = port.query_port().expect("query").refused;
        assert_eq!(before, 0);
        let alice = Peer::spawn(ALICE, |_| {
            many_descriptors_of_this_user();
            let (_clients, failure) = until_failure(|| knock("usage/port"));
            assert_eq!(failure, fail::LIMIT);
        });
        alice.wait();
        // It is the port's places that there were no more of for her.
        assert_eq!(port.query_port().expect("query").refused, 1);
        drop(port);

        let maker = as_user(BOB, |link| {
            let limit = user_usage(BOB.uid, 0).expect("usage").ports.limit;
            let (ports, failure) = until_failure(|| Create::anonymous().run());
            assert_eq!(failure, fail::LIMIT);
            assert_eq!(ports.len() as u32, limit);
            let own = user_usage(BOB.uid, 0).expect("usage").ports;
            assert_eq!((own.used, own.refused), (limit, 1));
            link.sync();
            link.sync();
        });
        maker.sync();
        let told = user_usage(BOB.uid, 0).expect("usage").ports;
        assert_eq!((told.used, told.refused), (told.limit, 1));
        assert_eq!(user_usage(0, 0).expect("usage").ports.refused, 0);
        maker.sync();
        maker.wait();
    });
}

/// As many descriptors as a user may have that is not privileged.
fn many_descriptors_of_this_user() {
    // SAFETY: A live limit.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

#[test]
fn what_others_have_is_for_the_privileged() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |_| {
            assert_eq!(used(ALICE.uid), [0; 8]);
            for other in [0, BOB.uid, 65534] {
                let refused = user_usage(other, 0).map(|_| ());
                assert_eq!(refused, Err(libc::EPERM));
                let refused = user_usage(other, ALPC_USER_AS_OWNER).map(|_| ());
                assert_eq!(refused, Err(libc::EPERM));
            }
            user_usage(ALICE.uid, ALPC_USER_AS_OWNER).expect("her own");
        });
        alice.wait();
        for (uid, flags) in [(0, 2), (0, u32::MAX), (u32::MAX, 0)] {
            let refused = user_usage(uid, flags).map(|_| ());
            assert_eq!(refused, Err(libc::EINVAL), "{uid} {flags}");
        }
    });
}

#[test]
fn a_namespace_sees_its_own_users_and_its_owner_answers_for_them() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            // SAFETY: Takes no pointer; one thread.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
            std::fs::write("/proc/self/uid_map", "0 1000 1").expect("map");
            let _port = Create::anonymous().run().expect("create");
            // User 0 in here is Alice, who is privileged in here.
            assert_eq!(used(0)[0], 1);
            let stranger = user_usage(BOB.uid, 0).map(|_| ());
            assert_eq!(stranger, Err(libc::EINVAL));
            link.sync();
            link.sync();
        });
        alice.sync();
        assert_eq!(used(ALICE.uid)[0], 1);
        let owner = user_usage(ALICE.uid, ALPC_USER_AS_OWNER).expect("usage");
        assert_eq!(owner.ports.used, 1);
        alice.sync();
        alice.wait();
    });
}

#[test]
fn the_root_of_a_container_does_not_see_what_its_other_users_have() {
    isolated(|| {
        let port = Create::named("usage/container")
            .open()
            .run()
            .expect("create");
        let (ready, mapped) = (Shared::new(), Shared::new());
        let root = Peer::spawn(ALICE, move |link| {
            // SAFETY: Takes no pointer; one thread.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
                assert_eq!(libc::unshare(libc::CLONE_NEWUSER), 0);
            }
            ready[0].store(1, SeqCst);
            eventually(|| mapped[0].load(SeqCst) == 1);
            // Root of it, with Bob as user 1 in it.
            let own = user_usage(0, 0).expect("its own");
            assert_eq!(own.connections.used, 0);
            assert_eq!(user_usage(1, 0).map(|_| ()), Err(libc::EPERM));
            link.sync();
        });
        eventually(|| ready[0].load(SeqCst) == 1);
        let map = format!("0 {} 1\n1 {} 1", ALICE.uid, BOB.uid);
        std::fs::write(format!("/proc/{}/uid_map", root.pid()), map).expect("map");
        let bob = Peer::spawn(BOB, |link| {
            let mut connect = Connect::to("usage/container").asynchronous();
            connect.arg.security = ALPC_SECURITY_ANONYMOUS;
            let _client = connect.run().expect("connect");
            link.sync();
            link.sync();
        });
        bob.sync();
        mapped[0].store(1, SeqCst);
        root.sync();
        bob.sync();
        // Root of the first namespace does.
        user_usage(BOB.uid, 0).expect("usage");
        drop(port);
        root.wait();
        bob.wait();
    });
}

#[test]
fn a_server_sees_which_connection_holds_what() {
    isolated(|| {
        let create = Create::named("usage/port").open().share(4, 0);
        let port = create.takes(ALPC_TAKE_VIEWS, 0).run().expect("create");
        assert!(port.connections_usage().is_empty());
        let mut servers = Vec::new();
        let peers = [ALICE, BOB, CAROL].map(|user| {
            let peer = Peer::spawn(user, move |link| {
                let client = Connect::to("usage/port").run().expect("connect").port;
                link.sync();
                if user.uid == BOB.uid {
                    let post = || {
                        let mut transfer = Transfer::new().send(b"flood").flags(ALPC_NONBLOCK);
                        transfer.run(&client)
                    };
                    let (sent, failure) = until_failure(post);
                    assert_eq!((sent.len(), failure), (4, fail::QUEUE_FULL));
                }
                link.sync();
                link.sync();
            });
            let request = port.receive().expect("receive");
            let context = u64::from(user.uid);
            let accept = Accept::new(request.id).context(context);
            servers.push({ accept }.run(&port).expect("accept"));
            peer
        });
        for peer in &peers {
            peer.sync();
            peer.sync();
        }
        servers[2].one_way(b"unread").expect("send");
        let all = port.connections_usage();
        assert_eq!(all.len(), 3);
        for (connection, (peer, user)) in all.iter().zip(peers.iter().zip([ALICE, BOB, CAROL])) {
            let who = (connection.pid, connection.uid, connection.gid);
            assert_eq!(who, (peer.pid() as u32, user.uid, user.gid));
            assert_eq!(connection.state, ALPC_STATE_OPEN);
            assert_eq!(connection.context, u64::from(user.uid));
            let flood = u32::from(user.uid == BOB.uid);
            let told = u32::from(user.uid == CAROL.uid);
            assert_eq!(connection.to_server_messages, 4 * flood);
            assert_eq!(connection.to_server_bytes, 20 * flood);
            assert_eq!(connection.conversations, 4 * flood);
            assert_eq!(connection.refused, u64::from(flood));
            assert_eq!(connection.to_client_messages, told);
            assert_eq!(connection.to_client_bytes, 6 * told);
            assert_eq!(
                (connection.views_to_server, connection.views_to_client),
                (0, 0)
            );
        }
        // By number, one after the other, and none behind the last.
        let second = port.connection_usage(all[0].index + 1).expect("second");
        assert_eq!(second.uid, BOB.uid);
        for behind in [all[2].index + 1, 1 << 20, u32::MAX] {
            assert_eq!(port.connection_usage(behind).map(|_| ()), Err(libc::ENOENT));
        }
        for peer in peers {
            peer.sync();
            peer.wait();
        }
        for server in &servers {
            assert_eq!(server.connection_usage(0).map(|_| ()), Err(libc::ENOTTY));
        }
    });
}

#[test]
fn fdinfo_tells_what_a_port_has() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_VIEWS);
        let line = |port: &Port, key| inspect::fdinfo(port, key).expect(key);
        assert_eq!(line(&pair.client, "alpc-sections"), "0");
        let section = pair.client.section(8192).expect("section");
        let view = section.view(4096).expect("view");
        assert_eq!(line(&pair.client, "alpc-sections"), "1");
        assert_eq!(line(&pair.port, "alpc-sections"), "0");
        assert_eq!(line(&pair.port, "alpc-refused"), "0");
        let mut container = ViewContainer::lending(view.base, view.size, 0);
        let mut transfer = Transfer::new().send(b"view");
        transfer.arg.send_attributes = container.address();
        transfer.run(&pair.client).expect("post");
        assert_eq!(line(&pair.server, "alpc-views"), "1");
        assert_eq!(line(&pair.client, "alpc-views"), "0");
        let info = pair.server.query_port().expect("query");
        assert_eq!((info.views, info.sections), (1, 0));
        assert_eq!(pair.port.connections_usage()[0].views_to_server, 1);
    });
}

#[test]
fn the_administrator_finds_all_users_in_debugfs() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            let _ports = [(); 3].map(|()| Create::anonymous().run().expect("create"));
            let denied = std::fs::read_to_string("/sys/kernel/debug/alpc/users");
            assert_eq!(
                denied.expect_err("not for everybody").raw_os_error(),
                Some(libc::EACCES)
            );
            link.sync();
            link.sync();
        });
        alice.sync();
        let text = std::fs::read_to_string("/sys/kernel/debug/alpc/users").expect("debugfs");
        let limits = query();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<_> = lines.next().expect("names").split('\t').collect();
        assert_eq!(names[..2], ["user", "ports"]);
        let line = text.lines().find(|line| line.starts_with("1000\t"));
        let cells: Vec<_> = line.expect("her line").split('\t').collect();
        assert_eq!(cells.len(), names.len());
        assert_eq!(cells[1], format!("3/{}/0", limits.ports_per_user));
        let pages = text.lines().last().expect("a last line");
        let pages = pages.strip_prefix("all-view-pages\t").expect("pages");
        assert!(
            pages.ends_with(&format!("/{}", limits.view_pages)),
            "{pages}"
        );
        alice.sync();
        alice.wait();
    });
}
