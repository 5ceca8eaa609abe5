// SPDX-License-Identifier: GPL-2.0

//! Who calls: the current task as the subject of access checks and limits, and the ids in these.
//!
//! A *kernel id* is the value inside a `kuid_t` or `kgid_t`. It means the same in every user
//! namespace, so only kernel ids are stored; they are translated where they enter and leave.
//! All of it is about the task that runs, and meant for system calls: at release and in work items,
//! the current task is anybody.

use crate::{
    cred::Identity,
    ffi, //
};
use core::cmp::Reverse;
use kernel::{
    bindings,
    prelude::*,
    types::NotThreadSafe, //
};

/// The current task as the subject of an access check, with the credentials of this moment.
pub(crate) struct Caller {
    /// What it says is true of one task only, so it does not travel to another.
    _current: NotThreadSafe,
}

impl Caller {
    /// The current task.
    #[inline]
    pub(crate) fn current() -> Self {
        Self {
            _current: NotThreadSafe,
        }
    }

    /// Whether this kernel id is the caller's effective user.
    pub(crate) fn is_user(&self, kuid: u32) -> bool {
        current_euid() == kuid
    }

    /// Whether the caller's user namespace is the very one that somebody is in.
    pub(crate) fn is_in_namespace_of(&self, who: &Identity) -> bool {
        // SAFETY: There are no requirements: it looks at the current task's own credentials. The
        // namespace is only compared: as the identity holds its own, no other is at that address.
        unsafe { bindings::current_user_ns() == who.user_namespace() }
    }

    /// Whether the caller may do with what somebody has made as if it were its own: because it is
    /// that user, or by `CAP_FOWNER` over the user namespace of who made it.
    pub(crate) fn may_act_as(&self, maker: &Identity) -> bool {
        if self.is_user(maker.euid()) {
            return true;
        }
        // SAFETY: The identity holds its namespace.
        unsafe { is_capable(maker.user_namespace(), bindings::CAP_FOWNER) }
    }

    /// Whether this kernel id is the caller's effective group or one of the supplementary ones.
    pub(crate) fn in_group(&self, kgid: u32) -> bool {
        // SAFETY: There are no requirements: it looks at the current task's own credentials.
        unsafe { bindings::in_egroup_p(bindings::kgid_t { val: kgid }) != 0 }
    }

    /// The caller's effective user, as a number of the user namespace that owns its IPC namespace.
    pub(crate) fn uid_among_names(&self) -> Option<u32> {
        // SAFETY: A task inside a system call has namespaces, and keeps them until it ends. An IPC
        // namespace holds the user namespace that owns it.
        let id =
            unsafe { bindings::from_kuid(ffi::alpc_shim_ipc_user_ns(), bindings::current_euid()) };
        (id != INVALID_ID).then_some(id)
    }

    /// Whether the caller may give ports names that are kept for others.
    pub(crate) fn may_make_any_name(&self) -> bool {
        // SAFETY: As in `uid_among_names`.
        unsafe { is_capable(ffi::alpc_shim_ipc_user_ns(), bindings::CAP_IPC_OWNER) }
    }
}

/// Whether the current task has a capability over a user namespace. Security modules are told that
/// it was used, so this is asked last.
///
/// # Safety
///
/// Somebody holds the namespace.
unsafe fn is_capable(namespace: *mut bindings::user_namespace, capability: u32) -> bool {
    // CAST: There are some forty.
    // SAFETY: By the caller the namespace is alive; nothing else is required.
    unsafe { bindings::ns_capable(namespace, capability as i32) }
}

/// Whether the current task may look at what others have. In its own user namespace the capability
/// is not enough for that: who is root of a container is not to find out who an anonymous client is.
pub(crate) fn is_current_resourceful() -> bool {
    // SAFETY: The first namespace is always there.
    unsafe { is_capable(&raw mut bindings::init_user_ns, bindings::CAP_SYS_RESOURCE) }
}

/// A process, to be compared with another one. While an [`Identity`] from it exists, no other
/// process is the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(usize);

/// The current task's process.
#[inline]
pub(crate) fn current_process() -> Process {
    // SAFETY: There is always a current task, which is in a process as long as it runs.
    let pid = unsafe {
        let task = bindings::get_current();
        (*(*task).signal).pids[bindings::pid_type_PIDTYPE_TGID as usize]
    };
    Process(pid.addr())
}

/// The current credentials' effective user, as a kernel id.
pub(crate) fn current_euid() -> u32 {
    // SAFETY: There are no requirements: it looks at the current task's own credentials.
    unsafe { bindings::current_euid().val }
}

/// The id that no user and no group has, in every namespace.
const INVALID_ID: u32 = u32::MAX;

/// The kernel id of a user in the caller's user namespace, or nothing if there is no such user.
pub(crate) fn kuid_from_user(id: u32) -> Option<u32> {
    // SAFETY: The current credentials hold the namespace for the time of the call.
    let kuid = unsafe { bindings::make_kuid(bindings::current_user_ns(), id) };
    (kuid.val != INVALID_ID).then_some(kuid.val)
}

