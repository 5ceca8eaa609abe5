// SPDX-License-Identifier: GPL-2.0

//! Caller memory: ranges of the caller's own that the holder of its request reads and
//! writes while the caller waits.
//!
//! What the caller has sent is consent, and all there is to it: nothing is asked about
//! the holder's rights over the caller, and none are given.
//!
//! The memory has a *gate*, which is open while a thread of the process that sent the
//! request waits for the conversation. Bytes move in sections. A section holds the caller's
//! pages first, as far as they are there, and then moves bytes page by page, each with the
//! gate's spinlock held and the gate looked at. The thread shuts the gate before it returns:
//! it waits for the page that each other processor moves just then, and nothing moves after
//! that.
//!
//! Pages that are not there are an [errand](errand) of the thread that waits: it brings its
//! own memory in, with what that costs and however long it takes, and hands the holder the pages.
//! So is what is written to a mapping of a stored file: it takes the holder's bytes and writes them.
//! The holder waits for it as long as it likes. So neither takes part in a page fault of the
//! other's.
#![deny(unsafe_code)]

mod chore;
mod errand;

pub(crate) use {
    chore::Fetched,
    errand::Kept, //
};

use crate::{
    buffer::{
        charged,
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    charge::Charger,
    outcome::{
        Failure,
        Outcome, //
    },
    peer::{
        self,
        Found,
        Own,
        Pins, //
    },
    space::{
        HeldSpace,
        Space, //
    },
    uapi,
    wait::Chore, //
};
use core::{
    mem::{
        offset_of,
        size_of, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};
use errand::Errands;
use kernel::{
    current,
    mm::Mm,
    new_condvar,
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        lock::{
            spinlock::SpinLockBackend,
            Guard, //
        },
        Arc,
        CondVar,
        SpinLock,
        UniqueArc, //
    },
    task::Task, //
};

const READ: u32 = uapi::ALPC_MEMORY_READ;
const WRITE: u32 = uapi::ALPC_MEMORY_WRITE;

/// One range of the caller's. It ends within the addresses of users.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) base: u64,
    pub(crate) length: u64,
    pub(crate) access: u32,
}

/// The ranges of one request.
#[pin_data]
pub(crate) struct Memory {
    #[pin]
    gate: SpinLock<Gate>,
    /// Tells the thread whose errand it is that it is done, or that the gate is shut.
    #[pin]
    done: CondVar,
    /// Tells one thread that there is no errand any more, or that the gate is shut. Who hears of
    /// it and makes no use of it tells the next one, so nobody has to wake all.
    #[pin]
    free: CondVar,
    /// Whether there is an errand that nobody has begun. Written under the lock.
    wanted: AtomicBool,
    /// Whether the errand that was begun is for nobody any more. Written under the lock.
    unwanted: AtomicBool,
    /// What [`Gate::open`] was last, for who doesn't hold the lock.
    open: AtomicU64,
    /// What [`Gate::turn`] was last, for who doesn't hold the lock. Written before `open`.
    turn: AtomicU32,
    /// Whose memory it is.
    #[pin]
    space: Space,
    ranges: KVec<Range>,
}

struct Gate {
    /// Which opening the gate is open by, 0 if it is shut. No two have the same number.
    open: u64,
    /// The number of the last opening.
    opened: u64,
    /// The thread that has opened it, while it is open.
    opener: Option<ARef<Task>>,
    /// The turn at which the holder may come in.
    turn: u32,
    errands: Errands,
}

type Locked<'a> = Guard<'a, Gate, SpinLockBackend>;

/// A gate that the current thread has opened, and shuts by dropping this.
pub(crate) struct Opening {
    memory: Arc<Memory>,
    opened: u64,
}

impl Range {
    fn new(range: &uapi::alpc_memory_range) -> Result<Self> {
        let access = range.access;
        if range.length == 0 || access == 0 || access & !(READ | WRITE) != 0 || range.reserved != 0
        {
            return Err(EINVAL);
        }
        if !peer::is_user_range(range.base, range.length) {
            return Err(EFAULT);
        }
        Ok(Self {
            base: range.base,
            length: range.length,
            access,
        })
    }
}

