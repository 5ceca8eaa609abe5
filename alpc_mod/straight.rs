// SPDX-License-Identifier: GPL-2.0

//! The two calls that nearly all are: a client's request that waits for its answer,
//! and a server's final reply that waits for the next request.
//!
//! They run here from end to end where the other side is there and waits, with no
//! deadline and nothing else to see to. Everything else, and whatever turns out
//! otherwise on the way, is [`call`](crate::call)'s. With attributes and without
//! are two copies of the same code, so that most calls don't pay for what few have.
#![deny(unsafe_code)]

use crate::{
    attributes::Attributes,
    buffer::{
        transfer_in,
        transfer_out, //
    },
    call::{
        awaited,
        conclude,
        transfer_any,
        transfer_as,
        Scope, //
    },
    cargo::Parting,
    carried::{
        Bare,
        Carried, //
    },
    comm::CommPort,
    holder,
    logic::engine::{
        Delivery,
        Engine,
        Hand,
        How,
        New,
        Side,
        Source,
        Then,
        Wait,
        Who,
        NONE as NO_SLOT, //
    },
    message::{
        keep_slot,
        take_kept,
        Message, //
    },
    outcome::Failure,
    plan::{
        Plan,
        Receive,
        Send, //
    },
    port::{
        Kernel,
        Port, //
    },
    receipt::{
        arrives,
        describe,
        finish,
        give_body,
        keep_empty,
        keep_own,
        received, //
    },
    send::{
        loaded_message,
        message, //
    },
    stay::NoFaults,
    uapi,
    wait::{
        hand_over,
        SendFirst,
        Waited, //
    },
};
use core::mem::{
    forget,
    size_of,
    MaybeUninit, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

const SIZE: usize = size_of::<uapi::alpc_transfer>();
const CALL: u32 = uapi::ALPC_SEND | uapi::ALPC_RECEIVE | uapi::ALPC_SYNC;
const REPLY: u32 = uapi::ALPC_SEND | uapi::ALPC_RECEIVE | uapi::ALPC_RELEASE;

/// Whether a call does just that, with no deadline.
#[inline(always)]
fn is_just(flags: u32, t: &uapi::alpc_transfer, port: &Port) -> bool {
    t.flags == flags
        && t.reply_bytes == 0
        && t.timeout == 0
        && t.send_length <= port.share.max_length
}

/// The scope of a call. It is made where it is needed, which is where a call is not straight.
#[inline(always)]
fn client(end: &CommPort) -> Scope<'_> {
    Scope {
        port: end.port(),
        end: Some(end),
        nonblock: false,
    }
}

/// The same for a connection port.
#[inline(always)]
fn server(port: &Port) -> Scope<'_> {
    Scope {
        port,
        end: None,
        nonblock: false,
    }
}

/// A call on a communication port, of which the caller knows the whole structure.
#[inline(never)]
pub(crate) fn call(end: &CommPort, addr: u64) -> Result {
    let port = end.port();
    let mut slot = MaybeUninit::uninit();
    let t = transfer_in(SIZE, addr, &mut slot)?;
    let new = t.send_id == 0 && t.send_callback_id == 0;
    if !is_just(CALL, t, port) || !new || end.side != Side::Client {
        return transfer_any(client(end), SIZE, addr, t, None);
    }
    if !Attributes::are_none(t) {
        return call_with_attributes(end, addr, t);
    }
    call_as::<Bare>(end, addr, t)
}

#[inline(never)]
fn call_with_attributes(end: &CommPort, addr: u64, t: &mut uapi::alpc_transfer) -> Result {
    call_as::<Attributes>(end, addr, t)
}

#[inline(always)]
fn call_as<A: Carried>(end: &CommPort, addr: u64, t: &mut uapi::alpc_transfer) -> Result {
    let port = end.port();
    let mut attributes = A::none();
    attributes.read(t)?;
    if attributes.are_special() {
        return transfer_as(client(end), SIZE, addr, t, attributes.get_any(), None);
    }
    let body = match attributes.get() {
        None => message(client(end), true, t.send_data, t.send_length),
        Some(attributes) => loaded_message(client(end), true, t, &attributes.outgoing),
    };
    let body = match body {
        Ok(body) => body,
        Err(failure) => {
            return call_ends(
                client(end),
                addr,
                t,
                attributes.get_any(),
                Err(failure),
                None,
                None,
            );
        }
    };
    let parting = attributes.get().and_then(|_| body.parting());
    if parting.as_ref().is_some_and(|parting| !parting.can_wait()) {
        return transfer_as(client(end), SIZE, addr, t, attributes.get_any(), Some(body));
    }
    let kept = take_kept(&body).unwrap_or(NO_SLOT);
    let mut hand = None;
    let request = Request {
        conn: end.index(),
        kept,
        body,
    };
    let at = |id| Wait::Conversation {
        slot: kept,
        id,
        side: Side::Client,
    };
    let (id, waited) = match hand_over(port, t.recv_capacity, &mut hand, request, at) {
        Ok(sent) => sent,
        Err(body) => {
            keep_slot(&body, kept);
            return transfer_as(client(end), SIZE, addr, t, attributes.get_any(), Some(body));
        }
    };
    t.send_id = id;
    t.flags |= uapi::ALPC_SENT;
    match waited {
        Waited::Handed | Waited::HandedToDying => {
            if let Some(parting) = &parting {
                parting.end_here();
            }
            if give_reply(end, addr, t, &attributes, &mut hand) {
                // Nothing is left in it.
                forget(hand);
                return Ok(());
            }
            call_ends(
                client(end),
                addr,
                t,
                attributes.get_any(),
                Ok(Waited::Handed),
                None,
                hand,
            )
        }
        waited => call_ends(
            client(end),
            addr,
            t,
            attributes.get_any(),
            Ok(waited),
            parting,
            hand,
        ),
    }
}

