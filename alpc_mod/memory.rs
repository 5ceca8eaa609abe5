// SPDX-License-Identifier: GPL-2.0

//! Caller memory: ranges of the caller's own that the holder of its request reads and
//! writes while the caller waits.
#![deny(unsafe_code)]

use crate::{
    outcome::Failure,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The ranges of one request.
pub(crate) struct Memory {}

impl Memory {
    /// The ranges that the caller names, of its own memory.
    pub(crate) fn capture(_ask: &uapi::alpc_attr_memory) -> Result<Arc<Self>, Failure> {
        Err(EOPNOTSUPP.into())
    }

    /// Tells the receiver of the ranges. `attribute` is where its attribute stands.
    pub(crate) fn show(&self, _attribute: u64, _ask: &uapi::alpc_attr_memory) -> Result {
        Ok(())
    }
}
