// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the plugin counted in each timed part, in the order of its file.

use super::row::{Dear, Said};

/// The counters of a timed part, in the plugin's order.
const COUNTERS: usize = 4;

/// Takes the medians of each row out of the plugin's file.
pub fn of_rows(file: &[u8], rows: &[Said]) -> Result<Vec<Dear>, String> {
    let mut parts = file
        .chunks_exact(COUNTERS * size_of::<u32>())
        .map(|record| {
            let mut numbers = record.chunks_exact(size_of::<u32>());
            [(); COUNTERS].map(|()| {
                let bytes = numbers.next().and_then(|bytes| bytes.try_into().ok());
                u32::from_le_bytes(bytes.unwrap_or_default())
            })
        });
    let mut counted = Vec::new();
    for row in rows {
        let runs: Vec<[u32; COUNTERS]> = parts
            .by_ref()
            .take(row.warm_up + row.measured)
            .skip(row.warm_up)
            .collect();
        if row.measured == 0 || runs.len() != row.measured || row.parts == 0 {
            return Err(format!(
                "the plugin saw {} runs of {}",
                runs.len(),
                row.name
            ));
        }
        let median = |counter: usize| {
            let mut counts: Vec<u32> = runs.iter().map(|run| run[counter]).collect();
            counts.sort_unstable();
            let share = f64::from(counts[counts.len() / 2]) / f64::from(row.parts);
            (share * 100.0).round() / 100.0
        };
        counted.push(Dear {
            locked: median(0),
            system_calls: median(1),
            switches: median(2),
            ipis: median(3),
        });
    }
    match parts.next() {
        None => Ok(counted),
        Some(_) => Err("the plugin saw more runs than there were".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(warm_up: usize, measured: usize, parts: u32) -> Said {
        Said {
            name: "row".into(),
            bytes: 64,
            median: 1,
            warm_up,
            measured,
            parts,
        }
    }

    fn file(records: &[[u32; COUNTERS]]) -> Vec<u8> {
        records
            .as_flattened()
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    #[test]
    fn each_row_gets_the_medians_of_its_measured_runs() {
        let records = [
            [900, 9, 9, 9],
            [20, 2, 2, 0],
            [90, 2, 3, 1],
            [21, 2, 2, 0],
            [65, 32, 1, 0],
        ];
        let rows = [said(1, 3, 1), said(0, 1, 32)];
        let counted = of_rows(&file(&records), &rows).expect("counters");
        assert_eq!(
            counted[0],
            Dear {
                locked: 21.0,
                system_calls: 2.0,
                switches: 2.0,
                ipis: 0.0
            }
        );
        assert_eq!(counted[1].locked, 2.03);
        assert_eq!(counted[1].system_calls, 1.0);
    }

    #[test]
    fn a_run_too_few_or_too_many_is_refused() {
        let records = file(&[[1; COUNTERS]; 4]);
        assert!(of_rows(&records, &[said(1, 3, 1)]).is_ok());
        assert!(of_rows(&records, &[said(1, 4, 1)]).is_err());
        assert!(of_rows(&records, &[said(1, 2, 1)]).is_err());
        assert!(of_rows(&records, &[said(4, 0, 1)]).is_err());
    }
}
