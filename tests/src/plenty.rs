// SPDX-License-Identifier: MIT OR Apache-2.0

//! Getting as much as there is: descriptors, and whatever else until it fails.

use crate::raw::Connect;
use crate::{Failure, Link, Peer, Port, User, ROOT};

/// Lets this process have as many descriptors as the kernel allows.
pub fn many_descriptors() {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").expect("nr_open");
    let most: u64 = most.trim().parse().expect("a number");
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: A live limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// Runs `body` as `user` with many descriptors.
pub fn as_user(user: User, body: impl FnOnce(&Link)) -> Peer {
    Peer::spawn(ROOT, move |link| {
        many_descriptors();
        user.become_it();
        body(link);
    })
}

/// Repeats `make` until it fails; what it made, and how it failed.
pub fn until_failure<T>(mut make: impl FnMut() -> Result<T, Failure>) -> (Vec<T>, Failure) {
    let mut made = Vec::new();
    loop {
        match make() {
            Ok(one) => made.push(one),
            Err(failure) => return (made, failure),
        }
    }
}

/// Connects by name without waiting for the answer.
pub fn knock(name: &str) -> Result<Port, Failure> {
    let connected = Connect::to(name).asynchronous().run()?;
    Ok(connected.port)
}
