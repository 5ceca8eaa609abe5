// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory whose first use lasts as long as somebody likes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::memory::PAGE;

const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_ZEROPAGE: u64 = 0xc020_aa04;
const UFFD_API: u64 = 0xaa;
const MISSING: u64 = 1;

/// Pages of this process that are not there until [`Hang::end`].
pub struct Hang {
    fd: OwnedFd,
    start: *mut u8,
    length: usize,
}

// SAFETY: The addresses are used as numbers, and read by who knows why.
unsafe impl Sync for Hang {}

impl Hang {
    pub fn new(pages: usize) -> Self {
        let length = pages * PAGE;
        // SAFETY: No pointers; the descriptor is owned here.
        let fd = unsafe {
            // Only one that doesn't block can be polled.
            let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
            let fd = libc::syscall(libc::SYS_userfaultfd, flags) as i32;
            assert!(fd >= 0, "userfaultfd: {}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping, where the kernel likes.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) }.cast();
        let this = Self { fd, start, length };
        this.ioctl(UFFDIO_API, &mut [UFFD_API, 0, 0]);
        this.ioctl(
            UFFDIO_REGISTER,
            &mut [start as u64, length as u64, MISSING, 0],
        );
        this
    }

    fn ioctl(&self, request: u64, arg: &mut [u64]) {
        // SAFETY: The argument is as long as the request says.
        let result = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                request as libc::Ioctl,
                arg.as_mut_ptr(),
            )
        };
        assert_eq!(
            result,
            0,
            "{request:x}: {}",
            std::io::Error::last_os_error()
        );
    }

    pub fn address(&self) -> u64 {
        self.start as u64
    }

    /// Waits until somebody waits for one of the pages.
    pub fn until_wanted(&self) {
        crate::wait::poll_wait(&self.fd, libc::POLLIN);
    }

    /// They are there now.
    pub fn end(&self) {
        self.fill(0..self.length / PAGE);
    }

    /// Those of these numbers are there now, which weren't, and have been written.
    pub fn fill(&self, pages: std::ops::Range<usize>) {
        let start = self.address() + (pages.start * PAGE) as u64;
        let mut arg = [start, (pages.len() * PAGE) as u64, 0, 0];
        self.ioctl(UFFDIO_ZEROPAGE, &mut arg);
        for page in pages {
            assert!(page * PAGE < self.length);
            // SAFETY: A page of ours, which is there.
            unsafe { self.start.add(page * PAGE).write_volatile(0) };
        }
    }
}

impl AsFd for Hang {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
