// SPDX-License-Identifier: GPL-2.0

//! Arenas: addresses that processes have mapped, and of which the module decides page by page who
//! may touch what is there.
//!
//! An arena is the memory of one file with an inode of its own. Ranges of pages come and go in it
//! ([`Slot`]); who has the file mapped sees those that are open to it, by page faults. What is not
//! open has no page table entry at all, and a fault on it is refused: a read-only entry would be
//! no protection, as the kernel makes one writable in a writable shared mapping without asking.
//!
//! Whether a slot is open, making its pages present and taking them away are all under one lock,
//! [`Arena::state`]: who finds the slot closed can't be overtaken by a fault that found it open.
//!
//! Every mapping is of the whole arena, shared, raw page numbers only (`VM_PFNMAP`): nothing can pin
//! what is there, read it from outside, or have it write-protected and copied. It is not inherited
//! by `fork`, not in core dumps, and can't be grown, split or moved.

use crate::{
    buffer::charged,
    ffi,
    file::{
        FileRef,
        Kind, //
    },
    logic::ranges::{
        self,
        Range, //
    },
    pages::{
        bytes_of,
        Pages, //
    },
    view::Loan, //
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::file::File,
    new_mutex,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
};

/// An address space, to be compared with others. It says nothing once its process may be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space(usize);

impl Space {
    /// That of the current task.
    pub(crate) fn current() -> Self {
        // SAFETY: There is always a current task, and what its address space is changes by itself
        // only.
        Self(unsafe { (*bindings::get_current()).mm }.addr())
    }
}

/// To whom a slot is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Nobody,
    /// To every mapping.
    All,
    /// To the mappings in one address space.
    Only(Space),
}

/// A range of pages in an arena.
pub(crate) struct Slot {
    start: u32,
    /// Those of the pages that are shown, from the first on.
    len: u32,
    pub(crate) pages: Arc<Pages>,
    pub(crate) open: Open,
    /// How often it is lent, in the arena of its owner.
    pub(crate) lent: u32,
    /// Whose it is, in the arena of who borrows.
    pub(crate) loan: Option<Arc<Loan>>,
    /// Who borrows it has been told of it, so that with the slot the loan ends.
    pub(crate) held: bool,
    /// Pages that were made present since there were none, from `low` to before `high`.
    present: u32,
    low: u32,
    high: u32,
}

impl Slot {
    fn range(&self) -> Range {
        Range {
            start: self.start,
            len: self.len,
        }
    }
}

/// What is to be done with a slot that has been looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// No more.
    Keep,
    /// Its pages are to be present nowhere. It should be open to nobody, or they will come back.
    Hide,
    /// The same, and the slot is no more.
    Remove,
}

/// One mapping of an arena.
struct Mapping {
    space: Space,
    addr: usize,
}

struct State {
    /// In the order of their pages.
    slots: KVVec<Slot>,
    mappings: KVec<Mapping>,
    /// No slot will be added any more.
    closed: bool,
}

impl State {
    fn find(&self, page: u32) -> Option<usize> {
        let range = |index| self.slots.get(index).map(Slot::range);
        ranges::find(self.slots.len(), range, page)
    }

    fn address(&self, space: Space) -> Option<usize> {
        self.mappings
            .iter()
            .find(|mapping| mapping.space == space)
            .map(|mapping| mapping.addr)
    }
}

/// The addresses, and what is there.
#[pin_data]
pub(crate) struct Arena {
    pages: u32,
    slots_max: usize,
    writable: bool,
    /// Taken to map it into a process that has not yet.
    #[pin]
    mapper: Mutex<()>,
    #[pin]
    state: Mutex<State>,
}

