// SPDX-License-Identifier: MIT OR Apache-2.0

//! Received bytes, wherever they are.

use std::fmt;
use std::io;
use std::ops::Deref;

use crate::error::{Error, Result, MEMORY_ROOM, READ_MEMORY};
use crate::sys;
use crate::views::{GivenBack, HeldView, SecureView};

/// How bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// As payload.
    Inline,
    /// In a view.
    View,
    /// Read out of the caller's memory.
    Memory,
}

/// Received bytes. Derefs to them: nobody can change them while this exists.
///
/// It may keep a [view](SecureView), and with it the port. Drop it when the bytes have been used, or
/// [give it back](Bytes::give_back) with the reply: its sender reuses the view then.
///
/// ```compile_fail
/// fn wrong(bytes: alpc::bulk::Bytes) -> u8 {
///     let first = &bytes[..1];
///     drop(bytes);
///     first[0]
/// }
/// ```
pub struct Bytes {
    way: Way,
    place: Place,
}

enum Place {
    Own(Vec<u8>),
    View(SecureView),
}

impl Bytes {
    pub(super) fn copied(way: Way, bytes: Vec<u8>) -> Self {
        Self {
            way,
            place: Place::Own(bytes),
        }
    }

    /// The bytes of a view. What its sender may be writing is copied, if it is no more than `most`
    /// and there is memory: else the view is released.
    pub(super) fn of_view(view: HeldView, most: usize) -> Result<Self> {
        let view = match view {
            HeldView::Secure(view) => {
                return Ok(Self {
                    way: Way::View,
                    place: Place::View(view),
                });
            }
            HeldView::Shared(view) => view,
        };
        if view.size() > most {
            let error = io::Error::from_raw_os_error(libc::EMSGSIZE);
            return Err(Error::new(READ_MEMORY, &error, sys::ALPC_OUTCOME_TOO_LONG));
        }
        let room = sys::zeroes(view.size()).map_err(|error| Error::plain(MEMORY_ROOM, &error));
        let mut bytes = room?;
        // All of it is within it.
        let _ = view.copy(0, &mut bytes);
        Ok(Self::copied(Way::View, bytes))
    }

    /// How the bytes came.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Gives up access to the bytes, so that a view they are in can go back with a message: see
    /// [`GivenBack`]. Where they are in none, nothing goes.
    pub fn give_back(self) -> GivenBack {
        match self.place {
            Place::Own(_) => GivenBack::nothing(),
            Place::View(view) => view.give_back(),
        }
    }

    /// The bytes as a vector. Those in a view are copied, and the view is released.
    pub fn into_vec(self) -> Vec<u8> {
        match self.place {
            Place::Own(bytes) => bytes,
            Place::View(view) => view.to_vec(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Own(bytes) => bytes,
            Place::View(view) => view,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes")
            .field("way", &self.way)
            .field("length", &self.len())
            .finish()
    }
}
