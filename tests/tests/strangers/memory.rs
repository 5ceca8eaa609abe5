// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that a caller offers while it waits.

use std::ptr;
use std::thread;

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::views::PAGE;

use super::stage::*;

/// What is offered.
const OFFERED: usize = 4 << 20;

/// Reads what is offered with each request, for as long as it may.
pub fn reads() -> Box<dyn Side> {
    let stage = stranger();
    let mut room = vec![0; OFFERED];
    busy(move || {
        let Ok(message) = stage.port.receive_now() else {
            return;
        };
        if message.kind == ALPC_TYPE_REQUEST {
            let mut read = || {
                let mut arg = memory_argument(&message, 0, ALPC_MEMORY_READ);
                (arg.data, arg.length) = (room.as_mut_ptr() as u64, OFFERED as u64);
                memory_as_is(&stage.port, &mut arg)
            };
            while read().is_ok() {}
        }
        let_go(&stage.port, &message);
    })
}

pub fn offered() -> &'static [u8] {
    vec![7_u8; OFFERED].leak()
}

/// A call that offers these bytes, and ends after so many nanoseconds.
pub fn offer(stage: &Stage, bytes: &[u8], timeout: u64, watch: &mut Watch) {
    let ranges = Ranges::of(&[(bytes.as_ptr() as u64, bytes.len(), ALPC_MEMORY_READ)]);
    let mut transfer = Transfer::offering(&ranges).timeout(timeout);
    transfer.point();
    let ended = watch.time(|| transfer.run_as_is(&stage.client));
    let failure = ended.expect_err("nobody answers");
    let expected = [fail::TIMED_OUT_SENT, fail::TIMED_OUT, fail::LOST];
    assert!(expected.contains(&failure), "{failure:?}");
}

fn offers() -> Box<dyn Side> {
    let (stage, bytes) = (victim(), offered());
    always(move |watch| offer(stage, bytes, 1_000_000, watch))
}

fn map_and_unmap() {
    let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: A new mapping where the kernel likes, and the end of that.
    unsafe {
        let page = libc::mmap(ptr::null_mut(), PAGE as usize, protection, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(libc::munmap(page, PAGE as usize), 0);
    }
}

/// Has a thread that waits in a call, and offers memory that is there; meanwhile this one changes the
/// address space.
fn waits_and_maps() -> Box<dyn Side> {
    let (stage, bytes) = (stranger(), offered());
    thread::spawn(|| {
        let ranges = Ranges::of(&[(bytes.as_ptr() as u64, bytes.len(), ALPC_MEMORY_READ)]);
        let _ = Transfer::offering(&ranges).run(&stage.client);
    });
    busy(map_and_unmap)
}

/// Reads what is there. While the lock of the address space is taken, it is refused: it needn't come
/// to something.
fn reads_what_is_there() -> Box<dyn Side> {
    let stage = victim();
    let message = next(&stage.port, ALPC_TYPE_REQUEST);
    let room = vec![0_u8; 4096].leak();
    always(move |watch| {
        let access = ALPC_MEMORY_READ | ALPC_MEMORY_NOWAIT;
        let mut arg = memory_argument(&message, 0, access);
        (arg.data, arg.length) = (room.as_mut_ptr() as u64, room.len() as u64);
        if let Err(short) = watch.time(|| memory_as_is(&stage.port, &mut arg)) {
            assert_eq!(short.failure.errno, libc::EAGAIN, "{short:?}");
        }
    })
}

/// Has a thread that waits in a call, and brings in what it offers when it is asked to; meanwhile
/// this one takes that away again.
fn waits_and_forgets() -> Box<dyn Side> {
    let (stage, bytes) = (stranger(), offered());
    let range = (bytes.as_ptr() as u64).next_multiple_of(PAGE);
    let length = (bytes.len() as u64 - PAGE) / PAGE * PAGE;
    thread::spawn(move || {
        let ranges = Ranges::of(&[(range, length as usize, ALPC_MEMORY_READ)]);
        let _ = Transfer::offering(&ranges).run(&stage.client);
    });
    busy(move || {
        // SAFETY: Nobody needs what is in there.
        let forgotten =
            unsafe { libc::madvise(range as *mut _, length as usize, libc::MADV_DONTNEED) };
        assert_eq!(forgotten, 0);
    })
}

/// Reads what the stranger has to bring in, and waits a millisecond for it at most.
fn reads_what_is_not_there() -> Box<dyn Side> {
    let stage = victim();
    let message = next(&stage.port, ALPC_TYPE_REQUEST);
    let room = vec![0_u8; 16 << 10].leak();
    let mut offset = 0;
    always(move |watch| {
        let mut arg = memory_argument(&message, 0, ALPC_MEMORY_READ);
        (arg.data, arg.length, arg.offset) = (room.as_mut_ptr() as u64, room.len() as u64, offset);
        (arg.timeout_flags, arg.timeout) = (ALPC_TIMEOUT_RELATIVE, 1_000_000);
        offset = (offset + (64 << 10)) % (2 << 20);
        if let Err(short) = watch.time(|| memory_as_is(&stage.port, &mut arg)) {
            assert_eq!(short.failure, fail::TIMED_OUT, "{short:?}");
        }
    })
}

/// Has a thread that waits in a call, and offers memory that is there; times what this one changes
/// of the address space meanwhile.
fn waits_and_changes() -> Box<dyn Side> {
    let (stage, bytes) = (victim(), offered());
    thread::spawn(|| {
        let ranges = Ranges::of(&[(bytes.as_ptr() as u64, bytes.len(), ALPC_MEMORY_READ)]);
        let _ = Transfer::offering(&ranges).run(&stage.client);
    });
    timed(map_and_unmap)
}

/// Looks up what is there over and over, and copies nothing.
fn looks_up() -> Box<dyn Side> {
    let stage = stranger();
    let message = next(&stage.port, ALPC_TYPE_REQUEST);
    let nowhere = Box::leak(Box::new(alpc_tests::memory::Pages::forbidden()));
    busy(move || {
        let access = ALPC_MEMORY_READ | ALPC_MEMORY_NOWAIT;
        let mut arg = memory_argument(&message, 0, access);
        (arg.data, arg.length) = (nowhere.address(), 64 << 10);
        let _ = memory_as_is(&stage.port, &mut arg);
    })
}

rows! {
    an_address_space_is_changed_whoever_reads_it:
        ["ATTR_MEMORY"], waits_and_changes, looks_up;
    a_holder_is_back_in_time_whatever_its_caller_has_to_bring_in:
        ["MEMORY"], reads_what_is_not_there, waits_and_forgets;
    a_timeout_ends_a_call_whoever_reads_its_memory: ["ATTR_MEMORY"], offers, reads;
    a_timeout_ends_a_call_though_who_reads_its_memory_gets_no_time_at_all:
        ["ATTR_MEMORY"], offers, reads, batch 200, means Means::Hogs(Pattern::LONG);
    a_read_without_a_wait_is_over_at_once_whatever_its_owner_does_to_its_address_space:
        ["MEMORY"], reads_what_is_there, waits_and_maps;
}
