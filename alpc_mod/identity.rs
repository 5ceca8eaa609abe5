// SPDX-License-Identifier: GPL-2.0

//! `ALPC_IOC_QUERY_IDENTITY`: all that the kernel knew of who has sent a message, and
//! `ALPC_IOC_VERIFY`: whether that is still there.
//!
//! What every message tells of its sender is in its header. The rest is in the references that the
//! message holds, and is looked up and translated when somebody asks.
#![deny(unsafe_code)]

use crate::{
    acl,
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    call::Scope,
    caller::nobody,
    comm::CommPort,
    cred::{
        Identity,
        Origin,
        Party,
        Told, //
    },
    ioctl,
    logic::engine::{
        End,
        Kind,
        Side, //
    },
    outcome::{
        Failure,
        Outcome, //
    },
    port::Port,
    uapi, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::prelude::*;

/// Whose identity may be asked for on a descriptor.
pub(crate) enum Whose<'a> {
    /// On a port: the sender of what is held there, or the other end.
    Held(Scope<'a>),
    /// On a connect descriptor: who has made the port.
    Maker(&'a Port),
}

/// Answers the request.
pub(crate) fn query(whose: Whose<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_query_identity>();
    let arg: uapi::alpc_query_identity = copy_struct_in(size, addr, FIRST)?;
    let answered = answer(whose, &arg, |answer| copy_struct_out(size, addr, &answer));
    answered.map_err(|failure| {
        ioctl::report(failure, arg.outcome, |outcome| {
            let answer = uapi::alpc_query_identity { outcome, ..arg };
            let at = offset_of!(uapi::alpc_query_identity, outcome);
            copy_range_out(size, addr, &answer, ioctl::field(at))
        })
    })?;
    Ok(0)
}

fn answer(
    whose: Whose<'_>,
    arg: &uapi::alpc_query_identity,
    write: impl FnOnce(uapi::alpc_query_identity) -> Result,
) -> Result<(), Failure> {
    if arg.flags != 0
        || (arg.groups == 0) != (arg.group_count == 0)
        || (arg.label == 0) != (arg.label_length == 0)
    {
        return Err(EINVAL.into());
    }
    let all = match whose {
        Whose::Held(_) => true,
        Whose::Maker(port) => acl::is_let_in(port),
    };
    let answer = whose.look(arg.id, arg.callback_id, |who, origin| match all {
        true => tell(who, who.told_to_current(origin), arg),
        false => {
            let answer = tell(who, whose_only(who.told_to_current(None)), arg)?;
            Ok(uapi::alpc_query_identity { tid: 0, ..answer })
        }
    })?;
    Ok(write(answer)?)
}

/// Answers `ALPC_IOC_VERIFY`.
pub(crate) fn verify(whose: Whose<'_>, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_verify>();
    let arg: uapi::alpc_verify = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_verify { outcome, ..arg };
        let at = offset_of!(uapi::alpc_verify, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    let verified = try_verify(whose, &arg).and_then(|()| Ok(write(uapi::ALPC_OUTCOME_OK)?));
    verified.map_err(|failure| ioctl::report(failure, arg.outcome, write))?;
    Ok(0)
}

fn try_verify(whose: Whose<'_>, arg: &uapi::alpc_verify) -> Result<(), Failure> {
    let is_there = match (arg.flags, &whose) {
        _ if arg.reserved != 0 => return Err(EINVAL.into()),
        (0, _) => whose.look(arg.id, arg.callback_id, |who, _| {
            Ok(!who.is_hidden() && who.is_attached())
        })?,
        (uapi::ALPC_VERIFY_THREAD, Whose::Held(scope)) if arg.id != 0 => {
            // Nobody is told of an anonymous sender whether it is there.
            whose.look(arg.id, arg.callback_id, |who, _| Ok(!who.is_hidden()))? && {
                let engine = scope.port.lock();
                engine.sender_waits(scope.conn(), scope.side(), arg.id, arg.callback_id)?
            }
        }
        _ => return Err(EINVAL.into()),
    };
    match is_there {
        true => Ok(()),
        false => Err(Outcome::SenderGone.into()),
    }
}

impl Whose<'_> {
    /// Finds out who that is at an id and a turn, and asks for something of it.
    fn look<T>(
        &self,
        id: u64,
        turn: u32,
        ask: impl FnOnce(&Identity, Option<&Origin>) -> Result<T>,
    ) -> Result<T, Failure> {
        let found;
        let party = match *self {
            _ if id == 0 && turn != 0 => return Err(EINVAL.into()),
            Self::Maker(port) if id == 0 => &port.owner,
            Self::Held(Scope { end: Some(end), .. }) if id == 0 => other_end(end)?,
            Self::Held(scope) if id != 0 => {
                let (conn, side) = (scope.conn(), scope.side());
                // The lock is released before what it gives may be dropped.
                let held = scope.port.lock().held_any(conn, side, id, turn);
                match held? {
                    (Kind::Connect, _) => {
                        let asks = scope.port.lock().peer_of_request(id);
                        found = asks?.1;
                        &found.client
                    }
                    (Kind::Request | Kind::OneWay, message) => {
                        return Ok(ask(&message.sender, message.cargo.origin())?);
                    }
                }
            }
            _ => return Err(EINVAL.into()),
        };
        Ok(ask(&party.who, Some(&party.origin))?)
    }
}

/// Who connected, or who accepted.
fn other_end(end: &CommPort) -> Result<&Party, Failure> {
    match end.side {
        Side::Server => Ok(&end.connection.client),
        Side::Client => {
            let server = end.connection.server();
            server.ok_or_else(|| End::NotConnected.into())
        }
    }
}

/// What is told to whom a port refuses: whose it is. All else is as if it could not be expressed.
fn whose_only(told: Told) -> Told {
    let (user, group) = nobody();
    Told {
        uid: user,
        euid: told.euid,
        suid: user,
        fsuid: user,
        gid: group,
        egid: told.egid,
        sgid: group,
        fsgid: group,
        loginuid: u32::MAX,
        session: u32::MAX,
        user_ns: uapi::ALPC_USER_NS_OTHER,
        groups: 0,
        cgroup: 0,
        cap_effective: 0,
        cap_permitted: 0,
        cap_inheritable: 0,
        cap_bounding: 0,
        cap_ambient: 0,
    }
}

/// Writes what has no fixed size, and says the rest.
fn tell(
    identity: &Identity,
    told: Told,
    arg: &uapi::alpc_query_identity,
) -> Result<uapi::alpc_query_identity> {
    const GROUP: u64 = size_of::<u32>() as u64;
    let seen = identity.seen_by_current();
    for index in 0..arg.group_count.min(told.groups) {
        let Some(group) = identity.group(index) else {
            break;
        };
        let offset = u64::from(index).saturating_mul(GROUP);
        let at = arg.groups.checked_add(offset).ok_or(EFAULT)?;
        copy_struct_out(size_of::<u32>(), at, &group)?;
    }
    Ok(uapi::alpc_query_identity {
        id: arg.id,
        groups: arg.groups,
        label: arg.label,
        cgroup: told.cgroup,
        cap_effective: told.cap_effective,
        cap_permitted: told.cap_permitted,
        cap_inheritable: told.cap_inheritable,
        cap_bounding: told.cap_bounding,
        cap_ambient: told.cap_ambient,
        callback_id: arg.callback_id,
        flags: 0,
        group_count: told.groups,
        label_length: identity.write_label(arg.label, arg.label_length)?,
        pid: seen.pid,
        tid: seen.tid,
        uid: told.uid,
        euid: told.euid,
        suid: told.suid,
        fsuid: told.fsuid,
        gid: told.gid,
        egid: told.egid,
        sgid: told.sgid,
        fsgid: told.fsgid,
        loginuid: told.loginuid,
        session: told.session,
        user_ns: told.user_ns,
        outcome: uapi::ALPC_OUTCOME_OK,
    })
}
