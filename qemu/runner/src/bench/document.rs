// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables of numbers in documents: made from the committed baseline, between
//! two lines of the document. The first names the table.

use super::baseline::{self, Baselines};
use super::entry::{Entry, Key};
use super::row::{find, instructions, ratio, Row};
use std::fmt::Write;

/// Where tables are.
const DOCUMENTS: &[&str] = &["tests/benches/README.md"];

const BEGIN: &str = "<!-- bench: ";
const BEGIN_CLOSE: &str = " -->\n";
const END: &str = "<!-- bench end -->";

/// What a line of a table is called, and the row that it shows.
type Line = (&'static str, &'static str, u64);

/// Round trips of 64 bytes. The line's row is also shown with its processes apart.
const CALLS: &[Line] = &[
    (
        "`floor`: a driver that copies, wakes and sleeps",
        "floor",
        64,
    ),
    (
        "`alpc_call`: the receiver knows the sender",
        "alpc_call",
        64,
    ),
    ("the same with 10,000 ports", "alpc_call_10000_ports", 64),
    (
        "the same with 1,000 clients, all but one idle",
        "alpc_call_1000_clients",
        64,
    ),
    (
        "the same with 1,000 clients, all calling",
        "alpc_call_1000_active",
        64,
    ),
    (
        "the same with 1,000 threads that wait",
        "alpc_call_1000_waiters",
        64,
    ),
    ("`eventfd`, a pair, no payload", "eventfd", 0),
    ("`posix_mq`", "posix_mq", 64),
    ("`pipe`, a pair", "pipe", 64),
    ("`futex` in shared memory, no payload", "futex", 0),
    (
        "`alpc_async`: a request, and later its reply",
        "alpc_async",
        64,
    ),
    ("`stream`", "stream", 64),
    ("`seqpacket`", "seqpacket", 64),
    ("`dgram`", "dgram", 64),
    (
        "`seqpacket_cred`: the receiver knows the sender",
        "seqpacket_cred",
        64,
    ),
    ("`binder_c`: the same kernel's driver", "binder_c", 64),
    ("`alpc_callback`: a call, and one back", "alpc_callback", 64),
];

/// Messages that nobody answers, each of them.
const ONE_WAY: &[Line] = &[
    ("`alpc_oneway`: a system call for each", "alpc_oneway", 64),
    ("`dgram_loop`: a system call for each", "dgram_loop", 64),
    ("`dgram_mmsg`: a system call for 32", "dgram_mmsg", 64),
];

/// A line of ours, and the row that it is held against, at one payload.
type Beside = (&'static str, &'static str, &'static str, &'static str, u64);

const BESIDE: &[Beside] = &[
    (
        "a call of 4 KiB each way",
        "alpc_call",
        "`seqpacket`",
        "seqpacket",
        4096,
    ),
    (
        "a call of 64 KiB each way",
        "inline_64k",
        "`seqpacket`",
        "seqpacket_64k",
        65536,
    ),
    (
        "connecting and closing",
        "alpc_connect",
        "`AF_UNIX`",
        "unix_connect",
        0,
    ),
    (
        "a view of 1 MiB, written and read in full",
        "view_secure_1m",
        "a sealed memfd",
        "memfd_1m",
        1 << 20,
    ),
    (
        "the same, both sides touching one page",
        "view_secure_1m_touch1",
        "`process_vm_readv`",
        "pvm_readv_1m",
        1 << 20,
    ),
    (
        "the same, written before, one page read",
        "view_secure_1m_filled",
        "`process_vm_readv`",
        "pvm_readv_1m",
        1 << 20,
    ),
    (
        "4 KiB of a caller's memory",
        "callermem_4k",
        "`process_vm_readv`",
        "pvm_readv_4k",
        4096,
    ),
    (
        "1 MiB of a caller's memory",
        "callermem_1m",
        "`process_vm_readv`",
        "pvm_readv_1m",
        1 << 20,
    ),
    (
        "a descriptor with a call, claimed: what it adds",
        "handle_claimed - alpc_call",
        "`SCM_RIGHTS`: what it adds",
        "scm_rights - seqpacket",
        64,
    ),
    (
        "the same, unclaimed",
        "handle_dropped - alpc_call",
        "`SCM_RIGHTS`: what it adds",
        "scm_rights - seqpacket",
        64,
    ),
];

/// The ways of bytes that are in ordinary memory.
const WAYS: &[&str] = &[
    "inline_sent",
    "view_sent",
    "callermem_sent",
    "callermem_sent_fresh",
];

