// SPDX-License-Identifier: GPL-2.0

//! What the threads of the random test do.

use crate::engine::*;
use crate::host::{Inbox, Link, Test};
use crate::random::{Descriptor, Fd, Job, Sim};
use crate::world::*;

/// Whom a thread belongs to: to one of three processes, and in part to itself.
pub fn who(thread: usize) -> Who {
    Who {
        files: thread % 3 + 1,
        thread: if thread % 7 == 0 { thread + 1 } else { 0 },
        since: 0,
    }
}

impl Sim {
    /// A process has let go of a descriptor, and may have others.
    pub fn flush(&mut self, fd: Fd, a: u8, b: u8) {
        let (source, files) = (self.source(fd), usize::from(a) % 3 + 1);
        self.w.flush(source, files, b % 2 == 0, |conn| {
            b % 4 == 0 && conn % 2 == 0
        });
    }

    /// A thread ends with which what it holds ends.
    pub fn end_thread(&mut self, thread: usize, fd: Fd) {
        if who(thread).thread != 0 {
            self.w.end_thread(self.source(fd), who(thread));
        }
    }

    /// A process takes over what another may hold.
    pub fn adopt(&mut self, fd: Fd, a: u8, b: u8) {
        let side = self.scope(fd).1;
        let (id, turn) = self.turn(side, a);
        self.turns.push((side, id, turn));
        let _ = self
            .w
            .adopt(self.source(fd), id, turn, who(usize::from(b) % 14));
    }

    /// A thread has a message: it goes on copying, or is done with it.
    pub fn got(&mut self, thread: usize, fd: Fd, delivery: Delivery<Test>, how: u8) {
        self.w.note(&delivery, who(thread));
        let told = (delivery.to, delivery.id, delivery.turn);
        self.ids.push(told);
        match delivery.what {
            What::ConnectionRequest => self.requests.push(delivery.id),
            _ if delivery.open => self.turns.push(told),
            _ => {}
        }
        self.uses.insert(thread, (fd, 0));
        self.hands.insert(thread, delivery);
        if how % 4 != 0 {
            self.resolve(thread, how);
        }
    }

    pub fn resolve(&mut self, thread: usize, how: u8) {
        let Some(delivery) = self.hands.remove(&thread) else {
            return;
        };
        let (fd, _) = self.uses.remove(&thread).expect("a descriptor in use");
        if how % 8 == 1 {
            self.w.undeliver(delivery);
            return;
        }
        if how % 8 == 5 && delivery.what == What::Request && delivery.turn == 0 {
            self.w.reject(delivery);
            return;
        }
        if let Some(body) = &delivery.body {
            assert!(self.received.insert(body.serial()), "received twice");
        }
        let keep = match fd {
            Fd::End(_) => how % 4 == 2 && delivery.idle && delivery.slot != NONE,
            Fd::Port => false,
        };
        if delivery.idle {
            let kept = self.w.step(|engine, fx| engine.finish(&delivery, keep, fx));
            assert_eq!(kept, keep);
        }
        if let (true, Fd::End(at)) = (keep, fd) {
            self.ends[at].kept.push(delivery.slot);
        }
    }

    pub fn stand(&mut self, thread: usize, fd: Fd, at: Wait, inbox: Inbox, len: u32) {
        self.w.stand(thread, at, inbox);
        self.uses.insert(thread, (fd, len));
    }

    pub fn after(
        &mut self,
        thread: usize,
        fd: Fd,
        got: Got,
        waits: Option<(Wait, Inbox)>,
        how: u8,
    ) {
        if let Some((at, inbox)) = waits {
            self.stand(thread, fd, at, inbox, 0);
        } else if let Got::Message(delivery) = got {
            self.got(thread, fd, delivery, how);
        }
    }

    pub fn receive(&mut self, thread: usize, fd: Fd, waits: bool, a: u8) {
        let (source, capacity) = (self.source(fd), u32::from(a) % 4 * 35);
        let (got, inbox) = self.w.step(|engine, fx| {
            let got = Got::from(engine.receive(source, capacity, fx));
            let inbox = (waits && matches!(got, Got::Empty)).then(|| {
                let at = Wait::Next(source);
                (
                    at,
                    engine
                        .waiters(at)
                        .expect("a place")
                        .add(thread, capacity, false),
                )
            });
            (got, inbox)
        });
        self.after(thread, fd, got, inbox, a);
    }

