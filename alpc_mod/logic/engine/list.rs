// SPDX-License-Identifier: GPL-2.0

//! Doubly linked lists of table entries, linked by index.
//!
//! An index names an entry for as long as its table lives, so a stale link can
//! at worst name the wrong entry: it can never be a dangling pointer. Every
//! function ignores an index that names no entry.
#![deny(unsafe_code)]

/// The index that names no entry.
pub const NONE: u32 = u32::MAX;

/// Entries that never move once they are there, named by index.
#[allow(clippy::len_without_is_empty)]
pub trait Store<T> {
    /// The entry, if the table has grown that far.
    fn get(&self, index: u32) -> Option<&T>;
    /// The entry for change.
    fn get_mut(&mut self, index: u32) -> Option<&mut T>;
    /// How many entries there are.
    fn len(&self) -> u32;
}

/// Which of an entry's links a list runs through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The queue the entry waits in, what its holder holds, or the free list.
    Queue,
    /// All that belongs to one connection.
    Owner,
}

/// The neighbours of an entry in one list.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    prev: u32,
    next: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            prev: NONE,
            next: NONE,
        }
    }
}

impl Links {
    /// The entry before.
    #[cfg(test)]
    pub(super) fn before(&self) -> u32 {
        self.prev
    }

    /// The entry after.
    pub(super) fn after(&self) -> u32 {
        self.next
    }
}

/// An entry that can be on lists.
pub trait Linked {
    /// The links of the list `via`.
    fn links_mut(&mut self, via: Via) -> &mut Links;
}

/// A list: first and last entry, and the number of entries.
#[derive(Clone, Copy, Debug)]
pub struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }
}

impl List {
    /// The first entry, or [`NONE`].
    pub fn head(&self) -> u32 {
        self.head
    }

    /// The last entry, or [`NONE`].
    #[cfg(test)]
    pub(super) fn tail(&self) -> u32 {
        self.tail
    }

    /// How many entries are on the list.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the list has no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an entry, which is on no list of this kind, at the end.
    pub fn push_back<T: Linked>(&mut self, store: &mut impl Store<T>, via: Via, index: u32) {
        let Some(entry) = store.get_mut(index) else {
            return;
        };
        *entry.links_mut(via) = Links {
            prev: self.tail,
            next: NONE,
        };
        match store.get_mut(self.tail) {
            Some(last) => last.links_mut(via).next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.len = self.len.saturating_add(1);
    }

    /// Puts an entry, which is on no list of this kind, at the front.
    pub fn push_front<T: Linked>(&mut self, store: &mut impl Store<T>, via: Via, index: u32) {
        let Some(entry) = store.get_mut(index) else {
            return;
        };
        *entry.links_mut(via) = Links {
            prev: NONE,
            next: self.head,
        };
        match store.get_mut(self.head) {
            Some(first) => first.links_mut(via).prev = index,
            None => self.tail = index,
        }
        self.head = index;
        self.len = self.len.saturating_add(1);
    }

    /// Puts an entry, which is on no list of this kind, on the list that has none.
    #[inline(always)]
    pub(super) fn begin<T: Linked>(&mut self, entry: &mut T, via: Via, index: u32) {
        *entry.links_mut(via) = Links::default();
        *self = Self {
            head: index,
            tail: index,
            len: 1,
        };
    }

    /// Takes an entry, which is on this list, off it.
    pub fn remove<T: Linked>(&mut self, store: &mut impl Store<T>, via: Via, index: u32) {
        let Some(entry) = store.get_mut(index) else {
            return;
        };
        let Links { prev, next } = core::mem::take(entry.links_mut(via));
        match store.get_mut(prev) {
            Some(before) => before.links_mut(via).next = next,
            None => self.head = next,
        }
        match store.get_mut(next) {
            Some(after) => after.links_mut(via).prev = prev,
            None => self.tail = prev,
        }
        self.len = self.len.saturating_sub(1);
    }

    /// Takes the first entry off the list.
    pub fn pop_front<T: Linked>(&mut self, store: &mut impl Store<T>, via: Via) -> Option<u32> {
        let index = self.head;
        store.get(index)?;
        self.remove(store, via, index);
        Some(index)
    }
}