const LENGTHS: &[(&str, u64)] = &[
    ("4 KiB", 4 << 10),
    ("16 KiB", 16 << 10),
    ("64 KiB", 64 << 10),
    ("256 KiB", 256 << 10),
    ("1 MiB", 1 << 20),
];

/// A number as documents write it.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn decimals(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"))
}

/// Rows with all that is counted of them. Lines that were not measured are left out.
fn costs(rows: &[Row], title: &str, lines: &[Line], peer: &str, suffix: &str) -> String {
    let mut text = format!(
        "| {title} | instructions | of `{peer}` | locked | system calls | switches | IPIs |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for &(label, name, bytes) in lines {
        let name = format!("{name}{suffix}");
        let Some(cost) = find(rows, &name, bytes) else {
            continue;
        };
        let beside = ratio(rows, &name, bytes, &format!("{peer}{suffix}"), bytes);
        let dear = &cost.dear;
        let _ = writeln!(
            text,
            "| {label} | {} | {} | {} | {} | {} | {} |",
            grouped(cost.instructions as f64),
            decimals(beside.filter(|_| bytes > 0)),
            dear.locked,
            dear.system_calls,
            dear.switches,
            dear.ipis
        );
    }
    text
}

fn beside(rows: &[Row]) -> String {
    let mut text = String::from(
        "| data, descriptors, connections | instructions | beside | instructions | ratio |\n\
         | --- | ---: | --- | ---: | ---: |\n",
    );
    for &(label, name, other, others, bytes) in BESIDE {
        let of = |name| instructions(rows, name, bytes).map_or(String::new(), grouped);
        let ratio = decimals(ratio(rows, name, bytes, others, bytes));
        let _ = writeln!(
            text,
            "| {label} | {} | {other} | {} | {ratio} |",
            of(name),
            of(others)
        );
    }
    text
}

fn ways(rows: &[Row]) -> String {
    let mut text = String::from(
        "| with a request | inline | view | caller memory | the same, read into new memory |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    for &(label, bytes) in LENGTHS {
        let _ = write!(text, "| {label} |");
        for name in WAYS {
            let _ = match instructions(rows, name, bytes) {
                Some(count) => write!(text, " {} |", grouped(count)),
                None => write!(text, " |"),
            };
        }
        text.push('\n');
    }
    text
}

/// Which entry the tables show, and which others there are.
fn versions(file: &Baselines, shown: &Entry) -> String {
    let mut text = format!("That is {}", shown.key);
    let others: Vec<String> = file.others().map(Key::to_string).collect();
    if !others.is_empty() {
        let others = others.join("; ");
        text += &format!(
            ", which was recorded last. `{}` also has {others}",
            baseline::FILE
        );
    }
    text + ".\n"
}

/// The table of a name.
fn table(name: &str, file: &Baselines) -> Result<String, String> {
    let entry = file.last()?;
    let rows = entry.rows();
    let calls = |title, suffix| costs(&rows, title, CALLS, "seqpacket", suffix);
    Ok(match name {
        "calls" => calls("64 bytes each way, on one processor", ""),
        "calls apart" => calls("64 bytes each way, on two", "_apart"),
        "one-way" => costs(
            &rows,
            "64 bytes one way, on one processor",
            ONE_WAY,
            "dgram_loop",
            "",
        ),
        "beside" => beside(&rows),
        "ways" => ways(&rows),
        "versions" => versions(file, entry),
        _ => return Err("no such table".into()),
    })
}

/// The document with its tables made anew.
fn renewed(document: &str, file: &Baselines) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = document;
    while let Some((before, from)) = rest.split_once(BEGIN) {
        let (name, from) = from
            .split_once(BEGIN_CLOSE)
            .ok_or("a table without a name")?;
        let (_, after) = from.split_once(END).ok_or(format!("{name}: no end"))?;
        let table = table(name, file).map_err(|e| format!("{name}: {e}"))?;
        text += &format!("{before}{BEGIN}{name}{BEGIN_CLOSE}\n{table}\n{END}");
        rest = after;
    }
    Ok(text + rest)
}

/// Documents whose tables aren't those that the baseline makes, and how they ought to be.
fn stale() -> Result<Vec<(&'static str, String)>, String> {
    let file = Baselines::read()?;
    let mut stale = Vec::new();
    for &document in DOCUMENTS {
        let before = std::fs::read_to_string(document).map_err(|e| format!("{document}: {e}"))?;
        let now = renewed(&before, &file).map_err(|e| format!("{document}: {e}"))?;
        if now != before {
            stale.push((document, now));
        }
    }
    Ok(stale)
}

