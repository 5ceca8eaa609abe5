// SPDX-License-Identifier: GPL-2.0

//! Objects as files: descriptors that own an [`Arc`] of an [`ObjectFile`].
//!
//! A descriptor's file owns one reference to its object from [`new_file`] on, in its private data,
//! and gives it up in its release. Every other file operation runs while somebody holds the file,
//! so it borrows the object and counts nothing. The file pins the module. What an object is, is
//! told by the address of its file operations: each kind has them in a `static` of its own.

use crate::{
    arena::Arena,
    ffi,
    file_table::FileTable,
    mapping, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong,
        c_void, //
    },
    fs::file::{
        File,
        FileDescriptorReservation,
        LocalFile, //
    },
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};

/// An object whose descriptors are files of their own kind.
pub(crate) trait ObjectFile: Send + Sync + 'static {
    /// The name in `/proc/PID/fd`, in brackets.
    const NAME: &'static CStr;

    /// Whether it can be mapped, and then has [`arena`](Self::arena) and an inode of its own: what is
    /// mapped is zapped by that.
    const MAPPED: bool = false;

    /// Whether security modules know it, by an inode of its own.
    const LABELLED: bool = false;

    /// Whether it has [`flush`](Self::flush).
    const FLUSHED: bool = false;

    /// A request on a file of the object. `arg` is a user address, whatever the word size of the
    /// caller.
    fn ioctl(
        this: ArcBorrow<'_, Self>,
        file: &File,
        nonblock: bool,
        cmd: u32,
        arg: usize,
    ) -> Result<isize>;

    /// What a mapping of the file shows.
    fn arena(&self) -> Option<&Arena> {
        None
    }

    /// The events that are ready, as `POLL*`.
    ///
    /// Registers first, then looks. The lifetime is that of the file: a head that the object
    /// itself keeps alive has it, and only such a head can be registered.
    fn poll<'file>(&'file self, table: PollTable<'file>) -> u32;

    /// A table of descriptors has let go of one of the object's files. It may have others.
    fn flush(_this: ArcBorrow<'_, Self>, _table: &FileTable) {}

    /// The object's lines in `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile);

    /// The last descriptor is closed, and no other operation runs or will run.
    ///
    /// May be called by any task that can sleep, so the current task's identity says nothing.
    fn release(this: Arc<Self>);
}

/// File operations that can stand in a `static`.
pub(crate) struct FileOperations(pub(crate) bindings::file_operations);

// SAFETY: They are never written, and the pointers in them are to functions and to the module.
unsafe impl Sync for FileOperations {}

/// A kind of object file that has its file operations.
///
/// # Safety
///
/// `operations` returns a `static` made by [`FileOperations::of_object`] for this very type and no
/// other: its address proves the type of a file's private data.
pub(crate) unsafe trait Kind: ObjectFile {
    /// The file operations of this kind.
    fn operations() -> &'static FileOperations;
}

/// Gives types their file operations.
macro_rules! kinds {
    ($($kind:ty,)*) => {$(
        // SAFETY: It is a `static`, of this expansion only, and made for this type.
        unsafe impl Kind for $kind {
            fn operations() -> &'static FileOperations {
                static OPERATIONS: FileOperations = FileOperations::of_object::<$kind>();
                &OPERATIONS
            }
        }
    )*};
}

// Every kind of object there is.
kinds! {
    crate::port::Port,
    crate::connect_port::ConnectPort,
    crate::comm::CommPort,
    crate::impersonate::Impersonation,
    crate::section::Section,
    crate::window::Window,
}

impl FileOperations {
    /// The operations of an object's files.
    const fn of_object<T: ObjectFile>() -> Self {
        Self(bindings::file_operations {
            owner: this_module::<crate::LocalModule>().as_ptr(),
            llseek: Some(bindings::noop_llseek),
            unlocked_ioctl: Some(object_ioctl::<T>),
            #[cfg(CONFIG_COMPAT)]
            compat_ioctl: Some(object_compat_ioctl::<T>),
            poll: Some(object_poll::<T>),
            mmap: match T::MAPPED {
                true => Some(object_mmap::<T>),
                false => None,
            },
            flush: match T::FLUSHED {
                true => Some(object_flush::<T>),
                false => None,
            },
            show_fdinfo: Some(object_show_fdinfo::<T>),
            release: Some(object_release::<T>),
            ..pin_init::zeroed()
        })
    }
}

