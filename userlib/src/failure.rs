// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong in a server loop that goes on.

use std::any::Any;
use std::fmt;

use crate::error::Error;
use crate::message::{Message, Received, Sender};

/// Something went wrong in a [`ServerLoop`](crate::ServerLoop) for one client, and the loop goes
/// on: what [`Service::failed`](crate::Service::failed) is told.
///
/// `Display` makes a line for a log of it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// What went wrong, and why.
    pub cause: Cause<'a>,
    /// Who sent the message that it is about, or wants to connect. `None` if nothing was received.
    pub sender: Option<Sender>,
    /// The context of the connection that it is about. `None` if nothing was received. That of a
    /// connection that was not accepted is given to no other.
    pub port_context: Option<u64>,
}

/// What went wrong, in a [`Failure`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// A connection request could not be accepted, or not be refused as the service wanted: for
    /// want of descriptors (errno `EMFILE`, `ENFILE`) or memory (`ENOMEM`), or as the client has
    /// gone ([`Outcome::Canceled`](crate::Outcome::Canceled)). Who is still there was refused.
    Accept(&'a Error),
    /// A reply could not be sent, and its requester is told that none will come. Among the outcomes
    /// are [`TooLong`](crate::Outcome::TooLong) above the connection's largest message;
    /// [`TooLongForReply`](crate::Outcome::TooLongForReply) and
    /// [`QueueFull`](crate::Outcome::QueueFull) if the requester has made no room for it;
    /// [`Limit`](crate::Outcome::Limit) if its user reads too little of what the port has sent; and
    /// [`Canceled`](crate::Outcome::Canceled), [`Lost`](crate::Outcome::Lost) and
    /// [`Disconnected`](crate::Outcome::Disconnected) if it has given up or gone, or
    /// [`NotFound`](crate::Outcome::NotFound) if another thread of the loop has received the notice
    /// of that. Errno `ENOMEM` comes without an outcome.
    Reply(&'a Error),
    /// Nothing could be received just now, or only without the message's view. With
    /// [`Outcome::NoClients`](crate::Outcome::NoClients) the loop ends after this.
    Receive(&'a Error),
    /// A message had a view that the service has not taken from the
    /// [`Inbox`](crate::Inbox), or the loop has no inbox. It has been released.
    View,
    /// A method of the service panicked with this. A request that it was about is given up, and a
    /// connection refused.
    Panic(&'a (dyn Any + Send)),
}

/// Whose doing something is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    pub(crate) sender: Option<Sender>,
    pub(crate) port_context: Option<u64>,
}

impl Origin {
    /// Whoever has sent what was received.
    pub(crate) fn of(received: &Received<'_, '_>) -> Self {
        match received {
            Received::Request(request) => Self::of_message(request),
            Received::Datagram(message) | Received::Other(message) => Self::of_message(message),
            Received::Accepted(message) | Received::Refused(message) => Self::of_message(message),
            Received::Reply(reply) => Self::of_message(reply),
            Received::Connection(request) => Self::of_message(request),
            Received::Notice(notice) => Self::of_message(notice),
        }
    }

    /// Whoever has sent a message.
    pub(crate) fn of_message(message: &Message<'_>) -> Self {
        Self {
            sender: Some(message.sender()),
            port_context: Some(message.port_context()),
        }
    }
}

impl<'a> Failure<'a> {
    pub(crate) fn new(cause: Cause<'a>, from: Origin) -> Self {
        Self {
            cause,
            sender: from.sender,
            port_context: from.port_context,
        }
    }

    /// The error of the call that failed, if it was a call.
    pub fn error(&self) -> Option<&'a Error> {
        match self.cause {
            Cause::Accept(error) | Cause::Reply(error) | Cause::Receive(error) => Some(error),
            Cause::View | Cause::Panic(_) => None,
        }
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sender) = self.sender {
            write!(f, "process {} of user {}: ", sender.pid, sender.uid)?;
        }
        match self.cause {
            Cause::Accept(error) | Cause::Reply(error) | Cause::Receive(error) => error.fmt(f),
            Cause::View => f.write_str("a view that came with a message was not taken"),
            Cause::Panic(payload) => {
                f.write_str("the service panicked: ")?;
                // It may be of several lines, and repeat what a client has sent.
                let mut shown = said(payload).chars().map(|char| match char.is_control() {
                    true => ' ',
                    false => char,
                });
                shown.try_for_each(|char| write!(f, "{char}"))
            }
        }
    }
}

/// The text of a panic.
fn said(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
        (Some(text), _) => text,
        (None, Some(text)) => String::as_str(text),
        (None, None) => "with something that is no text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_failure_says_who_and_what() {
        let sender = Some(Sender {
            pid: 12,
            tid: 13,
            uid: 14,
            gid: 15,
        });
        let error = Error::plain("accept", &io::Error::from_raw_os_error(libc::EMFILE));
        let from = Origin {
            sender,
            port_context: Some(3),
        };
        let failure = Failure::new(Cause::Accept(&error), from);
        let text = failure.to_string();
        assert!(
            text.starts_with("process 12 of user 14: accept: "),
            "{text}"
        );
        assert_eq!(failure.error(), Some(&error));

        let panics: [(Box<dyn Any + Send>, &str); 3] = [
            (Box::new("text"), "the service panicked: text"),
            (
                Box::new(String::from("more\nroot: all is well\x1b")),
                "the service panicked: more root: all is well ",
            ),
            (
                Box::new(5),
                "the service panicked: with something that is no text",
            ),
        ];
        for (payload, expected) in panics {
            let failure = Failure::new(Cause::Panic(&*payload), Origin::default());
            assert_eq!(failure.to_string(), expected);
            assert_eq!(failure.error(), None);
        }
    }
}
