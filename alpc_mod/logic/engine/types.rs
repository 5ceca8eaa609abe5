// SPDX-License-Identifier: GPL-2.0

//! The vocabulary of the engine: sides, states, results, and what it needs
//! from the world around it.
#![deny(unsafe_code)]

use super::holder::Holder;
use super::list::{Linked, Links, List, Store, Via, NONE};

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that connected.
    Client,
    /// The side that accepted.
    Server,
}

impl Side {
    /// The opposite end.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A value for each side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sides<T> {
    client: T,
    server: T,
}

impl<T> Sides<T> {
    /// Both values.
    pub fn new(client: T, server: T) -> Self {
        Self { client, server }
    }

    /// The value of `side`.
    pub fn get(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// The value of `side` for change.
    pub fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// What the engine is built on: in the module the kernel's locks and objects,
/// in the tests plain values.
pub trait Host: Sized {
    /// One message: payload and sender. Cloning takes a reference.
    type Body: Body;
    /// What stands for a connection outside the engine.
    type Peer: Peer;
    /// Threads that wait for one thing.
    type Waiters: Waiters<Self>;
    /// Table of conversations.
    type Slots: Store<Slot<Self>>;
    /// Table of connections.
    type Conns: Store<Conn<Self>>;
    /// Table of those who hold conversations.
    type Holders: Store<Holder<Self>>;
    /// What tells of the end of a thread, as long as it is there.
    type Watch;
    /// A thread that is to be woken, once no lock is held.
    type Waker;
    /// The same, while the lock is still held.
    type Handed<'a>: Into<Self::Waker>
    where
        Self: 'a;
}

/// What the engine must know of a message.
#[allow(clippy::len_without_is_empty)]
pub trait Body: Clone {
    /// Bytes of payload.
    fn len(&self) -> u32;
    /// Whether who receives it has made room for it: it takes nothing of the connection's share.
    fn is_paid(&self) -> bool {
        false
    }
}

/// What the engine must know of a connection's outside.
pub trait Peer: Clone {
    /// Whether somebody polls that side's communication port.
    fn is_polled(&self, side: Side) -> bool;
}

/// Threads that wait for one thing, in the order in which they are served.
pub trait Waiters<H: Host>: Default {
    /// Whether nobody waits.
    fn is_empty(&self) -> bool;
    /// Whether a thread waits that has room for `len` bytes.
    fn fits(&self, len: u32) -> bool;
    /// Whether the first that waits is the thread that has sent this.
    fn begins_with_sender(&self, body: &H::Body) -> bool;
    /// The id of the [`Holder`] that the first thread is that has room for `len` bytes, or 0.
    fn holder(&self, len: u32) -> u64;
    /// Ends the wait of the first thread that has room for `len` bytes by handing
    /// it what `make` makes, which is not called when there is none.
    fn hand_with(&mut self, len: u32, make: impl FnOnce() -> Hand<H>) -> Option<H::Handed<'_>>;

    /// The same for something that costs nothing to make. Gives it back when
    /// there is no such thread.
    fn hand(&mut self, len: u32, hand: Hand<H>) -> Result<H::Waker, Hand<H>> {
        let mut hand = Some(hand);
        let handed = self.hand_with(len, || hand.take().unwrap_or(Hand::Room));
        match (handed.map(Into::into), hand) {
            (Some(waker), _) => Ok(waker),
            (None, hand) => Err(hand.unwrap_or(Hand::Room)),
        }
    }
}

/// What a waiting thread is handed.
pub enum Hand<H: Host> {
    /// The message it waited for.
    Message(Delivery<H>),
    /// A message is there that needs this many bytes. It is kept.
    TooSmall(u32),
    /// There is nothing to wait for any more.
    Ended(End),
    /// The queue has room again, perhaps. Send again: only that passes it on to
    /// who else waits.
    Room,
}

/// Why nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server refused the connection, or went away before it answered.
    Refused,
    /// The connection has not been accepted yet.
    NotConnected,
    /// The other side ended the connection.
    Disconnected,
    /// This side ended the connection, or closed the port.
    Closed,
    /// The request was received, but no answer will come.
    Lost,
    /// The request was cancelled.
    Canceled,
    /// The request was not for who received it.
    Mismatch,
    /// Nobody can reach the port, until there is a connect descriptor again.
    NoClients,
}

/// Why a send, an accept or a cancel did not happen. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The connection does not carry messages.
    Ended(End),
    /// No conversation has that id.
    NotFound,
    /// The other side has the turn.
    NotOwner,
    /// Not the turn that was received last.
    StaleTurn,
    /// Not possible with a conversation of that kind.
    WrongKind,
    /// Nested too deeply.
    TooDeep,
    /// The share of the queue is used up.
    QueueFull,
    /// A limit on conversations or connections is reached.
    Limit,
    /// The other side has received it.
    AlreadyReceived,
    /// The payload is longer than the connection allows.
    TooLong,
    /// The table must grow by a chunk; then the same call can succeed.
    Grow,
    /// Nothing tells of the thread's end yet; then the same call can succeed.
    NotWatched,
}

