// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a sender may try to change the bytes of a secure view that somebody holds: by the ways on
//! which the kernel gets at the memory of a process.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;

#[test]
fn memory_files_neither_read_nor_write_a_view() {
    attacked(|_, lent| {
        use std::os::unix::fs::FileExt;
        let mut byte = [0];
        let try_both = |file: &std::fs::File, byte: &mut [u8]| {
            for view in [lent.view, lent.held] {
                assert!(file.read_at(byte, view.base).is_err());
                assert!(file.write_at(byte, view.base).is_err());
            }
        };
        let options = std::fs::File::options().read(true).write(true).clone();
        try_both(&options.open("/proc/self/mem").expect("mem"), &mut byte);
        let parent = format!("/proc/{}/mem", std::process::id());
        Peer::fork(ROOT, |_| {
            try_both(&options.open(parent).expect("mem"), &mut [0]);
        })
        .wait();
        // The file behind a mapping can't be opened by way of it.
        for view in [lent.view, lent.held] {
            let (start, len, _) = view.mapping();
            let name = format!("/proc/self/map_files/{start:x}-{:x}", start + len);
            assert!(std::fs::metadata(&name).is_ok(), "it is there");
            assert!(options.open(&name).is_err(), "{name}");
            assert!(std::fs::File::open(&name).is_err(), "{name}");
        }
    });
}

#[test]
fn other_processes_neither_read_nor_write_a_view() {
    attacked(|_, lent| {
        let pid = std::process::id() as i32;
        for view in [lent.view, lent.held] {
            let base = view.base;
            let access = move || {
                let mut bytes = [1_u8; 8];
                let local = libc::iovec {
                    iov_base: bytes.as_mut_ptr().cast(),
                    iov_len: 8,
                };
                let remote = libc::iovec {
                    iov_base: base as *mut _,
                    iov_len: 8,
                };
                // SAFETY: Live vectors; the kernel checks what they name.
                unsafe {
                    let read = libc::process_vm_readv(pid, &local, 1, &remote, 1, 0);
                    assert_eq!(errno(read as i64, "readv"), libc::EFAULT);
                    let written = libc::process_vm_writev(pid, &local, 1, &remote, 1, 0);
                    assert_eq!(errno(written as i64, "writev"), libc::EFAULT);
                }
            };
            access();
            Peer::fork(ROOT, |_| access()).wait();
        }
    });
}

#[test]
fn a_tracer_neither_reads_nor_writes_a_view() {
    isolated(|| {
        let (port, _end, peer) = client_peer("attack/trace", ALICE, |link, client| {
            let (_section, view) = filled(&client, LENT, 5);
            let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.lend(&client, view, SECURE).expect("send");
            link.put(view.base);
            link.sync();
            view.assert_back(5);
        });
        let held = port.receive_view().expect("receive").1.expect("view");
        let base = peer.take();
        let pid = peer.pid();
        // SAFETY: A child of ours, stopped while it is looked at.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0), 0);
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &mut status, libc::__WALL), pid);
            for released in [false, true] {
                for at in [base, base + PAGE] {
                    let peeked = libc::ptrace(libc::PTRACE_PEEKDATA, pid, at, 0);
                    assert_eq!(errno(peeked, "peek"), libc::EIO);
                    let poked = libc::ptrace(libc::PTRACE_POKEDATA, pid, at, 1);
                    assert_eq!(errno(poked, "poke"), libc::EIO);
                }
                held.assert_holds(5);
                if !released {
                    port.delete_view(held.base).expect("release");
                    break;
                }
            }
            assert_eq!(libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0), 0);
        }
        peer.sync();
        peer.wait();
    });
}

#[test]
fn no_page_of_a_view_is_pinned_before_it_is_lent() {
    attacked(|pair, lent| {
        // While its owner has it: what would be pinned now would be written later.
        pair.port.delete_view(lent.held.base).expect("release");
        let view = lent.view;
        let vector = libc::iovec {
            iov_base: view.base as *mut _,
            iov_len: PAGE as usize,
        };
        // SAFETY: Live structures of the sizes stated; the kernel checks the rest.
        unsafe {
            let (_reader, writer) = pipe();
            for flags in [0, libc::SPLICE_F_GIFT] {
                let spliced = libc::vmsplice(writer.as_raw_fd(), &vector, 1, flags);
                assert_eq!(errno(spliced as i64, "vmsplice"), libc::EFAULT);
            }
        }
        direct_io(view.base);
        io_uring(&vector);
        userfaults(view.mapping());
        let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
        send.lend(&pair.client, view, SECURE).expect("send");
        let held = pair.port.receive_view().expect("receive").1.expect("view");
        assert_eq!(held, lent.held);
    });
}

