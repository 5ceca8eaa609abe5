// SPDX-License-Identifier: GPL-2.0

//! Credentials as objects: what they are to file systems, and the current task's change to others.

use crate::{
    cred::Identity,
    ffi,
    logic::impersonate::{
        Guise,
        Person,
        Server, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};

/// Credentials of some task, that one's or former ones.
///
/// # Invariants
///
/// Owns a reference. The credentials have been published, so they never change.
pub(crate) struct Credentials(NonNull<bindings::cred>);

// SAFETY: They are reference counted atomically, and may be released by any task.
unsafe impl Send for Credentials {}
// SAFETY: By the invariants they never change.
unsafe impl Sync for Credentials {}

impl Credentials {
    /// Those that an identity was captured with.
    pub(crate) fn of(identity: &Identity) -> Self {
        identity.credentials(|cred| {
            // SAFETY: The identity keeps them for the time of the call.
            unsafe { Self::get(cred) }
        })
    }

    /// # Safety
    ///
    /// They must be published, and kept by somebody during the call.
    unsafe fn get(cred: NonNull<bindings::cred>) -> Self {
        // SAFETY: By this function's contract.
        unsafe { bindings::get_cred(cred.as_ptr()) };
        // INVARIANT: The reference has just been taken.
        Self(cred)
    }

    fn raw(&self) -> &bindings::cred {
        // SAFETY: By the invariants they are alive, and nobody writes to them but their count.
        unsafe { self.0.as_ref() }
    }

    /// The capabilities that they have over the current task's user namespace: the effective ones,
    /// or all that can be made so. Those of somebody in another namespace say nothing here.
    pub(crate) fn capabilities_here(&self, effective_only: bool) -> u64 {
        // SAFETY: There are no requirements: it looks at the current task's own credentials.
        let here = unsafe { bindings::current_user_ns() };
        let cred = self.raw();
        match (cred.user_ns == here, effective_only) {
            (false, _) => 0,
            (true, true) => cred.cap_effective.val,
            (true, false) => cred.cap_permitted.val,
        }
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        // SAFETY: By the invariants, the reference is ours to give up.
        unsafe { bindings::put_cred(self.0.as_ptr()) };
    }
}

impl Person for Credentials {
    fn user(&self) -> u32 {
        self.raw().fsuid.val
    }

    fn group(&self) -> u32 {
        self.raw().fsgid.val
    }

    fn count(&self) -> u32 {
        // SAFETY: By the invariants the credentials keep it, and it does not change.
        let count = unsafe { (*self.raw().group_info).ngroups };
        u32::try_from(count).unwrap_or(0)
    }

    fn at(&self, index: u32) -> Option<u32> {
        if index >= self.count() {
            return None;
        }
        // SAFETY: By the invariants they are alive, and it is within the number.
        Some(unsafe { ffi::alpc_shim_cred_group(self.0.as_ptr(), index) })
    }
}

/// The current task as one that changes its credentials.
pub(crate) struct Actor {
    now: Credentials,
    /// What it says is true of one task only, so it does not travel to another.
    _current: NotThreadSafe,
}

/// What the current task has taken on, and what it was before.
pub(crate) struct Worn {
    before: Credentials,
    taken: Credentials,
}

impl Actor {
    /// The current task. `EBUSY` if it acts for somebody else, or ends.
    pub(crate) fn current() -> Result<Self> {
        // SAFETY: There are no requirements: it looks at the current task.
        if !unsafe { ffi::alpc_shim_may_change_creds() } {
            return Err(EBUSY);
        }
        // SAFETY: There is always a current task, whose credentials change by itself only.
        let cred = unsafe { (*bindings::get_current()).cred };
        let cred = NonNull::new(cred.cast_mut()).ok_or(EBUSY)?;
        Ok(Self {
            // SAFETY: A task keeps its credentials, and has published them.
            now: unsafe { Credentials::get(cred) },
            _current: NotThreadSafe,
        })
    }

    /// Takes on what has been decided, which is to file systems what `client` is.
    pub(crate) fn take_on(self, client: &Credentials, guise: Guise) -> Result<Worn> {
        // SAFETY: By the invariants they are alive. The current task may change its credentials,
        // as that has been found out by this system call.
        let taken =
            unsafe { ffi::alpc_shim_take_on(client.0.as_ptr(), guise.groups, guise.capabilities) };
        Ok(Worn {
            before: self.now,
            // INVARIANT: C gives a reference, to credentials that are published.
            taken: Credentials(NonNull::new(taken.cast_mut()).ok_or(ENOMEM)?),
        })
    }
}

impl Worn {
    /// Makes the current task again what it was, if that is still to be undone. It must be the one
    /// that has taken it on. `ENOMEM`, and `EBUSY` as for [`Actor::current`], change nothing.
    pub(crate) fn take_off(&self) -> Result {
        // SAFETY: By the invariants both are alive.
        to_result(unsafe { ffi::alpc_shim_revert(self.before.0.as_ptr(), self.taken.0.as_ptr()) })
    }
}

impl Person for Actor {
    fn user(&self) -> u32 {
        self.now.user()
    }

    fn group(&self) -> u32 {
        self.now.group()
    }

    fn count(&self) -> u32 {
        self.now.count()
    }

    fn at(&self, index: u32) -> Option<u32> {
        self.now.at(index)
    }
}

impl Server for Actor {
    fn is_user(&self, id: u32) -> bool {
        let cred = self.now.raw();
        [cred.uid, cred.euid, cred.suid, cred.fsuid]
            .iter()
            .any(|own| own.val == id)
    }

    fn is_in_group(&self, id: u32) -> bool {
        let cred = self.now.raw();
        [cred.gid, cred.egid, cred.sgid, cred.fsgid]
            .iter()
            .any(|own| own.val == id)
    }

    fn has_user(&self, id: u32) -> bool {
        // SAFETY: There are no requirements, as of all below: they look at the current task.
        unsafe { ffi::alpc_shim_has_user(id) }
    }

    fn has_group(&self, id: u32) -> bool {
        // SAFETY: As in `has_user`.
        unsafe { ffi::alpc_shim_has_group(id) }
    }

    fn may_set_users(&self) -> bool {
        // SAFETY: As in `has_user`.
        unsafe { ffi::alpc_shim_may_set_users() }
    }

    fn may_set_group(&self) -> bool {
        // SAFETY: As in `has_user`.
        unsafe { ffi::alpc_shim_may_set_group() }
    }

    fn may_set_groups(&self) -> bool {
        // SAFETY: As in `has_user`.
        unsafe { ffi::alpc_shim_may_set_groups() }
    }

    fn is_superuser(&self, id: u32) -> bool {
        // SAFETY: As in `has_user`.
        unsafe { ffi::alpc_shim_is_superuser(id) }
    }

    fn capabilities(&self) -> u64 {
        let cred = self.now.raw();
        cred.cap_effective.val & cred.cap_permitted.val
    }

    fn of_file_systems(&self) -> u64 {
        // SAFETY: As in `has_user`.
        unsafe { ffi::alpc_shim_fs_capabilities() }
    }
}