    pub fn send_new(&mut self, thread: usize, end: usize, len: u32, what: u8) {
        let (conn, side) = (self.ends[end].conn, self.ends[end].side);
        let new = if what % 2 == 0 {
            New::Request
        } else {
            New::OneWay
        };
        let calls = what % 4 == 0;
        let kept = self.ends[end].kept.pop();
        self.w.grow();
        if let (true, Client, Some(slot)) = (calls && self.straight, side, kept) {
            match self.w.call_straight(conn, slot, len) {
                Ok(sent) => {
                    self.call_goes_on(thread, end, sent, u32::from(what) % 3 * 60);
                    return;
                }
                Err(body) => drop(body),
            }
        }
        let body = self.text(len);
        let capacity = u32::from(what) % 3 * 60;
        let (result, inbox) = self.w.step(|engine, fx| {
            let result = engine.send_new(conn, side, new, kept, body, fx);
            let at = match &result {
                Ok(sent) if calls => Wait::Conversation {
                    slot: sent.slot,
                    id: sent.id,
                    side,
                },
                Err((Refusal::QueueFull, _)) if what % 8 < 6 => Wait::Room { conn, side },
                _ => return (result, None),
            };
            let last = matches!(at, Wait::Room { .. });
            let inbox = engine
                .waiters(at)
                .expect("a place")
                .add(thread, capacity, last);
            (result, Some((at, inbox)))
        });
        match &result {
            Ok(sent) => self.ids.push((side, sent.id, 0)),
            Err(_) => self.ends[end].kept.extend(kept),
        }
        if let Some((at, inbox)) = inbox {
            self.stand(thread, Fd::End(end), at, inbox, len);
        }
    }

    /// A request has gone the short way: its sender waits.
    fn call_goes_on(&mut self, thread: usize, end: usize, sent: Sent, capacity: u32) {
        let Sent { slot, id } = sent;
        let at = Wait::Conversation {
            slot,
            id,
            side: Client,
        };
        let set = self.w.engine.waiters(at).expect("a place");
        let inbox = set.add(thread, capacity, false);
        self.ids.push((Client, id, 0));
        self.stand(thread, Fd::End(end), at, inbox, 0);
    }

    /// Sends into a conversation, and waits on in it, or receives in one pass.
    pub fn send_into(&mut self, thread: usize, fd: Fd, a: u8, b: u8) {
        let (conn, side) = self.scope(fd);
        let (id, turn) = self.turn(side, a);
        let how = [How::Reply, How::FinalReply, How::Callback, How::Answer][usize::from(b) % 4];
        if let (Fd::Port, How::FinalReply, true) = (fd, how, self.straight) {
            let len = u32::from(b) % 101;
            match self.w.reply_straight_as(who(thread), id, turn, len) {
                Ok(holder) => {
                    if b % 16 >= 8 {
                        let at = Wait::Next(PORT);
                        let set = self.w.engine.waiters(at).expect("a place");
                        let inbox = set.add(thread, 100, false);
                        set.name_first(holder);
                        self.stand(thread, fd, at, inbox, 0);
                    }
                    return;
                }
                Err(body) => drop(body),
            }
        }
        let (source, body) = (self.source(fd), self.text(u32::from(b) % 101));
        let (_result, got, inbox) = self.w.step(|engine, fx| {
            let result = engine.send_into(conn, side, id, turn, how, body, fx);
            let at = match &result {
                Ok(sent) if matches!(how, How::Callback | How::Answer) && b >= 128 => {
                    Wait::Conversation {
                        slot: sent.slot,
                        id,
                        side,
                    }
                }
                Ok(_) if b % 16 >= 8 => Wait::Next(source),
                _ => return (result, Got::Empty, None),
            };
            let got = match at {
                Wait::Next(source) => Got::from(engine.receive(source, 100, fx)),
                _ => Got::Empty,
            };
            let inbox = matches!(got, Got::Empty).then(|| {
                (
                    at,
                    engine.waiters(at).expect("a place").add(thread, 100, false),
                )
            });
            (result, got, inbox)
        });
        self.after(thread, fd, got, inbox, b / 2);
    }

