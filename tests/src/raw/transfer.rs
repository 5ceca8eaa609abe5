// SPDX-License-Identifier: MIT OR Apache-2.0

//! SEND_WAIT_RECEIVE, and a short name for each use of it.

use std::mem::size_of;
use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{ioctl, Failure, Port, JUNK, JUNK16, JUNK32, JUNK64};

/// A container with the one attribute there is so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ContextContainer {
    pub head: alpc_attributes,
    pub context: alpc_attr_context,
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: u64,
    pub callback_id: u32,
    pub kind: u32,
    pub flags: u32,
    pub data: Vec<u8>,
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub gid: u32,
    pub port_context: u64,
    pub sequence: u64,
}

impl Message {
    /// True when whoever received it owes an answer or a release.
    pub fn open(&self) -> bool {
        self.flags & ALPC_TYPE_FLAG_CONTINUATION != 0
    }
}

/// Everything that goes into a SEND_WAIT_RECEIVE. `arg` may be edited before
/// `run`, and read after it.
pub struct Transfer {
    pub data: Vec<u8>,
    /// The receive buffer, junk where nothing was written.
    pub recv: Vec<u8>,
    pub arg: alpc_transfer,
}

impl Default for Transfer {
    fn default() -> Self {
        Self::new()
    }
}

impl Transfer {
    /// Neither sends nor receives yet.
    pub fn new() -> Self {
        Self {
            data: Vec::new(),
            recv: Vec::new(),
            arg: alpc_transfer {
                outcome: JUNK32,
                id: JUNK64,
                callback_id: JUNK32,
                type_: JUNK16,
                type_flags: JUNK16,
                recv_length: JUNK32,
                pid: JUNK32,
                tid: JUNK32,
                uid: JUNK32,
                gid: JUNK32,
                reserved1: JUNK32,
                port_context: JUNK64,
                sequence: JUNK64,
                ..Default::default()
            },
        }
    }

    pub fn flags(mut self, flags: u32) -> Self {
        self.arg.flags |= flags;
        self
    }

    pub fn send(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self.flags(ALPC_SEND)
    }

    /// Sends into the conversation of a received message.
    pub fn into(mut self, message: &Message) -> Self {
        self.arg.send_id = message.id;
        self.arg.send_callback_id = message.callback_id;
        self
    }

    pub fn receive(self) -> Self {
        self.capacity(4096)
    }

    pub fn capacity(mut self, bytes: usize) -> Self {
        self.recv = vec![JUNK; bytes];
        self.flags(ALPC_RECEIVE)
    }

    pub fn timeout(mut self, nanoseconds: u64) -> Self {
        self.arg.timeout = nanoseconds;
        self.flags(ALPC_TIMEOUT_RELATIVE)
    }

    /// Makes room for an answer of so many bytes.
    pub fn reply_bytes(mut self, bytes: u32) -> Self {
        self.arg.reply_bytes = bytes;
        self
    }

    /// Never waits.
    pub fn now(self) -> Self {
        self.timeout(0)
    }

    /// Makes the argument point to payload and buffer.
    pub fn point(&mut self) {
        if !self.data.is_empty() {
            self.arg.send_data = self.data.as_ptr() as u64;
        }
        self.arg.send_length = self.data.len() as u32;
        if !self.recv.is_empty() {
            self.arg.recv_data = self.recv.as_mut_ptr() as u64;
        }
        self.arg.recv_capacity = self.recv.len() as u32;
    }

    pub fn run(&mut self, port: &impl AsFd) -> Result<Message, Failure> {
        self.point();
        self.run_as_is(port)
    }

    /// Runs with whatever the argument holds. The message means something
    /// only if one was received.
    pub fn run_as_is(&mut self, port: &impl AsFd) -> Result<Message, Failure> {
        let receives = self.arg.flags & ALPC_RECEIVE != 0;
        let result = ioctl(port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut self.arg);
        let outcome = self.arg.outcome;
        let written = match result {
            Ok(_) if receives => self.arg.recv_length as usize,
            _ => 0,
        };
        if result.is_ok() {
            assert_eq!(outcome, ALPC_OUTCOME_OK, "outcome of a success");
            assert!(
                written <= self.recv.len(),
                "more received than there is room"
            );
        }
        assert!(
            self.recv[written..].iter().all(|&byte| byte == JUNK),
            "bytes after the payload were written"
        );
        result.map_err(|errno| Failure { errno, outcome })?;
        Ok(self.message(written))
    }

