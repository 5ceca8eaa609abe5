// SPDX-License-Identifier: GPL-2.0

//! What there is, for those who ask.
#![deny(unsafe_code)]

use super::list::Store;
use super::types::{Host, Phase, Side};
use super::{Engine, Source};

/// What can be asked about a port.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    /// Messages that wait to be received.
    pub messages: u32,
    /// Their bytes.
    pub bytes: u32,
    /// Connections.
    pub connections: u32,
    /// Open conversations.
    pub conversations: u32,
    /// Messages that have arrived.
    pub sequence: u64,
}

/// Connections that are looked at under the lock at a time.
const STRIDE: u32 = 64;

/// What a look at some connections gave.
pub enum Found<H: Host> {
    /// The first one there is.
    Connection(u32, Uses<H>),
    /// None: look on from there.
    None(u32),
    /// There are no more.
    End,
}

/// What a connection uses.
pub struct Uses<H: Host> {
    /// Where it stands.
    pub phase: Phase,
    /// The connection.
    pub peer: H::Peer,
    /// What the server has said it is.
    pub context: u64,
    /// Conversations.
    pub conversations: u32,
    /// Messages under way to the server, and their bytes.
    pub to_server: (u32, u32),
    /// The same to the client.
    pub to_client: (u32, u32),
    /// Sends that found no room.
    pub refused: u64,
}

impl<H: Host> Engine<H> {
    /// Counts of what a port holds now.
    pub fn gauges(&self, source: Source) -> Gauges {
        match source {
            Source::Port => Gauges {
                messages: self.messages,
                bytes: self.bytes,
                connections: self.connections,
                conversations: self
                    .slots
                    .len()
                    .saturating_sub(self.free_slots.len())
                    .saturating_sub(self.nameless),
                sequence: self.sequence,
            },
            Source::Side(conn, side) => {
                let Some(c) = self.conns.get(conn) else {
                    return Gauges {
                        messages: 0,
                        bytes: 0,
                        connections: 0,
                        conversations: 0,
                        sequence: 0,
                    };
                };
                let queue = c.queues.get(side);
                Gauges {
                    messages: queue.messages,
                    bytes: queue.bytes,
                    connections: 1,
                    conversations: c.all.len().saturating_sub(c.nameless),
                    sequence: *c.sequence.get(side),
                }
            }
        }
    }

    /// The first connection from a number on, among so many as can be looked at under the lock.
    pub fn next_connection(&self, from: u32) -> Found<H> {
        let end = from.saturating_add(STRIDE).min(self.conns.len());
        if from >= end {
            return Found::End;
        }
        for index in from..end {
            let Some(c) = self.conns.get(index) else {
                continue;
            };
            let Some(peer) = c.peer.clone() else {
                continue;
            };
            let server = c.queues.get(Side::Server);
            let client = c.queues.get(Side::Client);
            let uses = Uses {
                phase: c.phase,
                peer,
                context: *c.context.get(Side::Server),
                conversations: c.all.len().saturating_sub(c.nameless),
                to_server: (
                    c.port.messages.saturating_add(server.messages),
                    c.port.bytes.saturating_add(server.bytes),
                ),
                to_client: (client.messages, client.bytes),
                refused: c.refused,
            };
            return Found::Connection(index, uses);
        }
        Found::None(end)
    }
}
