// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of what is known to miss its goal, or to take more than it once did,
//! each with its reason and the day when that was written. Whatever is missed and
//! isn't listed is red, and so is whatever is listed and isn't missed any more, or is
//! missed by more than a tenth more than when it was listed.
//! What another kernel or compiler doesn't miss may stay listed: the list is of those
//! that the baseline knows. All values are ratios of one boot or multiples of the best,
//! or counts of locked operations, so they hold for every kernel and compiler.

use super::Judgement;
use serde::Deserialize;
use std::collections::BTreeMap;

const FILE: &str = "tests/bench-misses.json";

/// Something that is to hold.
#[derive(Debug)]
pub struct Claim {
    /// The claim's name in the list.
    pub name: String,
    /// What was measured, in words.
    pub line: String,
    /// What was measured. Nothing where it wasn't: not every kernel has each peer.
    pub value: Option<f64>,
    /// The most that it may be.
    pub most: f64,
}

impl Claim {
    /// Whether it does, where it was measured.
    pub fn holds(&self) -> Option<bool> {
        self.value.map(|value| value <= self.most)
    }
}

/// How much worse than listed a miss may get: peers have their own ups and downs, and rows of the
/// module's are held against the baseline besides.
const WORSE: f64 = 1.1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    date: String,
    /// What was measured on that day, in the measure of the claim.
    value: f64,
    reason: String,
}

type Reasons = BTreeMap<String, Reason>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misses {
    #[serde(rename = "SPDX-License-Identifier")]
    _licence: String,
    /// Goals that are missed.
    goals: Reasons,
    /// Rows that are above their best.
    above_best: Reasons,
}

impl Misses {
    pub fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let list: Self = serde_json::from_str(text).map_err(|e| format!("{FILE}: {e}"))?;
        for (name, listed) in list.goals.iter().chain(&list.above_best) {
            if !is_date(&listed.date) || listed.reason.trim().is_empty() {
                return Err(format!(
                    "{FILE}: {name} wants a date YYYY-MM-DD, a value and a reason"
                ));
            }
        }
        Ok(list)
    }

    /// Judges goals. `known` says whether the baseline knows the kernel and the rest.
    pub fn judge_goals(&self, claims: &[Claim], known: bool) -> Judgement {
        judge(&self.goals, claims, known)
    }

    /// Judges rows against their best, as [`Misses::judge_goals`] does goals.
    pub fn judge_rows(&self, claims: &[Claim], known: bool) -> Judgement {
        judge(&self.above_best, claims, known)
    }
}

/// Holds claims against what is listed of their kind.
fn judge(listed: &Reasons, claims: &[Claim], known: bool) -> Judgement {
    let mut judgement = Judgement::default();
    for claim in claims {
        let Claim { name, line, .. } = claim;
        match (claim.holds(), listed.get(name)) {
            (None, _) | (Some(true), None) => {}
            (Some(false), Some(Reason { value, .. }))
                if claim.value.is_some_and(|now| now > value * WORSE) =>
            {
                judgement.red(format!("{line}, and {FILE} knows {value}"));
            }
            (Some(false), Some(Reason { date, reason, .. })) => {
                judgement.note(format!("known: {line} (since {date}: {reason})"));
            }
            (Some(false), None) => judgement.red(format!("{line}, and {FILE} has no reason")),
            (Some(true), Some(_)) if known => {
                judgement.red(format!("{line}, but {FILE} still lists it"));
            }
            (Some(true), Some(_)) => judgement.note(format!("not here: {line}")),
        }
    }
    for name in listed.keys() {
        if !claims.iter().any(|claim| claim.name == *name) {
            judgement.red(format!("{FILE} lists {name}, which there isn't"));
        }
    }
    judgement
}

fn is_date(text: &str) -> bool {
    let digits =
        |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], [year, month, day]
        if digits(year, 4) && digits(month, 2) && digits(day, 2)
            && ("01"..="12").contains(&month) && ("01"..="31").contains(&day))
}

#[cfg(test)]
mod tests {
    use super::super::entry::Terms;
    use super::super::{baseline, goals};
    use super::*;

    fn list(goals: &str, above_best: &str) -> Result<Misses, String> {
        Misses::parse(&format!(
            r#"{{"SPDX-License-Identifier": "MIT", "goals": {{{goals}}}, "above_best": {{{above_best}}}}}"#
        ))
    }

