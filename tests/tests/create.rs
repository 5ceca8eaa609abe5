// SPDX-License-Identifier: MIT OR Apache-2.0

//! Making ports, and asking what they are.

use std::os::fd::AsFd;

use alpc_tests::memory::{self, Pages};
use alpc_tests::raw::*;
use alpc_tests::*;

fn errno_of(mut create: Create) -> Option<i32> {
    create.run().err().map(|failure| failure.errno)
}

/// Runs a CREATE_PORT whose argument was edited.
fn edited(edit: impl FnOnce(&mut alpc_create_port)) -> Result<(), Failure> {
    let mut create = Create::anonymous();
    edit(&mut create.arg);
    create.run_as_is().map(|_| ())
}

#[test]
fn a_query_tells_version_features_and_finite_limits() {
    isolated(|| {
        let query = query();
        assert_eq!((query.abi_version, query.reserved), (ALPC_ABI_VERSION, 0));
        let known = ALPC_FEATURE_PORTS
            | ALPC_FEATURE_IPC_NAMESPACES
            | ALPC_FEATURE_VIEWS
            | ALPC_FEATURE_MEMORY
            | ALPC_FEATURE_HANDLES
            | ALPC_FEATURE_IDENTITY
            | ALPC_FEATURE_ACLS
            | ALPC_FEATURE_SECURITY
            | ALPC_FEATURE_IMPERSONATE;
        assert_eq!(query.features, known.into());
        for limit in [
            query.ports_per_user,
            query.connections_per_user,
            query.conversations_per_user,
            query.conversations_per_connection,
            query.queue_messages,
            query.queue_bytes,
            query.pending_connections,
            query.connections_per_port,
            query.view_pages,
            query.view_pages_per_user,
            query.sections_per_port,
        ] {
            assert!(limit > 0 && limit < u32::MAX, "{query:?}");
        }
    });
}

#[test]
fn limits_per_user_are_parameters_of_the_module() {
    isolated(|| {
        // The guest's init passes these words on when it loads the module.
        let line = std::fs::read_to_string("/proc/cmdline").expect("the kernel's command line");
        let given = |name: &str, default: u32| {
            let prefix = format!("alpc.{name}=");
            line.split_ascii_whitespace()
                .find_map(|word| word.strip_prefix(&prefix))
                .map_or(default, |value| value.parse().expect("a number"))
        };
        let query = query();
        assert_eq!(
            query.view_pages_per_user,
            given("view_pages_per_user", 65536)
        );
        assert_eq!(query.ports_per_user, given("ports_per_user", 16384));
        assert_eq!(
            query.connections_per_user,
            given("connections_per_user", 65536)
        );
        assert_eq!(
            query.conversations_per_user,
            given("conversations_per_user", 65536)
        );
    });
}

#[test]
fn a_port_has_the_stated_defaults() {
    isolated(|| {
        let port = Create::anonymous().context(77).run().expect("create");
        let query = port.query_port().expect("query");
        let limits = raw::query();
        assert_eq!(query.role, ALPC_ROLE_CONNECTION);
        assert_eq!(query.state, ALPC_STATE_OPEN);
        assert_eq!(query.flags, 0);
        assert_eq!(query.max_message_length, ALPC_MESSAGE_DEFAULT);
        assert_eq!(query.queue_messages, limits.queue_messages);
        assert_eq!(query.queue_bytes, limits.queue_bytes);
        assert_eq!((query.queued_messages, query.queued_bytes), (0, 0));
        assert_eq!((query.connections, query.conversations), (0, 0));
        assert_eq!((query.context, query.sequence), (77, 0));
        assert_eq!((query.peer_pid, query.refused), (0, 0));
    });
}

#[test]
fn every_role_says_what_it_is_and_who_is_at_the_other_end() {
    isolated(|| {
        let pair = Pair::new();
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        let roles = [&pair.port, &pair.server, &pair.client, &through]
            .map(|port| port.query_port().expect("query").role);
        assert_eq!(
            roles,
            [
                ALPC_ROLE_CONNECTION,
                ALPC_ROLE_SERVER,
                ALPC_ROLE_CLIENT,
                ALPC_ROLE_CONNECT
            ]
        );
        for (end, context) in [
            (&pair.server, pair::SERVER_CONTEXT),
            (&pair.client, pair::CLIENT_CONTEXT),
        ] {
            let query = end.query_port().expect("query");
            assert_eq!(query.context, context);
            assert_eq!(query.peer_pid, std::process::id());
            assert_eq!((query.peer_uid, query.peer_gid), (0, 0));
        }
        assert_eq!(pair.port.query_port().expect("query").connections, 1);
    });
}

