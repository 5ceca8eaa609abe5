// SPDX-License-Identifier: MIT OR Apache-2.0

//! Receiving bytes of any length.

use std::io;
use std::time::Duration;

use super::reading::Reading;
use super::{Bytes, Way, MEMORY_MOST, MEMORY_TIME};
use crate::error::{Error, Result, MEMORY_ROOM, READ_MEMORY};
use crate::handles::Handles;
use crate::message::{self, Raw, Sender};
use crate::options::Options;
use crate::port::{Port, Start};
use crate::sys;
use crate::turn::Turn;
use crate::views::Inbox;

/// For so many bytes of a caller's memory there is a second more by default. A slow machine, whose
/// kernel checks much, needs more than a second to bring in 100 MB that nobody has touched.
const PER_SECOND: u64 = 16 << 20;

/// A message with its bytes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Message {
    /// Its bytes.
    pub bytes: Bytes,
    /// Who sent it.
    pub sender: Sender,
    /// This side's value for the connection.
    pub port_context: u64,
    /// This side's value for the conversation, if it was asked for.
    pub message_context: Option<u64>,
    /// The handles it has, if they were asked for.
    pub handles: Handles,
}

/// A request whose bytes could not be read out of its caller's memory. That concerns this request
/// alone, and [`port_context`](Unread::port_context) says whose it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unread {
    /// Why. [`Outcome::TimedOut`](crate::Outcome::TimedOut) if the memory did not come in time,
    /// [`Outcome::TooLong`](crate::Outcome::TooLong) if it is more than
    /// [`memory_most`](Receiver::memory_most). Errno `ENOMEM` if this process has no room for
    /// it, or a page of the caller's could not be brought in. All else is as for
    /// [`MemoryRange::read_exact_at`](crate::MemoryRange::read_exact_at).
    pub error: Error,
    /// Who sent the request.
    pub sender: Sender,
    /// This side's value for the connection.
    pub port_context: u64,
    /// This side's value for the conversation, if it was asked for.
    pub message_context: Option<u64>,
}

