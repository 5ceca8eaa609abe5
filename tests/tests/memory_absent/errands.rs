// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the caller's own thread does for a holder that writes to a stored file, and what it doesn't.

use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use alpc_tests::fuse::{self, Control, Mounted};
use alpc_tests::raw::*;
use alpc_tests::starve::Cgroup;
use alpc_tests::*;

use super::*;

const PAGE: usize = 4096;
pub const NAME: &str = "memory/errands";

/// A holder of a request whose sender, another user, offers what `prepare` makes: a start and a
/// length. When it is answered, the sender looks at that in `after`.
pub fn held(
    control: Control,
    prepare: impl Fn() -> (usize, usize) + 'static,
    after: impl Fn(usize) + 'static,
    body: impl FnOnce(&Port, &Message),
) {
    let port = Create::named(NAME)
        .open()
        .taking_memory()
        .run()
        .expect("create");
    let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
        let client = Connect::to(NAME).run().expect("connect").port;
        let (start, length) = prepare();
        let ranges = Ranges::of(&[(start as u64, length, BOTH)]);
        Transfer::offering(&ranges).run(&client).expect("call");
        after(start);
        link.put(7);
    });
    let request = port.receive().expect("receive");
    let _server = Accept::new(request.id).run(&port).expect("accept");
    let request = port.receive().expect("receive");
    body(&port, &request);
    // It may have answered.
    let _ = port.reply(&request, b"");
    control.answer_all();
    assert_eq!(caller.take(), 7);
    caller.kill();
}

/// Maps one page over memory that nobody uses.
fn map_page_at(at: usize, fd: i32) {
    let (both, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_FIXED,
    );
    // SAFETY: Over memory of this process's that nobody uses.
    let mapped = unsafe { libc::mmap(at as *mut _, PAGE, both, flags, fd, 0) };
    assert_eq!(mapped as usize, at, "{}", std::io::Error::last_os_error());
    // SAFETY: It is mapped.
    unsafe { ptr::write_volatile(at as *mut u8, 1) };
}

/// A page of a stored file, and a private page behind it. Both are present.
fn file_and_private_page() -> usize {
    let start = map(2 * PAGE, libc::MAP_POPULATE);
    map_page_at(start, fuse::open(0, 0).as_raw_fd());
    start
}

/// Has no thread of this process write to a page: whether the processor can do that.
fn forbid_writes(page: usize) -> bool {
    const DISABLE_WRITE: u64 = 2;
    // SAFETY: Memory of this process's that nobody writes to, and a new key.
    unsafe {
        let key = libc::syscall(libc::SYS_pkey_alloc, 0, DISABLE_WRITE);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        libc::syscall(libc::SYS_pkey_mprotect, page, PAGE, both, key) == 0
    }
}

pub fn nothing(_: usize) {}

#[test]
fn secret_memory_behind_a_file_is_not_written_to() {
    isolated(|| {
        let control = Control::new();
        let prepare = || {
            let start = file_and_private_page();
            // SAFETY: Takes no pointer.
            let secret = unsafe { libc::syscall(libc::SYS_memfd_secret, 0) } as i32;
            if secret < 0 {
                note!("this kernel has no secret memory");
                let behind = (start + PAGE) as *mut u8;
                // SAFETY: A private page, that nobody uses but by its address.
                unsafe {
                    ptr::write_volatile(behind, 1);
                    assert_eq!(libc::mprotect(behind.cast(), PAGE, libc::PROT_READ), 0);
                }
                return (start, 2 * PAGE);
            }
            // SAFETY: Acts on a descriptor only.
            assert_eq!(unsafe { libc::ftruncate(secret, PAGE as i64) }, 0);
            map_page_at(start + PAGE, secret);
            (start, 2 * PAGE)
        };
        let after = |start: usize| {
            // SAFETY: It is mapped, and nobody writes to it.
            let secret = unsafe { std::slice::from_raw_parts((start + PAGE) as *const u8, PAGE) };
            assert!(secret[0] == 1 && secret[1..].iter().all(|&byte| byte == 0));
        };
        held(control, prepare, after, |port, request| {
            let short = port.poke(request, 0, 0, &[9; 2 * PAGE]).unwrap_err();
            let end = (short.failure.errno, short.done);
            assert_eq!(end, (libc::EFAULT, PAGE as u64));
        });
    });
}

#[test]
fn private_memory_behind_a_file_is_not_left_to_the_caller() {
    isolated(|| {
        let control = Control::new();
        let prepare = || {
            let start = file_and_private_page();
            // The caller itself couldn't write there.
            forbid_writes(start + PAGE);
            (start, 2 * PAGE)
        };
        held(control, prepare, nothing, |port, request| {
            port.poke(request, 0, 0, &[9; 2 * PAGE]).expect("poke");
            assert_eq!(port.peek(request, 0, 0, 2 * PAGE), Ok(vec![9; 2 * PAGE]));
        });
    });
}

