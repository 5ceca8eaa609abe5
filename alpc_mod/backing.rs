// SPDX-License-Identifier: GPL-2.0

//! The backing of a view: its pages, and to whom they are lent.
//!
//! The owner's slot, each loan and each borrower's slot share one backing. To whom it is lent is all
//! of a view that two users change, so it stands here, under a spinlock of its own, and not under
//! the lock of either side's arena: who gives a view back never waits for its owner.
#![deny(unsafe_code)]

use crate::{
    pages::Pages,
    quota::Counter,
    shared::shared_pinned, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// Pages of a view, and to whom they are lent.
#[pin_data]
pub(crate) struct Backing {
    pages: Pages,
    /// The views of the owner's section that are lent.
    views_lent: Arc<Counter>,
    /// The owner has no access. Written under the lock, read without by who keeps it from being
    /// set: it is cleared once all that comes before is done.
    closed: AtomicBool,
    #[pin]
    lending: SpinLock<Lending>,
}

/// To whom a view is lent. It is counted as lent while there are loans and the owner has it.
struct Lending {
    /// Loans that have not ended.
    loans: u32,
    /// The owner has the view, in a slot of its section.
    owned: bool,
}

impl Backing {
    /// The backing of a new view, which `views_lent` counts while it is lent.
    pub(crate) fn new(pages: Pages, views_lent: &Arc<Counter>) -> Result<Arc<Self>> {
        shared_pinned(pin_init!(Self {
            pages,
            views_lent: views_lent.clone(),
            closed: AtomicBool::new(false),
            lending <- new_spinlock!(Lending {
                loans: 0,
                owned: true,
            }, "Backing::lending"),
        }))
    }

    /// The pages.
    #[inline]
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Whether the owner has access. It stays so under the lock of the owner's arena.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Acquire)
    }

    /// Whether the view is lent.
    pub(crate) fn is_lent(&self) -> bool {
        self.lending.lock().loans != 0
    }

    /// Begins a loan, and closes the view to its owner if the loan is exclusive. It is open: nobody
    /// closes it but who has the lock of the owner's arena.
    pub(crate) fn lend(&self, exclusive: bool) {
        let mut lending = self.lending.lock();
        if lending.owned && lending.loans == 0 {
            self.views_lent.add_one();
        }
        lending.loans = lending.loans.saturating_add(1);
        if exclusive {
            self.closed.store(true, Relaxed);
        }
    }

    /// Ends a loan that was begun and has not ended. An `exclusive` one leaves the view open to its
    /// owner.
    pub(crate) fn end_loan(&self, exclusive: bool) {
        let mut lending = self.lending.lock();
        lending.loans = lending.loans.saturating_sub(1);
        if lending.owned && lending.loans == 0 {
            self.views_lent.take_one_off();
        }
        if exclusive {
            self.closed.store(false, Release);
        }
    }

    /// Says whether the owner has the view, or has deleted it.
    pub(crate) fn set_owned(&self, owned: bool) {
        let mut lending = self.lending.lock();
        if lending.loans != 0 {
            match (lending.owned, owned) {
                (false, true) => self.views_lent.add_one(),
                (true, false) => self.views_lent.take_one_off(),
                _ => {}
            }
        }
        lending.owned = owned;
    }
}
