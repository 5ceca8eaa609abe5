// SPDX-License-Identifier: MIT OR Apache-2.0

//! How far a receiver may go with who sends.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};

use crate::connect::ConnectBuilder;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::sys;

/// How far a receiver may go with who sends: for all that a client sends along a connection, or for
/// the messages that have a [`SecurityContext`] of either side.
///
/// The default is what the kernel does for a client that says nothing: it is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Security {
    raw: u32,
}

impl Security {
    /// The receiver learns nothing of the sender: not its process, nor its user. The kernel goes by
    /// them all the same, for access control lists and limits.
    pub const ANONYMOUS: Self = Self {
        raw: sys::ALPC_SECURITY_ANONYMOUS,
    };

    /// The receiver learns who sends each message.
    pub const IDENTIFY: Self = Self {
        raw: sys::ALPC_SECURITY_IDENTIFY,
    };

    /// The receiver may also use files as if it were the sender: see [`Request::as_caller`]. It is
    /// who connects, or makes the context, that may be impersonated, as it is then.
    ///
    /// [`Request::as_caller`]: crate::Request::as_caller
    pub const IMPERSONATE: Self = Self {
        raw: sys::ALPC_SECURITY_IMPERSONATE,
    };

    /// Who sends each message may be impersonated, as it is then.
    pub const fn dynamic(self) -> Self {
        Self {
            raw: self.raw | sys::ALPC_SECURITY_DYNAMIC,
        }
    }

    /// Only capabilities that are effective count for impersonation, not those that could be
    /// made so.
    pub const fn effective_only(self) -> Self {
        Self {
            raw: self.raw | sys::ALPC_SECURITY_EFFECTIVE_ONLY,
        }
    }

    /// The level alone, without [`dynamic`](Self::dynamic) and
    /// [`effective_only`](Self::effective_only): one of the constants.
    pub const fn level(self) -> Self {
        Self {
            raw: self.raw & sys::ALPC_SECURITY_LEVEL_MASK,
        }
    }

    pub(crate) const fn to_raw(self) -> u32 {
        self.raw
    }
}

impl Default for Security {
    fn default() -> Self {
        Self::IDENTIFY
    }
}

impl ConnectBuilder<'_> {
    /// Sets how far the server may go with who this client is.
    pub fn security(mut self, security: Security) -> Self {
        self.raw.security = security.to_raw();
        self
    }
}

/// A level of security for single messages, which can be revoked.
///
/// It belongs to one side of a connection, which attaches it to what it sends:
/// [`Options::security`](crate::Options::security). Unless it is [dynamic](Security::dynamic), it
/// stands for the thread that made it, as that was then, whoever sends with it.
///
/// Dropping it deletes it, with one ioctl: messages that have it keep it. A forked child's copy
/// deletes nothing. It holds no share of the port, and ends with it.
///
/// ```no_run
/// use alpc::{Client, Options, Security};
///
/// fn lend_identity(client: &Client) -> alpc::Result<()> {
///     let context = client.create_security(Security::IMPERSONATE)?;
///     let options = Options::new().security(&context);
///     client.send_request_with(b"open my file", options)?;
///     // Enough of it: the server can't act as this client any more, though it has the request.
///     context.revoke()
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping a security context deletes it"]
pub struct SecurityContext {
    port: Weak<Handle>,
    id: u64,
    /// The process that deletes it.
    maker: sys::Maker,
}

impl SecurityContext {
    /// The number that the other side is [told](crate::Message::security). No other context of
    /// this side of the connection ever has it.
    pub fn number(&self) -> u64 {
        self.id
    }

    /// Revokes it: it can't be attached any more, and where a message has it that was sent before,
    /// nobody impersonates by it from now on. What has begun goes on until its end. One ioctl.
    ///
    /// # Errors
    ///
    /// [`Outcome::Closed`](crate::Outcome::Closed): the port's last handle has been dropped, and
    /// this has ended with it. [`Outcome::NotAContext`](crate::Outcome::NotAContext): another
    /// process that has the port has deleted it.
    pub fn revoke(&self) -> Result<()> {
        const OPERATION: &str = "revoke security context";
        let port = self.port.upgrade();
        let port = port.ok_or_else(|| Error::port_gone(OPERATION))?;
        self.ask(OPERATION, port.as_fd(), sys::revoke_security)
    }

    fn ask(
        &self,
        operation: &'static str,
        port: BorrowedFd<'_>,
        ioctl: fn(BorrowedFd<'_>, &mut sys::alpc_security) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut raw = sys::alpc_security {
            context: self.id,
            ..Default::default()
        };
        ioctl(port, &mut raw).map_err(|error| Error::new(operation, &error, raw.outcome))
    }

    pub(crate) const fn attaching(&self) -> Attaching {
        Attaching {
            context: self.id,
            security: 0,
            flags: 0,
        }
    }
}

impl Drop for SecurityContext {
    fn drop(&mut self) {
        if !self.maker.is_here() {
            return;
        }
        if let Some(port) = self.port.upgrade() {
            // Nobody can be told. One that is left ends with the port.
            let _ = self.ask(
                "delete security context",
                port.as_fd(),
                sys::delete_security,
            );
        }
    }
}

impl Endpoint {
    /// Makes a security context of this side: the calling thread's, unless it is
    /// [dynamic](Security::dynamic). One ioctl.
    ///
    /// # Errors
    ///
    /// [`Outcome::Limit`](crate::Outcome::Limit): this side has 64 of them. Errno `EINVAL`: the
    /// client is [anonymous](Security::ANONYMOUS), and this context isn't. Errno `ENOMEM`: no
    /// memory.
    pub fn create_security(&self, security: Security) -> Result<SecurityContext> {
        let mut raw = sys::alpc_security {
            security: security.to_raw(),
            ..Default::default()
        };
        sys::create_security(self.as_fd(), &mut raw)
            .map_err(|error| Error::new("create security context", &error, raw.outcome))?;
        Ok(SecurityContext {
            port: Arc::downgrade(self.handle()),
            id: raw.context,
            maker: sys::Maker::here(),
        })
    }
}

/// What a message is sent with: a context that there is, or one made for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attaching {
    context: u64,
    security: u32,
    flags: u32,
}

impl Attaching {
    pub(crate) const fn once(security: Security) -> Self {
        Self {
            context: 0,
            security: security.to_raw(),
            flags: sys::ALPC_SECURITY_ONCE,
        }
    }

    pub(crate) const fn to_raw(self) -> sys::alpc_attr_security {
        sys::alpc_attr_security {
            context: self.context,
            security: self.security,
            flags: self.flags,
        }
    }
}

/// What a receiver is told of the security context of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachedSecurity {
    /// Its [number](SecurityContext::number), or `None` if it was made for the message alone.
    pub number: Option<u64>,
    /// How far the receiver may go.
    pub security: Security,
    /// Whether it had been revoked when the message was received.
    pub revoked: bool,
}

impl AttachedSecurity {
    pub(crate) fn new(raw: &sys::alpc_attr_security) -> Self {
        Self {
            number: (raw.context != 0).then_some(raw.context),
            security: Security { raw: raw.security },
            revoked: raw.flags & sys::ALPC_SECURITY_REVOKED != 0,
        }
    }
}
