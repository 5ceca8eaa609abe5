// SPDX-License-Identifier: GPL-2.0

//! What travels with a message beside its payload: a view, one that goes back, handles,
//! the right to the caller's memory.
//!
//! It is put in by the sender before anybody else has the message, does not change
//! while the message is under way or held, and goes with the message: the view goes
//! back, the files are closed.
#![deny(unsafe_code)]

use crate::{
    handle::Handles,
    memory::Memory,
    view::Loan,
    window::Given, //
};
use kernel::sync::Arc;

/// What a message carries.
pub(crate) struct Cargo {
    /// Lent to the receiver.
    pub(crate) view: Option<Arc<Loan>>,
    /// What its sender held, and gives back to whom it belongs.
    pub(crate) given: Option<Arc<Given>>,
    pub(crate) handles: Handles,
    pub(crate) memory: Option<Arc<Memory>>,
}

impl Cargo {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self {
            view: None,
            given: None,
            handles: Handles::new(),
            memory: None,
        }
    }

    /// The message has not been sent.
    pub(crate) fn recall(&self) {
        if let Some(given) = &self.given {
            given.recall();
        }
        if let Some(loan) = &self.view {
            loan.recall();
        }
    }

    /// The receiver is about to learn of the message.
    pub(crate) fn arrive(&self) {
        if let Some(given) = &self.given {
            given.end();
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.view = None;
        self.given = None;
        self.handles.clear();
        self.memory = None;
    }
}
