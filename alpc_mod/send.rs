// SPDX-License-Identifier: GPL-2.0

//! The sending half of a call: making a message of what the caller has, and putting
//! it under way.
#![deny(unsafe_code)]

use crate::{
    attributes::Outgoing,
    call::Scope,
    comm::{
        CommPort,
        Connection, //
    },
    logic::engine::{
        Effects,
        Hand,
        How,
        New,
        Refusal,
        Sent,
        Side,
        Wait, //
    },
    message::{
        keep_slot,
        take_kept,
        unload,
        Draft,
        Message, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    plan::{
        Plan,
        Send, //
    },
    port::{
        Kernel,
        Locked, //
    },
    time::Deadline,
    told::answer_told,
    uapi,
    wait::{
        wait,
        Gone,
        Stand,
        Waited, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Why a message was not sent, and the message if it is there still.
pub(crate) type Unsent = (Failure, Option<Arc<Message>>);

/// Sends, and leaves the lock taken.
pub(crate) fn send<'a>(
    scope: Scope<'a>,
    plan: &Plan<'_>,
    t: &uapi::alpc_transfer,
    engine: Locked<'a>,
    body: Arc<Message>,
    fx: &mut Effects<Kernel>,
) -> Result<(Locked<'a>, Sent), Failure> {
    let kept = take_kept(&body);
    let result = match (plan.send, scope.end) {
        (Send::New(new), Some(end)) => send_new(scope, end, plan, t, new, kept, engine, body, fx),
        (Send::Into(how), _) => send_into(scope, t, how, kept, engine, body, fx),
        _ => {
            scope.port.leave(engine, fx);
            Err((EINVAL.into(), Some(body)))
        }
    };
    match result {
        Ok((mut engine, sent)) => {
            if let Some(context) = plan.outgoing.message_context() {
                engine.set_message_context(sent, scope.side(), context);
            }
            Ok((engine, sent))
        }
        Err((failure, None)) => Err(failure),
        Err((failure, Some(body))) => {
            if let Some(slot) = kept {
                keep_slot(&body, slot);
            }
            put_back(scope, body);
            Err(failure)
        }
    }
}

/// Sends into a held conversation.
fn send_into<'a>(
    scope: Scope<'a>,
    t: &uapi::alpc_transfer,
    how: How,
    kept: Option<u32>,
    engine: Locked<'a>,
    body: Arc<Message>,
    fx: &mut Effects<Kernel>,
) -> Result<(Locked<'a>, Sent), Unsent> {
    let (conn, side) = (scope.conn(), scope.side());
    let (mut engine, body) = match side {
        Side::Client => (engine, body),
        Side::Server => answer_told(scope, t, how, engine, body)?,
    };
    match engine.send_into(conn, side, t.send_id, t.send_callback_id, how, body, fx) {
        Ok(sent) => {
            // The message is part of another conversation now.
            if let (Some(slot), Some(conn)) = (kept, conn) {
                engine.release(conn, slot, fx);
            }
            Ok((engine, sent))
        }
        Err((refusal, body)) => {
            scope.port.leave(engine, fx);
            Err((refusal.into(), Some(body)))
        }
    }
}

/// Puts a message back that could not be sent.
#[cold]
pub(crate) fn give_up(scope: Scope<'_>, (failure, body): Unsent) -> Failure {
    match body {
        Some(body) => unsent(scope, body, failure),
        None => failure,
    }
}

/// Sends a new message, and waits for room if it must and may.
#[expect(clippy::too_many_arguments)]
fn send_new<'a>(
    scope: Scope<'a>,
    end: &CommPort,
    plan: &Plan<'_>,
    t: &uapi::alpc_transfer,
    new: New,
    kept: Option<u32>,
    mut engine: Locked<'a>,
    mut body: Arc<Message>,
    fx: &mut Effects<Kernel>,
) -> Result<(Locked<'a>, Sent), Unsent> {
    let port = scope.port;
    let (conn, side) = (end.index(), end.side);
    // A client may let it wait for ever, and so has to have that right.
    let may_wait = !scope.nonblock
        && t.flags & uapi::ALPC_NONBLOCK == 0
        && !matches!(plan.deadline, Deadline::Now)
        && (side == Side::Client || end.connection.granted(uapi::ALPC_RIGHT_CALLBACK));
    loop {
        let refusal;
        (refusal, body) = match engine.send_new(conn, side, new, kept, body, fx) {
            Ok(sent) => return Ok((engine, sent)),
            Err(refused) => refused,
        };
        match refusal {
            Refusal::Grow => {
                port.leave(engine, fx);
                if let Err(error) = port.grow() {
                    return Err((error.into(), Some(body)));
                }
            }
            Refusal::QueueFull if may_wait => {
                let at = Wait::Room { conn, side };
                let mut hand = None;
                let stand = Stand {
                    at,
                    holder: 0,
                    capacity: 0,
                };
                let waited = wait(port, engine, stand, plan.deadline, &mut hand, |engine| {
                    port.leave(engine, fx);
                    None
                });
                match (waited, hand) {
                    (Waited::Nothing(gone, engine), _) => {
                        drop(engine);
                        return Err(match gone {
                            Gone::TimedOut => (Outcome::TimedOut.into(), Some(body)),
                            Gone::Signal | Gone::Killed => {
                                (Outcome::Interrupted.into(), Some(body))
                            }
                        });
                    }
                    (_, Some(Hand::Ended(end))) => return Err((end.into(), Some(body))),
                    (_, _) => {}
                }
            }
            refusal => {
                port.leave(engine, fx);
                return Err((refusal.into(), Some(body)));
            }
        }
        engine = port.lock();
    }
}

