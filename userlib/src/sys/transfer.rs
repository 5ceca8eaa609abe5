// SPDX-License-Identifier: MIT OR Apache-2.0

//! The argument of `SEND_WAIT_RECEIVE`, with its buffers borrowed.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::container::Container;
use super::{
    alpc_attr_context, alpc_attr_handle, alpc_attr_memory, alpc_attr_receiver, alpc_attr_security,
    alpc_attr_token, alpc_attr_view, alpc_handle, alpc_memory_range, alpc_transfer,
    send_wait_receive, ALPC_HANDLES_CLAIM, ALPC_MEMORY_RANGES_MAX, ALPC_OUTCOME_OK,
    ALPC_RECEIVER_GID, ALPC_RECEIVER_UID,
};
use crate::memory::Offer;

/// The argument of `SEND_WAIT_RECEIVE`, with its buffers borrowed for `'a`.
///
/// # Invariants
///
/// `raw.send_data` and `raw.recv_data` are null with a length of 0, or were
/// borrowed for `'a`, `recv_data` exclusively; with a `vector`, `recv_data` is its spare
/// capacity for the length of one call. The attribute pointers are set
/// for the length of one call only. What the containers point to is borrowed
/// for `'a`, or a field.
#[derive(Debug, Default)]
pub struct Transfer<'a> {
    raw: alpc_transfer,
    send_container: Container,
    recv_container: Container,
    /// What the last call has filled in.
    filled: Container,
    send_handles: Vec<alpc_handle>,
    recv_handles: Vec<alpc_handle>,
    /// Where the received message's ranges go.
    ranges: Vec<alpc_memory_range>,
    /// The vector whose capacity the received payload goes to, in place of `raw.recv_data`.
    vector: Option<&'a mut Vec<u8>>,
    buffers: PhantomData<&'a mut [u8]>,
}

impl<'a> Transfer<'a> {
    /// A transfer with these `ALPC_SEND`, `ALPC_RECEIVE`, … flags, and nothing
    /// else set.
    pub fn new(flags: u32) -> Self {
        let mut transfer = Self::default();
        transfer.raw.flags = flags;
        transfer
    }

    /// A transfer that goes on where `previous` was left by a signal or by a
    /// buffer that was too small: the same conversation, flags and deadline, and
    /// no buffers yet.
    pub fn resume(previous: &alpc_transfer) -> Self {
        let mut transfer = Self::new(previous.flags);
        transfer.raw.timeout = previous.timeout;
        transfer.raw.send_id = previous.send_id;
        transfer.raw.send_callback_id = previous.send_callback_id;
        transfer.raw.reply_bytes = previous.reply_bytes;
        transfer
    }

    /// Sets the payload to send.
    pub fn send(&mut self, data: &'a [u8]) {
        self.raw.send_data = address(data);
        self.raw.send_length = length(data);
    }

    /// Sets the conversation to send into and the turn received last. Both are
    /// 0 for a new message.
    pub fn send_into(&mut self, id: u64, callback_id: u32) {
        self.raw.send_id = id;
        self.raw.send_callback_id = callback_id;
    }

    /// Sets where the received payload goes.
    pub fn receive(&mut self, buffer: &'a mut [u8]) {
        self.vector = None;
        self.raw.recv_data = address_mut(buffer);
        self.raw.recv_capacity = length(buffer);
    }

    /// Sets the vector that the received payload becomes the contents of. It has the room of its
    /// capacity, and is empty until something is received, also after a call that has failed.
    pub fn receive_into_capacity(&mut self, vector: &'a mut Vec<u8>) {
        vector.clear();
        self.vector = Some(vector);
    }

    /// Sends the first `send_length` bytes of `buffer`, and receives into the
    /// same memory.
    ///
    /// # Panics
    ///
    /// If `send_length` is more than the buffer has.
    pub fn in_place(&mut self, buffer: &'a mut [u8], send_length: usize) {
        let send_length = length(&buffer[..send_length]);
        self.receive(buffer);
        self.raw.send_data = self.raw.recv_data;
        self.raw.send_length = send_length;
    }

