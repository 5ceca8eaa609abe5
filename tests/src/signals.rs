// SPDX-License-Identifier: MIT OR Apache-2.0

//! Signal handlers that count, and signals for one thread.

use std::sync::atomic::{AtomicU64, Ordering};

static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: i32) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Catches `signal` with a handler that only counts; `flags` may be
/// `SA_RESTART`.
pub fn catch(signal: i32, flags: i32) {
    // SAFETY: All zero is a valid sigaction; the handler touches an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(i32) as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Keeps a signal from the calling thread from now on: one that comes waits.
pub fn block(signal: i32) {
    // SAFETY: All zero is a valid set, and the calls use it alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        assert_eq!(libc::sigaddset(&mut set, signal), 0);
        let result = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        assert_eq!(result, 0);
    }
}

/// How often a handler has run in this process.
pub fn caught() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

/// The id of the calling thread.
pub fn tid() -> i32 {
    // SAFETY: No arguments.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process; false when it has ended.
pub fn to_thread(tid: i32, signal: i32) -> bool {
    let pid = std::process::id();
    // SAFETY: Plain numbers.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) == 0 }
}
