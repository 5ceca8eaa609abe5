// SPDX-License-Identifier: MIT OR Apache-2.0

//! Using files as the sender of a message may.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::process::abort;

use crate::connect::ConnectBuilder;
use crate::error::{Error, Result};
use crate::message::Request;
use crate::sys;
use crate::turn::Turn;

/// How far a server may go with who its client is.
///
/// The default is what the kernel does for a client that says nothing: it is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Security {
    raw: u32,
}

impl Security {
    /// The server learns nothing of the client: not its process, nor its user. The kernel goes by
    /// them all the same, for access control lists and limits.
    pub const ANONYMOUS: Self = Self {
        raw: sys::ALPC_SECURITY_ANONYMOUS,
    };

    /// The server learns who sends each message.
    pub const IDENTIFY: Self = Self {
        raw: sys::ALPC_SECURITY_IDENTIFY,
    };

    /// The server may also use files as if it were the client: see [`Request::as_caller`]. It is who
    /// connects that may be impersonated, as it is then.
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

    pub(crate) const fn to_raw(self) -> u32 {
        self.raw
    }
}

impl ConnectBuilder<'_> {
    /// Sets how far the server may go with who this client is.
    pub fn security(mut self, security: Security) -> Self {
        self.raw.security = security.to_raw();
        self
    }
}

/// The way back. It is the thread's that has it, and never leaves [`Turn::as_caller`].
struct Impersonation {
    way_back: OwnedFd,
    /// Another thread can't go back.
    _thread: PhantomData<*const ()>,
}

impl Drop for Impersonation {
    fn drop(&mut self) {
        if sys::revert(self.way_back.as_fd()).is_err() {
            // Nothing may go on as somebody else who it thinks it is not.
            abort();
        }
    }
}

impl Turn<'_> {
    /// Runs `work` with files as the sender of the message may use them.
    ///
    /// While it runs, this thread is to file systems what the sender is: user, group,
    /// supplementary groups, and the capabilities that both have. Nothing else of it changes, and no other
    /// thread. But what `work` starts, threads and processes, begins as what this thread is then.
    /// It is no sandbox: code that this server wouldn't run itself can undo it.
    ///
    /// When `work` is over, by a panic too, the thread is what it was. The process is aborted if
    /// that fails. `work` should leave the thread's ids and capabilities alone; what it changes
    /// of them stays. Also, by the kernel's rule for changes of ids, the process can't be traced
    /// or dump core any more unless it makes itself dumpable again.
    ///
    /// It takes a sender that [says so](Security::IMPERSONATE), and that this server could become
    /// by itself: with another user's identity, by `CAP_SETUID` and `CAP_SETGID`. Two ioctls and a
    /// descriptor.
    ///
    /// # Errors
    ///
    /// [`Outcome::NotGranted`](crate::Outcome::NotGranted),
    /// [`BeyondReach`](crate::Outcome::BeyondReach) and
    /// [`Revoked`](crate::Outcome::Revoked) above all. `work` has not run then.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::File;
    /// use alpc::{Received, Server};
    ///
    /// fn open_for(server: &Server) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut buffer = [0; 4096];
    ///     if let Received::Request(request) = server.receive(&mut buffer)? {
    ///         let path = std::str::from_utf8(request.data())?;
    ///         let _file = request.as_caller(|| File::open(path))??;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn as_caller<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let id = self.id();
        let mut raw = sys::alpc_impersonate {
            id: id.conversation.to_raw(),
            callback_id: id.callback_id,
            ..Default::default()
        };
        let way_back = sys::impersonate(self.port().as_fd(), &mut raw)
            .map_err(|error| Error::new("impersonate", &error, raw.outcome))?;
        let impersonation = Impersonation {
            way_back,
            _thread: PhantomData,
        };
        let result = work();
        drop(impersonation);
        Ok(result)
    }
}

impl Request<'_, '_> {
    /// Runs `work` with files as the client may use them: [`Turn::as_caller`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn as_caller<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.turn().as_caller(work)
    }
}
