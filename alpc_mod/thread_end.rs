// SPDX-License-Identifier: GPL-2.0

//! The ends of threads, for those who ask to be told.
//!
//! The kernel tells of every thread that ends, in a moment in which little may be done. So a
//! thread that is watched leaves that to a worker, which ends what the thread has left behind.

use crate::{
    buffer::charged,
    ffi,
    holder,
    logic::engine::{
        Source,
        Who, //
    },
    port::Port,
    shared::shared, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    },
    task::Task, //
};

/// More than C allocates for a watch and for the thread that it is of.
const ROOM: usize = 512;

/// Whether ends are told of.
static TOLD: Atomic<bool> = Atomic::new(false);

/// The current thread: a number, and when it began. No other thread has both.
pub(crate) fn current() -> (usize, u64) {
    let task = Task::current_raw().addr();
    // SAFETY: There are no requirements.
    (task, unsafe { ffi::alpc_shim_thread_start() })
}

/// Hears of the ends of threads for as long as the module is there, if the kernel tells of them.
pub(crate) struct Watcher(());

impl Watcher {
    /// Begins to listen. There is one.
    pub(crate) fn new() -> Self {
        // SAFETY: The functions are for what `Watch` puts into a watch.
        let result = to_result(unsafe { ffi::alpc_shim_watches_begin(ended, forget) });
        TOLD.store(result.is_ok(), Relaxed);
        Self(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // SAFETY: A watch is a port's, of which there is none: no file holds the module.
        unsafe { ffi::alpc_shim_watches_end() };
    }
}

/// What is ended with a thread.
struct Target {
    port: Arc<Port>,
    at: Source,
    who: Who,
}

/// Watches one thread, as long as it is there.
///
/// # Invariants
///
/// The pointer is that of a watch that has not been given up.
pub(crate) struct Watch(NonNull<ffi::Watch>);

// SAFETY: A watch may be given up by any task.
unsafe impl Send for Watch {}

impl Watch {
    /// Watches the current thread, which is `who`.
    pub(crate) fn new(port: &Port, at: Source, who: Who) -> Result<Self> {
        if !TOLD.load(Relaxed) {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: Every port is in an `Arc`: nothing else makes one than `Port::new`, which gives that.
        let port = Arc::from(unsafe { ArcBorrow::from_raw(port) });
        let target = shared(Target { port, at, who })?.into_raw();
        let watch = charged(ROOM, |_| {
            // SAFETY: `ended` and `forget` take such data.
            NonNull::new(unsafe { ffi::alpc_shim_watch(target.cast_mut().cast()) }).ok_or(ENOMEM)
        });
        // INVARIANT: It is new.
        watch.map(Self).inspect_err(|_| {
            // SAFETY: It has not been taken over.
            drop(unsafe { Arc::from_raw(target) });
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { ffi::alpc_shim_unwatch(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// `data` is that of a watch that is there.
unsafe extern "C" fn ended(data: *mut c_void) {
    // SAFETY: By the contract it is a `Target`, and stays one until `forget`.
    let target = unsafe { ArcBorrow::from_raw(data.cast::<Target>().cast_const()) };
    let mut watch = None;
    let Target { port, at, who } = &*target;
    let mut more = true;
    while more {
        let refused;
        (more, refused) = port.step(|engine, fx| engine.thread_ended(*at, *who, &mut watch, fx));
        holder::refuse(port, refused);
    }
    drop(watch);
}

/// # Safety
///
/// `data` is that of a watch that is no more, and nobody else uses it.
unsafe extern "C" fn forget(data: *mut c_void) {
    // SAFETY: By the contract it is the reference that `Watch::new` has made.
    drop(unsafe { Arc::from_raw(data.cast::<Target>().cast_const()) });
}
