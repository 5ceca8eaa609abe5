// SPDX-License-Identifier: GPL-2.0

//! Handles: open files that travel with a message, and become descriptors of the
//! receiver's only when it claims them.
#![deny(unsafe_code)]

use crate::{
    outcome::Failure,
    takes::Takes,
    uapi, //
};
use kernel::prelude::*;

/// The handles of one message.
pub(crate) struct Handles {}

impl Handles {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {}
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        0
    }

    /// Takes references to the files that the caller names, of which every one must be of a kind
    /// that the other side takes. `attribute` is where the caller's attribute stands.
    pub(crate) fn capture(
        &mut self,
        _attribute: u64,
        _ask: &uapi::alpc_attr_handle,
        _takes: Takes,
    ) -> Result<(), Failure> {
        Err(EOPNOTSUPP.into())
    }

    /// Gives the receiver what it can see of them at receive, and what it claims at once.
    /// `attribute` is where its attribute stands.
    pub(crate) fn show(&self, _attribute: u64, _ask: &uapi::alpc_attr_handle) -> Result {
        Ok(())
    }

    /// Claims what the receiver wants claimed at once. It has the message.
    pub(crate) fn claim_at_receive(&self, _attribute: u64, _ask: &uapi::alpc_attr_handle) {}

    /// Lets go of all.
    pub(crate) fn clear(&mut self) {}
}
