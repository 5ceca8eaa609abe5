// SPDX-License-Identifier: GPL-2.0

//! Requests on ports beside the call itself: accept and refuse, cancel,
//! disconnect, connect descriptors, queries.
#![deny(unsafe_code)]

use crate::{
    acl,
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    call::Scope,
    comm::CommPort,
    connect_port,
    cred::Party,
    file::new_file,
    handle::claim,
    identity::{
        self,
        Whose, //
    },
    impersonate::impersonate,
    ioctl,
    logic::engine::{
        Effects,
        Share,
        Side, //
    },
    memory_request::memory_request,
    outcome::{
        Failure,
        Outcome, //
    },
    port::Port,
    section::{
        self,
        Maker, //
    },
    security,
    send::{
        give_up,
        message,
        put_back, //
    },
    told::told_of_request,
    uapi,
    usage,
    view, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    prelude::*,
    sync::ArcBorrow, //
};

/// A request on a connection port.
pub(crate) fn port_request(
    port: ArcBorrow<'_, Port>,
    scope: Scope<'_>,
    cmd: u32,
    addr: u64,
) -> Result<isize> {
    let size = ioctl::size(cmd);
    match ioctl::base(cmd) {
        ioctl::CREATE_CONNECT => connect_port::create(port.into()),
        ioctl::ACCEPT => accept(scope, size, addr),
        ioctl::QUERY_ACL => acl::query(&port, size, addr),
        ioctl::SET_ACL => acl::replace(&port, size, addr),
        ioctl::CANCEL => cancel(scope, size, addr),
        ioctl::CLAIM => claim(scope, size, addr),
        ioctl::DISCONNECT => {
            port.shut(flush(size, addr)?);
            Ok(0)
        }
        ioctl::IMPERSONATE => impersonate(scope, size, addr),
        ioctl::MEMORY => memory_request(scope, size, addr),
        ioctl::QUERY_IDENTITY => identity::query(Whose::Held(scope), size, addr),
        ioctl::VERIFY => identity::verify(Whose::Held(scope), size, addr),
        ioctl::QUERY_CONNECTION => usage::query_connection(&port, size, addr),
        ioctl::QUERY_PORT => query(size, addr, || port.info()),
        ioctl::CREATE_SECTION => section::create(Maker::Port(port.into()), size, addr),
        ioctl::DELETE_VIEW => view::delete(size, addr),
        ioctl::QUERY_VIEW => view::query(size, addr),
        _ => Err(ENOTTY),
    }
}

/// A request on a communication port.
pub(crate) fn comm_request(
    end: ArcBorrow<'_, CommPort>,
    scope: Scope<'_>,
    cmd: u32,
    addr: u64,
) -> Result<isize> {
    let size = ioctl::size(cmd);
    match ioctl::base(cmd) {
        ioctl::CANCEL => cancel(scope, size, addr),
        ioctl::CLAIM => claim(scope, size, addr),
        ioctl::DISCONNECT => {
            end.disconnect(flush(size, addr)?);
            Ok(0)
        }
        ioctl::IMPERSONATE => impersonate(scope, size, addr),
        ioctl::MEMORY => memory_request(scope, size, addr),
        ioctl::QUERY_IDENTITY => identity::query(Whose::Held(scope), size, addr),
        ioctl::VERIFY => identity::verify(Whose::Held(scope), size, addr),
        ioctl::QUERY_PORT => query(size, addr, || end.info()),
        ioctl::CREATE_SECTION => section::create(Maker::End(end.into()), size, addr),
        ioctl::CREATE_SECURITY => security::request(&end, security::Ask::Create, size, addr),
        ioctl::DELETE_SECURITY => security::request(&end, security::Ask::Delete, size, addr),
        ioctl::REVOKE_SECURITY => security::request(&end, security::Ask::Revoke, size, addr),
        ioctl::DELETE_VIEW => view::delete(size, addr),
        ioctl::QUERY_VIEW => view::query(size, addr),
        _ => Err(ENOTTY),
    }
}

/// Answers `ALPC_IOC_QUERY_PORT`.
pub(crate) fn query(
    size: usize,
    addr: u64,
    info: impl FnOnce() -> uapi::alpc_query_port,
) -> Result<isize> {
    const FIRST: usize = offset_of!(uapi::alpc_query_port, sections);
    // A caller of the future is told what is known now, the rest is zero to it.
    let _: uapi::alpc_query_port = copy_struct_in(size, addr, FIRST)?;
    copy_struct_out(size, addr, &info())?;
    Ok(0)
}

