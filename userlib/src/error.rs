// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong: errno, outcome, and what to do about it.

use std::fmt;
use std::io;

use crate::message::ConversationId;
use crate::outcome::Outcome;
use crate::sys;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An ioctl failed. Keeps errno *and* the [`Outcome`], which is finer.
///
/// Match on [`outcome`](Error::outcome); where that is [`Outcome::Ok`] the call
/// was refused before it did anything, and [`errno`](Error::errno) says why. Only a read or write of
/// a caller's memory may have moved bytes by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    operation: &'static str,
    errno: i32,
    outcome: Outcome,
    length: u32,
    /// 0 unless something was sent.
    id: u64,
    sent: bool,
    /// Whether the reply that the buffer was too small for is gone.
    reply_dropped: bool,
}

impl Error {
    pub(crate) fn new(operation: &'static str, error: &io::Error, outcome: u32) -> Self {
        Self {
            operation,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            outcome: Outcome::from_raw(outcome),
            length: 0,
            id: 0,
            sent: false,
            reply_dropped: false,
        }
    }

    /// An error of a call without an outcome.
    pub(crate) fn plain(operation: &'static str, error: &io::Error) -> Self {
        Self::new(operation, error, sys::ALPC_OUTCOME_OK)
    }

    pub(crate) fn transfer(
        operation: &'static str,
        error: &io::Error,
        raw: &sys::alpc_transfer,
    ) -> Self {
        let sent = raw.flags & sys::ALPC_SENT != 0;
        Self {
            length: raw.recv_length,
            id: if sent { raw.send_id } else { 0 },
            sent,
            ..Self::new(operation, error, raw.outcome)
        }
    }

    pub(crate) fn with_length(self, length: u32) -> Self {
        Self { length, ..self }
    }

    /// The reply that the buffer was too small for has been dropped: the conversation is over.
    pub(crate) fn with_reply_dropped(self) -> Self {
        Self {
            id: 0,
            reply_dropped: true,
            ..self
        }
    }

    /// A callback came where the caller has nobody to answer it.
    pub(crate) fn unexpected_callback(operation: &'static str) -> Self {
        let error = io::Error::from_raw_os_error(libc::EPROTO);
        Self::new(operation, &error, sys::ALPC_OUTCOME_WRONG_KIND)
    }

    /// The port was dropped before its canceller was used.
    pub(crate) fn port_gone(operation: &'static str) -> Self {
        let error = io::Error::from_raw_os_error(libc::ESHUTDOWN);
        Self::new(operation, &error, sys::ALPC_OUTCOME_CLOSED)
    }

    /// The errno of the system call.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// What happened, finer than errno.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// With [`Outcome::BufferTooSmall`] the bytes needed; with
    /// [`Outcome::Refused`] of a connect the bytes of the server's answer, which
    /// are in the caller's buffer, or not at all if that is shorter. Else 0.
    pub fn length(&self) -> usize {
        match self.outcome {
            Outcome::BufferTooSmall | Outcome::Refused => self.length as usize,
            _ => 0,
        }
    }

    /// Whether the send part of the call was committed before it failed: the
    /// message has been sent, exactly once.
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// The conversation that was sent into, where there is one and
    /// [`was_sent`](Error::was_sent). None if a plain call has dropped the reply that its buffer
    /// was too small for, as the conversation is over.
    pub fn conversation(&self) -> Option<ConversationId> {
        (self.id != 0).then_some(ConversationId::from_raw(self.id))
    }

    /// Whether the connection is over, for whichever reason: no later call on
    /// this port will do better.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Refused | Outcome::Disconnected | Outcome::Closed
        )
    }

    /// Whether the time was up, be it with something sent or without. On a
    /// descriptor with `O_NONBLOCK` that is at once, with errno `EAGAIN`.
    pub fn is_timeout(&self) -> bool {
        matches!(self.outcome, Outcome::TimedOut | Outcome::TimedOutSent)
    }

    /// Whether the call would have had to wait, and was not to (errno `EAGAIN`): for room in a full
    /// queue ([`Outcome::QueueFull`]), for a message on a descriptor with `O_NONBLOCK`, or for
    /// pages of a caller's memory. A later call may do better.
    pub fn would_block(&self) -> bool {
        self.errno == libc::EAGAIN
    }

    /// Whether a signal ended the wait. Seen only by callers who asked for it,
    /// see [`Options::interruptible`](crate::Options::interruptible).
    pub fn is_interrupted(&self) -> bool {
        let told = matches!(
            self.outcome,
            Outcome::Interrupted | Outcome::InterruptedSent
        );
        told || self.errno == libc::EINTR
    }
}

