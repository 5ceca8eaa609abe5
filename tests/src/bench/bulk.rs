// SPDX-License-Identifier: MIT OR Apache-2.0

//! Much data at once, as Linux has it: through shared memory that nobody can
//! change any more, and out of another process's memory.

use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::control::Message;
use super::sys::{close, owned, recv, send, Signal};
use super::words::{came, fill, sum, touched, Mapped};
use super::{between, failed, moved, Running};
use crate::link::socketpair;
use crate::shared::Shared;

/// What goes along with the data, and the answer.
const WORD: usize = size_of::<u64>();

/// Memory made for the one message, written in full, sealed and passed on; the
/// receiver maps it, reads all of it and says what it came to.
pub fn memfd(bytes: usize) -> Running<impl FnMut()> {
    let ends = socketpair(libc::SOCK_SEQPACKET);
    let (n, f) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
    between(
        || {
            let mut message = Message::new(WORD, libc::SCM_RIGHTS, -1);
            move || {
                let fd = message.receive(f);
                let came_to = sum(Mapped::shared(fd, bytes, libc::PROT_READ).words());
                close(fd);
                send(f, &mut came_to.to_ne_bytes(), WORD);
            }
        },
        || {
            let mut message = Message::new(WORD, libc::SCM_RIGHTS, -1);
            let (mut value, mut answer) = (0, [0; WORD]);
            move || {
                let _alive = &ends;
                value += 1;
                let fd = sealed(bytes, value);
                message.send(n, fd);
                close(fd);
                recv(n, &mut answer, WORD);
                came(u64::from_ne_bytes(answer), bytes, value);
            }
        },
    )
}

/// Memory of which every word is `value`, and stays it.
#[inline]
fn sealed(bytes: usize, value: u64) -> RawFd {
    // Such memory may be sealed.
    let flags = libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL;
    // SAFETY: A live name.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"bench".as_ptr(), flags) } as RawFd;
    if fd < 0 {
        failed(fd as isize, 0);
    }
    // SAFETY: Plain numbers.
    let sized = unsafe { libc::syscall(libc::SYS_ftruncate, fd, bytes) };
    moved(sized as isize, 0);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    fill(Mapped::shared(fd, bytes, protection).words_mut(), value);
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: As above.
    let sealed = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, seals) };
    moved(sealed as isize, 0);
    fd
}

/// One operation on the memory of a process that sleeps.
pub fn process_vm_readv(bytes: usize) -> Running<impl FnMut()> {
    let told = Shared::new();
    let mine = Rc::new(Signal::new());
    let theirs = mine.clone();
    between(
        || {
            let source = touched(bytes);
            // SAFETY: No arguments.
            told[0].store(unsafe { libc::getpid() } as u64, Ordering::Relaxed);
            told[1].store(source.start(), Ordering::Relaxed);
            theirs.give();
            move || {
                let _alive = &source;
                // SAFETY: No arguments.
                unsafe { libc::pause() };
            }
        },
        || {
            mine.take();
            let into = touched(bytes);
            let pid = told[0].load(Ordering::Relaxed);
            let [local, remote] = [into.start(), told[1].load(Ordering::Relaxed)].map(|start| {
                Box::new(libc::iovec {
                    iov_base: start as *mut libc::c_void,
                    iov_len: bytes,
                })
            });
            move || {
                let _alive = &into;
                let (local, remote) = (ptr::from_ref(&*local), ptr::from_ref(&*remote));
                let (call, one, flags) = (libc::SYS_process_vm_readv, 1_usize, 0_u64);
                // SAFETY: The mapping is that long, and used by nobody else.
                let got = unsafe { libc::syscall(call, pid, local, one, remote, one, flags) };
                moved(got as isize, bytes);
            }
        },
    )
}

/// A round trip whose request passes a descriptor, which the server closes.
pub fn scm_rights(bytes: usize) -> Running<impl FnMut()> {
    let ends = socketpair(libc::SOCK_SEQPACKET);
    let (n, f) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
    between(
        || {
            let mut message = Message::new(bytes, libc::SCM_RIGHTS, -1);
            move || {
                let fd = message.receive(f);
                close(fd);
                send(f, &mut message.data, bytes);
            }
        },
        || {
            // A file of no particular kind: the last to close it is not timed.
            let flags = libc::O_RDONLY | libc::O_CLOEXEC;
            // SAFETY: A live name.
            let passed = owned(unsafe { libc::open(c"/dev/null".as_ptr(), flags) });
            let mut message = Message::new(bytes, libc::SCM_RIGHTS, -1);
            let mut answer = vec![0; bytes.max(1)];
            move || {
                let _alive = &ends;
                message.send(n, passed.as_raw_fd());
                recv(n, &mut answer, bytes);
            }
        },
    )
}
