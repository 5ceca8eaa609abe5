// SPDX-License-Identifier: GPL-2.0

//! Tables whose entries never move, grown a chunk at a time.
//!
//! A table lies inside a spinlock, so it can't allocate where it is used: the
//! next chunk is made beforehand, with no lock held, and moved in. That takes a
//! few steps however long the table is: the list of the first chunks is short, and for
//! those behind it see [`segments`].
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

/// Chunks that are listed in one piece, which most tables have no more of. The list moves when it
/// gets longer, so it must not be long.
const NEAR: u32 = 64;

/// Some chunks of a table. There may be thousands, so they need not be listed in one piece of
/// physical memory.
type Segment<T> = KVVec<Chunk<T>>;

/// The segments of a table in their order. The longest table has some twenty.
type Segments<T> = KVec<Segment<T>>;

/// A table of entries, named by index.
pub(crate) struct Chunks<T> {
    /// The first [`NEAR`] chunks.
    near: KVec<Chunk<T>>,
    /// All chunks behind them.
    segments: Segments<T>,
    /// How many chunks there are.
    chunks: u32,
}

/// What a table needs to grow by one chunk, or what is left of it.
pub(crate) struct Growth<T> {
    chunk: Option<Chunk<T>>,
    /// A longer list of near chunks, where the old one is full.
    near: Option<KVec<Chunk<T>>>,
    /// The segment that begins with the chunk.
    segment: Option<Segment<T>>,
    /// A longer list of segments, where the old one is full.
    segments: Option<Segments<T>>,
}

/// Moves a list to a longer one, if it is full. Says whether it has room now.
fn lengthen<T>(list: &mut KVec<T>, longer: &mut Option<KVec<T>>) -> bool {
    if list.len() < list.capacity() {
        return true;
    }
    match longer {
        Some(longer) if longer.capacity() > list.len() => {
            swap(longer, list);
            for item in longer.drain_all() {
                // The longer list has room, so nothing is allocated, nothing fails.
                let _ = list.push_within_capacity(item);
            }
            true
        }
        _ => false,
    }
}

/// A longer list for one with so many items, if that is full. Lists are as long as powers of two.
fn longer<T>(len: u32) -> Result<Option<KVec<T>>> {
    match len {
        0 => Ok(Some(KVec::with_capacity(1, GFP_KERNEL_ACCOUNT)?)),
        n if n.is_power_of_two() => {
            let room = (n as usize).saturating_mul(2);
            Ok(Some(KVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?))
        }
        _ => Ok(None),
    }
}

impl<T> Chunks<T> {
    /// An empty table, without memory.
    pub(crate) fn new() -> Self {
        Self {
            near: KVec::new(),
            segments: KVec::new(),
            chunks: 0,
        }
    }

    /// Adds a chunk. Gives back what must be dropped with no lock held. That is everything if the
    /// table has grown meanwhile, and needs what was not made.
    pub(crate) fn grow(&mut self, mut growth: Growth<T>) -> Growth<T> {
        let Some(place) = self.chunks.checked_sub(NEAR).map(segments::place) else {
            if !lengthen(&mut self.near, &mut growth.near) {
                return growth;
            }
            if let Some(chunk) = growth.chunk.take() {
                let _ = self.near.push_within_capacity(chunk);
                self.chunks = self.chunks.saturating_add(1);
            }
            return growth;
        };
        if place.offset == 0 {
            if !lengthen(&mut self.segments, &mut growth.segments) {
                return growth;
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

    #[cold]
    #[inline(never)]
    fn far(&self, chunk: u32) -> Option<&Chunk<T>> {
        let Place { segment, offset } = segments::place(chunk.checked_sub(NEAR)?);
        self.segments.get(segment as usize)?.get(offset as usize)
    }

    #[cold]
    #[inline(never)]
    fn far_mut(&mut self, chunk: u32) -> Option<&mut Chunk<T>> {
        let Place { segment, offset } = segments::place(chunk.checked_sub(NEAR)?);
        self.segments
            .get_mut(segment as usize)?
            .get_mut(offset as usize)
    }
}

impl<T: Default> Growth<T> {
    /// Makes a chunk for a table of `len` entries.
    pub(crate) fn new(len: u32) -> Result<Self> {
        let room = charged(size_of::<[T; CHUNK as usize]>(), KBox::new_uninit)?;
        let chunk = room.write_init(init_array_from_fn(|_| Ok::<_, Error>(T::default())))?;
        let mut growth = Self {
            chunk: Some(chunk),
            near: None,
            segment: None,
            segments: None,
        };
        let Some(far) = (len / CHUNK).checked_sub(NEAR) else {
            growth.near = longer(len / CHUNK)?;
            return Ok(growth);
        };
        let Place { segment, offset } = segments::place(far);
        if offset == 0 {
            let chunks = segments::len(segment);
            let size = chunks.saturating_mul(size_of::<Chunk<T>>());
            growth.segment = Some(charged(size, |flags| KVVec::with_capacity(chunks, flags))?);
            growth.segments = longer(segment)?;
        }
        Ok(growth)
    }
}

impl<T> Store<T> for Chunks<T> {
    #[inline(always)]
    fn get(&self, index: u32) -> Option<&T> {
        let chunk = match self.near.get((index / CHUNK) as usize) {
            Some(chunk) => chunk,
            None => self.far(index / CHUNK)?,
        };
        chunk.get((index % CHUNK) as usize)
    }

    #[inline(always)]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let chunk = index / CHUNK;
        if chunk as usize >= self.near.len() {
            return self.far_mut(chunk)?.get_mut((index % CHUNK) as usize);
        }
        let near = self.near.get_mut(chunk as usize)?;
        near.get_mut((index % CHUNK) as usize)
    }

    fn len(&self) -> u32 {
        // A port's ids end long before this overflows.
        self.chunks.saturating_mul(CHUNK)
    }
}