#[test]
fn query_counts_what_is_queued() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.one_way(&[1; 10]).expect("send");
        pair.client.post(&[1; 20]).expect("post");
        let query = pair.port.query_port().expect("query");
        assert_eq!((query.queued_messages, query.queued_bytes), (2, 30));
        assert_eq!(pair.client.query_port().expect("query").conversations, 1);
        pair.server.one_way(&[1; 5]).expect("send");
        let query = pair.client.query_port().expect("query");
        assert_eq!((query.queued_messages, query.queued_bytes), (1, 5));
    });
}

#[test]
fn names_are_relative_paths_of_utf8() {
    isolated(|| {
        for name in [
            "a",
            "a/b/c",
            "with space",
            "Größe/猫",
            "-",
            "...",
            "a.b",
            "~",
        ] {
            assert_eq!(errno_of(Create::named(name)), None, "{name:?}");
        }
        let longest = "n".repeat(ALPC_NAME_MAX as usize);
        assert_eq!(errno_of(Create::named(&longest)), None);
        let too_long = "n".repeat(ALPC_NAME_MAX as usize + 1);
        let invalid: [&[u8]; 14] = [
            b"/",
            b"/a",
            b"a/",
            b"a//b",
            b".",
            b"..",
            b"a/..",
            b"./a",
            b"a\0",
            b"\0",
            b"a\nb",
            b"\xff",
            b"\xc3(",
            b"\xed\xa0\x80",
        ];
        for name in invalid.into_iter().chain([too_long.as_bytes()]) {
            let text = String::from_utf8_lossy(name);
            assert_eq!(
                errno_of(Create::named(name)),
                Some(libc::EINVAL),
                "{text:?}"
            );
        }
    });
}

#[test]
fn a_name_is_exclusive() {
    isolated(|| {
        let port = Create::named("create/one").run().expect("create");
        for _ in 0..2 {
            let again = Create::named("create/one").open().run().map(|_| ());
            assert_eq!(again, Err(fail::NAME_IN_USE));
        }
        Create::named("create/One").run().expect("another name");
        drop(port);
        Create::named("create/one").run().expect("free again");
    });
}

#[test]
fn a_name_belongs_to_its_ipc_namespace() {
    isolated(|| {
        if query().features & u64::from(ALPC_FEATURE_IPC_NAMESPACES) == 0 {
            note!("names are not per IPC namespace here");
            return;
        }
        let _port = Create::named("create/ns").open().run().expect("create");
        Peer::spawn(ROOT, |_| {
            // SAFETY: Takes no pointer.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWIPC) }, 0);
            let failure = Connect::to("create/ns").asynchronous().run().unwrap_err();
            assert_eq!(failure, fail::NAME_NOT_FOUND);
            let _mine = Create::named("create/ns").open().run().expect("create");
            Connect::to("create/ns")
                .asynchronous()
                .run()
                .expect("connect");
        })
        .wait();
        let again = Create::named("create/ns").run().map(|_| ());
        assert_eq!(again, Err(fail::NAME_IN_USE));
    });
}

#[test]
fn only_known_flags_are_taken() {
    isolated(|| {
        let known = ALPC_PORT_LPC_MODE | ALPC_PORT_ARRIVAL_ORDER | ALPC_PORT_ACL;
        for bit in 0..32 {
            let flag = 1 << bit;
            let result = edited(|arg| arg.flags = flag);
            if known & flag != 0 {
                assert_eq!(result, Ok(()), "flag {flag:#x}");
            } else {
                refused_with(result, libc::EINVAL, &format!("flag {flag:#x}"));
            }
        }
    });
}

