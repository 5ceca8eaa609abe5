// SPDX-License-Identifier: MIT OR Apache-2.0

//! The raw layer: one function per ioctl, and no policy.
//!
//! A function here makes exactly one system call, restarts nothing, and
//! returns what the kernel said: errno as [`io::Error`], the outcome in the
//! argument's `outcome` field. The structures are those of `alpc.h`, filled in
//! by hand; start from `Default::default()`.
//!
//! The functions whose structures carry pointers are `unsafe`. [`Transfer`],
//! [`CreatePort`], [`Connect`] and [`Accept`] tie those pointers to borrows,
//! and have a safe method for the same single ioctl.

#![expect(
    unsafe_code,
    reason = "the only place that makes system calls: every other module is safe code"
)]

mod args;
mod container;
mod maker;
mod transfer;
pub(crate) mod view;

use std::alloc::{alloc_zeroed, Layout};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

pub use alpc_uapi::*;

pub use args::{Accept, Connect, CreatePort};
pub(crate) use maker::Maker;
pub use transfer::Transfer;
pub use view::{delete_view, query_view};

/// Where the module puts its node.
pub const DEVICE: &str = "/dev/alpc";

/// Opens `/dev/alpc`.
///
/// # Errors
///
/// `ENOENT` while the module isn't loaded, and what else `open(2)` returns.
pub fn open() -> io::Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
        .map(File::into)
}

