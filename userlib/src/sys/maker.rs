// SPDX-License-Identifier: MIT OR Apache-2.0

//! Telling a process from those that are forked from it.
//!
//! A process number doesn't: it means something else in another PID namespace, and is given out
//! again. What a fork changes for sure is a page that the kernel wipes in the child.

use std::num::NonZeroU64;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The process that has made something.
///
/// One that shares its memory with another, as between `vfork` and `exec`, is that other one.
///
/// Takes no lock and allocates nothing: a child of a process with threads, and a signal handler,
/// may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Maker {
    /// None if the kernel had no page. Nobody is that maker: what nobody has made, nobody ends.
    mark: Option<NonZeroU64>,
}

/// The page with the mark of this process, which is 0 until it has one. Null until it is made.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last mark given out. A child goes on from its parent's, so that it never has one that a
/// process has had from which it has inherited anything.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Maker {
    /// The calling process.
    pub(crate) fn here() -> Self {
        let mark = page().and_then(|page| match page.load(Ordering::Relaxed) {
            0 => {
                let new = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                // Another thread may have been faster. A fork in between costs the child a number.
                let first = page.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed);
                NonZeroU64::new(first.map_or_else(|other| other, |_| new))
            }
            mark => NonZeroU64::new(mark),
        });
        Self { mark }
    }

    /// Whether that is the calling process.
    pub(crate) fn is_here(self) -> bool {
        self.mark.is_some() && self == Self::here()
    }
}

/// The page, made if there is none.
fn page() -> Option<&'static AtomicU64> {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let new = wiped_by_fork()?;
        page = match PAGE.compare_exchange(page, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(first) => {
                // SAFETY: Nobody else knows of this one.
                unsafe { libc::munmap(new.cast(), size_of::<AtomicU64>()) };
                first
            }
        };
    }
    // SAFETY: What is in PAGE was mapped by `wiped_by_fork`, and stays for the life of the process
    // and of every child.
    Some(unsafe { &*page })
}

/// A new page of zeroes, of which a child has zeroes again.
fn wiped_by_fork() -> Option<*mut AtomicU64> {
    let length = size_of::<AtomicU64>();
    // SAFETY: A new mapping, wherever there is room. The kernel rounds the length up to a page.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: The mapping just made, which nobody else knows of.
    unsafe {
        if libc::madvise(page, length, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, length);
            return None;
        }
    }
    Some(page.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_a_forked_child_is_not() {
        let maker = Maker::here();
        assert!(maker.is_here() && maker == Maker::here());
        // SAFETY: The child takes no lock, allocates nothing, and ends with _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let own = Maker::here();
            let told_apart = !maker.is_here() && own.is_here() && own != maker;
            // SAFETY: Ends the process.
            unsafe { libc::_exit(i32::from(!told_apart)) };
        }
        let mut status = 0;
        // SAFETY: A live status word.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(maker.is_here());
    }

    #[test]
    fn what_nobody_has_made_is_nobodys() {
        assert!(!Maker { mark: None }.is_here());
    }
}
