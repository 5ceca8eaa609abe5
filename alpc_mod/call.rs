// SPDX-License-Identifier: GPL-2.0

//! `ALPC_IOC_SEND_WAIT_RECEIVE`: the call.
//!
//! One pass through the engine's lock sends and either takes what is there or
//! makes this thread wait. Whoever was waiting for what was sent is woken after
//! the lock is released, when this thread is about to sleep.
#![deny(unsafe_code)]

use crate::{
    attributes::{
        self,
        Attributes, //
    },
    buffer::{
        copy_range_out,
        transfer_in,
        transfer_out, //
    },
    cargo::Parting,
    comm::{
        CommPort,
        Connection, //
    },
    control,
    holder,
    ioctl,
    logic::engine::{
        Delivery,
        Effects,
        Hand,
        New,
        Received,
        Sent,
        Side,
        Source,
        Wait, //
    },
    message::Message,
    offer::Offer,
    outcome::{
        Failure,
        Outcome, //
    },
    plan::{
        Plan,
        Receive,
        Send, //
    },
    port::{
        Kernel,
        Locked,
        Port,
        READABLE, //
    },
    receipt::{
        arrives,
        give,
        settle,
        undeliver, //
    },
    send::{
        loaded_message,
        may_await,
        put_back,
        send, //
    },
    straight,
    time::Deadline,
    told::prepare,
    uapi,
    view::Loan,
    wait::{
        wait,
        Gone,
        Stand,
        Waited, //
    },
    window::Placed, //
};
use core::mem::{
    forget,
    offset_of,
    MaybeUninit, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// Where a request was made: on a connection port, or on an end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) port: &'a Port,
    pub(crate) end: Option<&'a CommPort>,
    pub(crate) nonblock: bool,
}

impl Scope<'_> {
    /// The connection that conversations must belong to.
    pub(crate) fn conn(&self) -> Option<u32> {
        self.end.map(CommPort::index)
    }

    /// The side that acts.
    pub(crate) fn side(&self) -> Side {
        self.end.map_or(Side::Server, |end| end.side)
    }

    /// Shows a view that is received here to the current process, and says where.
    pub(crate) fn place(
        &self,
        loan: &Arc<Loan>,
    ) -> Result<(Placed, uapi::alpc_attr_view), Failure> {
        let window = match self.end {
            Some(end) if end.side == Side::Client => &end.window,
            _ => &self.port.window,
        };
        window.place(&self.port.maker, loan)
    }

    /// The connection of a message that was received here, if it is there still.
    pub(crate) fn connection(&self, conn: u32) -> Option<Arc<Connection>> {
        match self.end {
            Some(end) => Some(end.connection.clone()),
            None => self.port.lock().peer_at(conn),
        }
    }

    /// Tells those who poll that there may be something, which the caller leaves behind.
    fn remind(&self) {
        let poll = match self.end {
            Some(end) => end.connection.poll(end.side),
            None => &self.port.poll,
        };
        if poll.is_active() {
            poll.wake(READABLE);
        }
    }

    pub(crate) fn source(&self) -> Source {
        match self.end {
            Some(end) => Source::Side(end.index(), end.side),
            None => Source::Port,
        }
    }
}

/// A request on a connection port.
#[inline]
pub(crate) fn port_ioctl(
    port: ArcBorrow<'_, Port>,
    nonblock: bool,
    cmd: u32,
    addr: u64,
) -> Result<isize> {
    if cmd == uapi::ALPC_IOCTL_SEND_WAIT_RECEIVE && !nonblock {
        return straight::reply(&port, addr).map(|()| 0);
    }
    let scope = Scope {
        port: &port,
        end: None,
        nonblock,
    };
    match ioctl::base(cmd) {
        ioctl::SEND_WAIT_RECEIVE => transfer(scope, ioctl::size(cmd), addr).map(|()| 0),
        _ => control::port_request(port, scope, cmd, addr),
    }
}

/// A request on a communication port.
#[inline]
pub(crate) fn comm_ioctl(
    end: ArcBorrow<'_, CommPort>,
    nonblock: bool,
    cmd: u32,
    addr: u64,
) -> Result<isize> {
    if cmd == uapi::ALPC_IOCTL_SEND_WAIT_RECEIVE && !nonblock {
        return straight::call(&end, addr).map(|()| 0);
    }
    let scope = Scope {
        port: end.port(),
        end: Some(&end),
        nonblock,
    };
    match ioctl::base(cmd) {
        ioctl::SEND_WAIT_RECEIVE => transfer(scope, ioctl::size(cmd), addr).map(|()| 0),
        _ => control::comm_request(end, scope, cmd, addr),
    }
}

