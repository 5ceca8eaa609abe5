// SPDX-License-Identifier: GPL-2.0

//! Records for the audit daemon: who has impersonated whom.

use crate::{
    charge::Charger,
    cred::Identity,
    ffi,
    logic::allowance,
    names::PortName,
    wait::monotonic, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// How many records a user may cause.
pub(crate) struct Allowance {
    /// When all of it is there again.
    full_at: Atomic<i64>,
    /// Records that there was none for, and that no later record has told of.
    lost: Atomic<u64>,
}

impl Allowance {
    /// All of it.
    pub(crate) const fn new() -> Self {
        Self {
            full_at: Atomic::new(0),
            lost: Atomic::new(0),
        }
    }

    /// Takes one, if it can be had.
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

    /// Takes one of each, and gives how many records were lost before; or counts one that is lost.
    fn take_all<'a>(all: impl Iterator<Item = &'a Self>) -> Option<u64> {
        let mut lost = FORGOTTEN.xchg(0, Relaxed);
        for allowance in all {
            if !allowance.take() {
                allowance.lost.fetch_add(lost.saturating_add(1), Relaxed);
                return None;
            }
            lost = lost.saturating_add(allowance.lost.xchg(0, Relaxed));
        }
        Some(lost)
    }
}

/// Records that were lost, and nobody's any more.
static FORGOTTEN: Atomic<u64> = Atomic::new(0);

/// Whom the last record was about: there is one for each that differs from the last.
pub(crate) struct Recorded(Atomic<u32>);

impl Recorded {
    /// Nobody.
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
    let Some(lost) = Allowance::take_all(payer.allowances()) else {
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