/// What an errno means when the outcome has nothing to say.
fn advice(operation: &str, errno: i32) -> &'static str {
    match errno {
        libc::ENOENT | libc::ENXIO | libc::ENODEV if operation == OPEN => {
            "there is no /dev/alpc: load the module (modprobe alpc)"
        }
        libc::EACCES if operation == OPEN => "/dev/alpc should be mode 0666: look at udev's rules",
        libc::EFAULT if is_of_memory(operation) => {
            "the caller has no such memory, or not for that: refuse its request"
        }
        libc::EAGAIN if is_of_memory(operation) => {
            "the caller's memory isn't there now: try again, or wait for it"
        }
        libc::ENOMEM if is_of_memory(operation) => {
            "a page of the caller's couldn't be brought in for want of memory"
        }
        libc::EOPNOTSUPP if is_of_memory(operation) => {
            "the caller has lent a mapping of a file or driver: only a call that waits can write to it"
        }
        libc::ENOMEM if operation == MEMORY_ROOM => {
            "this process has no room for what the caller lends: lower memory_most, or refuse the request"
        }
        libc::EINVAL if is_of_memory(operation) => {
            "the offset and length aren't within the range that the caller has lent"
        }
        libc::EACCES if is_of_memory(operation) => "the caller hasn't lent the range for that",
        libc::EINVAL => "an argument was refused: look at lengths, flags and names",
        libc::EFAULT => "a pointer was refused: this is a bug in the caller or in this crate",
        libc::ENOTTY => "this descriptor is not a port, or not one for this operation",
        libc::EBADF => "this descriptor is closed",
        libc::EOPNOTSUPP => "this kernel reserves that but doesn't have it: ask Device::query",
        libc::E2BIG => "this kernel is older than the crate",
        libc::EMFILE | libc::ENFILE => "too many open descriptors: close some, or raise the limit",
        libc::ENOMEM => "no memory within the control group's limit: try again with less",
        _ => "the system call failed",
    }
}

fn is_of_memory(operation: &str) -> bool {
    matches!(operation, READ_MEMORY | WRITE_MEMORY)
}

/// The operation in errors of reading a caller's memory.
pub(crate) const READ_MEMORY: &str = "read memory";
/// The operation in errors of writing a caller's memory.
pub(crate) const WRITE_MEMORY: &str = "write memory";
/// The operation in errors of allocating what a caller's memory is read into.
pub(crate) const MEMORY_ROOM: &str = "allocate for a caller's memory";
/// The operation in errors of opening the device.
pub(crate) const OPEN: &str = "open /dev/alpc";
/// The operation in errors of making a port.
pub(crate) const CREATE: &str = "create port";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: ", self.operation)?;
        match self.outcome {
            Outcome::Ok => f.write_str(advice(self.operation, self.errno))?,
            Outcome::BufferTooSmall if self.reply_dropped => write!(
                f,
                "the request has had its effect, but its reply of {} bytes didn't fit, and is dropped: call with more room",
                self.length
            )?,
            Outcome::BufferTooSmall => write!(f, "{} ({} bytes)", self.outcome, self.length)?,
            Outcome::AccessDenied if self.operation == CREATE => {
                f.write_str("names under system/ and user/ are reserved: choose another, or user/<your id>/")?;
            }
            Outcome::TooLong if is_of_memory(self.operation) => {
                f.write_str(
                    "the caller lends more than memory_most: refuse its request, or raise that",
                )?;
            }
            Outcome::TimedOut if is_of_memory(self.operation) => {
                f.write_str("the caller's memory did not come in time")?;
            }
            outcome => write!(f, "{outcome}")?,
        }
        write!(f, " [{os}]")
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = io::Error::from_raw_os_error(error.errno).kind();
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_callers_memory_blame_the_caller() {
        let text = |operation, errno| {
            Error::plain(operation, &io::Error::from_raw_os_error(errno)).to_string()
        };
        for operation in [READ_MEMORY, WRITE_MEMORY] {
            for errno in [
                libc::EFAULT,
                libc::EAGAIN,
                libc::ENOMEM,
                libc::EOPNOTSUPP,
                libc::EINVAL,
                libc::EACCES,
            ] {
                let text = text(operation, errno);
                assert!(text.contains("the caller"), "{text}");
                assert!(!text.contains("bug"), "{text}");
            }
        }
        assert!(text(CREATE, libc::EFAULT).contains("bug"));
        assert!(text(MEMORY_ROOM, libc::ENOMEM).contains("this process"));
    }

    #[test]
    fn outcomes_of_a_callers_memory_say_what_it_was() {
        let text = |errno, outcome: Outcome| {
            let error = io::Error::from_raw_os_error(errno);
            Error::new(READ_MEMORY, &error, outcome.to_raw()).to_string()
        };
        assert!(text(libc::EMSGSIZE, Outcome::TooLong).contains("memory_most"));
        let late = text(libc::ETIMEDOUT, Outcome::TimedOut);
        assert!(late.contains("the caller's memory did not come in time"));
        assert!(!late.contains("sent"), "{late}");
    }
}