#[inline(never)]
fn transfer(scope: Scope<'_>, size: usize, addr: u64) -> Result {
    let mut slot = MaybeUninit::uninit();
    let t = transfer_in(size, addr, &mut slot)?;
    transfer_any(scope, size, addr, t, None)
}

/// Does what the caller asks for. The message may be there already, if there are no attributes.
#[inline(never)]
pub(crate) fn transfer_any(
    scope: Scope<'_>,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    body: Option<Arc<Message>>,
) -> Result {
    match Attributes::are_none(t) {
        true => transfer_as(scope, size, addr, t, &attributes::NONE, body),
        false => transfer_with_attributes(scope, size, addr, t),
    }
}

#[inline(never)]
fn transfer_with_attributes(
    scope: Scope<'_>,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
) -> Result {
    let mut attributes = Attributes::new();
    attributes.read(t)?;
    transfer_as(scope, size, addr, t, &attributes, None)
}

/// The same with attributes that have been read.
#[inline(never)]
pub(crate) fn transfer_as(
    scope: Scope<'_>,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    attributes: &Attributes,
    body: Option<Arc<Message>>,
) -> Result {
    let plan = match Plan::new(scope, t, attributes) {
        Ok(plan) => plan,
        Err(failure) => {
            if let Some(body) = body {
                put_back(scope, body);
            }
            if let Some(outcome) = failure.outcome() {
                let _ = write_outcome(size, addr, t, outcome);
            }
            return Err(failure.errno());
        }
    };
    let mut hand = None;
    let result = exchange(scope, &plan, t, body, &mut hand);
    conclude(scope, &plan, size, addr, t, result, hand)
}

/// Tells the caller how a call ended, which takes what `hand` holds.
#[inline(never)]
pub(crate) fn conclude(
    scope: Scope<'_>,
    plan: &Plan<'_>,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    mut result: Result<(), Failure>,
    mut hand: Option<Hand<Kernel>>,
) -> Result {
    let mut rejected: u32 = 0;
    let failure = loop {
        match result {
            Ok(()) => match &mut hand {
                Some(Hand::Message(delivery)) if !is_for_current(delivery) => {}
                Some(Hand::Message(delivery)) => {
                    let held = holder::take_on(scope, plan.ends_with_thread, delivery);
                    match held.and_then(|()| give(scope, plan.incoming, size, addr, t, delivery)) {
                        Ok(()) => {
                            settle(scope, delivery);
                            return Ok(());
                        }
                        Err(failure) => break failure,
                    }
                }
                _ => {
                    t.outcome = uapi::ALPC_OUTCOME_OK;
                    return transfer_out(size, addr, t);
                }
            },
            Err(failure) => break failure,
        }
        if let Some(Hand::Message(delivery)) = hand.take() {
            scope.port.reject(delivery);
        }
        // Whoever sends nothing but what it may not have must not keep it here.
        rejected = rejected.saturating_add(1);
        let deadline = match scope.nonblock {
            true => Deadline::Now,
            false => plan.deadline,
        };
        result = if current!().signal_pending() {
            Err(interrupted(t).into())
        } else if deadline.is_over(rejected) {
            scope.remind();
            Err(match scope.nonblock {
                true => Failure::Special(nothing_yet(t), EAGAIN),
                false => nothing_yet(t).into(),
            })
        } else {
            exchange(scope, &plan.received_on(), t, None, &mut hand)
        };
    };
    if let Some(Hand::Message(delivery)) = hand {
        if let Some(body) = &delivery.body {
            // Its sender counts on whoever was handed it, for what goes back with it.
            arrives(body);
        }
        if let Err(failure) = undeliver(scope, delivery) {
            return Err(fail(scope, plan, size, addr, t, failure));
        }
    }
    Err(fail(scope, plan, size, addr, t, failure))
}

/// Whether the caller is one that the message is for.
fn is_for_current(delivery: &Delivery<Kernel>) -> bool {
    let body = delivery.body.as_ref();
    body.is_none_or(|body| body.is_bare() || body.cargo.is_for_current())
}

