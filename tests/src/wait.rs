// SPDX-License-Identifier: MIT OR Apache-2.0

//! Waiting without an upper bound: the watchdog bounds every test as a whole.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

use crate::{inspect, signals};

/// Returns when `done` says so, looking once a millisecond.
pub fn eventually(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Long enough for another process to have gone to sleep in a call. A test
/// that relies on it may only become weaker when it is too short, never wrong.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Runs a call in a thread of its own, and something else while it sleeps in there.
pub fn asleep<R: Send>(call: impl FnOnce() -> R + Send, meanwhile: impl FnOnce()) -> R {
    let caller = AtomicI32::new(0);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            caller.store(signals::tid(), SeqCst);
            call()
        });
        let sleeps = || match caller.load(SeqCst) {
            0 => false,
            tid => inspect::thread_sleeps(tid),
        };
        eventually(sleeps);
        settle();
        eventually(sleeps);
        meanwhile();
        thread.join().unwrap()
    })
}

/// What `poll` says about `fd` at once; `events` are what is asked for.
pub fn poll_now(fd: &impl AsFd, events: i16) -> i16 {
    poll_for(fd, events, 0)
}

/// What `poll` says when something happens.
pub fn poll_wait(fd: &impl AsFd, events: i16) -> i16 {
    poll_for(fd, events, -1)
}

/// What `poll` says within a time, or 0.
pub fn poll_within(fd: &impl AsFd, events: i16, time: Duration) -> i16 {
    poll_for(fd, events, time.as_millis() as i32)
}

fn poll_for(fd: &impl AsFd, events: i16, timeout: i32) -> i16 {
    let mut entry = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events,
        revents: 0,
    };
    loop {
        // SAFETY: One live entry.
        let ready = unsafe { libc::poll(&mut entry, 1, timeout) };
        if ready >= 0 {
            return entry.revents;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::Interrupted,
            "poll: {error}"
        );
    }
}

/// A clock in nanoseconds, as the absolute timeouts take it.
pub fn clock(id: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: A live timespec.
    assert_eq!(unsafe { libc::clock_gettime(id, &mut now) }, 0);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
