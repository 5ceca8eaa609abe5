// SPDX-License-Identifier: GPL-2.0

//! How things end for the caller: the one table of outcomes and their errnos.
#![deny(unsafe_code)]

use crate::{
    logic::engine::{
        End,
        Refusal, //
    },
    uapi, //
};
use kernel::{
    error::Error,
    prelude::*, //
};

/// Why a call failed, as finely as the ABI tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    NotConnected,
    Disconnected,
    Closed,
    Lost,
    Canceled,
    AlreadyReceived,
    TimedOut,
    TimedOutSent,
    Interrupted,
    InterruptedSent,
    NotFound,
    NotOwner,
    StaleTurn,
    WrongKind,
    BufferTooSmall,
    TooLong,
    QueueFull,
    Limit,
    NameInUse,
    NameNotFound,
    AccessDenied,
    ServerMismatch,
    TooDeep,
    /// The other side takes no such thing.
    NotTaken,
    /// A handle that is none, or of no kind that can be sent.
    BadHandle,
    /// The view is lent already.
    Lent,
    /// No view begins at that address.
    NotAView,
    /// No room for received views.
    NoWindow,
    /// The caller does not wait in its call.
    MemoryClosed,
    /// Received by nobody that it was for.
    ReceiverMismatch,
    /// The sender has ended, or does not wait.
    SenderGone,
    /// No security context has that id.
    NotAContext,
    /// The security context is revoked.
    Revoked,
    /// The sender does not let itself be impersonated.
    NotGranted,
    /// The caller could not become that by itself.
    BeyondReach,
    /// Nobody can reach the port.
    NoClients,
    /// Nobody waits for the answer, and who asked has made less room for it.
    TooLongForReply,
}

