// SPDX-License-Identifier: GPL-2.0

//! Letting go of what may take as long as a user likes, in nobody's thread.
//!
//! The last reference to an open file runs its `release`, and the last one to an address space
//! tears that down, with all that is mapped and every asynchronous input and output under way. A
//! file system in user space answers when it likes, and a pipe waits for who reads from it. So a
//! [`Job`] does it, in a worker of the kernel, and a user waits for its own jobs only:
//!
//! * Each account has a [`Lane`] with a few places. A job needs a place in the lane of every
//!   account that its payer is charged to, the user's own first. Where there is none it waits in
//!   that lane, first come, first served, and who leaves hands its place over.
//! * A user has [`PLACES`].
//! * All who are in a user namespace have [`PLACES_INSIDE`] together, and in one that is in it
//!   fewer, see [`places_inside`]. So nobody in a namespace keeps all places of one around it, nor
//!   stops those in another one there.
//! * All who are in the namespaces of one owner have [`PLACES_BELOW`] together, which are none of
//!   those that the owner has itself. So one user keeps at most that many workers, whatever ids it
//!   goes by in however many namespaces. It takes several namespaces that keep all of their places
//!   to stop the owner's others. There is no such bound for root, who makes the containers of
//!   everybody, and only as many as it likes. One user id in two namespaces is one user.
//! * The work queue has room for [`WORKERS`] jobs. Others find no worker only when that many are
//!   in use, which takes 512 users who keep all of their places, 16 such owners, or 64 namespaces of
//!   root's. With several memory nodes each node has its share of that room.
//!
//! There is one queue for all, as each costs memory on every processor and a global mutex to
//! make, and no thread per user, as threads are charged to nobody. `mmput_async` is not used, even
//! where a kernel exports it: it runs on the queue that all of the kernel uses, which has room for
//! 1,024 at once, so there one user would stop everybody. The queue needs no rescuer: nothing that
//! frees memory waits for it, and a job would keep that one thread from all others.
//!
//! The memory of a job is there before what it is for, see [`Spare`], so to start one can't fail.

use crate::{
    buffer::charged,
    caller::Accountable,
    charge::{
        Charge,
        Charger, //
    },
    open_file::Files,
    quota::Kind,
    space::LastUse,
    stay::Stay, //
};
use core::{
    mem::replace,
    ptr::{
        null_mut,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    },
};
use kernel::{
    bindings, impl_has_work,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        List,
        ListArc,
        ListLinks, //
    },
    module::this_module,
    new_spinlock, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock,
        UniqueArc, //
    },
    workqueue::{
        Queue,
        Work,
        WorkItem, //
    },
};

/// Jobs of one user that run at once. More than one, so that a file that takes its time does not
/// hold up the user's others.
const PLACES: u32 = 4;

/// Jobs that run at once for all who are in a user namespace that is only in the first one.
const PLACES_INSIDE: u32 = 32;

/// Jobs that run at once for all who are in user namespaces of one owner.
const PLACES_BELOW: u32 = 128;

/// Jobs that run at once: the most that a work queue has room for.
const WORKERS: i32 = bindings::wq_consts_WQ_MAX_ACTIVE as i32;

/// Jobs that run at once for all who are in a user namespace of this level. The next one has half,
/// and each that is deeper one less than the one around it, as long as that has several.
const fn places_inside(level: u32) -> u32 {
    match level {
        0 | 1 => PLACES_INSIDE,
        _ => match (PLACES_INSIDE / 2 + 2).saturating_sub(level) {
            0 => 1,
            places => places,
        },
    }
}

/// Root of the first user namespace, as a kernel id.
const ROOT: u32 = 0;

/// Where the jobs that are charged to one account run or wait.
#[pin_data]
pub(crate) struct Lane {
    places: u32,
    #[pin]
    state: SpinLock<State>,
}

struct State {
    /// Places that are taken. All of them are while jobs wait.
    taken: u32,
    waiting: List<Job>,
}

impl Lane {
    /// The lane of those who an account is about.
    pub(crate) fn new(whose: Accountable) -> impl PinInit<Self> {
        let places = match whose {
            Accountable::User(_) => PLACES,
            Accountable::Namespace(namespace) => places_inside(namespace.level()),
            // CAST: It is positive.
            Accountable::Owner(ROOT) => WORKERS as u32,
            Accountable::Owner(_) => PLACES_BELOW,
        };
        pin_init!(Self {
            places,
            state <- new_spinlock!(State { taken: 0, waiting: List::new() }, "Lane::state"),
        })
    }

    /// Gives a place to the job, or keeps it waiting here.
    fn enter(&self, job: ListArc<Job>) -> Option<ListArc<Job>> {
        let mut state = self.state.lock();
        if state.taken >= self.places {
            state.waiting.push_back(job);
            return None;
        }
        state.taken = state.taken.saturating_add(1);
        Some(job)
    }

    /// Gives a job's place to the next that waits here.
    fn leave(&self) -> Option<ListArc<Job>> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.taken = state.taken.saturating_sub(1);
        }
        next
    }
}

/// What is let go of.
enum Held {
    Nothing,
    Files(Files),
    /// What it costs is charged for as long as it is there.
    Space(LastUse, Charge),
}

