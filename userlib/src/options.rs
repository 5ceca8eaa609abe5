// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long a call waits, and what it does when a signal comes.

use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::handles::Claimed;
use crate::security::{Attaching, Security, SecurityContext};
use crate::sys;
use crate::views::{GivenBack, Inbox, Lent};

/// How long a call waits.
///
/// An absolute time that has passed and a relative zero never block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timeout {
    /// Until it is done.
    #[default]
    Infinite,
    /// So long from now.
    Relative(Duration),
    /// Until `CLOCK_MONOTONIC` reads this.
    Monotonic(Duration),
    /// Until `CLOCK_BOOTTIME` reads this: counts on while the machine sleeps.
    Boottime(Duration),
    /// Until this time of day. Follows when the clock is set.
    Realtime(SystemTime),
}

impl Timeout {
    /// Never wait.
    pub const ZERO: Self = Self::Relative(Duration::ZERO);

    /// Clock and nanoseconds as the ABI has them.
    pub(crate) fn to_raw(self) -> (u32, u64) {
        match self {
            Self::Infinite => (sys::ALPC_TIMEOUT_INFINITE, 0),
            Self::Relative(time) => (sys::ALPC_TIMEOUT_RELATIVE, nanoseconds(time)),
            Self::Monotonic(time) => (sys::ALPC_TIMEOUT_MONOTONIC, nanoseconds(time)),
            Self::Boottime(time) => (sys::ALPC_TIMEOUT_BOOTTIME, nanoseconds(time)),
            Self::Realtime(time) => {
                // A time before 1970 has passed, as 1970 itself has.
                let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                (sys::ALPC_TIMEOUT_REALTIME, nanoseconds(time))
            }
        }
    }
}

/// The kernel's times are signed: 292 years are as good as for ever.
fn nanoseconds(time: Duration) -> u64 {
    let max = i64::MAX as u64;
    u64::try_from(time.as_nanos()).map_or(max, |time| time.min(max))
}

impl From<Duration> for Timeout {
    fn from(time: Duration) -> Self {
        Self::Relative(time)
    }
}

/// How a call waits, for the methods whose names end in `_with`.
///
/// A [`Timeout`] or a [`Duration`] converts into it.
///
/// # Signals
///
/// By default a call that a signal interrupts goes on by itself: what was sent
/// stays sent, and the deadline stays where it was. After
/// [`interruptible`](Options::interruptible) it returns an error instead, whose
/// outcome says whether the request lives on; such a wait is taken up again by
/// [`Endpoint::resume`](crate::Endpoint::resume). Handlers installed with
/// `SA_RESTART` are restarted by the kernel, and neither case is seen.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Options<'a> {
    pub(crate) timeout: Timeout,
    pub(crate) interruptible: bool,
    pub(crate) nonblocking: bool,
    pub(crate) waiting: bool,
    pub(crate) ends_with_thread: bool,
    pub(crate) reply_bytes: u32,
    pub(crate) message_context: Option<u64>,
    pub(crate) ask_context: bool,
    pub(crate) ask_token: bool,
    pub(crate) security: Option<Attaching>,
    pub(crate) ask_security: bool,
    pub(crate) for_user: Option<u32>,
    pub(crate) for_group: Option<u32>,
    pub(crate) ask_memory: bool,
    pub(crate) lent: Option<&'a Lent>,
    pub(crate) given: Option<&'a GivenBack>,
    pub(crate) inbox: Option<&'a Inbox>,
    pub(crate) handles: &'a [BorrowedFd<'a>],
    pub(crate) ask_handles: bool,
    pub(crate) claimed: Option<&'a Claimed>,
}

impl<'a> Options<'a> {
    /// Wait for ever, and go on after signals. A client waits for room in a full queue, a
    /// [`ServerPort`](crate::ServerPort) doesn't.
    pub const fn new() -> Self {
        Self {
            timeout: Timeout::Infinite,
            interruptible: false,
            nonblocking: false,
            waiting: false,
            ends_with_thread: false,
            reply_bytes: 0,
            message_context: None,
            ask_context: false,
            ask_token: false,
            security: None,
            ask_security: false,
            for_user: None,
            for_group: None,
            ask_memory: false,
            lent: None,
            given: None,
            inbox: None,
            handles: &[],
            ask_handles: false,
            claimed: None,
        }
    }

    /// Wait no longer than this.
    pub const fn timeout(self, timeout: Timeout) -> Self {
        Self { timeout, ..self }
    }

    /// Return an error when a signal comes.
    pub const fn interruptible(self) -> Self {
        Self {
            interruptible: true,
            ..self
        }
    }

