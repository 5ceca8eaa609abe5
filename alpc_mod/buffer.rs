// SPDX-License-Identifier: GPL-2.0

//! Memory that crosses the border: payload buffers, and the argument structures of the ioctls.
//!
//! Every byte of the user's is read once. What is read is private to the kernel from then on, and
//! nothing that the kernel has not written is ever copied out.

use crate::{
    ffi,
    shared::vec_of,
    uapi, //
};
use core::{
    mem::{
        offset_of,
        size_of,
        MaybeUninit, //
    },
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    alloc::Flags,
    bindings,
    ffi::c_void,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// The smallest allocation, so that small messages of any length share one buffer.
const MIN_CAPACITY: u32 = 256;

/// The most memory that a buffer keeps for messages that don't need half of it: what the default
/// maximum takes. Above that, lengths that vary a little don't cost an allocation each.
const KEEP_CAPACITY: u32 = 4096;

/// The payload of a message, in kernel memory charged to the task that fills it.
///
/// # Invariants
///
/// - `capacity` is 0, or `memory` is an allocation of that many bytes which this object owns.
/// - The first `len` bytes are initialised, and `len` is at most `capacity`.
pub(crate) struct Buffer {
    memory: NonNull<u8>,
    capacity: u32,
    len: u32,
}

// SAFETY: The buffer owns its memory, and any task may free it.
unsafe impl Send for Buffer {}
// SAFETY: Through a shared buffer its memory is only read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// An empty buffer without memory.
    pub(crate) const fn new() -> Self {
        // INVARIANT: No capacity, no length.
        Self {
            memory: NonNull::dangling(),
            capacity: 0,
            len: 0,
        }
    }

    /// The bytes of payload.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The payload.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the invariants, the first `len` bytes at `memory` are initialised. They don't
        // change while this is borrowed.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.len as usize) }
    }

    /// Bytes that the allocator gives for so many of payload, or a little more.
    pub(crate) fn footprint_of(len: u32) -> u32 {
        match len {
            0 => 0,
            1..=MIN_CAPACITY => MIN_CAPACITY,
            len => len.checked_next_power_of_two().unwrap_or(u32::MAX),
        }
    }

    /// The same for the memory that it has, payload or not.
    pub(crate) fn footprint(&self) -> u32 {
        Self::footprint_of(self.capacity)
    }

    /// Whether it takes no more than a buffer takes at least.
    pub(crate) fn is_small(&self) -> bool {
        self.capacity <= MIN_CAPACITY
    }

    /// Whether it is little enough to be kept for what may need less.
    pub(crate) fn is_kept(&self) -> bool {
        self.capacity <= KEEP_CAPACITY
    }

    /// Makes room for `len` bytes, and for no more than about twice as many if they are many.
    pub(crate) fn provide(&mut self, len: u32) -> Result {
        self.clear();
        match self.capacity < len || self.capacity > KEEP_CAPACITY {
            true => self.fit(len),
            false => Ok(()),
        }
    }

    /// Moves the payload into less memory, if it has twice as much as that needs and there is some.
    pub(crate) fn shrink(&mut self) {
        if self.is_small() || Self::footprint_of(self.len) > self.footprint() / 2 {
            return;
        }
        let mut small = Self::new();
        if self.len == 0 || small.copy_from(self).is_ok() {
            *self = small;
        }
    }

    /// Replaces the payload by that of another one.
    pub(crate) fn copy_from(&mut self, from: &Self) -> Result {
        self.clear();
        let len = from.len;
        if len == 0 {
            return Ok(());
        }
        if self.capacity < len {
            self.allocate(len)?;
        }
        let (to, from) = (self.memory.as_ptr(), from.memory.as_ptr());
        // SAFETY: By the invariants, the first `len` bytes at `from` are initialised, and by the
        // check above there are as many at `to`. One of the two is borrowed for writing, so they
        // are not the same memory.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len as usize) };
        // INVARIANT: All `len` bytes were written.
        self.len = len;
        Ok(())
    }

    /// Forgets the payload and keeps the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Replaces the payload by `len` bytes read from user space.
    ///
    /// `EFAULT` if they can't be read and `ENOMEM` if there is no memory for them, at the memory
    /// cgroup's limit too. The buffer is empty then.
    #[inline(always)]
    pub(crate) fn read_user(&mut self, addr: u64, len: u32) -> Result {
        self.clear();
        if len == 0 {
            return Ok(());
        }
        let from = user_ptr(addr)?;
        if self.capacity < len || self.capacity > KEEP_CAPACITY {
            self.fit(len)?;
        }
        // SAFETY: By the invariants and the check above, `len` bytes at `memory` are ours.
        let left =
            unsafe { bindings::_copy_from_user(self.memory.as_ptr().cast(), from, len as usize) };
        if left != 0 {
            return Err(EFAULT);
        }
        // INVARIANT: All `len` bytes were written.
        self.len = len;
        Ok(())
    }

    /// Copies the whole payload to user space.
    #[inline]
    pub(crate) fn write_user(&self, addr: u64) -> Result {
        if self.len == 0 {
            return Ok(());
        }
        let to = user_ptr(addr)?;
        // SAFETY: By the invariants, the first `len` bytes at `memory` are initialised.
        let left =
            unsafe { bindings::_copy_to_user(to, self.memory.as_ptr().cast(), self.len as usize) };
        if left != 0 {
            return Err(EFAULT);
        }
        Ok(())
    }

    /// Makes room for `len` bytes, or gives back what is far more than that.
    #[cold]
    fn fit(&mut self, len: u32) -> Result {
        match self.capacity < len || len < self.capacity / 2 {
            true => self.allocate(len),
            false => Ok(()),
        }
    }

    /// Replaces the memory by at least `len` bytes. The old content is not needed any more.
    #[cold]
    fn allocate(&mut self, len: u32) -> Result {
        self.free();
        let capacity = len.max(MIN_CAPACITY);
        // SAFETY: There are no requirements on the size.
        let memory = unsafe { ffi::alpc_shim_kvmalloc(capacity as usize) };
        // INVARIANT: The allocation is new, has this size, and is ours; `free` made `len` 0.
        self.memory = NonNull::new(memory.cast()).ok_or(ENOMEM)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Gives the memory back.
    fn free(&mut self) {
        if self.capacity != 0 {
            // INVARIANT: Without capacity nothing is owned.
            self.len = 0;
            self.capacity = 0;
            // SAFETY: By the invariants this is our allocation, and it is not used from here on.
            unsafe { bindings::kvfree(self.memory.as_ptr().cast()) };
        }
    }
}

