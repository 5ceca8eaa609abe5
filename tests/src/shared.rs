// SPDX-License-Identifier: MIT OR Apache-2.0

//! Numbers that processes share, and that outlive whoever counts them.

use std::mem::size_of;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::AtomicU64;

use crate::memory::PAGE;

const COUNT: usize = PAGE / size_of::<AtomicU64>();

/// A page of numbers, all 0 at first. Processes forked later have the same.
/// It is there from the start, so that using it takes no memory from anybody.
#[derive(Clone, Copy)]
pub struct Shared(&'static [AtomicU64; COUNT]);

impl Shared {
    pub fn new() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: A new mapping, where the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: The page is zeroed, aligned, never unmapped, and only ever
        // used as these numbers.
        Self(unsafe { &*start.cast() })
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Shared {
    type Target = [AtomicU64; COUNT];

    fn deref(&self) -> &Self::Target {
        self.0
    }
}
