// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory and waiting: a holder that gets no processor keeps nobody, and one that doesn't
//! want to wait for its caller's pages need not.

use std::time::{Duration, Instant};

use alpc_tests::raw::*;
use alpc_tests::*;

const READ: u32 = ALPC_MEMORY_READ;
const WRITE: u32 = ALPC_MEMORY_WRITE;
const MS: u64 = 1_000_000;
/// Far more than anything takes that waits for nobody.
const SOON: Duration = Duration::from_secs(2);

/// Pins the calling thread to one processor.
fn pin(cpu: usize) {
    // SAFETY: A set of processors, of which the kernel reads as many bytes as it has.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
    }
}

/// From now on the calling thread runs only where nobody else wants to.
fn become_idle() {
    // SAFETY: The parameter is live for the call.
    unsafe {
        let none: libc::sched_param = std::mem::zeroed();
        assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &none), 0);
    }
}

/// Processes that keep the first processor busy.
fn hogs() -> Vec<Peer> {
    let hog = || {
        Peer::fork(ALICE, |_| {
            pin(0);
            loop {
                std::hint::spin_loop();
            }
        })
    };
    (0..16).map(|_| hog()).collect()
}

/// A holder that reads or writes all of its caller's memory again and again, and is starved for
/// processor time.
fn starving(port: Port, length: usize, access: u32) -> Peer {
    Peer::fork(ALICE, |link| {
        pin(0);
        let request = port.receive().expect("receive");
        let mut data = vec![1_u8; length];
        let mut arg = memory_argument(&request, 0, access);
        (arg.data, arg.length) = (data.as_mut_ptr() as u64, length as u64);
        memory_as_is(&port, &mut arg).expect("memory");
        become_idle();
        link.sync();
        while memory_as_is(&port, &mut arg).is_ok() {}
    })
}

#[test]
fn a_starved_holder_does_not_keep_its_caller() {
    const LENGTH: usize = 2 << 20;
    const TIMEOUT: u64 = 2000 * MS;
    isolated_long(2, || {
        pin(1);
        for (access, kill) in [(READ, true), (WRITE, true), (WRITE, false)] {
            let Pair {
                port,
                server,
                client,
            } = Pair::with(Create::anonymous().open().taking_memory());
            let caller = Peer::fork(BOB, |link| {
                pin(1);
                let mut memory = vec![2_u8; LENGTH];
                let range = (memory.as_mut_ptr() as u64, LENGTH, BOTH);
                let ranges = Ranges::of(&[range]);
                let mut call = Transfer::offering(&ranges);
                if !kill {
                    call = call.timeout(TIMEOUT);
                }
                let start = Instant::now();
                assert_eq!(call.run(&client).unwrap_err(), fail::TIMED_OUT_SENT);
                link.put(start.elapsed().as_nanos() as u64);
            });
            let holder = starving(port, LENGTH, access);
            drop((server, client));
            holder.sync();
            let _hogs = hogs();
            // Long enough for the holder to have lost the processor wherever it was.
            std::thread::sleep(Duration::from_millis(300));
            let start = Instant::now();
            let late = match kill {
                true => {
                    caller.kill();
                    start.elapsed()
                }
                false => {
                    let took = caller.take();
                    caller.wait();
                    Duration::from_nanos(took.saturating_sub(TIMEOUT))
                }
            };
            note!("access {access}, kill {kill}: {late:?} late");
            assert!(late < SOON, "{late:?}");
        }
    });
}
