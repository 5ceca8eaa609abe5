// SPDX-License-Identifier: GPL-2.0

//! Connecting, queues and their room, fairness, polling, the end of a port.

use crate::engine::*;
use crate::world::*;

fn one_way(w: &mut World, conn: u32, len: u32) {
    w.send(conn, Client, New::OneWay, len).unwrap();
}

#[test]
fn a_connection_is_pending_then_open() {
    let mut w = World::new();
    let (conn, sent) = w.connect();
    assert_eq!(w.engine.phase(conn), Phase::Pending);
    let not_yet = Some(Refusal::Ended(End::NotConnected));
    assert_eq!(w.send(conn, Client, New::Request, 1).err(), not_yet);
    assert!(!w.engine.has_room(conn, Client));
    assert_eq!(
        w.accept(sent.id).err(),
        Some(Refusal::NotOwner),
        "not received yet"
    );
    assert_eq!(w.cancel(Client, sent.id, false), Err(Refusal::WrongKind));
    let request = w.next(PORT).message();
    assert_eq!(
        (request.what, request.open, request.port_context),
        (What::ConnectionRequest, true, 0)
    );
    assert_eq!(
        w.answer(Server, sent.id, 0, How::FinalReply).err(),
        Some(Refusal::WrongKind)
    );
    assert_eq!(w.discard(Server, sent.id, 0), Err(Refusal::WrongKind));
    assert_eq!(w.cancel(Server, sent.id, false), Err(Refusal::WrongKind));
    assert_eq!(
        w.engine.peer_of_request(sent.id).map(|(conn, _)| conn),
        Ok(conn)
    );
    assert_eq!(w.accept(sent.id), Ok(conn));
    assert_eq!(w.engine.phase(conn), Phase::Open);
    assert_eq!(w.engine.context(conn, Server), 8);
    assert_eq!(w.accept(sent.id).err(), Some(Refusal::NotFound), "once");
    assert_eq!(w.refuse(sent.id).err(), Some(Refusal::NotFound));
    assert_eq!(w.collect(Server, sent.id, 100).word(), "NotFound");
    let reply = w.next(client(conn)).message();
    assert_eq!((reply.what, reply.id), (What::ConnectionReply, sent.id));
    w.settle(reply);
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    assert_eq!(w.accept(id).err(), Some(Refusal::WrongKind));
    w.answer(Server, id, 0, How::Reply).unwrap();
    assert_eq!(w.accept(id).err(), Some(Refusal::NotOwner));
    drop(request);
    w.end();
}

#[test]
fn a_client_that_waits_gets_the_answer_itself() {
    for accepted in [true, false] {
        let mut w = World::new();
        let (conn, sent) = w.connect();
        w.wait_for(1, Client, sent.id, 100);
        drop(w.next(PORT).message());
        let expected = match accepted {
            true => w.accept(sent.id).map(|_| What::ConnectionReply),
            false => w.refuse(sent.id).map(|()| What::ConnectionRefused),
        };
        let answer = w.taken_message(1);
        assert_eq!(Ok(answer.what), expected);
        assert_eq!(answer.conn, conn);
        w.settle(answer);
        w.end();
    }
}

#[test]
fn a_refusal_reaches_everybody_who_waits_on_the_clients_port() {
    let mut w = World::new();
    let (conn, sent) = w.connect();
    for thread in 1..=4 {
        w.wait_next(thread, client(conn), 100);
    }
    drop(w.next(PORT).message());
    w.refuse(sent.id).unwrap();
    let answer = w.taken_message(4);
    assert_eq!(answer.what, What::ConnectionRefused);
    w.settle(answer);
    for thread in 1..=3 {
        assert_eq!(word(&w.taken(thread)), "Ended Refused");
    }
    assert_eq!(w.next(client(conn)).word(), "Ended Refused");
    let refused = Some(Refusal::Ended(End::Refused));
    assert_eq!(w.send(conn, Client, New::OneWay, 1).err(), refused);
    assert!(w.engine.readiness(client(conn)).1);
    w.close(conn, Client);
    assert_eq!(
        w.engine.phase(conn),
        Phase::Free,
        "the server has nothing to be told"
    );
    assert_eq!(w.next(PORT).word(), "Empty");
    w.end();
}