    /// Never wait for room in a full queue: [`Outcome::QueueFull`] instead. In a caller's memory,
    /// read or write what is there, and wait for nothing of the caller's: `EAGAIN` instead, or
    /// `EOPNOTSUPP` where only the caller could write.
    ///
    /// [`Outcome::QueueFull`]: crate::Outcome::QueueFull
    pub const fn nonblocking(self) -> Self {
        Self {
            nonblocking: true,
            ..self
        }
    }

    /// Wait for room in a full queue, as long as the [`timeout`](Options::timeout) says: for what a
    /// server sends of its own accord, which fails with [`Outcome::QueueFull`] else. Clients wait in
    /// any case, and what is sent into a conversation never does.
    ///
    /// A client makes room by receiving, and need not. So a server that waits gives that a time, and
    /// doesn't wait for a client from whose request it has the turn: that client may be waiting
    /// for the reply, and receive nothing else. For a client without
    /// [`Rights::CALLBACK`](crate::Rights::CALLBACK) it has no effect.
    ///
    /// [`Outcome::QueueFull`]: crate::Outcome::QueueFull
    pub const fn waiting(self) -> Self {
        Self {
            waiting: true,
            ..self
        }
    }

    /// A conversation that the call receives, or takes over by [`Turn::adopt_with`], ends with
    /// the calling thread too: who waits for the answer gets [`Outcome::Lost`] a moment after the
    /// thread's end. By default it ends with the process. A thread that ends by a panic ends so.
    ///
    /// The call fails with `EOPNOTSUPP` on a kernel that tells nobody of the ends of threads, and
    /// keeps the message then.
    ///
    /// [`Turn::adopt_with`]: crate::Turn::adopt_with
    /// [`Outcome::Lost`]: crate::Outcome::Lost
    pub const fn ending_with_thread(self) -> Self {
        Self {
            ends_with_thread: true,
            ..self
        }
    }

    /// Make room for a reply of so many bytes. For what is sent without waiting for the
    /// reply. What a client sends has room for as many bytes as it has itself, and for 256 at least: a longer
    /// reply that nobody waits for is refused, and a notice comes in its place. The room is this
    /// process's memory until the reply is received. A server needs none. `EINVAL` with anything
    /// else, [`Outcome::TooLong`] above the port's maximum.
    ///
    /// [`Outcome::TooLong`]: crate::Outcome::TooLong
    pub const fn reply_bytes(self, bytes: u32) -> Self {
        Self {
            reply_bytes: bytes,
            ..self
        }
    }

    /// Give the conversation sent into a value of this side's own, which comes
    /// back with every later message of it.
    pub const fn message_context(self, value: u64) -> Self {
        Self {
            message_context: Some(value),
            ..self
        }
    }

    /// Ask for this side's own value of the conversation with the received message, see
    /// [`Message::message_context`](crate::Message::message_context).
    pub const fn ask_message_context(self) -> Self {
        Self {
            ask_context: true,
            ..self
        }
    }

    /// Ask by what the sender of the received message can be recognised, see
    /// [`Message::token`](crate::Message::token).
    pub const fn ask_token(self) -> Self {
        Self {
            ask_token: true,
            ..self
        }
    }

    /// Attach a security context to the message: its level goes before that of the connection.
    ///
    /// The context must be of this side of this connection: its number means nothing to another one,
    /// or another context. What replies on a [`Server`](crate::Server) has those of the client's
    /// [`ServerPort`](crate::ServerPort).
    ///
    /// The send fails with [`Outcome::NotTaken`] if the other side takes none
    /// ([`PortBuilder::take_security`], [`ConnectBuilder::take_security`]), with
    /// [`Outcome::Revoked`] or [`Outcome::NotAContext`] if it is revoked, or not there any more.
    ///
    /// [`PortBuilder::take_security`]: crate::PortBuilder::take_security
    /// [`ConnectBuilder::take_security`]: crate::ConnectBuilder::take_security
    /// [`Outcome::NotTaken`]: crate::Outcome::NotTaken
    /// [`Outcome::Revoked`]: crate::Outcome::Revoked
    /// [`Outcome::NotAContext`]: crate::Outcome::NotAContext
    pub const fn security(self, context: &'a SecurityContext) -> Self {
        Self {
            security: Some(context.attaching()),
            ..self
        }
    }

    /// Attach a security context to the message that is made for it alone, of the calling thread:
    /// its level goes before that of the connection.
    ///
    /// The send fails with [`Outcome::NotTaken`](crate::Outcome::NotTaken) if the other side takes
    /// none, with errno `EINVAL` if the client is [anonymous](Security::ANONYMOUS) and this isn't,
    /// and with `ENOMEM` for want of memory.
    pub const fn security_once(self, security: Security) -> Self {
        Self {
            security: Some(Attaching::once(security)),
            ..self
        }
    }

