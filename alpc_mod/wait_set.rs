// SPDX-License-Identifier: GPL-2.0

//! Lists of threads that wait, handing them what they wait for, waking them.
//!
//! A waiting thread stands in a [`WaitSet`] with a [`Node`] on its own stack. Whoever
//! has something for it takes the node off the list, puts the thing into it, and
//! keeps a [`Waker`] for when the lock is released. The thread finds the thing in
//! its node without taking the lock again.

use crate::{
    ffi,
    logic::engine::{
        Hand,
        Waiters, //
    },
    message::Message,
    port::Kernel, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr::null_mut,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    bindings,
    sync::Arc,
    warn_on, //
};

/// One waiting thread, on its own stack.
///
/// # Invariants
///
/// - While `linked`, the node is on exactly one list, and all fields but `done` are
///   accessed under the port's lock only.
/// - `done` is set once, by whoever has taken the node off its list and filled
///   `hand`; from then on only the node's thread accesses it.
pub(crate) struct Node {
    /// The thread. It does not leave [`wait`](crate::wait) while the node is linked.
    pub(crate) task: *mut bindings::task_struct,
    prev: *mut Node,
    next: *mut Node,
    capacity: u32,
    /// The id of the holder of conversations that the thread is, 0 if it is not known to be one.
    pub(crate) holder: u64,
    pub(crate) linked: bool,
    /// Whether it is in the set's tree, by `branch`.
    planted: bool,
    branch: MaybeUninit<bindings::rb_node>,
    /// Where the thread finds what it is handed: a place of its own.
    hand: *mut Option<Hand<Kernel>>,
    // The kernel's own atomics are a call each, which is much for a flag. This
    // one is written and read with nothing but release and acquire.
    pub(crate) done: AtomicBool,
}

impl Node {
    /// A node for the current thread, `task`, which finds in `hand` what it is handed.
    #[inline(always)]
    pub(crate) fn new(
        task: *mut bindings::task_struct,
        capacity: u32,
        hand: &mut Option<Hand<Kernel>>,
    ) -> UnsafeCell<Self> {
        UnsafeCell::new(Self {
            task,
            prev: null_mut(),
            next: null_mut(),
            capacity,
            holder: 0,
            linked: false,
            planted: false,
            branch: MaybeUninit::uninit(),
            hand,
            done: AtomicBool::new(false),
        })
    }
}

/// Threads that wait for one thing.
///
/// The receiver that came last is served first, as its cache is the warmest; if it has
/// not enough room, then the one with the least that is enough. Senders that wait for
/// room are served in the order in which they came, or came again because there was not
/// enough.
///
/// Nobody walks past more than [`BARE`] nodes, however many wait: all others are in a tree,
/// each put there by the thread that came later. Few receivers wait at most ports, and then
/// there is no tree.
///
/// # Invariants
///
/// - `head` and `tail` are the ends of a list of linked nodes, or both null. The set lives
///   inside the lock that guards the nodes.
/// - `tree` has those nodes on the list that are planted, by their capacity. `bare` is how many
///   are not.
/// - Of receivers, those that are not planted come first on the list, and are [`BARE`] at most.
///   `planted` is the first behind them, or null. Senders that wait for room are never planted:
///   nobody looks for one by its capacity.
pub(crate) struct WaitSet {
    head: *mut Node,
    tail: *mut Node,
    bare: u32,
    planted: *mut Node,
    tree: bindings::rb_root,
}

/// The most receivers that wait and are in no tree. To look through so many costs less than
/// to plant two; and they are more than wait at most ports, which never pay for the tree.
const BARE: u32 = 32;

// SAFETY: By the invariants of `Node`, the nodes are used under the lock only.
unsafe impl Send for WaitSet {}

impl Default for WaitSet {
    fn default() -> Self {
        // INVARIANT: An empty list, an empty tree.
        Self {
            head: null_mut(),
            tail: null_mut(),
            bare: 0,
            planted: null_mut(),
            tree: bindings::rb_root {
                rb_node: null_mut(),
            },
        }
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // A thread that waits holds its port's file, and the set dies with the port. Should
        // that ever be wrong, the thread is left alone. It finds its place gone when it leaves,
        // and nothing leads to its node any more.
        warn_on!(!self.head.is_null());
    }
}

