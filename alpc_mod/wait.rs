// SPDX-License-Identifier: GPL-2.0

//! Waiting: standing in a [`WaitSet`](crate::wait_set::WaitSet), sleeping, and leaving it.

use crate::{
    ffi::{
        self,
        End, //
    },
    logic::engine::{
        Engine,
        Hand,
        Straight,
        Then,
        Wait, //
    },
    port::{
        Kernel,
        Locked,
        Port, //
    },
    time::Deadline,
    wait_set::Node, //
};
use core::{
    ptr::null,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    bindings,
    task::Task,
    warn_on, //
};

/// Why a wait ended with nothing handed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The time is up.
    TimedOut,
    /// A signal is pending.
    Signal,
    /// The thread is being killed.
    Killed,
}

/// How a wait ended.
pub(crate) enum Waited<'a> {
    /// With something handed to it. No lock is held.
    Handed,
    /// The same, and the thread is being killed.
    HandedToDying,
    /// With nothing. The lock is held, so nothing can come any more.
    Nothing(Gone, Locked<'a>),
}

/// What a thread does while it waits, when others want it.
pub(crate) trait Chore {
    /// Whether it is wanted. Who sets this wakes the thread then.
    fn is_wanted(&self) -> &AtomicBool;

    /// Does it. It should end soon if `done` is set, which ends the wait, or at the deadline.
    fn run(&self, done: &AtomicBool, deadline: Deadline);
}

/// Where a thread waits.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    pub(crate) at: Wait,
    /// The id of the holder of conversations that it is, or 0.
    pub(crate) holder: u64,
    /// How much payload it has room for.
    pub(crate) capacity: u32,
}

/// Waits, in the place where the engine has just said that nothing is there.
///
/// `hand` is where the caller finds what it is handed. `unlock` releases the lock, before sleeping, and gives what there may be to
/// do meanwhile.
pub(crate) fn wait<'a, 'c>(
    port: &'a Port,
    mut engine: Locked<'a>,
    stand: Stand,
    deadline: Deadline,
    hand: &mut Option<Hand<Kernel>>,
    unlock: impl FnOnce(Locked<'a>) -> Option<&'c dyn Chore>,
) -> Waited<'a> {
    let Stand {
        at,
        holder,
        capacity,
    } = stand;
    *hand = None;
    let cell = Node::new(Task::current_raw(), capacity, hand);
    let node = cell.get();
    if let Some(set) = engine.waiters(at) {
        // SAFETY: The node is new, and this function does not return while it is linked.
        unsafe {
            (*node).holder = holder;
            set.add(node, matches!(at, Wait::Room { .. }));
        }
    }
    let chore = unlock(engine);
    // SAFETY: `done` may be read at any time.
    let done = unsafe { &(*node).done };
    let end = loop {
        let called = chore.map(Chore::is_wanted);
        let end = match deadline {
            Deadline::Now if done.load(Ordering::Acquire) => End::Done,
            Deadline::Now => End::TimedOut,
            Deadline::Never => sleep(done, called, null(), 0),
            Deadline::At { time, clock } => sleep(done, called, &time, clock),
        };
        match (end, chore) {
            (End::Called, Some(chore)) => {
                chore.run(done, deadline);
                // There may be more to do for ever.
                if deadline.has_passed() {
                    break End::TimedOut;
                }
            }
            (end, _) => break end,
        }
    };
    // SAFETY: It is the node that was added there, of this thread.
    unsafe { ended(port, || at, node, end) }
}

/// `CLOCK_MONOTONIC` as the current thread sees it, in nanoseconds.
pub(crate) fn monotonic() -> i64 {
    // SAFETY: There are no requirements: a task inside a system call has namespaces.
    unsafe { ffi::alpc_shim_monotonic() }
}

/// Whether a time of a clock has come, as the caller sees the clock.
pub(crate) fn is_over(time: i64, clock: i32) -> bool {
    // SAFETY: As in `monotonic`. Every number is a clock to it.
    unsafe { ffi::alpc_shim_is_over(time, clock) }
}

/// Sleeps until `done`, a signal, `called` or the deadline.
fn sleep(done: &AtomicBool, called: Option<&AtomicBool>, deadline: *const i64, clock: i32) -> End {
    let called = called.map_or(null(), |called| called.as_ptr().cast_const());
    // SAFETY: All pointers are valid, all but the first may be null.
    unsafe { ffi::alpc_shim_sleep(done.as_ptr(), called, deadline, clock) }
}

