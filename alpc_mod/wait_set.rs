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
    sync::Arc, //
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
