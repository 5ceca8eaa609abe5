// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest measured, with what the plugin counted meanwhile.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What the guest says of a row, in the order in which it measured them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub name: String,
    pub bytes: u64,
    pub median: u64,
    /// How many runs came before those that count, and how many count.
    pub warm_up: usize,
    pub measured: usize,
    /// How many messages or round trips a run was.
    pub parts: u32,
}

/// What one message or round trip takes, of all processes and the kernel: medians.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Cost {
    pub instructions: u64,
    #[serde(flatten)]
    pub dear: Dear,
}

/// Instructions that cost more than others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Dear {
    /// Instructions with a lock prefix, and exchanges with memory.
    #[serde(serialize_with = "short")]
    pub locked: f64,
    #[serde(serialize_with = "short")]
    pub system_calls: f64,
    /// Switches of a processor from one task to another, the idle task being one.
    #[serde(serialize_with = "short")]
    pub switches: f64,
    /// Interrupts sent to a processor.
    #[serde(serialize_with = "short")]
    pub ipis: f64,
}

impl Dear {
    /// Whether there are more of any kind than before, by more than that part of them.
    pub fn is_above(&self, before: &Self, tolerance: f64) -> bool {
        [
            (self.locked, before.locked),
            (self.system_calls, before.system_calls),
            (self.switches, before.switches),
            (self.ipis, before.ipis),
        ]
        .iter()
        // Messages in rows, and calls of many clients, share their switches, differently from one
        // module to another: a tenth of one more is none.
        .any(|(now, before)| *now > before * (1.0 + tolerance) + 0.1)
    }
}

impl fmt::Display for Dear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} locked, {} system calls, {} switches, {} IPIs",
            self.locked, self.system_calls, self.switches, self.ipis
        )
    }
}

/// A whole number has no decimals.
fn short<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match number.fract() == 0.0 {
        true => serializer.serialize_u64(*number as u64),
        false => serializer.serialize_f64(*number),
    }
}

/// A mechanism at one payload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    pub bytes: u64,
    #[serde(flatten)]
    pub cost: Cost,
}

impl Row {
    /// The row's name in files.
    pub fn id(&self) -> String {
        format!("{} {}", self.name, self.bytes)
    }
}

/// What a mechanism takes at a payload, if that was measured.
pub fn find<'a>(rows: &'a [Row], name: &str, bytes: u64) -> Option<&'a Cost> {
    rows.iter()
        .find(|row| row.name == name && row.bytes == bytes)
        .map(|row| &row.cost)
}

/// Instructions of a mechanism, or of what one takes beyond another: `a - b`.
pub fn instructions(rows: &[Row], name: &str, bytes: u64) -> Option<f64> {
    let of = |name| find(rows, name, bytes).map(|cost| cost.instructions as f64);
    match name.split_once(" - ") {
        Some((whole, part)) => Some(of(whole)? - of(part)?),
        None => of(name),
    }
}

/// How many times as much one takes as another. Beside nothing there is no ratio.
pub fn ratio(rows: &[Row], name: &str, bytes: u64, other: &str, others: u64) -> Option<f64> {
    let that = instructions(rows, other, others).filter(|that| *that > 0.0)?;
    Some(instructions(rows, name, bytes)? / that)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row that takes so many instructions, at 64 bytes.
    pub fn row(name: &str, instructions: u64) -> Row {
        Row {
            name: name.into(),
            bytes: 64,
            cost: Cost {
                instructions,
                ..Default::default()
            },
        }
    }

    #[test]
    fn what_one_takes_beyond_another_is_a_cost() {
        let rows = [
            row("with", 1100),
            row("without", 1000),
            row("other", 2200),
            row("plain", 2000),
        ];
        assert_eq!(instructions(&rows, "with - without", 64), Some(100.0));
        assert_eq!(
            ratio(&rows, "with - without", 64, "other - plain", 64),
            Some(0.5)
        );
        assert_eq!(
            ratio(&rows, "with", 64, "plain - plain", 64),
            None,
            "beside nothing"
        );
        assert_eq!(
            ratio(&rows, "with", 64, "plain - other", 64),
            None,
            "beside less than nothing"
        );
        assert_eq!(instructions(&rows, "with - none", 64), None);
        assert_eq!(instructions(&rows, "with", 4096), None);
    }

    #[test]
    fn whole_numbers_are_written_whole() {
        let dear = Dear {
            locked: 33.0,
            switches: 0.06,
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_string(&dear).expect("text"),
            r#"{"locked":33,"system_calls":0,"switches":0.06,"ipis":0}"#
        );
    }
}
