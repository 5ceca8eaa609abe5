// SPDX-License-Identifier: GPL-2.0

//! Connect descriptors: the right to connect to a port, and nothing else. What the port's owner
//! may do with its access control list, it may do here as well: that is no right of the descriptor.
#![deny(unsafe_code)]

use crate::{
    acl,
    buffer::{
        copy_range_out,
        copy_struct_in, //
    },
    connect::connect,
    control::query,
    file::{
        new_file,
        ObjectFile,
        PollTable, //
    },
    identity::{
        self,
        Whose, //
    },
    inode::Act,
    ioctl,
    outcome::Failure,
    port::Port,
    shared::shared,
    uapi, //
};
use core::{
    mem::{
        offset_of,
        size_of, //
    },
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    bindings,
    fs::file::File,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// The right to connect to a port, which it keeps in memory, but not open.
pub(crate) struct ConnectPort {
    port: Arc<Port>,
    /// Whether the port misses it when it is gone.
    counted: AtomicBool,
}

impl ObjectFile for ConnectPort {
    const NAME: &'static CStr = c"[alpc-connect]";

    fn ioctl(
        this: ArcBorrow<'_, Self>,
        _file: &File,
        _nonblock: bool,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        request(&this, cmd, arg as u64)
    }

    fn poll<'file>(&'file self, _table: PollTable<'file>) -> u32 {
        bindings::POLLERR
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        let name = match acl::is_let_in(&this.port) {
            true => this.port.name.as_ref(),
            false => None,
        };
        this.port.print(m, name, &this.info());
    }

    fn release(this: Arc<Self>) {
        if this.counted.load(Ordering::Relaxed) {
            this.port.lose_way();
        }
    }
}

impl ConnectPort {
    fn new(port: Arc<Port>) -> Result<Arc<Self>> {
        let counted = AtomicBool::new(false);
        shared(Self { port, counted })
    }

    /// Answers `ALPC_IOC_QUERY_PORT` on a connect descriptor. Who is refused is told that there is a
    /// port, and not what it is like.
    fn info(&self) -> uapi::alpc_query_port {
        let port = self.port.info();
        let refused = uapi::alpc_query_port {
            role: uapi::ALPC_ROLE_CONNECT,
            state: port.state,
            ..Default::default()
        };
        match acl::is_let_in(&self.port) {
            true => uapi::alpc_query_port {
                flags: port.flags,
                max_message_length: port.max_message_length,
                ..refused
            },
            false => refused,
        }
    }
}

/// A request on a connect descriptor.
fn request(this: &ConnectPort, cmd: u32, addr: u64) -> Result<isize> {
    let size = ioctl::size(cmd);
    match ioctl::base(cmd) {
        ioctl::CONNECT => connect(
            this.port.place.maker().accounts(),
            size,
            addr,
            |arg| match (arg.name, arg.name_length) {
                (0, 0) => Ok(this.port.clone()),
                _ => Err(EINVAL.into()),
            },
        ),
        ioctl::QUERY_ACL => acl::query(&this.port, size, addr),
        ioctl::SET_ACL => acl::replace(&this.port, size, addr),
        ioctl::QUERY_IDENTITY => identity::query(Whose::Maker(&this.port), size, addr),
        ioctl::VERIFY => identity::verify(Whose::Maker(&this.port), size, addr),
        ioctl::QUERY_PORT => query(size, addr, || this.info()),
        _ => Err(ENOTTY),
    }
}

/// Answers `ALPC_IOC_CREATE_CONNECT`.
pub(crate) fn create(port: Arc<Port>) -> Result<isize> {
    let this = ConnectPort::new(port)?;
    let file = new_file(this.clone())?;
    // Nothing fails any more, so none is counted that nobody ever had. Who has a name is found
    // without.
    if this.port.name.is_none() {
        this.counted.store(true, Ordering::Relaxed);
        this.port.lock().add_descriptor();
    }
    Ok(file.install())
}

/// Answers `ALPC_IOC_OPEN`.
pub(crate) fn open(
    size: usize,
    addr: u64,
    find: impl FnOnce(u64, u32) -> Result<Arc<Port>, Failure>,
) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_open>();
    let arg: uapi::alpc_open = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_open { outcome, ..arg };
        let at = offset_of!(uapi::alpc_open, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    let open = || {
        if arg.flags != 0 || arg.reserved != 0 {
            return Err(EINVAL.into());
        }
        let port = find(arg.name, arg.name_length)?;
        port.permits(Act::Open)?;
        let file = new_file(ConnectPort::new(port)?)?;
        write(uapi::ALPC_OUTCOME_OK)?;
        Ok(file.install())
    };
    open().map_err(|failure: Failure| ioctl::report(failure, arg.outcome, write))
}
