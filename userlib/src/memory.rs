// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory: slices that a call lends to who answers it.

use std::marker::PhantomData;
use std::os::fd::AsFd;

use crate::buffer::Buffer;
use crate::cancel::CancelMode;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result, READ_MEMORY, WRITE_MEMORY};
use crate::message::{Message, Reply, Request};
use crate::options::Options;
use crate::port::{Port, Start};
use crate::sys;
use crate::turn::{Exchange, TurnId};

/// Slices that a [call](Endpoint::call_with_memory) lends to its server, borrowed for as
/// long as this lives.
///
/// The server reads and writes them by number, in the order in which they were added,
/// while the call waits, and never after it has returned.
///
/// Until then they are borrowed: nobody else may write what is lent to be read, nor look at what is
/// lent to be written.
///
/// ```compile_fail
/// fn wrong(client: &alpc::Client, memory: &mut [u8]) {
///     let offer = alpc::Offer::new().writable(memory);
///     memory[0] = 1;
///     let _ = client.call_with_memory(b"", &offer, &mut [0; 8], alpc::Options::new());
/// }
/// ```
///
/// ```compile_fail
/// fn wrong() -> alpc::Offer<'static> {
///     let memory = vec![0; 8];
///     alpc::Offer::new().readable(&memory)
/// }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Offer<'m> {
    /// Each is a slice borrowed for `'m`, exclusively if it may be written.
    ranges: Vec<sys::alpc_memory_range>,
    borrows: PhantomData<&'m mut [u8]>,
}

impl<'m> Offer<'m> {
    /// No slices. A call needs one, and takes 64.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a slice that the server may read. It isn't to be empty.
    pub fn readable(self, memory: &'m [u8]) -> Self {
        self.add(memory.as_ptr(), memory.len(), sys::ALPC_MEMORY_READ)
    }

    /// Adds a slice that the server may write. It isn't to be empty.
    pub fn writable(self, memory: &'m mut [u8]) -> Self {
        self.add(memory.as_mut_ptr(), memory.len(), sys::ALPC_MEMORY_WRITE)
    }

    /// Adds a slice that the server may read and write. It isn't to be empty.
    pub fn shared(self, memory: &'m mut [u8]) -> Self {
        let access = sys::ALPC_MEMORY_READ | sys::ALPC_MEMORY_WRITE;
        self.add(memory.as_mut_ptr(), memory.len(), access)
    }

    fn add(mut self, base: *const u8, length: usize, access: u32) -> Self {
        self.ranges.push(sys::alpc_memory_range {
            base: base as u64,
            length: length as u64,
            access,
            reserved: 0,
        });
        self
    }

    pub(crate) fn ranges(&self) -> &[sys::alpc_memory_range] {
        &self.ranges
    }
}

impl Endpoint {
    /// Sends a request that lends memory, and waits for its reply. One ioctl.
    ///
    /// ```no_run
    /// use alpc::{Client, Offer, Options};
    ///
    /// let client = Client::connect("demo/files")?;
    /// let name = b"a name of any length";
    /// let mut contents = vec![0; 1 << 20];
    /// let memory = Offer::new().readable(name).writable(&mut contents);
    /// let mut answer = [0; 64];
    /// client.call_with_memory(b"read", &memory, &mut answer, Options::new())?;
    /// # Ok::<(), alpc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Outcome::NotTaken`](crate::Outcome::NotTaken) if the server takes no caller memory.
    ///
    /// The call is given up with every error: none of them can be
    /// [resumed](Endpoint::resume), as the memory may be used otherwise from then on. A server
    /// that calls back is refused.
    pub fn call_with_memory<'o, 'p, 'b, B: Buffer + ?Sized>(
        &'p self,
        request: &[u8],
        memory: &Offer<'_>,
        reply: &'b mut B,
        options: impl Into<Options<'o>>,
    ) -> Result<Reply<'p, 'b>> {
        let port: &'p Port = self;
        let flags = sys::ALPC_SEND | sys::ALPC_SYNC | sys::ALPC_RECEIVE;
        let start = Start::new("call", flags, request);
        let raw = port
            .transfer_offering(start, reply, options.into(), Some(memory))
            .inspect_err(|error| {
                if let Some(id) = error.conversation() {
                    // It may be over by itself.
                    let _ = port.cancel(id, CancelMode::Always);
                }
            })?;
        if raw.is_request() {
            drop(Exchange::new(port, &raw, &[]));
            return Err(Error::unexpected_callback("call"));
        }
        Ok(Reply::new(
            port,
            Message::new(&raw, reply.filled(raw.length())),
        ))
    }
}

