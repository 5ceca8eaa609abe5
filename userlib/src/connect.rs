// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connecting to ports.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::endpoint::Client;
use crate::error::{Error, Result, CONNECT, CONNECT_THROUGH};
use crate::handles::HandleKinds;
use crate::options::Options;
use crate::query::{Device, Peer};
use crate::sys;

/// Where a connect goes.
#[derive(Debug, Clone, Copy)]
enum To<'a> {
    /// To a name, by way of `/dev/alpc`: this one, or one opened for it.
    Name(&'a str, Option<BorrowedFd<'a>>),
    /// To the port behind a connect descriptor.
    Connector(BorrowedFd<'a>),
}

/// Connects to a port.
///
/// ```no_run
/// use std::time::Duration;
/// use alpc::ConnectBuilder;
///
/// let mut answer = [0; 256];
/// let connected = ConnectBuilder::new("demo/echo")
///     .payload(b"version 1")
///     .require_uid(0)
///     .options(Duration::from_secs(5))
///     .connect_with(&mut answer)?;
/// println!("process {} says {:?}", connected.server.pid, &answer[..connected.length]);
/// # Ok::<(), alpc::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct ConnectBuilder<'a> {
    to: To<'a>,
    payload: &'a [u8],
    label: Option<&'a str>,
    options: Options<'static>,
    pub(crate) raw: sys::alpc_connect,
}

/// A connection that was accepted, and the server's answer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connected {
    /// The client's end.
    pub client: Client,
    /// How many bytes of answer are in the buffer.
    pub length: usize,
    /// Who accepted.
    pub server: Peer,
}

impl<'a> ConnectBuilder<'a> {
    /// Connects to the port of this name.
    pub fn new(name: &'a str) -> Self {
        Self::to(To::Name(name, None))
    }

    /// Connects to the port behind a connect descriptor.
    pub fn through(connector: &'a Connector) -> Self {
        Self::to(To::Connector(connector.as_fd()))
    }

    fn to(to: To<'a>) -> Self {
        Self {
            to,
            payload: &[],
            label: None,
            options: Options::new(),
            raw: sys::alpc_connect::default(),
        }
    }

    /// Looks the name up through this device instead of opening one.
    pub fn device(mut self, device: &'a Device) -> Self {
        if let To::Name(_, through) = &mut self.to {
            *through = Some(device.as_fd());
        }
        self
    }

    /// Sets the payload of the connection request.
    pub fn payload(self, payload: &'a [u8]) -> Self {
        Self { payload, ..self }
    }

    /// Takes views from the server, for [`Options::view_into`].
    ///
    /// [`Options::view_into`]: crate::Options::view_into
    pub fn take_views(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_VIEWS;
        self
    }

    /// Takes handles of these kinds from the server, for [`Options::handles`]. Where there are no
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

    /// Sets the value that comes with every message the client port receives.
    pub fn context(mut self, context: u64) -> Self {
        self.raw.context = context;
        self
    }

    /// Demands that the port was created by this effective user id. Else
    /// nothing is sent: whoever took the name first learns nothing.
    pub fn require_uid(mut self, uid: u32) -> Self {
        self.raw.required_uid = uid;
        self.raw.flags |= sys::ALPC_CONNECT_REQUIRE_UID;
        self
    }

    /// Demands that the port was created by this effective group id. Else nothing is sent.
    pub fn require_gid(mut self, gid: u32) -> Self {
        self.raw.required_gid = gid;
        self.raw.flags |= sys::ALPC_CONNECT_REQUIRE_GID;
        self
    }

    /// Demands that the port's creator had this label of the security module, as
    /// [`Identity::label`](crate::Identity::label) tells it.
    pub fn require_label(self, label: &'a str) -> Self {
        Self {
            label: Some(label),
            ..self
        }
    }

    /// Sets the largest payload this client takes.
    pub fn max_message_length(mut self, length: u32) -> Self {
        self.raw.max_message_length = length;
        self
    }

    /// Sets how much the client port may have queued, in messages and bytes; 0
    /// is the port's own, which is also the most. It must hold one message of
    /// the largest size.
    pub fn queue(mut self, messages: u32, bytes: u32) -> Self {
        self.raw.queue_messages = messages;
        self.raw.queue_bytes = bytes;
        self
    }

    /// Takes messages of the server that have security contexts, for [`Options::security`].
    pub fn take_security(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_SECURITY;
        self
    }

    /// Takes requests that lend memory of the server, see
    /// [`Request::memory`](crate::Request::memory).
    pub fn take_memory(mut self) -> Self {
        self.raw.accept |= sys::ALPC_TAKE_MEMORY;
        self
    }

    /// Sets timeout and behaviour under signals. A connect that a signal ends
    /// because it was asked to is given up.
    pub fn options(self, options: impl Into<Options<'static>>) -> Self {
        Self {
            options: options.into(),
            ..self
        }
    }

    /// Connects, and waits to be accepted. The server's answer is dropped.
    ///
    /// One ioctl; by name without a [`device`](ConnectBuilder::device), it opens
    /// and closes `/dev/alpc` too.
    ///
    /// # Errors
    ///
    /// [`Outcome::NameNotFound`](crate::Outcome::NameNotFound),
    /// [`AccessDenied`](crate::Outcome::AccessDenied),
    /// [`ServerMismatch`](crate::Outcome::ServerMismatch),
    /// [`Limit`](crate::Outcome::Limit) if the port has no place for one more connection of this
    /// user, and [`Refused`](crate::Outcome::Refused) above all.
    pub fn connect(self) -> Result<Client> {
        self.run(None, 0).map(|connected| connected.client)
    }

