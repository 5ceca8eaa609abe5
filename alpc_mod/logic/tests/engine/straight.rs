// SPDX-License-Identifier: GPL-2.0

//! The short way of a call does what the long way does, or nothing.

use crate::engine::*;
use crate::holder::SOMEBODY;
use crate::host::{Alarm, Test, Text};
use crate::world::*;

/// Looks at what has been sent, and waits for nothing.
struct Look;

impl Then<Test> for Look {
    type Out = (Alarm, u64, u64);

    fn then(self, sent: Straight<'_, '_, Test>) -> Self::Out {
        (sent.to, sent.id, sent.holder)
    }
}

impl World {
    /// A slot kept by the client of a connection.
    pub fn keep(&mut self, conn: u32) -> u32 {
        let id = self.request(conn, Client).id;
        drop(self.next(PORT).message());
        self.answer(Server, id, 0, How::FinalReply).unwrap();
        let reply = self.next(client(conn)).message();
        assert!(self.step(|engine, fx| engine.finish(&reply, true, fx)));
        reply.slot
    }

    /// One whose last conversation was the server's, nested, with contexts set.
    pub fn keep_worn(&mut self, conn: u32) -> u32 {
        let sent = self.request(conn, Server);
        drop(self.next(client(conn)).message());
        for side in [Client, Server] {
            self.engine.set_message_context(sent, side, 99);
        }
        self.answer(Client, sent.id, 0, How::Callback).unwrap();
        self.cancel(Server, sent.id, false).unwrap();
        let notice = self.next(client(conn)).message();
        assert!(self.step(|engine, fx| engine.finish(&notice, true, fx)));
        notice.slot
    }

    fn woken(&mut self, waker: Alarm) {
        assert!(self.awake.insert(waker.ring()));
        self.check();
    }

    /// A call the short way; the body comes back if that can't be.
    pub fn call_straight(&mut self, conn: u32, kept: u32, len: u32) -> Result<Sent, Text> {
        let body = self.text(len);
        match crate::host::locked(|| self.engine.call_straight(conn, kept, body, Look)) {
            Ok((to, id, _)) => {
                self.woken(to);
                Ok(Sent { id, slot: kept })
            }
            Err(body) => {
                self.check();
                Err(body)
            }
        }
    }

    /// Its answer the short way.
    pub fn reply_straight(&mut self, id: u64, turn: u32, len: u32) -> Result<u64, Text> {
        self.reply_straight_as(SOMEBODY, id, turn, len)
    }

    /// An answer the short way by somebody. Gives the holder that the sender is.
    pub fn reply_straight_as(
        &mut self,
        who: Who,
        id: u64,
        turn: u32,
        len: u32,
    ) -> Result<u64, Text> {
        let body = self.text(len);
        match crate::host::locked(|| self.engine.reply_straight(id, turn, who, body, Look)) {
            Ok((to, _, holder)) => {
                self.woken(to);
                Ok(holder)
            }
            Err(body) => {
                self.check();
                Err(body.expect("the body"))
            }
        }
    }
}

/// All that a receiver is told, in words.
fn whole(d: &Delivery<crate::host::Test>) -> String {
    let serial = |body: &Option<Text>| body.as_ref().map(Text::serial);
    format!(
        "{} {} {:?} {} {} {:?} {} {} {:?} {:?} {} {} {} {}",
        d.conn,
        d.slot,
        d.to,
        d.id,
        d.turn,
        d.what,
        d.open,
        d.idle,
        serial(&d.body),
        serial(&d.own),
        d.peer.is_some(),
        d.port_context,
        d.message_context,
        d.sequence
    )
}

