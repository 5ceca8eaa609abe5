// SPDX-License-Identifier: MIT OR Apache-2.0

//! Processes of other users, forked from a test.

use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};

use crate::isolate::{explain, prctl, report_fd, run_and_exit};
use crate::{inspect, wait, Link};

/// Whom a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub name: &'static str,
    pub uid: u32,
    pub gid: u32,
    pub groups: &'static [u32],
}

const fn user(name: &'static str, id: u32) -> User {
    User {
        name,
        uid: id,
        gid: id,
        groups: &[],
    }
}

pub const ROOT: User = user("root", 0);
pub const ALICE: User = user("alice", 1000);
pub const BOB: User = user("bob", 1001);
pub const CAROL: User = user("carol", 1002);
pub const MALLORY: User = user("mallory", 1003);

impl User {
    /// The same user with these supplementary groups.
    pub const fn with_groups(self, groups: &'static [u32]) -> Self {
        Self { groups, ..self }
    }

    /// Makes the calling process, all threads of it, this user's for good.
    pub fn become_it(&self) {
        // SAFETY: The list is live for the call; the others take numbers.
        unsafe {
            assert_eq!(libc::setgroups(self.groups.len(), self.groups.as_ptr()), 0);
            assert_eq!(libc::setresgid(self.gid, self.gid, self.gid), 0);
            assert_eq!(libc::setresuid(self.uid, self.uid, self.uid), 0);
        }
    }
}

/// A forked process, killed and reaped when dropped. It must be forked from a
/// thread that outlives it.
pub struct Peer {
    pid: i32,
    name: &'static str,
    link: Link,
    reaped: bool,
}

impl Peer {
    /// Runs `body` in a process that inherits nothing but its link: a port the
    /// test holds isn't kept open by it. `body` must not use descriptors it
    /// captured.
    pub fn spawn(user: User, body: impl FnOnce(&Link)) -> Self {
        Self::make(user, true, body)
    }

    /// Runs `body` in a process that has every descriptor of the test.
    pub fn fork(user: User, body: impl FnOnce(&Link)) -> Self {
        Self::make(user, false, body)
    }

    fn make(user: User, alone: bool, body: impl FnOnce(&Link)) -> Self {
        let (ours, theirs) = Link::pair();
        let parent = std::process::id();
        // SAFETY: The child works on its own copy of everything and ends
        // with _exit; glibc keeps its allocator usable across the fork.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid > 0 {
            return Self {
                pid,
                name: user.name,
                link: ours,
                reaped: false,
            };
        }
        run_and_exit(user.name, move || {
            if alone {
                std::mem::forget(ours);
                close_all_but(&[0, 1, 2, report_fd(), theirs.as_raw_fd_()]);
            } else {
                drop(ours);
            }
            if user != ROOT {
                user.become_it();
            }
            // A change of user resets both.
            prctl(libc::PR_SET_DUMPABLE, 1);
            prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
            // A parent that died before the line above sends no signal. In a
            // new pid namespace the parent has no number.
            // SAFETY: No arguments.
            let now = unsafe { libc::getppid() } as u32;
            if now != parent && now != 0 {
                return;
            }
            body(&theirs);
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until every thread of it sleeps, in whichever call it is.
    pub fn until_asleep(&self) {
        wait::eventually(|| inspect::sleeps(self.pid));
        wait::settle();
        wait::eventually(|| inspect::sleeps(self.pid));
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: A live or unreaped child of ours.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    /// Waits for its end and fails unless it did what it should.
    #[track_caller]
    pub fn wait(mut self) {
        if let Some(trouble) = explain(self.reap()) {
            panic!("{} {trouble}", self.name);
        }
    }

    /// Kills it and waits until it is gone.
    #[track_caller]
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        let status = self.reap();
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL,
            "{} ended before it was killed: status {status:#x}",
            self.name
        );
    }

    /// Waits for its end, which it makes itself as if it had gone out of its mind.
    #[track_caller]
    pub fn aborted(mut self) {
        let status = self.reap();
        let aborted = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT;
        assert!(aborted, "{} ended with status {status:#x}", self.name);
    }

    /// Waits for its end, which the kernel brings about for want of memory.
    #[track_caller]
    pub fn killed(mut self) {
        let status = self.reap();
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        assert!(killed, "{} ended with status {status:#x}", self.name);
    }

    fn reap(&mut self) -> i32 {
        let mut status = 0;
        loop {
            // SAFETY: A live status word.
            let got = unsafe { libc::waitpid(self.pid, &mut status, 0) };
            if got == self.pid {
                self.reaped = true;
                return status;
            }
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
        }
    }
}

impl Deref for Peer {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: An unreaped child of ours.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.reap();
        }
    }
}

impl Link {
    fn as_raw_fd_(&self) -> RawFd {
        use std::os::fd::AsFd;
        self.as_fd().as_raw_fd()
    }
}

fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter(|fd| **fd >= 0)
        .map(|fd| *fd as u32)
        .collect();
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if first < fd {
            // SAFETY: The descriptors belong to nothing this process goes on
            // to use.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd.saturating_add(1);
    }
}
