// SPDX-License-Identifier: GPL-2.0

//! What is sent arrives: requests, answers, callbacks, one-way messages, turns.

use crate::engine::*;
use crate::world::*;

#[test]
fn a_request_is_received_answered_and_over() {
    let mut w = World::new();
    let conn = w.open();
    let sent = w.request(conn, Client);
    let request = w.next(PORT).message();
    assert_eq!((request.id, request.turn, request.conn), (sent.id, 0, conn));
    assert_eq!(
        (request.what, request.open, request.idle),
        (What::Request, true, false)
    );
    assert_eq!(request.port_context, 8);
    w.answer(Server, sent.id, 0, How::FinalReply).unwrap();
    let reply = w.next(client(conn)).message();
    assert_eq!(
        (reply.id, reply.what, reply.open),
        (sent.id, What::Reply, false)
    );
    assert_eq!(reply.port_context, 7);
    assert!(
        reply.own.is_some(),
        "the request comes back with the final answer"
    );
    assert_eq!(w.next(PORT).word(), "Empty");
    w.settle(reply);
    for side in [Client, Server] {
        assert_eq!(
            w.answer(side, sent.id, 0, How::Reply).err(),
            Some(Refusal::NotFound)
        );
        assert_eq!(w.cancel(side, sent.id, false), Err(Refusal::NotFound));
        assert_eq!(w.collect(side, sent.id, 100).word(), "NotFound");
    }
    drop(request);
    w.end();
}

#[test]
fn a_call_gets_its_own_answer_and_nothing_else() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    w.send(conn, Server, New::OneWay, 10).unwrap();
    assert!(w.is_waiting(1));
    let _request = w.next(PORT).message();
    w.answer(Server, id, 0, How::FinalReply).unwrap();
    let reply = w.taken_message(1);
    assert_eq!((reply.id, reply.what), (id, What::Reply));
    w.settle(reply);
    let other = w.next(client(conn)).message();
    assert_eq!((other.what, other.id), (What::Datagram, 0));
    w.settle(other);
    w.end();
}

#[test]
fn a_message_goes_straight_to_a_thread_that_waits() {
    let mut w = World::new();
    let conn = w.open();
    w.wait_next(1, PORT, 100);
    w.wait_next(2, PORT, 100);
    let sent = w.request(conn, Client);
    assert!(w.is_waiting(1), "who came last is served first");
    let got = w.taken_message(2);
    assert_eq!((got.id, got.open), (sent.id, true));
    assert_eq!(w.engine.gauges(PORT).messages, 0);
    w.leave(1);
    w.end();
}

#[test]
fn a_one_way_message_has_no_name_and_leaves_nothing() {
    let mut w = World::new();
    let conn = w.open();
    let sent = w.send(conn, Client, New::OneWay, 20).unwrap();
    for side in [Client, Server] {
        assert_eq!(w.collect(side, sent.id, 100).word(), "NotFound");
        assert_eq!(w.cancel(side, sent.id, false), Err(Refusal::NotFound));
    }
    let got = w.next(PORT).message();
    assert_eq!(
        (got.id, got.what, got.open, got.idle),
        (0, What::Datagram, false, true)
    );
    w.settle(got);
    assert_eq!(w.engine.gauges(client(conn)).conversations, 0);
    w.end();
}

#[test]
fn an_answer_without_release_keeps_the_conversation_open() {
    let mut w = World::new();
    let conn = w.open();
    let sent = w.request(conn, Client);
    drop(w.next(PORT).message());
    w.answer(Server, sent.id, 0, How::Reply).unwrap();
    assert_eq!(
        w.answer(Server, sent.id, 0, How::Reply).err(),
        Some(Refusal::NotOwner)
    );
    let reply = w.next(client(conn)).message();
    assert_eq!((reply.what, reply.open, reply.turn), (What::Reply, true, 1));
    w.answer(Client, sent.id, 1, How::FinalReply).unwrap();
    let last = w.next(PORT).message();
    assert_eq!((last.what, last.open, last.turn), (What::Reply, false, 1));
    w.settle(last);
    w.end();
}

#[test]
fn a_callback_is_answered_before_the_request() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    drop(w.next(PORT).message());
    w.answer(Server, id, 0, How::Callback).unwrap();
    let callback = w.taken_message(1);
    assert_eq!(
        (callback.what, callback.open, callback.turn),
        (What::Request, true, 1)
    );
    assert_eq!(
        w.answer(Client, id, 1, How::FinalReply).err(),
        Some(Refusal::WrongKind)
    );
    assert_eq!(
        w.answer(Client, id, 0, How::Answer).err(),
        Some(Refusal::StaleTurn)
    );
    w.wait_for_answer(1, Client, id, 1);
    let answer = w.next(PORT).message();
    assert_eq!((answer.what, answer.turn), (What::Reply, 2));
    assert_eq!(
        w.answer(Server, id, 0, How::FinalReply).err(),
        Some(Refusal::StaleTurn)
    );
    w.answer(Server, id, 2, How::FinalReply).unwrap();
    let reply = w.taken_message(1);
    assert_eq!((reply.what, reply.open), (What::Reply, false));
    w.settle(reply);
    drop((callback, answer));
    w.end();
}