/// One ioctl.
///
/// # Safety
///
/// `argument` must be what `request` takes, and every pointer inside it must
/// be valid for what the kernel does with it.
unsafe fn ioctl<T>(fd: BorrowedFd<'_>, request: alpc_ioctl, argument: *mut T) -> io::Result<i32> {
    // SAFETY: The descriptor is open for as long as it is borrowed, and the
    // caller vouches for the argument.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::Ioctl, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes the descriptor that an ioctl has just made.
fn made(fd: i32) -> OwnedFd {
    // SAFETY: The kernel installed this descriptor for the call that returned
    // it, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `ALPC_IOC_QUERY` on `/dev/alpc`: version, features, limits.
pub fn query(device: BorrowedFd<'_>, argument: &mut alpc_query) -> io::Result<()> {
    // SAFETY: The structure is the one the number names, and has no pointers.
    unsafe { ioctl(device, ALPC_IOCTL_QUERY, argument) }.map(drop)
}

/// `ALPC_IOC_CREATE_PORT` on `/dev/alpc`: makes a connection port.
///
/// # Safety
///
/// `name` and `acl` must be null or readable for their lengths.
pub unsafe fn create_port(
    device: BorrowedFd<'_>,
    argument: &mut alpc_create_port,
) -> io::Result<OwnedFd> {
    // SAFETY: The structure is the one the number names; its pointers are the
    // caller's promise.
    unsafe { ioctl(device, ALPC_IOCTL_CREATE_PORT, argument) }.map(made)
}

/// `ALPC_IOC_CONNECT` on `/dev/alpc` or on a connect descriptor: makes a
/// client port.
///
/// With `ALPC_CONNECT_SENT` in the flags, the descriptor returned is the one
/// in the argument's `fd`, which the caller owns already: forget one of both.
///
/// # Safety
///
/// `name` and `send_data` must be null or readable, `recv_data` null or
/// writable, for their lengths.
pub unsafe fn connect(fd: BorrowedFd<'_>, argument: &mut alpc_connect) -> io::Result<OwnedFd> {
    // SAFETY: As for `create_port`.
    unsafe { ioctl(fd, ALPC_IOCTL_CONNECT, argument) }.map(made)
}

/// `ALPC_IOC_CREATE_CONNECT` on a connection port: makes a connect descriptor.
pub fn create_connect(port: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: This number takes no argument.
    unsafe {
        ioctl(
            port,
            ALPC_IOCTL_CREATE_CONNECT,
            std::ptr::null_mut::<libc::c_void>(),
        )
    }
    .map(made)
}

/// `ALPC_IOC_ACCEPT` on a connection port: makes a server communication port,
/// or nothing with `ALPC_REFUSE`.
///
/// # Safety
///
/// `send_data` must be null or readable for its length.
pub unsafe fn accept(
    port: BorrowedFd<'_>,
    argument: &mut alpc_accept,
) -> io::Result<Option<OwnedFd>> {
    let refuse = argument.flags & ALPC_REFUSE != 0;
    // SAFETY: As for `create_port`.
    let result = unsafe { ioctl(port, ALPC_IOCTL_ACCEPT, argument) }?;
    Ok(if refuse { None } else { Some(made(result)) })
}

/// `ALPC_IOC_MEMORY` on any port: reads memory of the caller's. Sets the argument's data,
/// length and direction; of its flags, `ALPC_MEMORY_NOWAIT` stays.
pub fn read_memory(
    port: BorrowedFd<'_>,
    argument: &mut alpc_memory,
    data: &mut [u8],
) -> io::Result<()> {
    argument.flags = argument.flags & ALPC_MEMORY_NOWAIT | ALPC_MEMORY_READ;
    argument.data = transfer::address_mut(data);
    argument.length = data.len() as u64;
    // SAFETY: The structure is the one the number names; the data is borrowed for writing, and
    // the kernel writes no more than its length.
    unsafe { ioctl(port, ALPC_IOCTL_MEMORY, argument) }.map(drop)
}

/// `ALPC_IOC_MEMORY` on any port: writes memory of the caller's. Sets the argument's data,
/// length and direction; of its flags, `ALPC_MEMORY_NOWAIT` stays.
pub fn write_memory(
    port: BorrowedFd<'_>,
    argument: &mut alpc_memory,
    data: &[u8],
) -> io::Result<()> {
    argument.flags = argument.flags & ALPC_MEMORY_NOWAIT | ALPC_MEMORY_WRITE;
    argument.data = transfer::address(data);
    argument.length = data.len() as u64;
    // SAFETY: As above; the data is only read.
    unsafe { ioctl(port, ALPC_IOCTL_MEMORY, argument) }.map(drop)
}

/// So many zeroes, or `ENOMEM`. Pages of them come to be when they are written first.
///
/// Of what the standard library has, `vec![0; length]` ends the process where there is no memory,
/// and `try_reserve_exact` gives memory that has to be written before it can be read into.
pub(crate) fn zeroes(length: usize) -> io::Result<Vec<u8>> {
    let no_memory = || io::Error::from_raw_os_error(libc::ENOMEM);
    if length == 0 {
        return Ok(Vec::new());
    }
    let layout = Layout::array::<u8>(length).map_err(|_| no_memory())?;
    // SAFETY: The layout has a length.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(no_memory());
    }
    // SAFETY: The global allocator has just given this for the layout of an array of so many bytes,
    // and all of them are initialized.
    Ok(unsafe { Vec::from_raw_parts(start, length, length) })
}

/// `ALPC_IOC_SEND_WAIT_RECEIVE` on any port: send, wait, receive.
///
/// # Safety
///
/// `send_data` must be null or readable, `recv_data` null or writable, for
/// their lengths; the attribute pointers must be null or name containers as
/// long as their `allocated` bits say.
pub unsafe fn send_wait_receive(
    port: BorrowedFd<'_>,
    argument: &mut alpc_transfer,
) -> io::Result<()> {
    // SAFETY: As for `create_port`.
    unsafe { ioctl(port, ALPC_IOCTL_SEND_WAIT_RECEIVE, argument) }.map(drop)
}

/// `ALPC_IOC_CANCEL` on any port: cancels a conversation.
pub fn cancel(port: BorrowedFd<'_>, argument: &mut alpc_cancel) -> io::Result<()> {
    // SAFETY: The structure is the one the number names, and has no pointers.
    unsafe { ioctl(port, ALPC_IOCTL_CANCEL, argument) }.map(drop)
}

/// `ALPC_IOC_CLAIM` on any port: installs `count` handles of a held message, beginning
/// with the argument's `index`. All or none.
pub fn claim(
    port: BorrowedFd<'_>,
    argument: &mut alpc_claim,
    count: usize,
) -> io::Result<Vec<OwnedFd>> {
    let mut entries = vec![alpc_handle { fd: -1, kind: 0 }; count];
    argument.handles = transfer::address_mut(&mut entries);
    argument.count = transfer::length(&entries);
    argument.claimed = 0;
    // SAFETY: The structure is the one the number names, and its entries are ours.
    let result = unsafe { ioctl(port, ALPC_IOCTL_CLAIM, &mut *argument) };
    argument.handles = 0;
    // Those before the one that failed were installed too.
    let claimed = entries.iter().take(argument.claimed as usize);
    let fds: Vec<OwnedFd> = claimed.map(|entry| made(entry.fd)).collect();
    result.map(|_| fds)
}

/// `ALPC_IOC_DISCONNECT` on any port: ends a connection, or a whole
/// connection port.
pub fn disconnect(port: BorrowedFd<'_>, argument: &mut alpc_disconnect) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_DISCONNECT, argument) }.map(drop)
}

/// `ALPC_IOC_QUERY_IDENTITY` on any port or connect descriptor, with room for groups and label as
/// long as these are. What the kernel has in place of their lengths is in the argument.
pub fn query_identity(
    port: BorrowedFd<'_>,
    argument: &mut alpc_query_identity,
    groups: &mut [u32],
    label: &mut [u8],
) -> io::Result<()> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    (argument.group_count, argument.label_length) = (length(groups.len()), length(label.len()));
    (argument.groups, argument.label) = (0, 0);
    if !groups.is_empty() {
        argument.groups = groups.as_mut_ptr() as u64;
    }
    if !label.is_empty() {
        argument.label = label.as_mut_ptr() as u64;
    }
    // SAFETY: The structure is the one the number names, and its pointers are to as many elements
    // as it says, which are borrowed for the call.
    unsafe { ioctl(port, ALPC_IOCTL_QUERY_IDENTITY, argument) }.map(drop)
}

