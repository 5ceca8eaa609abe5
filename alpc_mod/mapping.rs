// SPDX-License-Identifier: GPL-2.0

//! Mappings of [arenas](crate::arena) in processes: how they are made, what they do when the
//! kernel asks, and how to find one by address.
//!
//! Every mapping is of the whole arena, or of as much of it as a 32-bit program has room for,
//! shared, raw page numbers only (`VM_PFNMAP`): nothing can pin what is there, read it from
//! outside, or have it write-protected and copied. It is not inherited by `fork`, not in core
//! dumps, and can't be grown, split or moved.

use crate::{
    arena::Arena,
    ffi,
    file::{
        FileRef,
        Kind, //
    },
    slot::Space, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::file::File,
    page::PAGE_SHIFT,
    prelude::*,
    sync::aref::ARef, //
};

/// # Safety
///
/// The mapping is locked.
unsafe fn vma_start(vma: *mut bindings::vm_area_struct) -> usize {
    // SAFETY: By this function's contract.
    unsafe { (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start }
}

/// Maps an arena for `mmap` and for [`Arena::map`]. `EINVAL` for a part of it, or for a private
/// mapping; `EACCES` for access that it does not have; `ENOMEM` if there are too many.
///
/// # Safety
///
/// For `mmap` operations only: `vma` is being made, is for a file that keeps `arena`, and
/// nobody else sees it yet.
pub(crate) unsafe fn mmap(arena: &Arena, vma: *mut bindings::vm_area_struct) -> Result {
    // SAFETY: By this function's contract.
    let (space, addr) = unsafe { (Space::of(vma), vma_start(vma)) };
    arena.mapped(space, addr, |pages, writable| {
        // SAFETY: By this function's contract. The operations are static.
        to_result(unsafe {
            ffi::alpc_shim_set_up_mapping(
                vma,
                &OPERATIONS.0,
                core::ptr::from_ref(arena).cast_mut().cast(),
                pages as c_ulong,
                writable,
            )
        })
    })
}

/// What a mapping of an arena does.
struct Operations(bindings::vm_operations_struct);

// SAFETY: They are never written, and hold pointers to functions only.
unsafe impl Sync for Operations {}

/// Their address tells an arena's mappings from others.
static OPERATIONS: Operations = Operations(bindings::vm_operations_struct {
    close: Some(mapping_close),
    may_split: Some(mapping_may_split),
    mremap: Some(mapping_mremap),
    fault: Some(mapping_fault),
    ..pin_init::zeroed()
});

/// The arena of a mapping.
///
/// # Safety
///
/// `vma` has [`OPERATIONS`], and is not freed for the lifetime chosen.
unsafe fn arena_of<'a>(vma: *mut bindings::vm_area_struct) -> &'a Arena {
    // SAFETY: `mmap` has put it there. The mapping holds the file, which keeps the arena.
    unsafe { &*(*vma).vm_private_data.cast::<Arena>() }
}

/// # Safety
///
/// For mappings with [`OPERATIONS`] only, as the kernel calls it.
unsafe extern "C" fn mapping_close(vma: *mut bindings::vm_area_struct) {
    // SAFETY: By this function's contract; the file is given up after this. None of an arena is
    // ever used with a shared position.
    let (arena, file, space, addr) = unsafe {
        (
            arena_of(vma),
            File::from_raw_file((*vma).vm_file),
            Space::of(vma),
            vma_start(vma),
        )
    };
    arena.unmapped(file, space, addr);
}

/// # Safety
///
/// As for [`mapping_close`].
unsafe extern "C" fn mapping_may_split(_: *mut bindings::vm_area_struct, _: c_ulong) -> c_int {
    EINVAL.to_errno()
}

/// # Safety
///
/// As for [`mapping_close`].
unsafe extern "C" fn mapping_mremap(_: *mut bindings::vm_area_struct) -> c_int {
    // Nobody would know where it has gone.
    EINVAL.to_errno()
}

/// # Safety
///
/// As for [`mapping_close`].
unsafe extern "C" fn mapping_fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The kernel has locked the mapping for the time of the fault.
    let (vma, page) = unsafe {
        let what = &(*vmf).__bindgen_anon_1;
        (what.vma, what.pgoff)
    };
    let Ok(page) = u32::try_from(page) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    // SAFETY: It maps this arena from its first page on, and is locked.
    unsafe { arena_of(vma).fault(vma, Space::of(vma), vma_start(vma), page) }
}

/// A place in an arena that the current process has mapped.
pub(crate) struct Place {
    file: ARef<File>,
    /// The page of the arena.
    pub(crate) page: u32,
}

impl Place {
    /// What is at the beginning of the page at `addr` in the current process, if that is an arena's.
    pub(crate) fn at(addr: u64) -> Option<Self> {
        let addr = usize::try_from(addr).ok()?;
        if addr & ((1usize << PAGE_SHIFT) - 1) != 0 {
            return None;
        }
        let task = current!();
        let mm = task.mm()?;
        let lock = mm.mmap_read_lock();
        let vma = lock.vma_lookup(addr)?.as_ptr();
        // SAFETY: The mapping can't change while the lock is held.
        let (operations, start, file) = unsafe { ((*vma).vm_ops, vma_start(vma), (*vma).vm_file) };
        if !core::ptr::eq(operations, &OPERATIONS.0) {
            return None;
        }
        let page = u32::try_from(addr.checked_sub(start)? >> PAGE_SHIFT).ok()?;
        // SAFETY: A mapping with these operations has a file and holds it. No file of an arena is
        // ever used with a shared position.
        let file = unsafe { File::from_raw_file(file) };
        Some(Self {
            file: file.into(),
            page,
        })
    }

    /// The file, if it is of this kind.
    pub(crate) fn file<T: Kind>(&self) -> Option<FileRef<T>> {
        FileRef::new(self.file.clone())
    }
}
