// SPDX-License-Identifier: MIT OR Apache-2.0

//! The table, and the same for the machine.

use super::Count;

pub struct Row {
    pub name: &'static str,
    pub bytes: usize,
    pub count: Count,
}

/// What `row` costs beside the mechanism `name` at the same payload.
fn ratio(rows: &[Row], row: &Row, name: &str) -> Option<f64> {
    let other = rows
        .iter()
        .find(|r| r.name == name && r.bytes == row.bytes)?;
    Some(row.count.median as f64 / other.count.median as f64)
}

pub fn print(rows: &[Row]) {
    let show = |ratio: Option<f64>| ratio.map_or("-".into(), |r| format!("{r:.3}"));
    println!(
        "{:<22} {:>7} {:>9} {:>9} {:>12} {:>8}",
        "row", "bytes", "min", "median", "to seqpacket", "to pipe"
    );
    for row in rows {
        println!(
            "{:<22} {:>7} {:>9} {:>9} {:>12} {:>8}",
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
}
