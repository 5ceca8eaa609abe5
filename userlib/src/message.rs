// SPDX-License-Identifier: MIT OR Apache-2.0

//! Received messages, by kind.

use std::ops::Deref;

use crate::accept::ConnectionRequest;
use crate::handles::Handles;
use crate::identity::Token;
use crate::port::Port;
use crate::security::AttachedSecurity;
use crate::sys;
use crate::turn::Turn;
use crate::turn_error::TurnError;

/// Who sent a message, captured by the kernel at the moment of the send and
/// expressed in the receiver's namespaces. A sender can't forge it. One that is
/// [anonymous](crate::Security::ANONYMOUS) has no process, and the overflow ids as user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Sender {
    /// The process, 0 if it has no id in the receiver's pid namespace.
    ///
    /// The id may have been given to another process since the send.
    pub pid: u32,
    /// The thread, likewise.
    pub tid: u32,
    /// The effective user id; the overflow id if it has none in the receiver's
    /// user namespace.
    pub uid: u32,
    /// The effective group id, likewise.
    pub gid: u32,
}

/// The kernel's name of a conversation, the same on both sides. Never reused
/// while anybody could mean the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(u64);

impl ConversationId {
    /// From the number in the ABI.
    pub const fn from_raw(id: u64) -> Self {
        Self(id)
    }

    /// The number in the ABI.
    pub const fn to_raw(self) -> u64 {
        self.0
    }
}

/// A received message: header and payload.
#[derive(Debug, Clone, Copy)]
pub struct Message<'b> {
    data: &'b [u8],
    sender: Sender,
    pub(crate) id: u64,
    pub(crate) callback_id: u32,
    kind: u16,
    flags: u16,
    port_context: u64,
    sequence: u64,
    message_context: Option<u64>,
    token: Option<Token>,
    security: Option<AttachedSecurity>,
    handles: Handles,
}

impl<'b> Message<'b> {
    pub(crate) fn new(received: &Raw, data: &'b [u8]) -> Self {
        let raw = &received.transfer;
        Self {
            data,
            sender: Sender {
                pid: raw.pid,
                tid: raw.tid,
                uid: raw.uid,
                gid: raw.gid,
            },
            id: raw.id,
            callback_id: raw.callback_id,
            kind: raw.type_,
            flags: raw.type_flags,
            port_context: raw.port_context,
            sequence: raw.sequence,
            message_context: received.message_context,
            token: received.token,
            security: received.security,
            handles: received.handles,
        }
    }

    /// The payload.
    pub fn data(&self) -> &'b [u8] {
        self.data
    }

    /// Who sent it.
    pub fn sender(&self) -> Sender {
        self.sender
    }

    /// The conversation, if the message belongs to one: one-way messages don't.
    pub fn conversation(&self) -> Option<ConversationId> {
        (self.id != 0).then_some(ConversationId(self.id))
    }

    /// This side's value for the connection: on a server the one given at
    /// accept, on a client the one given at connect.
    pub fn port_context(&self) -> u64 {
        self.port_context
    }

    /// This side's value for the conversation, if it was
    /// [asked for](crate::Options::ask_message_context). 0 until it is
    /// [set](crate::Options::message_context).
    pub fn message_context(&self) -> Option<u64> {
        self.message_context
    }

    /// By what its sender can be recognised, if it was
    /// [asked for](crate::Options::ask_token). Notices have none.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// The security context that its sender has attached, if it was
    /// [asked for](crate::Options::ask_security).
    pub fn security(&self) -> Option<AttachedSecurity> {
        self.security
    }

    /// The handles it has, if they were
    /// [asked for](crate::Options::ask_handles).
    pub fn handles(&self) -> Handles {
        self.handles
    }

    /// Which message this is among those that arrived at this port, from 1.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// `ALPC_TYPE_*` and `ALPC_TYPE_FLAG_*` as the kernel wrote them.
    pub fn raw_type(&self) -> (u16, u16) {
        (self.kind, self.flags)
    }

    pub(crate) fn is_open(&self) -> bool {
        u32::from(self.flags) & sys::ALPC_TYPE_FLAG_CONTINUATION != 0
    }
}

/// What the kernel left in the argument, before the payload is borrowed.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) transfer: sys::alpc_transfer,
    pub(crate) message_context: Option<u64>,
    pub(crate) token: Option<Token>,
    pub(crate) security: Option<AttachedSecurity>,
    pub(crate) memory: Vec<sys::alpc_memory_range>,
    pub(crate) handles: Handles,
}

impl Raw {
    pub(crate) fn is_request(&self) -> bool {
        u32::from(self.transfer.type_) == sys::ALPC_TYPE_REQUEST
    }

    pub(crate) fn length(&self) -> usize {
        self.transfer.recv_length as usize
    }
}

