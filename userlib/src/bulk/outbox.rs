// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sending bytes of any length.

use std::io;

use super::{Bytes, Way, VIEW_MOST};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::memory::Offer;
use crate::message::ConversationId;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::port::Port;
use crate::sys;
use crate::turn::Turn;
use crate::turn_error::TurnError;
use crate::views::{Inbox, Lent, Section, View};

/// Sections that one outbox makes. Each is used when the others have no gap.
const SECTIONS: usize = 4;
/// Views are made for no less than this, and for multiples of [`STEP`] when they are longer than
/// that, so that messages of similar lengths use the same ones.
const LEAST: usize = 64 << 10;
const STEP: usize = 1 << 20;

/// A view, and how far it has been written.
#[derive(Debug)]
struct Used<V> {
    view: V,
    used: usize,
}

/// Replies with bytes of any length, and has views for that.
///
/// It makes views as they are needed, and uses them again once the receiver has released them: who
/// sends messages of similar length makes none after the first few. What it has made it
/// [keeps](Outbox::shrink).
///
/// # Clients that keep what they get
///
/// A view is its receiver's until that releases it or ends, whatever becomes of the connection. Its
/// memory counts for who has made it: all views of one user may have 256 MiB. So a client that
/// takes views and keeps them can use up what replies to others need, and these fail with
/// [`Outcome::Limit`] or errno `ENOSPC`. To clients that it doesn't trust so far a server replies
/// by payload, or writes to [memory](crate::Request::memory) that they lend.
/// [`Server::connections`](crate::Server::connections) tells who has how many views.
#[derive(Debug)]
pub struct Outbox<'p> {
    port: &'p Port,
    inline_most: usize,
    sections: Vec<Section>,
    free: Vec<Used<View>>,
    lent: Vec<Used<Lent>>,
}

impl<'p> Outbox<'p> {
    /// One for this port, to which any client's replies may go. One ioctl, to learn how long
    /// messages can be.
    pub fn new(port: &'p Port) -> Result<Self> {
        Ok(Self {
            port,
            inline_most: port.query()?.max_message_length,
            sections: Vec::new(),
            free: Vec::new(),
            lent: Vec::new(),
        })
    }

