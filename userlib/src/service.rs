// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a server loop does with what it receives.

use crate::accept::{Accept, ConnectionRequest};
use crate::failure::Failure;
use crate::message::{Message, Notice, Request};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Answer {
    /// Send the reply.
    #[default]
    Reply,
    /// Send nothing: the requester's call fails with [`Outcome::Lost`](crate::Outcome::Lost).
    Discard,
    /// Send the reply, and end the loop in all its threads, as [`Stopper::stop`] does.
    ///
    /// [`Stopper::stop`]: crate::Stopper::stop
    Stop,
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::Reply
    }
}

/// What becomes of a connection request.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Admission {
    /// Accept it, with the port's own limits.
    Accept,
    /// Accept it with these limits. The loop sets payload and context itself.
    AcceptWith(Accept<'static>),
    /// Refuse it.
    Refuse,
}

/// What a server does with what it receives in a [`ServerLoop`](crate::ServerLoop). Only
/// [`request`](Service::request) must be said.
///
/// A method that panics ends neither the loop nor its thread, where panics unwind: see
/// [`ServerLoop::abort_on_panic`](crate::ServerLoop::abort_on_panic). The panic hook runs all the
/// same, and the usual one writes to the standard error output, as often as clients bring it about.
pub trait Service {
    /// Fills in the reply, which is empty before. `request` can be
    /// [called back](Request::turn_mut) first: with a time, since its client need not answer.
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer;

    /// Somebody wants to connect. What is left in `answer` is sent with the
    /// decision. `context` is the port context that the client's messages will
    /// carry if it is accepted.
    ///
    /// ```
    /// use alpc::{Accept, Admission, Answer, ConnectionRequest, Request, Service};
    ///
    /// struct Small;
    ///
    /// impl Service for Small {
    ///     fn request(&mut self, _: &mut Request<'_, '_>, _: &mut Vec<u8>) -> Answer {
    ///         Answer::Reply
    ///     }
    ///
    ///     fn connection(
    ///         &mut self,
    ///         request: &ConnectionRequest<'_, '_>,
    ///         _context: u64,
    ///         answer: &mut Vec<u8>,
    ///     ) -> Admission {
    ///         match request.sender().uid {
    ///             0 => Admission::Accept,
    ///             65534 => {
    ///                 answer.extend_from_slice(b"who are you?");
    ///                 Admission::Refuse
    ///             }
    ///             _ => Admission::AcceptWith(Accept::new().max_message_length(256)),
    ///         }
    ///     }
    /// }
    /// ```
    fn connection(
        &mut self,
        _request: &ConnectionRequest<'_, '_>,
        _context: u64,
        _answer: &mut Vec<u8>,
    ) -> Admission {
        Admission::Accept
    }

    /// A one-way message.
    fn datagram(&mut self, _message: &Message<'_>) {}

    /// A client has gone, or a request that was held is void.
    fn notice(&mut self, _notice: &Notice) {}

    /// Something went wrong for one client, and the loop goes on. By default nothing is done about
    /// it.
    ///
    /// Clients can bring that about as often as they like, so a service that writes a log has
    /// a limit to it. A panic in here is ignored.
    fn failed(&mut self, _failure: Failure<'_>) {}
}
