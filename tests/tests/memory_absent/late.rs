// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes to a stored file that come to an end before all is written.

use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::fuse::{self, Control, Mounted};
use alpc_tests::raw::*;
use alpc_tests::starve::{idle, pin, two_processors, STRANGERS, VICTIMS};
use alpc_tests::*;

use super::errands::{held, nothing, NAME};
use super::locks::hogs;
use super::*;

const PAGE: usize = 4096;
const LENGTH: usize = fuse::SIZE as usize;

/// All of the first file.
fn whole_file() -> (usize, usize) {
    (fuse::map(&fuse::open(0, 0)) as usize, LENGTH)
}

/// Reads all of it, though signals come.
fn read_all(port: &Port, request: &Message) -> Vec<u8> {
    let mut seen = vec![JUNK; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        let mut arg = memory_argument(request, 0, ALPC_MEMORY_READ);
        let rest = &mut seen[at..];
        (arg.offset, arg.data) = (at as u64, rest.as_mut_ptr() as u64);
        arg.length = rest.len() as u64;
        at += match memory_as_is(port, &mut arg) {
            Ok(()) => rest.len(),
            Err(short) => short.done as usize,
        };
    }
    seen
}

#[test]
fn so_many_bytes_are_written_as_the_holder_is_told_whatever_ends_its_calls() {
    isolated_long(3, || {
        let control = Control::new();
        signals::catch(libc::SIGUSR1, 0);
        held(control, whole_file, nothing, |port, request| {
            let page = Shared::new();
            thread::scope(|scope| {
                let tid = signals::tid();
                scope.spawn(move || {
                    while page[0].load(SeqCst) == 0 {
                        thread::sleep(Duration::from_micros(700));
                        signals::to_thread(tid, libc::SIGUSR1);
                    }
                });
                let mut rng = rng::Rng::new(11);
                let mut model = vec![0_u8; LENGTH];
                let (mut whole, mut part) = (0, 0);
                for round in 1..=rounds(400) {
                    let offset = rng.below(LENGTH as u64 - 1) as usize;
                    let length = 1 + rng.below((LENGTH - offset) as u64) as usize;
                    let data = vec![(round % 251) as u8 + 1; length];
                    let mut arg = memory_argument(request, 0, ALPC_MEMORY_WRITE);
                    (arg.offset, arg.data) = (offset as u64, data.as_ptr() as u64);
                    arg.length = length as u64;
                    if rng.one_in(2) {
                        arg.timeout_flags = ALPC_TIMEOUT_RELATIVE;
                        arg.timeout = rng.below(3 * MS);
                    }
                    let done = match memory_as_is(port, &mut arg) {
                        Ok(()) => length,
                        Err(short) => short.done as usize,
                    };
                    whole += u32::from(done == length);
                    part += u32::from(done > 0 && done < length);
                    model[offset..offset + done].copy_from_slice(&data[..done]);
                    if round % 4 == 0 {
                        assert!(read_all(port, request) == model, "round {round}");
                    }
                }
                page[0].store(1, SeqCst);
                note!("{whole} whole, {part} in part");
            });
        });
    });
}

// Where the two sides of the next test are.
const ID: usize = 0;
const TURN: usize = 1;
const OVER: usize = 2;
const WRITER: usize = 3;

/// Offers a file, of which only the first page comes, and has another thread go on with the request.
/// What the first byte is then, and when the file has been read.
fn goes_on_by_another_thread(page: Shared, control: Control) -> (u8, u8) {
    pin(VICTIMS);
    let client = &Connect::to(NAME).run().expect("connect").port;
    let (at, _) = whole_file();
    advise(at, LENGTH, libc::MADV_RANDOM);
    // SAFETY: It is mapped.
    unsafe { ptr::write_volatile(at as *mut u8, 1) };
    control.hold(0, &[fuse::READ]);
    // SAFETY: It is mapped.
    let byte = || unsafe { ptr::read_volatile(at as *const u8) };
    let ranges = Ranges::of(&[(at as u64, 2 * PAGE, BOTH)]);
    // While the first thread waits for its file nothing here may change the address space.
    // SAFETY: Takes no pointer.
    assert_eq!(
        unsafe { libc::mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT) },
        0
    );
    let mut first = Transfer::offering(&ranges);
    let mut second = Transfer::new().send(b"answer").receive();
    second = second.flags(ALPC_SYNC | ALPC_ANSWER);
    first.point();
    second.point();
    thread::scope(|scope| {
        let first = scope.spawn(move || first.run_as_is(client).map(|_| ()));
        wait::eventually(|| page[ID].load(SeqCst) != 0);
        second.arg.send_id = page[ID].load(SeqCst);
        second.arg.send_callback_id = page[TURN].load(SeqCst) as u32;
        let ready = second.arg;
        // The callback may be yet to come.
        wait::eventually(|| {
            second.arg = ready;
            let answered = second.run_as_is(client).map(|_| ());
            assert!(
                [Ok(()), Err(fail::NOT_OWNER), Err(fail::STALE_TURN)].contains(&answered),
                "{answered:?}"
            );
            answered.is_ok()
        });
        let before = byte();
        page[OVER].store(1, SeqCst);
        control.answer_all();
        first.join().expect("join").expect("the callback");
        (before, byte())
    })
}

