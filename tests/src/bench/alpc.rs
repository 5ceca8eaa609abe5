// SPDX-License-Identifier: MIT OR Apache-2.0

//! The synchronous call: one system call per side and round trip. The
//! caller's identity is in every header.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::{between, failed, identity, Running};
use crate::pair::attach;
use crate::raw::*;

/// An ioctl that no port knows: the price of getting there and back.
pub fn null() -> Running<impl FnMut()> {
    let pair = crate::Pair::new();
    let fd = pair.client.as_fd().as_raw_fd();
    let unknown = libc::_IO(ALPC_IOC_MAGIC, 0xff);
    Running::alone(move || {
        let _alive = &pair;
        // SAFETY: Unknown to the kernel, so that it touches nothing.
        if unsafe { libc::syscall(libc::SYS_ioctl, fd, unknown, 0) } != -1 {
            failed(0, 0);
        }
    })
}

pub fn call(bytes: usize) -> Running<impl FnMut()> {
    call_to(Create::anonymous().run().expect("create"), bytes, ())
}

/// On a port that allows messages that long.
pub fn inline(bytes: usize) -> Running<impl FnMut()> {
    let mut create = Create::anonymous().max(bytes as u32);
    call_to(create.run().expect("create"), bytes, ())
}

/// With so many other ports in the system, all of them named.
pub fn call_among_ports(bytes: usize, ports: usize) -> Running<impl FnMut()> {
    let others: Vec<Port> = (1..ports)
        .map(|n| Create::named(format!("bench-{n}")).run().expect("create"))
        .collect();
    let port = Create::named("bench").run().expect("create");
    call_to(port, bytes, others)
}

/// With so many other clients of the same port, all of them idle.
pub fn call_among_clients(bytes: usize, clients: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().run().expect("create");
    let others: Vec<(Port, Port)> = (1..clients).map(|_| attach(&port, 0)).collect();
    call_to(port, bytes, others)
}

/// With so many threads of the server waiting for a request.
pub fn call_among_waiters(bytes: usize, threads: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    let fd = port.as_fd().as_raw_fd();
    between(
        || {
            let server = accept(&port);
            for _ in 1..threads {
                spawn(move || serve(fd, (), bytes));
            }
            serve(fd, server, bytes)
        },
        || request(connect(&through), bytes),
    )
}

/// As many calls as there are clients, each of whom calls again and again. The
/// server counts, since it alone knows when so many were served.
pub fn call_by_clients(bytes: usize, clients: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    let fd = port.as_fd().as_raw_fd();
    between(
        || {
            let mut all: Vec<Port> = (0..clients).map(|_| connect(&through)).collect();
            let last = all.pop().expect("a client");
            for client in all {
                spawn(move || calls(client, bytes));
            }
            let mut call = calls(last, bytes);
            move || {
                call();
            }
        },
        || {
            let servers: Vec<Port> = (0..clients).map(|_| accept(&port)).collect();
            let mut serve = answers(fd, servers, bytes);
            move || {
                let _alive = &port;
                for _ in 0..clients {
                    serve();
                }
            }
        },
    )
}

/// Runs in a thread of its own what `prepare` makes there, again and again.
fn spawn<R, C: FnMut() -> R>(prepare: impl FnOnce() -> C + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    let run = || {
        let mut operation = prepare();
        loop {
            operation();
        }
    };
    thread.spawn(run).expect("a thread");
}

/// A call to `port`. What else there is to be is kept.
fn call_to(port: Port, bytes: usize, others: impl Sized) -> Running<impl FnMut()> {
    let through = port.connect_descriptor().expect("connect descriptor");
    let fd = port.as_fd().as_raw_fd();
    between(
        || {
            let server = accept(&port);
            serve(fd, server, bytes)
        },
        || {
            let client = connect(&through);
            let mut request = request(client, bytes);
            move || {
                let _alive = &others;
                request();
            }
        },
    )
}

pub(super) fn connect(through: &Port) -> Port {
    let mut connect = Connect::new(None);
    connect.run_on(through).expect("connect").port
}

pub(super) fn accept(port: &Port) -> Port {
    let request = port.receive().expect("connection request");
    Accept::new(request.id).run(port).expect("accept")
}

/// Answers the parent's last request and takes the next with one call.
fn serve(port: RawFd, alive: impl Sized, bytes: usize) -> impl FnMut() {
    let mut serve = answers(port, alive, bytes);
    let (pid, uid) = serve();
    identity::is_client(pid, uid);
    move || {
        serve();
    }
}

/// Answers the last request and takes the next with one call, in place: whose it is.
fn answers(port: RawFd, alive: impl Sized, bytes: usize) -> impl FnMut() -> (u32, u32) {
    let mut buffer = vec![0_u8; bytes.max(1)];
    let mut arg = transfer_in(&mut buffer, bytes);
    arg.flags = ALPC_RECEIVE;
    move || {
        let _alive = (&alive, &buffer);
        transfer(port, &mut arg);
        received(&arg, bytes);
        answer(&mut arg);
        arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_RECEIVE;
        (arg.pid, arg.uid)
    }
}

/// A call, answered by a child.
fn request(client: Port, bytes: usize) -> impl FnMut() {
    let mut call = calls(client, bytes);
    let (pid, uid) = call();
    identity::is_server(pid, uid);
    move || {
        call();
    }
}

/// A call: who answered it.
fn calls(client: Port, bytes: usize) -> impl FnMut() -> (u32, u32) {
    let mut buffer = vec![0x5a_u8; bytes.max(1)];
    let mut answer = vec![0_u8; bytes.max(1)];
    let fd = client.as_fd().as_raw_fd();
    let mut arg = transfer_in(&mut buffer, bytes);
    arg.recv_data = answer.as_mut_ptr() as u64;
    move || {
        let _alive = (&client, &buffer, &answer);
        arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
        arg.send_id = 0;
        transfer(fd, &mut arg);
        received(&arg, bytes);
        (arg.pid, arg.uid)
    }
}

/// An argument that sends from `buffer` and receives into it. The buffer must
/// outlive it.
pub(super) fn transfer_in(buffer: &mut [u8], bytes: usize) -> alpc_transfer {
    alpc_transfer {
        send_data: buffer.as_mut_ptr() as u64,
        recv_data: buffer.as_mut_ptr() as u64,
        send_length: bytes as u32,
        recv_capacity: bytes as u32,
        ..Default::default()
    }
}

/// Directs the next send to the conversation of the message received.
#[inline]
pub(super) fn answer(arg: &mut alpc_transfer) {
    arg.send_id = arg.id;
    arg.send_callback_id = arg.callback_id;
}

#[inline]
pub(super) fn received(arg: &alpc_transfer, bytes: usize) {
    if arg.recv_length != bytes as u32 {
        failed(arg.recv_length as isize, bytes);
    }
}

#[inline]
pub(super) fn transfer(fd: RawFd, arg: &mut alpc_transfer) {
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
