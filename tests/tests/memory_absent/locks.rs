// SPDX-License-Identifier: MIT OR Apache-2.0

//! The lock of a caller's address space, which others keep.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::hang::Hang;
use alpc_tests::memory::Pages;
use alpc_tests::raw::*;
use alpc_tests::starve::{idle, move_to, pin, starve, two_processors, Cgroup, STRANGERS, VICTIMS};
use alpc_tests::*;

use super::*;

/// What the steps of the first test have come to.
const STEP: usize = 0;
const CHANGES: u64 = 1;
const WAKES: u64 = 2;
const OVER: u64 = 3;

/// Changes a large mapping of this process's over and over, with no processor time to do it in: so
/// the lock of the address space is kept nearly always.
fn changes_its_address_space(page: Shared) {
    const BIG: usize = 64 << 20;
    pin(STRANGERS);
    let big = map(BIG, 0);
    // So that a change takes long.
    advise(big, BIG, libc::MADV_NOHUGEPAGE);
    advise(big, BIG, libc::MADV_POPULATE_WRITE);
    wait::eventually(|| page[STEP].load(SeqCst) >= CHANGES);
    while page[STEP].load(SeqCst) < OVER {
        for protection in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
            // SAFETY: Memory that nobody uses.
            unsafe { libc::mprotect(big as *mut _, BIG, protection) };
        }
    }
}

/// Processes that burn the strangers' processor for so long.
pub fn hogs(long: Duration) -> Vec<Peer> {
    let until = Instant::now() + long;
    let hog = |_| {
        Peer::fork(ALICE, move |_| {
            pin(STRANGERS);
            while Instant::now() < until {}
        })
    };
    (0..24).map(hog).collect()
}

/// How often the caller has changed its address space, which thread of the holder's looks at what is
/// there, and when the request is answered.
const CHANGED: usize = 1;
const LOOKER: usize = 2;
const ANSWERED: usize = 3;

