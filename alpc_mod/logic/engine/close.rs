// SPDX-License-Identifier: GPL-2.0

//! The end of connections, by either side, and of the whole port.
//!
//! What may be long is done in steps. A caller repeats a step until it says
//! that nothing is left, acting on the effects in between with no lock held.
//! The new phase is set by the first step, so nothing is added behind it.
#![deny(unsafe_code)]

use super::end::Why;
use super::list::{List, Store, Via};
use super::receive::Head;
use super::types::{End, Hand, Host, Kind, Phase, Place, Side, State, Waiters};
use super::{Effects, Engine, Source, SLOTS_MAX};

/// Where an end that is done in steps has got to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    begun: bool,
    announce: bool,
    /// The last step is to come.
    last: bool,
    left: u32,
    conn: u32,
}

impl<H: Host> Engine<H> {
    /// Ends connection `conn` for `side`, a step at a time; true says that more
    /// is to do. With `flush`, what is queued is dropped, else what needs no
    /// answer stays receivable.
    pub fn disconnect(
        &mut self,
        conn: u32,
        side: Side,
        flush: bool,
        progress: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        if !progress.begun {
            progress.begun = true;
            match (c.phase, side) {
                (Phase::Open, _) => {
                    c.phase = Phase::Ended(side);
                    progress.announce = side == Side::Client;
                }
                (Phase::Pending, Side::Client) => {
                    c.phase = Phase::Ended(side);
                    self.pending = self.pending.saturating_sub(1);
                }
                (Phase::Pending, Side::Server) => {
                    c.phase = Phase::Refused;
                    self.pending = self.pending.saturating_sub(1);
                }
                // It has ended before. Whoever ends it again does so in vain.
                _ => return false,
            }
            progress.last = true;
            progress.left = c.all.len();
            fx.poll = self.polled_peer(conn);
            return true;
        }
        if self.end_waits(conn, fx) {
            return true;
        }
        if self.end_next(conn, side, flush, progress, fx) {
            return true;
        }
        if core::mem::take(&mut progress.last) {
            if progress.announce && !self.is_gone(conn, Place::Port) {
                self.announce_close(conn, false, fx);
            }
            self.lose_way(fx);
        }
        false
    }

    /// Tells the server, behind all messages and notices, that the client has gone.
    pub(super) fn announce_close(&mut self, conn: u32, front: bool, fx: &mut Effects<H>) {
        let Some(c) = self.conns.get_mut(conn) else {
            return;
        };
        c.closed_notice = true;
        if self.arrival_order && c.port.messages > 0 {
            return;
        }
        self.make_ready(conn, front);
        fx.poll_port = true;
        self.dispatch(conn, Place::Port, fx);
    }

    /// Ends one wait on the ports of an ended connection; false when none is.
    fn end_waits(&mut self, conn: u32, fx: &mut Effects<H>) -> bool {
        for side in [Side::Client, Side::Server] {
            let Some(end) = self.end_of(Source::Side(conn, side)) else {
                return false;
            };
            let Some(c) = self.conns.get_mut(conn) else {
                return false;
            };
            let room = c.room.get_mut(side).hand(0, Hand::Ended(end));
            let handed = match room {
                Ok(waker) => Ok(waker),
                Err(hand) => c.receivers.get_mut(side).hand(0, hand),
            };
            if let Ok(waker) = handed {
                fx.add_wake(waker);
                return true;
            }
        }
        false
    }

    /// Ends one conversation of an ended connection; false when all are done.
    fn end_next(
        &mut self,
        conn: u32,
        side: Side,
        flush: bool,
        progress: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        if progress.left == 0 {
            return false;
        }
        progress.left = progress.left.saturating_sub(1);
        let Some(index) = c.all.pop_front(&mut self.slots, Via::Owner) else {
            return false;
        };
        c.all.push_back(&mut self.slots, Via::Owner, index);
        self.end_by_disconnect(index, side, flush, fx);
        true
    }

