// SPDX-License-Identifier: MIT OR Apache-2.0

//! A container with every attribute that there is.

use alpc_uapi::*;

use super::{Ranges, JUNK32, JUNK64};

/// All that have a structure, the highest bit first.
pub const EVERY_ATTRIBUTE: [u32; 7] = [
    ALPC_ATTR_SECURITY,
    ALPC_ATTR_VIEW,
    ALPC_ATTR_CONTEXT,
    ALPC_ATTR_HANDLE,
    ALPC_ATTR_TOKEN,
    ALPC_ATTR_MEMORY,
    ALPC_ATTR_RECEIVER,
];

/// Those that bring something to whoever receives them, in either direction.
pub const EVERY_LOAD: u32 =
    ALPC_ATTR_VIEW | ALPC_ATTR_CONTEXT | ALPC_ATTR_HANDLE | ALPC_ATTR_MEMORY;

/// It may be edited before the call, and read after it. It must outlive the call, at its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryContainer {
    pub head: alpc_attributes,
    pub security: alpc_attr_security,
    pub view: alpc_attr_view,
    pub context: alpc_attr_context,
    pub handle: alpc_attr_handle,
    pub token: alpc_attr_token,
    pub memory: alpc_attr_memory,
    pub receiver: alpc_attr_receiver,
}

impl EveryContainer {
    fn with(valid: u32) -> Self {
        Self {
            head: alpc_attributes {
                allocated: EVERY_ATTRIBUTE.into_iter().sum(),
                valid,
            },
            ..Default::default()
        }
    }

    /// What a sender gives, of which so much is valid. A context is one for this message, and it
    /// is for the sender's own user.
    pub fn sending(
        valid: u32,
        (base, size, flags): (u64, u64, u32),
        entries: &[alpc_handle],
        ranges: &Ranges,
    ) -> Self {
        let mut this = Self::with(valid);
        (this.view.base, this.view.size, this.view.flags) = (base, size, flags);
        this.handle.handles = entries.as_ptr() as u64;
        this.handle.count = entries.len() as u32;
        this.memory = ranges.container.memory;
        this.security.flags = ALPC_SECURITY_ONCE;
        this.receiver.flags = ALPC_RECEIVER_UID;
        // SAFETY: Takes no pointer.
        this.receiver.uid = unsafe { libc::geteuid() };
        this
    }

    /// What a receiver gives: room for whether there is something, and junk.
    pub fn receiving() -> Self {
        let mut this = Self::with(JUNK32);
        (this.view.base, this.view.size, this.view.release) = (JUNK64, JUNK64, JUNK64);
        (this.context.message_context, this.context.id) = (JUNK64, JUNK64);
        (this.security.context, this.security.flags) = (JUNK64, JUNK32);
        (this.token.token_id, this.token.modified_id) = (JUNK64, JUNK64);
        this.receiver.uid = JUNK32;
        this
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(self) as u64
    }
}
