// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the numbers of `alpc-bench` out of the guest's output.

use serde_json::Value;

const BEGIN: &str = "ALPC-BENCH-JSON-BEGIN";
const END: &str = "ALPC-BENCH-JSON-END";
const FILE: &str = "target/bench/icount.json";

/// Rows without which the result is none.
const REQUIRED: &[&str] = &[
    "ioctl_null",
    "alpc_call",
    "eventfd",
    "pipe",
    "posix_mq",
    "seqpacket",
    "seqpacket_cred",
];

/// The document between the marker lines, checked.
fn extract(guest: &str) -> Result<Value, String> {
    let document = guest
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .ok_or("alpc-bench wrote no result")?
        .0;
    let rows: Value =
        serde_json::from_str(document).map_err(|e| format!("alpc-bench's result: {e}"))?;
    let list = rows.as_array().ok_or("alpc-bench's result is not a list")?;
    for row in list {
        let whole = row["name"].is_string()
            && row["bytes"].is_u64()
            && row["median"].is_number()
            && (row["ratio_to_seqpacket"].is_number() || row["ratio_to_seqpacket"].is_null());
        if !whole {
            return Err(format!("not a row: {row}"));
        }
    }
    for name in REQUIRED {
        if !list.iter().any(|row| row["name"] == *name) {
            return Err(format!("the row {name} is missing"));
        }
    }
    Ok(rows)
}

pub fn collect(guest: &str) -> Result<(), String> {
    let rows = extract(guest)?;
    let text = serde_json::to_string_pretty(&rows).map_err(|e| e.to_string())?;
    std::fs::create_dir_all("target/bench")
        .and_then(|()| std::fs::write(FILE, text + "\n"))
        .map_err(|e| format!("{FILE}: {e}"))?;
    println!("bench: {FILE} written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(skip: &str) -> String {
        let rows: Vec<Value> = REQUIRED
            .iter()
            .filter(|name| **name != skip)
            .map(|name| serde_json::json!({"name": name, "bytes": 64, "median": 9, "ratio_to_seqpacket": 0.5}))
            .collect();
        format!("table\n{BEGIN}\n{}\n{END}\n", Value::from(rows))
    }

    #[test]
    fn a_missing_row_is_refused() {
        assert!(extract(&output("")).is_ok());
        for name in REQUIRED {
            assert!(extract(&output(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        assert!(extract("").is_err());
        assert!(extract(&format!("{BEGIN}\n{{}}\n{END}")).is_err());
        assert!(extract(&format!("{BEGIN}\n[{{\"name\": 1}}]\n{END}")).is_err());
        assert!(extract(&format!("{BEGIN}\n[\n{END}")).is_err());
    }
}