    /// Connects, waits to be accepted, and has the server's answer written into `answer`.
    ///
    /// ```no_run
    /// use alpc::{ConnectBuilder, Outcome};
    ///
    /// let mut answer = [0; 256];
    /// match ConnectBuilder::new("demo/store").connect_with(&mut answer) {
    ///     Ok(connected) => println!("welcomed with {:?}", &answer[..connected.length]),
    ///     // A refusal longer than the buffer is not in there.
    ///     Err(error) if error.outcome() == Some(Outcome::Refused) => {
    ///         println!("refused: {:?}", answer.get(..error.length()));
    ///     }
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), alpc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// With [`Outcome::Refused`](crate::Outcome::Refused) too the buffer holds
    /// the server's answer, if it has room for [`Error::length`] bytes.
    /// [`Outcome::BufferTooSmall`](crate::Outcome::BufferTooSmall) means that
    /// the server accepted, and has lost the connection again.
    pub fn connect_with(self, answer: &mut [u8]) -> Result<Connected> {
        self.run(Some(answer), 0)
    }

    /// Begins to connect. The answer arrives in the client port's queue, as
    /// [`Received::Accepted`](crate::Received::Accepted) or
    /// [`Received::Refused`](crate::Received::Refused); until then nothing can be
    /// sent. Never waits, so [`options`](ConnectBuilder::options) don't matter.
    pub fn start(self) -> Result<Client> {
        self.options(Options::new())
            .run(Some(&mut []), sys::ALPC_CONNECT_ASYNC)
            .map(|connected| connected.client)
    }

    fn run(self, answer: Option<&mut [u8]>, flags: u32) -> Result<Connected> {
        let opened;
        let (name, fd) = match self.to {
            To::Name(name, Some(device)) => (Some(name.as_bytes()), device),
            To::Name(name, None) => {
                opened = Device::open()?;
                (Some(name.as_bytes()), opened.as_fd())
            }
            To::Connector(fd) => (None, fd),
        };
        let (clock, time) = self.options.timeout.to_raw();
        let raw = sys::alpc_connect {
            flags: self.raw.flags | flags | clock,
            timeout: time,
            ..self.raw
        };
        let mut argument = sys::Connect::new(raw, name, self.payload, answer);
        if let Some(label) = self.label {
            argument.require_label(label.as_bytes());
        }
        let client = loop {
            match argument.call(fd) {
                Ok(client) => break client,
                Err(error)
                    if error.kind() == io::ErrorKind::Interrupted
                        && !self.options.interruptible => {}
                Err(error) => {
                    let raw = argument.raw();
                    let operation = name.map_or(CONNECT_THROUGH, |_| CONNECT);
                    let error = Error::new(operation, &error, raw.outcome);
                    let error = error.with_length(raw.recv_length);
                    return Err(match self.to {
                        To::Name(name, _) => error.with_name(name),
                        To::Connector(_) => error,
                    });
                }
            }
        };
        let raw = argument.raw();
        Ok(Connected {
            client: Client::new(client),
            length: raw.recv_length as usize,
            server: Peer {
                pid: raw.server_pid,
                uid: raw.server_uid,
                gid: raw.server_gid,
            },
        })
    }
}

/// A connect descriptor: the right to connect to one port, and nothing else.
///
/// Made by [`Server::connector`](crate::Server::connector), or by name. It can be passed to
/// another process over an `AF_UNIX` socket or by inheritance, and is how ports
/// without a name are reached. The port's access control list applies all the
/// same.
#[derive(Debug)]
pub struct Connector(OwnedFd);

impl Connector {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// One for the port that has this name now, to look at it before anything is sent. It stays
    /// that port's, whoever has the name later.
    ///
    /// Two system calls more than the one ioctl: `/dev/alpc` is opened and closed.
    ///
    /// # Errors
    ///
    /// [`Outcome::NameNotFound`](crate::Outcome::NameNotFound). Whether the port admits the caller
    /// is found out by connecting. Of one that doesn't, queries tell whose it is, and nothing else.
    pub fn open(name: &str) -> Result<Self> {
        Self::open_on(&Device::open()?, name)
    }

    /// One for the port that has this name now, through a device that is open already: one ioctl, with
    /// the errors of [`open`](Connector::open).
    pub fn open_on(device: &Device, name: &str) -> Result<Self> {
        let mut raw = sys::alpc_open::default();
        sys::open_port(device.as_fd(), &mut raw, name.as_bytes())
            .map(Self)
            .map_err(|error| Error::new("open port", &error, raw.outcome).with_name(name))
    }

    /// Connects. For more than that there is [`ConnectBuilder::through`].
    pub fn connect(&self) -> Result<Client> {
        ConnectBuilder::through(self).connect()
    }

    /// A second descriptor with the same right.
    ///
    /// # Errors
    ///
    /// Fails for want of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl From<OwnedFd> for Connector {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Connector> for OwnedFd {
    fn from(connector: Connector) -> Self {
        connector.0
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Connector {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
