// SPDX-License-Identifier: MIT OR Apache-2.0

//! Views lent, held and taken back by many at random, from a seed that is printed: clients that
//! write whenever they can and are killed, servers that share a port and are killed.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use alpc_tests::raw::*;
use alpc_tests::rng::Rng;
use alpc_tests::views::*;
use alpc_tests::*;

const PAGES: u64 = 16;
/// What is counted by all.
const LENT: usize = 0;
const HELD: usize = 1;
const REFUSED: usize = 2;
const STORED: usize = 3;
const DELETED: usize = 4;

/// Lends views and does everything else to them, without end.
fn client_of(name: &str, seed: u64, seen: Shared) {
    survive_refusals();
    let mut rng = Rng::new(seed);
    loop {
        // A server that is killed with the request in hand refuses it.
        let port = match Connect::to(name).taking(ALPC_TAKE_VIEWS).run() {
            Ok(connected) => connected.port,
            Err(fail::REFUSED) => continue,
            Err(failure) => panic!("{failure:?}"),
        };
        let section = port.section(PAGES * PAGE).expect("section");
        let mut views = Vec::new();
        let mut last = 0;
        for _ in 0..rng.below(100) {
            match rng.below(6) {
                0 => {
                    if let Ok(view) = section.view(1 + rng.below(4 * PAGE)) {
                        views.push(view);
                    }
                }
                1 | 2 if !views.is_empty() => {
                    let view = *rng.pick(&views);
                    last = lend(&port, view, &mut rng, seen).unwrap_or(last);
                }
                3 if !views.is_empty() => {
                    let view = *rng.pick(&views);
                    for at in [0, view.size - 1, rng.below(view.size)] {
                        let which = match poke(view.base + at, rng.word() as u8) {
                            Ok(()) => STORED,
                            Err(signal) => {
                                assert_eq!(signal, libc::SIGBUS);
                                REFUSED
                            }
                        };
                        seen[which].fetch_add(1, Relaxed);
                    }
                }
                4 if !views.is_empty() && rng.one_in(3) => {
                    let index = rng.below(views.len() as u64) as usize;
                    let view = views.swap_remove(index);
                    // Sent to be released, it may be gone, and another be there.
                    if section.delete_view(view.base).is_ok() {
                        seen[DELETED].fetch_add(1, Relaxed);
                    }
                    views.retain(|other| other.base != view.base);
                }
                5 if last != 0 => {
                    let _ = port.cancel(last, 0);
                    last = 0;
                }
                _ => while port.receive_now().is_ok() {},
            }
        }
        match rng.below(3) {
            0 => drop(port.disconnect()),
            1 => drop(section),
            _ => {}
        }
        unmap_everything();
    }
}

/// Fills a view with one byte and lends it.
fn lend(port: &Port, view: View, rng: &mut Rng, seen: Shared) -> Option<u64> {
    let byte = rng.word() as u8;
    let mut at = 0;
    while at < view.size {
        // Refused when it is lent, and another one when it was released by being sent.
        poke(view.base + at, byte).ok()?;
        at += 1;
    }
    let flags = rng.below(4) as u32;
    let mut container = ViewContainer::lending(view.base, view.size, flags);
    let mut send = Transfer::new().send(&[byte]);
    send = match rng.below(3) {
        0 => send.flags(ALPC_RELEASE | ALPC_NONBLOCK),
        1 => send.flags(ALPC_NONBLOCK),
        _ => {
            let time = rng.below(3_000_000);
            send.receive().flags(ALPC_SYNC).timeout(time)
        }
    };
    let calls = send.arg.flags & ALPC_SYNC != 0;
    send.arg.send_attributes = container.address();
    let result = send.run(port);
    if result.is_ok() {
        seen[LENT].fetch_add(1, Relaxed);
    }
    match result.is_ok() && !calls && send.arg.send_id != 0 {
        true => Some(send.arg.send_id),
        false => None,
    }
}

/// A secure view is what it was when it was sent.
fn check(view: View, byte: u8) {
    // It may have been lent after another message had filled it, but then all of it.
    for at in [0, view.size - 1, view.size / 2] {
        assert_eq!(peek(view.base + at), Ok(byte), "at {at}");
    }
}

