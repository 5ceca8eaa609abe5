// SPDX-License-Identifier: GPL-2.0

//! Every small arena, in every state, against a map of single pages.

use alpc_logic::ranges::{ahead, find, first_gap, Range};

const TOTAL: u32 = 9;

/// All ways to fill an arena from page `from` on with ranges in order.
fn states(from: u32) -> Vec<Vec<Range>> {
    let mut all = vec![vec![]];
    for start in from..TOTAL {
        for len in 1..=TOTAL - start {
            for mut rest in states(start + len) {
                rest.insert(0, Range { start, len });
                all.push(rest);
            }
        }
    }
    all
}

fn pages(ranges: &[Range]) -> Vec<Option<usize>> {
    let mut map = vec![None; TOTAL as usize];
    for (index, range) in ranges.iter().enumerate() {
        for page in range.start..range.start + range.len {
            assert_eq!(map[page as usize].replace(index), None);
        }
    }
    map
}

#[test]
fn the_gap_found_is_the_first_that_is_free() {
    let states = states(0);
    assert!(states.len() > 1000);
    for ranges in states {
        let map = pages(&ranges);
        for len in 0..=TOTAL + 1 {
            let free = |start: usize| {
                map.get(start..start + len as usize)
                    .is_some_and(|pages| pages.iter().all(Option::is_none))
            };
            for total in 0..=TOTAL {
                let within = |start: &usize| *start as u32 + len <= total && free(*start);
                let expected = (0..TOTAL as usize).find(|start| len != 0 && within(start));
                let found = first_gap(ranges.iter().copied(), total, len);
                assert_eq!(
                    found.map(|(_, start)| start as usize),
                    expected,
                    "{ranges:?} {len} of {total}"
                );
                if let Some((before, start)) = found {
                    let mut after = ranges.clone();
                    after.insert(before, Range { start, len });
                    assert!(after
                        .windows(2)
                        .all(|two| two[0].start + two[0].len <= two[1].start));
                    pages(&after);
                }
            }
        }
    }
}

#[test]
fn a_page_is_found_in_its_range() {
    for ranges in states(0) {
        for (page, expected) in pages(&ranges).into_iter().enumerate() {
            let range = |index| ranges.get(index).copied();
            assert_eq!(
                find(ranges.len(), range, page as u32),
                expected,
                "{ranges:?} {page}"
            );
        }
        assert_eq!(
            find(ranges.len(), |index| ranges.get(index).copied(), TOTAL),
            None
        );
    }
}

#[test]
fn arenas_at_the_end_of_the_numbers_have_room_or_not() {
    let last = Range {
        start: u32::MAX - 1,
        len: 1,
    };
    assert_eq!(first_gap([last].into_iter(), u32::MAX, 1), Some((0, 0)));
    assert_eq!(
        first_gap([last].into_iter(), u32::MAX, u32::MAX - 1),
        Some((0, 0))
    );
    assert_eq!(first_gap([last].into_iter(), u32::MAX, u32::MAX), None);
    let beyond = Range {
        start: u32::MAX,
        len: 2,
    };
    assert_eq!(
        first_gap([beyond].into_iter(), u32::MAX, u32::MAX),
        Some((0, 0))
    );
    assert_eq!(
        first_gap([last, beyond].into_iter(), u32::MAX, u32::MAX),
        None
    );
}

#[test]
fn a_range_used_from_end_to_end_takes_few_faults_and_never_more_pages_than_it_has() {
    for len in 1..=4096 {
        let (mut at, mut faults) = (0, 0);
        while at < len {
            let next = ahead(at, len, at);
            assert!(next >= 1 && at + next <= len);
            at += next;
            faults += 1;
        }
        // As many again each time, and a page table's worth at most.
        let most = 14.min(len.ilog2() + 2) + len / 512;
        assert!(faults <= most, "{len}: {faults}");
        for at in 0..len {
            assert!(ahead(at, len, u32::MAX) == (len - at).min(512));
        }
    }
    assert_eq!(ahead(5, 5, 1), 0);
    assert_eq!(ahead(u32::MAX, 1, 1), 0);
}
