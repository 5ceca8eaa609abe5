// SPDX-License-Identifier: GPL-2.0

//! The decisions of the module, as pure functions of plain values.
//!
//! Nothing here knows the kernel, allocates, or can panic. The files are built twice: into the
//! module, and into a host crate that tests them. They refer to each other by `super::` only.
#![deny(unsafe_code)]

pub mod acl;
pub mod allowance;
pub mod disguise;
pub mod engine;
pub mod impersonate;
pub mod name;
pub mod quota;
pub mod ranges;