impl Arena {
    /// An arena of so many pages for at most so many slots, which the processes that map it may
    /// write to or not.
    pub(crate) fn new(pages: u32, slots_max: usize, writable: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            pages,
            slots_max,
            writable,
            mapper <- new_mutex!((), "Arena::mapper"),
            state <- new_mutex!(State {
                slots: KVVec::new(),
                mappings: KVec::new(),
                closed: false,
            }, "Arena::state"),
        })
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        bytes_of(self.pages)
    }

    /// Makes a slot where there is room. `ENOSPC` if there is none, `ENOMEM` without memory, and
    /// `EAGAIN` if it is to be open to an address space only that has not mapped the arena.
    pub(crate) fn add(
        &self,
        pages: Arc<Pages>,
        open: Open,
        loan: Option<Arc<Loan>>,
    ) -> Result<u32> {
        let slot = Slot {
            start: 0,
            len: loan.as_ref().map_or(pages.len(), |loan| loan.shown()),
            pages,
            open,
            lent: 0,
            loan,
            held: false,
            present: 0,
            low: 0,
            high: 0,
        };
        let mut state = self.state.lock();
        let added = Self::try_add(&mut state, self, slot);
        drop(state);
        // What was not added is dropped with no lock held.
        added.map_err(|(error, _slot)| error)
    }

    fn try_add(state: &mut State, this: &Self, mut slot: Slot) -> Result<u32, (Error, Slot)> {
        if let Open::Only(space) = slot.open {
            if state.address(space).is_none() {
                return Err((EAGAIN, slot));
            }
        }
        if state.slots.len() >= this.slots_max {
            return Err((ENOSPC, slot));
        }
        let used = state.slots.iter().map(Slot::range);
        let Some((before, start)) = ranges::first_gap(used, this.pages, slot.len) else {
            return Err((ENOSPC, slot));
        };
        let reserved = charged(size_of::<Slot>(), |flags| state.slots.reserve(1, flags));
        if let Err(error) = reserved {
            return Err((error, slot));
        }
        slot.start = start;
        match state.slots.insert_within_capacity(before, slot) {
            Ok(()) => Ok(start),
            // There is room.
            Err(_) => Ok(start),
        }
    }

    /// How many slots there are, their pages, and how many of them are lent.
    pub(crate) fn usage(&self) -> (usize, u32, usize) {
        let state = self.state.lock();
        let pages = |sum: u32, slot: &Slot| sum.saturating_add(slot.pages.len());
        (
            state.slots.len(),
            state.slots.iter().fold(0, pages),
            state.slots.iter().filter(|slot| slot.lent != 0).count(),
        )
    }

    /// Looks at the slot that begins at page `start`, if there is one, and does with it what `look`
    /// says. A slot that is removed is dropped with no lock held.
    pub(crate) fn with_slot<R, E>(
        &self,
        file: &File,
        start: u32,
        look: impl FnOnce(&mut Slot) -> Result<(R, Then), E>,
    ) -> Option<Result<R, E>> {
        let mut state = self.state.lock();
        let index = state.find(start)?;
        let slot = state
            .slots
            .get_mut(index)
            .filter(|slot| slot.start == start)?;
        let (result, then) = match look(slot) {
            Ok(done) => done,
            Err(error) => return Some(Err(error)),
        };
        if then != Then::Keep {
            hide(file, slot);
        }
        let removed = match then {
            Then::Remove => state.slots.remove(index).ok(),
            _ => None,
        };
        drop(state);
        drop(removed);
        Some(Ok(result))
    }

    /// Where the current process has it, which maps it if it has not.
    pub(crate) fn map(&self, file: &File) -> Result<usize> {
        let space = Space::current();
        if let Some(addr) = self.state.lock().address(space) {
            return Ok(addr);
        }
        let mapper = self.mapper.lock();
        if let Some(addr) = self.state.lock().address(space) {
            return Ok(addr);
        }
        let size = usize::try_from(self.size()).map_err(|_| ENOMEM)?;
        // SAFETY: The file is held, and it is one that can be mapped. No lock is held that the map
        // operation or a fault takes.
        let addr = unsafe { ffi::alpc_shim_map(file.as_ptr(), size, self.writable) };
        drop(mapper);
        match c_int::try_from(addr) {
            Ok(error) if error < 0 => Err(Error::from_errno(error)),
            // CAST: It is an address of the user's.
            _ => Ok(addr as usize),
        }
    }

    /// Nothing will be added any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.unmap_if_done();
    }

    /// Unmaps the arena from the current process if it is closed and nothing is open there.
    ///
    /// That is between the check and the call nobody's business but the process's: only it can
    /// have unmapped the arena and mapped something else in its place, where it was told not to.
    pub(crate) fn unmap_if_done(&self) {
        let space = Space::current();
        let state = self.state.lock();
        if !state.closed {
            return;
        }
        let open = |slot: &Slot| slot.open == Open::Only(space);
        let addr = match state.slots.iter().any(open) {
            true => None,
            false => state.address(space),
        };
        drop(state);
        let (Some(addr), Ok(size)) = (addr, usize::try_from(self.size())) else {
            return;
        };
        // SAFETY: It is an address of the user's, and no lock is held. If it fails, as it does in
        // a process that is being killed, the mapping ends with the process.
        let _ = unsafe { bindings::vm_munmap(addr, size) };
    }

    /// A process touches a page that is not present.
    ///
    /// # Safety
    ///
    /// For the fault handler only: `vma` maps this arena, and is locked.
    unsafe fn fault(&self, vma: *mut bindings::vm_area_struct, page: u32) -> bindings::vm_fault_t {
        // SAFETY: By this function's contract. A mapping is of the whole arena, from its first page.
        let (space, base) = unsafe { (Space((*vma).vm_mm.addr()), vma_start(vma)) };
        let mut state = self.state.lock();
        let slot = state
            .find(page)
            .and_then(|index| state.slots.get_mut(index))
            .filter(|slot| match slot.open {
                Open::Nobody => false,
                Open::All => true,
                Open::Only(only) => only == space,
            });
        let Some(slot) = slot else {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        };
        let at = page.wrapping_sub(slot.start);
        let count = ranges::ahead(at, slot.len, slot.present);
        let end = at.saturating_add(count);
        (slot.low, slot.high) = match slot.present {
            0 => (at, end),
            _ => (slot.low.min(at), slot.high.max(end)),
        };
        slot.present = slot.present.saturating_add(count).min(slot.len);
        let addr = base.wrapping_add((page as usize) << PAGE_SHIFT);
        // SAFETY: The mapping is ours and this is its fault handler. The pages are the slot's, which
        // has been found open, and is hidden before it gives them up: see `with_slot`.
        unsafe { slot.pages.insert(vma, addr, at, count) }
    }

    /// A mapping has ended: what is open to nobody else is given up.
    fn unmapped(&self, space: Space, addr: usize) {
        let mut state = self.state.lock();
        let ended = |mapping: &Mapping| mapping.space == space && mapping.addr == addr;
        let Some(index) = state.mappings.iter().position(ended) else {
            return;
        };
        let _ = state.mappings.remove(index);
        while state.address(space).is_none() {
            let lost = |slot: &Slot| slot.open == Open::Only(space);
            let Some(index) = state.slots.iter().position(lost) else {
                break;
            };
            // The page tables that had it are gone.
            let slot = state.slots.remove(index);
            drop(state);
            if let Ok(Slot {
                loan: Some(loan),
                held: true,
                ..
            }) = &slot
            {
                // The message that it came with may be held for long.
                loan.end();
            }
            drop(slot);
            state = self.state.lock();
        }
    }
}

