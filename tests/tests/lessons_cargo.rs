// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong in NT's ports, and does not here: what travels beside the payload. One test for
//! each bug, with what it was there and what holds here.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::files::{pipe, read, write};
use alpc_tests::raw::*;
use alpc_tests::views::{self, filled, map_section, peek, poke, survive_refusals, PAGE};
use alpc_tests::wait::asleep;
use alpc_tests::*;

const EVERYTHING: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;
const SECURE: u32 = ALPC_VIEW_SECURE;

fn entry(fd: &impl AsFd) -> alpc_handle {
    alpc_handle {
        fd: fd.as_fd().as_raw_fd(),
        kind: 0,
    }
}

/// How many descriptors and mappings this process has.
fn belongings() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let fds = std::fs::read_dir("/proc/self/fd").expect("fd").count();
    (
        fds,
        maps.lines().filter(|line| line.contains("alpc")).count(),
    )
}

/// Unreleased views and handles: a receiver that did not look at attributes got a mapping or a
/// handle with every message, until it had no room. Here it gets what it asks for, and one that asks
/// and forgets is sent no more than stated, and has it until it ends at the latest.
#[test]
fn a_receiver_that_ignores_what_comes_with_messages_fills_up_with_nothing() {
    isolated(|| {
        let pair = Pair::taking(EVERYTHING);
        let (reader, writer) = pipe();
        let (_section, view) = pair.view(PAGE, 7);
        let ranges = Ranges::of(&[(0x1000, 1, ALPC_MEMORY_READ)]);
        let all = ALPC_ATTR_VIEW | ALPC_ATTR_HANDLE;
        pair.client.one_way(b"").expect("send");
        pair.port.receive().expect("receive");
        let before = belongings();
        for _ in 0..rounds(500) {
            let entries = [entry(&writer), entry(&reader)];
            let lent = (view.base, view.size, SECURE);
            let mut sent = EveryContainer::sending(all, lent, &entries, &ranges);
            let mut send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.arg.send_attributes = sent.address();
            send.run(&pair.client).expect("send");
            pair.port.receive().expect("receive");
            view.set(0, 7);
        }
        assert_eq!(belongings(), before);
        drop(writer);
        eventually(|| wait::poll_now(&reader, libc::POLLIN) & libc::POLLHUP != 0);

        // One that takes every view and gives none back, in a process of its own.
        let (client, server) = views::server_peer("lessons/ignore", BOB, |link, port, _end| {
            let mut held = 0;
            while link.take() == 1 {
                assert!(port.receive_view().expect("receive").1.is_some());
                held += 1;
                link.put(held);
            }
            link.put(held);
            link.take();
        });
        let section = client.section(300 * PAGE).expect("section");
        let lend = |view| {
            let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.lend(&client, view, SECURE).map(drop)
        };
        let lent: Vec<_> = (1..=u64::from(ALPC_VIEWS_LENT_MAX))
            .map(|number| {
                let view = section.view(PAGE).expect("view");
                view.set(0, number as u8);
                lend(view).expect("send");
                server.put(1);
                assert_eq!(server.take(), number);
                view
            })
            .collect();
        let (_more, one_more) = filled(&client, PAGE, 1);
        assert_eq!(lend(one_more), Err(fail::LIMIT));
        one_more.assert_back(1);
        server.put(0);
        assert_eq!(server.take(), ALPC_VIEWS_LENT_MAX.into());
        assert!(lent.iter().all(|view| !view.is_there()));
        server.kill();
        for (number, view) in lent.iter().enumerate() {
            eventually(|| view.is_there());
            assert_eq!(view.get(0), (number + 1) as u8);
        }
    });
}