/// What a message in transit is. The numbers are those of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum What {
    /// A request or a callback: the receiver owes an answer.
    Request = 1,
    /// An answer.
    Reply = 2,
    /// One-way.
    Datagram = 3,
    /// Notice to the requester: no answer will come.
    LostReply = 4,
    /// Notice to the server: the client has gone.
    PortClosed = 5,
    /// A client asks to be connected.
    ConnectionRequest = 10,
    /// The answer of a server that accepts.
    ConnectionReply = 11,
    /// Notice to the holder: the conversation is void.
    Canceled = 12,
    /// The answer of a server that refuses.
    ConnectionRefused = 13,
}

impl What {
    /// Whether the kernel made it, without payload.
    pub fn is_notice(self) -> bool {
        matches!(self, Self::Canceled | Self::LostReply | Self::PortClosed)
    }

    /// What a notice says of its conversation.
    pub(super) fn end(self) -> End {
        match self {
            Self::Canceled => End::Canceled,
            _ => End::Lost,
        }
    }
}

/// What a conversation was begun as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection request: ended by accept or refuse only.
    Connect,
    /// A request whose sender may wait for the answer.
    Request,
    /// One-way: nothing is kept.
    OneWay,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The slot is on the free list.
    Free,
    /// No conversation: the slot is kept for its connection's next one.
    Idle,
    /// Under way to a side, in a queue.
    Queued(Side),
    /// Received: this side has the turn.
    Held(Side),
}

/// Which queue a conversation is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None.
    Nowhere,
    /// The connection's queue at the connection port.
    Port,
    /// The queue of that side's communication port.
    Side(Side),
}

/// A conversation, or the place for one.
pub struct Slot<H: Host> {
    pub(super) id: u64,
    pub(super) generation: u64,
    pub(super) conn: u32,
    pub(super) state: State,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) origin: Side,
    pub(super) what: What,
    /// Whether the receiver of the message in transit gets the turn.
    pub(super) open: bool,
    /// Whether a side knows of the conversation.
    pub(super) seen: Sides<bool>,
    pub(super) turn: u32,
    pub(super) depth: u32,
    /// Whether what it was begun with has got its answer.
    pub(super) answered: bool,
    pub(super) sequence: u64,
    pub(super) context: Sides<u64>,
    /// Who holds it, as far as that is noted.
    pub(super) holder: u32,
    pub(super) bodies: Sides<Option<H::Body>>,
    pub(super) waiters: Sides<H::Waiters>,
    queue_links: Links,
    owner_links: Links,
}

impl<H: Host> Default for Slot<H> {
    fn default() -> Self {
        Self {
            id: 0,
            generation: 0,
            conn: NONE,
            state: State::Free,
            place: Place::Nowhere,
            kind: Kind::Request,
            origin: Side::Client,
            what: What::Request,
            open: false,
            seen: Sides::default(),
            turn: 0,
            depth: 0,
            answered: false,
            sequence: 0,
            context: Sides::default(),
            holder: NONE,
            bodies: Sides::new(None, None),
            waiters: Sides::new(H::Waiters::default(), H::Waiters::default()),
            queue_links: Links::default(),
            owner_links: Links::default(),
        }
    }
}

impl<H: Host> Slot<H> {
    /// Bytes of the message in transit towards `to`.
    pub(super) fn len(&self, to: Side) -> u32 {
        self.bodies.get(to.other()).as_ref().map_or(0, H::Body::len)
    }
}

