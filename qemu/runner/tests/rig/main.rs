// SPDX-License-Identifier: MIT OR Apache-2.0

//! The rig's scripts, where something is missing or in the way. Each test has a copy of them
//! in a directory of its own: the real cache, the network and this tree stay untouched.

mod cache;
mod own;
mod settings;
mod steps;
mod tree;