/// What [`Port::receive`] yields.
///
/// Dropping one that owes something settles it: a request's sender learns that
/// no reply will come, a connection is refused.
#[derive(Debug)]
#[must_use = "dropping a request unanswered makes its sender's call fail"]
#[non_exhaustive]
pub enum Received<'p, 'b> {
    /// A request, synchronous or not. Its sender waits for the answer.
    Request(Request<'p, 'b>),
    /// The answer to a request this port sent without waiting.
    Reply(Reply<'p, 'b>),
    /// A one-way message: nothing can be replied.
    Datagram(Message<'b>),
    /// Somebody wants to connect. Only connection ports see this.
    Connection(ConnectionRequest<'p, 'b>),
    /// The server accepted the connection begun by
    /// [`ConnectBuilder::start`](crate::ConnectBuilder::start), with its answer.
    Accepted(Message<'b>),
    /// The server refused that connection, with its answer.
    Refused(Message<'b>),
    /// The kernel tells what happened.
    Notice(Notice),
    /// A type that this version of the crate doesn't know.
    Other(Message<'b>),
}

impl<'p, 'b> Received<'p, 'b> {
    pub(crate) fn new(port: &'p Port, message: Message<'b>) -> Self {
        let notice = |kind| {
            Self::Notice(Notice {
                kind,
                message: bare(message),
            })
        };
        match u32::from(message.kind) {
            sys::ALPC_TYPE_REQUEST if message.is_open() => {
                Self::Request(Request::new(port, message))
            }
            sys::ALPC_TYPE_REQUEST | sys::ALPC_TYPE_DATAGRAM => Self::Datagram(message),
            sys::ALPC_TYPE_REPLY => Self::Reply(Reply::new(port, message)),
            sys::ALPC_TYPE_CONNECTION_REQUEST => {
                Self::Connection(ConnectionRequest::new(port, message))
            }
            sys::ALPC_TYPE_CONNECTION_REPLY => Self::Accepted(message),
            sys::ALPC_TYPE_CONNECTION_REFUSED => Self::Refused(message),
            sys::ALPC_TYPE_PORT_CLOSED => notice(NoticeKind::PortClosed),
            sys::ALPC_TYPE_CANCELED => notice(NoticeKind::Canceled),
            sys::ALPC_TYPE_LOST_REPLY => notice(NoticeKind::LostReply),
            sys::ALPC_TYPE_CLIENT_DIED => notice(NoticeKind::ClientDied),
            _ => Self::Other(message),
        }
    }
}

impl Received<'_, '_> {
    /// Adds the memory that came with it, if it is a request.
    pub(crate) fn with_memory(mut self, memory: Vec<sys::alpc_memory_range>) -> Self {
        if let Self::Request(request) = &mut self {
            request.memory = memory;
        }
        self
    }
}

/// The message without its payload.
fn bare(message: Message<'_>) -> Message<'static> {
    Message {
        data: &[],
        ..message
    }
}

/// What a [`Notice`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoticeKind {
    /// A client has gone. Comes once a connection; the port context says which.
    PortClosed,
    /// A request that this side holds is void, as its sender has cancelled it, has waited long enough,
    /// or has gone. [`Message::conversation`] says which: a turn of it that is kept can be dropped.
    Canceled,
    /// No reply will come to a request that this side sent.
    LostReply,
    /// Reserved in the ABI.
    ClientDied,
}

/// The kernel tells what happened. Nothing is owed. Derefs to [`Message`].
#[derive(Debug, Clone, Copy)]
pub struct Notice {
    kind: NoticeKind,
    message: Message<'static>,
}

impl Notice {
    /// What happened.
    pub fn kind(&self) -> NoticeKind {
        self.kind
    }
}

impl Deref for Notice {
    type Target = Message<'static>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

/// A received request: its message, and the [`Turn`] to answer it with. Derefs
/// to [`Message`].
#[derive(Debug)]
#[must_use = "dropping a request unanswered makes its sender's call fail"]
pub struct Request<'p, 'b> {
    message: Message<'b>,
    turn: Turn<'p>,
    memory: Vec<sys::alpc_memory_range>,
}

impl<'p, 'b> Request<'p, 'b> {
    pub(crate) fn new(port: &'p Port, message: Message<'b>) -> Self {
        Self {
            message,
            turn: Turn::new(port, message.id, message.callback_id),
            memory: Vec::new(),
        }
    }

    pub(crate) fn ranges(&self) -> &[sys::alpc_memory_range] {
        &self.memory
    }

    pub(crate) fn turn_ref(&self) -> &Turn<'p> {
        &self.turn
    }

    /// Message and turn apart, so that the buffer can be used anew while the
    /// answer is still owed.
    pub fn split(self) -> (Message<'b>, Turn<'p>) {
        (self.message, self.turn)
    }

    /// Replies and ends the conversation: [`Turn::reply`] of its turn, with the same errors. One
    /// ioctl, which never waits.
    pub fn reply(self, data: &[u8]) -> Result<(), TurnError<Turn<'p>>> {
        self.turn.reply(data)
    }

    /// The turn alone.
    pub fn into_turn(self) -> Turn<'p> {
        self.turn
    }

    /// The turn, to claim what came with the request.
    pub fn turn(&self) -> &Turn<'p> {
        &self.turn
    }

    /// The turn, to call back the sender before answering.
    pub fn turn_mut(&mut self) -> &mut Turn<'p> {
        &mut self.turn
    }
}

impl<'b> Deref for Request<'_, 'b> {
    type Target = Message<'b>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

/// A received reply. Derefs to [`Message`].
///
/// A reply that leaves the conversation open gives this side the turn: it owes
/// a message or a release. Dropping the reply releases.
#[derive(Debug)]
pub struct Reply<'p, 'b> {
    message: Message<'b>,
    turn: Option<Turn<'p>>,
}

impl<'p, 'b> Reply<'p, 'b> {
    pub(crate) fn new(port: &'p Port, message: Message<'b>) -> Self {
        let turn = message
            .is_open()
            .then(|| Turn::new(port, message.id, message.callback_id));
        Self { message, turn }
    }

    /// Whether the conversation ended with this reply.
    pub fn is_final(&self) -> bool {
        self.turn.is_none()
    }

    /// Message, and the turn if the conversation is still open.
    pub fn split(self) -> (Message<'b>, Option<Turn<'p>>) {
        (self.message, self.turn)
    }
}

impl<'b> Deref for Reply<'_, 'b> {
    type Target = Message<'b>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}
