// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a client's waiting threads cost whoever shares a port with them.

use std::time::Duration;

use alpc_tests::raw::*;
use alpc_tests::rng::Rng;
use alpc_tests::wait::clock;
use alpc_tests::*;

const NAME: &str = "strangers/waiters";

/// How much longer a send may take for a client with [`MANY`] waiting threads. All of that would
/// be with the port's lock held, so every client of the port would wait for it.
const BOUND: Duration = Duration::from_millis(2);

/// Waiting threads for which that is the bound; and the fewest, to which a part of it applies.
const MANY: u64 = 4000;
const FEWEST: u64 = 1000;

/// How often what exceeds that is measured again: a busy host can only add to it.
const ATTEMPTS: usize = 3;

/// A client with so many threads that wait for a message, all of them with too little room for it.
fn client(threads: u64) -> Peer {
    Peer::spawn(ROOT, move |link| {
        let most = libc::rlimit {
            rlim_cur: 1 << 16,
            rlim_max: 1 << 16,
        };
        // SAFETY: A live limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &most) }, 0);
        MALLORY.become_it();
        let client: &Port = Box::leak(Box::new(Connect::to(NAME).run().expect("connect").port));
        let mut rng = Rng::new(threads);
        for _ in 0..threads {
            let room = 1 + rng.below(60) as usize;
            let thread = std::thread::Builder::new().stack_size(1 << 16);
            let waits = move || drop(Transfer::new().capacity(room).run(client));
            thread.spawn(waits).expect("a thread");
        }
        link.sync();
        link.take();
    })
}

/// What the first send costs that fits none of so many waiting threads.
fn first_send(threads: u64) -> Duration {
    let port = Create::named(NAME).open().run().expect("create");
    let client = client(threads);
    let server = views::accept(&port);
    client.sync();
    client.until_asleep();
    let mut transfer = Transfer::new().send(&[7; 64]);
    transfer = transfer.flags(ALPC_RELEASE | ALPC_NONBLOCK);
    transfer.point();
    let begun = clock(libc::CLOCK_THREAD_CPUTIME_ID);
    let sent = transfer.run_as_is(&server);
    let took = clock(libc::CLOCK_THREAD_CPUTIME_ID) - begun;
    sent.expect("send");
    client.kill();
    Duration::from_nanos(took)
}

#[test]
fn threads_without_room_for_a_message_do_not_make_it_dear() {
    isolated_long(3, || {
        let few = (0..3 * ATTEMPTS).map(|_| first_send(100)).min();
        let few = few.expect("an attempt");
        let many = rounds(MANY).max(FEWEST);
        let bound = BOUND * scale::slowness() * many as u32 / MANY as u32;
        let mut tried = Vec::new();
        let within = (0..4 * ATTEMPTS).any(|_| {
            tried.push(first_send(many));
            tried.last() <= Some(&(few + bound))
        });
        note!("a send beside 100 waiting threads: {few:?}; beside {many}: {tried:?}");
        assert!(within, "{tried:?}, and {few:?} beside 100");
    });
}
