// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory of every kind, and what becomes of it under the holder's hands.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use alpc_tests::memory::{Pages, PAGE};
use alpc_tests::raw::*;
use alpc_tests::*;

const READ: u32 = ALPC_MEMORY_READ;

fn taking() -> Pair {
    Pair::with(Create::anonymous().taking_memory())
}

fn short(errno: i32, done: u64) -> Short {
    let outcome = JUNK32;
    Short {
        failure: Failure { errno, outcome },
        done,
    }
}

/// What the holder does with one range that a thread of this process offers.
fn with<T>(address: u64, length: usize, access: u32, act: impl FnOnce(&Port, &Message) -> T) -> T {
    let pair = taking();
    let ranges = Ranges::of(&[(address, length, access)]);
    thread::scope(|scope| {
        let client = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
        let request = pair.port.receive().expect("receive");
        let value = act(&pair.port, &request);
        pair.port.reply(&request, b"").expect("reply");
        client.join().expect("join").expect("call");
        value
    })
}

/// A new mapping.
fn map(length: usize, protection: i32, flags: i32, fd: i32) -> *mut u8 {
    // SAFETY: A new mapping, where the kernel likes.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
    assert_ne!(
        start,
        libc::MAP_FAILED,
        "{}",
        std::io::Error::last_os_error()
    );
    start.cast()
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

#[test]
fn what_cannot_be_used_ends_the_copy_where_it_begins() {
    isolated(|| {
        // The second page is forbidden.
        let cliff = Pages::cliff();
        cliff.write(cliff.end(3), b"abc");
        let bad = |done| Err(short(libc::EFAULT, done));
        with(cliff.end(3), 10, BOTH, |port, request| {
            let mut data = [0_u8; 10];
            let mut arg = memory_argument(request, 0, READ);
            (arg.data, arg.length) = (data.as_mut_ptr() as u64, 10);
            assert_eq!(memory_as_is(port, &mut arg), bad(3));
            assert_eq!(&data[..3], b"abc");
            assert_eq!(port.poke(request, 0, 0, &[1; 10]), bad(3));
            assert_eq!(port.peek(request, 0, 3, 1).map(drop), bad(0));
        });
        assert_eq!(cliff.read(cliff.end(3), 3), [1; 3]);
        // What is read-only may be read, also where the caller has said more.
        let constant = Pages::read_only(b"constant");
        with(constant.address(), 8, BOTH, |port, request| {
            assert_eq!(port.poke(request, 0, 0, b"x"), bad(0));
            assert_eq!(port.peek(request, 0, 0, 8), Ok(b"constant".to_vec()));
        });
        assert_eq!(constant.read(constant.address(), 8), b"constant");
        for address in [memory::unmapped(), Pages::forbidden().address(), 4096] {
            with(address, 100, BOTH, |port, request| {
                assert_eq!(port.peek(request, 0, 0, 100).map(drop), bad(0));
                assert_eq!(port.poke(request, 0, 0, &[1; 100]), bad(0));
            });
        }
    });
}

/// Where this process has mappings of page frames alone.
fn device_memory() -> Vec<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut start = 0;
    let mut found = Vec::new();
    for line in maps.lines() {
        let first = line.split('-').next().unwrap_or_default();
        if let Ok(address) = u64::from_str_radix(first, 16) {
            start = address;
        }
        if line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "pf") {
            found.push(start);
        }
    }
    found
}

