// SPDX-License-Identifier: GPL-2.0

//! Both sides of an [errand](super::errand): the holder, who wants it and waits for it, and the
//! caller's thread, which does it while it waits for its request.
#![deny(unsafe_code)]

use super::{
    errand::{
        Kept,
        State,
        Want, //
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

/// What an errand has come to.
pub(crate) enum Fetched {
    /// Nothing: it is to be tried again a little later.
    Nothing,
    /// The pages are there.
    Kept(Kept),
    /// So many bytes were written, one at least.
    Written(u64),
    /// The pages are there, and the caller's thread couldn't write to them.
    Denied,
    /// The pages are of a file, and can't be held to be written to.
    OfFile,
}

impl Memory {
    /// Has the caller's thread bring its pages in, and holds them for the next section. Nothing if
    /// that is to be tried again a little later. Waits for it until a signal, or until the gate is shut.
    pub(crate) fn fetch(&self, step: &Step) -> Result<Fetched, Failure> {
        self.ask(
            step.turn,
            Want {
                theirs: step.theirs,
                length: step.own.len(),
                write: step.write,
                bytes: None,
            },
        )
    }

    /// Has the caller's thread write bytes to its own memory, and tells how many it has written.
    /// Waits for it until a signal, or until the gate is shut: nothing is written after that.
    pub(crate) fn write(&self, step: &Step, bytes: Buffer) -> Result<Fetched, Failure> {
        self.ask(
            step.turn,
            Want {
                theirs: step.theirs,
                length: bytes.len().into(),
                write: true,
                bytes: Some(bytes),
            },
        )
    }

    /// Has the caller's thread do an errand.
    fn ask(&self, turn: u32, want: Want) -> Result<Fetched, Failure> {
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
        gate.errands.want(want);
        self.call(gate);
        let mut gate = self.gate.lock();
        let mut result = Ok(());
        while result.is_ok() && !gate.errands.is_done() {
            result = Self::wait(&self.done, &mut gate, turn);
        }
        let (state, written) = gate.errands.leave();
        if matches!(state, State::Begun) {
            self.unwanted.store(true, Ordering::Release);
        }
        drop(gate);
        self.free.notify_one();
        match (state, result) {
            (_, _) if written != 0 => Ok(Fetched::Written(written)),
            (State::Done(Ok(Some(kept))), _) => Ok(Fetched::Kept(kept)),
            (State::Done(Ok(None)), _) => Ok(Fetched::Denied),
            (State::Done(Err(EAGAIN)), _) => Ok(Fetched::Nothing),
            (State::Done(Err(EXDEV)), _) => Ok(Fetched::OfFile),
            (State::Done(Err(ENOMEM)), _) => Err(ENOMEM.into()),
            // What else there is to say is the caller's business.
            (State::Done(Err(_)), _) => Err(EFAULT.into()),
            (_, result) => result.map(|()| Fetched::Nothing),
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

    /// Does what is wanted, by the caller's thread. `EINTR` if something else is to be done first.
    fn bring(&self, want: &Want, done: &AtomicBool, deadline: Deadline) -> Result<Option<Pins>> {
        let ends = (done, &self.unwanted);
        let Some(bytes) = &want.bytes else {
            let mut pins = Pins::new();
            peer::fetch(
                want.theirs,
                want.length,
                want.write,
                &mut pins,
                ends,
                deadline,
            )?;
            return Ok(Some(pins));
        };
        for _ in 0..TRIES {
            peer::bring_in(want.theirs, want.length, ends, deadline)?;
            if !self.spill(want.theirs, bytes) {
                break;
            }
        }
        Ok(None)
    }

    /// Writes bytes to own memory that was there just now, page by page, as long as they are wanted.
    /// Gives whether that is to be tried again, as nothing was written.
    fn spill(&self, theirs: u64, bytes: &Buffer) -> bool {
        let mut rest = bytes.bytes();
        let mut at = theirs;
        while !rest.is_empty() {
            // CAST: Less than a page.
            let offset = (at % PAGE_SIZE as u64) as usize;
            let (part, more) = rest.split_at(rest.len().min(PAGE_SIZE.saturating_sub(offset)));
            let mut gate = self.gate.lock();
            if !gate.errands.is_begun() {
                return false;
            }
            let written = peer::write_own(at, part);
            gate.errands.add_written(written);
            drop(gate);
            if written != part.len() as u64 {
                return at == theirs && written == 0;
            }
            at = at.wrapping_add(written);
            rest = more;
        }
        false
    }
}

impl Chore for Memory {
    fn is_wanted(&self) -> &AtomicBool {
        &self.wanted
    }

    fn run(&self, done: &AtomicBool, deadline: Deadline) {
        let mut gate = self.gate.lock();
        self.wanted.store(false, Ordering::Relaxed);
        let Some(want) = gate.errands.begin() else {
            return;
        };
        self.unwanted.store(false, Ordering::Relaxed);
        drop(gate);
        let brought = self.bring(&want, done, deadline);
        let mut gate = self.gate.lock();
        if matches!(brought, Err(EINTR)) {
            let unwanted = gate.errands.put_off(want);
            match unwanted {
                None => self.call(gate),
                Some(_) => {
                    drop(gate);
                    self.free.notify_one();
                }
            }
            return;
        }
        let open = gate.open;
        let brought = brought.map(|pins| pins.map(|pins| Kept { open, pins }));
        let unwanted = gate.errands.finish(&want, brought);
        drop(gate);
        match unwanted {
            None => self.done.notify_one(),
            Some(_) => self.free.notify_one(),
        }
    }
}
