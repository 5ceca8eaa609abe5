// SPDX-License-Identifier: GPL-2.0

//! `ALPC_IOC_MEMORY`: what the holder of a request asks for of its caller's memory, section
//! by section.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        copy_range_out,
        copy_struct_in,
        Buffer, //
    },
    call::Scope,
    logic::engine::Side,
    memory::{
        Fetched,
        Memory,
        Moved,
        Step, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    peer::{
        self,
        Own,
        SECTION, //
    },
    time::Deadline,
    uapi, //
};
use core::mem::offset_of;
use kernel::{
    current,
    page::PAGE_SIZE,
    prelude::*, //
};

const READ: u32 = uapi::ALPC_MEMORY_READ;
const WRITE: u32 = uapi::ALPC_MEMORY_WRITE;
const NOWAIT: u32 = uapi::ALPC_MEMORY_NOWAIT;

/// How often in a row the first byte may be missing on this side.
const MISSES: u32 = 64;

/// The most bytes that the caller's thread writes in one errand.
const ERRAND: u64 = 32 << 10;

/// How often in a row the caller's thread may fail to write to what is there.
const DENIALS: u32 = 8;

/// How often a page that can't be written to is tried again before its owner is asked for it.
const BUSY: u32 = 3;

/// What is done where something of the caller's is to be waited for.
#[derive(Clone, Copy)]
enum Wait {
    Not,
    Until(Deadline),
}

impl Wait {
    fn new(arg: &uapi::alpc_memory) -> Result<Self> {
        if arg.timeout_flags & !uapi::ALPC_TIMEOUT_MASK != 0 || arg.reserved != 0 {
            return Err(EINVAL);
        }
        let deadline = Deadline::new(arg.timeout_flags, arg.timeout)?;
        match (arg.flags & NOWAIT != 0, deadline) {
            (false, deadline) => Ok(Self::Until(deadline)),
            (true, Deadline::Never) => Ok(Self::Not),
            (true, _) => Err(EINVAL),
        }
    }

    /// Until when it is waited for, if it is at all.
    fn until(self) -> Result<Deadline, Failure> {
        match self {
            Self::Not => Err(EAGAIN.into()),
            Self::Until(deadline) if deadline.has_passed() => Err(Outcome::TimedOut.into()),
            Self::Until(deadline) => Ok(deadline),
        }
    }

    /// Until when it is waited for that the caller's thread writes, which nobody else can.
    fn until_written(self) -> Result<Deadline, Failure> {
        match self {
            Self::Not => Err(EOPNOTSUPP.into()),
            wait => wait.until(),
        }
    }
}

/// Answers `ALPC_IOC_MEMORY`.
pub(crate) fn memory_request(scope: Scope<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = offset_of!(uapi::alpc_memory, timeout);
    let arg: uapi::alpc_memory = copy_struct_in(size, addr, FIRST)?;
    let wait = Wait::new(&arg)?;
    let mut done = None;
    let result = try_memory(scope, &arg, wait, &mut done);
    let outcome = match &result {
        Ok(()) => Some(uapi::ALPC_OUTCOME_OK),
        Err(failure) => failure.outcome(),
    };
    let mut answer = uapi::alpc_memory {
        outcome: outcome.unwrap_or(arg.outcome),
        done: done.unwrap_or(0),
        ..arg
    };
    let mut written = Ok(());
    if outcome.is_some() || done.is_some() {
        let at = offset_of!(uapi::alpc_memory, outcome);
        written = copy_range_out(size, addr, &answer, at..FIRST);
    }
    let Err(failure) = result else {
        return written.map(|()| 0);
    };
    let errno = failure.errno();
    if errno != ERESTARTSYS {
        return Err(errno);
    }
    // The call may be made again, by the kernel or the holder: the time does not begin anew.
    if let Wait::Until(deadline @ Deadline::At { .. }) = wait {
        (answer.timeout_flags, answer.timeout) = deadline.absolute();
        let end = offset_of!(uapi::alpc_memory, reserved);
        copy_range_out(size, addr, &answer, FIRST..end)?;
    }
    // Made again by the kernel, it would begin anew.
    Err(match done {
        Some(1..) => EINTR,
        _ => ERESTARTSYS,
    })
}

fn try_memory(
    scope: Scope<'_>,
    arg: &uapi::alpc_memory,
    wait: Wait,
    done: &mut Option<u64>,
) -> Result<(), Failure> {
    let direction = arg.flags & !NOWAIT;
    if direction != READ && direction != WRITE {
        return Err(EINVAL.into());
    }
    let (conn, side): (_, Side) = (scope.conn(), scope.side());
    let found = scope
        .port
        .lock()
        .held_body(conn, side, arg.id, arg.callback_id);
    let body = found?;
    let memory = body.cargo.memory().ok_or(EINVAL)?;
    transfer(memory, arg, wait, done)
}