/// Double fetch: a header, or a count of entries, was read again after it had been checked. Here a
/// caller changes all of it while its call sleeps, which is after the check: what is sent and where
/// things are received is what it was at first.
#[test]
fn a_header_that_changes_after_it_was_checked_changes_nothing() {
    isolated(|| {
        let takes = Create::anonymous().share(1, 4096).taking(EVERYTHING);
        let pair = Pair::with(takes);
        let (reader, writer) = pipe();
        let mut other = EveryContainer::receiving();
        let mut far = [JUNK; 64];

        // A sender that waits for room, and then for the answer.
        pair.client.one_way(b"in front").expect("send");
        let mut send = Transfer::new().send(b"original").receive().flags(ALPC_SYNC);
        let mut entries = [entry(&writer)];
        let ranges = Ranges::of(&[(far.as_ptr() as u64, 8, ALPC_MEMORY_READ)]);
        let valid = ALPC_ATTR_CONTEXT | ALPC_ATTR_HANDLE | ALPC_ATTR_MEMORY;
        let mut sent = EveryContainer::sending(valid, (0, 0, 0), &entries, &ranges);
        sent.context.message_context = 11;
        send.arg.send_attributes = sent.address();
        send.point();
        let (at, here) = (std::ptr::from_mut(&mut send.arg), &pair);
        let (at, attributes) = (at as u64, sent.address());
        let (payload, list) = (send.data.as_mut_ptr() as u64, entries.as_mut_ptr() as u64);
        let (room, ranged) = (send.recv.as_mut_ptr() as u64, ranges.list.as_ptr() as u64);
        let (elsewhere, decoy) = (other.address(), far.as_mut_ptr() as u64);
        let spoil = || {
            // SAFETY: All of it lives to the end of the test, and the kernel alone uses it now.
            unsafe {
                let arg = &mut *(at as *mut alpc_transfer);
                (arg.send_length, arg.recv_capacity) = (u32::MAX, u32::MAX);
                (arg.send_data, arg.recv_data) = (8, decoy);
                (arg.send_attributes, arg.recv_attributes) = (elsewhere, elsewhere);
                (arg.send_id, arg.send_callback_id, arg.flags) = (!0, !0, !0);
                let container = &mut *(attributes as *mut EveryContainer);
                (container.head.valid, container.head.allocated) = (!0, !0);
                (container.handle.count, container.memory.count) = (512, 64);
                (container.handle.handles, container.memory.ranges) = (8, 8);
                container.context.message_context = 12;
                (*(list as *mut alpc_handle)).fd = -1;
                (*(ranged as *mut alpc_memory_range)).length = 1 << 40;
                *(payload as *mut [u8; 8]) = *b"changed!";
            }
        };
        let call = || {
            // SAFETY: The transfer lives to the end of the test.
            let arg = unsafe { &mut *(at as *mut alpc_transfer) };
            ioctl(&here.client, ALPC_IOCTL_SEND_WAIT_RECEIVE, arg)
        };
        let result = asleep(call, || {
            spoil();
            here.port.receive().expect("receive");
            let mut handles = HandleContainer::claiming(4);
            let held = here.port.receive_with(&mut handles).expect("receive");
            assert_eq!(held.data, b"original");
            let (claimed, error) = handles.claimed();
            assert_eq!((claimed.len(), error, handles.handle().count), (1, 0, 1));
            write(&claimed[0], b"same");
            assert_eq!(read(&reader), b"same");
            assert_eq!(here.port.peek(&held, 0, 0, 8).map(|data| data.len()), Ok(8));
            let beyond = here.port.peek(&held, 0, 0, 9).unwrap_err();
            assert_eq!(beyond.failure.errno, libc::EINVAL);
            spoil();
            here.port.reply(&held, b"answer").expect("reply");
        });
        assert_eq!(result, Ok(0));
        // SAFETY: The buffer of the transfer, which lives.
        let received = unsafe { std::slice::from_raw_parts(room as *const u8, 8) };
        assert_eq!((received, far), (&b"answer\xcc\xcc"[..], [JUNK; 64]));
        assert_eq!((other.head.valid, send.arg.recv_length), (JUNK32, 6));
        assert_eq!(send.arg.type_, ALPC_TYPE_REPLY as u16);
    });
}