#[test]
fn only_known_things_and_kinds_of_handle_can_be_taken() {
    isolated(|| {
        for bit in 0..32 {
            let made = edited(|arg| arg.accept = 1 << bit);
            match bit {
                0..=3 | 5 => made.map(drop).expect("create"),
                4 => refused_with(made, libc::EOPNOTSUPP, &format!("bit {bit}")),
                _ => refused_with(made, libc::EINVAL, &format!("bit {bit}")),
            }
            let made = edited(|arg| {
                arg.accept = ALPC_TAKE_HANDLES;
                arg.handle_kinds = 1 << bit;
            });
            match bit {
                0..=13 => made.map(drop).expect("create"),
                _ => refused_with(made, libc::EINVAL, &format!("kind {bit}")),
            }
        }
        let kinds = edited(|arg| arg.handle_kinds = ALPC_HANDLE_FILE);
        refused_with(kinds, libc::EINVAL, "kinds without handles");
    });
}

#[test]
fn lengths_and_limits_have_their_bounds() {
    isolated(|| {
        let limits = query();
        let ok = |edit: &dyn Fn(&mut alpc_create_port)| assert_eq!(edited(edit), Ok(()));
        let bad = |what: &str, edit: &dyn Fn(&mut alpc_create_port)| {
            refused_with(edited(edit), libc::EINVAL, what);
        };
        ok(&|arg| arg.max_message_length = 1);
        ok(&|arg| arg.max_message_length = ALPC_MESSAGE_MAX);
        bad("length", &|arg| {
            arg.max_message_length = ALPC_MESSAGE_MAX + 1
        });
        bad("length", &|arg| arg.max_message_length = u32::MAX);
        let lpc = |length| {
            move |arg: &mut alpc_create_port| {
                arg.flags = ALPC_PORT_LPC_MODE;
                arg.max_message_length = length;
            }
        };
        ok(&lpc(0));
        ok(&lpc(ALPC_LPC_MESSAGE_MAX));
        bad("LPC length", &lpc(ALPC_LPC_MESSAGE_MAX + 1));
        ok(&|arg| arg.queue_messages = limits.queue_messages);
        bad("messages", &|arg| {
            arg.queue_messages = limits.queue_messages + 1
        });
        ok(&|arg| arg.queue_bytes = limits.queue_bytes);
        bad("bytes", &|arg| arg.queue_bytes = limits.queue_bytes + 1);
        // A connection must be able to queue a message of the largest size.
        ok(&|arg| arg.queue_bytes = ALPC_MESSAGE_DEFAULT);
        bad("bytes", &|arg| arg.queue_bytes = ALPC_MESSAGE_DEFAULT - 1);
        ok(&|arg| arg.max_connections = limits.connections_per_port);
        bad("connections", &|arg| {
            arg.max_connections = limits.connections_per_port + 1
        });
    });
}

#[test]
fn names_and_lists_need_their_addresses() {
    isolated(|| {
        let name = b"create/address";
        for address in memory::HOSTILE.into_iter().chain([memory::unmapped()]) {
            let result = edited(|arg| {
                arg.name = address;
                arg.name_length = 8;
            });
            refused_with(result, libc::EFAULT, &format!("name at {address:#x}"));
            let result = edited(|arg| {
                arg.acl = address;
                arg.acl_count = 1;
                arg.flags = ALPC_PORT_ACL;
            });
            refused_with(result, libc::EFAULT, &format!("list at {address:#x}"));
        }
        // A length without an address, and an address without a length.
        refused_with(
            edited(|arg| arg.name_length = 3),
            libc::EINVAL,
            "length alone",
        );
        let cliff = Pages::cliff();
        let result = edited(|arg| arg.name = cliff.address());
        refused_with(result, libc::EINVAL, "address alone");
        // Without the flag there is no list.
        let entry = [allow(ALPC_ACL_EVERYONE, 0)];
        let result = edited(|arg| {
            arg.acl = entry.as_ptr() as u64;
            arg.acl_count = 1;
        });
        refused_with(result, libc::EINVAL, "a list without its flag");
        // Up to the last byte, and one beyond.
        cliff.write(cliff.end(name.len()), name);
        let result = edited(|arg| {
            arg.name = cliff.end(name.len());
            arg.name_length = name.len() as u32;
        });
        assert_eq!(result, Ok(()));
        let result = edited(|arg| {
            arg.name = cliff.end(name.len());
            arg.name_length = name.len() as u32 + 1;
        });
        refused_with(result, libc::EFAULT, "a name over the edge");
    });
}

