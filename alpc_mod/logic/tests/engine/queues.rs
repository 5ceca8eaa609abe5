// SPDX-License-Identifier: GPL-2.0

//! Queues: their room, their turns, who polls them.

use crate::engine::*;
use crate::world::*;

fn one_way(w: &mut World, conn: u32, len: u32) {
    w.send(conn, Client, New::OneWay, len).unwrap();
}

/// Receives all that is on the connection port, and says the lengths.
fn lengths(w: &mut World) -> Vec<u32> {
    let mut all = Vec::new();
    while let Got::Message(got) = w.next(PORT) {
        all.push(got.body.as_ref().map_or(0, |body| body.len()));
        w.settle(got);
    }
    all
}

#[test]
fn a_share_is_full_by_messages_or_by_bytes() {
    let mut w = World::new();
    let conn = w.open();
    for _ in 0..4 {
        assert!(w.engine.has_room(conn, Client));
        one_way(&mut w, conn, 1);
    }
    assert!(!w.engine.has_room(conn, Client));
    assert_eq!(
        w.send(conn, Client, New::Request, 1).err(),
        Some(Refusal::QueueFull)
    );
    lengths(&mut w);
    one_way(&mut w, conn, 100);
    assert!(w.engine.has_room(conn, Client));
    one_way(&mut w, conn, 99);
    // Not for every message, though for some.
    assert!(!w.engine.has_room(conn, Client));
    assert_eq!(
        w.send(conn, Client, New::Request, 2).err(),
        Some(Refusal::QueueFull)
    );
    one_way(&mut w, conn, 1);
    assert!(!w.engine.has_room(conn, Client));
    assert!(w.engine.has_room(conn, Server));
    assert_eq!(
        (w.engine.gauges(PORT).messages, w.engine.gauges(PORT).bytes),
        (3, 200)
    );
    w.end();
}

#[test]
fn an_answer_counts_by_its_bytes_unless_somebody_waits_for_it() {
    for origin in [Client, Server] {
        let mut w = World::new();
        let conn = w.open();
        let (far, waits) = (origin.other(), w.call(1, conn, origin, 100));
        drop(w.collect_or_next(far, conn, waits));
        for full in [false, false, true] {
            let id = w.request(conn, origin).id;
            drop(w.collect_or_next(far, conn, id));
            let sent = w.answer_len(far, id, 0, How::FinalReply, 100);
            assert_eq!(sent.err(), full.then_some(Refusal::QueueFull));
        }
        w.answer_len(far, waits, 0, How::FinalReply, 100).unwrap();
        let reply = w.taken_message(1);
        w.settle(reply);
        w.end();
    }
}

#[test]
fn senders_get_room_in_their_order_one_after_the_other() {
    let mut w = World::new();
    let conn = w.open();
    one_way(&mut w, conn, 100);
    one_way(&mut w, conn, 100);
    for thread in 1..=3 {
        w.wait_room(thread, conn, Client, 30);
    }
    let got = w.next(PORT).message();
    w.settle(got);
    for thread in 1..=3 {
        assert_eq!(word(&w.taken(thread)), "Room");
        one_way(&mut w, conn, 30);
    }
    w.wait_room(4, conn, Client, 30);
    w.leave(4);
    w.end();
}

#[test]
fn room_is_passed_on_even_if_the_message_is_never_queued() {
    let mut w = World::with(false, 8);
    let conn = w.open();
    for _ in 0..4 {
        one_way(&mut w, conn, 1);
    }
    for thread in 1..=5 {
        w.wait_room(thread, conn, Client, 1);
    }
    lengths(&mut w);
    w.wait_next(10, PORT, 100);
    assert_eq!(word(&w.taken(1)), "Room");
    one_way(&mut w, conn, 1);
    let got = w.taken_message(10);
    w.settle(got);
    assert_eq!(word(&w.taken(5)), "Room");
    w.end();
}

#[test]
fn room_is_passed_on_by_who_cannot_use_it() {
    let mut w = World::new();
    let conn = w.open();
    for _ in 0..4 {
        one_way(&mut w, conn, 1);
    }
    for thread in 1..=6 {
        w.wait_room(thread, conn, Client, 1);
    }
    lengths(&mut w);
    for thread in 1..=4 {
        assert_eq!(word(&w.taken(thread)), "Room", "for each that left");
    }
    let too_long = w.send(conn, Client, New::OneWay, 101).err();
    assert_eq!(too_long, Some(Refusal::TooLong));
    assert_eq!(word(&w.taken(5)), "Room");
    w.step(|engine, fx| engine.pass_room(conn, Client, fx));
    assert_eq!(word(&w.taken(6)), "Room");
    for _ in 0..4 {
        one_way(&mut w, conn, 1);
    }
    w.wait_room(7, conn, Client, 1);
    w.step(|engine, fx| engine.pass_room(conn, Client, fx));
    assert!(w.is_waiting(7), "there is none");
    w.end();
}

