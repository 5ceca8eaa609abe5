// SPDX-License-Identifier: MIT OR Apache-2.0

//! Turns: the right and the duty to send a conversation's next message.

use std::ops::Deref;

use crate::buffer::Buffer;
use crate::cancel::{self, CancelMode};
use crate::error::{Error, Result};
use crate::memory::CallerMemory;
use crate::message::{ConversationId, Message, Raw, Received, Reply};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::port::{Port, Start};
use crate::sys;
use crate::turn_error::TurnError;

use std::os::fd::AsFd;

/// A conversation and the turn at which it is, to be kept as plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TurnId {
    /// The conversation.
    pub conversation: ConversationId,
    /// The turn. The kernel counts it up with every message.
    pub callback_id: u32,
}

/// Who has the conversation, as far as this side knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This side: it owes a message.
    Held,
    /// The other side, and an answer to this one will come.
    Waiting,
    /// Nobody, or it is of no concern any more.
    Done,
}

/// The right and the duty to send the next message of a conversation.
///
/// A conversation is one message that bounces between its two sides. Who has
/// received it last holds it. A turn can be used once: the methods that pass
/// the conversation on consume it. Dropped unused, it gives the conversation up
/// with one ioctl, and the other side learns that no reply will come.
#[derive(Debug)]
#[must_use = "dropping a turn gives the conversation up"]
pub struct Turn<'p> {
    port: &'p Port,
    id: u64,
    callback_id: u32,
    state: State,
}

impl<'p> Turn<'p> {
    pub(crate) fn new(port: &'p Port, id: u64, callback_id: u32) -> Self {
        Self {
            port,
            id,
            callback_id,
            state: State::Held,
        }
    }

