// SPDX-License-Identifier: GPL-2.0

//! Receiving: sizes, waits, kept slots, what could not be copied.

use crate::engine::*;
use crate::world::*;

#[test]
fn a_message_that_does_not_fit_stays_and_says_its_length() {
    let mut w = World::new();
    let conn = w.open();
    w.send(conn, Client, New::OneWay, 50).unwrap();
    assert_eq!(w.receive(PORT, 49).word(), "TooSmall 50");
    assert_eq!(w.engine.gauges(PORT).messages, 1);
    let got = w.receive(PORT, 50).message();
    w.settle(got);
    let id = w.call(1, conn, Client, 9);
    drop(w.next(PORT).message());
    w.answer(Server, id, 0, How::FinalReply).unwrap();
    assert_eq!(word(&w.taken(1)), "TooSmall 10");
    assert_eq!(w.collect(Client, id, 9).word(), "TooSmall 10");
    let reply = w.collect(Client, id, 10).message();
    w.settle(reply);
    w.end();
}

#[test]
fn a_waiting_thread_is_told_of_a_message_too_large_for_all() {
    let mut w = World::new();
    let conn = w.open();
    w.wait_next(1, PORT, 60);
    w.wait_next(2, PORT, 20);
    w.send(conn, Client, New::OneWay, 50).unwrap();
    let got = w.taken_message(1);
    assert!(w.is_waiting(2), "another had room");
    w.settle(got);
    w.send(conn, Client, New::OneWay, 50).unwrap();
    assert_eq!(word(&w.taken(2)), "TooSmall 50");
    w.end();
}

#[test]
fn who_waits_behind_a_large_message_is_served_when_it_has_gone() {
    for (collected, arrival_order) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut w = World::with(arrival_order, 8);
        let conn = w.open();
        let id = w.request(conn, Client).id;
        drop(w.next(PORT).message());
        w.answer(Server, id, 0, How::Callback).unwrap();
        drop(w.next(client(conn)).message());
        for thread in 1..=6 {
            w.wait_next(thread, PORT, 20);
        }
        w.answer_len(Client, id, 1, How::Answer, 90).unwrap();
        for _ in 0..3 {
            w.send(conn, Client, New::OneWay, 10).unwrap();
        }
        let told: Vec<_> = (1..=6).filter(|thread| !w.is_waiting(*thread)).collect();
        assert_eq!(told.len(), 4, "one for each message");
        for thread in told {
            assert_eq!(word(&w.taken(thread)), "TooSmall 90");
        }
        let large = match collected {
            true => w.collect(Server, id, 100).message(),
            false => w.next(PORT).message(),
        };
        assert_eq!(large.turn, 2);
        for thread in 1..=2 {
            let small = w.taken_message(thread);
            w.settle(small);
        }
        assert_eq!(w.engine.gauges(PORT).messages, 1);
        w.end();
    }
}

#[test]
fn one_thread_at_a_time_waits_for_a_conversation() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    assert_eq!(w.collect(Client, id, 100).word(), "NotOwner");
    w.leave(1);
    assert_eq!(w.collect(Client, id, 100).word(), "Empty");
    drop(w.next(PORT).message());
    assert_eq!(w.collect(Server, id, 100).word(), "AlreadyReceived");
    w.end();
}

#[test]
fn nobody_waits_for_what_was_given_up() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    w.answer(Server, id, 0, How::FinalReply).unwrap();
    assert_eq!(w.collect(Server, id, 100).word(), "NotFound");
    assert_eq!(w.cancel(Server, id, false), Err(Refusal::NotFound));
    let reply = w.collect(Client, id, 100).message();
    w.settle(reply);
    w.end();
}

#[test]
fn a_message_not_received_yet_cannot_be_collected_by_its_name() {
    let mut w = World::new();
    let conn = w.open();
    w.send(conn, Client, New::OneWay, 10).unwrap();
    let id = w.request(conn, Client).id;
    assert_eq!(w.collect(Server, id, 100).word(), "NotFound");
    assert_eq!(w.cancel(Server, id, false), Err(Refusal::NotOwner));
    let first = w.next(PORT).message();
    assert_eq!(first.what, What::Datagram);
    w.settle(first);
    w.end();
}

