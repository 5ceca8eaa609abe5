// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles of the kinds that a receiver must name: places, namespaces, dma-bufs and what
//! ntsync makes.

use std::ffi::CString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use alpc_tests::files::*;
use alpc_tests::kinds::*;
use alpc_tests::places::*;
use alpc_tests::raw::*;
use alpc_tests::*;

const NAMED: u32 =
    ALPC_HANDLE_PATH | ALPC_HANDLE_NAMESPACE | ALPC_HANDLE_DMA_BUF | ALPC_HANDLE_NTSYNC;

/// `ioctl` of a namespace: its type.
const NS_GET_NSTYPE: u64 = 0xb703;

/// What a descriptor is opened anew as.
fn link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[test]
fn kinds_that_must_be_named_go_to_who_names_them() {
    isolated(|| {
        let without = Pair::with_handles(0);
        let all_others = Pair::with_handles(ALPC_HANDLE_NTSYNC * 2 - 1 - NAMED);
        for (name, kind, file) in named() {
            for pair in [&without, &all_others] {
                let mut handles = HandleContainer::one(&file);
                let sent = pair.client.one_way_with(&mut handles);
                assert_eq!(sent, Err(fail::NOT_TAKEN), "{name}");
                assert_eq!(handles.handle().index, 0, "{name}");
                assert_eq!(handles.entries[0].kind, kind, "{name}");
                assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
            }
            let with = Pair::with_handles(kind);
            let mut handles = HandleContainer::one(&file);
            handles.entries[0].kind = kind;
            with.client.post_with(&mut handles).expect(name);
            let mut room = HandleContainer::room(1);
            let request = with.port.receive_with(&mut room).expect(name);
            assert_eq!((room.entries[0].fd, room.entries[0].kind), (-1, kind));
            for _ in 0..2 {
                let claimed = with.port.claim(&request, 0).expect(name);
                assert!(close_on_exec(&claimed), "{name}");
                assert!(same(&file, &claimed), "{name}");
            }
            // Something else it is not.
            let mut handles = HandleContainer::one(&file);
            handles.entries[0].kind = ALPC_HANDLE_FILE;
            let sent = with.client.one_way_with(&mut handles);
            assert_eq!(sent, Err(fail::BAD_HANDLE), "{name}");
        }
    });
}

#[test]
fn who_opens_a_file_can_send_it_and_who_only_finds_it_can_send_its_place() {
    isolated(|| {
        let pair = Pair::with_handles(ALPC_HANDLE_FILE | ALPC_HANDLE_PATH);
        for (flags, kind) in [(0, ALPC_HANDLE_FILE), (libc::O_PATH, ALPC_HANDLE_PATH)] {
            // SAFETY: A live name.
            let file = adopt(unsafe { libc::open(c"/etc/passwd".as_ptr(), flags) }.into());
            pair.client
                .one_way_with(&mut HandleContainer::one(&file))
                .expect("send");
            let mut room = HandleContainer::claiming(1);
            pair.port.receive_with(&mut room).expect("receive");
            assert_eq!(room.entries[0].kind, kind);
        }
    });
}

/// A server of `user` that takes these kinds and does this with what it is sent, and a client
/// that sends this.
fn sent_to(user: User, kind: u32, file: &OwnedFd, then: impl FnOnce(OwnedFd)) {
    let server = Peer::spawn(user, |link| {
        let create = Create::named("handles/named").open();
        let port = create.takes(ALPC_TAKE_HANDLES, kind).run().expect("create");
        link.sync();
        let connection = port.receive().expect("connection request");
        let _server = Accept::new(connection.id).run(&port).expect("accept");
        let mut room = HandleContainer::room(1);
        let request = port.receive_with(&mut room).expect("request");
        assert_eq!(room.entries[0].kind, kind);
        then(port.claim(&request, 0).expect("claim"));
        port.reply(&request, b"").expect("reply");
    });
    server.sync();
    let connected = Connect::to("handles/named").run();
    let client = connected.expect("connect").port;
    let mut handles = HandleContainer::one(file);
    let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
    call = call.handles(&mut handles);
    call.run(&client).expect("call");
    server.wait();
}

