// SPDX-License-Identifier: MIT OR Apache-2.0

//! A file system of a user's own, which answers when its maker likes, or never.
//!
//! It has one directory with a few files of [`SIZE`] bytes, whose names are digits. They hold zeroes:
//! what is written to them is gone, but for the first one, where it can be [seen](Control::kept). The kernel is
//! spoken with by hand: a test must be able to leave any single request unanswered, which a library
//! for file systems takes care not to do.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::isolate::prctl;
use crate::privilege::unshare;
use crate::{Link, Peer, Shared, User, ROOT};

/// Bytes of each file.
pub const SIZE: u64 = 1 << 20;

/// Where it is mounted: over a directory that is there, in a mount namespace of its own, so that
/// nothing is left of it.
pub const MOUNTED: &str = "/tmp";

// Requests, by their numbers in linux/fuse.h.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
/// The kernel wants bytes of a file.
pub const READ: u32 = 15;
/// The kernel has bytes that were changed.
pub const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

const ROOT_NODE: u64 = 1;
/// That of the first file.
const FIRST_NODE: u64 = 2;

// What the kernel may do, of FUSE_INIT.
const ASYNC_READ: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
const ASYNC_DIO: u32 = 1 << 15;
const WRITEBACK_CACHE: u32 = 1 << 16;

/// Bytes of a request's head.
const HEAD: usize = 40;
/// Most bytes of a request.
const LONGEST: usize = (1 << 17) + 4096;

// What the processes of a test share about a file system: how many requests wait, and what is held
// back of the first file, and so on.
const WAITING: usize = 0;
const HELD_BACK: usize = 1;

/// How many files there are.
const FILES: usize = 8;

/// What somebody tells a file system's process, and what that keeps.
#[derive(Clone, Copy)]
pub struct Control(Shared, usize);

impl Control {
    pub fn new() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: A new mapping, where the kernel likes.
        let kept = unsafe { libc::mmap(ptr::null_mut(), SIZE as usize, protection, flags, -1, 0) };
        assert_ne!(kept, libc::MAP_FAILED);
        Self(Shared::new(), kept as usize)
    }

    /// What has been written to the first file, from `offset` on.
    pub fn kept(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= SIZE as usize);
        // SAFETY: It is within what was mapped, which is never unmapped. Nobody writes to it while
        // nothing is written to the file.
        unsafe { std::slice::from_raw_parts((self.1 + offset) as *const u8, length) }.to_vec()
    }

    /// Keeps what is written to the first file.
    fn keep(&self, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= SIZE as usize);
        // SAFETY: It is within what was mapped, which is never unmapped.
        unsafe { ptr::copy(data.as_ptr(), (self.1 + offset) as *mut u8, data.len()) };
    }

    /// Requests of these kinds about this file are answered no more.
    pub fn hold(&self, file: usize, kinds: &[u32]) {
        let bits = kinds.iter().map(|kind| 1 << kind).sum();
        self.0[HELD_BACK + file].store(bits, SeqCst);
    }

    /// All requests about this file are answered, those too that have waited.
    pub fn answer(&self, file: usize) {
        self.0[HELD_BACK + file].store(0, SeqCst);
    }

    /// All requests are answered.
    pub fn answer_all(&self) {
        (0..FILES).for_each(|file| self.answer(file));
    }

    /// How many wait for an answer.
    pub fn waiting(&self) -> u64 {
        self.0[WAITING].load(SeqCst)
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// A mounted file system. It ends with the last descriptor of it.
pub struct Fuse {
    device: File,
    control: Control,
    held: Vec<Request>,
}

#[derive(Clone, Copy, Default)]
struct Request {
    kind: u32,
    unique: u64,
    node: u64,
    /// Of a read or write.
    size: u32,
    /// Of a look-up: the file that is looked for.
    file: usize,
}

impl Request {
    /// Whether its answer is held back.
    fn is_held(&self, control: Control) -> bool {
        let held = |file: u64| control.0[HELD_BACK + file as usize].load(SeqCst);
        match self.node.checked_sub(FIRST_NODE) {
            Some(file) => held(file) & (1 << self.kind) != 0,
            None => false,
        }
    }
}

/// Who mounts a file system, for a user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    /// The user itself, which needs namespaces of its own for that. Requests of users that these
    /// don't have fail.
    Alone,
    /// Root, as `fusermount3 -o allow_other` does it for anybody.
    ByRoot,
    /// Root of the namespaces that it is in.
    Here,
}

