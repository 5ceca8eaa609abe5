// SPDX-License-Identifier: MIT OR Apache-2.0

//! The two ends of a connection.

use std::io;
use std::os::fd::OwnedFd;

use crate::buffer::Buffer;
use crate::cancel::CancelMode;
use crate::connect::ConnectBuilder;
use crate::error::{Error, Result};
use crate::message::{ConversationId, Message, Received, Reply};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::port::{port_traits, Port, Start};
use crate::query::Peer;
use crate::sys;
use crate::turn::{converse, Callback, Exchange, Handler};

/// One end of a connection: what clients and servers both can begin.
///
/// [`Client`] and [`ServerPort`] deref to it, and it derefs to [`Port`].
///
/// | need | method | comes back |
/// | --- | --- | --- |
/// | an answer, now | [`call_vec`](Endpoint::call_vec) | returned |
/// | an answer, later | [`send_request`](Endpoint::send_request) | by [`Port::receive`] |
/// | no answer | [`send`](Endpoint::send) | nothing |
#[derive(Debug, Clone)]
pub struct Endpoint(Port);

port_traits!(Endpoint, Port);

const SYNC: u32 = sys::ALPC_SEND | sys::ALPC_SYNC | sys::ALPC_RECEIVE;

impl Endpoint {
    /// Sends a request and waits for its reply, which the vector is made large enough for: no
    /// reply is too long. One ioctl, and one more the first time that a port is asked so, to learn
    /// the largest message of its connection. The vector's capacity grows to that, at most 65,536
    /// bytes, and is used again by the next call.
    ///
    /// Whatever the vector held is gone, and it holds the reply, or nothing after an error.
    ///
    /// ```no_run
    /// # let client = alpc::Client::connect("demo/echo")?;
    /// let mut buffer = Vec::new();
    /// for word in ["one", "two"] {
    ///     let reply = client.call_vec(word.as_bytes(), &mut buffer)?;
    ///     println!("{:?} from process {}", reply.data(), reply.sender().pid);
    /// }
    /// # Ok::<(), alpc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A server that calls back is refused, and the call is given up. Use
    /// [`call_with_callbacks`](Endpoint::call_with_callbacks) for those. Errno `ENOMEM`: there is
    /// no memory for the vector, and nothing was sent.
    pub fn call_vec<'p, 'b>(
        &'p self,
        request: &[u8],
        reply: &'b mut Vec<u8>,
    ) -> Result<Reply<'p, 'b>> {
        reply.clear();
        let length = self.0.largest_message()?;
        reply.try_reserve(length).map_err(|_| {
            let no_memory = io::Error::from_raw_os_error(libc::ENOMEM);
            Error::plain("call", &no_memory)
        })?;
        self.call(request, reply)
    }

