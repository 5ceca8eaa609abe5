// SPDX-License-Identifier: GPL-2.0

//! Quota chains: every small state, and every order in which two chargers can interleave.

use alpc_logic::quota::{give_back, give_back_all, take, take_all, Account};
use std::cell::Cell;

/// An account of one thread.
#[derive(Clone)]
struct Plain(Cell<u32>);

impl Account for Plain {
    fn try_take(&self, count: u32, limit: u32) -> bool {
        take(self.0.get(), count, limit).is_some_and(|used| {
            self.0.set(used);
            true
        })
    }

    fn give_back(&self, count: u32) {
        self.0
            .set(give_back(self.0.get(), count).expect("given back more than was taken"));
    }
}

const LIMIT: u32 = 3;

/// Every chain of up to four accounts, each with every possible use.
fn chains() -> Vec<Vec<u32>> {
    let mut all = vec![vec![]];
    for length in 1..=4u32 {
        for code in 0..(LIMIT + 1).pow(length) {
            all.push(
                (0..length)
                    .map(|i| code / (LIMIT + 1).pow(i) % (LIMIT + 1))
                    .collect(),
            );
        }
    }
    all
}

fn accounts(used: &[u32]) -> Vec<Plain> {
    used.iter().map(|used| Plain(Cell::new(*used))).collect()
}

fn used(chain: &[Plain]) -> Vec<u32> {
    chain.iter().map(|account| account.0.get()).collect()
}

#[test]
fn a_chain_is_charged_as_a_whole_or_not_at_all() {
    for before in chains() {
        let chain = accounts(&before);
        let fits = before.iter().all(|used| *used < LIMIT);
        assert_eq!(take_all(chain.iter(), 1, LIMIT), fits, "{before:?}");
        let after: Vec<_> = before.iter().map(|used| used + u32::from(fits)).collect();
        assert_eq!(used(&chain), after);
        if fits {
            give_back_all(chain.iter(), 1);
            assert_eq!(used(&chain), before);
        }
    }
}

#[test]
fn a_chain_fills_up_to_its_fullest_account() {
    for before in chains() {
        let chain = accounts(&before);
        let room = before.iter().map(|used| LIMIT - used).min();
        let taken = (0..10)
            .take_while(|_| take_all(chain.iter(), 1, LIMIT))
            .count();
        assert_eq!(taken as u32, room.unwrap_or(10), "{before:?}");
    }
}

#[test]
fn counters_stop_at_both_ends() {
    assert_eq!(take(0, 1, 0), None);
    assert_eq!(take(0, 1, 1), Some(1));
    assert_eq!(take(1, 1, 1), None);
    assert_eq!(take(u32::MAX - 1, 1, u32::MAX), Some(u32::MAX));
    assert_eq!(take(u32::MAX, 1, u32::MAX), None);
    assert_eq!(give_back(0, 1), None);
    assert_eq!(give_back(u32::MAX, 1), Some(u32::MAX - 1));
}

/// One charger's progress through its chain, an account at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Taking(usize),
    Undoing { taken: usize },
    Done(bool),
}

/// What [`take_all`] does next, as a step that others may come between.
fn step(progress: Progress, chain: &[usize], accounts: &[Plain]) -> Progress {
    match progress {
        Progress::Taking(at) if at == chain.len() => Progress::Done(true),
        Progress::Taking(at) if accounts[chain[at]].try_take(1, 1) => Progress::Taking(at + 1),
        Progress::Taking(at) => Progress::Undoing { taken: at },
        Progress::Undoing { taken: 0 } => Progress::Done(false),
        Progress::Undoing { taken } => {
            accounts[chain[taken - 1]].give_back(1);
            Progress::Undoing { taken: taken - 1 }
        }
        done => done,
    }
}

/// Runs both chargers in every order, and checks what every order ends in.
fn interleave(progress: [Progress; 2], chains: [&[usize]; 2], accounts: &[Plain]) -> u32 {
    assert!(
        accounts.iter().all(|account| account.0.get() <= 1),
        "above the limit"
    );
    if let [Progress::Done(first), Progress::Done(second)] = progress {
        for (index, account) in accounts.iter().enumerate() {
            let charged = u32::from(first && chains[0].contains(&index))
                + u32::from(second && chains[1].contains(&index));
            assert_eq!(account.0.get(), charged, "{progress:?}");
        }
        return 1;
    }
    let mut orders = 0;
    for who in 0..2 {
        if matches!(progress[who], Progress::Done(_)) {
            continue;
        }
        let accounts = accounts.to_vec();
        let mut progress = progress;
        progress[who] = step(progress[who], chains[who], &accounts);
        orders += interleave(progress, chains, &accounts);
    }
    orders
}

#[test]
fn two_chargers_never_exceed_a_limit_nor_leave_anything_behind() {
    // Each chain begins with an account of its own, and they meet in ancestors, in either order.
    let start = [Progress::Taking(0), Progress::Taking(0)];
    let accounts = accounts(&[0; 4]);
    let mut orders = 0;
    for chains in [
        [&[0, 2, 3][..], &[1, 2, 3][..]],
        [&[0, 2, 3], &[1, 3, 2]],
        [&[2], &[2]],
    ] {
        orders += interleave(start, chains, &accounts);
    }
    assert!(orders > 100);
}
