// SPDX-License-Identifier: GPL-2.0

//! The functions of `shim/shim.c` and `shim/peer.c`, which hold what C offers only as inline
//! functions and macros.
//!
//! Nothing here has a policy of its own. Each function is wrapped by the one file that needs it.

use crate::{
    cred::{
        Identity,
        Origin,
        Seen,
        Told, //
    },
    peer::Pins, //
};
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int,
        c_long,
        c_uint,
        c_ulong,
        c_void, //
    },
};

/// How a sleep ended. `enum alpc_end` of `shim.h`.
#[derive(Clone, Copy)]
#[repr(u32)]
#[expect(dead_code, reason = "C makes them")]
pub(crate) enum End {
    /// With what was waited for.
    Done,
    /// The same, and the task is being killed.
    DoneDying,
    /// With a signal.
    Signal,
    /// The same, and the task is being killed.
    Killed,
    /// With the deadline.
    TimedOut,
    /// With a call for something that the task does while it waits.
    Called,
}

/// What hears of a thread's end. `struct alpc_watch` of `thread_end.c`.
#[repr(C)]
pub(crate) struct Watch {
    _opaque: [u8; 0],
}

/// What interrupts a task at a time. `struct alpc_alarm` of `shim.h`.
#[repr(C)]
pub(crate) struct Alarm {
    timer: bindings::hrtimer,
    task: *mut bindings::task_struct,
    rung: bool,
}

/// What ends a fetch of pages beside a signal. `struct alpc_fetch` of `shim.h`.
#[repr(C)]
pub(crate) struct Fetch {
    pub(crate) done: *const bool,
    pub(crate) unwanted: *const bool,
    pub(crate) deadline: *const i64,
    pub(crate) clock: c_int,
    pub(crate) own: MaybeUninit<FetchOwn>,
}

/// The part of a [`Fetch`] that only C uses.
#[repr(C)]
pub(crate) struct FetchOwn {
    timer: bindings::hrtimer,
    task: *mut bindings::task_struct,
    expires: i64,
    over: bool,
}

