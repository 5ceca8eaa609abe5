// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that messages are received into.

use crate::sys::{Transfer, ALPC_MESSAGE_DEFAULT};

mod sealed {
    use crate::sys::Transfer;

    /// What the crate does with a buffer.
    pub trait Sealed {
        /// Has the payload received into the whole room.
        fn lend<'a>(&'a mut self, transfer: &mut Transfer<'a>);

        /// Makes room for so many bytes. `false` if this buffer can't.
        fn grow(&mut self, needed: usize) -> bool;

        /// The first `length` bytes, which have been received.
        fn filled(&mut self, length: usize) -> &[u8];
    }
}

pub(crate) use sealed::Sealed;

/// Memory that messages are received into: `[u8]`, `[u8; N]` or `Vec<u8>`.
///
/// Slices and arrays never allocate; a message that doesn't fit is kept, and
/// the error says how much it needs. A vector grows and the receive is
/// repeated, at the cost of a second ioctl; afterwards it holds the payload and
/// nothing else, and after an error nothing. Its capacity is used as it is and
/// never zeroed, and is at least 4,096 bytes from then on.
pub trait Buffer: Sealed {}

impl Buffer for [u8] {}
impl<const N: usize> Buffer for [u8; N] {}
impl Buffer for Vec<u8> {}

impl Sealed for [u8] {
    fn lend<'a>(&'a mut self, transfer: &mut Transfer<'a>) {
        transfer.receive(self);
    }

    fn grow(&mut self, _needed: usize) -> bool {
        false
    }

    fn filled(&mut self, length: usize) -> &[u8] {
        &self[..length]
    }
}

impl<const N: usize> Sealed for [u8; N] {
    fn lend<'a>(&'a mut self, transfer: &mut Transfer<'a>) {
        transfer.receive(self);
    }

    fn grow(&mut self, _needed: usize) -> bool {
        false
    }

    fn filled(&mut self, length: usize) -> &[u8] {
        &self[..length]
    }
}

impl Sealed for Vec<u8> {
    fn lend<'a>(&'a mut self, transfer: &mut Transfer<'a>) {
        self.clear();
        self.reserve(ALPC_MESSAGE_DEFAULT as usize);
        transfer.receive_into_capacity(self);
    }

    fn grow(&mut self, needed: usize) -> bool {
        needed > self.capacity() && self.try_reserve(needed - self.len()).is_ok()
    }

    fn filled(&mut self, length: usize) -> &[u8] {
        self.truncate(length);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_grows_and_ends_at_the_payload() {
        let mut buffer = vec![1; 9];
        buffer.lend(&mut Transfer::new(0));
        assert!(buffer.is_empty() && buffer.capacity() >= 4096);
        assert!(buffer.grow(50_000));
        assert!(!buffer.grow(50_000));
        assert!(buffer.capacity() >= 50_000);
        buffer.resize(9, 0);
        assert_eq!(buffer.filled(7).len(), 7);
        assert_eq!(buffer.len(), 7);
    }

    #[test]
    fn a_slice_never_grows_nor_a_vector_beyond_memory() {
        assert!(![0; 4].grow(5));
        assert!(![0; 4][..].grow(5));
        assert!(!Vec::<u8>::new().grow(usize::MAX));
        assert_eq!([1, 2, 3].filled(2), [1, 2]);
    }
}
