// SPDX-License-Identifier: GPL-2.0

//! `ALPC_IOC_CONNECT`: asking for a connection, and waiting for the answer.
//!
//! A request is sent once. When a signal ends the wait, the pending client port
//! becomes a descriptor, and a repeated call waits on it.
#![deny(unsafe_code)]

use crate::{
    acl::Connector,
    buffer::{
        copy_range_out,
        copy_struct_in,
        read_bytes, //
    },
    caller::{
        kgid_from_user,
        kuid_from_user, //
    },
    charge::{
        Charge,
        Charger, //
    },
    comm::{
        CommPort,
        Connection,
        Costs, //
    },
    control::at_most,
    file::{
        from_fd,
        new_file,
        NewFile, //
    },
    inode::Act,
    ioctl::{
        self,
        field, //
    },
    logic::engine::{
        Delivery,
        Effects,
        End,
        Hand,
        Phase,
        Received,
        Refusal,
        Share,
        Side,
        Wait,
        What, //
    },
    message::Draft,
    outcome::{
        Failure,
        Outcome, //
    },
    port::{
        Kernel,
        Locked,
        Port, //
    },
    quota::{
        Accounts,
        Kind, //
    },
    security::Security,
    takes::Takes,
    time::Deadline,
    uapi,
    wait::{
        wait,
        Gone,
        Stand,
        Waited, //
    }, //
};
use core::mem::offset_of;
use kernel::{
    prelude::*,
    sync::Arc, //
};

const FLAGS: u32 = uapi::ALPC_TIMEOUT_MASK
    | uapi::ALPC_CONNECT_ASYNC
    | uapi::ALPC_CONNECT_REQUIRE_UID
    | uapi::ALPC_CONNECT_REQUIRE_GID
    | uapi::ALPC_CONNECT_REQUIRE_LABEL
    | uapi::ALPC_CONNECT_SENT;

/// Connects to the port that `find` finds.
pub(crate) fn connect(
    accounts: &Arc<Accounts>,
    size: usize,
    addr: u64,
    find: impl FnOnce(&uapi::alpc_connect) -> Result<Arc<Port>, Failure>,
) -> Result<isize> {
    const FIRST: usize = offset_of!(uapi::alpc_connect, required_label);
    let mut arg: uapi::alpc_connect = copy_struct_in(size, addr, FIRST)?;
    let before = arg.outcome;
    let result = match arg.flags & uapi::ALPC_CONNECT_SENT {
        0 => begin(accounts, &mut arg, size, addr, find),
        _ => resume(&mut arg, size, addr),
    };
    result.map_err(|failure| {
        if let Failure::TooSmall(needed) = failure {
            arg.recv_length = needed;
            let _ = copy_range_out(
                size,
                addr,
                &arg,
                field(offset_of!(uapi::alpc_connect, recv_length)),
            );
        }
        ioctl::report(failure, before, |outcome| {
            arg.outcome = outcome;
            copy_range_out(
                size,
                addr,
                &arg,
                field(offset_of!(uapi::alpc_connect, outcome)),
            )
        })
    })
}

fn check(arg: &uapi::alpc_connect) -> Result<Deadline> {
    let asynchronous = arg.flags & uapi::ALPC_CONNECT_ASYNC != 0;
    if arg.flags & !FLAGS != 0
        || arg.reserved1 != 0
        || (arg.flags & uapi::ALPC_CONNECT_REQUIRE_LABEL == 0
            && (arg.required_label != 0 || arg.required_label_length != 0))
        || arg.required_label_length > uapi::ALPC_LABEL_MAX
        || arg.accept & uapi::ALPC_TAKE_IDENTITY != 0
        || (asynchronous && arg.flags & (uapi::ALPC_TIMEOUT_MASK | uapi::ALPC_CONNECT_SENT) != 0)
        || (asynchronous && (arg.recv_data != 0 || arg.recv_capacity != 0))
    {
        return Err(EINVAL);
    }
    Deadline::new(arg.flags, arg.timeout)
}