#[test]
fn a_client_that_goes_before_the_answer() {
    // Before the server has seen it: without a trace.
    let mut w = World::new();
    let (conn, sent) = w.connect();
    w.close(conn, Client);
    assert_eq!(w.engine.phase(conn), Phase::Free);
    assert_eq!(w.accept(sent.id).err(), Some(Refusal::NotFound));
    assert_eq!(w.next(PORT).word(), "Empty");
    // After: the request is void, which the server is told.
    let (conn, sent) = w.connect();
    w.wait_for(1, Client, sent.id, 100);
    let request = w.next(PORT).message();
    let progress = w.disconnect_partly(conn, Client, 1);
    let void = Some(Refusal::Ended(End::Canceled));
    assert_eq!(w.accept(sent.id).err(), void, "half-way");
    assert_eq!(w.refuse(sent.id).err(), void);
    assert_eq!(w.engine.peer_of_request(sent.id).err(), void);
    w.disconnect_on(conn, Client, progress);
    assert_eq!(word(&w.taken(1)), "Ended Closed");
    w.close_side(conn, Client);
    w.undeliver(request);
    assert_eq!(w.accept(sent.id).err(), void);
    let notice = w.next(PORT).message();
    assert_eq!((notice.what, notice.id), (What::Canceled, sent.id));
    assert_eq!(w.engine.gauges(PORT).connections, 1);
    w.settle(notice);
    assert_eq!(w.engine.gauges(PORT).connections, 0);
    w.end();
}

#[test]
fn a_client_that_goes_before_it_has_seen_the_answer() {
    for flush in [true, false] {
        let mut w = World::new();
        let (conn, sent) = w.connect();
        drop(w.next(PORT).message());
        w.accept(sent.id).unwrap();
        w.disconnect(conn, Client, flush);
        w.close_side(conn, Client);
        let notice = w.next(PORT).message();
        assert_eq!(notice.what, What::PortClosed);
        w.settle(notice);
        w.close(conn, Server);
        assert_eq!(w.engine.phase(conn), Phase::Free);
        w.end();
    }
}

#[test]
fn the_smaller_share_counts() {
    let mut w = World::new();
    let asked = Share {
        max_length: 50,
        messages: 9,
        bytes: 90,
    };
    let (conn, sent) = w.connect_with(asked).unwrap();
    drop(w.next(PORT).message());
    w.accept(sent.id).unwrap();
    let share = w.engine.share(conn).unwrap();
    assert_eq!((share.max_length, share.messages, share.bytes), (50, 4, 90));
    assert_eq!(w.engine.share(conn).map(|share| share.max_length), Some(50));
    assert_eq!(
        w.send(conn, Client, New::OneWay, 51).err(),
        Some(Refusal::TooLong)
    );
    let id = w.send(conn, Client, New::Request, 50).unwrap().id;
    drop(w.next(PORT).message());
    assert_eq!(
        w.answer_len(Server, id, 0, How::Reply, 51).err(),
        Some(Refusal::TooLong)
    );
    w.end();
}

#[test]
fn connections_and_requests_have_limits() {
    let mut w = World::with(false, 3);
    for _ in 0..3 {
        w.connect();
    }
    assert_eq!(w.connect_with(SHARE).err(), Some(Refusal::Limit));
    w.end();

    let mut w = World::with(false, 2000);
    for _ in 0..PENDING_MAX {
        w.connect();
    }
    assert_eq!(w.connect_with(SHARE).err(), Some(Refusal::Limit));
    w.close(0, Client);
    w.connect();
    let id = w.next(PORT).message().id;
    w.refuse(id).unwrap();
    w.connect();
    let id = w.next(PORT).message().id;
    w.accept(id).unwrap();
    w.connect();
    assert_eq!(w.connect_with(SHARE).err(), Some(Refusal::Limit));
    w.end();
}

#[test]
fn nobody_has_more_of_a_ports_places_than_are_free() {
    let mut w = World::with(false, 5);
    assert!(w.engine.has_place(1, 1));
    assert!(w.engine.has_place(PENDING_MAX, 5), "all of them are free");
    assert!(!w.engine.has_place(PENDING_MAX + 1, 1));
    assert!(!w.engine.has_place(1, 6));
    for free in (1..5).rev() {
        w.connect();
        assert!(w.engine.has_place(1, free));
        assert!(!w.engine.has_place(1, free + 1));
        let pending = PENDING_MAX - 5 + free;
        assert!(w.engine.has_place(pending, 1));
        assert!(!w.engine.has_place(pending + 1, 1));
    }
    w.connect();
    assert!(!w.engine.has_place(1, 1), "not one is free");
    assert!(
        w.engine.has_place(0, 0),
        "who is exempt is told by the port"
    );
    w.shut(true);
    assert!(
        w.engine.has_place(1, 1),
        "the end of the port is what counts"
    );
}

