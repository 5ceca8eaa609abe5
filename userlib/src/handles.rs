// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles: descriptors that travel with messages.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::message::Request;
use crate::sys;
use crate::turn::Turn;

bitflags::bitflags! {
    /// Kinds of file that can be sent as handles, to be combined with `|`.
    ///
    /// There is none for anything else: `AF_UNIX` sockets and ports, for two, could
    /// hold the message that they are sent with.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub struct HandleKinds: u32 {
        /// Regular files.
        const FILE = sys::ALPC_HANDLE_FILE;
        /// Directories.
        const DIRECTORY = sys::ALPC_HANDLE_DIRECTORY;
        /// Pipes and FIFOs.
        const PIPE = sys::ALPC_HANDLE_PIPE;
        /// Event descriptors.
        const EVENTFD = sys::ALPC_HANDLE_EVENTFD;
        /// Timer descriptors.
        const TIMERFD = sys::ALPC_HANDLE_TIMERFD;
        /// Memory descriptors.
        const MEMFD = sys::ALPC_HANDLE_MEMFD;
        /// Process descriptors.
        const PIDFD = sys::ALPC_HANDLE_PIDFD;
        /// Internet, netlink and vsock sockets.
        const SOCKET = sys::ALPC_HANDLE_SOCKET;
        /// ALPC sections.
        const SECTION = sys::ALPC_HANDLE_SECTION;
        /// Devices, of a few drivers.
        const DEVICE = sys::ALPC_HANDLE_DEVICE;
        /// What `O_PATH` opens: a place in a file system, and no right to what is there.
        const PATH = sys::ALPC_HANDLE_PATH;
        /// Namespaces of any type but mount.
        const NAMESPACE = sys::ALPC_HANDLE_NAMESPACE;
        /// Buffers of udmabuf and of the system's DMA heap.
        const DMA_BUF = sys::ALPC_HANDLE_DMA_BUF;
        /// Events, mutexes and semaphores of ntsync.
        const NTSYNC = sys::ALPC_HANDLE_NTSYNC;
        /// From [`FILE`](Self::FILE) to [`SECTION`](Self::SECTION): the others must be named.
        const ANY = sys::ALPC_HANDLE_DEVICE - 1;
    }
}

/// Handles of which a message tells the kind.
pub(crate) const SHOWN: usize = 8;

/// What a message tells of the handles it has, if it was asked: see
/// [`Options::ask_handles`](crate::Options::ask_handles).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handles {
    count: u32,
    kinds: [HandleKinds; SHOWN],
}

impl Handles {
    pub(crate) fn new(count: u32, entries: &[sys::alpc_handle]) -> Self {
        let mut kinds = [HandleKinds::empty(); SHOWN];
        for (kind, entry) in kinds.iter_mut().zip(entries) {
            *kind = HandleKinds::from_bits_retain(entry.kind);
        }
        Self { count, kinds }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The kinds of the first eight.
    pub fn kinds(&self) -> &[HandleKinds] {
        &self.kinds[..self.len().min(SHOWN)]
    }
}

/// Where the handles of received messages go that are to be claimed at once: see
/// [`Options::claim_into`](crate::Options::claim_into).
#[derive(Debug, Default)]
pub struct Claimed {
    room: usize,
    fds: Mutex<Vec<OwnedFd>>,
}

impl Claimed {
    /// Empty, with room for so many handles of each message, 512 at most. Those that find none are
    /// not claimed.
    pub fn with_room(room: usize) -> Self {
        Self {
            room: room.min(sys::ALPC_HANDLES_MAX as usize),
            fds: Mutex::default(),
        }
    }

    pub(crate) fn room(&self) -> usize {
        self.room
    }

    pub(crate) fn put(&self, new: Vec<OwnedFd>) {
        let mut fds = self.fds.lock().unwrap_or_else(PoisonError::into_inner);
        fds.extend(new);
    }

    /// The descriptors that have been claimed since this was called last.
    pub fn take(&self) -> Vec<OwnedFd> {
        let mut fds = self.fds.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *fds)
    }
}

impl Turn<'_> {
    /// Makes a handle of the message received last a descriptor of this process,
    /// close-on-exec. One ioctl.
    ///
    /// What isn't claimed is closed with the message, at nobody's expense but its sender's.
    ///
    /// What is claimed is the claimer's to use and to close, and both take as long as whoever
    /// serves the file likes: a file system of the sender's own, as by FUSE, need not answer, also
    /// when a file of it is closed, and a socket may linger. So a server of several clients takes
    /// [kinds](HandleKinds) that wait for nobody, as [`MEMFD`](HandleKinds::MEMFD), or uses and
    /// closes files in a thread of its own.
    ///
    /// ```no_run
    /// use alpc::{Options, Received};
    /// # fn serve(server: &alpc::Server) -> alpc::Result<()> {
    /// let mut buffer = [0; 4096];
    /// let options = Options::new().ask_handles();
    /// if let Received::Request(request) = server.receive_with(&mut buffer, options)? {
    ///     println!("{} handles", request.handles().len());
    ///     let file = std::fs::File::from(request.claim(0)?);
    /// #   drop(file);
    ///     request.into_turn().reply(b"thanks")?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Outcome::BadHandle`](crate::Outcome::BadHandle) if there is none of this
    /// index.
    ///
    /// After the answer there is nothing left to claim, and no turn to do it with:
    ///
    /// ```compile_fail
    /// fn wrong(turn: alpc::Turn<'_>) {
    ///     let _ = turn.reply(b"");
    ///     let _ = turn.claim(0);
    /// }
    /// ```
    pub fn claim(&self, index: usize) -> Result<OwnedFd> {
        let mut fds = self.claim_some(index, 1)?;
        Ok(fds.remove(0))
    }

    /// Makes the first `count` handles of the message received last descriptors of this process,
    /// close-on-exec, in their order. One ioctl; all or none.
    ///
    /// # Errors
    ///
    /// [`Outcome::BadHandle`](crate::Outcome::BadHandle) if there are not so many. Errno `EMFILE`,
    /// `ENFILE` for want of descriptors: none is claimed then.
    pub fn claim_all(&self, count: usize) -> Result<Vec<OwnedFd>> {
        match count {
            0 => Ok(Vec::new()),
            count => self.claim_some(0, count),
        }
    }

    fn claim_some(&self, index: usize, count: usize) -> Result<Vec<OwnedFd>> {
        let id = self.id();
        let mut argument = sys::alpc_claim {
            id: id.conversation.to_raw(),
            callback_id: id.callback_id,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            ..Default::default()
        };
        // No message has more.
        let count = count.min(sys::ALPC_HANDLES_MAX as usize + 1);
        sys::claim(self.port().as_fd(), &mut argument, count)
            .map_err(|error| Error::new("claim", &error, argument.outcome))
    }
}

impl Request<'_, '_> {
    /// Claims a handle of the request: [`Turn::claim`].
    pub fn claim(&self, index: usize) -> Result<OwnedFd> {
        self.turn().claim(index)
    }

    /// Claims all handles that the message told of, which
    /// [`ask_handles`](crate::Options::ask_handles) has it do.
    pub fn claim_all(&self) -> Result<Vec<OwnedFd>> {
        self.turn().claim_all(self.handles().len())
    }
}
