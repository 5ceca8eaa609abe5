// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was recorded for one kernel, compilers and QEMU, and how rows are held against that.

use super::baseline::FILE;
use super::misses::Claim;
use super::row::{find, instructions, Cost, Row};
use super::Judgement;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

const VERSIONS: &str = "target/qemu/versions.txt";

/// How far above its baseline a median may be, and how far above its best.
const TOLERANCE: f64 = 0.02;
const TOLERANCE_OF_BEST: f64 = 0.03;
/// Both, for other versions than the entry is of: compilers and kernels have a part in them.
pub const TOLERANCE_ELSEWHERE: f64 = 0.1;

/// What counts depend on beside the code.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Key {
    pub kernel: String,
    pub rustc: String,
    pub gcc: String,
    pub qemu: String,
}

impl Key {
    pub fn current() -> Result<Self, String> {
        let versions = std::fs::read_to_string(VERSIONS).map_err(|e| format!("{VERSIONS}: {e}"))?;
        Self::parse(&versions)
    }

    pub fn parse(versions: &str) -> Result<Self, String> {
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

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} with gcc {}, rustc {} and QEMU {}",
            self.kernel, self.gcc, self.rustc, self.qemu
        )
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Recorded {
    #[serde(flatten)]
    pub cost: Cost,
    /// The fewest instructions ever recorded.
    pub best: u64,
}

/// What was recorded for one key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub key: Key,
    pub rows: BTreeMap<String, Recorded>,
}

impl Entry {
    pub fn new(key: Key) -> Self {
        Self {
            key,
            rows: BTreeMap::new(),
        }
    }

    /// Takes what was measured. A row's best stays, or is that, or is the one that other entries
    /// `have` of it. What was not measured stays as it is.
    pub fn record(&mut self, rows: &[Row], have: impl Fn(&Row) -> Option<u64>) {
        for row in rows {
            let now = row.cost.instructions;
            let old = self.rows.get(&row.id()).map(|old| old.best);
            let best = old.into_iter().chain(have(row)).fold(now, u64::min);
            let cost = row.cost.clone();
            self.rows.insert(row.id(), Recorded { cost, best });
        }
    }

    /// The best of a row in terms of a boot of other versions.
    pub fn best_in(&self, row: &Row, rows: &[Row]) -> Option<u64> {
        let best = self.rows.get(&row.id())?.best as f64;
        let terms = Terms::of_others(rows, &self.rows())?;
        Some((best / terms.scale(&row.name)).round() as u64)
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

    /// A rise of ours is red, and so is a row that is gone.
    pub fn compare(&self, rows: &[Row], terms: &Terms) -> Judgement {
        let mut judgement = Judgement::default();
        let before = self.rows();
        for old in &before {
            let id = old.id();
            let mut tell = |is_red: bool, line: String| match is_red && ours(&old.name) {
                true => judgement.red(line),
                false => judgement.note(line),
            };
            let Some(now) = find(rows, &old.name, old.bytes) else {
                match terms.same {
                    true => judgement.red(format!(
                        "{id}: not measured any more; if that is meant, delete its line in {FILE}"
                    )),
                    false => tell(true, format!("{id}: not measured")),
                }
                continue;
            };
            if now.dear != old.cost.dear {
                let is_above = now.dear.is_above(&old.cost.dear, TOLERANCE);
                let line = format!("{id}: {} after {}", now.dear, old.cost.dear);
                tell(terms.same && is_above, line);
            }
            let then = old.cost.instructions as f64;
            let here = now.instructions as f64 * terms.scale(&old.name);
            let after = terms.after(then, here / then - 1.0);
            let line = format!("{id}: {} {after}", now.instructions);
            if here > then * (1.0 + terms.tolerance) {
                tell(true, line);
            } else if here < then * (1.0 - TOLERANCE) {
                tell(false, format!("better: {line}"));
            } else if here > then * (1.0 + TOLERANCE) {
                tell(false, line);
            }
        }
        for row in rows {
            if find(&before, &row.name, row.bytes).is_none() {
                judgement.note(format!("new {}: {}", row.id(), row.cost.instructions));
            }
        }
        judgement
    }

    /// That no row of ours is too far above its best, as multiples of that.
    pub fn claims(&self, rows: &[Row], terms: &Terms) -> Vec<Claim> {
        let claim = |row: &Row| {
            let (id, now) = (row.id(), row.cost.instructions);
            let best = self.rows.get(&id)?.best as f64;
            let multiple = now as f64 * terms.scale(&row.name) / best;
            Some(Claim {
                line: format!(
                    "{id}: {now} {}, its best",
                    terms.after(best, multiple - 1.0)
                ),
                name: id,
                value: Some(multiple),
                most: 1.0 + terms.of_best,
            })
        };
        let of_ours = rows.iter().filter(|row| ours(&row.name));
        of_ours.filter_map(claim).collect()
    }
}

/// How rows are held against those of an entry.
pub struct Terms {
    /// Whether both are of the same versions.
    pub same: bool,
    /// What a count is multiplied by before it is compared: `floor` of the entry to that of
    /// this boot.
    near: f64,
    /// The factor of rows whose processes have a processor each.
    apart: f64,
    tolerance: f64,
    of_best: f64,
}

impl Terms {
    pub const SAME: Self = Self {
        same: true,
        near: 1.0,
        apart: 1.0,
        tolerance: TOLERANCE,
        of_best: TOLERANCE_OF_BEST,
    };

    /// Those between different versions. None where one side has no `floor`.
    pub fn of_others(rows: &[Row], before: &[Row]) -> Option<Self> {
        let factor = |name| Some(instructions(before, name, 64)? / instructions(rows, name, 64)?);
        Some(Self {
            same: false,
            near: factor("floor")?,
            apart: factor("floor_apart")?,
            tolerance: TOLERANCE_ELSEWHERE,
            of_best: TOLERANCE_ELSEWHERE,
        })
    }

    fn scale(&self, name: &str) -> f64 {
        match name.ends_with(APART) {
            true => self.apart,
            false => self.near,
        }
    }

    /// What comes behind a count.
    fn after(&self, then: f64, change: f64) -> String {
        let there = match self.same {
            true => "",
            false => " there, beside `floor`",
        };
        format!("after {then}{there}, {:+.1} %", change * 100.0)
    }
}

/// How the names of rows end whose processes have a processor each.
const APART: &str = "_apart";

/// How the names of rows begin whose code is of this repository: what a port
/// does, and the ways in which it moves data and handles.
const OURS: &[&str] = &["alpc_", "inline_", "view_", "callermem_", "handle_"];

fn ours(name: &str) -> bool {
    name == "ioctl_null" || OURS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const VERSIONS: &str =
        "kernel 7.3.4\nlinux 7.3.4-1\ngcc-14 14.2\nqemu-system-x86 10\nrustc 1.85\ncargo 1.85";

    pub fn key() -> Key {
        Key::parse(VERSIONS).expect("a key")
    }

    #[test]
    fn a_key_is_what_the_counts_depend_on() {
        assert_eq!(key().gcc, "14.2");
        assert_eq!(key().kernel, "7.3.4");
        assert!(Key::parse("kernel 7.3.4").is_err());
    }
}