impl Memory {
    /// The ranges that the caller names, of its own memory, which it sends on a side of `owner`'s.
    pub(crate) fn capture(
        ask: &uapi::alpc_attr_memory,
        owner: &Arc<Charger>,
    ) -> Result<Arc<Self>, Failure> {
        const ENTRY: usize = size_of::<uapi::alpc_memory_range>();
        if ask.count == 0 || ask.count > uapi::ALPC_MEMORY_RANGES_MAX {
            return Err(EINVAL.into());
        }
        // CAST: It is small.
        let count = ask.count as usize;
        let size = count.saturating_mul(size_of::<Range>());
        let mut ranges = charged(size, |flags| KVec::with_capacity(count, flags))?;
        for index in 0..u64::from(ask.count) {
            let offset = index.saturating_mul(ENTRY as u64);
            let at = ask.ranges.checked_add(offset).ok_or(EFAULT)?;
            let range: uapi::alpc_memory_range = copy_struct_in(ENTRY, at, ENTRY)?;
            ranges
                .push_within_capacity(Range::new(&range)?)
                .map_err(|_| ENOMEM)?;
        }
        let task = current!();
        let mm: &Mm = task.mm().ok_or(EFAULT)?;
        let space = Space::new(ARef::from(mm), owner.clone())?;
        let room = charged(size_of::<Self>(), UniqueArc::<Self>::new_uninit)?;
        let memory = room.pin_init_with(try_pin_init!(Self {
            gate <- new_spinlock!(Gate::shut(), "Memory::gate"),
            done <- new_condvar!("Memory::done"),
            free <- new_condvar!("Memory::free"),
            wanted: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            open: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            space <- space,
            ranges,
        }? Error))?;
        Ok(memory.into())
    }

    /// The range of this number.
    pub(crate) fn range(&self, index: u32) -> Option<&Range> {
        // CAST: An index that does not fit is none.
        self.ranges.get(index as usize)
    }

    /// Tells the receiver of the ranges, but not where they are. `attribute` is where its
    /// attribute stands.
    pub(crate) fn show(&self, attribute: u64, ask: &uapi::alpc_attr_memory) -> Result {
        const ENTRY: usize = size_of::<uapi::alpc_memory_range>();
        // CAST: It has room for it.
        for (index, range) in self.ranges.iter().take(ask.count as usize).enumerate() {
            let offset = index.saturating_mul(ENTRY) as u64;
            let at = ask.ranges.checked_add(offset).ok_or(EFAULT)?;
            let shown = uapi::alpc_memory_range {
                base: 0,
                length: range.length,
                access: range.access,
                reserved: 0,
            };
            copy_struct_out(ENTRY, at, &shown)?;
        }
        let answer = uapi::alpc_attr_memory {
            // CAST: No more than `ALPC_MEMORY_RANGES_MAX`.
            count: self.ranges.len() as u32,
            ..*ask
        };
        let at = offset_of!(uapi::alpc_attr_memory, count);
        let end = offset_of!(uapi::alpc_attr_memory, reserved);
        copy_range_out(
            size_of::<uapi::alpc_attr_memory>(),
            attribute,
            &answer,
            at..end,
        )
    }

    /// Opens the gate to the holder at `turn`, for a thread that waits from now on, or is about
    /// to. Nothing if the thread is of another process.
    ///
    /// Another thread may have it open: one that has left the conversation's wait and is about to
    /// shut it, but only who knows that by standing there itself may `take_over`.
    pub(crate) fn open(self: &Arc<Self>, turn: u32, take_over: bool) -> Option<Opening> {
        let own = self.space.is(current!().mm()?);
        let mut gate = self.gate.lock();
        if !own || (gate.open != 0 && !take_over) {
            return None;
        }
        let opened = gate.opened.wrapping_add(1).max(1);
        gate.opened = opened;
        gate.open = opened;
        gate.turn = turn;
        let task: &Task = current!();
        let before = gate.opener.replace(ARef::from(task));
        self.turn.store(turn, Ordering::Relaxed);
        self.open.store(opened, Ordering::Release);
        let tell = !gate.errands.is_free();
        drop(gate);
        drop(before);
        // Who wants something of an earlier turn is to leave.
        if tell {
            self.done.notify_one();
            self.free.notify_one();
        }
        Some(Opening {
            memory: self.clone(),
            opened,
        })
    }