#[test]
fn conversations_of_a_connection_have_a_limit() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    for _ in 0..CONVERSATIONS_PER_CONNECTION {
        w.request(conn, Client);
        drop(w.next(PORT).message());
    }
    assert_eq!(
        w.send(conn, Client, New::OneWay, 1).err(),
        Some(Refusal::Limit)
    );
    w.request(other, Client);
    w.end();
}

#[test]
fn a_full_table_asks_to_grow_and_nothing_has_changed() {
    let mut w = World::new();
    let conn = w.open();
    while !w.engine.is_full(Table::Slots) {
        w.request(conn, Client);
        drop(w.next(PORT).message());
    }
    let body = w.text(1);
    let sent = w.step(|e, fx| e.send_new(conn, Client, New::OneWay, None, body, fx));
    assert_eq!(
        sent.map_err(|(refusal, _)| refusal).err(),
        Some(Refusal::Grow)
    );
    let (body, link) = (w.text(1), crate::host::Link::new(&w.links));
    let free = w.engine.is_full(Table::Conns);
    let peer = link.clone();
    let asked = w.step(|e, fx| e.connect(peer, body, SHARE, 0, fx));
    assert_eq!(
        asked.map_err(|(refusal, _)| refusal).err(),
        Some(Refusal::Grow)
    );
    assert_eq!(w.engine.is_full(Table::Conns), free);
    assert_eq!(w.engine.gauges(PORT).connections, 1);
    w.end();
}

#[test]
fn a_port_that_is_gone_gives_each_table_back_when_nothing_is_in_it() {
    let mut w = World::new();
    let (one, other) = (w.open(), w.open());
    w.request(one, Client);
    let lens = |w: &World| [Table::Slots, Table::Conns].map(|table| w.engine.table_len(table));
    let before = lens(&w);
    w.shut(false);
    w.retire();
    assert_eq!(lens(&w), before, "it can be received from");
    w.drain();
    assert_eq!(lens(&w), [0, before[1]]);
    w.close(one, Client);
    w.close(one, Server);
    w.close(other, Server);
    assert_eq!(lens(&w), [0, before[1]], "there is an end of a connection");
    w.close(other, Client);
    assert_eq!(lens(&w), [0, 0]);
    w.end();
}

#[test]
fn what_comes_back_to_a_port_without_tables_is_dropped_when_the_lock_is_released() {
    let mut w = World::new();
    let conn = w.open();
    w.request(conn, Client);
    let held = w.next(PORT).message();
    w.shut(true);
    w.drain();
    assert_eq!(w.engine.table_len(Table::Slots), 0);
    w.undeliver(held);
    assert!(w.live.borrow().is_empty());
    w.end();
}

#[test]
fn a_closed_port_ends_all_and_takes_nobody() {
    for (flush, left) in [(true, ""), (false, "Datagram")] {
        let mut w = World::new();
        let conn = w.open();
        let (pending, unseen) = (w.connect(), w.connect());
        w.wait_for(1, Client, pending.1.id, 100);
        w.wait_for(2, Client, unseen.1.id, 100);
        let id = w.call(3, conn, Client, 100);
        let seen = [(); 3].map(|()| w.next(PORT).message().id);
        assert!(seen.contains(&pending.1.id) && seen.contains(&id));
        w.wait_next(4, PORT, 100);
        w.wait_next(5, client(conn), 100);
        w.wait_next(6, server(conn), 100);
        let last = w.connect();
        drop(w.taken_message(4));
        w.wait_next(4, PORT, 100);
        w.wait_next(7, PORT, 100);
        w.leave(4);
        w.leave(7);
        one_way(&mut w, conn, 5);
        let got = w.next(PORT).message();
        w.wait_next(7, PORT, 2);
        w.undeliver(got);
        assert_eq!(word(&w.taken(7)), "TooSmall 5");
        w.shut(flush);
        assert!(w.engine.is_closed());
        for (thread, expected) in [
            (1, "Ended Refused"),
            (2, "Ended Refused"),
            (3, "Ended Lost"),
            (5, "Ended Disconnected"),
            (6, "Ended Closed"),
        ] {
            assert_eq!(word(&w.taken(thread)), expected, "{thread}");
        }
        assert_eq!(w.engine.phase(last.0), Phase::Refused);
        assert_eq!(w.accept(last.1.id).err(), Some(Refusal::NotFound));
        let refused = Some(Refusal::Ended(End::Refused));
        assert_eq!(w.connect_with(SHARE).err(), refused);
        let got = w.next(PORT);
        assert_eq!(got.word(), if flush { "Ended Closed" } else { left });
        if let Got::Message(got) = got {
            w.settle(got);
        }
        assert_eq!(w.next(PORT).word(), "Ended Closed");
        w.shut(flush);
        w.end();
    }
}

