// SPDX-License-Identifier: MIT OR Apache-2.0

//! The MEMORY attribute, and ALPC_IOC_MEMORY.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{ioctl, Create, Failure, Message, Port, Transfer, JUNK, JUNK32, JUNK64};

/// Both directions.
pub const BOTH: u32 = ALPC_MEMORY_READ | ALPC_MEMORY_WRITE;

/// A container with that attribute alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryContainer {
    pub head: alpc_attributes,
    pub memory: alpc_attr_memory,
}

/// Ranges of memory, for one side or the other. It must outlive the call.
pub struct Ranges {
    pub list: Vec<alpc_memory_range>,
    pub container: Box<MemoryContainer>,
}

impl Ranges {
    /// What a sender offers: addresses, lengths and directions.
    pub fn of(list: &[(u64, usize, u32)]) -> Self {
        let range = |&(base, length, access)| alpc_memory_range {
            base,
            length: length as u64,
            access,
            reserved: 0,
        };
        let mut this = Self::with(list.iter().map(range).collect());
        this.container.head.valid = ALPC_ATTR_MEMORY;
        this
    }

    /// Room for a receiver to be told of so many, full of junk.
    pub fn room(count: usize) -> Self {
        let junk = alpc_memory_range {
            base: JUNK64,
            length: JUNK64,
            access: JUNK32,
            reserved: JUNK32,
        };
        Self::with(vec![junk; count])
    }

    fn with(list: Vec<alpc_memory_range>) -> Self {
        let container = Box::new(MemoryContainer {
            head: alpc_attributes {
                allocated: ALPC_ATTR_MEMORY,
                valid: 0,
            },
            memory: alpc_attr_memory {
                ranges: list.as_ptr() as u64,
                count: list.len() as u32,
                reserved: 0,
            },
        });
        Self { list, container }
    }

    pub fn address(&self) -> u64 {
        std::ptr::from_ref(&*self.container) as u64
    }
}

impl Create {
    /// Takes caller memory.
    pub fn taking_memory(mut self) -> Self {
        self.arg.accept |= ALPC_TAKE_MEMORY;
        self
    }
}

impl Transfer {
    /// A synchronous request that offers memory.
    pub fn offering(ranges: &Ranges) -> Self {
        let mut this = Self::new().send(b"memory").receive().flags(ALPC_SYNC);
        this.arg.send_attributes = ranges.address();
        this
    }
}

/// How a MEMORY failed: with how many bytes done, junk if it doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    pub failure: Failure,
    pub done: u64,
}

/// Everything that goes into a MEMORY.
pub fn memory_argument(message: &Message, index: u32, access: u32) -> alpc_memory {
    alpc_memory {
        id: message.id,
        callback_id: message.callback_id,
        index,
        flags: access,
        outcome: JUNK32,
        done: JUNK64,
        ..Default::default()
    }
}

/// Runs with whatever the argument holds.
pub fn memory_as_is(port: &impl AsFd, arg: &mut alpc_memory) -> Result<(), Short> {
    let result = ioctl(port, ALPC_IOCTL_MEMORY, arg);
    let (outcome, done) = (arg.outcome, arg.done);
    match result {
        Ok(value) => {
            assert_eq!((value, outcome), (0, ALPC_OUTCOME_OK));
            assert_eq!(done, arg.length, "done of a success");
            Ok(())
        }
        Err(errno) => {
            let failure = Failure { errno, outcome };
            Err(Short { failure, done })
        }
    }
}

impl Port {
    /// Reads memory of the caller's.
    pub fn peek(
        &self,
        message: &Message,
        index: u32,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, Short> {
        let mut data = vec![JUNK; length];
        let mut arg = memory_argument(message, index, ALPC_MEMORY_READ);
        arg.offset = offset;
        arg.data = data.as_mut_ptr() as u64;
        arg.length = length as u64;
        let result = memory_as_is(self, &mut arg);
        let done = match result {
            Ok(()) => length,
            Err(Short { done: JUNK64, .. }) => 0,
            Err(Short { done, .. }) => done as usize,
        };
        assert!(data[done..].iter().all(|&byte| byte == JUNK));
        result.map(|()| data)
    }

    /// Writes memory of the caller's.
    pub fn poke(
        &self,
        message: &Message,
        index: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Short> {
        let mut arg = memory_argument(message, index, ALPC_MEMORY_WRITE);
        arg.offset = offset;
        arg.data = data.as_ptr() as u64;
        arg.length = data.len() as u64;
        memory_as_is(self, &mut arg)
    }
}
