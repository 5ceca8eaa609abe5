// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of a caller's that is not there: the caller's own thread brings it in, at its own
//! expense, and the holder waits for it no longer than it likes.

use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::fuse::{self, Control, Mounted};
use alpc_tests::hang::Hang;
use alpc_tests::raw::*;
use alpc_tests::*;

mod errands;
mod late;
mod locks;
mod stored;

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