#[test]
fn memory_that_is_no_memory_is_refused() {
    isolated(|| {
        let bad = Err(short(libc::EFAULT, 0));
        let mut devices = device_memory();
        // The firmware, which the kernel lets be mapped.
        if let Ok(file) = std::fs::File::open("/dev/mem") {
            let fd = file.as_raw_fd();
            let protection = libc::PROT_READ;
            // SAFETY: A new mapping, where the kernel likes.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    PAGE,
                    protection,
                    libc::MAP_SHARED,
                    fd,
                    0xf_0000,
                )
            };
            if start != libc::MAP_FAILED {
                devices.push(start as u64);
            }
        }
        note!("{} mappings without memory", devices.len());
        for start in devices {
            with(start, 8, READ, |port, request| {
                assert_eq!(port.peek(request, 0, 0, 8), bad);
            });
        }
        // SAFETY: No pointers.
        let secret = unsafe { libc::syscall(libc::SYS_memfd_secret, 0) } as i32;
        if secret < 0 {
            note!("no secret memory here");
            return;
        }
        // SAFETY: Just made.
        let secret = unsafe { OwnedFd::from_raw_fd(secret) };
        // SAFETY: No pointers.
        assert_eq!(
            unsafe { libc::ftruncate(secret.as_raw_fd(), PAGE as i64) },
            0
        );
        let start = map(PAGE, RW, libc::MAP_SHARED, secret.as_raw_fd());
        // SAFETY: A page of ours.
        unsafe { start.write(7) };
        with(start as u64, PAGE, BOTH, |port, request| {
            assert_eq!(port.peek(request, 0, 0, 8), bad);
            assert_eq!(port.poke(request, 0, 0, b"x"), bad.map(|_: Vec<u8>| ()));
        });
        // SAFETY: A page of ours.
        assert_eq!(unsafe { start.read() }, 7);
    });
}

#[test]
fn what_is_shared_after_a_fork_is_written_for_one_alone() {
    isolated(|| {
        let memory = Pages::two();
        memory.write(memory.address(), &[1; 2 * PAGE]);
        let child = Peer::fork(ROOT, |link| {
            link.sync();
            assert_eq!(memory.read(memory.address(), 2 * PAGE), [1; 2 * PAGE]);
        });
        with(memory.address(), 2 * PAGE, BOTH, |port, request| {
            let read = port.peek(request, 0, 0, 2 * PAGE);
            assert!(read == Ok(vec![1; 2 * PAGE]));
            port.poke(request, 0, 10, &[2; PAGE]).expect("poke");
            // One that is forked meanwhile has what there was, and keeps it.
            let late = Peer::fork(ROOT, |link| {
                let seen = memory.read(memory.address(), 2 * PAGE);
                link.sync();
                link.sync();
                assert_eq!(seen, memory.read(memory.address(), 2 * PAGE));
            });
            late.sync();
            port.poke(request, 0, 0, &[3; 2 * PAGE]).expect("poke");
            late.sync();
            late.wait();
        });
        assert_eq!(memory.read(memory.address(), 2 * PAGE), [3; 2 * PAGE]);
        child.sync();
        child.wait();
    });
}

#[test]
fn mapped_files_are_read_and_written_as_their_mapping_says() {
    isolated(|| {
        let path = "/tmp/alpc-memory";
        let _ = std::fs::create_dir("/tmp");
        for (shared, flags) in [(true, libc::MAP_SHARED), (false, libc::MAP_PRIVATE)] {
            std::fs::write(path, vec![1_u8; 3 * PAGE]).expect("write");
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(path);
            let file = file.expect("open");
            let start = map(4 * PAGE, RW, flags, file.as_raw_fd()) as u64;
            with(start, 4 * PAGE, BOTH, |port, request| {
                let read = port.peek(request, 0, 0, 3 * PAGE);
                assert!(read == Ok(vec![1; 3 * PAGE]));
                port.poke(request, 0, 100, &[2; PAGE]).expect("poke");
                // Behind the file's end.
                let read = port.peek(request, 0, 3 * PAGE as u64, 1);
                assert_eq!(read, Err(short(libc::EFAULT, 0)));
                let written = port.poke(request, 0, 2 * PAGE as u64, &[3; 2 * PAGE]);
                assert_eq!(written, Err(short(libc::EFAULT, PAGE as u64)));
                // The file gets shorter while it is mapped.
                file.set_len(0).expect("truncate");
                if shared {
                    let read = port.peek(request, 0, 0, 1);
                    assert_eq!(read, Err(short(libc::EFAULT, 0)));
                }
                file.set_len(3 * PAGE as u64).expect("truncate");
                if shared {
                    port.poke(request, 0, 0, &[4; 5]).expect("poke");
                }
            });
            let content = std::fs::read(path).expect("read");
            let expected = if shared { [4; 5] } else { [0; 5] };
            assert_eq!(content[..5], expected);
            assert!(content[5..].iter().all(|&byte| byte == 0));
        }
        std::fs::remove_file(path).expect("remove");
        // A file that may only be read is only read.
        let file = std::fs::File::open("/proc/self/exe").expect("open");
        let start = map(PAGE, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd()) as u64;
        with(start, PAGE, BOTH, |port, request| {
            assert_eq!(port.peek(request, 0, 1, 3), Ok(b"ELF".to_vec()));
            let written = port.poke(request, 0, 0, b"x");
            assert_eq!(written, Err(short(libc::EFAULT, 0)));
        });
    });
}

