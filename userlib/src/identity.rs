// SPDX-License-Identifier: MIT OR Apache-2.0

//! All that the kernel tells of who has sent a message.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::accept::ConnectionRequest;
use crate::connect::Connector;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::message::Request;
use crate::sys;
use crate::turn::Turn;

/// Ids of a user or a group, in the caller's user namespace: the overflow id, 65534 by default,
/// stands for those that it doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Who it acts as.
    pub effective: u32,
    /// Who it can act as again.
    pub saved: u32,
    /// Who it is to file systems.
    pub fs: u32,
}

/// Sets of capabilities: bit `n` is the capability whose number is `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Capabilities {
    /// What it may do now.
    pub effective: u64,
    /// What it may make effective.
    pub permitted: u64,
    /// What programs it executes may get from it.
    pub inheritable: u64,
    /// What it can have at most.
    pub bounding: u64,
    /// What programs without capabilities of their own get.
    pub ambient: u64,
}

/// Where somebody's ids and capabilities are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum UserNamespace {
    /// From the caller's user namespace.
    Same,
    /// From one that was made in the caller's.
    Below,
    /// From another one.
    Other,
}

/// Who somebody was when a message was sent, or a connection made: captured by the kernel then, and
/// told in numbers of the caller's namespaces. Nobody can forge it, and nothing it does later
/// changes it.
///
/// `uapi/security.rst` says what that vouches for, and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Identity {
    /// The process, 0 if it has no id in the caller's pid namespace. The id may have been given to
    /// another process since.
    pub pid: u32,
    /// The thread, likewise.
    pub tid: u32,
    /// The user.
    pub user: Ids,
    /// The group.
    pub group: Ids,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// Where it belongs.
    pub namespace: UserNamespace,
    /// The capabilities, if it is of the caller's own user namespace: they say nothing about others.
    pub capabilities: Option<Capabilities>,
    /// The user that logged in, for audit. Of the sender of a message this, session and cgroup are
    /// known if the server [takes](crate::PortBuilder::take_identity) them.
    pub login: Option<u32>,
    /// The session that began then.
    pub session: Option<u32>,
    /// The inode number of the cgroup's directory in the cgroup2 file system.
    pub cgroup: Option<u64>,
    /// The label that the security module gives it.
    pub label: Option<CString>,
}

impl Identity {
    fn query(port: BorrowedFd<'_>, id: u64, callback_id: u32) -> Result<Self> {
        let (mut groups, mut label) = (vec![0; 32], vec![0; 128]);
        loop {
            let mut raw = sys::alpc_query_identity {
                id,
                callback_id,
                ..Default::default()
            };
            sys::query_identity(port, &mut raw, &mut groups, &mut label)
                .map_err(|error| Error::new("query identity", &error, raw.outcome))?;
            let (count, length) = (raw.group_count as usize, raw.label_length as usize);
            if count <= groups.len() && length <= label.len() {
                groups.truncate(count);
                label.truncate(length);
                return Ok(Self::new(&raw, groups, label));
            }
            groups.resize(count.max(groups.len()), 0);
            label.resize(length.max(label.len()), 0);
        }
    }

    fn new(raw: &sys::alpc_query_identity, groups: Vec<u32>, label: Vec<u8>) -> Self {
        let known = |number: u32| (number != u32::MAX).then_some(number);
        let namespace = match raw.user_ns {
            sys::ALPC_USER_NS_SAME => UserNamespace::Same,
            sys::ALPC_USER_NS_BELOW => UserNamespace::Below,
            _ => UserNamespace::Other,
        };
        Self {
            pid: raw.pid,
            tid: raw.tid,
            user: Ids {
                real: raw.uid,
                effective: raw.euid,
                saved: raw.suid,
                fs: raw.fsuid,
            },
            group: Ids {
                real: raw.gid,
                effective: raw.egid,
                saved: raw.sgid,
                fs: raw.fsgid,
            },
            groups,
            namespace,
            capabilities: (namespace == UserNamespace::Same).then_some(Capabilities {
                effective: raw.cap_effective,
                permitted: raw.cap_permitted,
                inheritable: raw.cap_inheritable,
                bounding: raw.cap_bounding,
                ambient: raw.cap_ambient,
            }),
            login: known(raw.loginuid),
            session: known(raw.session),
            cgroup: (raw.cgroup != 0).then_some(raw.cgroup),
            label: CString::from_vec_with_nul(label).ok(),
        }
    }

    /// Whether a group is its effective one or a supplementary one.
    pub fn is_in_group(&self, group: u32) -> bool {
        self.group.effective == group || self.groups.contains(&group)
    }
}

/// By what a receiver recognises who sends again: two messages that one port received have the
/// same token if and only if the same process sent them with the same credentials, unless many
/// others have sent on the connection in between; then it may be a new one.
///
/// So what a sender may do can be found out once, and remembered by its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Token {
    /// The process.
    pub process: u64,
    /// The process with these credentials: any change of them gives another number.
    pub credentials: u64,
    /// The audit session, if the server [takes](crate::PortBuilder::take_identity) it.
    pub session: Option<u32>,
}