    /// Replies and ends the conversation. One ioctl, and one for each view that is lent when
    /// it needs another; never waits.
    ///
    /// # Errors
    ///
    /// [`Outcome::NotTaken`] if that is longer than a message can be, and the requester
    /// [takes no views](crate::ConnectBuilder::take_views). [`Outcome::TooLong`] for more than
    /// [`VIEW_MOST`](super::VIEW_MOST).
    pub fn reply<'t>(&mut self, turn: Turn<'t>, bytes: &[u8]) -> Result<(), TurnError<Turn<'t>>> {
        self.reply_with(turn, bytes, Options::new())
    }

    /// Replies and ends the conversation as [`reply`](Outbox::reply) does, with options of what
    /// goes with the reply. A view they lend is not lent, as this lends its own.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Outbox::reply), and those of the options.
    pub fn reply_with<'o, 't>(
        &mut self,
        turn: Turn<'t>,
        bytes: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<(), TurnError<Turn<'t>>> {
        let options = Options {
            lent: None,
            ..options.into()
        };
        let mut turn = turn;
        if bytes.len() <= self.inline_most {
            match turn.reply_with(bytes, options) {
                // The connection's own maximum may be less than the port's.
                Err(TurnError {
                    error,
                    turn: Some(still),
                }) if error.is(Outcome::TooLong) => turn = still,
                done => return done,
            }
        }
        let lent = match self.lend(bytes) {
            Ok(lent) => lent,
            Err(error) => {
                let turn = Some(turn);
                return Err(TurnError { error, turn });
            }
        };
        let result = turn.reply_with(&[], options.lend(&lent.view));
        self.lent.push(lent);
        result
    }

    /// Deletes the views that aren't lent just now, and so gives their memory back.
    pub fn shrink(&mut self) {
        self.gather();
        self.free.clear();
    }

    /// Copies the bytes to a view that is to be lent.
    fn lend(&mut self, bytes: &[u8]) -> Result<Used<Lent>> {
        let length = bytes.len();
        if length > VIEW_MOST {
            let error = io::Error::from_raw_os_error(libc::EMSGSIZE);
            return Err(Error::new("lend", &error, sys::ALPC_OUTCOME_TOO_LONG));
        }
        let Used { mut view, used } = self.room(length)?;
        view[..length].copy_from_slice(bytes);
        // Nothing of an earlier message, which may have been for somebody else.
        if let Some(rest) = view.get_mut(length..used) {
            rest.fill(0);
        }
        Ok(Used {
            view: view.lend().only(length),
            used: length,
        })
    }

    /// A view that is so long: the shortest there is, or a new one.
    fn room(&mut self, length: usize) -> Result<Used<View>> {
        if self.fitting(length).is_none() {
            self.gather();
        }
        if let Some(index) = self.fitting(length) {
            return Ok(self.free.swap_remove(index));
        }
        let size = match length {
            0..=STEP => length.next_power_of_two().max(LEAST),
            _ => length.next_multiple_of(STEP),
        };
        let view = self.make(size).or_else(|_| {
            // The others may be in the way.
            self.free.clear();
            self.make(size)
        })?;
        Ok(Used { view, used: 0 })
    }

    fn fitting(&self, length: usize) -> Option<usize> {
        let lengths = self.free.iter().map(|free| free.view.len()).enumerate();
        lengths
            .filter(|(_, size)| *size >= length)
            .min_by_key(|(_, size)| *size)
            .map(|(index, _)| index)
    }

    /// Takes back what was released.
    fn gather(&mut self) {
        for Used { view, used } in std::mem::take(&mut self.lent) {
            match view.reclaim() {
                Ok(view) => self.free.push(Used { view, used }),
                Err(view) => self.lent.push(Used { view, used }),
            }
        }
    }

    fn make(&mut self, size: usize) -> Result<View> {
        for section in &self.sections {
            match section.view(size) {
                Err(error) if error.errno() == libc::ENOSPC => {}
                done => return done,
            }
        }
        if self.sections.len() < SECTIONS {
            self.sections.push(self.port.section(VIEW_MOST)?);
        }
        match self.sections.last() {
            Some(section) => section.view(size),
            None => Err(Error::plain("lend", &io::ErrorKind::OutOfMemory.into())),
        }
    }
}

/// Calls and sends with bytes of any length.
#[derive(Debug)]
pub struct Caller<'p> {
    endpoint: &'p Endpoint,
    outbox: Outbox<'p>,
    buffer: Vec<u8>,
    /// Whether the other side has not refused one.
    views: bool,
}

impl<'p> Caller<'p> {
    /// One for this end of a connection. One ioctl, to learn how long messages can be.
    pub fn new(endpoint: &'p Endpoint) -> Result<Self> {
        let outbox = Outbox::new(endpoint)?;
        Ok(Self {
            buffer: vec![0; outbox.inline_most],
            endpoint,
            outbox,
            views: true,
        })
    }

    /// Sends a request and waits for its reply. One ioctl, and one for each view that is lent when
    /// it needs another.
    ///
    /// # Errors
    ///
    /// [`Outcome::NotTaken`] if that is longer than a message can be, and the server takes neither
    /// [views](crate::PortBuilder::take_views) nor
    /// [caller memory](crate::PortBuilder::take_memory), or only views and it is longer than
    /// [`VIEW_MOST`](super::VIEW_MOST). A server that calls back is refused. Errno `ENOMEM` with
    /// [`was_sent`](Error::was_sent): there is no memory to copy a reply that the server may still
    /// be writing.
    pub fn call(&mut self, request: &[u8]) -> Result<Bytes> {
        self.call_with(request, Options::new())
    }

