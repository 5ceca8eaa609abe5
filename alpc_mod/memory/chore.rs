// SPDX-License-Identifier: GPL-2.0

//! Both sides of an [errand](super::errand): the holder, who wants it and waits for it, and the
//! caller's thread, which does it while it waits for its request.
#![deny(unsafe_code)]

use super::{
    errand::{
        Brought,
        Kept,
        Want,
        What, //
    },
    Locked,
    Memory,
    Step, //
};
use crate::{
    buffer::Buffer,
    outcome::{
        Failure,
        Outcome, //
    },
    peer::{
        self,
        Pins, //
    },
    time::Deadline,
    wait::Chore, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::CondVar, //
};

/// How often the caller's thread brings pages in before it gives up writing to them.
const TRIES: u32 = 4;

/// How an errand has ended, as its holder sees it.
pub(crate) enum Fetched {
    /// Nothing: it is to be tried again a little later.
    Nothing,
    /// The pages are there.
    Kept(Kept),
    /// So many bytes were written, one at least.
    Written(u64),
    /// The pages are there, and the caller's thread couldn't write to them.
    Denied,
    /// Nothing: what is there is to be used in another way. That is how it looks just now.
    Otherwise,
}

impl Memory {
    /// Has the caller's thread bring its pages in, and holds them for the next section. Nothing if
    /// that is to be tried again a little later. Waits for it until a signal, or until the gate is shut.
    pub(crate) fn fetch(&self, step: &Step) -> Result<Fetched, Failure> {
        let what = match step.write {
            true => What::Write,
            false => What::Read,
        };
        self.ask(step, step.own.len(), what, None)
    }

    /// Has the caller's thread write bytes to its own memory, and tells how many it has written.
    /// Waits for it until a signal, or until the gate is shut: nothing is written after that.
    pub(crate) fn write(&self, step: &Step, bytes: Buffer) -> Result<Fetched, Failure> {
        self.ask(step, bytes.len().into(), What::Bytes, Some(bytes))
    }

    /// Has the caller's thread do an errand.
    fn ask(
        &self,
        step: &Step,
        length: u64,
        what: What,
        bytes: Option<Buffer>,
    ) -> Result<Fetched, Failure> {
        let turn = step.turn;
        let want = Want {
            turn,
            theirs: step.theirs,
            length,
            what,
        };
        let mut gate = self.enter(turn)?;
        while !gate.errands.is_free() {
            if let Err(failure) = Self::wait(&self.free, &mut gate, turn) {
                drop(gate);
                self.free.notify_one();
                return Err(failure);
            }
        }
        if gate.errands.rests() {
            drop(gate);
            self.free.notify_one();
            return Ok(Fetched::Nothing);
        }
        gate.errands.want(want, bytes);
        self.call(gate);
        let mut gate = self.gate.lock();
        let mut result = Ok(());
        while result.is_ok() && !gate.errands.is_done() {
            result = Self::wait(&self.done, &mut gate, turn);
        }
        let left = gate.errands.leave();
        if left.abandoned {
            self.unwanted.store(true, Ordering::Release);
        }
        drop(gate);
        self.free.notify_one();
        match left.done {
            _ if left.written != 0 => Ok(Fetched::Written(left.written)),
            None => result.map(|()| Fetched::Nothing),
            Some(Ok(Some(kept))) => Ok(Fetched::Kept(kept)),
            Some(Ok(None)) => Ok(Fetched::Denied),
            Some(Err(EAGAIN)) => Ok(Fetched::Nothing),
            Some(Err(EXDEV)) => Ok(Fetched::Otherwise),
            Some(Err(ENOMEM)) => Err(ENOMEM.into()),
            // What else there is to say is the caller's business.
            Some(Err(_)) => Err(EFAULT.into()),
        }
    }

    /// Waits until something is told, unless the gate is shut.
    fn wait(told: &CondVar, gate: &mut Locked<'_>, turn: u32) -> Result<(), Failure> {
        if gate.open == 0 || gate.turn != turn {
            return Err(Outcome::MemoryClosed.into());
        }
        match told.wait_interruptible(gate) {
            true => Err(ERESTARTSYS.into()),
            false => Ok(()),
        }
    }

    /// Calls the thread that has opened the gate, for the errand that there is.
    fn call(&self, gate: Locked<'_>) {
        self.wanted.store(true, Ordering::Release);
        let opener = gate.opener.clone();
        drop(gate);
        if let Some(opener) = opener {
            peer::wake(&opener);
        }
    }

    /// Does what is wanted, by the caller's thread. `EINTR` if something else is to be done first,
    /// `EXDEV` if it is to be done in the other way.
    fn bring(&self, want: &Want, done: &AtomicBool, deadline: Deadline) -> Brought {
        let ends = (done, &self.unwanted);
        if want.what != What::Bytes {
            let mut pins = Pins::new();
            let write = want.what == What::Write;
            peer::fetch(want.theirs, want.length, write, &mut pins, ends, deadline)?;
            return Ok(Some(pins));
        }
        for _ in 0..TRIES {
            let room = peer::bring_in(want.theirs, want.length, ends, deadline)?;
            if room == 0 {
                return Err(EXDEV);
            }
            if self.spill(want.theirs, room) {
                break;
            }
        }
        Ok(None)
    }

    /// Writes what is wanted to own memory that was there just now, `room` bytes at most, page by
    /// page. False if nothing was written and something is still wanted.
    fn spill(&self, theirs: u64, room: u64) -> bool {
        let mut at = theirs;
        let mut room = room;
        while room != 0 {
            let here = room.min((PAGE_SIZE as u64).wrapping_sub(at % PAGE_SIZE as u64));
            let mut gate = self.gate.lock();
            let Some(rest) = gate.errands.rest(gate.open) else {
                return true;
            };
            // CAST: No more than a page.
            let part = rest.get(..here as usize).unwrap_or(rest);
            let wanted = part.len() as u64;
            let written = peer::write_own(at, part);
            gate.errands.add_written(written);
            drop(gate);
            at = at.wrapping_add(written);
            room = room.saturating_sub(written);
            if written != wanted || wanted == 0 {
                break;
            }
        }
        at != theirs
    }
}

impl Chore for Memory {
    fn is_wanted(&self) -> &AtomicBool {
        &self.wanted
    }

    fn run(&self, done: &AtomicBool, deadline: Deadline) {
        let mut gate = self.gate.lock();
        self.wanted.store(false, Ordering::Relaxed);
        let (turn, open) = (gate.turn, gate.open);
        let Some(want) = gate.errands.begin(turn, open) else {
            return;
        };
        self.unwanted.store(false, Ordering::Relaxed);
        drop(gate);
        let brought = self.bring(&want, done, deadline);
        let mut gate = self.gate.lock();
        if matches!(brought, Err(EINTR)) {
            if gate.errands.put_off() {
                return self.call(gate);
            }
            drop(gate);
            self.free.notify_one();
            return;
        }
        let unwanted = gate.errands.finish(brought);
        drop(gate);
        match unwanted {
            None => self.done.notify_one(),
            Some(_) => self.free.notify_one(),
        }
    }
}
