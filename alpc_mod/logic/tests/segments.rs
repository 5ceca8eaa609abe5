// SPDX-License-Identifier: GPL-2.0

//! Where the elements of a growing table are.

use alpc_logic::segments::{len, place, Place};

#[test]
fn elements_follow_each_other_and_each_segment_is_filled_before_the_next() {
    let mut expected = Place {
        segment: 0,
        offset: 0,
    };
    for number in 0..1 << 20 {
        assert_eq!(place(number), expected, "element {number}");
        expected.offset += 1;
        if expected.offset as usize == len(expected.segment) {
            expected = Place {
                segment: expected.segment + 1,
                offset: 0,
            };
        }
    }
}

#[test]
fn each_segment_is_twice_as_long_as_the_one_before() {
    assert_eq!(len(0), 1);
    for segment in 1..32 {
        assert_eq!(len(segment), 2 * len(segment - 1));
    }
}

#[test]
fn a_number_that_no_table_has_is_in_no_segment_that_a_table_has() {
    for number in [u32::MAX, u32::MAX - 1, u32::MAX / 16] {
        assert!(place(number).segment > 20, "{number}");
    }
}
