// SPDX-License-Identifier: MIT OR Apache-2.0

//! The counter of instructions: the time stamp counter, which QEMU advances by
//! one an instruction where it counts them.
//!
//! Each reading has a prefix without a meaning of its own. By that the plugin in
//! `qemu/plugin.c` knows where a timed part begins and ends, and no instruction
//! is added for it.

use std::arch::asm;

macro_rules! read {
    ($prefix:literal) => {{
        let (low, high): (u32, u32);
        // SAFETY: RDTSC exists on every x86-64, and writes two registers.
        unsafe {
            asm!(
                concat!(".byte ", $prefix),
                "rdtsc",
                out("eax") low,
                out("edx") high,
                options(nomem, nostack, preserves_flags)
            )
        };
        (u64::from(high) << 32) | u64::from(low)
    }};
}

/// Reads the counter where a timed part begins.
#[inline(always)]
pub fn begin() -> u64 {
    read!("0x2e")
}

/// Reads the counter where a timed part ends.
#[inline(always)]
pub fn end() -> u64 {
    read!("0x3e")
}
