// SPDX-License-Identifier: MIT OR Apache-2.0

//! The outcomes of the ABI as an enumeration.

use std::fmt;

use crate::sys;

/// One table: variant, constant, documentation, what to do.
macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $value:ident, $advice:literal;)*) => {
        /// What happened, finer than errno. `Display` says what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
            /// One that this version of the crate doesn't know.
            Other(u32),
        }

        impl Outcome {
            /// From the number in an ioctl's `outcome` field. None if the number says that there
            /// is nothing to say.
            pub const fn from_raw(value: u32) -> Option<Self> {
                Some(match value {
                    sys::ALPC_OUTCOME_OK => return None,
                    $(sys::$value => Self::$name,)*
                    other => Self::Other(other),
                })
            }

            /// The number in the ABI.
            pub const fn to_raw(self) -> u32 {
                match self {
                    $(Self::$name => sys::$value,)*
                    Self::Other(other) => other,
                }
            }

            /// Every outcome this version of the crate knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        impl fmt::Display for Outcome {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($advice),)*
                    Self::Other(value) => write!(f, "unknown outcome {value}"),
                }
            }
        }
    };
}

outcomes! {
    /// The server refused the connection (`ECONNREFUSED`).
    Refused = ALPC_OUTCOME_REFUSED,
        "the server refused the connection: its answer may say why";
    /// The connection isn't accepted yet (`ENOTCONN`).
    NotConnected = ALPC_OUTCOME_NOT_CONNECTED,
        "the connection isn't accepted yet: receive the server's answer first";
    /// The peer ended the connection (`EPIPE`).
    Disconnected = ALPC_OUTCOME_DISCONNECTED,
        "the peer ended the connection: connect anew";
    /// This port was disconnected (`ESHUTDOWN`).
    Closed = ALPC_OUTCOME_CLOSED,
        "this port was disconnected on this side: stop using it";
    /// The request was received, but no reply will come (`ECONNRESET`).
    Lost = ALPC_OUTCOME_LOST,
        "the request was received but won't be answered: it may have had its effect";
    /// The request was cancelled (`ECANCELED`).
    Canceled = ALPC_OUTCOME_CANCELED,
        "the request was cancelled: drop what was done for it";
    /// A cancel came after receipt (`EALREADY`, or success of a plain cancel).
    AlreadyReceived = ALPC_OUTCOME_ALREADY_RECEIVED,
        "the other side has received it already: cancel without try to void it anyway";
    /// The time was up (`ETIMEDOUT`). Nothing was sent, nothing received; of a caller's memory no
    /// more was moved than the call says.
    TimedOut = ALPC_OUTCOME_TIMED_OUT,
        "the time was up, and nothing was sent, or not all of the caller's memory came";
    /// The time was up after the send (`ETIMEDOUT`).
    TimedOutSent = ALPC_OUTCOME_TIMED_OUT_SENT,
        "the time was up after the message was sent: it may have had its effect";
    /// A signal came; nothing was sent, nothing received (`EINTR`).
    Interrupted = ALPC_OUTCOME_INTERRUPTED,
        "a signal came, and nothing was sent: call again";
    /// A signal came after the send; the request lives on (`EINTR`).
    InterruptedSent = ALPC_OUTCOME_INTERRUPTED_SENT,
        "a signal came after the message was sent: resume the wait, or cancel";
    /// There is no such conversation (`ENOENT`).
    NotFound = ALPC_OUTCOME_NOT_FOUND,
        "the conversation is over: it was answered before, or the other side has given it up or gone";
    /// The other side has the turn (`EPERM`).
    NotOwner = ALPC_OUTCOME_NOT_OWNER,
        "the other side has the turn: receive its message first";
    /// The header isn't the one received last (`ESTALE`).
    StaleTurn = ALPC_OUTCOME_STALE_TURN,
        "this isn't the conversation's current turn: use the header received last";
    /// That can't be done with a conversation of this kind (`EPROTO`).
    WrongKind = ALPC_OUTCOME_WRONG_KIND,
        "that can't be done with a conversation of this kind";
    /// The message doesn't fit; it is kept (`ENOBUFS`).
    BufferTooSmall = ALPC_OUTCOME_BUFFER_TOO_SMALL,
        "the buffer is too small: the message is kept, receive it with a larger one";
    /// The payload is above the port's maximum (`EMSGSIZE`).
    TooLong = ALPC_OUTCOME_TOO_LONG,
        "the payload is above the port's maximum: split it, send it by alpc::bulk, or have the server raise PortBuilder::max_message_length";
    /// The connection's share of the queue is full (`EAGAIN`).
    QueueFull = ALPC_OUTCOME_QUEUE_FULL,
        "the connection's share of the queue is full: wait for the receiver";
    /// A per-user or per-port limit is reached (`EDQUOT`).
    Limit = ALPC_OUTCOME_LIMIT,
        "a limit per user or port is reached: release something first";
    /// Another port has that name (`EADDRINUSE`).
    NameInUse = ALPC_OUTCOME_NAME_IN_USE,
        "another port has that name: is the service running already?";
    /// No port has that name (`ENOENT`).
    NameNotFound = ALPC_OUTCOME_NAME_NOT_FOUND,
        "no port has that name in this IPC namespace: is the service running, and in no other one (container, PrivateIPC=)?";
    /// The port's access control list says no, or it isn't the caller's to change (`EACCES`).
    AccessDenied = ALPC_OUTCOME_ACCESS_DENIED,
        "the port's access control list doesn't give this user or group the right to that";
    /// The port's creator isn't the required one (`EACCES`).
    ServerMismatch = ALPC_OUTCOME_SERVER_MISMATCH,
        "the port belongs to somebody else than the required server: don't trust it";
    /// Too many nested calls (`ELOOP`).
    TooDeep = ALPC_OUTCOME_TOO_DEEP,
        "callbacks are nested too deep: answer some of them";
    /// The other side takes no such thing (`EOPNOTSUPP`).
    NotTaken = ALPC_OUTCOME_NOT_TAKEN,
        "the other side doesn't take what was attached: send the bytes instead";
    /// A handle that can't be sent (`EBADF`, `EPERM`).
    BadHandle = ALPC_OUTCOME_BAD_HANDLE,
        "that handle can't be sent: it isn't open, or of a kind that isn't taken";
    /// The view is lent already (`EBUSY`).
    Lent = ALPC_OUTCOME_LENT,
        "the view is lent already: wait until it is released";
    /// No view begins at that address (`ENXIO`).
    NotAView = ALPC_OUTCOME_NOT_A_VIEW,
        "no view begins at that address";
    /// There is no room for received views (`ENOBUFS`).
    NoWindow = ALPC_OUTCOME_NO_WINDOW,
        "there is no room for received views: release some";
    /// The caller doesn't wait in its call (`ESTALE`).
    MemoryClosed = ALPC_OUTCOME_MEMORY_CLOSED,
        "the caller doesn't wait in its call now: its memory can't be reached";
    /// The request was received by a thread that it was not for (`EACCES`).
    ReceiverMismatch = ALPC_OUTCOME_RECEIVER_MISMATCH,
        "the thread that received the request isn't one that it was for";
    /// The sender has ended, or doesn't wait (`ESRCH`).
    SenderGone = ALPC_OUTCOME_SENDER_GONE,
        "the sender has ended, or doesn't wait: its number may be somebody else's";
    /// No security context of this side has that number (`ENXIO`).
    NotAContext = ALPC_OUTCOME_NOT_A_CONTEXT,
        "no security context has that number";
    /// The security context is revoked (`ESTALE`).
    Revoked = ALPC_OUTCOME_REVOKED,
        "the security context is revoked: make another one, or send without";
    /// The sender doesn't let itself be impersonated (`EACCES`).
    NotGranted = ALPC_OUTCOME_NOT_GRANTED,
        "the sender doesn't let itself be impersonated, by its level or for want of the right";
    /// The caller couldn't become that by itself (`EPERM`).
    BeyondReach = ALPC_OUTCOME_BEYOND_REACH,
        "the caller couldn't become what the sender is by itself: it takes CAP_SETUID and CAP_SETGID";
    /// Nobody can reach the port any more, and all that came has been received (`ENOLINK`). It goes
    /// on: a new [`Connector`](crate::Connector) ends this.
    NoClients = ALPC_OUTCOME_NO_CLIENTS,
        "nobody can reach the port any more: end, or make another connector";
    /// Nobody waits for the reply, and who asked has made less room for it (`EMSGSIZE`). The
    /// conversation is over.
    TooLongForReply = ALPC_OUTCOME_TOO_LONG_FOR_REPLY,
        "nobody waits for the reply, and it is longer than who asked expects: it learns that none comes";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_survives_the_way_to_the_abi_and_back() {
        for (before, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.to_raw() as usize, before + 1, "{outcome:?}");
            assert_eq!(Outcome::from_raw(outcome.to_raw()), Some(*outcome));
            assert!(!matches!(outcome, Outcome::Other(_)));
        }
        assert_eq!(Outcome::from_raw(sys::ALPC_OUTCOME_OK), None);
        let unknown = Outcome::ALL.len() as u32 + 1;
        assert_eq!(Outcome::from_raw(unknown), Some(Outcome::Other(unknown)));
        assert_eq!(Outcome::Other(unknown).to_raw(), unknown);
    }
}
