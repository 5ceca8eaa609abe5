// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who uses how much of what is limited.

use crate::query::State;
use crate::sys;

/// What a user has of something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Gauge {
    /// How many it has.
    pub used: u32,
    /// The most that it may have.
    pub limit: u32,
    /// How often it could not have more, since it had none of anything.
    pub refused: u64,
}

impl Gauge {
    fn new(raw: sys::alpc_gauge) -> Self {
        Self {
            used: raw.used,
            limit: raw.limit,
            refused: raw.refused,
        }
    }
}

/// What a user has of all that is limited: see [`Device::usage_of`](crate::Device::usage_of).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Connection ports.
    pub ports: Gauge,
    /// Connections that it has begun and not closed.
    pub connections: Gauge,
    /// Ended connections that its servers have not closed.
    pub left_connections: Gauge,
    /// Conversations that it has begun.
    pub conversations: Gauge,
    /// Messages that its servers have sent, and that clients have not received, or hold.
    pub told_conversations: Gauge,
    /// Pages of memory of its views.
    pub view_pages: Gauge,
    /// Handles in messages that it has sent.
    pub handles: Gauge,
    /// Handles in messages that its servers have sent.
    pub told_handles: Gauge,
}

impl Usage {
    pub(crate) fn new(raw: &sys::alpc_query_user) -> Self {
        Self {
            ports: Gauge::new(raw.ports),
            connections: Gauge::new(raw.connections),
            left_connections: Gauge::new(raw.left_connections),
            conversations: Gauge::new(raw.conversations),
            told_conversations: Gauge::new(raw.told_conversations),
            view_pages: Gauge::new(raw.view_pages),
            handles: Gauge::new(raw.handles),
            told_handles: Gauge::new(raw.told_handles),
        }
    }
}

/// What a connection uses of its port: see [`Server::connections`](crate::Server::connections).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// How it stands.
    pub state: State,
    /// The value that it was accepted with.
    pub context: u64,
    /// The process that connected, 0 if it has no id in the caller's PID namespace.
    pub pid: u32,
    /// The effective user id of who connected, in the caller's user namespace.
    pub uid: u32,
    /// The effective group id of who connected, in the caller's user namespace.
    pub gid: u32,
    /// Open conversations.
    pub conversations: u32,
    /// Messages that the server has not received.
    pub to_server_messages: u32,
    /// Bytes of payload that the server has not received.
    pub to_server_bytes: u32,
    /// Messages that the client has not received.
    pub to_client_messages: u32,
    /// Bytes of payload that the client has not received.
    pub to_client_bytes: u32,
    /// Views that the server has from this client.
    pub views_to_server: u32,
    /// Views that the client has from the server.
    pub views_to_client: u32,
    /// Sends that found no room in the share of either direction, and failed or waited.
    pub refused: u64,
}

impl ConnectionInfo {
    pub(crate) fn new(raw: &sys::alpc_query_connection) -> Self {
        Self {
            state: State::from_raw(raw.state),
            context: raw.context,
            pid: raw.pid,
            uid: raw.uid,
            gid: raw.gid,
            conversations: raw.conversations,
            to_server_messages: raw.to_server_messages,
            to_server_bytes: raw.to_server_bytes,
            to_client_messages: raw.to_client_messages,
            to_client_bytes: raw.to_client_bytes,
            views_to_server: raw.views_to_server,
            views_to_client: raw.views_to_client,
            refused: raw.refused,
        }
    }
}