    pub fn collect(&mut self, thread: usize, fd: Fd, a: u8, b: u8) {
        let ((conn, side), capacity) = (self.scope(fd), u32::from(b) % 3 * 60);
        let (id, _) = self.id(side, a);
        let (got, inbox) = self.w.step(|engine, fx| {
            let (received, slot) = engine.collect(conn, side, id, capacity, fx);
            let got = Got::from(received);
            let inbox = (b >= 64 && matches!(got, Got::Empty)).then(|| {
                let at = Wait::Conversation { slot, id, side };
                (
                    at,
                    engine
                        .waiters(at)
                        .expect("a place")
                        .add(thread, capacity, false),
                )
            });
            (got, inbox)
        });
        self.after(thread, fd, got, inbox, b);
    }

    pub fn answer_request(&mut self, a: u8, b: u8) {
        let requests = self
            .requests
            .iter()
            .rev()
            .take(4)
            .copied()
            .collect::<Vec<_>>();
        let id = match requests.is_empty() || a > 240 {
            true => self.id(Server, a).0,
            false => requests[usize::from(a) % requests.len()],
        };
        let body = self.text(u32::from(b) % 50);
        if b % 16 == 0 {
            let refused = self.w.begin_half(|engine, fx| engine.refuse(id, body, fx));
            if refused.is_ok() {
                self.jobs.push(Job::Refused);
            }
            return;
        }
        let result = self
            .w
            .step(|engine, fx| engine.accept(id, SHARE, 8, body, fx));
        if let Ok(conn) = result {
            self.ends.push(Descriptor {
                conn,
                side: Server,
                closed: false,
                kept: Vec::new(),
            });
        }
    }

    pub fn connect(&mut self, thread: usize, a: u8) {
        self.w.grow();
        let (body, link) = (self.text(u32::from(a) % 50), Link::new(&self.w.links));
        let peer = link.clone();
        let (result, inbox) = self.w.step(|engine, fx| {
            let result = engine.connect(peer, body, SHARE, 7, fx);
            let inbox = match &result {
                Ok((_, Sent { slot, id })) if a % 2 == 0 => {
                    let at = Wait::Conversation {
                        slot: *slot,
                        id: *id,
                        side: Client,
                    };
                    Some((
                        at,
                        engine.waiters(at).expect("a place").add(thread, 100, false),
                    ))
                }
                _ => None,
            };
            (result, inbox)
        });
        let Ok((conn, sent)) = result else {
            return;
        };
        link.poll(Client, a % 3 == 0);
        link.poll(Server, a % 5 == 0);
        self.ids.push((Client, sent.id, 0));
        self.ends.push(Descriptor {
            conn,
            side: Client,
            closed: false,
            kept: Vec::new(),
        });
        if let Some((at, inbox)) = inbox {
            self.stand(thread, Fd::End(self.ends.len() - 1), at, inbox, 0);
        }
    }

    /// A thread sees what it was handed.
    pub fn wake(&mut self, a: u8) {
        let awake: Vec<_> = self.w.awake.iter().copied().collect();
        if awake.is_empty() {
            return;
        }
        let thread = awake[usize::from(a) % awake.len()];
        let (fd, len) = self.uses.remove(&thread).expect("a descriptor in use");
        match (self.w.taken(thread), fd) {
            (Hand::Message(delivery), _) => self.got(thread, fd, delivery, a),
            (Hand::Room, Fd::End(end)) => self.send_new(thread, end, len, a | 1),
            _ => {}
        }
    }

    /// The time of a thread is up, or a signal comes.
    pub fn interrupt(&mut self, thread: usize, a: u8) {
        if !self.w.is_waiting(thread) {
            return;
        }
        let (at, _) = self.w.inboxes[&thread].clone();
        let (fd, _) = self.uses.remove(&thread).expect("a descriptor in use");
        self.w.leave(thread);
        if let (Wait::Conversation { id, side, .. }, true) = (at, a % 2 == 0) {
            let (conn, _) = self.scope(fd);
            let _ = self
                .w
                .step(|engine, fx| engine.cancel(conn, side, id, false, fx));
        }
    }
}