/// The memory that came with a [request](Request::memory): slices of its sender's.
///
/// They can be used until the request is answered, while its sender waits. Then each use
/// fails with [`Outcome::MemoryClosed`](crate::Outcome::MemoryClosed) or
/// [`Outcome::NotFound`](crate::Outcome::NotFound).
///
/// In safe code there is no such use, as the answer consumes what they are borrowed from:
///
/// ```compile_fail
/// fn wrong(request: alpc::Request<'_, '_>) {
///     let memory = request.memory();
///     let _ = request.into_turn().reply(b"");
///     let _ = memory.len();
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CallerMemory<'a> {
    port: &'a Port,
    turn: TurnId,
    ranges: &'a [sys::alpc_memory_range],
}

impl<'a> CallerMemory<'a> {
    pub(crate) fn new(port: &'a Port, turn: TurnId, ranges: &'a [sys::alpc_memory_range]) -> Self {
        Self { port, turn, ranges }
    }

    /// How many slices there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The slice of this index, in the order in which its sender has added them.
    pub fn get(&self, index: usize) -> Option<MemoryRange<'a>> {
        let range = self.ranges.get(index)?;
        Some(MemoryRange {
            port: self.port,
            turn: self.turn,
            index: u32::try_from(index).ok()?,
            length: range.length,
            access: range.access,
        })
    }

    /// All slices, in the order in which their sender has added them.
    pub fn iter(self) -> impl Iterator<Item = MemoryRange<'a>> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// One slice of a [`CallerMemory`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryRange<'a> {
    port: &'a Port,
    turn: TurnId,
    index: u32,
    length: u64,
    access: u32,
}