/// A sender of shared memory changed it between the check and the use. Here a secure view can't be
/// touched by any process that has it: two others store into it all the time, and who holds it
/// finds what it has checked.
#[test]
fn a_view_that_is_edited_after_the_check_is_what_was_checked() {
    isolated_long(2, || {
        let shared = Shared::new();
        let (stop, refused) = (&shared[0], &shared[1]);
        let (port, _end, sender) = views::client_peer("lessons/edit", MALLORY, |link, client| {
            let (section, view) = filled(&client, 2 * PAGE, 0);
            link.put_fd(&section);
            while link.take() == 1 {
                let call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
                call.lend(&client, view, SECURE).expect("call");
            }
        });
        let section = sender.take_fd();
        let edit = |name| {
            let editor = Peer::spawn(User { name, ..MALLORY }, |link| {
                survive_refusals();
                let section = Port::from(link.take_fd());
                let write = libc::PROT_READ | libc::PROT_WRITE;
                let base = map_section(&section, 2 * PAGE, write).expect("mmap");
                while stop.load(SeqCst) == 0 {
                    for at in [0, PAGE - 1, PAGE] {
                        if poke(base + at, 0xee) == Err(libc::SIGBUS) {
                            refused.fetch_add(1, SeqCst);
                        }
                    }
                }
            });
            editor.put_fd(&section);
            editor
        };
        let editors = [edit("first"), edit("second")];
        for _ in 0..rounds(200) {
            sender.put(1);
            let (request, held) = port.receive_view().expect("receive");
            let held = held.expect("a view");
            let checked = held.read(0, held.size as usize);
            let before = refused.load(SeqCst);
            eventually(|| refused.load(SeqCst) > before + 4);
            assert_eq!(held.read(0, held.size as usize), checked);
            port.delete_view(held.base).expect("release");
            port.reply(&request, b"").expect("reply");
        }
        sender.put(0);
        sender.wait();
        stop.store(1, SeqCst);
        editors.into_iter().for_each(Peer::wait);
    });
}

/// References leaked where the capture of attributes failed half way. Here whatever fails takes all
/// back that came before it: files, what is counted for the user, the view. It is done more often
/// than there is room for a leak.
#[test]
fn a_capture_that_fails_half_way_leaks_nothing() {
    isolated_long(2, || {
        let pair = Pair::taking(EVERYTHING);
        let (reader, writer) = pipe();
        let (_section, view) = pair.view(PAGE, 3);
        let memory = Ranges::of(&[(view.base, 1, ALPC_MEMORY_READ)]);
        let kernels = Ranges::of(&[(0x1000, 1, BOTH), (1 << 63, 1, BOTH)]);
        let many = vec![entry(&writer); ALPC_HANDLES_MAX as usize];
        let mut last_is_none = many.clone();
        last_is_none.last_mut().expect("an entry").fd = -1;
        let mut last_is_a_port = many.clone();
        *last_is_a_port.last_mut().expect("an entry") = entry(&pair.client);
        let (all, lent) = (EVERY_LOAD, (view.base, PAGE, SECURE));
        let elsewhere = (view.base + 8 * PAGE, PAGE, SECURE);
        let held = {
            pair.client.post(b"").expect("post");
            pair.port.receive().expect("receive")
        };
        let fails = |mut container: EveryContainer, to: Option<&Message>| {
            let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
            if let Some(to) = to {
                call = call.into(to);
            }
            call.arg.send_attributes = container.address();
            let call = call.run(&pair.client);
            call.expect_err("half of it can't be captured").errno
        };
        let sending = |lent, entries: &[alpc_handle], ranges| {
            EveryContainer::sending(all, lent, entries, ranges)
        };
        for _ in 0..rounds(40) {
            let none = fails(sending(lent, &last_is_none, &memory), None);
            let a_port = fails(sending(lent, &last_is_a_port, &memory), None);
            let fault = fails(sending(lent, &many, &kernels), None);
            let no_view = fails(sending(elsewhere, &many, &memory), None);
            let mut not_held = sending(lent, &many, &memory);
            not_held.view.release = view.base;
            let not_held = fails(not_held, None);
            // All is captured, and then it can't be sent.
            let mut no_memory = sending(lent, &many, &memory);
            no_memory.head.valid &= !ALPC_ATTR_MEMORY;
            let not_owner = fails(no_memory, Some(&held));
            let expected = [
                libc::EBADF,
                libc::EPERM,
                libc::EFAULT,
                libc::ENXIO,
                libc::ENXIO,
            ];
            assert_eq!([none, a_port, fault, no_view, not_held], expected);
            assert_eq!(not_owner, libc::EPERM);
        }
        view.assert_back(3);
        drop(writer);
        eventually(|| wait::poll_now(&reader, libc::POLLIN) & libc::POLLHUP != 0);
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        pair.port.reply(&held, b"").expect("reply");
    });
}

