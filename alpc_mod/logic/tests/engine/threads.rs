// SPDX-License-Identifier: GPL-2.0

//! What the threads of the world do: one call, one pass through the lock.

use crate::engine::*;
use crate::holder::SOMEBODY;
use crate::host::*;
use crate::world::*;

impl World {
    pub fn connect_with(&mut self, share: Share) -> Result<(u32, Sent), Refusal> {
        self.grow();
        let (body, link) = (self.text(10), Link::new(&self.links));
        let peer = link.clone();
        let result = self
            .step(|engine, fx| engine.connect(peer, body, share, 7, fx))
            .map_err(|(refusal, _)| refusal);
        if let Ok((conn, _)) = result {
            self.peers.insert(conn, link);
        }
        result
    }

    pub fn connect(&mut self) -> (u32, Sent) {
        self.connect_with(SHARE).expect("a connection")
    }

    pub fn accept(&mut self, id: u64) -> Result<u32, Refusal> {
        let body = self.text(10);
        self.step(|engine, fx| engine.accept(id, SHARE, 8, body, fx))
            .map_err(|(refusal, _)| refusal)
    }

    pub fn refuse(&mut self, id: u64) -> Result<(), Refusal> {
        let body = self.text(10);
        self.half_done += 1;
        let result = self.step(|engine, fx| engine.refuse(id, body, fx));
        if result.is_ok() {
            self.step(Engine::lose_way);
        }
        self.half_done -= 1;
        self.check();
        result.map_err(|(refusal, _)| refusal)
    }

    /// A connect descriptor is made.
    pub fn add_descriptor(&mut self) {
        self.descriptors += 1;
        self.step(|engine, _| engine.add_descriptor());
    }

    /// One is closed.
    pub fn lose_descriptor(&mut self) {
        self.descriptors -= 1;
        self.step(Engine::lose_way);
    }

    /// The server receives a connection request.
    pub fn settle_request(&mut self, id: u64) {
        let request = self.next(Source::Port).message();
        assert_eq!((request.id, request.what), (id, What::ConnectionRequest));
    }

    /// A connection that is open, all of it received.
    pub fn open(&mut self) -> u32 {
        let (conn, sent) = self.connect();
        let request = self.receive(Source::Port, 100).message();
        assert_eq!(
            (request.id, request.what),
            (sent.id, What::ConnectionRequest)
        );
        assert_eq!(self.accept(sent.id), Ok(conn));
        let reply = self.receive(Source::Side(conn, Client), 100).message();
        assert_eq!(reply.what, What::ConnectionReply);
        self.settle(reply);
        conn
    }

    pub fn send_kept(
        &mut self,
        conn: u32,
        side: Side,
        new: New,
        kept: Option<u32>,
        len: u32,
    ) -> Result<Sent, Refusal> {
        self.grow();
        let body = self.text(len);
        self.step(|engine, fx| engine.send_new(conn, side, new, kept, body, fx))
            .map_err(|(refusal, _)| refusal)
    }

    pub fn send(&mut self, conn: u32, side: Side, new: New, len: u32) -> Result<Sent, Refusal> {
        self.send_kept(conn, side, new, None, len)
    }

    pub fn request(&mut self, conn: u32, side: Side) -> Sent {
        self.send(conn, side, New::Request, 10).expect("a request")
    }

    pub fn answer_len(
        &mut self,
        side: Side,
        id: u64,
        turn: u32,
        how: How,
        len: u32,
    ) -> Result<Sent, Refusal> {
        let body = self.text(len);
        self.step(|engine, fx| engine.send_into(None, side, id, turn, how, body, fx))
            .map_err(|(refusal, _)| refusal)
    }

    pub fn answer(&mut self, side: Side, id: u64, turn: u32, how: How) -> Result<Sent, Refusal> {
        self.answer_len(side, id, turn, how, 10)
    }

    pub fn receive(&mut self, source: Source, capacity: u32) -> Got {
        let got = self.step(|engine, fx| engine.receive(source, capacity, fx));
        let got = got.into();
        self.note_got(&got);
        got
    }

    pub fn next(&mut self, source: Source) -> Got {
        self.receive(source, 100)
    }

    pub fn collect(&mut self, side: Side, id: u64, capacity: u32) -> Got {
        let got = self.step(|engine, fx| engine.collect(None, side, id, capacity, fx));
        let got = got.0.into();
        self.note_got(&got);
        got
    }

    /// Receives, and stands there if nothing has come.
    pub fn wait_next(&mut self, thread: usize, source: Source, capacity: u32) {
        let at = Wait::Next(source);
        let inbox = self.step(|engine, fx| {
            let received = Got::from(engine.receive(source, capacity, fx));
            assert_eq!(received.word(), "Empty");
            engine
                .waiters(at)
                .expect("a place")
                .add(thread, capacity, false)
        });
        self.stand(thread, at, inbox);
    }

    /// Collects, and stands there if nothing has come.
    pub fn wait_for(&mut self, thread: usize, side: Side, id: u64, capacity: u32) {
        let (at, inbox) = self.step(|engine, fx| {
            let (received, slot) = engine.collect(None, side, id, capacity, fx);
            assert_eq!(Got::from(received).word(), "Empty");
            let at = Wait::Conversation { slot, id, side };
            (
                at,
                engine
                    .waiters(at)
                    .expect("a place")
                    .add(thread, capacity, false),
            )
        });
        self.stand(thread, at, inbox);
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, thread: usize, conn: u32, side: Side, capacity: u32) -> u64 {
        self.grow();
        let body = self.text(10);
        let (at, id, inbox) = self.step(|engine, fx| {
            let sent = engine.send_new(conn, side, New::Request, None, body, fx);
            let Ok(Sent { id, slot }) = sent.map_err(|(refusal, _)| refusal) else {
                panic!("not sent");
            };
            let at = Wait::Conversation { slot, id, side };
            let inbox = engine
                .waiters(at)
                .expect("a place")
                .add(thread, capacity, false);
            (at, id, inbox)
        });
        self.stand(thread, at, inbox);
        id
    }

