// SPDX-License-Identifier: GPL-2.0

//! The inode of a connection port, by which security modules know the port.
//!
//! There is no hook that a module like this one may call for what is done to a port. But each port
//! has an inode of its own, which a security module has labelled when it was made, and whether
//! somebody may do something to an inode is a question that any module can ask. So the acts on a
//! port are asked for as if they were done to a file. The file's mode allows all of them: what
//! users may do is up to the access control list.

use crate::outcome::{
    Failure,
    Outcome, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    ffi::c_int,
    fs::file::File,
    prelude::*, //
};

/// An act on a port. Each is asked for as an act on a file.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// To connect: to write.
    Connect,
    /// To get a connect descriptor by the port's name: to read.
    Open,
    /// To lend a view: to append.
    Lend,
    /// To impersonate who has sent: to execute.
    Impersonate,
}

impl Act {
    /// `MAY_*`. What appends writes as well: of the two, security modules look at the former.
    fn mask(self) -> u32 {
        match self {
            Self::Connect => bindings::MAY_WRITE,
            Self::Open => bindings::MAY_READ,
            Self::Lend => bindings::MAY_WRITE | bindings::MAY_APPEND,
            Self::Impersonate => bindings::MAY_EXEC,
        }
    }
}

/// An inode, kept.
///
/// # Invariants
///
/// It is that of a file of ours with an inode of its own, and a reference to it is owned.
pub(crate) struct Inode(NonNull<bindings::inode>);

// SAFETY: An inode may be let go of by any task that can sleep.
unsafe impl Send for Inode {}
// SAFETY: C's inodes are shared by all tasks.
unsafe impl Sync for Inode {}

impl Inode {
    /// Takes the inode of a file that was just made, and that nobody else has yet. From then on the
    /// inode's mode allows everything to everybody, so that only security modules refuse.
    pub(crate) fn of_new(file: &File) -> Option<Self> {
        // SAFETY: The file is held, and keeps its inode.
        let inode = NonNull::new(unsafe { (*file.as_ptr()).f_inode })?;
        // SAFETY: As above. Nobody else has the inode, so nobody reads the mode meanwhile.
        // INVARIANT: The reference is ours.
        unsafe {
            (*inode.as_ptr()).i_mode = 0o777;
            bindings::ihold(inode.as_ptr());
        }
        Some(Self(inode))
    }

    /// Asks whether the current task may do an act to the inode. `ACCESS_DENIED` if it may not.
    pub(crate) fn permits(&self, act: Act) -> Result<(), Failure> {
        // CAST: The masks are small.
        let mask = act.mask() as c_int;
        // SAFETY: By the invariants the inode is there. The mapping is a static of the kernel's,
        // which changes nothing.
        let result = unsafe {
            bindings::inode_permission(&raw mut bindings::nop_mnt_idmap, self.0.as_ptr(), mask)
        };
        to_result(result).map_err(|_| Outcome::AccessDenied.into())
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        // SAFETY: By the invariants the reference is ours. Who drops a port can sleep.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}
