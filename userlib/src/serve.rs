// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server loop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::accept::{Accept, ConnectionRequest};
use crate::endpoint::ServerPort;
use crate::error::{Error, Result};
use crate::message::{Message, Notice, NoticeKind, Received, Request};
use crate::options::{Options, Timeout};
use crate::outcome::Outcome;
use crate::server::Server;
use crate::turn::Turn;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Answer {
    /// Send the reply.
    #[default]
    Reply,
    /// Send nothing: the requester's call fails with [`Outcome::Lost`].
    Discard,
    /// Send the reply, and end the loop.
    Stop,
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::Reply
    }
}

/// What becomes of a connection request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Accept it.
    Accept,
    /// Refuse it.
    Refuse,
}

/// What a server does with what it receives in a [`ServerLoop`]. Only
/// [`request`](Service::request) must be said.
pub trait Service {
    /// Fills in the reply, which is empty before. `request` can be
    /// [called back](Request::turn_mut) first.
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer;

    /// Somebody wants to connect. What is left in `answer` is sent with the
    /// decision. `context` is the port context that the client's messages will
    /// carry if it is accepted.
    fn connection(
        &mut self,
        _request: &Message<'_>,
        _context: u64,
        _answer: &mut Vec<u8>,
    ) -> Admission {
        Admission::Accept
    }

    /// A one-way message.
    fn datagram(&mut self, _message: &Message<'_>) {}

    /// A client has gone, or a request that was held is void.
    fn notice(&mut self, _notice: &Notice) {}
}

/// Receives and answers, one ioctl per request, and keeps the server ports of
/// the clients that it accepted.
///
/// It gives each connection a port context of its own, counted up from 1.
/// Several threads may [`run`](ServerLoop::run) one loop at once, each with a
/// service of its own.
#[derive(Debug)]
pub struct ServerLoop<'s> {
    server: &'s Server,
    connections: Mutex<HashMap<u64, ServerPort>>,
    next_context: AtomicU64,
}

impl<'s> ServerLoop<'s> {
    /// A loop without connections. Dropping it disconnects those it has.
    pub fn new(server: &'s Server) -> Self {
        Self {
            server,
            connections: Mutex::default(),
            next_context: AtomicU64::new(1),
        }
    }