/// Makes a slot's pages present nowhere.
fn hide(file: &File, slot: &mut Slot) {
    if slot.present != 0 {
        let from = bytes_of(slot.start.saturating_add(slot.low));
        let len = bytes_of(slot.high.saturating_sub(slot.low));
        // SAFETY: The file is held. Its inode has no mappings but those of this arena.
        unsafe {
            // CAST: An arena has fewer bytes than either type has values.
            bindings::unmap_mapping_range((*file.as_ptr()).f_mapping, from as i64, len as i64, 1);
        }
    }
    (slot.present, slot.low, slot.high) = (0, 0, 0);
}

/// # Safety
///
/// The mapping is locked.
unsafe fn vma_start(vma: *mut bindings::vm_area_struct) -> usize {
    // SAFETY: By this function's contract.
    unsafe { (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start as usize }
}

/// Maps an arena for `mmap` and for [`Arena::map`]. `EINVAL` for a part of it, or for a private
/// mapping; `EACCES` for access that it does not have.
///
/// # Safety
///
/// For `mmap` operations only: `vma` is being made, is for a file that keeps `arena`, and
/// nobody else sees it yet.
pub(crate) unsafe fn mmap(arena: &Arena, vma: *mut bindings::vm_area_struct) -> Result {
    // SAFETY: By this function's contract.
    let (space, addr) = unsafe { (Space((*vma).vm_mm.addr()), vma_start(vma)) };
    let mut state = arena.state.lock();
    state.mappings.reserve(1, GFP_KERNEL_ACCOUNT)?;
    // SAFETY: By this function's contract. The operations are static.
    let error = unsafe {
        ffi::alpc_shim_set_up_mapping(
            vma,
            &OPERATIONS.0,
            core::ptr::from_ref(arena).cast_mut().cast(),
            arena.pages as c_ulong,
            arena.writable,
        )
    };
    kernel::error::to_result(error)?;
    let mapping = Mapping { space, addr };
    state.mappings.push(mapping, GFP_KERNEL_ACCOUNT)?;
    Ok(())
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
    // SAFETY: By this function's contract; the file is given up after this.
    let (arena, space, addr) =
        unsafe { (arena_of(vma), Space((*vma).vm_mm.addr()), vma_start(vma)) };
    arena.unmapped(space, addr);
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
    // SAFETY: It maps this arena.
    unsafe { arena_of(vma).fault(vma, page) }
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
