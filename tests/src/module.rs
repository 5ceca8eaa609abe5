// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading and unloading the module.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsRawFd;

const NAME: &CStr = c"alpc";

/// Unloads it, or says with which errno that failed.
pub fn unload() -> Result<(), i32> {
    // SAFETY: A name and flags; the kernel checks whether it may.
    let result = unsafe { libc::syscall(libc::SYS_delete_module, NAME.as_ptr(), libc::O_NONBLOCK) };
    outcome(result)
}

pub fn load() -> Result<(), i32> {
    let file = File::open("/alpc.ko").expect("/alpc.ko");
    // SAFETY: An open file and an empty parameter string.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    outcome(result)
}

fn outcome(result: i64) -> Result<(), i32> {
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// Unloads it. The last reference may be on its way out: that is all that may be waited for.
pub fn unload_soon() {
    crate::eventually(|| match unload() {
        Ok(()) => true,
        Err(errno) => {
            assert_eq!(errno, libc::EWOULDBLOCK);
            false
        }
    });
}
