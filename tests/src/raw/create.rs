// SPDX-License-Identifier: MIT OR Apache-2.0

//! CREATE_PORT.

use std::os::fd::AsFd;

use alpc_uapi::*;

use super::{adopt, device, ioctl, Failure, Port, JUNK32};

/// Everything that goes into a CREATE_PORT. `arg` may be edited before `run`.
pub struct Create {
    pub name: Option<Vec<u8>>,
    pub acl: Option<Vec<alpc_acl_entry>>,
    pub arg: alpc_create_port,
}

/// An entry that allows everything.
pub fn allow(who: u32, id: u32) -> alpc_acl_entry {
    entry(ALPC_ACL_ALLOW, who, id)
}

/// An entry that denies everything.
pub fn deny(who: u32, id: u32) -> alpc_acl_entry {
    entry(ALPC_ACL_DENY, who, id)
}

/// An entry that allows some of it.
pub fn grant(who: u32, id: u32, rights: u32) -> alpc_acl_entry {
    alpc_acl_entry {
        rights,
        ..allow(who, id)
    }
}

/// An entry that denies some of it.
pub fn withhold(who: u32, id: u32, rights: u32) -> alpc_acl_entry {
    alpc_acl_entry {
        rights,
        ..deny(who, id)
    }
}

fn entry(kind: u32, who: u32, id: u32) -> alpc_acl_entry {
    alpc_acl_entry {
        type_: kind as u16,
        who: who as u16,
        id,
        rights: ALPC_RIGHT_ALL,
        reserved: 0,
    }
}

impl Create {
    pub fn anonymous() -> Self {
        Self {
            name: None,
            acl: None,
            arg: alpc_create_port {
                outcome: JUNK32,
                ..Default::default()
            },
        }
    }

    pub fn named(name: impl AsRef<[u8]>) -> Self {
        Self {
            name: Some(name.as_ref().to_vec()),
            ..Self::anonymous()
        }
    }

    pub fn flags(mut self, flags: u32) -> Self {
        self.arg.flags |= flags;
        self
    }

    pub fn context(mut self, context: u64) -> Self {
        self.arg.context = context;
        self
    }

    pub fn max(mut self, length: u32) -> Self {
        self.arg.max_message_length = length;
        self
    }

    /// The share of a connection: messages and bytes.
    pub fn share(mut self, messages: u32, bytes: u32) -> Self {
        self.arg.queue_messages = messages;
        self.arg.queue_bytes = bytes;
        self
    }

    pub fn connections(mut self, most: u32) -> Self {
        self.arg.max_connections = most;
        self
    }

    /// What the server takes from its clients.
    pub fn taking(mut self, takes: u32) -> Self {
        self.arg.accept = takes;
        self
    }

    /// What the server takes: `ALPC_TAKE_*`, and kinds of handle.
    pub fn takes(mut self, accept: u32, kinds: u32) -> Self {
        self.arg.accept = accept;
        self.arg.handle_kinds = kinds;
        self
    }

    pub fn acl(mut self, entries: &[alpc_acl_entry]) -> Self {
        self.acl = Some(entries.to_vec());
        self.flags(ALPC_PORT_ACL)
    }

    /// Admits everyone.
    pub fn open(self) -> Self {
        self.acl(&[allow(ALPC_ACL_EVERYONE, 0)])
    }

    pub fn run(&mut self) -> Result<Port, Failure> {
        self.run_on(&device())
    }

    pub fn run_on(&mut self, device: &impl AsFd) -> Result<Port, Failure> {
        self.point();
        self.run_as_is_on(device)
    }

    /// Makes the argument point to name and list.
    pub fn point(&mut self) {
        if let Some(name) = &self.name {
            self.arg.name = name.as_ptr() as u64;
            self.arg.name_length = name.len() as u32;
        }
        if let Some(acl) = &self.acl {
            // An empty list has no address.
            self.arg.acl = if acl.is_empty() {
                0
            } else {
                acl.as_ptr() as u64
            };
            self.arg.acl_count = acl.len() as u32;
        }
    }

    /// Runs with whatever the argument holds.
    pub fn run_as_is(&mut self) -> Result<Port, Failure> {
        self.run_as_is_on(&device())
    }

    fn run_as_is_on(&mut self, device: &impl AsFd) -> Result<Port, Failure> {
        let result = ioctl(device, ALPC_IOCTL_CREATE_PORT, &mut self.arg);
        let outcome = self.arg.outcome;
        if result.is_ok() {
            assert_eq!(outcome, ALPC_OUTCOME_OK, "outcome of a success");
        }
        result
            .map(adopt)
            .map_err(|errno| Failure { errno, outcome })
    }
}
