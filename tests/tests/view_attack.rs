// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a sender may try to change the bytes of a secure view that somebody holds: by its own
//! stores, and by what it makes of its mappings.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const SIZE: u64 = LENT;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

#[test]
fn every_access_of_the_sender_is_refused_by_a_signal() {
    attacked(|_, lent| {
        for at in [0, 1, PAGE - 1, PAGE, SIZE - 1] {
            assert_eq!(peek(lent.view.base + at), Err(libc::SIGBUS));
            assert_eq!(poke(lent.view.base + at, 1), Err(libc::SIGBUS));
        }
        // A holder only reads, and reads nothing beside it.
        assert_eq!(poke(lent.held.base, 1), Err(libc::SIGSEGV));
        assert_eq!(peek(lent.held.base + SIZE), Err(libc::SIGBUS));
        assert_eq!(peek(lent.held.base), Ok(5));
    });
}

/// Waits until a count is greater by more than that.
fn until_more(count: &AtomicU64, by: u64) {
    let before = count.load(Relaxed);
    while count.load(Relaxed) <= before + by {
        std::thread::yield_now();
    }
}

#[test]
fn no_store_that_races_with_the_loan_changes_what_the_holder_reads() {
    isolated_long(2, || {
        survive_refusals();
        let pair = Pair::of_views();
        let (section, view) = pair.view(SIZE, 0);
        // Two addresses of the same bytes.
        let second = map_section(&section, SIZE, READ_WRITE).expect("mmap");
        let (stop, stored, refused) =
            (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let mut writers_ran = 0;
        std::thread::scope(|scope| {
            for base in [view.base, second] {
                let (stop, stored, refused) = (&stop, &stored, &refused);
                scope.spawn(move || {
                    let mut byte = 0_u8;
                    while !stop.load(Relaxed) {
                        byte = byte.wrapping_add(1);
                        for at in [0, PAGE - 1, PAGE, SIZE - 1] {
                            match poke(base + at, byte) {
                                Ok(()) => stored.fetch_add(1, Relaxed),
                                Err(signal) => {
                                    assert_eq!(signal, libc::SIGBUS);
                                    refused.fetch_add(1, Relaxed)
                                }
                            };
                        }
                    }
                });
            }
            for _ in 0..rounds(1000) {
                until_more(&stored, 0);
                let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
                send.lend(&pair.client, view, SECURE).expect("send");
                let held = pair.port.receive_view().expect("receive").1.expect("view");
                let seen = [0, PAGE - 1, PAGE, SIZE - 1].map(|at| held.get(at as usize));
                until_more(&refused, 1);
                let again = [0, PAGE - 1, PAGE, SIZE - 1].map(|at| held.get(at as usize));
                assert_eq!(seen, again);
                pair.port.delete_view(held.base).expect("release");
                writers_ran += 1;
            }
            stop.store(true, Relaxed);
        });
        let (stored, refused) = (stored.load(Relaxed), refused.load(Relaxed));
        note!("{writers_ran} loans, {stored} stores, {refused} refused");
    });
}

#[test]
fn a_system_call_in_flight_loses_the_view_and_fails() {
    attacked(|pair, lent| {
        pair.port.delete_view(lent.held.base).expect("release");
        let (reader, writer) = pipe();
        let mut writer = std::fs::File::from(writer);
        let base = lent.view.base;
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let thread = scope.spawn(move || {
                sender.send(signals::tid()).expect("send");
                // SAFETY: The kernel checks the address.
                let got = unsafe { libc::read(reader.as_raw_fd(), base as *mut _, 64) };
                errno(got as i64, "read")
            });
            let tid = receiver.recv().expect("recv");
            eventually(|| inspect::thread_sleeps(tid));
            wait::settle();
            let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.lend(&pair.client, lent.view, SECURE).expect("send");
            std::io::Write::write_all(&mut writer, &[9; 64]).expect("write");
            assert_eq!(thread.join().expect("join"), libc::EFAULT);
        });
        let held = pair.port.receive_view().expect("receive").1.expect("view");
        assert_eq!(held, lent.held, "at the same place again");
    });
}

