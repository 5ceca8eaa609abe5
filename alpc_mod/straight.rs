// SPDX-License-Identifier: GPL-2.0

//! The two calls that nearly all are: a client's request that waits for its answer,
//! and a server's final reply that waits for the next request.
//!
//! They run here from end to end where the other side is there and waits, with no
//! deadline, no attributes and nothing else to see to. Everything else, and whatever
//! turns out otherwise on the way, is [`call`](crate::call)'s.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        transfer_in,
        transfer_out, //
    },
    call::{
        awaited,
        conclude,
        describe,
        finish,
        give_body,
        message,
        transfer_any,
        Plan,
        Receive,
        Scope,
        Send, //
    },
    comm::CommPort,
    logic::engine::{
        Delivery,
        Hand,
        How,
        New,
        Side,
        Source,
        Wait,
        NONE, //
    },
    message::{
        keep_slot,
        take_kept, //
    },
    outcome::Failure,
    port::{
        Kernel,
        Port, //
    },
    uapi,
    wait::{
        hand_over,
        is_dying,
        Waited, //
    }, //
};
use core::mem::{
    forget,
    size_of,
    MaybeUninit, //
};
use kernel::prelude::*;

const SIZE: usize = size_of::<uapi::alpc_transfer>();
const CALL: u32 = uapi::ALPC_SEND | uapi::ALPC_RECEIVE | uapi::ALPC_SYNC;
const REPLY: u32 = uapi::ALPC_SEND | uapi::ALPC_RECEIVE | uapi::ALPC_RELEASE;

/// Whether a call does just that, with no deadline and no attributes.
#[inline(always)]
fn is_just(flags: u32, t: &uapi::alpc_transfer, port: &Port) -> bool {
    t.flags == flags
        && t.reserved == 0
        && t.timeout | t.send_attributes | t.recv_attributes == 0
        && t.send_length <= port.share.max_length
}

/// A call on a communication port, of which the caller knows the whole structure.
#[inline(never)]
pub(crate) fn call(end: &CommPort, addr: u64) -> Result {
    let port = end.port();
    let scope = Scope {
        port,
        end: Some(end),
        nonblock: false,
    };
    let mut slot = MaybeUninit::uninit();
    let t = transfer_in(SIZE, addr, &mut slot)?;
    let new = t.send_id == 0 && t.send_callback_id == 0;
    if !is_just(CALL, t, port) || !new || end.side != Side::Client {
        return transfer_any(scope, SIZE, addr, t, None);
    }
    let body = match message(scope, true, t.send_data, t.send_length) {
        Ok(body) => body,
        Err(failure) => return call_failed(scope, addr, t, failure),
    };
    let kept = take_kept(&body).unwrap_or(NONE);
    let mut engine = port.lock();
    let (id, waker) = match engine.call_straight(end.index(), kept, body) {
        Ok(sent) => sent,
        Err(body) => {
            drop(engine);
            keep_slot(&body, kept);
            return transfer_any(scope, SIZE, addr, t, Some(body));
        }
    };
    t.flags |= uapi::ALPC_SENT;
    t.send_id = id;
    let mut hand = None;
    let at = Wait::Conversation {
        slot: kept,
        id,
        side: Side::Client,
    };
    match hand_over(port, engine, at, t.recv_capacity, &mut hand, waker) {
        Waited::Handed if give_reply(scope, end, addr, t, &mut hand) => {
            // Nothing is left in it.
            forget(hand);
            Ok(())
        }
        waited => {
            let plan = Plan::straight(Send::New(New::Request), Receive::Answer);
            let result = awaited(scope, &plan, t, waited, &hand);
            conclude(scope, &plan, SIZE, addr, t, result, hand)
        }
    }
}

