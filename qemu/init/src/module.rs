// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading and unloading of `alpc.ko`.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

const FILE: &str = "/alpc.ko";
const SYSFS: &str = "/sys/module/alpc";

pub fn is_loaded() -> bool {
    std::path::Path::new(SYSFS).exists()
}

/// The parameters on the kernel's command line: alpc.NAME=VALUE.
fn parameters() -> CString {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let ours: Vec<&str> = line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("alpc."))
        .collect();
    CString::new(ours.join(" ")).unwrap_or_default()
}

/// Loads the module, unless it is loaded.
pub fn load() -> Result<(), String> {
    if is_loaded() {
        return Ok(());
    }
    insert(Path::new(FILE), &parameters())
}

/// Loads one file, whatever module it is.
pub fn insert(path: &Path, parameters: &CStr) -> Result<(), String> {
    let name = path.display();
    let file = File::open(path).map_err(|e| format!("{name}: {e}"))?;
    // SAFETY: An open descriptor and a NUL-terminated string.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(format!(
            "cannot load {name}: {}",
            io::Error::last_os_error()
        )),
    }
}

/// Checks that nothing holds the module any more, and unloads it. A holder is
/// given a moment: the last release of a file may still be on its way.
pub fn unload() -> Result<(), String> {
    if !is_loaded() {
        return Err("the module was gone after the run".into());
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let users = std::fs::read_to_string(format!("{SYSFS}/refcnt"))
            .map_err(|e| format!("{SYSFS}/refcnt: {e}"))?;
        if users.trim() == "0" {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!(
                "the module is still in use: refcnt {}",
                users.trim()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // SAFETY: A NUL-terminated name.
    let rc = unsafe { libc::syscall(libc::SYS_delete_module, c"alpc".as_ptr(), libc::O_NONBLOCK) };
    match rc {
        0 => Ok(()),
        _ => Err(format!(
            "cannot unload the module: {}",
            io::Error::last_os_error()
        )),
    }
}
