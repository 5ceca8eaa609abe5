// SPDX-License-Identifier: GPL-2.0

//! The errand of a thread that waits for its request: what the holder of the request wants of
//! caller memory and the thread alone may do.
//!
//! There are two. To *bring in* pages that are not there, and hold them for the holder. And to
//! *write* the holder's bytes to a mapping of a stored file. Page tables tell the file system what a
//! process has written to its own mapping, so nothing is lost when the file is written back in the
//! same moment; a page that another process wrote to would have to be marked, too late or in vain.
//!
//! This is what the two sides know of the errand. Both look at it with the gate's lock held.
#![deny(unsafe_code)]

use crate::{
    buffer::Buffer,
    peer::Pins, //
};
use core::mem::take;
use kernel::{
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

/// What the holder wants.
pub(crate) struct Want {
    /// The first address.
    pub(crate) theirs: u64,
    pub(crate) length: u64,
    /// Whether the memory is to be written to.
    pub(crate) write: bool,
    /// The bytes to be written, `length` of them. If there are none, the pages are to be held.
    pub(crate) bytes: Option<Buffer>,
}

/// Pages for the next section, held so that they can't go. They count only as long as nobody has
/// shut the gate.
pub(crate) struct Kept {
    /// `Gate::open` of that time.
    pub(crate) open: u64,
    pub(crate) pins: Pins,
}

/// How an errand ended: with pages, if some were to be held.
pub(crate) type Brought = Result<Option<Kept>>;

/// How far it is.
#[derive(Default)]
pub(crate) enum State {
    /// There is none.
    #[default]
    None,
    /// Nobody has begun.
    Wanted(Want),
    /// The thread does it.
    Begun,
    /// The thread does it, and nobody wants it any more.
    Abandoned,
    /// It is done.
    Done(Brought),
}

/// The errands of one caller memory. One thread of the holder's at a time wants something, and all
/// but [`State::Abandoned`] is over when it has left.
pub(crate) struct Errands {
    state: State,
    /// How many bytes this one has written.
    written: u64,
    /// When one was last in vain, or for what the one before it had brought.
    vain: Option<Instant<Monotonic>>,
    /// The first address of the pages that were brought in last.
    last: u64,
}

impl Errands {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            state: State::None,
            written: 0,
            vain: None,
            last: 0,
        }
    }

    /// Whether there is none, not even one that nobody wants.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.state, State::None)
    }

    /// Whether the thread does it, and the holder wants it.
    pub(crate) fn is_begun(&self) -> bool {
        matches!(self.state, State::Begun)
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
    pub(crate) fn want(&mut self, want: Want) {
        self.state = State::Wanted(want);
        self.written = 0;
    }

    /// The thread begins. Nothing if it was called in vain.
    pub(crate) fn begin(&mut self) -> Option<Want> {
        match take(&mut self.state) {
            State::Wanted(want) => {
                self.state = State::Begun;
                Some(want)
            }
            other => {
                self.state = other;
                self.vain = Some(Instant::now());
                None
            }
        }
    }

    /// The thread has written so many bytes more.
    pub(crate) fn add_written(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
    }

    /// The thread has something else to do, and takes up what it had begun later. Gives that back
    /// if nobody wants it any more.
    pub(crate) fn put_off(&mut self, want: Want) -> Option<Want> {
        self.vain = Some(Instant::now());
        if !self.is_begun() {
            self.state = State::None;
            return Some(want);
        }
        self.state = State::Wanted(want);
        None
    }

    /// The thread is done with `want`. Gives what it has brought back if nobody wants it any more.
    pub(crate) fn finish(&mut self, want: &Want, brought: Brought) -> Option<Brought> {
        let wanted = self.is_begun();
        let again = want.bytes.is_none() && want.theirs == self.last;
        if want.bytes.is_none() {
            self.last = want.theirs;
        }
        // What is of a file is asked for once more in another way.
        let in_vain = !matches!(brought, Ok(_) | Err(EXDEV));
        if !wanted || again || in_vain {
            self.vain = Some(Instant::now());
        }
        match wanted {
            true => self.state = State::Done(brought),
            false => {
                self.state = State::None;
                return Some(brought);
            }
        }
        None
    }

    /// The holder leaves, with how far it is and how many bytes it has written. Who has begun may
    /// go on, but writes nothing more.
    pub(crate) fn leave(&mut self) -> (State, u64) {
        let state = take(&mut self.state);
        if matches!(state, State::Begun) {
            self.state = State::Abandoned;
        }
        (state, self.written)
    }
}
