// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a side does, from closures.

use super::{Side, Watch};

/// Does this every round.
pub fn always(act: impl FnMut(&mut Watch) + 'static) -> Box<dyn Side> {
    Box::new(act)
}

/// Times all of this every round, and the end of what it makes.
pub fn timed<R>(mut act: impl FnMut() -> R + 'static) -> Box<dyn Side> {
    Box::new(move |watch: &mut Watch| watch.time(|| drop(act())))
}

/// Does this over and over, without a look at the time.
pub fn busy<R>(mut act: impl FnMut() -> R + 'static) -> Box<dyn Side> {
    Box::new(move |_: &mut Watch| {
        act();
    })
}

struct Preparing<P, A> {
    prepare: P,
    act: A,
}

impl<P: FnMut(), A: FnMut()> Side for Preparing<P, A> {
    fn prepare(&mut self) {
        (self.prepare)();
    }

    fn act(&mut self, _: &mut Watch) {
        (self.act)();
    }
}

/// Prepares something for the other side, and then does this over and over.
pub fn preparing(prepare: impl FnMut() + 'static, act: impl FnMut() + 'static) -> Box<dyn Side> {
    Box::new(Preparing { prepare, act })
}

struct Cleaning<C, A> {
    clean: C,
    act: A,
}

impl<C: FnMut(), A: FnMut()> Side for Cleaning<C, A> {
    fn clean(&mut self) {
        (self.clean)();
    }

    fn act(&mut self, _: &mut Watch) {
        (self.act)();
    }
}

/// Does this over and over, and lets go of what is left before the other side prepares more.
pub fn cleaning(clean: impl FnMut() + 'static, act: impl FnMut() + 'static) -> Box<dyn Side> {
    Box::new(Cleaning { clean, act })
}

struct Using<T, P, A> {
    left: Vec<T>,
    prepare: P,
    act: A,
}

impl<T, P: FnMut() -> Vec<T>, A: FnMut(T, &mut Watch)> Side for Using<T, P, A> {
    /// As if the rounds had come.
    fn clean(&mut self) {
        for one in self.left.drain(..) {
            (self.act)(one, &mut Watch::default());
        }
    }

    fn prepare(&mut self) {
        self.left = (self.prepare)();
    }

    fn left(&self) -> usize {
        self.left.len()
    }

    fn act(&mut self, watch: &mut Watch) {
        let one = self.left.pop().expect("one for each round");
        (self.act)(one, watch);
    }
}

/// Prepares things, and uses up one every round.
pub fn using<T: 'static>(
    prepare: impl FnMut() -> Vec<T> + 'static,
    act: impl FnMut(T, &mut Watch) + 'static,
) -> Box<dyn Side> {
    Box::new(Using {
        left: Vec::new(),
        prepare,
        act,
    })
}