impl WaitSet {
    /// Adds a node: a sender's as the `last`, a receiver's as the first.
    ///
    /// # Safety
    ///
    /// `node` is valid and not linked, and is taken off before it goes away. All nodes of a set
    /// are senders', or all are receivers'.
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, node: *mut Node, last: bool) {
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
        self.bare = self.bare.wrapping_add(1);
        if self.bare > BARE && !last {
            self.plant_oldest();
        }
    }

    /// Takes a node off.
    ///
    /// # Safety
    ///
    /// `node` is valid and linked, on this very list.
    pub(crate) unsafe fn remove(&mut self, node: *mut Node) {
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
            match (*node).planted {
                true => self.uproot(node),
                false => self.bare = self.bare.wrapping_sub(1),
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
        self.bare = self.bare.wrapping_sub(1);
        first
    }

    /// Takes a node off that has room for `len` bytes, where the first has not or is planted.
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

    /// A node with room for `len` bytes behind the first, which has not enough: of those that
    /// fit, one with the least.
    #[cold]
    fn find_behind(&self, len: u32) -> *mut Node {
        let mut found = null_mut::<Node>();
        let mut consider = |node: *mut Node| {
            // SAFETY: By the invariants, all nodes on the list and in the tree are valid.
            unsafe {
                let fits = (*node).capacity >= len;
                if fits && (found.is_null() || (*node).capacity < (*found).capacity) {
                    found = node;
                }
                fits
            }
        };
        let mut node = self.head;
        for _ in 0..BARE {
            if node == self.planted {
                break;
            }
            consider(node);
            // SAFETY: It is on the list, before the first that is planted or before the end.
            node = unsafe { (*node).next };
        }
        let mut branch = self.tree.rb_node;
        while !branch.is_null() {
            // SAFETY: By the invariants, all branches are those of valid nodes.
            branch = unsafe {
                match consider(Self::of(branch)) {
                    true => (*branch).rb_left,
                    false => (*branch).rb_right,
                }
            };
        }
        found
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

    /// Plants the receiver that has waited longest of those that are not planted.
    #[cold]
    fn plant_oldest(&mut self) {
        // SAFETY: By the invariants, `planted` is valid unless it is null.
        let oldest = match unsafe { self.planted.as_ref() } {
            Some(first) => first.prev,
            None => self.tail,
        };
        // SAFETY: Some are not planted, the last of which is right before the first that is.
        unsafe { self.plant(oldest) };
        // INVARIANT: It is in the tree, and all behind it are.
        self.planted = oldest;
        self.bare = self.bare.wrapping_sub(1);
    }

    /// Puts a node into the tree.
    ///
    /// # Safety
    ///
    /// `node` is on this list, and not planted.
    unsafe fn plant(&mut self, node: *mut Node) {
        let tree = &raw mut self.tree;
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
    /// `node` is planted here, and has its links on the list still.
    #[cold]
    unsafe fn uproot(&mut self, node: *mut Node) {
        // SAFETY: By the contract.
        unsafe {
            bindings::rb_erase((*node).branch.as_mut_ptr(), &raw mut self.tree);
            (*node).planted = false;
            if self.planted == node {
                // INVARIANT: All behind it are planted.
                self.planted = (*node).next;
            }
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
    fn holder(&self, len: u32) -> u64 {
        // SAFETY: By the invariants, all nodes that are found are valid.
        unsafe { self.find(len).as_ref() }.map_or(0, |node| node.holder)
    }

    fn begins_with_sender(&self, body: &Arc<Message>) -> bool {
        // SAFETY: By the invariants, all nodes on the list are valid, and so are their threads,
        // which are in a system call.
        unsafe { !self.head.is_null() && body.sender.is_thread((*self.head).task) }
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
    pub(crate) task: *mut bindings::task_struct,
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
    /// Wakes it. No lock may be held: see [`Port::leave`](crate::port::Port::leave).
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