/// Makes something of `size` bytes, charged to the current task, of which a user may ask for many.
///
/// `ENOMEM` at the limit of its memory cgroup, where `GFP_KERNEL_ACCOUNT` alone would kill somebody:
/// `make` is given flags that never wait. What they don't find is made room for in between.
#[inline]
pub(crate) fn charged<T, E>(size: usize, mut make: impl FnMut(Flags) -> Result<T, E>) -> Result<T>
where
    Error: From<E>,
{
    let flags = GFP_NOWAIT | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL);
    if let Ok(made) = make(flags) {
        return Ok(made);
    }
    Buffer::new().allocate(u32::try_from(size).map_err(|_| ENOMEM)?)?;
    Ok(make(flags)?)
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.free();
    }
}

/// A user address as a pointer, which is never dereferenced here.
#[inline]
fn user_ptr(addr: u64) -> Result<*mut c_void> {
    usize::try_from(addr)
        .map(|addr| addr as *mut c_void)
        .map_err(|_| EFAULT)
}

/// Structures that are nothing but their bytes.
///
/// # Safety
///
/// The type has C's layout and no padding, and every pattern of bits is a value of it.
pub(crate) unsafe trait Plain: Copy + 'static {}

// SAFETY: It is nothing but four bytes.
unsafe impl Plain for u32 {}

/// Declares structures of the ABI as [`Plain`], each with the sum of its fields' sizes.
macro_rules! plain {
    ($($name:ident = $size:literal;)*) => {$(
        const _: () = assert!(size_of::<uapi::$name>() == $size);
        // SAFETY: bindgen gives the structure C's layout. Its fields are integers that take up
        // all of its size, as the assertion shows.
        unsafe impl Plain for uapi::$name {}
    )*};
}

// SAFETY: An array has no padding between its elements, and these have none.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

