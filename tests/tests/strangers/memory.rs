// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that a victim offers while it waits, and a stranger that reads it.

use alpc_tests::isolated_long;
use alpc_tests::raw::*;
use alpc_tests::starve::*;

use super::stage;

/// What is offered.
const OFFERED: usize = 4 << 20;

/// Reads what is offered with each request, for as long as it may.
fn reader() -> Box<dyn Side> {
    let stage = stage::stranger();
    let mut room = vec![0; OFFERED];
    Box::new(move |_: &mut Watch| {
        let Ok(message) = stage.port.receive_now() else {
            return;
        };
        if message.kind != ALPC_TYPE_REQUEST {
            return;
        }
        loop {
            let mut arg = memory_argument(&message, 0, ALPC_MEMORY_READ);
            (arg.data, arg.length) = (room.as_mut_ptr() as u64, OFFERED as u64);
            if memory_as_is(&stage.port, &mut arg).is_err() {
                break;
            }
        }
        // Whoever gave up has nothing to be told.
        let _ = stage.port.release(&message);
    })
}

/// Offers memory in a call that ends at its timeout.
fn caller() -> Box<dyn Side> {
    let stage = stage::victim();
    let offered = vec![7_u8; OFFERED];
    Box::new(move |watch: &mut Watch| {
        let ranges = Ranges::of(&[(offered.as_ptr() as u64, OFFERED, ALPC_MEMORY_READ)]);
        let mut transfer = Transfer::offering(&ranges).timeout(1_000_000);
        transfer.point();
        let ended = watch.time(|| transfer.run_as_is(&stage.client));
        let failure = ended.expect_err("nobody answers");
        assert!(
            [fail::TIMED_OUT_SENT, fail::LOST].contains(&failure),
            "{failure:?}"
        );
    })
}

#[test]
fn a_timeout_ends_a_call_whoever_reads_its_memory() {
    isolated_long(2, || {
        nobody_waits(&Case {
            name: "SEND_WAIT_RECEIVE that offers memory, until its timeout",
            stranger: reader,
            victim: caller,
            batch: u64::MAX,
            means: Means::Hogs(Pattern::BURSTS),
        })
    });
}
