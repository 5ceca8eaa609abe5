// SPDX-License-Identifier: MIT OR Apache-2.0

//! A memory cgroup that makes its processes sleep.
//!
//! Whoever takes memory above `memory.high` sleeps for up to 2 s. Mostly that is on the way to user
//! space, where it holds nothing. A thread that takes more than 64 pages in one system call sleeps
//! at once, wherever it is in the kernel.

use std::fs;
use std::path::PathBuf;

use crate::{wait, Peer};

const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup with one process in it, which sleeps only while it is [throttled](Self::throttle). When
/// dropped it gives the process back, and goes.
pub struct Cgroup {
    path: PathBuf,
    pid: i32,
}

impl Cgroup {
    /// What the process has already stays where it is counted.
    pub fn of(peer: &Peer) -> Self {
        let root = PathBuf::from(ROOT);
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("a memory controller");
        let path = root.join(format!("stranger.{}", peer.pid()));
        fs::create_dir(&path).expect("cgroup");
        let this = Self {
            path,
            pid: peer.pid(),
        };
        this.write("cgroup.procs", &this.pid.to_string());
        this
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).expect(file);
    }

    /// What it has.
    pub fn current(&self) -> u64 {
        let current = fs::read_to_string(self.path.join("memory.current")).expect("current");
        current.trim().parse().expect("a number")
    }

    /// From now on it sleeps when it has more than this. For how long grows with the square of what
    /// is too much, as a part of all that it may have.
    pub fn throttle(&self, bytes: u64) {
        self.write("memory.high", &bytes.to_string());
    }

    /// From now on it may have all.
    pub fn release(&self) {
        self.write("memory.high", "max");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.release();
        let procs = PathBuf::from(ROOT).join("cgroup.procs");
        // A process that has ended needs no other place.
        let _ = fs::write(procs, self.pid.to_string());
        wait::eventually(|| fs::remove_dir(&self.path).is_ok());
    }
}