plain! {
    alpc_acl_entry = 16;
    alpc_acl = 24;
    alpc_attributes = 8;
    alpc_attr_security = 16;
    alpc_attr_context = 40;
    alpc_attr_view = 32;
    alpc_attr_handle = 24;
    alpc_attr_memory = 16;
    alpc_attr_token = 24;
    alpc_attr_receiver = 16;
    alpc_handle = 8;
    alpc_memory_range = 24;
    alpc_query = 64;
    alpc_create_port = 72;
    alpc_connect = 128;
    alpc_accept = 56;
    alpc_transfer = 128;
    alpc_cancel = 16;
    alpc_disconnect = 8;
    alpc_query_port = 88;
    alpc_gauge = 16;
    alpc_query_user = 136;
    alpc_query_connection = 64;
    alpc_create_section = 16;
    alpc_create_view = 32;
    alpc_delete_view = 16;
    alpc_query_identity = 144;
    alpc_query_view = 24;
    alpc_open = 24;
    alpc_verify = 24;
    alpc_security = 24;
    alpc_impersonate = 24;
    alpc_claim = 40;
    alpc_memory = 72;
}

/// Reads an argument structure of which the caller knows `size` bytes.
///
/// A shorter one is extended by zeroes. A longer one comes from a newer caller, and is accepted
/// (else `E2BIG`) if it asks for nothing that is unknown here, that is if its tail is zero.
/// `EINVAL` below `min_size`, the size of the structure's first version.
pub(crate) fn copy_struct_in<T: Plain>(size: usize, addr: u64, min_size: usize) -> Result<T> {
    if size < min_size {
        return Err(EINVAL);
    }
    let from = user_ptr(addr)?;
    if let Some(tail) = size.checked_sub(size_of::<T>()).filter(|tail| *tail != 0) {
        let start = from.wrapping_byte_add(size_of::<T>());
        // SAFETY: A user address may be anything.
        match unsafe { bindings::check_zeroed_user(start, tail) } {
            1 => (),
            0 => return Err(E2BIG),
            _ => return Err(EFAULT),
        }
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `value` has room for `known` bytes.
    if unsafe { bindings::_copy_from_user(value.as_mut_ptr().cast(), from, known) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: Every byte is initialised, and `T` is `Plain`.
    Ok(unsafe { value.assume_init() })
}

/// Reads bytes of the user's, of which the caller has seen that they are not too many.
pub(crate) fn read_bytes(addr: u64, length: u32) -> Result<KVec<u8>> {
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    let length = usize::try_from(length)?;
    let mut bytes = vec_of(length)?;
    // It has the room, so it asks for none.
    UserSlice::new(UserPtr::from_addr(addr), length).read_all(&mut bytes, GFP_NOWAIT)?;
    Ok(bytes)
}

/// Room for structures that are read together, `N` words of it.
///
/// # Invariants
///
/// The first `len` bytes are initialised, and `len` is at most the size of the words.
pub(crate) struct Words<const N: usize> {
    len: usize,
    words: MaybeUninit<[u64; N]>,
}

impl<const N: usize> Words<N> {
    /// Nothing read.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        // INVARIANT: Of nothing, all is initialised.
        Self {
            len: 0,
            words: MaybeUninit::uninit(),
        }
    }

    /// Reads `len` bytes from user space.
    #[inline]
    pub(crate) fn read(&mut self, addr: u64, len: usize) -> Result {
        self.len = 0;
        if len > size_of_val(&self.words) {
            return Err(EINVAL);
        }
        let (to, from) = (self.words.as_mut_ptr(), user_ptr(addr)?);
        // SAFETY: By the check there is room for `len` bytes.
        if unsafe { bindings::_copy_from_user(to.cast(), from, len) } != 0 {
            return Err(EFAULT);
        }
        // INVARIANT: All of them were written.
        self.len = len;
        Ok(())
    }

    /// The structure that begins at word `at`, if all of it was read.
    #[inline]
    pub(crate) fn get<T: Plain>(&self, at: usize) -> Option<T> {
        let start = at.checked_mul(size_of::<u64>())?;
        let end = start.checked_add(size_of::<T>())?;
        if end > self.len || align_of::<T>() > align_of::<u64>() {
            return None;
        }
        // SAFETY: By the check and the invariants its bytes are initialised, and aligned for it. All
        // patterns of bits are values of a `Plain` type.
        Some(unsafe { self.words.as_ptr().cast::<u64>().add(at).cast::<T>().read() })
    }
}

/// Writes the bytes of `range` of an argument structure back, as far as the caller knows them.
///
/// `size` is the size that the caller gave: nothing is written behind it.
pub(crate) fn copy_range_out<T: Plain>(
    size: usize,
    addr: u64,
    value: &T,
    range: Range<usize>,
) -> Result {
    let end = range.end.min(size).min(size_of::<T>());
    let Some(len) = end.checked_sub(range.start).filter(|len| *len != 0) else {
        return Ok(());
    };
    let to = user_ptr(addr)?.wrapping_byte_add(range.start);
    let from = core::ptr::from_ref(value)
        .cast::<c_void>()
        .wrapping_byte_add(range.start);
    // SAFETY: The range lies within `value`, and all bytes of a `Plain` type are initialised.
    if unsafe { bindings::_copy_to_user(to, from, len) } != 0 {
        return Err(EFAULT);
    }
    Ok(())
}

/// Writes an argument structure back, as far as the caller knows it.
pub(crate) fn copy_struct_out<T: Plain>(size: usize, addr: u64, value: &T) -> Result {
    copy_range_out(size, addr, value, 0..size_of::<T>())
}

/// Where the part of `struct alpc_transfer` ends that the caller fills in.
const TRANSFER_IN_END: usize = offset_of!(uapi::alpc_transfer, id);

/// Where the part of `struct alpc_transfer` begins that the kernel fills in.
const TRANSFER_OUT_START: usize = offset_of!(uapi::alpc_transfer, timeout);

// The copies of constant size below say these numbers in their names.
const _: () = assert!(TRANSFER_IN_END == 72);
const _: () = assert!(size_of::<uapi::alpc_transfer>() - TRANSFER_OUT_START == 80);

/// Reads what the caller filled in of a `struct alpc_transfer`, and zeroes the rest of it.
///
/// This is [`copy_struct_in`] for the one structure that is on the path of every call, into a slot
/// of the caller's so that it is not moved about. Only its first version is short-cut.
#[inline]
pub(crate) fn transfer_in(
    size: usize,
    addr: u64,
    slot: &mut MaybeUninit<uapi::alpc_transfer>,
) -> Result<&mut uapi::alpc_transfer> {
    if size != size_of::<uapi::alpc_transfer>() {
        return Ok(slot.write(copy_struct_in(size, addr, TRANSFER_IN_END)?));
    }
    let from = user_ptr(addr)?;
    let to = slot.as_mut_ptr();
    // SAFETY: The structure is aligned to 8, and the 72 bytes are in it by the assertions above.
    if unsafe { ffi::alpc_shim_copy_from_user_72(to.cast(), from.cast()) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: The bytes behind the first part are in the structure too.
    unsafe {
        to.cast::<u8>()
            .add(TRANSFER_IN_END)
            .write_bytes(0, size_of::<uapi::alpc_transfer>() - TRANSFER_IN_END);
    }
    // SAFETY: Every byte is initialised, and the structure is `Plain`.
    Ok(unsafe { slot.assume_init_mut() })
}

/// Writes back what the kernel fills in of a `struct alpc_transfer`, from its timeout to its end.
#[inline]
pub(crate) fn transfer_out(size: usize, addr: u64, value: &uapi::alpc_transfer) -> Result {
    if size != size_of::<uapi::alpc_transfer>() {
        let all = size_of::<uapi::alpc_transfer>();
        return copy_range_out(size, addr, value, TRANSFER_OUT_START..all);
    }
    let to = user_ptr(addr)?.wrapping_byte_add(TRANSFER_OUT_START);
    let from = core::ptr::from_ref(value).wrapping_byte_add(TRANSFER_OUT_START);
    // SAFETY: By the assertions above, 80 bytes from there on are the rest of the structure, which
    // is aligned to 8, and all bytes of a `Plain` type are initialised.
    if unsafe { ffi::alpc_shim_copy_to_user_80(to.cast(), from.cast()) } != 0 {
        return Err(EFAULT);
    }
    Ok(())
}
