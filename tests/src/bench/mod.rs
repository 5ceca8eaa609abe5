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
mod counter;
mod floor;
mod handles;
mod identity;
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

/// How often an operation is run before anything counts, and how often then.
#[derive(Clone, Copy)]
pub struct Runs {
    pub warm_up: usize,
    pub measured: usize,
}

const USUALLY: Runs = Runs {
    warm_up: 300,
    measured: 400,
};

/// Of what takes millions of instructions each.
const RARELY: Runs = Runs {
    warm_up: 30,
    measured: 60,
};

/// Of what is a thousand operations.
const SELDOM: Runs = Runs {
    warm_up: 3,
    measured: 9,
};

/// The processor of the client, and of the server unless the two are apart. The
/// first processor has the clock's work to do.
const NEAR: usize = 1;
const FAR: usize = 0;

/// What a row's measurements come to.
#[derive(Clone, Copy)]
pub struct Count {
    pub runs: Runs,
    /// How many messages or round trips one run is.
    pub parts: usize,
    /// Instructions of one of the parts.
    pub median: u64,
}

impl Count {
    /// The share of one in `parts`, rounded.
    fn each(self, parts: usize) -> Self {
        Self {
            runs: self.runs,
            parts,
            median: (self.median + parts as u64 / 2) / parts as u64,
        }
    }
}

/// Runs every row in turn, on one processor of two and then on both.
pub fn all() -> Vec<Row> {
    // Children take it over.
    pin(0, NEAR);
    let mut rows = Vec::new();
    let mut row = |name, bytes, count| {
        eprintln!("measured {name} {bytes}");
        rows.push(Row { name, bytes, count });
    };
    row("ioctl_null", 0, count(alpc::null()));
    row("floor", USUAL, count(floor::call(USUAL)));
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
    let batch = count(sockets::dgram_loop(USUAL)).each(BATCH);
    row("dgram_loop", USUAL, batch);
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
    let crowded = count(alpc::call_among_waiters(USUAL, 1_000));
    row("alpc_call_1000_waiters", USUAL, crowded);
    let active = count_runs(alpc::call_by_clients(USUAL, 1_000), SELDOM).each(1_000);
    row("alpc_call_1000_active", USUAL, active);
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
    row("floor_apart", USUAL, count(floor::call(USUAL).apart()));
    row("eventfd_apart", 0, count(others::eventfd().apart()));
    row("futex_apart", 0, count(others::futex().apart()));
    row("alpc_call_apart", USUAL, count(alpc::call(USUAL).apart()));
    row("pipe_apart", USUAL, count(others::pipe(USUAL).apart()));
    let apart = count(others::posix_mq(USUAL).apart());
    row("posix_mq_apart", USUAL, apart);
    row("stream_apart", USUAL, count(sockets::stream(USUAL).apart()));
    row("dgram_apart", USUAL, count(sockets::dgram(USUAL).apart()));
    let apart = count(sockets::seqpacket(USUAL).apart());
    row("seqpacket_apart", USUAL, apart);
    let apart = count(sockets::seqpacket_cred(USUAL).apart());
    row("seqpacket_cred_apart", USUAL, apart);
    if binder::exists() {
        row("binder_c_apart", USUAL, count(binder::call(USUAL).apart()));
    }
    let apart = count(kinds::one_way(USUAL).apart()).each(BATCH);
    row("alpc_oneway_apart", USUAL, apart);
    let apart = count(sockets::dgram_loop(USUAL).apart()).each(BATCH);
    row("dgram_loop_apart", USUAL, apart);
    let apart = count(sockets::dgram_mmsg(USUAL).apart()).each(BATCH);
    row("dgram_mmsg_apart", USUAL, apart);
    let apart = count(kinds::asynchronous(USUAL).apart());
    row("alpc_async_apart", USUAL, apart);
    let apart = count(kinds::callback(USUAL).apart());
    row("alpc_callback_apart", USUAL, apart);
    rows
}

/// Keeps a process on one processor. Process 0 is the caller.
fn pin(process: libc::pid_t, processor: usize) {
    // SAFETY: A plain set of bits, live for the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(process, size_of_val(&set), &set)
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "processor {processor}: {error}");
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

    /// Has the server on the other processor from now on.
    fn apart(self) -> Self {
        pin(self.server.expect("a server"), FAR);
        self
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
    count_runs(running, USUALLY)
}

/// Counts what one run takes, in fewer runs than [`count`].
fn count_long<C: FnMut()>(running: Running<C>) -> Count {
    count_runs(running, RARELY)
}

/// What an operation says itself that its run took.
fn count_timed<C: FnMut() -> u64>(mut running: Running<C>) -> Count {
    median_of(|| running.run(), RARELY)
}

fn count_runs<C: FnMut()>(mut running: Running<C>, runs: Runs) -> Count {
    let timed = || {
        let before = counter::begin();
        running.run();
        counter::end() - before
    };
    median_of(timed, runs)
}

fn median_of(mut run: impl FnMut() -> u64, runs: Runs) -> Count {
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..runs.warm_up {
        run();
    }
    let mut counts: Vec<u64> = (0..runs.measured).map(|_| run()).collect();
    counts.sort_unstable();
    Count {
        runs,
        parts: 1,
        median: counts[runs.measured / 2],
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
