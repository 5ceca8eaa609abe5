// SPDX-License-Identifier: GPL-2.0

//! Where an element of a growing table is, in a table of which no part ever moves.
//!
//! A table is a list of *segments*, the first of which has one element and each other twice as
//! many as the one before. To grow, the last segment takes another element or another segment
//! begins: no element is copied to a longer list, so to grow is a few steps however long the
//! table is.
#![deny(unsafe_code)]

/// Where an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of its segment.
    pub segment: u32,
    /// Its number there.
    pub offset: u32,
}

/// Where the element of a number is. `u32::MAX` is the number of none.
#[inline]
pub fn place(number: u32) -> Place {
    let count = number.wrapping_add(1);
    let segment = 31u32.wrapping_sub(count.leading_zeros());
    Place {
        segment,
        offset: count ^ 1u32.wrapping_shl(segment),
    }
}

/// How many elements a segment has.
pub fn len(segment: u32) -> usize {
    1usize.checked_shl(segment).unwrap_or(0)
}
