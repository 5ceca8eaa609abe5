// SPDX-License-Identifier: MIT OR Apache-2.0

//! The TOKEN and RECEIVER attributes, and `ALPC_IOC_VERIFY`.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{ioctl, Failure, Message, Port, Transfer, JUNK32, JUNK64};

/// A container with room for a token alone.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TokenContainer {
    pub head: alpc_attributes,
    pub token: alpc_attr_token,
}

impl TokenContainer {
    /// Room, full of junk.
    pub fn room() -> Self {
        Self {
            head: alpc_attributes {
                allocated: ALPC_ATTR_TOKEN,
                valid: 0,
            },
            token: alpc_attr_token {
                token_id: JUNK64,
                session_id: JUNK64,
                modified_id: JUNK64,
            },
        }
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(self) as u64
    }
}

/// A container that says who a message is for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ReceiverContainer {
    pub head: alpc_attributes,
    pub receiver: alpc_attr_receiver,
}

impl ReceiverContainer {
    /// For a user, a group, or both.
    pub fn new(uid: Option<u32>, gid: Option<u32>) -> Self {
        let flag = |id: Option<u32>, flag| id.map_or(0, |_| flag);
        Self {
            head: alpc_attributes {
                allocated: ALPC_ATTR_RECEIVER,
                valid: ALPC_ATTR_RECEIVER,
            },
            receiver: alpc_attr_receiver {
                uid: uid.unwrap_or(0),
                gid: gid.unwrap_or(0),
                flags: flag(uid, ALPC_RECEIVER_UID) | flag(gid, ALPC_RECEIVER_GID),
                reserved: 0,
            },
        }
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(self) as u64
    }
}

impl Port {
    /// The next message with the token of who sent it.
    pub fn receive_token(&self) -> Result<(Message, alpc_attr_token), Failure> {
        let mut room = TokenContainer::room();
        let mut transfer = Transfer::new().receive();
        transfer.arg.recv_attributes = room.address();
        let message = transfer.run(self)?;
        assert_eq!(room.head.valid, ALPC_ATTR_TOKEN, "a token");
        Ok((message, room.token))
    }

    /// A synchronous request for a user, a group, or both.
    pub fn request_for(
        &self,
        data: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<Message, Failure> {
        let mut container = ReceiverContainer::new(uid, gid);
        let mut transfer = Transfer::new().send(data).receive().flags(ALPC_SYNC);
        transfer.arg.send_attributes = container.address();
        transfer.run(self)
    }

    /// Whether the sender of a message still has its number.
    pub fn verify(&self, id: u64, callback_id: u32, flags: u32) -> Result<(), Failure> {
        let mut arg = alpc_verify {
            id,
            callback_id,
            flags,
            outcome: JUNK32,
            reserved: 0,
        };
        let verified = verify_as_is(self, &mut arg);
        if verified.is_ok() {
            assert_eq!(arg.outcome, ALPC_OUTCOME_OK);
        }
        verified
    }
}

/// Runs with whatever the argument holds.
pub fn verify_as_is(port: &impl AsFd, arg: &mut alpc_verify) -> Result<(), Failure> {
    let asked = ioctl(port, ALPC_IOCTL_VERIFY, arg);
    let outcome = arg.outcome;
    asked.map(drop).map_err(|errno| Failure { errno, outcome })
}

/// A connect descriptor of the port with this name.
pub fn open_port(name: &str) -> Result<Port, Failure> {
    open_port_on(&super::device(), name)
}

pub fn open_port_on(device: &impl AsFd, name: &str) -> Result<Port, Failure> {
    let mut arg = alpc_open {
        name: name.as_ptr() as u64,
        name_length: name.len() as u32,
        flags: 0,
        outcome: JUNK32,
        reserved: 0,
    };
    open_as_is(device, &mut arg)
}

/// Runs with whatever the argument holds.
pub fn open_port_as_is(arg: &mut alpc_open) -> Result<Port, Failure> {
    open_as_is(&super::device(), arg)
}

fn open_as_is(device: &impl AsFd, arg: &mut alpc_open) -> Result<Port, Failure> {
    let opened = ioctl(device, ALPC_IOCTL_OPEN, arg);
    let outcome = arg.outcome;
    let fd = opened.map_err(|errno| Failure { errno, outcome })?;
    assert_eq!(outcome, ALPC_OUTCOME_OK);
    Ok(super::adopt(fd))
}
