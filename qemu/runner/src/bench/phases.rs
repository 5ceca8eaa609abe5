// SPDX-License-Identifier: MIT OR Apache-2.0
//! Splits a call into its phases, by what the plugin saw of it.
//!
//! A round trip is two legs of one shape: the request, until its receiver is
//! back in its program, and the reply. What marks off the phases of a leg is
//! the module's own code, two functions of the scheduler, and the reads of the
//! sender's memory; no phase depends on how the module is written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

const BEGIN: &str = "ALPC-PHASES-BEGIN";
const END: &str = "ALPC-PHASES-END";
const FILE: &str = "target/bench/phases.json";

/// What the plugin writes between the addresses of instructions.
const END_OF_TRIP: u64 = 0;
const USER_READ: u64 = 1;

const USER_SPACE: u64 = 1 << 47;

/// The phases of a leg, in their order, and what they are.
const PHASES: [(&str, &str); 8] = [
    ("program", "the sender's own code"),
    ("entry", "the system call, until the module has control"),
    (
        "capture",
        "in the module, until all of the caller's memory is read",
    ),
    ("enqueue", "until the message is its receiver's"),
    ("wake", "making the receiver runnable"),
    (
        "switch",
        "going to sleep, the scheduler, until the receiver is in the module",
    ),
    (
        "receive",
        "in the module: the message goes to the receiver's memory",
    ),
    ("exit", "back to the receiver's program"),
];

type Leg = [usize; PHASES.len()];

/// An executed instruction, and whether it read user memory.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Step {
    address: u64,
    reads_user: bool,
}

impl Step {
    fn in_kernel(self) -> bool {
        self.address >= USER_SPACE
    }
}

/// Where in the kernel things are.
#[derive(Default, Debug)]
struct Places {
    alpc: Vec<Range<u64>>,
    wake: Vec<Range<u64>>,
    switch: Vec<Range<u64>>,
}

impl Places {
    fn parse(guest: &str) -> Result<Self, String> {
        let text = guest
            .split_once(BEGIN)
            .and_then(|(_, rest)| rest.split_once(END))
            .ok_or("alpc-bench says nothing about phases")?
            .0;
        let mut places = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, start, end] = words[..] else {
                return Err(format!("not a place: {line}"));
            };
            let address =
                |word| u64::from_str_radix(word, 16).map_err(|_| format!("not a place: {line}"));
            let range = address(start)?..address(end)?;
            match name {
                "alpc" => places.alpc.push(range),
                "wake" => places.wake.push(range),
                "switch" => places.switch.push(range),
                _ => return Err(format!("not a place: {line}")),
            }
        }
        Ok(places)
    }
}

fn within(ranges: &[Range<u64>], step: Step) -> bool {
    ranges.iter().any(|range| range.contains(&step.address))
}

/// The round trips in what the plugin wrote.
fn trips(trace: &[u8]) -> Vec<Vec<Step>> {
    let mut trips = Vec::new();
    let mut trip: Vec<Step> = Vec::new();
    for bytes in trace.chunks_exact(8) {
        match u64::from_le_bytes(bytes.try_into().expect("eight bytes")) {
            END_OF_TRIP => trips.push(std::mem::take(&mut trip)),
            USER_READ => {
                if let Some(last) = trip.last_mut() {
                    last.reads_user = true;
                }
            }
            address => trip.push(Step {
                address,
                reads_user: false,
            }),
        }
    }
    trips
}

/// How often the commonest length occurs, and the first trip that has it: one
/// that no clock tick fell into.
fn usual(trips: &[Vec<Step>]) -> Option<(usize, &[Step])> {
    let mut lengths = BTreeMap::new();
    for trip in trips {
        *lengths.entry(trip.len()).or_insert(0) += 1;
    }
    let (&length, &count) = lengths.iter().max_by_key(|(_, &count)| count)?;
    let trip = trips.iter().find(|trip| trip.len() == length)?;
    Some((count, trip))
}

/// Splits one leg, which ends where its receiver is back in its program.
fn split_leg(leg: &[Step], places: &Places) -> Result<Leg, String> {
    let find = |what: &str, from: usize, test: &dyn Fn(Step) -> bool| {
        leg[from..]
            .iter()
            .position(|&step| test(step))
            .map(|at| from + at)
            .ok_or(format!("a call with no {what}"))
    };
    let ours = |step| within(&places.alpc, step);
    // The call that leads to a place begins behind the module's last
    // instruction before it.
    let left = |at: usize| {
        leg[..at]
            .iter()
            .rposition(|&step| ours(step))
            .map_or(0, |last| last + 1)
    };
    let entry = find("system call", 0, &|step| step.in_kernel())?;
    let module = find("module", entry, &ours)?;
    let wake = left(find("wake-up", module, &|step| within(&places.wake, step))?);
    let woken = find("return from the wake-up", wake, &ours)?;
    let switch = left(find("switch", woken, &|step| within(&places.switch, step))?);
    let receive = find("receiver", switch, &ours)?;
    let exit = leg.iter().rposition(|&step| ours(step)).unwrap_or(receive) + 1;
    let captured = leg[module..wake]
        .iter()
        .rposition(|step| step.reads_user)
        .map_or(module, |last| module + last + 1);
    // What lies between the wake-up and the way to sleep belongs to the switch.
    let bounds = [
        0,
        entry,
        module,
        captured,
        wake,
        woken,
        receive,
        exit,
        leg.len(),
    ];
    let mut counts = [0; PHASES.len()];
    for (count, bounds) in counts.iter_mut().zip(bounds.windows(2)) {
        *count = bounds[1] - bounds[0];
    }
    Ok(counts)
}

