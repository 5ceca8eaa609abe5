// SPDX-License-Identifier: GPL-2.0

//! What one side of a connection takes from the other beside payload.
#![deny(unsafe_code)]

use crate::uapi;
use kernel::prelude::*;

const READY: u32 = uapi::ALPC_TAKE_VIEWS
    | uapi::ALPC_TAKE_HANDLES
    | uapi::ALPC_TAKE_MEMORY
    | uapi::ALPC_TAKE_SECURITY
    | uapi::ALPC_TAKE_IDENTITY;
const RESERVED: u32 = uapi::ALPC_TAKE_DIRECT;

/// The kinds of handle that who names none takes. This says for ever what it says: nobody gets a
/// kind that it can't know of. A device does what its driver thinks of, so it must be asked for.
const UNNAMED: u32 = uapi::ALPC_HANDLE_FILE
    | uapi::ALPC_HANDLE_DIRECTORY
    | uapi::ALPC_HANDLE_PIPE
    | uapi::ALPC_HANDLE_EVENTFD
    | uapi::ALPC_HANDLE_TIMERFD
    | uapi::ALPC_HANDLE_MEMFD
    | uapi::ALPC_HANDLE_PIDFD
    | uapi::ALPC_HANDLE_SOCKET
    | uapi::ALPC_HANDLE_SECTION;

/// Every kind of handle.
pub(crate) const KINDS: u32 = UNNAMED
    | uapi::ALPC_HANDLE_DEVICE
    | uapi::ALPC_HANDLE_PATH
    | uapi::ALPC_HANDLE_NAMESPACE
    | uapi::ALPC_HANDLE_DMA_BUF
    | uapi::ALPC_HANDLE_NTSYNC;

/// What is taken: `ALPC_TAKE_*`, and of handles `ALPC_HANDLE_*`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Takes {
    flags: u32,
    kinds: u32,
}

impl Takes {
    /// What the fields of an argument say.
    pub(crate) fn new(flags: u32, kinds: u32) -> Result<Self> {
        if flags & !(READY | RESERVED) != 0 || kinds & !KINDS != 0 {
            return Err(EINVAL);
        }
        if flags & RESERVED != 0 {
            return Err(EOPNOTSUPP);
        }
        let kinds = match (flags & uapi::ALPC_TAKE_HANDLES != 0, kinds) {
            (false, 0) => 0,
            (false, _) => return Err(EINVAL),
            (true, 0) => UNNAMED,
            (true, kinds) => kinds,
        };
        Ok(Self { flags, kinds })
    }

    /// The part of this that the fields ask for, or all of it. `EINVAL` for more.
    pub(crate) fn narrowed(self, flags: u32, kinds: u32) -> Result<Self> {
        if flags == 0 && kinds == 0 {
            return Ok(self);
        }
        let mut asked = Self::new(flags, kinds)?;
        if kinds == 0 {
            asked.kinds &= self.kinds;
        }
        if asked.flags & !self.flags != 0 || asked.kinds & !self.kinds != 0 {
            return Err(EINVAL);
        }
        Ok(asked)
    }

    /// Whether all of these `ALPC_TAKE_*` are taken.
    pub(crate) fn has(self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// The kinds of handle that are taken, as `ALPC_HANDLE_*`.
    pub(crate) fn kinds(self) -> u32 {
        self.kinds
    }
}

/// The rights that a client needs to send what takes these `ALPC_TAKE_*` of a server.
pub(crate) fn rights_to_send(takes: u32) -> u32 {
    const NEEDS: [(u32, u32); 3] = [
        (uapi::ALPC_TAKE_VIEWS, uapi::ALPC_RIGHT_VIEW),
        (uapi::ALPC_TAKE_HANDLES, uapi::ALPC_RIGHT_HANDLE),
        (uapi::ALPC_TAKE_MEMORY, uapi::ALPC_RIGHT_MEMORY),
    ];
    let needed = NEEDS.iter().filter(|(flag, _)| takes & flag != 0);
    needed.fold(0, |rights, (_, right)| rights | right)
}
