// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that messages are received into.

use crate::sys::ALPC_MESSAGE_DEFAULT;

mod sealed {
    /// What the crate does with a buffer.
    pub trait Sealed {
        /// The whole room.
        fn room(&mut self) -> &mut [u8];

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
/// nothing else. Its spare capacity is zeroed before each call, so a slice is
/// what the hot path wants.
pub trait Buffer: Sealed {}

impl Buffer for [u8] {}
impl<const N: usize> Buffer for [u8; N] {}
impl Buffer for Vec<u8> {}

impl Sealed for [u8] {
    fn room(&mut self) -> &mut [u8] {
        self
    }

    fn grow(&mut self, _needed: usize) -> bool {
        false
    }

    fn filled(&mut self, length: usize) -> &[u8] {
        &self[..length]
    }
}

impl<const N: usize> Sealed for [u8; N] {
    fn room(&mut self) -> &mut [u8] {
        self
    }

    fn grow(&mut self, _needed: usize) -> bool {
        false
    }

    fn filled(&mut self, length: usize) -> &[u8] {
        &self[..length]
    }
}

impl Sealed for Vec<u8> {
    fn room(&mut self) -> &mut [u8] {
        let room = self.capacity().max(ALPC_MESSAGE_DEFAULT as usize);
        self.resize(room, 0);
        self
    }

    fn grow(&mut self, needed: usize) -> bool {
        if needed <= self.len() {
            return false;
        }
        self.resize(needed, 0);
        true
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
        let mut buffer = Vec::new();
        assert_eq!(buffer.room().len(), 4096);
        assert!(buffer.grow(5000));
        assert!(!buffer.grow(5000));
        assert!(buffer.room().len() >= 5000);
        assert_eq!(buffer.filled(7).len(), 7);
        assert_eq!(buffer.len(), 7);
    }

    #[test]
    fn a_slice_never_grows() {
        assert!(![0; 4].grow(5));
        assert!(![0; 4][..].grow(5));
        assert_eq!([1, 2, 3].filled(2), [1, 2]);
    }
}