    /// Sends a request and waits for its reply. One ioctl, no allocation when
    /// the buffer is a slice or an array.
    ///
    /// # Errors
    ///
    /// [`Outcome::BufferTooSmall`](crate::Outcome::BufferTooSmall): the server has answered, and
    /// the reply is dropped, which takes a second ioctl. The error says
    /// [how long](crate::Error::length) it was, and that the request
    /// [was sent](crate::Error::was_sent): it has had its effect. Nothing of the call is left
    /// behind. [`call_vec`](Endpoint::call_vec) has room for every reply, and
    /// [`call_with`](Endpoint::call_with) keeps it.
    ///
    /// A server that calls back is refused, and the call is given up. Use
    /// [`call_with_callbacks`](Endpoint::call_with_callbacks) for those.
    pub fn call<'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        reply: &'b mut B,
    ) -> Result<Reply<'p, 'b>> {
        self.call_with(request, reply, Options::new())
            .map_err(|error| self.drop_reply(error))
    }

    /// Drops the reply for which the buffer of a call was too small, and says so in the error.
    fn drop_reply(&self, error: Error) -> Error {
        match error.conversation() {
            Some(id) if error.is(Outcome::BufferTooSmall) => {
                // It is over already if another thread has received the reply.
                let _ = self.cancel(id, CancelMode::Always);
                error.with_reply_dropped()
            }
            _ => error,
        }
    }

    /// Sends a request and waits for its reply, with options. The timeout bounds the whole call,
    /// and its end cancels the request. One ioctl.
    ///
    /// # Errors
    ///
    /// [`Outcome::BufferTooSmall`](crate::Outcome::BufferTooSmall) keeps the reply:
    /// [`resume`](Endpoint::resume) the call with a larger buffer. Who doesn't has one
    /// conversation less for each, of the 1,024 that a connection can have.
    ///
    /// A server that calls back is refused, and the call is given up.
    pub fn call_with<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        reply: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Reply<'p, 'b>> {
        self.converse(request, reply, options.into(), &mut None)
    }

    /// Sends a request to a peer that may call back before it replies, and waits for the reply.
    /// `handler` gets the callback, and what it leaves in the vector is the answer. One ioctl,
    /// and one more for each callback; the timeout bounds each of them.
    pub fn call_with_callbacks<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        reply: &'b mut B,
        options: impl Into<Options<'o>>,
        mut handler: impl FnMut(&mut Callback<'_, '_>, &mut Vec<u8>),
    ) -> Result<Reply<'p, 'b>> {
        let mut handler: Option<Handler<'_>> = Some(&mut handler);
        self.converse(request, reply, options.into(), &mut handler)
    }

    fn converse<'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        reply: &'b mut B,
        options: Options<'_>,
        handler: &mut Option<Handler<'_>>,
    ) -> Result<Reply<'p, 'b>> {
        let start = Start::new("call", SYNC, request);
        let raw = converse(&self.0, start, reply, options, handler)?;
        let message = Message::new(&raw, reply.filled(raw.length()));
        Ok(Reply::new(&self.0, message))
    }

    /// Sends a request and waits for its reply or its first callback, whichever
    /// comes. One ioctl.
    pub fn exchange<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Exchange<'p, 'b>> {
        let start = Start::new("call", SYNC, request);
        let raw = self.0.transfer(start, buffer, options.into())?;
        Ok(Exchange::new(&self.0, &raw, buffer.filled(raw.length())))
    }

    /// Goes on waiting for a call that a signal or a buffer too small has
    /// ended. The error knows its [`conversation`](crate::Error::conversation).
    pub fn resume<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        id: ConversationId,
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Exchange<'p, 'b>> {
        let start = Start {
            id: id.to_raw(),
            ..Start::new("resume", SYNC | sys::ALPC_SENT, &[])
        };
        let raw = self.0.transfer(start, buffer, options.into())?;
        Ok(Exchange::new(&self.0, &raw, buffer.filled(raw.length())))
    }

    /// Sends a request without waiting. The reply arrives in this port's queue,
    /// with this conversation's id. One ioctl.
    ///
    /// A reply that nobody waits for must fit into the room that a client makes for it: as many
    /// bytes as the request has, 256 at least, or as [`Options::reply_bytes`] says. In the place of
    /// a longer one [`NoticeKind::LostReply`](crate::NoticeKind::LostReply) comes.
    pub fn send_request(&self, request: &[u8]) -> Result<ConversationId> {
        self.send_request_with(request, Options::new())
    }

    /// Sends a request without waiting for its reply, as [`send_request`](Endpoint::send_request)
    /// does, with options. Their timeout bounds the wait for room in the queue.
    pub fn send_request_with<'o>(
        &self,
        request: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<ConversationId> {
        let start = Start::new("send request", sys::ALPC_SEND, request);
        let raw = self.0.transfer_out(start, options.into())?;
        Ok(ConversationId::from_raw(raw.transfer.send_id))
    }

    /// Sends a request without waiting for its reply, and receives this port's
    /// next message, which may be the reply to an earlier one. One ioctl.
    ///
    /// # Errors
    ///
    /// An error with [`was_sent`](crate::Error::was_sent) says that only the
    /// receive failed, and knows the conversation.
    pub fn send_request_and_receive<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<(ConversationId, Received<'p, 'b>)> {
        let flags = sys::ALPC_SEND | sys::ALPC_RECEIVE;
        let start = Start::new("send request and receive", flags, request);
        let raw = self.0.transfer(start, buffer, options.into())?;
        let id = ConversationId::from_raw(raw.transfer.send_id);
        let message = Message::new(&raw, buffer.filled(raw.length()));
        Ok((id, Received::new(&self.0, message)))
    }

    /// Sends a one-way message. One ioctl.
    pub fn send(&self, data: &[u8]) -> Result<()> {
        self.send_with(data, Options::new())
    }

    /// Sends a one-way message, with options. Their timeout bounds the wait for room in the queue. One
    /// ioctl.
    pub fn send_with<'o>(&self, data: &[u8], options: impl Into<Options<'o>>) -> Result<()> {
        let start = Start::new("send", sys::ALPC_SEND | sys::ALPC_RELEASE, data);
        self.0.transfer_out(start, options.into()).map(drop)
    }

    /// Who is at the other end, as of connect or accept. One ioctl.
    pub fn peer(&self) -> Result<Peer> {
        Ok(self.query()?.peer)
    }
}

/// The client's end of a connection.
///
/// Derefs to [`Endpoint`], which says what it can do.
///
/// ```no_run
/// use alpc::Client;
///
/// let client = Client::connect("demo/echo")?;
/// let mut reply = Vec::new();
/// let reply = client.call_vec(b"hello", &mut reply)?;
/// assert_eq!(reply.data(), b"hello");
/// # Ok::<(), alpc::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client(Endpoint);

port_traits!(Client, Endpoint);

impl Client {
    /// Connects to a port by name. For more than that there is
    /// [`ConnectBuilder`].
    pub fn connect(name: &str) -> Result<Self> {
        ConnectBuilder::new(name).connect()
    }

    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(Endpoint(Port::new(fd)))
    }
}

/// The server's end of one connection: one client.
///
/// For messages that the server begins, for that client's identity, and to
/// disconnect it. The replies to what it began arrive here; the client's
/// requests arrive on the [`Server`](crate::Server). Dropping the last clone
/// disconnects the client.
///
/// What it begins doesn't wait for room in the client's queue, which the client makes or doesn't:
/// where there is none it fails with [`Outcome::QueueFull`](crate::Outcome::QueueFull), unless
/// [`Options::waiting`] asks for the wait.
///
/// Derefs to [`Endpoint`], which says what it can do.
#[derive(Debug, Clone)]
pub struct ServerPort(Endpoint);

port_traits!(ServerPort, Endpoint, |fd| Self::new(fd));

impl ServerPort {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(Endpoint(Port::of_server(fd)))
    }
}
