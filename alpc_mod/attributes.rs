// SPDX-License-Identifier: GPL-2.0

//! Message attributes: containers in user memory, and what they carry.
//!
//! A container is checked before anything is sent or received, and filled in
//! after the message is chosen and before the caller learns of it.
#![deny(unsafe_code)]

use crate::{
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    logic::engine::Delivery,
    port::Kernel,
    uapi, //
};
use core::mem::size_of;
use kernel::prelude::*;

const HEAD: usize = size_of::<uapi::alpc_attributes>();
const CONTEXT: usize = size_of::<uapi::alpc_attr_context>();

/// Every attribute that has a number.
const KNOWN: u32 = uapi::ALPC_ATTR_SECURITY
    | uapi::ALPC_ATTR_VIEW
    | uapi::ALPC_ATTR_CONTEXT
    | uapi::ALPC_ATTR_HANDLE
    | uapi::ALPC_ATTR_TOKEN
    | uapi::ALPC_ATTR_DIRECT
    | uapi::ALPC_ATTR_WORK_ON_BEHALF
    | uapi::ALPC_ATTR_MEMORY;

/// Reads the head of a container.
#[inline(never)]
fn head(addr: u64) -> Result<uapi::alpc_attributes> {
    let head: uapi::alpc_attributes = copy_struct_in(HEAD, addr, HEAD)?;
    if head.allocated & !KNOWN != 0 {
        return Err(EINVAL);
    }
    // Only the layout of what is implemented is known.
    if head.allocated & !uapi::ALPC_ATTR_CONTEXT != 0 {
        return Err(EOPNOTSUPP);
    }
    Ok(head)
}

/// What a sender attaches to a message.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// The sender's own value for the conversation.
    pub(crate) message_context: Option<u64>,
}

impl Outgoing {
    /// Reads the container at `addr`, if that is not 0.
    #[inline]
    pub(crate) fn read(addr: u64) -> Result<Self> {
        match addr {
            0 => Ok(Self::default()),
            addr => Self::read_container(addr),
        }
    }

    #[inline(never)]
    fn read_container(addr: u64) -> Result<Self> {
        let head = head(addr)?;
        if head.valid & !head.allocated != 0 {
            return Err(EINVAL);
        }
        if head.valid == 0 {
            return Ok(Self::default());
        }
        let at = addr.checked_add(HEAD as u64).ok_or(EFAULT)?;
        let context: uapi::alpc_attr_context = copy_struct_in(CONTEXT, at, CONTEXT)?;
        if context.reserved != 0 {
            return Err(EINVAL);
        }
        Ok(Self {
            message_context: Some(context.message_context),
        })
    }
}

/// What a receiver has room for.
pub(crate) struct Incoming {
    addr: u64,
    context: bool,
}

impl Incoming {
    /// No container.
    pub(crate) fn none() -> Self {
        Self {
            addr: 0,
            context: false,
        }
    }

    /// Checks the container at `addr`, if that is not 0.
    #[inline]
    pub(crate) fn check(addr: u64) -> Result<Self> {
        let context = match addr {
            0 => false,
            addr => head(addr)?.allocated & uapi::ALPC_ATTR_CONTEXT != 0,
        };
        Ok(Self { addr, context })
    }

    /// Fills the container in.
    #[inline]
    pub(crate) fn write(&self, delivery: &Delivery<Kernel>) -> Result {
        match self.addr {
            0 => Ok(()),
            _ => self.write_container(delivery),
        }
    }

    #[inline(never)]
    fn write_container(&self, delivery: &Delivery<Kernel>) -> Result {
        let mut head = uapi::alpc_attributes::default();
        if self.context {
            let context = uapi::alpc_attr_context {
                port_context: delivery.port_context,
                message_context: delivery.message_context,
                id: delivery.id,
                sequence: delivery.sequence,
                callback_id: delivery.turn,
                reserved: 0,
            };
            let at = self.addr.checked_add(HEAD as u64).ok_or(EFAULT)?;
            copy_struct_out(CONTEXT, at, &context)?;
            head.valid = uapi::ALPC_ATTR_CONTEXT;
        }
        let valid = core::mem::offset_of!(uapi::alpc_attributes, valid);
        copy_range_out(HEAD, self.addr, &head, valid..HEAD)
    }
}