    pub(crate) fn port(&self) -> &'p Port {
        self.port
    }

    fn start<'a>(&self, operation: &'static str, flags: u32, data: &'a [u8]) -> Start<'a> {
        Start {
            operation,
            flags,
            data,
            id: self.id,
            callback_id: self.callback_id,
        }
    }

    /// After a failed send: whose turn it is now.
    fn settle(&mut self, error: &Error) {
        self.state = match error.outcome() {
            Some(Outcome::InterruptedSent | Outcome::BufferTooSmall) if error.was_sent() => {
                State::Waiting
            }
            _ if error.was_sent() => State::Done,
            Some(
                Outcome::Disconnected
                | Outcome::Closed
                | Outcome::Lost
                | Outcome::Canceled
                | Outcome::NotFound
                | Outcome::NotOwner
                | Outcome::StaleTurn
                | Outcome::TooLongForReply,
            ) => State::Done,
            _ => State::Held,
        };
    }

    /// The turn back to the caller, if there is one left.
    fn failed(mut self, error: Error) -> TurnError<Self> {
        self.settle(&error);
        if self.state == State::Waiting {
            // Only the receive half failed, and that was for another message.
            self.state = State::Done;
        }
        let turn = (self.state == State::Held).then_some(self);
        TurnError { error, turn }
    }

    /// The memory that came with the request, which is `ranges`.
    pub(crate) fn memory<'a>(&'a self, ranges: &'a [sys::alpc_memory_range]) -> CallerMemory<'a> {
        CallerMemory::new(self.port, self.id(), ranges)
    }

    /// The conversation and its turn as plain data; the turn itself stays.
    pub fn id(&self) -> TurnId {
        TurnId {
            conversation: ConversationId::from_raw(self.id),
            callback_id: self.callback_id,
        }
    }

    /// Lets go of the turn without giving the conversation up, to be taken up
    /// again by [`Port::turn`], on this port or another one of this side.
    pub fn into_id(mut self) -> TurnId {
        self.state = State::Done;
        self.id()
    }

    /// Makes this process the holder of the conversation. One ioctl, which never waits.
    ///
    /// The process that has received a request holds it: when it ends, or has closed its last
    /// descriptor by which it could answer, the requester is told that no answer will come
    /// ([`Outcome::Lost`]). A process that has been told the [`TurnId`] and is to go on with the
    /// conversation takes it over so.
    ///
    /// # Errors
    ///
    /// The conversation stays with its holder. [`Outcome::NotFound`]: it is over.
    /// [`Outcome::StaleTurn`], [`Outcome::NotOwner`]: this is not its turn, or not any more.
    /// [`Outcome::Canceled`], [`Outcome::Lost`]: it is void, and the notice of that is to be
    /// received. [`Outcome::Limit`]: as many processes and threads hold something at the port as
    /// can. `ENOMEM`.
    ///
    /// ```no_run
    /// # fn succeed(server: &alpc::Server, id: alpc::TurnId) -> alpc::Result<()> {
    /// // The id has come from a worker that is about to leave.
    /// let turn = server.turn(id);
    /// turn.adopt()?;
    /// turn.reply(b"from its successor")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn adopt(&self) -> Result<()> {
        self.adopt_with(Options::new())
    }

    /// Makes this process the holder of the conversation as [`adopt`](Self::adopt) does, or the
    /// calling thread with [`Options::ending_with_thread`]. Other options have no effect.
    ///
    /// # Errors
    ///
    /// As for [`adopt`](Self::adopt); and `EOPNOTSUPP` as in [`Options::ending_with_thread`].
    pub fn adopt_with<'o>(&self, options: impl Into<Options<'o>>) -> Result<()> {
        let options = options.into();
        let only = match options.ends_with_thread {
            true => Options::new().ending_with_thread(),
            false => Options::new(),
        };
        let start = self.start("adopt", sys::ALPC_SEND | sys::ALPC_ADOPT, &[]);
        self.port.transfer_out(start, only).map(drop)
    }

    /// Replies and ends the conversation. One ioctl, which never waits.
    ///
    /// # Errors
    ///
    /// The turn comes back with the error if nothing was sent and it can still
    /// be used: after [`Outcome::TooLong`] a shorter reply may do, after
    /// [`Outcome::QueueFull`] and [`Outcome::Limit`] the requester must receive something first.
    /// After [`Outcome::TooLongForReply`] there is none: the requester learns that no reply comes.
    pub fn reply(self, data: &[u8]) -> Result<(), TurnError<Self>> {
        self.reply_with(data, Options::new())
    }

    /// Replies and ends the conversation as [`reply`](Turn::reply) does, with options: what goes
    /// with the reply, views and handles above all. A timeout has no effect, since nothing waits.
    /// One ioctl.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Turn::reply), and those of what goes with it.
    pub fn reply_with<'o>(
        self,
        data: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<(), TurnError<Self>> {
        let flags = sys::ALPC_SEND | sys::ALPC_RELEASE;
        self.pass("reply", flags, data, options.into())
    }

    /// Replies and leaves the conversation open: the receiver holds it then,
    /// and owes a message or a release. One ioctl.
    ///
    /// What comes next arrives in this side's queue. This is also how a
    /// callback that came through the queue is answered.
    pub fn reply_open<'o>(
        self,
        data: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<(), TurnError<Self>> {
        self.pass("reply", sys::ALPC_SEND, data, options.into())
    }

    fn pass(
        mut self,
        operation: &'static str,
        flags: u32,
        data: &[u8],
        options: Options<'_>,
    ) -> Result<(), TurnError<Self>> {
        let start = self.start(operation, flags, data);
        match self.port.transfer_out(start, options) {
            Ok(_) => {
                self.state = State::Done;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Replies, ends the conversation, and receives the port's next message: a
    /// server's one ioctl per request.
    ///
    /// # Errors
    ///
    /// An error with [`was_sent`](Error::was_sent) says that the reply is on
    /// its way and only the receive failed.
    pub fn reply_and_receive<'b, B: Buffer + ?Sized>(
        self,
        data: &[u8],
        buffer: &'b mut B,
    ) -> Result<Received<'p, 'b>, TurnError<Self>> {
        self.reply_and_receive_with(data, buffer, Options::new())
    }

    /// Replies and receives the next message as [`reply_and_receive`](Turn::reply_and_receive)
    /// does, with options for both. Their timeout bounds the wait for the next message. One ioctl.
    ///
    /// # Errors
    ///
    /// As for [`reply_and_receive`](Turn::reply_and_receive), and those of the options.
    pub fn reply_and_receive_with<'o, 'b, B: Buffer + ?Sized>(
        mut self,
        data: &[u8],
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Received<'p, 'b>, TurnError<Self>> {
        let flags = sys::ALPC_SEND | sys::ALPC_RELEASE | sys::ALPC_RECEIVE;
        let start = self.start("reply and receive", flags, data);
        let port = self.port;
        match port.transfer_next(start, buffer, options.into()) {
            Ok(received) => {
                self.state = State::Done;
                Ok(received)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Calls back: sends a nested request to the other side, and waits for its
    /// answer. Then the turn is this side's again. One ioctl.
    ///
    /// # Errors
    ///
    /// When the other side calls back in turn, that is refused: the
    /// conversation is given up. Use
    /// [`call_with_callbacks`](Turn::call_with_callbacks) where it may.
    pub fn call<'b, B: Buffer + ?Sized>(
        &mut self,
        request: &[u8],
        buffer: &'b mut B,
    ) -> Result<Message<'b>> {
        self.call_with(request, buffer, Options::new())
    }

    /// Calls back as [`call`](Turn::call) does, with options. Their timeout bounds the wait for the
    /// answer: a client need not answer, so a server of several says one. One ioctl.
    ///
    /// # Errors
    ///
    /// As for [`call`](Turn::call). When the time is up after the callback was sent, the
    /// conversation is over.
    pub fn call_with<'o, 'b, B: Buffer + ?Sized>(
        &mut self,
        request: &[u8],
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Message<'b>> {
        self.nested(
            sys::ALPC_SEND,
            Some(request),
            buffer,
            options.into(),
            &mut None,
        )
    }

    /// Calls back as [`call_with`](Turn::call_with) does, where the other side may call back in
    /// turn before it answers: `handler` gets each such callback, and what it leaves in the vector
    /// is the answer. One ioctl, and one more for each of them; the timeout bounds each.
    pub fn call_with_callbacks<'o, 'b, B: Buffer + ?Sized>(
        &mut self,
        request: &[u8],
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
        mut handler: impl FnMut(&mut Callback<'_, '_>, &mut Vec<u8>),
    ) -> Result<Message<'b>> {
        let mut handler: Option<Handler<'_>> = Some(&mut handler);
        let options = options.into();
        self.nested(sys::ALPC_SEND, Some(request), buffer, options, &mut handler)
    }

    /// Goes on waiting for the answer to a [`call`](Turn::call) that a signal
    /// or a buffer too small has ended.
    pub fn resume<'o, 'b, B: Buffer + ?Sized>(
        &mut self,
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Message<'b>> {
        let flags = sys::ALPC_SEND | sys::ALPC_SENT;
        self.nested(flags, None, buffer, options.into(), &mut None)
    }

    fn nested<'b, B: Buffer + ?Sized>(
        &mut self,
        flags: u32,
        request: Option<&[u8]>,
        buffer: &'b mut B,
        options: Options<'_>,
        handler: &mut Option<Handler<'_>>,
    ) -> Result<Message<'b>> {
        let flags = flags | sys::ALPC_SYNC | sys::ALPC_RECEIVE;
        let start = self.start("callback", flags, request.unwrap_or_default());
        match converse(self.port, start, buffer, options, handler) {
            Ok(raw) => {
                self.callback_id = raw.transfer.callback_id;
                let message = Message::new(&raw, buffer.filled(raw.length()));
                self.state = if message.is_open() {
                    State::Held
                } else {
                    State::Done
                };
                Ok(message)
            }
            Err(error) => {
                self.settle(&error);
                Err(error)
            }
        }
    }

    /// Gives the conversation up without a reply. One ioctl, which dropping the
    /// turn makes too; this one tells whether it worked.
    pub fn discard(mut self) -> Result<()> {
        self.give_up()
    }

    fn give_up(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Held => {
                let flags = sys::ALPC_SEND | sys::ALPC_RELEASE | sys::ALPC_DISCARD;
                let start = self.start("discard", flags, &[]);
                self.port.transfer_out(start, Options::new()).map(drop)
            }
            State::Waiting => {
                let id = ConversationId::from_raw(self.id);
                cancel::cancel(self.port.as_fd(), id, CancelMode::Always).map(drop)
            }
            State::Done => Ok(()),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A conversation that is over already needs no giving up.
        let _ = self.give_up();
    }
}