    /// Ask for the security context of the received message, see
    /// [`Message::security`](crate::Message::security).
    pub const fn ask_security(self) -> Self {
        Self {
            ask_security: true,
            ..self
        }
    }

    /// Send a request that only a thread with this effective user id may receive. If another one
    /// does, that sees nothing of it, and the request ends with
    /// [`Outcome::ReceiverMismatch`](crate::Outcome::ReceiverMismatch), or with a notice if nobody
    /// waits. Only for new requests.
    pub const fn for_user(self, user: u32) -> Self {
        Self {
            for_user: Some(user),
            ..self
        }
    }

    /// Send a request that only a thread in this group may receive, else as
    /// [`for_user`](Options::for_user).
    pub const fn for_group(self, group: u32) -> Self {
        Self {
            for_group: Some(group),
            ..self
        }
    }

    /// Ask for the memory that comes with a received request, see
    /// [`Request::memory`](crate::Request::memory).
    pub const fn ask_memory(self) -> Self {
        Self {
            ask_memory: true,
            ..self
        }
    }

    /// Lend this view with the message.
    ///
    /// The receiver must have [asked for](crate::PortBuilder::take_views) views, or it is
    /// [`Outcome::NotTaken`](crate::Outcome::NotTaken). If nothing was sent, nothing is lent.
    pub const fn lend(self, view: &'a Lent) -> Self {
        Self {
            lent: Some(view),
            ..self
        }
    }

    /// Give this received view back with the message. If nothing was sent, it is held still.
    pub const fn give_back(self, view: &'a GivenBack) -> Self {
        Self {
            given: Some(view),
            ..self
        }
    }

    /// Take the view that comes with the received message. Without this, receiving gives it back
    /// at once.
    ///
    /// It is taken out of the inbox after each receive, whatever that has brought: what is left may
    /// be taken for the view of the next message, which may be another client's.
    pub const fn view_into(self, inbox: &'a Inbox) -> Self {
        Self {
            inbox: Some(inbox),
            ..self
        }
    }

    /// Send these descriptors with the message. They may be closed as soon as the
    /// call has returned: the message has the files.
    ///
    /// A receiver must have [asked for](crate::PortBuilder::take_handles) their kinds.
    /// [`Outcome::NotTaken`](crate::Outcome::NotTaken) says that it has not, and
    /// [`Outcome::BadHandle`](crate::Outcome::BadHandle) that a file can't be sent to
    /// anybody.
    ///
    /// ```compile_fail
    /// use std::os::fd::AsFd;
    ///
    /// fn wrong(client: &alpc::Client, file: std::fs::File) {
    ///     let handles = [file.as_fd()];
    ///     let options = alpc::Options::new().handles(&handles);
    ///     drop(file);
    ///     let _ = client.send_with(b"", options);
    /// }
    /// ```
    pub const fn handles(self, handles: &'a [BorrowedFd<'a>]) -> Self {
        Self { handles, ..self }
    }

    /// Ask how many handles the received message has, see
    /// [`Message::handles`](crate::Message::handles).
    pub const fn ask_handles(self) -> Self {
        Self {
            ask_handles: true,
            ..self
        }
    }

    /// Claim the handles of the received message at once, as far as there is room. That
    /// is the only way for those of one-way messages and of final replies. To use and to close them
    /// may take long, see [`Turn::claim`](crate::Turn::claim).
    ///
    /// They are taken after each receive, whatever that has brought: what is left is among those of
    /// the next message, which may be another client's.
    pub const fn claim_into(self, claimed: &'a Claimed) -> Self {
        Self {
            claimed: Some(claimed),
            ..self
        }
    }
}

impl Options<'_> {
    /// These options without what goes along with one message.
    pub(crate) fn without_attachments(self) -> Self {
        Self {
            lent: None,
            given: None,
            handles: &[],
            reply_bytes: 0,
            message_context: None,
            security: None,
            for_user: None,
            for_group: None,
            ..self
        }
    }
}

impl From<Timeout> for Options<'_> {
    fn from(timeout: Timeout) -> Self {
        Self::new().timeout(timeout)
    }
}

impl From<Duration> for Options<'_> {
    fn from(timeout: Duration) -> Self {
        Self::new().timeout(timeout.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_convert_without_overflow() {
        let max = i64::MAX as u64;
        assert_eq!(Timeout::Infinite.to_raw(), (0, 0));
        assert_eq!(Timeout::ZERO.to_raw(), (1, 0));
        assert_eq!(Timeout::Monotonic(Duration::MAX).to_raw(), (2, max));
        assert_eq!(
            Timeout::Boottime(Duration::from_micros(5)).to_raw(),
            (3, 5000)
        );
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timeout::Realtime(before).to_raw(), (4, 0));
    }
}