/// Gives a client the reply, if it is one, and takes it out of `hand`.
#[inline(always)]
fn give_reply(
    scope: Scope<'_>,
    end: &CommPort,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    hand: &mut Option<Hand<Kernel>>,
) -> bool {
    let Some(Hand::Message(
        delivery @ Delivery {
            body: Some(_),
            own: Some(_),
            peer: None,
            idle: true,
            ..
        },
    )) = hand
    else {
        return false;
    };
    if give(addr, t, delivery).is_err() {
        return false;
    }
    if let Some(own) = delivery.own.take() {
        keep_slot(&own, delivery.slot);
        if let Some(own) = end.connection.spare(Side::Client).put(own) {
            take_kept(&own);
            finish(scope, delivery);
        }
    }
    if let Some(body) = delivery.body.take() {
        scope.port.recycle(body);
    }
    true
}

#[inline(never)]
fn call_failed(
    scope: Scope<'_>,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    failure: Failure,
) -> Result {
    let plan = Plan::straight(Send::New(New::Request), Receive::Answer);
    conclude(scope, &plan, SIZE, addr, t, Err(failure), None)
}

/// A call on a connection port, of which the caller knows the whole structure.
#[inline(never)]
pub(crate) fn reply(port: &Port, addr: u64) -> Result {
    let scope = Scope {
        port,
        end: None,
        nonblock: false,
    };
    let mut slot = MaybeUninit::uninit();
    let t = transfer_in(SIZE, addr, &mut slot)?;
    if !is_just(REPLY, t, port) || t.send_id == 0 {
        return transfer_any(scope, SIZE, addr, t, None);
    }
    let body = match message(scope, false, t.send_data, t.send_length) {
        Ok(body) => body,
        Err(failure) => return reply_failed(scope, addr, t, failure),
    };
    let mut engine = port.lock();
    let sent = match engine.is_port_quiet() {
        true => engine.reply_straight(t.send_id, t.send_callback_id, body),
        false => Err(Some(body)),
    };
    let waker = match sent {
        Ok(waker) => waker,
        Err(body) => {
            drop(engine);
            return transfer_any(scope, SIZE, addr, t, body);
        }
    };
    t.flags |= uapi::ALPC_SENT;
    let mut hand = None;
    let at = Wait::Next(Source::Port);
    match hand_over(port, engine, at, t.recv_capacity, &mut hand, waker) {
        // Somebody else may still be able to take what a dying thread received.
        Waited::Handed if !is_dying() && give_request(addr, t, &mut hand) => {
            // Nothing is left in it.
            forget(hand);
            Ok(())
        }
        waited => {
            let plan = Plan::straight(Send::Into(How::FinalReply), Receive::Next);
            let result = awaited(scope, &plan, t, waited, &hand);
            conclude(scope, &plan, SIZE, addr, t, result, hand)
        }
    }
}

/// Gives a server the request, if it is one, and takes it out of `hand`.
#[inline(always)]
fn give_request(addr: u64, t: &mut uapi::alpc_transfer, hand: &mut Option<Hand<Kernel>>) -> bool {
    let Some(Hand::Message(
        delivery @ Delivery {
            body: Some(_),
            own: None,
            peer: None,
            idle: false,
            ..
        },
    )) = hand
    else {
        return false;
    };
    let given = give(addr, t, delivery).is_ok();
    if given {
        drop(delivery.body.take());
    }
    given
}

#[inline(never)]
fn reply_failed(
    scope: Scope<'_>,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    failure: Failure,
) -> Result {
    let plan = Plan::straight(Send::Into(How::FinalReply), Receive::Next);
    conclude(scope, &plan, SIZE, addr, t, Err(failure), None)
}

/// Copies a message to the caller. If that fails, [`conclude`] tries again and reports it.
#[inline(always)]
fn give(addr: u64, t: &mut uapi::alpc_transfer, delivery: &Delivery<Kernel>) -> Result {
    if let Some(body) = &delivery.body {
        let seen = give_body(t, body)?;
        describe(t, delivery, Some(seen));
    }
    transfer_out(SIZE, addr, t)
}
