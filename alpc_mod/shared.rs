// SPDX-License-Identifier: GPL-2.0

//! Objects of which a user may ask for many: each is memory of who asks for it, and fails at the
//! limit of that.
#![deny(unsafe_code)]

use crate::buffer::charged;
use core::mem::size_of;
use kernel::{
    prelude::*,
    sync::{
        Arc,
        UniqueArc, //
    }, //
};

/// An empty vector with room for so many, charged to the current task. `ENOMEM` at its limit, too.
pub(crate) fn vec_of<T>(count: usize) -> Result<KVec<T>> {
    let size = count.saturating_mul(size_of::<T>());
    charged(size, |flags| KVec::with_capacity(count, flags))
}

/// A value that many can refer to, charged to the current task. `ENOMEM` at its limit, too.
pub(crate) fn shared<T>(value: T) -> Result<Arc<T>> {
    let room = charged(size_of::<T>(), UniqueArc::<T>::new_uninit)?;
    Ok(room.write(value).into())
}

/// The same for a value that is made in its place.
pub(crate) fn shared_pinned<T>(init: impl PinInit<T>) -> Result<Arc<T>> {
    let room = charged(size_of::<T>(), UniqueArc::<T>::new_uninit)?;
    let Ok(made) = room.pin_init_with(init);
    Ok(made.into())
}
