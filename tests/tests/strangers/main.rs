// SPDX-License-Identifier: MIT OR Apache-2.0

//! Nobody waits for a stranger: every call that touches something shared comes back in its time,
//! though whoever shares that gets no processor time, or no memory.
//!
//! Each test is a victim's call, and what a stranger does meanwhile with the same object.

/// Makes a test of each row: what the victim calls, for the table of all calls; how the victim and
/// the stranger are set up; what else the case needs.
macro_rules! rows {
    ($($test:ident: [$($call:literal),+], $victim:path, $stranger:path
        $(, $option:ident $value:expr)*;)+) => {
        $(
            #[test]
            fn $test() {
                let case = Case::of(stringify!($test), $victim, $stranger);
                alpc_tests::isolated_long(3, || nobody_waits(&case$(.$option($value))*));
            }
        )+

        /// What the rows are about.
        pub const CALLS: &[&[&str]] = &[$(&[$($call),+]),+];
    };
}

mod attributes;
mod control;
mod ends;
mod memory;
mod messages;
mod names;
mod security;
mod stage;
mod views;

/// The rows of all files.
const TABLE: [&[&[&str]]; 7] = [
    attributes::CALLS,
    ends::CALLS,
    memory::CALLS,
    messages::CALLS,
    names::CALLS,
    security::CALLS,
    views::CALLS,
];

/// What else touches something shared, beside ioctls and attributes.
const OTHERS: [&str; 10] = [
    "poll",
    "close of a connection port",
    "close of a client port",
    "close of a server port",
    "close of a connect descriptor",
    "close of a section",
    "munmap of a section",
    "munmap of a window",
    "exit",
    "fdinfo",
];

/// The names in the header that begin so and end with no other thing's name.
fn named(prefix: &str) -> Vec<&'static str> {
    let header = include_str!("../../../uapi/alpc.h");
    let definition = |line: &'static str| {
        let name = line.strip_prefix("#define ")?.strip_prefix(prefix)?;
        name.split_ascii_whitespace().next()
    };
    header.lines().filter_map(definition).collect()
}

#[test]
fn every_call_and_attribute_has_a_row() {
    let rows: Vec<&str> = TABLE.concat().concat();
    let mut wanted = named("ALPC_IOC_");
    wanted.retain(|&name| name != "MAGIC");
    assert!(wanted.len() > 25, "{wanted:?}");
    // An attribute has its whole name: there is a call with the rest of it.
    let reserved = ["ATTR_DIRECT", "ATTR_WORK_ON_BEHALF"];
    let mut attributes = named("ALPC_");
    attributes.retain(|name| name.starts_with("ATTR_") && !reserved.contains(name));
    assert!(attributes.len() > 6, "{attributes:?}");
    wanted.extend(attributes);
    wanted.extend(OTHERS);
    wanted.retain(|name| !rows.contains(name));
    assert!(wanted.is_empty(), "no row for {wanted:?}");
}
