// SPDX-License-Identifier: MIT OR Apache-2.0

//! What `O_PATH` opens: places in file systems, and what else has an inode.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::files::adopt;
use crate::raw::*;

/// What a path leads to, by `O_PATH` and these flags.
pub fn place(path: &str, flags: i32) -> OwnedFd {
    let path = CString::new(path).expect("a path");
    // SAFETY: A live name.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC | flags) };
    adopt(fd.into())
}

/// Where an open file is, by `O_PATH`.
pub fn place_of(fd: &impl AsFd) -> OwnedFd {
    place(&format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()), 0)
}

/// Where the file is that a view is mapped of.
pub fn place_of_mapping(view: View) -> Option<OwnedFd> {
    let (start, len, _) = view.mapping();
    let link = format!("/proc/self/map_files/{start:x}-{:x}", start + len);
    std::fs::symlink_metadata(&link)
        .ok()
        .map(|_| place(&link, 0))
}

/// Device and inode of what a descriptor stands for, and its type.
pub fn identity(fd: &impl AsFd) -> (u64, u64, u32) {
    // SAFETY: Live memory for the answer.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        assert_eq!(libc::fstat(fd.as_fd().as_raw_fd(), &mut stat), 0);
        (stat.st_dev, stat.st_ino, stat.st_mode & libc::S_IFMT)
    }
}

/// Places of every type, in a directory that is made for them.
pub fn places() -> Vec<(&'static str, u32, OwnedFd)> {
    let directory = format!("/tmp/places.{}", std::process::id());
    std::fs::create_dir(&directory).expect("directory");
    let within = |name: &str| format!("{directory}/{name}");
    File::create(within("file")).expect("file");
    std::os::unix::fs::symlink("nowhere", within("link")).expect("link");
    let _listener = std::os::unix::net::UnixListener::bind(within("socket")).expect("socket");
    let node = |name: &str, mode: u32, device: u64| {
        let path = CString::new(within(name)).expect("a path");
        // SAFETY: A live name.
        assert_eq!(
            unsafe { libc::mknod(path.as_ptr(), mode | 0o600, device) },
            0
        );
    };
    node("FIFO", libc::S_IFIFO, 0);
    // Of drivers whose open files can be sent, and of one whose can't.
    node("null", libc::S_IFCHR, libc::makedev(1, 3));
    node("FUSE", libc::S_IFCHR, libc::makedev(10, 229));
    node("loop", libc::S_IFBLK, libc::makedev(7, 0));
    let mut all = vec![("directory", libc::S_IFDIR, place(&directory, 0))];
    for (name, mode) in [
        ("file", libc::S_IFREG),
        ("link", libc::S_IFLNK),
        ("socket", libc::S_IFSOCK),
        ("FIFO", libc::S_IFIFO),
        ("null", libc::S_IFCHR),
        ("FUSE", libc::S_IFCHR),
        ("loop", libc::S_IFBLK),
    ] {
        all.push((name, mode, place(&within(name), libc::O_NOFOLLOW)));
    }
    std::fs::remove_dir_all(&directory).expect("remove");
    all.push(("of procfs", libc::S_IFREG, place("/proc/self/mountinfo", 0)));
    all.push(("/dev/alpc", libc::S_IFCHR, place("/dev/alpc", 0)));
    all
}
