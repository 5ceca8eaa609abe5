// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the mechanisms cost beside each other, and what was to be reached.

use super::{median, Row};

/// A cost at a payload, the one it is held against at the same payload, and the
/// most it may be of that; without one the ratio is only told.
type Reach = (&'static str, u64, &'static str, Option<f64>);

/// A cost is that of a mechanism, or what one takes beyond another: `a - b`.
const REACH: &[Reach] = &[
    ("alpc_call", 64, "seqpacket", Some(0.63)),
    ("alpc_call", 64, "seqpacket_cred", Some(0.60)),
    ("alpc_call", 64, "pipe", Some(0.90)),
    ("alpc_call", 64, "binder_c", Some(0.50)),
    ("alpc_call", 4096, "seqpacket", Some(0.50)),
    ("inline_64k", 65536, "seqpacket_64k", Some(0.60)),
    ("view_secure_1m", 1 << 20, "memfd_1m", Some(0.40)),
    ("view_secure_1m_touch1", 1 << 20, "pvm_readv_1m", Some(0.10)),
    ("view_secure_1m_filled", 1 << 20, "pvm_readv_1m", Some(0.25)),
    ("callermem_4k", 4096, "pvm_readv_4k", Some(0.90)),
    ("callermem_1m", 1 << 20, "pvm_readv_1m", Some(1.00)),
    (
        "handle_claimed - alpc_call",
        64,
        "scm_rights - seqpacket",
        Some(0.50),
    ),
    (
        "handle_dropped - alpc_call",
        64,
        "scm_rights - seqpacket",
        Some(0.10),
    ),
    ("alpc_call_10000_ports", 64, "alpc_call", Some(1.05)),
    ("alpc_call_1000_clients", 64, "alpc_call", Some(1.05)),
    ("alpc_oneway", 64, "dgram_mmsg", None),
    ("alpc_async", 64, "alpc_call", None),
    ("alpc_callback", 64, "alpc_call", None),
    ("alpc_connect", 0, "unix_connect", None),
    ("view_sent", 16 << 10, "inline_sent", None),
    ("view_sent", 64 << 10, "inline_sent", None),
    ("callermem_sent", 64 << 10, "inline_sent", None),
    ("callermem_sent", 64 << 10, "view_sent", None),
    ("callermem_sent", 1 << 20, "view_sent", None),
    ("callermem_sent_fresh", 1 << 20, "view_sent", None),
];

fn cost(rows: &[Row], name: &str, bytes: u64) -> Option<f64> {
    match name.split_once(" - ") {
        Some((whole, part)) => Some(median(rows, whole, bytes)? - median(rows, part, bytes)?),
        None => median(rows, name, bytes),
    }
}

fn line(rows: &[Row], &(name, bytes, other, most): &Reach) -> String {
    // Beside what costs nothing there is no ratio.
    let that = cost(rows, other, bytes).filter(|that| *that > 0.0);
    let (Some(this), Some(that)) = (cost(rows, name, bytes), that) else {
        return format!("{name} {bytes} B: not measured beside {other}");
    };
    let ratio = this / that;
    match most {
        Some(most) => format!(
            "{name} {bytes} B: {ratio:.3} of {other}, wanted <= {most:.2}: {}",
            if ratio <= most { "reached" } else { "MISSED" }
        ),
        None => format!("{name} {bytes} B: {ratio:.3} of {other}"),
    }
}

/// A line for each. To miss one is no failure: only to become worse is.
pub fn lines(rows: &[Row]) -> Vec<String> {
    REACH.iter().map(|reach| line(rows, reach)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, bytes: u64, median: f64) -> Row {
        Row {
            name: name.into(),
            bytes,
            median,
        }
    }

    #[test]
    fn reached_missed_and_not_measured() {
        let rows = [
            row("alpc_call", 64, 60.0),
            row("seqpacket", 64, 100.0),
            row("pipe", 64, 61.0),
            row("pipe", 4096, 1.0),
        ];
        let lines = lines(&rows);
        assert_eq!(
            lines[0],
            "alpc_call 64 B: 0.600 of seqpacket, wanted <= 0.63: reached"
        );
        assert!(lines[1].ends_with("not measured beside seqpacket_cred"));
        assert!(lines[2].ends_with("0.984 of pipe, wanted <= 0.90: MISSED"));
    }

    /// What a descriptor costs beyond the message it goes with, here and there.
    const EXTRA: Reach = ("with - without", 64, "other - plain", Some(0.50));

    fn extra(with: f64, other: f64) -> String {
        let rows = [
            row("with", 64, with),
            row("without", 64, 1000.0),
            row("other", 64, other),
            row("plain", 64, 2000.0),
            row("plain", 4096, 1.0),
        ];
        line(&rows, &EXTRA)
    }

    #[test]
    fn what_one_takes_beyond_another_is_held_against_the_same() {
        assert_eq!(
            extra(1100.0, 2200.0),
            "with - without 64 B: 0.500 of other - plain, wanted <= 0.50: reached"
        );
        assert!(extra(1101.0, 2200.0).ends_with(" 0.505 of other - plain, wanted <= 0.50: MISSED"));
        assert!(extra(900.0, 2200.0).ends_with(": reached"));
    }

    #[test]
    fn without_all_four_or_beside_nothing_there_is_no_ratio() {
        let none = "with - without 64 B: not measured beside other - plain";
        assert_eq!(extra(1100.0, 2000.0), none);
        assert_eq!(extra(1100.0, 1900.0), none);
        let all = ["with", "without", "other", "plain"];
        for missing in all {
            let rows: Vec<Row> = all
                .iter()
                .filter(|name| **name != missing)
                .zip([4.0, 3.0, 2.0])
                .map(|(name, median)| row(name, 64, median))
                .collect();
            assert_eq!(line(&rows, &EXTRA), none, "{missing}");
        }
    }
}
