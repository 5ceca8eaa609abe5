// SPDX-License-Identifier: GPL-2.0

//! The syntax of port names, and who may make which.
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

/// Who may make the ports of a part of the name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// Whoever comes first.
    Anyone,
    /// The user with this id, and who is privileged.
    User(u32),
    /// Who is privileged.
    Privileged,
}

/// The part of the name space that a name is in.
///
/// `user/<id>` and what is below it belong to that user. Whatever else begins with the component
/// `user` could be taken for somebody's, and so belongs to no user: it is as `system` is.
pub fn realm(name: &str) -> Realm {
    let mut parts = name.split('/');
    match parts.next() {
        Some("system") => Realm::Privileged,
        Some("user") => {
            let id = parts.next().and_then(user_id);
            id.map_or(Realm::Privileged, Realm::User)
        }
        _ => Realm::Anyone,
    }
}

/// Whether somebody with this user id, if there is one where names are decided, may make a port of
/// this name. Privilege is asked for only where it counts.
pub fn may_make(name: &str, id: Option<u32>, is_privileged: impl FnOnce() -> bool) -> bool {
    match realm(name) {
        Realm::Anyone => true,
        Realm::User(owner) if id == Some(owner) => true,
        Realm::User(_) | Realm::Privileged => is_privileged(),
    }
}

/// A user id in the one spelling that it has in names: decimal, without sign or leading zeros.
fn user_id(part: &str) -> Option<u32> {
    let digits = part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (part.starts_with('0') && part != "0") {
        return None;
    }
    // The largest number is the id that nobody has.
    part.parse().ok().filter(|id| *id != u32::MAX)
}
