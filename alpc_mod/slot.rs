// SPDX-License-Identifier: GPL-2.0

//! Slots of an [arena](crate::arena): ranges of its pages, and who may see what is there.

use crate::{
    backing::Backing,
    logic::ranges::{
        self,
        Range, //
    },
    pages::bytes_of,
    view::Loan, //
};
use kernel::{
    bindings,
    fs::file::File,
    sync::Arc, //
};

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
    /// To every mapping, unless the view is lent so that its owner has no access.
    Owner,
    /// To the mappings in one address space.
    Only(Space),
}

impl Open {
    /// Whether a mapping in `space` shows a slot with this backing.
    fn shows(self, backing: &Backing, space: Space) -> bool {
        match self {
            Self::Owner => backing.is_open(),
            Self::Only(only) => only == space,
        }
    }
}

/// A range of pages in an arena.
pub(crate) struct Slot {
    pub(crate) start: u32,
    /// Pages of the arena that it takes.
    room: u32,
    /// How many of the pages can be seen, from the first on.
    len: u32,
    /// Pages of the view.
    pages: u32,
    /// No other slot of this arena has or had it.
    pub(crate) id: u64,
    /// None while the view leaves with a message that is being sent: only the place is kept then.
    pub(crate) backing: Option<Arc<Backing>>,
    /// Whose it is, in the arena of who borrows.
    pub(crate) loan: Option<Arc<Loan>>,
    open: Open,
    /// Who borrows it has been told of it, so that with the slot the loan ends.
    pub(crate) held: bool,
    /// Pages that were made present since there were none, from `low` to before `high`.
    present: u32,
    low: u32,
    high: u32,
}

impl Slot {
    /// A slot that stands nowhere yet, of the first `len` pages, and takes `room` of the arena.
    pub(crate) fn new(
        backing: Arc<Backing>,
        loan: Option<Arc<Loan>>,
        open: Open,
        len: u32,
        room: u32,
    ) -> Self {
        Self {
            start: 0,
            room,
            len,
            pages: backing.pages().len(),
            id: 0,
            backing: Some(backing),
            loan,
            open,
            held: false,
            present: 0,
            low: 0,
            high: 0,
        }
    }

    /// The pages that it takes.
    pub(crate) fn range(&self) -> Range {
        Range {
            start: self.start,
            len: self.room,
        }
    }

    /// Whether it is open to the mappings in one address space only, and to those in `space`.
    pub(crate) fn is_only_of(&self, space: Space) -> bool {
        self.open == Open::Only(space)
    }

    /// Whether it is of the current process and no other.
    pub(crate) fn is_of_current(&self) -> bool {
        self.is_only_of(Space::current())
    }

    /// Views and pages that `usage` counts for it.
    #[inline]
    pub(crate) fn counts(&self) -> (u32, u32) {
        match self.backing {
            Some(_) => (1, self.pages),
            None => (0, 0),
        }
    }

    /// Whether the page is one of those that can be seen.
    pub(crate) fn has(&self, page: u32) -> bool {
        page.wrapping_sub(self.start) < self.len
    }

    /// Whether only the place of a view is left that has gone back to its owner.
    pub(crate) fn is_left(&self) -> bool {
        self.backing.is_none() && self.loan.as_ref().is_some_and(|loan| loan.has_ended())
    }

    /// Makes its pages present nowhere. `file` is the arena's.
    pub(crate) fn hide(&mut self, file: &File) {
        if self.present != 0 {
            let from = bytes_of(self.start.saturating_add(self.low));
            let len = bytes_of(self.high.saturating_sub(self.low));
            // SAFETY: The file is held. Its inode has no mappings but those of this arena.
            unsafe {
                // CAST: An arena has fewer bytes than either type has values.
                bindings::unmap_mapping_range(
                    (*file.as_ptr()).f_mapping,
                    from as i64,
                    len as i64,
                    1,
                );
            }
        }
        (self.present, self.low, self.high) = (0, 0, 0);
    }

    /// Makes its pages present in a mapping of the arena, from the page at `at` on and no more than
    /// one fault should, or refuses that. The mapping is in `space` and has the page at `addr`.
    ///
    /// # Safety
    ///
    /// For the fault handler of `vma` only, which maps the slot's arena, under the arena's lock.
    pub(crate) unsafe fn show(
        &mut self,
        vma: *mut bindings::vm_area_struct,
        space: Space,
        addr: usize,
        at: u32,
    ) -> bindings::vm_fault_t {
        let backing = self.backing.as_ref();
        let Some(backing) = backing.filter(|backing| self.open.shows(backing, space)) else {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        };
        let count = ranges::ahead(at, self.len, self.present);
        let end = at.saturating_add(count);
        (self.low, self.high) = match self.present {
            0 => (at, end),
            _ => (self.low.min(at), self.high.max(end)),
        };
        self.present = self.present.saturating_add(count).min(self.len);
        // SAFETY: By this function's contract. The pages are the slot's, which has been found open,
        // and is hidden before it gives them up.
        unsafe { backing.pages().insert(vma, addr, at, count) }
    }
}

/// What is to be done with a slot that has been looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// No more.
    Keep,
    /// Its pages are to be present nowhere. It is closed now, or they would come back.
    Hide,
    /// Its pages are to be present nowhere, and the slot is no more.
    Remove,
}
