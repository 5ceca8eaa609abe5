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
//! that. Whatever has to be waited for is waited for outside the gate, and the section is
//! tried again.
#![deny(unsafe_code)]

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
        Own,
        Pins, //
    },
    space::{
        HeldSpace,
        Space, //
    },
    uapi, //
};
use core::{
    mem::{
        offset_of,
        size_of, //
    },
    sync::atomic::{
        AtomicU64,
        Ordering, //
    },
};
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

/// Threads of the holder that may wait for the caller's pages at the same time.
const VISITORS: usize = 4;

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
    /// Tells that there is a place for a visitor, or that the gate is shut.
    #[pin]
    changed: CondVar,
    /// What [`Gate::open`] was last, for who doesn't hold the lock.
    open: AtomicU64,
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
    /// The turn at which the holder may come in.
    turn: u32,
    /// Who waits outside for pages of the caller's, as it may have to be told that it waits for
    /// nothing.
    visitors: [Option<Visitor>; VISITORS],
}

struct Visitor {
    task: ARef<Task>,
    sent_away: bool,
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
    /// The ranges that the caller names, of its own memory, let go of at the payer's expense.
    pub(crate) fn capture(
        ask: &uapi::alpc_attr_memory,
        payer: &Arc<Charger>,
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
        let space = Space::new(ARef::from(mm), payer.clone())?;
        let room = charged(size_of::<Self>(), UniqueArc::<Self>::new_uninit)?;
        let memory = room.pin_init_with(try_pin_init!(Self {
            gate <- new_spinlock!(Gate::shut(), "Memory::gate"),
            changed <- new_condvar!("Memory::changed"),
            open: AtomicU64::new(0),
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
        self.open.store(opened, Ordering::Release);
        drop(gate);
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
        if open == 0 {
            return Err(Outcome::MemoryClosed.into());
        }
        let mut found = Pins::new();
        let pins = match kept.as_ref().filter(|kept| kept.open == open) {
            Some(kept) => &kept.pins,
            None => {
                let mm = self.space()?;
                let any = peer::pin(&mm, step.theirs, step.own.len(), step.write, &mut found);
                drop(mm);
                if !any {
                    return Ok(Moved::TheirsMissing);
                }
                &found
            }
        };
        let moved = self.pass(step, pins, open);
        *kept = None;
        moved
    }

    /// Moves the bytes of pages that are held, as long as the gate is open by the same opening.
    fn pass(&self, step: &Step, pins: &Pins, open: u64) -> Result<Moved, Failure> {
        let mut moved = 0_u64;
        // CAST: Less than a page.
        let mut offset = (step.theirs % PAGE_SIZE as u64) as usize;
        for index in 0..pins.count() {
            let own = step.own.part(moved, u64::MAX);
            let Some(page) = pins.begin(index) else {
                return Ok(match moved {
                    0 => Moved::TheirsLocked,
                    _ => Moved::Bytes(moved),
                });
            };
            let gate = self.gate.lock();
            if gate.open != open || gate.turn != step.turn {
                drop(gate);
                return match moved {
                    0 => Err(Outcome::MemoryClosed.into()),
                    _ => Ok(Moved::Bytes(moved)),
                };
            }
            let bytes = page.copy(offset, own);
            drop(gate);
            drop(page);
            moved = moved.saturating_add(bytes);
            let room = PAGE_SIZE.saturating_sub(offset) as u64;
            if bytes < room.min(own.len()) {
                break;
            }
            offset = 0;
        }
        Ok(match moved {
            0 => Moved::OwnMissing,
            _ => Moved::Bytes(moved),
        })
    }

    /// Makes the caller's pages present, or with `keep` the first for the next section alone.
    /// Nothing if that takes time. It may be waited for within, until the gate is shut.
    pub(crate) fn populate(&self, step: &Step, keep: bool) -> Result<Option<Kept>, Failure> {
        let mut gate = self.enter(step.turn)?;
        let place = loop {
            if let Some(place) = gate.visitors.iter().position(Option::is_none) {
                break place;
            }
            let interrupted = self.changed.wait_interruptible(&mut gate);
            let closed = gate.open == 0 || gate.turn != step.turn;
            if interrupted || closed {
                drop(gate);
                // One is woken at a time, by who has been: so nobody wakes all.
                self.changed.notify_one();
                return Err(match interrupted {
                    true => ERESTARTSYS.into(),
                    false => Outcome::MemoryClosed.into(),
                });
            }
        };
        let mut kept = Kept {
            open: gate.open,
            pins: Pins::new(),
        };
        if let Some(visitor) = gate.visitors.get_mut(place) {
            let task: &Task = current!();
            *visitor = Some(Visitor {
                task: ARef::from(task),
                sent_away: false,
            });
        }
        drop(gate);
        let pins = keep.then_some(&mut kept.pins);
        let populated = self.bring_in(step, pins);
        let mut gate = self.gate.lock();
        let visitor = gate.visitors.get_mut(place).and_then(Option::take);
        drop(gate);
        self.changed.notify_one();
        if visitor.is_some_and(|visitor| visitor.sent_away) {
            return Err(Outcome::MemoryClosed.into());
        }
        Ok(populated?.then_some(kept))
    }

    /// Brings the caller's pages in. Gives whether they have come, as far as they can.
    fn bring_in(&self, step: &Step, keep: Option<&mut Pins>) -> Result<bool, Failure> {
        let mm = self.space()?;
        let (theirs, length, write) = (step.theirs, step.own.len(), step.write);
        let populated = peer::populate(&mm, theirs, length, write, keep);
        drop(mm);
        match populated {
            Ok(()) => Ok(true),
            Err(EAGAIN) => Ok(false),
            Err(EINTR) => Err(ERESTARTSYS.into()),
            Err(ENOMEM) => Err(ENOMEM.into()),
            // What else there is to say is the caller's business.
            Err(_) => Err(EFAULT.into()),
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
    /// Nothing: the first page on the other side is to be written to, and is locked.
    TheirsLocked,
}

/// A page for the next section, held so that it can't go. It counts only as long as nobody has
/// shut the gate.
pub(crate) struct Kept {
    /// `Gate::open` of that time.
    open: u64,
    pins: Pins,
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
            turn: 0,
            visitors: [const { None }; VISITORS],
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let memory = &self.memory;
        let mut tasks = [const { None }; VISITORS];
        let mut gate = memory.gate.lock();
        if gate.open == self.opened {
            gate.open = 0;
            memory.open.store(0, Ordering::Relaxed);
            for (visitor, task) in gate.visitors.iter_mut().flatten().zip(&mut tasks) {
                visitor.sent_away = true;
                // It can't leave its call before the lock is released.
                peer::interrupt(&visitor.task);
                *task = Some(visitor.task.clone());
            }
        }
        drop(gate);
        for task in tasks.iter().flatten() {
            peer::wake_interrupted(task);
        }
        memory.changed.notify_one();
    }
}
