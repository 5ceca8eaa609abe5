// SPDX-License-Identifier: GPL-2.0

//! The device node `/dev/alpc`.

use crate::file::{
    compat_ptr,
    nonblock,
    to_c,
    FileOperations, //
};
use core::mem::offset_of;
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    module::this_module,
    prelude::*,
    types::Opaque, //
};

/// What a node does.
pub(crate) trait NodeState: Send + Sync + 'static {
    /// A request. `arg` is a user address, whatever the word size of the caller.
    fn ioctl(&self, nonblock: bool, cmd: u32, arg: usize) -> Result<isize>;
}

/// The node, which exists as long as this does.
///
/// Everybody may open it: what a request may do is decided per request.
///
/// # Invariants
///
/// `misc` is registered, and `state` is initialised before it is.
#[pin_data(PinnedDrop)]
pub(crate) struct Node<T: NodeState> {
    state: T,
    #[pin]
    misc: Opaque<bindings::miscdevice>,
}

// SAFETY: `state` is `Send`, and a node may be deregistered by any task.
unsafe impl<T: NodeState> Send for Node<T> {}
// SAFETY: `state` is `Sync`, and `misc` is used by C only while it is shared.
unsafe impl<T: NodeState> Sync for Node<T> {}

impl<T: NodeState> Node<T> {
    const OPERATIONS: &'static FileOperations = &FileOperations(bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        llseek: Some(bindings::noop_llseek),
        unlocked_ioctl: Some(node_ioctl::<T>),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(node_compat_ioctl::<T>),
        ..pin_init::zeroed()
    });

    /// Registers it. Requests may arrive before this returns.
    pub(crate) fn register(state: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            state: state,
            misc <- Opaque::try_ffi_init(|misc: *mut bindings::miscdevice| {
                // SAFETY: The slot is valid for writing.
                unsafe {
                    misc.write(bindings::miscdevice {
                        // CAST: The number means "any that is free".
                        minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                        name: c"alpc".as_char_ptr(),
                        fops: &Self::OPERATIONS.0,
                        mode: 0o666,
                        ..pin_init::zeroed()
                    });
                }
                // SAFETY: The slot is initialised and pinned, and is deregistered when dropped.
                // The operations pin the module, and with it this, while a file is open.
                to_result(unsafe { bindings::misc_register(misc) })
            }),
        })
    }
}

#[pinned_drop]
impl<T: NodeState> PinnedDrop for Node<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants it is registered.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

/// # Safety
///
/// For the file operations of `Node<T>` only, and `file` is held.
unsafe extern "C" fn node_ioctl<T: NodeState>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: `misc_open` has set the private data to the `misc` field of a registered node,
    // which the open file keeps alive.
    let state = unsafe {
        let misc = (*file).private_data.cast_const();
        let node = misc.byte_sub(offset_of!(Node<T>, misc)).cast::<Node<T>>();
        &(*node).state
    };
    // SAFETY: By this function's contract.
    let nonblock = unsafe { nonblock(file) };
    to_c(state.ioctl(nonblock, cmd, arg))
}

/// # Safety
///
/// As for [`node_ioctl`].
#[cfg(CONFIG_COMPAT)]
unsafe extern "C" fn node_compat_ioctl<T: NodeState>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: By this function's contract.
    unsafe { node_ioctl::<T>(file, cmd, compat_ptr(arg)) }
}