#[test]
fn the_answer_can_be_collected_later() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    w.leave(1);
    drop(w.next(PORT).message());
    w.wait_for(1, Client, id, 100);
    w.leave(1);
    w.answer(Server, id, 0, How::FinalReply).unwrap();
    let reply = w.collect(Client, id, 100).message();
    assert_eq!(reply.what, What::Reply);
    w.settle(reply);
    w.end();
}

#[test]
fn a_kept_slot_carries_the_next_message() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    let id = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    w.answer(Server, id, 0, How::FinalReply).unwrap();
    let reply = w.next(client(conn)).message();
    let slot = reply.slot;
    assert!(w.step(|engine, fx| engine.finish(&reply, true, fx)));
    drop(reply);
    assert_eq!(w.engine.gauges(client(conn)).conversations, 0, "it is over");
    assert_eq!(w.collect(Client, id, 100).word(), "NotFound");
    let sent = w
        .send_kept(conn, Client, New::Request, Some(slot), 10)
        .unwrap();
    assert_eq!(sent.slot, slot);
    assert_ne!(sent.id, id);
    let stranger = w
        .send_kept(other, Client, New::Request, Some(slot), 10)
        .unwrap();
    assert_ne!(stranger.slot, slot, "a slot in use, of another connection");
    let second = w
        .send_kept(conn, Client, New::Request, Some(slot), 10)
        .unwrap();
    assert_ne!(second.slot, slot, "a slot in use");
    w.step(|engine, fx| engine.release(conn, slot, fx));
    assert_eq!(
        w.cancel(Client, sent.id, true),
        Ok(false),
        "it was not released"
    );
    w.end();
}

#[test]
fn a_kept_slot_that_is_released_is_free() {
    let mut w = World::new();
    let conn = w.open();
    w.send(conn, Client, New::OneWay, 10).unwrap();
    let got = w.next(PORT).message();
    let slot = got.slot;
    assert!(w.step(|engine, fx| engine.finish(&got, true, fx)));
    drop(got);
    w.step(|engine, fx| engine.release(conn + 1, slot, fx));
    assert!(w.engine.sketch(slot).is_some());
    let again = w.send_kept(conn, Client, New::OneWay, Some(slot), 10);
    assert_eq!(again.unwrap().slot, slot, "not that connection's");
    let got = w.next(PORT).message();
    assert!(w.step(|engine, fx| engine.finish(&got, true, fx)));
    drop(got);
    w.step(|engine, fx| engine.release(conn, slot, fx));
    assert_eq!(w.engine.gauges(client(conn)).conversations, 0);
    w.end();
}

#[test]
fn what_could_not_be_copied_is_first_in_line_again() {
    let mut w = World::new();
    let conn = w.open();
    let first = w.request(conn, Client).id;
    w.send(conn, Client, New::OneWay, 20).unwrap();
    let got = w.next(PORT).message();
    w.undeliver(got);
    assert_eq!(
        w.cancel(Server, first, false),
        Err(Refusal::NotOwner),
        "never received"
    );
    assert_eq!(w.collect(Server, first, 100).word(), "NotFound");
    let got = w.next(PORT).message();
    assert_eq!((got.id, got.open), (first, true));
    let one_way = w.next(PORT).message();
    w.undeliver(one_way);
    let one_way = w.next(PORT).message();
    assert_eq!(
        (one_way.what, one_way.body.as_ref().map(|b| b.len())),
        (What::Datagram, Some(20))
    );
    w.settle(one_way);
    w.answer(Server, first, 0, How::Reply).unwrap();
    let reply = w.next(client(conn)).message();
    w.undeliver(reply);
    assert_eq!(
        w.collect(Client, first, 100).word(),
        "Reply open",
        "the client knows it"
    );
    drop(got);
    w.end();
}

#[test]
fn what_ended_while_it_was_copied_does_not_come_back() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    let got = w.next(PORT).message();
    assert_eq!(w.cancel(Client, id, false), Ok(true));
    w.undeliver(got);
    assert_eq!(w.next(PORT).word(), "Canceled");
    w.end_with_notices();

    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    let got = w.next(PORT).message();
    w.answer(Server, id, 0, How::Reply).unwrap();
    drop(w.next(client(conn)).message());
    w.answer(Client, id, 1, How::Reply).unwrap();
    let again = w.next(PORT).message();
    w.undeliver(got);
    assert_eq!(w.next(PORT).word(), "Empty", "it is another turn");
    drop(again);
    w.end();
}