impl Fuse {
    /// Mounts it, and becomes its user for good.
    pub fn mount(user: User, by: Mounted, control: Control) -> Self {
        let ids = match by {
            Mounted::Alone => {
                alone(user);
                (0, 0)
            }
            Mounted::Here => (0, 0),
            Mounted::ByRoot => {
                unshare(libc::CLONE_NEWNS);
                // What is mounted here is nobody else's.
                mount("none", "/", libc::MS_REC | libc::MS_PRIVATE, "");
                (user.uid, user.gid)
            }
        };
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.expect("/dev/fuse");
        let options = format!(
            "fd={},rootmode=40000,user_id={},group_id={},allow_other",
            device.as_raw_fd(),
            ids.0,
            ids.1
        );
        mount("fuse", MOUNTED, libc::MS_NOSUID | libc::MS_NODEV, &options);
        if by == Mounted::ByRoot {
            user.become_it();
            prctl(libc::PR_SET_DUMPABLE, 1);
        }
        Self {
            device,
            control,
            held: Vec::new(),
        }
    }

    /// Answers what is to be answered, until it is unmounted.
    pub fn serve(mut self) {
        let mut buffer = vec![0; LONGEST];
        loop {
            self.catch_up();
            if crate::wait::poll_within(&self.device, libc::POLLIN, Duration::from_millis(2)) == 0 {
                continue;
            }
            let Ok(length) = self.device.read(&mut buffer) else {
                return;
            };
            self.take(&buffer[..length]);
        }
    }

    /// Answers what has waited, and is to wait no more.
    fn catch_up(&mut self) {
        let control = self.control;
        let (stay, go) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|request: &Request| request.is_held(control));
        self.held = stay;
        for request in go {
            self.reply(request);
        }
        control.0[WAITING].store(self.held.len() as u64, SeqCst);
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut request = Request {
            kind: number(bytes, 4),
            unique: u64::from(number(bytes, 8)) | (u64::from(number(bytes, 12)) << 32),
            node: u64::from(number(bytes, 16)),
            ..Default::default()
        };
        match request.kind {
            // A request that is held is held for good.
            FORGET | BATCH_FORGET | INTERRUPT => return,
            // A handle and an offset stand before it.
            READ => request.size = number(bytes, HEAD + 16),
            WRITE => {
                request.size = number(bytes, HEAD + 16);
                if request.node == FIRST_NODE {
                    let offset = number(bytes, HEAD + 8) as usize;
                    self.control.keep(offset, &bytes[HEAD + 40..]);
                }
            }
            LOOKUP => request.file = usize::from(bytes[HEAD].wrapping_sub(b'0')),
            _ => {}
        }
        match request.is_held(self.control) {
            true => self.held.push(request),
            false => self.reply(request),
        }
    }

    fn reply(&self, request: Request) {
        let node = request.node;
        match request.kind {
            INIT => self.answer(request, &init()),
            LOOKUP if request.file < FILES => {
                let node = FIRST_NODE + request.file as u64;
                let mut entry = numbers64(&[node, 0, 60, 60]);
                entry.extend(numbers(&[0, 0]));
                entry.extend(attributes(node));
                self.answer(request, &entry);
            }
            LOOKUP => self.put(request, -libc::ENOENT, &[]),
            GETATTR | SETATTR => {
                let mut out = numbers64(&[60]);
                out.extend(numbers(&[0, 0]));
                out.extend(attributes(node));
                self.answer(request, &out);
            }
            OPEN | OPENDIR => self.answer(request, &numbers(&[0; 4])),
            READ => self.answer(request, &vec![0; request.size as usize]),
            WRITE => self.answer(request, &numbers(&[request.size, 0])),
            RELEASE | RELEASEDIR | FSYNC | DESTROY => self.answer(request, &[]),
            _ => self.put(request, -libc::ENOSYS, &[]),
        }
    }

    fn answer(&self, request: Request, data: &[u8]) {
        self.put(request, 0, data);
    }

    fn put(&self, request: Request, error: i32, data: &[u8]) {
        let length = 16 + data.len() as u32;
        let mut out = numbers(&[length, error as u32]);
        out.extend(numbers64(&[request.unique]));
        out.extend(data);
        // Whoever asked may have gone.
        let _ = (&self.device).write_all(&out);
    }
}

/// Becomes `user`, then root of namespaces of its own, where it may mount: as any user can.
fn alone(user: User) {
    user.become_it();
    prctl(libc::PR_SET_DUMPABLE, 1);
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    std::fs::write("/proc/self/uid_map", format!("0 {} 1", user.uid)).expect("uid_map");
    std::fs::write("/proc/self/gid_map", format!("0 {} 1", user.gid)).expect("gid_map");
}

