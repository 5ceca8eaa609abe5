// SPDX-License-Identifier: MIT OR Apache-2.0

//! Access control lists.

use std::os::fd::{AsFd, BorrowedFd};

use crate::connect::Connector;
use crate::error::{Error, Result};
use crate::server::Server;
use crate::sys;

/// Whom an entry of an [`Acl`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Who {
    /// Whose effective user id is this.
    User(u32),
    /// Whose effective or supplementary groups have this.
    Group(u32),
    /// Everyone.
    Everyone,
    /// Whose effective user id is that of who made the port.
    Owner,
    /// Who is in the user namespace of who made the port, and in none below it.
    UserNamespace,
    /// One that this version of the crate doesn't know, in a list that was read.
    Other(u32),
}

/// An entry of an [`Acl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AclEntry {
    /// Whether it allows what it names, or denies it.
    pub is_allowing: bool,
    /// Whom it is about.
    pub who: Who,
    /// The rights that it names.
    pub rights: Rights,
}

bitflags::bitflags! {
    /// What a client may do. All of it is settled when it connects, and stays so for that
    /// connection.
    ///
    /// ```
    /// use alpc::Rights;
    ///
    /// let rights = Rights::CONNECT | Rights::VIEW;
    /// assert!(rights.contains(Rights::VIEW) && !rights.contains(Rights::HANDLE));
    /// assert_eq!(format!("{rights:?}"), "Rights(CONNECT | VIEW)");
    /// ```
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct Rights: u32 {
        /// Connect. Without it the others count for nothing.
        const CONNECT = sys::ALPC_RIGHT_CONNECT;
        /// Lend views to the server.
        const VIEW = sys::ALPC_RIGHT_VIEW;
        /// Send handles to the server.
        const HANDLE = sys::ALPC_RIGHT_HANDLE;
        /// Offer memory of its own to the server.
        const MEMORY = sys::ALPC_RIGHT_MEMORY;
        /// Be impersonated by the server.
        const IMPERSONATE = sys::ALPC_RIGHT_IMPERSONATE;
        /// Have a thread of the server wait for it: be called back, or be called at all.
        const CALLBACK = sys::ALPC_RIGHT_CALLBACK;
    }
}

/// Who may connect to a port, and what else they may do.
///
/// The entries are read in order. Each right is settled by the first entry that is about the caller
/// and names that right; what no entry settles is denied. So deny first, then allow.
/// [`allow`](Acl::allow) and [`deny`](Acl::deny) name every right, [`grant`](Acl::grant) and
/// [`withhold`](Acl::withhold) single ones. Nobody gets past the list, root included, and an empty
/// list admits nobody. A port without a list admits its owner's user id only, to everything.
///
/// ```
/// use alpc::{Acl, Rights, Who};
///
/// // Everyone in group 100 but user 1001.
/// let acl = Acl::new().deny(Who::User(1001)).allow(Who::Group(100));
/// # assert_eq!(acl.entries().len(), 2);
/// // Everything for the owner; others may call, and no more than that.
/// let acl = Acl::new()
///     .allow(Who::Owner)
///     .grant(Who::Everyone, Rights::CONNECT);
/// # assert_eq!(acl.entries().len(), 2);
/// ```
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(from = "Vec<AclEntry>", into = "Vec<AclEntry>")
)]
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

    /// The list that admits everyone to everything.
    pub fn everyone() -> Self {
        Self::new().allow(Who::Everyone)
    }

    /// Adds an entry that allows everything.
    pub fn allow(self, who: Who) -> Self {
        self.grant(who, Rights::all())
    }

    /// Adds an entry that denies everything.
    pub fn deny(self, who: Who) -> Self {
        self.withhold(who, Rights::all())
    }

    /// Adds an entry that allows these rights. Who is to have any of the other rights needs
    /// [`Rights::CONNECT`] too, in this entry or in another one.
    pub fn grant(self, who: Who, rights: Rights) -> Self {
        self.entry(sys::ALPC_ACL_ALLOW, who, rights)
    }

    /// Adds an entry that denies these rights.
    pub fn withhold(self, who: Who, rights: Rights) -> Self {
        self.entry(sys::ALPC_ACL_DENY, who, rights)
    }

    fn entry(mut self, kind: u32, who: Who, rights: Rights) -> Self {
        let (who, id) = match who {
            Who::User(id) => (sys::ALPC_ACL_USER, id),
            Who::Group(id) => (sys::ALPC_ACL_GROUP, id),
            Who::Everyone => (sys::ALPC_ACL_EVERYONE, 0),
            Who::Owner => (sys::ALPC_ACL_OWNER, 0),
            Who::UserNamespace => (sys::ALPC_ACL_USER_NS, 0),
            // The kernel refuses what it doesn't know, and so what is too large to be told.
            Who::Other(who) => (who.min(u32::from(u16::MAX)), 0),
        };
        self.entries.push(sys::alpc_acl_entry {
            type_: kind as u16,
            who: who as u16,
            id,
            rights: rights.bits(),
            reserved: 0,
        });
        self
    }

    /// Reads the list of a port, if it has one.
    fn read(port: BorrowedFd<'_>) -> Result<Option<Self>> {
        let mut entries = vec![sys::alpc_acl_entry::default(); 16];
        loop {
            let mut raw = sys::alpc_acl::default();
            sys::query_acl(port, &mut raw, &mut entries)
                .map_err(|error| Error::new("query access control list", &error, raw.outcome))?;
            if raw.flags & sys::ALPC_ACL_NO_LIST != 0 {
                return Ok(None);
            }
            let count = raw.count as usize;
            if count <= entries.len() {
                entries.truncate(count);
                return Ok(Some(Self { entries }));
            }
            // Another one may have come since, and be longer still.
            entries.resize(count, sys::alpc_acl_entry::default());
        }
    }

    /// Replaces that of a port.
    fn write(port: BorrowedFd<'_>, acl: Option<&Self>) -> Result<()> {
        let mut raw = sys::alpc_acl::default();
        sys::set_acl(port, &mut raw, acl.map(Self::raw_entries))
            .map_err(|error| Error::new("set access control list", &error, raw.outcome))
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = AclEntry> + '_ {
        self.entries.iter().map(|raw| AclEntry {
            is_allowing: u32::from(raw.type_) == sys::ALPC_ACL_ALLOW,
            who: match u32::from(raw.who) {
                sys::ALPC_ACL_USER => Who::User(raw.id),
                sys::ALPC_ACL_GROUP => Who::Group(raw.id),
                sys::ALPC_ACL_EVERYONE => Who::Everyone,
                sys::ALPC_ACL_OWNER => Who::Owner,
                sys::ALPC_ACL_USER_NS => Who::UserNamespace,
                other => Who::Other(other),
            },
            rights: Rights::from_bits_retain(raw.rights),
        })
    }

    pub(crate) fn raw_entries(&self) -> &[sys::alpc_acl_entry] {
        &self.entries
    }
}

