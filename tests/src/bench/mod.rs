// SPDX-License-Identifier: MIT OR Apache-2.0

//! Round trips between two processes, counted with RDTSC: instructions when
//! QEMU runs in instruction-count mode, cycles of the clock elsewhere.
//!
//! Every mechanism makes the leanest calls that do its job, as raw system
//! calls, so that no library's overhead is measured.

pub mod alpc;
mod binder;
mod bulk;
mod control;
mod handles;
pub mod kinds;
pub mod memory;
mod others;
pub mod phases;
mod report;
mod sent;
pub mod sockets;
mod sys;
mod views;
mod words;

use std::arch::x86_64::_rdtsc;
use std::time::Duration;

pub use report::{print, Row};

use crate::isolate::prctl;

/// Payloads in bytes, each way.
const SIZES: [usize; 5] = [0, 64, 256, 1024, 4096];

/// What the rows that exist in one size only carry.
const USUAL: usize = 64;

/// What the names of rows call `4k`, `64k` and `1m`.
const PAGE: usize = 4 << 10;
const LONGEST: usize = 64 << 10;
const MUCH: usize = 1 << 20;

/// Messages sent before the receiver says that it has them all.
pub const BATCH: usize = 32;

const WARM_UP: usize = 300;
const MEASURED: usize = 400;

/// Of what takes millions of instructions each.
const LONG_WARM_UP: usize = 30;
const LONG_MEASURED: usize = 60;

/// What a row's measurements come to.
#[derive(Clone, Copy)]
pub struct Count {
    pub min: u64,
    pub median: u64,
}

impl Count {
    /// The share of one in `parts`, rounded.
    fn each(self, parts: usize) -> Self {
        let parts = parts as u64;
        Self {
            min: (self.min + parts / 2) / parts,
            median: (self.median + parts / 2) / parts,
        }
    }
}

/// Runs every row in turn.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, bytes, count| {
        eprintln!("measured {name} {bytes}");
        rows.push(Row { name, bytes, count });
    };
    row("ioctl_null", 0, count(alpc::null()));
    row("eventfd", 0, count(others::eventfd()));
    row("futex", 0, count(others::futex()));
    for bytes in SIZES {
        row("alpc_call", bytes, count(alpc::call(bytes)));
        // Neither of them can carry a message of no bytes.
        if bytes > 0 {
            row("pipe", bytes, count(others::pipe(bytes)));
            row("stream", bytes, count(sockets::stream(bytes)));
        }
        row("posix_mq", bytes, count(others::posix_mq(bytes)));
        row("dgram", bytes, count(sockets::dgram(bytes)));
        row("seqpacket", bytes, count(sockets::seqpacket(bytes)));
        row(
            "seqpacket_cred",
            bytes,
            count(sockets::seqpacket_cred(bytes)),
        );
        if binder::exists() {
            row("binder_c", bytes, count(binder::call(bytes)));
        }
    }
    let batch = count(kinds::one_way(USUAL)).each(BATCH);
    row("alpc_oneway", USUAL, batch);
    let batch = count(sockets::dgram_mmsg(USUAL)).each(BATCH);
    row("dgram_mmsg", USUAL, batch);
    row("alpc_async", USUAL, count(kinds::asynchronous(USUAL)));
    row("alpc_callback", USUAL, count(kinds::callback(USUAL)));
    row("alpc_connect", 0, count(kinds::connect()));
    row("unix_connect", 0, count(sockets::connect()));
    let crowded = count(alpc::call_among_ports(USUAL, 10_000));
    row("alpc_call_10000_ports", USUAL, crowded);
    let crowded = count(alpc::call_among_clients(USUAL, 1_000));
    row("alpc_call_1000_clients", USUAL, crowded);
    row("inline_64k", LONGEST, count(alpc::inline(LONGEST)));
    let answered = count(sockets::seqpacket(LONGEST));
    row("seqpacket_64k", LONGEST, answered);
    row("memfd_1m", MUCH, count_long(bulk::memfd(MUCH)));
    row("view_secure_1m", MUCH, count_long(views::whole(MUCH)));
    let touched = count_long(views::touched(MUCH));
    row("view_secure_1m_touch1", MUCH, touched);
    let filled = count_timed(views::filled(MUCH));
    row("view_secure_1m_filled", MUCH, filled);
    row("pvm_readv_4k", PAGE, count(bulk::process_vm_readv(PAGE)));
    let read = count_long(bulk::process_vm_readv(MUCH));
    row("pvm_readv_1m", MUCH, read);
    row("callermem_4k", PAGE, count(memory::offered(PAGE)));
    let read = count_long(memory::offered(MUCH));
    row("callermem_1m", MUCH, read);
    row("scm_rights", USUAL, count(bulk::scm_rights(USUAL)));
    row("handle_claimed", USUAL, count(handles::claimed(USUAL)));
    row("handle_dropped", USUAL, count(handles::dropped(USUAL)));
    for bytes in [PAGE, 16 << 10, LONGEST, 256 << 10, MUCH] {
        if bytes <= LONGEST {
            row("inline_sent", bytes, count_long(sent::inline(bytes)));
        }
        row("view_sent", bytes, count_long(sent::view(bytes)));
        row("callermem_sent", bytes, count_long(sent::memory(bytes)));
        let fresh = count_long(sent::memory_fresh(bytes));
        row("callermem_sent_fresh", bytes, fresh);
    }
    rows
}

