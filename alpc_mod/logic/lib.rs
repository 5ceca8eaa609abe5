// SPDX-License-Identifier: GPL-2.0

//! The host crate around the module's decisions, see `mod.rs`. It exists for the tests.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[path = "mod.rs"]
mod logic;

pub use logic::*;