/// Writes all tables.
pub fn write_all() -> Result<(), String> {
    for (document, text) in stale()? {
        std::fs::write(document, text).map_err(|e| format!("{document}: {e}"))?;
        println!("bench: the tables of {document} are written");
    }
    Ok(())
}

/// Whether every table is the one that the baseline makes.
pub fn check_all() -> Result<bool, String> {
    let stale = stale()?;
    for (document, _) in &stale {
        println!(
            "{document} differs from {}: make bench-tables",
            baseline::FILE
        );
    }
    Ok(stale.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one entry, whose kernel has that name and where a call takes so much.
    fn of_kernel(kernel: &str, call: u64) -> String {
        format!(
            r#"{{"kernel": "{kernel}", "rustc": "1", "gcc": "2", "qemu": "3", "rows": {{
                "alpc_call 64": {{"instructions": {call}, "best": 1, "locked": 33,
                    "system_calls": 2, "switches": 2, "ipis": 0}},
                "seqpacket 64": {{"instructions": 20000, "best": 1, "locked": 62,
                    "system_calls": 4, "switches": 2, "ipis": 0}}}}}}"#
        )
    }

    fn file(entries: &[String]) -> Baselines {
        let entries = entries.join(",");
        let text = format!(r#"{{"SPDX-License-Identifier": "MIT", "baselines": [{entries}]}}"#);
        serde_json::from_str(&text).expect("a file")
    }

    fn entry(call: u64) -> Baselines {
        file(&[of_kernel("7.3.4", call)])
    }

    #[test]
    fn the_caption_says_which_entry_is_shown_and_which_others_there_are() {
        let document = "<!-- bench: versions -->\n<!-- bench end -->";
        let one = renewed(document, &entry(1)).expect("a document");
        assert!(one.contains("\nThat is 7.3.4 with gcc 2, rustc 1 and QEMU 3.\n"));
        let two = file(&[of_kernel("7.3.4", 1), of_kernel("7.3.5", 2)]);
        let two = renewed(document, &two).expect("a document");
        assert!(two.contains("\nThat is 7.3.5 with"), "{two}");
        assert!(two.contains("recorded last"), "{two}");
        assert!(two.contains("also has 7.3.4 with gcc 2"), "{two}");
    }

    const EMPTY: &str = "text\n<!-- bench: calls -->\n<!-- bench end -->\nmore\n";

    #[test]
    fn a_table_is_made_between_its_lines() {
        let text = renewed(EMPTY, &entry(13000)).expect("a document");
        assert!(text.starts_with("text\n<!-- bench: calls -->\n\n| 64 bytes"));
        assert!(text.ends_with("|\n\n<!-- bench end -->\nmore\n"));
        let line =
            "| `alpc_call`: the receiver knows the sender | 13,000 | 0.65 | 33 | 2 | 2 | 0 |\n";
        assert!(text.contains(line), "{text}");
        assert!(
            !text.contains("binder"),
            "what was not measured is left out"
        );
    }

    #[test]
    fn a_table_that_differs_is_seen_and_one_that_does_not_stays() {
        let made = renewed(EMPTY, &entry(13000)).expect("a document");
        assert_eq!(renewed(&made, &entry(13000)).expect("a document"), made);
        assert_ne!(renewed(&made, &entry(13001)).expect("a document"), made);
        let typed = made.replace("13,000", "12,000");
        assert_ne!(renewed(&typed, &entry(13000)).expect("a document"), typed);
    }

    #[test]
    fn lines_that_make_no_sense_are_refused() {
        for text in [
            "<!-- bench: calls -->\n",
            "<!-- bench: what -->\n<!-- bench end -->\n",
            "<!-- bench: calls",
        ] {
            assert!(renewed(text, &entry(1)).is_err(), "{text}");
        }
    }

    #[test]
    fn every_table_of_the_benchmark_is_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/benches/README.md");
        let text = std::fs::read_to_string(path).expect(path);
        for name in [
            "calls",
            "calls apart",
            "one-way",
            "beside",
            "ways",
            "versions",
        ] {
            let begin = format!("{BEGIN}{name}{BEGIN_CLOSE}");
            assert_eq!(text.matches(&begin).count(), 1, "{name}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(7.0), "7");
        assert_eq!(grouped(681.0), "681");
        assert_eq!(grouped(13387.0), "13,387");
        assert_eq!(grouped(1849985.0), "1,849,985");
    }
}
