// SPDX-License-Identifier: GPL-2.0

//! Caller memory: ranges of the caller's own that the holder of its request reads and
//! writes while the caller waits.
//!
//! What the caller has sent is consent, and all there is to it: nothing is asked about
//! the holder's rights over the caller, and none are given.
//!
//! The memory has a *gate*, which is open while a thread of the process that sent the
//! request waits for the conversation. Bytes move in sections, each with the gate's lock
//! held and waiting for nothing that a user can delay. The thread shuts the gate before
//! it returns, so it waits for one section at most, and nothing moves after that.
//! Whatever has to be waited for is waited for outside the gate, and the section is tried
//! again.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        charged,
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    call::Scope,
    charge::Charger,
    logic::engine::Side,
    outcome::{
        Failure,
        Outcome, //
    },
    peer::{
        self,
        Moved,
        Pins,
        SECTION, //
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
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        CondVar,
        Mutex,
        UniqueArc, //
    },
    task::Task, //
};

const READ: u32 = uapi::ALPC_MEMORY_READ;
const WRITE: u32 = uapi::ALPC_MEMORY_WRITE;

/// How often in a row the first byte may be missing. A page of the caller's can't go from the
/// third time on.
const MISSES: u32 = 64;

/// Threads of the holder that may wait for the caller's pages at the same time.
const VISITORS: usize = 4;

/// One range of the caller's. It ends within the addresses of users.
#[derive(Clone, Copy)]
struct Range {
    base: u64,
    length: u64,
    access: u32,
}

/// The ranges of one request.
#[pin_data]
pub(crate) struct Memory {
    #[pin]
    gate: Mutex<Gate>,
    /// Tells that there is a place for a visitor, or that the gate is shut.
    #[pin]
    changed: CondVar,
    /// The `Gate::opened` that somebody wants to end, or 0: no section begins before it.
    shutting: AtomicU64,
    /// Whose memory it is.
    #[pin]
    space: Space,
    ranges: KVec<Range>,
}

struct Gate {
    open: bool,
    /// The turn at which the holder may come in.
    turn: u32,
    /// Tells apart who has opened it.
    opened: u64,
    /// Who waits outside for pages of the caller's, as it may have to be told that it waits for
    /// nothing.
    visitors: [Option<Visitor>; VISITORS],
}

struct Visitor {
    task: ARef<Task>,
    sent_away: bool,
}

type Locked<'a> = Guard<'a, Gate, MutexBackend>;

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
            gate <- new_mutex!(Gate::shut(), "Memory::gate"),
            changed <- new_condvar!("Memory::changed"),
            shutting: AtomicU64::new(0),
            space <- space,
            ranges,
        }? Error))?;
        Ok(memory.into())
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
        if !own || (gate.open && !take_over) {
            return None;
        }
        gate.open = true;
        gate.turn = turn;
        gate.opened = gate.opened.wrapping_add(1);
        let opened = gate.opened;
        drop(gate);
        Some(Opening {
            memory: self.clone(),
            opened,
        })
    }

    /// The gate, if it is open to the holder at `turn`.
    fn enter(&self, turn: u32) -> Result<Locked<'_>, Failure> {
        let gate = self.gate.lock();
        let shutting = self.shutting.load(Ordering::Relaxed) == gate.opened;
        match gate.open && gate.turn == turn && !shutting {
            true => Ok(gate),
            false => Err(Outcome::MemoryClosed.into()),
        }
    }

    /// The memory, whose gate is open: the thread that waits there keeps it in use.
    fn space(&self, _gate: &Locked<'_>) -> Result<HeldSpace<'_>, Failure> {
        self.space.hold().ok_or(Outcome::MemoryClosed.into())
    }

    /// Moves what is there, or what is `kept`, if the gate has not been shut since. Nothing is kept
    /// any more then.
    fn section(&self, step: &Step, kept: &mut Option<Kept>) -> Result<Moved, Failure> {
        // What is not used, and what is left, is dropped last, as it may have to wait.
        let mut pins = Pins::new();
        let gate = self.enter(step.turn)?;
        let mm = self.space(&gate)?;
        let current = kept
            .as_mut()
            .filter(|kept| kept.opened == gate.opened)
            .map_or(&mut pins, |kept| &mut kept.pins);
        let moved = peer::section(&mm, step.theirs, step.own, step.length, step.write, current);
        drop(mm);
        drop(gate);
        *kept = None;
        Ok(moved)
    }

    /// Makes the caller's pages present, which may take any time, or with `keep` the first for the
    /// next section alone. Shutting the gate ends it.
    fn populate(&self, step: &Step, keep: bool) -> Result<Kept, Failure> {
        let mut gate = self.enter(step.turn)?;
        let place = loop {
            if let Some(place) = gate.visitors.iter().position(Option::is_none) {
                break place;
            }
            if self.changed.wait_interruptible(&mut gate) {
                return Err(ERESTARTSYS.into());
            }
            if !gate.open || gate.turn != step.turn {
                return Err(Outcome::MemoryClosed.into());
            }
        };
        let mut kept = Kept {
            opened: gate.opened,
            pins: Pins::new(),
        };
        // In use from here on only, not while waiting for a place.
        let mm = self.space(&gate)?;
        if let Some(visitor) = gate.visitors.get_mut(place) {
            let task: &Task = current!();
            *visitor = Some(Visitor {
                task: ARef::from(task),
                sent_away: false,
            });
        }
        drop(gate);
        let pins = keep.then_some(&mut kept.pins);
        let populated = peer::populate(&mm, step.theirs, step.length, step.write, pins);
        drop(mm);
        let mut gate = self.gate.lock();
        let visitor = gate.visitors.get_mut(place).and_then(Option::take);
        drop(gate);
        self.changed.notify_all();
        if visitor.is_some_and(|visitor| visitor.sent_away) {
            return Err(Outcome::MemoryClosed.into());
        }
        match populated {
            Ok(()) => Ok(kept),
            Err(EINTR) => Err(ERESTARTSYS.into()),
            Err(ENOMEM) => Err(ENOMEM.into()),
            // What else there is to say is the caller's business.
            Err(_) => Err(EFAULT.into()),
        }
    }

    /// Does what the holder asks for, and counts the bytes in `done`.
    fn transfer(&self, arg: &uapi::alpc_memory, done: &mut Option<u64>) -> Result<(), Failure> {
        // CAST: An index that does not fit is none.
        let range = self.ranges.get(arg.index as usize).ok_or(EINVAL)?;
        let end = arg.offset.checked_add(arg.length).ok_or(EINVAL)?;
        if end > range.length {
            return Err(EINVAL.into());
        }
        if range.access & arg.flags == 0 {
            return Err(EACCES.into());
        }
        if !peer::is_user_range(arg.data, arg.length) {
            return Err(EFAULT.into());
        }
        let moved = done.insert(0);
        let mut misses = 0_u32;
        let mut kept = None;
        while *moved < arg.length {
            // Nothing has been waited for the first time.
            if (*moved != 0 || misses != 0) && current!().signal_pending() {
                return Err(ERESTARTSYS.into());
            }
            // None of these sums exceeds the ends that were checked above.
            let theirs = range.base.wrapping_add(arg.offset).wrapping_add(*moved);
            // Who fails again and again tries with as little as possible.
            let most = match misses {
                0 | 1 => SECTION,
                _ => PAGE_SIZE as u64,
            };
            let room = most.saturating_sub(theirs % PAGE_SIZE as u64);
            let step = Step {
                turn: arg.callback_id,
                theirs,
                own: arg.data.wrapping_add(*moved),
                length: arg.length.saturating_sub(*moved).min(room),
                write: arg.flags == WRITE,
            };
            match self.section(&step, &mut kept)? {
                Moved::Bytes(bytes) => {
                    *moved = moved.saturating_add(bytes).min(arg.length);
                    misses = 0;
                    continue;
                }
                Moved::OwnMissing => peer::fault_in(step.own, step.length, !step.write)?,
                Moved::TheirsMissing => kept = Some(self.populate(&step, misses > 1)?),
            }
            misses = misses.saturating_add(1);
            if misses > MISSES {
                return Err(EAGAIN.into());
            }
        }
        Ok(())
    }
}

