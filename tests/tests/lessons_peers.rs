// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong in other systems' calls between processes, and does not here: attributes, memory
//! that users can reach, limits. One test for each bug, with what it was there and what holds here.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use alpc_tests::files::{pipe, read, write};
use alpc_tests::low::{ioctl32, LowPage};
use alpc_tests::raw::*;
use alpc_tests::views::{map_at, peek, poke, survive_refusals, PAGE};
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

/// CVE-2023-20938 of Binder: the cleanup of a message that was half translated gave up references
/// that had never been taken. Here each step gives back what it took: files whose only reference is
/// a descriptor outlive any number of messages that failed with them.
#[test]
fn a_cleanup_of_half_a_message_gives_up_no_reference_it_did_not_take() {
    isolated(|| {
        let pair = Pair::taking(EVERYTHING);
        let pipes: Vec<_> = (0..8).map(|_| pipe()).collect();
        let (_section, view) = pair.view(PAGE, 4);
        let ranges = Ranges::of(&[(view.base, 1, ALPC_MEMORY_READ)]);
        let all = EVERY_LOAD;
        for round in 0..rounds(200) as usize {
            // Each of them more than once, and one that is none, somewhere in between.
            let ends = pipes.iter().chain(&pipes).map(|(_, writer)| entry(writer));
            let mut entries: Vec<_> = ends.collect();
            entries[round % 16].fd = [-1, i32::MAX, i32::MIN][round % 3];
            let lent = (view.base, PAGE, SECURE);
            let mut sent = EveryContainer::sending(all, lent, &entries, &ranges);
            let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
            call.arg.send_attributes = sent.address();
            assert_eq!(call.run(&pair.client).unwrap_err(), fail::NO_HANDLE);
            assert_eq!(sent.handle.index as usize, round % 16);
        }
        for (reader, writer) in &pipes {
            write(writer, b"here");
            assert_eq!(read(reader), b"here");
        }
        view.assert_back(4);
    });
}

/// A container of whichever attributes, as they follow each other.
fn laid_out(from: &EveryContainer, allocated: u32, valid: u32) -> Vec<u64> {
    let mut words = vec![(u64::from(valid) << 32) | u64::from(allocated)];
    for attribute in EVERY_ATTRIBUTE {
        if allocated & attribute != 0 {
            // SAFETY: A structure of words only, and a part of it.
            words.extend(unsafe {
                let all = std::ptr::from_ref(from).cast::<u64>();
                let (start, length) = place(attribute);
                std::slice::from_raw_parts(all.add(start), length)
            });
        }
    }
    words
}

/// Where an attribute stands among all, and how long it is, in words.
fn place(attribute: u32) -> (usize, usize) {
    match attribute {
        ALPC_ATTR_SECURITY => (1, 2),
        ALPC_ATTR_VIEW => (3, 4),
        ALPC_ATTR_CONTEXT => (7, 5),
        ALPC_ATTR_HANDLE => (12, 3),
        ALPC_ATTR_TOKEN => (15, 3),
        ALPC_ATTR_MEMORY => (18, 2),
        _ => (20, 2),
    }
}

/// A token is told, and not sent.
const SENT: u32 = EVERY_LOAD | ALPC_ATTR_SECURITY | ALPC_ATTR_RECEIVER;

fn subsets(of: u32) -> impl Iterator<Item = u32> {
    let is_in = |set: u32| move |one: &u32| set & one != 0;
    let all: Vec<_> = EVERY_ATTRIBUTE.into_iter().filter(is_in(of)).collect();
    let chosen = move |set: u32| {
        let of = |(index, attribute): (usize, &u32)| attribute * ((set >> index) & 1);
        all.iter().enumerate().map(of).sum()
    };
    (0..1 << of.count_ones()).map(chosen)
}

/// Room for all, for none, for what is sent, for what is not, and for all but one.
fn rooms(sent: u32) -> impl Iterator<Item = u32> {
    let all: u32 = EVERY_ATTRIBUTE.into_iter().sum();
    let but_one = EVERY_ATTRIBUTE.map(|one| all & !one);
    [all, 0, sent, all & !sent].into_iter().chain(but_one)
}