#[test]
fn everybody_who_waits_on_a_port_learns_its_end() {
    let mut w = World::new();
    w.open();
    for thread in 1..=5 {
        w.wait_next(thread, PORT, 100);
    }
    w.shut(false);
    for thread in 1..=5 {
        assert_eq!(word(&w.taken(thread)), "Ended Closed");
    }
    w.end();
}

#[test]
fn nothing_is_kept_for_a_port_that_has_gone() {
    // A client is ending when the port goes: what it leaves has no reader.
    for (arrival_order, steps) in [(false, 1), (false, 2), (true, 1), (true, 4)] {
        let mut w = World::with(arrival_order, 8);
        let (conn, asks) = (w.open(), w.connect());
        let ids = [w.request(conn, Client).id, w.request(conn, Server).id];
        for _ in 0..2 {
            drop(w.next(PORT).message());
        }
        drop(w.next(client(conn)).message());
        one_way(&mut w, conn, 5);
        let progress = w.disconnect_partly(conn, Client, steps);
        let asking = w.disconnect_partly(asks.0, Client, 1);
        w.shut(false);
        w.drain();
        w.disconnect_on(asks.0, Client, asking);
        w.close_side(asks.0, Client);
        assert_eq!(w.engine.phase(asks.0), Phase::Free);
        w.disconnect_on(conn, Client, progress);
        w.close_side(conn, Client);
        w.close(conn, Server);
        assert_eq!(w.engine.phase(conn), Phase::Free, "{ids:?}");
        w.expect_nothing();
    }
}

#[test]
fn a_port_that_goes_drops_notices_and_messages() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let (conn, other) = (w.open(), w.open());
        let id = w.request(conn, Client).id;
        drop(w.next(PORT).message());
        w.cancel(Client, id, false).unwrap();
        one_way(&mut w, conn, 5);
        w.close(other, Client);
        w.close(conn, Client);
        w.close(conn, Server);
        w.close(other, Server);
        assert_eq!(w.engine.gauges(PORT).connections, 2);
        w.shut(false);
        w.drain();
        w.expect_nothing();
    }
}

#[test]
fn a_port_drained_before_its_end_is_through_wakes_who_waits() {
    let mut w = World::new();
    let conn = w.open();
    w.call(1, conn, Client, 100);
    let (asks, sent) = w.connect();
    w.wait_for(2, Client, sent.id, 100);
    w.drain();
    assert!(matches!(w.taken(1), Hand::Ended(_)));
    assert_eq!(word(&w.taken(2)), "Ended Refused");
    let _ = asks;
    w.end();
}

#[test]
fn a_refusal_that_fits_nobody_ends_every_wait_all_the_same() {
    let mut w = World::new();
    let (conn, sent) = w.connect();
    for thread in 1..=3 {
        w.wait_next(thread, client(conn), 5);
    }
    drop(w.next(PORT).message());
    w.refuse(sent.id).unwrap();
    for thread in 1..=3 {
        assert_eq!(word(&w.taken(thread)), "TooSmall 10");
    }
    w.end();
}

#[test]
fn a_connection_entry_that_is_used_again_begins_anew() {
    let mut w = World::new();
    let conn = w.open();
    w.send(conn, Server, New::OneWay, 10).unwrap();
    let got = w.next(client(conn)).message();
    w.settle(got);
    let id = w.request(conn, Server).id;
    drop(w.next(client(conn)).message());
    w.answer(Client, id, 0, How::FinalReply).unwrap();
    let reply = w.next(server(conn)).message();
    assert_eq!(reply.sequence, 1);
    w.settle(reply);
    w.close(conn, Client);
    w.close(conn, Server);
    let notice = w.next(PORT).message();
    w.settle(notice);
    assert_eq!(w.engine.phase(conn), Phase::Free);
    w.close_side(conn, Client);
    w.disconnect(conn, Server, true);
    let (again, sent) = w.connect();
    assert_eq!(again, conn);
    let request = w.next(PORT).message();
    assert_eq!(request.port_context, 0);
    w.accept(sent.id).unwrap();
    let reply = w.next(client(conn)).message();
    assert_eq!(reply.sequence, 1);
    w.settle(reply);
    let id = w.request(conn, Server).id;
    drop(w.next(client(conn)).message());
    w.answer(Client, id, 0, How::FinalReply).unwrap();
    let reply = w.next(server(conn)).message();
    assert_eq!(reply.sequence, 1);
    w.settle(reply);
    drop(request);
    w.end();
}