/// A page for the next section, held so that it can't go. It counts only as long as nobody has
/// shut the gate.
struct Kept {
    /// `Gate::opened` of that time.
    opened: u64,
    pins: Pins,
}

/// What a section is to do.
struct Step {
    turn: u32,
    theirs: u64,
    own: u64,
    length: u64,
    write: bool,
}

impl Gate {
    const fn shut() -> Self {
        Self {
            open: false,
            turn: 0,
            opened: 0,
            visitors: [const { None }; VISITORS],
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let memory = &self.memory;
        memory.shutting.store(self.opened, Ordering::Relaxed);
        let mut gate = memory.gate.lock();
        if gate.opened == self.opened {
            gate.open = false;
            for visitor in gate.visitors.iter_mut().flatten() {
                visitor.sent_away = true;
                peer::interrupt(&visitor.task);
            }
        }
        memory.shutting.store(0, Ordering::Relaxed);
        drop(gate);
        memory.changed.notify_all();
    }
}

/// Answers `ALPC_IOC_MEMORY`.
pub(crate) fn memory_request(scope: Scope<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_memory>();
    let arg: uapi::alpc_memory = copy_struct_in(size, addr, FIRST)?;
    let mut done = None;
    let result = try_memory(scope, &arg, &mut done);
    let outcome = match &result {
        Ok(()) => Some(uapi::ALPC_OUTCOME_OK),
        Err(failure) => failure.outcome(),
    };
    let mut written = Ok(());
    if outcome.is_some() || done.is_some() {
        let answer = uapi::alpc_memory {
            outcome: outcome.unwrap_or(arg.outcome),
            done: done.unwrap_or(0),
            ..arg
        };
        let at = offset_of!(uapi::alpc_memory, outcome);
        written = copy_range_out(size, addr, &answer, at..FIRST);
    }
    match result {
        Ok(()) => written.map(|()| 0),
        // Made again, it would begin anew.
        Err(failure) => match (failure.errno(), done) {
            (ERESTARTSYS, Some(1..)) => Err(EINTR),
            (errno, _) => Err(errno),
        },
    }
}

fn try_memory(
    scope: Scope<'_>,
    arg: &uapi::alpc_memory,
    done: &mut Option<u64>,
) -> Result<(), Failure> {
    if arg.flags != READ && arg.flags != WRITE {
        return Err(EINVAL.into());
    }
    let (conn, side): (_, Side) = (scope.conn(), scope.side());
    let found = scope
        .port
        .lock()
        .held_body(conn, side, arg.id, arg.callback_id);
    let body = found?;
    let memory = body.cargo.memory().ok_or(EINVAL)?;
    memory.transfer(arg, done)
}
