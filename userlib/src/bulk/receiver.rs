// SPDX-License-Identifier: MIT OR Apache-2.0

//! Receiving bytes of any length.

use super::{Bytes, Way, MEMORY_MOST};
use crate::error::Result;
use crate::handles::Handles;
use crate::message::{self, Raw, Sender};
use crate::options::Options;
use crate::port::{Port, Start};
use crate::sys;
use crate::turn::Turn;
use crate::views::Inbox;

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

/// What [`Receiver::receive`] yields.
#[derive(Debug)]
#[must_use = "dropping a request unanswered makes its sender's call fail"]
#[non_exhaustive]
pub enum Received<'p, 'r> {
    /// A request, and the turn to answer it with.
    Request(Message, Turn<'p>),
    /// The answer to a request that this port sent without waiting, and the turn if that leaves the
    /// conversation open.
    Reply(Message, Option<Turn<'p>>),
    /// A one-way message.
    Datagram(Message),
    /// What has no bytes to speak of: connection requests, notices.
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
}

impl<'p> Receiver<'p> {
    /// One for this port. One ioctl, to learn how long messages can be.
    pub fn new(port: &'p Port) -> Result<Self> {
        Ok(Self {
            port,
            buffer: vec![0; port.query()?.max_message_length],
            inbox: Inbox::new(),
            memory_most: MEMORY_MOST,
        })
    }

    /// Reads no more than this out of one caller's memory. A request that brings more is discarded:
    /// its sender's call fails with [`Outcome::Lost`](crate::Outcome::Lost).
    pub fn memory_most(self, bytes: usize) -> Self {
        Self {
            memory_most: bytes,
            ..self
        }
    }

    /// Receives the next message, and waits for it. One ioctl, and one more for each slice of caller memory.
    ///
    /// # Errors
    ///
    /// [`Outcome::NoWindow`](crate::Outcome::NoWindow) if too many views are kept; the message
    /// stays. A request whose memory can't be read out, since its caller has gone, is none: the
    /// next message is waited for.
    pub fn receive(&mut self) -> Result<Received<'p, '_>> {
        self.receive_with(Options::new())
    }

    /// The same, with options. Views and memory go where this puts them whatever they say.
    pub fn receive_with<'o>(
        &mut self,
        options: impl Into<Options<'o>>,
    ) -> Result<Received<'p, '_>> {
        let options = options.into();
        loop {
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
            if let Some(received) = self.with_bytes(raw) {
                return Ok(received);
            }
        }
    }

    fn with_bytes<'r>(&self, mut raw: Raw) -> Option<Received<'p, 'r>> {
        let payload = &self.buffer[..raw.length()];
        let memory = std::mem::take(&mut raw.memory);
        let message = message::Message::new(&raw, payload);
        let received = crate::Received::new(self.port, message).with_memory(memory);
        let bytes = match self.inbox.take() {
            Some(view) => Bytes::of_view(view),
            None => match &received {
                crate::Received::Request(request) if !request.memory().is_empty() => {
                    self.read_out(request)?
                }
                _ => Bytes::copied(Way::Inline, payload.to_vec()),
            },
        };
        let message = Message {
            bytes,
            sender: message.sender(),
            port_context: message.port_context(),
            message_context: message.message_context(),
            handles: message.handles(),
        };
        Some(match received {
            crate::Received::Request(request) => Received::Request(message, request.into_turn()),
            crate::Received::Reply(reply) => Received::Reply(message, reply.split().1),
            _ => Received::Datagram(message),
        })
    }

    /// All memory of the caller's that may be read, one slice after another.
    fn read_out(&self, request: &crate::Request<'_, '_>) -> Option<Bytes> {
        let memory = request.memory();
        let readable = || memory.iter().filter(|range| range.is_readable());
        let total = readable().try_fold(0_u64, |sum, range| sum.checked_add(range.len()))?;
        let total = usize::try_from(total).ok()?;
        if total > self.memory_most {
            return None;
        }
        let mut bytes = vec![0; total];
        let mut rest = &mut bytes[..];
        for range in readable() {
            let (part, others) = rest.split_at_mut(range.len() as usize);
            range.read_at(0, part).ok()?;
            rest = others;
        }
        Some(Bytes::copied(Way::Memory, bytes))
    }
}

fn has_bytes(raw: &Raw) -> bool {
    matches!(
        u32::from(raw.transfer.type_),
        sys::ALPC_TYPE_REQUEST | sys::ALPC_TYPE_REPLY | sys::ALPC_TYPE_DATAGRAM
    )
}