/// The attributes of NT's messages combine in more ways than were ever tried. Here all are: each
/// subset of them arrives in all kinds of room, and fails as a whole when any of it can't be.
#[test]
fn every_subset_of_attributes_is_sent_whole_or_not_at_all() {
    isolated(|| {
        let pair = Pair::taking(EVERYTHING | ALPC_TAKE_SECURITY);
        let (_reader, writer) = pipe();
        let (_section, view) = pair.view(PAGE, 6);
        let memory = Ranges::of(&[(std::ptr::from_ref(&SECURE) as u64, 4, ALPC_MEMORY_READ)]);
        let kernels = Ranges::of(&[(1 << 63, 4, ALPC_MEMORY_READ)]);
        let none = alpc_handle { fd: -1, kind: 0 };
        let call = |container: &mut Vec<u64>| {
            let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
            call.arg.send_attributes = container.as_mut_ptr() as u64;
            call.run(&pair.client)
        };
        for sent in subsets(SENT) {
            for bad in subsets(sent).filter(|bad| *bad != 0) {
                let lent = match bad & ALPC_ATTR_VIEW {
                    0 => (view.base, PAGE, SECURE),
                    _ => (view.base + PAGE, PAGE, SECURE),
                };
                let entries = match bad & ALPC_ATTR_HANDLE {
                    0 => [entry(&writer)],
                    _ => [none],
                };
                let ranges = match bad & ALPC_ATTR_MEMORY {
                    0 => &memory,
                    _ => &kernels,
                };
                let mut from = EveryContainer::sending(sent, lent, &entries, ranges);
                from.context.reserved = u32::from(bad & ALPC_ATTR_CONTEXT != 0);
                if bad & ALPC_ATTR_SECURITY != 0 {
                    (from.security.context, from.security.flags) = (1, 0);
                }
                if bad & ALPC_ATTR_RECEIVER != 0 {
                    from.receiver.uid = u32::MAX;
                }
                let failure = call(&mut laid_out(&from, sent, sent)).unwrap_err();
                let order = [
                    (ALPC_ATTR_CONTEXT, libc::EINVAL),
                    (ALPC_ATTR_HANDLE, libc::EBADF),
                    (ALPC_ATTR_RECEIVER, libc::EINVAL),
                    (ALPC_ATTR_MEMORY, libc::EFAULT),
                    (ALPC_ATTR_SECURITY, libc::ENXIO),
                    (ALPC_ATTR_VIEW, libc::ENXIO),
                ];
                let first = order.iter().find(|(attribute, _)| bad & attribute != 0);
                assert_eq!(Some(failure.errno), first.map(|(_, errno)| *errno));
            }
            for room in rooms(sent) {
                let lent = (view.base, PAGE, SECURE);
                let entries = [entry(&writer)];
                let from = EveryContainer::sending(sent, lent, &entries, &memory);
                let mut from = laid_out(&from, sent, sent);
                std::thread::scope(|scope| {
                    let thread = scope.spawn(|| call(&mut from).expect("call"));
                    let told = laid_out(&EveryContainer::receiving(), room, JUNK32);
                    let mut received = told.clone();
                    let mut receive = Transfer::new().receive();
                    receive.arg.recv_attributes = received.as_mut_ptr() as u64;
                    let request = receive.run(&pair.port).expect("receive");
                    let told_of = sent & !ALPC_ATTR_RECEIVER;
                    let valid = (told_of | ALPC_ATTR_CONTEXT | ALPC_ATTR_TOKEN) & room;
                    assert_eq!(received[0], (u64::from(valid) << 32) | u64::from(room));
                    let mut at = 1;
                    for attribute in EVERY_ATTRIBUTE.into_iter().filter(|one| room & one != 0) {
                        let length = place(attribute).1;
                        let (now, before) = (&received[at..at + length], &told[at..at + length]);
                        assert_eq!(now != before, valid & attribute != 0, "{attribute:#x}");
                        if valid & attribute == ALPC_ATTR_VIEW {
                            assert_eq!(peek(now[0]), Ok(6));
                            pair.port.delete_view(now[0]).expect("release");
                        }
                        at += length;
                    }
                    let claim = pair.port.claim(&request, 0).map(drop);
                    assert_eq!(claim.is_ok(), sent & ALPC_ATTR_HANDLE != 0);
                    let peek = pair.port.peek(&request, 0, 0, 4);
                    assert_eq!(peek.is_ok(), sent & ALPC_ATTR_MEMORY != 0);
                    view.assert_back(6);
                    pair.port.reply(&request, b"").expect("reply");
                    thread.join().unwrap();
                });
            }
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

/// Rust Binder wrote a message into memory of the receiver's, and read back from there where its
/// objects were. Here what the receiver is told is never looked at again: it changes all of it while
/// it is written, and gets what was sent, neither more nor elsewhere.
#[test]
fn what_was_written_for_the_receiver_is_never_read_back() {
    const HANDLES: usize = 8;
    isolated(|| {
        let pair = Pair::taking(EVERYTHING);
        let (_reader, writer) = pipe();
        let mut room = HandleContainer::claiming(HANDLES);
        let mut decoy = vec![alpc_handle { fd: 7, kind: 7 }; 512];
        let list = room.entries.as_mut_ptr() as u64;
        let (container, elsewhere) = (room.address(), decoy.as_mut_ptr() as u64);
        let spoil = || {
            // SAFETY: Both live to the end of the test, and nothing else uses them now.
            unsafe {
                let attribute = &mut *((container + 8) as *mut alpc_attr_handle);
                (attribute.handles, attribute.count) = (elsewhere, 512);
                attribute.index = 512;
                *(container as *mut alpc_attributes) = alpc_attributes {
                    allocated: !0,
                    valid: !0,
                };
                let entries = std::slice::from_raw_parts_mut(list as *mut alpc_handle, HANDLES);
                entries.fill(alpc_handle { fd: 0, kind: !0 });
            }
        };
        let mut receive = Transfer::new().receive();
        receive.arg.recv_attributes = container;
        let sent = vec![writer.as_raw_fd(); HANDLES];
        let here = &pair;
        let receiver = move || receive.run(&here.port).map(|message| message.id);
        let received = asleep(receiver, || {
            spoil();
            let mut sent = HandleContainer::sending(&sent);
            here.client.one_way_with(&mut sent).expect("send");
        });
        received.expect("receive");
        assert_eq!(own(&room.entries).len(), HANDLES);
        assert_eq!(
            (room.handle().index, room.handle().error),
            (HANDLES as u32, 0)
        );

        // And while it is written: as many are there, whatever the entries say of it.
        let fds = || std::fs::read_dir("/proc/self/fd").expect("fd").count();
        let (before, stop) = (fds(), AtomicBool::new(false));
        let total = rounds(200) as usize;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    spoil();
                }
            });
            for _ in 0..total {
                let mut again = HandleContainer::claiming(HANDLES);
                // SAFETY: Lives, and is as large.
                unsafe { *(container as *mut [u64; 4]) = *(again.address() as *const [u64; 4]) };
                // SAFETY: As above.
                unsafe { (*((container + 8) as *mut alpc_attr_handle)).handles = list };
                here.client
                    .one_way_with(&mut HandleContainer::sending(&sent))
                    .expect("send");
                let mut receive = Transfer::new().receive();
                receive.arg.recv_attributes = container;
                // It may have been refused for what stood there when it began.
                if receive.run(&here.port).is_err() {
                    here.port.receive().expect("receive");
                }
            }
            stop.store(true, SeqCst);
        });
        let more = fds() - before;
        note!("{more} installed");
        assert!(more <= total * HANDLES, "{more}");
        assert!(decoy.iter().all(|one| (0..=i32::MAX).contains(&one.fd)));
    });
}

