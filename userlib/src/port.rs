// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every port can do.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::cancel::{self, CancelMode, Canceled, Canceller};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::handles::{Handles, SHOWN};
use crate::identity::Token;
use crate::memory::Offer;
use crate::message::{ConversationId, Message, Raw, Received};
use crate::options::{Options, Timeout};
use crate::query::PortInfo;
use crate::security::AttachedSecurity;
use crate::sys;
use crate::turn::{Turn, TurnId};
use crate::views::{HeldView, Leaving};

/// What every port can do: receive, cancel, disconnect, tell about itself.
///
/// [`Server`](crate::Server), [`ServerPort`](crate::ServerPort) and
/// [`Client`](crate::Client) deref to it.
///
/// # Ownership
///
/// `Clone` shares the descriptor. When the last clone is dropped, the port is
/// disconnected and closed; messages that are queued and need no answer can
/// still be received by the peer. [`into_fd`](Port::into_fd) takes the
/// descriptor out instead and disconnects nothing, so that it can be passed on.
///
/// # fork
///
/// A forked child has the descriptors too, and who holds a descriptor holds its
/// rights. A handle disconnects only in the process that made it; dropped
/// elsewhere, it closes that process's copy, whatever numbers the processes
/// have. A child that shares its parent's memory until it runs another program,
/// as `vfork` makes them, counts as the parent. A child that is to own a port
/// makes a handle of its own from [`into_fd`](Port::into_fd) and
/// `From<OwnedFd>`, and the parent uses `into_fd` too.
///
/// # poll
///
/// A port is readable while a message waits to be received, or is not waited for any more,
/// level-triggered. Where an event loop is told of changes only, as by `EPOLLET`, `mio` and `tokio`,
/// receive until there is nothing more.
/// It implements [`AsFd`], which is all that `poll`, `epoll` and an event loop's
/// wrapper for descriptors need; pair it with [`try_receive`](Port::try_receive).
#[derive(Debug, Clone)]
pub struct Port {
    handle: Arc<Handle>,
    room: Room,
}

/// What a port does by default where there is no room for a message that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It waits for some.
    Wait,
    /// It says so.
    Fail,
}

/// One `SEND_WAIT_RECEIVE`, before options and buffers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) operation: &'static str,
    pub(crate) flags: u32,
    pub(crate) data: &'a [u8],
    pub(crate) id: u64,
    pub(crate) callback_id: u32,
}

impl<'a> Start<'a> {
    /// A message that begins a conversation, or none.
    pub(crate) fn new(operation: &'static str, flags: u32, data: &'a [u8]) -> Self {
        Self {
            operation,
            flags,
            data,
            id: 0,
            callback_id: 0,
        }
    }
}