/// `ALPC_IOC_VERIFY` on any port or connect descriptor: whether a sender still has its number.
pub fn verify(port: BorrowedFd<'_>, argument: &mut alpc_verify) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_VERIFY, argument) }.map(drop)
}

/// `ALPC_IOC_OPEN` on `/dev/alpc`: makes a connect descriptor for the port of a name.
pub fn open_port(
    device: BorrowedFd<'_>,
    argument: &mut alpc_open,
    name: &[u8],
) -> io::Result<OwnedFd> {
    argument.name = transfer::address(name);
    argument.name_length = transfer::length(name);
    // SAFETY: The structure is the one the number names; the name is borrowed for the call.
    let result = unsafe { ioctl(device, ALPC_IOCTL_OPEN, &mut *argument) };
    argument.name = 0;
    result.map(made)
}

/// `pidfd_open(2)`: whose number that is now.
pub fn pidfd_open(number: u32, flags: u32) -> io::Result<OwnedFd> {
    // SAFETY: Takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, number, flags) };
    match i32::try_from(result) {
        Ok(fd @ 0..) => Ok(made(fd)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: A live limit, to be written.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => limit.rlim_cur,
        _ => u64::MAX,
    }
}

/// `ALPC_IOC_QUERY_USER` on `/dev/alpc`: what a user has.
pub fn query_user(device: BorrowedFd<'_>, argument: &mut alpc_query_user) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(device, ALPC_IOCTL_QUERY_USER, argument) }.map(drop)
}

/// `ALPC_IOC_QUERY_CONNECTION` on a connection port: what one of its connections uses.
pub fn query_connection(
    port: BorrowedFd<'_>,
    argument: &mut alpc_query_connection,
) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_QUERY_CONNECTION, argument) }.map(drop)
}

/// `ALPC_IOC_QUERY_ACL` on a connection port or connect descriptor, with room for entries as long
/// as this is. How many there are is in the argument.
pub fn query_acl(
    port: BorrowedFd<'_>,
    argument: &mut alpc_acl,
    entries: &mut [alpc_acl_entry],
) -> io::Result<()> {
    (argument.entries, argument.count) =
        (transfer::address_mut(entries), transfer::length(entries));
    // SAFETY: The structure is the one the number names; the entries are borrowed for writing, and
    // the kernel writes no more of them than there are.
    let result = unsafe { ioctl(port, ALPC_IOCTL_QUERY_ACL, &mut *argument) };
    argument.entries = 0;
    result.map(drop)
}

/// `ALPC_IOC_SET_ACL` on a connection port or connect descriptor: replaces the list, or takes it
/// away.
pub fn set_acl(
    port: BorrowedFd<'_>,
    argument: &mut alpc_acl,
    entries: Option<&[alpc_acl_entry]>,
) -> io::Result<()> {
    argument.flags = match entries {
        Some(_) => 0,
        None => ALPC_ACL_NO_LIST,
    };
    let entries = entries.unwrap_or_default();
    (argument.entries, argument.count) = (transfer::address(entries), transfer::length(entries));
    // SAFETY: As above; the entries are only read.
    let result = unsafe { ioctl(port, ALPC_IOCTL_SET_ACL, &mut *argument) };
    argument.entries = 0;
    result.map(drop)
}

/// `ALPC_IOC_CREATE_SECURITY` on a communication port: makes a security context of that side.
pub fn create_security(port: BorrowedFd<'_>, argument: &mut alpc_security) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_CREATE_SECURITY, argument) }.map(drop)
}

/// `ALPC_IOC_DELETE_SECURITY` on a communication port: deletes a security context, so that no
/// message sent from now on has it.
pub fn delete_security(port: BorrowedFd<'_>, argument: &mut alpc_security) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_DELETE_SECURITY, argument) }.map(drop)
}

/// `ALPC_IOC_REVOKE_SECURITY` on a communication port: revokes a security context, which is good
/// for nothing from now on, also where a message has it.
pub fn revoke_security(port: BorrowedFd<'_>, argument: &mut alpc_security) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_REVOKE_SECURITY, argument) }.map(drop)
}

/// `ALPC_IOC_IMPERSONATE` on any port: the calling thread's way back.
pub fn impersonate(port: BorrowedFd<'_>, argument: &mut alpc_impersonate) -> io::Result<OwnedFd> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_IMPERSONATE, argument) }.map(made)
}

/// `ALPC_IOC_REVERT` on the descriptor that [`impersonate`] gave, by the thread that got it: makes
/// that thread what it was.
pub fn revert(way_back: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: It takes no argument.
    unsafe { ioctl::<()>(way_back, ALPC_IOCTL_REVERT, std::ptr::null_mut()) }.map(drop)
}

/// `ALPC_IOC_QUERY_PORT` on any port or connect descriptor: what it is.
pub fn query_port(port: BorrowedFd<'_>, argument: &mut alpc_query_port) -> io::Result<()> {
    // SAFETY: As for `cancel`.
    unsafe { ioctl(port, ALPC_IOCTL_QUERY_PORT, argument) }.map(drop)
}
