// SPDX-License-Identifier: MIT OR Apache-2.0
//! The medians measured before, for the same kernel, compilers and QEMU. Equal
//! code gives equal counts, so a rise is a change of the code, never of the
//! machine. Between different keys only ratios can be compared.
//!
//! Red is what this project's code does. That of others is the same kernel's
//! before and after: where one of its medians moves, it fell into another of
//! its habits (another slab, another slice of time), and that is told.

use super::{median, Row};
use serde_json::{json, Map, Value};
use std::path::Path;

const FILE: &str = "tests/bench-baseline.json";
const VERSIONS: &str = "target/qemu/versions.txt";

/// How far above its baseline a median may be.
const TOLERANCE: f64 = 0.02;

/// The fields of a key, and what they are called in versions.txt.
const KEY: &[(&str, &str)] = &[
    ("kernel", "kernel"),
    ("rustc", "rustc"),
    ("gcc", "gcc-14"),
    ("qemu", "qemu-system-x86"),
];

type Key = Map<String, Value>;

/// One entry of the file.
#[derive(Debug)]
struct Entry {
    key: Key,
    rows: Vec<Row>,
}

/// What a comparison comes to.
#[derive(Debug, Default, PartialEq)]
struct Judgement {
    lines: Vec<String>,
    red: bool,
}

fn key_of(versions: &str) -> Result<Key, String> {
    let value = |word: &str| {
        versions
            .lines()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
            .ok_or(format!("{VERSIONS} has no {word}"))
    };
    KEY.iter()
        .map(|&(field, word)| Ok((field.to_string(), json!(value(word)?))))
        .collect()
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let file: Value = serde_json::from_str(text).map_err(|e| format!("{FILE}: {e}"))?;
    let bad = || format!("{FILE}: not a list of baselines");
    let mut entries = Vec::new();
    for entry in file["baselines"].as_array().ok_or_else(bad)? {
        let mut rows = Vec::new();
        for (id, median) in entry["medians"].as_object().ok_or_else(bad)? {
            let (name, bytes) = id.rsplit_once(' ').ok_or_else(bad)?;
            rows.push(Row {
                name: name.into(),
                bytes: bytes.parse().map_err(|_| bad())?,
                median: median.as_f64().ok_or_else(bad)?,
            });
        }
        let key = KEY
            .iter()
            .map(|&(field, _)| (field.to_string(), entry[field].clone()))
            .collect();
        entries.push(Entry { key, rows });
    }
    Ok(entries)
}

fn format(entries: &[Entry]) -> String {
    let list: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let medians: Key = entry
                .rows
                .iter()
                .map(|row| {
                    (
                        format!("{} {}", row.name, row.bytes),
                        json!(row.median as u64),
                    )
                })
                .collect();
            let mut entry = entry.key.clone();
            entry.insert("medians".into(), medians.into());
            entry.into()
        })
        .collect();
    let file = json!({ "SPDX-License-Identifier": "MIT OR Apache-2.0", "baselines": list });
    format!("{file:#}\n")
}

/// How the names of rows begin whose code is of this repository: what a port
/// does, and the ways in which it moves data and handles.
const OURS: &[&str] = &["alpc_", "inline_", "view_", "callermem_", "handle_"];

fn ours(name: &str) -> bool {
    name == "ioctl_null" || OURS.iter().any(|begin| name.starts_with(begin))
}

/// Medians of the same key: a rise of ours is red, and so is a row that is gone.
fn compare(rows: &[Row], before: &[Row]) -> Judgement {
    let mut judgement = Judgement::default();
    for old in before {
        let id = format!("{} {} B", old.name, old.bytes);
        let Some(now) = median(rows, &old.name, old.bytes) else {
            judgement
                .lines
                .push(format!("RED {id}: not measured any more"));
            judgement.red = true;
            continue;
        };
        let change = now / old.median - 1.0;
        let verdict = if now > old.median * (1.0 + TOLERANCE) {
            if ours(&old.name) {
                "RED"
            } else {
                "note"
            }
        } else if now < old.median * (1.0 - TOLERANCE) {
            "better"
        } else {
            continue;
        };
        judgement.lines.push(format!(
            "{verdict} {id}: {now} after {}, {:+.1} %",
            old.median,
            change * 100.0
        ));
        judgement.red |= verdict == "RED";
    }
    for row in rows {
        if median(before, &row.name, row.bytes).is_none() {
            judgement
                .lines
                .push(format!("new {} {} B: {}", row.name, row.bytes, row.median));
        }
    }
    judgement
}

/// Medians of another key: ratios to SEQPACKET that differ are told.
fn compare_ratios(rows: &[Row], before: &[Row]) -> Vec<String> {
    let ratio = |rows: &[Row], row: &Row| Some(row.median / median(rows, "seqpacket", row.bytes)?);
    let mut lines = Vec::new();
    for row in rows {
        let old = before
            .iter()
            .find(|old| (&old.name, old.bytes) == (&row.name, row.bytes));
        let Some((now, then)) = ratio(rows, row).zip(old.and_then(|old| ratio(before, old))) else {
            continue;
        };
        if (now / then - 1.0).abs() > TOLERANCE {
            lines.push(format!(
                "{} {} B: {now:.3} of seqpacket, {then:.3} there",
                row.name, row.bytes
            ));
        }
    }
    lines
}