impl MemoryRange<'_> {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has none. The kernel lets no such slice pass.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether [`read_at`](MemoryRange::read_at) is allowed.
    pub fn is_readable(&self) -> bool {
        self.access & sys::ALPC_MEMORY_READ != 0
    }

    /// Whether [`write_at`](MemoryRange::write_at) is allowed.
    pub fn is_writable(&self) -> bool {
        self.access & sys::ALPC_MEMORY_WRITE != 0
    }

    /// Reads from `offset` on, as much as fills the buffer, however long that takes. One ioctl, and
    /// one more after each signal.
    ///
    /// The sender may change the bytes at any time: what is checked must be read once. It may also
    /// keep the reader for as long as it waits for its answer, with memory that never comes.
    /// A server that serves others too uses [`read_exact_at`](MemoryRange::read_exact_at) or
    /// [`read_at_with`](MemoryRange::read_at_with), which take a time.
    ///
    /// # Errors
    ///
    /// Those of [`read_exact_at`](MemoryRange::read_exact_at), without the ones that its options
    /// bring about.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read(offset, buffer, Options::new()).1
    }

    /// Reads from `offset` on, as much as fills the buffer, for no longer than the options say. One
    /// ioctl, and one more after each signal.
    ///
    /// Of the options these count: the timeout, which bounds all waits for the sender's memory
    /// together; [`nonblocking`](Options::nonblocking), which reads what is there, waits for
    /// nothing of the sender's, and ignores the timeout; and
    /// [`interruptible`](Options::interruptible).
    ///
    /// ```no_run
    /// # fn f(range: alpc::MemoryRange<'_>) -> alpc::Result<()> {
    /// use std::time::Duration;
    ///
    /// let mut record = [0; 4096];
    /// // No sender keeps this thread for longer than that.
    /// range.read_exact_at(0, &mut record, Duration::from_millis(100))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What has been read before is in the buffer. Each error is of this request alone.
    ///
    /// Of the sender:
    ///
    /// * [`Outcome::MemoryClosed`] (`ESTALE`): no thread of the sender's process waits for the
    ///   conversation now. A signal has ended its wait, or it is answering a callback. It may wait
    ///   again later. A read that is under way gets this as well when the request ends; the next
    ///   one is told why.
    /// * [`Outcome::Canceled`] (`ECANCELED`): the sender has cancelled the request, or its time
    ///   was up. [`Outcome::Lost`] (`ECONNRESET`): the sender has disconnected, or has ended. In both
    ///   cases a [notice](crate::Notice) of it is in the queue.
    /// * [`Outcome::NotFound`] (`ENOENT`): the conversation is over, and its notice has been
    ///   received.
    /// * `EFAULT`: there is no memory of the sender's that can be read: nothing is mapped, it is
    ///   protected, behind the end of its file, or memory of a device or secret memory.
    /// * `ENOMEM`: a page could not be brought in for want of memory.
    ///
    /// Of the time:
    ///
    /// * [`Outcome::TimedOut`] (`ETIMEDOUT`): the time was up before all pages were there. What was
    ///   there by then has been read, up to 64 KiB from the first page that was waited for.
    /// * `EAGAIN`: a nonblocking call would have had to wait, which it also says of memory where
    ///   nothing is mapped. In any call: a page went away again and again before it could be used,
    ///   and another try is as good as this one.
    /// * `EINTR`: a signal came in an interruptible call.
    ///
    /// Of the arguments:
    ///
    /// * `EINVAL`: the range ends before that. `EACCES`: the sender has not lent it to be
    ///   [read](MemoryRange::is_readable).
    /// * [`Outcome::NotOwner`] (`EPERM`), [`Outcome::StaleTurn`] (`ESTALE`): the turn was passed on
    ///   by its [id](crate::Turn::id) meanwhile.
    ///
    /// [`Outcome::MemoryClosed`]: crate::Outcome::MemoryClosed
    /// [`Outcome::Canceled`]: crate::Outcome::Canceled
    /// [`Outcome::Lost`]: crate::Outcome::Lost
    /// [`Outcome::NotFound`]: crate::Outcome::NotFound
    /// [`Outcome::TimedOut`]: crate::Outcome::TimedOut
    /// [`Outcome::NotOwner`]: crate::Outcome::NotOwner
    /// [`Outcome::StaleTurn`]: crate::Outcome::StaleTurn
    pub fn read_exact_at<'o>(
        &self,
        offset: u64,
        buffer: &mut [u8],
        options: impl Into<Options<'o>>,
    ) -> Result<()> {
        self.read(offset, buffer, options.into()).1
    }

    /// Reads from `offset` on, and gives how many bytes: fewer than fill the buffer where the time
    /// was up, or where something else kept it from going on. One ioctl, and one more after each
    /// signal. The options that count are those of
    /// [`read_exact_at`](MemoryRange::read_exact_at).
    ///
    /// ```no_run
    /// # fn f(range: alpc::MemoryRange<'_>) -> alpc::Result<()> {
    /// use alpc::Options;
    ///
    /// let mut buffer = vec![0; 4096];
    /// // No sender keeps this thread at all.
    /// let read = range.read_at_with(0, &mut buffer, Options::new().nonblocking())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If not a byte was read, those of [`read_exact_at`](MemoryRange::read_exact_at). If some were,
    /// none: the next call, for the rest, tells what is wrong.
    pub fn read_at_with<'o>(
        &self,
        offset: u64,
        buffer: &mut [u8],
        options: impl Into<Options<'o>>,
    ) -> Result<usize> {
        some(self.read(offset, buffer, options.into()))
    }

    /// Writes all of `data` from `offset` on, however long that takes. One ioctl, and one more after
    /// each signal.
    ///
    /// The sender may keep the writer for as long as it waits for its answer, with memory that never
    /// comes. A server that serves others too uses [`write_all_at`](MemoryRange::write_all_at) or
    /// [`write_at_with`](MemoryRange::write_at_with), which take a time.
    ///
    /// # Errors
    ///
    /// Those of [`write_all_at`](MemoryRange::write_all_at), without the ones that its options bring
    /// about.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write(offset, data, Options::new()).1
    }

    /// Writes all of `data` from `offset` on, for no longer than the options say. One ioctl, and one
    /// more after each signal. The options that count are those of
    /// [`read_exact_at`](MemoryRange::read_exact_at).
    ///
    /// # Errors
    ///
    /// What has been written before stays written. The causes are those of
    /// [`read_exact_at`](MemoryRange::read_exact_at), with *written* for *read*: `EFAULT` of memory
    /// that the sender itself may not write, `EACCES` of a range that is not lent to be
    /// [written](MemoryRange::is_writable). `EOPNOTSUPP` in a nonblocking call: the memory is a
    /// shared mapping of a file, of another file system than tmpfs and hugetlbfs, or of a driver. Only
    /// the sender's thread can write to that.
    pub fn write_all_at<'o>(
        &self,
        offset: u64,
        data: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<()> {
        self.write(offset, data, options.into()).1
    }

    /// Writes `data` from `offset` on, and gives how many bytes of it: fewer than all where the time
    /// was up, or where something else kept it from going on. One ioctl, and one more after each
    /// signal. The options that count are those of
    /// [`read_exact_at`](MemoryRange::read_exact_at).
    ///
    /// # Errors
    ///
    /// If not a byte was written, those of [`write_all_at`](MemoryRange::write_all_at). If some
    /// were, none: the next call, for the rest, tells what is wrong.
    pub fn write_at_with<'o>(
        &self,
        offset: u64,
        data: &[u8],
        options: impl Into<Options<'o>>,
    ) -> Result<usize> {
        some(self.write(offset, data, options.into()))
    }

    fn read(&self, offset: u64, buffer: &mut [u8], options: Options<'_>) -> (usize, Result<()>) {
        self.go(READ_MEMORY, offset, options, |argument, done| {
            let rest = buffer.get_mut(done..).unwrap_or_default();
            sys::read_memory(self.port.as_fd(), argument, rest)
        })
    }

    fn write(&self, offset: u64, data: &[u8], options: Options<'_>) -> (usize, Result<()>) {
        self.go(WRITE_MEMORY, offset, options, |argument, done| {
            let rest = data.get(done..).unwrap_or_default();
            sys::write_memory(self.port.as_fd(), argument, rest)
        })
    }

    /// Goes on after signals, unless they are asked for. Gives how much has been done, and how it
    /// ended.
    fn go(
        &self,
        operation: &'static str,
        offset: u64,
        options: Options<'_>,
        mut step: impl FnMut(&mut sys::alpc_memory, usize) -> std::io::Result<()>,
    ) -> (usize, Result<()>) {
        let mut argument = sys::alpc_memory {
            id: self.turn.conversation.to_raw(),
            callback_id: self.turn.callback_id,
            index: self.index,
            ..Default::default()
        };
        if options.nonblocking {
            argument.flags = sys::ALPC_MEMORY_NOWAIT;
        } else {
            (argument.timeout_flags, argument.timeout) = options.timeout.to_raw();
        }
        let mut done = 0;
        loop {
            // Too much is refused as such.
            argument.offset = offset.saturating_add(done as u64);
            argument.done = 0;
            let result = step(&mut argument, done);
            done += argument.done as usize;
            let Err(error) = result else {
                return (done, Ok(()));
            };
            if options.interruptible || error.kind() != std::io::ErrorKind::Interrupted {
                let error = Error::new(operation, &error, argument.outcome);
                return (done, Err(error));
            }
        }
    }
}

/// What there is counts, if there is anything: the next try tells what is wrong.
fn some((done, result): (usize, Result<()>)) -> Result<usize> {
    match done {
        0 => result.map(|()| 0),
        _ => Ok(done),
    }
}

impl Request<'_, '_> {
    /// The memory that came with it. There is none unless it was
    /// [asked for](Options::ask_memory).
    pub fn memory(&self) -> CallerMemory<'_> {
        self.turn_ref().memory(self.ranges())
    }
}
