// SPDX-License-Identifier: MIT OR Apache-2.0

//! The rows of this project: one system call per side and round trip.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::{between, count, failed, Count};
use crate::raw::*;

/// An ioctl that no port knows: the price of getting there and back.
pub fn null() -> Count {
    let pair = crate::Pair::new();
    let fd = pair.client.as_fd().as_raw_fd();
    let unknown = libc::_IO(ALPC_IOC_MAGIC, 0xff);
    count(|| {
        // SAFETY: Unknown to the kernel, so that it touches nothing.
        if unsafe { libc::syscall(libc::SYS_ioctl, fd, unknown, 0) } != -1 {
            failed(0, 0);
        }
    })
}

/// A synchronous call. The caller's identity is in every header.
pub fn call(bytes: usize) -> Count {
    let port = Create::anonymous().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let request = port.receive().expect("connection request");
            let server = Accept::new(request.id).run(&port).expect("accept");
            serve(port.as_fd().as_raw_fd(), server, bytes)
        },
        || {
            let mut connect = Connect::new(None);
            let client = connect.run_on(&through).expect("connect").port;
            request(client, bytes)
        },
    )
}

/// Answers the last request and takes the next with one call, in place.
fn serve(port: RawFd, server: Port, bytes: usize) -> impl FnMut() {
    let mut buffer = vec![0_u8; bytes.max(1)];
    let mut arg = alpc_transfer {
        recv_data: buffer.as_mut_ptr() as u64,
        send_data: buffer.as_mut_ptr() as u64,
        recv_capacity: bytes as u32,
        flags: ALPC_RECEIVE,
        ..Default::default()
    };
    move || {
        let _alive = (&server, &buffer);
        transfer(port, &mut arg);
        if arg.recv_length != bytes as u32 {
            failed(arg.recv_length as isize, bytes);
        }
        arg.send_id = arg.id;
        arg.send_callback_id = arg.callback_id;
        arg.send_length = arg.recv_length;
        arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_RECEIVE;
    }
}

fn request(client: Port, bytes: usize) -> impl FnMut() {
    let mut send = vec![0x5a_u8; bytes.max(1)];
    let mut recv = vec![0_u8; bytes.max(1)];
    let fd = client.as_fd().as_raw_fd();
    let mut arg = alpc_transfer {
        send_data: send.as_mut_ptr() as u64,
        recv_data: recv.as_mut_ptr() as u64,
        send_length: bytes as u32,
        recv_capacity: bytes as u32,
        ..Default::default()
    };
    move || {
        let _alive = (&client, &send, &recv);
        arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
        arg.send_id = 0;
        transfer(fd, &mut arg);
        if arg.recv_length != bytes as u32 {
            failed(arg.recv_length as isize, bytes);
        }
    }
}

#[inline]
fn transfer(fd: RawFd, arg: &mut alpc_transfer) {
    // SAFETY: The buffers named in the argument live as long as its owner.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            fd,
            ALPC_IOCTL_SEND_WAIT_RECEIVE,
            std::ptr::from_mut(arg),
        )
    };
    if result != 0 {
        failed(result as isize, arg.send_length as usize);
    }
}
