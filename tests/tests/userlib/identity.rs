// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who somebody is, by the crate.

use std::os::fd::AsRawFd;

use alpc::{
    Acl, ConnectBuilder, Connector, Device, Features, Options, Outcome, PortBuilder, Received,
    UserNamespace, Who,
};
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

#[test]
fn a_sender_is_recognised_opened_and_verified() {
    isolated(|| {
        let (server, _port, client) = pair();
        let asking = Options::new().ask_token();
        let mut buffer = [0; 64];
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let peer = Peer::fork(BOB, |_| {
                for _ in 0..2 {
                    client.call(b"", &mut [0; 8]).expect("call");
                }
            });
            for _ in 0..2 {
                let received = server.receive_with(&mut buffer, asking).expect("receive");
                let Received::Request(request) = received else {
                    panic!("a request was expected");
                };
                tokens.push(request.token().expect("a token"));
                for pidfd in [request.sender_pidfd(), request.sender_thread_pidfd()] {
                    let pidfd = pidfd.expect("pidfd");
                    let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
                    let info = std::fs::read_to_string(info).expect("fdinfo");
                    assert!(info.contains(&format!("Pid:\t{}\n", peer.pid())), "{info}");
                }
                request.into_turn().reply(b"").expect("reply");
            }
            peer.wait();
        }
        assert_eq!((tokens[0], tokens[2]), (tokens[1], tokens[3]));
        assert_ne!(tokens[0].process, tokens[2].process);
        assert_ne!(tokens[0].credentials, tokens[2].credentials);
        // One that is not asked for is not told.
        client.send_request(b"").expect("send");
        let Received::Request(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a request was expected");
        };
        assert_eq!(request.token(), None);
        // Nobody waits for that.
        let error = request.sender_thread_pidfd().expect_err("no thread");
        assert_eq!(error.outcome(), Some(Outcome::SenderGone));
        assert_eq!(client.peer_pidfd().is_ok(), request.sender_pidfd().is_ok());
    });
}

#[test]
fn a_sender_that_has_gone_is_not_opened() {
    isolated(|| {
        let (server, _port, client) = pair();
        let peer = Peer::fork(BOB, |_| {
            client.send_request(b"").expect("send");
        });
        let mut buffer = [0; 64];
        let Received::Request(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a request was expected");
        };
        peer.wait();
        let error = request.sender_pidfd().expect_err("nobody");
        assert_eq!(error.outcome(), Some(Outcome::SenderGone));
    });
}

#[test]
fn a_request_says_who_it_is_for() {
    isolated(|| {
        let (server, _port, client) = pair();
        let server_thread = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let Received::Request(request) = server.receive(&mut buffer).expect("receive") else {
                panic!("a request was expected");
            };
            assert_eq!(request.data(), b"for root");
            request.into_turn().reply(b"").expect("reply");
        });
        let alice = Options::new().for_user(alpc_tests::ALICE.uid);
        let mut room = [0; 8];
        let error = client.call_with(b"for alice", &mut room, alice);
        let error = error.expect_err("nobody of that name");
        assert_eq!(error.outcome(), Some(Outcome::ReceiverMismatch));
        let root = Options::new().for_user(0).for_group(0);
        client
            .call_with(b"for root", &mut [0; 8], root)
            .expect("call");
        server_thread.join().expect("server");
    });
}

#[test]
fn a_server_is_looked_at_before_anything_is_sent() {
    isolated(|| {
        let missing = Connector::open("lib/looked-at").expect_err("no such port");
        assert_eq!(missing.outcome(), Some(Outcome::NameNotFound));
        let server = PortBuilder::new("lib/looked-at");
        let _server = server.create().expect("create");
        let connector = Connector::open("lib/looked-at").expect("open");
        let maker = connector.server_identity().expect("identity");
        assert_eq!(maker.pid, std::process::id());
        connector.server_pidfd().expect("pidfd");
        let wrong = ConnectBuilder::through(&connector).require_label("somebody-else");
        let error = wrong.connect().expect_err("another label");
        assert_eq!(error.outcome(), Some(Outcome::ServerMismatch));
        if let Some(label) = maker.label {
            let label = label.to_str().expect("text");
            let right = ConnectBuilder::through(&connector).require_label(label);
            right.start().expect("the right label");
        }
    });
}

#[test]
fn a_server_finds_out_who_holds_what() {
    isolated(|| {
        let (server, _port, client) = pair();
        client.send(b"unread").expect("send");
        let connections = server.connections().expect("connections");
        assert_eq!(connections.len(), 1);
        let own = connections[0];
        assert_eq!((own.pid, own.uid), (std::process::id(), 0));
        assert_eq!((own.to_server_messages, own.to_server_bytes), (1, 6));
        let device = Device::open().expect("open");
        let usage = device.usage_of(0).expect("usage");
        assert_eq!((usage.ports.used, usage.connections.used), (1, 1));
        assert_eq!(
            device.query().expect("query").ports_per_user,
            usage.ports.limit
        );
        assert!(device.has(Features::PORTS | Features::ACLS).expect("query"));
        let unknown = Features::from_bits_retain(1 << 63);
        assert!(!device.has(Features::PORTS | unknown).expect("query"));
        assert_eq!(device.usage_of_owner(0).expect("usage").ports.used, 0);
    });
}
