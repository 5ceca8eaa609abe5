// SPDX-License-Identifier: GPL-2.0

//! The arithmetic of quotas: something is charged to every account of a chain, or to none.
//!
//! A chain is the accounts of all who answer for one task. Accounts are shared between tasks and
//! are not locked together, so a chain that turns out to be full at its end has charged its
//! beginning for a moment. Nobody ever exceeds a limit, not even for that moment.
#![deny(unsafe_code)]

/// The account after `count` more are taken, or nothing if that is above the limit.
pub fn take(used: u32, count: u32, limit: u32) -> Option<u32> {
    used.checked_add(count).filter(|used| *used <= limit)
}

/// The account after `count` are given back, or nothing if less were taken.
pub fn give_back(used: u32, count: u32) -> Option<u32> {
    used.checked_sub(count)
}

/// One account that tasks share, changed by [`take`] and [`give_back`] atomically.
pub trait Account {
    /// Takes `count`, and says whether the limit allowed it.
    fn try_take(&self, count: u32, limit: u32) -> bool;
    /// Gives `count` back that were taken before.
    fn give_back(&self, count: u32);
}

/// Takes `count` from every account of the chain, and says whether every limit allowed it.
///
/// If one did not, all accounts are as if nothing had happened.
pub fn take_all<'a, A, I>(chain: I, count: u32, limit: u32) -> bool
where
    A: Account + 'a,
    I: Iterator<Item = &'a A> + Clone,
{
    for (taken, account) in chain.clone().enumerate() {
        if !account.try_take(count, limit) {
            give_back_all(chain.take(taken), count);
            return false;
        }
    }
    true
}

/// Gives back what [`take_all`] took.
pub fn give_back_all<'a, A, I>(chain: I, count: u32)
where
    A: Account + 'a,
    I: Iterator<Item = &'a A>,
{
    chain.for_each(|account| account.give_back(count));
}