/// How often this thread has slept.
fn sleeps() -> u64 {
    // SAFETY: A live structure, in which all bytes may be 0.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage.ru_nvcsw as u64
    }
}

#[test]
fn a_holder_whose_writes_are_denied_does_not_keep_the_caller_at_work() {
    const LONG: Duration = Duration::from_millis(500);
    isolated(|| {
        let control = Control::new();
        let page = Shared::new();
        let prepare = move || {
            let start = file_and_private_page();
            page[0].store(u64::from(forbid_writes(start)), SeqCst);
            page[1].store(sleeps(), SeqCst);
            (start, PAGE)
        };
        let after = move |_| {
            let woken = sleeps() - page[1].load(SeqCst);
            let milliseconds = page[2].load(SeqCst);
            note!("woken {woken} times in {milliseconds} ms");
            // One attempt each millisecond.
            assert!(woken <= milliseconds + 50);
        };
        held(control, prepare, after, |port, request| {
            if page[0].load(SeqCst) == 0 {
                note!("this processor has no protection keys");
            }
            let begun = Instant::now();
            while begun.elapsed() < LONG && page[0].load(SeqCst) != 0 {
                let short = port.poke(request, 0, 0, &[9; 8]).unwrap_err();
                assert_eq!((short.failure.errno, short.done), (libc::EFAULT, 0));
            }
            page[2].store(begun.elapsed().as_millis() as u64, SeqCst);
        });
    });
}

#[test]
fn a_caller_that_hangs_keeps_nothing_that_its_holder_pays_for() {
    const CALLERS: usize = 60;
    const LENGTH: usize = 32 << 10;
    isolated_long(2, || {
        let port = Create::named(NAME)
            .open()
            .taking_memory()
            .run()
            .expect("create");
        let control = Control::new();
        let holder = Peer::fork(ALICE, |link| {
            let data = vec![9_u8; LENGTH];
            link.take();
            let (mut servers, mut answered) = (Vec::with_capacity(CALLERS), 0);
            while answered < CALLERS {
                let message = port.receive().expect("receive");
                if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
                    servers.push(Accept::new(message.id).run(&port).expect("accept"));
                    continue;
                }
                // A caller may have come to its end before its file is kept from it.
                if message.kind != ALPC_TYPE_REQUEST {
                    continue;
                }
                let mut arg = memory_argument(&message, 0, ALPC_MEMORY_WRITE);
                (arg.data, arg.length) = (data.as_ptr() as u64, LENGTH as u64);
                (arg.timeout_flags, arg.timeout) = (ALPC_TIMEOUT_RELATIVE, 20 * MS);
                let short = memory_as_is(&port, &mut arg).unwrap_err();
                assert_eq!((short.failure, short.done), (fail::TIMED_OUT, 0));
                port.reply(&message, b"").expect("reply");
                answered += 1;
            }
            drop(servers);
            link.put(1);
            link.take();
        });
        let cgroup = Cgroup::of(&holder);
        // Each caller's first page is there, and it never comes back from the one behind.
        let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
            let file = fuse::open(0, 0);
            let map = || {
                let at = fuse::map(&file) as usize;
                advise(at, fuse::SIZE as usize, libc::MADV_RANDOM);
                at
            };
            // SAFETY: It is mapped.
            let touch = |at: usize| unsafe { ptr::write_volatile(at as *mut u8, 1) };
            let at = map();
            (0..CALLERS).for_each(|index| touch(at + 2 * index * PAGE));
            control.hold(0, &[fuse::READ]);
            let calls = |index: usize| {
                Peer::fork(ROOT, |_| {
                    let client = Connect::to(NAME).run().expect("connect").port;
                    let start = map() + 2 * index * PAGE;
                    touch(start);
                    let ranges = Ranges::of(&[(start as u64, LENGTH, BOTH)]);
                    let _ = Transfer::offering(&ranges).run(&client);
                })
            };
            let callers: Vec<_> = (0..CALLERS).map(calls).collect();
            link.sync();
            callers.into_iter().for_each(Peer::wait);
            link.put(7);
        });
        let before = cgroup.current();
        holder.put(1);
        holder.take();
        let copies = (CALLERS * LENGTH) as u64;
        let mut now = 0;
        eventually(|| {
            now = cgroup.current().saturating_sub(before);
            now < copies / 2
        });
        note!("{now} bytes of {copies} are charged");
        caller.sync();
        control.answer_all();
        assert_eq!(caller.take(), 7);
        holder.put(1);
        holder.wait();
        drop(cgroup);
        caller.kill();
    });
}
