// SPDX-License-Identifier: MIT OR Apache-2.0

//! The least that a blocking call can cost: a driver that copies, wakes the one
//! thread that waits, and sleeps. Its source is `tests/floor/alpc_floor.c`.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use super::{between, moved, Running};

const DEVICE: &str = "/dev/alpc-floor";
const MAGIC: u32 = b'F' as u32;

const SERVER: u32 = 1;
const FIRST: u32 = 2;

pub fn call(bytes: usize) -> Running<impl FnMut()> {
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .unwrap_or_else(|e| panic!("{DEVICE}: {e}"));
    let fd = device.as_raw_fd();
    between(
        || {
            let mut buffer = vec![0_u8; bytes];
            transfer(fd, number(SERVER | FIRST, bytes), &mut buffer);
            let number = number(SERVER, bytes);
            move || transfer(fd, number, &mut buffer)
        },
        || {
            let mut buffer = vec![0x5a_u8; bytes];
            let number = number(0, bytes);
            move || {
                let _alive = &device;
                transfer(fd, number, &mut buffer);
            }
        },
    )
}

/// The number of the ioctl for messages of so many bytes.
fn number(which: u32, bytes: usize) -> u64 {
    const READS_AND_WRITES: u32 = 3;
    let bytes = bytes as u32;
    ((READS_AND_WRITES << 30) | (bytes << 16) | (MAGIC << 8) | which).into()
}

#[inline]
fn transfer(fd: RawFd, number: u64, buffer: &mut [u8]) {
    // SAFETY: The buffer is as long as the number says.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, number, buffer.as_mut_ptr()) };
    moved(result as isize, 0);
}