    const ENTRY: &str = r#""a / b": {"date": "2026-11-30", "value": 0.7, "reason": "two copies"}"#;

    fn claim(holds: Option<bool>) -> [Claim; 1] {
        claim_of(holds.map(|holds| if holds { 0.5 } else { 0.7 }))
    }

    fn claim_of(value: Option<f64>) -> [Claim; 1] {
        [Claim {
            name: "a / b".into(),
            line: "a / b: 0.7".into(),
            value,
            most: 0.6,
        }]
    }

    #[test]
    fn a_known_miss_that_gets_worse_is_red() {
        let list = list(ENTRY, ENTRY).expect("a list");
        assert!(!list.judge_goals(&claim_of(Some(0.76)), true).red);
        assert!(list.judge_goals(&claim_of(Some(0.78)), true).red);
        assert!(list.judge_rows(&claim_of(Some(0.78)), true).red);
        let elsewhere = list.judge_goals(&claim_of(Some(0.78)), false);
        assert!(elsewhere.red, "whichever kernel it is");
    }

    #[test]
    fn a_missed_goal_that_is_not_listed_is_red() {
        let list = list("", "").expect("a list");
        assert!(list.judge_goals(&claim(Some(false)), true).red);
        assert!(!list.judge_goals(&claim(Some(true)), true).red);
        assert!(!list.judge_goals(&claim(None), true).red);
    }

    #[test]
    fn a_missed_goal_that_is_listed_is_told_with_its_reason() {
        let list = list(ENTRY, "").expect("a list");
        let judgement = list.judge_goals(&claim(Some(false)), true);
        assert!(!judgement.red);
        let [line] = &judgement.lines[..] else {
            panic!("{judgement:?}");
        };
        assert!(line.contains("two copies") && line.contains("2026-11-30"));
    }

    #[test]
    fn a_stale_entry_is_red() {
        let list = list(ENTRY, "").expect("a list");
        assert!(list.judge_goals(&claim(Some(true)), true).red, "reached");
        assert!(list.judge_goals(&[], true).red, "no such goal");
        assert!(!list.judge_goals(&claim(None), true).red, "not measured");
    }

    #[test]
    fn another_kernel_may_reach_what_is_listed_and_may_not_miss_more() {
        let listed = list(ENTRY, "").expect("a list");
        assert!(!listed.judge_goals(&claim(Some(true)), false).red);
        let none = list("", "").expect("a list");
        assert!(none.judge_goals(&claim(Some(false)), false).red);
    }

    #[test]
    fn rows_have_a_list_of_their_own() {
        let list = list("", ENTRY).expect("a list");
        assert!(list.judge_goals(&claim(Some(false)), true).red);
        assert!(!list.judge_rows(&claim(Some(false)), true).red);
        assert!(list.judge_rows(&claim(Some(true)), true).red);
    }

    #[test]
    fn an_entry_wants_a_date_and_a_reason() {
        for entry in [
            r#""a": {"date": "2026-11-30", "value": 1, "reason": " "}"#,
            r#""a": {"date": "November", "value": 1, "reason": "r"}"#,
            r#""a": {"date": "2026-11-3", "value": 1, "reason": "r"}"#,
            r#""a": {"value": 1, "reason": "r"}"#,
            r#""a": {"date": "2026-11-30", "reason": "r"}"#,
            r#""a": {"date": "2026-13-30", "value": 1, "reason": "r"}"#,
            r#""a": {"date": "2026-11-30", "value": 1, "reason": "r", "until": "never"}"#,
        ] {
            assert!(list(entry, "").is_err(), "{entry}");
        }
    }

    /// A file of this repository.
    fn of_repository(name: &str) -> String {
        let path = format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).expect(&path)
    }

    #[test]
    fn the_list_of_this_repository_fits_its_baseline() {
        let list = Misses::parse(&of_repository(FILE)).expect("a list");
        let file = of_repository(baseline::FILE);
        let file: baseline::Baselines = serde_json::from_str(&file).expect("a baseline");
        let shown = file.last().expect("an entry");
        let rows = shown.rows();
        let goals = list.judge_goals(&goals::claims(&rows), true);
        assert!(!goals.red, "{goals:#?}");
        let best = list.judge_rows(&shown.claims(&rows, &Terms::SAME), true);
        assert!(!best.red, "{best:#?}");
    }
}
