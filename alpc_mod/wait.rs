// SPDX-License-Identifier: GPL-2.0

//! Threads that wait: lists of them, handing them what they wait for, sleeping.
//!
//! A waiting thread stands in a [`WaitSet`] with a node on its own stack. Whoever
//! has something for it takes the node off the list, puts the thing into it, and
//! keeps a [`Waker`] for when the lock is released. The thread finds the thing in
//! its node without taking the lock again.

use crate::{
    ffi::{
        self,
        End, //
    },
    logic::engine::{
        Engine,
        Hand,
        Straight,
        Wait,
        Waiters, //
    },
    port::{
        Kernel,
        Locked,
        Port, //
    },
    time::Deadline,
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr::{
        null,
        null_mut, //
    },
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    bindings,
    task::Task, //
};

/// One waiting thread, on its own stack.
///
/// # Invariants
///
/// - While `linked`, the node is on exactly one list, and all fields but `done` are
///   accessed under the port's lock only.
/// - `done` is set once, by whoever has taken the node off its list and filled
///   `hand`; from then on only the node's thread accesses it.
struct Node {
    /// The thread. It does not leave [`wait`] or [`hand_over`] while the node is linked.
    task: *mut bindings::task_struct,
    prev: *mut Node,
    next: *mut Node,
    capacity: u32,
    linked: bool,
    /// Whether it is in the set's tree, by `branch`.
    planted: bool,
    branch: MaybeUninit<bindings::rb_node>,
    /// Where the thread finds what it is handed: a place of its own.
    hand: *mut Option<Hand<Kernel>>,
    // The kernel's own atomics are a call each, which is much for a flag. This
    // one is written and read with nothing but release and acquire.
    done: AtomicBool,
}

/// Threads that wait for one thing.
///
/// The receiver that came last is served first, as its cache is the warmest; if it has
/// not enough room, then the one with the least that is enough. Senders that wait for
/// room are served in the order in which they came, or came again because there was not
/// enough.
///
/// # Invariants
///
/// `head` and `tail` are the ends of a list of linked nodes, or both null. The
/// set lives inside the lock that guards the nodes.
/// `tree` has those nodes on the list that are planted, by their capacity. On the list
/// of receivers, those that are not planted come first.
pub(crate) struct WaitSet {
    head: *mut Node,
    tail: *mut Node,
    tree: UnsafeCell<bindings::rb_root>,
}

// SAFETY: By the invariants of `Node`, the nodes are used under the lock only.
unsafe impl Send for WaitSet {}

impl Default for WaitSet {
    fn default() -> Self {
        // INVARIANT: An empty list, an empty tree.
        Self {
            head: null_mut(),
            tail: null_mut(),
            tree: UnsafeCell::new(bindings::rb_root {
                rb_node: null_mut(),
            }),
        }
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // A node holds its port's file, and the set dies with the port. Should
        // that ever be wrong, this stops the machine where a dangling pointer
        // would let it go on.
        assert!(self.head.is_null());
    }
}

impl WaitSet {
    /// Adds a node.
    ///
    /// # Safety
    ///
    /// `node` is valid and not linked, and is taken off before it goes away.
    unsafe fn add(&mut self, node: *mut Node, last: bool) {
        // SAFETY: By the contract, and the neighbours are valid by the invariants.
        unsafe {
            (*node).linked = true;
            if last {
                (*node).prev = self.tail;
                match self.tail.is_null() {
                    true => self.head = node,
                    false => (*self.tail).next = node,
                }
                self.tail = node;
            } else {
                (*node).next = self.head;
                match self.head.is_null() {
                    true => self.tail = node,
                    false => (*self.head).prev = node,
                }
                self.head = node;
            }
        }
    }

    /// Takes a node off.
    ///
    /// # Safety
    ///
    /// `node` is valid and linked, on this very list.
    unsafe fn remove(&mut self, node: *mut Node) {
        // SAFETY: By the contract, and the neighbours are valid by the invariants.
        unsafe {
            let (prev, next) = ((*node).prev, (*node).next);
            match prev.is_null() {
                true => self.head = next,
                false => (*prev).next = next,
            }
            match next.is_null() {
                true => self.tail = prev,
                false => (*next).prev = prev,
            }
            if (*node).planted {
                self.uproot(node);
            }
            (*node).linked = false;
        }
    }

    /// Takes a node off that has room for `len` bytes, or gives null.
    #[inline(always)]
    fn take(&mut self, len: u32) -> *mut Node {
        let first = self.head;
        // SAFETY: By the invariants, all nodes on the list are valid.
        unsafe {
            if first.is_null() {
                return first;
            }
            if (*first).capacity < len || (*first).planted {
                return self.take_behind(len);
            }
            let next = (*first).next;
            self.head = next;
            match next.is_null() {
                true => self.tail = null_mut(),
                false => (*next).prev = null_mut(),
            }
            (*first).linked = false;
        }
        first
    }

