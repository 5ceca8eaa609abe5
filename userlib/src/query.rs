// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel tells about itself and about ports.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::advice;
use crate::error::{Error, Result, OPEN};
use crate::sys;
use crate::usage::Usage;

/// `/dev/alpc`, opened.
///
/// The builders open it by themselves; keep one to save that where many ports
/// are made, or to use one that was passed into a sandbox.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens `/dev/alpc`.
    ///
    /// # Errors
    ///
    /// Errno `ENOENT`: the module isn't loaded, or this container or sandbox has no node for it.
    /// `EPERM`: its device cgroup doesn't allow it. `EACCES`: its mode doesn't. `EMFILE`, `ENFILE`,
    /// `ENOMEM`. The error's text says which it was, as far as `/sys` tells.
    pub fn open() -> Result<Self> {
        sys::open().map(Self).map_err(|error| {
            let advice = error.raw_os_error().and_then(advice::of_open);
            Error::plain(OPEN, &error).with_advice(advice)
        })
    }

    /// Version, features and limits. One ioctl.
    pub fn query(&self) -> Result<DeviceInfo> {
        let mut raw = sys::alpc_query::default();
        sys::query(self.as_fd(), &mut raw).map_err(|error| Error::plain("query", &error))?;
        Ok(DeviceInfo {
            abi_version: raw.abi_version,
            features: Features::from_bits_retain(raw.features),
            ports_per_user: raw.ports_per_user,
            connections_per_user: raw.connections_per_user,
            conversations_per_user: raw.conversations_per_user,
            conversations_per_connection: raw.conversations_per_connection,
            queue_messages: raw.queue_messages,
            queue_bytes: raw.queue_bytes,
            pending_connections: raw.pending_connections,
            connections_per_port: raw.connections_per_port,
            view_pages: raw.view_pages,
            view_pages_per_user: raw.view_pages_per_user,
            sections_per_port: raw.sections_per_port,
        })
    }

    /// Whether all of these work on this kernel. One ioctl.
    ///
    /// ```no_run
    /// use alpc::{Device, Features};
    ///
    /// let lends = Device::open()?.has(Features::VIEWS)?;
    /// # Ok::<(), alpc::Error>(())
    /// ```
    pub fn has(&self, features: Features) -> Result<bool> {
        Ok(self.query()?.features.contains(features))
    }

    /// What a user has of all that is limited, and how often it could not have more. One ioctl.
    ///
    /// # Errors
    ///
    /// Errno `EPERM`: it is another user's, and this process has not the capability
    /// `CAP_SYS_RESOURCE` in the first user namespace.
    pub fn usage_of(&self, user: u32) -> Result<Usage> {
        self.usage(user, 0)
    }

    /// What is used in the user namespaces that the user owns, by whomever, and how often there
    /// could not be more. One ioctl.
    ///
    /// # Errors
    ///
    /// As for [`usage_of`](Self::usage_of).
    pub fn usage_of_owner(&self, user: u32) -> Result<Usage> {
        self.usage(user, sys::ALPC_USER_AS_OWNER)
    }

    fn usage(&self, uid: u32, flags: u32) -> Result<Usage> {
        let mut argument = sys::alpc_query_user {
            uid,
            flags,
            ..Default::default()
        };
        sys::query_user(self.as_fd(), &mut argument)
            .map_err(|error| Error::plain("query user", &error))?;
        Ok(Usage::new(&argument))
    }
}

impl From<OwnedFd> for Device {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.0
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

bitflags::bitflags! {
    /// What a kernel has of this.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Ports, connections and messages.
        const PORTS = sys::ALPC_FEATURE_PORTS as u64;
        /// Names are per IPC namespace.
        const IPC_NAMESPACES = sys::ALPC_FEATURE_IPC_NAMESPACES as u64;
        /// Sections and views.
        const VIEWS = sys::ALPC_FEATURE_VIEWS as u64;
        /// Memory of callers.
        const MEMORY = sys::ALPC_FEATURE_MEMORY as u64;
        /// Handles with messages.
        const HANDLES = sys::ALPC_FEATURE_HANDLES as u64;
        /// The whole identity of who has sent a message.
        const IDENTITY = sys::ALPC_FEATURE_IDENTITY as u64;
        /// All rights count, and lists can be read and replaced.
        const ACLS = sys::ALPC_FEATURE_ACLS as u64;
        /// Security contexts and levels.
        const SECURITY = sys::ALPC_FEATURE_SECURITY as u64;
        /// Impersonation.
        const IMPERSONATE = sys::ALPC_FEATURE_IMPERSONATE as u64;
    }
}