/// A message from the current thread, with its payload and what else it attaches.
#[inline]
pub(crate) fn loaded_message(
    scope: Scope<'_>,
    new: bool,
    t: &uapi::alpc_transfer,
    outgoing: &Outgoing,
) -> Result<Arc<Message>, Failure> {
    let message = message(scope, new, t.send_data, t.send_length)?;
    match outgoing.has_cargo() {
        true => load(scope, message, t.send_id, outgoing),
        false => Ok(message),
    }
}

/// The connection that a call is about: that of its end, or that of its conversation.
fn connection<'a>(
    scope: Scope<'a>,
    id: u64,
    found: &'a mut Option<Arc<Connection>>,
) -> Result<&'a Arc<Connection>, Refusal> {
    match scope.end {
        Some(end) => Ok(&end.connection),
        None => {
            // The lock is released before a message or the connection may be dropped.
            let peer = scope.port.lock().peer_of(id);
            Ok(found.insert(peer?))
        }
    }
}

/// Refuses a thread of the server that is about to wait for a client which may not have that:
/// a client may let it wait for ever.
#[inline(never)]
pub(crate) fn may_await(scope: Scope<'_>, id: u64) -> Result<(), Failure> {
    if scope.side() == Side::Client {
        return Ok(());
    }
    match connection(scope, id, &mut None)?.granted(uapi::ALPC_RIGHT_CALLBACK) {
        true => Ok(()),
        false => Err(Outcome::AccessDenied.into()),
    }
}

#[inline(never)]
fn load(
    scope: Scope<'_>,
    message: Arc<Message>,
    id: u64,
    outgoing: &Outgoing,
) -> Result<Arc<Message>, Failure> {
    let mut found = None;
    let connection = match connection(scope, id, &mut found) {
        Ok(connection) => connection,
        Err(refusal) => return Err(unsent(scope, message, refusal.into())),
    };
    let to = scope.side().other();
    // Nobody else has it yet.
    let mut draft = Draft::reopen(message).ok_or(ENOMEM)?;
    let loaded = outgoing.load(draft.load(), connection, to);
    draft.apply_context();
    let message = draft.finish();
    match loaded {
        Ok(()) => Ok(message),
        Err(failure) => Err(unsent(scope, message, failure)),
    }
}

