// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong: errno, outcome, and what to do about it.

use std::fmt;
use std::io;

use crate::advice;
use crate::message::ConversationId;
use crate::outcome::Outcome;
use crate::sys;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something failed. Keeps errno *and*, where there is one, the [`Outcome`], which is finer.
///
/// Match on [`outcome`](Error::outcome). Where it is `None`, [`errno`](Error::errno) says why, and
/// nothing was done but what [`was_sent`](Error::was_sent) tells. Only a read or write of a
/// caller's memory may have moved bytes by then.
///
/// `Display` is one line for whoever runs the program: what failed, and for which port where that
/// was named, why, and what to do about it. `Debug` is the same line, so that a `main` that returns
/// the error prints it; `{:#?}` shows the fields.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    operation: &'static str,
    /// Of the port, where the call names one.
    name: Option<Box<str>>,
    errno: i32,
    outcome: Option<Outcome>,
    /// What to do, where errno and outcome alone don't tell.
    advice: Option<&'static str>,
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
            name: None,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            outcome: Outcome::from_raw(outcome),
            advice: None,
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

    /// For the port of this name, which may be what was wrong.
    pub(crate) fn with_name(self, name: &str) -> Self {
        let is_refused = self.errno == libc::EINVAL && self.outcome.is_none();
        Self {
            advice: match is_refused {
                true => advice::broken_rule(name),
                false => self.advice,
            },
            name: Some(name.into()),
            ..self
        }
    }

    pub(crate) fn with_advice(self, advice: Option<&'static str>) -> Self {
        Self { advice, ..self }
    }

    /// What the whole call began with was sent before this went wrong.
    pub(crate) fn with_sent(self) -> Self {
        Self { sent: true, ..self }
    }

    /// The reply that the buffer was too small for has been dropped: the conversation is over.
    pub(crate) fn with_reply_dropped(self) -> Self {
        Self {
            id: 0,
            reply_dropped: true,
            ..self
        }
    }

    /// A callback came where the caller has nobody to answer it. The request has had its effect by
    /// then.
    pub(crate) fn unexpected_callback(operation: &'static str) -> Self {
        let error = io::Error::from_raw_os_error(libc::EPROTO);
        Self::new(operation, &error, sys::ALPC_OUTCOME_WRONG_KIND).with_sent()
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

    /// What happened, finer than errno. `None` if errno alone tells.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Whether it is this outcome.
    pub(crate) fn is(&self, outcome: Outcome) -> bool {
        self.outcome == Some(outcome)
    }

    /// With [`Outcome::BufferTooSmall`] the bytes needed; with
    /// [`Outcome::Refused`] of a connect the bytes of the server's answer, which
    /// are in the caller's buffer, or not at all if that is shorter. Else 0.
    pub fn length(&self) -> usize {
        match self.outcome {
            Some(Outcome::BufferTooSmall | Outcome::Refused) => self.length as usize,
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
            Some(Outcome::Refused | Outcome::Disconnected | Outcome::Closed)
        )
    }

    /// Whether the time was up, be it with something sent or without. On a
    /// descriptor with `O_NONBLOCK` that is at once, with errno `EAGAIN`.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.outcome,
            Some(Outcome::TimedOut | Outcome::TimedOutSent)
        )
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
            Some(Outcome::Interrupted | Outcome::InterruptedSent)
        );
        told || self.errno == libc::EINTR
    }
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
/// The operation in errors of connecting to a port.
pub(crate) const CONNECT: &str = "connect to";
/// The operation in errors of connecting through a connect descriptor, where there is no name.
pub(crate) const CONNECT_THROUGH: &str = "connect";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        match &self.name {
            Some(name) => write!(f, " {name:?}: ")?,
            None => f.write_str(": ")?,
        }
        match (self.advice, self.outcome) {
            (Some(advice), _) => f.write_str(advice)?,
            (None, None) => f.write_str(advice::of_errno(self.operation, self.errno))?,
            (None, Some(Outcome::BufferTooSmall)) if self.reply_dropped => write!(
                f,
                "the request has had its effect, but its reply of {} bytes didn't fit, and is dropped: call with more room",
                self.length
            )?,
            (None, Some(outcome @ Outcome::BufferTooSmall)) => {
                write!(f, "{outcome} ({} bytes)", self.length)?;
            }
            (None, Some(outcome)) => match advice::of_outcome(self.operation, outcome) {
                Some(advice) => f.write_str(advice)?,
                None => write!(f, "{outcome}")?,
            },
        }
        let os = io::Error::from_raw_os_error(self.errno);
        write!(f, " [{os}]")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        f.debug_struct("Error")
            .field("operation", &self.operation)
            .field("name", &self.name)
            .field("errno", &self.errno)
            .field("outcome", &self.outcome)
            .field("length", &self.length())
            .field("conversation", &self.conversation())
            .field("was_sent", &self.sent)
            .finish()
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

    #[test]
    fn an_error_is_one_line_and_its_fields_are_asked_for() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        let error = Error::new(CONNECT, &error, Outcome::NameNotFound.to_raw()).with_name("a/b");
        let line = error.to_string();
        assert!(
            line.starts_with("connect to \"a/b\": no port has that name"),
            "{line}"
        );
        assert!(
            line.ends_with("[No such file or directory (os error 2)]"),
            "{line}"
        );
        assert_eq!(format!("{error:?}"), line);
        let boxed: Box<dyn std::error::Error> = error.clone().into();
        assert_eq!(format!("{boxed:?}"), line);
        let fields = format!("{error:#?}");
        for field in ["\"a/b\"", "errno: 2", "NameNotFound", "was_sent: false"] {
            assert!(fields.contains(field), "{fields}");
        }
    }

    #[test]
    fn a_refused_name_names_the_rule() {
        let text = |name: &str| {
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            Error::plain(CONNECT, &error).with_name(name).to_string()
        };
        let long = "x".repeat(256);
        for (name, rule) in [
            ("", "at least one byte"),
            (&long[..], "at most 255 bytes"),
            ("a\nb", "no control character"),
            ("a//b", "no empty part"),
            ("/a", "no empty part"),
            ("a/", "no empty part"),
            ("a/../b", "no part . or .."),
        ] {
            assert!(text(name).contains(rule), "{}", text(name));
            assert!(!text(name).contains('\n'));
        }
        assert!(text("a/b").contains("an argument was refused"));
    }
}
