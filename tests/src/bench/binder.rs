// SPDX-License-Identifier: MIT OR Apache-2.0

//! Binder as its driver offers it, without a library: the server is the
//! context manager, which every client reaches as handle 0, and has one
//! looper. A call is one ioctl of the client; of the server two, since the
//! driver returns from a reply before the next request can come.

use std::fs::File;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::rc::Rc;

use super::sys::Signal;
use super::{between, failed, identity, Running};

const DEVICE: &str = "/dev/binder";

/// What a process maps for the messages it receives.
const MAPPED: usize = 1 << 20;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct WriteRead {
    write_size: u64,
    write_consumed: u64,
    write_buffer: u64,
    read_size: u64,
    read_consumed: u64,
    read_buffer: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Transaction {
    target: u64,
    cookie: u64,
    code: u32,
    flags: u32,
    sender_pid: i32,
    sender_euid: u32,
    data_size: u64,
    offsets_size: u64,
    buffer: u64,
    offsets: u64,
}

const WRITE_READ: u32 = libc::_IOWR::<WriteRead>(b'b' as u32, 1) as u32;
const SET_CONTEXT_MANAGER: u32 = libc::_IOW::<i32>(b'b' as u32, 7) as u32;

const BC_TRANSACTION: u32 = libc::_IOW::<Transaction>(b'c' as u32, 0) as u32;
const BC_REPLY: u32 = libc::_IOW::<Transaction>(b'c' as u32, 1) as u32;
const BC_FREE_BUFFER: u32 = libc::_IOW::<u64>(b'c' as u32, 3) as u32;
const BC_ENTER_LOOPER: u32 = libc::_IO(b'c' as u32, 12) as u32;

const BR_TRANSACTION: u32 = libc::_IOR::<Transaction>(b'r' as u32, 2) as u32;
const BR_REPLY: u32 = libc::_IOR::<Transaction>(b'r' as u32, 3) as u32;
const BR_TRANSACTION_COMPLETE: u32 = libc::_IO(b'r' as u32, 6) as u32;
const BR_NOOP: u32 = libc::_IO(b'r' as u32, 12) as u32;

/// Not every kernel has it.
pub fn exists() -> bool {
    std::path::Path::new(DEVICE).exists()
}

pub fn call(bytes: usize) -> Running<impl FnMut()> {
    let mine = Rc::new(Signal::new());
    let theirs = mine.clone();
    between(
        || {
            let mut server = Process::new(BC_REPLY, bytes);
            server.become_manager();
            theirs.give();
            let request = server.receive(BR_TRANSACTION);
            let (pid, uid) = (request.sender_pid, request.sender_euid);
            identity::is_client(pid as u32, uid);
            move || {
                server.send_and_receive(BR_TRANSACTION);
            }
        },
        || {
            mine.take();
            let mut client = Process::new(BC_TRANSACTION, bytes);
            move || client.send_and_receive(BR_REPLY)
        },
    )
}

/// What is written for each message: first the buffer of the message received
/// last is given back.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Commands {
    free: u32,
    freed: u64,
    send: u32,
    transaction: Transaction,
}

struct Process {
    device: File,
    commands: Box<Commands>,
    read: Box<[u32; 64]>,
    bytes: usize,
    _data: Vec<u8>,
}

impl Process {
    fn new(send: u32, bytes: usize) -> Self {
        let device = File::options()
            .read(true)
            .write(true)
            .open(DEVICE)
            .unwrap_or_else(|e| panic!("{DEVICE}: {e}"));
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        let fd = device.as_raw_fd();
        // SAFETY: A new mapping, where the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), MAPPED, protection, flags, fd, 0) };
        assert_ne!(start, libc::MAP_FAILED, "mmap of {DEVICE}");
        let data = vec![0x5a_u8; bytes.max(1)];
        let transaction = Transaction {
            data_size: bytes as u64,
            buffer: data.as_ptr() as u64,
            ..Default::default()
        };
        let commands = Commands {
            free: BC_FREE_BUFFER,
            freed: 0,
            send,
            transaction,
        };
        Self {
            device,
            commands: Box::new(commands),
            read: Box::new([0; 64]),
            bytes,
            _data: data,
        }
    }

    /// The one of the row before may not be quite gone.
    fn become_manager(&mut self) {
        let fd = self.device.as_raw_fd();
        // SAFETY: The argument is no pointer that the driver follows.
        while unsafe { libc::syscall(libc::SYS_ioctl, fd, SET_CONTEXT_MANAGER, 0) } != 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{error}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let enter = BC_ENTER_LOOPER;
        let mut arg = WriteRead {
            write_size: size_of_val(&enter) as u64,
            write_buffer: ptr::from_ref(&enter) as u64,
            ..Default::default()
        };
        write_read(fd, &mut arg);
    }

    fn receive(&mut self, wanted: u32) -> Transaction {
        let mut arg = WriteRead::default();
        self.until(wanted, &mut arg)
    }

    #[inline]
    fn send_and_receive(&mut self, wanted: u32) {
        let start = ptr::from_ref(&*self.commands) as u64;
        // Nothing to be given back before the first message.
        let skip = match self.commands.freed {
            0 => std::mem::offset_of!(Commands, send) as u64,
            _ => 0,
        };
        let mut arg = WriteRead {
            write_size: size_of::<Commands>() as u64 - skip,
            write_buffer: start + skip,
            ..Default::default()
        };
        self.until(wanted, &mut arg);
    }

    /// Makes the call, and further ones until the wanted message has come.
    #[inline]
    fn until(&mut self, wanted: u32, arg: &mut WriteRead) -> Transaction {
        loop {
            arg.read_size = size_of_val(&*self.read) as u64;
            arg.read_buffer = self.read.as_mut_ptr() as u64;
            arg.read_consumed = 0;
            write_read(self.device.as_raw_fd(), arg);
            if let Some(got) = self.take(arg.read_consumed as usize / 4, wanted) {
                return got;
            }
            arg.write_size = 0;
            arg.write_consumed = 0;
        }
    }

    /// The wanted message, if it is in what was read; nothing may follow it.
    #[inline]
    fn take(&mut self, words: usize, wanted: u32) -> Option<Transaction> {
        for at in 0..words {
            match self.read[at] {
                BR_NOOP | BR_TRANSACTION_COMPLETE => {}
                command if command == wanted => {
                    let start = self.read[at + 1..words].as_ptr();
                    // SAFETY: The driver wrote one behind the command.
                    let got: Transaction = unsafe { start.cast::<Transaction>().read_unaligned() };
                    if got.data_size != self.bytes as u64 {
                        failed(got.data_size as isize, self.bytes);
                    }
                    self.commands.freed = got.buffer;
                    return Some(got);
                }
                command => panic!("binder says {command:#x}"),
            }
        }
        None
    }
}

#[inline]
fn write_read(fd: RawFd, arg: &mut WriteRead) {
    // SAFETY: The buffers named in the argument live as long as its owner.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, WRITE_READ, ptr::from_mut(arg)) };
    if result != 0 {
        failed(result as isize, 0);
    }
}
