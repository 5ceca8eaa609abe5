// SPDX-License-Identifier: GPL-2.0

//! An allowance: some at once, and then one at a time.
#![deny(unsafe_code)]

/// How long one takes to come back, in nanoseconds.
pub const EACH: i64 = 100_000_000;

/// How many can be had at once.
pub const AT_ONCE: i64 = 64;

/// Takes one at the time `now`. The state of an allowance is one time, `full_at`: when all that was
/// taken will have come back. Gives the new state, or nothing if there is none left to take.
pub fn take(full_at: i64, now: i64) -> Option<i64> {
    let next = full_at.max(now).checked_add(EACH)?;
    let all = now.checked_add(AT_ONCE * EACH)?;
    (next <= all).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(full_at: &mut i64, now: i64) -> i64 {
        let mut count = 0;
        while let Some(next) = take(*full_at, now) {
            *full_at = next;
            count += 1;
        }
        count
    }

    #[test]
    fn so_many_are_had_at_once_and_then_one_at_a_time() {
        let mut full_at = 0;
        let now = 1_000_000_000_000;
        assert_eq!(had(&mut full_at, now), AT_ONCE);
        assert_eq!(had(&mut full_at, now + EACH - 1), 0);
        assert_eq!(had(&mut full_at, now + EACH), 1);
        assert_eq!(had(&mut full_at, now + 4 * EACH), 3);
    }

    #[test]
    fn no_more_comes_back_than_there_was() {
        let mut full_at = 0;
        assert_eq!(had(&mut full_at, 5), AT_ONCE);
        assert_eq!(had(&mut full_at, 1 << 60), AT_ONCE);
    }

    #[test]
    fn there_is_none_to_be_had_at_the_end_of_time() {
        let mut full_at = 0;
        assert_eq!(had(&mut full_at, i64::MAX - 1), 0);
    }
}
