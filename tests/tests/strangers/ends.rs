// SPDX-License-Identifier: MIT OR Apache-2.0

//! The end of a process that shares something with a stranger.

use std::time::Duration;

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::{Link, Peer, ROOT};

use super::memory::{offer, offered, reads};
use super::stage::*;
use super::views::{lends, lends_for_all_its_memory};

/// Rounds of which each has a process of its own.
const PROCESSES: u64 = 100;

/// Times the end of a process that is killed once it has done `before`, with all that the victim
/// has.
fn killed(watch: &mut Watch, before: impl FnOnce(&Link)) {
    let process = Peer::fork(ROOT, |link| {
        before(link);
        link.sync();
        link.take();
    });
    process.sync();
    watch.time(|| process.kill());
}

fn is_killed_in_a_call() -> Box<dyn Side> {
    let (stage, bytes) = (victim(), offered());
    always(move |watch| {
        let process = Peer::fork(ROOT, |link| {
            link.sync();
            offer(stage, bytes, 1_000_000_000, &mut Watch::default());
        });
        process.sync();
        // Some time in the call, in which the stranger comes to read.
        std::thread::sleep(Duration::from_millis(4));
        watch.time(|| process.kill());
    })
}

fn is_killed_with_views() -> Box<dyn Side> {
    let stage = victim();
    using(
        || vec![(); (batch() / 4) as usize],
        |(), watch| {
            killed(watch, |_| {
                for _ in 0..4 {
                    let (message, view) = stage.port.receive_view().expect("receive");
                    view.expect("a view").get(0);
                    let_go(&stage.port, &message);
                }
            });
        },
    )
}

/// With connections to its own port and to the stranger's, both of which have messages.
fn is_killed_with_connections() -> Box<dyn Side> {
    let stage = victim();
    let mut receive = receiving();
    always(move |watch| {
        killed(watch, |_| {
            for name in [VICTIM, STRANGER] {
                let knock = Connect::to(name).takes(TAKES, 0).asynchronous().run();
                std::mem::forget(knock.expect("connect"));
            }
            again(&mut flooding(b"one way"), &stage.client);
        });
        drain(&stage.port, &mut receive);
    })
}

rows! {
    a_caller_that_is_killed_is_gone_whoever_reads_its_memory:
        ["exit"], is_killed_in_a_call, reads, rounds PROCESSES;
    a_caller_that_is_killed_is_gone_though_who_reads_its_memory_gets_no_time_at_all:
        ["exit"], is_killed_in_a_call, reads, rounds PROCESSES / 10, batch PROCESSES / 20,
        means Means::Hogs(Pattern::LONG);
    a_holder_of_views_that_is_killed_is_gone_whatever_their_owner_does:
        ["exit"], is_killed_with_views, lends, rounds PROCESSES;
    a_holder_of_views_that_is_killed_is_gone_though_their_owner_has_no_memory:
        ["exit"], is_killed_with_views, lends_for_all_its_memory, rounds PROCESSES, means Means::Memory;
    a_client_that_is_killed_is_gone_whatever_others_of_the_port_do:
        ["exit"], is_killed_with_connections, floods, rounds PROCESSES;
}
