// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of a caller's that is not there: the caller's own thread brings it in, at its own
//! expense, and the holder waits for it no longer than it likes.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::fuse::{self, Control, Mounted};
use alpc_tests::hang::Hang;
use alpc_tests::raw::*;
use alpc_tests::starve::{pin, starve, two_processors, Cgroup, STRANGERS, VICTIMS};
use alpc_tests::*;

const MS: u64 = 1_000_000;
/// Far more than anything takes that waits for nobody.
fn soon() -> Duration {
    Duration::from_secs(2) * scale::slowness()
}

fn taking() -> Pair {
    Pair::with(Create::anonymous().open().taking_memory())
}

/// Anonymous memory of this process's, for good.
fn map(length: usize, flags: i32) -> usize {
    let (protection, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
    let flags = private | libc::MAP_ANONYMOUS | flags;
    // SAFETY: A new mapping, where the kernel likes.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at as usize
}

fn advise(at: usize, length: usize, advice: i32) {
    // SAFETY: Memory of ours that nobody has a reference to.
    assert_eq!(unsafe { libc::madvise(at as *mut _, length, advice) }, 0);
}

/// Reads with a timeout, by the holder: what came of it, and how late.
fn read(port: &Port, request: &Message, timeout: u64) -> (Result<(), Short>, Duration) {
    let mut data = [0_u8; 8];
    let mut arg = memory_argument(request, 0, ALPC_MEMORY_READ);
    (arg.data, arg.length) = (data.as_mut_ptr() as u64, 8);
    (arg.timeout_flags, arg.timeout) = (ALPC_TIMEOUT_RELATIVE, timeout);
    let begun = Instant::now();
    let result = memory_as_is(port, &mut arg);
    let late = begun
        .elapsed()
        .saturating_sub(Duration::from_nanos(timeout));
    (result, late)
}

/// The time was up, and the holder was not held.
fn assert_in_time((result, late): (Result<(), Short>, Duration)) {
    let short = result.expect_err("nothing is there");
    assert_eq!((short.failure, short.done), (fail::TIMED_OUT, 0));
    note!("the holder is {late:?} late");
    assert!(late < soon(), "{late:?}");
}

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
fn hogs(long: Duration) -> Vec<Peer> {
    let until = Instant::now() + long;
    let hog = |_| {
        Peer::fork(ALICE, move |_| {
            pin(STRANGERS);
            while Instant::now() < until {}
        })
    };
    (0..24).map(hog).collect()
}

#[test]
fn a_call_ends_in_time_though_it_is_asked_for_pages_while_its_address_space_is_locked() {
    const TIMEOUT: u64 = 2500 * MS;
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
        let caller = Peer::fork(BOB, |link| {
            pin(VICTIMS);
            let fresh = map(16 << 20, libc::MAP_NORESERVE) as u64;
            thread::scope(|scope| {
                scope.spawn(|| changes_its_address_space(page));
                let ranges = Ranges::of(&[(fresh, 16 << 20, BOTH)]);
                let begun = Instant::now();
                let ended = Transfer::offering(&ranges).timeout(TIMEOUT).run(&client);
                let late = begun
                    .elapsed()
                    .saturating_sub(Duration::from_nanos(TIMEOUT));
                assert_eq!(ended.unwrap_err(), fail::TIMED_OUT_SENT);
                page[STEP].fetch_max(OVER, SeqCst);
                link.put(late.as_nanos() as u64);
            });
        });
        drop((server, client));
        let request = port.receive().expect("receive");
        page[STEP].fetch_max(CHANGES, SeqCst);
        starve(caller.pid());
        let _hogs = hogs(Duration::from_secs(7));
        // Until the call is over.
        let goes_on = |short: Short| short.failure == fail::TIMED_OUT;
        let asks = |_: &u32| {
            read(&port, &request, 50 * MS)
                .0
                .map_or_else(goes_on, |()| true)
        };
        note!("asked {} times", (0..).take_while(asks).count());
        let late = Duration::from_nanos(caller.take());
        note!("the call ends {late:?} late");
        assert!(late < soon(), "{late:?}");
        caller.wait();
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

#[test]
fn a_timeout_ends_a_wait_for_a_file_system_that_does_not_answer() {
    isolated_long(2, || {
        let mut create = Create::named("memory/absent").open().taking_memory();
        let port = create.run().expect("create");
        let control = Control::new();
        let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
            let client = Connect::to("memory/absent").run().expect("connect").port;
            let file = fuse::open(0, 0);
            let range = fuse::map(&file) as usize;
            // The kernel waits for such a page with no look at who would rather not.
            advise(range, fuse::SIZE as usize, libc::MADV_RANDOM);
            control.hold(0, &[fuse::READ]);
            let ranges = Ranges::of(&[(range as u64, fuse::SIZE as usize, BOTH)]);
            Transfer::offering(&ranges).run(&client).expect("call");
            link.put(7);
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let request = port.receive().expect("receive");
        assert_in_time(read(&port, &request, 100 * MS));
        assert!(control.waiting() > 0);
        // The caller is where it was, and hears of nothing before its file system has answered.
        assert_in_time(read(&port, &request, 100 * MS));
        port.reply(&request, b"").expect("reply");
        control.answer_all();
        assert_eq!(caller.take(), 7);
        caller.kill();
    });
}

#[test]
fn a_signal_ends_the_callers_wait_for_a_page_of_its_own() {
    isolated(|| {
        let pair = taking();
        let hang = Hang::new(4);
        signals::catch(libc::SIGUSR1, 0);
        let ranges = Ranges::of(&[(hang.address(), 16384, BOTH)]);
        let page = Shared::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                page[0].store(signals::tid() as u64, SeqCst);
                Transfer::offering(&ranges).run(&pair.client).map(|_| ())
            });
            let request = pair.port.receive().expect("receive");
            let port = &pair.port;
            let holder = scope.spawn(move || port.peek(&request, 0, 0, 8));
            hang.until_wanted();
            signals::to_thread(page[0].load(SeqCst) as i32, libc::SIGUSR1);
            let failure = client.join().expect("join").unwrap_err();
            assert_eq!(failure.errno, libc::EINTR);
            let short = holder.join().expect("join").unwrap_err();
            assert_eq!((short.failure, short.done), (fail::MEMORY_CLOSED, 0));
            hang.end();
        });
    });
}