/// Answers callbacks in place: gets the callback, fills in the answer.
pub(crate) type Handler<'h> = &'h mut dyn FnMut(&mut Callback<'_, '_>, &mut Vec<u8>);

/// Sends and waits; has `handler` answer every callback that comes meanwhile.
pub(crate) fn converse<B: Buffer + ?Sized>(
    port: &Port,
    start: Start<'_>,
    buffer: &mut B,
    options: Options<'_>,
    handler: &mut Option<Handler<'_>>,
) -> Result<Raw> {
    let mut raw = port.transfer(start, buffer, options)?;
    // What went along with the request is no part of the answers.
    let options = options.without_attachments();
    let mut answer = Vec::new();
    while raw.is_request() {
        let message = Message::new(&raw, buffer.filled(raw.length()));
        let mut callback = Callback::new(port, message);
        let Some(handler) = handler else {
            return Err(Error::unexpected_callback(start.operation));
        };
        answer.clear();
        handler(&mut callback, &mut answer);
        let mut turn = callback.turn;
        // Whatever becomes of the answer, the request itself has had its effect.
        let answered = turn.0.answer(&answer, buffer, options);
        raw = answered.map_err(Error::with_sent)?;
    }
    Ok(raw)
}

/// What a call yields when its caller wants to see callbacks.
#[derive(Debug)]
#[must_use = "dropping a callback unanswered gives the call up"]
pub enum Exchange<'p, 'b> {
    /// The reply.
    Reply(Reply<'p, 'b>),
    /// The other side asks something before it replies.
    Callback(Callback<'p, 'b>),
}