/// A duplicated handle had more rights than the sender's own. Here a handle is the open file itself:
/// the receiver has what the sender could do with it, and no way to more.
#[test]
fn a_handle_gives_no_right_that_its_sender_did_not_have() {
    isolated(|| {
        let create = Create::named("lessons/rights").open();
        let kinds = ALPC_HANDLE_FILE | ALPC_HANDLE_MEMFD;
        let port = create.takes(ALPC_TAKE_HANDLES, kinds).run();
        let port = port.expect("create");
        let sender = Peer::spawn(ALICE, |_| {
            let path = format!("/tmp/rights.{}", std::process::id());
            std::fs::write(&path, b"to be read").expect("write");
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, mode).expect("chmod");
            let file = File::open(&path).expect("open");
            std::fs::remove_file(&path).expect("remove");
            let memfd = files::memfd(libc::MFD_ALLOW_SEALING).expect("memfd");
            // SAFETY: Takes no pointers.
            assert_eq!(unsafe { libc::fchmod(memfd.as_raw_fd(), 0o600) }, 0);
            let again = format!("/proc/self/fd/{}", memfd.as_raw_fd());
            let memfd = File::open(again).expect("reopen");
            let client = Connect::to("lessons/rights").run().expect("connect").port;
            // Not of a kind that is taken, and not even open for anything.
            let mut refused = HandleContainer::sending(&[file.as_raw_fd(), pipe().0.as_raw_fd()]);
            assert_eq!(client.one_way_with(&mut refused), Err(fail::NO_HANDLE));
            let (reader, _writer) = pipe();
            let mut refused = HandleContainer::sending(&[file.as_raw_fd(), reader.as_raw_fd()]);
            assert_eq!(client.one_way_with(&mut refused), Err(fail::NOT_TAKEN));
            assert_eq!(refused.handle().index, 1);
            let mut both = HandleContainer::sending(&[file.as_raw_fd(), memfd.as_raw_fd()]);
            client.one_way_with(&mut both).expect("send");
        });
        let _end = views::accept(&port);
        let receiver = Peer::fork(BOB, |_| {
            let mut room = HandleContainer::claiming(2);
            port.receive_with(&mut room).expect("receive");
            let (claimed, error) = room.claimed();
            assert_eq!((claimed.len(), error), (2, 0));
            assert_eq!(read(&claimed[0]), b"to be read");
            claimed.iter().for_each(only_readable);
        });
        receiver.wait();
        sender.wait();
    });
}

