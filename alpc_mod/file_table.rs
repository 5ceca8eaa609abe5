// SPDX-License-Identifier: GPL-2.0

//! Tables of descriptors: which one it is, and whether it has a descriptor of an object.

use crate::{
    ffi,
    file::Kind, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    task::Task, //
};

/// A table of descriptors, for a moment.
///
/// # Invariants
///
/// It is the current task's, or one in which a descriptor is just being closed, which the kernel
/// keeps until that is done. All of the kernel that can close a file of ours does so with the table
/// that it was in, or with none.
pub(crate) struct FileTable(NonNull<bindings::files_struct>);

impl FileTable {
    /// One in which a descriptor is just being closed.
    ///
    /// # Safety
    ///
    /// Whoever closes the descriptor keeps the table for as long as this is there.
    pub(crate) unsafe fn of_closed(files: NonNull<bindings::files_struct>) -> Self {
        // INVARIANT: By this function's contract.
        Self(files)
    }

    /// Calls `f` with the current task's table, if it has one still.
    pub(crate) fn with_current<R>(f: impl FnOnce(&Self) -> R) -> Option<R> {
        // SAFETY: The current task is there, and its own table is changed by itself only.
        let files = unsafe { (*Task::current_raw()).files };
        // INVARIANT: It is the current task's until `f` has returned.
        NonNull::new(files).map(|files| f(&Self(files)))
    }

    /// The number of the current task's table; 0 if it has none any more.
    #[inline(always)]
    pub(crate) fn current_number() -> usize {
        // SAFETY: The current task is there, and its own table is changed by itself only.
        unsafe { (*Task::current_raw()).files.addr() }
    }

    /// A number that no other table has while this one is there.
    pub(crate) fn number(&self) -> usize {
        self.0.addr().get()
    }

    /// Whether nobody has the table any more: all that is in it is being closed.
    pub(crate) fn is_ending(&self) -> bool {
        // SAFETY: By the invariants the table is there.
        unsafe { ffi::alpc_shim_is_table_ending(self.0.as_ptr()) }
    }

    /// Whether a descriptor in it is of a `T` for which `is_it` holds. That is called under a
    /// spinlock, for each file of a `T`, and must be short.
    pub(crate) fn has<T: Kind>(&self, is_it: impl Fn(&T) -> bool) -> bool {
        let is_it: *const _ = &is_it;
        // SAFETY: By the invariants the table is there. The function gets `is_it`, which it takes
        // for what it is.
        unsafe {
            bindings::iterate_fd(self.0.as_ptr(), 0, Some(looks_at(is_it)), is_it.cast()) != 0
        }
    }
}

/// The function that has `iterate_fd` ask for such files.
fn looks_at<T: Kind, F: Fn(&T) -> bool>(
    _is_it: *const F,
) -> unsafe extern "C" fn(*const c_void, *mut bindings::file, c_uint) -> c_int {
    /// # Safety
    ///
    /// `is_it` is a valid `F`, and `file` is in a table that is locked.
    unsafe extern "C" fn look<T: Kind, F: Fn(&T) -> bool>(
        is_it: *const c_void,
        file: *mut bindings::file,
        _fd: c_uint,
    ) -> c_int {
        // SAFETY: A file in a table that is locked is there, and its operations don't change.
        let is_ours = unsafe { ptr::eq((*file).f_op, &T::operations().0) };
        if !is_ours {
            return 0;
        }
        // SAFETY: By the contract of `Kind`, the private data is that of an `Arc<T>`, which the
        // file owns. `is_it` is valid by this function's contract.
        let found = unsafe { (*is_it.cast::<F>())(&*(*file).private_data.cast::<T>()) };
        c_int::from(found)
    }
    look::<T, F>
}
