// SPDX-License-Identifier: GPL-2.0

//! How connections end, from either side, at once and half-way.

use crate::engine::*;
use crate::threads::*;
use crate::world::*;

/// What the other side finds, and what this side finds, after a disconnect.
fn disconnected(by: Side, flush: bool) -> (String, String) {
    let mut w = World::new();
    let conn = w.open();
    let held = staged(&mut w, conn, Client, 1);
    let callback = staged(&mut w, conn, Server, 5);
    let answered = staged(&mut w, conn, Client, 1);
    let own = staged(&mut w, conn, Server, 1);
    w.answer(Server, answered, 0, How::FinalReply).unwrap();
    w.answer(Client, own, 0, How::FinalReply).unwrap();
    w.send(conn, Client, New::OneWay, 10).unwrap();
    w.request(conn, Client);
    w.send(conn, Server, New::OneWay, 10).unwrap();
    w.request(conn, Server);
    w.disconnect(conn, by, flush);
    let (to_client, to_server) = (finds(&mut w, conn, Client), finds(&mut w, conn, Server));
    let ends = match by {
        Client => ("Ended Closed", "Ended Disconnected"),
        Server => ("Ended Disconnected", "Ended Closed"),
    };
    assert_eq!(w.next(client(conn)).word(), ends.0);
    assert_eq!(w.next(server(conn)).word(), ends.1);
    assert_eq!(w.next(PORT).word(), "Empty");
    for (side, end) in [(Client, ends.0), (Server, ends.1)] {
        let sent = w.send(conn, side, New::OneWay, 1);
        let refusal = sent.expect_err("no send");
        assert_eq!(format!("{refusal:?}"), end.replace(' ', "(") + ")");
    }
    for id in [held, callback, answered, own] {
        assert_eq!(w.cancel(Client, id, false), Err(Refusal::NotFound));
    }
    w.disconnect(conn, by.other(), flush);
    w.disconnect(conn, by, flush);
    assert_eq!(finds(&mut w, conn, Server), "", "told once");
    w.close(conn, Client);
    w.close(conn, Server);
    assert_eq!(w.engine.phase(conn), Phase::Free);
    w.end();
    (to_client, to_server)
}

#[test]
fn a_disconnect_drops_what_is_queued_and_tells_the_server_of_each_conversation() {
    let (to_client, to_server) = disconnected(Client, true);
    assert_eq!(to_client, "");
    // What it held, the callback it held, its answer that it had not received, and
    // its request that the client had not.
    assert_eq!(
        to_server,
        "Canceled, Canceled, Canceled, Canceled, PortClosed"
    );
    let (to_client, to_server) = disconnected(Server, true);
    assert_eq!((to_client.as_str(), to_server.as_str()), ("", ""));
}

#[test]
fn a_disconnect_without_flush_leaves_what_needs_no_answer() {
    let (to_client, to_server) = disconnected(Client, false);
    assert_eq!(to_client, "Reply, Datagram");
    assert_eq!(
        to_server,
        "Datagram, Canceled, Canceled, Canceled, PortClosed, Reply"
    );
    let (to_client, to_server) = disconnected(Server, false);
    assert_eq!(to_client, "Reply, Datagram");
    assert_eq!(to_server, "Datagram, Reply");
}

#[test]
fn a_disconnect_ends_every_wait_at_once() {
    for (by, near, far, call) in [
        (
            Client,
            "Ended Closed",
            "Ended Disconnected",
            ["Ended Closed", "Ended Lost"],
        ),
        (
            Server,
            "Ended Closed",
            "Ended Disconnected",
            ["Ended Disconnected", "Ended Closed"],
        ),
    ] {
        let mut w = World::new();
        let conn = w.open();
        let (to_client, to_server) = match by {
            Client => (near, far),
            Server => (far, near),
        };
        w.wait_next(1, client(conn), 100);
        w.wait_next(2, client(conn), 100);
        w.wait_next(3, server(conn), 100);
        w.wait_next(4, PORT, 100);
        w.leave(4);
        w.call(5, conn, Client, 100);
        let held = staged(&mut w, conn, Client, 0);
        drop(w.next(PORT).message());
        let _ = held;
        for thread in [6, 7] {
            while w.send(conn, Client, New::OneWay, 50).is_ok() {}
            w.wait_room(thread, conn, Client, 60);
        }
        w.disconnect(conn, by, true);
        for (thread, expected) in [
            (1, to_client),
            (2, to_client),
            (3, to_server),
            (6, to_client),
            (7, to_client),
        ] {
            assert_eq!(word(&w.taken(thread)), expected, "{thread} by {by:?}");
        }
        // The server had received this one.
        let lost = if by == Client { call[0] } else { "Ended Lost" };
        assert_eq!(word(&w.taken(5)), lost);
        w.end();
    }
}

#[test]
fn a_request_nobody_received_is_not_called_lost() {
    let mut w = World::new();
    let conn = w.open();
    w.call(1, conn, Client, 100);
    w.disconnect(conn, Server, true);
    assert_eq!(word(&w.taken(1)), "Ended Disconnected");
    w.end();
}

#[test]
fn the_notice_of_the_end_is_the_last_of_a_connection() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let conn = w.open();
        let held = staged(&mut w, conn, Client, 1);
        w.send(conn, Client, New::OneWay, 10).unwrap();
        let one_way = w.next(PORT).message();
        w.send(conn, Client, New::OneWay, 10).unwrap();
        w.close(conn, Client);
        w.undeliver(one_way);
        for expected in ["Datagram", "Datagram", "Canceled", "PortClosed"] {
            assert!(w.engine.readiness(PORT).0);
            let got = w.next(PORT).message();
            assert_eq!(format!("{:?}", got.what), expected);
            assert_eq!(got.id, if expected == "Canceled" { held } else { 0 });
            w.settle(got);
        }
        assert_eq!(w.next(PORT).word(), "Empty");
        w.close(conn, Server);
        assert_eq!(w.engine.phase(conn), Phase::Free);
        w.end();
    }
}