#[test]
fn list_entries_are_checked_one_by_one() {
    isolated(|| {
        let good = allow(ALPC_ACL_EVERYONE, 0);
        let bad = |what: &str, edit: &dyn Fn(&mut alpc_acl_entry)| {
            let mut entry = good;
            edit(&mut entry);
            // Behind a good one: every entry is looked at.
            let result = Create::anonymous().acl(&[good, entry]).run().map(|_| ());
            refused_with(result, libc::EINVAL, what);
        };
        for value in [0, 3, u16::MAX] {
            bad("type", &|entry| entry.type_ = value);
        }
        for value in [0, 6, u16::MAX] {
            bad("who", &|entry| entry.who = value);
        }
        for who in [ALPC_ACL_EVERYONE, ALPC_ACL_OWNER, ALPC_ACL_USER_NS] {
            bad("an id that counts for nothing", &|entry| {
                (entry.who, entry.id) = (who as u16, 1)
            });
        }
        bad("reserved", &|entry| entry.reserved = 1);
        for bit in 6..32 {
            bad("rights", &|entry| {
                entry.rights = ALPC_RIGHT_CONNECT | (1 << bit)
            });
        }
        bad("no such user", &|entry| {
            entry.who = ALPC_ACL_USER as u16;
            entry.id = u32::MAX;
        });
        let most = vec![good; ALPC_ACL_MAX as usize];
        assert_eq!(errno_of(Create::anonymous().acl(&most)), None);
        let too_many = vec![good; ALPC_ACL_MAX as usize + 1];
        let errno = errno_of(Create::anonymous().acl(&too_many));
        assert_eq!(errno, Some(libc::EINVAL));
        refused_with(
            edited(|arg| {
                arg.flags = ALPC_PORT_ACL;
                arg.acl = good.rights.into();
                arg.acl_count = u32::MAX;
            }),
            libc::EINVAL,
            "huge count",
        );
    });
}

#[test]
fn a_failed_create_leaves_no_name_behind() {
    isolated(|| {
        let mut create = Create::named("create/failed");
        create.point();
        create.arg.accept = 1 << 31;
        assert!(create.run_as_is().is_err());
        Create::named("create/failed").run().expect("create");
    });
}

#[test]
fn an_argument_that_cannot_be_written_makes_no_port() {
    isolated(|| {
        let name = "create/read-only";
        let mut create = Create::named(name);
        create.point();
        // SAFETY: Plain numbers, seen as bytes.
        let bytes: [u8; std::mem::size_of::<alpc_create_port>()] =
            unsafe { std::mem::transmute(create.arg) };
        let page = Pages::read_only(&bytes);
        // SAFETY: The kernel checks the address.
        let result = unsafe { ioctl_at(device().as_fd(), ALPC_IOCTL_CREATE_PORT, page.address()) };
        match result {
            Ok(_) => panic!("success, although the outcome can't be told"),
            Err(errno) => assert_eq!(errno, libc::EFAULT),
        }
        Create::named(name).run().expect("the name is free");
    });
}

#[test]
fn any_user_may_open_the_device_and_make_ports() {
    isolated(|| {
        for user in [ALICE, MALLORY] {
            Peer::spawn(user, |_| {
                Create::anonymous().run().expect("create");
                Create::named("create/user").run().expect("create");
            })
            .wait();
        }
    });
}

#[test]
fn the_owner_of_a_descriptor_can_read_about_it_in_fdinfo() {
    isolated(|| {
        let pair = Pair::with(Create::named("create/fdinfo"));
        for port in [&pair.port, &pair.server, &pair.client] {
            let path = format!(
                "/proc/self/fdinfo/{}",
                std::os::fd::AsRawFd::as_raw_fd(&port.as_fd())
            );
            let text = std::fs::read_to_string(path).expect("fdinfo");
            assert!(text.contains("alpc-name:\tcreate/fdinfo\n"), "{text}");
            for key in [
                "alpc-role",
                "alpc-state",
                "alpc-flags",
                "alpc-max-message",
                "alpc-share",
                "alpc-queued",
                "alpc-connections",
                "alpc-conversations",
            ] {
                assert!(inspect::fdinfo(port, key).is_some(), "no {key}: {text}");
            }
        }
    });
}
