// SPDX-License-Identifier: MIT OR Apache-2.0

//! Access control lists.

use crate::sys;

/// Whom an entry of an [`Acl`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whose effective user id is this.
    User(u32),
    /// Whose effective or supplementary groups have this.
    Group(u32),
    /// Everyone.
    Everyone,
}

/// Who may connect to a port.
///
/// The entries are read in order, and the first that names the caller settles
/// it; whom no entry names is not admitted. So deny first, then allow. Nobody is
/// admitted past the list, root included, and an empty list admits nobody. A
/// port without a list admits its owner's user id only.
///
/// ```
/// use alpc::{Acl, Who};
///
/// // Everyone in group 100 but user 1001.
/// let acl = Acl::new().deny(Who::User(1001)).allow(Who::Group(100));
/// # assert_eq!(acl.entries().len(), 2);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Acl {
    entries: Vec<sys::alpc_acl_entry>,
}

impl Acl {
    /// The empty list, which admits nobody.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The list that admits everyone.
    pub fn everyone() -> Self {
        Self::new().allow(Who::Everyone)
    }

    /// Adds an entry that admits.
    pub fn allow(self, who: Who) -> Self {
        self.entry(sys::ALPC_ACL_ALLOW, who)
    }

    /// Adds an entry that doesn't.
    pub fn deny(self, who: Who) -> Self {
        self.entry(sys::ALPC_ACL_DENY, who)
    }

    fn entry(mut self, kind: u32, who: Who) -> Self {
        let (who, id) = match who {
            Who::User(id) => (sys::ALPC_ACL_USER, id),
            Who::Group(id) => (sys::ALPC_ACL_GROUP, id),
            Who::Everyone => (sys::ALPC_ACL_EVERYONE, 0),
        };
        self.entries.push(sys::alpc_acl_entry {
            type_: kind as u16,
            who: who as u16,
            id,
            rights: sys::ALPC_RIGHT_CONNECT,
            reserved: 0,
        });
        self
    }

    /// The entries as the ABI has them.
    pub fn entries(&self) -> &[sys::alpc_acl_entry] {
        &self.entries
    }
}
