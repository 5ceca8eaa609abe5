// SPDX-License-Identifier: GPL-2.0

//! What all requests have in common: their numbers, checks, and answers.
#![deny(unsafe_code)]

use crate::{
    outcome::Failure,
    uapi, //
};
use core::{
    mem::size_of,
    ops::Range, //
};
use kernel::prelude::*;

/// Where the size of the argument stands in a request's number.
const SIZE_SHIFT: u32 = 16;
const SIZE_MASK: u32 = 0x3fff << SIZE_SHIFT;

/// A request's number without the size of its argument: that may grow.
pub(crate) const fn base(cmd: u32) -> u32 {
    cmd & !SIZE_MASK
}

/// The size of a request's argument, as the caller knows it.
pub(crate) const fn size(cmd: u32) -> usize {
    ((cmd & SIZE_MASK) >> SIZE_SHIFT) as usize
}

pub(crate) const QUERY: u32 = base(uapi::ALPC_IOCTL_QUERY);
pub(crate) const CREATE_PORT: u32 = base(uapi::ALPC_IOCTL_CREATE_PORT);
pub(crate) const CONNECT: u32 = base(uapi::ALPC_IOCTL_CONNECT);
pub(crate) const OPEN: u32 = base(uapi::ALPC_IOCTL_OPEN);
pub(crate) const QUERY_USER: u32 = base(uapi::ALPC_IOCTL_QUERY_USER);
pub(crate) const QUERY_CONNECTION: u32 = base(uapi::ALPC_IOCTL_QUERY_CONNECTION);
pub(crate) const CREATE_CONNECT: u32 = base(uapi::ALPC_IOCTL_CREATE_CONNECT);
pub(crate) const ACCEPT: u32 = base(uapi::ALPC_IOCTL_ACCEPT);
pub(crate) const QUERY_ACL: u32 = base(uapi::ALPC_IOCTL_QUERY_ACL);
pub(crate) const SET_ACL: u32 = base(uapi::ALPC_IOCTL_SET_ACL);
pub(crate) const SEND_WAIT_RECEIVE: u32 = base(uapi::ALPC_IOCTL_SEND_WAIT_RECEIVE);
pub(crate) const CANCEL: u32 = base(uapi::ALPC_IOCTL_CANCEL);
pub(crate) const DISCONNECT: u32 = base(uapi::ALPC_IOCTL_DISCONNECT);
pub(crate) const QUERY_PORT: u32 = base(uapi::ALPC_IOCTL_QUERY_PORT);
pub(crate) const CREATE_SECTION: u32 = base(uapi::ALPC_IOCTL_CREATE_SECTION);
pub(crate) const DELETE_VIEW: u32 = base(uapi::ALPC_IOCTL_DELETE_VIEW);
pub(crate) const QUERY_VIEW: u32 = base(uapi::ALPC_IOCTL_QUERY_VIEW);
pub(crate) const QUERY_IDENTITY: u32 = base(uapi::ALPC_IOCTL_QUERY_IDENTITY);
pub(crate) const VERIFY: u32 = base(uapi::ALPC_IOCTL_VERIFY);
pub(crate) const CLAIM: u32 = base(uapi::ALPC_IOCTL_CLAIM);
pub(crate) const MEMORY: u32 = base(uapi::ALPC_IOCTL_MEMORY);
pub(crate) const CREATE_SECURITY: u32 = base(uapi::ALPC_IOCTL_CREATE_SECURITY);
pub(crate) const DELETE_SECURITY: u32 = base(uapi::ALPC_IOCTL_DELETE_SECURITY);
pub(crate) const REVOKE_SECURITY: u32 = base(uapi::ALPC_IOCTL_REVOKE_SECURITY);
pub(crate) const IMPERSONATE: u32 = base(uapi::ALPC_IOCTL_IMPERSONATE);
pub(crate) const CREATE_VIEW: u32 = base(uapi::ALPC_IOCTL_CREATE_VIEW);

/// The bytes of a 32-bit field of an argument.
pub(crate) fn field(at: usize) -> Range<usize> {
    at..at.saturating_add(size_of::<u32>())
}

/// Reports a failure: its outcome where there is one, and its errno. Where there is none,
/// the field gets back what the caller had in it, as success may have been written to
/// find out whether it can be.
///
/// An outcome that can't be written changes nothing: the errno says that the
/// call failed, as it would for a caller that does not look at the outcome.
pub(crate) fn report(failure: Failure, before: u32, write: impl FnOnce(u32) -> Result) -> Error {
    let _ = write(failure.outcome().unwrap_or(before));
    failure.errno()
}
