// SPDX-License-Identifier: MIT OR Apache-2.0
#![deny(missing_docs)]
#![warn(unsafe_op_in_unsafe_fn)]

//! Asynchronous local procedure calls through `/dev/alpc`.

pub mod sys;
