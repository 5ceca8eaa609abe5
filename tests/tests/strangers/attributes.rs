// SPDX-License-Identifier: MIT OR Apache-2.0

//! What messages carry: contexts, tokens, receivers, handles.

use std::os::fd::AsRawFd;

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::{files, privilege, MALLORY};

use super::stage::*;

/// Handles of one message.
const HANDLES: usize = 8;

fn pipes() -> (Vec<std::os::fd::OwnedFd>, HandleContainer) {
    let ends: Vec<_> = (0..HANDLES).map(|_| files::pipe().1).collect();
    let numbers: Vec<_> = ends.iter().map(|end| end.as_raw_fd()).collect();
    (ends, HandleContainer::sending(&numbers))
}

/// Sends handles to the victim for as long as there is room for them.
fn floods_with_handles() -> Box<dyn Side> {
    let stage = stranger();
    let (ends, mut container) = pipes();
    let mut flood = flooding(b"handles").handles(&mut container);
    busy(move || {
        let _ = (&ends, &container);
        again(&mut flood, &stage.client);
    })
}

fn sends_handles() -> Box<dyn Side> {
    let stage = victim();
    let (ends, mut container) = pipes();
    let flood = flooding(b"handles").handles(&mut container);
    // They are sent for as long as the process lives.
    std::mem::forget((ends, container));
    sends(stage, flood)
}

/// Without room for handles: they are closed.
fn receives_no_handles() -> Box<dyn Side> {
    let stage = victim();
    let mut receive = receiving();
    always(move |watch| receives_once(&stage.port, &mut receive, watch))
}

/// Asks for something, with a handle.
fn asks_with_handles() -> Box<dyn Side> {
    let stage = stranger();
    let (ends, mut container) = pipes();
    let asked = Transfer::new().send(b"asked").handles(&mut container);
    // They are sent for as long as the process lives.
    std::mem::forget((ends, container));
    asks_with(stage, asked)
}

fn claims() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || asked(stage),
        move |request, watch| {
            let claimed = watch.time(|| Claim::new(&request, 0, HANDLES as u32).run(&stage.port));
            claimed.expect("handles");
            let_go(&stage.port, &request);
        },
    )
}

/// Sends with other credentials each time.
fn changes_credentials() -> Box<dyn Side> {
    let stage = stranger();
    let mut flood = flooding(b"who am I?");
    busy(move || {
        privilege::keep_capabilities(0);
        again(&mut flood, &stage.client);
    })
}

fn receives_tokens() -> Box<dyn Side> {
    let stage = victim();
    let mut receive = receiving();
    let room = Box::leak(Box::new(TokenContainer::room()));
    receive.arg.recv_attributes = room.address();
    always(move |watch| receives_once(&stage.port, &mut receive, watch))
}

fn sends_a_context() -> Box<dyn Side> {
    let stage = victim();
    let container = Box::leak(Box::new(ContextContainer::sending(7)));
    let mut asked = Transfer::new().send(b"request").flags(ALPC_NONBLOCK);
    asked.arg.send_attributes = container.address();
    sends(stage, asked)
}

fn sends_for_the_stranger() -> Box<dyn Side> {
    let stage = victim();
    let container = ReceiverContainer::new(Some(MALLORY.uid), None);
    let container = Box::leak(Box::new(container));
    let mut asked = Transfer::new().send(b"request").flags(ALPC_NONBLOCK);
    asked.arg.send_attributes = container.address();
    sends(stage, asked)
}

rows! {
    handles_are_sent_to_a_starved_server: ["ATTR_HANDLE"], sends_handles, serves;
    handles_of_a_starved_sender_are_dropped: ["ATTR_HANDLE"], receives_no_handles, floods_with_handles;
    handles_of_a_starved_sender_are_claimed: ["CLAIM"], claims, asks_with_handles;
    a_token_of_a_sender_that_changes_is_told: ["ATTR_TOKEN"], receives_tokens, changes_credentials;
    a_context_is_sent_to_a_starved_server: ["ATTR_CONTEXT"], sends_a_context, serves;
    a_request_for_a_starved_user_is_sent: ["ATTR_RECEIVER"], sends_for_the_stranger, serves;
}