fn mount(kind: &str, at: &str, flags: u64, options: &str) {
    let [kind, at, options] = [kind, at, options].map(|text| CString::new(text).expect("text"));
    // SAFETY: Live strings.
    let result = unsafe {
        let (kind, options) = (kind.as_ptr(), options.as_ptr().cast());
        libc::mount(kind, at.as_ptr(), kind, flags, options)
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "mount: {error}");
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_ne_bytes(bytes)
}

fn numbers(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

fn numbers64(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// `struct fuse_init_out`.
fn init() -> Vec<u8> {
    let flags = ASYNC_READ | BIG_WRITES | ASYNC_DIO | WRITEBACK_CACHE;
    let background = 1024 | (1024 << 16);
    let mut out = numbers(&[7, 31, 1 << 17, flags, background, 1 << 17, 1]);
    out.resize(64, 0);
    out
}

/// `struct fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let directory = node == ROOT_NODE;
    let (size, mode) = match directory {
        true => (0, libc::S_IFDIR | 0o777),
        false => (SIZE, libc::S_IFREG | 0o666),
    };
    let mut out = numbers64(&[node, size, size / 512, 0, 0, 0]);
    out.extend(numbers(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]));
    out
}

/// A user with a file system of its own, and a process that uses it: that runs `body` with the link
/// of what is returned, and the file system outlives it. The number is that process's.
pub fn user_of(user: User, by: Mounted, control: Control, body: impl FnOnce(&Link)) -> (Peer, i32) {
    let peer = Peer::spawn(ROOT, move |link| {
        let fuse = Fuse::mount(user, by, control);
        let device = fuse.device.as_raw_fd();
        let process = Peer::fork(ROOT, |_| {
            // A process that hangs in its end must not keep the file system.
            // SAFETY: Used by the other process only.
            unsafe { libc::close(device) };
            body(link);
        });
        link.put(process.pid() as u64);
        fuse.serve();
    });
    let process = peer.take() as i32;
    (peer, process)
}

/// Has `body` run by root of a user namespace of root's with these ids, which has a FUSE mount of
/// its own.
pub fn in_namespace(map: &str, control: Control, body: impl FnOnce(&Link)) -> Peer {
    crate::privilege::nested(map, libc::CLONE_NEWNS, move |link| {
        let fuse = Fuse::mount(ROOT, Mounted::Here, control);
        let device = fuse.device.as_raw_fd();
        let _process = Peer::fork(ROOT, |_| {
            // SAFETY: Used by the other process only.
            unsafe { libc::close(device) };
            body(link);
        });
        fuse.serve();
    })
}

/// A file of it, for reading and writing.
pub fn open(file: usize, flags: i32) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(flags);
    options.open(format!("{MOUNTED}/{file}")).expect("a file")
}

/// Maps the whole of a file.
pub fn map(file: &File) -> *mut u8 {
    map_with(file, ptr::null_mut(), libc::MAP_SHARED)
}

/// Maps the whole of a file at a place where memory of this process's is, that nobody uses.
pub fn map_over(file: &File, at: *mut u8) {
    map_with(file, at, libc::MAP_SHARED | libc::MAP_FIXED);
}

fn map_with(file: &File, at: *mut u8, flags: i32) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: A new mapping, where the kernel likes, or over memory that nobody uses.
    let start = unsafe {
        let fd = file.as_raw_fd();
        libc::mmap(at.cast(), SIZE as usize, protection, flags, fd, 0)
    };
    assert_ne!(start, libc::MAP_FAILED);
    start.cast()
}

/// Begins to read a file past the page cache. The read ends when the file system answers it, and
/// this process's end waits for that.
pub fn begin_to_read(file: &File) {
    // `struct iocb`, whose last fields may be 0.
    let buffer = vec![0_u8; 8192].leak();
    let address = (buffer.as_ptr() as u64).next_multiple_of(4096);
    let fd = file.as_raw_fd() as u64;
    // Data; key and flags; opcode (a read is 0), priority and descriptor; address; length; offset.
    let mut block = [0_u64, 0, fd << 32, address, 4096, 0, 0, 0];
    let mut context = 0_u64;
    let blocks = [block.as_mut_ptr()];
    // SAFETY: A live context and block; the buffer lives for ever.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_io_setup, 1, &mut context), 0);
        let begun = libc::syscall(libc::SYS_io_submit, context, 1, blocks.as_ptr());
        assert_eq!(begun, 1, "io_submit: {}", std::io::Error::last_os_error());
    }
}
