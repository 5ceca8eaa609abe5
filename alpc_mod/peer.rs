// SPDX-License-Identifier: GPL-2.0

//! Another process's memory: moving bytes between it and the current process's own.
//!
//! What may wait and what may not are apart here. [`pin`], [`Held::copy`] and [`write_own`] use what
//! is there and wait for nobody. [`fetch`], [`bring_in`] and [`fault_in`] bring in what is not, each for the current
//! process's own memory: nobody brings in another's.

use crate::{
    ffi,
    time::Deadline, //
};
use core::{
    mem::MaybeUninit,
    ptr::null,
    sync::atomic::AtomicBool, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_uint,
        c_void, //
    },
    mm::MmWithUser,
    page::PAGE_SIZE,
    prelude::*,
    task::Task, //
};

/// Pages of one section. `ALPC_SECTION_PAGES` of `shim.h`.
const SECTION_PAGES: usize = 16;

/// The most bytes of one section, if the first is the first of its page.
pub(crate) const SECTION: u64 = (SECTION_PAGES * PAGE_SIZE) as u64;

/// Pages that are held: pinned, to be written to, or referenced. `struct alpc_pins` of `shim.h`.
///
/// # Invariants
///
/// The first `count` pages are initialised, and this object owns a pin of each if `write` is set,
/// else a reference.
#[repr(C)]
pub(crate) struct Pins {
    count: c_uint,
    write: bool,
    pages: MaybeUninit<[*mut bindings::page; SECTION_PAGES]>,
}

// SAFETY: Pages may be let go of, read and written to by any thread.
unsafe impl Send for Pins {}

impl Pins {
    /// None.
    pub(crate) const fn new() -> Self {
        // INVARIANT: There is none.
        Self {
            count: 0,
            write: false,
            pages: MaybeUninit::uninit(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        // CAST: There are no more than `SECTION_PAGES`.
        self.count as usize
    }

    /// The held page of this number, about to be read or, if it was pinned for that, written to.
    /// Not a page to be written to that somebody else has locked. Waits for nobody.
    ///
    /// The current thread isn't preempted while it has one to write to.
    #[inline]
    pub(crate) fn begin(&self, index: usize) -> Option<Held<'_>> {
        if index >= self.count() {
            return None;
        }
        // SAFETY: By the invariants the page is initialised.
        let page = unsafe { *self.pages.as_ptr().cast::<*mut bindings::page>().add(index) };
        // SAFETY: By the invariants it is pinned to be written to.
        if self.write && !unsafe { ffi::alpc_shim_write_begin(page) } {
            return None;
        }
        // INVARIANT: It is held by these, and was locked just now if it is written to.
        Some(Held { page, pins: self })
    }
}

/// A page that is about to be read or written to.
///
/// # Invariants
///
/// It is one of the pins, and locked if that is for writing.
pub(crate) struct Held<'a> {
    page: *mut bindings::page,
    pins: &'a Pins,
}

impl Held<'_> {
    /// Moves bytes between the page, from `offset` on, and `own`: into the page if it was pinned to
    /// be written to, else out of it. Gives how many, and whether that is all up to the end of the
    /// page or of `own`: it isn't where own memory isn't there. May be called under a spinlock.
    #[inline]
    pub(crate) fn copy(&self, offset: usize, own: Own) -> (u64, bool) {
        let room = PAGE_SIZE.saturating_sub(offset);
        // CAST: No more than a page.
        let length = own.length.min(room as u64) as c_uint;
        let (own, write) = (ptr(own.start), self.pins.write);
        // SAFETY: By the invariants the page is held in the way that `write` says, and users may
        // have the own memory. The bytes are within the page, if there are any.
        let copied =
            unsafe { ffi::alpc_shim_copy(self.page, offset as c_uint, own, length, write) };
        (copied.into(), copied == length)
    }
}

/// A range of the current process's own memory, or where it has none.
///
/// # Invariants
///
/// It is among the addresses that users may have.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    start: u64,
    length: u64,
}

impl Own {
    /// The range, if a user may have memory there.
    pub(crate) fn new(start: u64, length: u64) -> Option<Self> {
        // INVARIANT: It was looked at.
        is_user_range(start, length).then_some(Self { start, length })
    }

    /// Its length in bytes.
    pub(crate) fn len(self) -> u64 {
        self.length
    }

    /// Where it begins.
    pub(crate) fn start(self) -> u64 {
        self.start
    }

