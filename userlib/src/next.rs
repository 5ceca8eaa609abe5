// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a server loop does after a receive that failed.

use crate::error::Error;
use crate::outcome::Outcome;

/// What a server loop does after a receive that failed: the one place that tells errors apart, as
/// [`ServerLoop::run`](crate::ServerLoop::run) documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It ends, and that is no error.
    End,
    /// It ends with the error.
    Fail,
    /// It receives the same message without its view.
    WithoutView,
    /// It tries again after a while.
    Later,
    /// Nothing has come, and it waits on.
    Again,
}

impl Next {
    /// `views` says whether views were asked for, and `looks` whether the time was the loop's own.
    pub(crate) fn after(error: &Error, views: bool, looks: bool) -> Self {
        match (error.outcome(), error.errno()) {
            (Some(Outcome::Closed | Outcome::NoClients), _) => Self::End,
            (Some(Outcome::TimedOut | Outcome::TimedOutSent), libc::ETIMEDOUT) if looks => {
                Self::Again
            }
            (Some(Outcome::TimedOut | Outcome::TimedOutSent), _) => Self::Fail,
            (Some(Outcome::NoWindow), _) | (_, libc::ENOMEM) if views => Self::WithoutView,
            (Some(Outcome::Limit), _) => Self::Later,
            (_, libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN) => Self::Later,
            _ => Self::Fail,
        }
    }

    /// Whether the service is told.
    pub(crate) fn is_a_failure(self, error: &Error) -> bool {
        match self {
            Self::WithoutView | Self::Later => true,
            Self::End => error.is(Outcome::NoClients),
            Self::Fail | Self::Again => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn next(errno: i32, outcome: impl Into<Option<Outcome>>, views: bool, looks: bool) -> Next {
        let error = io::Error::from_raw_os_error(errno);
        let outcome = outcome.into().map_or(0, Outcome::to_raw);
        Next::after(&Error::new("receive", &error, outcome), views, looks)
    }

    #[test]
    fn no_want_of_memory_or_descriptors_ends_a_loop() {
        for errno in [libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::EAGAIN] {
            assert_eq!(next(errno, None, false, true), Next::Later);
        }
        assert_eq!(next(libc::EDQUOT, Outcome::Limit, true, true), Next::Later);
        assert_eq!(next(libc::ENOMEM, None, true, true), Next::WithoutView);
        let crowded = next(libc::ENOBUFS, Outcome::NoWindow, true, true);
        assert_eq!(crowded, Next::WithoutView);
    }

    #[test]
    fn what_would_come_again_at_once_ends_it() {
        for errno in [libc::EBADF, libc::EFAULT, libc::EINVAL, libc::ENOTTY] {
            assert_eq!(next(errno, None, true, true), Next::Fail);
        }
        let nonblocking = next(libc::EAGAIN, Outcome::TimedOut, true, true);
        assert_eq!(nonblocking, Next::Fail);
        let interrupted = next(libc::EINTR, Outcome::Interrupted, true, true);
        assert_eq!(interrupted, Next::Fail);
    }

    #[test]
    fn a_time_that_is_up_ends_it_if_it_was_the_callers() {
        for outcome in [Outcome::TimedOut, Outcome::TimedOutSent] {
            assert_eq!(next(libc::ETIMEDOUT, outcome, true, true), Next::Again);
            assert_eq!(next(libc::ETIMEDOUT, outcome, true, false), Next::Fail);
        }
    }

    #[test]
    fn a_port_that_is_over_or_out_of_reach_is_no_error() {
        assert_eq!(
            next(libc::ESHUTDOWN, Outcome::Closed, true, true),
            Next::End
        );
        assert_eq!(
            next(libc::ENOLINK, Outcome::NoClients, true, true),
            Next::End
        );
    }
}