/// Reads past all caches, if a file system here can.
fn direct_io(base: u64) {
    use std::os::unix::fs::OpenOptionsExt;
    let Some(path) = ["/tmp/direct", "/run/direct", "/direct", "/dev/shm/direct"]
        .into_iter()
        .find(|path| std::fs::write(path, [9; 8192]).is_ok())
    else {
        note!("nowhere to write a file");
        return;
    };
    let mut options = std::fs::File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    match options.open(path) {
        Ok(file) => {
            let fd = file.as_raw_fd();
            // What copies pages instead can: then it is no pin.
            // SAFETY: The kernel checks the address.
            let got = unsafe { libc::read(fd, base as *mut _, PAGE as usize) };
            let errno = last_errno();
            note!("a direct read gives {got}, errno {errno}");
            assert!(got == PAGE as isize || errno == libc::EFAULT);
            if got > 0 {
                let view = View { base, size: PAGE };
                view.assert_holds(9);
                view.fill(5);
            }
        }
        Err(error) => note!("no direct file: {error}"),
    }
    let _ = std::fs::remove_file(path);
}

/// Registers a buffer with an io_uring, which pins it.
fn io_uring(vector: &libc::iovec) {
    let mut parameters = [0_u8; 120];
    // SAFETY: The parameters are 120 bytes; the vector is live.
    unsafe {
        let ring = libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr());
        if ring < 0 {
            note!("no io_uring: errno {}", last_errno());
            return;
        }
        let ring = OwnedFd::from_raw_fd(ring as RawFd);
        let register = |vector: &libc::iovec| {
            let fd = ring.as_raw_fd();
            libc::syscall(libc::SYS_io_uring_register, fd, 0, vector, 1)
        };
        assert_eq!(errno(register(vector), "register"), libc::EFAULT);
        let pages = memory::Pages::two();
        let good = libc::iovec {
            iov_base: pages.address() as *mut _,
            iov_len: PAGE as usize,
        };
        assert_eq!(register(&good), 0);
    }
}

/// Asks to handle the faults of a mapping.
fn userfaults((start, len, _): (u64, u64, String)) {
    #[repr(C)]
    struct Api {
        api: u64,
        features: u64,
        ioctls: u64,
    }
    #[repr(C)]
    struct Register {
        start: u64,
        len: u64,
        mode: u64,
        ioctls: u64,
    }
    const API: u64 = 0xc018_aa3f;
    const REGISTER: u64 = 0xc020_aa00;
    /// WP_ASYNC, WP_UNPOPULATED, and none.
    const FEATURES: [u64; 2] = [(1 << 15) | (1 << 13), 0];
    for features in FEATURES {
        // SAFETY: Takes a number; the structures are live.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            if fd < 0 {
                note!("no userfaultfd: errno {}", last_errno());
                return;
            }
            let fd = OwnedFd::from_raw_fd(fd as RawFd);
            let mut api = Api {
                api: 0xaa,
                features,
                ioctls: 0,
            };
            if libc::ioctl(fd.as_raw_fd(), API, &mut api) != 0 {
                note!("no userfaultfd with features {features:#x}");
                continue;
            }
            let register = |start, len, mode| {
                let mut register = Register {
                    start,
                    len,
                    mode,
                    ioctls: 0,
                };
                match libc::ioctl(fd.as_raw_fd(), REGISTER, &mut register) {
                    0 => 0,
                    _ => last_errno(),
                }
            };
            // Missing, write-protected, minor.
            for mode in [1, 2, 4] {
                assert_eq!(register(start, len, mode), libc::EINVAL, "mode {mode}");
            }
            let pages = memory::Pages::two();
            assert_eq!(register(pages.address(), 2 * PAGE, 1), 0);
        }
    }
}

