// SPDX-License-Identifier: GPL-2.0

//! `/dev/alpc`: making connection ports, and finding them by name.
#![deny(unsafe_code)]

use crate::{
    acl::Acl,
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    charge::{
        Charge,
        Charger,
        Place, //
    },
    connect::connect,
    connect_port,
    control::at_most,
    file::new_file,
    inode::Inode,
    ioctl,
    logic::engine::{
        Share,
        CONVERSATIONS_PER_CONNECTION,
        PENDING_MAX, //
    },
    message::footprint_of,
    names::{
        Names,
        PortName, //
    },
    node::NodeState,
    outcome::{
        or_denied,
        Failure,
        Outcome, //
    },
    port::{
        Config,
        Port, //
    },
    quota::{
        connections_per_user,
        conversations_per_user,
        ports_per_user,
        view_pages,
        view_pages_per_user,
        Accounts,
        Kind, //
    },
    section::SECTIONS_PER_PORT,
    takes::Takes,
    uapi,
    usage, //
};
use core::mem::offset_of;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Messages a connection may have queued in one direction: a burst of a few
/// hundred goes through without a switch, a flood is stopped soon after.
const QUEUE_MESSAGES: u32 = 256;
/// Their bytes: sixteen of the largest messages.
const QUEUE_BYTES: u32 = 16 * uapi::ALPC_MESSAGE_MAX;
/// Connections of one port: above what a process has descriptors for by default.
const CONNECTIONS_PER_PORT: u32 = 16384;

/// What all ports share.
pub(crate) struct Factory {
    accounts: Arc<Accounts>,
    names: Arc<Names<Port>>,
}

impl Factory {
    /// No ports.
    pub(crate) fn new(accounts: Arc<Accounts>) -> Result<Self> {
        Ok(Self {
            accounts,
            names: Names::new()?,
        })
    }

    fn create_port(
        &self,
        arg: &uapi::alpc_create_port,
        write: impl FnOnce(u32) -> Result,
    ) -> Result<isize, Failure> {
        const FLAGS: u32 =
            uapi::ALPC_PORT_LPC_MODE | uapi::ALPC_PORT_ARRIVAL_ORDER | uapi::ALPC_PORT_ACL;
        let has_acl = arg.flags & uapi::ALPC_PORT_ACL != 0;
        if arg.flags & !FLAGS != 0
            || (arg.name == 0) != (arg.name_length == 0)
            || (!has_acl && (arg.acl != 0 || arg.acl_count != 0))
        {
            return Err(EINVAL.into());
        }
        let takes = Takes::new(arg.accept, arg.handle_kinds)?;
        let (default_length, max_length) = match arg.flags & uapi::ALPC_PORT_LPC_MODE {
            0 => (uapi::ALPC_MESSAGE_DEFAULT, uapi::ALPC_MESSAGE_MAX),
            _ => (uapi::ALPC_LPC_MESSAGE_MAX, uapi::ALPC_LPC_MESSAGE_MAX),
        };
        let share = Share {
            max_length: match arg.max_message_length {
                0 => default_length,
                asked => at_most(asked, max_length)?,
            },
            messages: at_most(arg.queue_messages, QUEUE_MESSAGES)?,
            bytes: at_most(arg.queue_bytes, QUEUE_BYTES)?,
        };
        if share.bytes < share.max_length {
            return Err(EINVAL.into());
        }
        let told_bytes = match arg.told_bytes {
            0 => uapi::ALPC_TOLD_DEFAULT,
            asked => asked,
        };
        if arg.reserved != 0 || !Place::allows(told_bytes, footprint_of(share.max_length)) {
            return Err(EINVAL.into());
        }
        let max_connections = at_most(arg.max_connections, CONNECTIONS_PER_PORT)?;
        let name = match arg.name {
            0 => None,
            name => Some(PortName::from_user(name, arg.name_length)?),
        };
        if name.as_ref().is_some_and(|name| !name.may_be_made()) {
            return Err(Outcome::AccessDenied.into());
        }
        let acl = match has_acl {
            true => Acl::from_user(arg.acl, arg.acl_count)?,
            false => Acl::Owner,
        };
        let charger = Charger::for_current(&self.accounts)?;
        let charge = Charge::new(&charger, Kind::Port).map_err(|_| Outcome::Limit)?;
        let config = Config {
            name: name.clone(),
            acl,
            flags: arg.flags,
            context: arg.context,
            share,
            takes,
            max_connections,
            told_bytes,
            charger,
            charge,
        };
        let port = Port::new(config, self.names.clone())?;
        let file = new_file(port.clone()).map_err(or_denied)?;
        port.label(Inode::of_new(file.file()).ok_or(EINVAL)?);
        let named = match name {
            Some(name) => Some((name, Names::room()?)),
            None => None,
        };
        write(uapi::ALPC_OUTCOME_OK)?;
        if let Some((name, room)) = named {
            // From here on clients find it; should that fail, the file's end undoes the rest.
            if !self.names.insert(&name, port, room) {
                return Err(Outcome::NameInUse.into());
            }
        }
        Ok(file.install())
    }

