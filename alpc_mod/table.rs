// SPDX-License-Identifier: GPL-2.0

//! Tables whose entries never move, grown a chunk at a time.
//!
//! A table lies inside a spinlock, so it can't allocate where it is used: the
//! next chunk is made beforehand, with no lock held, and moved in.
#![deny(unsafe_code)]

use crate::{
    buffer::charged,
    logic::engine::Store, //
};
use kernel::prelude::*;
use pin_init::init_array_from_fn;

/// Entries in one chunk.
const CHUNK: u32 = 16;

/// That many of them, in one allocation.
type Chunk<T> = KBox<[T; CHUNK as usize]>;

/// The chunks of a table in their order. There may be thousands, so the list need
/// not be of one piece of physical memory.
type ChunkList<T> = KVVec<Chunk<T>>;

/// A table of entries, named by index.
pub(crate) struct Chunks<T> {
    chunks: ChunkList<T>,
}

/// What a table needs to grow by one chunk.
pub(crate) struct Growth<T> {
    chunk: Chunk<T>,
    /// A longer list of chunks, where the old one is full.
    list: Option<ChunkList<T>>,
}

impl<T> Chunks<T> {
    /// An empty table, without memory.
    pub(crate) fn new() -> Self {
        Self {
            chunks: KVVec::new(),
        }
    }

    /// Adds a chunk. Gives back what must be dropped with no lock held: the old
    /// list of chunks, if any; or, as an error, everything when the table has
    /// grown meanwhile and the list made for it is too short now.
    pub(crate) fn grow(&mut self, growth: Growth<T>) -> Result<Option<ChunkList<T>>, Growth<T>> {
        let Growth { chunk, mut list } = growth;
        if self.chunks.len() == self.chunks.capacity() {
            match &mut list {
                Some(longer) if longer.capacity() > self.chunks.len() => {
                    core::mem::swap(longer, &mut self.chunks);
                    for chunk in longer.drain_all() {
                        // The longer list has room, so nothing is allocated and nothing fails.
                        let _ = self.chunks.push_within_capacity(chunk);
                    }
                }
                _ => return Err(Growth { chunk, list }),
            }
        }
        let _ = self.chunks.push_within_capacity(chunk);
        Ok(list)
    }
}

impl<T: Default> Growth<T> {
    /// Makes a chunk for a table of `len` entries.
    pub(crate) fn new(len: u32) -> Result<Self> {
        let room = charged(size_of::<[T; CHUNK as usize]>(), KBox::new_uninit)?;
        let chunk = room.write_init(init_array_from_fn(|_| Ok::<_, Error>(T::default())))?;
        let chunks = (len / CHUNK) as usize;
        // Lists are as long as powers of two, so this is when one is full.
        let list = match chunks {
            0 => Some(Self::list(1)?),
            n if n.is_power_of_two() => Some(Self::list(n.saturating_mul(2))?),
            _ => None,
        };
        Ok(Self { chunk, list })
    }

    /// A list for so many chunks.
    fn list(chunks: usize) -> Result<ChunkList<T>> {
        let size = chunks.saturating_mul(size_of::<Chunk<T>>());
        charged(size, |flags| KVVec::with_capacity(chunks, flags))
    }
}

impl<T> Store<T> for Chunks<T> {
    #[inline]
    fn get(&self, index: u32) -> Option<&T> {
        self.chunks
            .get((index / CHUNK) as usize)?
            .get((index % CHUNK) as usize)
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks
            .get_mut((index / CHUNK) as usize)?
            .get_mut((index % CHUNK) as usize)
    }

    fn len(&self) -> u32 {
        // A port's ids end long before this overflows.
        u32::try_from(self.chunks.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(CHUNK)
    }
}
