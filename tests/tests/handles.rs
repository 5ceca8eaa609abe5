// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles: what can be sent to whom, and what can't.

use std::os::fd::{AsRawFd, OwnedFd};

use alpc_tests::files::*;
use alpc_tests::raw::*;
use alpc_tests::*;

const EVERYTHING: u32 = (ALPC_HANDLE_NTSYNC << 1) - 1;

/// Nothing is queued, and no conversation is open.
fn assert_quiet(pair: &Pair) {
    for port in [&pair.port, &pair.client, &pair.server] {
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(port.query_port().expect("query").conversations, 0);
    }
}

/// The message is not sent, as this handle of it is refused.
#[track_caller]
fn refuses(pair: &Pair, handles: &mut HandleContainer, failure: Failure, index: u32, kind: u32) {
    assert_eq!(pair.client.post_with(handles).unwrap_err(), failure);
    assert_eq!(handles.handle().index, index, "which");
    assert_eq!(handles.entries[index as usize].kind, kind, "what it is");
    assert_quiet(pair);
}

#[test]
fn every_kind_arrives_and_is_the_same_file() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        for (name, kind, file) in sendable() {
            let mut sent = HandleContainer::one(&file);
            pair.client.post_with(&mut sent).expect(name);
            let mut room = HandleContainer::room(1);
            let request = pair.port.receive_with(&mut room).expect(name);
            assert!(room.is_valid(), "{name}");
            assert_eq!(room.handle().count, 1, "{name}");
            assert_eq!(
                (room.entries[0].fd, room.entries[0].kind),
                (-1, kind),
                "{name}"
            );
            let mut claim = Claim::new(&request, 0, 1);
            let claimed = claim.run(&pair.port).expect(name).remove(0);
            assert_eq!(claim.entries[0].kind, kind, "{name}");
            assert!(same(&file, &claimed), "{name}");
            pair.port.release(&request).expect("release");
            pair.client.receive_now().expect("the notice");
        }
        assert_quiet(&pair);
    });
}

/// Does with a file what somebody who was sent it would do.
fn use_it(kind: u32, file: &OwnedFd) {
    let fd = file.as_raw_fd();
    // SAFETY: Each call takes live memory, or numbers.
    unsafe {
        match kind {
            ALPC_HANDLE_FILE | ALPC_HANDLE_MEMFD | ALPC_HANDLE_PIPE => write(file, b"used"),
            ALPC_HANDLE_EVENTFD => write(file, &7_u64.to_ne_bytes()),
            ALPC_HANDLE_DIRECTORY => {
                drop(adopt(
                    libc::openat(fd, c".".as_ptr(), libc::O_RDONLY).into(),
                ));
            }
            ALPC_HANDLE_TIMERFD => {
                let mut time: libc::itimerspec = std::mem::zeroed();
                time.it_value.tv_nsec = 1;
                let set = libc::timerfd_settime(fd, 0, &time, std::ptr::null_mut());
                assert_eq!(set, 0);
            }
            ALPC_HANDLE_PIDFD => assert_eq!(wait::poll_now(file, libc::POLLIN), 0),
            ALPC_HANDLE_SOCKET => {
                let mut address: libc::sockaddr_in = std::mem::zeroed();
                address.sin_family = libc::AF_INET as u16;
                let size = std::mem::size_of_val(&address) as u32;
                let address = std::ptr::from_ref(&address).cast();
                assert_eq!(libc::bind(fd, address, size), 0);
            }
            other => panic!("{other:#x}"),
        }
    }
}

/// Looks at whether somebody else did.
fn was_used(kind: u32, file: &OwnedFd, reader: &OwnedFd) {
    match kind {
        ALPC_HANDLE_FILE | ALPC_HANDLE_MEMFD => {
            // SAFETY: Takes no pointers.
            let end = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_CUR) };
            assert_eq!(end, 4, "one position for both");
        }
        ALPC_HANDLE_PIPE => assert_eq!(read(reader), b"used"),
        ALPC_HANDLE_EVENTFD => assert_eq!(read(file), 7_u64.to_ne_bytes()),
        ALPC_HANDLE_TIMERFD => assert_eq!(read(file), 1_u64.to_ne_bytes()),
        ALPC_HANDLE_SOCKET => {
            let mut address = [0_u8; 16];
            let mut size = 16;
            // SAFETY: A live buffer of that size.
            unsafe {
                let room = address.as_mut_ptr().cast();
                assert_eq!(libc::getsockname(file.as_raw_fd(), room, &mut size), 0);
            }
            assert_ne!(address[2..4], [0, 0], "it has a number");
        }
        _ => {}
    }
}

