// SPDX-License-Identifier: MIT OR Apache-2.0

//! What Linux already has beside sockets, each with the fewest calls that do
//! the job.

use std::mem::zeroed;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sys::{owned, read, write, Signal};
use super::{between, failed, moved, Running};
use crate::shared::Shared;

/// Two counters and no payload: the price of two wake-ups.
pub fn eventfd() -> Running<impl FnMut()> {
    let mine = Rc::new((Signal::new(), Signal::new()));
    let theirs = mine.clone();
    between(
        || {
            move || {
                theirs.0.take();
                theirs.1.give();
            }
        },
        || {
            move || {
                mine.0.give();
                mine.1.take();
            }
        },
    )
}

/// The same with words in shared memory, and the kernel only for sleep.
pub fn futex() -> Running<impl FnMut()> {
    let words = Shared::new();
    between(
        || {
            let mut last = 0;
            move || {
                wait_while(&words[0], last);
                last += 1;
                set(&words[1], last);
            }
        },
        || {
            let mut last = 0;
            move || {
                set(&words[0], last + 1);
                wait_while(&words[1], last);
                last += 1;
            }
        },
    )
}

/// Sets the word and wakes who waits for it.
fn set(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
    // SAFETY: Only the word's address matters.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
    if woken < 0 {
        failed(woken as isize, 0);
    }
}

fn wait_while(word: &AtomicU64, value: u64) {
    let none = ptr::null::<libc::timespec>();
    while word.load(Ordering::Acquire) == value {
        // The kernel looks at the first four bytes, which are the lower ones.
        let low = value as u32;
        // SAFETY: A live word, and no time limit.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, low, none) };
    }
}

pub fn pipe(bytes: usize) -> Running<impl FnMut()> {
    let make = || {
        let mut fds = [-1; 2];
        // SAFETY: Two live slots.
        assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), 0) }, 0);
        (owned(fds[0]), owned(fds[1]))
    };
    let pipes = (make(), make());
    let (there, back) = &pipes;
    let (there_in, there_out) = (there.0.as_raw_fd(), there.1.as_raw_fd());
    let (back_in, back_out) = (back.0.as_raw_fd(), back.1.as_raw_fd());
    between(
        || {
            let mut buffer = vec![0; bytes];
            move || {
                read(there_in, &mut buffer);
                write(back_out, &mut buffer);
            }
        },
        || {
            let (mut send, mut recv) = (vec![0x5a; bytes], vec![0; bytes]);
            move || {
                let _alive = &pipes;
                write(there_out, &mut send);
                read(back_in, &mut recv);
            }
        },
    )
}

pub fn posix_mq(bytes: usize) -> Running<impl FnMut()> {
    let make = |name: &std::ffi::CStr| {
        // SAFETY: Plain numbers; a queue of our own that ends with its
        // descriptor.
        unsafe {
            let mut attributes: libc::mq_attr = zeroed();
            attributes.mq_maxmsg = 10;
            attributes.mq_msgsize = bytes.max(1) as _;
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
            let queue = owned(libc::syscall(
                libc::SYS_mq_open,
                name.as_ptr(),
                flags,
                0o600,
                ptr::from_mut(&mut attributes),
            ));
            libc::syscall(libc::SYS_mq_unlink, name.as_ptr());
            queue
        }
    };
    let queues = (make(c"alpc-bench-there"), make(c"alpc-bench-back"));
    let (t, b) = (queues.0.as_raw_fd(), queues.1.as_raw_fd());
    let room = bytes.max(1);
    let send = move |fd: RawFd, data: &mut [u8]| {
        let (p, none) = (data.as_ptr(), ptr::null::<libc::timespec>());
        // SAFETY: `data` holds `bytes` bytes.
        let sent = unsafe { libc::syscall(libc::SYS_mq_timedsend, fd, p, bytes, 0, none) };
        moved(sent as isize, 0);
    };
    let receive = move |fd: RawFd, data: &mut [u8]| {
        let (p, none) = (data.as_mut_ptr(), ptr::null::<libc::timespec>());
        let no_priority = ptr::null_mut::<u32>();
        // SAFETY: `data` has room for `room` bytes.
        let got =
            unsafe { libc::syscall(libc::SYS_mq_timedreceive, fd, p, room, no_priority, none) };
        moved(got as isize, bytes);
    };
    between(
        || {
            let mut buffer = vec![0; room];
            move || {
                receive(t, &mut buffer);
                send(b, &mut buffer);
            }
        },
        || {
            let (mut data, mut answer) = (vec![0x5a; room], vec![0; room]);
            move || {
                let _alive = &queues;
                send(t, &mut data);
                receive(b, &mut answer);
            }
        },
    )
}
