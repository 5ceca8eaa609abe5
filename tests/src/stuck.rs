// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files whose last reference nobody can give up before somebody lets it.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::JoinHandle;

use crate::files::pipe;
use crate::hang::Hang;

/// Ends of one pipe, each an open file of its own. Their release waits for the pipe's lock, which
/// is held by a thread that reads into a page that doesn't come.
pub struct Stuck {
    files: Vec<OwnedFd>,
    /// Closed last, as this process would wait.
    writer: OwnedFd,
    page: Hang,
    reader: JoinHandle<()>,
}

impl Stuck {
    pub fn new(count: usize) -> Self {
        let (reader, writer) = pipe();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let open = |_| {
            let file = File::options().write(true).open(&path);
            file.expect("another open file of the pipe").into()
        };
        let files = (0..count).map(open).collect();
        // SAFETY: One live byte.
        let wrote = unsafe { libc::write(writer.as_raw_fd(), [1_u8].as_ptr().cast(), 1) };
        assert_eq!(wrote, 1);
        let page = Hang::new(1);
        let address = page.address();
        let reader = std::thread::spawn(move || {
            // SAFETY: The page is there until this has ended.
            let read = unsafe { libc::read(reader.as_raw_fd(), address as *mut _, 1) };
            assert_eq!(read, 1);
        });
        page.until_wanted();
        Self {
            files,
            writer,
            page,
            reader,
        }
    }

    /// One that has not been taken yet.
    pub fn take(&mut self) -> OwnedFd {
        self.files.pop().expect("one more file")
    }

    /// They can be closed now.
    pub fn let_go(self) {
        self.page.end();
        self.reader.join().expect("the reader");
        drop(self.writer);
    }
}

/// How many workers of the kernel close files for the module now.
pub fn closing_workers() -> usize {
    let tasks = std::fs::read_dir("/proc").expect("/proc");
    let is_closing = |task: &std::io::Result<std::fs::DirEntry>| {
        let path = task.as_ref().expect("/proc").path().join("comm");
        // It may have gone, or be no task.
        std::fs::read_to_string(path).is_ok_and(|name| name.contains("+alpc_close"))
    };
    tasks.filter(is_closing).count()
}