#[test]
fn a_process_of_another_user_uses_what_it_was_sent() {
    isolated(|| {
        let server = Peer::spawn(ALICE, |link| {
            let create = Create::named("handles/use").open();
            let port = create.takes(ALPC_TAKE_HANDLES, 0).run().expect("create");
            link.sync();
            let connection = port.receive().expect("connection request");
            let server = Accept::new(connection.id).run(&port).expect("accept");
            loop {
                let mut room = HandleContainer::room(1);
                let Ok(request) = port.receive_with(&mut room) else {
                    return;
                };
                if request.kind == ALPC_TYPE_PORT_CLOSED {
                    break;
                }
                let file = port.claim(&request, 0).expect("claim");
                assert!(close_on_exec(&file));
                use_it(room.entries[0].kind, &file);
                drop(file);
                port.reply(&request, b"").expect("reply");
            }
            drop(server);
        });
        server.sync();
        let client = Connect::to("handles/use").run().expect("connect").port;
        let (reader, writer) = pipe();
        for (kind, file) in [
            (ALPC_HANDLE_FILE, unnamed_file()),
            (ALPC_HANDLE_DIRECTORY, open("/tmp")),
            (ALPC_HANDLE_PIPE, writer),
            (ALPC_HANDLE_EVENTFD, eventfd()),
            (ALPC_HANDLE_TIMERFD, timerfd()),
            (ALPC_HANDLE_MEMFD, memfd(0).expect("memfd")),
            (ALPC_HANDLE_PIDFD, pidfd()),
            (
                ALPC_HANDLE_SOCKET,
                socket(libc::AF_INET, libc::SOCK_DGRAM).expect("UDP"),
            ),
        ] {
            let mut handles = HandleContainer::one(&file);
            let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
            call = call.handles(&mut handles);
            call.run(&client).expect("call");
            was_used(kind, &file, &reader);
        }
        drop(client);
        server.wait();
    });
}

#[test]
fn what_may_hold_other_files_is_refused_by_its_index() {
    isolated(|| {
        let pair = Pair::with_handles(EVERYTHING);
        for (name, file) in forbidden() {
            note!("{name}");
            let (reader, writer) = pipe();
            let fds = [writer.as_raw_fd(), file.as_raw_fd()];
            let mut handles = HandleContainer::sending(&fds);
            refuses(&pair, &mut handles, fail::BAD_HANDLE, 1, 0);
            // Nor does it keep the one before it.
            drop(writer);
            assert_eq!(read(&reader), b"");
        }
    });
}

#[test]
fn what_is_no_open_file_is_refused_by_its_index() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let file = unnamed_file();
        for fd in [-1, 1_000_000, i32::MIN, i32::MAX] {
            let mut handles = HandleContainer::sending(&[file.as_raw_fd(), fd]);
            handles.entries[1].kind = ALPC_HANDLE_FILE;
            refuses(&pair, &mut handles, fail::NO_HANDLE, 1, 0);
        }
    });
}

#[test]
fn a_device_is_sent_to_who_asks_for_devices() {
    isolated(|| {
        let without = Pair::with_handles(0);
        let with = Pair::with_handles(ALPC_HANDLE_DEVICE);
        for (name, file) in devices() {
            note!("{name}");
            let mut handles = HandleContainer::one(&file);
            refuses(
                &without,
                &mut handles,
                fail::NOT_TAKEN,
                0,
                ALPC_HANDLE_DEVICE,
            );
            let mut handles = HandleContainer::one(&file);
            with.client.one_way_with(&mut handles).expect(name);
            let mut room = HandleContainer::claiming(1);
            with.port.receive_with(&mut room).expect("receive");
            assert_eq!(room.entries[0].kind, ALPC_HANDLE_DEVICE);
            assert!(same(&file, &room.claimed().0[0]), "{name}");
        }
    });
}

#[test]
fn a_side_that_takes_no_handles_gets_none() {
    isolated(|| {
        let (file, pair) = (unnamed_file(), Pair::new());
        let mut handles = HandleContainer::one(&file);
        assert_eq!(pair.client.one_way_with(&mut handles), Err(fail::NOT_TAKEN));
        assert_eq!(pair.server.one_way_with(&mut handles), Err(fail::NOT_TAKEN));
        assert_eq!(handles.handle().index, JUNK32, "it is no matter of which");
        assert_quiet(&pair);
    });
}