#[test]
fn the_short_way_is_the_long_way() {
    let mut told = Vec::new();
    for straight in [false, true] {
        let mut w = World::new();
        let conn = w.open();
        let mut words = Vec::new();
        for round in 0..4 {
            let kept = match round % 2 {
                0 => w.keep(conn),
                _ => w.keep_worn(conn),
            };
            w.wait_next(1, PORT, 50);
            let sent = match straight {
                true => w.call_straight(conn, kept, 20).map_err(drop).unwrap(),
                false => w
                    .send_kept(conn, Client, New::Request, Some(kept), 20)
                    .unwrap(),
            };
            w.engine.set_message_context(sent, Client, 30 + round);
            let request = w.taken_message(1);
            words.push(whole(&request));
            w.wait_for(2, Client, sent.id, 50);
            words.push(format!("{:?}", w.engine.sketch(kept)));
            for side in [Client, Server] {
                words.push(format!("{:?}", w.engine.gauges(Source::Side(conn, side))));
            }
            match straight {
                true => drop(w.reply_straight(sent.id, 0, 20).map_err(drop).unwrap()),
                false => {
                    let done = w.answer_len(Server, sent.id, 0, How::FinalReply, 20);
                    assert!(done.is_ok());
                }
            }
            let reply = w.taken_message(2);
            words.push(whole(&reply));
            words.push(format!("{:?}", w.engine.sketch(kept)));
            words.push(format!(
                "{:?} {:?}",
                w.engine.gauges(PORT),
                w.engine.gauges(client(conn))
            ));
            assert_eq!(w.collect(Client, sent.id, 100).word(), "NotFound");
            w.settle(reply);
        }
        told.push(words);
        w.end();
    }
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_call_goes_the_long_way_where_the_short_one_would_be_wrong() {
    type Spoil = fn(&mut World, u32, &mut u32, &mut u32);
    let cases: [(&str, Spoil); 9] = [
        ("too long for the connection", |w, _, _, len| {
            w.leave(1);
            w.wait_next(1, PORT, 200);
            *len = 101;
        }),
        ("too long for who waits", |_, _, _, len| *len = 51),
        ("nobody waits", |w, _, _, _| w.leave(1)),
        ("no slot is kept", |_, _, kept, _| *kept = NONE),
        ("the slot is in use", |w, conn, kept, _| {
            let sent = w
                .send_kept(conn, Server, New::Request, Some(*kept), 1)
                .unwrap();
            assert_eq!(sent.slot, *kept);
        }),
        ("the slot is another's", |w, _, kept, _| {
            w.leave(1);
            let other = w.open();
            *kept = w.keep(other);
            w.wait_next(1, PORT, 50);
        }),
        ("the connection has ended", |w, conn, _, _| {
            w.disconnect(conn, Server, true)
        }),
        ("a message is first", |w, conn, _, _| {
            w.wait_next(2, PORT, 50);
            w.send(conn, Client, New::OneWay, 60).unwrap();
            assert_eq!(word(&w.taken(2)), "TooSmall 60");
            assert!(w.is_waiting(1));
        }),
        (
            "the client has been told to wait for room",
            |w, conn, _, _| {
                w.leave(1);
                for _ in 0..4 {
                    w.send(conn, Client, New::OneWay, 1).unwrap();
                }
                for thread in 5..=9 {
                    w.wait_room(thread, conn, Client, 1);
                }
                while let Got::Message(got) = w.next(PORT) {
                    w.settle(got);
                }
                assert_eq!(word(&w.taken(5)), "Room");
                w.wait_next(1, PORT, 50);
                // The thread that has room tries the short way first.
            },
        ),
    ];
    for arrival_order in [false, true] {
        for (why, spoil) in &cases {
            let mut w = World::with(arrival_order, 8);
            let conn = w.open();
            let (mut kept, mut len) = (w.keep(conn), 20);
            let used = kept;
            w.wait_next(1, PORT, 50);
            spoil(&mut w, conn, &mut kept, &mut len);
            let refused = w.call_straight(conn, kept, len).err();
            assert_eq!(refused.map(|body| body.len()), Some(len), "{why}");
            if w.inboxes.contains_key(&9) {
                w.send(conn, Client, New::OneWay, 1).unwrap();
                assert_eq!(word(&w.taken(9)), "Room");
                let got = w.taken_message(1);
                w.settle(got);
            }
            for slot in [used, kept] {
                for conn in [conn, conn + 1] {
                    w.step(|engine, fx| engine.release(conn, slot, fx));
                }
            }
            w.end();
        }
    }
}

#[test]
fn an_answer_goes_the_long_way_where_the_short_one_would_be_wrong() {
    type Spoil = fn(&mut World, &mut u64, &mut u32, &mut u32);
    let cases: [(&str, Spoil); 9] = [
        ("another process holds it", |w, id, turn, _| {
            let other = Who {
                files: 2,
                thread: 0,
                since: 0,
            };
            w.adopt(PORT, *id, *turn, other).unwrap();
        }),
        ("a stale turn", |_, _, turn, _| *turn = 1),
        ("a stale name", |_, id, _, _| *id += 1 << 24),
        ("too long for the connection", |w, id, _, len| {
            w.leave(2);
            w.wait_for(2, Client, *id, 200);
            *len = 101;
        }),
        ("too long for who waits", |_, _, _, len| *len = 51),
        ("nobody waits", |w, _, _, _| w.leave(2)),
        ("the client has the turn", |w, id, turn, _| {
            w.answer(Server, *id, 0, How::Reply).unwrap();
            drop(w.taken_message(2));
            *turn = 1;
        }),
        ("a callback is open", |w, id, turn, _| {
            w.answer(Server, *id, 0, How::Reply).unwrap();
            drop(w.taken_message(2));
            w.answer(Client, *id, 1, How::Callback).unwrap();
            drop(w.next(PORT).message());
            w.wait_for(2, Client, *id, 50);
            *turn = 2;
        }),
        ("an earlier answer is inside", |w, id, turn, _| {
            w.answer(Server, *id, 0, How::Reply).unwrap();
            drop(w.taken_message(2));
            w.answer(Client, *id, 1, How::Reply).unwrap();
            drop(w.next(PORT).message());
            w.wait_for(2, Client, *id, 50);
            *turn = 2;
        }),
    ];
    for (why, spoil) in cases {
        let mut w = World::new();
        let conn = w.open();
        let (mut id, mut turn, mut len) = (w.call(2, conn, Client, 50), 0, 20);
        drop(w.next(PORT).message());
        spoil(&mut w, &mut id, &mut turn, &mut len);
        let refused = w.reply_straight(id, turn, len).err();
        assert_eq!(refused.map(|body| body.len()), Some(len), "{why}");
        w.end();
    }
    // Between the steps of the client's end the conversation is still there.
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(2, conn, Client, 50);
    drop(w.next(PORT).message());
    let progress = w.disconnect_partly(conn, Client, 1);
    assert!(w.reply_straight(id, 0, 20).is_err());
    w.disconnect_on(conn, Client, progress);
    w.end();
    // Nor is it a way to answer a connection request.
    let mut w = World::new();
    let (_, sent) = w.connect();
    w.wait_for(2, Client, sent.id, 50);
    drop(w.next(PORT).message());
    assert!(w.reply_straight(sent.id, 0, 20).is_err());
    assert!(w.reply_straight(0, 0, 20).is_err());
    w.end();
}

#[test]
fn a_short_reply_needs_a_port_with_nothing_to_receive() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let (conn, other) = (w.open(), w.open());
        let id = w.call(2, conn, Client, 50);
        drop(w.next(PORT).message());
        w.send(other, Client, New::OneWay, 1).unwrap();
        assert!(w.reply_straight(id, 0, 20).is_err());
        let got = w.next(PORT).message();
        w.settle(got);
        w.disconnect(other, Client, false);
        assert!(w.reply_straight(id, 0, 20).is_err());
        let notice = w.next(PORT).message();
        w.settle(notice);
        assert!(w.reply_straight(id, 0, 20).is_ok());
        let reply = w.taken_message(2);
        w.settle(reply);
        w.end();
    }
}

#[test]
fn a_short_reply_needs_an_open_port() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(2, conn, Client, 50);
    drop(w.next(PORT).message());
    // Between the first step of its end and the second the conversation is still there.
    let (mut progress, mut inner) = Default::default();
    w.half_done += 1;
    assert!(w.step(|engine, fx| engine.close_port(false, &mut progress, &mut inner, fx)));
    assert!(w.reply_straight(id, 0, 20).is_err());
    w.run(|engine, fx| engine.close_port(false, &mut progress, &mut inner, fx));
    w.half_done -= 1;
    w.end();
}

#[test]
fn a_short_call_forgets_what_the_slot_was_told_before() {
    let mut w = World::new();
    let conn = w.open();
    let kept = w.keep_worn(conn);
    w.wait_next(1, PORT, 50);
    let id = w.call_straight(conn, kept, 20).map_err(drop).unwrap().id;
    drop(w.taken_message(1));
    w.answer(Server, id, 0, How::Reply).unwrap();
    let reply = w.next(client(conn)).message();
    assert_eq!(reply.message_context, 0);
    w.answer(Client, id, 1, How::Reply).unwrap();
    let again = w.next(PORT).message();
    assert_eq!(again.message_context, 0);
    drop((reply, again));
    w.end();
}
