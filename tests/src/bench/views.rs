// SPDX-License-Identifier: MIT OR Apache-2.0

//! Secure views: the sender loses a megabyte, the receiver reads it there.

use std::os::fd::AsFd;

use super::alpc::{accept, answer, connect, received, transfer, transfer_in};
use super::words::{came, fill, sum};
use super::{between, counter, Running};
use crate::raw::*;

/// A word that no fresh page holds.
const WORD: u64 = 0x5a5a_5a5a_5a5a_5a5a;
/// Payload of the message that carries a view, each way.
const PAYLOAD: usize = 8;

/// How much of a view both sides use.
#[derive(Clone, Copy)]
enum Use {
    All,
    OnePage,
}

/// The sender writes all of it, the receiver reads all of it and gives it back.
pub fn whole(bytes: usize) -> Running<impl FnMut()> {
    between_views(bytes, Use::All, |words, call| {
        fill(words, WORD);
        call();
    })
}

/// Both touch one page of it.
pub fn touched(bytes: usize) -> Running<impl FnMut()> {
    between_views(bytes, Use::OnePage, |words, call| {
        fill(&mut words[..1], WORD);
        call();
    })
}

/// The sender has written all of it before, which is not counted; the receiver
/// reads one page.
pub fn filled(bytes: usize) -> Running<impl FnMut() -> u64> {
    between_views(bytes, Use::OnePage, |words, call| {
        fill(words, WORD);
        let before = counter::begin();
        call();
        counter::end() - before
    })
}

fn between_views<R>(
    bytes: usize,
    which: Use,
    mut run: impl FnMut(&mut [u64], &mut dyn FnMut()) -> R,
) -> Running<impl FnMut() -> R> {
    let mut create = Create::anonymous().taking(ALPC_TAKE_VIEWS);
    let port = create.run().expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    between(
        || serve(port.duplicate(), accept(&port), bytes, which),
        || {
            let client = connect(&through);
            let section = client.section(bytes as u64).expect("section");
            let view = section.view(bytes as u64).expect("view");
            let mut buffer = vec![0_u8; PAYLOAD];
            let fd = std::os::fd::AsRawFd::as_raw_fd(&client.as_fd());
            let mut arg = transfer_in(&mut buffer, PAYLOAD);
            let mut container = Box::new(ViewContainer::lending(
                view.base,
                view.size,
                ALPC_VIEW_SECURE,
            ));
            arg.send_attributes = container.address();
            let mut call = move || {
                let _alive = (&client, &section, &buffer, &container);
                arg.flags = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC;
                arg.send_id = 0;
                transfer(fd, &mut arg);
                received(&arg, PAYLOAD);
            };
            // SAFETY: The view, whole pages, which is this process's between two calls.
            let words = unsafe { std::slice::from_raw_parts_mut(view.base as *mut u64, bytes / 8) };
            move || run(words, &mut call)
        },
    )
}

fn serve(port: Port, server: Port, bytes: usize, which: Use) -> impl FnMut() {
    let mut buffer = vec![0_u8; PAYLOAD];
    let mut arg = transfer_in(&mut buffer, PAYLOAD);
    arg.flags = ALPC_RECEIVE;
    let mut incoming = Box::new(ViewContainer::receiving());
    arg.recv_attributes = incoming.address();
    let mut outgoing = Box::new(ViewContainer::releasing(0));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&port.as_fd());
    move || {
        let _alive = (&port, &server, &buffer);
        transfer(fd, &mut arg);
        received(&arg, PAYLOAD);
        let view = incoming.received().expect("a view");
        let count = match which {
            Use::All => bytes / 8,
            Use::OnePage => 1,
        };
        // SAFETY: The view just received, which nobody can change before it is released.
        let words = unsafe { std::slice::from_raw_parts(view.base as *const u64, count) };
        came(sum(words), count * 8, WORD);
        outgoing.view.release = view.base;
        arg.send_attributes = outgoing.address();
        answer(&mut arg);
        arg.flags = ALPC_SEND | ALPC_RELEASE | ALPC_RECEIVE;
    }
}
