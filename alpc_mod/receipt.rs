// SPDX-License-Identifier: GPL-2.0

//! The receiving end of a call: giving a message to the caller, and what was used for
//! it back to whoever uses it next.
#![deny(unsafe_code)]

use crate::{
    attributes::{
        Incoming,
        Taken, //
    },
    buffer::transfer_out,
    call::Scope,
    comm::CommPort,
    cred::Seen,
    logic::engine::{
        Delivery,
        Side,
        What, //
    },
    message::{
        keep_slot,
        take_kept,
        unload,
        Draft,
        Message, //
    },
    outcome::Failure,
    port::Kernel,
    stay::NoFaults,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Copies a message to the caller.
///
/// An answer that a client has been handed is the server's memory, and costs nobody anything, as it
/// was to be received at once. So it doesn't wait for memory of the client's: where that would have
/// to be brought in, the answer becomes memory of the client's first. Not a small one: a thread that
/// waits takes more itself.
pub(crate) fn give(
    scope: Scope<'_>,
    incoming: &Incoming,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    delivery: &mut Delivery<Kernel>,
) -> Result<(), Failure> {
    let is_small = |body: &Arc<Message>| body.buffer.is_small();
    if !is_servers(scope, delivery) || delivery.body.as_ref().is_some_and(is_small) {
        return give_now(scope, incoming, size, addr, t, delivery, None);
    }
    let quick = Some(NoFaults::begin());
    match give_now(scope, incoming, size, addr, t, delivery, quick) {
        Err(failure) if failure.errno() == EFAULT => {
            own(scope, delivery)?;
            give_now(scope, incoming, size, addr, t, delivery, None)
        }
        given => given,
    }
}

/// Whether what a client has been handed is memory of the server's that nobody pays for.
fn is_servers(scope: Scope<'_>, delivery: &Delivery<Kernel>) -> bool {
    let is_answer = delivery.to == Side::Client && delivery.idle && scope.end.is_some();
    is_answer && (delivery.body.as_ref()).is_some_and(|body| body.is_free())
}

/// Makes it memory of the client's, that of the current thread. `ENOMEM` if there is none.
#[cold]
fn own(scope: Scope<'_>, delivery: &mut Delivery<Kernel>) -> Result<(), Failure> {
    let Some(end) = scope.end.filter(|_| is_servers(scope, delivery)) else {
        return Ok(());
    };
    let Some(body) = &delivery.body else {
        return Ok(());
    };
    let mut room = end.connection.room.room(body.buffer.len())?;
    let from = delivery.body.take().and_then(Draft::reopen);
    let mut from = from.ok_or(ENOMEM)?;
    let taken = room.take_over(&mut from);
    let from = from.finish();
    if let Err(error) = taken {
        // As it was: it goes back into the queue.
        delivery.body = Some(from);
        return Err(error.into());
    }
    end.port().recycle(from);
    delivery.body = Some(room.finish());
    Ok(())
}

fn give_now(
    scope: Scope<'_>,
    incoming: &Incoming,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    delivery: &Delivery<Kernel>,
    quick: Option<NoFaults>,
) -> Result<(), Failure> {
    if let Some(body) = &delivery.body {
        arrives(body);
    }
    // What may fail without the caller's doing comes first: its buffer is untouched then.
    let taken = incoming.write(scope, delivery)?;
    let seen = match &delivery.body {
        Some(body) => Some(give_body(t, body)?),
        // A notice comes from the other end.
        None => {
            t.recv_length = 0;
            let peer = delivery.peer.as_ref();
            match delivery.to {
                Side::Server => peer.map(|peer| &peer.client.who),
                Side::Client => peer
                    .and_then(|peer| peer.server())
                    .map(|server| &server.who),
            }
            .map(|sender| sender.seen_by_current())
        }
    };
    describe(t, delivery, seen);
    transfer_out(size, addr, t)?;
    drop(quick);
    if let Some(body) = &delivery.body {
        received(incoming, taken, body);
    }
    Ok(())
}

/// The caller is about to learn of the message: nothing may be left to be done by who sent it.
#[inline(always)]
pub(crate) fn arrives(body: &Message) {
    if !body.is_bare() {
        body.cargo.arrive();
    }
}

/// The caller has the message: what goes with it is its, too.
#[inline(always)]
pub(crate) fn received(incoming: &Incoming, taken: Taken, body: &Message) {
    if !body.is_bare() {
        taken.keep(&body.cargo);
        incoming.claim(&body.cargo);
    }
}

/// Copies the payload of a message to the caller, and gives the sender as the caller sees it.
#[inline(always)]
pub(crate) fn give_body(t: &mut uapi::alpc_transfer, body: &Message) -> Result<Seen> {
    body.buffer.write_user(t.recv_data)?;
    t.recv_length = body.buffer.len();
    Ok(body.sender.seen_by_current())
}

/// Fills in what the caller learns of a message.
#[inline(always)]
pub(crate) fn describe(
    t: &mut uapi::alpc_transfer,
    delivery: &Delivery<Kernel>,
    seen: Option<Seen>,
) {
    if let Some(seen) = seen {
        t.pid = seen.pid;
        t.tid = seen.tid;
        t.uid = seen.uid;
        t.gid = seen.gid;
    }
    t.id = delivery.id;
    t.callback_id = delivery.turn;
    t.type_ = delivery.what as u16;
    t.type_flags = match delivery.open {
        // CAST: The flags are 16 bits.
        true => uapi::ALPC_TYPE_FLAG_CONTINUATION as u16,
        false => 0,
    };
    t.port_context = delivery.port_context;
    t.sequence = delivery.sequence;
    t.outcome = uapi::ALPC_OUTCOME_OK;
}

// The engine's numbers are the ABI's.
const _: () = {
    assert!(What::Request as u32 == uapi::ALPC_TYPE_REQUEST);
    assert!(What::Reply as u32 == uapi::ALPC_TYPE_REPLY);
    assert!(What::Datagram as u32 == uapi::ALPC_TYPE_DATAGRAM);
    assert!(What::LostReply as u32 == uapi::ALPC_TYPE_LOST_REPLY);
    assert!(What::PortClosed as u32 == uapi::ALPC_TYPE_PORT_CLOSED);
    assert!(What::ConnectionRequest as u32 == uapi::ALPC_TYPE_CONNECTION_REQUEST);
    assert!(What::ConnectionReply as u32 == uapi::ALPC_TYPE_CONNECTION_REPLY);
    assert!(What::Canceled as u32 == uapi::ALPC_TYPE_CANCELED);
    assert!(What::ConnectionRefused as u32 == uapi::ALPC_TYPE_CONNECTION_REFUSED);
};

/// The caller has the message: what it used can be used again.
pub(crate) fn settle(scope: Scope<'_>, delivery: &mut Delivery<Kernel>) {
    let body = delivery.body.take();
    let own = delivery.own.take();
    if let (Some(own), Some(end)) = (&own, scope.end) {
        // It was not needed: somebody waited after all.
        if let Some(room) = own.take_room() {
            end.connection.room.keep_room(room);
        }
    }
    if delivery.idle {
        let kept = match (own, scope.end) {
            (Some(own), Some(end)) if own.charge.is_some() => {
                (end.side == Side::Client || own.is_spared()) && keep_own(end, own, delivery.slot)
            }
            (Some(own), _) => {
                scope.port.recycle(own);
                false
            }
            (None, _) => false,
        };
        if !kept {
            finish(scope, delivery);
        }
    }
    match (body, delivery.to, scope.end) {
        (Some(body), Side::Client, Some(end)) if delivery.idle && body.is_paid() => {
            end.connection.room.keep_room(body);
        }
        (Some(body), Side::Client, _) => scope.port.recycle(body),
        _ => {}
    }
}

/// Puts a message back that could not be given to the caller. What stays of an answer is memory of
/// the client's; `ENOMEM` if there is none, then it is lost.
#[cold]
pub(crate) fn undeliver(scope: Scope<'_>, mut delivery: Delivery<Kernel>) -> Result<(), Failure> {
    let kept = own(scope, &mut delivery).and_then(|()| charge_cargo(scope, &mut delivery));
    if let Err(failure) = kept {
        settle(scope, &mut delivery);
        return Err(failure);
    }
    scope.port.undeliver(delivery);
    Ok(())
}

/// Charges what an answer carries that is memory of the client's.
fn charge_cargo(scope: Scope<'_>, delivery: &mut Delivery<Kernel>) -> Result<(), Failure> {
    let mut bytes = 0;
    let is_free = |body: &mut Arc<Message>| {
        bytes = body.cargo_footprint();
        bytes != 0 && body.is_paid() && body.charge.is_none()
    };
    let Some(end) = scope.end else {
        return Ok(());
    };
    let Some(body) = delivery.body.take_if(is_free) else {
        return Ok(());
    };
    let mut draft = Draft::reopen(body).ok_or(ENOMEM)?;
    let charged = draft.charge_cargo(bytes, &end.connection);
    delivery.body = Some(draft.finish());
    charged
}

/// Keeps the message that began a conversation, and the slot with it, for the next one. Says
/// whether that was possible.
#[inline(always)]
pub(crate) fn keep_own(end: &CommPort, own: Arc<Message>, slot: u32) -> bool {
    match unload(own) {
        Some(own) => keep_empty(end, own, slot),
        None => false,
    }
}

/// The same for a message that carries nothing.
#[inline(always)]
pub(crate) fn keep_empty(end: &CommPort, own: Arc<Message>, slot: u32) -> bool {
    keep_slot(&own, slot);
    match end.connection.spare(end.side).put(own) {
        None => true,
        Some(own) => {
            take_kept(&own);
            false
        }
    }
}

/// Gives a slot back that does not go with a message.
#[inline(never)]
pub(crate) fn finish(scope: Scope<'_>, delivery: &Delivery<Kernel>) {
    scope
        .port
        .step(|engine, fx| engine.finish(delivery, false, fx));
}