#[test]
fn a_place_is_no_right_to_what_is_there() {
    isolated(|| {
        let path = format!("/tmp/place.{}", std::process::id());
        std::fs::write(&path, b"secret").expect("write");
        for (mode, readable) in [(0o600, false), (0o604, true)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("mode");
            sent_to(ALICE, ALPC_HANDLE_PATH, &place(&path, 0), |there| {
                assert_eq!(identity(&there).2, libc::S_IFREG);
                let mut room = [0_u8; 6];
                // SAFETY: A live buffer of that size.
                let read = unsafe { libc::read(there.as_raw_fd(), room.as_mut_ptr().cast(), 6) };
                assert_eq!(read, -1, "nothing is open there");
                match std::fs::read(link(&there)) {
                    Ok(content) => assert!(readable && content == b"secret"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                        assert!(!readable);
                    }
                }
            });
        }
        std::fs::remove_file(&path).expect("remove");
    });
}

#[test]
fn a_place_leads_to_what_is_in_it() {
    isolated(|| {
        sent_to(ALICE, ALPC_HANDLE_PATH, &place("/etc", 0), |there| {
            // SAFETY: A live name.
            let within =
                unsafe { libc::openat(there.as_raw_fd(), c"passwd".as_ptr(), libc::O_RDONLY) };
            let direct = File::open("/etc/passwd").expect("open");
            assert_eq!(identity(&adopt(within.into())), identity(&direct));
        });
        let path = format!("/tmp/link.{}", std::process::id());
        std::os::unix::fs::symlink("wherever", &path).expect("link");
        let sent = place(&path, libc::O_NOFOLLOW);
        std::fs::remove_file(&path).expect("remove");
        sent_to(ALICE, ALPC_HANDLE_PATH, &sent, |there| {
            let mut room = [0_u8; 64];
            // SAFETY: A live name, and a live buffer of that size.
            let read = unsafe {
                let room = room.as_mut_ptr().cast();
                libc::readlinkat(there.as_raw_fd(), c"".as_ptr(), room, 64)
            };
            assert_eq!(&room[..read as usize], b"wherever");
        });
    });
}

#[test]
fn a_queued_place_keeps_its_file_system_mounted_for_that_long() {
    isolated(|| {
        let path = CString::new(format!("/tmp/mount.{}", std::process::id())).expect("a path");
        let name = path.to_str().expect("a path");
        std::fs::create_dir(name).expect("directory");
        // SAFETY: Live names.
        let mounted = unsafe {
            let tmpfs = c"tmpfs".as_ptr();
            libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, std::ptr::null())
        };
        assert_eq!(mounted, 0);
        let pair = Pair::with_handles(ALPC_HANDLE_PATH);
        let there = place(name, 0);
        let mut handles = HandleContainer::one(&there);
        pair.client.one_way_with(&mut handles).expect("send");
        drop(there);
        // SAFETY: A live name.
        let unmount = || unsafe { libc::umount2(path.as_ptr(), 0) };
        assert_eq!(unmount(), -1, "it is in use");
        pair.port.receive().expect("receive");
        eventually(|| unmount() == 0);
        std::fs::remove_dir(name).expect("remove");
    });
}

#[test]
fn every_type_of_namespace_but_mount_is_sent() {
    isolated(|| {
        let all = namespaces();
        assert!(all.len() >= 4, "{}", all.len());
        for (name, flag, namespace) in all {
            note!("{name}");
            sent_to(ALICE, ALPC_HANDLE_NAMESPACE, &namespace, |there| {
                // SAFETY: Takes no pointers.
                let told = unsafe { libc::ioctl(there.as_raw_fd(), NS_GET_NSTYPE as _) };
                assert_eq!(told, flag, "{name}");
            });
        }
    });
}

