// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was measured before, for the same kernel, compilers and QEMU. Equal code
//! gives equal counts, so a rise is a change of the code, never of the machine.
//! Between different keys only ratios can be compared.
//!
//! A row is held against its last recorded count and against its best: many small
//! rises, each of them recorded, are a large one.
//!
//! Red is what this project's code does. That of others is the same kernel's
//! before and after: where one of its medians moves, it fell into another of
//! its habits (another slab, another slice of time), and that is told.

use super::misses::Claim;
use super::row::{find, ratio, Cost, Row};
use super::Judgement;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const FILE: &str = "tests/bench-baseline.json";
const VERSIONS: &str = "target/qemu/versions.txt";

/// How far above its baseline a median may be, and how far above its best.
const TOLERANCE: f64 = 0.02;
const TOLERANCE_OF_BEST: f64 = 0.03;

/// What counts depend on beside the code.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Key {
    pub kernel: String,
    pub rustc: String,
    pub gcc: String,
    pub qemu: String,
}

impl Key {
    fn current() -> Result<Self, String> {
        let versions = std::fs::read_to_string(VERSIONS).map_err(|e| format!("{VERSIONS}: {e}"))?;
        Self::parse(&versions)
    }

    fn parse(versions: &str) -> Result<Self, String> {
        let value = |word: &str| {
            versions
                .lines()
                .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
                .map(String::from)
                .ok_or(format!("{VERSIONS} has no {word}"))
        };
        Ok(Self {
            kernel: value("kernel")?,
            rustc: value("rustc")?,
            gcc: value("gcc-14")?,
            qemu: value("qemu-system-x86")?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Recorded {
    #[serde(flatten)]
    cost: Cost,
    /// The fewest instructions ever recorded.
    best: u64,
}

/// What was recorded for one key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub key: Key,
    rows: BTreeMap<String, Recorded>,
}

impl Entry {
    fn new(key: Key) -> Self {
        Self {
            key,
            rows: BTreeMap::new(),
        }
    }

    /// Replaces the rows by what was measured; a row's best stays, or is that.
    fn record(&mut self, rows: &[Row]) {
        let recorded = |row: &Row| {
            let now = row.cost.instructions;
            let best = self
                .rows
                .get(&row.id())
                .map_or(now, |old| old.best.min(now));
            let cost = row.cost.clone();
            (row.id(), Recorded { cost, best })
        };
        self.rows = rows.iter().map(recorded).collect();
    }

    pub fn rows(&self) -> Vec<Row> {
        let row = |(id, recorded): (&String, &Recorded)| {
            let (name, bytes) = id.rsplit_once(' ')?;
            Some(Row {
                name: name.into(),
                bytes: bytes.parse().ok()?,
                cost: recorded.cost.clone(),
            })
        };
        self.rows.iter().filter_map(row).collect()
    }

    /// Medians of the same key: a rise of ours is red, and so is a row that is gone.
    fn compare(&self, rows: &[Row]) -> Judgement {
        let mut judgement = Judgement::default();
        let before = self.rows();
        for old in &before {
            let id = old.id();
            let Some(now) = find(rows, &old.name, old.bytes) else {
                judgement.red(format!("{id}: not measured any more"));
                continue;
            };
            if now.dear != old.cost.dear {
                let line = format!("{id}: {} after {}", now.dear, old.cost.dear);
                match ours(&old.name) && now.dear.is_above(&old.cost.dear, TOLERANCE) {
                    true => judgement.red(line),
                    false => judgement.note(line),
                }
            }
            let (now, then) = (now.instructions as f64, old.cost.instructions as f64);
            let change = now / then - 1.0;
            let line = format!("{id}: {now} after {then}, {:+.1} %", change * 100.0);
            if now > then * (1.0 + TOLERANCE) {
                match ours(&old.name) {
                    true => judgement.red(line),
                    false => judgement.note(line),
                }
            } else if now < then * (1.0 - TOLERANCE) {
                judgement.note(format!("better: {line}"));
            }
        }
        for row in rows {
            if find(&before, &row.name, row.bytes).is_none() {
                judgement.note(format!("new {}: {}", row.id(), row.cost.instructions));
            }
        }
        judgement
    }

    /// That no row of ours is too far above its best.
    fn claims(&self, rows: &[Row]) -> Vec<Claim> {
        let claim = |row: &Row| {
            let best = self.rows.get(&row.id())?.best as f64;
            let now = row.cost.instructions as f64;
            let above = (now / best - 1.0) * 100.0;
            Some(Claim {
                name: row.id(),
                line: format!(
                    "{}: {now} where the best was {best}, {above:+.1} %",
                    row.id()
                ),
                value: Some(now),
                most: best * (1.0 + TOLERANCE_OF_BEST),
            })
        };
        let of_ours = rows.iter().filter(|row| ours(&row.name));
        of_ours.filter_map(claim).collect()
    }
}

/// How the names of rows begin whose code is of this repository: what a port
/// does, and the ways in which it moves data and handles.
const OURS: &[&str] = &["alpc_", "inline_", "view_", "callermem_", "handle_"];

fn ours(name: &str) -> bool {
    name == "ioctl_null" || OURS.iter().any(|begin| name.starts_with(begin))
}

/// The whole file. The last entry is the one that documents show.
#[derive(Debug, Deserialize, Serialize)]
pub struct Baselines {
    #[serde(rename = "SPDX-License-Identifier")]
    licence: String,
    baselines: Vec<Entry>,
}

impl Baselines {
    pub fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
        serde_json::from_str(&text).map_err(|e| format!("{FILE}: {e}"))
    }

    pub fn last(&self) -> Result<&Entry, String> {
        self.baselines.last().ok_or(format!("{FILE} has no entry"))
    }

    /// The file's text: a row is a line.
    fn format(&self) -> Result<String, serde_json::Error> {
        let quoted = serde_json::to_string::<str>;
        let mut entries = Vec::new();
        for Entry { key, rows } in &self.baselines {
            let key = serde_json::to_string(key)?;
            let mut lines = Vec::new();
            for (id, recorded) in rows {
                let recorded = serde_json::to_string(recorded)?;
                lines.push(format!("        {}: {recorded}", quoted(id)?));
            }
            entries.push(format!(
                "    {{\n      {},\n      \"rows\": {{\n{}\n      }}\n    }}",
                key[1..key.len() - 1].replace("\",\"", "\",\n      \""),
                lines.join(",\n")
            ));
        }
        Ok(format!(
            "{{\n  \"SPDX-License-Identifier\": {},\n  \"baselines\": [\n{}\n  ]\n}}\n",
            quoted(&self.licence)?,
            entries.join(",\n")
        ))
    }

    fn write(&self) -> Result<(), String> {
        let text = self.format().map_err(|e| format!("{FILE}: {e}"))?;
        std::fs::write(FILE, text).map_err(|e| format!("{FILE}: {e}"))
    }
}

/// Ratios to SEQPACKET that differ between two keys.
fn compare_ratios(rows: &[Row], before: &[Row]) -> Vec<String> {
    let of = |rows, row: &Row| ratio(rows, &row.name, row.bytes, "seqpacket", row.bytes);
    let mut lines = Vec::new();
    for row in rows {
        let Some((now, then)) = of(rows, row).zip(of(before, row)) else {
            continue;
        };
        if (now / then - 1.0).abs() > TOLERANCE {
            lines.push(format!(
                "{}: {now:.3} of seqpacket, {then:.3} there",
                row.id()
            ));
        }
    }
    lines
}

/// What the file says of the rows.
pub struct Comparison {
    pub judgement: Judgement,
    /// That no row is above its best.
    pub claims: Vec<Claim>,
    /// Whether the file had an entry for this key.
    pub known: bool,
    /// Whether the rows were put into the file.
    pub recorded: bool,
}

/// Compares with the file. What is measured goes into the file where its key is
/// new, and where it is to be recorded.
pub fn check(rows: &[Row], record: bool) -> Result<Comparison, String> {
    let mut file = Baselines::read()?;
    let comparison = file.check(rows, Key::current()?, record);
    if comparison.recorded {
        file.write()?;
    }
    Ok(comparison)
}

impl Baselines {
    fn check(&mut self, rows: &[Row], key: Key, record: bool) -> Comparison {
        let known = self.baselines.iter().position(|entry| entry.key == key);
        let mut judgement = Judgement::default();
        let index = match known {
            Some(index) => {
                judgement = self.baselines[index].compare(rows);
                index
            }
            None => {
                judgement.note("there is none for this kernel, compilers and QEMU".into());
                if let Some(last) = self.baselines.last() {
                    let kernel = &last.key.kernel;
                    judgement.note(format!("ratios that differ from those of {kernel}:"));
                    let lines = compare_ratios(rows, &last.rows());
                    lines.into_iter().for_each(|line| judgement.note(line));
                }
                self.baselines.push(Entry::new(key));
                self.baselines.len() - 1
            }
        };
        let recorded = record || known.is_none();
        if recorded {
            // To record a rise is to take it; the best stays as it was.
            judgement.red = false;
            judgement.note(format!("recorded in {FILE}, which belongs into a commit"));
            self.baselines[index].record(rows);
        }
        Comparison {
            judgement,
            claims: self.baselines[index].claims(rows),
            known: known.is_some(),
            recorded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    const VERSIONS: &str =
        "kernel 7.3.4\nlinux 7.3.4-1\ngcc-14 14.2\nqemu-system-x86 10\nrustc 1.85\ncargo 1.85";

    fn key() -> Key {
        Key::parse(VERSIONS).expect("a key")
    }

    /// A file in which one row was recorded with each of the counts in turn.
    fn recorded(name: &str, counts: &[u64]) -> Baselines {
        let mut entry = Entry::new(key());
        for &count in counts {
            entry.record(&[row(name, count)]);
        }
        Baselines {
            licence: "MIT".into(),
            baselines: vec![entry],
        }
    }

    fn check(file: &mut Baselines, rows: &[Row], record: bool) -> Comparison {
        file.check(rows, key(), record)
    }

    #[test]
    fn a_key_is_what_the_counts_depend_on() {
        assert_eq!(key().gcc, "14.2");
        assert_eq!(key().kernel, "7.3.4");
        assert!(Key::parse("kernel 7.3.4").is_err());
    }

    #[test]
    fn the_file_reads_back_and_has_a_line_for_each_row() {
        let mut file = recorded("a_2", &[100]);
        file.baselines[0].record(&[row("a_2", 101), row("b", 7)]);
        file.baselines.push(Entry::new(key()));
        let text = file.format().expect("text");
        let read: Baselines = serde_json::from_str(&text).expect("a file");
        assert_eq!(read.baselines, file.baselines);
        assert!(text.contains("\n        \"b 64\": {\"instructions\":7,"));
        assert_eq!(read.baselines[0].rows(), [row("a_2", 101), row("b", 7)]);
    }

    #[test]
    fn only_more_than_two_percent_is_red() {
        let mut file = recorded("alpc_a", &[1000]);
        let same = check(&mut file, &[row("alpc_a", 1020)], false);
        assert_eq!(same.judgement, Judgement::default());
        let risen = check(&mut file, &[row("alpc_a", 1021)], false);
        assert!(risen.judgement.red && !risen.recorded);
        let better = check(&mut file, &[row("alpc_a", 970)], false);
        assert!(!better.judgement.red);
        assert_eq!(
            better.judgement.lines,
            ["better: alpc_a 64: 970 after 1000, -3.0 %"]
        );
    }

    #[test]
    fn small_rises_that_were_all_recorded_are_above_the_best() {
        let mut file = recorded("alpc_a", &[1000, 1015]);
        let within = check(&mut file, &[row("alpc_a", 1030)], true);
        assert_eq!(within.claims[0].holds(), Some(true));
        let above = check(&mut file, &[row("alpc_a", 1031)], false);
        assert!(!above.judgement.red, "within two percent of the last");
        assert_eq!(above.claims[0].holds(), Some(false));
        assert_eq!(
            above.claims[0].line,
            "alpc_a 64: 1031 where the best was 1000, +3.1 %"
        );
        let recorded = check(&mut file, &[row("alpc_a", 1031)], true);
        assert_eq!(recorded.claims[0].holds(), Some(false), "recorded or not");
        let lower = check(&mut file, &[row("alpc_a", 900)], true);
        assert_eq!(lower.claims[0].holds(), Some(true));
        let risen = check(&mut file, &[row("alpc_a", 1000)], true);
        assert_eq!(
            risen.claims[0].holds(),
            Some(false),
            "the best has become 900"
        );
    }

    #[test]
    fn code_of_others_is_only_told() {
        let mut file = recorded("pipe", &[100]);
        let moved = check(&mut file, &[row("pipe", 110)], false);
        assert!(!moved.judgement.red && moved.claims.is_empty());
        assert_eq!(moved.judgement.lines, ["pipe 64: 110 after 100, +10.0 %"]);
    }

    #[test]
    fn a_row_that_is_gone_is_red_and_a_new_one_is_not() {
        let mut file = recorded("a", &[100]);
        assert!(check(&mut file, &[row("b", 1)], false).judgement.red);
        let more = check(&mut file, &[row("a", 100), row("b", 1)], false);
        assert!(!more.judgement.red);
        assert_eq!(more.judgement.lines, ["new b 64: 1"]);
    }

    #[test]
    fn another_key_gets_an_entry_and_has_its_ratios_compared() {
        let mut file = recorded("a", &[100]);
        let before = [row("seqpacket", 200), row("a", 100), row("b", 60)];
        file.baselines[0].record(&before);
        let other = Key {
            gcc: "15".into(),
            ..key()
        };
        let rows = [row("seqpacket", 400), row("a", 202), row("b", 126)];
        let new = file.check(&rows, other, false);
        assert!(new.recorded && !new.known && !new.judgement.red);
        let lines = &new.judgement.lines;
        assert!(lines.contains(&"b 64: 0.315 of seqpacket, 0.300 there".into()));
        assert!(!lines.iter().any(|line| line.starts_with("a 64")));
        assert_eq!(file.baselines.len(), 2);
        assert_eq!(file.last().expect("an entry").key.gcc, "15");
    }
}