/// What a thread does before it hands over.
pub(crate) trait SendFirst {
    /// Why it did not.
    type Error;

    /// Sends something to a thread that waits. `then` is called with the lock held.
    fn send<T: Then<Kernel>>(
        self,
        engine: &mut Engine<Kernel>,
        then: T,
    ) -> Result<T::Out, Self::Error>;
}

/// Enters the place where a sender waits.
///
/// # Invariants
///
/// The node is new, and its thread does not go on while it is linked.
struct Enter(*mut Node);

impl Then<Kernel> for Enter {
    /// The thread to wake, and the conversation.
    type Out = (*mut bindings::task_struct, u64);

    #[inline(always)]
    fn then(self, sent: Straight<'_, '_, Kernel>) -> Self::Out {
        // SAFETY: By the invariants.
        unsafe {
            (*self.0).holder = sent.holder;
            sent.next.add(self.0, false);
        }
        (sent.to.task, sent.id)
    }
}

/// Sends, wakes the receiver and waits with no deadline, giving up the processor to it.
/// Nothing happens if the send fails. Gives the conversation's id.
///
/// `hand` holds nothing. `at` gives the engine's name for where the sender waits, given
/// that id.
#[inline(always)]
pub(crate) fn hand_over<'a, S: SendFirst>(
    port: &'a Port,
    capacity: u32,
    hand: &mut Option<Hand<Kernel>>,
    first: S,
    at: impl FnOnce(u64) -> Wait,
) -> Result<(u64, Waited<'a>), S::Error> {
    // SAFETY: It is ended once, on either way out.
    let task = unsafe { ffi::alpc_shim_hand_over_begin() };
    let cell = Node::new(task, capacity, hand);
    let node = cell.get();
    let mut engine = port.lock();
    // INVARIANT: It is new, and this function does not return while it is linked.
    let sent = first.send(&mut engine, Enter(node));
    let (to, id) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            drop(engine);
            // SAFETY: It was begun.
            unsafe { ffi::alpc_shim_hand_over_abort() };
            return Err(error);
        }
    };
    drop(engine);
    // SAFETY: It was begun before the lock was taken, so the task is there by the invariants of
    // `Handed`. `done` is valid.
    let end = unsafe { ffi::alpc_shim_hand_over(to, (*node).done.as_ptr()) };
    // SAFETY: It is the node that was added there, of this thread.
    Ok((id, unsafe { ended(port, || at(id), node, end) }))
}

/// Tells how a wait ended, when its sleep has.
///
/// # Safety
///
/// `node` is the current thread's, and was added at `at` if that was there.
#[inline(always)]
unsafe fn ended<'a>(
    port: &'a Port,
    at: impl FnOnce() -> Wait,
    node: *mut Node,
    end: End,
) -> Waited<'a> {
    let gone = match end {
        End::Done => return Waited::Handed,
        End::DoneDying => return Waited::HandedToDying,
        End::Signal => Gone::Signal,
        End::Killed => Gone::Killed,
        // Who has nothing to do is never called.
        End::TimedOut | End::Called => Gone::TimedOut,
    };
    // SAFETY: By the contract.
    unsafe { give_up(port, at(), node, gone) }
}

/// Leaves a place where nothing has come.
///
/// # Safety
///
/// As for [`ended`].
#[inline(never)]
unsafe fn give_up(port: &Port, at: Wait, node: *mut Node, gone: Gone) -> Waited<'_> {
    let mut engine = port.lock();
    // SAFETY: Under the lock all fields may be accessed.
    if unsafe { (*node).linked } {
        match engine.place(at) {
            // SAFETY: It is linked to where it was added: sets don't move, and an entry of
            // the engine is not reused while somebody waits there.
            Some(set) => unsafe { set.remove(node) },
            // The set has gone with a thread in it. So nothing leads to the node any more.
            None => {
                warn_on!(true);
            }
        }
        return Waited::Nothing(gone, engine);
    }
    // It is not linked any more, so `done` is set and nobody else has the node; or it never was,
    // because its place had gone.
    // SAFETY: `done` may be read at any time.
    match (unsafe { (*node).done.load(Ordering::Acquire) }, gone) {
        (true, Gone::Killed) => Waited::HandedToDying,
        (true, _) => Waited::Handed,
        (false, _) => Waited::Nothing(gone, engine),
    }
}