#[test]
fn a_namespace_that_is_bound_to_a_path_is_one_all_the_same() {
    isolated(|| {
        // A namespace is bound to where nobody else sees it.
        // SAFETY: Takes no pointers.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        let pair = Pair::with_handles(ALPC_HANDLE_NAMESPACE | ALPC_HANDLE_PATH | ALPC_HANDLE_FILE);
        let path = CString::new(format!("/tmp/bound.{}", std::process::id())).expect("a path");
        let name = path.to_str().expect("a path");
        File::create(name).expect("create");
        // SAFETY: Live names.
        unsafe {
            let none = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(none, c"/".as_ptr(), none, private, none.cast());
            let from = c"/proc/self/ns/uts".as_ptr();
            let bound = libc::mount(from, path.as_ptr(), none, libc::MS_BIND, none.cast());
            assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        }
        let opened = open(name);
        let mut handles = HandleContainer::one(&opened);
        pair.client.one_way_with(&mut handles).expect("send");
        drop(opened);
        let mut room = HandleContainer::room(1);
        pair.port.receive_with(&mut room).expect("receive");
        assert_eq!(room.entries[0].kind, ALPC_HANDLE_NAMESPACE);
        let there = place(name, 0);
        let mut handles = HandleContainer::one(&there);
        let sent = pair.client.one_way_with(&mut handles);
        assert_eq!(sent, Err(fail::BAD_HANDLE), "its place");
        drop(there);
        // SAFETY: A live name.
        eventually(|| unsafe { libc::umount2(path.as_ptr(), 0) } == 0);
        std::fs::remove_file(name).expect("remove");
    });
}

/// The name of the machine, as seen here.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("name")
}

/// In a namespace of its own for that, of which it returns a descriptor.
fn own_names() -> Result<OwnedFd, i32> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: Takes no pointers; concerns this thread alone.
            match unsafe { libc::unshare(libc::CLONE_NEWUTS) } {
                0 => Ok(open("/proc/thread-self/ns/uts")),
                _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
            }
        });
        thread.join().expect("join")
    })
}

#[test]
fn who_may_enter_a_namespace_enters_one_it_was_sent() {
    isolated(|| {
        let namespace = own_names().expect("unshare");
        let enter = |namespace: &OwnedFd| {
            // SAFETY: Takes no pointers.
            unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUTS) }
        };
        sent_to(ROOT, ALPC_HANDLE_NAMESPACE, &namespace, |there| {
            assert_eq!(enter(&there), 0);
            // SAFETY: A live name of that length.
            assert_eq!(unsafe { libc::sethostname(c"there".as_ptr(), 5) }, 0);
        });
        sent_to(ALICE, ALPC_HANDLE_NAMESPACE, &namespace, |there| {
            assert_eq!(enter(&there), -1, "a descriptor is no right");
        });
        let before = host_name();
        assert_ne!(before.trim(), "there");
        assert_eq!(enter(&namespace), 0);
        assert_eq!(host_name().trim(), "there");
    });
}

#[test]
fn a_queued_namespace_is_there_for_that_long() {
    isolated(|| {
        // Root of a user namespace says how many there are in it.
        // SAFETY: Takes no pointers.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
        let limit = "/proc/sys/user/max_uts_namespaces";
        let user = Peer::fork(ROOT, |link| {
            link.sync();
            std::fs::write(limit, "1").expect("limit");
        });
        std::fs::write(format!("/proc/{}/uid_map", user.pid()), "0 0 1").expect("map");
        user.sync();
        user.wait();
        let pair = Pair::with_handles(ALPC_HANDLE_NAMESPACE);
        let namespace = own_names().expect("the one there may be");
        let mut handles = HandleContainer::one(&namespace);
        pair.client.one_way_with(&mut handles).expect("send");
        drop(namespace);
        assert_eq!(own_names().map(drop), Err(libc::ENOSPC));
        pair.port.receive().expect("receive");
        eventually(|| own_names().is_ok());
    });
}