/// Does what the holder asks for, and counts the bytes in `done`.
fn transfer(
    memory: &Memory,
    arg: &uapi::alpc_memory,
    wait: Wait,
    done: &mut Option<u64>,
) -> Result<(), Failure> {
    let range = memory.range(arg.index).ok_or(EINVAL)?;
    let end = arg.offset.checked_add(arg.length).ok_or(EINVAL)?;
    if end > range.length {
        return Err(EINVAL.into());
    }
    if range.access & arg.flags & (READ | WRITE) == 0 {
        return Err(EACCES.into());
    }
    let own = Own::new(arg.data, arg.length).ok_or(EFAULT)?;
    let moved = done.insert(0);
    let mut tries = Tries::default();
    let mut kept = None;
    // Nothing has been waited for the first time.
    let mut begun = false;
    while *moved < arg.length {
        if begun && !tries.late && current!().signal_pending() {
            return Err(ERESTARTSYS.into());
        }
        begun = true;
        // None of these sums exceeds the ends that were checked above.
        let theirs = range.base.wrapping_add(arg.offset).wrapping_add(*moved);
        let room = tries.most().saturating_sub(theirs % PAGE_SIZE as u64);
        let step = Step {
            turn: arg.callback_id,
            theirs,
            own: own.part(*moved, room),
            write: arg.flags & WRITE != 0,
        };
        let bytes = match memory.section(&step, &mut kept)? {
            Moved::Bytes(bytes) => bytes,
            missing => match tries.go_on(missing, memory, &step, wait)? {
                Fetched::Written(bytes) => bytes,
                Fetched::Kept(pages) => {
                    kept = Some(pages);
                    continue;
                }
                _ => continue,
            },
        };
        *moved = moved.saturating_add(bytes).min(arg.length);
        if tries.late && *moved < arg.length {
            return Err(Outcome::TimedOut.into());
        }
        (tries.misses, tries.denied) = (0, 0);
    }
    Ok(())
}

/// How it has gone where nothing could be moved.
#[derive(Default)]
struct Tries {
    /// How often in a row the first byte was missing on this side.
    misses: u32,
    /// How often in a row the first page couldn't be written to.
    busy: u32,
    /// The alarm has rung, and left what looks like a signal: what has come is moved, and no more.
    late: bool,
    /// How often the caller's thread couldn't write to its own memory.
    denied: u32,
}

impl Tries {
    /// The most to be moved in one section. Who fails again and again tries with as little as
    /// possible.
    #[inline]
    fn most(&self) -> u64 {
        match self.misses {
            0 | 1 => SECTION,
            _ => PAGE_SIZE as u64,
        }
    }

    /// Sees to it that there is more the next time, or moves some in another way.
    #[inline(never)]
    fn go_on(
        &mut self,
        missing: Moved,
        memory: &Memory,
        step: &Step,
        wait: Wait,
    ) -> Result<Fetched, Failure> {
        match missing {
            Moved::OwnMissing | Moved::Bytes(_) => {
                peer::fault_in(step.own, !step.write)?;
                self.misses = self.misses.saturating_add(1);
                match self.misses > MISSES {
                    true => Err(EAGAIN.into()),
                    false => Ok(Fetched::Nothing),
                }
            }
            Moved::TheirsBusy if self.busy < BUSY => {
                wait.until()?;
                self.busy = self.busy.saturating_add(1);
                peer::pause();
                Ok(Fetched::Nothing)
            }
            Moved::TheirsBusy | Moved::TheirsMissing => {
                self.busy = 0;
                self.ask(wait.until()?, || memory.fetch(step))
            }
            Moved::TheirsOfFile => {
                let deadline = wait.until_written()?;
                let bytes = own_bytes(step.own)?;
                self.ask(deadline, || memory.write(step, bytes))
            }
        }
    }

    /// Waits for an errand of the caller's.
    fn ask(
        &mut self,
        deadline: Deadline,
        errand: impl FnOnce() -> Result<Fetched, Failure>,
    ) -> Result<Fetched, Failure> {
        let (fetched, rung) = peer::until(deadline, errand);
        self.late = rung;
        let fetched = match fetched {
            Err(failure) if rung && failure.errno() == ERESTARTSYS => Fetched::Nothing,
            fetched => fetched?,
        };
        match fetched {
            Fetched::Denied if self.denied >= DENIALS => return Err(EFAULT.into()),
            Fetched::Denied => self.denied = self.denied.saturating_add(1),
            Fetched::Nothing => {}
            _ => return Ok(fetched),
        }
        if !rung {
            peer::pause();
        }
        Ok(fetched)
    }
}

/// What is to be written to the caller's memory by its own thread, as much as one errand takes.
fn own_bytes(own: Own) -> Result<Buffer> {
    let mut bytes = Buffer::new();
    // CAST: No more than the section.
    let length = own.len().min(ERRAND) as u32;
    if bytes.read_user(own.start(), length) == Err(EFAULT) {
        // What is in front of a page that isn't there counts.
        let room = (PAGE_SIZE as u64).wrapping_sub(own.start() % PAGE_SIZE as u64);
        bytes.read_user(own.start(), length.min(room as u32))?;
    }
    Ok(bytes)
}
