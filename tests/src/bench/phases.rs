// SPDX-License-Identifier: MIT OR Apache-2.0

//! Calls for the plugin of `qemu/plugin.c` to write down, and what the runner
//! needs to know of this kernel to split them: where `alpc.ko` lies, and where
//! the kernel wakes and switches. Without the plugin it is just calls.

use std::arch::asm;
use std::time::Duration;

use super::{alpc, USUAL};

const SYMBOLS: &str = "/proc/kallsyms";

/// More than one, since a clock tick makes a round trip longer.
const TRACED: usize = 32;
const WARM_UP: usize = 300;

/// Functions that all wake-ups and all switches pass.
const WAKE: &str = "try_to_wake_up";
const SWITCH: &str = "__schedule";

/// No function that matters is longer: what follows the module's last one may
/// be far away.
const LONGEST: u64 = 16384;

/// An instruction that does nothing, and that the plugin knows.
macro_rules! mark {
    ($number:literal) => {
        // SAFETY: A NOP.
        unsafe {
            asm!(
                concat!(".byte 0x0f, 0x1f, 0x80, ", $number, ", 0x41, 0x4c, 0x50"),
                options(nomem, nostack, preserves_flags)
            )
        }
    };
}

pub fn trace() {
    println!("ALPC-PHASES-BEGIN");
    for line in places(&std::fs::read_to_string(SYMBOLS).expect(SYMBOLS)) {
        println!("{line}");
    }
    println!("ALPC-PHASES-END");
    let mut call = alpc::call(USUAL);
    mark!(1);
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..WARM_UP {
        call.run();
    }
    for _ in 0..TRACED {
        mark!(2);
        call.run();
        mark!(3);
    }
}

/// Lines of a name, a first address and the one behind the last.
fn places(symbols: &str) -> Vec<String> {
    let mut text: Vec<(u64, &str, bool)> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let name = words.next()?;
            let ours = words.next() == Some("[alpc]");
            matches!(kind, "t" | "T").then_some((address, name, ours))
        })
        .collect();
    text.sort_unstable();
    let end = |index: usize| {
        let start = text[index].0;
        let next = text[index..].iter().find(|symbol| symbol.0 > start);
        next.map_or(start + LONGEST, |next| next.0)
    };
    // The module's functions lie side by side: few places hold them all.
    let mut places: Vec<(&str, u64, u64)> = Vec::new();
    for (index, &(start, name, ours)) in text.iter().enumerate() {
        let what = match name {
            _ if ours => "alpc",
            WAKE => "wake",
            SWITCH => "switch",
            _ => continue,
        };
        let end = end(index).min(start + LONGEST);
        match places.last_mut() {
            Some(last) if ours && last.0 == what && last.2 >= start => last.2 = end,
            _ => places.push((what, start, end)),
        }
    }
    places
        .iter()
        .map(|(what, start, end)| format!("{what} {start:x} {end:x}"))
        .collect()
}
