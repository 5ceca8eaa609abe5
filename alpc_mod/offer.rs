// SPDX-License-Identifier: GPL-2.0

//! Caller memory in a call: it is open to the other side as long as the caller waits.
//!
//! The memory belongs to the request, and stays with the side that offered it through
//! callbacks: each of its messages takes over what the one before had, until the request
//! is answered.
#![deny(unsafe_code)]

use crate::{
    call::Scope,
    logic::engine::How,
    memory::{
        Memory,
        Opening, //
    },
    message::{
        Draft,
        Message, //
    },
    outcome::Failure,
    plan::{
        Plan,
        Receive,
        Send, //
    },
    port::Locked,
    send::unsent,
    uapi,
    wait::Chore, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What a call offers. Its end is the offer's: it must be dropped with no spinlock held.
#[derive(Default)]
pub(crate) struct Offer {
    /// To be opened, with the turn at which the other side may use it.
    found: Option<(u32, Arc<Memory>)>,
    opening: Option<Opening>,
}

impl Offer {
    /// Makes the message ready that is to be sent, and takes the lock to send it.
    ///
    /// What it offers is open before anybody has the message.
    #[inline]
    pub(crate) fn begin<'a>(
        &mut self,
        scope: Scope<'a>,
        plan: &Plan<'_>,
        t: &uapi::alpc_transfer,
        body: Arc<Message>,
    ) -> Result<(Locked<'a>, Option<Arc<Message>>), Failure> {
        match plan.send {
            Send::New(_) => {
                if let Some(memory) = &body.cargo.memory() {
                    self.opening = memory.open(0, false);
                }
            }
            Send::Into(How::Reply | How::Callback | How::Answer) => {
                let engine = scope.port.lock();
                let Some((turn, memory)) = offered(scope, &engine, t.send_id) else {
                    return Ok((engine, Some(body)));
                };
                // Only where there is some, the lock is taken twice: room for it may have to be
                // allocated, and its own lock taken, neither of which is done under this one.
                drop(engine);
                return self.go_on(scope, plan, turn, memory, body);
            }
            _ => {}
        }
        Ok((scope.port.lock(), Some(body)))
    }

    /// Gives the message what an earlier one of its conversation offers.
    #[inline(never)]
    fn go_on<'a>(
        &mut self,
        scope: Scope<'a>,
        plan: &Plan<'_>,
        turn: u32,
        memory: Arc<Memory>,
        body: Arc<Message>,
    ) -> Result<(Locked<'a>, Option<Arc<Message>>), Failure> {
        // Nobody else has it yet.
        let mut draft = Draft::reopen(body).ok_or(ENOMEM)?;
        let added = draft.load().add_memory(memory.clone());
        let body = draft.finish();
        if let Err(error) = added {
            return Err(unsent(scope, body, error.into()));
        }
        if plan.receive == Receive::Answer {
            self.opening = memory.open(turn.wrapping_add(1), false);
        }
        Ok((scope.port.lock(), Some(body)))
    }

    /// Finds out what is to be opened when the caller stands in the conversation's wait, unless
    /// it is open already.
    #[inline]
    pub(crate) fn look(&mut self, scope: Scope<'_>, plan: &Plan<'_>, engine: &Locked<'_>, id: u64) {
        let waits = plan.receive == Receive::Answer && !matches!(plan.send, Send::New(_));
        if waits && self.opening.is_none() {
            self.found = offered(scope, engine, id);
        }
    }

    /// Opens it. The caller stands there, and waits from now on. Gives what it has to do meanwhile.
    #[inline]
    pub(crate) fn open(&mut self) -> Option<&dyn Chore> {
        if let Some((turn, memory)) = self.found.take() {
            self.opening = memory.open(turn, true);
        }
        self.opening.as_ref().map(Opening::chore)
    }
}

/// What this side offers in a conversation, and the turn.
fn offered(scope: Scope<'_>, engine: &Locked<'_>, id: u64) -> Option<(u32, Arc<Memory>)> {
    let (turn, body) = engine.own_body(scope.conn(), scope.side(), id)?;
    let memory = body.cargo.memory()?;
    Some((turn, memory.clone()))
}