impl Port {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            handle: Arc::new(Handle::new(fd)),
            room: Room::Wait,
        }
    }

    /// A server's end of a connection. Its client decides how much room there is, and may make
    /// none for ever: so it waits for room only where it is told to.
    pub(crate) fn of_server(fd: OwnedFd) -> Self {
        Self {
            room: Room::Fail,
            ..Self::new(fd)
        }
    }

    /// Makes the ioctl. Again, with the same progress, only after a signal and
    /// for a buffer that has grown.
    pub(crate) fn transfer<B: Buffer + ?Sized>(
        &self,
        start: Start<'_>,
        buffer: &mut B,
        options: Options<'_>,
    ) -> Result<Raw> {
        self.transfer_offering(start, buffer, options, None)
    }

    /// Makes the ioctl as [`transfer`](Self::transfer) does, and lends memory with what is sent.
    pub(crate) fn transfer_offering<B: Buffer + ?Sized>(
        &self,
        start: Start<'_>,
        buffer: &mut B,
        options: Options<'_>,
        memory: Option<&Offer<'_>>,
    ) -> Result<Raw> {
        let begins = start.flags & (sys::ALPC_SEND | sys::ALPC_SENT) == sys::ALPC_SEND;
        let leaving = match begins {
            true => Leaving::new(options.lent, options.given)?,
            false => Leaving::default(),
        };
        self.transfer_with_views(start, buffer, options, memory, leaving)
            .inspect_err(|error| {
                if !error.was_sent() {
                    leaving.unsent();
                }
            })
    }

    fn transfer_with_views<B: Buffer + ?Sized>(
        &self,
        start: Start<'_>,
        buffer: &mut B,
        options: Options<'_>,
        memory: Option<&Offer<'_>>,
        leaving: Leaving<'_>,
    ) -> Result<Raw> {
        let (clock, time) = options.timeout.to_raw();
        let mut previous = sys::alpc_transfer {
            flags: start.flags | clock,
            timeout: time,
            send_id: start.id,
            send_callback_id: start.callback_id,
            reply_bytes: options.reply_bytes,
            ..Default::default()
        };
        let sends = start.flags & sys::ALPC_SEND != 0;
        let receives = start.flags & sys::ALPC_RECEIVE != 0;
        // What is sent into a conversation never waits.
        let impatient = self.room == Room::Fail && start.id == 0 && !options.waiting;
        if sends && (options.nonblocking || impatient) {
            previous.flags |= sys::ALPC_NONBLOCK;
        }
        if options.ends_with_thread && (receives || start.flags & sys::ALPC_ADOPT != 0) {
            previous.flags |= sys::ALPC_HOLD_THREAD;
        }
        loop {
            let mut transfer = sys::Transfer::resume(&previous);
            if sends {
                transfer.send(start.data);
                if let Some(value) = options.message_context {
                    transfer.set_message_context(value);
                }
                if options.for_user.is_some() || options.for_group.is_some() {
                    transfer.set_receiver(options.for_user, options.for_group);
                }
                if let Some(security) = options.security {
                    transfer.set_security(security.to_raw());
                }
                if let Some(memory) = memory {
                    transfer.offer(memory);
                }
                if let Some(view) = leaving.attribute() {
                    transfer.view(view);
                }
                if !options.handles.is_empty() {
                    transfer.send_handles(options.handles);
                }
            }
            if receives {
                buffer.lend(&mut transfer);
                if options.ask_context {
                    transfer.ask_context();
                }
                if options.ask_token {
                    transfer.ask_token();
                }
                if options.ask_security {
                    transfer.ask_security();
                }
                if options.inbox.is_some() {
                    transfer.ask_view();
                }
                if options.ask_memory {
                    transfer.ask_memory();
                }
                match options.claimed {
                    Some(claimed) => transfer.claim_handles(claimed.room()),
                    None if options.ask_handles => transfer.ask_handles(SHOWN),
                    None => {}
                }
            }
            let error = loop {
                match transfer.call(self.as_fd()) {
                    Ok(()) => {
                        let view = transfer.take_view();
                        let held = view.and_then(|v| HeldView::new(self.handle.clone(), &v));
                        if let (Some(inbox), Some(held)) = (options.inbox, held) {
                            inbox.put(held);
                        }
                        if let Some(claimed) = options.claimed {
                            claimed.put(transfer.take_claimed());
                        }
                        return Ok(Raw {
                            transfer: *transfer.raw(),
                            message_context: transfer.context().map(|c| c.message_context),
                            token: transfer.token().map(Token::new),
                            security: transfer.security().map(AttachedSecurity::new),
                            memory: transfer.take_memory(),
                            handles: transfer
                                .handles()
                                .map_or_else(Handles::default, |(h, e)| Handles::new(h.count, e)),
                        });
                    }
                    Err(error)
                        if error.kind() == io::ErrorKind::Interrupted && !options.interruptible => {
                    }
                    Err(error) => break error,
                }
            };
            previous = *transfer.raw();
            let too_small = previous.outcome == sys::ALPC_OUTCOME_BUFFER_TOO_SMALL && receives;
            if !(too_small && buffer.grow(previous.recv_length as usize)) {
                return Err(Error::transfer(start.operation, &error, &previous));
            }
        }
    }

    /// Makes the ioctl for a call that receives nothing.
    pub(crate) fn transfer_out(&self, start: Start<'_>, options: Options<'_>) -> Result<Raw> {
        self.transfer(start, &mut [0_u8; 0], options)
    }

    /// Makes the ioctl for a call that receives whatever message comes next.
    pub(crate) fn transfer_next<'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        start: Start<'_>,
        buffer: &'b mut B,
        options: Options<'_>,
    ) -> Result<Received<'p, 'b>> {
        let raw = self.transfer(start, buffer, options)?;
        let message = Message::new(&raw, buffer.filled(raw.length()));
        Ok(Received::new(self, message).with_memory(raw.memory))
    }

    /// Receives the next message, and waits for it. One ioctl.
    ///
    /// # Errors
    ///
    /// [`Outcome::BufferTooSmall`](crate::Outcome::BufferTooSmall) keeps the
    /// message: receive it with a larger buffer, or use a vector.
    pub fn receive<'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        buffer: &'b mut B,
    ) -> Result<Received<'p, 'b>> {
        self.receive_with(buffer, Options::new())
    }

    /// Receives the next message, with options, and waits for it as long as they say. One ioctl. Its
    /// errors are those of [`receive`](Port::receive), and those of the options.
    pub fn receive_with<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Received<'p, 'b>> {
        let start = Start::new("receive", sys::ALPC_RECEIVE, &[]);
        self.transfer_next(start, buffer, options.into())
    }

    /// Receives the next message if there is one. One ioctl.
    pub fn try_receive<'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        buffer: &'b mut B,
    ) -> Result<Option<Received<'p, 'b>>> {
        self.try_receive_with(buffer, Options::new())
    }

    /// Receives the next message if there is one, with options: what to ask for, and where views
    /// and claimed handles go. Their timeout has no effect. One ioctl, which never waits.
    pub fn try_receive_with<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        buffer: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Option<Received<'p, 'b>>> {
        match self.receive_with(buffer, options.into().timeout(Timeout::ZERO)) {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The turn of a conversation, from [`TurnId`]s kept elsewhere: a request
    /// received on the connection port may be answered from the server
    /// communication port too, and a turn may cross threads without a borrow.
    ///
    /// The kernel checks the id at its use. Making two turns of one id is no
    /// danger to anybody else: the second answer fails.
    ///
    /// The conversation ends with the process that has received it, also if another one
    /// has its turn: [`Turn::adopt`] makes that its holder.
    pub fn turn(&self, id: TurnId) -> Turn<'_> {
        Turn::new(self, id.conversation.to_raw(), id.callback_id)
    }

    /// Cancels a conversation, as its requester or as its holder. One ioctl.
    ///
    /// # Errors
    ///
    /// [`Outcome::AlreadyReceived`](crate::Outcome::AlreadyReceived) with
    /// [`CancelMode::Try`] after receipt: it goes on.
    pub fn cancel(&self, id: ConversationId, mode: CancelMode) -> Result<Canceled> {
        cancel::cancel(self.as_fd(), id, mode)
    }

    /// The largest payload in bytes that a message here may have. One ioctl at first, none later.
    pub(crate) fn largest_message(&self) -> Result<usize> {
        self.handle
            .largest_message(|| self.query().map(|port| port.max_message_length))
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// A handle to cancel conversations of this port from another thread. It
    /// doesn't keep the port from being disconnected.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(&self.handle)
    }

    /// Ends the connection, or on a connection port all connections. One
    /// ioctl. Every wait on the port ends at once, in all clones and processes.
    pub fn disconnect(&self, flush: Flush) -> Result<()> {
        let flags = match flush {
            Flush::Everything => 0,
            Flush::Nothing => sys::ALPC_DISCONNECT_NO_FLUSH,
        };
        let mut argument = sys::alpc_disconnect { flags, reserved: 0 };
        sys::disconnect(self.as_fd(), &mut argument)
            .map_err(|error| Error::plain("disconnect", &error))
    }

    /// Disconnects, whether or not there are clones, and drops this handle. What
    /// is queued and needs no answer can still be received by the peer.
    pub fn close(self) -> Result<()> {
        self.disconnect(Flush::Nothing)
    }

    /// What this port is, its state and its limits. One ioctl.
    pub fn query(&self) -> Result<PortInfo> {
        PortInfo::of(self.as_fd())
    }

    /// Takes the descriptor out without disconnecting, to be passed on.
    ///
    /// With clones left it is a duplicate; the last of them disconnects.
    ///
    /// # Errors
    ///
    /// Duplicating may fail for want of descriptors.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Handle::into_fd(self.handle)
    }
}

