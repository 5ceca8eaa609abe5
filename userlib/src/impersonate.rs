// SPDX-License-Identifier: MIT OR Apache-2.0

//! Using files as the sender of a message may.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::process::abort;

use crate::error::{Error, Result};
use crate::message::Request;
use crate::sys;
use crate::turn::Turn;

/// The way back. It is the thread's that has it, and never leaves [`Turn::as_caller`].
struct Impersonation {
    way_back: OwnedFd,
    /// Another thread can't go back.
    _thread: PhantomData<*const ()>,
}

impl Drop for Impersonation {
    fn drop(&mut self) {
        if sys::revert(self.way_back.as_fd()).is_err() {
            // Nothing may go on as somebody else who it thinks it is not.
            abort();
        }
    }
}

impl Turn<'_> {
    /// Runs `work` with files as the sender of the message may use them.
    ///
    /// While it runs, this thread is to file systems what the sender is: user, group,
    /// supplementary groups, and the capabilities that both have. Nothing else of it changes, and no other
    /// thread. But what `work` starts, threads and processes, begins as what this thread is then.
    /// It is no sandbox: code that this server wouldn't run itself can undo it.
    ///
    /// When `work` is over, by a panic too, the thread is what it was. The process is aborted if
    /// that fails. The hook of a panic runs before that, and so uses files as the sender may.
    /// `work` should leave the thread's ids and capabilities alone; what it changes of them stays.
    /// Also, by the kernel's rule for changes of ids, the process can't be traced or dump core any
    /// more unless it makes itself dumpable again.
    ///
    /// It takes a sender that [says so](crate::Security::IMPERSONATE), and that this server could become
    /// by itself: with another user's identity, by `CAP_SETUID` and `CAP_SETGID`. Two ioctls and a
    /// descriptor.
    ///
    /// # What a client may name
    ///
    /// A path from a client leads to anything that the client can make or see. Whoever opens a pipe
    /// waits for its other end. A terminal becomes the controlling one of a server that leads its
    /// session and has none, and its end is a `SIGHUP` for the server. So such a path is opened with
    /// `O_NONBLOCK` and `O_NOCTTY`, and then it is looked at what that is. A file system may answer
    /// late: a server of many opens clients' files in a thread of its own. `/proc/self`, also by a
    /// symbolic link of the client's, is the server: anybody may read its `maps`, so what is open
    /// of `/proc` is not to be given back.
    ///
    /// # Errors
    ///
    /// [`Outcome::NotGranted`](crate::Outcome::NotGranted),
    /// [`BeyondReach`](crate::Outcome::BeyondReach) and
    /// [`Revoked`](crate::Outcome::Revoked) above all. `work` has not run then.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::File;
    /// use std::os::unix::fs::OpenOptionsExt;
    ///
    /// use alpc::{Received, Server};
    ///
    /// fn open_for(server: &Server) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut buffer = [0; 4096];
    ///     if let Received::Request(request) = server.receive(&mut buffer)? {
    ///         let path = std::str::from_utf8(request.data())?;
    ///         let mut options = File::options();
    ///         options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    ///         let file = request.as_caller(|| options.open(path))??;
    ///         println!("{path:?}: {:?}", file.metadata()?.file_type());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn as_caller<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let id = self.id();
        let mut raw = sys::alpc_impersonate {
            id: id.conversation.to_raw(),
            callback_id: id.callback_id,
            ..Default::default()
        };
        let way_back = sys::impersonate(self.port().as_fd(), &mut raw)
            .map_err(|error| Error::new("impersonate", &error, raw.outcome))?;
        let impersonation = Impersonation {
            way_back,
            _thread: PhantomData,
        };
        let result = work();
        drop(impersonation);
        Ok(result)
    }
}

impl Request<'_, '_> {
    /// Runs `work` with files as the client may use them: [`Turn::as_caller`].
    ///
    /// # Errors
    ///
    /// Those of [`Turn::as_caller`].
    pub fn as_caller<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.turn().as_caller(work)
    }
}