/// Refuses a port that is not the one the caller wants, or does not want the caller. Gives the
/// rights that the caller has there.
fn admit(port: &Port, arg: &uapi::alpc_connect) -> Result<u32, Failure> {
    if arg.flags & uapi::ALPC_CONNECT_REQUIRE_UID != 0
        && kuid_from_user(arg.required_uid).ok_or(EINVAL)? != port.owner.who.euid()
    {
        return Err(Outcome::ServerMismatch.into());
    }
    if arg.flags & uapi::ALPC_CONNECT_REQUIRE_GID != 0
        && kgid_from_user(arg.required_gid).ok_or(EINVAL)? != port.owner.who.egid()
    {
        return Err(Outcome::ServerMismatch.into());
    }
    if arg.flags & uapi::ALPC_CONNECT_REQUIRE_LABEL != 0 {
        // Nobody has an empty one.
        if arg.required_label_length == 0 {
            return Err(EINVAL.into());
        }
        let label = read_bytes(arg.required_label, arg.required_label_length)?;
        if !port.owner.who.has_label(&label) {
            return Err(Outcome::ServerMismatch.into());
        }
    }
    let rights = port.acl().granted(&Connector::current(&port.owner.who));
    if rights & uapi::ALPC_RIGHT_CONNECT == 0 {
        return Err(Outcome::AccessDenied.into());
    }
    port.permits(Act::Connect)?;
    Ok(rights)
}

/// What the current task pays for a connection to `port`.
fn charge(accounts: &Arc<Accounts>, port: &Arc<Port>) -> Result<Costs, Failure> {
    // Whoever has made the port may do with it what he wants.
    let here = Charger::for_current_at(accounts, &port.place, &port.owner.who)?;
    let charger = Charger::for_current(accounts)?;
    // A server that keeps too much of what its clients have closed gets no more of it.
    if !port.place.maker().has_room(Kind::Remains) {
        return Err(Outcome::Limit.into());
    }
    let take = |charger, kind| Charge::new(charger, kind).map_err(|_| Outcome::Limit);
    Ok(Costs {
        connection: take(&charger, Kind::Connection)?,
        _place: take(&here, Kind::Connection)?,
        pending: take(&here, Kind::Pending)?,
        charger,
        here,
    })
}

