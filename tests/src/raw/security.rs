// SPDX-License-Identifier: MIT OR Apache-2.0

//! The SECURITY attribute, and the ioctls on security contexts.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{adopt, ioctl, ioctl_at, Failure, Message, Port, Transfer, JUNK32, JUNK64};

/// A container with that one attribute.
#[repr(C)]
pub struct SecurityContainer {
    pub head: alpc_attributes,
    pub security: alpc_attr_security,
}

impl SecurityContainer {
    /// What a sender gives.
    pub fn sending(context: u64, security: u32, flags: u32) -> Self {
        let mut this = Self::receiving();
        this.head.valid = ALPC_ATTR_SECURITY;
        this.security = alpc_attr_security {
            context,
            security,
            flags,
        };
        this
    }

    /// What a receiver gives: room, full of junk.
    pub fn receiving() -> Self {
        Self {
            head: alpc_attributes {
                allocated: ALPC_ATTR_SECURITY,
                valid: 0,
            },
            security: alpc_attr_security {
                context: JUNK64,
                security: JUNK32,
                flags: JUNK32,
            },
        }
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(self) as u64
    }

    /// What a receiver was told: context, level and flags, whether it is revoked.
    pub fn told(&self) -> Option<(u64, u32, u32)> {
        let it = &self.security;
        match self.head.valid {
            ALPC_ATTR_SECURITY => Some((it.context, it.security, it.flags)),
            0 => {
                let junk = (it.context, it.security, it.flags);
                assert_eq!(junk, (JUNK64, JUNK32, JUNK32));
                None
            }
            other => panic!("{other:#x} is valid"),
        }
    }
}

impl Port {
    /// An ioctl on security contexts.
    pub fn ask_security(&self, command: u32, arg: &mut alpc_security) -> Result<(), Failure> {
        let asked = ioctl(self, command, arg);
        let outcome = arg.outcome;
        asked.map(drop).map_err(|errno| Failure { errno, outcome })
    }

    fn of_context(&self, command: u32, context: u64, security: u32) -> Result<u64, Failure> {
        let mut arg = alpc_security {
            context,
            security,
            outcome: JUNK32,
            ..Default::default()
        };
        self.ask_security(command, &mut arg)?;
        assert_eq!(arg.outcome, ALPC_OUTCOME_OK);
        Ok(arg.context)
    }

    /// A new context.
    pub fn create_security(&self, security: u32) -> Result<u64, Failure> {
        self.of_context(ALPC_IOCTL_CREATE_SECURITY, 0, security)
    }

    /// Deletes one.
    pub fn delete_security(&self, context: u64) -> Result<(), Failure> {
        let deleted = self.of_context(ALPC_IOCTL_DELETE_SECURITY, context, 0);
        deleted.map(drop)
    }

    /// Revokes one.
    pub fn revoke_security(&self, context: u64) -> Result<(), Failure> {
        let revoked = self.of_context(ALPC_IOCTL_REVOKE_SECURITY, context, 0);
        revoked.map(drop)
    }

    /// An asynchronous request with that attribute: its conversation.
    pub fn post_secured(
        &self,
        data: &[u8],
        security: &mut SecurityContainer,
    ) -> Result<u64, Failure> {
        let mut transfer = Transfer::new().send(data);
        transfer.arg.send_attributes = security.address();
        transfer.run(self)?;
        Ok(transfer.arg.send_id)
    }

    /// The next message, and what is told of its context.
    pub fn receive_secured(&self) -> Result<(Message, SecurityContainer), Failure> {
        let mut container = SecurityContainer::receiving();
        let mut transfer = Transfer::new().receive();
        transfer.arg.recv_attributes = container.address();
        let message = transfer.run(self)?;
        Ok((message, container))
    }
}

/// Impersonation, whose descriptor is a [`Port`] to the tests.
impl Port {
    /// IMPERSONATE with this argument.
    pub fn ask_impersonate(&self, arg: &mut alpc_impersonate) -> Result<Port, Failure> {
        let asked = ioctl(self, ALPC_IOCTL_IMPERSONATE, arg);
        let outcome = arg.outcome;
        asked.map(adopt).map_err(|errno| Failure { errno, outcome })
    }

    /// Takes on what the sender of a held message is.
    pub fn impersonate(&self, message: &Message) -> Result<Port, Failure> {
        let mut arg = alpc_impersonate {
            id: message.id,
            callback_id: message.callback_id,
            outcome: JUNK32,
            ..Default::default()
        };
        let way_back = self.ask_impersonate(&mut arg)?;
        assert_eq!(arg.outcome, ALPC_OUTCOME_OK);
        Ok(way_back)
    }

    /// The way back.
    pub fn revert(&self) -> Result<(), i32> {
        // SAFETY: Takes no argument.
        unsafe { ioctl_at(self.as_fd(), ALPC_IOCTL_REVERT, 0) }.map(drop)
    }
}