/// Splits a round trip: where the program of the other side runs, the second
/// leg begins.
fn split(trip: &[Step], places: &Places) -> Result<[Leg; 2], String> {
    let returns: Vec<usize> = (1..trip.len())
        .filter(|&at| trip[at - 1].in_kernel() && !trip[at].in_kernel())
        .collect();
    let &[turn, end] = &returns[..] else {
        return Err(format!("a round trip with {} returns", returns.len()));
    };
    let request = split_leg(&trip[..turn], places)?;
    let mut reply = split_leg(&trip[turn..end], places)?;
    // What the client does with the reply.
    reply[0] += trip.len() - end;
    Ok([request, reply])
}

fn lines(legs: &[Leg; 2]) -> String {
    let mut text = String::new();
    let total = |leg: &Leg| leg.iter().sum::<usize>();
    for (index, (name, what)) in PHASES.iter().enumerate() {
        let (there, back) = (legs[0][index], legs[1][index]);
        let _ = writeln!(
            text,
            "  {name:<8} {there:>8} {back:>8} {:>8}  {what}",
            there + back
        );
    }
    let (there, back) = (total(&legs[0]), total(&legs[1]));
    let _ = writeln!(
        text,
        "  {:<8} {there:>8} {back:>8} {:>8}",
        "all",
        there + back
    );
    text
}

fn json(legs: &[Leg; 2]) -> String {
    let list: Vec<serde_json::Value> = PHASES
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            serde_json::json!({"phase": name, "request": legs[0][index], "reply": legs[1][index]})
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(list))
}

/// Prints and keeps the table of one call.
pub fn table(guest: &str, trace: &Path) -> Result<(), String> {
    let places = Places::parse(guest)?;
    let bytes = std::fs::read(trace).map_err(|e| format!("{}: {e}", trace.display()))?;
    let trips = trips(&bytes);
    let (count, trip) = usual(&trips).ok_or("no call was traced")?;
    let legs = split(trip, &places)?;
    std::fs::write(FILE, json(&legs)).map_err(|e| format!("{FILE}: {e}"))?;
    println!(
        "\nWhere a call of 64 bytes goes, by a trace of its instructions ({count} of {} calls\n\
         took exactly these). QEMU counts: kernel and module are the ones that ship.",
        trips.len()
    );
    println!(
        "  {:<8} {:>8} {:>8} {:>8}",
        "phase", "request", "reply", "both"
    );
    print!("{}", lines(&legs));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 0xffff_ffff_8000_0000;

    fn places() -> Places {
        let text = format!(
            "x\n{BEGIN}\nalpc {:x} {:x}\nwake {:x} {:x}\nswitch {:x} {:x}\n{END}\n",
            K + 100,
            K + 200,
            K + 300,
            K + 400,
            K + 500,
            K + 600
        );
        Places::parse(&text).expect("places")
    }

    /// A leg, by letters: u program, k kernel, r kernel that reads user memory,
    /// m module, w wake, s switch.
    fn steps(letters: &str) -> Vec<Step> {
        let step = |letter| Step {
            address: match letter {
                'u' => 5,
                'm' => K + 150,
                'w' => K + 350,
                's' => K + 550,
                _ => K,
            },
            reads_user: letter == 'r',
        };
        letters.chars().map(step).collect()
    }

    #[test]
    fn a_leg_is_split_at_its_marks() {
        let leg = split_leg(&steps("uukkkmrrkmmkwkmmkskkmkmkk"), &places()).expect("a leg");
        // Behind the wake-up, the module's two instructions go with the switch.
        assert_eq!(leg, [2, 3, 3, 3, 3, 6, 3, 2]);
    }

    #[test]
    fn a_round_trip_is_two_legs() {
        let trip = steps("ukmrmwmskmkukmrmwmskmkuu");
        let [request, reply] = split(&trip, &places()).expect("a trip");
        assert_eq!(request.iter().sum::<usize>(), 11);
        assert_eq!(reply.iter().sum::<usize>(), 13);
        assert_eq!(reply[0], 3);
    }

    #[test]
    fn other_shapes_are_refused() {
        for letters in ["", "uuu", "ukmmku", "ukmrmwmmkukmrmwmskmku", "ukmrmwmskmku"] {
            assert!(split(&steps(letters), &places()).is_err(), "{letters}");
        }
        assert!(Places::parse("nothing").is_err());
        assert!(Places::parse(&format!("{BEGIN}\nalpc 1\n{END}")).is_err());
    }

    #[test]
    fn the_usual_trip_is_the_one_of_most() {
        let mut trace = Vec::new();
        for value in [
            5,
            K,
            USER_READ,
            END_OF_TRIP,
            5,
            END_OF_TRIP,
            5,
            K,
            END_OF_TRIP,
        ] {
            trace.extend_from_slice(&value.to_le_bytes());
        }
        let trips = trips(&trace);
        assert_eq!(trips.len(), 3);
        let (count, trip) = usual(&trips).expect("a trip");
        assert_eq!((count, trip.len()), (2, 2));
        assert!(trip[1].reads_user);
    }
}
