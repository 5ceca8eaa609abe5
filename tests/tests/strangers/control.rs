// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the harness itself sees: a lock of the kernel's own, and a victim that does nothing.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};

use alpc_tests::isolate;
use alpc_tests::note;
use alpc_tests::scale::{self, Time};
use alpc_tests::starve::*;

/// A file that both sides write to. Whoever writes has it locked, the copy from user space included.
const FILE: &str = "/tmp/strangers.control";

fn file() -> File {
    let opened = OpenOptions::new().write(true).open(FILE);
    opened.expect("a file of everybody's")
}

fn writes() -> Box<dyn Side> {
    let file = file();
    timed(move || file.write_at(b"short", 0).expect("write"))
}

fn writes_much() -> Box<dyn Side> {
    let (file, much) = (file(), vec![7; 1 << 20]);
    busy(move || file.write_at(&much, 0).expect("write"))
}

fn does_nothing() -> Box<dyn Side> {
    always(|_| ())
}

/// How this case fails.
fn failure(case: &Case) -> String {
    fs::write(FILE, b"").expect("a file");
    fs::set_permissions(FILE, Permissions::from_mode(0o666)).expect("chmod");
    let result = isolate::run(|| nobody_waits(case), 3 * scale::patience());
    fs::remove_file(FILE).expect("unlink");
    result.expect_err("a case that has to fail")
}

#[test]
fn a_lock_that_a_starved_stranger_holds_is_seen() {
    if !two_processors() || scale::time() == Time::Guessed {
        note!("not tried: one processor, or no time to go by");
        return;
    }
    let why = failure(&Case::of("a file", writes, writes_much));
    assert!(why.contains("a stranger holds up its victim"), "{why}");
}

#[test]
fn a_victim_that_does_nothing_is_seen() {
    if !two_processors() {
        note!("not tried: one processor");
        return;
    }
    let why = failure(&Case::of("nothing", does_nothing, writes_much));
    assert!(why.contains("too few rounds"), "{why}");
}
