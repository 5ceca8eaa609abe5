// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be reached, as ratios within one boot, and what else is told beside it.

use super::misses::Claim;
use super::row::{find, ratio, Row};

/// A number that is made of the rows of one boot.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// Instructions of the first, at a payload, to those of the second. A cost is
    /// that of a mechanism, or what one takes beyond another: `a - b`.
    Ratio(&'static str, u64, &'static str),
    /// Locked operations of the first beyond the second's, at a payload.
    Locked(&'static str, u64, &'static str),
}

use Measure::{Locked, Ratio};

impl Measure {
    /// The measure's name, also in the list of known misses.
    pub fn name(self) -> String {
        match self {
            Ratio(this, bytes, that) => format!("{this} {bytes} / {that}"),
            Locked(this, bytes, that) => format!("locked: {this} {bytes} - {that}"),
        }
    }

    pub fn value(self, rows: &[Row]) -> Option<f64> {
        match self {
            Ratio(this, bytes, that) => ratio(rows, this, bytes, that, bytes),
            Locked(this, bytes, that) => {
                let of = |name| find(rows, name, bytes).map(|cost| cost.dear.locked);
                Some(of(this)? - of(that)?)
            }
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Ratio(..) => format!("{value:.3}"),
            Locked(..) => format!("{value}"),
        }
    }
}

/// The most that each may be.
const GOALS: &[(Measure, f64)] = &[
    (Ratio("alpc_call", 64, "floor"), 1.06),
    (Ratio("alpc_call", 64, "seqpacket"), 0.66),
    (Ratio("alpc_call", 64, "seqpacket_cred"), 0.61),
    (Ratio("alpc_call", 64, "pipe"), 0.84),
    (Ratio("alpc_call", 64, "binder_c"), 0.47),
    (Ratio("alpc_call", 4096, "seqpacket"), 0.61),
    (Ratio("inline_64k", 65536, "seqpacket_64k"), 0.48),
    (Ratio("alpc_oneway", 64, "dgram_loop"), 1.00),
    (Ratio("alpc_oneway", 64, "dgram_mmsg"), 0.40),
    (Ratio("alpc_connect", 0, "unix_connect"), 0.95),
    (Ratio("view_secure_1m", 1 << 20, "memfd_1m"), 0.26),
    (
        Ratio("view_secure_1m_touch1", 1 << 20, "pvm_readv_1m"),
        0.08,
    ),
    (
        Ratio("view_secure_1m_filled", 1 << 20, "pvm_readv_1m"),
        0.18,
    ),
    (Ratio("callermem_4k", 4096, "pvm_readv_4k"), 0.87),
    (Ratio("callermem_1m", 1 << 20, "pvm_readv_1m"), 0.86),
    (
        Ratio("handle_claimed - alpc_call", 64, "scm_rights - seqpacket"),
        0.50,
    ),
    (
        Ratio("handle_dropped - alpc_call", 64, "scm_rights - seqpacket"),
        0.15,
    ),
    (Ratio("alpc_call_10000_ports", 64, "alpc_call"), 1.02),
    (Ratio("alpc_call_1000_clients", 64, "alpc_call"), 1.02),
    (Ratio("alpc_call_1000_waiters", 64, "alpc_call"), 1.02),
    (Ratio("alpc_call_1000_active", 64, "alpc_call"), 1.02),
    (Locked("alpc_call", 64, "floor"), 4.0),
];

/// What is told without a goal.
const TOLD: &[Measure] = &[
    Ratio("floor", 64, "seqpacket"),
    Ratio("floor", 64, "seqpacket_cred"),
    Ratio("floor", 64, "pipe"),
    Ratio("floor", 64, "binder_c"),
    Ratio("alpc_async", 64, "floor"),
    Ratio("alpc_callback", 64, "alpc_call"),
    Ratio("alpc_call_apart", 64, "floor_apart"),
    Ratio("alpc_call_apart", 64, "seqpacket_apart"),
    Ratio("view_sent", 16 << 10, "inline_sent"),
    Ratio("view_sent", 64 << 10, "inline_sent"),
    Ratio("callermem_sent", 64 << 10, "inline_sent"),
    Ratio("callermem_sent", 64 << 10, "view_sent"),
    Ratio("callermem_sent", 1 << 20, "view_sent"),
    Ratio("callermem_sent_fresh", 1 << 20, "view_sent"),
];

/// Holds a measure against the most that it may be.
fn claim(rows: &[Row], measure: Measure, most: f64) -> Claim {
    let name = measure.name();
    let value = measure.value(rows);
    let line = match value {
        None => format!("{name}: not measured"),
        Some(value) => format!(
            "{name}: {}, wanted <= {most}: {}",
            measure.show(value),
            if value <= most { "reached" } else { "MISSED" }
        ),
    };
    Claim {
        name,
        line,
        value,
        most,
    }
}

/// Every goal, held against the rows.
pub fn claims(rows: &[Row]) -> Vec<Claim> {
    GOALS
        .iter()
        .map(|&(measure, most)| claim(rows, measure, most))
        .collect()
}

/// Lines of what is told without a goal.
pub fn told(rows: &[Row]) -> Vec<String> {
    TOLD.iter()
        .map(|measure| match measure.value(rows) {
            Some(value) => format!("{}: {}", measure.name(), measure.show(value)),
            None => format!("{}: not measured", measure.name()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn reached_missed_and_not_measured() {
        let rows = [row("a", 60), row("b", 100)];
        let reached = claim(&rows, Ratio("a", 64, "b"), 0.6);
        assert_eq!(reached.holds(), Some(true));
        assert_eq!(reached.line, "a 64 / b: 0.600, wanted <= 0.6: reached");
        let missed = claim(&rows, Ratio("a", 64, "b"), 0.59);
        assert_eq!(missed.holds(), Some(false));
        assert_eq!(missed.line, "a 64 / b: 0.600, wanted <= 0.59: MISSED");
        assert_eq!(claim(&rows, Ratio("a", 64, "c"), 0.6).holds(), None);
    }

    #[test]
    fn locked_operations_are_held_against_a_number() {
        let mut rows = [row("a", 1), row("b", 1)];
        rows[0].cost.dear.locked = 33.0;
        rows[1].cost.dear.locked = 26.0;
        let missed = claim(&rows, Locked("a", 64, "b"), 4.0);
        assert_eq!(missed.holds(), Some(false));
        assert_eq!(missed.line, "locked: a 64 - b: 7, wanted <= 4: MISSED");
    }

    #[test]
    fn each_goal_has_a_name_of_its_own() {
        let mut names: Vec<String> = claims(&[]).into_iter().map(|goal| goal.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
