// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory and waiting: a holder that gets no processor keeps nobody, and one that doesn't
//! want to wait for its caller's pages need not.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::hang::Hang;
use alpc_tests::memory::{Pages, PAGE};
use alpc_tests::raw::*;
use alpc_tests::*;

const READ: u32 = ALPC_MEMORY_READ;
const WRITE: u32 = ALPC_MEMORY_WRITE;
const MS: u64 = 1_000_000;
/// Far more than anything takes that waits for nobody.
const SOON: Duration = Duration::from_secs(2);

/// Pins the calling thread to one processor.
fn pin(cpu: usize) {
    // SAFETY: A set of processors, of which the kernel reads as many bytes as it has.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
    }
}

/// From now on the calling thread runs only where nobody else wants to.
fn become_idle() {
    // SAFETY: The parameter is live for the call.
    unsafe {
        let none: libc::sched_param = std::mem::zeroed();
        assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &none), 0);
    }
}

/// Processes that keep the first processor busy.
fn hogs() -> Vec<Peer> {
    let hog = || {
        Peer::fork(ALICE, |_| {
            pin(0);
            loop {
                std::hint::spin_loop();
            }
        })
    };
    (0..8).map(|_| hog()).collect()
}

/// A holder that reads or writes all of its caller's memory again and again, and is starved for
/// processor time.
fn starving(port: Port, length: usize, access: u32) -> Peer {
    Peer::fork(ALICE, |link| {
        pin(0);
        let request = port.receive().expect("receive");
        let mut data = vec![1_u8; length];
        let mut arg = memory_argument(&request, 0, access);
        (arg.data, arg.length) = (data.as_mut_ptr() as u64, length as u64);
        memory_as_is(&port, &mut arg).expect("memory");
        become_idle();
        link.sync();
        while memory_as_is(&port, &mut arg).is_ok() {}
    })
}

#[test]
fn a_starved_holder_does_not_keep_its_caller() {
    const LENGTH: usize = 2 << 20;
    const TIMEOUT: u64 = 2000 * MS;
    if !starve::two_processors() {
        note!("not tried: one processor");
        return;
    }
    isolated_long(2, || {
        pin(1);
        for (access, kill) in [(READ, true), (WRITE, true), (WRITE, false)] {
            let Pair {
                port,
                server,
                client,
            } = Pair::with(Create::anonymous().open().taking_memory());
            let caller = Peer::fork(BOB, |link| {
                pin(1);
                let mut memory = vec![2_u8; LENGTH];
                let range = (memory.as_mut_ptr() as u64, LENGTH, BOTH);
                let ranges = Ranges::of(&[range]);
                let mut call = Transfer::offering(&ranges);
                if !kill {
                    call = call.timeout(TIMEOUT);
                }
                let start = Instant::now();
                assert_eq!(call.run(&client).unwrap_err(), fail::TIMED_OUT_SENT);
                link.put(start.elapsed().as_nanos() as u64);
            });
            let holder = starving(port, LENGTH, access);
            drop((server, client));
            holder.sync();
            let _hogs = hogs();
            // Long enough for the holder to have lost the processor wherever it was.
            thread::sleep(Duration::from_millis(300));
            let start = Instant::now();
            let late = match kill {
                true => {
                    caller.kill();
                    start.elapsed()
                }
                false => {
                    let took = caller.take();
                    caller.wait();
                    Duration::from_nanos(took.saturating_sub(TIMEOUT))
                }
            };
            note!("access {access}, kill {kill}: {late:?} late");
            assert!(late < SOON, "{late:?}");
        }
    });
}

/// Pages of a client's that come when the test likes, and a request that offers them.
struct Slow {
    hang: Hang,
    pair: Pair,
}

impl Slow {
    const LENGTH: usize = 4 * PAGE;

    fn new() -> Self {
        Self {
            hang: Hang::new(4),
            pair: Pair::with(Create::anonymous().taking_memory()),
        }
    }

