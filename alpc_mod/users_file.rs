// SPDX-License-Identifier: GPL-2.0

//! `alpc/users` in debugfs.
//!
//! The file pins the module while it is open, as all others do: at its end its operations are used,
//! also when it has been removed before. Those of [`kernel::debugfs`] name no module.

use crate::{
    ffi,
    file::FileOperations,
    quota::Accounts,
    usage, //
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_void, //
    },
    fmt,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

/// The file, which exists as long as this does.
///
/// # Invariants
///
/// `directory` is what C has given for a file whose data is what `_accounts` points to.
pub(crate) struct UsersFile {
    directory: *mut bindings::dentry,
    _accounts: Arc<Accounts>,
}

// SAFETY: C's directory entries may be removed by any task.
unsafe impl Send for UsersFile {}
// SAFETY: Nothing can be done with a shared one.
unsafe impl Sync for UsersFile {}

static OPERATIONS: FileOperations = FileOperations(bindings::file_operations {
    owner: this_module::<crate::LocalModule>().as_ptr(),
    open: Some(open),
    read: Some(bindings::seq_read),
    llseek: Some(bindings::seq_lseek),
    release: Some(bindings::single_release),
    ..pin_init::zeroed()
});

impl UsersFile {
    /// Makes it, if the kernel has debugfs. That it could not be made is no concern of anybody's.
    pub(crate) fn new(accounts: Arc<Accounts>) -> Self {
        let data = Arc::as_ptr(&accounts).cast_mut().cast();
        // SAFETY: The name and the operations are static, and the accounts are there until the file
        // is removed. They are what the operations take the data for.
        let directory =
            unsafe { ffi::alpc_shim_debugfs_make(c"users".as_char_ptr(), data, &OPERATIONS.0) };
        // INVARIANT: It has just been made so.
        Self {
            directory,
            _accounts: accounts,
        }
    }
}

impl Drop for UsersFile {
    fn drop(&mut self) {
        // SAFETY: By the invariants; it is removed once. Who reads it is waited for.
        unsafe { ffi::alpc_shim_debugfs_remove(self.directory) };
    }
}

/// # Safety
///
/// For [`OPERATIONS`] only: the inode's data are accounts, which are there as long as the file can
/// be opened and read.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: By this function's contract. The data is what `show` takes it for.
    unsafe { bindings::single_open(file, Some(show), (*inode).i_private) }
}

/// # Safety
///
/// `m` is a valid `struct seq_file` that [`open`] has set up, and that only this task accesses.
unsafe extern "C" fn show(m: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: By this function's contract and that of `open`.
    let (accounts, m) = unsafe { (&*(*m).private.cast::<Accounts>(), SeqFile::from_raw(m)) };
    seq_print!(m, "{}", Table(accounts));
    0
}

struct Table<'a>(&'a Accounts);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        usage::print(self.0, f)
    }
}