#[test]
fn calls_nest_so_deep_and_no_deeper() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    let mut turn = 0;
    for side in [Server, Client]
        .into_iter()
        .cycle()
        .take(DEPTH_MAX as usize)
    {
        drop(w.collect_or_next(side, conn, id));
        w.answer(side, id, turn, How::Callback).unwrap();
        turn += 1;
    }
    let side = Server;
    drop(w.collect_or_next(side, conn, id));
    assert_eq!(
        w.answer(side, id, turn, How::Callback).err(),
        Some(Refusal::TooDeep)
    );
    assert!(w.answer(side, id, turn, How::Reply).is_ok());
    w.end();
}

#[test]
fn only_a_callback_can_be_answered_and_waited_on() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    assert_eq!(
        w.answer(Server, id, 0, How::Answer).err(),
        Some(Refusal::WrongKind)
    );
    w.end();
}

#[test]
fn the_turn_is_the_holders_alone() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    for side in [Client, Server] {
        assert_eq!(
            w.answer(side, id, 0, How::FinalReply).err(),
            Some(Refusal::NotOwner)
        );
        assert_eq!(w.discard(side, id, 0), Err(Refusal::NotOwner));
    }
    drop(w.next(PORT).message());
    assert_eq!(
        w.answer(Client, id, 0, How::FinalReply).err(),
        Some(Refusal::NotOwner)
    );
    assert_eq!(
        w.answer(Server, id, 1, How::FinalReply).err(),
        Some(Refusal::StaleTurn)
    );
    assert_eq!(w.discard(Server, id, 1), Err(Refusal::StaleTurn));
    assert_eq!(
        w.answer(Server, id + (1 << 24), 0, How::Reply).err(),
        Some(Refusal::NotFound)
    );
    assert_eq!(
        w.answer(Server, 0, 0, How::Reply).err(),
        Some(Refusal::NotFound)
    );
    w.end();
}

#[test]
fn a_conversation_is_named_on_its_own_connection_only() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    let body = w.text(1);
    let sent = w.step(|e, fx| e.send_into(Some(other), Server, id, 0, How::Reply, body, fx));
    assert_eq!(
        sent.err().map(|(refusal, _)| refusal),
        Some(Refusal::NotFound)
    );
    let body = w.text(1);
    let sent = w.step(|e, fx| e.send_into(Some(conn), Server, id, 0, How::Reply, body, fx));
    assert!(sent.is_ok());
    w.end();
}

#[test]
fn a_slot_that_is_used_again_has_another_name() {
    let mut w = World::new();
    let conn = w.open();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let id = w.request(conn, Client).id;
        assert!(id != 0 && ids.insert(id));
        assert_eq!(w.cancel(Client, id, true), Ok(false));
    }
    assert!(
        w.engine.table_len(Table::Slots) <= 4,
        "it was the same slot"
    );
    w.end();
}

#[test]
fn what_the_server_begins_comes_back_to_its_own_port() {
    let mut w = World::new();
    let conn = w.open();
    let sent = w.request(conn, Server);
    let request = w.next(client(conn)).message();
    assert_eq!((request.id, request.to), (sent.id, Client));
    w.answer(Client, sent.id, 0, How::FinalReply).unwrap();
    assert_eq!(w.next(PORT).word(), "Empty");
    let reply = w.next(server(conn)).message();
    assert_eq!((reply.what, reply.port_context), (What::Reply, 8));
    w.settle(reply);
    w.end();
}

#[test]
fn the_server_never_gets_requests_on_its_communication_port() {
    let mut w = World::new();
    let conn = w.open();
    w.wait_next(1, server(conn), 100);
    w.request(conn, Client);
    assert_eq!(w.next(server(conn)).word(), "Empty");
    assert!(w.is_waiting(1));
    drop(w.next(PORT).message());
    w.leave(1);
    w.end();
}