/// Reads `struct alpc_disconnect`: whether to flush.
fn flush(size: usize, addr: u64) -> Result<bool> {
    const FIRST: usize = size_of::<uapi::alpc_disconnect>();
    let arg: uapi::alpc_disconnect = copy_struct_in(size, addr, FIRST)?;
    if arg.flags & !uapi::ALPC_DISCONNECT_NO_FLUSH != 0 || arg.reserved != 0 {
        return Err(EINVAL);
    }
    Ok(arg.flags & uapi::ALPC_DISCONNECT_NO_FLUSH == 0)
}

fn cancel(scope: Scope<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_cancel>();
    let arg: uapi::alpc_cancel = copy_struct_in(size, addr, FIRST)?;
    if arg.flags & !uapi::ALPC_CANCEL_TRY != 0 {
        return Err(EINVAL);
    }
    let write = |outcome: u32| {
        let answer = uapi::alpc_cancel { outcome, ..arg };
        let at = offset_of!(uapi::alpc_cancel, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    // A caller that can't be told is found out before anything has happened.
    write(uapi::ALPC_OUTCOME_OK)?;
    let only_try = arg.flags & uapi::ALPC_CANCEL_TRY != 0;
    let result = scope
        .port
        .step(|engine, fx| engine.cancel(scope.conn(), scope.side(), arg.id, only_try, fx));
    match result {
        Ok(true) => write(uapi::ALPC_OUTCOME_ALREADY_RECEIVED).map(|()| 0),
        Ok(false) => Ok(0),
        Err(refusal) => Err(ioctl::report(refusal.into(), arg.outcome, write)),
    }
}

fn accept(scope: Scope<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_accept>();
    let arg: uapi::alpc_accept = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_accept { outcome, ..arg };
        let at = offset_of!(uapi::alpc_accept, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    try_accept(scope, &arg, write).map_err(|failure| ioctl::report(failure, arg.outcome, write))
}

fn try_accept(
    scope: Scope<'_>,
    arg: &uapi::alpc_accept,
    write: impl FnOnce(u32) -> Result,
) -> Result<isize, Failure> {
    let port = scope.port;
    if arg.flags & !uapi::ALPC_REFUSE != 0 {
        return Err(EINVAL.into());
    }
    let takes = port.takes.narrowed(arg.accept, arg.handle_kinds)?;
    let share = Share {
        max_length: at_most(arg.max_message_length, port.share.max_length)?,
        messages: at_most(arg.queue_messages, port.share.messages)?,
        bytes: at_most(arg.queue_bytes, port.share.bytes)?,
    };
    if share.bytes < share.max_length {
        return Err(EINVAL.into());
    }
    if arg.send_length > share.max_length {
        return Err(Outcome::TooLong.into());
    }
    let found = port.lock().peer_of_request(arg.id);
    let (_, connection) = found?;
    let accepting = match arg.flags & uapi::ALPC_REFUSE {
        0 => {
            let end = CommPort::new(connection.clone(), Side::Server)?;
            Some((new_file(end.clone())?, end))
        }
        _ => None,
    };
    // Taken out when it is given away: what is left is dropped with no lock held.
    let mut server = Some(Party::current());
    let body = message(scope, false, arg.send_data, arg.send_length)?;
    // The client may leave the answer where it is.
    let body = told_of_request(&connection, body).map_err(|failed| give_up(scope, failed))?;
    // A caller that can't be told is found out before anything has happened, but behind all that
    // may still fail and has no outcome: then nothing is to be written.
    if let Err(error) = write(uapi::ALPC_OUTCOME_OK) {
        put_back(scope, body);
        return Err(error.into());
    }
    let mut fx = Effects::default();
    let mut engine = port.lock();
    let answered = match &accepting {
        None => engine.refuse(arg.id, body, &mut fx),
        Some((_, end)) => {
            // The id is this connection's only request, so nobody gets here twice. What is known
            // of the server is told before the client can know that it has one.
            if engine.peer_of_request(arg.id).is_ok() {
                if let Some(server) = server.take() {
                    connection.accept(server, takes);
                }
            }
            engine
                .accept(arg.id, share, arg.context, body, &mut fx)
                .map(|index| end.bind(index, arg.id))
        }
    };
    if answered.is_ok() {
        // Some counts go down. Whoever is woken by this may connect again at once.
        connection.not_pending();
    }
    port.leave(engine, &mut fx);
    match answered {
        Ok(()) => Ok(match accepting {
            Some((file, _)) => file.install(),
            None => {
                port.lose_way();
                0
            }
        }),
        Err((refusal, body)) => {
            put_back(scope, body);
            Err(refusal.into())
        }
    }
}

/// The value asked for, or the limit if that is 0. `EINVAL` above the limit.
pub(crate) fn at_most(asked: u32, limit: u32) -> Result<u32> {
    match asked {
        0 => Ok(limit),
        asked if asked > limit => Err(EINVAL),
        asked => Ok(asked),
    }
}
