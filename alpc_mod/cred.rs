// SPDX-License-Identifier: GPL-2.0

//! Who somebody was: the identity that a message carries, or that of who has made something.
//!
//! Everything named `current` is about the task that runs. It is meant for system calls: at
//! release and in work items, the current task is anybody.

use crate::ffi;
use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        null,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    ffi::c_void,
    prelude::*, //
};

/// The identity of a sender, as the kernel knew it at the moment of sending.
///
/// It holds references: a number means something only to one namespace, and the receiver's is not
/// known before the message is received. It may be dropped in any context that can sleep, by any
/// task.
///
/// # Invariants
///
/// Owns one reference to each of the first three objects. That to the thread keeps `pids` alive.
#[repr(C)]
pub(crate) struct Identity {
    cred: NonNull<bindings::cred>,
    process: NonNull<bindings::pid>,
    thread: NonNull<bindings::pid>,
    /// The sender's own pid namespace, and the identity as the sender sees it: most receivers are
    /// in the same namespaces, and see the same. Null where that can change, and of a hidden
    /// identity.
    pids: *const bindings::pid_namespace,
    own: Seen,
}

// SAFETY: The three objects are reference counted atomically, and may be released by any task.
unsafe impl Send for Identity {}
// SAFETY: What is read through a shared `Identity` never changes: published credentials are
// immutable, and so are the levels and numbers of a `struct pid`.
unsafe impl Sync for Identity {}

/// Where a task was: what can change while its thread and its credentials are the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    cgroup: u64,
    loginuid: bindings::kuid_t,
    session: u32,
}

impl Origin {
    /// That of the current task.
    pub(crate) fn current() -> Self {
        let mut origin = MaybeUninit::<Self>::uninit();
        // SAFETY: The pointer is valid for writing, and `Origin` has C's layout.
        unsafe { ffi::alpc_shim_origin_get(origin.as_mut_ptr()) };
        // SAFETY: C has filled in every field.
        unsafe { origin.assume_init() }
    }

    /// The audit session, or [`NO_SESSION`].
    pub(crate) fn session(&self) -> u64 {
        u64::from(self.session)
    }
}

/// No audit session.
pub(crate) const NO_SESSION: u64 = u32::MAX as u64;

/// One that made or accepted something, once.
pub(crate) struct Party {
    pub(crate) who: Identity,
    pub(crate) origin: Origin,
}

impl Party {
    /// The current task.
    pub(crate) fn current() -> Self {
        Self {
            who: Identity::current(),
            origin: Origin::current(),
        }
    }
}

/// An [`Identity`] in the numbers of one receiver.
///
/// A process or thread without a number in the receiver's pid namespace is 0, a user or group
/// without one in its user namespace is the overflow id.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The whole of an [`Identity`] in the numbers of one receiver, but what has no fixed size.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) uid: u32,
    pub(crate) euid: u32,
    pub(crate) suid: u32,
    pub(crate) fsuid: u32,
    pub(crate) gid: u32,
    pub(crate) egid: u32,
    pub(crate) sgid: u32,
    pub(crate) fsgid: u32,
    pub(crate) loginuid: u32,
    pub(crate) session: u32,
    pub(crate) user_ns: u32,
    /// How many supplementary groups there are.
    pub(crate) groups: u32,
    pub(crate) cgroup: u64,
    pub(crate) cap_effective: u64,
    pub(crate) cap_permitted: u64,
    pub(crate) cap_inheritable: u64,
    pub(crate) cap_bounding: u64,
    pub(crate) cap_ambient: u64,
}

impl Identity {
    /// Captures the identity of the current task.
    pub(crate) fn current() -> Self {
        let mut id = MaybeUninit::<Self>::uninit();
        // SAFETY: The pointer is valid for writing, and `Identity` has C's layout.
        unsafe { ffi::alpc_shim_identity_get(id.as_mut_ptr()) };
        // INVARIANT: C has taken a reference to each object.
        // SAFETY: C has filled in every field, and a running task has all three objects.
        unsafe { id.assume_init() }
    }

    /// Makes this the identity of the current task.
    ///
    /// Costs a comparison and no reference counting while the same thread sends again with the
    /// same credentials. A change of credentials replaces the whole object, so comparing pointers
    /// misses none; the references held keep the addresses from being used again.
    #[inline(always)]
    pub(crate) fn recapture(&mut self) {
        // SAFETY: There is always a current task, and what it is changes by itself only.
        let (cred, thread) = unsafe {
            let task = bindings::get_current();
            ((*task).cred, (*task).thread_pid)
        };
        // A thread's `struct pid` never belongs to another process, so that need not be compared.
        if cred != self.cred.as_ptr() || thread != self.thread.as_ptr() {
            self.replace_by_current();
        }
    }

    #[cold]
    fn replace_by_current(&mut self) {
        let hidden = self.is_hidden();
        *self = Self::current();
        if hidden {
            self.hide();
        }
    }

    /// Tells nobody of it from now on, whoever it becomes. Nothing else is changed by that: it is
    /// the identity still, for all that the kernel itself decides by it.
    pub(crate) fn hide(&mut self) {
        // SAFETY: By the invariants the objects are alive, and nobody else has this one.
        unsafe { ffi::alpc_shim_identity_hide(self) };
    }

    /// Undoes that.
    pub(crate) fn show(&mut self) {
        // SAFETY: As in `hide`.
        unsafe { ffi::alpc_shim_identity_show(self) };
    }

