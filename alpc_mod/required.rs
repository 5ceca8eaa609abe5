// SPDX-License-Identifier: GPL-2.0

//! The RECEIVER attribute: who a message is for.
#![deny(unsafe_code)]

use crate::{
    caller::{
        kgid_from_user,
        kuid_from_user,
        Caller, //
    },
    uapi, //
};
use kernel::prelude::*;

/// The ids that a thread must have to receive a message, as kernel ids.
#[derive(Clone, Copy)]
pub(crate) struct Required {
    user: Option<u32>,
    group: Option<u32>,
}

/// Whether the attribute makes sense.
pub(crate) fn is_valid(attribute: &uapi::alpc_attr_receiver) -> bool {
    const FLAGS: u32 = uapi::ALPC_RECEIVER_UID | uapi::ALPC_RECEIVER_GID;
    let named = |flag: u32, id: u32| attribute.flags & flag != 0 || id == 0;
    attribute.flags != 0
        && attribute.flags & !FLAGS == 0
        && attribute.reserved == 0
        && named(uapi::ALPC_RECEIVER_UID, attribute.uid)
        && named(uapi::ALPC_RECEIVER_GID, attribute.gid)
}

impl Required {
    /// What an attribute says, by the current task's user namespace. `EINVAL` for an id that does
    /// not exist there.
    pub(crate) fn new(attribute: &uapi::alpc_attr_receiver) -> Result<Self> {
        let mut required = Self {
            user: None,
            group: None,
        };
        if attribute.flags & uapi::ALPC_RECEIVER_UID != 0 {
            required.user = Some(kuid_from_user(attribute.uid).ok_or(EINVAL)?);
        }
        if attribute.flags & uapi::ALPC_RECEIVER_GID != 0 {
            required.group = Some(kgid_from_user(attribute.gid).ok_or(EINVAL)?);
        }
        Ok(required)
    }

    /// Whether the current task has them now.
    pub(crate) fn is_current(&self) -> bool {
        let caller = Caller::current();
        self.user.is_none_or(|user| caller.is_user(user))
            && self.group.is_none_or(|group| caller.in_group(group))
    }
}