    /// What the holder does while the client waits. The request is answered after.
    fn hold(&self, act: impl FnOnce(&Port, &Message)) {
        let ranges = Ranges::of(&[(self.hang.address(), Self::LENGTH, BOTH)]);
        thread::scope(|scope| {
            let client = scope.spawn(|| Transfer::offering(&ranges).run(&self.pair.client));
            let request = self.pair.port.receive().expect("receive");
            act(&self.pair.port, &request);
            self.pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
    }
}

/// A MEMORY of all that a [`Slow`] offers, with a timeout, and how long it took.
fn timed(port: &Port, request: &Message, access: u32, timeout: (u32, u64)) -> (Short, Duration) {
    let mut data = vec![JUNK; Slow::LENGTH];
    let mut arg = memory_argument(request, 0, access);
    (arg.data, arg.length) = (data.as_mut_ptr() as u64, data.len() as u64);
    (arg.timeout_flags, arg.timeout) = timeout;
    let start = Instant::now();
    let short = memory_as_is(port, &mut arg).unwrap_err();
    assert_eq!((arg.timeout_flags, arg.timeout), timeout, "rewritten");
    (short, start.elapsed())
}

fn late(done: u64) -> Short {
    let failure = fail::TIMED_OUT;
    Short { failure, done }
}

fn now(clock: i32) -> u64 {
    // SAFETY: A live structure.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(clock, &mut now), 0);
        now
    };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[test]
fn a_holder_waits_for_a_page_until_its_time_is_up() {
    isolated(|| {
        let slow = Slow::new();
        slow.hold(|port, request| {
            for access in [READ, WRITE] {
                for clock in 0..4 {
                    let (flag, from) = match clock {
                        0 => (ALPC_TIMEOUT_RELATIVE, 0),
                        1 => (ALPC_TIMEOUT_MONOTONIC, now(libc::CLOCK_MONOTONIC)),
                        2 => (ALPC_TIMEOUT_BOOTTIME, now(libc::CLOCK_BOOTTIME)),
                        _ => (ALPC_TIMEOUT_REALTIME, now(libc::CLOCK_REALTIME)),
                    };
                    let timeout = (flag, from + 50 * MS);
                    let (short, took) = timed(port, request, access, timeout);
                    assert_eq!(short, late(0));
                    let long = Duration::from_millis(if clock == 0 { 50 } else { 30 });
                    assert!(took >= long && took < SOON, "{flag}: {took:?}");
                }
            }
        });
    });
}

#[test]
fn a_time_that_is_over_or_nothing_waits_for_no_page() {
    isolated(|| {
        let slow = Slow::new();
        slow.hold(|port, request| {
            for timeout in [(ALPC_TIMEOUT_RELATIVE, 0), (ALPC_TIMEOUT_MONOTONIC, 1)] {
                assert_eq!(timed(port, request, READ, timeout).0, late(0));
            }
        });
        // Pages that are there are moved, whatever the time is.
        slow.hang.end();
        slow.hold(|port, request| {
            port.poke(request, 0, 0, &[7; Slow::LENGTH]).expect("poke");
            let mut data = vec![0_u8; Slow::LENGTH];
            let mut arg = memory_argument(request, 0, READ);
            (arg.data, arg.length) = (data.as_mut_ptr() as u64, data.len() as u64);
            arg.timeout_flags = ALPC_TIMEOUT_RELATIVE;
            memory_as_is(port, &mut arg).expect("what is there");
            assert!(data == [7; Slow::LENGTH]);
        });
    });
}

#[test]
fn what_has_come_before_the_time_is_up_is_counted() {
    isolated(|| {
        let slow = Slow::new();
        slow.hang.fill(0..1);
        slow.hold(|port, request| {
            let timeout = (ALPC_TIMEOUT_RELATIVE, 20 * MS);
            for access in [READ, WRITE] {
                let (short, _) = timed(port, request, access, timeout);
                assert_eq!(short, late(PAGE as u64));
            }
        });
    });
}

#[test]
fn what_comes_while_it_is_waited_for_is_counted_too() {
    isolated(|| {
        let slow = Slow::new();
        slow.hold(|port, request| {
            let waits = || timed(port, request, READ, (ALPC_TIMEOUT_RELATIVE, 500 * MS));
            thread::scope(|scope| {
                let holder = scope.spawn(waits);
                // The first page comes, and the second one does not.
                slow.hang.until_wanted();
                slow.hang.fill(0..1);
                let (short, _) = holder.join().expect("join");
                assert_eq!(short, late(PAGE as u64));
            });
        });
    });
}

#[test]
fn a_holder_that_never_waits_has_what_is_there() {
    isolated(|| {
        let slow = Slow::new();
        let again = |done| {
            let failure = Failure {
                errno: libc::EAGAIN,
                outcome: JUNK32,
            };
            Short { failure, done }
        };
        slow.hold(|port, request| {
            for access in [READ, WRITE] {
                let access = access | ALPC_MEMORY_NOWAIT;
                assert_eq!(timed(port, request, access, (0, 0)).0, again(0));
                // It doesn't go together with a time.
                let timeout = (ALPC_TIMEOUT_RELATIVE, 0);
                let (short, _) = timed(port, request, access, timeout);
                assert_eq!(short.failure.errno, libc::EINVAL);
            }
            slow.hang.fill(0..2);
            for access in [READ, WRITE] {
                let access = access | ALPC_MEMORY_NOWAIT;
                let (short, _) = timed(port, request, access, (0, 0));
                assert_eq!(short, again(2 * PAGE as u64));
            }
            slow.hang.fill(2..4);
            let mut data = vec![0_u8; Slow::LENGTH];
            let mut arg = memory_argument(request, 0, READ | ALPC_MEMORY_NOWAIT);
            (arg.data, arg.length) = (data.as_mut_ptr() as u64, data.len() as u64);
            memory_as_is(port, &mut arg).expect("all");
            assert!(data[..2 * PAGE] == [JUNK; 2 * PAGE]);
            assert!(data[2 * PAGE..] == [0; 2 * PAGE]);
        });
    });
}

#[test]
fn a_holder_that_never_waits_brings_in_nothing() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().taking_memory());
        let fresh = [Pages::two(), Pages::two()];
        let range = |pages: &Pages| (pages.address(), 2 * PAGE, BOTH);
        let ranges = Ranges::of(&[range(&fresh[0]), range(&fresh[1])]);
        thread::scope(|scope| {
            let client = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let request = pair.port.receive().expect("receive");
            for (index, access) in [READ, WRITE].into_iter().enumerate() {
                let mut data = vec![0_u8; 2 * PAGE];
                let access = access | ALPC_MEMORY_NOWAIT;
                let mut arg = memory_argument(&request, index as u32, access);
                (arg.data, arg.length) = (data.as_mut_ptr() as u64, data.len() as u64);
                let short = memory_as_is(&pair.port, &mut arg).unwrap_err();
                assert_eq!((short.failure.errno, short.done), (libc::EAGAIN, 0));
                // Somebody who waits brings it in, for who doesn't as well.
                arg.flags &= !ALPC_MEMORY_NOWAIT;
                memory_as_is(&pair.port, &mut arg).expect("memory");
                arg.flags |= ALPC_MEMORY_NOWAIT;
                memory_as_is(&pair.port, &mut arg).expect("memory");
            }
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
    });
}