    fn end_by_disconnect(&mut self, index: u32, by: Side, flush: bool, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        match slot.state {
            State::Free | State::Idle => {}
            // What it keeps is charged to who began it, so that nobody begins any number of them.
            // On this connection nothing begins any more.
            State::Queued(_) if slot.what.is_notice() => {
                for side in [Side::Client, Side::Server] {
                    *fx.bodies.get_mut(side) = slot.bodies.get_mut(side).take();
                }
            }
            State::Queued(_) if !slot.open && !flush => {}
            // A connection request that the server has not seen is withdrawn, one
            // that waits for the server's answer is answered by its end.
            State::Queued(_) | State::Held(_) if slot.kind == Kind::Connect => {
                self.end_request(index, by, fx);
            }
            State::Queued(_) | State::Held(_) => {
                self.end_conversation(index, by, Why::Disconnect, fx);
            }
        }
    }

    /// The last descriptor of `side`'s communication port is gone, a step at a
    /// time after [`Self::disconnect`]: drops what only it could receive.
    pub fn close_side(
        &mut self,
        conn: u32,
        side: Side,
        progress: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        if progress.begun {
            return false;
        }
        let Some(c) = self.conns.get_mut(conn) else {
            return false;
        };
        let index = c.queues.get(side).list.head();
        if self.slots.get(index).is_some() {
            self.drop_queued(index, side, fx);
            return true;
        }
        progress.begun = true;
        *c.open.get_mut(side) = false;
        self.free_conn_if_done(conn, fx);
        false
    }

    /// Drops what is first in a queue that nobody can receive from.
    fn drop_queued(&mut self, index: u32, side: Side, fx: &mut Effects<H>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        if slot.what.is_notice() {
            self.unqueue(index, fx);
            self.free_slot(index, fx);
        } else {
            // Where the other side's end has not got so far, somebody may wait.
            self.end_by_disconnect(index, side, true, fx);
        }
    }

    /// Closes the connection port, a step at a time.
    pub fn close_port(
        &mut self,
        flush: bool,
        progress: &mut Progress,
        inner: &mut Progress,
        fx: &mut Effects<H>,
    ) -> bool {
        if !progress.begun {
            progress.begun = true;
            progress.conn = 0;
            self.closed = true;
            fx.poll_port = true;
            return true;
        }
        if let Ok(waker) = self.receivers.hand(0, Hand::Ended(End::Closed)) {
            fx.add_wake(waker);
            return true;
        }
        if progress.conn >= self.conns.len() {
            return false;
        }
        if !self.disconnect(progress.conn, Side::Server, flush, inner, fx) {
            *inner = Progress::default();
            progress.conn = progress.conn.saturating_add(1);
        }
        true
    }

    /// After the last descriptor of the connection port is gone, drops what only
    /// it could receive, a message at a time.
    pub fn drain_port(&mut self, fx: &mut Effects<H>) -> bool {
        match self.head(Source::Port) {
            Some(Head::Message(index)) => self.drop_queued(index, Side::Server, fx),
            Some(Head::PortClosed(conn)) => {
                self.unready(conn);
                if let Some(c) = self.conns.get_mut(conn) {
                    c.closed_notice = false;
                }
                self.free_conn_if_done(conn, fx);
            }
            None => {
                // What ends from now on has nobody to tell.
                self.gone = true;
                return false;
            }
        }
        true
    }

    /// Exchanges the tables of a port that is gone for these empty ones, each if
    /// nothing in it is in use: nothing will be again.
    pub fn retire(&mut self, slots: &mut H::Slots, conns: &mut H::Conns, holders: &mut H::Holders) {
        if !self.gone {
            return;
        }
        if self.free_slots.len() == self.slots.len().min(SLOTS_MAX) {
            core::mem::swap(&mut self.slots, slots);
            self.free_slots = List::default();
        }
        if self.free_conns.len() == self.conns.len() {
            core::mem::swap(&mut self.conns, conns);
            self.free_conns = List::default();
        }
        if self.holders.free.len() == self.holders.table.len() {
            core::mem::swap(&mut self.holders.table, holders);
            self.holders.free = List::default();
        }
    }
}