/// A file can be read, and neither written nor opened so.
fn only_readable(file: &OwnedFd) {
    let fd = file.as_raw_fd();
    let length = PAGE as usize;
    let path = format!("/proc/self/fd/{fd}");
    let reopened = File::options().write(true).open(path);
    // SAFETY: A live byte, numbers, and a new mapping if it were made.
    unsafe {
        let wrote = libc::write(fd, c"x".as_ptr().cast(), 1);
        assert_eq!(views::errno(wrote as i64, "write"), libc::EBADF);
        let write = libc::PROT_WRITE;
        let map = libc::mmap(std::ptr::null_mut(), length, write, libc::MAP_SHARED, fd, 0);
        assert_eq!(map, libc::MAP_FAILED);
        assert_eq!(libc::fcntl(fd, libc::F_SETFL, libc::O_RDWR), 0);
        assert_eq!(
            libc::fcntl(fd, libc::F_GETFL) & libc::O_ACCMODE,
            libc::O_RDONLY
        );
        assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SEAL), -1);
        assert_eq!(libc::ftruncate(fd, 0), -1);
    }
    assert_eq!(
        reopened.unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied
    );
}

/// Stale valid bits: a buffer used again sent attributes that nobody meant to send. Here a receive
/// clears them, and what a receive has filled in is refused by a send: it names nothing of the
/// sender's.
#[test]
fn a_container_that_was_received_into_is_not_sent_by_mistake() {
    const TOLD: u32 = ALPC_ATTR_CONTEXT | ALPC_ATTR_TOKEN;
    isolated(|| {
        let pair = Pair::taking(EVERYTHING);
        let (_section, view) = pair.view(PAGE, 1);
        let (_reader, writer) = pipe();
        let entries = [entry(&writer)];
        let mut bytes = 5_u64;
        let ranges = Ranges::of(&[(std::ptr::from_mut(&mut bytes) as u64, 8, BOTH)]);
        for attribute in [ALPC_ATTR_VIEW, ALPC_ATTR_HANDLE, ALPC_ATTR_MEMORY] {
            let lent = match attribute {
                ALPC_ATTR_VIEW => (view.base, PAGE, SECURE),
                _ => (0, 0, 0),
            };
            let mut sent = EveryContainer::sending(attribute, lent, &entries, &ranges);
            let call = || {
                let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
                call.arg.send_attributes = sent.address();
                call.run(&pair.client)
            };
            std::thread::scope(|scope| {
                let call = scope.spawn(call);
                let mut room = [alpc_handle::default()];
                let mut told = Ranges::room(1);
                let mut used = EveryContainer::receiving();
                used.handle.handles = room.as_mut_ptr() as u64;
                (used.handle.count, used.handle.flags) = (1, ALPC_HANDLES_CLAIM);
                used.memory.ranges = told.list.as_mut_ptr() as u64;
                used.memory.count = 1;
                let mut receive = Transfer::new().receive();
                receive.arg.recv_attributes = used.address();
                let request = receive.run(&pair.port).expect("receive");
                assert_eq!(used.head.valid, attribute | TOLD);
                // The answer of a server that has one container for both. A token can't be sent at
                // all.
                used.head.valid &= !ALPC_ATTR_TOKEN;
                let mut reply = Transfer::new().send(b"").into(&request).flags(ALPC_RELEASE);
                reply.arg.send_attributes = used.address();
                let refused = reply.run(&pair.port).expect_err("a stale attribute");
                let expected = match attribute {
                    ALPC_ATTR_VIEW => libc::ENXIO,
                    _ => libc::EINVAL,
                };
                assert_eq!(refused.errno, expected, "{attribute:#x}");
                used.handle.flags = 0;
                pair.client.one_way(b"plain").expect("send");
                receive.run(&pair.port).expect("receive");
                assert_eq!(used.head.valid, TOLD);
                pair.port.reply(&request, b"").expect("reply");
                call.join().unwrap().expect("reply");
                if attribute == ALPC_ATTR_VIEW {
                    assert_eq!(peek(used.view.base), Ok(1));
                    pair.port.delete_view(used.view.base).expect("release");
                }
                if attribute == ALPC_ATTR_HANDLE {
                    drop(own(&room));
                }
            });
        }
    });
}