/// A client's request, for a server that waits.
struct Request {
    conn: u32,
    kept: u32,
    body: Arc<Message>,
}

impl SendFirst for Request {
    type Error = Arc<Message>;

    #[inline(always)]
    fn send<T: Then<Kernel>>(
        self,
        engine: &mut Engine<Kernel>,
        then: T,
    ) -> Result<T::Out, Self::Error> {
        engine.call_straight(self.conn, self.kept, self.body, then)
    }
}

/// Ends a call in the general way.
#[inline(never)]
fn call_ends(
    scope: Scope<'_>,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    attributes: &Attributes,
    waited: Result<Waited<'_>, Failure>,
    parting: Option<Parting>,
    hand: Option<Hand<Kernel>>,
) -> Result {
    let plan = Plan::straight(Send::New(New::Request), Receive::Answer, attributes);
    let result = waited.and_then(|waited| awaited(scope, &plan, t, waited, &hand));
    // Not before: a wait in vain ends with the lock taken.
    if let Some(parting) = parting {
        parting.end_here();
    }
    conclude(scope, &plan, SIZE, addr, t, result, hand)
}

/// Gives a client the reply, if it is one, and takes it out of `hand`.
#[inline(always)]
fn give_reply<A: Carried>(
    end: &CommPort,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    attributes: &A,
    hand: &mut Option<Hand<Kernel>>,
) -> bool {
    let Some(Hand::Message(delivery)) = hand else {
        return false;
    };
    let Delivery {
        body: Some(body),
        own: Some(own),
        peer: None,
        idle: true,
        ..
    } = &delivery
    else {
        return false;
    };
    // What they carry is seen to in the general way, but by those who are prepared for it.
    if attributes.get().is_none() && !(body.is_bare() && own.is_bare()) {
        return false;
    }
    // The answer is the server's memory. Of a small one, a thread that waits takes more itself.
    let quick = (!body.buffer.is_small()).then(NoFaults::begin);
    if give(|| client(end), attributes, addr, t, delivery, quick).is_err() {
        return false;
    }
    if let Some(own) = delivery.own.take() {
        let kept = match attributes.get() {
            None => keep_empty(end, own, delivery.slot),
            Some(_) => keep_own(end, own, delivery.slot),
        };
        if !kept {
            finish(client(end), delivery);
        }
    }
    if let Some(body) = delivery.body.take() {
        match attributes.get() {
            None => end.port().recycle_empty(body),
            Some(_) => end.port().recycle(body),
        }
    }
    true
}

/// A call on a connection port, of which the caller knows the whole structure.
#[inline(never)]
pub(crate) fn reply(port: &Port, addr: u64) -> Result {
    let mut slot = MaybeUninit::uninit();
    let t = transfer_in(SIZE, addr, &mut slot)?;
    if !is_just(REPLY, t, port) || t.send_id == 0 {
        return transfer_any(server(port), SIZE, addr, t, None);
    }
    if !Attributes::are_none(t) {
        return reply_with_attributes(port, addr, t);
    }
    reply_as::<Bare>(port, addr, t)
}

#[inline(never)]
fn reply_with_attributes(port: &Port, addr: u64, t: &mut uapi::alpc_transfer) -> Result {
    reply_as::<Attributes>(port, addr, t)
}

