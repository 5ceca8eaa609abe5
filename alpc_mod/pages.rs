// SPDX-License-Identifier: GPL-2.0

//! The memory of a view: whole pages of the module's own, zeroed when they are taken.
//!
//! They are in no page cache and on no list, are not swapped or migrated, and no `struct page` of
//! theirs is ever given to anybody: user space gets at them by page numbers in page tables alone,
//! so nothing can hold them that the module has not let.

use crate::{charge::Charge, ffi};
use core::ptr::NonNull;
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*, //
};

/// Pages of memory.
///
/// # Invariants
///
/// `list` is an allocation of `len` pointers, each to a page that this object owns.
pub(crate) struct Pages {
    list: NonNull<*mut bindings::page>,
    len: u32,
    _charge: Charge,
}

// SAFETY: The pages are owned, and any task may free them.
unsafe impl Send for Pages {}
// SAFETY: Through a shared reference the list is only read.
unsafe impl Sync for Pages {}

/// The pages that the machine has.
pub(crate) fn total() -> u32 {
    // SAFETY: There are no requirements.
    let pages = unsafe { ffi::alpc_shim_totalram_pages() };
    u32::try_from(pages).unwrap_or(u32::MAX)
}

/// How many pages so many bytes take.
pub(crate) fn pages_of(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.div_ceil(PAGE_SIZE as u64)).ok()
}

/// So many pages in bytes.
pub(crate) fn bytes_of(pages: u32) -> u64 {
    u64::from(pages).saturating_mul(PAGE_SIZE as u64)
}

impl Pages {
    /// So many pages of zeroes.
    ///
    /// `ENOMEM` if there is no memory for them, at the memory cgroup's limit too.
    pub(crate) fn new(len: u32, charge: Charge) -> Result<Self> {
        let size = (len as usize)
            .checked_mul(size_of::<*mut bindings::page>())
            .ok_or(ENOMEM)?;
        // SAFETY: There are no requirements on the size.
        let list = unsafe { ffi::alpc_shim_kvmalloc(size) };
        // INVARIANT: There are no pages yet.
        let mut pages = Self {
            list: NonNull::new(list.cast()).ok_or(ENOMEM)?,
            len: 0,
            _charge: charge,
        };
        while pages.len < len {
            // SAFETY: There are no requirements.
            let page = NonNull::new(unsafe { ffi::alpc_shim_alloc_page() }).ok_or(ENOMEM)?;
            // SAFETY: The list has room for `len` pointers.
            unsafe { pages.list.add(pages.len as usize).write(page.as_ptr()) };
            // INVARIANT: The page is new and ours. It can't overflow below `len`.
            pages.len = pages.len.wrapping_add(1);
        }
        Ok(pages)
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Makes `count` pages from `first` on present in a mapping, at `addr` and behind it.
    ///
    /// # Safety
    ///
    /// `vma` is a mapping set up by [`mapping`](crate::mapping) in whose fault handler this is called.
    /// The caller sees to it that the pages are not present there any more when they are freed.
    pub(crate) unsafe fn insert(
        &self,
        vma: *mut bindings::vm_area_struct,
        addr: usize,
        first: u32,
        count: u32,
    ) -> bindings::vm_fault_t {
        if first.checked_add(count).is_none_or(|end| end > self.len) {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        }
        // SAFETY: By the check the pages are in the list; the rest is this function's contract.
        unsafe {
            ffi::alpc_shim_insert_pages(vma, addr, self.list.add(first as usize).as_ptr(), count)
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for at in 0..self.len as usize {
            // SAFETY: By the invariants this page is ours, and it is not used from here on.
            unsafe { ffi::alpc_shim_free_page(self.list.add(at).read()) };
        }
        // SAFETY: By the invariants this is our allocation.
        unsafe { bindings::kvfree(self.list.as_ptr().cast()) };
    }
}
