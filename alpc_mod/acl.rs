// SPDX-License-Identifier: GPL-2.0

//! Who may do what with a port: its access control list, in kernel ids.
//!
//! The ids are translated when the list is made, in the namespace of its maker. From then on the
//! list means the same whoever asks. The decision itself is in `logic/acl.rs`.
#![deny(unsafe_code)]

use crate::{
    buffer::copy_struct_in,
    cred::{
        kgid_from_user,
        kuid_from_user,
        Caller,
        Identity, //
    },
    logic::acl::{
        granted,
        Effect,
        Entry,
        Subject,
        Who, //
    },
    uapi, //
};
use core::mem::size_of;
use kernel::prelude::*;

/// Every right that there is.
const RIGHTS: u32 = uapi::ALPC_RIGHT_ALL;

/// Who may do what. Never changes.
pub(crate) enum Acl {
    /// No list: everything for the owner, nothing for anybody else, root too.
    Owner,
    /// What the list says. It may well be empty, and admit nobody.
    List(KVec<Entry>),
}

impl Acl {
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

    /// The rights that somebody has who connects now.
    pub(crate) fn granted(&self, connector: &Connector<'_>) -> u32 {
        match self {
            Self::Owner if connector.is_owner() => RIGHTS,
            Self::Owner => 0,
            Self::List(entries) => granted(entries, RIGHTS, connector),
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
        (uapi::ALPC_ACL_OWNER, 0) => Who::Owner,
        (uapi::ALPC_ACL_USER_NS, 0) => Who::UserNamespace,
        _ => return Err(EINVAL),
    };
    Ok(Entry {
        effect,
        who,
        rights: entry.rights,
    })
}

/// The current task, about to connect to a port.
pub(crate) struct Connector<'a> {
    caller: Caller,
    /// Who has made the port.
    maker: &'a Identity,
}

impl<'a> Connector<'a> {
    /// With the credentials of this moment.
    pub(crate) fn current(maker: &'a Identity) -> Self {
        Self {
            caller: Caller::current(),
            maker,
        }
    }
}

impl Subject for Connector<'_> {
    fn is_user(&self, id: u32) -> bool {
        self.caller.is_user(id)
    }

    fn in_group(&self, id: u32) -> bool {
        self.caller.in_group(id)
    }

    fn is_owner(&self) -> bool {
        self.caller.is_user(self.maker.euid())
    }

    fn is_in_user_namespace(&self) -> bool {
        self.caller.is_in_namespace_of(self.maker)
    }
}