#[inline(always)]
fn reply_as<A: Carried>(port: &Port, addr: u64, t: &mut uapi::alpc_transfer) -> Result {
    let mut attributes = A::none();
    attributes.read(t)?;
    if attributes.are_special() {
        return transfer_as(server(port), SIZE, addr, t, attributes.get_any(), None);
    }
    let body = match attributes.get() {
        None => message(server(port), false, t.send_data, t.send_length),
        Some(attributes) => loaded_message(server(port), false, t, &attributes.outgoing),
    };
    let body = match body {
        Ok(body) => body,
        Err(failure) => {
            return reply_ends(
                server(port),
                addr,
                t,
                attributes.get_any(),
                Err(failure),
                None,
                None,
            );
        }
    };
    let parting = attributes.get().and_then(|_| body.parting());
    if parting.as_ref().is_some_and(|parting| !parting.can_wait()) {
        return transfer_as(
            server(port),
            SIZE,
            addr,
            t,
            attributes.get_any(),
            Some(body),
        );
    }
    let mut hand = None;
    let reply = Reply {
        id: t.send_id,
        turn: t.send_callback_id,
        who: holder::current(),
        body,
    };
    let at = |_| Wait::Next(Source::Port);
    let waited = match hand_over(port, t.recv_capacity, &mut hand, reply, at) {
        Ok((_, waited)) => waited,
        Err(body) => {
            return transfer_as(server(port), SIZE, addr, t, attributes.get_any(), body);
        }
    };
    t.flags |= uapi::ALPC_SENT;
    match waited {
        Waited::Handed => {
            if let Some(parting) = &parting {
                parting.end_here();
            }
            if give_request(port, addr, t, &attributes, &mut hand) {
                // Nothing is left in it.
                forget(hand);
                return Ok(());
            }
            reply_ends(
                server(port),
                addr,
                t,
                attributes.get_any(),
                Ok(Waited::Handed),
                None,
                hand,
            )
        }
        waited => reply_ends(
            server(port),
            addr,
            t,
            attributes.get_any(),
            Ok(waited),
            parting,
            hand,
        ),
    }
}

/// A server's final reply to a client that waits.
struct Reply {
    id: u64,
    turn: u32,
    who: Who,
    body: Arc<Message>,
}

impl SendFirst for Reply {
    type Error = Option<Arc<Message>>;

    #[inline(always)]
    fn send<T: Then<Kernel>>(
        self,
        engine: &mut Engine<Kernel>,
        then: T,
    ) -> Result<T::Out, Self::Error> {
        engine.reply_straight(self.id, self.turn, self.who, self.body, then)
    }
}

/// Ends a reply and receive in the general way.
#[inline(never)]
fn reply_ends(
    scope: Scope<'_>,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    attributes: &Attributes,
    waited: Result<Waited<'_>, Failure>,
    parting: Option<Parting>,
    hand: Option<Hand<Kernel>>,
) -> Result {
    let plan = Plan::straight(Send::Into(How::FinalReply), Receive::Next, attributes);
    let result = waited.and_then(|waited| awaited(scope, &plan, t, waited, &hand));
    // Not before: a wait in vain ends with the lock taken.
    if let Some(parting) = parting {
        parting.end_here();
    }
    conclude(scope, &plan, SIZE, addr, t, result, hand)
}

/// Gives a server the request, if it is one, and takes it out of `hand`.
#[inline(always)]
fn give_request<A: Carried>(
    port: &Port,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    attributes: &A,
    hand: &mut Option<Hand<Kernel>>,
) -> bool {
    let Some(Hand::Message(delivery)) = hand else {
        return false;
    };
    let Delivery {
        body: Some(body),
        own: None,
        peer: None,
        idle: false,
        noted: true,
        ..
    } = &delivery
    else {
        return false;
    };
    if attributes.get().is_none() && !body.is_bare() {
        return false;
    }
    if give(|| server(port), attributes, addr, t, delivery, None).is_err() {
        return false;
    }
    if let Some(body) = delivery.body.take() {
        drop(body);
    }
    true
}

/// Copies a message to the caller, with `quick` as far as its memory is there. If that fails,
/// [`conclude`] tries again and reports it.
#[inline(always)]
fn give<'a, A: Carried>(
    scope: impl FnOnce() -> Scope<'a>,
    attributes: &A,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    delivery: &Delivery<Kernel>,
    quick: Option<NoFaults>,
) -> Result<(), Failure> {
    let Some(body) = &delivery.body else {
        return Ok(());
    };
    let Some(Attributes { incoming, .. }) = attributes.get() else {
        let seen = give_body(t, body)?;
        describe(t, delivery, Some(seen));
        return Ok(transfer_out(SIZE, addr, t)?);
    };
    if !body.is_bare() && !body.cargo.is_for_current() {
        return Err(EACCES.into());
    }
    arrives(body);
    let taken = incoming.write(scope(), delivery)?;
    let seen = give_body(t, body)?;
    describe(t, delivery, Some(seen));
    transfer_out(SIZE, addr, t)?;
    drop(quick);
    received(incoming, taken, body);
    Ok(())
}
