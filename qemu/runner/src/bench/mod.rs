// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the numbers of `alpc-bench` out of the guest's output, keeps them,
//! and holds them against what was to be reached and what was measured before.

mod baseline;
mod phases;
mod reach;

use crate::options::Options;
use serde_json::Value;
use std::path::{Path, PathBuf};

const BEGIN: &str = "ALPC-BENCH-JSON-BEGIN";
const END: &str = "ALPC-BENCH-JSON-END";
const FILE: &str = "target/bench/icount.json";

/// Rows without which the result is none, beside those of a driver.
const REQUIRED: &[&str] = &[
    "ioctl_null",
    "alpc_call",
    "eventfd",
    "futex",
    "pipe",
    "posix_mq",
    "stream",
    "dgram",
    "seqpacket",
    "seqpacket_cred",
    "alpc_oneway",
    "dgram_mmsg",
    "alpc_async",
    "alpc_callback",
    "alpc_connect",
    "unix_connect",
    "alpc_call_10000_ports",
    "alpc_call_1000_clients",
    "inline_64k",
    "seqpacket_64k",
    "memfd_1m",
    "view_secure_1m",
    "view_secure_1m_touch1",
    "view_secure_1m_filled",
    "pvm_readv_4k",
    "pvm_readv_1m",
    "callermem_4k",
    "callermem_1m",
    "scm_rights",
    "handle_claimed",
    "handle_dropped",
    "inline_sent",
    "view_sent",
    "callermem_sent",
    "callermem_sent_fresh",
];

/// Only some kernels have Binder; where its driver goes along, it is wanted.
const OF_BINDER: &str = "binder_c";

/// A mechanism at one payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub bytes: u64,
    pub median: f64,
}

/// Where the plugin writes what it saw.
pub fn trace_file(dir: &Path) -> PathBuf {
    dir.join("trace")
}

/// What a mechanism costs at a payload, if it was measured.
fn median(rows: &[Row], name: &str, bytes: u64) -> Option<f64> {
    rows.iter()
        .find(|row| row.name == name && row.bytes == bytes)
        .map(|row| row.median)
}

/// The document between the marker lines, checked.
fn extract(guest: &str, binder: bool) -> Result<(Value, Vec<Row>), String> {
    let document = guest
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .ok_or("alpc-bench wrote no result")?
        .0;
    let result: Value =
        serde_json::from_str(document).map_err(|e| format!("alpc-bench's result: {e}"))?;
    let list = result
        .as_array()
        .ok_or("alpc-bench's result is not a list")?;
    let mut rows = Vec::new();
    for row in list {
        let ratio = &row["ratio_to_seqpacket"];
        match (
            row["name"].as_str(),
            row["bytes"].as_u64(),
            row["median"].as_f64(),
        ) {
            (Some(name), Some(bytes), Some(median)) if ratio.is_number() || ratio.is_null() => rows
                .push(Row {
                    name: name.into(),
                    bytes,
                    median,
                }),
            _ => return Err(format!("not a row: {row}")),
        }
    }
    for name in REQUIRED.iter().chain(binder.then_some(&OF_BINDER)) {
        if !rows.iter().any(|row| row.name == *name) {
            return Err(format!("the row {name} is missing"));
        }
    }
    Ok((result, rows))
}

/// Keeps the result and says what is to be said of it. True unless a median
/// rose above what it was.
pub fn collect(guest: &str, options: &Options, dir: &Path) -> Result<bool, String> {
    let (result, rows) = extract(guest, !options.drivers.is_empty())?;
    let text = serde_json::to_string_pretty(&result).map_err(|e| e.to_string())?;
    std::fs::create_dir_all("target/bench")
        .and_then(|()| std::fs::write(FILE, text + "\n"))
        .map_err(|e| format!("{FILE}: {e}"))?;
    println!("bench: {FILE} written");
    if options.plugin.is_some() {
        phases::table(guest, &trace_file(dir))?;
    }
    println!("\nWhat was to be reached, in instructions:");
    for line in reach::lines(&rows) {
        println!("  {line}");
    }
    println!();
    baseline::check(&rows, options.record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(skip: &str) -> String {
        let rows: Vec<Value> = REQUIRED
            .iter()
            .chain([&OF_BINDER])
            .filter(|name| **name != skip)
            .map(|name| serde_json::json!({"name": name, "bytes": 64, "median": 9, "ratio_to_seqpacket": 0.5}))
            .collect();
        format!("table\n{BEGIN}\n{}\n{END}\n", Value::from(rows))
    }

    #[test]
    fn a_missing_row_is_refused() {
        assert!(extract(&output(""), true).is_ok());
        for name in REQUIRED {
            assert!(extract(&output(name), false).is_err(), "{name}");
        }
        assert!(extract(&output(OF_BINDER), true).is_err());
        assert!(extract(&output(OF_BINDER), false).is_ok());
    }

    #[test]
    fn other_shapes_are_refused() {
        assert!(extract("", false).is_err());
        assert!(extract(&format!("{BEGIN}\n{{}}\n{END}"), false).is_err());
        assert!(extract(&format!("{BEGIN}\n[{{\"name\": 1}}]\n{END}"), false).is_err());
        assert!(extract(&format!("{BEGIN}\n[\n{END}"), false).is_err());
    }
}
