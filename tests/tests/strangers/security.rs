// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who somebody is, and what a server may do with that.

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::{privilege, ROOT};

use super::stage::*;

const IMPERSONATE: u32 = ALPC_SECURITY_IMPERSONATE;

/// Receives what the victim sends with a context, asks about it, and keeps it for a while.
fn serves_contexts() -> Box<dyn Side> {
    let stage = stranger();
    let mut receive = receiving();
    let room = Box::leak(Box::new(SecurityContainer::receiving()));
    receive.arg.recv_attributes = room.address();
    let serve = move || {
        receive.recv.fill(JUNK);
        *room = SecurityContainer::receiving();
        if let Ok(message) = receive.run(&stage.port) {
            // Nobody but root may have a right to it.
            let _ = stage.port.impersonate(&message).map(drop);
            let _ = stage.port.identity(&message);
            let_go(&stage.port, &message);
        }
    };
    cleaning(|| empty(&stage.port), serve)
}

fn sends_with_a_context() -> Box<dyn Side> {
    let stage = victim();
    let once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
    let once = Box::leak(Box::new(once));
    let mut asked = Transfer::new().send(b"request").flags(ALPC_NONBLOCK);
    asked.arg.send_attributes = once.address();
    sends(stage, asked)
}

/// Makes one, sends it, revokes and deletes it.
fn has_contexts() -> Box<dyn Side> {
    let stage = victim();
    let mut receive = receiving();
    let mut asked = Transfer::new().send(b"request").flags(ALPC_NONBLOCK);
    always(move |watch| {
        let create = || stage.client.create_security(IMPERSONATE);
        let context = watch.time(create).expect("a context");
        let mut named = SecurityContainer::sending(context, 0, 0);
        (asked.arg.send_id, asked.arg.send_attributes) = (0, named.address());
        again(&mut asked, &stage.client);
        watch.time(|| {
            stage.client.revoke_security(context).expect("REVOKE");
            stage.client.delete_security(context).expect("DELETE");
        });
        drain(&stage.client, &mut receive);
    })
}

/// Asks with a context, which it revokes; meanwhile it makes, sends and ends others.
fn revokes() -> Box<dyn Side> {
    let stage = stranger();
    let mut flood = flooding(b"with a context");
    preparing(
        move || {
            let dynamic = IMPERSONATE | ALPC_SECURITY_DYNAMIC;
            empty(&stage.client);
            for _ in 0..batch() {
                let mut once = SecurityContainer::sending(0, dynamic, ALPC_SECURITY_ONCE);
                stage
                    .client
                    .post_secured(b"asked", &mut once)
                    .expect("post");
            }
        },
        move || {
            privilege::keep_capabilities(0);
            let context = stage
                .client
                .create_security(IMPERSONATE)
                .expect("a context");
            let mut named = SecurityContainer::sending(context, 0, 0);
            flood.arg.send_attributes = named.address();
            again(&mut flood, &stage.client);
            stage.client.revoke_security(context).expect("REVOKE");
            stage.client.delete_security(context).expect("DELETE");
        },
    )
}

fn impersonates() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || asked(stage),
        move |request, watch| {
            watch.time(|| {
                let way_back = stage.port.impersonate(&request).expect("IMPERSONATE");
                way_back.revert().expect("REVERT");
            });
            let_go(&stage.port, &request);
        },
    )
}

fn asks_who_that_is() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || asked(stage),
        move |request, watch| {
            let who = watch.time(|| stage.port.identity(&request));
            who.expect("QUERY_IDENTITY");
            let_go(&stage.port, &request);
        },
    )
}

fn verifies() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || asked(stage),
        move |request, watch| {
            let there = watch.time(|| stage.port.verify(request.id, request.callback_id, 0));
            there.expect("VERIFY");
            let_go(&stage.port, &request);
        },
    )
}

fn receives_contexts() -> Box<dyn Side> {
    let stage = victim();
    let mut receive = receiving();
    let room = Box::leak(Box::new(SecurityContainer::receiving()));
    receive.arg.recv_attributes = room.address();
    using(
        move || {
            empty(&stage.port);
            vec![(); batch() as usize]
        },
        move |(), watch| {
            *room = SecurityContainer::receiving();
            receives_once(&stage.port, &mut receive, watch);
        },
    )
}

rows! {
    a_message_with_a_context_is_sent_to_a_starved_server:
        ["ATTR_SECURITY"], sends_with_a_context, serves_contexts;
    contexts_come_and_go_while_a_starved_server_uses_them:
        ["CREATE_SECURITY", "REVOKE_SECURITY", "DELETE_SECURITY"], has_contexts, serves_contexts;
    a_context_of_a_starved_sender_is_received: ["ATTR_SECURITY"], receives_contexts, revokes;
    a_starved_sender_is_impersonated: ["IMPERSONATE", "REVERT"], impersonates, revokes, user ROOT;
    a_starved_sender_is_identified: ["QUERY_IDENTITY"], asks_who_that_is, revokes;
    a_starved_sender_is_verified: ["VERIFY"], verifies, revokes;
}
