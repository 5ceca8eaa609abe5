// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages, on a port that a stranger is a client of, or has.

use std::thread;

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::wait;

use super::stage::*;

/// Has the victim's port served by a thread, which answers at once.
fn served(stage: &'static Stage) {
    thread::spawn(|| {
        let mut receive = Transfer::new().capacity(ALPC_MESSAGE_MAX as usize);
        loop {
            receive.recv.fill(JUNK);
            let message = receive.run(&stage.port).expect("receive");
            match message.open() && message.uid != alpc_tests::MALLORY.uid {
                // Its end may have come before.
                true => drop(stage.port.reply(&message, b"reply")),
                false => let_go(&stage.port, &message),
            }
        }
    });
}

fn sends_one_way() -> Box<dyn Side> {
    let stage = victim();
    let (client, _) = Box::leak(Box::new(own_client(stage)));
    let mut receive = receiving();
    always(move |watch| {
        watch.time(|| client.one_way(b"one way").expect("send"));
        drain(&stage.port, &mut receive);
    })
}

fn receives() -> Box<dyn Side> {
    let stage = victim();
    let (client, _) = Box::leak(Box::new(own_client(stage)));
    // A starved stranger sends less than is received.
    let mut filler = flooding(b"filler");
    let mut receive = receiving();
    always(move |watch| {
        again(&mut filler, client);
        receives_once(&stage.port, &mut receive, watch);
    })
}

fn calls_its_own_server() -> Box<dyn Side> {
    let stage = victim();
    let (client, _) = Box::leak(Box::new(own_client(stage)));
    served(stage);
    timed(|| drop(client.request(b"request").expect("a reply")))
}

/// So long a message keeps its sender in the kernel from before the hogs wake up until it is sent.
const LENGTH: usize = 8 << 10;

/// Has the victim's port served by a thread that waits nearly always, and tells everybody when it
/// has received what they have sent.
fn calls_a_waiting_server() -> Box<dyn Side> {
    let stage = victim();
    let (client, _) = Box::leak(Box::new(own_client(stage)));
    thread::spawn(|| {
        let mut receive = Transfer::new().capacity(LENGTH);
        loop {
            receive.recv.fill(JUNK);
            let message = receive.run(&stage.port).expect("receive");
            let now = wait::clock(libc::CLOCK_MONOTONIC);
            match message.open() {
                // Its end may have come before.
                true => drop(stage.port.reply(&message, &now.to_ne_bytes())),
                false => let_go(&stage.port, &message),
            }
        }
    });
    timed(|| drop(client.request(b"request").expect("a reply")))
}

/// Sends right before each tick, at which hogs may stop it: so that it has handed its message to the
/// waiting server then, and has not woken that yet. It finds the moment by halves: by the answer it
/// knows whether it was stopped too late, with the server awake, or not too late.
fn sends_at_ticks() -> Box<dyn Side> {
    const TICK: u64 = 4_000_000;
    const LEAST: u64 = 200;
    let stage = stranger();
    let now = || wait::clock(libc::CLOCK_MONOTONIC);
    let mut asked = Transfer::new().send(&[7; LENGTH]).flags(ALPC_NONBLOCK);
    let (mut lead, mut step, mut was_late) = (32_000, 16_000, true);
    busy(move || {
        asked.arg.send_id = 0;
        let tick = ((now() + TICK / 8) / TICK + 1) * TICK;
        while now() < tick - lead {}
        if !again(&mut asked, &stage.client) {
            return;
        }
        let answer = stage.client.receive().expect("an answer");
        let stopped = now() > tick + TICK;
        let Ok(received) = <[u8; 8]>::try_from(&answer.data[..]) else {
            return;
        };
        if !stopped {
            return;
        }
        let is_late = u64::from_ne_bytes(received) > tick + TICK / 2;
        if is_late != was_late {
            step = (step / 2).max(LEAST);
        }
        was_late = is_late;
        lead = match is_late {
            true => lead + step,
            false => lead.saturating_sub(step),
        };
    })
}

/// The stranger doesn't answer.
fn calls_the_stranger() -> Box<dyn Side> {
    let stage = victim();
    always(move |watch| {
        let mut transfer = Transfer::new().send(b"request").receive();
        transfer = transfer.flags(ALPC_SYNC).timeout(500_000);
        let ended = watch.time(|| transfer.run(&stage.client));
        let failure = ended.expect_err("nobody answers");
        assert!(
            [fail::TIMED_OUT_SENT, fail::LOST].contains(&failure),
            "{failure:?}"
        );
    })
}

