// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who somebody is, by the crate.

use alpc::{Acl, ConnectBuilder, PortBuilder, Received, UserNamespace, Who};
use alpc_tests::{isolated, Peer, BOB, ROOT};

use super::pair;

const GROUPS: &[u32] = &[5, 77, 5000];

#[test]
fn a_server_knows_who_asks_and_a_client_who_answers() {
    isolated(|| {
        let everyone = Acl::new().allow(Who::Everyone);
        let server = PortBuilder::new("lib/identity")
            .acl(&everyone)
            .take_identity();
        let server = server.create().expect("create");
        let through = server.connector().expect("connector");
        assert_eq!(
            through.server_identity().expect("maker").pid,
            std::process::id()
        );
        let bob = Peer::spawn(BOB.with_groups(GROUPS), |_| {
            let client = ConnectBuilder::new("lib/identity")
                .connect()
                .expect("connect");
            let peer = client.peer_identity().expect("identity");
            assert_eq!(
                (peer.user.effective, peer.namespace),
                (0, UserNamespace::Same)
            );
            client.call(b"", &mut [0; 8]).expect("call");
        });
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let asking = request.identity().expect("identity");
        let port = request.accept().expect("accept");
        let Received::Request(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a request was expected");
        };
        let identity = request.identity().expect("identity");
        assert_eq!(identity, asking);
        assert_eq!(identity, port.peer_identity().expect("identity"));
        assert_eq!(
            (identity.pid, identity.groups.as_slice()),
            (bob.pid() as u32, GROUPS)
        );
        let ids = [identity.user.real, identity.user.saved, identity.user.fs];
        assert_eq!(ids, [BOB.uid; 3]);
        assert!(identity.is_in_group(77) && identity.is_in_group(BOB.gid));
        assert!(!identity.is_in_group(78));
        let capabilities = identity.capabilities.expect("of this namespace");
        assert_eq!((capabilities.effective, capabilities.permitted), (0, 0));
        request.into_turn().reply(b"").expect("reply");
        bob.wait();
    });
}

#[test]
fn many_groups_and_none_are_told_alike() {
    isolated(|| {
        let many: Vec<u32> = (1000..1100).collect();
        // SAFETY: As many numbers as it says. Of this thread alone.
        let set = unsafe { libc::syscall(libc::SYS_setgroups, many.len(), many.as_ptr()) };
        assert_eq!(set, 0);
        let (_server, _port, client) = pair();
        let peer = client.peer_identity().expect("identity");
        assert_eq!((peer.groups, peer.user.real), (many, ROOT.uid));
        // SAFETY: No numbers.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setgroups, 0, 0) }, 0);
        let (_server, _port, client) = pair();
        let peer = client.peer_identity().expect("identity");
        assert!(peer.groups.is_empty());
    });
}