fn write_outcome(size: usize, addr: u64, t: &mut uapi::alpc_transfer, outcome: u32) -> Result {
    t.outcome = outcome;
    let at = offset_of!(uapi::alpc_transfer, outcome);
    copy_range_out(size, addr, t, ioctl::field(at))
}

/// Reports a failure, and with it how far the call has got.
fn fail(
    scope: Scope<'_>,
    plan: &Plan<'_>,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    failure: Failure,
) -> Error {
    let sent = t.flags & uapi::ALPC_SENT != 0;
    let interrupted = failure.errno() == ERESTARTSYS;
    if interrupted {
        // The call may be made again, by the kernel or the caller: the time does not begin anew.
        let (flag, time) = plan.deadline.absolute();
        t.flags = (t.flags & !uapi::ALPC_TIMEOUT_MASK) | flag;
        t.timeout = time;
    }
    if let Failure::TooSmall(needed) = failure {
        t.recv_length = needed;
        let at = offset_of!(uapi::alpc_transfer, recv_length);
        let _ = copy_range_out(size, addr, t, ioctl::field(at));
    }
    let Some(outcome) = failure.outcome().or(sent.then_some(uapi::ALPC_OUTCOME_OK)) else {
        return failure.errno();
    };
    t.outcome = outcome;
    let from = match sent || interrupted {
        true => offset_of!(uapi::alpc_transfer, timeout),
        false => offset_of!(uapi::alpc_transfer, outcome),
    };
    let to = match sent || interrupted {
        true => offset_of!(uapi::alpc_transfer, id),
        false => offset_of!(uapi::alpc_transfer, send_id),
    };
    if copy_range_out(size, addr, t, from..to).is_err() && interrupted {
        // A restart would send once more what has been sent.
        if plan.receive == Receive::Answer {
            cancel(scope, scope.port.lock(), t.send_id);
        }
        return EFAULT;
    }
    failure.errno()
}

/// Ends a conversation whose answer nobody waits for any more.
fn cancel(scope: Scope<'_>, mut engine: Locked<'_>, id: u64) {
    let mut fx = Effects::default();
    // It may have ended by itself.
    let _ = engine.cancel(scope.conn(), scope.side(), id, false, &mut fx);
    scope.port.leave(engine, &mut fx);
}

/// Sends, and receives into `hand`. Notes in `t` what has been sent.
fn exchange(
    scope: Scope<'_>,
    plan: &Plan<'_>,
    t: &mut uapi::alpc_transfer,
    body: Option<Arc<Message>>,
    hand: &mut Option<Hand<Kernel>>,
) -> Result<(), Failure> {
    if plan.receive == Receive::Answer {
        may_await(scope, t.send_id)?;
    }
    let body = match (plan.send, body) {
        (Send::New(_), None) => Some(loaded_message(scope, true, t, plan.outgoing)?),
        (Send::Into(_), None) => Some(loaded_message(scope, false, t, plan.outgoing)?),
        (_, body) => body,
    };
    let body = match body {
        Some(body) => Some(prepare(scope, plan, t, body)?),
        None => None,
    };
    let parting = body.as_deref().and_then(Message::parting);
    let result = exchange_ready(scope, plan, t, body, parting.as_ref(), hand);
    if let Some(parting) = parting {
        // Where it has not waited.
        parting.end_here();
    }
    result
}