/// Something that a worker lets go of.
#[pin_data]
pub(crate) struct Job {
    #[pin]
    work: Work<Job>,
    #[pin]
    links: ListLinks,
    held: Held,
    /// Whom it is charged to, once it has started.
    payer: Option<Arc<Charger>>,
    /// The lane of the payer's that it needs a place in next.
    next: Atomic<usize>,
}

impl_has_work! {
    impl HasWork<Self> for Job { self.work }
}
impl_list_arc_safe! {
    impl ListArcSafe<0> for Job { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Job { using ListLinks { self.links }; }
}

/// A job that has nothing to do yet.
pub(crate) struct Spare(Pin<UniqueArc<Job>>);

impl Spare {
    /// Memory for one, charged to the current task.
    pub(crate) fn new() -> Result<Self> {
        let room = charged(size_of::<Job>(), UniqueArc::<Job>::new_uninit)?;
        let job = room.pin_init_with(try_pin_init!(Job {
            work <- new_work!("Job::work"),
            links <- ListLinks::new(),
            held: Held::Nothing,
            payer: None,
            next: Atomic::new(0),
        }? Error))?;
        Ok(Self(job))
    }

    /// Has the files closed, at the payer's expense.
    pub(crate) fn close(self, files: Files, payer: Arc<Charger>) {
        self.start(Held::Files(files), payer);
    }

    /// Has the use of an address space ended, at the payer's expense: it counts as a conversation
    /// of the `owner`'s until then, so nobody has more of them than conversations.
    pub(crate) fn end(self, space: LastUse, payer: Arc<Charger>, owner: &Arc<Charger>) {
        let charge = Charge::beyond(owner, Kind::Conversation);
        self.start(Held::Space(space, charge), payer);
    }

    fn start(mut self, held: Held, payer: Arc<Charger>) {
        let job = self.0.as_mut().project();
        *job.held = held;
        *job.payer = Some(payer);
        // SAFETY: Whoever lets go of something is in a file of the module's, which holds it, or in
        // a job, which does.
        unsafe { bindings::__module_get(this_module::<crate::LocalModule>().as_ptr()) };
        Job::advance(ListArc::from(self.0));
    }
}

impl Job {
    /// Gives the job its places, or keeps it waiting for one. With all of them it runs.
    ///
    /// Not preempted: the places are taken from others, and nobody works for them before it runs.
    fn advance(mut job: ListArc<Self>) {
        let payer = job.payer.clone();
        // Ends before the payer may.
        let _stay = Stay::begin();
        loop {
            let next = job.next.load(Relaxed);
            let Some(lane) = payer.as_ref().and_then(|payer| payer.lane(next)) else {
                break;
            };
            job.next.store(next.saturating_add(1), Relaxed);
            match lane.enter(job) {
                Some(entered) => job = entered,
                None => return,
            }
        }
        // SAFETY: The queue is there as long as the module, which the job holds.
        let queue = unsafe { Queue::from_raw(QUEUE.load(Ordering::Acquire)) };
        // It is in no queue yet.
        let _ = queue.enqueue(job.into_arc());
    }

    /// Does what there is to do, and gives the places to others.
    fn finish(mut self: Pin<UniqueArc<Self>>) {
        let job = self.as_mut().project();
        match replace(job.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Files(files) => files.close(),
            Held::Space(space, charge) => {
                space.end();
                drop(charge);
            }
        }
        let Some(payer) = job.payer.take() else {
            return;
        };
        // From the outside in: who enters one finds the next ones left.
        for lane in payer.lanes().rev() {
            // A worker is the kernel's thread: nobody makes it starve.
            if let Some(next) = lane.leave() {
                Self::advance(next);
            }
        }
    }
}

impl WorkItem for Job {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // It is in no list and in no queue any more, so nobody else has it.
        if let Some(job) = Arc::into_unique_or_drop(this) {
            job.finish();
        }
        // SAFETY: `start` has taken the reference. What is left to do here is waited for by who
        // destroys the queue.
        unsafe { bindings::module_put(this_module::<crate::LocalModule>().as_ptr()) };
    }
}

/// The queue that jobs run in; null without a [`Closer`].
static QUEUE: AtomicPtr<bindings::workqueue_struct> = AtomicPtr::new(null_mut());

/// What jobs run in. There is one, from before the first message until the module goes.
///
/// A job holds the module from its start to its end, so a module that can go has none, but for the
/// last few instructions of one.
///
/// # Invariants
///
/// The queue is this object's.
pub(crate) struct Closer(NonNull<bindings::workqueue_struct>);

// SAFETY: Any task may destroy the queue, and nothing else is done through this object.
unsafe impl Send for Closer {}
// SAFETY: Nothing is done through a shared one.
unsafe impl Sync for Closer {}

impl Closer {
    /// Makes the queue.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The name has no directives, so there are no further arguments.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"alpc_close".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND,
                WORKERS,
            )
        };
        let queue = NonNull::new(queue).ok_or(ENOMEM)?;
        // SYNC: Pairs with the load in `advance`.
        QUEUE.store(queue.as_ptr(), Ordering::Release);
        // INVARIANT: The queue is new.
        Ok(Self(queue))
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        QUEUE.store(null_mut(), Ordering::Release);
        // SAFETY: By the invariants the queue is ours, and nothing can be added any more. All that
        // runs is waited for.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
