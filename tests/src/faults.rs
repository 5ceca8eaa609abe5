// SPDX-License-Identifier: MIT OR Apache-2.0

//! Making the kernel's own calls fail, one after the other: the kernel's fault
//! injection counts down to the n-th call that may fail in this thread, and
//! makes that one fail. Allocations of objects and of pages count, and copies
//! from and to user space.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use crate::raw::{ioctl, ioctl_at};

/// More calls than an ioctl of ours can make.
const ENOUGH: u32 = 500;

/// One round of a sweep: the n-th call that may fail does.
pub struct Fault {
    nth: u32,
    file: File,
    happened: Cell<bool>,
    used: Cell<bool>,
}

impl Fault {
    fn new(nth: u32) -> Self {
        Self {
            nth,
            file: File::options()
                .read(true)
                .write(true)
                .open("/proc/thread-self/fail-nth")
                .expect("a kernel with fault injection"),
            happened: Cell::new(false),
            used: Cell::new(false),
        }
    }

    /// Runs an ioctl in which the fault happens. Nothing else may: an
    /// allocation or a page that is touched first would count too.
    pub fn ioctl<T>(&self, fd: &impl AsFd, request: u32, arg: &mut T) -> Result<i32, i32> {
        self.happens_in(|| ioctl(fd, request, arg))
    }

    /// Runs an ioctl without an argument in which the fault happens.
    pub fn bare_ioctl(&self, fd: &impl AsFd, request: u32) -> Result<i32, i32> {
        // SAFETY: No argument.
        self.happens_in(|| unsafe { ioctl_at(fd.as_fd(), request, 0) })
    }

    fn happens_in(&self, call: impl FnOnce() -> Result<i32, i32>) -> Result<i32, i32> {
        assert!(!self.used.replace(true), "one ioctl a round");
        let nth = self.nth.to_string();
        self.file.write_at(nth.as_bytes(), 0).expect("fail-nth");
        let result = call();
        self.happened.set(self.is_over());
        if let Err(errno) = result {
            assert!(self.happened.get(), "failed by itself: errno {errno}");
            assert!(
                errno == libc::ENOMEM || errno == libc::EFAULT,
                "fault {nth}: errno {errno}"
            );
        }
        result
    }

    /// Whether the count has come to its end, which ends it in any case. To
    /// ask is to make calls that may fail.
    fn is_over(&self) -> bool {
        let mut left = [0; 16];
        // SAFETY: A live buffer of that size.
        let read = unsafe {
            libc::pread(
                self.file.as_raw_fd(),
                left.as_mut_ptr().cast(),
                left.len(),
                0,
            )
        };
        // It came to its end here.
        let over = read > 0 && left[0] == b'0';
        while self.file.write_at(b"0", 0).is_err() {}
        over
    }

    /// Whether it happened, so that the call may have failed.
    pub fn happened(&self) -> bool {
        self.happened.get()
    }
}

fn set(kind: &str, what: &str, value: &str) {
    let file = format!("/sys/kernel/debug/{kind}/{what}");
    std::fs::write(&file, value).unwrap_or_else(|e| panic!("{file}: {e}"));
}

/// Runs `round` with the first call failing, then with the second, until none
/// has failed. Each round begins and ends with nothing there.
pub fn sweep(what: &str, mut round: impl FnMut(&Fault)) {
    for kind in ["failslab", "fail_page_alloc", "fail_usercopy"] {
        // The log is part of the verdict.
        set(kind, "verbose", "0");
    }
    set("failslab", "ignore-gfp-wait", "N");
    set("fail_page_alloc", "ignore-gfp-wait", "N");
    set("fail_page_alloc", "min-order", "0");
    for nth in 1..ENOUGH {
        let references = crate::inspect::module_references();
        let fault = Fault::new(nth);
        round(&fault);
        assert!(fault.used.get(), "{what}: nothing ran");
        crate::eventually(|| crate::inspect::module_references() == references);
        if !fault.happened() {
            crate::note!("{what}: {} calls that may fail", nth - 1);
            assert!(nth > 1, "{what}: nothing failed");
            return;
        }
    }
    panic!("{what}: no end of calls that may fail");
}
