// SPDX-License-Identifier: GPL-2.0

//! A world for the engine to run in: messages, threads and tables as plain values,
//! each of which notices what must not happen to it under the lock.

use crate::engine::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

thread_local! {
    /// Whether the engine is running, which is to say that the lock is held.
    static LOCKED: Cell<bool> = const { Cell::new(false) };
    /// What went wrong in a place where nothing can be returned.
    static WRONG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn wrong(what: String) {
    WRONG.with(|list| list.borrow_mut().push(what));
}

/// Runs `f` as if under the lock.
pub fn locked<R>(f: impl FnOnce() -> R) -> R {
    struct Unlock;
    impl Drop for Unlock {
        fn drop(&mut self) {
            LOCKED.set(false);
        }
    }
    assert!(!LOCKED.replace(true), "the lock is taken twice");
    let _unlock = Unlock;
    f()
}

/// What has gone wrong since it was asked last.
pub fn take_wrong() -> Vec<String> {
    WRONG.with(|list| core::mem::take(&mut *list.borrow_mut()))
}

pub struct Test;

impl Host for Test {
    type Body = Text;
    type Peer = Link;
    type Waiters = Set;
    type Slots = Rows<Slot<Test>>;
    type Conns = Rows<Conn<Test>>;
    type Holders = Rows<Holder<Test>>;
    type Watch = Watch;
    type Waker = Alarm;
    type Handed<'a> = Alarm;
}

/// The messages that exist.
pub type Live = Rc<RefCell<BTreeSet<u64>>>;

struct Inner {
    serial: u64,
    len: u32,
    live: Live,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if LOCKED.get() {
            wrong(format!("message {} dropped under the lock", self.serial));
        }
        self.live.borrow_mut().remove(&self.serial);
    }
}

/// A message: a number and a length.
#[derive(Clone)]
pub struct Text(Rc<Inner>);

impl Text {
    pub fn new(serial: u64, len: u32, live: &Live) -> Self {
        assert!(live.borrow_mut().insert(serial));
        Self(Rc::new(Inner {
            serial,
            len,
            live: live.clone(),
        }))
    }

    pub fn serial(&self) -> u64 {
        self.0.serial
    }
}

impl Body for Text {
    fn len(&self) -> u32 {
        self.0.len
    }
}

struct LinkInner {
    polled: [Cell<bool>; 2],
    woken: Cell<bool>,
    open: Rc<Cell<u32>>,
}

impl Drop for LinkInner {
    fn drop(&mut self) {
        if LOCKED.get() {
            wrong("a connection dropped under the lock".into());
        }
        self.open.set(self.open.get() - 1);
    }
}

/// What stands for a connection outside the engine.
#[derive(Clone)]
pub struct Link(Rc<LinkInner>);

impl Link {
    /// `open` counts those that exist.
    pub fn new(open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::new(LinkInner {
            polled: [Cell::new(false), Cell::new(false)],
            woken: Cell::new(false),
            open: open.clone(),
        }))
    }

    pub fn poll(&self, side: Side, on: bool) {
        self.0.polled[side as usize].set(on);
    }

    /// Whether pollers have been woken since this was asked last.
    pub fn was_woken(&self) -> bool {
        self.0.woken.replace(false)
    }

    pub fn wake(&self) {
        self.0.woken.set(true);
    }
}

impl Peer for Link {
    fn is_polled(&self, side: Side) -> bool {
        self.0.polled[side as usize].get()
    }
}

/// Where a thread finds what it was handed.
pub type Inbox = Rc<RefCell<Option<Hand<Test>>>>;

struct Waiting {
    thread: usize,
    capacity: u32,
    holder: u64,
    inbox: Inbox,
}

/// Threads that wait for one thing.
#[derive(Default)]
pub struct Set(Vec<Waiting>);

impl Set {
    /// Adds a thread: behind the others, or before them.
    pub fn add(&mut self, thread: usize, capacity: u32, last: bool) -> Inbox {
        let inbox = Inbox::default();
        let waiting = Waiting {
            thread,
            capacity,
            holder: 0,
            inbox: inbox.clone(),
        };
        match last {
            true => self.0.push(waiting),
            false => self.0.insert(0, waiting),
        }
        inbox
    }

    /// Says which holder the thread is that was added before the others.
    pub fn name_first(&mut self, holder: u64) {
        self.0[0].holder = holder;
    }

    /// Takes a thread off; whether it was there.
    pub fn remove(&mut self, thread: usize) -> bool {
        let before = self.0.len();
        self.0.retain(|waiting| waiting.thread != thread);
        before != self.0.len()
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        if !self.0.is_empty() && !std::thread::panicking() {
            wrong("a set has gone while threads stood in it".into());
        }
    }
}

impl Waiters<Test> for Set {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn fits(&self, len: u32) -> bool {
        self.0.iter().any(|waiting| waiting.capacity >= len)
    }

    /// Messages have no sender here: whoever waits is it.
    fn begins_with_sender(&self, _body: &<Test as Host>::Body) -> bool {
        !self.0.is_empty()
    }

    fn holder(&self, len: u32) -> u64 {
        let fits = self.0.iter().find(|waiting| waiting.capacity >= len);
        fits.map_or(0, |waiting| waiting.holder)
    }

    fn hand_with(&mut self, len: u32, make: impl FnOnce() -> Hand<Test>) -> Option<Alarm> {
        let at = self.0.iter().position(|waiting| waiting.capacity >= len)?;
        let waiting = self.0.remove(at);
        *waiting.inbox.borrow_mut() = Some(make());
        Some(Alarm(Some(waiting.thread)))
    }
}

/// A thread that must be woken: not to do so is an error.
pub struct Alarm(Option<usize>);

impl Alarm {
    pub fn ring(mut self) -> usize {
        self.0.take().expect("rung once")
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(thread) = self.0 {
            wrong(format!("thread {thread} is never woken"));
        }
    }
}

/// What tells of a thread's end, to be let go of without the lock.
pub struct Watch(pub Rc<Cell<u32>>);

impl Watch {
    /// `live` counts those that exist.
    pub fn new(live: &Rc<Cell<u32>>) -> Self {
        live.set(live.get() + 1);
        Self(live.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if LOCKED.get() {
            wrong("a watch dropped under the lock".into());
        }
        self.0.set(self.0.get() - 1);
    }
}

/// A table that is grown by hand.
pub struct Rows<T>(pub Vec<T>);

impl<T> Store<T> for Rows<T> {
    fn get(&self, index: u32) -> Option<&T> {
        self.0.get(index as usize)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.0.get_mut(index as usize)
    }

    fn len(&self) -> u32 {
        self.0.len() as u32
    }
}
