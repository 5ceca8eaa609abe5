// SPDX-License-Identifier: GPL-2.0

//! Leaving a port's lock: what is owed to others then comes first, and at once.
//!
//! A thread that has been handed something is on no list any more. It sleeps until whoever has
//! handed it that wakes it, after the lock. A user's thread that is stopped in between, for it gets
//! no processor time, would keep a stranger asleep. So nobody is preempted from before the lock is
//! released until all have been woken, and whoever has an [`Effects`] to act on releases the lock
//! here.
#![deny(unsafe_code)]

use crate::{
    logic::engine::{
        Effects,
        Engine,
        Side,
        Source, //
    },
    port::{
        Kernel,
        Locked,
        Port,
        READABLE, //
    },
    stay::Stay,
    wait_set::Waker, //
};
use core::mem::take;

/// Threads that are served without being preempted meanwhile, beside those of the step itself.
const AT_A_TIME: usize = 4;

impl Port {
    /// Releases the lock after a step, wakes and drops what it has left, and serves whom it could
    /// not serve. No other lock may be held.
    #[inline]
    pub(crate) fn leave(&self, engine: Locked<'_>, fx: &mut Effects<Kernel>) {
        self.leave_as(engine, fx, || (), Waker::wake);
    }

    /// Releases the lock as [`leave`](Self::leave) does, for a caller that is about to sleep: the
    /// thread that is woken first runs in its place. `first` is done before anybody is woken, and must be short: it can't be preempted.
    #[inline]
    pub(crate) fn leave_and_yield<R>(
        &self,
        engine: Locked<'_>,
        fx: &mut Effects<Kernel>,
        first: impl FnOnce() -> R,
    ) -> R {
        self.leave_as(engine, fx, first, Waker::wake_and_yield)
    }

    #[inline(always)]
    fn leave_as<R>(
        &self,
        engine: Locked<'_>,
        fx: &mut Effects<Kernel>,
        first: impl FnOnce() -> R,
        wake: impl FnOnce(Waker),
    ) -> R {
        let result;
        if owes_nobody(fx) {
            drop(engine);
            result = first();
        } else {
            let stay = Stay::begin();
            drop(engine);
            result = first();
            if let Some(waker) = fx.wake.take() {
                wake(waker);
            }
            wake_all(fx);
            match fx.again.take() {
                None => drop(stay),
                Some(source) => self.serve_more(source, stay),
            }
        }
        self.let_go(fx);
        result
    }

    /// Takes one step under the lock, and leaves it.
    #[inline]
    pub(crate) fn step<R>(
        &self,
        step: impl FnOnce(&mut Engine<Kernel>, &mut Effects<Kernel>) -> R,
    ) -> R {
        let mut fx = Effects::default();
        let mut engine = self.lock();
        let result = step(&mut engine, &mut fx);
        self.leave(engine, &mut fx);
        result
    }

    /// Serves threads at a place, until nobody there waits who need not. A few at a time are served
    /// without being preempted: they may be as many as wait there.
    #[cold]
    #[inline(never)]
    fn serve_more(&self, source: Source, stay: Stay) {
        let (mut again, mut stay) = (Some(source), stay);
        loop {
            let mut all: [Effects<Kernel>; AT_A_TIME] = Default::default();
            for fx in &mut all {
                let Some(source) = again.take() else {
                    break;
                };
                let mut engine = self.lock();
                engine.serve(source, fx);
                drop(engine);
                wake_all(fx);
                again = fx.again.take();
            }
            drop(stay);
            for fx in &mut all {
                self.let_go(fx);
            }
            if again.is_none() {
                return;
            }
            stay = Stay::begin();
        }
    }

    /// Does what nobody sleeps for: wakes those who poll, however many they are, and drops.
    #[inline(always)]
    fn let_go(&self, fx: &mut Effects<Kernel>) {
        if take(&mut fx.poll_port) && self.poll.is_active() {
            self.poll.wake(READABLE);
        }
        if fx.poll.is_some() {
            for peer in [fx.poll.take(), fx.poll_also.take()].into_iter().flatten() {
                peer.wake_pollers();
            }
        }
        if let Some(message) = fx.bodies.get_mut(Side::Server).take() {
            self.recycle(message);
        }
        drop(fx.bodies.get_mut(Side::Client).take());
        if fx.peer.is_some() {
            drop(fx.peer.take());
        }
    }
}

/// Whether nobody sleeps who has been handed something, or is to be.
#[inline(always)]
fn owes_nobody(fx: &Effects<Kernel>) -> bool {
    let [second, third] = &fx.also;
    fx.wake.is_none()
        && fx.room.is_none()
        && second.is_none()
        && third.is_none()
        && fx.again.is_none()
}

/// Wakes who has been handed something.
fn wake_all(fx: &mut Effects<Kernel>) {
    let [second, third] = &mut fx.also;
    for waker in [&mut fx.wake, &mut fx.room, second, third] {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}