/// Offers memory that is there and memory that is not, and changes its address space meanwhile. How
/// long after the answer the call is over.
fn offers_and_maps(client: &Port, page: Shared) -> u64 {
    const LENGTH: usize = 1 << 16;
    let there = map(LENGTH, libc::MAP_POPULATE) as u64;
    // What this thread needs itself is there: to bring that in takes the lock.
    // SAFETY: Takes no pointer.
    assert_eq!(unsafe { libc::mlockall(libc::MCL_CURRENT) }, 0);
    let absent = map(LENGTH, libc::MAP_NORESERVE) as u64;
    thread::scope(|scope| {
        scope.spawn(|| {
            while page[STEP].load(SeqCst) < OVER {
                let at = map(4096, 0);
                // SAFETY: Nobody uses it.
                unsafe { libc::munmap(at as *mut _, 4096) };
                page[CHANGED].fetch_add(1, SeqCst);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let ranges = Ranges::of(&[(there, LENGTH, BOTH), (absent, LENGTH, BOTH)]);
        let mut call = Transfer::offering(&ranges);
        call.point();
        let ended = call.run_as_is(client);
        // Before any memory is given back, which takes the lock.
        let late = wait::clock(libc::CLOCK_MONOTONIC) - page[ANSWERED].load(SeqCst);
        ended.expect("call");
        late
    })
}

/// Looks up pages that are there over and over, and copies nothing.
fn looks(port: &Port, request: &Message, page: Shared) {
    pin(VICTIMS);
    let nowhere = Pages::forbidden();
    let mut arg = memory_argument(request, 0, ALPC_MEMORY_READ | ALPC_MEMORY_NOWAIT);
    (arg.data, arg.length) = (nowhere.address(), 1 << 16);
    page[LOOKER].store(signals::tid() as u64, SeqCst);
    while page[STEP].load(SeqCst) < OVER {
        let _ = memory_as_is(port, &mut arg);
    }
}

/// Takes the processor from a thread that looks up pages, until it has the lock of the caller's
/// address space meanwhile. Whether it had.
fn catches(page: Shared) -> bool {
    wait::eventually(|| page[LOOKER].load(SeqCst) != 0);
    let looker = page[LOOKER].load(SeqCst) as i32;
    idle(looker);
    for _ in 0..40 {
        move_to(looker, STRANGERS);
        let before = page[CHANGED].load(SeqCst);
        thread::sleep(Duration::from_millis(120));
        if page[CHANGED].load(SeqCst) <= before + 1 {
            return true;
        }
        move_to(looker, VICTIMS);
        thread::sleep(Duration::from_millis(7));
    }
    false
}

#[test]
fn a_call_ends_with_its_answer_though_a_holder_without_a_processor_has_the_lock() {
    if !two_processors() {
        note!("not tried: one processor");
        return;
    }
    isolated_long(2, || {
        let Pair {
            port,
            server,
            client,
        } = taking();
        let page = Shared::new();
        let caller = Peer::fork(ROOT, |link| {
            pin(VICTIMS);
            link.put(offers_and_maps(&client, page));
        });
        let request = port.receive().expect("receive");
        drop((server, client));
        let holder = Peer::fork(ALICE, |link| {
            thread::scope(|scope| {
                scope.spawn(|| looks(&port, &request, page));
                note!("the lock is held: {}", catches(page));
                // It is not there, and the caller's thread has to bring it in.
                let mut data = [0_u8; 8];
                let mut arg = memory_argument(&request, 1, ALPC_MEMORY_READ);
                (arg.data, arg.length) = (data.as_mut_ptr() as u64, 8);
                (arg.timeout_flags, arg.timeout) = (ALPC_TIMEOUT_RELATIVE, 20 * MS);
                let _ = memory_as_is(&port, &mut arg);
                page[ANSWERED].store(wait::clock(libc::CLOCK_MONOTONIC), SeqCst);
                port.reply(&request, b"").expect("reply");
                link.take();
                page[STEP].fetch_max(OVER, SeqCst);
                move_to(page[LOOKER].load(SeqCst) as i32, VICTIMS);
            });
        });
        let _hogs = hogs(Duration::from_secs(12));
        wait::eventually(|| page[ANSWERED].load(SeqCst) != 0);
        thread::sleep(soon());
        holder.put(1);
        let late = Duration::from_nanos(caller.take());
        note!("the call is over {late:?} after its answer");
        assert!(late < soon(), "{late:?}");
        caller.wait();
        holder.wait();
    });
}

#[test]
fn a_timeout_ends_a_wait_for_the_lock_of_the_callers_address_space() {
    /// Wakes who waits for a page, without there being one.
    const UFFDIO_WAKE: libc::Ioctl = 0x8010_aa02_u32 as libc::Ioctl;
    if !two_processors() {
        note!("not tried: one processor");
        return;
    }
    isolated_long(2, || {
        let Pair {
            port,
            server,
            client,
        } = taking();
        let page = Shared::new();
        let caller = Peer::fork(ROOT, |link| {
            pin(VICTIMS);
            let hang = Hang::new(4);
            let mut range = [hang.address(), 4096_u64];
            thread::scope(|scope| {
                scope.spawn(|| changes_its_address_space(page));
                scope.spawn(|| {
                    let ranges = Ranges::of(&[(hang.address(), 4096, BOTH)]);
                    let _ = Transfer::offering(&ranges)
                        .timeout(20_000 * MS)
                        .run(&client);
                });
                hang.until_wanted();
                page[STEP].fetch_max(CHANGES, SeqCst);
                link.sync();
                while page[STEP].load(SeqCst) < WAKES {
                    std::hint::spin_loop();
                }
                // SAFETY: A live range.
                let woken = unsafe {
                    let fd = hang.as_fd().as_raw_fd();
                    libc::ioctl(fd, UFFDIO_WAKE, range.as_mut_ptr())
                };
                assert_eq!(woken, 0);
                while page[STEP].load(SeqCst) < OVER {
                    std::hint::spin_loop();
                }
                hang.end();
            });
        });
        drop((server, client));
        let request = port.receive().expect("receive");
        let holder = Peer::fork(ALICE, |link| {
            assert_in_time(read(&port, &request, 1500 * MS));
            page[STEP].fetch_max(OVER, SeqCst);
            link.put(1);
        });
        caller.sync();
        starve(caller.pid());
        let _hogs = hogs(Duration::from_secs(9));
        thread::sleep(Duration::from_millis(300));
        page[STEP].fetch_max(WAKES, SeqCst);
        holder.take();
        holder.wait();
        caller.wait();
    });
}

/// Offers memory that was never used, and meanwhile has another thread change the address space: the
/// longest that this takes.
fn offers_what_is_fresh(client: &Port, length: usize) -> Duration {
    let range = map(length, libc::MAP_NORESERVE) as u64;
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let ranges = Ranges::of(&[(range, length, BOTH)]);
            let _ = Transfer::offering(&ranges).run(client);
        });
        let mut worst = Duration::ZERO;
        while !call.is_finished() {
            let begun = Instant::now();
            let page = map(4096, 0);
            // SAFETY: Nobody uses it.
            unsafe { libc::munmap(page as *mut _, 4096) };
            worst = worst.max(begun.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        worst
    })
}

/// So much address space, with a little memory at all of it.
fn alias(length: usize) -> usize {
    const PART: usize = 2 << 20;
    let to = map(length, libc::MAP_NORESERVE);
    // SAFETY: A name, and mappings over one of ours.
    unsafe {
        let fd = libc::memfd_create(c"alias".as_ptr(), 0);
        assert_eq!(libc::ftruncate(fd, PART as i64), 0);
        for at in (to..to + length).step_by(PART) {
            let (protection, fixed) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_FIXED);
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE | fixed;
            let mapped = libc::mmap(at as *mut _, PART, protection, flags, fd, 0);
            assert_ne!(mapped, libc::MAP_FAILED);
        }
    }
    to
}

#[test]
fn an_address_space_is_changed_though_who_reads_it_has_no_memory() {
    // Enough for page tables that its reader would be made to sleep for, one for each 2 MiB.
    const LENGTH: usize = 140 << 20;
    if scale::slowness() > 1 {
        note!("not tried: it takes too long here");
        return;
    }
    isolated_long(2, || {
        let Pair {
            port,
            server,
            client,
        } = taking();
        let caller = Peer::fork(BOB, |link| {
            let worst = offers_what_is_fresh(&client, LENGTH);
            link.put(worst.as_nanos() as u64);
        });
        let request = port.receive().expect("receive");
        let holder = Peer::fork(ALICE, |link| {
            link.take();
            let to = alias(LENGTH);
            link.sync();
            link.take();
            let mut arg = memory_argument(&request, 0, ALPC_MEMORY_READ);
            (arg.data, arg.length) = (to as u64, LENGTH as u64);
            memory_as_is(&port, &mut arg).expect("memory");
            link.put(1);
        });
        let cgroup = Cgroup::of(&holder);
        holder.put(1);
        holder.sync();
        cgroup.throttle(65536);
        holder.put(1);
        holder.take();
        drop(cgroup);
        port.reply(&request, b"").expect("reply");
        drop((server, client));
        let worst = Duration::from_nanos(caller.take());
        note!("a change takes {worst:?} at most");
        assert!(worst < Duration::from_secs(1), "{worst:?}");
        caller.wait();
        holder.wait();
    });
}
