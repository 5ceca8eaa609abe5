// SPDX-License-Identifier: GPL-2.0

//! The errand of a thread that waits for its request: what the holder of the request wants of
//! caller memory and the thread alone may do.
//!
//! There are two. To *bring in* pages that are not there, and hold them for the holder. And to
//! *write* the holder's bytes to a mapping of a stored file. Page tables tell the file system what a
//! process has written to its own mapping, so nothing is lost when the file is written back in the
//! same moment; a page that another process wrote to would have to be marked, too late or in vain.
//!
//! This is what the two sides know of the errand. Both look at it with the gate's lock held. The
//! bytes stay here, so the holder has them back when it leaves, however long the thread is away.
#![deny(unsafe_code)]

use crate::{
    buffer::Buffer,
    peer::Pins, //
};
use core::mem::take;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// For how long the thread does no errand after one that was in vain, or for what had been brought
/// in before, so that a holder that asks for what can't be doesn't keep it at work.
const REST: Delta = Delta::from_millis(1);

/// One errand: what the holder wants of which memory.
#[derive(Clone, Copy)]
pub(crate) struct Want {
    /// At which turn.
    pub(crate) turn: u32,
    /// The first address.
    pub(crate) theirs: u64,
    pub(crate) length: u64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// To hold pages that are to be read.
    Read,
    /// To hold pages that are to be written to.
    Write,
    /// To write bytes.
    Bytes,
}

/// Pages for the next section, held so that they can't go. They count only as long as nobody has
/// shut the gate.
pub(crate) struct Kept {
    /// `Gate::open` of the time when the thread began.
    pub(crate) open: u64,
    pub(crate) pins: Pins,
}

/// How an errand ended: with pages, if some were to be held.
pub(crate) type Brought = Result<Option<Pins>>;

/// How far it is.
#[derive(Default)]
enum State {
    /// There is none.
    #[default]
    None,
    /// Nobody has begun.
    Wanted(Want),
    /// The thread does it.
    Begun(Want),
    /// The thread does it, and nobody wants it any more.
    Abandoned,
    /// It is done.
    Done(Brought),
}

/// How far an errand was when the holder left it. To be dropped with no lock held.
pub(crate) struct Left {
    /// How it ended, if it did.
    pub(crate) done: Option<Result<Option<Kept>>>,
    /// The thread has begun, and nobody wants it any more.
    pub(crate) abandoned: bool,
    /// How many bytes were written.
    pub(crate) written: u64,
    _bytes: Option<Buffer>,
}

/// The errands of one caller memory. One thread of the holder's at a time wants something, and all
/// but [`State::Abandoned`] is over when it has left.
pub(crate) struct Errands {
    state: State,
    /// `Gate::open` of the time when the thread began.
    open: u64,
    /// The bytes that are to be written.
    bytes: Option<Buffer>,
    /// How many of them have been.
    written: u64,
    /// When one was last in vain, or for what the one before it had brought.
    vain: Option<Instant<Monotonic>>,
    /// The page that was brought in last.
    last: u64,
}

impl Errands {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            state: State::None,
            open: 0,
            bytes: None,
            written: 0,
            vain: None,
            last: 0,
        }
    }

    /// Whether there is none, not even one that nobody wants.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.state, State::None)
    }

    /// Whether it is done, and the holder doesn't know yet.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Whether the thread is to have a rest.
    pub(crate) fn rests(&self) -> bool {
        self.vain.is_some_and(|vain| vain.elapsed() < REST)
    }

    /// The holder wants something. There is none before.
    pub(crate) fn want(&mut self, want: Want, bytes: Option<Buffer>) {
        self.state = State::Wanted(want);
        self.bytes = bytes;
        self.written = 0;
    }

    /// The thread begins, with the gate open like that. Nothing if it was called in vain.
    pub(crate) fn begin(&mut self, turn: u32, open: u64) -> Option<Want> {
        match self.state {
            State::Wanted(want) if want.turn == turn => {
                self.state = State::Begun(want);
                self.open = open;
                Some(want)
            }
            _ => {
                self.vain = Some(Instant::now());
                None
            }
        }
    }

    /// What is still to be written, of what the thread has begun with the gate open like that.
    pub(crate) fn rest(&self, open: u64) -> Option<&[u8]> {
        // CAST: No more than there were bytes.
        let written = self.written as usize;
        match self.state {
            State::Begun(_) if self.open == open => self.bytes.as_ref()?.bytes().get(written..),
            _ => None,
        }
    }

    /// The thread has written so many bytes more.
    pub(crate) fn add_written(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
    }

    /// The thread has something else to do, and takes up what it had begun later. False if nobody
    /// wants it any more.
    pub(crate) fn put_off(&mut self) -> bool {
        self.vain = Some(Instant::now());
        match self.state {
            State::Begun(want) => self.state = State::Wanted(want),
            _ => {
                self.state = State::None;
                return false;
            }
        }
        true
    }

    /// The thread is done. Gives what it has brought back if nobody wants it any more.
    pub(crate) fn finish(&mut self, brought: Brought) -> Option<Brought> {
        let State::Begun(want) = self.state else {
            self.vain = Some(Instant::now());
            self.state = State::None;
            return Some(brought);
        };
        let in_vain = match (&brought, want.what) {
            (_, What::Bytes) => self.written == 0,
            (Ok(_), _) => {
                let page = want.theirs / PAGE_SIZE as u64;
                core::mem::replace(&mut self.last, page) == page
            }
            // It is there, and asked for once more in another way.
            (Err(error), _) => *error != EXDEV,
        };
        if in_vain {
            self.vain = Some(Instant::now());
        }
        self.state = State::Done(brought);
        None
    }

    /// The holder leaves. Who has begun may go on, but writes nothing more.
    pub(crate) fn leave(&mut self) -> Left {
        let open = self.open;
        let state = take(&mut self.state);
        let abandoned = matches!(state, State::Begun(_));
        if abandoned {
            self.state = State::Abandoned;
        }
        Left {
            done: match state {
                State::Done(brought) => {
                    Some(brought.map(|pins| pins.map(|pins| Kept { open, pins })))
                }
                _ => None,
            },
            abandoned,
            written: self.written,
            _bytes: self.bytes.take(),
        }
    }
}
