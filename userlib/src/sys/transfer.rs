// SPDX-License-Identifier: MIT OR Apache-2.0

//! The argument of `SEND_WAIT_RECEIVE`, with its buffers borrowed.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use super::{
    alpc_attr_context, alpc_attributes, alpc_transfer, send_wait_receive, ALPC_ATTR_CONTEXT,
};

/// An attribute container that holds CONTEXT and nothing else.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct ContextContainer {
    head: alpc_attributes,
    context: alpc_attr_context,
}

impl ContextContainer {
    fn new(valid: u32) -> Self {
        let head = alpc_attributes {
            allocated: ALPC_ATTR_CONTEXT,
            valid,
        };
        Self {
            head,
            ..Self::default()
        }
    }
}

/// The argument of `SEND_WAIT_RECEIVE`, with its buffers borrowed for `'a`.
///
/// # Invariants
///
/// `raw.send_data` and `raw.recv_data` are null with a length of 0, or were
/// borrowed for `'a`, `recv_data` exclusively. The attribute pointers are set
/// for the length of one call only.
#[derive(Debug, Default)]
pub struct Transfer<'a> {
    raw: alpc_transfer,
    send_context: Option<ContextContainer>,
    recv_context: Option<ContextContainer>,
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
        let mut container = ContextContainer::new(ALPC_ATTR_CONTEXT);
        container.context.message_context = value;
        self.send_context = Some(container);
    }

    /// Asks for the CONTEXT attribute of the received message.
    pub fn ask_context(&mut self) {
        self.recv_context = Some(ContextContainer::new(0));
    }

    /// The CONTEXT attribute of the received message, if it was asked for and
    /// the kernel filled it in.
    pub fn context(&self) -> Option<&alpc_attr_context> {
        let container = self.recv_context.as_ref()?;
        (container.head.valid & ALPC_ATTR_CONTEXT != 0).then_some(&container.context)
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
        self.raw.send_attributes = container(self.send_context.as_mut());
        self.raw.recv_attributes = container(self.recv_context.as_mut());
        // SAFETY: By the type's invariants the buffers are borrowed for longer
        // than this call; the containers are fields of self, and each is as
        // long as its allocated bits say.
        let result = unsafe { send_wait_receive(port, &mut self.raw) };
        self.raw.send_attributes = 0;
        self.raw.recv_attributes = 0;
        result
    }
}

fn container(container: Option<&mut ContextContainer>) -> u64 {
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