    /// The server's end of the connection with this context, to send something
    /// of the server's own accord.
    pub fn port(&self, context: u64) -> Option<ServerPort> {
        self.connections().get(&context).cloned()
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, ServerPort>> {
        // The map is whole between any two of its calls.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the service says [`Answer::Stop`], the port is
    /// disconnected, from whichever thread, or nobody can reach it any more
    /// ([`Outcome::NoClients`]): a service that was made for some clients ends
    /// with the last of them. To go on without any, keep a [`Connector`].
    ///
    /// [`Connector`]: crate::Connector
    ///
    /// Begins with one ioctl to learn the port's largest message, and allocates
    /// a buffer of that size. A client that goes away or cancels while its
    /// request is being answered doesn't end the loop, and neither does a reply
    /// that is too long, for the connection or for the room that a client that
    /// doesn't wait has made: that request is discarded.
    pub fn run(&self, service: &mut impl Service) -> Result<()> {
        self.run_with(service, Options::new())
    }

    /// The same, with options of what is received: to ask for handles and memory, and where views
    /// and claimed handles go. The service takes them from there, so each thread has an
    /// [`Inbox`](crate::Inbox) of its own. A service that uses a client's memory gives that a time,
    /// as by [`MemoryRange::read_exact_at`](crate::MemoryRange::read_exact_at): a client may lend
    /// memory that never comes, and the other clients wait meanwhile.
    ///
    /// ```no_run
    /// use alpc::{Answer, Inbox, Options, PortBuilder, Request, ServerLoop, Service};
    ///
    /// struct Sum<'a>(&'a Inbox);
    ///
    /// impl Service for Sum<'_> {
    ///     fn request(&mut self, _: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
    ///         let Some(view) = self.0.take().and_then(|view| view.secure()) else {
    ///             return Answer::Discard;
    ///         };
    ///         let sum: u64 = view.iter().map(|&byte| u64::from(byte)).sum();
    ///         reply.extend_from_slice(&sum.to_le_bytes());
    ///         Answer::Reply
    ///     }
    /// }
    ///
    /// let server = PortBuilder::new("demo/sum").take_views().create()?;
    /// let inbox = Inbox::new();
    /// ServerLoop::new(&server).run_with(&mut Sum(&inbox), Options::new().view_into(&inbox))?;
    /// # Ok::<(), alpc::Error>(())
    /// ```
    pub fn run_with<'o>(
        &self,
        service: &mut impl Service,
        options: impl Into<Options<'o>>,
    ) -> Result<()> {
        let options = options.into().without_attachments();
        let mut buffer = vec![0; self.server.query()?.max_message_length];
        let mut reply = Vec::new();
        let mut owed: Option<Turn<'_>> = None;
        let mut crowded = false;
        loop {
            let replying = owed.is_some();
            let without_view = std::mem::take(&mut crowded);
            let options = match without_view {
                // If another thread has not been faster.
                true => Options {
                    inbox: None,
                    timeout: Timeout::ZERO,
                    ..options
                },
                false => options,
            };
            let result = match owed.take() {
                Some(turn) => turn
                    .reply_and_receive_with(&reply, &mut buffer[..], options)
                    .map_err(Error::from),
                None => self.server.receive_with(&mut buffer[..], options),
            };
            let received = match result {
                Ok(received) => received,
                Err(error) if matches!(error.outcome(), Outcome::Closed | Outcome::NoClients) => {
                    return Ok(());
                }
                // The message would stand before all others for ever. Its view goes back.
                Err(error) if error.outcome() == Outcome::NoWindow => {
                    crowded = true;
                    continue;
                }
                Err(error) if without_view && error.is_timeout() => continue,
                Err(error) if replying && of_one_conversation(&error) => continue,
                Err(error) => return Err(error),
            };
            reply.clear();
            match received {
                Received::Request(mut request) => {
                    let answer = service.request(&mut request, &mut reply);
                    let turn = request.into_turn();
                    match answer {
                        Answer::Reply => owed = Some(turn),
                        Answer::Discard => drop(turn),
                        Answer::Stop => return turn.reply(&reply).map_err(Error::from),
                    }
                }
                Received::Datagram(message) => service.datagram(&message),
                Received::Connection(request) => self.admit(service, request, &mut reply)?,
                Received::Notice(notice) => {
                    service.notice(&notice);
                    if notice.kind() == NoticeKind::PortClosed {
                        self.connections().remove(&notice.port_context());
                    }
                }
                // Replies to what the service began arrive on the server port
                // it began it on, and the rest isn't for servers.
                _ => {}
            }
        }
    }

    fn admit(
        &self,
        service: &mut impl Service,
        request: ConnectionRequest<'_, '_>,
        answer: &mut Vec<u8>,
    ) -> Result<()> {
        let context = self.next_context.fetch_add(1, Ordering::Relaxed);
        let result = match service.connection(&request, context, answer) {
            Admission::Refuse => request.refuse(answer),
            Admission::Accept => {
                // Locked before the accept: another thread may receive the
                // client's last notice as soon as the port exists.
                let mut connections = self.connections();
                request
                    .accept_with(Accept::new().payload(answer).context(context))
                    .map(|port| drop(connections.insert(context, port)))
            }
        };
        match result {
            Err(error) if !of_one_conversation(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether an error of a reply, an accept or a refusal concerns the one client
/// only.
fn of_one_conversation(error: &Error) -> bool {
    !error.was_sent()
        && matches!(
            error.outcome(),
            Outcome::Disconnected
                | Outcome::Lost
                | Outcome::Canceled
                | Outcome::NotFound
                | Outcome::NotOwner
                | Outcome::StaleTurn
                | Outcome::TooLong
                | Outcome::TooLongForReply
                | Outcome::QueueFull
                | Outcome::Limit
        )
}
