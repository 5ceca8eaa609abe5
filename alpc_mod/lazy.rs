// SPDX-License-Identifier: GPL-2.0

//! What many have no need of, and is made when it is needed first.
#![deny(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        SetOnce,
        SpinLock, //
    }, //
};

/// Held while it is settled which of two things that were made at a time becomes known.
pub(crate) type MakeLock = SpinLock<()>;

/// Room for something that others may keep by a reference, made when it is needed first.
pub(crate) struct Lazy<T>(SetOnce<T>);

impl<T: Clone> Lazy<T> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(SetOnce::new())
    }

    /// It, if it has been made.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// It, made by `make` if need be. Two may make one at a time, of which one is kept: that is
    /// settled under `maker`.
    pub(crate) fn get_or_make(
        &self,
        maker: &MakeLock,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(made) = self.get() {
            return Ok(made.clone());
        }
        let new = make()?;
        let guard = maker.lock();
        if self.get().is_none() {
            self.0.populate(new.clone());
        }
        drop(guard);
        // Somebody's, and for ever. What was made in vain is dropped now.
        Ok(self.get().cloned().unwrap_or(new))
    }
}
