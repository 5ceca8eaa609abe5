// SPDX-License-Identifier: GPL-2.0

//! Moments in which a thread is not preempted, or waits for none of its memory.

use crate::ffi;
use kernel::types::NotThreadSafe;

/// The current thread is not preempted while this is there: somebody sleeps until it has done what
/// comes next. That must be short, and may not sleep.
///
/// With PREEMPT_RT it is nothing, as no spinlock may be taken there without being preempted.
pub(crate) struct Stay(NotThreadSafe);

impl Stay {
    /// Begins such a moment. They may be nested.
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        // SAFETY: It is ended once, by the drop, in the same thread.
        unsafe { ffi::alpc_shim_stay_begin() };
        Self(NotThreadSafe)
    }
}

impl Drop for Stay {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: It was begun, and not ended yet.
        unsafe { ffi::alpc_shim_stay_end() };
    }
}

/// The current thread waits for nothing of its own memory while this is there: what it copies fails
/// where that would have to be brought in, which can take as long as the thread's owner likes.
pub(crate) struct NoFaults(NotThreadSafe);

impl NoFaults {
    /// Begins such a moment. They may be nested.
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        // SAFETY: It is ended once, by the drop, in the same thread.
        unsafe { ffi::alpc_shim_faults_off() };
        Self(NotThreadSafe)
    }
}

impl Drop for NoFaults {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: It was begun, and not ended yet.
        unsafe { ffi::alpc_shim_faults_on() };
    }
}