#[test]
fn a_message_that_comes_back_goes_to_who_waits() {
    let mut w = World::new();
    let conn = w.open();
    w.send(conn, Client, New::OneWay, 20).unwrap();
    let got = w.next(PORT).message();
    w.wait_next(1, PORT, 100);
    w.undeliver(got);
    let got = w.taken_message(1);
    w.settle(got);
    w.end();
}

#[test]
fn a_slot_kept_by_one_connection_is_not_anothers() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    w.send(conn, Client, New::OneWay, 10).unwrap();
    let got = w.next(PORT).message();
    let slot = got.slot;
    assert!(w.step(|engine, fx| engine.finish(&got, true, fx)));
    drop(got);
    let sent = w
        .send_kept(other, Client, New::Request, Some(slot), 10)
        .unwrap();
    assert_ne!(sent.slot, slot);
    w.step(|engine, fx| engine.release(conn, slot, fx));
    w.end();
}

#[test]
fn a_slot_that_is_used_again_begins_anew() {
    let mut w = World::new();
    let conn = w.open();
    let first = w.request(conn, Client);
    w.engine.set_message_context(first, Client, 5);
    drop(w.next(PORT).message());
    w.answer(Server, first.id, 0, How::Reply).unwrap();
    drop(w.next(client(conn)).message());
    w.answer(Client, first.id, 1, How::Callback).unwrap();
    assert_eq!(w.cancel(Client, first.id, false), Ok(true));
    let notice = w.next(PORT).message();
    w.settle(notice);
    let second = w.request(conn, Client);
    assert_eq!(second.slot, first.slot);
    let at = |id| Wait::Conversation {
        slot: first.slot,
        id,
        side: Client,
    };
    assert!(
        w.engine.waiters(at(first.id)).is_none(),
        "no place of that name"
    );
    assert!(w.engine.waiters(at(second.id)).is_some());
    let request = w.next(PORT).message();
    assert_eq!((request.turn, request.message_context), (0, 0));
    w.answer(Server, second.id, 0, How::Callback).unwrap();
    let callback = w.next(client(conn)).message();
    assert_eq!(callback.message_context, 0);
    w.answer(Client, second.id, 1, How::Answer).unwrap();
    drop(w.next(PORT).message());
    assert_eq!(w.discard(Server, second.id, 2), Ok(()));
    assert_eq!(
        w.collect(Client, second.id, 100).word(),
        "Ended Lost",
        "it was owed"
    );
    drop((request, callback));
    let third = w.request(conn, Client).id;
    drop(w.next(PORT).message());
    w.answer(Server, third, 0, How::FinalReply).unwrap();
    let reply = w.next(client(conn)).message();
    w.settle(reply);
    w.end();
}

#[test]
fn a_message_put_back_is_before_those_of_others() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let (conn, other) = (w.open(), w.open());
        w.send(conn, Client, New::OneWay, 10).unwrap();
        w.send(other, Client, New::OneWay, 20).unwrap();
        let got = w.next(PORT).message();
        w.undeliver(got);
        let got = w.next(PORT).message();
        assert_eq!(got.conn, conn);
        w.settle(got);
        let got = w.next(PORT).message();
        w.settle(got);
        w.close(conn, Client);
        w.close(other, Client);
        for closed in [conn, other] {
            let notice = w.next(PORT).message();
            w.undeliver(notice);
            let notice = w.next(PORT).message();
            assert_eq!(notice.conn, closed);
            w.settle(notice);
        }
        w.end();
    }
}

#[test]
fn what_is_another_conversations_by_now_is_not_touched() {
    let mut w = World::new();
    let conn = w.open();
    let first = w.request(conn, Client);
    let stale = w.next(PORT).message();
    w.cancel(Client, first.id, false).unwrap();
    let notice = w.next(PORT).message();
    w.settle(notice);
    let second = w.request(conn, Client);
    assert_eq!(second.slot, first.slot);
    drop(w.next(PORT).message());
    w.undeliver(stale);
    assert_eq!(w.next(PORT).word(), "Empty", "the other is held");
    // Nor does the end of a delivery that left the conversation open free its slot.
    w.answer(Server, second.id, 0, How::Reply).unwrap();
    let open = w.next(client(conn)).message();
    w.answer(Client, second.id, 1, How::FinalReply).unwrap();
    let last = w.next(PORT).message();
    w.settle(open);
    w.undeliver(last);
    let last = w.next(PORT).message();
    w.settle(last);
    w.end();
}
