// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the numbers of `alpc-bench` out of the guest's output, keeps them,
//! and holds them against what is to be reached and what was measured before.

mod baseline;
mod counters;
pub mod document;
mod entry;
mod goals;
mod misses;
mod phases;
mod row;

use crate::options::Options;
use misses::Misses;
use row::{Cost, Row, Said};
use std::path::{Path, PathBuf};

const BEGIN: &str = "ALPC-BENCH-JSON-BEGIN";
const END: &str = "ALPC-BENCH-JSON-END";
const FILE: &str = "target/bench/icount.json";

/// Rows without which the result is none, beside those of a driver.
const REQUIRED: &[&str] = &[
    "ioctl_null",
    "floor",
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
    "dgram_loop",
    "dgram_mmsg",
    "alpc_async",
    "alpc_callback",
    "alpc_connect",
    "unix_connect",
    "alpc_call_10000_ports",
    "alpc_call_1000_clients",
    "alpc_call_1000_waiters",
    "alpc_call_1000_active",
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
    "floor_apart",
    "alpc_call_apart",
    "alpc_oneway_apart",
    "alpc_async_apart",
    "pipe_apart",
    "seqpacket_apart",
];

/// Only some kernels have Binder; where its driver goes along, it is wanted.
const OF_BINDER: &str = "binder_c";

/// Where the plugin writes what it saw.
pub fn trace_file(dir: &Path) -> PathBuf {
    dir.join("trace")
}

/// Where the plugin writes what it counted.
pub fn counters_file(dir: &Path) -> PathBuf {
    dir.join("counters")
}

/// What is to be said, and whether it makes the run fail.
#[derive(Debug, Default, PartialEq)]
pub struct Judgement {
    pub lines: Vec<String>,
    pub red: bool,
}

impl Judgement {
    fn note(&mut self, line: String) {
        self.lines.push(line);
    }

    fn red(&mut self, line: String) {
        self.lines.push(format!("RED {line}"));
        self.red = true;
    }

    /// Prints all of it. True unless red.
    fn print(&self, about: &str) -> bool {
        for line in &self.lines {
            println!("{about}: {line}");
        }
        !self.red
    }
}

/// The document between the marker lines, checked.
fn extract(guest: &str, binder: bool) -> Result<Vec<Said>, String> {
    let document = guest
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .ok_or("alpc-bench wrote no result")?
        .0;
    let rows: Vec<Said> =
        serde_json::from_str(document).map_err(|e| format!("alpc-bench's result: {e}"))?;
    for name in REQUIRED.iter().chain(binder.then_some(&OF_BINDER)) {
        if !rows.iter().any(|row| row.name == *name) {
            return Err(format!("the row {name} is missing"));
        }
    }
    Ok(rows)
}

/// Puts what the plugin counted beside what the guest measured.
fn join(said: Vec<Said>, counters: &[u8]) -> Result<Vec<Row>, String> {
    let dear = counters::of_rows(counters, &said)?;
    let rows = said.into_iter().zip(dear).map(|(said, dear)| Row {
        name: said.name,
        bytes: said.bytes,
        cost: Cost {
            instructions: said.median,
            dear,
        },
    });
    let rows: Vec<Row> = rows.collect();
    // What the module for it does is known, so that it shows whether all is counted.
    let floor = |name| row::find(&rows, name, 64).map(|cost| &cost.dear);
    match (floor("floor"), floor("floor_apart")) {
        (Some(near), Some(far))
            if (near.system_calls, near.switches, near.ipis) == (2.0, 2.0, 0.0)
                && far.system_calls == 2.0
                && far.ipis > 0.0
                && near.locked > 0.0 =>
        {
            Ok(rows)
        }
        other => Err(format!("the plugin counts wrongly: floor {other:?}")),
    }
}