/// The object of a file, borrowed.
///
/// # Safety
///
/// `file` must be a file made by [`new_file`] for a `T`, and held for the lifetime chosen.
#[inline]
unsafe fn object<'a, T: ObjectFile>(file: *mut bindings::file) -> ArcBorrow<'a, T> {
    // SAFETY: By this function's contract the private data came from `Arc::into_raw`, and the file
    // owns a reference until its release, which is not before the last holder has let go.
    unsafe { ArcBorrow::from_raw((*file).private_data.cast::<T>()) }
}

/// Whether the file is in non-blocking mode. `fcntl` may change that at any time.
///
/// # Safety
///
/// `file` must be held by the caller.
#[inline]
pub(crate) unsafe fn nonblock(file: *mut bindings::file) -> bool {
    // SAFETY: The file is alive. A volatile read is the READ_ONCE that C would use here.
    let flags = unsafe { (&raw const (*file).f_flags).read_volatile() };
    flags & bindings::O_NONBLOCK != 0
}

/// The result of a system call as C returns it.
#[inline]
pub(crate) fn to_c(result: Result<isize>) -> c_long {
    match result {
        Ok(value) => value,
        Err(error) => error.to_errno() as c_long,
    }
}

/// A 32-bit caller's argument as an address.
#[cfg(CONFIG_COMPAT)]
#[inline]
pub(crate) fn compat_ptr(arg: c_ulong) -> usize {
    // CAST: The upper half is no part of what a 32-bit caller passed.
    arg as u32 as usize
}

/// # Safety
///
/// For the file operations of `T` only: `file` is held, and was made by [`new_file`] for a `T`.
unsafe extern "C" fn object_ioctl<T: ObjectFile>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: By this function's contract.
    let (this, nonblock) = unsafe { (object::<T>(file), nonblock(file)) };
    // SAFETY: The file is held, and none of ours has a position that is shared.
    let file = unsafe { File::from_raw_file(file) };
    to_c(T::ioctl(this, file, nonblock, cmd, arg))
}

/// # Safety
///
/// As for [`object_ioctl`], and `vma` is being made for the file.
unsafe extern "C" fn object_mmap<T: ObjectFile>(
    file: *mut bindings::file,
    vma: *mut bindings::vm_area_struct,
) -> c_int {
    // SAFETY: By this function's contract.
    let this = unsafe { object::<T>(file) };
    let Some(arena) = this.arena() else {
        return ENODEV.to_errno();
    };
    // SAFETY: By this function's contract. The object keeps the arena, and the file the object.
    match unsafe { mapping::mmap(arena, vma) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// As for [`object_ioctl`].
#[cfg(CONFIG_COMPAT)]
unsafe extern "C" fn object_compat_ioctl<T: ObjectFile>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: By this function's contract.
    unsafe { object_ioctl::<T>(file, cmd, compat_ptr(arg)) }
}

/// # Safety
///
/// As for [`object_ioctl`], and `table` is null or a valid poll table for the time of the call.
unsafe extern "C" fn object_poll<T: ObjectFile>(
    file: *mut bindings::file,
    table: *mut bindings::poll_table,
) -> bindings::__poll_t {
    // SAFETY: By this function's contract, and `private_data` is what `Arc::into_raw` returned.
    // Whatever is registered is taken off the head before the file is released, hence the lifetime
    // of both is that of the file; safe code can't see it end before this function does.
    let this = unsafe { &*(*file).private_data.cast::<T>() };
    let _file = PhantomData;
    T::poll(this, PollTable { file, table, _file })
}

/// # Safety
///
/// As for [`object_ioctl`], and `owner` is null or the table of descriptors that one is closed in.
unsafe extern "C" fn object_flush<T: ObjectFile>(
    file: *mut bindings::file,
    owner: bindings::fl_owner_t,
) -> c_int {
    if let Some(table) = NonNull::new(owner.cast()) {
        // SAFETY: By this function's contract. Who closes it keeps the table meanwhile.
        let (this, table) = unsafe { (object::<T>(file), FileTable::of_closed(table)) };
        T::flush(this, &table);
    }
    0
}

/// # Safety
///
/// As for [`object_ioctl`], and `m` is a valid `struct seq_file` that only this task accesses.
unsafe extern "C" fn object_show_fdinfo<T: ObjectFile>(
    m: *mut bindings::seq_file,
    file: *mut bindings::file,
) {
    // SAFETY: By this function's contract.
    let (this, m) = unsafe { (object::<T>(file), SeqFile::from_raw(m)) };
    T::show_fdinfo(this, m);
}

/// # Safety
///
/// For the file operations of `T` only: `file` was made by [`new_file`] for a `T`, and this is the
/// last operation on it.
unsafe extern "C" fn object_release<T: ObjectFile>(
    _inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: By this function's contract, the reference that the file owned is ours now.
    T::release(unsafe { Arc::from_raw((*file).private_data.cast::<T>()) });
    0
}

/// A file and the number that its descriptor will have, not yet visible to anybody.
///
/// Dropping it releases both: the object's [`release`](ObjectFile::release) runs before the
/// current task is back in user space.
pub(crate) struct NewFile {
    // Declared first, hence dropped first: an unused number never outlasts the file.
    reservation: FileDescriptorReservation,
    file: ARef<File>,
}

/// Makes a file for an object, and reserves a descriptor for it in the current task.
///
/// From here on the object's [`release`](ObjectFile::release) is called exactly once, even when
/// there is no descriptor (`EMFILE`) or no memory for the file.
pub(crate) fn new_file<T: Kind>(object: Arc<T>) -> Result<NewFile> {
    let reservation = match FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC) {
        Ok(reservation) => reservation,
        Err(error) => {
            T::release(object);
            return Err(error);
        }
    };
    let file = open(object)?;
    Ok(NewFile { reservation, file })
}

