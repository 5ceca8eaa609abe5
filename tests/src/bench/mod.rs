// SPDX-License-Identifier: MIT OR Apache-2.0

//! Round trips between two processes, counted with RDTSC: instructions when
//! QEMU runs in instruction-count mode, cycles of the clock elsewhere.
//!
//! Every mechanism makes the leanest calls that do its job, as raw system
//! calls, so that no library's overhead is measured.

mod alpc;
mod others;
mod report;

use std::arch::x86_64::_rdtsc;
use std::time::Duration;

pub use report::{print, Row};

use crate::isolate::prctl;

/// Payloads in bytes, each way.
pub const SIZES: [usize; 5] = [0, 64, 256, 1024, 4096];

const WARM_UP: usize = 300;
const MEASURED: usize = 400;

/// What a row's measurements come to.
#[derive(Clone, Copy)]
pub struct Count {
    pub min: u64,
    pub median: u64,
}

/// Runs every row in turn.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, bytes, count| {
        eprintln!("measured {name} {bytes}");
        rows.push(Row { name, bytes, count });
    };
    row("ioctl_null", 0, alpc::null());
    row("eventfd", 0, others::eventfd());
    for bytes in SIZES {
        row("alpc_call", bytes, alpc::call(bytes));
        // A pipe can't carry a message of no bytes.
        if bytes > 0 {
            row("pipe", bytes, others::pipe(bytes));
        }
        row("posix_mq", bytes, others::posix_mq(bytes));
        row("seqpacket", bytes, others::seqpacket(bytes));
        row("seqpacket_cred", bytes, others::seqpacket_cred(bytes));
    }
    rows
}

/// Counts one side alone.
fn count(mut operation: impl FnMut()) -> Count {
    let mut counts = [0; MEASURED];
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..WARM_UP {
        operation();
    }
    for count in &mut counts {
        // SAFETY: RDTSC exists on every x86-64.
        let before = unsafe { _rdtsc() };
        operation();
        // SAFETY: As above.
        let after = unsafe { _rdtsc() };
        *count = after - before;
    }
    counts.sort_unstable();
    Count {
        min: counts[0],
        median: counts[MEASURED / 2],
    }
}

/// Counts round trips: `server` answers one request per run in a process of
/// its own, `client` makes one. Each side first prepares itself.
fn between<C: FnMut(), S: FnMut()>(
    server: impl FnOnce() -> S,
    client: impl FnOnce() -> C,
) -> Count {
    // SAFETY: No arguments.
    let parent = unsafe { libc::getpid() };
    // SAFETY: One thread; the child ends with the signal below or with _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
        let work = std::panic::AssertUnwindSafe(|| {
            let mut serve = server();
            loop {
                serve();
            }
        });
        let _: std::thread::Result<std::convert::Infallible> = std::panic::catch_unwind(work);
        // The client would wait for ever: better no number than no end.
        // SAFETY: Plain numbers.
        unsafe {
            libc::kill(parent, libc::SIGABRT);
            libc::_exit(1)
        }
    }
    let count = count(client());
    // SAFETY: Our own child, not reaped yet.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    count
}

/// Ends the run unless a call moved exactly what it should.
#[inline]
fn moved(result: isize, bytes: usize) {
    if result != bytes as isize {
        failed(result, bytes);
    }
}

#[cold]
fn failed(result: isize, bytes: usize) -> ! {
    let error = std::io::Error::last_os_error();
    panic!("moved {result} instead of {bytes} bytes: {error}");
}