/// FreeBSD's compatibility code for 32-bit programs read control headers again after it had checked
/// them. Here a 32-bit caller's are read once, as all others: what it changes while its call sleeps
/// has no effect.
#[test]
fn a_header_of_a_32_bit_caller_that_changes_after_the_check_changes_nothing() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().share(1, 4096).taking(EVERYTHING));
        let page = LowPage::new();
        let mut query = alpc_query::default();
        if page.call(&device(), ALPC_IOCTL_QUERY, &mut query) == Err(libc::ENOSYS) {
            note!("no 32-bit system calls here");
            return;
        }
        let (reader, writer) = pipe();
        let entries = [entry(&writer)];
        let ranges = Ranges::of(&[]);
        let mut sent = EveryContainer::sending(ALPC_ATTR_HANDLE, (0, 0, 0), &entries, &ranges);
        page.write(b"original");
        let at = u64::from(page.address());
        // SAFETY: The page is ours, aligned, and larger than that.
        let arg = unsafe { &mut *(at as *mut alpc_transfer) };
        *arg = alpc_transfer {
            send_data: page.data(),
            send_length: 8,
            flags: ALPC_SEND | ALPC_RELEASE,
            send_attributes: sent.address(),
            ..Default::default()
        };
        pair.client.one_way(b"in front").expect("send");
        let here = &pair;
        let address = page.address();
        let call = move || ioctl32(&here.client, ALPC_IOCTL_SEND_WAIT_RECEIVE, address);
        let result = asleep(call, || {
            // SAFETY: As above; the kernel alone uses it now.
            let arg = unsafe { &mut *(at as *mut alpc_transfer) };
            (arg.send_data, arg.send_length, arg.flags) = (8, 4000, !0);
            arg.send_attributes = 8;
            sent.handle.count = 512;
            page.write(b"changed!");
            here.port.receive().expect("receive");
            let mut claimed = HandleContainer::claiming(2);
            let message = here.port.receive_with(&mut claimed).expect("receive");
            assert_eq!(
                (&message.data[..], message.kind),
                (&b"original"[..], ALPC_TYPE_DATAGRAM)
            );
            let (claimed, _) = claimed.claimed();
            assert_eq!(claimed.len(), 1);
            write(&claimed[0], b"same");
            assert_eq!(read(&reader), b"same");
        });
        assert_eq!(result, Ok(0));
    });
}

