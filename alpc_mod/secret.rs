// SPDX-License-Identifier: GPL-2.0

//! What only this module can compute: from a key that is drawn when it is loaded, and never told.

use crate::logic::disguise;
use core::ptr;
use kernel::{
    bindings,
    sync::SetOnce, //
};

/// The key, from the module's load on.
static KEY: SetOnce<bindings::siphash_key_t> = SetOnce::new();

/// Draws the key. To be called before anybody can call anything else here.
pub(crate) fn draw() {
    // SAFETY: There are no requirements.
    let key = [(); 2].map(|()| unsafe { bindings::get_random_u64() });
    KEY.populate(bindings::siphash_key_t { key });
}

fn key() -> *const bindings::siphash_key_t {
    static NONE: bindings::siphash_key_t = bindings::siphash_key_t { key: [0; 2] };
    // It has been drawn.
    KEY.as_ref().map_or(&raw const NONE, ptr::from_ref)
}

/// A number of some bytes. Nobody can choose bytes that have the same number as others.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    // SAFETY: The bytes are valid for reading, and the key lives as long as the module.
    unsafe { bindings::__siphash_unaligned(bytes.as_ptr().cast(), bytes.len(), key()) }
}

/// Another number in the place of this one: always the same, and no other's. It says nothing of
/// the one that it stands for.
pub(crate) fn disguise(number: u64) -> u64 {
    disguise::permute(number, |round, half| {
        // SAFETY: As in `hash`.
        let mixed = unsafe { bindings::siphash_3u32(round, half, 0, key()) };
        // CAST: Any part of it will do.
        mixed as u32
    })
}
