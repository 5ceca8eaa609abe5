// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every ioctl refuses: wrong descriptors, sizes, flags, reserved fields
//! and addresses; and that a refusal changes nothing.

use std::mem::size_of;
use std::os::fd::{AsFd, OwnedFd};

use alpc_tests::raw::*;
use alpc_tests::*;

/// All ioctls, with where they belong: device, connection port, server and
/// client port, connect descriptor.
const IOCTLS: [(&str, u32, [bool; 5]); 27] = [
    (
        "QUERY",
        ALPC_IOCTL_QUERY,
        [true, false, false, false, false],
    ),
    (
        "CREATE_PORT",
        ALPC_IOCTL_CREATE_PORT,
        [true, false, false, false, false],
    ),
    (
        "CONNECT",
        ALPC_IOCTL_CONNECT,
        [true, false, false, false, true],
    ),
    (
        "CREATE_CONNECT",
        ALPC_IOCTL_CREATE_CONNECT,
        [false, true, false, false, false],
    ),
    (
        "ACCEPT",
        ALPC_IOCTL_ACCEPT,
        [false, true, false, false, false],
    ),
    (
        "QUERY_ACL",
        ALPC_IOCTL_QUERY_ACL,
        [false, true, false, false, true],
    ),
    (
        "SET_ACL",
        ALPC_IOCTL_SET_ACL,
        [false, true, false, false, true],
    ),
    (
        "TRANSFER",
        ALPC_IOCTL_SEND_WAIT_RECEIVE,
        [false, true, true, true, false],
    ),
    (
        "CANCEL",
        ALPC_IOCTL_CANCEL,
        [false, true, true, true, false],
    ),
    ("CLAIM", ALPC_IOCTL_CLAIM, [false, true, true, true, false]),
    (
        "MEMORY",
        ALPC_IOCTL_MEMORY,
        [false, true, true, true, false],
    ),
    (
        "DISCONNECT",
        ALPC_IOCTL_DISCONNECT,
        [false, true, true, true, false],
    ),
    (
        "QUERY_PORT",
        ALPC_IOCTL_QUERY_PORT,
        [false, true, true, true, true],
    ),
    (
        "QUERY_IDENTITY",
        ALPC_IOCTL_QUERY_IDENTITY,
        [false, true, true, true, true],
    ),
    ("VERIFY", ALPC_IOCTL_VERIFY, [false, true, true, true, true]),
    (
        "QUERY_USER",
        ALPC_IOCTL_QUERY_USER,
        [true, false, false, false, false],
    ),
    (
        "QUERY_CONNECTION",
        ALPC_IOCTL_QUERY_CONNECTION,
        [false, true, false, false, false],
    ),
    ("OPEN", ALPC_IOCTL_OPEN, [true, false, false, false, false]),
    (
        "CREATE_SECTION",
        ALPC_IOCTL_CREATE_SECTION,
        [false, true, true, true, false],
    ),
    (
        "QUERY_VIEW",
        ALPC_IOCTL_QUERY_VIEW,
        [false, true, true, true, false],
    ),
    (
        "DELETE_VIEW",
        ALPC_IOCTL_DELETE_VIEW,
        [false, true, true, true, false],
    ),
    (
        "CREATE_SECURITY",
        ALPC_IOCTL_CREATE_SECURITY,
        [false, false, true, true, false],
    ),
    (
        "DELETE_SECURITY",
        ALPC_IOCTL_DELETE_SECURITY,
        [false, false, true, true, false],
    ),
    (
        "REVOKE_SECURITY",
        ALPC_IOCTL_REVOKE_SECURITY,
        [false, false, true, true, false],
    ),
    (
        "IMPERSONATE",
        ALPC_IOCTL_IMPERSONATE,
        [false, true, true, true, false],
    ),
    // On its descriptor only: see the tests of impersonation.
    (
        "REVERT",
        ALPC_IOCTL_REVERT,
        [false, false, false, false, false],
    ),
    // On a section only: see the tests of views.
    (
        "CREATE_VIEW",
        ALPC_IOCTL_CREATE_VIEW,
        [false, false, false, false, false],
    ),
];

struct Everything {
    device: Port,
    pair: Pair,
    through: Port,
}

impl Everything {
    fn new() -> Self {
        let pair = Pair::new();
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        Self {
            device: device(),
            pair,
            through,
        }
    }