/// CVE-2026-43434 of Rust Binder: a mapping was looked up by its address, where something else had
/// been mapped in the meantime, and pages were put into that. Here an address counts only with the
/// file that is mapped there: what took a mapping's place is neither lent nor touched.
#[test]
fn a_mapping_in_the_place_of_another_is_left_alone() {
    const OTHERS: u8 = 0xaa;
    let replace = |base: u64| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let write = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: Over a mapping of which the test uses nothing any more.
        let start = unsafe { libc::mmap(base as *mut _, PAGE as usize, write, flags, -1, 0) };
        assert_eq!(start as u64, base);
        assert_eq!(poke(base, OTHERS), Ok(()));
    };
    isolated(|| {
        survive_refusals();
        let pair = Pair::of_views();
        let (section, view) = pair.view(PAGE, 7);
        let one_way = || Transfer::new().send(b"").flags(ALPC_RELEASE);

        // The receiver's window.
        one_way().lend(&pair.client, view, SECURE).expect("send");
        let (_, held) = pair.port.receive_view().expect("receive");
        let held = held.expect("a view");
        held.unmap();
        replace(held.base);
        assert_eq!(pair.port.delete_view(held.base), Err(fail::NOT_A_VIEW));
        assert_eq!(pair.port.query_view(held.base), Err(libc::ENXIO));
        view.assert_back(7);
        one_way().lend(&pair.client, view, SECURE).expect("send");
        let (_, again) = pair.port.receive_view().expect("receive");
        let again = again.expect("a view");
        assert_eq!((again.get(0), peek(held.base)), (7, Ok(OTHERS)));
        pair.port.delete_view(again.base).expect("release");

        // The sender's section, which comes and goes while it is lent from there.
        let stop = AtomicBool::new(false);
        let mut arrived = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    replace(view.base);
                    for _ in 0..4 {
                        assert_eq!(peek(view.base), Ok(OTHERS));
                        std::thread::yield_now();
                    }
                    let fixed = libc::MAP_SHARED | libc::MAP_FIXED;
                    let write = libc::PROT_READ | libc::PROT_WRITE;
                    let mapped = map_at(&section, view.base, PAGE, write, fixed, 0);
                    assert_eq!(mapped, Ok(view.base));
                    std::thread::yield_now();
                }
            });
            for _ in 0..rounds(2000) {
                match one_way().lend(&pair.client, view, SECURE) {
                    Ok(_) => {
                        let (_, lent) = pair.port.receive_view().expect("receive");
                        let lent = lent.expect("a view");
                        assert_eq!(lent.get(0), 7, "what was never lent");
                        pair.port.delete_view(lent.base).expect("release");
                        arrived += 1;
                    }
                    Err(failure) => assert_eq!(failure, fail::NOT_A_VIEW),
                }
            }
            stop.store(true, SeqCst);
        });
        note!("{arrived} arrived");
    });
}
