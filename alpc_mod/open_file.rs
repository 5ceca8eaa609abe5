// SPDX-License-Identifier: GPL-2.0

//! Open files that are nobody's descriptors: taken from one, of a known kind, made one
//! again, and closed where that holds nobody up.
//!
//! Closing the last reference to a file may take as long as the file likes. So whoever is
//! not the sender of a message never does that: the worker here does.

use crate::{
    buffer::charged,
    caller::{
        current_process,
        Process, //
    },
    charge::Charge,
    ffi,
    file::Kind,
    section::Section,
    uapi, //
};
use core::{
    ptr::{
        null_mut,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    },
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    impl_has_work, new_work,
    prelude::*,
    workqueue::{
        Queue,
        Work,
        WorkItem, //
    },
};

/// A reference to an open file. Dropped, it is given up as by `close` in the current task.
///
/// # Invariants
///
/// The reference is this object's.
struct OpenFile(NonNull<bindings::file>);

// SAFETY: Any task may hold and give up a reference to a file that comes from `fget`.
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
    /// The file of a descriptor of the current task, and its kind: 0 if it may hold other files.
    ///
    /// `EBADF` if there is no such descriptor, or one that `O_PATH` has made.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        let fd = c_uint::try_from(fd).map_err(|_| EBADF)?;
        // SAFETY: It is called by a task that has descriptors.
        let file = NonNull::new(unsafe { bindings::fget(fd) }).ok_or(EBADF)?;
        // INVARIANT: `fget` has taken a reference for us.
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

/// Files that are closed together.
#[pin_data]
pub(crate) struct Bundle {
    #[pin]
    work: Work<Bundle>,
    files: KVec<Sendable>,
    /// Who sent them, and may be held up by closing them.
    sender: Process,
    /// What they cost, until the last of them is closed.
    charge: Option<Charge>,
}

impl_has_work! {
    impl HasWork<Self> for Bundle { self.work }
}

impl Bundle {
    /// None, with room for some, charged to the current task.
    pub(crate) fn new(room: usize) -> Result<Pin<KBox<Self>>> {
        let size = room.saturating_mul(size_of::<Sendable>());
        let files = charged(size, |flags| KVec::with_capacity(room, flags))?;
        let place = charged(size_of::<Self>(), KBox::<Self>::new_uninit)?;
        place.write_pin_init(pin_init!(Self {
            work <- new_work!("Bundle::work"),
            files,
            sender: current_process(),
            charge: None,
        }? Error))
    }

    /// The files.
    pub(crate) fn files(&self) -> &[Sendable] {
        self.files.as_slice()
    }

    /// How many there is room for.
    pub(crate) fn room(&self) -> usize {
        self.files.capacity()
    }

    /// To be called by the sender before it puts anything in.
    pub(crate) fn begin(self: Pin<&mut Self>) {
        *self.project().sender = current_process();
    }

    /// Says what they cost.
    pub(crate) fn charge(self: Pin<&mut Self>, charge: Charge) {
        *self.project().charge = Some(charge);
    }

    /// Puts one in. `ENOMEM` if there is no room.
    pub(crate) fn push(self: Pin<&mut Self>, file: Sendable) -> Result {
        let pushed = self.project().files.push_within_capacity(file);
        pushed.map_err(|_| ENOMEM)
    }

    /// Closes all that holds nobody up, and says whether that was all.
    pub(crate) fn close_quickly(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        if *this.sender == current_process() {
            this.files.clear();
        } else {
            this.files.retain(|one| {
                one.file = one.file.take().and_then(OpenFile::give_up_unless_last);
                one.file.is_some()
            });
        }
        let all = this.files.is_empty();
        if all {
            *this.charge = None;
        }
        all
    }

    /// Has what is left closed by the worker.
    pub(crate) fn close_elsewhere(self: Pin<KBox<Self>>) {
        let queue = QUEUE.load(Ordering::Acquire);
        if queue.is_null() {
            return;
        }
        // SAFETY: The queue is there as long as there are messages, see `Closer`. Work that is
        // queued when it goes is done first.
        let queue = unsafe { Queue::from_raw(queue) };
        queue.enqueue(self);
    }
}

impl WorkItem for Bundle {
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Self::Pointer) {
        for one in this.as_mut().project().files.drain_all() {
            if let Some(file) = one.file {
                file.close();
            }
        }
    }
}

/// The queue of what is to be closed; null without a [`Closer`].
static QUEUE: AtomicPtr<bindings::workqueue_struct> = AtomicPtr::new(null_mut());

/// What closes files that nobody may be held up by. There is one, from before the first message
/// until after the last one: the module has it, and each message is kept by a file, which keeps
/// the module.
///
/// # Invariants
///
/// The queue is this object's.
pub(crate) struct Closer(NonNull<bindings::workqueue_struct>);

// SAFETY: Any task may destroy the queue, and nothing else is done through this object.
unsafe impl Send for Closer {}
// SAFETY: Nothing is done through a shared one.
unsafe impl Sync for Closer {}

impl Closer {
    /// Makes the queue. A file that takes its time to close holds up only those which were sent
    /// with it: each bundle has a worker of its own.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The name has no directives, so there are no further arguments.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"alpc_close".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND,
                0,
            )
        };
        let queue = NonNull::new(queue).ok_or(ENOMEM)?;
        // SYNC: Pairs with the load in `close_elsewhere`.
        QUEUE.store(queue.as_ptr(), Ordering::Release);
        // INVARIANT: The queue is new.
        Ok(Self(queue))
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        QUEUE.store(null_mut(), Ordering::Release);
        // SAFETY: By the invariants the queue is ours, and nothing can be added any more. All that
        // is queued is done before this returns.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
