// SPDX-License-Identifier: GPL-2.0

//! Timeouts: what a caller says about time, and the deadline that follows.
#![deny(unsafe_code)]

use crate::{
    uapi,
    wait::{
        is_over,
        monotonic, //
    }, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// When a wait ends.
#[derive(Clone, Copy)]
pub(crate) enum Deadline {
    /// Not by time.
    Never,
    /// At once: nothing is waited for.
    Now,
    /// At a time of a clock, in nanoseconds. It is the clock as the caller sees it: its time
    /// namespace may be ahead of others.
    At {
        /// The time.
        time: i64,
        /// The clock.
        clock: i32,
    },
}

impl Deadline {
    /// Reads a timeout and the flags word that says what it means. `EINVAL` for
    /// an unknown meaning, and for a time that goes with none.
    pub(crate) fn new(flags: u32, timeout: u64) -> Result<Self> {
        let time = i64::try_from(timeout).unwrap_or(i64::MAX);
        // CAST: Clock numbers are small.
        let at = |clock: u32| Self::At {
            time: time.max(1),
            clock: clock as i32,
        };
        match flags & uapi::ALPC_TIMEOUT_MASK {
            uapi::ALPC_TIMEOUT_INFINITE if timeout == 0 => Ok(Self::Never),
            uapi::ALPC_TIMEOUT_RELATIVE if timeout == 0 => Ok(Self::Now),
            uapi::ALPC_TIMEOUT_RELATIVE => Ok(Self::At {
                time: monotonic().saturating_add(time),
                clock: bindings::CLOCK_MONOTONIC as i32,
            }),
            uapi::ALPC_TIMEOUT_MONOTONIC => Ok(at(bindings::CLOCK_MONOTONIC)),
            uapi::ALPC_TIMEOUT_BOOTTIME => Ok(at(bindings::CLOCK_BOOTTIME)),
            uapi::ALPC_TIMEOUT_REALTIME => Ok(at(bindings::CLOCK_REALTIME)),
            _ => Err(EINVAL),
        }
    }

    /// Whether somebody who has done so many things instead of waiting has to come to an end. Who
    /// doesn't wait at all may do some.
    pub(crate) fn is_over(self, done: u32) -> bool {
        const SOME: u32 = 64;
        match self {
            Self::Never => false,
            Self::Now => done >= SOME,
            Self::At { time, clock } => is_over(time, clock),
        }
    }

    /// Whether nothing is to be waited for any more.
    pub(crate) fn has_passed(self) -> bool {
        self.is_over(u32::MAX)
    }

    /// The timeout and the flag that say the same in absolute terms.
    pub(crate) fn absolute(self) -> (u32, u64) {
        match self {
            Self::Never => (uapi::ALPC_TIMEOUT_INFINITE, 0),
            Self::Now => (uapi::ALPC_TIMEOUT_RELATIVE, 0),
            Self::At { time, clock } => {
                let flag = match clock as u32 {
                    bindings::CLOCK_BOOTTIME => uapi::ALPC_TIMEOUT_BOOTTIME,
                    bindings::CLOCK_REALTIME => uapi::ALPC_TIMEOUT_REALTIME,
                    _ => uapi::ALPC_TIMEOUT_MONOTONIC,
                };
                (flag, u64::try_from(time).unwrap_or(0))
            }
        }
    }
}
