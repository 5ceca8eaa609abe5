// SPDX-License-Identifier: MIT OR Apache-2.0

//! Knobs from the environment: how much work, and how much patience.

use std::time::Duration;

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `base` rounds, scaled by `ALPC_ROUNDS` (a factor, 1 by default), at least one.
pub fn rounds(base: u64) -> u64 {
    let factor = number("ALPC_ROUNDS").unwrap_or(1.0);
    ((base as f64 * factor) as u64).max(1)
}

/// How much longer everything takes here than on the stock kernel: as many times as a test may take
/// longer before it counts as hung.
pub fn slowness() -> u32 {
    (patience().as_secs_f64() / 60.0).ceil() as u32
}

/// How long a test may take before it counts as hung: `ALPC_WATCHDOG` seconds.
pub fn patience() -> Duration {
    Duration::from_secs_f64(number("ALPC_WATCHDOG").unwrap_or(60.0).max(1.0))
}

/// What the guest's time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// It is a count of instructions: whatever else the host does makes no difference.
    Counted,
    /// The guest has processors of its own, as a rule.
    Real,
    /// Whatever else the host does takes time from an emulated processor, for as long as it likes.
    Guessed,
}

/// How exact the time of this guest is, by `ALPC_TIME`.
pub fn time() -> Time {
    match std::env::var("ALPC_TIME").as_deref() {
        Ok("counted") => Time::Counted,
        Ok("real") => Time::Real,
        _ => Time::Guessed,
    }
}
