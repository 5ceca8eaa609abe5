// SPDX-License-Identifier: GPL-2.0

//! Arenas: addresses that processes have mapped, and of which the module decides page by page who
//! may touch what is there.
//!
//! An arena is the memory of one file with an inode of its own. Ranges of pages come and go in it
//! ([`Slot`]); who has the file mapped sees those that are open to it, by page faults. What is not
//! open has no page table entry at all, and a fault on it is refused: a read-only entry would be
//! no protection, as the kernel makes one writable in a writable shared mapping without asking.
//!
//! Finding out whether a slot is open, making its pages present and taking them away are all under
//! one lock, [`Arena::state`]: who closes a slot can't be overtaken by a fault that found it open.
//! That lock belongs to those who hold the arena's file. Page tables are allocated and emptied under
//! it, so who only borrows or lends what is in the arena never takes it: see [`Backing`].

use crate::{
    backing::Backing,
    buffer::charged,
    ffi,
    logic::ranges,
    pages::bytes_of,
    slot::{
        Open,
        Slot,
        Space,
        Then, //
    },
    view::Loan, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering::Relaxed, //
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

/// Mappings of an arena that may be written to, at most. Who lends a view takes its pages away from
/// every one of them.
const WRITERS: usize = 64;

/// Pages of an arena that a 32-bit process maps at most, a gibibyte: it has no room for more.
const COMPAT_PAGES: u32 = (1 << 30) >> PAGE_SHIFT;

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
    /// The id of the last slot that was made.
    last: u64,
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
    #[pin]
    state: Mutex<State>,
    /// Nobody needs a mapping that has no slot any more. Set once, and looked at after a slot is gone.
    closed: AtomicBool,
    /// Views and their pages, for those who must not wait for the lock. The kernel's own atomics are
    /// a call each, which is much for what is only read and written.
    views: AtomicU32,
    view_pages: AtomicU32,
}

/// Where a slot is.
#[derive(Clone, Copy)]
pub(crate) struct At {
    /// In pages from the arena's beginning.
    pub(crate) start: u32,
    /// In the current process.
    pub(crate) addr: u64,
    /// The slot's own.
    pub(crate) id: u64,
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
            state <- new_mutex!(State {
                slots: KVVec::new(),
                mappings: KVec::new(),
                last: 0,
            }, "Arena::state"),
            closed: AtomicBool::new(false),
            views: AtomicU32::new(0),
            view_pages: AtomicU32::new(0),
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

    /// Makes a slot of the first `len` pages where there is room. `ENOSPC` if there is no room,
    /// `ENOMEM` without memory, and `EAGAIN` if the process has not mapped the arena.
    pub(crate) fn add(
        &self,
        backing: Arc<Backing>,
        len: u32,
        open: Open,
        loan: Option<Arc<Loan>>,
    ) -> Result<At> {
        let len = len.min(backing.pages().len());
        let room = len.checked_next_multiple_of(self.granule).ok_or(ENOSPC)?;
        // Taken out where it is added. What is not goes after the lock.
        let mut slot = Some(Slot::new(backing, loan, open, len, room));
        loop {
            let mut state = self.state.lock();
            let error = match self.try_add(&mut state, room, &mut slot) {
                Ok(at) => return Ok(at),
                Err(error) => error,
            };
            let left = match error == ENOSPC {
                true => state.slots.iter().position(Slot::is_left),
                false => None,
            };
            let Some(index) = left else {
                return Err(error);
            };
            let removed = state.slots.remove(index);
            drop(state);
            drop(removed);
        }
    }

    /// Adds a slot that takes this `room`, if there is that.
    #[inline]
    fn try_add(&self, state: &mut State, room: u32, slot: &mut Option<Slot>) -> Result<At> {
        let Some(&mut Mapping { addr, pages, .. }) = state.mapping(Space::current()) else {
            return Err(EAGAIN);
        };
        if state.slots.len() >= self.slots_max {
            return Err(ENOSPC);
        }
        let used = state.slots.iter().map(Slot::range);
        let (before, start) = ranges::first_gap(used, pages, room).ok_or(ENOSPC)?;
        charged(size_of::<Slot>(), |flags| state.slots.reserve(1, flags))?;
        let mut slot = slot.take().ok_or(EINVAL)?;
        // 64 bits are not used up.
        state.last = state.last.wrapping_add(1);
        (slot.start, slot.id) = (start, state.last);
        let at = At {
            start,
            addr: (addr as u64).saturating_add(bytes_of(start)),
            id: slot.id,
        };
        self.recount((0, 0), slot.counts());
        // There is room.
        let _ = state.slots.insert_within_capacity(before, slot);
        Ok(at)
    }

