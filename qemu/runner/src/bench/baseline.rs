// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was measured before, for the same kernel, compilers and QEMU. Equal code
//! gives equal counts, so a rise is a change of the code, never of the machine.
//! Where the file has no entry for these versions, the rows are held against the
//! last entry by what they are of `floor` in their own boot, and with more patience.
//!
//! A row is held against its last recorded count and against its best: many small
//! rises, each of them recorded, are a large one. A best is carried over to an
//! entry for other versions by what it is of `floor` there.
//!
//! Red is what this project's code does. That of others is the same kernel's
//! before and after: where one of its medians moves, it fell into another of
//! its habits (another slab, another slice of time), and that is told.
//!
//! The file is written only where that is asked for.

use super::entry::{Entry, Key, Terms, TOLERANCE_ELSEWHERE};
use super::misses::Claim;
use super::row::Row;
use super::Judgement;
use serde::{Deserialize, Serialize};

pub const FILE: &str = "tests/bench-baseline.json";
/// The whole file. The last entry is the one that was recorded last, which documents show.
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

    /// What entries there are beside the last one.
    pub fn others(&self) -> impl Iterator<Item = &Key> {
        self.baselines.iter().rev().skip(1).map(|entry| &entry.key)
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

/// Compares with the file, and puts what was measured into the file where that is asked for.
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
        if known.is_none() {
            judgement.note(format!("{FILE} has NO BASELINE for {key}"));
        }
        let held = known.or(self.baselines.len().checked_sub(1));
        let held = held.and_then(|index| {
            let entry = &self.baselines[index];
            match known {
                Some(_) => Some((entry, Terms::SAME)),
                None => Some((entry, Terms::of_others(rows, &entry.rows())?)),
            }
        });
        let mut claims = Vec::new();
        if let Some((entry, terms)) = held {
            if !terms.same {
                judgement.note(format!(
                    "instead each row is held against {}, by what it is of `floor`; more than \
                     {:.0} % is red",
                    entry.key,
                    TOLERANCE_ELSEWHERE * 100.0
                ));
            }
            let compared = entry.compare(rows, &terms);
            judgement.lines.extend(compared.lines);
            judgement.red = compared.red;
            claims = entry.claims(rows, &terms);
        } else {
            judgement.note("there is nothing that the rows could be held against".into());
        }
        if record {
            // To record a rise is to take it; the best stays as it was.
            judgement.red = false;
            judgement.note(format!("recorded in {FILE}, which belongs into a commit"));
            claims = self.record(rows, key);
        } else if known.is_none() {
            judgement.note("nothing is recorded: BASELINE=record makes a baseline of this".into());
        }
        Comparison {
            judgement,
            claims,
            known: known.is_some(),
            recorded: record,
        }
    }

    /// Makes the rows part of the entry of their versions, which is the last one then. Gives what
    /// is claimed of them.
    fn record(&mut self, rows: &[Row], key: Key) -> Vec<Claim> {
        let known = self.baselines.iter().position(|entry| entry.key == key);
        let mut entry = match known {
            Some(index) => self.baselines.remove(index),
            None => Entry::new(key),
        };
        let others = &self.baselines;
        entry.record(rows, |row| match known {
            Some(_) => None,
            None => {
                let bests = others.iter().filter_map(|other| other.best_in(row, rows));
                bests.min()
            }
        });
        let claims = entry.claims(rows, &Terms::SAME);
        self.baselines.push(entry);
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::key;
    use super::super::row::tests::row;
    use super::*;

    /// A file in which one row was recorded with each of the counts in turn.
    fn recorded(name: &str, counts: &[u64]) -> Baselines {
        let mut entry = Entry::new(key());
        for &count in counts {
            entry.record(&[row(name, count)], |_| None);
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
    fn the_file_reads_back_and_has_a_line_for_each_row() {
        let mut file = recorded("a_2", &[100]);
        file.baselines[0].record(&[row("a_2", 101), row("b", 7)], |_| None);
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
            "alpc_a 64: 1031 after 1000, +3.1 %, its best"
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
    fn a_row_that_was_not_measured_is_kept_when_others_are_recorded() {
        let mut file = recorded("alpc_a", &[100, 110]);
        check(&mut file, &[row("alpc_b", 7)], true);
        let kept = [row("alpc_a", 110), row("alpc_b", 7)];
        assert_eq!(file.baselines[0].rows(), kept);
        assert_eq!(file.baselines[0].rows["alpc_a 64"].best, 100);
    }

    fn other_key() -> Key {
        Key {
            gcc: "15".into(),
            ..key()
        }
    }

    /// A boot whose driver takes so many instructions on one processor and on two.
    fn boot(near: u64, apart: u64, rows: &[(&str, u64)]) -> Vec<Row> {
        let floor = [row("floor", near), row("floor_apart", apart)];
        let others = rows.iter().map(|&(name, count)| row(name, count));
        floor.into_iter().chain(others).collect()
    }

    /// A file with one boot, a row of which was once better.
    fn with_boot() -> Baselines {
        let mut file = recorded("alpc_a", &[950]);
        let rows = [("alpc_a", 1000), ("alpc_a_apart", 2000), ("pipe", 600)];
        check(&mut file, &boot(500, 1000, &rows), true);
        file
    }

    #[test]
    fn without_a_baseline_nothing_is_recorded_and_that_is_said() {
        let mut file = with_boot();
        let before = file.baselines.clone();
        let now = boot(500, 1000, &[("alpc_a", 1000), ("alpc_a_apart", 2000)]);
        let new = file.check(&now, other_key(), false);
        assert!(!new.recorded && !new.known && !new.judgement.red);
        assert_eq!(file.baselines, before);
        let lines = &new.judgement.lines;
        assert!(
            lines[0].contains("NO BASELINE for 7.3.4 with gcc 15"),
            "{lines:?}"
        );
        assert!(
            lines[1].contains("held against 7.3.4 with gcc 14.2"),
            "{lines:?}"
        );
        assert!(lines.iter().any(|line| line.contains("BASELINE=record")));
        file.baselines.clear();
        let first = file.check(&now, key(), false);
        assert!(!first.recorded && !first.judgement.red && file.baselines.is_empty());
    }

    #[test]
    fn without_a_baseline_every_row_is_held_by_what_it_is_of_the_floor() {
        let mut file = with_boot();
        let mut of = |near: u64, apart: u64| {
            let rows = [("alpc_a", near), ("alpc_a_apart", apart), ("pipe", 9000)];
            file.check(&boot(1000, 3000, &rows), other_key(), false)
        };
        let same = of(2000, 6000);
        assert!(!same.judgement.red);
        assert!(!same
            .judgement
            .lines
            .iter()
            .any(|line| line.starts_with("alpc")));
        let told = of(2060, 6000).judgement;
        let line = "alpc_a 64: 2060 after 1000 there, beside `floor`, +3.0 %".to_string();
        assert!(!told.red && told.lines.contains(&line), "{told:?}");
        assert!(of(2202, 6000).judgement.red);
        assert!(
            of(2000, 6602).judgement.red,
            "the other floor counts for it"
        );
        // The best was 950.
        assert_eq!(of(2080, 6000).claims[0].holds(), Some(true));
        let above = of(2092, 6000).claims;
        assert_eq!(above[0].holds(), Some(false), "{}", above[0].line);
        let gone = file.check(&boot(1000, 3000, &[("alpc_a", 2000)]), other_key(), false);
        assert!(gone.judgement.red, "alpc_a_apart");
    }

    #[test]
    fn a_best_is_carried_over_to_other_versions() {
        let mut file = with_boot();
        let rows = boot(1000, 3000, &[("alpc_a", 2000), ("alpc_a_apart", 5900)]);
        let recorded = file.check(&rows, other_key(), true);
        assert!(recorded.recorded && !recorded.judgement.red);
        assert_eq!(
            recorded.claims[0].holds(),
            Some(false),
            "950 there is 1900 here"
        );
        let best = |file: &Baselines, name: &str| file.last().expect("an entry").rows[name].best;
        assert_eq!(best(&file, "alpc_a 64"), 1900);
        assert_eq!(best(&file, "alpc_a_apart 64"), 5900);
        let again = file.check(&rows, other_key(), false);
        assert!(again.known && again.claims[0].holds() == Some(false));
        // What was recorded last is what documents show.
        let others: Vec<String> = file.others().map(|key| key.gcc.clone()).collect();
        assert_eq!(others, ["14.2"]);
        file.check(&boot(500, 1000, &[("alpc_a", 990)]), key(), true);
        assert_eq!(file.last().expect("an entry").key, key());
        assert_eq!(best(&file, "alpc_a 64"), 950);
        assert_eq!(file.baselines.len(), 2);
    }
}
