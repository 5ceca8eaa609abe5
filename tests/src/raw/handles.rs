// SPDX-License-Identifier: MIT OR Apache-2.0

//! The HANDLE attribute, and CLAIM.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use alpc_uapi::*;

use super::{ioctl, Failure, Message, Port, Transfer, JUNK32};

/// What an entry holds before a call: no descriptor, no kind.
const EMPTY: alpc_handle = alpc_handle {
    fd: JUNK32 as i32,
    kind: JUNK32,
};

#[repr(C)]
struct Container {
    head: alpc_attributes,
    handle: alpc_attr_handle,
}

/// A container with the one attribute, and the entries it points to. It may be
/// edited before the call, and read after it.
pub struct HandleContainer {
    // In a box, as its address is used while it moves about.
    container: Box<Container>,
    pub entries: Vec<alpc_handle>,
}

impl HandleContainer {
    fn new(entries: Vec<alpc_handle>, valid: u32) -> Self {
        let mut this = Self {
            container: Box::new(Container {
                head: alpc_attributes {
                    allocated: ALPC_ATTR_HANDLE,
                    valid,
                },
                handle: alpc_attr_handle {
                    count: entries.len() as u32,
                    index: JUNK32,
                    error: JUNK32,
                    ..Default::default()
                },
            }),
            entries,
        };
        if !this.entries.is_empty() {
            this.container.handle.handles = this.entries.as_mut_ptr() as u64;
        }
        this
    }

    /// Descriptors to be sent, of whichever kind.
    pub fn sending(fds: &[RawFd]) -> Self {
        let entries = fds.iter().map(|&fd| alpc_handle { fd, kind: 0 });
        Self::new(entries.collect(), ALPC_ATTR_HANDLE)
    }

    /// The same for one.
    pub fn one(fd: &impl AsFd) -> Self {
        Self::sending(&[fd.as_fd().as_raw_fd()])
    }

    /// Room for so many.
    pub fn room(count: usize) -> Self {
        Self::new(vec![EMPTY; count], 0)
    }

    /// Room for so many, which are claimed.
    pub fn claiming(count: usize) -> Self {
        let mut this = Self::room(count);
        this.handle().flags = ALPC_HANDLES_CLAIM;
        this
    }

    pub fn handle(&mut self) -> &mut alpc_attr_handle {
        &mut self.container.handle
    }

    /// Whether the kernel filled it in.
    pub fn is_valid(&self) -> bool {
        self.container.head.valid & ALPC_ATTR_HANDLE != 0
    }

    /// The descriptors that were installed, and whether that ended with an errno.
    pub fn claimed(&mut self) -> (Vec<OwnedFd>, u32) {
        let (installed, error) = (self.handle().index, self.handle().error);
        (own(&self.entries[..installed as usize]), error)
    }

    pub fn address(&mut self) -> u64 {
        std::ptr::from_mut(&mut *self.container) as u64
    }
}

/// Descriptors that the kernel has just installed.
pub fn own(entries: &[alpc_handle]) -> Vec<OwnedFd> {
    let own = |entry: &alpc_handle| {
        assert!(entry.fd >= 0, "no descriptor: {}", entry.fd);
        // SAFETY: Just installed, owned by nobody else.
        unsafe { OwnedFd::from_raw_fd(entry.fd) }
    };
    entries.iter().map(own).collect()
}

/// Everything that goes into a CLAIM. `arg` may be edited before `run`.
pub struct Claim {
    pub entries: Vec<alpc_handle>,
    pub arg: alpc_claim,
}

impl Claim {
    pub fn new(message: &Message, index: u32, count: u32) -> Self {
        Self {
            entries: vec![EMPTY; count as usize],
            arg: alpc_claim {
                id: message.id,
                callback_id: message.callback_id,
                index,
                count,
                claimed: JUNK32,
                outcome: JUNK32,
                ..Default::default()
            },
        }
    }

    pub fn flags(mut self, flags: u32) -> Self {
        self.arg.flags = flags;
        self
    }

    pub fn point(&mut self) {
        self.arg.handles = self.entries.as_mut_ptr() as u64;
    }

    pub fn run(&mut self, port: &Port) -> Result<Vec<OwnedFd>, Failure> {
        self.point();
        let result = ioctl(port, ALPC_IOCTL_CLAIM, &mut self.arg);
        let outcome = self.arg.outcome;
        result.map_err(|errno| Failure { errno, outcome })?;
        assert_eq!(outcome, ALPC_OUTCOME_OK, "outcome of a success");
        assert_eq!(self.arg.claimed, self.arg.count);
        Ok(own(&self.entries))
    }
}

impl Transfer {
    /// Sends these too. They must outlive the call.
    pub fn handles(mut self, container: &mut HandleContainer) -> Self {
        self.arg.send_attributes = container.address();
        self
    }

    /// Has these filled in. They must outlive the call.
    pub fn room_for(mut self, container: &mut HandleContainer) -> Self {
        self.arg.recv_attributes = container.address();
        self
    }
}

/// The uses with handles, by their names.
impl Port {
    /// A one-way message with handles.
    pub fn one_way_with(&self, container: &mut HandleContainer) -> Result<(), Failure> {
        let mut transfer = Transfer::new().send(b"").flags(ALPC_RELEASE);
        transfer = transfer.handles(container);
        transfer.run(self).map(|_| ())
    }

    /// An asynchronous request with handles: its conversation.
    pub fn post_with(&self, container: &mut HandleContainer) -> Result<u64, Failure> {
        let mut transfer = Transfer::new().send(b"").handles(container);
        transfer.run(self)?;
        Ok(transfer.arg.send_id)
    }

    /// The final reply, with handles.
    pub fn reply_with(&self, to: &Message, container: &mut HandleContainer) -> Result<(), Failure> {
        let mut transfer = Transfer::new().send(b"").into(to).flags(ALPC_RELEASE);
        transfer = transfer.handles(container);
        transfer.run(self).map(|_| ())
    }

    /// The next message, with its handles.
    pub fn receive_with(&self, container: &mut HandleContainer) -> Result<Message, Failure> {
        Transfer::new().receive().room_for(container).run(self)
    }

    /// One handle of a held message.
    pub fn claim(&self, message: &Message, index: u32) -> Result<OwnedFd, Failure> {
        let mut fds = Claim::new(message, index, 1).run(self)?;
        Ok(fds.remove(0))
    }
}