#[test]
fn nothing_is_written_once_the_request_is_over_though_a_thread_is_late() {
    if !two_processors() {
        note!("not tried: one processor");
        return;
    }
    isolated_long(2, || {
        let port = Create::named(NAME)
            .open()
            .taking_memory()
            .run()
            .expect("create");
        let control = Control::new();
        let page = Shared::new();
        let (caller, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
            let (before, after) = goes_on_by_another_thread(page, control);
            link.put(u64::from(before));
            link.put(u64::from(after));
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let request = port.receive().expect("receive");
        let holder = Peer::fork(ALICE, |link| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    page[WRITER].store(signals::tid() as u64, SeqCst);
                    pin(STRANGERS);
                    // It hears of the end before or after it has written.
                    let _ = port.poke(&request, 0, 0, &[9; 2 * PAGE]);
                });
                wait::eventually(|| control.waiting() > 0);
                // It sleeps, and gets no processor from now on.
                idle(page[WRITER].load(SeqCst) as i32);
                link.sync();
                link.take();
                let callback = Transfer::new().send(b"callback").into(&request);
                page[TURN].store(u64::from(request.callback_id) + 1, SeqCst);
                page[ID].store(request.id, SeqCst);
                let answer = callback.receive().flags(ALPC_SYNC).run(&port);
                port.reply(&answer.expect("answer"), b"").expect("reply");
                wait::eventually(|| page[OVER].load(SeqCst) != 0);
            });
        });
        holder.sync();
        let _hogs = hogs(Duration::from_secs(4));
        thread::sleep(Duration::from_millis(200));
        holder.put(1);
        let (before, after) = (caller.take(), caller.take());
        assert_eq!(before, after, "written when all was over");
        holder.wait();
        caller.kill();
    });
}

/// Has userfaultfd keep track of what is written to memory: whether this kernel does that.
fn tracked(start: usize, length: usize) -> bool {
    const WP_ASYNC: u64 = 1 << 15;
    const MODE_WP: u64 = 2;
    // UFFDIO_API, UFFDIO_REGISTER.
    const API: u32 = 0xc018_aa3f;
    const REGISTER: u32 = 0xc020_aa00;
    // SAFETY: Live arguments. The descriptor stays open.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, 1) as i32;
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        let mut api = [0xaa_u64, WP_ASYNC, 0];
        let mut register = [start as u64, length as u64, MODE_WP, 0];
        libc::ioctl(fd, API as libc::Ioctl, api.as_mut_ptr()) == 0
            && libc::ioctl(fd, REGISTER as libc::Ioctl, register.as_mut_ptr()) == 0
    }
}

#[test]
fn a_call_does_not_wait_for_its_file_though_userfaultfd_keeps_track_of_that() {
    isolated_long(2, || {
        let control = Control::new();
        let page = Shared::new();
        let prepare = move || {
            let (start, length) = whole_file();
            page[0].store(u64::from(tracked(start, length)), SeqCst);
            control.hold(0, &[fuse::READ]);
            (start, length)
        };
        let after = move |_| page[1].store(1, SeqCst);
        held(control, prepare, after, |port, request| {
            if page[0].load(SeqCst) == 0 {
                note!("this kernel keeps no track of files");
                return;
            }
            assert_in_time(read(port, request, 100 * MS));
            port.reply(request, b"").expect("reply");
            let begun = Instant::now();
            eventually(|| page[1].load(SeqCst) == 1);
            note!("the call is over {:?} after its answer", begun.elapsed());
            // The file has not come yet.
            assert!(control.waiting() > 0);
        });
    });
}
