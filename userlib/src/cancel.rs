// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cancelling conversations.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};

use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::message::ConversationId;
use crate::sys;

/// How far a cancel goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelMode {
    /// Cancel in any case. A request that the other side has received becomes
    /// void: its holder gets a notice, and its requester an error.
    Always,
    /// Cancel only what the other side has not received.
    Try,
}

/// What a cancel found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// The other side never saw the request.
    BeforeReceipt,
    /// The other side had received it, and gets a notice.
    AfterReceipt,
}

const OPERATION: &str = "cancel";

pub(crate) fn cancel(
    port: BorrowedFd<'_>,
    id: ConversationId,
    mode: CancelMode,
) -> Result<Canceled> {
    let mut argument = sys::alpc_cancel {
        id: id.to_raw(),
        flags: match mode {
            CancelMode::Always => 0,
            CancelMode::Try => sys::ALPC_CANCEL_TRY,
        },
        outcome: sys::ALPC_OUTCOME_OK,
    };
    match sys::cancel(port, &mut argument) {
        Ok(()) if argument.outcome == sys::ALPC_OUTCOME_ALREADY_RECEIVED => {
            Ok(Canceled::AfterReceipt)
        }
        Ok(()) => Ok(Canceled::BeforeReceipt),
        Err(error) => Err(Error::new(OPERATION, &error, argument.outcome)),
    }
}

/// Cancels conversations of a port from another thread.
///
/// Made by [`Port::canceller`](crate::Port::canceller). Holds no share of the
/// port: once the port's last handle is dropped, a cancel fails with
/// [`Outcome::Closed`](crate::Outcome::Closed), and there is nothing left to
/// cancel either.
#[derive(Debug, Clone)]
pub struct Canceller {
    port: Weak<Handle>,
}

impl Canceller {
    pub(crate) fn new(port: &Arc<Handle>) -> Self {
        Self {
            port: Arc::downgrade(port),
        }
    }

    /// Cancels a conversation. One ioctl. See
    /// [`Port::cancel`](crate::Port::cancel).
    pub fn cancel(&self, id: ConversationId, mode: CancelMode) -> Result<Canceled> {
        let port = self
            .port
            .upgrade()
            .ok_or_else(|| Error::port_gone(OPERATION))?;
        cancel(port.as_fd(), id, mode)
    }
}