    /// The same where it is not simply the first.
    #[cold]
    fn take_behind(&mut self, len: u32) -> *mut Node {
        let node = self.find(len);
        if !node.is_null() {
            // SAFETY: It is on this list.
            unsafe { self.remove(node) };
        }
        node
    }

    /// A node with room for `len` bytes, or null.
    fn find(&self, len: u32) -> *mut Node {
        // SAFETY: By the invariants, all nodes on the list are valid.
        match unsafe { self.head.as_ref() } {
            Some(first) if first.capacity >= len => self.head,
            Some(_) => self.find_behind(len),
            None => null_mut(),
        }
    }

    /// The same behind the first, which has not enough.
    ///
    /// Each node is walked past once, to plant it: else a client with thousands of threads
    /// that have no room could make it dear for its server to send, and hold the lock all
    /// the time.
    #[cold]
    fn find_behind(&self, len: u32) -> *mut Node {
        let mut node = self.head;
        // SAFETY: By the invariants, all nodes on the list and in the tree are valid.
        unsafe {
            while !node.is_null() && !(*node).planted {
                self.plant(node);
                node = (*node).next;
            }
            let mut found = null_mut();
            let mut branch = (*self.tree.get()).rb_node;
            while !branch.is_null() {
                let node = Self::of(branch);
                if (*node).capacity >= len {
                    found = node;
                    branch = (*branch).rb_left;
                } else {
                    branch = (*branch).rb_right;
                }
            }
            found
        }
    }

    /// The node of a branch.
    ///
    /// # Safety
    ///
    /// `branch` is that of a node.
    unsafe fn of(branch: *mut bindings::rb_node) -> *mut Node {
        // SAFETY: By the contract.
        unsafe { branch.byte_sub(offset_of!(Node, branch)).cast() }
    }

    /// Puts a node into the tree.
    ///
    /// # Safety
    ///
    /// `node` is on this list, and not planted.
    unsafe fn plant(&self, node: *mut Node) {
        let tree = self.tree.get();
        // SAFETY: By the contract and the invariants, all branches are those of valid nodes. The
        // place found is empty, so C may balance the tree around it.
        unsafe {
            let mut place = &raw mut (*tree).rb_node;
            let mut parent = null_mut();
            while !(*place).is_null() {
                parent = *place;
                place = match (*node).capacity < (*Self::of(parent)).capacity {
                    true => &raw mut (*parent).rb_left,
                    false => &raw mut (*parent).rb_right,
                };
            }
            let branch = (*node).branch.as_mut_ptr();
            branch.write(bindings::rb_node {
                __rb_parent_color: parent.addr(),
                rb_left: null_mut(),
                rb_right: null_mut(),
            });
            *place = branch;
            bindings::rb_insert_color(branch, tree);
            (*node).planted = true;
        }
    }

    /// Takes a node out of the tree.
    ///
    /// # Safety
    ///
    /// `node` is planted here.
    #[cold]
    unsafe fn uproot(&mut self, node: *mut Node) {
        // SAFETY: By the contract.
        unsafe {
            bindings::rb_erase((*node).branch.as_mut_ptr(), self.tree.get());
            (*node).planted = false;
        }
    }
}

impl Waiters<Kernel> for WaitSet {
    #[inline]
    fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    #[inline]
    fn fits(&self, len: u32) -> bool {
        !self.find(len).is_null()
    }

    #[inline(always)]
    fn hand_with(&mut self, len: u32, make: impl FnOnce() -> Hand<Kernel>) -> Option<Handed<'_>> {
        let node = self.take(len);
        if node.is_null() {
            return None;
        }
        // SAFETY: The node was on this list, hence is valid, and ours under the lock: its thread
        // does not leave before it sees `done` or has taken the lock. After `done` is set the node
        // is not touched any more.
        unsafe {
            let task = (*node).task;
            // Its thread has put `None` there, which needs no drop.
            (*node).hand.write(Some(make()));
            (*node).done.store(true, Ordering::Release);
            // INVARIANT: The lock is held as long as the set is borrowed.
            Some(Handed {
                task,
                _set: PhantomData,
            })
        }
    }
}

/// A thread that has just been handed something and does not know yet.
///
/// # Invariants
///
/// The task was waiting under a lock that is still held. So it was not dead, and will
/// not be freed before a grace period of RCU (read-copy-update) that begins later.
pub(crate) struct Handed<'a> {
    task: *mut bindings::task_struct,
    _set: PhantomData<&'a mut WaitSet>,
}