    /// What is behind so many bytes, `length` at most.
    #[inline]
    pub(crate) fn part(self, skipped: u64, length: u64) -> Self {
        let skipped = skipped.min(self.length);
        // INVARIANT: It is a part of this.
        Self {
            start: self.start.wrapping_add(skipped),
            length: self.length.wrapping_sub(skipped).min(length),
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.pins.write {
            // SAFETY: By the invariants it is locked, by `Pins::begin`.
            unsafe { ffi::alpc_shim_write_end(self.page) };
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.count != 0 {
            // SAFETY: By the invariants, these are ours. None is left after.
            unsafe { ffi::alpc_shim_unpin(self) };
        }
    }
}

/// An address as C takes it. No user has memory where the cast would change it.
fn ptr(addr: u64) -> *mut c_void {
    addr as usize as *mut c_void
}

/// Whether a user may have memory there.
pub(crate) fn is_user_range(addr: u64, length: u64) -> bool {
    // SAFETY: There are no requirements.
    unsafe { ffi::alpc_shim_is_user_range(addr, length) }
}

/// What [`pin`] has found.
pub(crate) enum Found {
    /// The first page, at least.
    Some,
    /// Not the first page, or nobody can tell now.
    None,
    /// The first page is of a file that is written back: only its own process may write to it.
    OfFile,
}

/// Holds pages of another process: those of `length` bytes that are there, from the first on, but
/// [`SECTION_PAGES`] at most. `pins` has none before. Waits for nobody.
#[inline]
pub(crate) fn pin(
    mm: &MmWithUser,
    theirs: u64,
    length: u64,
    write: bool,
    pins: &mut Pins,
) -> Found {
    // CAST: No more than this is asked for.
    let length = length.min(SECTION) as c_uint;
    // SAFETY: The mm has a user. The address may be anything. `pins` is valid for writing, and the
    // function makes its invariants true.
    let result = unsafe { ffi::alpc_shim_pin(mm.as_raw(), theirs as usize, length, write, pins) };
    match result {
        0 => Found::Some,
        error if error == EXDEV.to_errno() => Found::OfFile,
        _ => Found::None,
    }
}

/// Makes the first of `length` bytes of the current process's own memory present, and more of them
/// if they are close, and holds their pages in `pins`, which has none. `EAGAIN` where that takes
/// time: it is to be tried again. `EXDEV` if the first is to be written to, and of a file.
///
/// May wait until a signal, the deadline, `done` or `unwanted`: `EINTR` then. The last two are
/// looked at every millisecond.
pub(crate) fn fetch(
    start: u64,
    length: u64,
    write: bool,
    pins: &mut Pins,
    ends: (&AtomicBool, &AtomicBool),
    deadline: Deadline,
) -> Result {
    fetching(ends, deadline, |fetch| {
        // CAST: No more than this is asked for.
        let length = length.min(SECTION) as c_uint;
        // SAFETY: The address may be anything. All pointers are valid until the call returns. The
        // function makes the invariants of `pins` true.
        unsafe { ffi::alpc_shim_fetch(start as usize, length, write, pins, fetch) }
    })
    .map(drop)
}

/// Makes the first of `length` bytes of the current process's own memory present, to be written to
/// by [`write_own`], and more of them if they are close. Gives how many: none if the first is not on
/// a page of a file, which others can write to. Ends as [`fetch`] does.
pub(crate) fn bring_in(
    start: u64,
    length: u64,
    ends: (&AtomicBool, &AtomicBool),
    deadline: Deadline,
) -> Result<u64> {
    let bytes = fetching(ends, deadline, |fetch| {
        // CAST: No more than this is asked for.
        let length = length.min(SECTION) as c_uint;
        // SAFETY: The address may be anything. All pointers are valid until the call returns.
        unsafe { ffi::alpc_shim_bring_in(start as usize, length, fetch) }
    })?;
    // CAST: It is no error, so it is not negative.
    Ok(bytes as u64)
}

/// Calls what brings pages in, with what ends that.
fn fetching(
    (done, unwanted): (&AtomicBool, &AtomicBool),
    deadline: Deadline,
    bring: impl FnOnce(*mut ffi::Fetch) -> i32,
) -> Result<i32> {
    let (at, clock) = match &deadline {
        Deadline::At { time, clock } => (core::ptr::from_ref(time), *clock),
        _ => (null(), 0),
    };
    let mut fetch = ffi::Fetch {
        done: done.as_ptr(),
        unwanted: unwanted.as_ptr(),
        deadline: at,
        clock,
        own: MaybeUninit::uninit(),
    };
    let result = bring(&raw mut fetch);
    to_result(result).map(|()| result)
}

/// Writes bytes to the current process's own memory, as far as it is there, and gives how many. May
/// be called under a spinlock.
pub(crate) fn write_own(start: u64, bytes: &[u8]) -> u64 {
    // SAFETY: A user address may be anything. The bytes are valid for reading.
    let written = unsafe {
        ffi::alpc_shim_write_own(ptr(start), bytes.as_ptr().cast(), bytes.len() as c_uint)
    };
    written.into()
}

/// Makes the first byte of `own` present, and more of them. `EFAULT` if that can't be. `write` says
/// that they are to be written.
pub(crate) fn fault_in(own: Own, write: bool) -> Result {
    let length = own.length.min(SECTION) as usize;
    // SAFETY: A user address may be anything.
    let missing = unsafe { ffi::alpc_shim_fault_in(ptr(own.start), length, write) };
    if missing >= length {
        return Err(EFAULT);
    }
    Ok(())
}

/// Wakes a task that sleeps and may be interrupted, or any other for nothing.
pub(crate) fn wake(task: &Task) {
    // SAFETY: The task is valid.
    unsafe { ffi::alpc_shim_wake(task.as_ptr()) };
}

/// Does what may wait for a signal, and ends that wait as one would when the deadline is over.
/// Tells whether it was.
pub(crate) fn until<T>(deadline: Deadline, act: impl FnOnce() -> T) -> (T, bool) {
    let Deadline::At { time, clock } = deadline else {
        return (act(), false);
    };
    let mut alarm = MaybeUninit::uninit();
    // SAFETY: The alarm is valid for writing, and does not move before its end, which is below:
    // nothing unwinds.
    unsafe { ffi::alpc_shim_alarm_set(alarm.as_mut_ptr(), time, clock) };
    let value = act();
    // SAFETY: It was set.
    let late = unsafe { ffi::alpc_shim_alarm_end(alarm.as_mut_ptr()) };
    (value, late)
}

/// Sleeps for a millisecond, or until a signal.
pub(crate) fn pause() {
    // SAFETY: There are no requirements.
    unsafe { ffi::alpc_shim_pause() };
}
