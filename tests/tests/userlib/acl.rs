// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lists and rights, by the crate.

use std::os::fd::AsFd;

use alpc::{Acl, HandleKinds, Options, Outcome, PortBuilder, Rights, Who};
use alpc_tests::{files, isolated, Peer, BOB, MALLORY};

use super::{outcome, pair, pair_of};

#[test]
fn single_rights_are_granted_beside_all_of_them() {
    isolated(|| {
        for (acl, handles) in [
            (Acl::everyone(), None),
            (Acl::new().allow(Who::Owner), None),
            (
                Acl::new().grant(Who::UserNamespace, Rights::CONNECT | Rights::HANDLE),
                None,
            ),
            (
                Acl::new().grant(Who::Everyone, Rights::CONNECT),
                Some(Outcome::AccessDenied),
            ),
            (
                Acl::everyone().withhold(Who::Everyone, Rights::HANDLE),
                None,
            ),
            (
                Acl::new()
                    .withhold(Who::Everyone, Rights::HANDLE)
                    .allow(Who::Everyone),
                Some(Outcome::AccessDenied),
            ),
        ] {
            let builder = PortBuilder::anonymous().acl(&acl);
            let (_server, _port, client) = pair_of(builder.take_handles(HandleKinds::ANY));
            let file = files::eventfd();
            let file = [file.as_fd()];
            let options = Options::new().handles(&file);
            let refused = client.send_with(b"", options).err();
            let outcome = refused.and_then(|error| error.outcome());
            assert_eq!(outcome, handles, "{acl:?}");
            client.send(b"payload").expect("needs no right");
        }
    });
}

#[test]
fn a_list_is_read_and_replaced_while_the_port_is_open() {
    isolated(|| {
        let (server, _port, _client) = pair();
        let through = server.connector().expect("connector");
        assert!(server.acl().expect("no list").is_none());
        let mut long = Acl::new().deny(Who::User(MALLORY.uid));
        for id in 0..100 {
            long = long.grant(Who::Group(id), Rights::CONNECT | Rights::VIEW);
        }
        for acl in [Acl::new(), Acl::everyone(), long] {
            server.set_acl(Some(&acl)).expect("set");
            for read in [server.acl(), through.acl()] {
                let read = read.expect("read").expect("a list");
                assert!(read.entries().eq(acl.entries()), "{read:?}");
            }
        }
        let second = server
            .acl()
            .expect("read")
            .expect("a list")
            .entries()
            .nth(1);
        let second = second.map(|entry| (entry.is_allowing, entry.who, entry.rights));
        let granted = (true, Who::Group(0), Rights::CONNECT | Rights::VIEW);
        assert_eq!(second, Some(granted));
        through.set_acl(None).expect("set");
        assert!(through.acl().expect("no list").is_none());
        let too_long = (0..300).fold(Acl::new(), |acl, id| acl.allow(Who::User(id)));
        let error = server.set_acl(Some(&too_long)).expect_err("too long");
        assert_eq!(error.errno(), 22);
    });
}

#[test]
fn somebody_else_has_no_say() {
    isolated(|| {
        let (server, ..) = pair_of(PortBuilder::anonymous().acl(&Acl::everyone()));
        let through = server.connector().expect("connector");
        Peer::fork(BOB, |_| {
            assert_eq!(outcome(through.acl()), Outcome::AccessDenied);
            assert_eq!(outcome(through.set_acl(None)), Outcome::AccessDenied);
        })
        .wait();
        let read = server.acl().expect("read").expect("a list");
        assert!(read.entries().eq(Acl::everyone().entries()), "{read:?}");
    });
}
