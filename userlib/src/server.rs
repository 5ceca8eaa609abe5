// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connection ports.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::acl::Acl;
use crate::connect::Connector;
use crate::error::{Error, Result, CREATE};
use crate::handles::HandleKinds;
use crate::message::Request;
use crate::port::{port_traits, Port};
use crate::query::Device;
use crate::serve::ServerLoop;
use crate::service::{Answer, Service};
use crate::sys;
use crate::usage::ConnectionInfo;

/// What a port can have, and has unless another number is said.
const MOST_CONNECTIONS: u32 = 16_384;

/// Makes connection ports.
///
/// ```no_run
/// use alpc::{Acl, PortBuilder, Who};
///
/// let server = PortBuilder::new("demo/echo")
///     .acl(&Acl::new().allow(Who::Group(100)))
///     .max_message_length(16 * 1024)
///     .create()?;
/// # Ok::<(), alpc::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct PortBuilder<'a> {
    name: Option<&'a str>,
    acl: Option<&'a Acl>,
    device: Option<BorrowedFd<'a>>,
    raw: sys::alpc_create_port,
}

impl<'a> PortBuilder<'a> {
    /// A port of this name, which no other port of the IPC namespace has.
    pub fn new(name: &'a str) -> Self {
        Self {
            name: Some(name),
            ..Self::anonymous()
        }
    }

    /// A port without a name, reached through [`Server::connector`] only. Once the last connector
    /// and the last connection are gone, a receive fails with
    /// [`Outcome::NoClients`](crate::Outcome::NoClients), until there is a connector again.
    pub fn anonymous() -> Self {
        Self {
            name: None,
            acl: None,
            device: None,
            raw: sys::alpc_create_port::default(),
        }
    }

    /// Uses this device instead of opening one.
    pub fn device(self, device: &'a Device) -> Self {
        Self {
            device: Some(device.as_fd()),
            ..self
        }
    }

    /// Sets who may connect. Without a list that is the owner's user id only. The list is borrowed
    /// until [`create`](PortBuilder::create), so it has a name of its own where that is another
    /// statement.
    pub fn acl(self, acl: &'a Acl) -> Self {
        Self {
            acl: Some(acl),
            ..self
        }
    }

    /// Takes views from clients, for [`Options::view_into`].
    ///
    /// [`Options::view_into`]: crate::Options::view_into
    pub fn take_views(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_VIEWS;
        self
    }

    /// Takes handles of these kinds from clients, for [`Options::handles`]. Where there are no
    /// kinds, it takes no handles.
    ///
    /// [`Options::handles`]: crate::Options::handles
    pub fn take_handles(mut self, kinds: HandleKinds) -> Self {
        match kinds.is_empty() {
            // In the ABI no kinds are all those of `HandleKinds::ANY`.
            true => self.raw.accept &= !sys::ALPC_TAKE_HANDLES,
            false => self.raw.accept |= sys::ALPC_TAKE_HANDLES,
        }
        self.raw.handle_kinds = kinds.bits();
        self
    }

    /// Sets the value that comes with connection requests.
    pub fn context(mut self, context: u64) -> Self {
        self.raw.context = context;
        self
    }

    /// Sets the largest payload in bytes, at most 65,536. The default is 4,096.
    pub fn max_message_length(mut self, length: u32) -> Self {
        self.raw.max_message_length = length;
        self
    }

    /// Sets how much a connection may have queued in one direction, in messages
    /// and bytes; 0 is the default, which is also the most. It must hold one
    /// message of the largest size.
    pub fn queue(mut self, messages: u32, bytes: u32) -> Self {
        self.raw.queue_messages = messages;
        self.raw.queue_bytes = bytes;
        self
    }

    /// Sets how much memory what the server has sent may take until its clients have received it,
    /// 8 MiB by default. One user has an eighth at most. It counts each message with some 400 bytes
    /// more than its payload, but no reply that somebody waits for or has made room for. `EINVAL`
    /// if an eighth is less than a message of the largest size takes.
    pub fn told_bytes(mut self, bytes: u32) -> Self {
        self.raw.told_bytes = bytes;
        self
    }

    /// Has the audit session and the cgroup captured with each message of clients, for
    /// [`Request::identity`](crate::Request::identity). The rest of the identity always is.
    pub fn take_identity(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_IDENTITY;
        self
    }

    /// Takes messages of clients that have security contexts, for [`Options::security`].
    ///
    /// [`Options::security`]: crate::Options::security
    pub fn take_security(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_SECURITY;
        self
    }

    /// Takes requests that lend memory of clients, see
    /// [`Request::memory`](crate::Request::memory).
    pub fn take_memory(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_MEMORY;
        self
    }