/// Compares with the file, and adds what it doesn't know. True unless red.
pub fn check(rows: &[Row], record: bool) -> Result<bool, String> {
    let versions = std::fs::read_to_string(VERSIONS).map_err(|e| format!("{VERSIONS}: {e}"))?;
    let key = key_of(&versions)?;
    let mut entries = match Path::new(FILE).exists() {
        true => {
            let text = std::fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
            parse(&text)?
        }
        false => Vec::new(),
    };
    let known = entries.iter().position(|entry| entry.key == key);
    let mut green = true;
    match known {
        Some(index) => {
            let judgement = compare(rows, &entries[index].rows);
            for line in &judgement.lines {
                println!("baseline: {line}");
            }
            if !record {
                green = !judgement.red;
                println!(
                    "baseline: {}",
                    match green {
                        true => "no median of alpc.ko is more than 2 % above it",
                        false => "RED. If that has to be, BASELINE=record makes it the new one",
                    }
                );
                return Ok(green);
            }
        }
        None => {
            println!("baseline: none for this kernel, compilers and QEMU");
            if let Some(last) = entries.last() {
                let of = last.key["kernel"].as_str().unwrap_or("?");
                println!("baseline: ratios that differ by more than 2 % from those of {of}:");
                for line in compare_ratios(rows, &last.rows) {
                    println!("baseline:   {line}");
                }
            }
        }
    }
    let entry = Entry {
        key,
        rows: rows.to_vec(),
    };
    match known {
        Some(index) => entries[index] = entry,
        None => entries.push(entry),
    }
    std::fs::write(FILE, format(&entries)).map_err(|e| format!("{FILE}: {e}"))?;
    println!("baseline: recorded in {FILE}, which belongs into a commit");
    Ok(green)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: &str =
        "kernel 7.3.4\nlinux 7.3.4-1\ngcc-14 14.2\nqemu-system-x86 10\nrustc 1.85\ncargo 1.85";

    fn row(name: &str, median: f64) -> Row {
        Row {
            name: name.into(),
            bytes: 64,
            median,
        }
    }

    #[test]
    fn a_key_is_what_the_counts_depend_on() {
        let key = key_of(VERSIONS).expect("a key");
        assert_eq!(key.len(), KEY.len());
        assert_eq!(key["gcc"], "14.2");
        assert_eq!(key["kernel"], "7.3.4");
        assert!(key_of("kernel 7.3.4").is_err());
    }

    #[test]
    fn the_file_reads_back() {
        let entry = Entry {
            key: key_of(VERSIONS).expect("a key"),
            rows: vec![row("a", 100.0), row("b_2", 7.0)],
        };
        let read = parse(&format(&[entry])).expect("a file");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].key, key_of(VERSIONS).expect("a key"));
        assert_eq!(read[0].rows, [row("a", 100.0), row("b_2", 7.0)]);
        assert!(parse("[]").is_err());
        assert!(parse(r#"{"baselines": [{"medians": {"a": 1}}]}"#).is_err());
    }

    #[test]
    fn only_more_than_two_percent_is_red() {
        let before = [row("alpc_a", 100.0)];
        let same = compare(&[row("alpc_a", 102.0)], &before);
        assert_eq!(same, Judgement::default());
        assert!(compare(&[row("alpc_a", 102.1)], &before).red);
        let better = compare(&[row("alpc_a", 97.0)], &before);
        assert!(!better.red && better.lines[0].starts_with("better alpc_a 64 B"));
    }

    #[test]
    fn code_of_others_is_only_told() {
        let moved = compare(&[row("pipe", 110.0)], &[row("pipe", 100.0)]);
        assert!(!moved.red);
        assert_eq!(moved.lines, ["note pipe 64 B: 110 after 100, +10.0 %"]);
    }

    #[test]
    fn a_row_that_is_gone_is_red_and_a_new_one_is_not() {
        let before = [row("a", 100.0)];
        assert!(compare(&[row("b", 1.0)], &before).red);
        let more = compare(&[row("a", 100.0), row("b", 1.0)], &before);
        assert!(!more.red && more.lines == ["new b 64 B: 1"]);
    }

    #[test]
    fn ratios_are_compared_across_keys() {
        let before = [row("seqpacket", 200.0), row("a", 100.0), row("b", 60.0)];
        let rows = [row("seqpacket", 400.0), row("a", 202.0), row("b", 126.0)];
        let lines = compare_ratios(&rows, &before);
        assert_eq!(lines, ["b 64 B: 0.315 of seqpacket, 0.300 there"]);
    }
}