    /// What has been received, with so many bytes of payload.
    pub fn message(&self, written: usize) -> Message {
        Message {
            id: self.arg.id,
            callback_id: self.arg.callback_id,
            kind: self.arg.type_.into(),
            flags: self.arg.type_flags.into(),
            data: self.recv[..written].to_vec(),
            pid: self.arg.pid,
            tid: self.arg.tid,
            uid: self.arg.uid,
            gid: self.arg.gid,
            port_context: self.arg.port_context,
            sequence: self.arg.sequence,
        }
    }
}

impl ContextContainer {
    /// What a sender gives: its own value for the conversation.
    pub fn sending(message_context: u64) -> Self {
        let mut this = Self::receiving();
        this.head.valid = ALPC_ATTR_CONTEXT;
        this.context = alpc_attr_context {
            message_context,
            ..Default::default()
        };
        this
    }

    /// What a receiver gives: room, full of junk.
    pub fn receiving() -> Self {
        // SAFETY: Plain numbers: any bytes are valid.
        let mut this: Self = unsafe { std::mem::transmute([JUNK; size_of::<Self>()]) };
        this.head.allocated = ALPC_ATTR_CONTEXT;
        this.head.valid = 0;
        this.context.reserved = 0;
        this
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(self) as u64
    }
}

/// The uses, by their names. All wait without end unless they say otherwise.
impl Port {
    /// The next message of the port.
    pub fn receive(&self) -> Result<Message, Failure> {
        Transfer::new().receive().run(self)
    }

    /// The next message of the port, if there is one.
    pub fn receive_now(&self) -> Result<Message, Failure> {
        Transfer::new().receive().now().run(self)
    }

    /// A synchronous request and its reply.
    pub fn request(&self, data: &[u8]) -> Result<Message, Failure> {
        Transfer::new()
            .send(data)
            .receive()
            .flags(ALPC_SYNC)
            .run(self)
    }

    /// An asynchronous request: its conversation.
    pub fn post(&self, data: &[u8]) -> Result<u64, Failure> {
        let mut transfer = Transfer::new().send(data);
        transfer.run(self)?;
        assert_ne!(transfer.arg.send_id, 0, "an open conversation has an id");
        Ok(transfer.arg.send_id)
    }

    /// A message that nobody can reply to.
    pub fn one_way(&self, data: &[u8]) -> Result<(), Failure> {
        let mut transfer = Transfer::new().send(data).flags(ALPC_RELEASE);
        transfer.run(self)?;
        assert_eq!(transfer.arg.send_id, 0, "a one-way message has no id");
        Ok(())
    }

    /// The final reply.
    pub fn reply(&self, to: &Message, data: &[u8]) -> Result<(), Failure> {
        let mut transfer = Transfer::new().send(data).into(to).flags(ALPC_RELEASE);
        transfer.run(self).map(|_| ())
    }

    /// A reply that leaves the conversation open.
    pub fn reply_open(&self, to: &Message, data: &[u8]) -> Result<(), Failure> {
        Transfer::new().send(data).into(to).run(self).map(|_| ())
    }

    /// The final reply, and the next message of the port.
    pub fn reply_receive(&self, to: &Message, data: &[u8]) -> Result<Message, Failure> {
        Transfer::new()
            .send(data)
            .into(to)
            .flags(ALPC_RELEASE)
            .receive()
            .run(self)
    }

    /// Lets go of a conversation without a word.
    pub fn release(&self, message: &Message) -> Result<(), Failure> {
        Transfer::new()
            .send(&[])
            .into(message)
            .flags(ALPC_RELEASE | ALPC_DISCARD)
            .run(self)
            .map(|_| ())
    }

    /// A callback to the waiting requester: its answer.
    pub fn callback(&self, to: &Message, data: &[u8]) -> Result<Message, Failure> {
        Transfer::new()
            .send(data)
            .into(to)
            .receive()
            .flags(ALPC_SYNC)
            .run(self)
    }

    /// Answers a held callback and waits on.
    pub fn answer(&self, to: &Message, data: &[u8]) -> Result<Message, Failure> {
        Transfer::new()
            .send(data)
            .into(to)
            .receive()
            .flags(ALPC_SYNC | ALPC_ANSWER)
            .run(self)
    }
}