fn table(rows: &[Row]) {
    println!(
        "{:<22} {:>7} {:>9} {:>12} {:>8} {:>7} {:>8} {:>8} {:>6}",
        "row",
        "bytes",
        "median",
        "to seqpacket",
        "to floor",
        "locked",
        "syscalls",
        "switches",
        "IPIs"
    );
    for row in rows {
        let Cost { instructions, dear } = &row.cost;
        let beside = |other: &str| {
            let other = match row.name.ends_with("_apart") {
                true => format!("{other}_apart"),
                false => other.into(),
            };
            let ratio = row::ratio(rows, &row.name, row.bytes, &other, row.bytes);
            ratio.map_or("-".into(), |ratio| format!("{ratio:.3}"))
        };
        println!(
            "{:<22} {:>7} {instructions:>9} {:>12} {:>8} {:>7} {:>8} {:>8} {:>6}",
            row.name,
            row.bytes,
            beside("seqpacket"),
            beside("floor"),
            dear.locked,
            dear.system_calls,
            dear.switches,
            dear.ipis
        );
    }
}

/// Keeps the result and says what is to be said of it. True unless something is
/// red: a median that rose, a goal that is missed for no known reason.
pub fn collect(guest: &str, options: &Options, dir: &Path) -> Result<bool, String> {
    let said = extract(guest, options.has_driver("binder"))?;
    let counters = counters_file(dir);
    let counters = std::fs::read(&counters).map_err(|e| format!("{}: {e}", counters.display()))?;
    let rows = join(said, &counters)?;
    let text = serde_json::to_string_pretty(&rows).map_err(|e| e.to_string())?;
    std::fs::create_dir_all("target/bench")
        .and_then(|()| std::fs::write(FILE, text + "\n"))
        .map_err(|e| format!("{FILE}: {e}"))?;
    println!("bench: {FILE} written");
    table(&rows);
    phases::table(guest, &trace_file(dir))?;

    let goals = goals::claims(&rows);
    println!("\nWhat is to be reached, and what is told beside it, in instructions of one boot:");
    for line in goals.iter().map(|goal| &goal.line) {
        println!("  {line}");
    }
    for line in goals::told(&rows) {
        println!("  {line}");
    }
    println!();
    let misses = Misses::read()?;
    let before = baseline::check(&rows, options.record)?;
    if before.recorded {
        document::write_all()?;
    }
    let mut green = misses.judge_goals(&goals, before.known).print("goals");
    green &= misses
        .judge_rows(&before.claims, before.known)
        .print("best");
    green &= before.judgement.print("baseline");
    println!(
        "bench: {}",
        match green {
            true => "nothing is red",
            false => "RED. BASELINE=record takes a rise; a miss wants its reason in the list",
        }
    );
    Ok(green)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(skip: &str) -> String {
        let rows: Vec<String> = REQUIRED
            .iter()
            .chain([&OF_BINDER])
            .filter(|name| **name != skip)
            .map(|name| {
                format!(
                    r#"{{"name": "{name}", "bytes": 64, "median": 9, "warm_up": 0, "measured": 1, "parts": 1}}"#
                )
            })
            .collect();
        format!("table\n{BEGIN}\n[{}]\n{END}\n", rows.join(","))
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
        assert!(extract(&format!("{BEGIN}\n{{}}\n{END}\n"), false).is_err());
        assert!(extract(
            &format!("{BEGIN}\n[{{\"name\": \"alpc_call\"}}]\n{END}\n"),
            false
        )
        .is_err());
    }

    #[test]
    fn a_plugin_that_sees_no_switch_is_refused() {
        let said = || extract(&output(""), true).expect("rows");
        let counters = |floor: [u32; 4], apart: [u32; 4]| {
            let of = |row: &Said| match row.name.as_str() {
                "floor" => floor,
                "floor_apart" => apart,
                _ => [0; 4],
            };
            let records: Vec<[u32; 4]> = said().iter().map(of).collect();
            let numbers = records.as_flattened().iter();
            numbers
                .flat_map(|number| number.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        assert!(join(said(), &counters([26, 2, 2, 0], [30, 2, 4, 2])).is_ok());
        assert!(join(said(), &counters([26, 2, 0, 0], [30, 2, 4, 2])).is_err());
        assert!(join(said(), &counters([26, 2, 2, 0], [30, 2, 4, 0])).is_err());
        assert!(join(said(), &counters([0, 2, 2, 0], [30, 2, 4, 2])).is_err());
        assert!(join(said(), &[]).is_err());
    }
}