#[expect(
    improper_ctypes,
    reason = "the kernel's structures have empty members, by which C passes nothing"
)]
extern "C" {
    /// Makes a file on the anonymous inode, or on one of its own. Takes over `data` unless it
    /// returns an error pointer.
    pub(crate) fn alpc_shim_anon_inode_getfile(
        name: *const c_char,
        fops: *const bindings::file_operations,
        data: *mut c_void,
        flags: c_int,
        own_inode: bool,
    ) -> *mut bindings::file;

    /// Whether the last who had a table of descriptors has let go of it.
    pub(crate) fn alpc_shim_is_table_ending(files: *mut bindings::files_struct) -> bool;

    /// Begins to hear of the ends of threads: `ended` is called, in a worker, with the data of
    /// those watches whose thread has ended, and `forget` with that of a watch that is no more.
    /// 0, or a negative errno.
    pub(crate) fn alpc_shim_watches_begin(
        ended: unsafe extern "C" fn(data: *mut c_void),
        forget: unsafe extern "C" fn(data: *mut c_void),
    ) -> c_int;

    /// Ends that, and waits for what is under way. There must be no watch.
    pub(crate) fn alpc_shim_watches_end();

    /// Watches the current thread. Takes over `data`, unless there is no memory: then it is null.
    /// It waits for none.
    pub(crate) fn alpc_shim_watch(data: *mut c_void) -> *mut Watch;

    /// Gives up a watch.
    pub(crate) fn alpc_shim_unwatch(watch: *mut Watch);

    /// When the current thread began.
    pub(crate) fn alpc_shim_thread_start() -> u64;

    /// Makes the module's directory in debugfs with a file for the administrator in it, or gives
    /// an error pointer.
    pub(crate) fn alpc_shim_debugfs_make(
        name: *const c_char,
        data: *mut c_void,
        fops: *const bindings::file_operations,
    ) -> *mut bindings::dentry;

    /// Removes what that has made, if anything, and waits for who reads it.
    pub(crate) fn alpc_shim_debugfs_remove(directory: *mut bindings::dentry);

    /// The pages of memory that the machine has.
    pub(crate) fn alpc_shim_totalram_pages() -> c_ulong;

    /// Allocates an accounted page of zeroes. Null when there is none.
    pub(crate) fn alpc_shim_alloc_page() -> *mut bindings::page;

    /// Frees it.
    pub(crate) fn alpc_shim_free_page(page: *mut bindings::page);

    /// Makes pages present in a mapping, from its fault handler.
    pub(crate) fn alpc_shim_insert_pages(
        vma: *mut bindings::vm_area_struct,
        addr: usize,
        pages: *const *mut bindings::page,
        count: u32,
    ) -> bindings::vm_fault_t;

    /// Sets a mapping up that is being made. 0 or a negative errno.
    pub(crate) fn alpc_shim_set_up_mapping(
        vma: *mut bindings::vm_area_struct,
        operations: *const bindings::vm_operations_struct,
        data: *mut c_void,
        pages: c_ulong,
        writable: bool,
    ) -> c_int;

    /// Maps a file into the current process. An address or a negative errno.
    pub(crate) fn alpc_shim_map(file: *mut bindings::file, size: usize, writable: bool) -> isize;

    /// Allocates accounted memory that is not zeroed. Null when there is none.
    pub(crate) fn alpc_shim_kvmalloc(size: usize) -> *mut c_void;

    /// Copies 72 bytes from user space to the aligned `to`. 0 or a negative errno.
    pub(crate) fn alpc_shim_copy_from_user_72(to: *mut u64, from: *const u64) -> c_int;

    /// Copies 80 bytes from the aligned `from` to user space. 0 or a negative errno.
    pub(crate) fn alpc_shim_copy_to_user_80(to: *mut u64, from: *const u64) -> c_int;

    /// The one `ALPC_HANDLE_*` that a file surely is, or 0.
    pub(crate) fn alpc_shim_file_kind(file: *mut bindings::file) -> u32;

    /// Gives a reference to a file up, unless it is the last one.
    pub(crate) fn alpc_shim_put_unless_last(file: *mut bindings::file) -> bool;

    /// Gives the last reference to a file up, and waits for the end of the file.
    pub(crate) fn alpc_shim_close_last(file: *mut bindings::file);

    /// Whether the current system call is a 32-bit one.
    pub(crate) fn alpc_shim_is_compat() -> bool;

    /// Fills in the current task's identity and takes the references that it holds.
    pub(crate) fn alpc_shim_identity_get(id: *mut Identity);

    /// Takes another reference to each object of an identity.
    pub(crate) fn alpc_shim_identity_hold(id: *const Identity);

    /// Finds out how the sender of an identity sees itself.
    pub(crate) fn alpc_shim_identity_show(id: *mut Identity);

    /// Hides an identity from whoever is told of it.
    pub(crate) fn alpc_shim_identity_hide(id: *mut Identity);

    /// Fills in where the current task is.
    pub(crate) fn alpc_shim_origin_get(origin: *mut Origin);

    /// Translates an identity into the namespaces of the current task.
    pub(crate) fn alpc_shim_identity_seen(id: *const Identity, seen: *mut Seen);

    /// Fills in the whole of an identity as the current task sees it. The origin may be null.
    pub(crate) fn alpc_shim_identity_told(
        id: *const Identity,
        origin: *const Origin,
        told: *mut Told,
    );

    /// A supplementary group as the current task sees it. `index` must be within their number.
    pub(crate) fn alpc_shim_identity_group(id: *const Identity, index: u32) -> u32;

    /// Whether the security module's label is this one of `len` bytes, which are not 0.
    pub(crate) fn alpc_shim_identity_is_labeled(
        id: *const Identity,
        label: *const u8,
        len: u32,
    ) -> bool;

    /// Whether anybody wants audit records.
    pub(crate) fn alpc_shim_is_audited() -> bool;

    /// Records that the current thread has taken on an identity, at a port of a name of `len`
    /// bytes, and how many such records were lost. Says whether the audit system takes it.
    pub(crate) fn alpc_shim_audit_impersonation(
        sender: *const Identity,
        name: *const c_char,
        len: u32,
        lost: u64,
    ) -> bool;

    /// Whether the process of an identity has its number still.
    pub(crate) fn alpc_shim_identity_is_attached(id: *const Identity) -> bool;

    /// Writes the security module's label to user space if it fits, and gives the bytes that it
    /// takes, or `-EFAULT`.
    pub(crate) fn alpc_shim_identity_label(
        id: *const Identity,
        to: *mut c_void,
        room: u32,
    ) -> c_long;

    /// Whether the current task may change its credentials.
    pub(crate) fn alpc_shim_may_change_creds() -> bool;

    /// A supplementary group as a kernel id. `index` must be within their number.
    pub(crate) fn alpc_shim_cred_group(cred: *const bindings::cred, index: u32) -> u32;

    /// Whether a user has a number in the current task's user namespace.
    pub(crate) fn alpc_shim_has_user(id: u32) -> bool;

    /// The same of a group.
    pub(crate) fn alpc_shim_has_group(id: u32) -> bool;

    /// Whether the current task has the capability to become another user.
    pub(crate) fn alpc_shim_may_set_users() -> bool;

    /// The same of a group.
    pub(crate) fn alpc_shim_may_set_group() -> bool;

    /// Whether the current task may change its list of groups.
    pub(crate) fn alpc_shim_may_set_groups() -> bool;

    /// Whether a user is the superuser of the current task's user namespace.
    pub(crate) fn alpc_shim_is_superuser(id: u32) -> bool;

    /// The capabilities that go with a file system user id of the superuser's.
    pub(crate) fn alpc_shim_fs_capabilities() -> u64;

    /// Makes the current task what others are to file systems. A reference to its new credentials,
    /// or null.
    pub(crate) fn alpc_shim_take_on(
        like: *const bindings::cred,
        groups: bool,
        capabilities: u64,
    ) -> *const bindings::cred;

    /// Undoes that. 0 or a negative errno.
    pub(crate) fn alpc_shim_revert(
        before: *const bindings::cred,
        taken: *const bindings::cred,
    ) -> c_int;

    /// The number of the current task's IPC namespace, which is never used again.
    pub(crate) fn alpc_shim_ipc_ns_id() -> u64;

    /// The number of a user namespace, which is never used again.
    pub(crate) fn alpc_shim_user_ns_id(namespace: *const bindings::user_namespace) -> u64;

    /// The user namespace that owns the current task's IPC namespace.
    pub(crate) fn alpc_shim_ipc_user_ns() -> *mut bindings::user_namespace;

    /// `CLOCK_MONOTONIC` as the current task's time namespace has it.
    pub(crate) fn alpc_shim_monotonic() -> i64;

    /// Whether a time of a clock has come, as the current task's time namespace has that.
    pub(crate) fn alpc_shim_is_over(time: i64, clock: i32) -> bool;

    /// Sleeps until `*done`, a signal, `*called` or the deadline, by the current task's time
    /// namespace. The last two may be null.
    pub(crate) fn alpc_shim_sleep(
        done: *const bool,
        called: *const bool,
        deadline: *const i64,
        clock: c_int,
    ) -> End;

    /// Wakes a task for a caller that is about to sleep.
    pub(crate) fn alpc_shim_wake_up_and_yield(task: *mut bindings::task_struct);

    /// Begins a moment in which the current thread is not preempted, but with PREEMPT_RT.
    pub(crate) fn alpc_shim_faults_off();
    pub(crate) fn alpc_shim_faults_on();
    pub(crate) fn alpc_shim_stay_begin();

    /// Ends it.
    pub(crate) fn alpc_shim_stay_end();

    /// Begins an RCU read-side section in which the task to be handed over to is found, and which
    /// one of the two below ends. Gives the current task.
    pub(crate) fn alpc_shim_hand_over_begin() -> *mut bindings::task_struct;

    /// Ends that section.
    pub(crate) fn alpc_shim_hand_over_abort();

    /// Wakes the task, ends the section, and sleeps until `*done` or a signal.
    pub(crate) fn alpc_shim_hand_over(task: *mut bindings::task_struct, done: *const bool) -> End;

    /// Whether a user may have memory there.
    pub(crate) fn alpc_shim_is_user_range(addr: u64, length: u64) -> bool;

    /// Holds pages of another process that are there. 0 or a negative errno. See `shim/peer.c`.
    pub(crate) fn alpc_shim_pin(
        mm: *mut bindings::mm_struct,
        theirs: usize,
        length: c_uint,
        write: bool,
        pins: *mut Pins,
    ) -> c_int;

    /// Moves bytes between a held page and own ones that are there. How many.
    pub(crate) fn alpc_shim_copy(
        held: *mut bindings::page,
        offset: c_uint,
        own: *mut c_void,
        length: c_uint,
        write: bool,
    ) -> c_uint;

    /// Locks a page that is pinned to be written to, and marks it dirty, if that can be at once.
    pub(crate) fn alpc_shim_write_begin(page: *mut bindings::page) -> bool;

    /// Unlocks a page that was locked so.
    pub(crate) fn alpc_shim_write_end(page: *mut bindings::page);

    /// Drops pins.
    pub(crate) fn alpc_shim_unpin(pins: *mut Pins);

    /// Makes own pages present, and holds them. 0 or a negative errno. See `shim/peer.c`.
    pub(crate) fn alpc_shim_fetch(
        start: usize,
        length: c_uint,
        write: bool,
        pins: *mut Pins,
        fetch: *mut Fetch,
    ) -> c_int;

    /// Makes own pages of a file present, to be written to. How many bytes, or a negative errno. See
    /// `shim/peer.c`.
    pub(crate) fn alpc_shim_bring_in(start: usize, length: c_uint, fetch: *mut Fetch) -> c_int;

    /// Writes to own pages that are there. How many bytes.
    pub(crate) fn alpc_shim_write_own(
        own: *mut c_void,
        bytes: *const c_void,
        length: c_uint,
    ) -> c_uint;

    /// Makes own pages present. How many of the bytes are not.
    pub(crate) fn alpc_shim_fault_in(own: *mut c_void, length: usize, write: bool) -> usize;

    /// Ends a use of an address space, unless it is the last one.
    pub(crate) fn alpc_shim_mmput_unless_last(mm: *mut bindings::mm_struct) -> bool;

    /// Ends a use of an address space, and waits for the end of that if it was the last one.
    pub(crate) fn alpc_shim_mmput_last(mm: *mut bindings::mm_struct);

    /// Wakes a task that sleeps and may be interrupted.
    pub(crate) fn alpc_shim_wake(task: *mut bindings::task_struct);

    /// Interrupts the current task at a time. The alarm must stay where it is until its end.
    pub(crate) fn alpc_shim_alarm_set(alarm: *mut Alarm, time: i64, clock: i32);

    /// Ends an alarm that was set. Whether it has rung.
    pub(crate) fn alpc_shim_alarm_end(alarm: *mut Alarm) -> bool;

    /// Sleeps for a millisecond, or until a signal.
    pub(crate) fn alpc_shim_pause();
}