#[test]
fn locking_and_asking_for_residence_change_nothing() {
    attacked(|_, lent| {
        for view in [lent.view, lent.held] {
            let (start, len, _) = view.mapping();
            let (at, len) = (start as *mut libc::c_void, len as usize);
            // The window has a page for each of very many.
            let pages = len.min(1 << 20);
            let mut there = vec![0_u8; pages / PAGE as usize];
            // SAFETY: A mapping that only this test uses, and room for its pages.
            unsafe {
                libc::mlock(at, len);
                libc::mlock2(at, len, libc::MLOCK_ONFAULT);
                libc::munlock(at, len);
                libc::msync(at, len, libc::MS_SYNC);
                assert_eq!(libc::mincore(at, pages, there.as_mut_ptr()), 0);
            }
        }
        lent.view.assert_closed();
        // SAFETY: Takes numbers.
        unsafe {
            libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE);
            libc::munlockall();
        }
    });
}

#[test]
fn no_operation_on_a_futex_gets_at_a_view() {
    attacked(|_, lent| {
        const WAIT: i32 = 0;
        const WAKE_OP: i32 = 5;
        const LOCK_PI: i32 = 6;
        const PRIVATE: i32 = 128;
        /// Sets the second word to 1.
        const SET_ONE: u32 = 1 << 12;
        let own = 0_u32;
        let own = std::ptr::from_ref(&own) as u64;
        let futex = |address: u64, operation: i32, other: u64, value: u32| {
            let no_wait = 0_u64;
            // SAFETY: The kernel checks the addresses.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    address,
                    operation,
                    0,
                    no_wait,
                    other,
                    value,
                )
            };
            errno(result, "futex")
        };
        for private in [0, PRIVATE] {
            let base = lent.view.base;
            // A word that is 0 would make it wait.
            assert_eq!(futex(base, WAIT | private, 0, 0), libc::EFAULT);
            assert_eq!(futex(own, WAKE_OP | private, base, SET_ONE), libc::EFAULT);
            assert_eq!(futex(base, LOCK_PI | private, 0, 0), libc::EFAULT);
            let held = lent.held.base;
            assert_eq!(futex(own, WAKE_OP | private, held, SET_ONE), libc::EFAULT);
        }
    });
}

#[test]
fn what_the_kernel_writes_at_the_end_of_a_thread_does_not_arrive() {
    attacked(|_, lent| {
        let base = lent.view.base;
        let (sender, receiver) = std::sync::mpsc::channel();
        // A thread of the kernel's only: its end is told by nothing but this.
        let thread = std::thread::spawn(move || {
            sender.send(signals::tid()).expect("send");
            // SAFETY: The kernel checks the address; this thread is never joined.
            unsafe {
                libc::syscall(libc::SYS_set_tid_address, base);
                libc::syscall(libc::SYS_exit, 0);
            }
        });
        let tid = receiver.recv().expect("recv");
        let task = format!("/proc/self/task/{tid}");
        eventually(|| !std::path::Path::new(&task).exists());
        std::mem::forget(thread);
    });
}

#[test]
fn ioctls_neither_read_their_arguments_from_a_view_nor_write_them_there() {
    attacked(|pair, lent| {
        let base = lent.view.base;
        for request in [
            ALPC_IOCTL_QUERY_PORT,
            ALPC_IOCTL_SEND_WAIT_RECEIVE,
            ALPC_IOCTL_CREATE_SECTION,
            ALPC_IOCTL_DELETE_VIEW,
        ] {
            // SAFETY: The kernel checks the address.
            let result = unsafe { ioctl_at(pair.client.as_fd(), request, base) };
            assert_eq!(result, Err(libc::EFAULT));
        }
        // A message does not arrive in one, and is kept.
        pair.server.one_way(b"words").expect("send");
        let mut receive = Transfer::new().capacity(64);
        receive.point();
        receive.arg.recv_data = base;
        let result = ioctl(&pair.client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive.arg);
        assert_eq!(result, Err(libc::EFAULT));
        assert_eq!(pair.client.receive().expect("receive").data, b"words");
        // Nor is one sent from there.
        let mut send = Transfer::new().flags(ALPC_SEND | ALPC_RELEASE);
        send.arg.send_data = base;
        send.arg.send_length = 8;
        refused_with(send.run_as_is(&pair.client), libc::EFAULT, "send");
        // Sent from the holder's window it may be.
        send.arg.send_data = lent.held.base;
        send.run_as_is(&pair.server).expect("send");
        assert_eq!(pair.client.receive().expect("receive").data, [5; 8]);
    });
}
