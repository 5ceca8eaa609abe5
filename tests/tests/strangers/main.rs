// SPDX-License-Identifier: MIT OR Apache-2.0

//! Nobody waits for a stranger: every call that touches something shared comes back in its time,
//! though whoever shares that gets no processor time, or no memory.
//!
//! Each test is a victim's call, and what a starved stranger does meanwhile with the same object.

mod memory;
mod stage;
mod views;
