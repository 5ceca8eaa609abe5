// SPDX-License-Identifier: GPL-2.0

//! What a call is asked to do: its flags and fields, checked, as one of the things
//! that make sense.
#![deny(unsafe_code)]

use crate::{
    attributes::{
        self,
        Attributes,
        Incoming,
        Outgoing, //
    },
    call::Scope,
    logic::engine::{
        How,
        New, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    time::Deadline,
    uapi, //
};
use kernel::prelude::*;

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Send {
    Nothing,
    New(New),
    Into(How),
    Discard,
    /// Nothing: the caller becomes the holder of a conversation.
    Adopt,
}

/// What is to be received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receive {
    Nothing,
    /// The next message of the port.
    Next,
    /// The next message of the conversation.
    Answer,
}

/// A call whose arguments make sense.
pub(crate) struct Plan<'a> {
    pub(crate) send: Send,
    pub(crate) receive: Receive,
    pub(crate) deadline: Deadline,
    /// Whether what is received, or taken over, ends with the calling thread.
    pub(crate) ends_with_thread: bool,
    pub(crate) outgoing: &'a Outgoing,
    pub(crate) incoming: &'a Incoming,
}

const FLAGS: u32 = uapi::ALPC_TIMEOUT_MASK
    | uapi::ALPC_SEND
    | uapi::ALPC_RECEIVE
    | uapi::ALPC_SYNC
    | uapi::ALPC_RELEASE
    | uapi::ALPC_ANSWER
    | uapi::ALPC_DISCARD
    | uapi::ALPC_NONBLOCK
    | uapi::ALPC_ADOPT
    | uapi::ALPC_HOLD_THREAD
    | uapi::ALPC_SENT;

/// The flags that say what a call does.
const SHAPE: u32 = uapi::ALPC_SEND
    | uapi::ALPC_RECEIVE
    | uapi::ALPC_SYNC
    | uapi::ALPC_RELEASE
    | uapi::ALPC_ANSWER
    | uapi::ALPC_DISCARD
    | uapi::ALPC_ADOPT;

impl<'a> Plan<'a> {
    #[inline]
    pub(crate) fn new(
        scope: Scope<'_>,
        t: &uapi::alpc_transfer,
        attributes: &'a Attributes,
    ) -> Result<Self, Failure> {
        const SEND: u32 = uapi::ALPC_SEND;
        const RECEIVE: u32 = uapi::ALPC_RECEIVE;
        const RELEASE: u32 = uapi::ALPC_RELEASE;
        const CALL: u32 = SEND | RECEIVE | uapi::ALPC_SYNC;
        const ANSWER: u32 = CALL | uapi::ALPC_ANSWER;
        const DISCARD: u32 = SEND | RELEASE | uapi::ALPC_DISCARD;
        const ADOPT: u32 = SEND | uapi::ALPC_ADOPT;
        const ADOPT_RECEIVE: u32 = ADOPT | RECEIVE;
        const SEND_RECEIVE: u32 = SEND | RECEIVE;
        const RELEASE_RECEIVE: u32 = SEND | RECEIVE | RELEASE;
        const DISCARD_RECEIVE: u32 = DISCARD | RECEIVE;
        const SEND_RELEASE: u32 = SEND | RELEASE;

        // Room is made by who does not wait for the answer. A server's answers need none.
        let makes_room = matches!(t.flags & SHAPE, SEND | SEND_RECEIVE);
        if t.flags & !FLAGS != 0 || (t.reply_bytes != 0 && !makes_room) {
            return Err(EINVAL.into());
        }
        // What goes out as a new message, and what into a held conversation.
        let (new, into, receive) = match t.flags & SHAPE {
            CALL => (
                Send::New(New::Request),
                Send::Into(How::Callback),
                Receive::Answer,
            ),
            RELEASE_RECEIVE => (
                Send::New(New::OneWay),
                Send::Into(How::FinalReply),
                Receive::Next,
            ),
            RECEIVE => (Send::Nothing, Send::Nothing, Receive::Next),
            SEND => (
                Send::New(New::Request),
                Send::Into(How::Reply),
                Receive::Nothing,
            ),
            SEND_RELEASE => (
                Send::New(New::OneWay),
                Send::Into(How::FinalReply),
                Receive::Nothing,
            ),
            SEND_RECEIVE => (
                Send::New(New::Request),
                Send::Into(How::Reply),
                Receive::Next,
            ),
            ANSWER => (Send::Nothing, Send::Into(How::Answer), Receive::Answer),
            DISCARD => (Send::Nothing, Send::Discard, Receive::Nothing),
            DISCARD_RECEIVE => (Send::Nothing, Send::Discard, Receive::Next),
            ADOPT => (Send::Nothing, Send::Adopt, Receive::Nothing),
            ADOPT_RECEIVE => (Send::Nothing, Send::Adopt, Receive::Next),
            _ => return Err(EINVAL.into()),
        };
        let resumed = t.flags & uapi::ALPC_SENT != 0;
        let (send, fits) = match (resumed, t.send_id) {
            // A one-way message has no id, so there is nothing to ask of one.
            (true, id) => (
                Send::Nothing,
                new != into && (id != 0 || receive != Receive::Answer),
            ),
            (false, 0) => (
                new,
                new == into || (new != Send::Nothing && t.send_callback_id == 0),
            ),
            (false, _) => (into, true),
        };
        let nonblock = t.flags & uapi::ALPC_NONBLOCK != 0;
        let ends_with_thread = t.flags & uapi::ALPC_HOLD_THREAD != 0;
        if !fits
            || (nonblock && t.flags & SEND == 0)
            || (matches!(send, Send::Discard | Send::Adopt) && t.send_length != 0)
            || (ends_with_thread && receive == Receive::Nothing && send != Send::Adopt)
        {
            return Err(EINVAL.into());
        }
        if let Send::New(new) = send {
            if scope.end.is_none() {
                // Which client would it go to?
                return Err(EINVAL.into());
            }
            if new == New::Request && receive != Receive::Answer && scope.port.is_lpc() {
                return Err(Outcome::WrongKind.into());
            }
        }
        // The connection may allow less, which the engine sees.
        let longest = t.send_length.max(t.reply_bytes);
        if send != Send::Nothing && longest > scope.port.share.max_length {
            return Err(Outcome::TooLong.into());
        }
        let deadline = Deadline::new(t.flags, t.timeout)?;
        let Attributes { outgoing, incoming } = attributes;
        // Only while the caller waits can anybody reach into its memory.
        let waits = matches!(send, Send::New(_)) && receive == Receive::Answer;
        let sends = matches!(send, Send::New(_) | Send::Into(_)) || resumed;
        let requests = send == Send::New(New::Request) || resumed;
        if (outgoing.has_memory() && !waits && !resumed)
            || (outgoing.has_receiver() && !requests)
            || (outgoing.has_cargo() && !sends)
        {
            return Err(EINVAL.into());
        }
        Ok(Self {
            send,
            receive,
            deadline,
            ends_with_thread,
            outgoing,
            incoming,
        })
    }

    /// What is left of it when something has been sent and received that does not count.
    pub(crate) fn received_on(&self) -> Self {
        Self {
            send: Send::Nothing,
            outgoing: &attributes::NONE.outgoing,
            ..*self
        }
    }

    /// What [`straight`](crate::straight) does.
    pub(crate) fn straight(send: Send, receive: Receive, attributes: &'a Attributes) -> Self {
        Self {
            send,
            receive,
            deadline: Deadline::Never,
            ends_with_thread: false,
            outgoing: &attributes.outgoing,
            incoming: &attributes.incoming,
        }
    }
}