#[test]
fn each_side_gets_its_own_context_back() {
    let mut w = World::new();
    let conn = w.open();
    w.engine.set_context(conn, Client, 70);
    let sent = w.request(conn, Client);
    w.engine.set_message_context(sent, Client, 5);
    w.engine
        .set_message_context(Sent { id: 1, ..sent }, Client, 6);
    let request = w.next(PORT).message();
    assert_eq!((request.message_context, request.port_context), (0, 8));
    w.engine.set_message_context(sent, Server, 9);
    w.answer(Server, sent.id, 0, How::Reply).unwrap();
    let reply = w.next(client(conn)).message();
    assert_eq!((reply.message_context, reply.port_context), (5, 70));
    w.answer(Client, sent.id, 1, How::Reply).unwrap();
    let again = w.next(PORT).message();
    assert_eq!(again.message_context, 9);
    assert_eq!(w.engine.context(conn, Client), 70);
    drop((request, reply, again));
    w.end();
}

#[test]
fn messages_are_numbered_as_they_arrive() {
    let mut w = World::new();
    let conn = w.open();
    let before = w.engine.gauges(PORT).sequence;
    for number in 1..=3 {
        w.send(conn, Client, New::OneWay, 1).unwrap();
        let got = w.next(PORT).message();
        assert_eq!(got.sequence, before + number);
        w.settle(got);
    }
    w.send(conn, Server, New::OneWay, 1).unwrap();
    let got = w.next(client(conn)).message();
    assert_eq!(got.sequence, 2, "after the answer of the server");
    w.settle(got);
    w.end();
}

/// What stays of what the server would send into a conversation: whether anything does, and whether
/// somebody waits for it all the same.
fn stays(w: &mut World, conn: u32, id: u64, how: How, len: u32) -> Option<bool> {
    w.step(|e, _| e.stays(Some(conn), id, 0, how, len).map(|stay| stay.waited))
}

#[test]
fn an_answer_stays_where_nobody_has_it_at_once() {
    let mut w = World::new();
    let conn = w.open();
    // Nobody waits.
    let posted = w.request(conn, Client).id;
    assert_eq!(
        stays(&mut w, conn, posted, How::FinalReply, 10),
        None,
        "it is not held"
    );
    drop(w.next(PORT).message());
    assert_eq!(
        stays(&mut w, conn, posted, How::FinalReply, 10),
        Some(false)
    );
    assert_eq!(stays(&mut w, conn, posted, How::Reply, 10), Some(false));
    assert_eq!(
        stays(&mut w, conn, posted, How::FinalReply, u32::MAX),
        None,
        "it is too long"
    );
    // Somebody waits for whatever comes, or has not enough room.
    w.wait_next(1, client(conn), 50);
    assert_eq!(stays(&mut w, conn, posted, How::FinalReply, 50), None);
    assert_eq!(
        stays(&mut w, conn, posted, How::FinalReply, 51),
        Some(false)
    );
    assert_eq!(
        stays(&mut w, conn, posted, How::Reply, 50),
        Some(true),
        "the client has the turn"
    );
    w.leave(1);
    // Somebody waits for this one.
    let called = w.call(2, conn, Client, 50);
    drop(w.next(PORT).message());
    assert_eq!(stays(&mut w, conn, called, How::FinalReply, 50), None);
    assert_eq!(stays(&mut w, conn, called, How::Callback, 50), Some(true));
    assert_eq!(
        stays(&mut w, conn, called, How::FinalReply, 51),
        Some(false)
    );
    w.answer(Server, called, 0, How::FinalReply).unwrap();
    let reply = w.taken_message(2);
    w.settle(reply);
    w.answer(Server, posted, 0, How::FinalReply).unwrap();
    let reply = w.next(client(conn)).message();
    w.settle(reply);
    w.end();
}

#[test]
fn an_answer_without_room_ends_its_conversation_and_the_client_learns_it() {
    let mut w = World::new();
    let conn = w.open();
    // Also where the client has had an answer before.
    for before in [false, true] {
        let id = w.request(conn, Client).id;
        drop(w.next(PORT).message());
        let mut turn = 0;
        if before {
            w.answer(Server, id, 0, How::Reply).unwrap();
            drop(w.next(client(conn)).message());
            w.answer(Client, id, 1, How::Reply).unwrap();
            drop(w.next(PORT).message());
            turn = 2;
        }
        let wrong = w.step(|e, fx| e.end_too_long(Some(conn), id, turn + 1, fx));
        assert_eq!(wrong, Err(Refusal::StaleTurn));
        assert_eq!(
            w.step(|e, fx| e.end_too_long(Some(conn), id, turn, fx)),
            Ok(())
        );
        let notice = w.next(client(conn)).message();
        assert_eq!((notice.id, notice.what), (id, What::LostReply));
        w.settle(notice);
        let again = w.step(|e, fx| e.end_too_long(Some(conn), id, turn, fx));
        assert_eq!(again, Err(Refusal::NotFound));
    }
    w.end();
}