#[test]
fn pollers_learn_of_room_in_bytes_and_of_no_other_queues() {
    let mut w = World::new();
    let conn = w.open();
    let link = w.peers[&conn].clone();
    for _ in 0..2 {
        one_way(&mut w, conn, 100);
        let id = w.request(conn, Server).id;
        drop(w.next(client(conn)).message());
        w.answer_len(Client, id, 0, How::FinalReply, 100).unwrap();
    }
    link.poll(Client, true);
    let reply = w.next(server(conn)).message();
    w.settle(reply);
    assert!(!link.was_woken(), "nobody waits to send there");
    let got = w.next(PORT).message();
    w.settle(got);
    assert!(link.was_woken());
    drop(link);
    w.end();
}

#[test]
fn room_is_for_the_queue_that_was_full() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Server).id;
    drop(w.next(client(conn)).message());
    w.answer(Client, id, 0, How::FinalReply).unwrap();
    for _ in 0..4 {
        one_way(&mut w, conn, 1);
        w.send(conn, Server, New::OneWay, 1).unwrap();
    }
    w.wait_room(1, conn, Client, 1);
    w.wait_room(2, conn, Server, 1);
    let reply = w.next(server(conn)).message();
    w.settle(reply);
    assert!(w.is_waiting(1) && w.is_waiting(2));
    let got = w.next(client(conn)).message();
    w.settle(got);
    assert!(w.is_waiting(1));
    assert_eq!(word(&w.taken(2)), "Room");
    w.end();
}

#[test]
fn two_senders_get_room_from_one_call_that_sends_and_receives() {
    // One pass through the lock: an answer, then a receive, each making room.
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    for thread in [1, 2] {
        let full = if thread == 1 { conn } else { other };
        for _ in 0..4 {
            one_way(&mut w, full, 1);
        }
        w.wait_room(thread, full, Client, 1);
    }
    // Both leave before anything is woken.
    let got = w.step(|engine, fx| {
        assert_eq!(engine.discard(None, Server, id, 0, fx), Ok(()));
        [(); 2].map(|()| Got::from(engine.receive(PORT, 100, fx)).message())
    });
    for delivery in got {
        w.settle(delivery);
    }
    assert_eq!(word(&w.taken(1)), "Room");
    assert_eq!(word(&w.taken(2)), "Room");
    w.end();
}

#[test]
fn what_one_operation_cannot_do_is_done_again() {
    // Two threads fit behind the large message, and a sender waits for each room.
    let mut w = World::new();
    let conn = w.open();
    for thread in 1..=6 {
        w.wait_next(thread, PORT, 20);
    }
    one_way(&mut w, conn, 100);
    for _ in 0..3 {
        one_way(&mut w, conn, 5);
    }
    for thread in 10..=12 {
        w.wait_room(thread, conn, Client, 5);
    }
    w.lazy = true;
    let got = w.next(PORT).message();
    w.settle(got);
    assert_eq!(w.owed, [PORT]);
    assert!(w.is_waiting(1) && w.is_waiting(2));
    assert_eq!(word(&w.taken(10)), "Room");
    // Whoever sends now finds the line as it is.
    one_way(&mut w, conn, 5);
    w.lazy = false;
    w.serve_owed();
    for thread in [1, 2] {
        let got = w.taken_message(thread);
        w.settle(got);
    }
    w.end();
}

#[test]
fn connections_take_turns() {
    let mut w = World::new();
    let (flood, stranger) = (w.open(), w.open());
    for len in [1, 2, 3] {
        one_way(&mut w, flood, len);
    }
    one_way(&mut w, stranger, 10);
    let got = w.next(PORT).message();
    w.settle(got);
    one_way(&mut w, flood, 4);
    one_way(&mut w, stranger, 11);
    assert_eq!(lengths(&mut w), [10, 2, 11, 3, 4]);
    w.end();
}

#[test]
fn in_order_of_arrival_connections_do_not_take_turns() {
    let mut w = World::in_arrival_order();
    let (flood, stranger) = (w.open(), w.open());
    for len in [1, 2, 3] {
        one_way(&mut w, flood, len);
    }
    one_way(&mut w, stranger, 10);
    let got = w.next(PORT).message();
    w.undeliver(got);
    assert_eq!(lengths(&mut w), [1, 2, 3, 10]);
    w.end();
}

#[test]
fn a_stranger_waits_for_one_message_of_each_connection_at_most() {
    let mut w = World::new();
    let floods: Vec<_> = (0..5).map(|_| w.open()).collect();
    let stranger = w.open();
    for _ in 0..4 {
        for flood in &floods {
            one_way(&mut w, *flood, 1);
        }
    }
    one_way(&mut w, stranger, 50);
    let before = lengths(&mut w).iter().take_while(|len| **len != 50).count();
    assert_eq!(before, floods.len());
    w.end();
}