/// Sends a message that is ready, and receives. `parting` is what is to be seen to once it is sent.
#[inline(always)]
fn exchange_ready(
    scope: Scope<'_>,
    plan: &Plan<'_>,
    t: &mut uapi::alpc_transfer,
    body: Option<Arc<Message>>,
    parting: Option<&Parting>,
    hand: &mut Option<Hand<Kernel>>,
) -> Result<(), Failure> {
    let port = scope.port;
    let side = scope.side();
    let mut fx = Effects::default();
    let mut sent = None;
    // The caller's memory, which nobody reaches when this call is over.
    let mut offer = Offer::default();
    let (mut engine, body) = match body {
        Some(body) => offer.begin(scope, plan, t, body)?,
        None => (port.lock(), None),
    };
    if let Some(body) = body {
        let (locked, done) = send(scope, plan, t, engine, body, &mut fx)?;
        engine = locked;
        t.flags |= uapi::ALPC_SENT;
        t.send_id = match plan.send {
            Send::New(New::OneWay) => 0,
            _ => done.id,
        };
        sent = Some(done);
    } else if plan.send == Send::Discard {
        engine.discard(scope.conn(), side, t.send_id, t.send_callback_id, &mut fx)?;
        t.flags |= uapi::ALPC_SENT;
    } else if plan.send == Send::Adopt {
        drop(engine);
        holder::adopt(scope, plan.ends_with_thread, t.send_id, t.send_callback_id)?;
        t.flags |= uapi::ALPC_SENT;
        engine = port.lock();
    }
    let (received, at) = match (plan.receive, sent) {
        (Receive::Nothing, _) => {
            port.leave(engine, &mut fx);
            // Nothing is left in it.
            forget(fx);
            return Ok(());
        }
        (Receive::Answer, Some(Sent { id, slot })) => {
            (Received::Empty, Wait::Conversation { slot, id, side })
        }
        (Receive::Answer, None) => {
            let id = t.send_id;
            let (received, slot) = engine.collect(scope.conn(), side, id, t.recv_capacity, &mut fx);
            (received, Wait::Conversation { slot, id, side })
        }
        (Receive::Next, _) => {
            let mut received = engine.receive(scope.source(), t.recv_capacity, &mut fx);
            if let (Received::Message(delivery), false) = (&mut received, plan.ends_with_thread) {
                holder::take_on_at_once(&mut engine, scope, delivery);
            }
            (received, Wait::Next(scope.source()))
        }
    };
    let failure = match received {
        Received::Empty if plan.receive == Receive::Next && scope.nonblock => {
            Failure::Special(nothing_yet(t), EAGAIN)
        }
        Received::Empty => {
            offer.look(scope, plan, &engine, t.send_id);
            let (open, effects) = (&mut offer, &mut fx);
            let unlock = move |engine: Locked<'_>| {
                // Taken out of the closure: what it gives outlives that.
                let open = open;
                let chore = port.leave_and_yield(engine, effects, || open.open());
                // Not before: it waits for locks of the caller's, and the receiver would with it.
                if let Some(parting) = parting {
                    parting.end_here();
                }
                chore
            };
            let stand = Stand {
                at,
                holder: match plan.ends_with_thread {
                    true => 0,
                    false => engine.holder_at(at, holder::current()),
                },
                capacity: t.recv_capacity,
            };
            let waited = wait(port, engine, stand, plan.deadline, hand, unlock);
            forget(fx);
            return awaited(scope, plan, t, waited, hand);
        }
        Received::Message(delivery) => {
            port.leave(engine, &mut fx);
            forget(fx);
            *hand = Some(Hand::Message(delivery));
            return Ok(());
        }
        Received::TooSmall(needed) => Failure::TooSmall(needed),
        Received::Ended(end) => end.into(),
        Received::Refused(refusal) => refusal.into(),
    };
    port.leave(engine, &mut fx);
    Err(failure)
}

/// What a call is told whose time is up.
fn nothing_yet(t: &uapi::alpc_transfer) -> Outcome {
    match t.flags & uapi::ALPC_SENT {
        0 => Outcome::TimedOut,
        _ => Outcome::TimedOutSent,
    }
}

/// What a call is told that a signal has ended.
fn interrupted(t: &uapi::alpc_transfer) -> Outcome {
    match t.flags & uapi::ALPC_SENT {
        0 => Outcome::Interrupted,
        _ => Outcome::InterruptedSent,
    }
}

/// Looks at how a wait ended. A message stays in `hand`.
pub(crate) fn awaited(
    scope: Scope<'_>,
    plan: &Plan<'_>,
    t: &uapi::alpc_transfer,
    waited: Waited<'_>,
    hand: &Option<Hand<Kernel>>,
) -> Result<(), Failure> {
    match (waited, hand) {
        // Somebody else may still be able to take what a dying thread received.
        (Waited::HandedToDying, Some(Hand::Message(_))) if plan.receive == Receive::Next => {
            Err(interrupted(t).into())
        }
        (Waited::Nothing(gone, engine), _) => {
            if gone != Gone::Signal && plan.receive == Receive::Answer {
                cancel(scope, engine, t.send_id);
            }
            Err(match gone {
                Gone::TimedOut => nothing_yet(t).into(),
                Gone::Signal | Gone::Killed => interrupted(t).into(),
            })
        }
        (_, Some(Hand::Message(_))) => Ok(()),
        (_, Some(Hand::TooSmall(needed))) => Err(Failure::TooSmall(*needed)),
        (_, Some(Hand::Ended(end))) => Err((*end).into()),
        (_, Some(Hand::Room) | None) => Err(interrupted(t).into()),
    }
}