    /// Sets how many connections the port may have, 16,384 at most. A user can have no more of them
    /// than are then still free, so that one alone gets half. Who has made the port can have all.
    ///
    /// Each connection that is accepted takes a descriptor of the server's, of which a process
    /// mostly may have 1,024 (`RLIMIT_NOFILE`). Who has taken all of these keeps others from
    /// connecting, and the server from opening anything. So unless this is said, or is 0, a port
    /// may have three quarters as many connections as its maker may have descriptors just then.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.raw.max_connections = connections;
        self
    }

    /// Serves messages in strict order of arrival. Otherwise connections take turns, so that the
    /// flood of one delays others by a message each. A user has a turn for each connection: where
    /// requests take long, [`max_connections`](PortBuilder::max_connections) bounds how many.
    pub fn arrival_order(mut self) -> Self {
        self.raw.flags |= sys::ALPC_PORT_ARRIVAL_ORDER;
        self
    }

    /// Makes an LPC-mode port: synchronous requests and one-way messages of at
    /// most 256 bytes, and nothing else.
    pub fn lpc_mode(mut self) -> Self {
        self.raw.flags |= sys::ALPC_PORT_LPC_MODE;
        self
    }

    /// Makes the port. One ioctl; without a [`device`](PortBuilder::device) it
    /// opens and closes `/dev/alpc` too.
    ///
    /// # Errors
    ///
    /// [`Outcome::NameInUse`](crate::Outcome::NameInUse) and
    /// [`Outcome::Limit`](crate::Outcome::Limit) above all. Names under `system/` are for who has
    /// `CAP_IPC_OWNER`, and those under `user/<uid>/` for that user too:
    /// [`Outcome::AccessDenied`](crate::Outcome::AccessDenied) for others. Errno `EINVAL`: a length,
    /// or the name, of which the error's text says what is wrong.
    pub fn create(self) -> Result<Server> {
        if self.name == Some("") {
            // The ABI takes no name for a port without one.
            let refused = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(Error::plain(CREATE, &refused).with_name(""));
        }
        let opened;
        let device = match self.device {
            Some(device) => device,
            None => {
                opened = Device::open()?;
                opened.as_fd()
            }
        };
        let mut raw = self.raw;
        if raw.max_connections == 0 {
            // The rest is for what else a server opens. If it is more than a port can have, the
            // kernel's default counts.
            let most = sys::descriptor_limit() / 4 * 3;
            raw.max_connections = match u32::try_from(most) {
                Ok(most) if most < MOST_CONNECTIONS => most.max(1),
                _ => 0,
            };
        }
        let name = self.name.map(str::as_bytes);
        let mut argument = sys::CreatePort::new(raw, name, self.acl.map(Acl::raw_entries));
        match argument.call(device) {
            Ok(fd) => Ok(Server(fd.into())),
            Err(error) => {
                let error = Error::new(CREATE, &error, argument.raw().outcome);
                Err(match self.name {
                    Some(name) => error.with_name(name),
                    None => error,
                })
            }
        }
    }
}

/// A connection port: where a server receives everything.
///
/// Connection requests, all clients' messages, and the notices about them.
/// Derefs to [`Port`], which says how to receive. Any number of threads may
/// receive at once, each with a buffer of its own.
///
/// [`serve`](Server::serve) is the short way to a server; a [`ServerLoop`] has
/// more to say.
#[derive(Debug, Clone)]
pub struct Server(Port);

port_traits!(Server, Port);

impl Server {
    /// Makes a port of this name for the owner's user id. For more than that
    /// there is [`PortBuilder`].
    pub fn create(name: &str) -> Result<Self> {
        PortBuilder::new(name).create()
    }

    /// Makes a connect descriptor: the right to connect to this port, to be
    /// passed on. One ioctl.
    pub fn connector(&self) -> Result<Connector> {
        match sys::create_connect(self.as_fd()) {
            Ok(fd) => Ok(Connector::new(fd)),
            Err(error) => Err(Error::plain("create connect descriptor", &error)),
        }
    }

    /// What each connection uses of this port, to find out who holds what. One ioctl for each.
    ///
    /// Connections that come or go meanwhile may be among them or not.
    pub fn connections(&self) -> Result<Vec<ConnectionInfo>> {
        let mut all = Vec::new();
        let mut argument = sys::alpc_query_connection::default();
        loop {
            match sys::query_connection(self.as_fd(), &mut argument) {
                Ok(()) => all.push(ConnectionInfo::new(&argument)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
                Err(error) => return Err(Error::plain("query connection", &error)),
            }
            argument.index = argument.index.saturating_add(1);
        }
    }

    /// Accepts everyone the access control list admits, and has `handler` fill
    /// in the reply to each request: one ioctl per request. Returns when the
    /// handler says [`Answer::Stop`], the port is disconnected, or it has no
    /// name and nobody can reach it any more, see [`ServerLoop::run`].
    ///
    /// A reply that can't be sent, as one above the port's
    /// [largest message](PortBuilder::max_message_length), is dropped, and nobody but the client
    /// is told; nor is anybody of clients that had to be refused. Who wants to hear of that
    /// implements [`Service::failed`], and runs a [`ServerLoop`].
    ///
    /// ```no_run
    /// # let server = alpc::Server::create("demo/echo")?;
    /// server.serve(|request, reply| {
    ///     println!("{:?}", request.sender());
    ///     reply.extend_from_slice(request.data());
    /// })?;
    /// # Ok::<(), alpc::Error>(())
    /// ```
    pub fn serve<A: Into<Answer>>(
        &self,
        handler: impl FnMut(&mut Request<'_, '_>, &mut Vec<u8>) -> A,
    ) -> Result<()> {
        struct Requests<F>(F);

        impl<F, A> Service for Requests<F>
        where
            F: FnMut(&mut Request<'_, '_>, &mut Vec<u8>) -> A,
            A: Into<Answer>,
        {
            fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
                (self.0)(request, reply).into()
            }
        }

        ServerLoop::of_one_thread(self).run(&mut Requests(handler))
    }
}