impl Outcome {
    /// The number in the ABI, and the errno that goes with it.
    fn row(self) -> (u32, Error) {
        match self {
            Self::Refused => (uapi::ALPC_OUTCOME_REFUSED, ECONNREFUSED),
            Self::NotConnected => (uapi::ALPC_OUTCOME_NOT_CONNECTED, ENOTCONN),
            Self::Disconnected => (uapi::ALPC_OUTCOME_DISCONNECTED, EPIPE),
            Self::Closed => (uapi::ALPC_OUTCOME_CLOSED, ESHUTDOWN),
            Self::Lost => (uapi::ALPC_OUTCOME_LOST, ECONNRESET),
            Self::Canceled => (uapi::ALPC_OUTCOME_CANCELED, ECANCELED),
            Self::AlreadyReceived => (uapi::ALPC_OUTCOME_ALREADY_RECEIVED, EALREADY),
            Self::TimedOut => (uapi::ALPC_OUTCOME_TIMED_OUT, ETIMEDOUT),
            Self::TimedOutSent => (uapi::ALPC_OUTCOME_TIMED_OUT_SENT, ETIMEDOUT),
            // The signal code turns this into EINTR, or into the same call again.
            Self::Interrupted => (uapi::ALPC_OUTCOME_INTERRUPTED, ERESTARTSYS),
            Self::InterruptedSent => (uapi::ALPC_OUTCOME_INTERRUPTED_SENT, ERESTARTSYS),
            Self::NotFound => (uapi::ALPC_OUTCOME_NOT_FOUND, ENOENT),
            Self::NotOwner => (uapi::ALPC_OUTCOME_NOT_OWNER, EPERM),
            Self::StaleTurn => (uapi::ALPC_OUTCOME_STALE_TURN, ESTALE),
            Self::WrongKind => (uapi::ALPC_OUTCOME_WRONG_KIND, EPROTO),
            Self::BufferTooSmall => (uapi::ALPC_OUTCOME_BUFFER_TOO_SMALL, ENOBUFS),
            Self::TooLong => (uapi::ALPC_OUTCOME_TOO_LONG, EMSGSIZE),
            Self::QueueFull => (uapi::ALPC_OUTCOME_QUEUE_FULL, EAGAIN),
            Self::Limit => (uapi::ALPC_OUTCOME_LIMIT, EDQUOT),
            Self::NameInUse => (uapi::ALPC_OUTCOME_NAME_IN_USE, EADDRINUSE),
            Self::NameNotFound => (uapi::ALPC_OUTCOME_NAME_NOT_FOUND, ENOENT),
            Self::AccessDenied => (uapi::ALPC_OUTCOME_ACCESS_DENIED, EACCES),
            Self::ServerMismatch => (uapi::ALPC_OUTCOME_SERVER_MISMATCH, EACCES),
            Self::TooDeep => (uapi::ALPC_OUTCOME_TOO_DEEP, ELOOP),
            Self::NotTaken => (uapi::ALPC_OUTCOME_NOT_TAKEN, EOPNOTSUPP),
            Self::BadHandle => (uapi::ALPC_OUTCOME_BAD_HANDLE, EPERM),
            Self::Lent => (uapi::ALPC_OUTCOME_LENT, EBUSY),
            Self::NotAView => (uapi::ALPC_OUTCOME_NOT_A_VIEW, ENXIO),
            Self::NoWindow => (uapi::ALPC_OUTCOME_NO_WINDOW, ENOBUFS),
            Self::MemoryClosed => (uapi::ALPC_OUTCOME_MEMORY_CLOSED, ESTALE),
            Self::ReceiverMismatch => (uapi::ALPC_OUTCOME_RECEIVER_MISMATCH, EACCES),
            Self::SenderGone => (uapi::ALPC_OUTCOME_SENDER_GONE, ESRCH),
            Self::NotAContext => (uapi::ALPC_OUTCOME_NOT_A_CONTEXT, ENXIO),
            Self::NotGranted => (uapi::ALPC_OUTCOME_NOT_GRANTED, EACCES),
            Self::BeyondReach => (uapi::ALPC_OUTCOME_BEYOND_REACH, EPERM),
            Self::NoClients => (uapi::ALPC_OUTCOME_NO_CLIENTS, ENOLINK),
            Self::TooLongForReply => (uapi::ALPC_OUTCOME_TOO_LONG_FOR_REPLY, EMSGSIZE),
            Self::Revoked => (uapi::ALPC_OUTCOME_REVOKED, ESTALE),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// The arguments are wrong, or memory is short: nothing is written back.
    Plain(Error),
    /// Something that has an outcome.
    Told(Outcome),
    /// The message needs this many bytes of room.
    TooSmall(u32),
    /// An outcome with an errno of its own.
    Special(Outcome, Error),
}

impl Failure {
    /// Whether it is this one.
    pub(crate) fn is(self, outcome: Outcome) -> bool {
        self.outcome() == Some(outcome.row().0)
    }

    /// The errno.
    pub(crate) fn errno(self) -> Error {
        match self {
            Self::Plain(error) | Self::Special(_, error) => error,
            Self::Told(outcome) => outcome.row().1,
            Self::TooSmall(_) => Outcome::BufferTooSmall.row().1,
        }
    }

    /// The number that is written back, if any.
    pub(crate) fn outcome(self) -> Option<u32> {
        match self {
            Self::Plain(_) => None,
            Self::Told(outcome) | Self::Special(outcome, _) => Some(outcome.row().0),
            Self::TooSmall(_) => Some(Outcome::BufferTooSmall.row().0),
        }
    }
}

/// Turns the error of making a file into a failure: `ACCESS_DENIED` if a security module refused.
pub(crate) fn or_denied(error: Error) -> Failure {
    match error == EACCES || error == EPERM {
        true => Outcome::AccessDenied.into(),
        false => error.into(),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Plain(error)
    }
}

impl From<kernel::alloc::AllocError> for Failure {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::Plain(ENOMEM)
    }
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Self {
        Self::Told(outcome)
    }
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end {
            End::Refused => Self::Refused,
            End::NotConnected => Self::NotConnected,
            End::Disconnected => Self::Disconnected,
            End::Closed => Self::Closed,
            End::Lost => Self::Lost,
            End::Canceled => Self::Canceled,
            End::Mismatch => Self::ReceiverMismatch,
            End::NoClients => Self::NoClients,
        }
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        Self::Told(end.into())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Told(match refusal {
            Refusal::Ended(end) => end.into(),
            Refusal::NotFound => Outcome::NotFound,
            Refusal::NotOwner => Outcome::NotOwner,
            Refusal::StaleTurn => Outcome::StaleTurn,
            Refusal::WrongKind => Outcome::WrongKind,
            Refusal::TooDeep => Outcome::TooDeep,
            Refusal::QueueFull => Outcome::QueueFull,
            Refusal::Limit => Outcome::Limit,
            Refusal::AlreadyReceived => Outcome::AlreadyReceived,
            Refusal::TooLong => Outcome::TooLong,
            // Nobody gets either: what they ask for is done, and the call made again.
            Refusal::Grow | Refusal::NotWatched => return Self::Plain(ENOMEM),
        })
    }
}
