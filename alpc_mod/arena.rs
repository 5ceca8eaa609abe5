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

use crate::{
    buffer::charged,
    ffi,
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
    ffi::c_int,
    fs::file::File,
    new_mutex,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// Mappings of an arena that may be written to, at most. Whoever receives a message may have to
/// take its view's pages away from every one of them.
const WRITERS: usize = 64;

/// Pages of an arena that a 32-bit process maps at most, a gibibyte: it has no room for more.
const COMPAT_PAGES: u32 = (1 << 30) >> PAGE_SHIFT;

/// An address space, to be compared with others. It says nothing once its process may be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space(usize);

impl Space {
    /// That of a mapping.
    ///
    /// # Safety
    ///
    /// The mapping can't end meanwhile.
    pub(crate) unsafe fn of(vma: *mut bindings::vm_area_struct) -> Self {
        // SAFETY: By this function's contract.
        Self(unsafe { (*vma).vm_mm }.addr())
    }

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
    /// Pages of the arena that it takes.
    room: u32,
    /// How many of the pages can be seen, from the first on.
    len: u32,
    pub(crate) pages: Arc<Pages>,
    pub(crate) open: Open,
    /// How often it is lent, in the arena of its owner.
    pub(crate) lent: u32,
    /// Whose it is, in the arena of who borrows.
    pub(crate) loan: Option<Arc<Loan>>,
    /// Who borrows it has been told of it, so that with the slot the loan ends.
    pub(crate) held: bool,
    /// Who borrows it gives it back just now, and can't touch it any more.
    pub(crate) given: bool,
    /// Pages that were made present since there were none, from `low` to before `high`.
    present: u32,
    low: u32,
    high: u32,
}

impl Slot {
    fn range(&self) -> Range {
        Range {
            start: self.start,
            len: self.room,
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
    /// Of the arena, from its first page on.
    pages: u32,
    /// It is about to be unmapped, and is not to be used any more.
    leaving: bool,
}

struct State {
    /// In the order of their pages.
    slots: KVVec<Slot>,
    mappings: KVec<Mapping>,
    /// Nobody needs a mapping that has no slot any more.
    closed: bool,
}

impl State {
    fn find(&self, page: u32) -> Option<usize> {
        let range = |index| self.slots.get(index).map(Slot::range);
        ranges::find(self.slots.len(), range, page)
    }

    /// One in an address space that is to be used.
    fn mapping(&mut self, space: Space) -> Option<&mut Mapping> {
        let is_there = |mapping: &&mut Mapping| mapping.space == space && !mapping.leaving;
        self.mappings.iter_mut().find(is_there)
    }

    fn address(&mut self, space: Space) -> Option<usize> {
        self.mapping(space).map(|mapping| mapping.addr)
    }
}

/// The addresses, and what is there.
#[pin_data]
pub(crate) struct Arena {
    pages: u32,
    granule: u32,
    slots_max: usize,
    writable: bool,
    /// Taken to map it into a process that has not yet.
    #[pin]
    mapper: Mutex<()>,
    #[pin]
    state: Mutex<State>,
}

impl Arena {
    /// An arena of so many pages for at most so many slots, each of which takes a multiple of
    /// `granule` pages, and which the processes that map it may write to or not.
    pub(crate) fn new(
        pages: u32,
        granule: u32,
        slots_max: usize,
        writable: bool,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            pages,
            granule,
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

    /// How many of its pages the current process maps.
    fn reach(&self) -> u32 {
        // SAFETY: There are no requirements.
        match unsafe { ffi::alpc_shim_is_compat() } {
            true => self.pages.min(COMPAT_PAGES),
            false => self.pages,
        }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        bytes_of(self.pages)
    }

    /// Makes a slot of the first `len` pages where there is room, and says where, in pages from the
    /// beginning and as an address of the current process. `ENOSPC` if there is no room, `ENOMEM`
    /// without memory, and `EAGAIN` if the process has not mapped the arena.
    pub(crate) fn add(
        &self,
        pages: Arc<Pages>,
        len: u32,
        open: Open,
        loan: Option<Arc<Loan>>,
    ) -> Result<(u32, u64)> {
        let len = len.min(pages.len());
        let slot = Slot {
            start: 0,
            room: len.checked_next_multiple_of(self.granule).ok_or(ENOSPC)?,
            len,
            pages,
            open,
            lent: 0,
            loan,
            held: false,
            given: false,
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

    fn try_add(
        state: &mut State,
        this: &Self,
        mut slot: Slot,
    ) -> Result<(u32, u64), (Error, Slot)> {
        let Some(&mut Mapping { addr, pages, .. }) = state.mapping(Space::current()) else {
            return Err((EAGAIN, slot));
        };
        if state.slots.len() >= this.slots_max {
            return Err((ENOSPC, slot));
        }
        let used = state.slots.iter().map(Slot::range);
        let Some((before, start)) = ranges::first_gap(used, pages, slot.room) else {
            return Err((ENOSPC, slot));
        };
        let reserved = charged(size_of::<Slot>(), |flags| state.slots.reserve(1, flags));
        if let Err(error) = reserved {
            return Err((error, slot));
        }
        slot.start = start;
        // There is room.
        let _ = state.slots.insert_within_capacity(before, slot);
        Ok((start, (addr as u64).saturating_add(bytes_of(start))))
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
        let size = usize::try_from(bytes_of(self.reach())).map_err(|_| ENOMEM)?;
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

    /// What is added from now on is the last: a mapping is needed no longer than that.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.unmap_if_done();
    }

    /// Unmaps the arena from the current process if it is closed and nothing is open there.
    ///
    /// That is between the check and the call nobody's business but the process's: only it can
    /// have unmapped the arena and mapped something else in its place, where it was told not to.
    /// No other thread comes here for the same mapping, and none gives that a slot: who would finds
    /// that it leaves.
    pub(crate) fn unmap_if_done(&self) {
        let space = Space::current();
        let mut state = self.state.lock();
        let open = |slot: &Slot| slot.open == Open::Only(space);
        if !state.closed || state.slots.iter().any(open) {
            return;
        }
        let Some(mapping) = state.mapping(space) else {
            return;
        };
        mapping.leaving = true;
        let (addr, pages) = (mapping.addr, mapping.pages);
        drop(state);
        let unmapped = usize::try_from(bytes_of(pages)).is_ok_and(|size| {
            // SAFETY: It is an address of the user's, and no lock is held.
            unsafe { bindings::vm_munmap(addr, size) == 0 }
        });
        if !unmapped {
            // As in a process that is being killed. The mapping stays, and ends with the process.
            let is_it = |mapping: &&mut Mapping| mapping.space == space && mapping.addr == addr;
            if let Some(mapping) = self.state.lock().mappings.iter_mut().find(is_it) {
                mapping.leaving = false;
            }
        }
    }

    /// A process touches a page that is not present.
    ///
    /// # Safety
    ///
    /// For the fault handler only: `vma` maps this arena at `base` in `space`, and is locked.
    pub(crate) unsafe fn fault(
        &self,
        vma: *mut bindings::vm_area_struct,
        space: Space,
        base: usize,
        page: u32,
    ) -> bindings::vm_fault_t {
        let mut state = self.state.lock();
        let slot = state
            .find(page)
            .and_then(|index| state.slots.get_mut(index))
            .filter(|slot| page.wrapping_sub(slot.start) < slot.len)
            .filter(|slot| match slot.open {
                Open::Nobody => false,
                Open::All => true,
                Open::Only(only) => only == space && !slot.given,
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
        // has been found open, and is hidden before it gives them up.
        unsafe { slot.pages.insert(vma, addr, at, count) }
    }

    /// Keeps a mapping in mind that is being made and that `set_up` sets up for the arena, unless
    /// that fails. `ENOMEM` if there are [`WRITERS`].
    pub(crate) fn mapped(
        &self,
        space: Space,
        addr: usize,
        set_up: impl FnOnce(u32, bool) -> Result,
    ) -> Result {
        let mut state = self.state.lock();
        if self.writable && state.mappings.len() >= WRITERS {
            return Err(ENOMEM);
        }
        state.mappings.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let pages = self.reach();
        set_up(pages, self.writable)?;
        let mapping = Mapping {
            space,
            addr,
            pages,
            leaving: false,
        };
        state.mappings.push(mapping, GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    /// A mapping has ended: what is open to nobody else is given up.
    pub(crate) fn unmapped(&self, file: &File, space: Space, addr: usize) {
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
            // The page tables that had it are gone, but for those of a mapping that the kernel did
            // not tell of: it leaves one behind if it is out of memory after a refused move.
            if let Some(slot) = state.slots.get_mut(index) {
                hide(file, slot);
            }
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
