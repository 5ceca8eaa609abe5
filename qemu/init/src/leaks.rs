// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own search for memory that nobody refers to any more, where
//! the kernel has it.

use std::time::Duration;

const FILE: &str = "/sys/kernel/debug/kmemleak";

/// The search leaves memory alone that is younger.
const AGE: Duration = Duration::from_secs(6);

fn is_there() -> bool {
    std::fs::metadata(FILE).is_ok()
}

fn tell(what: &str) -> Result<(), String> {
    std::fs::write(FILE, what).map_err(|e| format!("{FILE}: {what}: {e}"))
}

/// Forgets what the boot left behind. From now on searches are made by hand.
pub fn begin() -> Result<(), String> {
    if !is_there() {
        return Ok(());
    }
    tell("scan=off")?;
    tell("scan")?;
    tell("clear")
}

/// Searches, and reports what has been found. A pointer on its way from one
/// place to another can hide from one search, not from two.
pub fn search() -> Result<(), String> {
    if !is_there() {
        return Ok(());
    }
    std::thread::sleep(AGE);
    tell("scan")?;
    tell("scan")?;
    let found = std::fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
    match found.lines().filter(|l| l.starts_with("unref")).count() {
        0 => Ok(()),
        n => Err(format!("{n} leaks\n{found}")),
    }
}
