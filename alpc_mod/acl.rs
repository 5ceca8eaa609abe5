// SPDX-License-Identifier: GPL-2.0

//! Who may do what with a port: its access control list, in kernel ids.
//!
//! The ids are translated when the list is made, in the namespace of its maker. From then on the
//! list means the same whoever asks. The decision itself is in `logic/acl.rs`.
#![deny(unsafe_code)]

use crate::{
    buffer::copy_struct_in,
    cred::{
        current_euid,
        kgid_from_user,
        kuid_from_user,
        Caller, //
    },
    logic::acl::{
        evaluate,
        Effect,
        Entry,
        Subject,
        Who, //
    },
    uapi, //
};
use core::mem::size_of;
use kernel::prelude::*;

/// Every right that an entry can name. What is reserved is known too, and grants nothing yet.
const RIGHTS: u32 = uapi::ALPC_RIGHT_CONNECT
    | uapi::ALPC_RIGHT_VIEW
    | uapi::ALPC_RIGHT_HANDLE
    | uapi::ALPC_RIGHT_MEMORY
    | uapi::ALPC_RIGHT_IMPERSONATE
    | uapi::ALPC_RIGHT_CALLBACK;

/// Who may do what. Never changes.
pub(crate) enum Acl {
    /// No list: everything for the user with this kernel id, nothing for anybody else, root too.
    Owner(u32),
    /// What the list says. It may well be empty, and admit nobody.
    List(KVec<Entry>),
}

impl Acl {
    /// What a port has whose maker gave no list: its effective user is the owner.
    pub(crate) fn owned_by_current() -> Self {
        Self::Owner(current_euid())
    }

    /// Reads a list of `count` entries from user space.
    ///
    /// `EINVAL` if it is too long, or an entry is malformed or names an id that does not exist in
    /// the caller's user namespace; `EFAULT`, `ENOMEM`.
    pub(crate) fn from_user(addr: u64, count: u32) -> Result<Self> {
        if count > uapi::ALPC_ACL_MAX {
            return Err(EINVAL);
        }
        let mut entries = KVec::new();
        let mut addr = addr;
        for _ in 0..count {
            const SIZE: usize = size_of::<uapi::alpc_acl_entry>();
            let entry = entry_from(copy_struct_in(SIZE, addr, SIZE)?)?;
            entries.push(entry, GFP_KERNEL_ACCOUNT)?;
            addr = addr.checked_add(SIZE as u64).ok_or(EFAULT)?;
        }
        Ok(Self::List(entries))
    }

    /// Whether the caller has all of the wanted rights now.
    pub(crate) fn allows(&self, wanted: u32, caller: &Caller) -> bool {
        match self {
            Self::Owner(kuid) => caller.is_user(*kuid),
            Self::List(entries) => evaluate(entries, wanted, caller),
        }
    }
}

/// Checks an entry, and translates its id.
fn entry_from(entry: uapi::alpc_acl_entry) -> Result<Entry> {
    if entry.reserved != 0 || entry.rights & !RIGHTS != 0 {
        return Err(EINVAL);
    }
    let effect = match u32::from(entry.type_) {
        uapi::ALPC_ACL_ALLOW => Effect::Allow,
        uapi::ALPC_ACL_DENY => Effect::Deny,
        _ => return Err(EINVAL),
    };
    let who = match (u32::from(entry.who), entry.id) {
        (uapi::ALPC_ACL_USER, id) => Who::User(kuid_from_user(id).ok_or(EINVAL)?),
        (uapi::ALPC_ACL_GROUP, id) => Who::Group(kgid_from_user(id).ok_or(EINVAL)?),
        (uapi::ALPC_ACL_EVERYONE, 0) => Who::Everyone,
        _ => return Err(EINVAL),
    };
    Ok(Entry {
        effect,
        who,
        rights: entry.rights,
    })
}

impl Subject for Caller {
    fn is_user(&self, id: u32) -> bool {
        Caller::is_user(self, id)
    }

    fn in_group(&self, id: u32) -> bool {
        Caller::in_group(self, id)
    }
}
