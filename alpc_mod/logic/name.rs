// SPDX-License-Identifier: GPL-2.0

//! The syntax of port names.
//!
//! A name is UTF-8, made of components between slashes. It reads like a relative path without
//! anything that a path could hide: no empty component, hence no slash at either end, no `.` and
//! `..`, no control characters. There is one spelling per name: names are compared as bytes.
#![deny(unsafe_code)]

/// The longest name in bytes.
pub const MAX_LENGTH: usize = 255;

/// Why something is no port name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has no bytes, or too many.
    Length,
    /// It is not UTF-8.
    Encoding,
    /// It has a control character, NUL among them.
    Control,
    /// It has a component that is empty, `.` or `..`.
    Component,
}

/// Checks that some bytes are a port name, and returns them as text.
pub fn check(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.is_empty() || bytes.len() > MAX_LENGTH {
        return Err(NameError::Length);
    }
    let name = core::str::from_utf8(bytes).map_err(|_| NameError::Encoding)?;
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(NameError::Component);
    }
    Ok(name)
}

/// Whether a name lies in a part of the name space whose meaning is not settled yet.
///
/// These are the names whose first component is `system` or `user`: nobody may make them until it
/// is decided who may.
pub fn reserved(name: &str) -> bool {
    matches!(name.split('/').next(), Some("system" | "user"))
}
