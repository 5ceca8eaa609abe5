// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the mechanisms cost beside each other, and what was to be reached.

use super::{median, Row};

/// A mechanism at a payload, the one it is held against at the same payload,
/// and the most it may cost of that; without one the ratio is only told.
const REACH: &[(&str, u64, &str, Option<f64>)] = &[
    ("alpc_call", 64, "seqpacket", Some(0.63)),
    ("alpc_call", 64, "seqpacket_cred", Some(0.60)),
    ("alpc_call", 64, "pipe", Some(0.90)),
    ("alpc_call", 64, "binder_c", Some(0.50)),
    ("alpc_call", 4096, "seqpacket", Some(0.50)),
    ("alpc_call_10000_ports", 64, "alpc_call", Some(1.05)),
    ("alpc_call_1000_clients", 64, "alpc_call", Some(1.05)),
    ("alpc_oneway", 64, "dgram_mmsg", None),
    ("alpc_async", 64, "alpc_call", None),
    ("alpc_callback", 64, "alpc_call", None),
    ("alpc_connect", 0, "unix_connect", None),
];

/// A line for each. To miss one is no failure: only to become worse is.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let line = |&(name, bytes, other, most): &(&str, u64, &str, Option<f64>)| {
        let (Some(this), Some(that)) = (median(rows, name, bytes), median(rows, other, bytes))
        else {
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
    };
    REACH.iter().map(line).collect()
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
}