fn begin(
    accounts: &Arc<Accounts>,
    arg: &mut uapi::alpc_connect,
    size: usize,
    addr: u64,
    find: impl FnOnce(&uapi::alpc_connect) -> Result<Arc<Port>, Failure>,
) -> Result<isize, Failure> {
    let deadline = check(arg)?;
    let takes = Takes::new(arg.accept, arg.handle_kinds)?;
    let security = Security::new(arg.security)?;
    let by_name = arg.name != 0;
    let port = find(arg)?;
    let rights = admit(&port, arg)?;
    let share = Share {
        max_length: match arg.max_message_length {
            0 => port.share.max_length,
            asked => at_most(asked, uapi::ALPC_MESSAGE_MAX)?.min(port.share.max_length),
        },
        messages: match arg.queue_messages {
            0 => port.share.messages,
            asked => asked.min(port.share.messages),
        },
        bytes: match arg.queue_bytes {
            0 => port.share.bytes,
            asked => asked.min(port.share.bytes),
        },
    };
    if share.bytes < share.max_length {
        return Err(EINVAL.into());
    }
    if arg.send_length > share.max_length {
        return Err(Outcome::TooLong.into());
    }
    let costs = charge(accounts, &port).inspect_err(|failure| {
        if failure.is(Outcome::Limit) {
            port.note_refusal();
        }
    })?;
    // Who connects is told by the connection.
    let mut draft = Draft::new()?;
    draft.fill(arg.send_data, arg.send_length)?;
    if security.is_anonymous() {
        draft.hide_sender();
    }
    let connection = Connection::new(port.clone(), costs, takes, rights, security)?;
    let end = CommPort::new(connection.clone(), Side::Client)?;
    let file = new_file(end.clone())?;
    // A caller that can't be told is found out before anything has happened.
    arg.outcome = uapi::ALPC_OUTCOME_OK;
    let at = offset_of!(uapi::alpc_connect, outcome);
    copy_range_out(size, addr, arg, field(at))?;
    let mut body = draft.finish();
    let mut fx = Effects::default();
    let mut engine = port.lock();
    let sent = loop {
        let (pending, connections) = connection.places();
        if !engine.has_place(pending, connections) {
            drop(engine);
            port.note_refusal();
            return Err(Outcome::Limit.into());
        }
        let refused;
        (refused, body) =
            match engine.connect(connection.clone(), body, share, arg.context, &mut fx) {
                Ok((index, sent)) => {
                    end.bind(index, sent.id);
                    break sent;
                }
                Err(refused) => refused,
            };
        drop(engine);
        match refused {
            Refusal::Grow => port.grow()?,
            // The port went away after it was found.
            Refusal::Ended(End::Refused) if by_name => return Err(Outcome::NameNotFound.into()),
            refusal => {
                // Who has made the port has no share of its places, but there may be none.
                if refusal == Refusal::Limit {
                    port.note_refusal();
                }
                return Err(refusal.into());
            }
        }
        engine = port.lock();
    };
    if arg.flags & uapi::ALPC_CONNECT_ASYNC != 0 {
        port.leave(engine, &mut fx);
        return Ok(file.install());
    }
    let at = Wait::Conversation {
        slot: sent.slot,
        id: sent.id,
        side: Side::Client,
    };
    let mut hand = None;
    let unlock = |engine: Locked<'_>| {
        port.leave(engine, &mut fx);
        None
    };
    let capacity = arg.recv_capacity;
    let stand = Stand {
        at,
        holder: 0,
        capacity,
    };
    let waited = wait(&port, engine, stand, deadline, &mut hand, unlock);
    match waited {
        Waited::Handed | Waited::HandedToDying => {
            answered(&end, arg, size, addr, hand)?;
            Ok(file.install())
        }
        Waited::Nothing(gone, engine) => {
            drop(engine);
            Err(unanswered(gone, deadline, Some(file), arg, size, addr))
        }
    }
}

/// Waits on for the answer to a request whose client port is a descriptor already.
fn resume(arg: &mut uapi::alpc_connect, size: usize, addr: u64) -> Result<isize, Failure> {
    let deadline = check(arg)?;
    Takes::new(arg.accept, arg.handle_kinds)?;
    Security::new(arg.security)?;
    let file = from_fd::<CommPort>(arg.fd)?;
    let end = file.object();
    if end.side != Side::Client {
        return Err(EINVAL.into());
    }
    let port = end.port();
    let id = end.request();
    let mut fx = Effects::default();
    let mut engine = port.lock();
    let (received, slot) = engine.collect(
        Some(end.index()),
        Side::Client,
        id,
        arg.recv_capacity,
        &mut fx,
    );
    let mut hand = None;
    match received {
        Received::Message(delivery) => hand = Some(Hand::Message(delivery)),
        Received::TooSmall(needed) => hand = Some(Hand::TooSmall(needed)),
        Received::Ended(reason) => hand = Some(Hand::Ended(reason)),
        Received::Refused(refusal) => return Err(refusal.into()),
        Received::Empty => {
            let at = Wait::Conversation {
                slot,
                id,
                side: Side::Client,
            };
            let unlock = |engine: Locked<'_>| {
                port.leave(engine, &mut fx);
                None
            };
            let capacity = arg.recv_capacity;
            let stand = Stand {
                at,
                holder: 0,
                capacity,
            };
            let waited = wait(port, engine, stand, deadline, &mut hand, unlock);
            if let Waited::Nothing(gone, engine) = waited {
                drop(engine);
                return Err(unanswered(gone, deadline, None, arg, size, addr));
            }
            answered(&end, arg, size, addr, hand)?;
            return Ok(arg.fd as isize);
        }
    }
    port.leave(engine, &mut fx);
    answered(&end, arg, size, addr, hand)?;
    Ok(arg.fd as isize)
}

