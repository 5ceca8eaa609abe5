// SPDX-License-Identifier: MIT OR Apache-2.0

//! Using files as a client may, by the crate.

use std::fs::read;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use alpc::{Acl, ConnectBuilder, Outcome, PortBuilder, Received, Security, Who};
use alpc_tests::creds::{Me, Place};
use alpc_tests::{isolated, Peer, ALICE};

#[test]
fn a_server_reads_as_its_caller_and_is_itself_again() {
    isolated(|| {
        let place = Place::new();
        let alices = place.file("alices", ALICE.uid, ALICE.gid, 0o600);
        let roots = place.file("roots", 0, 0, 0o600);
        let everyone = Acl::new().allow(Who::Everyone);
        let server = PortBuilder::new("lib/impersonate").acl(&everyone);
        let server = server.create().expect("create");
        let own = Me::now();
        for (security, granted) in [
            (Security::IMPERSONATE, true),
            (Security::IMPERSONATE.dynamic().effective_only(), true),
            (Security::IDENTIFY, false),
            (Security::default(), false),
            (Security::ANONYMOUS, false),
        ] {
            let alice = Peer::spawn(ALICE, |_| {
                let client = ConnectBuilder::new("lib/impersonate").security(security);
                let client = client.connect().expect("connect");
                client.call(b"", &mut [0; 8]).expect("call");
            });
            let mut buffer = [0; 64];
            let Received::Connection(request) = server.receive(&mut buffer).expect("receive")
            else {
                panic!("a connection request was expected");
            };
            let _port = request.accept().expect("accept");
            let Received::Request(request) = server.receive(&mut buffer).expect("receive") else {
                panic!("a request was expected");
            };
            if granted {
                let reads = || [&alices, &roots].map(|file| read(file).is_ok());
                assert_eq!(request.as_caller(reads).expect("granted"), [true, false]);
                assert_eq!(Me::now(), own);
                let panics = || request.as_caller(|| resume_unwind(Box::new("in the middle")));
                let caught = catch_unwind(AssertUnwindSafe(panics)).map(drop);
                assert!(caught.is_err());
            } else {
                let refused = request.as_caller(|| panic!("must not run"));
                let refused: Result<(), _> = refused;
                let outcome = refused.expect_err("not granted").outcome();
                assert_eq!(outcome, Outcome::NotGranted);
            }
            assert_eq!(Me::now(), own);
            request.into_turn().reply(b"").expect("reply");
            alice.wait();
            while !matches!(
                server.receive(&mut buffer).expect("receive"),
                Received::Notice(_)
            ) {}
        }
    });
}