/// One side's operation, and the process of the other side, which ends with it.
pub struct Running<C> {
    operation: C,
    server: Option<libc::pid_t>,
}

impl<R, C: FnMut() -> R> Running<C> {
    /// An operation that needs no other process.
    fn alone(operation: C) -> Self {
        Self {
            operation,
            server: None,
        }
    }

    /// Does it once.
    pub fn run(&mut self) -> R {
        (self.operation)()
    }
}

impl<C> Drop for Running<C> {
    fn drop(&mut self) {
        let Some(server) = self.server else { return };
        // SAFETY: Our own child, not reaped yet.
        unsafe {
            libc::kill(server, libc::SIGKILL);
            libc::waitpid(server, std::ptr::null_mut(), 0);
        }
    }
}

/// `server` answers one request per run in a process of its own, `client`
/// makes one. Each side first prepares itself.
fn between<C, S: FnMut()>(server: impl FnOnce() -> S, client: impl FnOnce() -> C) -> Running<C> {
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
    Running {
        operation: client(),
        server: Some(child),
    }
}

/// Counts what one run takes, of both sides where there are two.
fn count<C: FnMut()>(running: Running<C>) -> Count {
    count_runs(running, WARM_UP, MEASURED)
}

/// The same in fewer runs.
fn count_long<C: FnMut()>(running: Running<C>) -> Count {
    count_runs(running, LONG_WARM_UP, LONG_MEASURED)
}

/// What an operation says itself that its run took.
fn count_timed<C: FnMut() -> u64>(mut running: Running<C>) -> Count {
    median_of(|| running.run(), LONG_WARM_UP, LONG_MEASURED)
}

fn count_runs<C: FnMut()>(mut running: Running<C>, warm_up: usize, measured: usize) -> Count {
    let timed = || {
        // SAFETY: RDTSC exists on every x86-64.
        let before = unsafe { _rdtsc() };
        running.run();
        // SAFETY: As above.
        let after = unsafe { _rdtsc() };
        after - before
    };
    median_of(timed, warm_up, measured)
}

fn median_of(mut run: impl FnMut() -> u64, warm_up: usize, measured: usize) -> Count {
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..warm_up {
        run();
    }
    let mut counts: Vec<u64> = (0..measured).map(|_| run()).collect();
    counts.sort_unstable();
    Count {
        min: counts[0],
        median: counts[measured / 2],
    }
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