/// Takes the server's answer: success only if it is yes, and the caller has it.
fn answered(
    end: &CommPort,
    arg: &mut uapi::alpc_connect,
    size: usize,
    addr: u64,
    hand: Option<Hand<Kernel>>,
) -> Result<(), Failure> {
    let port = end.port();
    let delivery = match hand {
        Some(Hand::Message(delivery)) => delivery,
        Some(Hand::Ended(reason)) => return Err(reason.into()),
        Some(Hand::Room) | None => return Err(Outcome::InterruptedSent.into()),
        Some(Hand::TooSmall(needed)) => {
            // A server that refuses at length has refused all the same.
            if port.lock().phase(end.index()) == Phase::Refused {
                arg.recv_length = needed;
                let at = offset_of!(uapi::alpc_connect, recv_length);
                let _ = copy_range_out(size, addr, arg, field(at));
                return Err(Outcome::Refused.into());
            }
            // The server believes in a connection that the client can't have.
            end.disconnect(true);
            return Err(Failure::TooSmall(needed));
        }
    };
    let copied = copy_answer(arg, size, addr, &delivery);
    let accepted = delivery.what == What::ConnectionReply;
    port.step(|engine, fx| engine.finish(&delivery, false, fx));
    if let Some(body) = delivery.body {
        port.recycle(body);
    }
    if !accepted {
        return Err(Outcome::Refused.into());
    }
    copied.map_err(|error| {
        end.disconnect(true);
        error.into()
    })
}

fn copy_answer(
    arg: &mut uapi::alpc_connect,
    size: usize,
    addr: u64,
    delivery: &Delivery<Kernel>,
) -> Result {
    let Some(body) = &delivery.body else {
        return Err(EPROTO);
    };
    if arg.recv_data != 0 {
        body.buffer.write_user(arg.recv_data)?;
    }
    arg.recv_length = body.buffer.len();
    let seen = body.sender.seen_by_current();
    arg.server_pid = seen.pid;
    arg.server_uid = seen.uid;
    arg.server_gid = seen.gid;
    arg.outcome = match delivery.what {
        What::ConnectionReply => uapi::ALPC_OUTCOME_OK,
        _ => uapi::ALPC_OUTCOME_REFUSED,
    };
    copy_range_out(
        size,
        addr,
        arg,
        field(offset_of!(uapi::alpc_connect, outcome)),
    )?;
    let from = offset_of!(uapi::alpc_connect, recv_length);
    let to = offset_of!(uapi::alpc_connect, reserved1);
    copy_range_out(size, addr, arg, from..to)
}

/// No answer yet. After a signal the caller gets the pending port, so that the
/// call can be made again without a second request.
fn unanswered(
    gone: Gone,
    deadline: Deadline,
    file: Option<NewFile>,
    arg: &mut uapi::alpc_connect,
    size: usize,
    addr: u64,
) -> Failure {
    // Without a descriptor, the file's end withdraws the request.
    if gone == Gone::TimedOut {
        return Outcome::TimedOutSent.into();
    }
    if gone == Gone::Killed {
        return Outcome::InterruptedSent.into();
    }
    let (flag, time) = deadline.absolute();
    arg.flags = (arg.flags & !uapi::ALPC_TIMEOUT_MASK) | flag | uapi::ALPC_CONNECT_SENT;
    arg.timeout = time;
    if let Some(file) = &file {
        // CAST: Descriptors are below `INT_MAX`.
        arg.fd = file.fd() as i32;
    }
    let from = offset_of!(uapi::alpc_connect, timeout);
    let to = offset_of!(uapi::alpc_connect, recv_length);
    if copy_range_out(size, addr, arg, from..to).is_err() {
        return EFAULT.into();
    }
    if let Some(file) = file {
        file.install();
    }
    Outcome::InterruptedSent.into()
}