    fn descriptors(&self) -> [(&'static str, &Port); 5] {
        [
            ("device", &self.device),
            ("connection port", &self.pair.port),
            ("server port", &self.pair.server),
            ("client port", &self.pair.client),
            ("connect descriptor", &self.through),
        ]
    }
}

#[test]
fn an_ioctl_on_the_wrong_descriptor_is_no_ioctl() {
    isolated(|| {
        let everything = Everything::new();
        for (name, request, belongs) in IOCTLS {
            for ((role, port), belongs) in everything.descriptors().into_iter().zip(belongs) {
                if belongs {
                    continue;
                }
                let mut room = [0_u8; 4096];
                let result = ioctl(port, request, &mut room);
                assert_eq!(result, Err(libc::ENOTTY), "{name} on a {role}");
            }
        }
    });
}

#[test]
fn unknown_ioctls_and_other_files_are_refused() {
    isolated(|| {
        let everything = Everything::new();
        for (role, port) in everything.descriptors() {
            for number in 0..=255 {
                let known = IOCTLS
                    .iter()
                    .any(|(_, request, _)| request & 0xff == number);
                if !known {
                    let request = libc::_IO(ALPC_IOC_MAGIC, number) as u32;
                    let result = ioctl(port, request, &mut [0_u8; 4096]);
                    assert_eq!(result, Err(libc::ENOTTY), "{number:#x} on a {role}");
                }
            }
        }
        let (socket, _other) = link::socketpair(libc::SOCK_STREAM);
        let null: OwnedFd = std::fs::File::open("/dev/null").expect("open").into();
        for fd in [socket, null] {
            for (name, request, _) in IOCTLS {
                assert!(ioctl(&fd, request, &mut [0_u8; 4096]).is_err(), "{name}");
            }
        }
    });
}

/// The number of `request` with another size in it.
fn sized(request: u32, size: usize) -> u32 {
    (request & !(0x3fff << 16)) | ((size as u32) << 16)
}

#[test]
fn every_argument_may_be_longer_if_the_rest_is_zero() {
    isolated(|| {
        #[repr(C)]
        struct Longer<T> {
            known: T,
            tail: [u8; 64],
        }
        let pair = Pair::new();
        let mut arg = Longer {
            known: alpc_query_port::default(),
            tail: [0; 64],
        };
        let size = size_of::<alpc_query_port>() + 64;
        let request = sized(ALPC_IOCTL_QUERY_PORT, size);
        assert_eq!(ioctl(&pair.client, request, &mut arg), Ok(0));
        assert_eq!(arg.known.role, ALPC_ROLE_CLIENT);
        assert_eq!(
            arg.tail, [0; 64],
            "what the kernel doesn't know stays as it was"
        );
        for position in [0, 31, 63] {
            let mut arg = Longer {
                known: alpc_query_port::default(),
                tail: [0; 64],
            };
            arg.tail[position] = 1;
            assert_eq!(ioctl(&pair.client, request, &mut arg), Err(libc::E2BIG));
            assert_eq!(arg.known.role, 0);
        }
        let mut transfer = Transfer::new().send(b"longer").flags(ALPC_RELEASE);
        transfer.point();
        let mut arg = Longer {
            known: transfer.arg,
            tail: [0; 64],
        };
        let size = size_of::<alpc_transfer>() + 64;
        let request = sized(ALPC_IOCTL_SEND_WAIT_RECEIVE, size);
        assert_eq!(ioctl(&pair.client, request, &mut arg), Ok(0));
        assert_eq!(pair.port.receive().expect("receive").data, b"longer");
    });
}

#[test]
fn an_argument_shorter_than_its_first_version_is_invalid() {
    isolated(|| {
        let pair = Pair::new();
        let mut bytes = [JUNK; size_of::<alpc_query_port>()];
        let first = std::mem::offset_of!(alpc_query_port, sections);
        for size in [0, 1, 16, first - 1] {
            let request = sized(ALPC_IOCTL_QUERY_PORT, size);
            let result = ioctl(&pair.client, request, &mut bytes);
            assert_eq!(result, Err(libc::EINVAL), "{size}");
            assert!(bytes.iter().all(|&byte| byte == JUNK));
        }
    });
}

#[test]
fn who_knows_only_the_beginning_of_a_structure_is_told_that() {
    isolated(|| {
        let pair = Pair::new();
        let mut bytes = [JUNK; size_of::<alpc_query_port>()];
        let first = std::mem::offset_of!(alpc_query_port, sections);
        let request = sized(ALPC_IOCTL_QUERY_PORT, first);
        assert_eq!(ioctl(&pair.client, request, &mut bytes), Ok(0));
        assert_ne!(bytes[..4], [JUNK; 4]);
        assert!(bytes[first..].iter().all(|&byte| byte == JUNK));
        // A connect from before there were labels.
        let through = pair.port.connect_descriptor().expect("descriptor");
        let mut connect = Connect::new(None).asynchronous();
        connect.point();
        connect.arg.required_label = JUNK64;
        let first = std::mem::offset_of!(alpc_connect, required_label);
        let request = sized(ALPC_IOCTL_CONNECT, first);
        let made = ioctl(&through, request, &mut connect.arg).expect("connect");
        assert_eq!(connect.arg.required_label, JUNK64);
        // SAFETY: The kernel has just made it, for nobody else.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(made) });
    });
}

#[test]
fn arguments_at_impossible_addresses_fault() {
    isolated(|| {
        let everything = Everything::new();
        let cliff = memory::Pages::cliff();
        for (name, request, belongs) in IOCTLS {
            if request == ALPC_IOCTL_CREATE_CONNECT {
                continue;
            }
            let edge = [0, memory::unmapped(), cliff.end(4)];
            for address in memory::HOSTILE.into_iter().chain(edge) {
                for ((role, port), belongs) in everything.descriptors().into_iter().zip(belongs) {
                    if !belongs {
                        continue;
                    }
                    // SAFETY: The kernel checks the address.
                    let result = unsafe { ioctl_at(port.as_fd(), request, address) };
                    let what = format!("{name} on a {role} at {address:#x}");
                    assert_eq!(result, Err(libc::EFAULT), "{what}");
                }
            }
        }
    });
}

/// Sends and receives with an edited argument; both must change nothing.
#[track_caller]
fn transfer_refuses(pair: &Pair, errno: i32, what: &str, edit: impl Fn(&mut alpc_transfer)) {
    let bases = [
        Transfer::new().send(b"x"),
        Transfer::new().send(b"x").flags(ALPC_RELEASE),
        Transfer::new().send(b"x").receive().flags(ALPC_SYNC),
        Transfer::new().receive().now(),
    ];
    for mut transfer in bases {
        edit(&mut transfer.arg);
        transfer.point();
        refused_with(transfer.run_as_is(&pair.client), errno, what);
        assert_eq!(transfer.arg.id, JUNK64, "{what}");
        assert_eq!(transfer.arg.flags & ALPC_SENT, 0, "{what}");
    }
    assert_eq!(
        pair.port.receive_now().unwrap_err(),
        fail::TIMED_OUT,
        "{what}"
    );
}

#[test]
fn a_transfer_with_unknown_flags_or_reserved_fields_is_invalid() {
    isolated(|| {
        let pair = Pair::new();
        let known = ALPC_TIMEOUT_MASK
            | ALPC_SEND
            | ALPC_RECEIVE
            | ALPC_SYNC
            | ALPC_RELEASE
            | ALPC_ANSWER
            | ALPC_DISCARD
            | ALPC_NONBLOCK
            | ALPC_ADOPT
            | ALPC_HOLD_THREAD
            | ALPC_SENT;
        for bit in 0..32 {
            if known & (1 << bit) == 0 {
                let what = format!("flag bit {bit}");
                transfer_refuses(&pair, libc::EINVAL, &what, |arg| arg.flags |= 1 << bit);
            }
        }
    });
}

#[test]
fn a_transfer_whose_flags_make_no_sense_is_invalid() {
    isolated(|| {
        let pair = Pair::new();
        for flags in [
            0,
            ALPC_SYNC,
            ALPC_RELEASE,
            ALPC_SEND | ALPC_SYNC,
            ALPC_RECEIVE | ALPC_SYNC,
            ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_RELEASE,
            ALPC_SEND | ALPC_ANSWER,
            ALPC_SEND | ALPC_RECEIVE | ALPC_ANSWER,
            ALPC_RECEIVE | ALPC_ANSWER,
            ALPC_SEND | ALPC_DISCARD,
            ALPC_RECEIVE | ALPC_DISCARD,
            ALPC_RECEIVE | ALPC_RELEASE,
            ALPC_RECEIVE | ALPC_NONBLOCK,
            ALPC_RECEIVE | ALPC_SENT,
            ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_SENT,
            ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_DISCARD,
        ] {
            let mut transfer = Transfer::new().flags(flags | ALPC_TIMEOUT_RELATIVE);
            let what = format!("flags {flags:#x}");
            refused_with(transfer.run(&pair.client), libc::EINVAL, &what);
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn a_new_message_has_no_turn() {
    isolated(|| {
        let pair = Pair::new();
        let mut transfer = Transfer::new().send(b"x").flags(ALPC_RELEASE);
        transfer.arg.send_callback_id = 1;
        refused_with(transfer.run(&pair.client), libc::EINVAL, "turn");
        let mut answer = Transfer::new().send(b"x").receive();
        answer = answer.flags(ALPC_SYNC | ALPC_ANSWER);
        refused_with(answer.run(&pair.client), libc::EINVAL, "answer");
        let mut discard = Transfer::new().send(b"").flags(ALPC_RELEASE | ALPC_DISCARD);
        refused_with(discard.run(&pair.client), libc::EINVAL, "discard");
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn lengths_beyond_all_reason_are_refused() {
    isolated(|| {
        let pair = Pair::new();
        for length in [65537, 1 << 20, i32::MAX as u32, u32::MAX] {
            let mut send = Transfer::new().flags(ALPC_SEND | ALPC_RELEASE);
            send.arg.send_data = memory::Pages::two().address();
            send.arg.send_length = length;
            assert_eq!(send.run_as_is(&pair.client).unwrap_err(), fail::TOO_LONG);
        }
        // A capacity is only a promise, and may be larger than any message.
        pair.client.one_way(b"short").expect("send");
        let mut buffer = [JUNK; 16];
        let mut receive = Transfer::new().flags(ALPC_RECEIVE);
        receive.arg.recv_data = buffer.as_mut_ptr() as u64;
        receive.arg.recv_capacity = u32::MAX;
        let result = ioctl(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive.arg);
        assert_eq!(result, Ok(0));
        assert_eq!(&buffer[..5], b"short");
        assert_eq!(buffer[5..], [JUNK; 11]);
    });
}

#[test]
fn a_connect_with_unknown_flags_or_reserved_fields_is_invalid() {
    isolated(|| {
        let port = Create::named("validate/connect").run().expect("create");
        let refuses = |errno: i32, what: &str, edit: &dyn Fn(&mut alpc_connect)| {
            let mut connect = Connect::to("validate/connect").asynchronous();
            connect.point();
            edit(&mut connect.arg);
            let result = connect.run_as_is(&device()).map(|_| ());
            refused_with(result, errno, what);
            assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT, "{what}");
        };
        let known = ALPC_TIMEOUT_MASK
            | ALPC_CONNECT_ASYNC
            | ALPC_CONNECT_REQUIRE_UID
            | ALPC_CONNECT_REQUIRE_GID
            | ALPC_CONNECT_SENT;
        for bit in 0..32 {
            if known & (1 << bit) == 0 {
                refuses(libc::EINVAL, "flag", &|arg| arg.flags |= 1 << bit);
            }
            let errno = match bit {
                0..=3 => continue,
                4 => libc::EOPNOTSUPP,
                _ => libc::EINVAL,
            };
            refuses(errno, "accept", &|arg| arg.accept = 1 << bit);
        }
        refuses(libc::EINVAL, "kinds without handles", &|arg| {
            arg.handle_kinds = ALPC_HANDLE_FILE;
        });
        refuses(libc::EINVAL, "reserved1", &|arg| arg.reserved1 = 1);
        refuses(libc::EINVAL, "security", &|arg| arg.security = 0x10);
        refuses(libc::EINVAL, "no name", &|arg| {
            arg.name = 0;
            arg.name_length = 0;
        });
        refuses(libc::EINVAL, "long name", &|arg| arg.name_length = 256);
        refuses(libc::EFAULT, "name", &|arg| arg.name = memory::unmapped());
        refuses(libc::EMSGSIZE, "payload", &|arg| {
            arg.send_data = arg.name;
            arg.send_length = ALPC_MESSAGE_DEFAULT + 1;
        });
        refuses(libc::EFAULT, "payload", &|arg| {
            arg.send_data = memory::unmapped();
            arg.send_length = 1;
        });
        refuses(libc::EINVAL, "uid", &|arg| {
            arg.flags |= ALPC_CONNECT_REQUIRE_UID;
            arg.required_uid = u32::MAX;
        });
        refuses(libc::EINVAL, "gid", &|arg| {
            arg.flags |= ALPC_CONNECT_REQUIRE_GID;
            arg.required_gid = u32::MAX;
        });
        refuses(libc::EINVAL, "asynchronous with a timeout", &|arg| {
            arg.flags |= ALPC_TIMEOUT_RELATIVE;
            arg.timeout = 1;
        });
        refuses(libc::EINVAL, "asynchronous with room", &|arg| {
            arg.recv_data = arg.name;
            arg.recv_capacity = 1;
        });
        refuses(libc::EINVAL, "asynchronous and sent", &|arg| {
            arg.flags |= ALPC_CONNECT_SENT;
        });
        refuses(libc::EINVAL, "length", &|arg| {
            arg.max_message_length = ALPC_MESSAGE_MAX + 1;
        });
        refuses(libc::EINVAL, "share", &|arg| {
            arg.queue_bytes = ALPC_MESSAGE_DEFAULT - 1;
        });
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut named = Connect::to("validate/connect").asynchronous();
        let result = named.run_on(&through).map(|_| ());
        refused_with(result, libc::EINVAL, "a name on a connect descriptor");
    });
}

#[test]
fn a_connect_is_not_resumed_on_any_descriptor() {
    isolated(|| {
        let pair = Pair::with(Create::named("validate/resume"));
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("/proc/self/exe").expect("open");
        for fd in [
            -1,
            0,
            i32::MAX,
            file.as_raw_fd(),
            pair.port.as_fd().as_raw_fd(),
            pair.server.as_fd().as_raw_fd(),
        ] {
            let mut connect = Connect::to("validate/resume").flags(ALPC_CONNECT_SENT);
            connect.arg.fd = fd;
            assert!(connect.run().is_err(), "descriptor {fd}");
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn an_accept_with_unknown_flags_or_reserved_fields_is_invalid() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut connect = Connect::new(None).asynchronous();
        let _client = connect.run_on(&through).expect("connect");
        let request = port.receive().expect("receive");
        let refuses = |errno: i32, what: &str, edit: &dyn Fn(&mut alpc_accept)| {
            let mut accept = Accept::new(request.id);
            edit(&mut accept.arg);
            let result = ioctl(&port, ALPC_IOCTL_ACCEPT, &mut accept.arg);
            assert_eq!(result, Err(errno), "{what}");
        };
        let limits = port.query_port().expect("query");
        for bit in 1..32 {
            refuses(libc::EINVAL, "flag", &|arg| arg.flags = 1 << bit);
        }
        for bit in 0..32 {
            let errno = match bit {
                4 => libc::EOPNOTSUPP,
                // The port takes nothing, so nothing can be taken of one client.
                _ => libc::EINVAL,
            };
            refuses(errno, "accept", &|arg| arg.accept = 1 << bit);
        }
        refuses(libc::EINVAL, "kinds", &|arg| {
            arg.handle_kinds = ALPC_HANDLE_FILE;
        });
        refuses(libc::EINVAL, "length", &|arg| {
            arg.max_message_length = limits.max_message_length + 1;
        });
        refuses(libc::EINVAL, "messages", &|arg| {
            arg.queue_messages = limits.queue_messages + 1;
        });
        refuses(libc::EINVAL, "bytes", &|arg| {
            arg.queue_bytes = limits.queue_bytes + 1;
        });
        refuses(libc::EINVAL, "a share for no message", &|arg| {
            arg.queue_bytes = limits.max_message_length - 1;
        });
        refuses(libc::EMSGSIZE, "payload", &|arg| {
            arg.send_length = limits.max_message_length + 1;
        });
        refuses(libc::EFAULT, "payload", &|arg| {
            arg.send_data = memory::unmapped();
            arg.send_length = 1;
        });
        // After all that the request can still be accepted.
        Accept::new(request.id).run(&port).expect("accept");
    });
}