#[test]
fn threads_that_wait_for_a_place_to_wait_have_their_time_too() {
    isolated(|| {
        let slow = Slow::new();
        slow.hold(|port, request| {
            thread::scope(|scope| {
                // More of them than may wait for pages at once.
                let threads: Vec<_> = (0..7)
                    .map(|n| {
                        let timeout = (ALPC_TIMEOUT_RELATIVE, (30 + 5 * n) * MS);
                        scope.spawn(move || timed(port, request, READ, timeout))
                    })
                    .collect();
                for thread in threads {
                    let (short, took) = thread.join().expect("join");
                    assert_eq!(short, late(0));
                    assert!(took < SOON, "{took:?}");
                }
            });
        });
    });
}

#[test]
fn a_signal_leaves_the_rest_of_the_time_to_the_next_try() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let slow = Slow::new();
        slow.hold(|port, request| {
            let before = now(libc::CLOCK_MONOTONIC);
            let tid = AtomicI32::new(0);
            thread::scope(|scope| {
                let holder = scope.spawn(|| {
                    tid.store(signals::tid(), SeqCst);
                    let mut data = [0_u8; 8];
                    let mut arg = memory_argument(request, 0, READ);
                    (arg.data, arg.length) = (data.as_mut_ptr() as u64, 8);
                    (arg.timeout_flags, arg.timeout) = (ALPC_TIMEOUT_RELATIVE, 3_600_000 * MS);
                    let short = memory_as_is(port, &mut arg).unwrap_err();
                    assert_eq!(short.failure.errno, libc::EINTR);
                    assert_eq!(arg.timeout_flags, ALPC_TIMEOUT_MONOTONIC);
                    let until = arg.timeout - 3_600_000 * MS;
                    assert!(until >= before && until <= now(libc::CLOCK_MONOTONIC));
                });
                slow.hang.until_wanted();
                signals::to_thread(tid.load(SeqCst), libc::SIGUSR1);
                holder.join().expect("join");
            });
        });
    });
}

#[test]
fn a_holder_of_the_first_version_names_no_time() {
    #[repr(C)]
    struct First([u64; 7]);
    isolated(|| {
        let slow = Slow::new();
        slow.hang.end();
        slow.hold(|port, request| {
            let mut data = [JUNK; 8];
            let mut arg = memory_argument(request, 0, READ);
            (arg.data, arg.length) = (data.as_mut_ptr() as u64, 8);
            // SAFETY: The first fields are those that the first version had, which are all numbers.
            let mut first: First = unsafe { std::ptr::from_ref(&arg).cast::<First>().read() };
            let size = size_of::<alpc_memory>() as u32;
            let request = ALPC_IOCTL_MEMORY - (size << 16) + (56 << 16);
            assert_eq!(ioctl(port, request, &mut first), Ok(0));
            assert_eq!((data, first.0[6]), ([0; 8], 8));
        });
    });
}

#[test]
fn times_that_make_no_sense_are_refused() {
    isolated(|| {
        let slow = Slow::new();
        slow.hang.end();
        slow.hold(|port, request| {
            let mut data = [0_u8; 8];
            let mut arg = memory_argument(request, 0, READ);
            (arg.data, arg.length) = (data.as_mut_ptr() as u64, 8);
            for (timeout_flags, timeout, reserved) in [
                (ALPC_TIMEOUT_INFINITE, 1, 0),
                (5, 1, 0),
                (8, 0, 0),
                (1 << 31, 0, 0),
                (0, 0, 1),
            ] {
                let mut arg = alpc_memory {
                    timeout,
                    timeout_flags,
                    reserved,
                    ..arg
                };
                let short = memory_as_is(port, &mut arg).unwrap_err();
                assert_eq!((short.failure.errno, short.done), (libc::EINVAL, JUNK64));
            }
        });
    });
}