    /// Whether it is hidden: nobody has the process number 0 in its own namespace.
    pub(crate) fn is_hidden(&self) -> bool {
        self.own.pid == 0
    }

    /// Translates the identity into the namespaces of the current task.
    #[inline]
    pub(crate) fn seen_by_current(&self) -> Seen {
        let mut seen = MaybeUninit::<Seen>::uninit();
        // SAFETY: By the invariants the objects are alive, and `seen` is valid for writing.
        unsafe { ffi::alpc_shim_identity_seen(self, seen.as_mut_ptr()) };
        // SAFETY: C has filled in every field.
        unsafe { seen.assume_init() }
    }

    /// The same with all that an identity has, but groups and label, and with an origin if one is
    /// known.
    pub(crate) fn told_to_current(&self, origin: Option<&Origin>) -> Told {
        let mut told = MaybeUninit::<Told>::uninit();
        let origin = origin.map_or(null(), ptr::from_ref);
        // SAFETY: By the invariants the objects are alive, and `told` is valid for writing.
        unsafe { ffi::alpc_shim_identity_told(self, origin, told.as_mut_ptr()) };
        // SAFETY: C has filled in every field.
        unsafe { told.assume_init() }
    }

    /// A supplementary group in the current task's user namespace, if there are so many.
    pub(crate) fn group(&self, index: u32) -> Option<u32> {
        if self.is_hidden() {
            return None;
        }
        // SAFETY: By the invariants the credentials are alive; published ones never change, nor do
        // their groups.
        let count = unsafe { (*(*self.cred.as_ptr()).group_info).ngroups };
        if i64::from(index) >= i64::from(count) {
            return None;
        }
        // SAFETY: It is within the number.
        Some(unsafe { ffi::alpc_shim_identity_group(self, index) })
    }

    /// Writes the security module's label to `room` bytes of the user's at `addr`, with a final 0,
    /// if it fits. Gives the bytes that it takes, 0 if there is none.
    pub(crate) fn write_label(&self, addr: u64, room: u32) -> Result<u32> {
        if self.is_hidden() {
            return Ok(0);
        }
        // A user address, which C checks.
        let to = addr as usize as *mut c_void;
        // SAFETY: By the invariants the credentials are alive. The address may be anything.
        let needed = unsafe { ffi::alpc_shim_identity_label(self, to, room) };
        u32::try_from(needed).map_err(|_| EFAULT)
    }

    /// Whether it has the very credentials of another one, and is of the same process.
    pub(crate) fn has_credentials_of(&self, other: &Self) -> bool {
        self.cred == other.cred && self.process == other.process
    }

    /// Whether it is of the same process as another one.
    pub(crate) fn is_process_of(&self, other: &Self) -> bool {
        self.process == other.process
    }

    /// Whether the security module's label is this one.
    pub(crate) fn has_label(&self, label: &[u8]) -> bool {
        let Ok(len @ 1..) = u32::try_from(label.len()) else {
            return false;
        };
        // SAFETY: By the invariants the credentials are alive; the label is valid for reading.
        unsafe { ffi::alpc_shim_identity_is_labeled(self, label.as_ptr(), len) }
    }

    /// Whether the process has its number still: it has not been waited for.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: By the invariants the object is alive.
        unsafe { ffi::alpc_shim_identity_is_attached(self) }
    }

    /// Whether it is that of this thread.
    ///
    /// # Safety
    ///
    /// The task is valid, and a thread of a system call.
    pub(crate) unsafe fn is_thread(&self, task: *const bindings::task_struct) -> bool {
        // SAFETY: By the contract; a thread has its number as long as it runs.
        let pid = unsafe { (*task).thread_pid };
        self.thread.as_ptr() == pid
    }

    /// Looks at the credentials that it was captured with.
    pub(crate) fn credentials<T>(&self, look: impl FnOnce(NonNull<bindings::cred>) -> T) -> T {
        look(self.cred)
    }

    /// The effective user, as a kernel id.
    #[inline]
    pub(crate) fn euid(&self) -> u32 {
        // SAFETY: By the invariants the credentials are alive; published ones never change.
        unsafe { (*self.cred.as_ptr()).euid.val }
    }

    /// The effective group, as a kernel id.
    #[inline]
    pub(crate) fn egid(&self) -> u32 {
        // SAFETY: As in `euid`.
        unsafe { (*self.cred.as_ptr()).egid.val }
    }

    /// Its user namespace, which is there as long as this is.
    pub(crate) fn user_namespace(&self) -> *mut bindings::user_namespace {
        // SAFETY: By the invariants the credentials are alive, and hold their namespace; published
        // ones never change.
        unsafe { (*self.cred.as_ptr()).user_ns }
    }

    /// Whether it is in this user namespace or in one that descends from it. The pointer is only
    /// compared.
    pub(crate) fn is_in(&self, namespace: *const bindings::user_namespace) -> bool {
        let mut own: *const bindings::user_namespace = self.user_namespace();
        while !own.is_null() && own != namespace {
            // SAFETY: Credentials hold their namespace, and each namespace its parent, which is set
            // once.
            own = unsafe { (*own).parent };
        }
        !own.is_null()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        // SAFETY: By the invariants the objects are alive.
        unsafe { ffi::alpc_shim_identity_hold(self) };
        // INVARIANT: C has taken another reference to each object.
        Self { ..*self }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // SAFETY: By the invariants, a reference to each is ours to give up.
        unsafe {
            bindings::put_cred(self.cred.as_ptr());
            bindings::put_pid(self.process.as_ptr());
            bindings::put_pid(self.thread.as_ptr());
        }
    }
}