#[test]
fn what_is_written_to_a_shared_mapping_is_there_for_all() {
    isolated(|| {
        let start = map(2 * PAGE, RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1);
        let other = Peer::fork(ROOT, |link| {
            link.sync();
            // SAFETY: The mapping is shared with the test, which does not write now.
            let seen = unsafe { std::slice::from_raw_parts(start, 2 * PAGE) };
            assert_eq!(seen, [6; 2 * PAGE]);
        });
        with(start as u64, 2 * PAGE, BOTH, |port, request| {
            port.poke(request, 0, 0, &[6; 2 * PAGE]).expect("poke");
        });
        other.sync();
        other.wait();
    });
}

#[test]
fn memory_may_change_under_the_holder_on_another_cpu() {
    const PAGES: usize = 32;
    const LENGTH: usize = PAGES * PAGE;
    isolated_long(2, || {
        for what in ["unmap", "protect", "forget", "move", "huge"] {
            let pair = taking();
            // Nothing else comes to lie there.
            let start = map(LENGTH, RW, ANONYMOUS, -1);
            let aside = map(LENGTH, libc::PROT_NONE, ANONYMOUS, -1);
            // The client is another process: only its memory changes.
            let client = Peer::fork(ROOT, |_| {
                let ranges = Ranges::of(&[(start as u64, LENGTH, BOTH)]);
                let over = AtomicBool::new(false);
                let (start, aside) = (start as usize, aside as usize);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        let (start, aside) = (start as *mut libc::c_void, aside as *mut _);
                        while !over.load(SeqCst) {
                            // SAFETY: The memory is there for this alone.
                            unsafe {
                                match what {
                                    "unmap" => {
                                        libc::munmap(start, LENGTH / 2);
                                        let fixed = ANONYMOUS | libc::MAP_FIXED;
                                        libc::mmap(start, LENGTH, RW, fixed, -1, 0);
                                    }
                                    "protect" => {
                                        libc::mprotect(start, LENGTH, libc::PROT_NONE);
                                        libc::mprotect(start, LENGTH, libc::PROT_READ);
                                        libc::mprotect(start, LENGTH, RW);
                                    }
                                    "forget" => {
                                        libc::madvise(start, LENGTH, libc::MADV_DONTNEED);
                                    }
                                    "huge" => {
                                        libc::madvise(start, LENGTH, libc::MADV_HUGEPAGE);
                                        libc::madvise(start, LENGTH, libc::MADV_DONTNEED);
                                        libc::madvise(start, LENGTH, libc::MADV_NOHUGEPAGE);
                                    }
                                    _ => {
                                        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                                        libc::mremap(start, LENGTH, LENGTH, how, aside);
                                        libc::mremap(aside, LENGTH, LENGTH, how, start);
                                    }
                                }
                            }
                        }
                    });
                    Transfer::offering(&ranges).run(&pair.client).expect("call");
                    over.store(true, SeqCst);
                });
            });
            let request = pair.port.receive().expect("receive");
            let (mut whole, mut broken) = (0, 0);
            for round in 0..rounds(200) {
                let length = LENGTH - round as usize % PAGE;
                let mut data = vec![9_u8; length];
                let read = round % 2 == 0;
                let access = if read { READ } else { ALPC_MEMORY_WRITE };
                let mut arg = memory_argument(&request, 0, access);
                (arg.data, arg.length) = (data.as_mut_ptr() as u64, length as u64);
                match memory_as_is(&pair.port, &mut arg) {
                    Ok(()) => whole += 1,
                    Err(Short { failure, done }) => {
                        let errno = failure.errno;
                        assert_eq!(errno, libc::EFAULT);
                        assert!(done < length as u64);
                        broken += 1;
                    }
                }
                if read {
                    // What was there is what was written, or nothing.
                    assert!(data.iter().all(|&byte| byte == 9 || byte == 0));
                }
            }
            note!("{what}: {whole} whole, {broken} broken");
            let always = matches!(what, "forget" | "huge");
            assert!(broken == 0 || !always, "{what}: {broken} broken");
            pair.port.reply(&request, b"").expect("reply");
            client.wait();
        }
    });
}

