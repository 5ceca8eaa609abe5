// SPDX-License-Identifier: GPL-2.0

//! Tables whose entries never move, grown a chunk at a time.
//!
//! A table lies inside a spinlock, so it can't allocate where it is used: the next chunk is made
//! beforehand, with no lock held, and moved in. Where the list of chunks is full, a longer one is
//! filled beforehand too, some chunks at a time, so that nobody waits for the whole list.

use crate::{
    buffer::charged,
    logic::engine::Store, //
};
use core::{
    marker::PhantomData,
    mem::swap,
    ptr::NonNull, //
};
use kernel::prelude::*;
use pin_init::init_array_from_fn;

/// Entries in one chunk.
const CHUNK: u32 = 16;

/// Chunks that a longer list takes over under the lock at a time.
const STRIDE: usize = 64;

/// That many entries, in one allocation.
type Chunk<T> = [T; CHUNK as usize];

/// The chunks of a table in their order. There may be thousands, so the list need
/// not be of one piece of physical memory.
type ChunkList<T> = KVVec<NonNull<Chunk<T>>>;

/// A table of entries, named by index.
///
/// # Invariants
///
/// Each chunk on the list is a box that the table owns, and is on it once.
pub(crate) struct Chunks<T> {
    chunks: ChunkList<T>,
    _owns: PhantomData<KBox<Chunk<T>>>,
}

// SAFETY: A table is boxes of entries, by its invariants.
unsafe impl<T: Send> Send for Chunks<T> {}

/// What a table needs to grow by one chunk, or what is left of that.
pub(crate) struct Growth<T> {
    chunk: Option<KBox<Chunk<T>>>,
    /// A longer list of chunks, where the old one is full. It owns none of them.
    list: Option<ChunkList<T>>,
}

impl<T> Chunks<T> {
    /// An empty table, without memory.
    pub(crate) fn new() -> Self {
        // INVARIANT: There are no chunks.
        Self {
            chunks: KVVec::new(),
            _owns: PhantomData,
        }
    }

    /// Takes a step towards another chunk, and says whether it was the last. What is left in
    /// `growth` then must be dropped with no lock held. That is the chunk too if the table has
    /// grown meanwhile, and needs a longer list than was made.
    pub(crate) fn grow(&mut self, growth: &mut Growth<T>) -> bool {
        let len = self.chunks.len();
        if len == self.chunks.capacity() {
            let Some(longer) = growth.list.as_mut().filter(|list| list.capacity() > len) else {
                return true;
            };
            for chunk in self.chunks.iter().skip(longer.len()).take(STRIDE) {
                // The longer list has room, so nothing is allocated and nothing fails.
                let _ = longer.push_within_capacity(*chunk);
            }
            if longer.len() < len {
                return false;
            }
            // INVARIANT: The same chunks, as chunks are only ever added, and at the end.
            swap(longer, &mut self.chunks);
        }
        if let Some(chunk) = growth
            .chunk
            .take()
            .map(KBox::into_raw)
            .and_then(NonNull::new)
        {
            // INVARIANT: It was a box, and is the table's now. The list has room.
            let _ = self.chunks.push_within_capacity(chunk);
        }
        true
    }
}

impl<T> Drop for Chunks<T> {
    fn drop(&mut self) {
        for chunk in self.chunks.iter() {
            // SAFETY: By the invariants it is the table's, and is given up once.
            drop(unsafe { KBox::from_raw(chunk.as_ptr()) });
        }
    }
}

impl<T: Default> Growth<T> {
    /// Makes a chunk for a table of `len` entries.
    pub(crate) fn new(len: u32) -> Result<Self> {
        let room = charged(size_of::<Chunk<T>>(), KBox::new_uninit)?;
        let chunk = room.write_init(init_array_from_fn(|_| Ok::<_, Error>(T::default())))?;
        let chunks = (len / CHUNK) as usize;
        // Lists are as long as powers of two, so this is when one is full.
        let list = match chunks {
            0 => Some(Self::list(1)?),
            n if n.is_power_of_two() => Some(Self::list(n.saturating_mul(2))?),
            _ => None,
        };
        Ok(Self {
            chunk: Some(chunk),
            list,
        })
    }

    /// A list for so many chunks.
    fn list(chunks: usize) -> Result<ChunkList<T>> {
        let size = chunks.saturating_mul(size_of::<NonNull<Chunk<T>>>());
        charged(size, |flags| KVVec::with_capacity(chunks, flags))
    }
}

impl<T> Store<T> for Chunks<T> {
    #[inline]
    fn get(&self, index: u32) -> Option<&T> {
        let chunk = self.chunks.get((index / CHUNK) as usize)?;
        // SAFETY: By the invariants it is the table's.
        unsafe { chunk.as_ref() }.get((index % CHUNK) as usize)
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut((index / CHUNK) as usize)?;
        // SAFETY: By the invariants it is the table's, which is borrowed for as long.
        unsafe { chunk.as_mut() }.get_mut((index % CHUNK) as usize)
    }

    fn len(&self) -> u32 {
        // A port's ids end long before this overflows.
        u32::try_from(self.chunks.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(CHUNK)
    }
}
