// SPDX-License-Identifier: MIT OR Apache-2.0

//! The table, the JSON for the machine, and what was to be reached.

use super::Count;

pub struct Row {
    pub name: &'static str,
    pub bytes: usize,
    pub count: Count,
}

/// A mechanism, a payload, and the most it may cost beside another mechanism.
const TARGETS: [(&str, usize, f64, &str); 4] = [
    ("alpc_call", 64, 0.63, "seqpacket"),
    ("alpc_call", 64, 0.60, "seqpacket_cred"),
    ("alpc_call", 64, 0.90, "pipe"),
    ("alpc_call", 4096, 0.50, "seqpacket"),
];

/// What `row` costs beside the mechanism `name` at the same payload.
fn ratio(rows: &[Row], row: &Row, name: &str) -> Option<f64> {
    let other = find(rows, name, row.bytes)?;
    Some(row.count.median as f64 / other.count.median as f64)
}

fn find<'a>(rows: &'a [Row], name: &str, bytes: usize) -> Option<&'a Row> {
    rows.iter().find(|r| r.name == name && r.bytes == bytes)
}

pub fn print(rows: &[Row]) {
    let show = |ratio: Option<f64>| ratio.map_or("-".into(), |r| format!("{r:.3}"));
    println!(
        "{:<16} {:>6} {:>9} {:>9} {:>12} {:>8}",
        "row", "bytes", "min", "median", "to seqpacket", "to pipe"
    );
    for row in rows {
        println!(
            "{:<16} {:>6} {:>9} {:>9} {:>12} {:>8}",
            row.name,
            row.bytes,
            row.count.min,
            row.count.median,
            show(ratio(rows, row, "seqpacket")),
            show(ratio(rows, row, "pipe")),
        );
    }

    println!("ALPC-BENCH-JSON-BEGIN");
    println!("[");
    for (index, row) in rows.iter().enumerate() {
        let ratio = ratio(rows, row, "seqpacket").map_or("null".into(), |r| format!("{r:.4}"));
        println!(
            "  {{ \"name\": \"{}\", \"bytes\": {}, \"median\": {}, \"ratio_to_seqpacket\": {} }}{}",
            row.name,
            row.bytes,
            row.count.median,
            ratio,
            if index + 1 < rows.len() { "," } else { "" },
        );
    }
    println!("]");
    println!("ALPC-BENCH-JSON-END");

    for (name, bytes, most, other) in TARGETS {
        let got = find(rows, name, bytes).and_then(|row| ratio(rows, row, other));
        let verdict = match got {
            Some(got) if got <= most => format!("{got:.3} reached"),
            Some(got) => format!("{got:.3} missed"),
            None => "not measured".into(),
        };
        println!("{name} {bytes} <= {most:.2} of {other}: {verdict}");
    }
}
