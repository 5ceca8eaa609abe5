// SPDX-License-Identifier: GPL-2.0

//! Tables that all users share: ordered trees, each under a spinlock of its own.
//!
//! Whoever holds such a lock can't be preempted, so it keeps others waiting for no longer than it
//! takes to go from the root of a tree to a leaf: some twenty comparisons in a tree of a million.
//! Nothing is allocated, freed or dropped meanwhile. That there are several trees is for those who
//! need the table at the same time, on machines with many processors.
#![deny(unsafe_code)]

use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::SpinLock, //
};
use pin_init::pin_init_array_from_fn;

/// How many trees a table is.
const COUNT: usize = 64;

/// What is looked for in a table.
pub(crate) trait ShardKey: Ord {
    /// A number of the key, with all numbers nearly as frequent as each other. Keys that are equal
    /// have the same.
    fn spread(&self) -> u64;
}

/// One tree of a table.
pub(crate) type Shard<K, V> = SpinLock<RBTree<K, V>>;

/// A table.
#[pin_data]
pub(crate) struct Shards<K, V> {
    #[pin]
    trees: [Shard<K, V>; COUNT],
}

impl<K: ShardKey, V> Shards<K, V> {
    /// An empty table of trees that `make` makes.
    pub(crate) fn new<I: PinInit<Shard<K, V>>>(mut make: impl FnMut() -> I) -> impl PinInit<Self> {
        pin_init!(Self {
            trees <- pin_init_array_from_fn(move |_| make()),
        })
    }

    /// The tree that a key is in, if it is in any.
    pub(crate) fn of(&self, key: &K) -> &Shard<K, V> {
        // CAST: The remainder is less than the number of trees.
        let index = key.spread() as usize % COUNT;
        self.trees.get(index).unwrap_or(&self.trees[0])
    }

    /// All trees.
    pub(crate) fn all(&self) -> &[Shard<K, V>] {
        &self.trees
    }
}
