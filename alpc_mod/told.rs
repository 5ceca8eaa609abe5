// SPDX-License-Identifier: GPL-2.0

//! What stays until a client has received it, and whose memory that is.
//!
//! An answer that somebody waits for goes from hand to hand. A client that does not wait makes room
//! for the answer when it asks: a message of its own, into which the server's is moved. All else
//! that a server sends and a client may leave where it is, or keeps with the turn, is the server's
//! memory; it is charged to the port, and there to the part that the client's user has of it.
#![deny(unsafe_code)]

use crate::{
    call::Scope,
    comm::Connection,
    logic::engine::{
        Effects,
        How,
        New,
        Side, //
    },
    message::{
        Draft,
        Message, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    plan::{
        Plan,
        Receive,
        Send, //
    },
    port::Locked,
    send::{
        give_up,
        put_back,
        unsent,
        Unsent, //
    },
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Charges what the server is about to send into a conversation, unless a thread that waits has it
/// at once and nobody keeps it.
pub(crate) fn answer_told<'a>(
    scope: Scope<'a>,
    t: &uapi::alpc_transfer,
    how: How,
    mut engine: Locked<'a>,
    body: Arc<Message>,
) -> Result<(Locked<'a>, Arc<Message>), Unsent> {
    let (conn, id, turn) = (scope.conn(), t.send_id, t.send_callback_id);
    let Some(stay) = engine.stays(conn, id, turn, how, body.buffer.len()) else {
        return Ok((engine, body));
    };
    let (connection, waited) = (stay.peer.clone(), stay.waited);
    let room = stay.request.and_then(|request| request.take_room());
    drop(engine);
    let body = match room {
        Some(room) if room.is_room_for(body.buffer.len()) => {
            move_to(scope, t, &connection, room, body)?
        }
        Some(_) if !waited => return Err(too_long(scope, t, body)),
        unfit => {
            drop(unfit);
            told(&connection, body)?
        }
    };
    // Its end may have come meanwhile, and this be the last reference: not with the lock taken.
    drop(connection);
    Ok((scope.port.lock(), body))
}

/// Moves an answer into the room that its receiver has made for it.
fn move_to(
    scope: Scope<'_>,
    t: &uapi::alpc_transfer,
    connection: &Connection,
    room: Arc<Message>,
    body: Arc<Message>,
) -> Result<Arc<Message>, Unsent> {
    let mut room = match Draft::reopen(room) {
        Some(room) => room,
        None => return Err((ENOMEM.into(), Some(body))),
    };
    if let Err(failure) = room.charge_cargo(body.cargo_footprint(), connection) {
        // For an answer that comes with less.
        put_room_back(scope, t, room.finish());
        return Err((failure, Some(body)));
    }
    let mut from = Draft::reopen(body).ok_or((ENOMEM.into(), None))?;
    let moved = room.take_over(&mut from);
    let from = from.finish();
    match moved {
        Ok(()) => {
            put_back(scope, from);
            Ok(room.finish())
        }
        Err(error) => Err((error.into(), Some(from))),
    }
}

/// Makes room for an answer again, if the caller can still give one.
#[cold]
fn put_room_back(scope: Scope<'_>, t: &uapi::alpc_transfer, room: Arc<Message>) {
    let engine = scope.port.lock();
    let request = engine.held_body(
        scope.conn(),
        Side::Server,
        t.send_id,
        t.send_callback_id, //
    );
    let room = match &request {
        // Under the lock, so that it isn't another message by then. It has none.
        Ok(request) => {
            request.add_room(room);
            None
        }
        Err(_) => Some(room),
    };
    drop(engine);
    drop((request, room));
}

/// Ends a conversation whose answer is longer than the room for it, and would be again: so the
/// client learns that none will come.
#[cold]
fn too_long(scope: Scope<'_>, t: &uapi::alpc_transfer, body: Arc<Message>) -> Unsent {
    let mut fx = Effects::default();
    let mut engine = scope.port.lock();
    let ended = engine.end_too_long(scope.conn(), t.send_id, t.send_callback_id, &mut fx);
    scope.port.leave(engine, &mut fx);
    let failure = match ended {
        Ok(()) => Outcome::TooLongForReply.into(),
        Err(refusal) => refusal.into(),
    };
    (failure, Some(body))
}

/// Charges a message of the server's that stays where it is until its client has received it, or
/// has given the turn back. Nobody else has it yet.
fn told(connection: &Connection, body: Arc<Message>) -> Result<Arc<Message>, Unsent> {
    let mut draft = Draft::reopen(body).ok_or((ENOMEM.into(), None))?;
    let charged = draft.charge_told(connection);
    let body = draft.finish();
    match charged {
        Ok(()) => Ok(body),
        Err(failure) => Err((failure, Some(body))),
    }
}

/// The same with the answer to a request for a connection. One that says nothing is small and a part
/// of the connection: so a server can refuse, whatever the client has left where it is.
pub(crate) fn told_of_request(
    connection: &Connection,
    body: Arc<Message>,
) -> Result<Arc<Message>, Unsent> {
    match body.buffer.len() {
        0 => Ok(Draft::reopen(body).ok_or((ENOMEM.into(), None))?.small()),
        _ => told(connection, body),
    }
}

/// Makes a message ready that may stay, or whose answer may: a new one of the server's is charged,
/// and what a client sends without waiting for the answer is given room for that.
#[inline]
pub(crate) fn prepare(
    scope: Scope<'_>,
    plan: &Plan<'_>,
    t: &uapi::alpc_transfer,
    body: Arc<Message>,
) -> Result<Arc<Message>, Failure> {
    let Some(end) = scope.end else {
        return Ok(body);
    };
    match (end.side, plan.send) {
        (Side::Server, Send::New(_)) => {
            told(&end.connection, body).map_err(|unsent| give_up(scope, unsent))
        }
        (Side::Client, Send::New(New::Request) | Send::Into(How::Reply))
            if plan.receive != Receive::Answer =>
        {
            match end.connection.room.room(t.send_length.max(t.reply_bytes)) {
                Ok(room) => {
                    body.add_room(room.finish());
                    Ok(body)
                }
                Err(error) => Err(unsent(scope, body, error.into())),
            }
        }
        _ => Ok(body),
    }
}
