// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connection requests: accepted or refused, once.

use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};

use crate::endpoint::ServerPort;
use crate::error::{Error, Result};
use crate::handles::HandleKinds;
use crate::message::Message;
use crate::port::Port;
use crate::sys;

/// How a connection is accepted, for [`ConnectionRequest::accept_with`].
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Accept<'a> {
    payload: &'a [u8],
    raw: sys::alpc_accept,
}

impl<'a> Accept<'a> {
    /// With no payload, context 0 and the port's own limits. It takes from the client all that the
    /// port takes: views, handles, memory, identity and security contexts. After a first `take_`
    /// method it takes only what these methods name, which must be a part of that.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the answer's payload.
    pub fn payload(self, payload: &'a [u8]) -> Self {
        Self { payload, ..self }
    }

    /// Takes views from this client, for [`Options::view_into`], and nothing else that no other
    /// `take_` method names.
    ///
    /// [`Options::view_into`]: crate::Options::view_into
    pub fn take_views(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_VIEWS;
        self
    }

    /// Takes handles of these kinds from this client, for [`Options::handles`], and nothing else that
    /// no other `take_` method names. No kinds stand for those of [`HandleKinds::ANY`] that the port
    /// takes.
    ///
    /// [`Options::handles`]: crate::Options::handles
    pub fn take_handles(mut self, kinds: HandleKinds) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_HANDLES;
        self.raw.handle_kinds = kinds.bits();
        self
    }

    /// Sets the value that comes with every message of this client, from its
    /// first one on: see [`Message::port_context`].
    pub fn context(mut self, context: u64) -> Self {
        self.raw.context = context;
        self
    }

    /// Sets the largest payload of the connection, at most the port's.
    pub fn max_message_length(mut self, length: u32) -> Self {
        self.raw.max_message_length = length;
        self
    }

    /// Sets the connection's share of the queue in messages and bytes; 0 is the
    /// port's own.
    pub fn queue(mut self, messages: u32, bytes: u32) -> Self {
        self.raw.queue_messages = messages;
        self.raw.queue_bytes = bytes;
        self
    }

    /// Takes audit session and cgroup of each message of this client, and nothing else that no other
    /// `take_` method names.
    pub fn take_identity(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_IDENTITY;
        self
    }

    /// Takes messages of this client that have security contexts, and nothing else that no other
    /// `take_` method names.
    pub fn take_security(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_SECURITY;
        self
    }

    /// Takes requests of this client that lend memory, and nothing else that no other `take_` method
    /// names.
    pub fn take_memory(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_MEMORY;
        self
    }
}

/// Somebody wants to connect. Derefs to [`Message`]: look at its payload and
/// its [`sender`](Message::sender), then accept or refuse.
///
/// Dropped unanswered, it is refused with one ioctl and no payload.
#[derive(Debug)]
#[must_use = "dropping a connection request refuses it"]
pub struct ConnectionRequest<'p, 'b> {
    message: Message<'b>,
    pending: Pending<'p>,
}

/// A connection request without its message.
#[derive(Debug)]
struct Pending<'p> {
    port: &'p Port,
    /// 0 once it is answered.
    id: u64,
}

impl Pending<'_> {
    fn answer(
        &mut self,
        operation: &'static str,
        raw: sys::alpc_accept,
        payload: &[u8],
    ) -> Result<Option<OwnedFd>> {
        let raw = sys::alpc_accept { id: self.id, ..raw };
        let mut argument = sys::Accept::new(raw, payload);
        let made = argument
            .call(self.port.as_fd())
            .map_err(|error| Error::new(operation, &error, argument.raw().outcome))?;
        self.id = 0;
        Ok(made)
    }

    fn refuse(&mut self, payload: &[u8]) -> Result<()> {
        let raw = sys::alpc_accept {
            flags: sys::ALPC_REFUSE,
            ..Default::default()
        };
        self.answer("refuse", raw, payload).map(drop)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            // Whoever asked may have gone meanwhile.
            let _ = self.refuse(&[]);
        }
    }
}

impl<'p, 'b> ConnectionRequest<'p, 'b> {
    pub(crate) fn new(port: &'p Port, message: Message<'b>) -> Self {
        let pending = Pending {
            port,
            id: message.id,
        };
        Self { message, pending }
    }

    pub(crate) fn pending(&self) -> (&Port, u64) {
        (self.pending.port, self.pending.id)
    }

    /// Accepts. One ioctl, which never waits.
    ///
    /// The client may send before this returns, so tell clients apart by
    /// [context](Accept::context), not by the port returned.
    ///
    /// # Errors
    ///
    /// A request that can't be accepted, for want of descriptors for one, is
    /// refused.
    pub fn accept(self) -> Result<ServerPort> {
        self.accept_with(Accept::new())
    }

    /// Accepts with payload, context and limits. One ioctl, which never waits.
    ///
    /// # Errors
    ///
    /// A request that can't be accepted is refused. Errno `EINVAL` if a limit is above the port's, or
    /// something is taken that the port doesn't take; else as for
    /// [`accept`](ConnectionRequest::accept).
    pub fn accept_with(mut self, accept: Accept<'_>) -> Result<ServerPort> {
        let made = self.pending.answer("accept", accept.raw, accept.payload)?;
        let fd = made.expect("an accept without ALPC_REFUSE makes a port");
        Ok(ServerPort::new(fd))
    }

    /// Refuses, with a payload that says why. One ioctl.
    pub fn refuse(mut self, payload: &[u8]) -> Result<()> {
        self.pending.refuse(payload)
    }
}

impl<'b> Deref for ConnectionRequest<'_, 'b> {
    type Target = Message<'b>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}
