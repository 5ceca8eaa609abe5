// SPDX-License-Identifier: GPL-2.0

//! Who may do what with a port: its access control list, in kernel ids.
//!
//! The ids are translated when the list is made, in the namespace of who makes it. From then on the
//! list means the same whoever asks. The decision itself is in `logic/acl.rs`.
//!
//! A list is never changed, but replaced by another one: who connects has a reference to the one or
//! the other for as long as that takes.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    caller::{
        gid_for_user,
        kgid_from_user,
        kuid_from_user,
        uid_for_user,
        Caller, //
    },
    cred::Identity,
    ioctl,
    logic::acl::{
        granted,
        Effect,
        Entry,
        Subject,
        Who, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    port::Port,
    shared::{
        shared,
        vec_of, //
    },
    uapi, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Every right that there is.
const RIGHTS: u32 = uapi::ALPC_RIGHT_ALL;

/// The bytes of an entry in user space.
const SIZE: usize = size_of::<uapi::alpc_acl_entry>();

/// Who may do what. Never changes; clones share the list.
#[derive(Clone)]
pub(crate) enum Acl {
    /// No list: everything for the owner, nothing for anybody else, root too.
    Owner,
    /// What the list says. It may well be empty, and admit nobody.
    List(Arc<KVec<Entry>>),
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
        let count = usize::try_from(count)?;
        let mut entries = vec_of(count)?;
        let mut addr = addr;
        for _ in 0..count {
            let entry = entry_from(copy_struct_in(SIZE, addr, SIZE)?)?;
            entries.push_within_capacity(entry).map_err(|_| ENOMEM)?;
            addr = addr.checked_add(SIZE as u64).ok_or(EFAULT)?;
        }
        Ok(Self::List(shared(entries)?))
    }

    /// Writes as many entries to user space as there is room for, and says how many there are and
    /// `ALPC_ACL_*` of the whole.
    fn show(&self, addr: u64, room: u32) -> Result<(u32, u32)> {
        let Self::List(entries) = self else {
            return Ok((0, uapi::ALPC_ACL_NO_LIST));
        };
        let mut addr = addr;
        for entry in entries.iter().take(usize::try_from(room)?) {
            copy_struct_out(SIZE, addr, &entry_for_current(entry))?;
            addr = addr.checked_add(SIZE as u64).ok_or(EFAULT)?;
        }
        Ok((u32::try_from(entries.len())?, 0))
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

/// An entry in numbers of the caller: an id that has none there is the overflow id.
fn entry_for_current(entry: &Entry) -> uapi::alpc_acl_entry {
    let effect = match entry.effect {
        Effect::Allow => uapi::ALPC_ACL_ALLOW,
        Effect::Deny => uapi::ALPC_ACL_DENY,
    };
    let (who, id) = match entry.who {
        Who::User(kuid) => (uapi::ALPC_ACL_USER, uid_for_user(kuid)),
        Who::Group(kgid) => (uapi::ALPC_ACL_GROUP, gid_for_user(kgid)),
        Who::Everyone => (uapi::ALPC_ACL_EVERYONE, 0),
        Who::Owner => (uapi::ALPC_ACL_OWNER, 0),
        Who::UserNamespace => (uapi::ALPC_ACL_USER_NS, 0),
    };
    uapi::alpc_acl_entry {
        // CAST: All of these are below six.
        type_: effect as u16,
        who: who as u16,
        id,
        rights: entry.rights,
        reserved: 0,
    }
}

/// Answers `ALPC_IOC_QUERY_ACL`.
pub(crate) fn query(port: &Port, size: usize, addr: u64) -> Result<isize> {
    request(size, addr, |arg, _| {
        if arg.flags != 0 {
            return Err(EINVAL.into());
        }
        may_manage(port)?;
        let (count, flags) = port.acl().show(arg.entries, arg.count)?;
        let answer = uapi::alpc_acl {
            count,
            flags,
            outcome: uapi::ALPC_OUTCOME_OK,
            ..*arg
        };
        Ok(copy_struct_out(size, addr, &answer)?)
    })
}

/// Answers `ALPC_IOC_SET_ACL`.
pub(crate) fn replace(port: &Port, size: usize, addr: u64) -> Result<isize> {
    request(size, addr, |arg, write| {
        let has_list = arg.flags & uapi::ALPC_ACL_NO_LIST == 0;
        if arg.flags & !uapi::ALPC_ACL_NO_LIST != 0 || (!has_list && arg.count != 0) {
            return Err(EINVAL.into());
        }
        may_manage(port)?;
        let acl = match has_list {
            true => Acl::from_user(arg.entries, arg.count)?,
            false => Acl::Owner,
        };
        // A caller that can't be told is found out before anything has happened.
        write(uapi::ALPC_OUTCOME_OK)?;
        port.replace_acl(acl);
        Ok(())
    })
}

/// Reads the argument of both, and reports how they fail.
fn request(
    size: usize,
    addr: u64,
    answer: impl FnOnce(&uapi::alpc_acl, &dyn Fn(u32) -> Result) -> Result<(), Failure>,
) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_acl>();
    let arg: uapi::alpc_acl = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_acl { outcome, ..arg };
        let at = offset_of!(uapi::alpc_acl, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    let answered = match arg.reserved != 0 || (arg.entries == 0) != (arg.count == 0) {
        true => Err(EINVAL.into()),
        false => answer(&arg, &write),
    };
    answered.map_err(|failure| ioctl::report(failure, arg.outcome, write))?;
    Ok(0)
}

/// Refuses a caller to whom the port does not belong.
fn may_manage(port: &Port) -> Result<(), Failure> {
    match Caller::current().may_act_as(&port.owner.who) {
        true => Ok(()),
        false => Err(Outcome::AccessDenied.into()),
    }
}

/// Whether the current task is told what it takes to connect to a port, and what its server is: who
/// may connect just now is, and who may change that.
pub(crate) fn is_let_in(port: &Port) -> bool {
    let rights = port.acl().granted(&Connector::current(&port.owner.who));
    // Security modules are told of the use of a capability, so that comes last.
    rights & uapi::ALPC_RIGHT_CONNECT != 0 || may_manage(port).is_ok()
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