    /// The gate, if it is open to the holder at `turn`.
    fn enter(&self, turn: u32) -> Result<Locked<'_>, Failure> {
        let gate = self.gate.lock();
        match gate.open != 0 && gate.turn == turn {
            true => Ok(gate),
            false => Err(Outcome::MemoryClosed.into()),
        }
    }

    /// The caller's memory, if there is still a caller.
    fn space(&self) -> Result<HeldSpace<'_>, Failure> {
        self.space.hold().ok_or(Outcome::MemoryClosed.into())
    }

    /// Moves what is there, or what is `kept`, if the gate has not been shut since. Nothing is kept
    /// any more then.
    pub(crate) fn section(&self, step: &Step, kept: &mut Option<Kept>) -> Result<Moved, Failure> {
        // Pages that are found while the gate is open are the caller's as long as it stays open.
        let open = self.open.load(Ordering::Acquire);
        // If this is of a later opening, the one that was read is over.
        if open == 0 || self.turn.load(Ordering::Relaxed) != step.turn {
            return Err(Outcome::MemoryClosed.into());
        }
        let mut found = Pins::new();
        let pins = match kept.as_ref().filter(|kept| kept.open == open) {
            Some(kept) => &kept.pins,
            None => {
                let mm = self.space()?;
                let any = peer::pin(&mm, step.theirs, step.own.len(), step.write, &mut found);
                drop(mm);
                match any {
                    Found::Some => &found,
                    Found::None => return Ok(Moved::TheirsMissing),
                    Found::OfFile => return Ok(Moved::TheirsOfFile),
                }
            }
        };
        let moved = self.pass(step, pins, open);
        *kept = None;
        moved
    }

    /// Moves the bytes of pages that are held, as long as the gate is open by the same opening.
    fn pass(&self, step: &Step, pins: &Pins, open: u64) -> Result<Moved, Failure> {
        let mut own = step.own;
        // CAST: Less than a page.
        let mut offset = (step.theirs % PAGE_SIZE as u64) as usize;
        let mut stopped = Ok(Moved::OwnMissing);
        for index in 0..pins.count() {
            let Some(page) = pins.begin(index) else {
                stopped = Ok(Moved::TheirsBusy);
                break;
            };
            let gate = self.gate.lock();
            if gate.open != open {
                drop(gate);
                stopped = Err(Outcome::MemoryClosed.into());
                break;
            }
            let (bytes, all) = page.copy(offset, own);
            drop(gate);
            drop(page);
            own = own.part(bytes, u64::MAX);
            if !all {
                break;
            }
            offset = 0;
        }
        match step.own.len().saturating_sub(own.len()) {
            0 => stopped,
            moved => Ok(Moved::Bytes(moved)),
        }
    }
}

/// What a section has done.
pub(crate) enum Moved {
    /// Moved so many bytes, one at least.
    Bytes(u64),
    /// Nothing: the first byte on this side is not there.
    OwnMissing,
    /// Nothing: the first byte on the other side is not there, or nobody can tell now.
    TheirsMissing,
    /// Nothing: the first page on the other side is to be written to, and can't be just now.
    TheirsBusy,
    /// Nothing: the first page on the other side is to be written to, and is of a stored file.
    TheirsOfFile,
}

/// What a section is to do.
pub(crate) struct Step {
    pub(crate) turn: u32,
    pub(crate) theirs: u64,
    /// As long as what is to be moved.
    pub(crate) own: Own,
    pub(crate) write: bool,
}

impl Gate {
    const fn shut() -> Self {
        Self {
            open: 0,
            opened: 0,
            opener: None,
            turn: 0,
            errands: Errands::new(),
        }
    }
}

impl Opening {
    /// The errands that the thread does while it waits.
    pub(crate) fn chore(&self) -> &dyn Chore {
        &*self.memory
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let memory = &self.memory;
        let mut gate = memory.gate.lock();
        if gate.open != self.opened {
            return;
        }
        gate.open = 0;
        memory.open.store(0, Ordering::Relaxed);
        let opener = gate.opener.take();
        let tell = !gate.errands.is_free();
        drop(gate);
        drop(opener);
        // If there is no errand, then whoever waits for that is being told already.
        if tell {
            memory.done.notify_one();
            memory.free.notify_one();
        }
    }
}
