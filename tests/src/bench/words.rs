// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of whole pages, and what a program does with it: every mechanism that
//! hands much data over has it written and read by the same two loops.

use std::os::fd::RawFd;
use std::ptr;

use super::{failed, moved};

/// Writes every word, one after another.
#[inline(never)]
pub fn fill(words: &mut [u64], value: u64) {
    for word in words {
        // SAFETY: A live word. Volatile, so that it is one store each whatever
        // the compiler knows of larger ones.
        unsafe { ptr::write_volatile(word, value) };
    }
}

/// Reads every word, one after another.
#[inline(never)]
pub fn sum(words: &[u64]) -> u64 {
    let mut sum = 0_u64;
    for word in words {
        // SAFETY: As above.
        sum = sum.wrapping_add(unsafe { ptr::read_volatile(word) });
    }
    sum
}

/// Ends the run unless all words were read, and as they were written.
#[inline]
pub fn came(came_to: u64, bytes: usize, value: u64) {
    if came_to != value.wrapping_mul((bytes / size_of::<u64>()) as u64) {
        failed(came_to as isize, bytes);
    }
}

/// A mapping, which ends with it.
pub struct Mapped {
    start: *mut u64,
    bytes: usize,
}

impl Mapped {
    /// What [`touched`] memory is full of.
    pub const WORD: u64 = 0x5a5a_5a5a_5a5a_5a5a;

    /// All of a file in memory, which no one else changes meanwhile.
    #[inline]
    pub fn shared(fd: RawFd, bytes: usize, protection: i32) -> Self {
        Self::new(fd, bytes, protection, libc::MAP_SHARED)
    }

    #[inline]
    fn new(fd: RawFd, bytes: usize, protection: i32, flags: i32) -> Self {
        // The last argument is passed on the stack, and must be a whole word.
        let (anywhere, offset) = (ptr::null_mut::<u64>(), 0_u64);
        let call = libc::SYS_mmap;
        // SAFETY: A new mapping, where the kernel likes.
        let start = unsafe { libc::syscall(call, anywhere, bytes, protection, flags, fd, offset) };
        if start == -1 {
            failed(-1, bytes);
        }
        Self {
            start: start as *mut u64,
            bytes,
        }
    }

    /// The address, for a system call.
    pub fn start(&self) -> u64 {
        self.start as u64
    }

    #[inline]
    pub fn words(&self) -> &[u64] {
        // SAFETY: Whole pages, readable, which nobody changes while they are read.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes / size_of::<u64>()) }
    }

    /// Of a mapping that may be written.
    #[inline]
    pub fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: As above, and nobody else reads them.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes / size_of::<u64>()) }
    }
}

impl Drop for Mapped {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Our own mapping, used by nobody from here on.
        let gone = unsafe { libc::syscall(libc::SYS_munmap, self.start, self.bytes) };
        moved(gone as isize, 0);
    }
}

/// Memory of this process, none of it there yet.
#[inline]
pub fn fresh(bytes: usize) -> Mapped {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    Mapped::new(-1, bytes, protection, flags)
}

/// The same, all of it there.
pub fn touched(bytes: usize) -> Mapped {
    let mut memory = fresh(bytes);
    fill(memory.words_mut(), Mapped::WORD);
    memory
}
