// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared ownership of a port's descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use crate::sys;

/// A port's descriptor. The last owner in the process that made it disconnects
/// before it closes.
///
/// Closing alone would leave a thread that waits on the port waiting: the wait
/// holds the file.
#[derive(Debug)]
pub(crate) struct Handle {
    /// `None` only after `into_fd`.
    fd: Option<OwnedFd>,
    /// The process that disconnects.
    maker: sys::Maker,
    /// Known once somebody has asked for it. It never changes.
    largest_message: OnceLock<usize>,
}

impl Handle {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            maker: sys::Maker::here(),
            largest_message: OnceLock::new(),
        }
    }

    /// What `ask` has said the first time it knew.
    pub(crate) fn largest_message<E>(
        &self,
        ask: impl FnOnce() -> Result<usize, E>,
    ) -> Result<usize, E> {
        match self.largest_message.get() {
            Some(&known) => Ok(known),
            None => ask().map(|new| *self.largest_message.get_or_init(|| new)),
        }
    }

    /// Takes the descriptor out, without disconnecting. What has other owners
    /// is duplicated.
    pub(crate) fn into_fd(this: Arc<Self>) -> io::Result<OwnedFd> {
        match Arc::try_unwrap(this) {
            Ok(mut handle) => handle.fd.take().ok_or_else(|| io::ErrorKind::Other.into()),
            Err(shared) => shared.as_fd().try_clone_to_owned(),
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.fd.as_ref();
        fd.expect("only into_fd takes it, and it takes the handle too")
            .as_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(fd) = &self.fd {
            if self.maker.is_here() {
                let mut argument = sys::alpc_disconnect {
                    flags: sys::ALPC_DISCONNECT_NO_FLUSH,
                    reserved: 0,
                };
                // There is nobody to tell, and closing follows in any case.
                let _ = sys::disconnect(fd.as_fd(), &mut argument);
            }
        }
    }
}
