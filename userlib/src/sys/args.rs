// SPDX-License-Identifier: MIT OR Apache-2.0

//! The arguments of `CREATE_PORT`, `CONNECT` and `ACCEPT`, with what they
//! point at borrowed.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::transfer::{address, address_mut, length};
use super::{
    alpc_accept, alpc_acl_entry, alpc_connect, alpc_create_port, ALPC_CONNECT_REQUIRE_LABEL,
    ALPC_CONNECT_SENT, ALPC_MESSAGE_MAX, ALPC_OUTCOME_OK, ALPC_PORT_ACL,
};

/// The argument of `CREATE_PORT`.
///
/// # Invariants
///
/// `name` and `acl` are null with a length of 0, or were borrowed for `'a`.
#[derive(Debug)]
pub struct CreatePort<'a> {
    raw: alpc_create_port,
    borrows: PhantomData<&'a [u8]>,
}

impl<'a> CreatePort<'a> {
    /// Takes every field of `raw` but the name and the access control list,
    /// which are borrowed.
    pub fn new(
        raw: alpc_create_port,
        name: Option<&'a [u8]>,
        acl: Option<&'a [alpc_acl_entry]>,
    ) -> Self {
        let mut raw = raw;
        let name = name.unwrap_or_default();
        raw.name = address(name);
        raw.name_length = length(name);
        raw.flags &= !ALPC_PORT_ACL;
        raw.acl = 0;
        raw.acl_count = 0;
        if let Some(acl) = acl {
            raw.flags |= ALPC_PORT_ACL;
            raw.acl = address(acl);
            raw.acl_count = length(acl);
        }
        Self {
            raw,
            borrows: PhantomData,
        }
    }

    /// The structure as the kernel has left it.
    pub fn raw(&self) -> &alpc_create_port {
        &self.raw
    }

    /// Makes the one ioctl.
    pub fn call(&mut self, device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        // SAFETY: By the type's invariants both pointers are borrowed for
        // longer than this call.
        unsafe { super::create_port(device, &mut self.raw) }
    }
}

/// The argument of `CONNECT`. Owns the pending client port that a signal has
/// left, and closes it when it is dropped.
///
/// # Invariants
///
/// `name` and `send_data` are null with a length of 0, or were borrowed for
/// `'a`, and so was `required_label`; so was `recv_data`, exclusively. `raw.fd` is -1 or that of `pending`.
#[derive(Debug)]
pub struct Connect<'a> {
    raw: alpc_connect,
    pending: Option<OwnedFd>,
    borrows: PhantomData<&'a mut [u8]>,
}

impl<'a> Connect<'a> {
    /// Takes every field of `raw` but the pointers and the descriptor. Without
    /// memory for it, the server's answer is dropped.
    pub fn new(
        raw: alpc_connect,
        name: Option<&'a [u8]>,
        send: &'a [u8],
        receive: Option<&'a mut [u8]>,
    ) -> Self {
        let mut raw = raw;
        let name = name.unwrap_or_default();
        raw.name = address(name);
        raw.name_length = length(name);
        raw.send_data = address(send);
        raw.send_length = length(send);
        match receive {
            Some(receive) => {
                raw.recv_capacity = length(receive);
                raw.recv_data = address_mut(receive);
            }
            // No memory but room in name: the kernel drops the answer.
            None => {
                raw.recv_data = 0;
                raw.recv_capacity = ALPC_MESSAGE_MAX;
            }
        }
        raw.flags &= !(ALPC_CONNECT_SENT | ALPC_CONNECT_REQUIRE_LABEL);
        (raw.required_label, raw.required_label_length) = (0, 0);
        raw.fd = -1;
        Self {
            raw,
            pending: None,
            borrows: PhantomData,
        }
    }

    /// Requires that the port's maker has this label, see `ALPC_CONNECT_REQUIRE_LABEL`.
    pub fn require_label(&mut self, label: &'a [u8]) {
        self.raw.flags |= ALPC_CONNECT_REQUIRE_LABEL;
        self.raw.required_label = address(label);
        self.raw.required_label_length = length(label);
    }

    /// The structure as the kernel has left it.
    pub fn raw(&self) -> &alpc_connect {
        &self.raw
    }

    /// Makes the one ioctl. After `EINTR` with `ALPC_CONNECT_SENT` set, calling
    /// again goes on waiting. The outcome is that of this call, and none of an earlier one.
    pub fn call(&mut self, fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        self.raw.outcome = ALPC_OUTCOME_OK;
        // SAFETY: By the type's invariants all pointers are borrowed for
        // longer than this call.
        let result = unsafe { super::connect(fd, &mut self.raw) };
        match result {
            Ok(client) => {
                self.raw.fd = -1;
                let pending = self.pending.take();
                if pending.as_ref().map(AsRawFd::as_raw_fd) == Some(client.as_raw_fd()) {
                    // One descriptor, two owners: this one lets go.
                    std::mem::forget(pending);
                }
                Ok(client)
            }
            Err(error) => {
                let sent = self.raw.flags & ALPC_CONNECT_SENT != 0;
                if sent && self.pending.is_none() && self.raw.fd >= 0 {
                    self.pending = Some(super::made(self.raw.fd));
                }
                Err(error)
            }
        }
    }
}

/// The argument of `ACCEPT`.
///
/// # Invariants
///
/// `send_data` is null with a length of 0, or was borrowed for `'a`.
#[derive(Debug)]
pub struct Accept<'a> {
    raw: alpc_accept,
    borrows: PhantomData<&'a [u8]>,
}

impl<'a> Accept<'a> {
    /// Takes every field of `raw` but the payload.
    pub fn new(raw: alpc_accept, send: &'a [u8]) -> Self {
        let mut raw = raw;
        raw.send_data = address(send);
        raw.send_length = length(send);
        Self {
            raw,
            borrows: PhantomData,
        }
    }

    /// The structure as the kernel has left it.
    pub fn raw(&self) -> &alpc_accept {
        &self.raw
    }

    /// Makes the one ioctl. A refusal makes no port.
    pub fn call(&mut self, port: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
        // SAFETY: By the type's invariants the payload is borrowed for longer
        // than this call.
        unsafe { super::accept(port, &mut self.raw) }
    }
}