impl<H: Host> Linked for Slot<H> {
    fn links_mut(&mut self, via: Via) -> &mut Links {
        match via {
            Via::Queue => &mut self.queue_links,
            Via::Owner => &mut self.owner_links,
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The entry is on the free list.
    Free,
    /// Asked for, not answered.
    Pending,
    /// Accepted.
    Open,
    /// Refused, or the port went away before it answered.
    Refused,
    /// Ended by a side.
    Ended(Side),
}

/// Messages waiting in one queue of a connection.
#[derive(Default)]
pub struct Queue {
    pub(super) list: List,
    pub(super) messages: u32,
    pub(super) bytes: u32,
}

/// What a connection may use. A share has room for a message at least, of the
/// largest size: else a sender would wait for what can't come.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Largest payload.
    pub max_length: u32,
    /// Messages queued in one direction.
    pub messages: u32,
    /// Their bytes.
    pub bytes: u32,
}

impl Share {
    /// Whether a new message of `len` bytes finds room behind those of a queue.
    pub(super) fn has_room(&self, queue: &Queue, len: u32) -> bool {
        queue.messages < self.messages && queue.bytes.saturating_add(len) <= self.bytes
    }
}

/// A connection, or the place for one.
pub struct Conn<H: Host> {
    pub(super) phase: Phase,
    /// Whether a descriptor of that side's communication port exists.
    pub(super) open: Sides<bool>,
    pub(super) port: Queue,
    pub(super) queues: Sides<Queue>,
    pub(super) all: List,
    /// How many of them hold no conversation.
    pub(super) nameless: u32,
    /// The connection is on the port's list of those with something to tell.
    pub(super) ready: bool,
    /// The server has still to be told that the client has gone.
    pub(super) closed_notice: bool,
    /// That notice is on its way to a receiver.
    pub(super) notice_in_hand: bool,
    pub(super) receivers: Sides<H::Waiters>,
    pub(super) room: Sides<H::Waiters>,
    /// Who holds what the client has received.
    pub(super) holders: List,
    pub(super) context: Sides<u64>,
    pub(super) sequence: Sides<u64>,
    pub(super) share: Share,
    /// Sends that found no room.
    pub(super) refused: u64,
    pub(super) peer: Option<H::Peer>,
    links: Links,
    owner_links: Links,
}

impl<H: Host> Default for Conn<H> {
    fn default() -> Self {
        Self {
            phase: Phase::Free,
            open: Sides::default(),
            port: Queue::default(),
            queues: Sides::default(),
            all: List::default(),
            nameless: 0,
            ready: false,
            closed_notice: false,
            notice_in_hand: false,
            receivers: Sides::new(H::Waiters::default(), H::Waiters::default()),
            room: Sides::new(H::Waiters::default(), H::Waiters::default()),
            holders: List::default(),
            context: Sides::default(),
            sequence: Sides::default(),
            share: Share {
                max_length: 0,
                messages: 0,
                bytes: 0,
            },
            refused: 0,
            peer: None,
            links: Links::default(),
            owner_links: Links::default(),
        }
    }
}

impl<H: Host> Linked for Conn<H> {
    fn links_mut(&mut self, via: Via) -> &mut Links {
        match via {
            Via::Queue => &mut self.links,
            Via::Owner => &mut self.owner_links,
        }
    }
}

/// A message on its way out of the engine.
///
/// Whoever gets one must give it back by [`super::Engine::finish`] or
/// [`super::Engine::undeliver`], unless `idle` is false.
pub struct Delivery<H: Host> {
    /// The connection.
    pub conn: u32,
    /// The conversation's slot; [`NONE`] for a port-closed notice.
    pub slot: u32,
    /// The side that receives.
    pub to: Side,
    /// The conversation, 0 for none.
    pub id: u64,
    /// The turn.
    pub turn: u32,
    /// What it is.
    pub what: What,
    /// Whether the receiver has the turn now.
    pub open: bool,
    /// The slot is in the receiver's hands: nobody else can name it.
    pub idle: bool,
    /// Whether it is noted who holds it, and that who does can answer.
    pub noted: bool,
    /// The message itself; none for a notice.
    pub body: Option<H::Body>,
    /// What the receiving side had last sent into the conversation that ended.
    pub own: Option<H::Body>,
    /// The connection, where there is no message that names the sender.
    pub peer: Option<H::Peer>,
    /// The receiving side's context value of the connection.
    pub port_context: u64,
    /// The receiving side's context value of the conversation.
    pub message_context: u64,
    /// Number of the message.
    pub sequence: u64,
}