#[test]
fn each_side_gets_the_kinds_it_takes() {
    isolated(|| {
        const PORT: u32 = ALPC_HANDLE_FILE | ALPC_HANDLE_PIPE | ALPC_HANDLE_EVENTFD;
        const NARROWED: u32 = ALPC_HANDLE_FILE | ALPC_HANDLE_PIPE;
        const CLIENT: u32 = ALPC_HANDLE_TIMERFD | ALPC_HANDLE_PIPE;
        let create = Create::anonymous().takes(ALPC_TAKE_HANDLES, PORT);
        let port = { create }.run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        for narrowed in [0, NARROWED] {
            let connect = Connect::new(None).takes(ALPC_TAKE_HANDLES, CLIENT);
            let client = connect.asynchronous().run_on(&through);
            let client = client.expect("connect").port;
            let id = port.receive().expect("connection request").id;
            let take = if narrowed == 0 { 0 } else { ALPC_TAKE_HANDLES };
            let server = Accept::new(id).takes(take, narrowed).run(&port);
            let server = server.expect("accept");
            client.receive().expect("the answer");
            let to_server = if narrowed == 0 { PORT } else { narrowed };
            for (name, kind, file) in sendable() {
                for (from, to, takes) in [(&client, &port, to_server), (&server, &client, CLIENT)] {
                    let mut handles = HandleContainer::one(&file);
                    let sent = from.one_way_with(&mut handles);
                    if takes & kind != 0 {
                        sent.expect(name);
                        to.receive_now().expect(name);
                    } else {
                        assert_eq!(sent, Err(fail::NOT_TAKEN), "{name}");
                        let told = (handles.handle().index, handles.entries[0].kind);
                        assert_eq!(told, (0, kind), "{name}");
                    }
                }
            }
            drop((client, server));
            port.receive_now().expect("the notice");
        }
    });
}

#[test]
fn a_handle_must_be_of_the_kind_that_its_sender_says() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        for (name, kind, file) in sendable() {
            let others = [kind << 1, kind | (1 << 31), !kind, EVERYTHING];
            for other in others {
                let mut handles = HandleContainer::one(&file);
                handles.entries[0].kind = other;
                refuses(&pair, &mut handles, fail::BAD_HANDLE, 0, kind);
            }
            let mut handles = HandleContainer::one(&file);
            handles.entries[0].kind = kind;
            pair.client.one_way_with(&mut handles).expect(name);
            pair.port.receive_now().expect(name);
        }
    });
}

#[test]
fn a_message_has_at_most_512_handles_and_no_empty_list() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let (reader, writer) = pipe();
        let many = vec![writer.as_raw_fd(); 513];
        for count in [0, 513] {
            let mut handles = HandleContainer::sending(&many[..count]);
            let sent = pair.client.one_way_with(&mut handles);
            refused_with(sent, libc::EINVAL, &format!("{count}"));
        }
        for count in [1, 2, 7, 8, 9, 16, 17, 511, 512] {
            let mut handles = HandleContainer::sending(&many[..count]);
            pair.client.post_with(&mut handles).expect("post");
            let mut room = HandleContainer::room(600);
            let request = pair.port.receive_with(&mut room).expect("receive");
            assert_eq!(room.handle().count, count as u32);
            for (at, entry) in room.entries.iter().enumerate() {
                let shown = (entry.fd, entry.kind) == (-1, ALPC_HANDLE_PIPE);
                let untouched = (entry.fd, entry.kind) == (JUNK32 as i32, JUNK32);
                assert!(
                    if at < count { shown } else { untouched },
                    "{at} of {count}"
                );
            }
            let last = Claim::new(&request, count as u32 - 1, 1).run(&pair.port);
            write(&last.expect("claim")[0], b"x");
            assert_eq!(read(&reader), b"x");
            pair.port.reply(&request, b"").expect("reply");
            pair.client.receive_now().expect("the answer");
        }
        drop(writer);
        eventually(|| wait::poll_now(&reader, libc::POLLIN) & libc::POLLHUP != 0);
    });
}

#[test]
fn handles_at_addresses_that_cannot_be_read_are_not_sent() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        let cliff = memory::Pages::cliff();
        let edge = [0, memory::unmapped(), cliff.end(4)];
        for address in memory::HOSTILE.into_iter().chain(edge) {
            let mut handles = HandleContainer::sending(&[0]);
            handles.handle().handles = address;
            let sent = pair.client.one_way_with(&mut handles);
            refused_with(sent, libc::EFAULT, &format!("{address:#x}"));
        }
        let file = unnamed_file();
        let mut handles = HandleContainer::one(&file);
        handles.handle().flags = ALPC_HANDLES_CLAIM;
        let sent = pair.client.one_way_with(&mut handles);
        refused_with(sent, libc::EINVAL, "flags");
        assert_quiet(&pair);
    });
}

#[test]
fn what_can_keep_a_port_can_never_be_in_one() {
    isolated(|| {
        let names: Vec<_> = forbidden().iter().map(|(name, _)| *name).collect();
        for (at, name) in names.into_iter().enumerate() {
            let pair = Pair::with_handles(EVERYTHING);
            // Each kind that goes in goes in first, and stays in.
            for (name, _, file) in sendable() {
                let mut handles = HandleContainer::one(&file);
                pair.client.one_way_with(&mut handles).expect(name);
            }
            let mut others = forbidden();
            let file = if others[at].0.ends_with("port") {
                // One that keeps this very port.
                pair.client.duplicate().into()
            } else {
                others.swap_remove(at).1
            };
            let mut handles = HandleContainer::one(&file);
            let sent = pair.client.one_way_with(&mut handles);
            assert_eq!(sent, Err(fail::BAD_HANDLE), "{name}");
        }
        // The harness sees whether all of that went with its descriptors.
    });
}
