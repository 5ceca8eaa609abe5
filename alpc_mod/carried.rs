// SPDX-License-Identifier: GPL-2.0

//! Attributes as a type parameter: the same code for calls that may have some, and for those that
//! have none and shall not pay for them.
#![deny(unsafe_code)]

use crate::{
    attributes::{
        Attributes,
        NONE, //
    },
    uapi, //
};
use kernel::prelude::*;

/// The attributes of a call that may have some, or of one that has none.
pub(crate) trait Carried: Sized {
    /// None, to be read.
    fn none() -> Self;

    /// Reads those of a call.
    fn read(&mut self, t: &uapi::alpc_transfer) -> Result;

    /// What is known to be nothing.
    fn get(&self) -> Option<&Attributes>;

    /// The same as if there were some.
    #[inline(always)]
    fn get_any(&self) -> &Attributes {
        self.get().unwrap_or(&NONE)
    }

    /// Whether they are not for here: a context value is the engine's, caller memory the wait's.
    #[inline(always)]
    fn are_special(&self) -> bool {
        self.get()
            .is_some_and(|Attributes { outgoing, .. }| outgoing.is_special())
    }
}

/// No attributes.
pub(crate) struct Bare;

impl Carried for Bare {
    #[inline(always)]
    fn none() -> Self {
        Self
    }

    #[inline(always)]
    fn read(&mut self, _: &uapi::alpc_transfer) -> Result {
        Ok(())
    }

    #[inline(always)]
    fn get(&self) -> Option<&Attributes> {
        None
    }
}

impl Carried for Attributes {
    #[inline(always)]
    fn none() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn read(&mut self, t: &uapi::alpc_transfer) -> Result {
        Attributes::read(self, t)
    }

    #[inline(always)]
    fn get(&self) -> Option<&Attributes> {
        Some(self)
    }
}
