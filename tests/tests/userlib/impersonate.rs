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
                assert_eq!(outcome, Some(Outcome::NotGranted));
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

/// The request that a client of Alice's has sent to a new server of root's, with this security.
fn asked_by_alice(security: Security, judge: impl FnOnce(&alpc::Request<'_, '_>)) {
    let everyone = Acl::new().allow(Who::Everyone);
    let server = PortBuilder::new("lib/impersonate").acl(&everyone);
    let server = server.create().expect("create");
    let alice = Peer::spawn(ALICE, |_| {
        let client = ConnectBuilder::new("lib/impersonate").security(security);
        let client = client.connect().expect("connect");
        client.call(b"", &mut [0; 8]).expect("call");
    });
    let mut buffer = [0; 64];
    let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
        panic!("a connection request was expected");
    };
    let _port = request.accept().expect("accept");
    let Received::Request(request) = server.receive(&mut buffer).expect("receive") else {
        panic!("a request was expected");
    };
    judge(&request);
    request.into_turn().reply(b"").expect("reply");
    alice.wait();
}

#[test]
fn a_server_that_ignores_a_failed_impersonation_has_done_nothing_as_itself() {
    isolated(|| {
        let place = Place::new();
        let roots = place.file("roots", 0, 0, 0o600);
        // Programs that went on as themselves did so by a result that nobody looked at. Here what
        // is to be done is a part of the impersonation, and is not done without it.
        asked_by_alice(Security::IDENTIFY, |request| {
            let _ = request.as_caller(|| std::fs::remove_file(&roots));
            let _ = request.as_caller(|| std::fs::write(&roots, "alice's"));
        });
        assert_eq!(read(&roots).expect("root's file"), b"roots");
    });
}

#[test]
fn a_server_that_acts_as_its_caller_changes_no_file_that_this_one_may_not() {
    use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
    isolated(|| {
        let place = Place::new();
        let roots = place.file("roots", 0, 0, 0o644);
        // Alice has a directory of her own, and leads her server to root's file by a name there.
        let hers = place.directory("hers", ALICE.uid, ALICE.gid, 0o755);
        let (hard, soft) = (hers.join("hard"), hers.join("soft"));
        std::fs::hard_link(&roots, &hard).expect("link");
        std::os::unix::fs::symlink(&roots, &soft).expect("symlink");
        let own = place.file("own", ALICE.uid, ALICE.gid, 0o600);
        asked_by_alice(Security::IMPERSONATE, |request| {
            let open_up = std::fs::Permissions::from_mode(0o666);
            for path in [&roots, &hard, &soft] {
                let denied = request.as_caller(|| {
                    std::fs::set_permissions(path, open_up.clone()).is_err()
                        && chown(path, Some(ALICE.uid), None).is_err()
                        && std::fs::write(path, "alice's").is_err()
                });
                assert!(denied.expect("as caller"), "{path:?}");
            }
            let allowed = request.as_caller(|| std::fs::set_permissions(&own, open_up.clone()));
            allowed.expect("as caller").expect("her own");
        });
        let metadata = roots.metadata().expect("metadata");
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, 0o644));
        assert_eq!(read(&roots).expect("root's file"), b"roots");
        // Without it, the server would have done so.
        let open_up = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&hard, open_up).expect("as root");
        assert_eq!(roots.metadata().expect("metadata").mode() & 0o777, 0o666);
    });
}
