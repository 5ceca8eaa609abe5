// SPDX-License-Identifier: MIT OR Apache-2.0

//! The result, for the runner: `qemu/runner/src/bench/` makes tables of it.

use super::Count;

pub struct Row {
    pub name: &'static str,
    pub bytes: usize,
    pub count: Count,
}

/// Prints the rows in the order in which they were measured.
pub fn print(rows: &[Row]) {
    println!("ALPC-BENCH-JSON-BEGIN");
    println!("[");
    for (index, row) in rows.iter().enumerate() {
        let Count {
            runs,
            parts,
            median,
        } = row.count;
        let comma = if index + 1 < rows.len() { "," } else { "" };
        println!(
            "  {{ \"name\": \"{}\", \"bytes\": {}, \"median\": {median}, \
             \"warm_up\": {}, \"measured\": {}, \"parts\": {parts} }}{comma}",
            row.name, row.bytes, runs.warm_up, runs.measured,
        );
    }
    println!("]");
    println!("ALPC-BENCH-JSON-END");
}