fn sends_to_the_stranger() -> Box<dyn Side> {
    sends(victim(), flooding(b"one way"))
}

fn cancels() -> Box<dyn Side> {
    let stage = victim();
    let mut asked = Transfer::new().send(b"request").flags(ALPC_NONBLOCK);
    let mut receive = receiving();
    always(move |watch| {
        asked.arg.send_id = 0;
        if again(&mut asked, &stage.client) {
            // The stranger may have let go of it.
            let _ = watch.time(|| stage.client.cancel(asked.arg.send_id, 0));
        }
        drain(&stage.client, &mut receive);
    })
}

fn asks() -> Box<dyn Side> {
    asks_with(stranger(), Transfer::new().send(b"prepared"))
}

fn replies() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || asked(stage),
        move |request, watch| {
            let replied = watch.time(|| stage.port.reply(&request, b"reply"));
            replied.expect("a reply");
        },
    )
}

fn lets_go() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || asked(stage),
        move |request, watch| {
            let released = watch.time(|| stage.port.release(&request));
            released.expect("a release");
        },
    )
}

fn polls() -> Box<dyn Side> {
    let stage = victim();
    timed(|| {
        for port in [&stage.port, &stage.server, &stage.client] {
            wait::poll_now(port, libc::POLLIN | libc::POLLOUT);
        }
    })
}

/// With a connection that the stranger uses at that time.
fn disconnects() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || (0..batch()).map(|_| accept(&stage.port)).collect(),
        |server: Port, watch| {
            let ended = watch.time(|| server.disconnect());
            ended.expect("DISCONNECT");
        },
    )
}

fn closes_server_ports() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || (0..batch()).map(|_| accept(&stage.port)).collect(),
        |server: Port, watch| watch.time(|| drop(server)),
    )
}

/// Has many connections to the victim, and sends on each.
fn sends_on_many() -> Box<dyn Side> {
    stranger();
    let clients: &'static std::cell::RefCell<Vec<Port>> =
        Box::leak(Box::new(std::cell::RefCell::default()));
    let mut long = flooding(&vec![7; ALPC_MESSAGE_MAX as usize]);
    let mut turn = 0;
    preparing(
        move || {
            let mut clients = clients.borrow_mut();
            clients.clear();
            clients.extend((0..batch()).map(|_| connect(VICTIM)));
        },
        move || {
            let clients = clients.borrow();
            turn = (turn + 1) % clients.len();
            again(&mut long, &clients[turn]);
        },
    )
}

rows! {
    a_one_way_message_is_sent_beside_a_strangers_flood:
        ["SEND_WAIT_RECEIVE"], sends_one_way, floods;
    a_server_receives_beside_a_strangers_flood:
        ["SEND_WAIT_RECEIVE"], receives, floods, rounds 500;
    a_call_is_answered_beside_a_strangers_flood:
        ["SEND_WAIT_RECEIVE"], calls_its_own_server, floods;
    a_waiting_server_is_woken_though_its_starved_client_is_stopped:
        ["SEND_WAIT_RECEIVE"], calls_a_waiting_server, sends_at_ticks, rounds 3000;
    a_call_ends_at_its_timeout_though_its_server_is_starved:
        ["SEND_WAIT_RECEIVE"], calls_the_stranger, serves;
    a_one_way_message_does_not_wait_for_a_starved_server:
        ["SEND_WAIT_RECEIVE"], sends_to_the_stranger, serves;
    a_cancel_does_not_wait_for_a_starved_server: ["CANCEL"], cancels, serves;
    a_reply_does_not_wait_for_who_asked: ["SEND_WAIT_RECEIVE"], replies, asks;
    a_release_does_not_wait_for_who_asked: ["SEND_WAIT_RECEIVE"], lets_go, asks;
    a_poll_does_not_wait_for_who_floods: ["poll"], polls, floods;
    a_disconnect_does_not_wait_for_who_sends: ["DISCONNECT"], disconnects, sends_on_many;
    the_end_of_a_server_port_does_not_wait_for_who_sends:
        ["close of a server port"], closes_server_ports, sends_on_many;
}