    /// Sends a request and waits for its reply as [`call`](Caller::call) does, with options. Their
    /// timeout bounds each try: there may be up to three, by one way after the other. Views go
    /// where this puts them whatever they say.
    ///
    /// A wait that a signal or the time has ended can't be resumed.
    pub fn call_with<'o>(
        &mut self,
        request: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<Bytes> {
        let inbox = Inbox::new();
        let options = Options {
            lent: None,
            inbox: Some(&inbox),
            ..options.into()
        };
        let (endpoint, buffer) = (self.endpoint, &mut self.buffer[..]);
        if request.len() <= self.outbox.inline_most {
            match endpoint.call_with(request, buffer, options) {
                Err(error) if is_refused(&error, Outcome::TooLong) => {}
                reply => return bytes_of(&inbox, reply?.data()),
            }
        }
        if self.views {
            // Where no view can be made, there still is the caller's memory.
            if let Ok(lent) = self.outbox.lend(request) {
                let reply = endpoint.call_with(&[], buffer, options.lend(&lent.view));
                self.outbox.lent.push(lent);
                match reply {
                    // It may have been a handle that was refused.
                    Err(error) if is_refused(&error, Outcome::NotTaken) => {
                        self.views = !options.handles.is_empty();
                    }
                    Err(error) if is_refused(&error, Outcome::Limit) => {}
                    reply => return bytes_of(&inbox, reply?.data()),
                }
            }
        }
        let memory = Offer::new().readable(request);
        let reply = endpoint.call_with_memory(&[], &memory, buffer, options)?;
        bytes_of(&inbox, reply.data())
    }

    /// Sends a one-way message. One ioctl, and one for each view that is lent when it needs another.
    ///
    /// # Errors
    ///
    /// As for [`Outbox::reply`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_with(bytes, Options::new())
    }

    /// Sends a one-way message as [`send`](Caller::send) does, with options. Their timeout bounds
    /// the wait for room in the queue. A view they lend is not lent, as this lends its own.
    ///
    /// # Errors
    ///
    /// As for [`send`](Caller::send), and those of the options.
    pub fn send_with<'o>(&mut self, bytes: &[u8], options: impl Into<Options<'o>>) -> Result<()> {
        let endpoint = self.endpoint;
        self.begin(bytes, options.into(), |payload, options| {
            endpoint.send_with(payload, options)
        })
    }

    /// Sends a request without waiting: a [`Receiver`](super::Receiver) on this port receives the
    /// reply. One ioctl, and one for each view that is lent when it needs another.
    ///
    /// # Errors
    ///
    /// As for [`Outbox::reply`].
    pub fn send_request(&mut self, request: &[u8]) -> Result<ConversationId> {
        self.send_request_with(request, Options::new())
    }

    /// Sends a request without waiting for its reply as [`send_request`](Caller::send_request)
    /// does, with options. A view they lend is not lent, as this lends its own. If they make no
    /// room for a reply, there is room for the largest message.
    ///
    /// # Errors
    ///
    /// As for [`send_request`](Caller::send_request), and those of the options.
    pub fn send_request_with<'o>(
        &mut self,
        request: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<ConversationId> {
        let endpoint = self.endpoint;
        let mut options = options.into();
        if options.reply_bytes == 0 {
            // No port allows messages that long.
            options.reply_bytes = u32::try_from(self.outbox.inline_most).unwrap_or(u32::MAX);
        }
        self.begin(request, options, |payload, options| {
            endpoint.send_request_with(payload, options)
        })
    }

    fn begin<T>(
        &mut self,
        bytes: &[u8],
        options: Options<'_>,
        send: impl Fn(&[u8], Options<'_>) -> Result<T>,
    ) -> Result<T> {
        let options = Options {
            lent: None,
            ..options
        };
        if bytes.len() <= self.outbox.inline_most {
            match send(bytes, options) {
                Err(error) if is_refused(&error, Outcome::TooLong) => {}
                done => return done,
            }
        }
        let lent = self.outbox.lend(bytes)?;
        let result = send(&[], options.lend(&lent.view));
        self.outbox.lent.push(lent);
        result
    }

    /// Deletes the views that aren't lent just now, and so gives their memory back.
    pub fn shrink(&mut self) {
        self.outbox.shrink();
    }
}

/// Whether nothing was sent, and that is why.
fn is_refused(error: &Error, outcome: Outcome) -> bool {
    !error.was_sent() && error.is(outcome)
}

/// The bytes of a reply.
fn bytes_of(inbox: &Inbox, payload: &[u8]) -> Result<Bytes> {
    match inbox.take() {
        Some(view) => Bytes::of_view(view, VIEW_MOST).map_err(Error::with_sent),
        None => Ok(Bytes::copied(Way::Inline, payload.to_vec())),
    }
}
