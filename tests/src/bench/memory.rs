// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory: what a waiting call offers, read by who holds it.

use std::os::fd::{AsFd, AsRawFd};

use super::words::touched;
use super::{alpc, between, moved, Running};
use crate::raw::*;

/// One operation on the memory of a call that waits.
pub fn offered(bytes: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().taking_memory().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let source = touched(bytes);
            let client = alpc::connect(&through);
            move || {
                let ranges = Ranges::of(&[(source.start(), bytes, ALPC_MEMORY_READ)]);
                let _ = Transfer::offering(&ranges).run(&client);
            }
        },
        || {
            let server = alpc::accept(&port);
            let request = port.receive().expect("request");
            let into = touched(bytes);
            let mut arg = memory_argument(&request, 0, ALPC_MEMORY_READ);
            (arg.data, arg.length) = (into.start(), bytes as u64);
            let fd = port.as_fd().as_raw_fd();
            move || {
                let _alive = (&port, &server, &into);
                let arg = std::ptr::from_mut(&mut arg);
                // SAFETY: The argument is what the number says, and the memory is that long.
                let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, ALPC_IOCTL_MEMORY, arg) };
                moved(result as isize, 0);
            }
        },
    )
}