impl FromIterator<AclEntry> for Acl {
    fn from_iter<I: IntoIterator<Item = AclEntry>>(entries: I) -> Self {
        let add = |acl: Self, entry: AclEntry| match entry.is_allowing {
            true => acl.grant(entry.who, entry.rights),
            false => acl.withhold(entry.who, entry.rights),
        };
        entries.into_iter().fold(Self::new(), add)
    }
}

#[cfg(feature = "serde")]
impl From<Vec<AclEntry>> for Acl {
    fn from(entries: Vec<AclEntry>) -> Self {
        entries.into_iter().collect()
    }
}

#[cfg(feature = "serde")]
impl From<Acl> for Vec<AclEntry> {
    fn from(acl: Acl) -> Self {
        acl.entries().collect()
    }
}

impl Server {
    /// The port's access control list, or `None` if it has none and so is its owner's alone. Ids are
    /// in the caller's user namespace: the overflow id, 65534 by default, stands for those that it
    /// doesn't have, so such a list is not to be given back. One ioctl, or two if it is long.
    ///
    /// # Errors
    ///
    /// [`Outcome::AccessDenied`](crate::Outcome::AccessDenied) unless the caller's effective user is
    /// the one who made the port, or has `CAP_FOWNER` over the user namespace that it was made in.
    pub fn acl(&self) -> Result<Option<Acl>> {
        Acl::read(self.as_fd())
    }

    /// Replaces the access control list, or takes it away: then the port is its owner's alone. It
    /// counts for who connects from now on. Those who are connected, or whose request is queued, keep
    /// what they were granted. One ioctl.
    ///
    /// # Errors
    ///
    /// As [`acl`](Server::acl); and errno `EINVAL` for an id that the caller's user namespace
    /// doesn't have, or a list of more than 256 entries.
    pub fn set_acl(&self, acl: Option<&Acl>) -> Result<()> {
        Acl::write(self.as_fd(), acl)
    }
}

impl Connector {
    /// The port's access control list, as [`Server::acl`] tells it: to the same callers. Having the
    /// connect descriptor is not enough.
    pub fn acl(&self) -> Result<Option<Acl>> {
        Acl::read(self.as_fd())
    }

    /// Replaces the port's access control list, as [`Server::set_acl`] does: for the same callers.
    /// Having the connect descriptor is not enough.
    pub fn set_acl(&self, acl: Option<&Acl>) -> Result<()> {
        Acl::write(self.as_fd(), acl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Acl {
        Acl::new()
            .withhold(Who::User(1001), Rights::VIEW | Rights::HANDLE)
            .grant(Who::Group(100), Rights::CONNECT)
            .allow(Who::Owner)
    }

    #[test]
    fn a_list_is_made_of_its_entries() {
        let again: Acl = list().entries().collect();
        assert!(again.entries().eq(list().entries()));
        assert_eq!(Rights::all().bits(), sys::ALPC_RIGHT_ALL);
    }

    #[test]
    fn a_matcher_that_nobody_knows_is_none_that_somebody_does() {
        let list = Acl::new().allow(Who::Other(0x1_0000 + sys::ALPC_ACL_EVERYONE));
        let who: Vec<Who> = list.entries().map(|entry| entry.who).collect();
        assert_eq!(who, [Who::Other(0xffff)]);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_list_is_written_in_words_and_read_back() {
        let text = serde_json::to_string(&list()).expect("text");
        let first = r#"[{"is_allowing":false,"who":{"User":1001},"rights":"VIEW | HANDLE"}"#;
        assert!(text.starts_with(first), "{text}");
        let again: Acl = serde_json::from_str(&text).expect("a list");
        assert!(again.entries().eq(list().entries()));
    }
}