    /// Notes that a slot counts otherwise than before. The lock is held.
    fn recount(&self, before: (u32, u32), now: (u32, u32)) {
        if before == now {
            return;
        }
        let change = |count: &AtomicU32, before: u32, now: u32| {
            let changed = count.load(Relaxed).wrapping_sub(before).wrapping_add(now);
            count.store(changed, Relaxed);
        };
        change(&self.views, before.0, now.0);
        change(&self.view_pages, before.1, now.1);
    }

    /// How many views there are, and their pages. Waits for nobody.
    pub(crate) fn usage(&self) -> (u32, u32) {
        (self.views.load(Relaxed), self.view_pages.load(Relaxed))
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
        let before = slot.counts();
        let (result, then) = match look(slot) {
            Ok(done) => done,
            Err(error) => return Some(Err(error)),
        };
        if then != Then::Keep {
            slot.hide(file);
        }
        let now = match then {
            Then::Remove => (0, 0),
            _ => slot.counts(),
        };
        self.recount(before, now);
        let removed = match then {
            Then::Remove => state.slots.remove(index).ok(),
            _ => None,
        };
        drop(state);
        drop(removed);
        Some(Ok(result))
    }

    /// Maps it into the current process, if that has not been done.
    ///
    /// Threads that come here at the same time map it once each, and all but the first mapping go
    /// again: to wait for each other they would need a lock that is held while the process's memory
    /// is changed.
    pub(crate) fn map(&self, file: &File) -> Result {
        let space = Space::current();
        if self.state.lock().address(space).is_some() {
            return Ok(());
        }
        let size = usize::try_from(bytes_of(self.reach())).map_err(|_| ENOMEM)?;
        // SAFETY: The file is held, and it is one that can be mapped. No lock is held that the map
        // operation or a fault takes.
        let addr = unsafe { ffi::alpc_shim_map(file.as_ptr(), size, self.writable) };
        let first = self.state.lock().address(space);
        match (c_int::try_from(addr), first) {
            // Another thread had room for it, which there is none for twice.
            (Ok(error), None) if error < 0 => Err(Error::from_errno(error)),
            (Ok(error), Some(_)) if error < 0 => Ok(()),
            // CAST: It is an address of the user's.
            (_, Some(first)) if first != addr as usize => {
                // SAFETY: It is where the arena has just been mapped, and no lock is held.
                unsafe { bindings::vm_munmap(addr as usize, size) };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What is added from now on is the last: a mapping is needed no longer than that.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.unmap_if_done();
    }

    /// Unmaps the arena from the current process if it is closed and nothing is open there.
    ///
    /// That is between the check and the call nobody's business but the process's: only it can
    /// have unmapped the arena and mapped something else in its place, where it was told not to.
    /// No other thread comes here for the same mapping, and none gives that a slot: who would finds
    /// that it leaves.
    pub(crate) fn unmap_if_done(&self) {
        if !self.closed.load(Relaxed) {
            return;
        }
        let space = Space::current();
        let mut state = self.state.lock();
        let open = |slot: &Slot| slot.is_only_of(space);
        if state.slots.iter().any(open) {
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
            .filter(|slot| slot.has(page));
        let Some(slot) = slot else {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        };
        let addr = base.wrapping_add((page as usize) << PAGE_SHIFT);
        // SAFETY: The mapping is ours, this is its fault handler, and the lock is held.
        unsafe { slot.show(vma, space, addr, page.wrapping_sub(slot.start)) }
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
        charged(size_of::<Mapping>(), |flags| {
            state.mappings.reserve(1, flags)
        })?;
        let pages = self.reach();
        set_up(pages, self.writable)?;
        let mapping = Mapping {
            space,
            addr,
            pages,
            leaving: false,
        };
        let pushed = state.mappings.push_within_capacity(mapping);
        pushed.map_err(|_| ENOMEM)
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
            let lost = |slot: &Slot| slot.is_only_of(space);
            // From the end: then nothing has to move up.
            let Some(index) = state.slots.iter().rposition(lost) else {
                break;
            };
            // The page tables that had it are gone, but for those of a mapping that the kernel did
            // not tell of: it leaves one behind if it is out of memory after a refused move.
            if let Some(slot) = state.slots.get_mut(index) {
                slot.hide(file);
                self.recount(slot.counts(), (0, 0));
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
