// SPDX-License-Identifier: GPL-2.0

//! Another process's memory: moving bytes between it and the current process's own.
//!
//! What may wait and what may not are apart here. A [`section`] uses what is there and
//! waits for nobody; [`populate`] and [`fault_in`] wait until more is there.

use crate::ffi;
use core::{
    mem::MaybeUninit,
    ptr::null_mut, //
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
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.count != 0 {
            // SAFETY: By the invariants, these are ours. None is left after.
            unsafe { ffi::alpc_shim_unpin(self) };
        }
    }
}

/// What a section has done.
pub(crate) enum Moved {
    /// Moved so many bytes, one at least.
    Bytes(u64),
    /// Nothing: the first byte on this side is not there.
    OwnMissing,
    /// Nothing: the first byte on the other side is not there, or nobody can tell now.
    TheirsMissing,
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

/// Moves bytes from `own` to `theirs` if `write` is set, or the other way: as many of them as are
/// there, but not beyond [`SECTION_PAGES`]. Waits for nothing that a user can delay.
///
/// If `pins` has any, they are those of `theirs`, which are used and dropped. It gets those that
/// can't be dropped without waiting.
pub(crate) fn section(
    mm: &MmWithUser,
    theirs: u64,
    own: u64,
    length: u64,
    write: bool,
    pins: &mut Pins,
) -> Moved {
    // CAST: No more than this is asked for.
    let length = length.min(SECTION) as c_uint;
    // SAFETY: The mm has a user. `pins` is valid for writing, and the function makes its
    // invariants true. Both addresses may be anything.
    let moved = unsafe {
        ffi::alpc_shim_section(mm.as_raw(), theirs as usize, ptr(own), length, write, pins)
    };
    match u64::try_from(moved) {
        Ok(0) => Moved::OwnMissing,
        Ok(bytes) => Moved::Bytes(bytes),
        Err(_) => Moved::TheirsMissing,
    }
}

/// Makes the first of `length` bytes of another process present, and more of them if they are
/// close; or only the page of the first, and holds it in `keep`, which has none. Waits for that
/// until a signal or [`interrupt`]: `EINTR` then.
pub(crate) fn populate(
    mm: &MmWithUser,
    theirs: u64,
    length: u64,
    write: bool,
    keep: Option<&mut Pins>,
) -> Result {
    let keep = keep.map_or(null_mut(), core::ptr::from_mut);
    // CAST: No more than this is asked for.
    let length = length.min(SECTION) as c_uint;
    // SAFETY: The mm has a user. The address may be anything. `keep` is null or valid for writing,
    // and the function makes its invariants true.
    to_result(unsafe { ffi::alpc_shim_populate(mm.as_raw(), theirs as usize, length, write, keep) })
}

/// Makes the first of `length` own bytes present, and more of them. `EFAULT` if that can't be.
/// `write` says that they are to be written.
pub(crate) fn fault_in(own: u64, length: u64, write: bool) -> Result {
    let length = length.min(SECTION) as usize;
    // SAFETY: A user address may be anything.
    let missing = unsafe { ffi::alpc_shim_fault_in(ptr(own), length, write) };
    if missing >= length {
        return Err(EFAULT);
    }
    Ok(())
}

/// Ends the wait of a task that is in [`populate`] or about to be.
pub(crate) fn interrupt(task: &Task) {
    // SAFETY: The task is valid. One that does not wait there is woken for nothing, and its next
    // wait for a signal in the same call ends as by one.
    unsafe { ffi::alpc_shim_interrupt(task.as_ptr()) };
}
