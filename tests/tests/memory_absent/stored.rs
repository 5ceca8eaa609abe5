// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mappings of stored files: to write to them is for the caller's own thread.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use alpc_tests::fuse::{self, Control, Mounted};
use alpc_tests::memory::Pages;
use alpc_tests::raw::*;
use alpc_tests::*;

use super::*;

const PAGE: usize = 4096;

/// What the caller offers, as seen by itself.
struct Offered {
    /// One private page, and right behind it the first file.
    start: usize,
    length: usize,
}

/// A private page with the first file behind it.
fn private_page_and_file() -> Offered {
    let length = PAGE + fuse::SIZE as usize;
    let start = map(length, 0);
    fuse::map_over(&fuse::open(0, 0), (start + PAGE) as *mut u8);
    Offered { start, length }
}

/// A holder of a request whose sender, another user, offers a private page and a file behind it.
/// When it is answered, the sender runs `after`, in its own process.
fn held(
    control: Control,
    before: impl Fn(&Offered) + 'static,
    after: impl Fn(&Offered) + 'static,
    body: impl FnOnce(&Port, &Message),
) {
    let mut create = Create::named("memory/file").open().taking_memory();
    let port = create.run().expect("create");
    let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
        let client = Connect::to("memory/file").run().expect("connect").port;
        let offered = private_page_and_file();
        before(&offered);
        let ranges = Ranges::of(&[(offered.start as u64, offered.length, BOTH)]);
        Transfer::offering(&ranges).run(&client).expect("call");
        after(&offered);
        link.put(7);
    });
    let request = port.receive().expect("receive");
    let _server = Accept::new(request.id).run(&port).expect("accept");
    let request = port.receive().expect("receive");
    body(&port, &request);
    port.reply(&request, b"").expect("reply");
    control.answer_all();
    assert_eq!(caller.take(), 7);
    caller.kill();
}

fn nothing(_: &Offered) {}

/// Moves without waiting: what came of it.
fn at_once(port: &Port, request: &Message, access: u32, offset: usize, data: &mut [u8]) -> Moved {
    let mut arg = memory_argument(request, 0, access | ALPC_MEMORY_NOWAIT);
    (arg.data, arg.length) = (data.as_mut_ptr() as u64, data.len() as u64);
    arg.offset = offset as u64;
    let result = memory_as_is(port, &mut arg);
    result.map_err(|short| (short.failure.errno, short.done))
}

type Moved = Result<(), (i32, u64)>;

#[test]
fn only_the_caller_writes_to_a_mapping_of_a_stored_file() {
    isolated(|| {
        let control = Control::new();
        let after = |offered: &Offered| {
            // SAFETY: A mapping of this process's, that nobody writes to any more.
            let seen = unsafe { std::slice::from_raw_parts(offered.start as *const u8, 3 * PAGE) };
            assert!(seen.iter().all(|byte| *byte == 3));
        };
        held(control, nothing, after, |port, request| {
            let mut data = [1; 2 * PAGE];
            // All is present and may be written to.
            port.poke(request, 0, 0, &[2; 3 * PAGE]).expect("poke");
            let written = at_once(port, request, ALPC_MEMORY_WRITE, PAGE, &mut data);
            assert_eq!(written, Err((libc::EOPNOTSUPP, 0)));
            let read = at_once(port, request, ALPC_MEMORY_READ, PAGE, &mut data);
            assert_eq!((read, data), (Ok(()), [2; 2 * PAGE]));
            // What is in front of the file isn't of it.
            let written = at_once(port, request, ALPC_MEMORY_WRITE, 0, &mut [1; 2 * PAGE]);
            assert_eq!(written, Err((libc::EOPNOTSUPP, PAGE as u64)));
            assert_eq!(
                port.peek(request, 0, 0, PAGE + 1).expect("peek")[PAGE - 1..],
                [1, 2]
            );
            // Who waits writes everywhere, also from one kind to the other.
            port.poke(request, 0, 0, &[3; 3 * PAGE]).expect("poke");
        });
    });
}

#[test]
fn bytes_of_any_length_reach_a_mapping_of_a_file_where_they_belong() {
    isolated(|| {
        let control = Control::new();
        held(control, nothing, nothing, |port, request| {
            let mut rng = rng::Rng::new(7);
            let mut model = vec![0_u8; PAGE + fuse::SIZE as usize];
            for round in 1..=rounds(200) {
                let offset = rng.below(model.len() as u64 - 1) as usize;
                let most = (model.len() - offset).min(200_000);
                let length = 1 + rng.below(most as u64) as usize;
                let data = vec![round as u8; length];
                port.poke(request, 0, offset as u64, &data).expect("poke");
                model[offset..offset + length].copy_from_slice(&data);
            }
            let seen = port.peek(request, 0, 0, model.len()).expect("peek");
            assert!(seen == model);
        });
    });
}

#[test]
fn a_hole_in_the_holders_data_ends_what_it_writes_to_a_file_there() {
    isolated(|| {
        let control = Control::new();
        held(control, nothing, nothing, |port, request| {
            let cliff = Pages::cliff();
            let mut arg = memory_argument(request, 0, ALPC_MEMORY_WRITE);
            cliff.write(cliff.end(100), &[5; 100]);
            (arg.offset, arg.data, arg.length) = (PAGE as u64, cliff.end(100), 5000);
            let short = memory_as_is(port, &mut arg).unwrap_err();
            assert_eq!((short.failure.errno, short.done), (libc::EFAULT, 100));
            let seen = port.peek(request, 0, PAGE as u64, 101).expect("peek");
            assert_eq!((&seen[..100], seen[100]), (&[5; 100][..], 0));
        });
    });
}

