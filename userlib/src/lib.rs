// SPDX-License-Identifier: MIT OR Apache-2.0
#![deny(missing_docs)]
#![deny(unsafe_code)]
#![warn(unsafe_op_in_unsafe_fn)]
#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! * Clients: [`Client`], [`ConnectBuilder`], and [`Endpoint`] for what a connection can do.
//! * Servers: [`Server`], [`PortBuilder`], [`Acl`]; then [`ServerLoop`] and [`Service`].
//! * What comes in: [`Received`], [`Message`], [`Sender`]; what goes back: [`Turn`].
//! * Memory of the caller's: [`Offer`], [`CallerMemory`].
//! * Descriptors with messages: [`Options::handles`], [`Turn::claim`], [`HandleKinds`].
//! * Memory that is lent: [`Section`], [`View`], [`SecureView`], [`Options::lend`].
//! * Bytes of any length: [`bulk`].
//! * Who a message is from: [`Sender`], [`Identity`], [`Token`]; how far its receiver may go with
//!   that: [`Security`], [`SecurityContext`], [`Request::as_caller`].
//! * Waiting: [`Options`], [`Timeout`]; failing: [`Error`], [`Outcome`].
//! * The ioctls themselves: [`sys`].
//!
//! With the feature `serde`, [`Identity`], [`PortInfo`] and [`Acl`] are `Serialize` and
//! `Deserialize`.

mod accept;
mod acl;
mod advice;
mod buffer;
pub mod bulk;
mod cancel;
mod connect;
mod endpoint;
mod error;
mod failure;
mod handle;
mod handles;
mod identity;
mod impersonate;
mod memory;
mod message;
mod next;
mod options;
mod outcome;
mod port;
mod query;
mod security;
mod serve;
mod server;
mod service;
mod stopper;
pub mod sys;
mod turn;
mod turn_error;
mod usage;
mod views;

pub use accept::{Accept, ConnectionRequest};
pub use acl::{Acl, AclEntry, Rights, Who};
pub use buffer::Buffer;
pub use cancel::{CancelMode, Canceled, Canceller};
pub use connect::{ConnectBuilder, Connected, Connector};
pub use endpoint::{Client, Endpoint, ServerPort};
pub use error::{Error, Result};
pub use failure::{Cause, Failure};
pub use handles::{Claimed, HandleKinds, Handles};
pub use identity::{Capabilities, Identity, Ids, Token, UserNamespace};
pub use memory::{CallerMemory, MemoryRange, Offer};
pub use message::{ConversationId, Message, Notice, NoticeKind, Received, Reply, Request, Sender};
pub use options::{Options, Timeout};
pub use outcome::Outcome;
pub use port::{Flush, Port};
pub use query::{Device, DeviceInfo, Features, Peer, PortInfo, Role, State};
pub use security::{AttachedSecurity, Security, SecurityContext};
pub use serve::ServerLoop;
pub use server::{PortBuilder, Server};
pub use service::{Admission, Answer, Service};
pub use stopper::Stopper;
pub use turn::{Callback, CallbackTurn, Exchange, Turn, TurnId};
pub use turn_error::TurnError;
pub use usage::{ConnectionInfo, Gauge, Usage};
pub use views::{GivenBack, HeldView, Inbox, Lent, Section, SecureView, SharedView, View};
