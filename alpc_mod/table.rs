// SPDX-License-Identifier: GPL-2.0

//! Tables whose entries never move, grown a chunk at a time.
//!
//! A table lies inside a spinlock, so it can't allocate where it is used: the
//! next chunk is made beforehand, with no lock held, and moved in. That takes a
//! few steps however long the table is, see [`segments`].
#![deny(unsafe_code)]

use crate::{
    buffer::charged,
    logic::{
        engine::Store,
        segments::{
            self,
            Place, //
        }, //
    }, //
};
use core::mem::swap;
use kernel::prelude::*;
use pin_init::init_array_from_fn;

/// Entries in one chunk.
const CHUNK: u32 = 16;

/// That many of them, in one allocation.
type Chunk<T> = KBox<[T; CHUNK as usize]>;

/// Some chunks of a table. There may be thousands, so they need not be listed in one piece of
/// physical memory.
type Segment<T> = KVVec<Chunk<T>>;

/// The segments of a table in their order. The longest table has some twenty.
type Segments<T> = KVec<Segment<T>>;

/// A table of entries, named by index.
pub(crate) struct Chunks<T> {
    segments: Segments<T>,
    /// How many chunks there are.
    chunks: u32,
}

/// What a table needs to grow by one chunk, or what is left of it.
pub(crate) struct Growth<T> {
    chunk: Option<Chunk<T>>,
    /// The segment that begins with the chunk.
    segment: Option<Segment<T>>,
    /// A longer list of segments, where the old one is full.
    segments: Option<Segments<T>>,
}

impl<T> Chunks<T> {
    /// An empty table, without memory.
    pub(crate) fn new() -> Self {
        Self {
            segments: KVec::new(),
            chunks: 0,
        }
    }

    /// Adds a chunk. Gives back what must be dropped with no lock held. That is everything if the
    /// table has grown meanwhile, and needs what was not made.
    pub(crate) fn grow(&mut self, mut growth: Growth<T>) -> Growth<T> {
        let place = segments::place(self.chunks);
        if place.offset == 0 {
            if self.segments.len() == self.segments.capacity() {
                match &mut growth.segments {
                    Some(longer) if longer.capacity() > self.segments.len() => {
                        swap(longer, &mut self.segments);
                        for segment in longer.drain_all() {
                            // The longer list has room, so nothing is allocated, nothing fails.
                            let _ = self.segments.push_within_capacity(segment);
                        }
                    }
                    _ => return growth,
                }
            }
            match growth.segment.take() {
                Some(segment) if segment.capacity() >= segments::len(place.segment) => {
                    let _ = self.segments.push_within_capacity(segment);
                }
                segment => {
                    growth.segment = segment;
                    return growth;
                }
            }
        }
        if let (Some(segment), Some(chunk)) = (self.segments.last_mut(), growth.chunk.take()) {
            // A segment has room for all of its chunks from the beginning.
            let _ = segment.push_within_capacity(chunk);
            self.chunks = self.chunks.saturating_add(1);
        }
        growth
    }
}

impl<T: Default> Growth<T> {
    /// Makes a chunk for a table of `len` entries.
    pub(crate) fn new(len: u32) -> Result<Self> {
        let room = charged(size_of::<[T; CHUNK as usize]>(), KBox::new_uninit)?;
        let chunk = room.write_init(init_array_from_fn(|_| Ok::<_, Error>(T::default())))?;
        let mut growth = Self {
            chunk: Some(chunk),
            segment: None,
            segments: None,
        };
        let Place { segment, offset } = segments::place(len / CHUNK);
        if offset == 0 {
            let chunks = segments::len(segment);
            let size = chunks.saturating_mul(size_of::<Chunk<T>>());
            growth.segment = Some(charged(size, |flags| KVVec::with_capacity(chunks, flags))?);
            // Lists are as long as powers of two, so this is when one is full.
            growth.segments = match segment as usize {
                0 => Some(KVec::with_capacity(1, GFP_KERNEL_ACCOUNT)?),
                n if n.is_power_of_two() => Some(KVec::with_capacity(
                    n.saturating_mul(2),
                    GFP_KERNEL_ACCOUNT,
                )?),
                _ => None,
            };
        }
        Ok(growth)
    }
}

impl<T> Store<T> for Chunks<T> {
    #[inline]
    fn get(&self, index: u32) -> Option<&T> {
        let Place { segment, offset } = segments::place(index / CHUNK);
        self.segments
            .get(segment as usize)?
            .get(offset as usize)?
            .get((index % CHUNK) as usize)
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let Place { segment, offset } = segments::place(index / CHUNK);
        self.segments
            .get_mut(segment as usize)?
            .get_mut(offset as usize)?
            .get_mut((index % CHUNK) as usize)
    }

    fn len(&self) -> u32 {
        // A port's ids end long before this overflows.
        self.chunks.saturating_mul(CHUNK)
    }
}