/// A message from the current thread, with its payload.
///
/// What a client sends is charged. What a server sends is charged when it is known whether it stays
/// anywhere, see [`told`](crate::told).
#[inline(always)]
pub(crate) fn message(
    scope: Scope<'_>,
    new: bool,
    addr: u64,
    len: u32,
) -> Result<Arc<Message>, Failure> {
    let spare = match scope.end {
        Some(end) => end.connection.spare(end.side),
        None => &scope.port.spare,
    };
    match spare.draft() {
        Some(Ok(mut draft)) if scope.end.is_none() || draft.is_charged() => {
            let filled = draft.fill(addr, len);
            let message = draft.finish();
            match filled {
                Ok(()) => Ok(message),
                Err(error) => Err(unsent(scope, message, error.into())),
            }
        }
        draft => new_message(scope, new, draft, addr, len),
    }
}

/// The same where there is no spare message to be filled, or it is not charged.
#[inline(never)]
fn new_message(
    scope: Scope<'_>,
    new: bool,
    draft: Option<Result<Draft, u32>>,
    addr: u64,
    len: u32,
) -> Result<Arc<Message>, Failure> {
    if let Some(end) = scope.end {
        may_begin(end, new)?;
    }
    let mut draft = match draft {
        Some(Ok(draft)) => draft,
        // Somebody still reads it: that one drops it.
        Some(Err(kept)) => {
            if let Some(end) = scope.end {
                end.release_slot(kept);
            }
            Draft::new()?
        }
        None => Draft::new()?,
    };
    let mut ready = Ok(());
    // Before the charge: without that the next send doesn't use the message as it is.
    if scope.end.is_some_and(CommPort::sends_origin) {
        ready = draft.load().add_origin().map_err(Failure::from);
    }
    let charged = |end: &&CommPort| end.side == Side::Client && !draft.is_charged();
    if let Some(end) = scope.end.filter(charged).filter(|_| ready.is_ok()) {
        ready = (end.connection.charge_conversation())
            .map(|charge| draft.charge(charge))
            .map_err(|_| Failure::from(Outcome::Limit));
    }
    if ready.is_ok() {
        ready = draft.fill(addr, len).map_err(Failure::from);
    }
    if scope.end.is_some_and(CommPort::is_anonymous) {
        draft.hide_sender();
    }
    let message = draft.finish();
    match ready {
        Ok(()) => Ok(message),
        Err(failure) => Err(unsent(scope, message, failure)),
    }
}

/// Refuses to make a message for a server that has not accepted. It could not be sent, and what the
/// server takes of a message is not known.
fn may_begin(end: &CommPort, new: bool) -> Result<(), Failure> {
    if end.connection.server().is_some() {
        return Ok(());
    }
    // If that is not refused, it has just accepted.
    let open = end.port().lock().may_send(end.index(), end.side);
    Ok(open.map_err(|refusal| match new {
        true => refusal,
        false => Refusal::NotFound,
    })?)
}

/// Puts a message back that could not be filled.
#[cold]
pub(crate) fn unsent(scope: Scope<'_>, message: Arc<Message>, failure: Failure) -> Failure {
    put_back(scope, message);
    failure
}

/// Makes a message the spare one again.
pub(crate) fn put_back(scope: Scope<'_>, message: Arc<Message>) {
    message.cargo.recall();
    // Nobody else has had it.
    let Some(message) = unload(message) else {
        return;
    };
    let Some(end) = scope.end else {
        scope.port.recycle(message);
        return;
    };
    if let Some(room) = message.take_room() {
        end.connection.room.keep_room(room);
    }
    if end.side == Side::Server && !message.is_spared() {
        if let Some(slot) = take_kept(&message) {
            end.release_slot(slot);
        }
        return;
    }
    if let Some(message) = end.connection.spare(end.side).put(message) {
        if let Some(slot) = take_kept(&message) {
            end.release_slot(slot);
        }
    }
}
