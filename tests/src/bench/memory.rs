// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reading memory of a process that waits: what its call offers, and any with the
//! right to trace it.

use std::os::fd::{AsFd, AsRawFd};

use super::{alpc, between, moved, Running};
use crate::link::Link;
use crate::raw::*;

/// What a waiting client has offered.
pub fn offered(bytes: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().taking_memory().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let memory = vec![1_u8; bytes];
            let client = alpc::connect(&through);
            move || {
                let ranges = Ranges::of(&[(memory.as_ptr() as u64, bytes, ALPC_MEMORY_READ)]);
                let _ = Transfer::offering(&ranges).run(&client);
            }
        },
        || {
            let server = alpc::accept(&port);
            let request = port.receive().expect("request");
            let mut data = vec![0_u8; bytes];
            let mut arg = memory_argument(&request, 0, ALPC_MEMORY_READ);
            (arg.data, arg.length) = (data.as_mut_ptr() as u64, bytes as u64);
            let fd = port.as_fd().as_raw_fd();
            move || {
                let _alive = (&port, &server, &data);
                let arg = std::ptr::from_mut(&mut arg);
                // SAFETY: The argument is what the number says, and the data lives.
                let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, ALPC_IOCTL_MEMORY, arg) };
                moved(result as isize, 0);
            }
        },
    )
}

/// The same by process_vm_readv.
pub fn traced(bytes: usize) -> Running<impl FnMut()> {
    let (ours, theirs) = Link::pair();
    between(
        || {
            let memory = vec![1_u8; bytes];
            theirs.put(memory.as_ptr() as u64);
            theirs.put(std::process::id().into());
            move || {
                let _alive = &memory;
                // SAFETY: No arguments.
                unsafe { libc::pause() };
            }
        },
        || {
            let base = ours.take() as *mut libc::c_void;
            let process = ours.take();
            let mut data = vec![0_u8; bytes];
            move || {
                let local = libc::iovec {
                    iov_base: data.as_mut_ptr().cast(),
                    iov_len: bytes,
                };
                let remote = libc::iovec {
                    iov_base: base,
                    iov_len: bytes,
                };
                // SAFETY: A live buffer of that length.
                let got = unsafe {
                    libc::syscall(
                        libc::SYS_process_vm_readv,
                        process,
                        &local,
                        1_usize,
                        &remote,
                        1_usize,
                        0_usize,
                    )
                };
                moved(got as isize, bytes);
            }
        },
    )
}
