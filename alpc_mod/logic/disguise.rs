// SPDX-License-Identifier: GPL-2.0

//! Numbers that don't say what they count.
//!
//! A counter gives each number once, but who sees two of its numbers knows how many were given
//! between them. A permutation with a secret key gives each number once as well, and says nothing.
#![deny(unsafe_code)]

/// How often the halves are mixed. Four rounds of a good `mix` can't be told from chance.
const ROUNDS: u32 = 4;

/// The number that a permutation of all 64-bit numbers has in the place of `number`.
///
/// It is a Feistel network: whatever `mix` is, no two numbers have the same one. `mix` gives a
/// number of a round and of half a number, and should be secret.
pub fn permute(number: u64, mix: impl Fn(u32, u32) -> u32) -> u64 {
    // CAST: The two halves.
    let (mut left, mut right) = ((number >> 32) as u32, number as u32);
    for round in 0..ROUNDS {
        (left, right) = (right, left ^ mix(round, right));
    }
    (u64::from(left) << 32) | u64::from(right)
}
