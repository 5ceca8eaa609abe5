// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many system calls a thread makes, as the kernel counts them.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, RawFd};
use std::ptr;

const TRACING: &CStr = c"/sys/kernel/tracing";
const PERF_TYPE_TRACEPOINT: u32 = 2;

/// `struct perf_event_attr` of its first version, as far as it isn't 0.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

/// The system calls of one thread, since this was made.
pub struct SystemCalls(File);

impl SystemCalls {
    /// Those of the first thread of a process. `None` on a kernel that can't count them.
    pub fn of(pid: i32) -> Option<Self> {
        // SAFETY: Live names; that it is mounted already is no trouble.
        unsafe {
            let kind = c"tracefs".as_ptr();
            libc::mount(kind, TRACING.as_ptr(), kind, 0, ptr::null());
        }
        let path = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";
        let id = std::fs::read_to_string(path).ok()?;
        let attributes = Attributes {
            kind: PERF_TYPE_TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: id.trim().parse().ok()?,
            ..Default::default()
        };
        // SAFETY: A live structure that is as long as it says.
        let fd = unsafe {
            let (any_cpu, no_group, flags) = (-1, -1, 0_u64);
            libc::syscall(
                libc::SYS_perf_event_open,
                &attributes,
                pid,
                any_cpu,
                no_group,
                flags,
            )
        };
        // SAFETY: The kernel has just made this descriptor for us.
        (fd >= 0).then(|| Self(unsafe { File::from_raw_fd(fd as RawFd) }))
    }

    /// How many there have been.
    pub fn count(&mut self) -> u64 {
        let mut count = [0; 8];
        self.0.read_exact(&mut count).expect("a counter");
        u64::from_ne_bytes(count)
    }
}