#[test]
fn a_caller_that_dies_takes_its_memory_with_it() {
    const LENGTH: usize = 8 << 20;
    isolated_long(2, || {
        for round in 0..rounds(20) {
            let Pair {
                port,
                server: _server,
                client,
            } = taking();
            let peer = Peer::fork(ROOT, |_| {
                let memory = vec![round as u8; LENGTH];
                let ranges = Ranges::of(&[(memory.as_ptr() as u64, LENGTH, BOTH)]);
                let _ = Transfer::offering(&ranges).run(&client);
            });
            drop(client);
            let request = port.receive().expect("receive");
            thread::scope(|scope| {
                let (port, held) = (&port, request.clone());
                let reader = scope.spawn(move || loop {
                    let mut data = vec![round as u8 ^ 0xff; LENGTH];
                    let mut arg = memory_argument(&held, 0, READ);
                    (arg.data, arg.length) = (data.as_mut_ptr() as u64, LENGTH as u64);
                    let result = memory_as_is(port, &mut arg);
                    let done = match &result {
                        Ok(()) => LENGTH,
                        Err(short) => short.done as usize,
                    };
                    assert!(data[..done].iter().all(|&byte| byte == round as u8));
                    if let Err(short) = result {
                        break short.failure;
                    }
                });
                thread::sleep(std::time::Duration::from_millis(round % 7));
                peer.kill();
                let failure = reader.join().expect("join");
                let known = [fail::MEMORY_CLOSED, fail::NOT_FOUND, fail::CANCELED];
                assert!(known.contains(&failure), "{failure:?}");
            });
        }
    });
}

/// Huge pages for as long as this lives.
struct HugePages(String);

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn new() -> Self {
        let before = std::fs::read_to_string(HUGE_PAGES).expect("huge pages");
        std::fs::write(HUGE_PAGES, "4").expect("huge pages");
        Self(before)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(HUGE_PAGES, &self.0);
    }
}

#[test]
fn huge_pages_that_are_there_are_written_without_a_wait() {
    const HUGE: usize = 2 << 20;
    if !std::path::Path::new(HUGE_PAGES).exists() {
        note!("not tried: no huge pages here");
        return;
    }
    let _some = HugePages::new();
    isolated(|| {
        let at = map(HUGE, RW, ANONYMOUS | libc::MAP_HUGETLB, -1);
        // SAFETY: Memory of ours, as long as this.
        unsafe { at.write_bytes(1, HUGE) };
        with(at as u64, HUGE, BOTH, |port, request| {
            for access in [ALPC_MEMORY_READ, ALPC_MEMORY_WRITE] {
                let mut data = [7_u8; 4096];
                let mut arg = memory_argument(request, 0, access | ALPC_MEMORY_NOWAIT);
                (arg.data, arg.length) = (data.as_mut_ptr() as u64, 4096);
                memory_as_is(port, &mut arg).expect("what is there");
                let read = access == ALPC_MEMORY_READ;
                assert_eq!(data, [if read { 1 } else { 7 }; 4096]);
            }
        });
    });
}
