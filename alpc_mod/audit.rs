// SPDX-License-Identifier: GPL-2.0

//! Records for the audit daemon: who has impersonated whom.

use crate::{
    charge::Charger,
    cred::Identity,
    ffi,
    logic::allowance,
    names::PortName,
    quota::Account,
    wait::monotonic, //
};
use core::mem::replace;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// How many records a user may cause.
pub(crate) struct Allowance {
    /// When all of it is there again.
    full_at: Atomic<i64>,
    /// Records that there was none for, and that no later record has told of.
    lost: Atomic<u64>,
    /// Whether it is among those that are [`Recent`].
    is_recent: Atomic<bool>,
}

impl Allowance {
    /// All of it.
    pub(crate) const fn new() -> Self {
        Self {
            full_at: Atomic::new(0),
            lost: Atomic::new(0),
            is_recent: Atomic::new(false),
        }
    }

    /// Takes one record's part of the allowance, if there is any left.
    fn take(&self) -> bool {
        let mut full_at = self.full_at.load(Relaxed);
        while let Some(next) = allowance::take(full_at, monotonic()) {
            match self.full_at.cmpxchg(full_at, next, Relaxed) {
                Ok(_) => return true,
                Err(now) => full_at = now,
            }
        }
        false
    }

    /// Takes a record's part of the allowance of each account of `payer`, and gives how many records
    /// were lost before. If one has none left, counts this record as lost.
    fn take_all(payer: &Charger) -> Option<u64> {
        let mut lost = FORGOTTEN.xchg(0, Relaxed);
        for account in payer.counted_accounts() {
            let allowance = &account.audit;
            if !allowance.take() {
                allowance.lost.fetch_add(lost.saturating_add(1), Relaxed);
                return None;
            }
            if !allowance.is_recent.xchg(true, Relaxed) {
                payer.accounts().keep_recent(account);
            }
            lost = lost.saturating_add(allowance.lost.xchg(0, Relaxed));
        }
        Some(lost)
    }
}

/// Records that were lost, and nobody's any more.
static FORGOTTEN: Atomic<u64> = Atomic::new(0);

impl Drop for Allowance {
    fn drop(&mut self) {
        FORGOTTEN.fetch_add(self.lost.load(Relaxed), Relaxed);
    }
}

/// Accounts that stay in the table as long as their allowance is not all there: else who has used it
/// up had it again by letting go of all else that it has.
pub(crate) struct Recent {
    accounts: KVVec<Arc<Account>>,
    /// The index of the account that the next call of `add` looks at first.
    next: usize,
}

impl Recent {
    /// The most accounts. The owner of user namespaces can have a record for each of so many other
    /// users, in namespaces as deep as they can be, before its own allowance has come back.
    const PLACES: usize = 2 * allowance::AT_ONCE as usize * 34;

    /// A list without accounts, with room for all. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            accounts: KVVec::with_capacity(Self::PLACES, GFP_KERNEL)?,
            next: 0,
        })
    }

    /// Adds one, and gives one or two that need not stay, if there are any.
    pub(crate) fn add(&mut self, account: Arc<Account>) -> [Option<Arc<Account>>; 2] {
        let now = monotonic();
        let mut left = [None, None];
        for left in &mut left {
            let is_full = |account: &Arc<Account>| account.audit.full_at.load(Relaxed) <= now;
            if self.accounts.get(self.next).is_some_and(is_full) {
                *left = self.take_next();
            } else {
                self.next = self.next.saturating_add(1);
            }
            if self.next >= self.accounts.len() {
                self.next = 0;
            }
        }
        if self.accounts.len() == Self::PLACES {
            left[0] = self.take_next();
        }
        // There is room, so nothing is allocated and nothing fails.
        let _ = self.accounts.push_within_capacity(account);
        left
    }

    /// Takes the next one out. The last one gets its place.
    fn take_next(&mut self) -> Option<Arc<Account>> {
        let last = self.accounts.pop()?;
        let out = match self.accounts.get_mut(self.next) {
            Some(place) => replace(place, last),
            None => last,
        };
        out.audit.is_recent.store(false, Relaxed);
        Some(out)
    }
}

/// The effective user that the last record of a connection or security context was about. A new
/// record is made for a user that differs from the last one.
pub(crate) struct Recorded(Atomic<u32>);

impl Recorded {
    /// There has been no record.
    pub(crate) const fn new() -> Self {
        // No user has this number.
        Self(Atomic::new(u32::MAX))
    }
}

/// The current thread has taken on the file-access identity of `who`, at a port. It is at the expense
/// of `payer`, who lets itself be impersonated.
pub(crate) fn impersonated(
    who: &Identity,
    recorded: &Recorded,
    name: Option<&PortName>,
    payer: &Charger,
) {
    // SAFETY: It only looks at a number of the kernel's.
    if !unsafe { ffi::alpc_shim_is_audited() } || recorded.0.load(Relaxed) == who.euid() {
        return;
    }
    let Some(lost) = Allowance::take_all(payer) else {
        return;
    };
    let name = name.map_or("", PortName::as_str);
    // CAST: A name has at most `ALPC_NAME_MAX` bytes.
    let length = name.len() as u32;
    // SAFETY: The identity is a valid `struct alpc_identity`, and the name has so many bytes.
    let taken =
        unsafe { ffi::alpc_shim_audit_impersonation(who, name.as_ptr().cast(), length, lost) };
    match taken {
        true => recorded.0.store(who.euid(), Relaxed),
        // It is for a later record to tell.
        false => {
            FORGOTTEN.fetch_add(lost, Relaxed);
        }
    }
}
