// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who sends on a connection that somebody else has made is an account of its own, and its memory
//! is the sender's.

use std::fs;
use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::files::pipe;
use alpc_tests::raw::*;
use alpc_tests::*;

use super::*;

const CONNECTIONS: usize = 64;
const LONGEST: u64 = 4096;
/// How deep in user namespaces the sender is: so many accounts there are.
const DEEP: usize = 30;

/// Goes into a user namespace within the last one, as often as that may be.
fn descend() {
    for _ in 0..DEEP {
        // SAFETY: Takes no pointer; one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
            break;
        }
        fs::write("/proc/self/uid_map", "0 0 1").expect("map");
    }
}

/// Sends handles over all connections until there is no memory for more. Which allocation meets the
/// limit depends on the turn.
fn floods(clients: &[Port], transfer: &mut Transfer, seen: Shared, turn: u64) {
    let ready = transfer.arg;
    let mut length = (1 + turn * 331 % LONGEST) as u32;
    for client in clients.iter().skip(turn as usize % 7) {
        loop {
            transfer.arg = ready;
            transfer.arg.send_length = std::mem::take(&mut length);
            match transfer.run_as_is(client) {
                Ok(_) => seen[SENT].fetch_add(1, SeqCst),
                Err(failure) if failure.errno == libc::ENOMEM => {
                    seen[ERRNO].fetch_add(1, SeqCst);
                    return;
                }
                // A kernel may have been told to allow fewer than there is memory for.
                Err(fail::LIMIT) => {
                    seen[FLAGS].store(1, SeqCst);
                    return;
                }
                Err(failure) => {
                    assert_eq!(failure, fail::QUEUE_FULL);
                    break;
                }
            };
        }
    }
}

#[test]
fn who_sends_handles_for_others_fails_at_its_limit_and_nobody_is_killed() {
    isolated_long(2, || {
        let name = "memcg/foreign";
        let turns = rounds(20);
        let cgroup = Cgroup::new("foreign");
        let create = Create::named(name).open().takes(ALPC_TAKE_HANDLES, 0);
        let port = { create }.run().expect("create");
        let seen = Shared::new();
        let sender = Peer::spawn(ROOT, move |link| {
            keep_memory();
            link.sync();
            let connect = |_| Connect::to(name).run().expect("connect").port;
            let clients: Vec<_> = (0..CONNECTIONS).map(connect).collect();
            descend();
            let (_reader, writer) = pipe();
            let mut container = HandleContainer::one(&writer);
            let data = vec![7; LONGEST as usize];
            let mut transfer = Transfer::new().send(&data);
            transfer = transfer.flags(ALPC_RELEASE | ALPC_NONBLOCK);
            transfer = transfer.handles(&mut container);
            transfer.point();
            keep_memory();
            link.sync();
            for turn in 1..=turns {
                eventually(|| seen[TURNS].load(SeqCst) >= turn);
                floods(&clients, &mut transfer, seen, turn);
                seen[DONE].store(turn, SeqCst);
            }
        });
        cgroup.add(&sender);
        sender.sync();
        let servers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let request = port.receive().expect("receive");
                Accept::new(request.id).run(&port).expect("accept")
            })
            .collect();
        sender.sync();
        for turn in 1..=turns {
            seen[TURNS].store(turn, SeqCst);
            eventually(|| seen[DONE].load(SeqCst) == turn);
            let mut receive = Transfer::new().capacity(LONGEST as usize).now();
            while receive.run(&port).is_ok() {
                receive.recv.fill(JUNK);
            }
        }
        sender.wait();
        let (sent, failed) = (seen[SENT].load(SeqCst), seen[ERRNO].load(SeqCst));
        note!("{sent} sent, {failed} failed for want of memory");
        drop((port, servers));
        if seen[FLAGS].load(SeqCst) != 0 {
            note!("this kernel allows too few");
            return;
        }
        assert_eq!(failed, turns);
        cgroup.assert_nobody_was_killed();
    });
}