#[test]
fn the_notice_of_the_end_reaches_who_waits_and_can_come_again() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let conn = w.open();
        w.wait_next(1, PORT, 0);
        w.close(conn, Client);
        let notice = w.taken_message(1);
        assert_eq!((notice.what, notice.port_context), (What::PortClosed, 8));
        assert!(notice.peer.is_some() && notice.slot == NONE);
        w.close(conn, Server);
        assert_ne!(
            w.engine.phase(conn),
            Phase::Free,
            "somebody reads its notice"
        );
        w.undeliver(notice);
        let notice = w.next(PORT).message();
        assert_eq!(notice.what, What::PortClosed);
        w.settle(notice);
        assert_eq!(w.engine.phase(conn), Phase::Free);
        w.end();
    }
}

#[test]
fn an_end_half_done_lets_nobody_in_and_leaves_nothing_behind() {
    // The server takes, answers, cancels and closes between the client's steps.
    for steps in 1..6 {
        let mut w = World::new();
        let conn = w.open();
        let ids: Vec<_> = (0..3).map(|_| staged(&mut w, conn, Client, 1)).collect();
        let waits = staged(&mut w, conn, Server, 1);
        w.answer(Client, waits, 0, How::Reply).unwrap();
        let progress = w.disconnect_partly(conn, Client, steps);
        for side in [Client, Server] {
            assert!(w.send(conn, side, New::Request, 1).is_err());
        }
        assert!(w.answer(Server, ids[0], 0, How::Reply).is_err());
        let _ = w.discard(Server, ids[0], 0);
        let _ = w.cancel(Server, ids[2], false);
        w.close(conn, Server);
        w.disconnect_on(conn, Client, progress);
        let words = finds(&mut w, conn, Server);
        assert!(words.ends_with("PortClosed"), "{words}");
        w.close(conn, Client);
        assert_eq!(w.engine.phase(conn), Phase::Free, "after {steps} steps");
        w.end();
    }
}

#[test]
fn a_closed_client_gets_no_notice_from_a_server_that_is_ending() {
    let mut w = World::new();
    let conn = w.open();
    let id = staged(&mut w, conn, Client, 1);
    let progress = w.disconnect_partly(conn, Server, 1);
    w.close(conn, Client);
    assert_eq!(w.discard(Server, id, 0), Ok(()));
    w.disconnect_on(conn, Server, progress);
    w.close(conn, Server);
    assert_eq!(w.engine.phase(conn), Phase::Free);
    w.end();
}

#[test]
fn a_wait_survives_a_close_by_the_other_side_until_its_own_end() {
    // The client is ending: its descriptor's reader still stands in a slot that is
    // queued to the server's port, which closes first.
    let mut w = World::new();
    let conn = w.open();
    let id = staged(&mut w, conn, Server, 1);
    w.answer(Client, id, 0, How::Reply).unwrap();
    w.wait_for(1, Client, id, 100);
    let progress = w.disconnect_partly(conn, Client, 1);
    w.close(conn, Server);
    assert!(matches!(w.taken(1), Hand::Ended(_)));
    w.disconnect_on(conn, Client, progress);
    w.end();
}

#[test]
fn a_message_put_back_to_a_closed_port_is_dropped() {
    let mut w = World::new();
    let conn = w.open();
    let id = staged(&mut w, conn, Server, 1);
    w.answer(Client, id, 0, How::FinalReply).unwrap();
    // A thread on the connection port has it in its hands.
    let reply = w.collect(Server, id, 100).message();
    w.close(conn, Server);
    w.close(conn, Client);
    w.undeliver(reply);
    let notices = finds(&mut w, conn, Server);
    assert_eq!(notices, "");
    assert_eq!(w.engine.phase(conn), Phase::Free);
    w.end();
}

#[test]
fn a_notice_of_the_end_that_comes_back_is_behind_messages_that_did() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let conn = w.open();
        w.send(conn, Client, New::OneWay, 10).unwrap();
        let one_way = w.next(PORT).message();
        w.close(conn, Client);
        let notice = w.next(PORT).message();
        assert_eq!(notice.what, What::PortClosed);
        w.undeliver(one_way);
        w.undeliver(notice);
        assert_eq!(finds(&mut w, conn, Server), "Datagram, PortClosed");
        w.end();
    }
}

#[test]
fn pollers_of_the_port_learn_that_a_client_has_gone() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let conn = w.open();
        w.port_polled = false;
        w.close(conn, Client);
        assert!(core::mem::take(&mut w.port_polled));
        let notice = w.next(PORT).message();
        w.undeliver(notice);
        assert!(w.port_polled);
        w.end();
    }
}

#[test]
fn a_close_that_is_done_does_nothing_to_who_comes_after() {
    let mut w = World::new();
    let (conn, _) = w.connect();
    w.disconnect(conn, Client, false);
    let mut progress = Progress::default();
    assert!(!w.step(|engine, fx| engine.close_side(conn, Client, &mut progress, fx)));
    let (again, sent) = w.connect();
    assert_eq!(again, conn);
    drop(w.next(PORT).message());
    w.refuse(sent.id).unwrap();
    assert!(!w.step(|engine, fx| engine.close_side(conn, Client, &mut progress, fx)));
    let answer = w.next(client(conn)).message();
    assert_eq!(answer.what, What::ConnectionRefused);
    w.settle(answer);
    assert_eq!(w.engine.phase(conn), Phase::Refused);
    w.end();
}
