// SPDX-License-Identifier: GPL-2.0

//! `ALPC_IOC_SEND_WAIT_RECEIVE`: the call.
//!
//! One pass through the engine's lock sends and either takes what is there or
//! makes this thread wait. Whoever was waiting for what was sent is woken after
//! the lock is released, when this thread is about to sleep.
#![deny(unsafe_code)]

use crate::{
    attributes::{
        Incoming,
        Outgoing, //
    },
    buffer::{
        copy_range_out,
        transfer_in,
        transfer_out, //
    },
    comm::CommPort,
    control,
    cred::Seen,
    ioctl,
    logic::engine::{
        Delivery,
        Effects,
        Hand,
        How,
        New,
        Received,
        Refusal,
        Sent,
        Side,
        Source,
        Wait,
        What, //
    },
    message::{
        keep_slot,
        take_kept,
        Draft,
        Message, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    port::{
        Kernel,
        Locked,
        Port, //
    },
    quota::Charge,
    straight,
    time::Deadline,
    uapi,
    wait::{
        is_dying,
        wait,
        Gone,
        Waited, //
    }, //
};
use core::mem::{
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

    fn source(&self) -> Source {
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

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Send {
    Nothing,
    New(New),
    Into(How),
    Discard,
}

/// What is to be received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receive {
    Nothing,
    /// The next message of the port.
    Next,
    /// The next message of the conversation.
    Answer,
}

/// A call whose arguments make sense.
pub(crate) struct Plan {
    send: Send,
    receive: Receive,
    deadline: Deadline,
    outgoing: Outgoing,
    incoming: Incoming,
}

const FLAGS: u32 = uapi::ALPC_TIMEOUT_MASK
    | uapi::ALPC_SEND
    | uapi::ALPC_RECEIVE
    | uapi::ALPC_SYNC
    | uapi::ALPC_RELEASE
    | uapi::ALPC_ANSWER
    | uapi::ALPC_DISCARD
    | uapi::ALPC_NONBLOCK
    | uapi::ALPC_SENT;

/// The flags that say what a call does.
const SHAPE: u32 = uapi::ALPC_SEND
    | uapi::ALPC_RECEIVE
    | uapi::ALPC_SYNC
    | uapi::ALPC_RELEASE
    | uapi::ALPC_ANSWER
    | uapi::ALPC_DISCARD;

impl Plan {
    #[inline]
    fn new(scope: Scope<'_>, t: &uapi::alpc_transfer) -> Result<Self, Failure> {
        const SEND: u32 = uapi::ALPC_SEND;
        const RECEIVE: u32 = uapi::ALPC_RECEIVE;
        const RELEASE: u32 = uapi::ALPC_RELEASE;
        const CALL: u32 = SEND | RECEIVE | uapi::ALPC_SYNC;
        const ANSWER: u32 = CALL | uapi::ALPC_ANSWER;
        const DISCARD: u32 = SEND | RELEASE | uapi::ALPC_DISCARD;
        const SEND_RECEIVE: u32 = SEND | RECEIVE;
        const RELEASE_RECEIVE: u32 = SEND | RECEIVE | RELEASE;
        const DISCARD_RECEIVE: u32 = DISCARD | RECEIVE;
        const SEND_RELEASE: u32 = SEND | RELEASE;

        if t.flags & !FLAGS != 0 || t.reserved != 0 {
            return Err(EINVAL.into());
        }
        // What goes out as a new message, and what into a held conversation.
        let (new, into, receive) = match t.flags & SHAPE {
            CALL => (
                Send::New(New::Request),
                Send::Into(How::Callback),
                Receive::Answer,
            ),
            RELEASE_RECEIVE => (
                Send::New(New::OneWay),
                Send::Into(How::FinalReply),
                Receive::Next,
            ),
            RECEIVE => (Send::Nothing, Send::Nothing, Receive::Next),
            SEND => (
                Send::New(New::Request),
                Send::Into(How::Reply),
                Receive::Nothing,
            ),
            SEND_RELEASE => (
                Send::New(New::OneWay),
                Send::Into(How::FinalReply),
                Receive::Nothing,
            ),
            SEND_RECEIVE => (
                Send::New(New::Request),
                Send::Into(How::Reply),
                Receive::Next,
            ),
            ANSWER => (Send::Nothing, Send::Into(How::Answer), Receive::Answer),
            DISCARD => (Send::Nothing, Send::Discard, Receive::Nothing),
            DISCARD_RECEIVE => (Send::Nothing, Send::Discard, Receive::Next),
            _ => return Err(EINVAL.into()),
        };
        let resumed = t.flags & uapi::ALPC_SENT != 0;
        let (send, fits) = match (resumed, t.send_id) {
            // A one-way message has no id, so there is nothing to ask of one.
            (true, id) => (
                Send::Nothing,
                new != into && (id != 0 || receive != Receive::Answer),
            ),
            (false, 0) => (
                new,
                new == into || (new != Send::Nothing && t.send_callback_id == 0),
            ),
            (false, _) => (into, true),
        };
        let nonblock = t.flags & uapi::ALPC_NONBLOCK != 0;
        if !fits
            || (nonblock && t.flags & SEND == 0)
            || (send == Send::Discard && t.send_length != 0)
        {
            return Err(EINVAL.into());
        }
        if let Send::New(new) = send {
            if scope.end.is_none() {
                // Which client would it go to?
                return Err(EINVAL.into());
            }
            if new == New::Request && receive != Receive::Answer && scope.port.is_lpc() {
                return Err(Outcome::WrongKind.into());
            }
        }
        // The connection may allow less, which the engine sees.
        if send != Send::Nothing && t.send_length > scope.port.share.max_length {
            return Err(Outcome::TooLong.into());
        }
        Ok(Self {
            send,
            receive,
            deadline: Deadline::new(t.flags, t.timeout)?,
            outgoing: Outgoing::read(t.send_attributes)?,
            incoming: Incoming::check(t.recv_attributes)?,
        })
    }

    /// What [`straight`] does.
    pub(crate) fn straight(send: Send, receive: Receive) -> Self {
        Self {
            send,
            receive,
            deadline: Deadline::Never,
            outgoing: Outgoing::default(),
            incoming: Incoming::none(),
        }
    }
}

#[inline(never)]
fn transfer(scope: Scope<'_>, size: usize, addr: u64) -> Result {
    let mut slot = MaybeUninit::uninit();
    let t = transfer_in(size, addr, &mut slot)?;
    transfer_any(scope, size, addr, t, None)
}

/// Does what the caller asks for. The message may be there already.
#[inline(never)]
pub(crate) fn transfer_any(
    scope: Scope<'_>,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    body: Option<Arc<Message>>,
) -> Result {
    let plan = match Plan::new(scope, t) {
        Ok(plan) => plan,
        Err(failure) => {
            if let Some(body) = body {
                put_back(scope, body);
            }
            return Err(ioctl::report(failure, |o| write_outcome(size, addr, t, o)));
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
    plan: &Plan,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    result: Result<(), Failure>,
    mut hand: Option<Hand<Kernel>>,
) -> Result {
    let failure = match result {
        Ok(()) => match &mut hand {
            Some(Hand::Message(delivery)) => match give(plan, size, addr, t, delivery) {
                Ok(()) => {
                    settle(scope, delivery);
                    return Ok(());
                }
                Err(error) => error.into(),
            },
            _ => {
                t.outcome = uapi::ALPC_OUTCOME_OK;
                return transfer_out(size, addr, t);
            }
        },
        Err(failure) => failure,
    };
    if let Some(Hand::Message(delivery)) = hand {
        scope.port.undeliver(delivery);
    }
    Err(fail(scope, plan, size, addr, t, failure))
}

fn write_outcome(size: usize, addr: u64, t: &mut uapi::alpc_transfer, outcome: u32) -> Result {
    t.outcome = outcome;
    let at = offset_of!(uapi::alpc_transfer, outcome);
    copy_range_out(size, addr, t, ioctl::field(at))
}

/// Reports a failure, and with it how far the call has got.
fn fail(
    scope: Scope<'_>,
    plan: &Plan,
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
    drop(engine);
    scope.port.act(&mut fx);
}

/// Sends, and receives into `hand`. Notes in `t` what has been sent.
fn exchange(
    scope: Scope<'_>,
    plan: &Plan,
    t: &mut uapi::alpc_transfer,
    body: Option<Arc<Message>>,
    hand: &mut Option<Hand<Kernel>>,
) -> Result<(), Failure> {
    let body = match (plan.send, body) {
        (Send::New(_), None) => Some(message(scope, true, t.send_data, t.send_length)?),
        (Send::Into(_), None) => Some(message(scope, false, t.send_data, t.send_length)?),
        (_, body) => body,
    };
    let port = scope.port;
    let side = scope.side();
    let mut fx = Effects::default();
    let mut sent = None;
    let mut engine = port.lock();
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
    }
    let (received, at) = match (plan.receive, sent) {
        (Receive::Nothing, _) => {
            drop(engine);
            port.act(&mut fx);
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
        (Receive::Next, _) => (
            engine.receive(scope.source(), t.recv_capacity, &mut fx),
            Wait::Next(scope.source()),
        ),
    };
    let failure = match received {
        Received::Empty if plan.receive == Receive::Next && scope.nonblock => {
            Failure::Special(nothing_yet(t), EAGAIN)
        }
        Received::Empty => {
            let unlocked = || port.act_and_yield(&mut fx);
            let capacity = t.recv_capacity;
            let waited = wait(port, engine, at, capacity, plan.deadline, hand, unlocked);
            return awaited(scope, plan, t, waited, hand);
        }
        Received::Message(delivery) => {
            drop(engine);
            port.act(&mut fx);
            *hand = Some(Hand::Message(delivery));
            return Ok(());
        }
        Received::TooSmall(needed) => Failure::TooSmall(needed),
        Received::Ended(end) => end.into(),
        Received::Refused(refusal) => refusal.into(),
    };
    drop(engine);
    port.act(&mut fx);
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
    plan: &Plan,
    t: &uapi::alpc_transfer,
    waited: Waited<'_>,
    hand: &Option<Hand<Kernel>>,
) -> Result<(), Failure> {
    if let (Waited::Handed, Some(Hand::Message(_))) = (&waited, hand) {
        // Somebody else may still be able to take what a dying thread received.
        return match plan.receive == Receive::Next && is_dying() {
            true => Err(interrupted(t).into()),
            false => Ok(()),
        };
    }
    match (waited, hand) {
        (Waited::Handed, Some(Hand::TooSmall(needed))) => Err(Failure::TooSmall(*needed)),
        (Waited::Handed, Some(Hand::Ended(end))) => Err((*end).into()),
        (Waited::Handed, _) => Err(interrupted(t).into()),
        (Waited::Nothing(gone, engine), _) => {
            let over = gone == Gone::TimedOut || is_dying();
            if over && plan.receive == Receive::Answer {
                cancel(scope, engine, t.send_id);
            }
            Err(match gone {
                Gone::TimedOut => nothing_yet(t).into(),
                Gone::Signal => interrupted(t).into(),
            })
        }
    }
}

/// Sends, and leaves the lock taken.
fn send<'a>(
    scope: Scope<'a>,
    plan: &Plan,
    t: &uapi::alpc_transfer,
    mut engine: Locked<'a>,
    body: Arc<Message>,
    fx: &mut Effects<Kernel>,
) -> Result<(Locked<'a>, Sent), Failure> {
    let kept = take_kept(&body);
    let result = match (plan.send, scope.end) {
        (Send::New(new), Some(end)) => send_new(scope, end, plan, t, new, kept, engine, body, fx),
        (Send::Into(how), _) => {
            match engine.send_into(
                scope.conn(),
                scope.side(),
                t.send_id,
                t.send_callback_id,
                how,
                body,
                fx,
            ) {
                Ok(sent) => {
                    // The message is part of another conversation now.
                    if let (Some(slot), Some(conn)) = (kept, scope.conn()) {
                        engine.release(conn, slot, fx);
                    }
                    Ok((engine, sent))
                }
                Err((refusal, body)) => {
                    drop(engine);
                    Err((refusal.into(), body))
                }
            }
        }
        _ => {
            drop(engine);
            Err((EINVAL.into(), body))
        }
    };
    match result {
        Ok((mut engine, sent)) => {
            if let Some(context) = plan.outgoing.message_context {
                engine.set_message_context(sent, scope.side(), context);
            }
            Ok((engine, sent))
        }
        Err((failure, body)) => {
            scope.port.act(fx);
            if let Some(slot) = kept {
                keep_slot(&body, slot);
            }
            put_back(scope, body);
            Err(failure)
        }
    }
}

/// Sends a new message, and waits for room if it must and may.
#[expect(clippy::too_many_arguments)]
fn send_new<'a>(
    scope: Scope<'a>,
    end: &CommPort,
    plan: &Plan,
    t: &uapi::alpc_transfer,
    new: New,
    kept: Option<u32>,
    mut engine: Locked<'a>,
    mut body: Arc<Message>,
    fx: &mut Effects<Kernel>,
) -> Result<(Locked<'a>, Sent), (Failure, Arc<Message>)> {
    let port = scope.port;
    let (conn, side) = (end.index(), end.side);
    let may_wait = !scope.nonblock
        && t.flags & uapi::ALPC_NONBLOCK == 0
        && !matches!(plan.deadline, Deadline::Now);
    loop {
        let refusal;
        (refusal, body) = match engine.send_new(conn, side, new, kept, body, fx) {
            Ok(sent) => return Ok((engine, sent)),
            Err(refused) => refused,
        };
        match refusal {
            Refusal::Grow => {
                drop(engine);
                if let Err(error) = port.grow() {
                    return Err((error.into(), body));
                }
            }
            Refusal::QueueFull if may_wait => {
                let at = Wait::Room { conn, side };
                let mut hand = None;
                let waited = wait(port, engine, at, 0, plan.deadline, &mut hand, || {
                    port.act(fx)
                });
                match (waited, hand) {
                    (Waited::Handed, Some(Hand::Ended(end))) => return Err((end.into(), body)),
                    (Waited::Handed, _) => {}
                    (Waited::Nothing(gone, engine), _) => {
                        drop(engine);
                        return Err(match gone {
                            Gone::TimedOut => (Outcome::TimedOut.into(), body),
                            Gone::Signal => (Outcome::Interrupted.into(), body),
                        });
                    }
                }
            }
            refusal => {
                drop(engine);
                return Err((refusal.into(), body));
            }
        }
        engine = port.lock();
    }
}

/// A message from the current thread, with its payload.
///
/// What begins a conversation is charged, and so is what a client sends into one.
/// What a server sends into one is not: a client that doesn't read its answers must
/// not use up what the server may have.
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
    let charged = |end: &&CommPort| (new || end.side == Side::Client) && !draft.is_charged();
    if let Some(end) = scope.end.filter(charged) {
        let (charger, kind) = end.connection.account(end.side);
        ready = Charge::new(charger, kind)
            .map(|charge| draft.charge(charge))
            .map_err(|_| Failure::from(Outcome::Limit));
    }
    if ready.is_ok() {
        ready = draft.fill(addr, len).map_err(Failure::from);
    }
    let message = draft.finish();
    match ready {
        Ok(()) => Ok(message),
        Err(failure) => Err(unsent(scope, message, failure)),
    }
}

/// Puts a message back that could not be filled.
#[cold]
fn unsent(scope: Scope<'_>, message: Arc<Message>, failure: Failure) -> Failure {
    put_back(scope, message);
    failure
}

/// Makes a message the spare one again.
pub(crate) fn put_back(scope: Scope<'_>, message: Arc<Message>) {
    let Some(end) = scope.end else {
        scope.port.recycle(message);
        return;
    };
    if let Some(message) = end.connection.spare(end.side).put(message) {
        if let Some(slot) = take_kept(&message) {
            end.release_slot(slot);
        }
    }
}

/// Copies a message to the caller.
fn give(
    plan: &Plan,
    size: usize,
    addr: u64,
    t: &mut uapi::alpc_transfer,
    delivery: &Delivery<Kernel>,
) -> Result {
    let seen = match &delivery.body {
        Some(body) => Some(give_body(t, body)?),
        // A notice comes from the other end.
        None => {
            t.recv_length = 0;
            let peer = delivery.peer.as_ref();
            match delivery.to {
                Side::Server => peer.map(|peer| &peer.client),
                Side::Client => peer.and_then(|peer| peer.server.as_ref()),
            }
            .map(|sender| sender.seen_by_current())
        }
    };
    plan.incoming.write(delivery)?;
    describe(t, delivery, seen);
    transfer_out(size, addr, t)
}

/// Copies the payload of a message to the caller, and gives the sender as the caller sees it.
#[inline(always)]
pub(crate) fn give_body(t: &mut uapi::alpc_transfer, body: &Message) -> Result<Seen> {
    body.buffer.write_user(t.recv_data)?;
    // No payload is above `ALPC_MESSAGE_MAX`.
    t.recv_length = body.buffer.len() as u32;
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
    if delivery.idle {
        let kept = match (own, scope.end) {
            (Some(own), Some(end)) if own.charge.is_some() => {
                keep_slot(&own, delivery.slot);
                match end.connection.spare(end.side).put(own) {
                    None => true,
                    Some(own) => {
                        take_kept(&own);
                        false
                    }
                }
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
    if let (Some(body), Side::Client) = (body, delivery.to) {
        scope.port.recycle(body);
    }
}

/// Gives a slot back that does not go with a message.
#[inline(never)]
pub(crate) fn finish(scope: Scope<'_>, delivery: &Delivery<Kernel>) {
    let mut fx = Effects::default();
    scope.port.lock().finish(delivery, false, &mut fx);
    scope.port.act(&mut fx);
}
