// SPDX-License-Identifier: MIT OR Apache-2.0

//! Processes that burn a processor's time, in step.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::sched::{pin, STRANGERS};
use crate::isolate::prctl;
use crate::wait::clock;
use crate::{Peer, Shared, MALLORY};

/// When hogs burn. Hogs that never rest would keep a starved stranger out of the kernel
/// altogether, and it could not be stopped in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// How many there are.
    pub hogs: usize,
    /// From one burst's beginning to the next one's: whole ticks.
    pub every: Duration,
    /// How long a burst lasts.
    pub burn: Duration,
}

impl Pattern {
    /// Bursts of three times the bound, with a tick between them in which the stranger gets on.
    pub const BURSTS: Self = Self {
        hogs: 1,
        every: Duration::from_millis(36),
        burn: Duration::from_millis(32),
    };

    /// Bursts that go on for as long as people would call a service dead.
    pub const LONG: Self = Self {
        hogs: 30,
        every: Duration::from_millis(1020),
        burn: Duration::from_millis(1000),
    };
}

/// A whole number of ticks of every kernel that is tested, which has 250 or 1,000 in a second.
const TICKS: u64 = 4_000_000;

/// A hog wakes up this long before a tick. A kernel with lazy preemption marks the stranger at that
/// moment, and stops it inside the kernel no earlier than at the tick: this way it has no time to
/// get out, and locks are caught that are held for microseconds.
const AHEAD: Duration = Duration::from_micros(5);

const BURNING: usize = 0;
const BEGUN: usize = 1;

/// Hogs on the stranger's processor, quiet at first. They end when dropped.
pub struct Hogs {
    page: Shared,
    hogs: Vec<Peer>,
    every: Duration,
}

impl Hogs {
    pub fn spawn(pattern: Pattern) -> Self {
        let page = Shared::new();
        let hog = |_| Peer::spawn(MALLORY, move |link| hog(page, pattern, link));
        let hogs: Vec<_> = (0..pattern.hogs).map(hog).collect();
        for hog in &hogs {
            hog.sync();
        }
        Self {
            page,
            hogs,
            every: pattern.every,
        }
    }

    /// From one burst's beginning to the next one's.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// They burn from now on, in the rhythm of their pattern.
    pub fn begin(&self) {
        let begun = clock(libc::CLOCK_MONOTONIC) / TICKS * TICKS + 5 * TICKS;
        self.page[BEGUN].store(begun, SeqCst);
        self.page[BURNING].store(1, SeqCst);
        for hog in &self.hogs {
            hog.put(1);
        }
    }

    /// They are quiet from now on.
    pub fn end(&self) {
        self.page[BURNING].store(0, SeqCst);
        for hog in &self.hogs {
            hog.take();
        }
    }
}

fn hog(page: Shared, pattern: Pattern, link: &crate::Link) {
    // Not in a session of their own: each session has an equal part of the processor where
    // CONFIG_SCHED_AUTOGROUP is on, and the stranger would have one.
    // SAFETY: Changes only this process's group.
    unsafe { libc::setpgid(0, 0) };
    pin(STRANGERS);
    prctl(libc::PR_SET_TIMERSLACK, 1);
    link.sync();
    let (every, burn) = (
        pattern.every.as_nanos() as u64,
        pattern.burn.as_nanos() as u64,
    );
    loop {
        link.take();
        let mut next = page[BEGUN].load(SeqCst);
        while page[BURNING].load(SeqCst) != 0 {
            sleep_until(next - AHEAD.as_nanos() as u64);
            while clock(libc::CLOCK_MONOTONIC) < next + burn && page[BURNING].load(SeqCst) != 0 {}
            next += every;
        }
        link.put(1);
    }
}

fn sleep_until(nanoseconds: u64) {
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    // SAFETY: A live time; how much is left isn't asked for.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &time,
            std::ptr::null_mut(),
        )
    };
}