/// Makes a file for an object that no descriptor is for.
///
/// The object's [`release`](ObjectFile::release) is called as by [`new_file`].
pub(crate) fn hidden_file<T: Kind>(object: Arc<T>) -> Result<FileRef<T>> {
    // INVARIANT: It is made for a `T`.
    Ok(FileRef {
        file: open(object)?,
        _object: PhantomData,
    })
}

/// Makes a file for an object, or releases it.
fn open<T: Kind>(object: Arc<T>) -> Result<ARef<File>> {
    let data = Arc::into_raw(object);
    // SAFETY: The name and the operations are static. The file takes over the reference in `data`,
    // from which the operations of this kind take it.
    let file = from_err_ptr(unsafe {
        ffi::alpc_shim_anon_inode_getfile(
            T::NAME.as_char_ptr(),
            &T::operations().0,
            data.cast_mut().cast(),
            (bindings::O_RDWR | bindings::O_CLOEXEC) as c_int,
            T::MAPPED || T::LABELLED,
        )
    })
    .inspect_err(|_| {
        // SAFETY: Without a file, the reference is still ours.
        T::release(unsafe { Arc::from_raw(data) });
    })?;
    // SAFETY: The new file is not null, nobody else has it, and its reference is ours to keep.
    Ok(unsafe { ARef::from_raw(core::ptr::NonNull::new_unchecked(file.cast::<File>())) })
}

impl NewFile {
    /// The number that the descriptor will have.
    pub(crate) fn fd(&self) -> u32 {
        self.reservation.reserved_fd()
    }

    /// The file, which nobody else has yet.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes the descriptor visible to the process, and returns its number.
    ///
    /// Other threads may use and close it at once, so nothing that can fail may come after.
    pub(crate) fn install(self) -> isize {
        let fd = self.fd();
        self.reservation.fd_install(self.file);
        // CAST: The kernel's descriptors are below `INT_MAX`.
        fd as isize
    }
}

/// A file of an object, held, and so the object.
///
/// # Invariants
///
/// `file` was made by [`new_file`] or [`hidden_file`] for a `T`.
pub(crate) struct FileRef<T: Kind> {
    file: ARef<File>,
    _object: PhantomData<fn() -> T>,
}

impl<T: Kind> Clone for FileRef<T> {
    fn clone(&self) -> Self {
        // INVARIANT: It is the same file.
        Self {
            file: self.file.clone(),
            _object: PhantomData,
        }
    }
}

