// SPDX-License-Identifier: MIT OR Apache-2.0

//! QUERY_ACL and SET_ACL.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{ioctl, Failure, Port, JUNK16, JUNK32};

/// An entry in which everything comes out.
const JUNK_ENTRY: alpc_acl_entry = alpc_acl_entry {
    type_: JUNK16,
    who: JUNK16,
    id: JUNK32,
    rights: JUNK32,
    reserved: JUNK32,
};

/// The fields of an entry that say something: its type, matcher, id and rights.
pub type Fields = (u32, u32, u32, u32);

/// Those of an entry that goes in.
pub fn fields(entry: &alpc_acl_entry) -> Fields {
    assert_eq!(entry.reserved, 0);
    let (kind, who) = (entry.type_.into(), entry.who.into());
    (kind, who, entry.id, entry.rights)
}

/// What was told of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub count: u32,
    pub flags: u32,
    /// As many as there was room for.
    pub entries: Vec<Fields>,
}

/// Runs with whatever the argument holds.
pub fn acl_as_is(fd: &impl AsFd, request: u32, arg: &mut alpc_acl) -> Result<(), Failure> {
    let result = ioctl(fd, request, arg);
    let outcome = arg.outcome;
    let value = result.map_err(|errno| Failure { errno, outcome })?;
    assert_eq!((value, outcome), (0, ALPC_OUTCOME_OK));
    Ok(())
}

/// An argument for this list, which must outlive the call.
pub fn acl_argument(entries: &[alpc_acl_entry]) -> alpc_acl {
    alpc_acl {
        entries: match entries.is_empty() {
            true => 0,
            false => entries.as_ptr() as u64,
        },
        count: entries.len() as u32,
        flags: 0,
        outcome: JUNK32,
        reserved: 0,
    }
}

impl Port {
    /// The list, with room for so many entries.
    pub fn query_acl_with(&self, room: usize) -> Result<Listed, Failure> {
        let mut entries = vec![JUNK_ENTRY; room];
        let mut arg = acl_argument(&entries);
        arg.entries = match room {
            0 => 0,
            _ => entries.as_mut_ptr() as u64,
        };
        let asked = acl_as_is(self, ALPC_IOCTL_QUERY_ACL, &mut arg);
        let written = match asked {
            Ok(()) => room.min(arg.count as usize),
            Err(_) => 0,
        };
        for entry in &entries[written..] {
            assert_eq!((entry.type_, entry.reserved), (JUNK16, JUNK32));
        }
        asked?;
        assert_eq!(arg.reserved, 0);
        Ok(Listed {
            count: arg.count,
            flags: arg.flags,
            entries: entries[..written].iter().map(fields).collect(),
        })
    }

    /// The whole list.
    pub fn query_acl(&self) -> Result<Listed, Failure> {
        self.query_acl_with(ALPC_ACL_MAX as usize)
    }

    /// Replaces the list, or takes it away.
    pub fn set_acl(&self, entries: Option<&[alpc_acl_entry]>) -> Result<(), Failure> {
        let mut arg = acl_argument(entries.unwrap_or_default());
        if entries.is_none() {
            arg.flags = ALPC_ACL_NO_LIST;
        }
        acl_as_is(self, ALPC_IOCTL_SET_ACL, &mut arg)
    }
}