    /// Sets the timeout: one of `ALPC_TIMEOUT_*`, and its nanoseconds.
    pub fn timeout(&mut self, clock: u32, nanoseconds: u64) {
        self.raw.flags = self.raw.flags & !super::ALPC_TIMEOUT_MASK | clock;
        self.raw.timeout = nanoseconds;
    }

    /// Gives this side's own context value to the conversation sent into.
    pub fn set_message_context(&mut self, value: u64) {
        self.send_container.context = Some(alpc_attr_context {
            message_context: value,
            ..Default::default()
        });
    }

    /// Sends these descriptors too.
    pub fn send_handles(&mut self, handles: &'a [BorrowedFd<'a>]) {
        let entry = |fd: &BorrowedFd<'_>| alpc_handle {
            fd: fd.as_raw_fd(),
            kind: 0,
        };
        self.send_handles = handles.iter().map(entry).collect();
        self.send_container.handle = Some(alpc_attr_handle {
            handles: address(&self.send_handles),
            count: length(&self.send_handles),
            ..Default::default()
        });
    }

    /// Offers memory with a new synchronous request. Who calls this ends the conversation before
    /// the memory is no longer borrowed.
    pub(crate) fn offer(&mut self, memory: &'a Offer<'_>) {
        let ranges = memory.ranges();
        self.send_container.memory = Some(alpc_attr_memory {
            ranges: address(ranges),
            count: length(ranges),
            reserved: 0,
        });
    }

    /// Lends a view, or releases one, or both. Who calls this sees to it that nobody uses what is
    /// lent or released as memory from then on.
    pub(crate) fn view(&mut self, view: alpc_attr_view) {
        self.send_container.view = Some(view);
    }

    /// Says which user and which group a thread must have to receive the message.
    pub fn set_receiver(&mut self, user: Option<u32>, group: Option<u32>) {
        let flag = |id: Option<u32>, flag| id.map_or(0, |_| flag);
        self.send_container.receiver = Some(alpc_attr_receiver {
            uid: user.unwrap_or(0),
            gid: group.unwrap_or(0),
            flags: flag(user, ALPC_RECEIVER_UID) | flag(group, ALPC_RECEIVER_GID),
            reserved: 0,
        });
    }

    /// Attaches a security context: one that there is, or one to be made.
    pub fn set_security(&mut self, security: alpc_attr_security) {
        self.send_container.security = Some(security);
    }

    /// Asks for the SECURITY attribute of the received message.
    pub fn ask_security(&mut self) {
        self.recv_container.security = Some(Default::default());
    }

    /// The SECURITY attribute of the received message, if it was asked for and has one.
    pub fn security(&self) -> Option<&alpc_attr_security> {
        self.filled.security.as_ref()
    }

    /// Asks for the TOKEN attribute of the received message.
    pub fn ask_token(&mut self) {
        self.recv_container.token = Some(Default::default());
    }

    /// The TOKEN attribute of the received message, if it was asked for and somebody sent it.
    pub fn token(&self) -> Option<&alpc_attr_token> {
        self.filled.token.as_ref()
    }

    /// Asks for the CONTEXT attribute of the received message.
    pub fn ask_context(&mut self) {
        self.recv_container.context = Some(Default::default());
    }

    /// Asks for the HANDLE attribute of the received message, and for the kinds of the
    /// first `shown` of its handles.
    pub fn ask_handles(&mut self, shown: usize) {
        self.make_room(shown, 0);
    }

    /// Asks for the HANDLE attribute of the received message, and claims the first `most` of its
    /// handles, which [`take_claimed`](Transfer::take_claimed) gives.
    pub fn claim_handles(&mut self, most: usize) {
        self.make_room(most, ALPC_HANDLES_CLAIM);
    }

    fn make_room(&mut self, room: usize, flags: u32) {
        self.recv_handles = vec![alpc_handle { fd: -1, kind: 0 }; room];
        self.recv_container.handle = Some(alpc_attr_handle {
            handles: address_mut(&mut self.recv_handles),
            count: length(&self.recv_handles),
            flags,
            ..Default::default()
        });
    }

    /// Asks for the MEMORY attribute of the received message.
    pub fn ask_memory(&mut self) {
        self.ranges = vec![Default::default(); ALPC_MEMORY_RANGES_MAX as usize];
        self.recv_container.memory = Some(alpc_attr_memory {
            ranges: address_mut(&mut self.ranges),
            count: length(&self.ranges),
            reserved: 0,
        });
    }

    /// Asks for the VIEW attribute of the received message. Who calls this releases the view.
    pub(crate) fn ask_view(&mut self) {
        self.recv_container.view = Some(Default::default());
    }

    /// The CONTEXT attribute of the received message, if it was asked for and
    /// the kernel filled it in.
    pub fn context(&self) -> Option<&alpc_attr_context> {
        self.filled.context.as_ref()
    }

    /// The HANDLE attribute of the received message and its entries, if it was asked for
    /// and the message has handles.
    pub fn handles(&self) -> Option<(&alpc_attr_handle, &[alpc_handle])> {
        let handle = self.filled.handle.as_ref()?;
        Some((handle, &self.recv_handles))
    }

    /// The descriptors that the last call has claimed.
    pub fn take_claimed(&mut self) -> Vec<OwnedFd> {
        let Some(handle) = &mut self.filled.handle else {
            return Vec::new();
        };
        let claimed = std::mem::take(&mut handle.index) as usize;
        let entries = self.recv_handles.iter_mut().take(claimed);
        entries
            .map(|entry| super::made(std::mem::replace(&mut entry.fd, -1)))
            .collect()
    }

    /// The ranges of memory that came with the received message: none unless they were asked for.
    pub fn take_memory(&mut self) -> Vec<alpc_memory_range> {
        let count = self.filled.memory.map_or(0, |memory| memory.count as usize);
        // The next call has no room for any.
        self.recv_container.memory = None;
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.truncate(count);
        ranges
    }

    /// The view that came with the received message, if it was asked for.
    pub(crate) fn take_view(&mut self) -> Option<alpc_attr_view> {
        self.filled.view.take()
    }

    /// The structure as the kernel has left it.
    pub fn raw(&self) -> &alpc_transfer {
        &self.raw
    }

    /// The flags, to change between two calls with the same structure.
    pub fn flags_mut(&mut self) -> &mut u32 {
        &mut self.raw.flags
    }

    /// Makes the one ioctl. The outcome is that of this call, and none of an earlier one.
    pub fn call(&mut self, port: BorrowedFd<'_>) -> io::Result<()> {
        self.raw.outcome = ALPC_OUTCOME_OK;
        self.raw.send_attributes = self.send_container.for_sending();
        self.raw.recv_attributes = self.recv_container.for_receiving();
        if let Some(vector) = &mut self.vector {
            vector.clear();
            let room = vector.spare_capacity_mut();
            self.raw.recv_data = address_mut(room);
            self.raw.recv_capacity = length(room);
            self.raw.recv_length = 0;
        }
        // SAFETY: By the type's invariants the buffers are borrowed for longer
        // than this call; the containers are fields of self, and each is as
        // long as its allocated bits say. So are the entries that they point to.
        let result = unsafe { send_wait_receive(port, &mut self.raw) };
        self.raw.send_attributes = 0;
        self.raw.recv_attributes = 0;
        if let Some(vector) = &mut self.vector {
            (self.raw.recv_data, self.raw.recv_capacity) = (0, 0);
            if result.is_ok() {
                // SAFETY: The kernel has written as many bytes as it says, and 0 was there if it
                // had nothing to say. There were no more than the capacity.
                unsafe { vector.set_len(self.raw.recv_length as usize) };
            }
        }
        self.filled = match &result {
            Ok(()) => self.recv_container.filled(),
            Err(_) => Container::default(),
        };
        result
    }
}

/// Where the elements are, 0 for none.
pub(super) fn address<T>(elements: &[T]) -> u64 {
    if elements.is_empty() {
        0
    } else {
        elements.as_ptr() as u64
    }
}

/// Where the elements are that the kernel writes, 0 for none.
pub(super) fn address_mut<T>(elements: &mut [T]) -> u64 {
    if elements.is_empty() {
        0
    } else {
        elements.as_mut_ptr() as u64
    }
}

/// The length as the ABI has it. What doesn't fit is far above every limit
/// for sends, and more than any message needs for receives.
pub(super) fn length<T>(elements: &[T]) -> u32 {
    u32::try_from(elements.len()).unwrap_or(u32::MAX)
}
