// SPDX-License-Identifier: GPL-2.0

//! Who has what: of users, what they have of all that is limited, and of a port, what each
//! connection has there.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        copy_struct_in,
        copy_struct_out, //
    },
    caller::{
        current_euid,
        is_current_resourceful,
        kuid_from_user,
        Accountable, //
    },
    comm,
    logic::engine::{
        Found,
        Side, //
    },
    port::Port,
    quota::{
        Account,
        Accounts,
        Counter,
        Kind, //
    },
    uapi, //
};
use core::mem::size_of;
use kernel::{
    fmt,
    prelude::*, //
};

/// Answers `ALPC_IOC_QUERY_USER`.
pub(crate) fn query_user(accounts: &Accounts, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_query_user>();
    let arg: uapi::alpc_query_user = copy_struct_in(size, addr, FIRST)?;
    if arg.flags & !uapi::ALPC_USER_AS_OWNER != 0 {
        return Err(EINVAL);
    }
    let kuid = kuid_from_user(arg.uid).ok_or(EINVAL)?;
    if kuid != current_euid() && !is_current_resourceful() {
        return Err(EPERM);
    }
    let account = accounts.find(match arg.flags & uapi::ALPC_USER_AS_OWNER {
        0 => Accountable::User(kuid),
        _ => Accountable::Owner(kuid),
    });
    let gauge = |kind: Kind| match &account {
        Some(account) => gauge(account, kind),
        None => uapi::alpc_gauge {
            limit: kind.limit(),
            ..Default::default()
        },
    };
    let answer = uapi::alpc_query_user {
        uid: arg.uid,
        flags: arg.flags,
        ports: gauge(Kind::Port),
        connections: gauge(Kind::Connection),
        left_connections: gauge(Kind::Remains),
        conversations: gauge(Kind::Conversation),
        told_conversations: gauge(Kind::Told),
        view_pages: gauge(Kind::Page),
        handles: gauge(Kind::Handle),
        told_handles: gauge(Kind::HandleTold),
    };
    copy_struct_out(size, addr, &answer)?;
    Ok(0)
}

fn gauge(account: &Account, kind: Kind) -> uapi::alpc_gauge {
    uapi::alpc_gauge {
        used: account.used(kind),
        limit: kind.limit(),
        refused: account.refused(kind),
    }
}

/// Answers `ALPC_IOC_QUERY_CONNECTION`.
pub(crate) fn query_connection(port: &Port, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_query_connection>();
    let arg: uapi::alpc_query_connection = copy_struct_in(size, addr, FIRST)?;
    let mut from = arg.index;
    let (index, uses) = loop {
        let found = port.lock().next_connection(from);
        match found {
            Found::Connection(index, uses) => break (index, uses),
            Found::None(next) => from = next,
            Found::End => return Err(ENOENT),
        }
    };
    let peer = uses.peer;
    let seen = peer.client.who.seen_by_current();
    let views = |side| peer.lent_counter(side).map_or(0, |lent| lent.get());
    let answer = uapi::alpc_query_connection {
        index,
        state: comm::state(uses.phase),
        context: uses.context,
        refused: uses.refused,
        pid: seen.pid,
        uid: seen.uid,
        gid: seen.gid,
        conversations: uses.conversations,
        to_server_messages: uses.to_server.0,
        to_server_bytes: uses.to_server.1,
        to_client_messages: uses.to_client.0,
        to_client_bytes: uses.to_client.1,
        views_to_server: views(Side::Server),
        views_to_client: views(Side::Client),
    };
    copy_struct_out(size, addr, &answer)?;
    Ok(0)
}

/// What is limited of each user, with the name of its column.
const COLUMNS: [(&str, Kind); 8] = [
    ("ports", Kind::Port),
    ("connections", Kind::Connection),
    ("left", Kind::Remains),
    ("conversations", Kind::Conversation),
    ("told", Kind::Told),
    ("view-pages", Kind::Page),
    ("handles", Kind::Handle),
    ("told-handles", Kind::HandleTold),
];

/// Writes the file of all users, in kernel ids: it is for the machine's administrator.
pub(crate) fn print(accounts: &Accounts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("# used/limit/refused; an owner answers for its user namespaces\nuser")?;
    for (name, _) in COLUMNS {
        write!(f, "\t{name}")?;
    }
    f.write_str("\n")?;
    accounts.for_each(|who, account| {
        match who {
            Accountable::User(kuid) => write!(f, "{kuid}")?,
            Accountable::Owner(kuid) => write!(f, "{kuid}(owner)")?,
            Accountable::Namespace(_) => return Ok(()),
        }
        for (_, kind) in COLUMNS {
            let gauge = gauge(account, kind);
            write!(f, "\t{}/{}/{}", gauge.used, gauge.limit, gauge.refused)?;
        }
        f.write_str("\n")
    })?;
    let pages: &Counter = accounts.all_pages();
    writeln!(
        f,
        "all-view-pages\t{}/{}",
        pages.get(),
        crate::quota::view_pages()
    )
}
