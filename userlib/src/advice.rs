// SPDX-License-Identifier: MIT OR Apache-2.0

//! What to do about an error, in the words of one line.

use std::path::Path;

use crate::error::{CONNECT, CONNECT_THROUGH, CREATE, MEMORY_ROOM, READ_MEMORY, WRITE_MEMORY};
use crate::outcome::Outcome;

/// What an errno means where there is no outcome.
pub(crate) fn of_errno(operation: &str, errno: i32) -> &'static str {
    match errno {
        libc::EFAULT if is_of_memory(operation) => {
            "the caller has no such memory, or not for that: refuse its request"
        }
        libc::EAGAIN if is_of_memory(operation) => {
            "the caller's memory isn't there now: try again, or wait for it"
        }
        libc::ENOMEM if is_of_memory(operation) => {
            "a page of the caller's couldn't be brought in for want of memory"
        }
        libc::EOPNOTSUPP if is_of_memory(operation) => {
            "the caller has lent a mapping of a file or driver: only a call that waits can write to it"
        }
        libc::ENOMEM if operation == MEMORY_ROOM => {
            "this process has no room for what the caller lends: lower memory_most, or refuse the request"
        }
        libc::EINVAL if is_of_memory(operation) => {
            "the offset and length aren't within the range that the caller has lent"
        }
        libc::EACCES if is_of_memory(operation) => "the caller hasn't lent the range for that",
        libc::EINVAL => "an argument was refused: look at lengths, flags and names",
        libc::EFAULT => "a pointer was refused: this is a bug in the caller or in this crate",
        libc::ENOTTY => "this descriptor is not a port, or not one for this operation",
        libc::EBADF => "this descriptor is closed",
        libc::EOPNOTSUPP => "this kernel reserves that but doesn't have it: ask Device::query",
        libc::E2BIG => "this kernel is older than the crate",
        libc::EMFILE => "this process has too many open descriptors: close some, or raise the limit (ulimit -n)",
        libc::ENFILE => "this machine has too many open files: close some, or raise fs.file-max",
        libc::ENOMEM => "no memory within the control group's limit: try again with less",
        _ => "the system call failed",
    }
}

/// What an outcome means in one operation, where that is something of its own.
pub(crate) fn of_outcome(operation: &str, outcome: Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::AccessDenied if operation == CREATE => {
            "names under system/ and user/ are reserved: choose another, or user/<your id>/"
        }
        Outcome::AccessDenied if is_of_connect(operation) => {
            "the port's access control list doesn't let this user connect: its server says who may, by PortBuilder::acl"
        }
        Outcome::Limit if is_of_connect(operation) => {
            "the port has no place for one more connection, or none for this user, who has as many as one may: close some, or have the server raise PortBuilder::max_connections"
        }
        Outcome::TooLong if is_of_memory(operation) => {
            "the caller lends more than memory_most: refuse its request, or raise that"
        }
        Outcome::TimedOut if is_of_memory(operation) => {
            "the caller's memory did not come in time"
        }
        Outcome::TimedOut if is_of_connect(operation) => {
            "the time was up before the server has answered: does it receive?"
        }
        _ => return None,
    })
}

fn is_of_connect(operation: &str) -> bool {
    matches!(operation, CONNECT | CONNECT_THROUGH)
}

fn is_of_memory(operation: &str) -> bool {
    matches!(operation, READ_MEMORY | WRITE_MEMORY)
}

/// Which rule a port's name breaks, if one does.
pub(crate) fn broken_rule(name: &str) -> Option<&'static str> {
    let has_part = |wrong: &[&str]| name.split('/').any(|part| wrong.contains(&part));
    if name.is_empty() {
        Some("a name has at least one byte (PortBuilder::anonymous makes a port without a name)")
    } else if name.len() > 255 {
        Some("a name has at most 255 bytes")
    } else if name.chars().any(char::is_control) {
        Some("a name has no control character")
    } else if has_part(&[""]) {
        Some("a name has no empty part: no slash at either end, and no two in a row")
    } else if has_part(&[".", ".."]) {
        Some("a name has no part . or .. between its slashes")
    } else {
        None
    }
}

/// Why `/dev/alpc` can't be opened, as far as this process can find out.
pub(crate) fn of_open(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::ENOENT if Path::new("/sys/class/misc/alpc").exists() => {
            "the module is loaded, but /dev has no node for it: bind /dev/alpc into this container or sandbox"
        }
        libc::ENOENT if Path::new("/sys/class/misc").exists() => {
            "the module isn't loaded: load it (modprobe alpc)"
        }
        libc::ENOENT => {
            "there is no /dev/alpc: load the module (modprobe alpc), or bind /dev/alpc into this container or sandbox"
        }
        libc::ENXIO | libc::ENODEV => {
            "there is a node, but the module isn't loaded: load it (modprobe alpc)"
        }
        libc::EPERM => {
            "the device cgroup of this process doesn't allow it: allow /dev/alpc to this container or service (DeviceAllow=, --device)"
        }
        libc::EACCES => "/dev/alpc should be mode 0666, and not on a nodev mount: look at udev's rules",
        _ => return None,
    })
}
