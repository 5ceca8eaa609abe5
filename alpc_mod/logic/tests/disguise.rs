// SPDX-License-Identifier: GPL-2.0

//! Numbers that don't say what they count.

use std::collections::BTreeSet;

use alpc_logic::disguise::permute;
use proptest::prelude::*;

/// Something that mixes well enough for a test.
fn mix(key: u64) -> impl Fn(u32, u32) -> u32 {
    move |round, half| {
        let mut x = key ^ ((u64::from(round) << 32) | u64::from(half));
        for _ in 0..3 {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        (x >> 32) as u32
    }
}

#[test]
fn a_counter_gives_each_number_once() {
    for key in [1, u64::MAX] {
        let numbers: BTreeSet<_> = (0..100_000).map(|n| permute(n, mix(key))).collect();
        assert_eq!(numbers.len(), 100_000);
    }
}

#[test]
fn numbers_differ_even_where_nothing_is_mixed() {
    let numbers: BTreeSet<_> = (0..100_000).map(|n| permute(n, |_, _| 0)).collect();
    assert_eq!(numbers.len(), 100_000);
}

#[test]
fn another_key_gives_other_numbers() {
    let same = (0..1000).filter(|&n| permute(n, mix(1)) == permute(n, mix(2)));
    assert_eq!(same.count(), 0);
}

#[test]
fn what_follows_in_the_count_does_not_follow_in_the_numbers() {
    let numbers: Vec<_> = (0..1000).map(|n| permute(n, mix(7))).collect();
    let near = numbers
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 32);
    assert_eq!(near.count(), 0);
}

proptest! {
    #[test]
    fn no_two_numbers_have_the_same(a: u64, b: u64, key: u64) {
        prop_assert_eq!(permute(a, mix(key)) == permute(b, mix(key)), a == b);
    }
}
