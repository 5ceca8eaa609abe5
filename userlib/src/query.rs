// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel tells about itself and about ports.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::advice;
use crate::error::{Error, Result, OPEN};
use crate::sys;

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
    pub fn query(&self) -> Result<sys::alpc_query> {
        let mut argument = sys::alpc_query::default();
        sys::query(self.as_fd(), &mut argument).map_err(|error| Error::plain("query", &error))?;
        Ok(argument)
    }

    /// What a user has of all that is limited, and how often it could not have more. One ioctl.
    ///
    /// # Errors
    ///
    /// Errno `EPERM`: it is another user's, and this process has not the capability
    /// `CAP_SYS_RESOURCE` in the first user namespace.
    pub fn usage_of(&self, user: u32) -> Result<sys::alpc_query_user> {
        self.usage(user, 0)
    }

    /// The same of what is used in the user namespaces that the user owns, by whomever.
    pub fn usage_of_owner(&self, user: u32) -> Result<sys::alpc_query_user> {
        self.usage(user, sys::ALPC_USER_AS_OWNER)
    }

    fn usage(&self, uid: u32, flags: u32) -> Result<sys::alpc_query_user> {
        let mut argument = sys::alpc_query_user {
            uid,
            flags,
            ..Default::default()
        };
        sys::query_user(self.as_fd(), &mut argument)
            .map_err(|error| Error::plain("query user", &error))?;
        Ok(argument)
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

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Who is at the other end of a connection, in the caller's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The process, 0 if there is none or it isn't visible here.
    pub pid: u32,
    /// Its effective user id at connect or accept.
    pub uid: u32,
    /// Its effective group id at connect or accept.
    pub gid: u32,
}

/// What a port is, its state and its limits.
#[derive(Debug, Clone, Copy)]
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
    /// All of it, as the ABI has it.
    pub raw: sys::alpc_query_port,
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
            state: match raw.state {
                sys::ALPC_STATE_OPEN => State::Open,
                sys::ALPC_STATE_PENDING => State::Pending,
                sys::ALPC_STATE_REFUSED => State::Refused,
                sys::ALPC_STATE_DISCONNECTED => State::Disconnected,
                other => State::Other(other),
            },
            peer: Peer {
                pid: raw.peer_pid,
                uid: raw.peer_uid,
                gid: raw.peer_gid,
            },
            max_message_length: raw.max_message_length as usize,
            context: raw.context,
            raw,
        })
    }
}