/// What a disconnect does with messages that are queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// They are dropped.
    Everything,
    /// Those that need no answer can still be received.
    Nothing,
}

/// The role of the port behind it isn't looked at: what it can't do fails with
/// errno `ENOTTY` or `EINVAL`.
impl From<OwnedFd> for Port {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// What the three kinds of port have in common beside `Deref`.
macro_rules! port_traits {
    ($name:ident, $inner:ty) => {
        $crate::port::port_traits!($name, $inner, |fd| Self(fd.into()));
    };
    ($name:ident, $inner:ty, |$fd:ident| $made:expr) => {
        impl $name {
            /// Disconnects, whether or not there are clones, and drops this
            /// handle. See [`Port::close`](crate::Port::close).
            pub fn close(self) -> $crate::error::Result<()> {
                self.0.close()
            }

            /// Takes the descriptor out without disconnecting. See
            /// [`Port::into_fd`](crate::Port::into_fd).
            pub fn into_fd(self) -> std::io::Result<std::os::fd::OwnedFd> {
                self.0.into_fd()
            }
        }

        impl std::ops::Deref for $name {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        /// The role of the port behind it isn't looked at.
        impl From<std::os::fd::OwnedFd> for $name {
            fn from($fd: std::os::fd::OwnedFd) -> Self {
                $made
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.0.as_raw_fd()
            }
        }
    };
}

pub(crate) use port_traits;
