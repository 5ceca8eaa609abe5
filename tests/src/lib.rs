// SPDX-License-Identifier: MIT OR Apache-2.0

//! The harness of the tests that run inside the guest.
//!
//! A test body runs in a process of its own ([`isolated`]), makes further
//! processes of several users ([`Peer`]), and talks to the module through thin
//! calls that hide nothing and fill every output with junk first ([`raw`]).
//! Waits have no upper bound of their own: a watchdog ends what hangs and says
//! where it hung.

pub mod audit;
pub mod bench;
pub mod creds;
pub mod faults;
pub mod files;
pub mod fuse;
pub mod hang;
pub mod inspect;
pub mod isolate;
pub mod kinds;
pub mod link;
pub mod low;
pub mod memory;
pub mod module;
pub mod pair;
pub mod peer;
pub mod places;
pub mod plenty;
pub mod privilege;
pub mod raw;
pub mod rng;
pub mod scale;
pub mod shared;
pub mod signals;
pub mod starve;
pub mod stuck;
pub mod syscalls;
pub mod views;
pub mod wait;
pub mod worker;

pub use isolate::{isolated, isolated_long};
pub use link::Link;
pub use pair::Pair;
pub use peer::{Peer, User, ALICE, BOB, CAROL, MALLORY, ROOT};
pub use raw::{Failure, Port, Transfer};
pub use scale::rounds;
pub use shared::Shared;
pub use wait::eventually;

/// Says something outside libtest's capture, which stops at a fork.
#[macro_export]
macro_rules! note {
    ($($arg:tt)*) => { $crate::isolate::report(&format!($($arg)*)) };
}
