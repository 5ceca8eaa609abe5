// SPDX-License-Identifier: GPL-2.0

//! Open files that are nobody's descriptors: taken from one, of a known kind, made one
//! again, and closed where that holds nobody up.
//!
//! Closing the last reference to a file may take as long as the file likes. So no process but the
//! one that has sent it does that: a [`closing`](crate::closing) worker does.

use crate::{
    buffer::charged,
    caller::{
        current_process,
        Process, //
    },
    charge::{
        Charge,
        Charger, //
    },
    closing::Spare,
    ffi,
    file::Kind,
    section::Section,
    uapi, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::Arc, //
};

/// A reference to an open file. Dropped, it is given up as by `close` in the current task.
///
/// # Invariants
///
/// The reference is this object's.
struct OpenFile(NonNull<bindings::file>);

// SAFETY: Any task may hold and give up a reference to a file that comes from `fget_raw`.
unsafe impl Send for OpenFile {}
// SAFETY: Through a shared one the file is only looked at, and its reference count changed.
unsafe impl Sync for OpenFile {}

impl OpenFile {
    /// Gives the reference up, unless it is the last one: then it is still there.
    fn give_up_unless_last(self) -> Option<Self> {
        // SAFETY: By the invariants, the reference is ours to give up, and if it was given up it
        // is not used from here on.
        match unsafe { ffi::alpc_shim_put_unless_last(self.0.as_ptr()) } {
            true => {
                core::mem::forget(self);
                None
            }
            false => Some(self),
        }
    }

    /// Gives the reference up, and waits for the end of the file if it was the last one. For
    /// threads of the kernel.
    fn close(self) {
        // SAFETY: By the invariants, the reference is ours to give up, once.
        unsafe { ffi::alpc_shim_close_last(self.0.as_ptr()) };
        core::mem::forget(self);
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: By the invariants, the reference is ours to give up.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}

/// Whether it is an ALPC section.
fn is_section(file: &OpenFile) -> bool {
    // SAFETY: The file is held, and its operations don't change once it is open.
    let operations = unsafe { (*file.0.as_ptr()).f_op };
    core::ptr::eq(operations, &Section::operations().0)
}

/// An open file of a known kind.
pub(crate) struct Sendable {
    /// There until it is closed.
    file: Option<OpenFile>,
    kind: u32,
}

impl Sendable {
    /// The file of a descriptor of the current task, and its kind: 0 if it may hold a port.
    ///
    /// `EBADF` if there is no such descriptor.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        let fd = c_uint::try_from(fd).map_err(|_| EBADF)?;
        // Those of `O_PATH` are files that can be held and installed, if nothing else.
        // SAFETY: It is called by a task that has descriptors.
        let file = NonNull::new(unsafe { bindings::fget_raw(fd) }).ok_or(EBADF)?;
        // INVARIANT: `fget_raw` has taken a reference for us.
        let file = OpenFile(file);
        // SAFETY: The file is held.
        let kind = match unsafe { ffi::alpc_shim_file_kind(file.0.as_ptr()) } {
            0 if is_section(&file) => uapi::ALPC_HANDLE_SECTION,
            kind => kind,
        };
        Ok(Self {
            file: Some(file),
            kind,
        })
    }

    /// Its one `ALPC_HANDLE_*`, or 0.
    pub(crate) fn kind(&self) -> u32 {
        self.kind
    }

    /// Makes it a descriptor of the current task, and writes its number to the user address
    /// before anybody can use it. Other threads may use and close it at once.
    pub(crate) fn install(&self, addr: u64, inherit: bool) -> Result {
        let file = self.file.as_ref().ok_or(EBADF)?;
        let to = usize::try_from(addr).map_err(|_| EFAULT)? as *mut c_int;
        if to.is_null() {
            return Err(EFAULT);
        }
        let flags = if inherit { 0 } else { bindings::O_CLOEXEC };
        // SAFETY: The file is held, and takes a further reference. A user address may be anything
        // but null, which would not be written to.
        to_result(unsafe { bindings::receive_fd(file.0.as_ptr(), to, flags) })
    }
}

/// Files that came with one message, and what they cost until the last of them is closed.
pub(crate) struct Files {
    list: KVec<Sendable>,
    charge: Option<Charge>,
}

impl Files {
    /// Closes them, and waits for that. For threads of the kernel.
    pub(crate) fn close(mut self) {
        for one in self.list.drain_all() {
            if let Some(file) = one.file {
                file.close();
            }
        }
    }
}

/// Files that are closed together.
pub(crate) struct Bundle {
    files: Files,
    /// Who sent them, and may be held up by closing them.
    sender: Process,
    /// Who sent them, and pays if somebody else closes them.
    payer: Arc<Charger>,
    /// What closes them if that may take its time.
    spare: Spare,
}

impl Bundle {
    /// None, with room for some, on a side that is `owner`'s. Memory is charged to the current task.
    pub(crate) fn new(room: usize, owner: &Arc<Charger>) -> Result<KBox<Self>> {
        let size = room.saturating_mul(size_of::<Sendable>());
        let list = charged(size, |flags| KVec::with_capacity(room, flags))?;
        let place = charged(size_of::<Self>(), KBox::<Self>::new_uninit)?;
        let files = Files { list, charge: None };
        let spare = Spare::new()?;
        let payer = Charger::of_current(owner)?;
        Ok(KBox::write(
            place,
            Self {
                files,
                sender: current_process(),
                payer,
                spare,
            },
        ))
    }

    /// The files.
    pub(crate) fn files(&self) -> &[Sendable] {
        self.files.list.as_slice()
    }

    /// Bytes of memory that it takes, with what closes the files.
    pub(crate) fn footprint(&self) -> usize {
        const FIXED: usize = 2 * size_of::<Bundle>();
        // It is at most some thousand entries.
        (self.room().saturating_mul(size_of::<Sendable>())).saturating_add(FIXED)
    }

    /// How many there is room for.
    pub(crate) fn room(&self) -> usize {
        self.files.list.capacity()
    }

    /// The current task is about to put some in, on a side that is `owner`'s, for a charge.
    ///
    /// The charge is the connection's, but it is the sender who pays for their closing: it chooses
    /// what is closed, and may send where somebody else has connected.
    pub(crate) fn begin(&mut self, owner: &Arc<Charger>, charge: Charge) -> Result {
        self.sender = current_process();
        if !self.payer.is_of_current() {
            self.payer = Charger::of_current(owner)?;
        }
        self.files.charge = Some(charge);
        Ok(())
    }

    /// Puts one in. `ENOMEM` if there is no room.
    pub(crate) fn push(&mut self, file: Sendable) -> Result {
        let pushed = self.files.list.push_within_capacity(file);
        pushed.map_err(|_| ENOMEM)
    }

    /// Closes all that holds nobody up but who sent it, and says whether that was all.
    pub(crate) fn close_quickly(&mut self) -> bool {
        if self.sender == current_process() {
            self.files.list.clear();
        } else {
            self.files.list.retain(|one| {
                one.file = one.file.take().and_then(OpenFile::give_up_unless_last);
                one.file.is_some()
            });
        }
        let all = self.files.list.is_empty();
        if all {
            self.files.charge = None;
        }
        all
    }

    /// Has what is left closed by a worker.
    pub(crate) fn close_elsewhere(self) {
        self.spare.close(self.files, self.payer);
    }
}