impl<T: Kind> FileRef<T> {
    /// The file, if it is one of a `T`.
    pub(crate) fn new(file: ARef<File>) -> Option<Self> {
        // SAFETY: The file is held, and its operations don't change once it is open.
        let operations = unsafe { (*file.as_ptr()).f_op };
        // INVARIANT: By the contract of `Kind`, only files for a `T` have these operations, and only
        // `open` makes files with them.
        core::ptr::eq(operations, &T::operations().0).then_some(Self {
            file,
            _object: PhantomData,
        })
    }

    /// The object, which is not released while this reference exists.
    pub(crate) fn object(&self) -> ArcBorrow<'_, T> {
        // SAFETY: By the invariants, and the file is held for the lifetime of the borrow.
        unsafe { object(self.file.as_ptr()) }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Looks an object up by a descriptor of the current task.
///
/// `EBADF` if there is no such descriptor, `EINVAL` if it is of another kind.
pub(crate) fn from_fd<T: Kind>(fd: i32) -> Result<FileRef<T>> {
    let file = LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?)?;
    // SAFETY: The operations of no file of ours take the position's lock, so this task does not
    // hold it.
    let file = unsafe { LocalFile::assume_no_fdget_pos(file) };
    FileRef::new(file).ok_or(EINVAL)
}

/// What a poller waits with, for the lifetime of the file polled.
pub(crate) struct PollTable<'file> {
    file: *mut bindings::file,
    table: *mut bindings::poll_table,
    /// Invariant in the lifetime, so that it can't be shortened to that of a local head.
    _file: PhantomData<fn(&'file ()) -> &'file ()>,
}

impl<'file> PollTable<'file> {
    /// Has the poller woken by this head from now on.
    pub(crate) fn register(&self, head: &'file PollHead) {
        // SAFETY: Both pointers are those of the poll operation that runs. The head lives as long
        // as the file, and all who wait by polling hold the file or are detached at its release.
        unsafe { bindings::poll_wait(self.file, head.head.get(), self.table) };
    }
}

/// Where those wait who poll an object.
///
/// It is kept by the object whose file is polled, see [`ObjectFile::poll`], so nobody is left in
/// it when it is dropped.
#[pin_data]
pub(crate) struct PollHead {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue head may be freed by any task.
unsafe impl Send for PollHead {}
// SAFETY: C's wait queues have their own lock.
unsafe impl Sync for PollHead {}

impl PollHead {
    /// A head with nobody in it.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|head| {
                let key = kernel::static_lock_class!();
                // SAFETY: The memory is valid and pinned, the name and the key are static.
                unsafe {
                    bindings::__init_waitqueue_head(head, c"PollHead".as_char_ptr(), key.as_ptr());
                }
            }),
        })
    }

    /// Whether anybody waits here: a plain read that keeps wake-ups off the path of most messages.
    ///
    /// It may be trusted only after the state that pollers look at was changed under the lock
    /// under which [`ObjectFile::poll`] looks at it. Pollers register first: one that is not seen
    /// here took the lock later, and has seen the change.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        let head = self.head.get();
        // SAFETY: The head is initialised. It is its own neighbour when the list is empty; the
        // volatile read is the READ_ONCE of C's `list_empty`.
        unsafe {
            let next = (&raw const (*head).head.next).read_volatile();
            !core::ptr::eq(next, &raw const (*head).head)
        }
    }

    /// Wakes those who wait for one of the events in `mask`; of those who wait exclusively, one.
    pub(crate) fn wake(&self, mask: u32) {
        self.wake_some(1, mask);
    }

    /// Wakes all who wait for one of the events in `mask`: for what does not go away when one of
    /// them has dealt with it.
    pub(crate) fn wake_all(&self, mask: u32) {
        self.wake_some(0, mask);
    }

    /// `exclusive` is how many of those who wait exclusively, 0 for all.
    fn wake_some(&self, exclusive: c_int, mask: u32) {
        // SAFETY: The head is initialised. The key of a poll wake-up is the mask itself.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                exclusive,
                mask as usize as *mut c_void,
            );
        }
    }
}
