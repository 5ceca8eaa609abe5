// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that makes life hard for whoever copies from or to it.

use std::ptr;

pub const PAGE: usize = 4096;

/// Addresses no process may name: kernel half, the gap between the halves,
/// the last byte of all, and the start of nothing.
pub const HOSTILE: [u64; 5] = [
    0xffff_8880_0000_0000,
    0x8000_0000_0000_0000,
    u64::MAX,
    0x7fff_ffff_f000,
    8,
];

/// Pages of our own, unmapped when dropped.
pub struct Pages {
    start: *mut u8,
    length: usize,
}

impl Pages {
    fn map(length: usize, protection: i32) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: A new mapping, where the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self {
            start: start.cast(),
            length,
        }
    }

    /// A page that holds `data` at its start and can't be written.
    pub fn read_only(data: &[u8]) -> Self {
        let pages = Self::map(PAGE, libc::PROT_READ | libc::PROT_WRITE);
        assert!(data.len() <= PAGE);
        // SAFETY: The page is ours and large enough.
        unsafe {
            ptr::copy_nonoverlapping(data.as_ptr(), pages.start, data.len());
            assert_eq!(libc::mprotect(pages.start.cast(), PAGE, libc::PROT_READ), 0);
        }
        pages
    }

    /// A page nobody may touch.
    pub fn forbidden() -> Self {
        Self::map(PAGE, libc::PROT_NONE)
    }

    /// Two pages, the second of which is forbidden: [`Self::end`] is the edge.
    pub fn cliff() -> Self {
        let pages = Self::map(2 * PAGE, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: The second of our own two pages.
        unsafe {
            let second = pages.start.add(PAGE);
            assert_eq!(libc::mprotect(second.cast(), PAGE, libc::PROT_NONE), 0);
        }
        pages
    }

    /// Two ordinary pages, to lay things across their border.
    pub fn two() -> Self {
        Self::map(2 * PAGE, libc::PROT_READ | libc::PROT_WRITE)
    }

    pub fn address(&self) -> u64 {
        self.start as u64
    }

    /// The address `before` bytes before the end of the first page.
    pub fn end(&self, before: usize) -> u64 {
        self.address() + (PAGE - before) as u64
    }

    /// Writes `data` at an address inside.
    pub fn write(&self, address: u64, data: &[u8]) {
        let offset = (address - self.address()) as usize;
        assert!(offset + data.len() <= self.length);
        // SAFETY: Inside our own pages, as just checked.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.start.add(offset), data.len()) }
    }

    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let offset = (address - self.address()) as usize;
        assert!(offset + length <= self.length);
        // SAFETY: Inside our own pages, as just checked.
        unsafe { std::slice::from_raw_parts(self.start.add(offset), length) }.to_vec()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: Mapped by us, used by nobody any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// An address at which nothing is mapped.
pub fn unmapped() -> u64 {
    let pages = Pages::forbidden();
    pages.address()
}
