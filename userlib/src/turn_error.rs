// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a send into a conversation leaves when it fails.

use std::fmt;

use crate::error::Error;

/// A send into a conversation failed.
///
/// `?` turns it into an [`Error`] or a `Box<dyn std::error::Error>`, and gives the conversation up:
/// it is no `std::error::Error` itself, since that could not borrow the port that its turn does.
/// `Display` and `Debug` are those of the error.
///
/// ```no_run
/// fn answer(server: &alpc::Server) -> Result<(), Box<dyn std::error::Error>> {
///     let mut buffer = [0; 4096];
///     if let alpc::Received::Request(request) = server.receive(&mut buffer)? {
///         request.into_turn().reply(b"done")?;
///     }
///     Ok(())
/// }
/// ```
pub struct TurnError<T> {
    /// What went wrong.
    pub error: Error,
    /// The turn, if it is still this side's: nothing was sent, and the
    /// conversation goes on. Dropping it gives the conversation up.
    pub turn: Option<T>,
}

impl<T> fmt::Display for TurnError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for TurnError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        f.debug_struct("TurnError")
            .field("error", &self.error)
            .field("turn", &self.turn)
            .finish()
    }
}

impl<T> From<TurnError<T>> for Error {
    fn from(failed: TurnError<T>) -> Self {
        failed.error
    }
}

impl<T> From<TurnError<T>> for std::io::Error {
    fn from(failed: TurnError<T>) -> Self {
        failed.error.into()
    }
}

impl<T> From<TurnError<T>> for Box<dyn std::error::Error> {
    fn from(failed: TurnError<T>) -> Self {
        failed.error.into()
    }
}

impl<T> From<TurnError<T>> for Box<dyn std::error::Error + Send + Sync> {
    fn from(failed: TurnError<T>) -> Self {
        failed.error.into()
    }
}
