// SPDX-License-Identifier: GPL-2.0

//! Ranges of pages in an arena: where there is room for another one, and which one a page is in.
#![deny(unsafe_code)]

/// Some pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub start: u32,
    /// How many. At least one.
    pub len: u32,
}

/// The first gap with room for `len` pages among ranges that are in order and don't overlap, within
/// the first `total` pages of an arena: where it begins, and how many ranges stand before it.
pub fn first_gap(used: impl Iterator<Item = Range>, total: u32, len: u32) -> Option<(usize, u32)> {
    if len == 0 {
        return None;
    }
    let mut start = 0u32;
    let mut before = 0usize;
    for range in used {
        if range.start.min(total).checked_sub(start)? >= len {
            return Some((before, start));
        }
        start = range.start.checked_add(range.len)?;
        before = before.checked_add(1)?;
    }
    (total.checked_sub(start)? >= len).then_some((before, start))
}

/// Which of `count` ranges in order has `page` in it. `range` gives each.
pub fn find(count: usize, range: impl Fn(usize) -> Option<Range>, page: u32) -> Option<usize> {
    // The answer is within `low..high`.
    let (mut low, mut high) = (0usize, count);
    while low < high {
        let middle = low.checked_add(high.checked_sub(low)? / 2)?;
        let at = range(middle)?;
        match page.checked_sub(at.start) {
            None => high = middle,
            Some(offset) if offset < at.len => return Some(middle),
            Some(_) => low = middle.checked_add(1)?,
        }
    }
    None
}

/// Pages that one fault makes present at most: as many as one page table has.
const AHEAD_MAX: u32 = 512;

/// How many pages to make present after a fault at page `at` of a range of `len`, of which `present`
/// are: as many again, up to [`AHEAD_MAX`]. So a range that is used from end to end takes few faults,
/// one that is barely touched takes little work, and no fault takes long.
pub fn ahead(at: u32, len: u32, present: u32) -> u32 {
    present.clamp(1, AHEAD_MAX).min(len.saturating_sub(at))
}