#[test]
fn memory_of_a_dma_buf_is_seen_on_both_sides() {
    isolated(|| {
        let map = |fd: &OwnedFd| {
            // SAFETY: A new mapping.
            let memory = unsafe {
                let access = libc::PROT_READ | libc::PROT_WRITE;
                let none = std::ptr::null_mut();
                libc::mmap(none, 4096, access, libc::MAP_SHARED, fd.as_raw_fd(), 0)
            };
            assert_ne!(memory, libc::MAP_FAILED);
            memory.cast::<u8>()
        };
        for (name, buffer) in dma_bufs() {
            note!("{name}");
            let here = map(&buffer);
            // SAFETY: A byte of the mapping.
            unsafe { here.write_volatile(1) };
            sent_to(ALICE, ALPC_HANDLE_DMA_BUF, &buffer, |there| {
                let there = map(&there);
                // SAFETY: A byte of the mapping.
                unsafe {
                    assert_eq!(there.read_volatile(), 1);
                    there.write_volatile(2);
                }
            });
            // SAFETY: A byte of the mapping.
            assert_eq!(unsafe { here.read_volatile() }, 2);
        }
    });
}

#[test]
fn a_name_that_users_give_a_dma_buf_changes_nothing() {
    isolated(|| {
        let pair = Pair::with_handles(ALPC_HANDLE_DMA_BUF);
        for (_, buffer) in dma_bufs() {
            // SAFETY: A live name.
            let named = unsafe { libc::ioctl(buffer.as_raw_fd(), 0x4008_6201, c"drm".as_ptr()) };
            assert_eq!(named, 0, "{}", std::io::Error::last_os_error());
            pair.client
                .one_way_with(&mut HandleContainer::one(&buffer))
                .expect("send");
        }
    });
}

/// How many dma-bufs there are on this machine, if it tells.
fn count_of_dma_bufs() -> Option<usize> {
    let list = std::fs::read_to_string("/sys/kernel/debug/dma_buf/bufinfo").ok()?;
    let lines = list
        .lines()
        .filter(|line| line.contains("udmabuf") || line.contains("system"));
    Some(lines.count())
}

#[test]
fn a_queued_dma_buf_is_there_for_that_long() {
    isolated(|| {
        let Some(before) = count_of_dma_bufs() else {
            note!("this kernel does not tell of its dma-bufs");
            return;
        };
        let pair = Pair::with_handles(ALPC_HANDLE_DMA_BUF);
        let sent = dma_bufs();
        let count = sent.len();
        for (_, buffer) in sent {
            pair.client
                .one_way_with(&mut HandleContainer::one(&buffer))
                .expect("send");
        }
        assert_eq!(count_of_dma_bufs(), Some(before + count));
        drop(pair);
        eventually(|| count_of_dma_bufs() == Some(before));
    });
}

#[test]
fn an_event_that_was_sent_wakes_who_waits_for_it() {
    isolated(|| {
        let Some(ntsync) = Ntsync::open() else {
            return;
        };
        let event = ntsync.event();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| ntsync.wait(&event));
            sent_to(ALICE, ALPC_HANDLE_NTSYNC, &event, |there| {
                assert_eq!(set_event(&there), Ok(0));
            });
            waiter.join().expect("join");
        });
        sent_to(ALICE, ALPC_HANDLE_NTSYNC, &ntsync.semaphore(7), |there| {
            assert_eq!(semaphore_count(&there), Ok(7));
            assert!(set_event(&there).is_err(), "it is no event");
        });
        sent_to(ALICE, ALPC_HANDLE_NTSYNC, &ntsync.mutex(), |there| {
            assert!(semaphore_count(&there).is_err(), "it is no semaphore");
        });
    });
}

#[test]
fn a_queued_event_holds_its_driver_for_that_long() {
    isolated(|| {
        let references = || std::fs::read_to_string("/sys/module/ntsync/refcnt").ok();
        let (Some(before), Some(ntsync)) = (references(), Ntsync::open()) else {
            return;
        };
        let pair = Pair::with_handles(ALPC_HANDLE_NTSYNC);
        let event = ntsync.event();
        let mut handles = HandleContainer::one(&event);
        pair.client.one_way_with(&mut handles).expect("send");
        drop((event, ntsync));
        assert_ne!(references().as_ref(), Some(&before));
        drop(pair);
        eventually(|| references().as_ref() == Some(&before));
    });
}
