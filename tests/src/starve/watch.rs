// SPDX-License-Identifier: MIT OR Apache-2.0

//! The worst of many rounds.

use std::fmt;
use std::time::Duration;

use crate::wait::clock;

/// The worst rounds that there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// For how long a round's thread had no processor: it waited.
    pub waited: Duration,
    /// How long a round took, work included.
    pub took: Duration,
    /// How much too late a mere sleep between two rounds came back.
    pub late: Duration,
    /// How many rounds there were.
    pub rounds: u64,
    /// In how many of them the victim did what it is about.
    pub done: u64,
}

impl Sample {
    /// Joins what was seen later.
    pub fn add(&mut self, later: Self) {
        self.waited = self.waited.max(later.waited);
        self.took = self.took.max(later.took);
        self.late = self.late.max(later.late);
        self.rounds += later.rounds;
        self.done += later.done;
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (waited, took, late) = (ms(self.waited), ms(self.took), ms(self.late));
        write!(
            f,
            "waits {waited:.2} ms, takes {took:.2} ms (sleeps are {late:.2} ms late; {} of {} rounds)",
            self.done, self.rounds
        )
    }
}

/// Times what is given to it.
#[derive(Default)]
pub struct Watch {
    sample: Sample,
    /// This round has come to something.
    done: bool,
}

impl Watch {
    /// One round, in which something is timed.
    pub(super) fn round(&mut self, act: impl FnOnce(&mut Self)) {
        self.done = false;
        act(self);
        self.sample.rounds += 1;
        self.sample.done += u64::from(self.done);
    }

    /// Runs and times `call`.
    pub fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        self.time_if(call, |_| true)
    }

    /// Runs and times `call`, which is what the round is about only if it has come to something.
    pub fn time_if<R>(&mut self, call: impl FnOnce() -> R, done: impl FnOnce(&R) -> bool) -> R {
        let (wall, busy) = now();
        let result = call();
        let (wall_after, busy_after) = now();
        let took = wall_after.saturating_sub(wall);
        let waited = took.saturating_sub(busy_after.saturating_sub(busy));
        self.sample.took = self.sample.took.max(took);
        self.sample.waited = self.sample.waited.max(waited);
        self.done |= done(&result);
        result
    }

    pub fn sample(&self) -> Sample {
        self.sample
    }
}

/// The time, and what this thread has had of a processor.
fn now() -> (Duration, Duration) {
    let of = |id| Duration::from_nanos(clock(id));
    (of(libc::CLOCK_MONOTONIC), of(libc::CLOCK_THREAD_CPUTIME_ID))
}
