// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes that are in ordinary memory, sent with a request in each of the ways
//! there are. The answer has no payload, and the receiver looks at one word of
//! every page, wherever it finds them.

use std::os::fd::{AsFd, AsRawFd};

use super::alpc::{accept, answer, connect, received, transfer};
use super::words::{fresh, touched, Mapped};
use super::{between, failed, moved, Running, PAGE};
use crate::raw::*;

/// Copied by the kernel, to the receiver's buffer.
pub fn inline(bytes: usize) -> Running<impl FnMut()> {
    let port = Create::anonymous().max(bytes as u32).run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let server = accept(&port);
            let into = touched(bytes);
            let mut arg = serving();
            (arg.recv_data, arg.recv_capacity) = (into.start(), bytes as u32);
            move || {
                let _alive = &server;
                serve(&port, &mut arg);
                received(&arg, bytes);
                look(into.words());
            }
        },
        || {
            let (client, source) = (connect(&through), touched(bytes));
            let mut arg = calling();
            (arg.send_data, arg.send_length) = (source.start(), bytes as u32);
            move || {
                let _alive = &source;
                call(&client, &mut arg);
            }
        },
    )
}

/// Copied to a view by the sender, and read there.
pub fn view(bytes: usize) -> Running<impl FnMut()> {
    let mut create = Create::anonymous().taking(ALPC_TAKE_VIEWS);
    let port = create.run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let server = accept(&port);
            let mut incoming = Box::new(ViewContainer::receiving());
            let mut outgoing = Box::new(ViewContainer::releasing(0));
            let mut arg = serving();
            arg.recv_attributes = incoming.address();
            move || {
                let _alive = &server;
                serve(&port, &mut arg);
                let Some(view) = incoming.received() else {
                    failed(0, bytes);
                };
                // SAFETY: The view just received, which nobody can change before it is released.
                look(unsafe { std::slice::from_raw_parts(view.base as *const u64, bytes / 8) });
                outgoing.view.release = view.base;
                arg.send_attributes = outgoing.address();
            }
        },
        || {
            let (client, source) = (connect(&through), touched(bytes));
            let section = client.section(bytes as u64).expect("section");
            let view = section.view(bytes as u64).expect("view");
            let mut outgoing = Box::new(ViewContainer::lending(
                view.base,
                view.size,
                ALPC_VIEW_SECURE,
            ));
            let mut arg = calling();
            arg.send_attributes = outgoing.address();
            move || {
                let _alive = (&section, &outgoing);
                // SAFETY: The view, which is this process's between two calls.
                let words =
                    unsafe { std::slice::from_raw_parts_mut(view.base as *mut u64, bytes / 8) };
                words.copy_from_slice(source.words());
                call(&client, &mut arg);
            }
        },
    )
}

/// Left where they are, and read out by the receiver into memory that it has.
pub fn memory(bytes: usize) -> Running<impl FnMut()> {
    let into = touched(bytes);
    read_out(bytes, move |read| {
        read(&into);
    })
}

/// The same into new memory each time, as a receiver does that hands it on.
pub fn memory_fresh(bytes: usize) -> Running<impl FnMut()> {
    read_out(bytes, move |read| {
        read(&fresh(bytes));
    })
}

/// `with` gives the memory that is read into.
fn read_out(bytes: usize, mut with: impl FnMut(&mut dyn FnMut(&Mapped))) -> Running<impl FnMut()> {
    let port = Create::anonymous().taking_memory().run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || {
            let server = accept(&port);
            let incoming = Ranges::room(1);
            let mut arg = serving();
            arg.recv_attributes = incoming.address();
            let mut read = alpc_memory {
                length: bytes as u64,
                flags: ALPC_MEMORY_READ,
                ..Default::default()
            };
            move || {
                let _alive = (&server, &incoming);
                serve(&port, &mut arg);
                (read.id, read.callback_id) = (arg.id, arg.callback_id);
                with(&mut |into| {
                    read.data = into.start();
                    let (fd, read) = (port.as_fd().as_raw_fd(), std::ptr::from_mut(&mut read));
                    let call = libc::SYS_ioctl;
                    // SAFETY: The argument is what the number says, and the memory is that long.
                    let result = unsafe { libc::syscall(call, fd, ALPC_IOCTL_MEMORY, read) };
                    moved(result as isize, 0);
                    look(into.words());
                });
            }
        },
        || {
            let (client, source) = (connect(&through), touched(bytes));
            let ranges = Ranges::of(&[(source.start(), bytes, ALPC_MEMORY_READ)]);
            let mut arg = calling();
            arg.send_attributes = ranges.address();
            move || {
                let _alive = (&source, &ranges);
                call(&client, &mut arg);
            }
        },
    )
}

fn serving() -> alpc_transfer {
    alpc_transfer {
        flags: ALPC_RECEIVE,
        ..Default::default()
    }
}

/// Takes the next request, and has it answered by the next call.
fn serve(port: &Port, arg: &mut alpc_transfer) {
    transfer(port.as_fd().as_raw_fd(), arg);
    answer(arg);
    arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_RECEIVE;
}

fn calling() -> alpc_transfer {
    alpc_transfer::default()
}

fn call(client: &Port, arg: &mut alpc_transfer) {
    arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
    arg.send_id = 0;
    transfer(client.as_fd().as_raw_fd(), arg);
    received(arg, 0);
}

/// Reads a word of every page.
fn look(words: &[u64]) {
    let step = PAGE / size_of::<u64>();
    if words.iter().step_by(step).any(|word| *word != Mapped::WORD) {
        failed(0, words.len());
    }
}