impl<'p, 'b> Exchange<'p, 'b> {
    pub(crate) fn new(port: &'p Port, raw: &Raw, data: &'b [u8]) -> Self {
        let message = Message::new(raw, data);
        if raw.is_request() {
            Self::Callback(Callback::new(port, message))
        } else {
            Self::Reply(Reply::new(port, message))
        }
    }
}

/// A nested request of the side this one is calling. Derefs to [`Message`].
#[derive(Debug)]
#[must_use = "dropping a callback unanswered gives the call up"]
pub struct Callback<'p, 'b> {
    message: Message<'b>,
    turn: CallbackTurn<'p>,
}

impl<'p, 'b> Callback<'p, 'b> {
    fn new(port: &'p Port, message: Message<'b>) -> Self {
        let turn = CallbackTurn(Turn::new(port, message.id, message.callback_id));
        Self { message, turn }
    }

    /// Message and turn apart, so that the buffer can be used anew.
    pub fn split(self) -> (Message<'b>, CallbackTurn<'p>) {
        (self.message, self.turn)
    }

    /// Asks something in return before answering. See [`Turn::call`].
    pub fn call<'o, 'r, B: Buffer + ?Sized>(
        &mut self,
        request: &[u8],
        buffer: &'r mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Message<'r>> {
        self.turn.0.call_with(request, buffer, options)
    }
}

impl<'b> Deref for Callback<'_, 'b> {
    type Target = Message<'b>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

/// The turn of a callback: its answer leaves this side waiting for the reply
/// to its own call.
#[derive(Debug)]
#[must_use = "dropping a callback unanswered gives the call up"]
pub struct CallbackTurn<'p>(Turn<'p>);

impl<'p> CallbackTurn<'p> {
    /// Answers, and waits for what the conversation brings next. One ioctl.
    pub fn answer<'o, 'b, B: Buffer + ?Sized>(
        mut self,
        data: &[u8],
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Exchange<'p, 'b>, TurnError<Self>> {
        match self.0.answer(data, buffer, options.into()) {
            Ok(raw) => {
                let data = buffer.filled(raw.length());
                Ok(Exchange::new(self.0.port, &raw, data))
            }
            Err(error) => {
                let turn = (self.0.state == State::Held).then_some(self);
                Err(TurnError { error, turn })
            }
        }
    }

    /// Gives the whole call up. One ioctl.
    pub fn discard(self) -> Result<()> {
        self.0.discard()
    }
}

impl Turn<'_> {
    /// Answers the callback that this turn is.
    fn answer<B: Buffer + ?Sized>(
        &mut self,
        data: &[u8],
        buffer: &mut B,
        options: Options<'_>,
    ) -> Result<Raw> {
        let flags = sys::ALPC_SEND | sys::ALPC_SYNC | sys::ALPC_ANSWER | sys::ALPC_RECEIVE;
        let start = self.start("answer", flags, data);
        let result = self.port.transfer(start, buffer, options);
        match &result {
            Ok(_) => self.state = State::Done,
            Err(error) => {
                self.settle(error);
                if self.state == State::Waiting {
                    // The caller of the whole exchange resumes or cancels.
                    self.state = State::Done;
                }
            }
        }
        result
    }
}