#[test]
fn a_child_of_the_sender_or_the_holder_has_no_views() {
    attacked(|pair, lent| {
        let [view, held] = [lent.view.base, lent.held.base];
        let child = Peer::fork(ALICE, |_| {
            for base in [view, held] {
                assert!(mapping(base).is_none(), "inherited");
                assert_eq!(peek(base), Err(libc::SIGSEGV));
                assert_eq!(poke(base, 1), Err(libc::SIGSEGV));
            }
            // A child maps the section that it has inherited, and has it closed as well.
            let again = map_section(&lent.section, SIZE, READ_WRITE).expect("mmap");
            assert_eq!(poke(again, 1), Err(libc::SIGBUS));
            assert_eq!(pair.port.delete_view(held).unwrap_err(), fail::NOT_A_VIEW);
        });
        child.wait();
    });
}

#[test]
fn a_section_is_mapped_whole_and_shared_and_never_to_be_run() {
    attacked(|_, lent| {
        let map = |length, protection, flags, offset| {
            map_at(&lent.section, 0, length, protection, flags, offset)
        };
        let shared = libc::MAP_SHARED;
        let page = PAGE as i64;
        for (length, protection, flags, offset, errno) in [
            (SIZE, READ_WRITE, libc::MAP_PRIVATE, 0, libc::EINVAL),
            (SIZE, libc::PROT_READ, libc::MAP_PRIVATE, 0, libc::EINVAL),
            (PAGE, READ_WRITE, shared, 0, libc::EINVAL),
            (PAGE, READ_WRITE, shared, page, libc::EINVAL),
            (SIZE, READ_WRITE, shared, page, libc::EINVAL),
            (SIZE + PAGE, READ_WRITE, shared, 0, libc::EINVAL),
            (SIZE, READ_WRITE | libc::PROT_EXEC, shared, 0, libc::EPERM),
            (SIZE, libc::PROT_EXEC, shared, 0, libc::EPERM),
        ] {
            let result = map(length, protection, flags, offset);
            assert_eq!(result, Err(errno), "{length} {protection} {flags} {offset}");
        }
        for protection in [READ_WRITE, libc::PROT_READ, libc::PROT_NONE] {
            let again = map(SIZE, protection, shared, 0).expect("whole and shared");
            assert!(!View {
                base: again,
                size: SIZE
            }
            .is_there());
            // SAFETY: Mapped just now.
            let result = unsafe { libc::mprotect(again as *mut _, SIZE as usize, READ_WRITE) };
            assert_eq!(result, 0);
            for at in [0, PAGE] {
                assert_eq!(peek(again + at), Err(libc::SIGBUS));
                assert_eq!(poke(again + at, 1), Err(libc::SIGBUS));
            }
        }
        // Nothing else gets at memory through the descriptor.
        let fd = lent.section.as_fd().as_raw_fd();
        let mut byte = [1_u8];
        // SAFETY: A live buffer, and calls that take numbers.
        unsafe {
            let data = byte.as_mut_ptr().cast();
            assert_eq!(libc::read(fd, data, 1), -1);
            assert_eq!(libc::write(fd, data, 1), -1);
            assert_eq!(libc::pwrite(fd, data, 1, 0), -1);
            assert_eq!(libc::ftruncate(fd, 0), -1);
            assert_eq!(libc::fallocate(fd, 3, 0, PAGE as i64), -1);
        }
    });
}

#[test]
fn a_mapping_is_not_moved_grown_or_split() {
    attacked(|_, lent| {
        for view in [lent.view, lent.held] {
            let (start, len, _) = view.mapping();
            let (at, len) = (start as *mut libc::c_void, len as usize);
            let middle = start as usize + PAGE as usize;
            // SAFETY: All of these are refused, or would hit what only this test uses.
            unsafe {
                for (old, new, flags) in [
                    (0, len, libc::MREMAP_MAYMOVE),
                    (0, 2 * len, libc::MREMAP_MAYMOVE),
                    (len, 2 * len, libc::MREMAP_MAYMOVE),
                    (len, len + PAGE as usize, 0),
                    (len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP),
                    (PAGE as usize, 2 * PAGE as usize, libc::MREMAP_MAYMOVE),
                    (len, PAGE as usize, 0),
                ] {
                    let moved = libc::mremap(at, old, new, flags);
                    assert_eq!(moved, libc::MAP_FAILED, "{old} {new} {flags}");
                }
                let place = libc::mmap(null_mut(), len, 0, 0x22, -1, 0);
                assert_ne!(place, libc::MAP_FAILED);
                let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                let moved = libc::mremap(at, len, len, flags, place);
                assert_eq!(moved, libc::MAP_FAILED, "moved to a place");
                assert_eq!(libc::munmap(at, PAGE as usize), -1);
                assert_eq!(libc::munmap(middle as *mut _, PAGE as usize), -1);
                let parts = libc::mprotect(at, PAGE as usize, libc::PROT_NONE);
                assert_eq!(parts, -1);
                let over = libc::mmap(at, PAGE as usize, 3, 0x32, -1, 0);
                assert_eq!(over, libc::MAP_FAILED, "mapped over a part");
            }
            assert_eq!(mapping(start).map(|it| it.1), Some(len as u64));
        }
        lent.held.assert_holds(5);
    });
}