impl From<Handed<'_>> for Waker {
    fn from(handed: Handed<'_>) -> Self {
        // SAFETY: By the invariants the task is there.
        unsafe { bindings::get_task_struct(handed.task) };
        // INVARIANT: This reference.
        Waker(handed.task)
    }
}

/// The same, for when the lock is released.
///
/// # Invariants
///
/// Owns a reference to the task.
pub(crate) struct Waker(*mut bindings::task_struct);

// SAFETY: A task is reference counted atomically, and any task may wake it.
unsafe impl Send for Waker {}

impl Waker {
    /// Wakes it. No lock may be held.
    pub(crate) fn wake(self) {
        // SAFETY: By the invariants.
        unsafe { bindings::wake_up_process(self.0) };
    }

    /// Wakes it to run here next, as the caller is about to sleep. No lock may be held.
    pub(crate) fn wake_and_yield(self) {
        // SAFETY: By the invariants.
        unsafe { ffi::alpc_shim_wake_up_and_yield(self.0) };
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // SAFETY: By the invariants the reference is ours to give up.
        unsafe { bindings::put_task_struct(self.0) };
    }
}

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

/// A node for the current thread, `task`, which finds in `hand` what it is handed.
#[inline(always)]
fn node(
    task: *mut bindings::task_struct,
    capacity: u32,
    hand: &mut Option<Hand<Kernel>>,
) -> UnsafeCell<Node> {
    UnsafeCell::new(Node {
        task,
        prev: null_mut(),
        next: null_mut(),
        capacity,
        linked: false,
        planted: false,
        branch: MaybeUninit::uninit(),
        hand,
        done: AtomicBool::new(false),
    })
}

/// Waits, in the place where the engine has just said that nothing is there.
///
/// `capacity` is how much payload the caller has room for, `hand` is where it finds
/// what it is handed. `unlocked` runs once the lock is released, before sleeping.
pub(crate) fn wait<'a>(
    port: &'a Port,
    mut engine: Locked<'a>,
    at: Wait,
    capacity: u32,
    deadline: Deadline,
    hand: &mut Option<Hand<Kernel>>,
    unlocked: impl FnOnce(),
) -> Waited<'a> {
    *hand = None;
    let cell = node(Task::current_raw(), capacity, hand);
    let node = cell.get();
    if let Some(set) = engine.waiters(at) {
        // SAFETY: The node is new, and this function does not return while it is linked.
        unsafe { set.add(node, matches!(at, Wait::Room { .. })) };
    }
    drop(engine);
    unlocked();
    // SAFETY: `done` may be read at any time.
    let done = unsafe { &(*node).done };
    let end = match deadline {
        Deadline::Now if done.load(Ordering::Acquire) => End::Done,
        Deadline::Now => End::TimedOut,
        Deadline::Never => sleep(done, null(), 0),
        Deadline::At { time, clock } => sleep(done, &time, clock),
    };
    // SAFETY: It is the node that was added there, of this thread.
    unsafe { ended(port, || at, node, end) }
}

/// `CLOCK_MONOTONIC` as the current thread sees it, in nanoseconds.
pub(crate) fn monotonic() -> i64 {
    // SAFETY: There are no requirements: a task inside a system call has namespaces.
    unsafe { ffi::alpc_shim_monotonic() }
}

/// Sleeps until `done`, a signal or the deadline.
fn sleep(done: &AtomicBool, deadline: *const i64, clock: i32) -> End {
    // SAFETY: Both pointers are valid, the second may be null.
    unsafe { ffi::alpc_shim_sleep(done.as_ptr(), deadline, clock) }
}

/// What a thread does before it hands over.
pub(crate) trait SendFirst {
    /// Why it did not.
    type Error;

    /// Sends something to a thread that waits.
    fn send(self, engine: &mut Engine<Kernel>) -> Result<Straight<'_, Kernel>, Self::Error>;
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
    let cell = node(task, capacity, hand);
    let node = cell.get();
    let mut engine = port.lock();
    let (to, id) = match first.send(&mut engine) {
        Ok(Straight { to, id, next }) => {
            // SAFETY: The node is new, and this function does not return while it is linked.
            unsafe { next.add(node, false) };
            (to.task, id)
        }
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
        End::TimedOut => Gone::TimedOut,
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
        match engine.waiters(at) {
            // SAFETY: It is linked to where it was added: sets don't move, and an entry of
            // the engine is not reused while somebody waits there.
            Some(set) => unsafe { set.remove(node) },
            None => panic!("a wait set has gone while a thread stood in it"),
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