    /// Answers a callback, and waits on.
    pub fn wait_for_answer(&mut self, thread: usize, side: Side, id: u64, turn: u32) {
        let body = self.text(10);
        let (at, inbox) = self.step(|engine, fx| {
            let sent = engine.send_into(None, side, id, turn, How::Answer, body, fx);
            let Ok(Sent { id, slot }) = sent.map_err(|(refusal, _)| refusal) else {
                panic!("not sent");
            };
            let at = Wait::Conversation { slot, id, side };
            (
                at,
                engine.waiters(at).expect("a place").add(thread, 100, false),
            )
        });
        self.stand(thread, at, inbox);
    }

    /// The next message of a conversation, which may be its first.
    pub fn collect_or_next(&mut self, side: Side, conn: u32, id: u64) -> Delivery<Test> {
        match (self.collect(side, id, 100), side) {
            (Got::Message(delivery), _) => delivery,
            (_, Client) => self.next(Source::Side(conn, Client)).message(),
            (_, Server) => self.next(Source::Port).message(),
        }
    }

    /// Sends a new message, and waits for room for it.
    pub fn wait_room(&mut self, thread: usize, conn: u32, side: Side, len: u32) {
        self.grow();
        let body = self.text(len);
        let at = Wait::Room { conn, side };
        let (refused, inbox) = self.step(|engine, fx| {
            let sent = engine.send_new(conn, side, New::OneWay, None, body, fx);
            let (refusal, body) = sent.expect_err("a full queue");
            assert_eq!(refusal, Refusal::QueueFull);
            let inbox = engine.waiters(at).expect("a place").add(thread, 0, true);
            (body, inbox)
        });
        drop(refused);
        self.stand(thread, at, inbox);
    }

    pub fn stand(&mut self, thread: usize, at: Wait, inbox: Inbox) {
        assert!(self.inboxes.insert(thread, (at, inbox)).is_none());
    }

    /// What a thread was handed.
    pub fn taken(&mut self, thread: usize) -> Hand<Test> {
        assert!(self.awake.remove(&thread), "thread {thread} still waits");
        let (_, inbox) = self.inboxes.remove(&thread).expect("a thread");
        let hand = inbox.borrow_mut().take();
        hand.expect("something")
    }

    pub fn taken_message(&mut self, thread: usize) -> Delivery<Test> {
        match self.taken(thread) {
            Hand::Message(delivery) => {
                self.note(&delivery, SOMEBODY);
                delivery
            }
            other => panic!("no message: {}", word(&other)),
        }
    }

    pub fn is_waiting(&self, thread: usize) -> bool {
        self.inboxes.contains_key(&thread) && !self.awake.contains(&thread)
    }

    /// The time is up, or a signal came: the thread leaves.
    pub fn leave(&mut self, thread: usize) {
        let (at, _) = self.inboxes.remove(&thread).expect("a thread");
        let set = self.engine.waiters(at).expect("the set it stands in");
        assert!(set.remove(thread), "it stood there");
        self.check();
    }

    /// The message is copied out, and its slot not kept.
    pub fn settle(&mut self, delivery: Delivery<Test>) {
        self.step(|engine, fx| engine.finish(&delivery, false, fx));
    }

    pub fn undeliver(&mut self, delivery: Delivery<Test>) {
        self.step(|engine, fx| engine.undeliver(delivery, fx));
    }

    /// Its receiver may not have it.
    pub fn reject(&mut self, delivery: Delivery<Test>) {
        self.step(|engine, fx| engine.reject(&delivery, fx));
    }

    pub fn cancel(&mut self, side: Side, id: u64, try_only: bool) -> Result<bool, Refusal> {
        self.step(|engine, fx| engine.cancel(None, side, id, try_only, fx))
    }

    pub fn discard(&mut self, side: Side, id: u64, turn: u32) -> Result<(), Refusal> {
        self.step(|engine, fx| engine.discard(None, side, id, turn, fx))
    }
}

/// Brings a request of `origin` to `stage`: 0 queued, 1 held, 2 the answer to it
/// queued and open, 3 that held, 4 a callback queued, 5 that held, 6 its answer
/// queued, 7 that held.
pub fn staged(w: &mut World, conn: u32, origin: Side, stage: u32) -> u64 {
    let id = w.request(conn, origin).id;
    let (near, far) = (origin, origin.other());
    if stage >= 1 {
        drop(w.collect_or_next(far, conn, id));
    }
    match stage {
        2 | 3 => drop(w.answer(far, id, 0, How::Reply).unwrap()),
        4.. => drop(w.answer(far, id, 0, How::Callback).unwrap()),
        _ => {}
    }
    if matches!(stage, 3 | 5..) {
        drop(w.collect_or_next(near, conn, id));
    }
    if stage >= 6 {
        w.answer(near, id, 1, How::Answer).unwrap();
    }
    if stage >= 7 {
        drop(w.collect_or_next(far, conn, id));
    }
    id
}

/// What a side finds on its ports about a conversation, in words.
pub fn finds(w: &mut World, conn: u32, side: Side) -> String {
    let sources = match side {
        Client => vec![client(conn)],
        Server => vec![PORT, server(conn)],
    };
    let mut words = Vec::new();
    for source in sources {
        while let Got::Message(delivery) = w.next(source) {
            words.push(format!("{:?}", delivery.what));
            if delivery.idle {
                w.settle(delivery);
            }
        }
    }
    words.join(", ")
}