/// The kernel id of a group in the caller's user namespace, or nothing if there is no such group.
pub(crate) fn kgid_from_user(id: u32) -> Option<u32> {
    // SAFETY: As in `kuid_from_user`.
    let kgid = unsafe { bindings::make_kgid(bindings::current_user_ns(), id) };
    (kgid.val != INVALID_ID).then_some(kgid.val)
}

/// A user in the caller's user namespace: the overflow id if it has no number there.
pub(crate) fn uid_for_user(kuid: u32) -> u32 {
    let kuid = bindings::kuid_t { val: kuid };
    // SAFETY: The current credentials hold the namespace for the time of the call.
    unsafe { bindings::from_kuid_munged(bindings::current_user_ns(), kuid) }
}

/// A group in the caller's user namespace: the overflow id if it has no number there.
pub(crate) fn gid_for_user(kgid: u32) -> u32 {
    let kgid = bindings::kgid_t { val: kgid };
    // SAFETY: As in `uid_for_user`.
    unsafe { bindings::from_kgid_munged(bindings::current_user_ns(), kgid) }
}

/// The numbers of a user and a group that have none: the overflow ids.
pub(crate) fn nobody() -> (u32, u32) {
    (uid_for_user(INVALID_ID), gid_for_user(INVALID_ID))
}

/// The number of the caller's IPC namespace. No other namespace ever has it.
pub(crate) fn ipc_namespace_id() -> u64 {
    // SAFETY: A task inside a system call has namespaces.
    unsafe { ffi::alpc_shim_ipc_ns_id() }
}

/// Who answers for what a task uses, and for what of it.
///
/// The order is that in which who needs a place of each takes them, see
/// [`closing`](crate::closing): what few have together comes before what more have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Accountable {
    /// A user, as a kernel id, for what it uses itself.
    User(u32),
    /// All who are in a user namespace, for what is let go of. Nothing is counted for them.
    Namespace(Namespace),
    /// A user, as a kernel id, for what is used in user namespaces that it owns.
    Owner(u32),
}

impl Accountable {
    /// Whether what is used is counted for it.
    pub(crate) fn is_counted(self) -> bool {
        !matches!(self, Self::Namespace(_))
    }
}

/// A user namespace. The order puts each before those that it is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Namespace {
    level: Reverse<u32>,
    /// No other namespace ever has it.
    id: u64,
}

impl Namespace {
    /// How many it is in.
    pub(crate) fn level(self) -> u32 {
        self.level.0
    }

    /// The namespace's number, which no other namespace ever has.
    pub(crate) fn id(self) -> u64 {
        self.id
    }

    /// The current task's own.
    pub(crate) fn current() -> Self {
        // SAFETY: The current credentials hold the namespace for the time of the call.
        unsafe { Self::of(bindings::current_user_ns()) }
    }

    /// # Safety
    ///
    /// Somebody holds the namespace.
    unsafe fn of(namespace: *const bindings::user_namespace) -> Self {
        // CAST: There are some thirty levels.
        // SAFETY: By the caller. Both are set once.
        let (level, id) = unsafe {
            (
                (*namespace).level as u32,
                ffi::alpc_shim_user_ns_id(namespace),
            )
        };
        Self {
            level: Reverse(level),
            id,
        }
    }
}

/// Calls `f` with each that answers for what the current task uses.
///
/// They are the effective user, then of its user namespace and of every ancestor but the first:
/// that namespace, and its owner. A user who makes users of its own in a namespace has one share
/// for all of them. That is not the one it has itself, or anybody in a container could take all
/// that its owner may have.
pub(crate) fn for_each_accountable(f: impl FnMut(Accountable) -> Result) -> Result {
    accountable_until(|_| false, f)
}

/// Calls `f` with each user that answers for what the current task uses of something that belongs
/// to `owner`: nobody, if it is that very user.
///
/// Owners of namespaces that `owner` is in as well are left out. They answer for both, so inside of
/// their namespaces they don't tell users apart: one of them could use up what all of them have.
pub(crate) fn for_each_accountable_to(
    owner: &Identity,
    mut f: impl FnMut(Accountable) -> Result,
) -> Result {
    if current_euid() == owner.euid() {
        return Ok(());
    }
    accountable_until(
        |namespace| owner.is_in(namespace),
        |who| match who.is_counted() {
            true => f(who),
            false => Ok(()),
        },
    )
}

/// Calls `f` with the effective user, then with its user namespaces and their owners from the
/// inside out, up to the first that is `common` or the ancestor of all.
fn accountable_until(
    common: impl Fn(*const bindings::user_namespace) -> bool,
    mut f: impl FnMut(Accountable) -> Result,
) -> Result {
    f(Accountable::User(current_euid()))?;
    // SAFETY: There are no requirements: it looks at the current task's own credentials.
    let mut namespace: *const bindings::user_namespace = unsafe { bindings::current_user_ns() };
    while !common(namespace) {
        // SAFETY: The current credentials hold their namespace and each namespace its parent, and
        // neither can change during the system call. Parent and owner are set once.
        let (parent, owner) = unsafe { ((*namespace).parent, (*namespace).owner.val) };
        if parent.is_null() {
            break;
        }
        // SAFETY: As above.
        f(Accountable::Namespace(unsafe { Namespace::of(namespace) }))?;
        f(Accountable::Owner(owner))?;
        namespace = parent;
    }
    Ok(())
}