    /// The port of the name at an address.
    fn find(&self, name: u64, length: u32) -> Result<Arc<Port>, Failure> {
        if name == 0 || length == 0 {
            return Err(EINVAL.into());
        }
        let name = PortName::from_user(name, length)?;
        let port = self.names.lookup(&name).ok_or(Outcome::NameNotFound)?;
        Ok(port)
    }
}

impl NodeState for Factory {
    fn ioctl(&self, _nonblock: bool, cmd: u32, arg: usize) -> Result<isize> {
        let (size, addr) = (ioctl::size(cmd), arg as u64);
        match ioctl::base(cmd) {
            ioctl::QUERY => query_limits(size, addr),
            ioctl::CREATE_PORT => {
                const FIRST: usize = offset_of!(uapi::alpc_create_port, told_bytes);
                let arg: uapi::alpc_create_port = copy_struct_in(size, addr, FIRST)?;
                let write = |outcome: u32| {
                    let answer = uapi::alpc_create_port { outcome, ..arg };
                    let at = offset_of!(uapi::alpc_create_port, outcome);
                    copy_range_out(size, addr, &answer, ioctl::field(at))
                };
                self.create_port(&arg, write)
                    .map_err(|failure| ioctl::report(failure, arg.outcome, write))
            }
            ioctl::CONNECT => connect(&self.accounts, size, addr, |arg| {
                self.find(arg.name, arg.name_length)
            }),
            ioctl::QUERY_USER => usage::query_user(&self.accounts, size, addr),
            ioctl::OPEN => connect_port::open(size, addr, |name, length| self.find(name, length)),
            _ => Err(ENOTTY),
        }
    }
}

fn query_limits(size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = offset_of!(uapi::alpc_query, view_pages);
    let arg: uapi::alpc_query = copy_struct_in(size, addr, FIRST)?;
    if arg.reserved != 0 || arg.reserved1 != 0 {
        return Err(EINVAL);
    }
    let answer = uapi::alpc_query {
        abi_version: uapi::ALPC_ABI_VERSION,
        reserved: 0,
        features: u64::from(
            uapi::ALPC_FEATURE_PORTS
                | uapi::ALPC_FEATURE_IPC_NAMESPACES
                | uapi::ALPC_FEATURE_VIEWS
                | uapi::ALPC_FEATURE_MEMORY
                | uapi::ALPC_FEATURE_HANDLES
                | uapi::ALPC_FEATURE_IDENTITY
                | uapi::ALPC_FEATURE_ACLS
                | uapi::ALPC_FEATURE_SECURITY
                | uapi::ALPC_FEATURE_IMPERSONATE,
        ),
        ports_per_user: ports_per_user(),
        connections_per_user: connections_per_user(),
        conversations_per_user: conversations_per_user(),
        conversations_per_connection: CONVERSATIONS_PER_CONNECTION,
        queue_messages: QUEUE_MESSAGES,
        queue_bytes: QUEUE_BYTES,
        pending_connections: PENDING_MAX,
        connections_per_port: CONNECTIONS_PER_PORT,
        view_pages: view_pages(),
        view_pages_per_user: view_pages_per_user(),
        sections_per_port: SECTIONS_PER_PORT,
        reserved1: 0,
    };
    copy_struct_out(size, addr, &answer)?;
    Ok(0)
}