#[test]
fn a_holder_that_asks_for_what_can_not_be_does_not_keep_the_caller_at_work() {
    const LONG: Duration = Duration::from_millis(500);
    isolated(|| {
        let pair = taking();
        let forbidden = alpc_tests::memory::Pages::forbidden();
        let ranges = Ranges::of(&[(forbidden.address(), 4096, BOTH)]);
        let worked = Shared::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let own = || wait::clock(libc::CLOCK_THREAD_CPUTIME_ID);
                let before = own();
                let ended = Transfer::offering(&ranges).run(&pair.client).map(|_| ());
                worked[0].store(own() - before, SeqCst);
                ended
            });
            let request = pair.port.receive().expect("receive");
            let asking = || {
                let begun = Instant::now();
                let mut asked = 0_u64;
                while begun.elapsed() < LONG {
                    let short = pair.port.peek(&request, 0, 0, 8).unwrap_err();
                    assert_eq!((short.failure.errno, short.done), (libc::EFAULT, 0));
                    asked += 1;
                }
                asked
            };
            let asked = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(asking)).collect();
                let asked = threads
                    .into_iter()
                    .map(|thread| thread.join().expect("join"));
                asked.sum::<u64>()
            });
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
            let worked = Duration::from_nanos(worked[0].load(SeqCst));
            note!("asked {asked} times, the caller has worked {worked:?}");
            // One attempt each millisecond.
            assert!(asked <= 2 * LONG.as_millis() as u64, "{asked}");
        });
    });
}

#[test]
fn the_holder_is_told_of_a_page_that_can_not_be() {
    isolated(|| {
        let pair = taking();
        // Behind the end of the file there is nothing.
        let file = std::fs::File::from(files::memfd(0).expect("memfd"));
        file.set_len(4096).expect("length");
        // SAFETY: A new mapping, where the kernel likes.
        let at = unsafe {
            let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
            libc::mmap(ptr::null_mut(), 8192, protection, libc::MAP_SHARED, fd, 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        let ranges = Ranges::of(&[(at as u64, 8192, BOTH)]);
        thread::scope(|scope| {
            let client = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let request = pair.port.receive().expect("receive");
            let short = pair.port.peek(&request, 0, 0, 8192).unwrap_err();
            assert_eq!((short.failure.errno, short.done), (libc::EFAULT, 4096));
            // The caller waits as before.
            assert_eq!(pair.port.peek(&request, 0, 0, 8), Ok(vec![0; 8]));
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
    });
}

#[test]
fn what_is_written_to_a_file_is_not_lost_while_the_file_is_written_back() {
    /// A section, so that there is time between its first page and its last.
    const LENGTH: usize = 16 * 4096;
    isolated_long(2, || {
        let mut create = Create::named("memory/file").open().taking_memory();
        let port = create.run().expect("create");
        let control = Control::new();
        let page = Shared::new();
        let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
            let client = Connect::to("memory/file").run().expect("connect").port;
            let file = fuse::open(0, 0);
            let range = fuse::map(&file) as usize;
            // SAFETY: A mapping of this process's.
            let write_back = || {
                assert_eq!(
                    unsafe { libc::msync(range as *mut _, LENGTH, libc::MS_SYNC) },
                    0
                )
            };
            thread::scope(|scope| {
                let call = scope.spawn(|| {
                    let ranges = Ranges::of(&[(range as u64, LENGTH, BOTH)]);
                    Transfer::offering(&ranges).run(&client).expect("call");
                });
                while !call.is_finished() {
                    write_back();
                    // What was asked for before is done now.
                    let asked = page[0].load(SeqCst);
                    write_back();
                    page[1].store(asked, SeqCst);
                }
            });
            link.put(7);
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let request = port.receive().expect("receive");
        let mut lost = 0;
        for round in 1..=rounds(300) {
            let bytes = [round as u8; LENGTH];
            port.poke(&request, 0, 0, &bytes).expect("poke");
            page[0].store(round, SeqCst);
            wait::eventually(|| page[1].load(SeqCst) >= round);
            lost += u64::from(control.kept(0, LENGTH) != bytes);
        }
        port.reply(&request, b"").expect("reply");
        assert_eq!(caller.take(), 7);
        caller.kill();
        assert_eq!(lost, 0);
    });
}