/// What [`Receiver::receive`] yields.
#[derive(Debug)]
#[must_use = "dropping a request unanswered makes its sender's call fail"]
#[non_exhaustive]
pub enum Received<'p, 'r> {
    /// A request, and the turn to answer it with.
    Request(Message, Turn<'p>),
    /// A request whose bytes could not be had, and the turn to say so with. Dropping the turn makes
    /// the sender's call fail with [`Outcome::Lost`](crate::Outcome::Lost).
    Unread(Unread, Turn<'p>),
    /// The answer to a request that this port sent without waiting, and the turn if that leaves the
    /// conversation open.
    Reply(Message, Option<Turn<'p>>),
    /// A one-way message.
    Datagram(Message),
    /// What has no bytes to speak of: connection requests, notices. Also a reply or a one-way
    /// message with a view that its sender may still write, and that there was no room to copy.
    Other(crate::Received<'p, 'r>),
}

/// Receives bytes of any length on one port.
///
/// The port is one that [takes views](crate::PortBuilder::take_views) and
/// [caller memory](crate::PortBuilder::take_memory), or fewer ways are open to senders.
#[derive(Debug)]
pub struct Receiver<'p> {
    port: &'p Port,
    buffer: Vec<u8>,
    inbox: Inbox,
    memory_most: usize,
    memory_time: Option<Duration>,
}

impl<'p> Receiver<'p> {
    /// One for this port. One ioctl, to learn how long messages can be.
    pub fn new(port: &'p Port) -> Result<Self> {
        Ok(Self {
            port,
            buffer: vec![0; port.query()?.max_message_length],
            inbox: Inbox::new(),
            memory_most: MEMORY_MOST,
            memory_time: None,
        })
    }

    /// Reads no more than this out of one caller's memory, and copies no more out of a view that
    /// its sender may still write. A request that brings more is [`Received::Unread`].
    ///
    /// For each such request the receiver allocates as much as the request lends to be read, up to
    /// this. Where that fails, the request is [`Received::Unread`] with errno `ENOMEM`. A server
    /// with little memory sets this to what it can spare for each request that it works on.
    pub fn memory_most(self, bytes: usize) -> Self {
        Self {
            memory_most: bytes,
            ..self
        }
    }

    /// Waits no longer than this for the memory of one request, all waits together. To copy what is
    /// there is no wait.
    ///
    /// Unless this is said, it is [`MEMORY_TIME`](super::MEMORY_TIME), and a second more for each
    /// 16 MiB that the request lends to be read, all of its slices together. With the default
    /// [`memory_most`](Receiver::memory_most) that is 17 seconds at most. A time that is
    /// said holds for every length.
    ///
    /// The timeout of the receive does not shorten this time: a request that comes just before the
    /// timeout has all of it. So a receive may take its timeout and this time.
    pub fn memory_time(self, time: Duration) -> Self {
        Self {
            memory_time: Some(time),
            ..self
        }
    }

    /// Receives the next message, and waits for it. One ioctl, one more for each slice of caller
    /// memory, and two more for each MiB of it that has to be waited for. A hostile caller has this
    /// wait no longer than [`memory_time`](Receiver::memory_time).
    ///
    /// # Errors
    ///
    /// [`Outcome::NoWindow`](crate::Outcome::NoWindow) if too many views are kept; the message
    /// stays. A request whose memory can't be read is no error: it is [`Received::Unread`].
    pub fn receive(&mut self) -> Result<Received<'p, '_>> {
        self.receive_with(Options::new())
    }

    /// Receives the next message, with options. Views and memory go where this puts them whatever
    /// they say.
    ///
    /// The timeout bounds the wait for the message. The wait for the memory of a request comes after
    /// it, and is bounded by [`memory_time`](Receiver::memory_time), whatever the timeout is. After
    /// [`nonblocking`](Options::nonblocking) only memory that is there is read, and nothing of the
    /// caller's is waited for. A signal ends the wait for a message, never the reading of its memory.
    pub fn receive_with<'o>(
        &mut self,
        options: impl Into<Options<'o>>,
    ) -> Result<Received<'p, '_>> {
        let options = options.into();
        let start = Start::new("receive", sys::ALPC_RECEIVE, &[]);
        let with = Options {
            inbox: Some(&self.inbox),
            ask_memory: true,
            ..options
        };
        let raw = self.port.transfer(start, &mut self.buffer[..], with)?;
        if !has_bytes(&raw) {
            let message = message::Message::new(&raw, &self.buffer[..raw.length()]);
            return Ok(Received::Other(crate::Received::new(self.port, message)));
        }
        Ok(self.with_bytes(raw, options.nonblocking))
    }

    fn with_bytes(&self, mut raw: Raw, nonblocking: bool) -> Received<'p, '_> {
        let payload = &self.buffer[..raw.length()];
        let memory = std::mem::take(&mut raw.memory);
        let message = message::Message::new(&raw, payload);
        let received = crate::Received::new(self.port, message).with_memory(memory);
        let bytes = match (self.inbox.take(), &received) {
            (Some(view), _) => Bytes::of_view(view, self.memory_most),
            (None, crate::Received::Request(request)) if !request.memory().is_empty() => {
                self.read_out(request, nonblocking)
            }
            _ => Ok(Bytes::copied(Way::Inline, payload.to_vec())),
        };
        let (sender, port_context) = (message.sender(), message.port_context());
        let message_context = message.message_context();
        let with = |bytes| Message {
            bytes,
            sender,
            port_context,
            message_context,
            handles: message.handles(),
        };
        match (received, bytes) {
            (crate::Received::Request(request), Ok(bytes)) => {
                Received::Request(with(bytes), request.into_turn())
            }
            (crate::Received::Request(request), Err(error)) => {
                let unread = Unread {
                    error,
                    sender,
                    port_context,
                    message_context,
                };
                Received::Unread(unread, request.into_turn())
            }
            (crate::Received::Reply(reply), Ok(bytes)) => {
                Received::Reply(with(bytes), reply.split().1)
            }
            (_, Ok(bytes)) => Received::Datagram(with(bytes)),
            // A view that could not be copied, as only requests bring memory.
            (other, Err(_)) => Received::Other(other),
        }
    }

    /// All memory of the caller's that may be read, one slice after another.
    fn read_out(&self, request: &crate::Request<'_, '_>, nonblocking: bool) -> Result<Bytes> {
        let memory = request.memory();
        let readable = || memory.iter().filter(|range| range.is_readable());
        let total = readable().try_fold(0_u64, |sum, range| sum.checked_add(range.len()));
        let total = total.and_then(|total| usize::try_from(total).ok());
        let Some(total) = total.filter(|total| *total <= self.memory_most) else {
            let error = io::Error::from_raw_os_error(libc::EMSGSIZE);
            return Err(Error::new(READ_MEMORY, &error, sys::ALPC_OUTCOME_TOO_LONG));
        };
        let left = self.memory_time.unwrap_or_else(|| default_time(total));
        let mut reading = Reading {
            left: (!nonblocking).then_some(left),
        };
        let room = sys::zeroes(total).map_err(|error| Error::plain(MEMORY_ROOM, &error));
        let mut bytes = room?;
        let mut rest = &mut bytes[..];
        for range in readable() {
            let (part, others) = rest.split_at_mut(range.len() as usize);
            reading.read(&range, part)?;
            rest = others;
        }
        Ok(Bytes::copied(Way::Memory, bytes))
    }
}

/// How long so many bytes of a caller's memory are waited for by default.
fn default_time(length: usize) -> Duration {
    let more = (length as u64).saturating_mul(1000) / PER_SECOND;
    MEMORY_TIME.saturating_add(Duration::from_millis(more))
}

fn has_bytes(raw: &Raw) -> bool {
    matches!(
        u32::from(raw.transfer.type_),
        sys::ALPC_TYPE_REQUEST | sys::ALPC_TYPE_REPLY | sys::ALPC_TYPE_DATAGRAM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_has_more_time() {
        assert_eq!(default_time(0), MEMORY_TIME);
        assert_eq!(default_time(8 << 20), Duration::from_millis(1500));
        assert_eq!(default_time(16 << 20), Duration::from_secs(2));
        assert_eq!(default_time(MEMORY_MOST), Duration::from_secs(17));
        assert!(default_time(usize::MAX) > default_time(1 << 40));
    }
}