/// Version, features and limits of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Version of the ABI on the kernel's side.
    pub abi_version: u32,
    /// What works.
    pub features: Features,
    /// Connection ports that one user may have.
    pub ports_per_user: u32,
    /// Connections that one user may have begun.
    pub connections_per_user: u32,
    /// Conversations that one user may have open.
    pub conversations_per_user: u32,
    /// Open conversations of one connection.
    pub conversations_per_connection: u32,
    /// Default share of a connection in one direction, in messages.
    pub queue_messages: u32,
    /// Default share of a connection in one direction, in bytes of payload.
    pub queue_bytes: u32,
    /// Connection requests that may wait at one port.
    pub pending_connections: u32,
    /// Connections of one port.
    pub connections_per_port: u32,
    /// Pages of memory that all views together may have.
    pub view_pages: u32,
    /// Pages of memory that one user's views may have.
    pub view_pages_per_user: u32,
    /// Sections made on one descriptor.
    pub sections_per_port: u32,
}

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Role {
    /// A connection port: [`Server`](crate::Server).
    Connection,
    /// A server communication port: [`ServerPort`](crate::ServerPort).
    Server,
    /// A client communication port: [`Client`](crate::Client).
    Client,
    /// A connect descriptor: [`Connector`](crate::Connector).
    Connect,
    /// One that this version of the crate doesn't know.
    Other(u32),
}

/// How a port stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum State {
    /// Listening, or connected.
    Open,
    /// Not accepted yet.
    Pending,
    /// Refused by the server.
    Refused,
    /// Disconnected by either side.
    Disconnected,
    /// One that this version of the crate doesn't know.
    Other(u32),
}

impl State {
    pub(crate) fn from_raw(state: u32) -> Self {
        match state {
            sys::ALPC_STATE_OPEN => Self::Open,
            sys::ALPC_STATE_PENDING => Self::Pending,
            sys::ALPC_STATE_REFUSED => Self::Refused,
            sys::ALPC_STATE_DISCONNECTED => Self::Disconnected,
            other => Self::Other(other),
        }
    }
}

/// Who is at the other end of a connection, in the caller's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Peer {
    /// The process, 0 if there is none or it isn't visible here.
    pub pid: u32,
    /// Its effective user id at connect or accept.
    pub uid: u32,
    /// Its effective group id at connect or accept.
    pub gid: u32,
}

/// What a port is, its state and its limits. What has no meaning for a role is 0 there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PortInfo {
    /// What the descriptor is.
    pub role: Role,
    /// How it stands.
    pub state: State,
    /// Who is at the other end.
    pub peer: Peer,
    /// The largest payload in bytes.
    pub max_message_length: usize,
    /// The context value of this descriptor.
    pub context: u64,
    /// Share of a connection in one direction, in messages.
    pub queue_messages: u32,
    /// Share of a connection in one direction, in bytes of payload.
    pub queue_bytes: u32,
    /// Messages that wait to be received here; on a connection port, of all connections.
    pub queued_messages: u32,
    /// Bytes of payload that wait to be received here.
    pub queued_bytes: u32,
    /// Connections that take a place of a connection port; 1 on a communication port.
    pub connections: u32,
    /// Open conversations, begun by either side; on a connection port, of all connections.
    pub conversations: u32,
    /// Messages that have arrived here so far, received or not.
    pub sequence: u64,
    /// Connections that a connection port had no place for, since it was made.
    pub refused: u32,
    /// Sections made on this descriptor that have not ended.
    pub sections: u32,
    /// Views that this side of a connection has from the other one.
    pub views: u32,
    /// Bytes of memory that what a connection port's server has sent may take.
    pub told_limit: u32,
    /// Bytes of memory that what the server has sent takes now.
    pub told_bytes: u32,
}

impl PortInfo {
    pub(crate) fn of(port: BorrowedFd<'_>) -> Result<Self> {
        let mut raw = sys::alpc_query_port::default();
        sys::query_port(port, &mut raw).map_err(|error| Error::plain("query port", &error))?;
        Ok(Self {
            role: match raw.role {
                sys::ALPC_ROLE_CONNECTION => Role::Connection,
                sys::ALPC_ROLE_SERVER => Role::Server,
                sys::ALPC_ROLE_CLIENT => Role::Client,
                sys::ALPC_ROLE_CONNECT => Role::Connect,
                other => Role::Other(other),
            },
            state: State::from_raw(raw.state),
            peer: Peer {
                pid: raw.peer_pid,
                uid: raw.peer_uid,
                gid: raw.peer_gid,
            },
            max_message_length: raw.max_message_length as usize,
            context: raw.context,
            queue_messages: raw.queue_messages,
            queue_bytes: raw.queue_bytes,
            queued_messages: raw.queued_messages,
            queued_bytes: raw.queued_bytes,
            connections: raw.connections,
            conversations: raw.conversations,
            sequence: raw.sequence,
            refused: raw.refused,
            sections: raw.sections,
            views: raw.views,
            told_limit: raw.told_limit,
            told_bytes: raw.told_bytes,
        })
    }
}