/// Receives, holds some and gives them back in all ways, until the port is disconnected. Who is
/// `alone` in its process also unmaps what it has received.
fn serve(port: &Port, seed: u64, alone: bool, seen: Shared) {
    let mut rng = Rng::new(seed);
    let mut held: Vec<(View, u8, Message)> = Vec::new();
    let mut ends = Vec::new();
    loop {
        let mut container = ViewContainer::receiving();
        let mut receive = Transfer::new().receive();
        if !rng.one_in(16) {
            receive.arg.recv_attributes = container.address();
        }
        let message = match receive.run(port) {
            Ok(message) => message,
            Err(fail::CLOSED) => break,
            // Another thread has unmapped the window at this moment.
            Err(Failure {
                errno: libc::EAGAIN,
                ..
            }) if alone => continue,
            Err(failure) => panic!("{failure:?}"),
        };
        if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
            // It may have been killed meanwhile. The oldest connections are ended from here.
            ends.extend(Accept::new(message.id).run(port));
            let excess = ends.len().saturating_sub(32);
            ends.drain(..excess);
            continue;
        }
        let had_room = receive.arg.recv_attributes != 0;
        if had_room && container.head.valid & ALPC_ATTR_VIEW != 0 {
            let view = container.view;
            let (base, size) = (view.base, view.size);
            if view.flags & ALPC_VIEW_SECURE != 0 {
                seen[HELD].fetch_add(1, Relaxed);
                let view = View { base, size };
                check(view, message.data[0]);
                held.push((view, message.data[0], message));
            } else {
                let mut release = ViewContainer::releasing(base);
                let answer = Transfer::new().send(b"").into(&message).flags(ALPC_RELEASE);
                // With a message that comes to nothing it does not go.
                if !message.open() || answer.with(port, &mut release).is_err() {
                    port.delete_view(base).expect("release");
                }
            }
        } else if message.open() {
            let _ = port.reply(&message, b"");
        }
        held.iter().for_each(|(view, byte, _)| check(*view, *byte));
        while held.len() > 6 || (!held.is_empty() && rng.one_in(3)) {
            let index = rng.below(held.len() as u64) as usize;
            let (view, byte, message) = held.swap_remove(index);
            check(view, byte);
            if rng.one_in(2) && message.open() {
                let _ = port.reply(&message, b"");
                check(view, byte);
            }
            port.delete_view(view.base).expect("release");
        }
        if alone && rng.one_in(50) {
            for (_, _, message) in held.drain(..).filter(|(_, _, message)| message.open()) {
                let _ = port.reply(&message, b"");
            }
            unmap_windows();
        }
    }
    held.iter().for_each(|(view, byte, _)| check(*view, *byte));
}

#[test]
fn whoever_holds_a_secure_view_reads_what_was_sent_whatever_becomes_of_the_others() {
    isolated_long(4, || {
        let seed = rng::seed();
        note!("ALPC_SEED={seed}");
        let mut rng = Rng::new(seed);
        let name = "view/race";
        let port = server(name);
        let seen = Shared::new();
        survive_refusals();
        let start = Instant::now();
        let time = Duration::from_millis(rounds(15_000).max(3000));
        let mut kills = 0;
        std::thread::scope(|scope| {
            for number in 0..2 {
                let port = &port;
                scope.spawn(move || serve(port, seed ^ number, false, seen));
            }
            let mut clients = Vec::new();
            let mut servers = Vec::new();
            while start.elapsed() < time {
                let user = *rng.pick(&[ALICE, BOB, CAROL]);
                let seed = rng.word();
                clients.push(Peer::spawn(user, |_| client_of(name, seed, seen)));
                let seed = rng.word();
                servers.push(Peer::fork(ROOT, |_| serve(&port, seed, true, seen)));
                for (peers, most) in [(&mut clients, 3), (&mut servers, 2)] {
                    if peers.len() == most {
                        std::thread::sleep(Duration::from_millis(rng.below(60)));
                        peers.swap_remove(rng.below(most as u64) as usize).kill();
                        kills += 1;
                    }
                }
            }
            clients.into_iter().chain(servers).for_each(Peer::kill);
            port.disconnect().expect("disconnect");
        });
        let [lent, held, refused, stored, deleted] =
            [LENT, HELD, REFUSED, STORED, DELETED].map(|which| seen[which].load(Relaxed));
        note!("{lent} lent, {held} held, {stored} stores, {refused} refused, {deleted} deleted");
        note!("{kills} processes killed");
        assert!(lent > 0 && held > 0);
    });
}

/// Releases views of a window whose port is closed in several threads at once, while another thread
/// maps what would fit where the window was. Says how often it lost that.
fn lost_mappings(pair: Pair) -> u64 {
    const THREADS: usize = 4;
    const SIZE: usize = 1 << 30;
    let (_section, view) = pair.view(PAGE, 1);
    let held: Vec<View> = (0..THREADS)
        .map(|_| {
            let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.lend(&pair.client, view, 0).expect("send");
            pair.port.receive_view().expect("receive").1.expect("view")
        })
        .collect();
    let Pair { port, client, .. } = pair;
    drop(port);
    let barrier = std::sync::Barrier::new(THREADS + 1);
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for held in held {
            let (barrier, done, client) = (&barrier, &done, &client);
            scope.spawn(move || {
                barrier.wait();
                client.delete_view(held.base).expect("release");
                done.fetch_add(1, Relaxed);
            });
        }
        barrier.wait();
        let mut lost = 0;
        let mut last = false;
        while !last {
            last = done.load(Relaxed) == THREADS;
            // SAFETY: New memory, which nobody uses.
            unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
                let at = libc::mmap(std::ptr::null_mut(), SIZE, libc::PROT_READ, flags, -1, 0);
                assert_ne!(at, libc::MAP_FAILED);
                for _ in 0..20 {
                    libc::sched_yield();
                    lost += u64::from(libc::msync(at, SIZE, libc::MS_ASYNC) != 0);
                }
                libc::munmap(at, SIZE);
            }
        }
        lost
    })
}

#[test]
fn a_window_is_unmapped_once_however_many_release_its_last_views() {
    isolated_long(3, || {
        let lost: u64 = (0..rounds(600))
            .map(|_| lost_mappings(Pair::of_views()))
            .sum();
        assert_eq!(lost, 0, "mappings of others are gone");
    });
}