#[test]
fn a_change_of_protection_gives_nothing_back() {
    attacked(|_, lent| {
        let protect = |view: View, protection| {
            let (start, len, _) = view.mapping();
            // SAFETY: A mapping that only this test uses.
            match unsafe { libc::mprotect(start as *mut _, len as usize, protection) } {
                0 => 0,
                _ => last_errno(),
            }
        };
        let exec = libc::PROT_READ | libc::PROT_EXEC;
        for protection in [libc::PROT_READ, libc::PROT_NONE, READ_WRITE] {
            assert_eq!(protect(lent.view, protection), 0);
            let none = if protection == libc::PROT_NONE {
                libc::SIGSEGV
            } else {
                libc::SIGBUS
            };
            assert_eq!(peek(lent.view.base), Err(none));
        }
        assert_eq!(poke(lent.view.base, 1), Err(libc::SIGBUS));
        assert_eq!(protect(lent.view, exec), libc::EACCES);
        for protection in [READ_WRITE, libc::PROT_WRITE, exec] {
            assert_eq!(protect(lent.held, protection), libc::EACCES);
        }
        assert_eq!(protect(lent.held, libc::PROT_NONE), 0);
        assert_eq!(peek(lent.held.base), Err(libc::SIGSEGV));
        assert_eq!(protect(lent.held, READ_WRITE), libc::EACCES);
        assert_eq!(protect(lent.held, libc::PROT_READ), 0);
        assert_eq!(peek(lent.held.base), Ok(5));
    });
}

/// What the kernel says of the mapping that begins there.
fn flags_of(start: u64) -> Vec<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let begins = format!("{start:x}-");
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&begins));
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
    let flags = flags.expect("flags").split_whitespace();
    flags.map(str::to_string).collect()
}

#[test]
fn no_advice_changes_anything() {
    attacked(|_, lent| {
        for view in [lent.view, lent.held] {
            let (start, len, before) = view.mapping();
            let mut taken = Vec::new();
            for (from, len) in [(start, len), (view.base, PAGE)] {
                // 100 and 101 say to the kernel that the page is broken.
                for advice in (0..=104).chain([-1, 1000]) {
                    // SAFETY: A mapping that only this test uses.
                    let result = unsafe { libc::madvise(from as *mut _, len as usize, advice) };
                    if result == 0 {
                        taken.push(advice);
                    }
                }
            }
            taken.sort_unstable();
            taken.dedup();
            for advice in [
                libc::MADV_DOFORK,
                libc::MADV_DODUMP,
                libc::MADV_DONTNEED,
                libc::MADV_REMOVE,
                libc::MADV_FREE,
                libc::MADV_WIPEONFORK,
                libc::MADV_POPULATE_READ,
                libc::MADV_POPULATE_WRITE,
                libc::MADV_PAGEOUT,
                libc::MADV_HWPOISON,
            ] {
                assert!(!taken.contains(&advice), "{advice}");
            }
            assert_eq!(mapping(start).map(|it| it.2), Some(before));
            // Page numbers, not grown, not dumped, not inherited.
            let flags = flags_of(start);
            for flag in ["pf", "de", "dd", "dc"] {
                assert!(flags.contains(&flag.to_string()), "{flag} of {flags:?}");
            }
        }
        lent.held.assert_holds(5);
        // And a child still has nothing.
        let held = lent.held.base;
        Peer::fork(ROOT, |_| assert!(mapping(held).is_none())).wait();
    });
}