#[test]
fn a_timeout_ends_a_write_to_a_file_and_nothing_is_written_later() {
    isolated_long(2, || {
        let control = Control::new();
        let before = move |offered: &Offered| {
            let file = offered.start + PAGE;
            // The kernel waits for such a page with no look at who would rather not.
            advise(file, fuse::SIZE as usize, libc::MADV_RANDOM);
            control.hold(0, &[fuse::READ]);
        };
        held(control, before, nothing, |port, request| {
            let mut data = [9_u8; 8];
            let mut arg = memory_argument(request, 0, ALPC_MEMORY_WRITE);
            (arg.offset, arg.data, arg.length) = (PAGE as u64, data.as_mut_ptr() as u64, 8);
            (arg.timeout_flags, arg.timeout) = (ALPC_TIMEOUT_RELATIVE, 100 * MS);
            let begun = Instant::now();
            let result = memory_as_is(port, &mut arg);
            let late = begun.elapsed().saturating_sub(Duration::from_millis(100));
            assert_in_time((result, late));
            control.answer_all();
            // The caller's thread is back from what it had begun when it does something else.
            let seen = port.peek(request, 0, PAGE as u64, 8).expect("peek");
            assert_eq!(seen, [0; 8]);
        });
    });
}

#[test]
fn a_write_to_a_file_that_the_caller_itself_may_not_write_to_fails() {
    isolated(|| {
        let control = Control::new();
        let before = |offered: &Offered| {
            // SAFETY: Memory of this process's that nobody writes to.
            let result =
                unsafe { libc::mprotect(offered.start as *mut _, offered.length, libc::PROT_READ) };
            assert_eq!(result, 0);
        };
        held(control, before, nothing, |port, request| {
            let short = port.poke(request, 0, PAGE as u64, &[9; 8]).unwrap_err();
            assert_eq!((short.failure.errno, short.done), (libc::EFAULT, 0));
        });
    });
}

#[test]
fn a_write_to_a_file_obeys_the_protection_keys_of_the_callers_thread() {
    const KEYS: u64 = 1;
    isolated(|| {
        let control = Control::new();
        let page = Shared::new();
        let before = move |offered: &Offered| {
            const DISABLE_WRITE: u64 = 2;
            let (at, both) = (offered.start, libc::PROT_READ | libc::PROT_WRITE);
            // SAFETY: Memory of this process's that nobody writes to, and a new key.
            let result = unsafe {
                let key = libc::syscall(libc::SYS_pkey_alloc, 0, DISABLE_WRITE);
                libc::syscall(libc::SYS_pkey_mprotect, at, offered.length, both, key)
            };
            // Not all processors have keys.
            page[0].store(if result == 0 { KEYS } else { 0 }, SeqCst);
        };
        held(control, before, nothing, |port, request| {
            let written = port.poke(request, 0, PAGE as u64, &[9; 8]);
            let written = written.map_err(|short| (short.failure.errno, short.done));
            match page[0].load(SeqCst) {
                KEYS => assert_eq!(written, Err((libc::EFAULT, 0))),
                _ => note!("this processor has no protection keys: {written:?}"),
            }
        });
    });
}

#[test]
fn what_is_written_to_a_file_is_not_lost_while_the_file_is_written_back() {
    /// A section, so that there is time between its first page and its last.
    const LENGTH: usize = 16 * 4096;
    isolated_long(2, || {
        let mut create = Create::named("memory/file").open().taking_memory();
        let port = create.run().expect("create");
        let control = Control::new();
        let page = Shared::new();
        let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
            let client = Connect::to("memory/file").run().expect("connect").port;
            let file = fuse::open(0, 0);
            let range = fuse::map(&file) as usize;
            // SAFETY: A mapping of this process's.
            let write_back = || {
                assert_eq!(
                    unsafe { libc::msync(range as *mut _, LENGTH, libc::MS_SYNC) },
                    0
                )
            };
            thread::scope(|scope| {
                let call = scope.spawn(|| {
                    let ranges = Ranges::of(&[(range as u64, LENGTH, BOTH)]);
                    Transfer::offering(&ranges).run(&client).expect("call");
                });
                while !call.is_finished() {
                    write_back();
                    // What was asked for before is done now.
                    let asked = page[0].load(SeqCst);
                    write_back();
                    page[1].store(asked, SeqCst);
                }
            });
            link.put(7);
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let request = port.receive().expect("receive");
        let mut lost = 0;
        for round in 1..=rounds(300) {
            let bytes = [round as u8; LENGTH];
            port.poke(&request, 0, 0, &bytes).expect("poke");
            page[0].store(round, SeqCst);
            wait::eventually(|| page[1].load(SeqCst) >= round);
            lost += u64::from(control.kept(0, LENGTH) != bytes);
        }
        port.reply(&request, b"").expect("reply");
        assert_eq!(caller.take(), 7);
        caller.kill();
        assert_eq!(lost, 0);
    });
}