impl Token {
    pub(crate) fn new(raw: &sys::alpc_attr_token) -> Self {
        let session = u32::try_from(raw.session_id).ok();
        Self {
            process: raw.token_id,
            credentials: raw.modified_id,
            session: session.filter(|&session| session != u32::MAX),
        }
    }
}

/// A pidfd of who has a number, if that is who sent a message, or is the other end.
fn pidfd(
    port: BorrowedFd<'_>,
    id: u64,
    callback_id: u32,
    number: u32,
    thread: bool,
) -> Result<OwnedFd> {
    const OPERATION: &str = "open sender";
    let (open, verify) = match thread {
        false => (0, 0),
        // What it is called where a pidfd is of a thread.
        true => (libc::PIDFD_THREAD, sys::ALPC_VERIFY_THREAD),
    };
    let pidfd = sys::pidfd_open(number, open).map_err(|error| {
        let outcome = match error.raw_os_error() {
            Some(libc::ESRCH) => sys::ALPC_OUTCOME_SENDER_GONE,
            _ => sys::ALPC_OUTCOME_OK,
        };
        Error::new(OPERATION, &error, outcome)
    })?;
    // Not before: only now it says that the number was not anybody else's meanwhile.
    let mut raw = sys::alpc_verify {
        id,
        callback_id,
        flags: verify,
        ..Default::default()
    };
    sys::verify(port, &mut raw).map_err(|error| Error::new(OPERATION, &error, raw.outcome))?;
    Ok(pidfd)
}

impl Turn<'_> {
    /// All that is known of who sent the message that this side holds. One ioctl, or two if there
    /// are many groups.
    pub fn identity(&self) -> Result<Identity> {
        let id = self.id();
        Identity::query(
            self.port().as_fd(),
            id.conversation.to_raw(),
            id.callback_id,
        )
    }
}

impl Request<'_, '_> {
    /// All that is known of who sent it. One ioctl, or two if there are many groups.
    pub fn identity(&self) -> Result<Identity> {
        self.turn().identity()
    }
}

impl Request<'_, '_> {
    /// A pidfd of the process that sent it. It can't be that of another one, however late this is
    /// called.
    ///
    /// # Errors
    ///
    /// [`Outcome::SenderGone`](crate::Outcome::SenderGone): the process has ended, and has been
    /// waited for. Errno `EINVAL`: it has no number in this process' pid namespace.
    pub fn sender_pidfd(&self) -> Result<OwnedFd> {
        self.pidfd(self.sender().pid, false)
    }

    /// A pidfd of the thread that sent it and waits for the answer: of synchronous requests only.
    /// It can't be that of another thread.
    ///
    /// # Errors
    ///
    /// [`Outcome::SenderGone`](crate::Outcome::SenderGone): the thread has ended, or doesn't wait.
    /// Errno `EINVAL`: it has no number in this process' pid namespace.
    pub fn sender_thread_pidfd(&self) -> Result<OwnedFd> {
        self.pidfd(self.sender().tid, true)
    }

    fn pidfd(&self, number: u32, thread: bool) -> Result<OwnedFd> {
        let turn = self.turn();
        let (id, port) = (turn.id(), turn.port().as_fd());
        pidfd(
            port,
            id.conversation.to_raw(),
            id.callback_id,
            number,
            thread,
        )
    }
}

impl ConnectionRequest<'_, '_> {
    /// A pidfd of the process that wants to connect, as
    /// [`Request::sender_pidfd`] gives one.
    pub fn sender_pidfd(&self) -> Result<OwnedFd> {
        let (port, id) = self.pending();
        pidfd(port.as_fd(), id, 0, self.sender().pid, false)
    }

    /// All that is known of who wants to connect. One ioctl, or two if there are many groups.
    pub fn identity(&self) -> Result<Identity> {
        let (port, id) = self.pending();
        Identity::query(port.as_fd(), id, 0)
    }
}

impl Endpoint {
    /// A pidfd of the process that connected or accepted, as
    /// [`Request::sender_pidfd`] gives one. Two ioctls.
    pub fn peer_pidfd(&self) -> Result<OwnedFd> {
        pidfd(self.as_fd(), 0, 0, self.peer_identity()?.pid, false)
    }

    /// All that is known of who is at the other end, as of when it connected or accepted. One ioctl,
    /// or two if there are many groups.
    pub fn peer_identity(&self) -> Result<Identity> {
        Identity::query(self.as_fd(), 0, 0)
    }
}

impl Connector {
    /// A pidfd of the process that made the port that this connects to, as
    /// [`Request::sender_pidfd`] gives one. Two ioctls.
    pub fn server_pidfd(&self) -> Result<OwnedFd> {
        pidfd(self.as_fd(), 0, 0, self.server_identity()?.pid, false)
    }

    /// All that is known of who made the port that this connects to. One ioctl, or two if there are
    /// many groups.
    pub fn server_identity(&self) -> Result<Identity> {
        Identity::query(self.as_fd(), 0, 0)
    }
}
