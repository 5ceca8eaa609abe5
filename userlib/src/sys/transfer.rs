// SPDX-License-Identifier: MIT OR Apache-2.0

//! The argument of `SEND_WAIT_RECEIVE`, with its buffers borrowed.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use super::{
    alpc_attr_context, alpc_attr_memory, alpc_attributes, alpc_memory_range, alpc_transfer,
    send_wait_receive, ALPC_ATTR_CONTEXT, ALPC_ATTR_MEMORY, ALPC_MEMORY_RANGES_MAX,
};
use crate::memory::Offer;

/// An attribute container that holds CONTEXT, and MEMORY if need be.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Container {
    head: alpc_attributes,
    context: alpc_attr_context,
    memory: alpc_attr_memory,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            head: alpc_attributes {
                allocated: ALPC_ATTR_CONTEXT,
                valid: 0,
            },
            context: alpc_attr_context::default(),
            memory: alpc_attr_memory::default(),
        }
    }
}

impl Container {
    fn set_memory(&mut self, ranges: u64, count: u32) {
        self.head.allocated |= ALPC_ATTR_MEMORY;
        self.memory = alpc_attr_memory {
            ranges,
            count,
            reserved: 0,
        };
    }
}

/// The argument of `SEND_WAIT_RECEIVE`, with its buffers borrowed for `'a`.
///
/// # Invariants
///
/// `raw.send_data` and `raw.recv_data` are null with a length of 0, or were
/// borrowed for `'a`, `recv_data` exclusively. The attribute pointers are set
/// for the length of one call only. The memory that is offered was borrowed for
/// `'a` as well, and what the received container points to is `ranges`.
#[derive(Debug, Default)]
pub struct Transfer<'a> {
    raw: alpc_transfer,
    send_attributes: Option<Container>,
    recv_attributes: Option<Container>,
    /// Where the received message's ranges go.
    ranges: Vec<alpc_memory_range>,
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
        self.raw.recv_data = address_mut(buffer);
        self.raw.recv_capacity = length(buffer);
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
        let container = self.send_attributes.get_or_insert_default();
        container.head.valid |= ALPC_ATTR_CONTEXT;
        container.context.message_context = value;
    }

    /// Offers memory with a new synchronous request. Who calls this ends the conversation before
    /// the memory is no longer borrowed.
    pub(crate) fn offer(&mut self, memory: &'a Offer<'_>) {
        let ranges = memory.ranges();
        let container = self.send_attributes.get_or_insert_default();
        container.set_memory(address(ranges), length(ranges));
        container.head.valid |= ALPC_ATTR_MEMORY;
    }

    /// Asks for the CONTEXT attribute of the received message.
    pub fn ask_context(&mut self) {
        self.recv_attributes.get_or_insert_default();
    }

    /// Asks for the MEMORY attribute of the received message.
    pub fn ask_memory(&mut self) {
        self.ranges = vec![Default::default(); ALPC_MEMORY_RANGES_MAX as usize];
        let container = self.recv_attributes.get_or_insert_default();
        container.set_memory(address_mut(&mut self.ranges), length(&self.ranges));
    }

    /// The CONTEXT attribute of the received message, if the kernel filled it in.
    pub fn context(&self) -> Option<&alpc_attr_context> {
        let container = self.recv_attributes.as_ref()?;
        (container.head.valid & ALPC_ATTR_CONTEXT != 0).then_some(&container.context)
    }

    /// The ranges of memory that came with the received message: none unless they were asked for.
    pub fn take_memory(&mut self) -> Vec<alpc_memory_range> {
        let count = match &self.recv_attributes {
            Some(container) if container.head.valid & ALPC_ATTR_MEMORY != 0 => {
                container.memory.count as usize
            }
            _ => 0,
        };
        // The next call has no room for any.
        if let Some(container) = &mut self.recv_attributes {
            container.memory = alpc_attr_memory::default();
        }
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.truncate(count);
        ranges
    }

    /// The structure as the kernel has left it.
    pub fn raw(&self) -> &alpc_transfer {
        &self.raw
    }

    /// The flags, to change between two calls with the same structure.
    pub fn flags_mut(&mut self) -> &mut u32 {
        &mut self.raw.flags
    }

    /// Makes the one ioctl.
    pub fn call(&mut self, port: BorrowedFd<'_>) -> io::Result<()> {
        self.raw.send_attributes = container(self.send_attributes.as_mut());
        self.raw.recv_attributes = container(self.recv_attributes.as_mut());
        // SAFETY: By the type's invariants the buffers are borrowed for longer
        // than this call; the containers are fields of self, and each is as
        // long as its allocated bits say.
        let result = unsafe { send_wait_receive(port, &mut self.raw) };
        self.raw.send_attributes = 0;
        self.raw.recv_attributes = 0;
        result
    }
}

fn container(container: Option<&mut Container>) -> u64 {
    container.map_or(0, |container| std::ptr::from_mut(container) as u64)
}

/// Where the elements are, 0 for none.
pub(super) fn address<T>(elements: &[T]) -> u64 {
    if elements.is_empty() {
        0
    } else {
        elements.as_ptr() as u64
    }
}

/// The same for memory that the kernel writes.
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