#[test]
fn pollers_are_woken_when_there_is_something_for_them() {
    let mut w = World::new();
    let (conn, sent) = w.connect();
    let link = w.peers[&conn].clone();
    assert!(core::mem::take(&mut w.port_polled));
    drop(w.next(PORT).message());
    w.wait_next(1, client(conn), 100);
    link.poll(Client, true);
    w.accept(sent.id).unwrap();
    assert!(link.was_woken(), "the client can send now");
    let reply = w.taken_message(1);
    w.settle(reply);
    w.send(conn, Server, New::OneWay, 1).unwrap();
    assert!(link.was_woken());
    assert_eq!(w.engine.readiness(client(conn)), (true, false));
    for _ in 0..3 {
        one_way(&mut w, conn, 1);
    }
    link.was_woken();
    let got = w.next(PORT).message();
    w.settle(got);
    assert!(!link.was_woken(), "there was room before");
    one_way(&mut w, conn, 1);
    one_way(&mut w, conn, 1);
    assert!(!w.engine.has_room(conn, Client));
    let got = w.next(PORT).message();
    w.settle(got);
    assert!(link.was_woken(), "there is room");
    lengths(&mut w);
    one_way(&mut w, conn, 97);
    one_way(&mut w, conn, 100);
    lengths(&mut w);
    assert!(core::mem::take(&mut w.port_polled));
    w.disconnect(conn, Server, false);
    assert!(link.was_woken());
    assert!(w.engine.readiness(client(conn)).1);
    link.poll(Client, false);
    w.close(conn, Client);
    assert!(!link.was_woken(), "nobody polls");
    drop(link);
    w.end();
}

#[test]
fn pollers_of_the_servers_ends_are_woken() {
    let mut w = World::new();
    let conn = w.open();
    let link = w.peers[&conn].clone();
    link.poll(Server, true);
    let id = w.request(conn, Server).id;
    drop(w.next(client(conn)).message());
    link.was_woken();
    w.answer(Client, id, 0, How::FinalReply).unwrap();
    assert!(link.was_woken());
    assert!(w.engine.readiness(server(conn)).0);
    w.port_polled = false;
    w.disconnect(conn, Client, true);
    assert!(link.was_woken() && core::mem::take(&mut w.port_polled));
    w.shut(true);
    assert!(core::mem::take(&mut w.port_polled));
    assert_eq!(w.engine.readiness(PORT), (true, true));
    drop(link);
    w.end();
}

#[test]
fn two_polled_connections_are_woken_by_one_pass() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    let links = [conn, other].map(|conn| w.peers[&conn].clone());
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    for _ in 0..4 {
        one_way(&mut w, other, 1);
    }
    for link in &links {
        link.poll(Client, true);
        link.was_woken();
    }
    let body = w.text(1);
    let got = w.step(|engine, fx| {
        let sent = engine.send_into(None, Server, id, 0, How::Reply, body, fx);
        assert!(sent.is_ok());
        Got::from(engine.receive(PORT, 100, fx)).message()
    });
    w.settle(got);
    assert!(links.iter().all(|link| link.was_woken()));
    drop(links);
    w.end();
}

#[test]
fn three_polled_connections_are_woken_if_one_pass_concerns_them() {
    let mut w = World::new();
    let conns = [w.open(), w.open(), w.open()];
    let links = conns.map(|conn| w.peers[&conn].clone());
    let id = w.request(conns[0], Client).id;
    drop(w.next(PORT).message());
    for thread in 1..=9 {
        w.wait_next(thread, PORT, 20);
    }
    // Each tells a thread of the large one at the head.
    w.send(conns[1], Client, New::OneWay, 100).unwrap();
    for _ in 0..3 {
        one_way(&mut w, conns[1], 1);
        one_way(&mut w, conns[2], 1);
    }
    one_way(&mut w, conns[2], 1);
    assert!(w.is_waiting(1));
    for link in &links {
        link.poll(Client, true);
        link.was_woken();
    }
    let body = w.text(1);
    let got = w.step(|engine, fx| {
        let sent = engine.send_into(None, Server, id, 0, How::Reply, body, fx);
        assert!(sent.is_ok());
        Got::from(engine.receive(PORT, 100, fx)).message()
    });
    w.settle(got);
    assert!(links.iter().all(|link| link.was_woken()));
    let got = w.taken_message(1);
    w.settle(got);
    drop(links);
    w.end();
}

#[test]
fn a_cancel_wakes_all_three_whom_it_concerns() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(10, conn, Client, 100);
    drop(w.next(PORT).message());
    w.answer(Server, id, 0, How::Callback).unwrap();
    drop(w.taken_message(10));
    for thread in 1..=4 {
        w.wait_next(thread, PORT, 20);
    }
    w.answer_len(Client, id, 1, How::Answer, 90).unwrap();
    one_way(&mut w, conn, 10);
    w.wait_for(10, Client, id, 100);
    assert_eq!(w.cancel(Client, id, false), Ok(true));
    assert_eq!(word(&w.taken(10)), "Ended Lost");
    let behind = w.taken_message(2);
    assert_eq!(behind.what, What::Datagram);
    w.settle(behind);
    let notice = w.taken_message(1);
    assert_eq!(notice.what, What::Canceled);
    w.settle(notice);
    w.end();
}
