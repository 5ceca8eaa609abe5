// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong elsewhere with who waits, who is woken, and what is under way at that moment. One
//! test for each bug, with what it was there and what holds here.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::files::{pipe, read, write};
use alpc_tests::link::socketpair;
use alpc_tests::pair::attach_taking;
use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::views::PAGE;
use alpc_tests::*;

const EVERYTHING: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;
const SECURE: u32 = ALPC_VIEW_SECURE;

/// Keeps a processor busy for some microseconds: sleeping takes too long.
fn spin(microseconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(microseconds) {}
}

/// How often a process has gone to sleep by itself.
fn sleeps(peer: &Peer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", peer.pid()));
    let status = status.expect("status");
    let line = "voluntary_ctxt_switches:";
    let count = status.lines().find_map(|one| one.strip_prefix(line));
    count.expect(line).trim().parse().expect("a number")
}

/// NSPA 1007: the first of those who waited was to have the work, all were woken, and another one
/// took it. Here a message is handed to one who waits, and the others don't even wake.
#[test]
fn a_message_wakes_one_receiver_and_lets_the_others_sleep() {
    isolated(|| {
        let pair = Pair::new();
        let receivers = [(); 5].map(|()| {
            Peer::fork(ROOT, |link| loop {
                let message = pair.port.receive().expect("receive");
                link.put(message.sequence);
                if link.take() == 0 {
                    break;
                }
            })
        });
        let mut asleep: Vec<_> = receivers.iter().collect();
        for _ in 0..rounds(20) {
            asleep.iter().for_each(|peer| peer.until_asleep());
            let before: Vec<_> = asleep.iter().map(|peer| sleeps(peer)).collect();
            pair.client.one_way(b"for one").expect("send");
            let has = |peer: &&Peer| wait::poll_now(&***peer, libc::POLLIN) != 0;
            eventually(|| asleep.iter().any(has));
            wait::settle();
            let got: Vec<_> = asleep.iter().map(has).collect();
            assert_eq!(got.iter().filter(|one| **one).count(), 1);
            for (place, got) in got.iter().enumerate() {
                let woken = sleeps(asleep[place]) - before[place];
                assert!(*got || woken == 0, "woken {woken} times for nothing");
            }
            // It waits again, behind the others.
            let one = got.iter().position(|got| *got).expect("somebody");
            asleep[one].take();
            asleep[one].put(1);
            let one = asleep.remove(one);
            asleep.push(one);
        }
        for _ in &receivers {
            pair.client.one_way(b"the last").expect("send");
        }
        for peer in &receivers {
            peer.take();
            peer.put(0);
        }
        receivers.into_iter().for_each(Peer::wait);
    });
}

/// NSPA 1009: a reply woke the queue of a sender that had returned, and had freed it. Here a thread
/// that waits is unlinked or served before it can return: callers give up and end, stack and all,
/// at the moment at which they are replied to.
#[test]
fn a_caller_that_has_returned_and_ended_is_not_woken() {
    isolated_long(2, || {
        let pair = Pair::new();
        let (replied, late) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = Rng::new(seed());
                loop {
                    let message = pair.port.receive().expect("receive");
                    match message.kind {
                        ALPC_TYPE_REQUEST => {
                            spin(rng.below(250));
                            match pair.port.reply(&message, &message.data) {
                                Ok(()) => replied.fetch_add(1, SeqCst),
                                Err(fail::CANCELED | fail::NOT_FOUND) => late.fetch_add(1, SeqCst),
                                Err(failure) => panic!("{failure:?}"),
                            };
                        }
                        ALPC_TYPE_PORT_CLOSED => break,
                        _ => {}
                    }
                }
            });
            let mut rng = Rng::new(seed());
            let mut callers = Vec::new();
            for round in 0..rounds(600) {
                let (time, client) = (rng.below(400_000), &pair.client);
                let caller = scope.spawn(move || {
                    let data = round.to_le_bytes();
                    let call = Transfer::new().send(&data).receive().flags(ALPC_SYNC);
                    match { call }.timeout(time).run(client) {
                        Ok(reply) => assert_eq!(reply.data, data),
                        Err(failure) => assert_eq!(failure, fail::TIMED_OUT_SENT),
                    }
                });
                callers.push(caller);
                if rng.one_in(2) {
                    callers.drain(..).for_each(|caller| caller.join().unwrap());
                }
            }
            callers.drain(..).for_each(|caller| caller.join().unwrap());
            pair.client
                .disconnect_with(ALPC_DISCONNECT_NO_FLUSH)
                .expect("disconnect");
        });
        note!("{replied:?} replied, {late:?} late");
    });
}

/// Whoever woke a thread through something on that thread's stack went on using it, when the thread
/// had gone. Here who wakes has done with the stack when the thread can see it, also if that is
/// killed at this very moment.
#[test]
fn a_waiter_that_is_killed_is_not_touched_by_who_wakes_it() {
    isolated_long(3, || {
        let port = Create::named("lessons/killed")
            .open()
            .run()
            .expect("create");
        let mut rng = Rng::new(seed());
        let mut seen = [0; 2];
        for _ in 0..rounds(60) {
            let client = Peer::spawn(ALICE, |_| {
                let client = Connect::to("lessons/killed").run().expect("connect").port;
                thread::scope(|scope| {
                    let other = scope.spawn(|| client.request(b"x"));
                    let _ = client.request(b"x");
                    let _ = other.join();
                    // Both are replied to before it is killed, if the server was quick.
                    loop {
                        thread::park();
                    }
                });
            });
            let end = views::accept(&port);
            let calls = [(); 2].map(|()| port.receive().expect("receive"));
            let late = rng.below(200);
            let killer = thread::scope(|scope| {
                let pid = client.pid();
                let killer = scope.spawn(move || {
                    spin(late);
                    // SAFETY: An unreaped child.
                    unsafe { libc::kill(pid, libc::SIGKILL) }
                });
                spin(rng.below(200));
                for call in &calls {
                    match end.reply(call, b"y") {
                        Ok(()) => seen[0] += 1,
                        Err(fail::CANCELED | fail::NOT_FOUND | fail::LOST) => seen[1] += 1,
                        Err(fail::DISCONNECTED) => seen[1] += 1,
                        Err(failure) => panic!("{failure:?}"),
                    }
                }
                killer.join().unwrap()
            });
            assert_eq!(killer, 0);
            client.kill();
            while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
        }
        note!("{seen:?}");
    });
}

/// A descriptor was closed, and another file put in its place, between two looks at it in one call
/// (what Binder keeps a list for). Here a number is looked at once: what arrives is one file or the
/// other, and of a kind that can be sent, although the number is now and then another's.
#[test]
fn a_descriptor_that_is_exchanged_while_it_is_sent_is_one_file_or_the_other() {
    const NUMBER: RawFd = 500;
    isolated_long(2, || {
        let pair = Pair::with_handles(ALPC_HANDLE_PIPE);
        let (pipes, sockets) = ([pipe(), pipe()], socketpair(libc::SOCK_STREAM));
        let stop = AtomicBool::new(false);
        let mut seen = [0; 4];
        thread::scope(|scope| {
            scope.spawn(|| {
                let put = |fd: RawFd| {
                    // SAFETY: The number belongs to this thread.
                    unsafe { libc::dup3(fd, NUMBER, libc::O_CLOEXEC) };
                };
                while !stop.load(SeqCst) {
                    put(pipes[0].1.as_raw_fd());
                    put(sockets.0.as_raw_fd());
                    put(pipes[1].1.as_raw_fd());
                    put(pair.client.as_fd().as_raw_fd());
                    // SAFETY: As above.
                    unsafe { libc::close(NUMBER) };
                }
            });
            for round in 0..rounds(3000) {
                let mut handle = HandleContainer::sending(&[NUMBER]);
                match pair.client.one_way_with(&mut handle) {
                    Ok(()) => {}
                    Err(fail::NO_HANDLE) => {
                        seen[2] += 1;
                        continue;
                    }
                    Err(failure) => {
                        assert_eq!(failure, fail::BAD_HANDLE);
                        // What it was told to be is what it was then.
                        assert_eq!(handle.entries[0].kind, 0);
                        seen[3] += 1;
                        continue;
                    }
                }
                let mut room = HandleContainer::claiming(1);
                pair.port.receive_with(&mut room).expect("receive");
                let (claimed, _) = room.claimed();
                assert_eq!(room.entries[0].kind, ALPC_HANDLE_PIPE);
                write(&claimed[0], &[round as u8]);
                let ready = |end: &std::os::fd::OwnedFd| {
                    wait::poll_now(end, libc::POLLIN) & libc::POLLIN != 0
                };
                let place = pipes.iter().position(|(reader, _)| ready(reader));
                let place = place.expect("the one or the other");
                assert_eq!(files::read(&pipes[place].0), [round as u8]);
                seen[place] += 1;
            }
            stop.store(true, SeqCst);
        });
        // SAFETY: The number belongs to the test.
        unsafe { libc::close(NUMBER) };
        note!("{seen:?}");
    });
}

/// CVE-2026-23400 of Rust Binder: a function took a lock that its caller might hold, on a path that
/// hardly ever ran. Here nothing of the user's is touched under a lock: every buffer of a call is in
/// a view that is lent and comes back at the same time.
#[test]
fn a_call_whose_buffers_are_views_waits_for_no_lock_of_its_own() {
    isolated_long(2, || {
        let pair = Pair::taking(EVERYTHING);
        let (section, view) = pair.view(PAGE, 0);
        let (_reader, writer) = pipe();
        let stop = AtomicBool::new(false);
        let (other_server, other) = attach_taking(&pair.port, 2, EVERYTHING);
        let total = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let own = Create::anonymous()
                    .taking(EVERYTHING)
                    .run()
                    .expect("create");
                let (_end, client) = attach_taking(&own, 3, EVERYTHING);
                while !stop.load(SeqCst) {
                    let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
                    if send.lend(&client, view, SECURE).is_ok() {
                        let (_, held) = own.receive_view().expect("receive");
                        let held = held.expect("a view");
                        own.delete_view(held.base).expect("release");
                        total.fetch_add(1, SeqCst);
                    }
                }
            });
            let fine = |result: Result<(), i32>| match result {
                Ok(()) | Err(libc::EFAULT) => {}
                Err(errno) => panic!("errno {errno}"),
            };
            for _ in 0..rounds(500) {
                // The payload, the handle's entry and the container are all there.
                let mut send = Transfer::new().flags(ALPC_SEND | ALPC_RELEASE);
                (send.arg.send_data, send.arg.send_length) = (view.base, 64);
                let sent = send.run_as_is(&other).map(drop);
                fine(sent.map_err(|failure| failure.errno));
                let mut handle = HandleContainer::one(&writer);
                other.one_way_with(&mut handle).expect("send");
                let mut room = HandleContainer::claiming(1);
                room.handle().handles = view.base + 128;
                let mut receive = Transfer::new().flags(ALPC_RECEIVE).room_for(&mut room);
                (receive.arg.recv_data, receive.arg.recv_capacity) = (view.base, 4096);
                let received = ioctl(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive.arg);
                fine(received.map(drop));
                if room.handle().index == 1 && room.is_valid() {
                    // Where its number stands may be closed again.
                    let mut number = [0; 4];
                    let (reader, writer) = pipe();
                    let from = (view.base + 128) as *const libc::c_void;
                    // SAFETY: The kernel checks the address.
                    if unsafe { libc::write(writer.as_raw_fd(), from, 4) } == 4 {
                        number.copy_from_slice(&read(&reader));
                        let number = i32::from_ne_bytes(number);
                        assert!(number > 2);
                        // SAFETY: Just installed, and nobody else's.
                        unsafe { libc::close(number) };
                    }
                }
                while pair.port.receive_now().is_ok() {}
            }
            stop.store(true, SeqCst);
        });
        note!("lent {total:?} times");
        section.delete_view(view.base).expect("delete");
        drop(other_server);
    });
}

/// NSPA 1006: memory was taken and freed under a lock that must not sleep, and the host froze. Here
/// tables grow and are given back outside of it, while others call as if nothing was.
#[test]
fn a_table_that_grows_under_others_calls_holds_nobody_up() {
    isolated_long(2, || {
        let pair = Pair::new();
        let stop = AtomicBool::new(false);
        let mut grown = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut ends = Vec::new();
                loop {
                    let message = pair.port.receive().expect("receive");
                    match (message.kind, &message.data[..]) {
                        (ALPC_TYPE_REQUEST, b"call") => {
                            pair.port.reply(&message, b"reply").expect("reply");
                        }
                        (ALPC_TYPE_CONNECTION_REQUEST, _) => {
                            let accept = Accept::new(message.id).context(message.id);
                            let end = { accept }.run(&pair.port).expect("accept");
                            ends.push((message.id, end));
                        }
                        (ALPC_TYPE_PORT_CLOSED, _) => {
                            ends.retain(|(id, _)| *id != message.port_context);
                        }
                        (ALPC_TYPE_DATAGRAM, _) => break,
                        _ => {}
                    }
                }
            });
            let grower = scope.spawn(|| {
                let through = pair.port.connect_descriptor().expect("connect descriptor");
                let mut grown = 0;
                while !stop.load(SeqCst) {
                    let connected = Connect::new(None).run_on(&through);
                    let client = connected.expect("connect").port;
                    // All of them stay open, each at its own place.
                    for _ in 0..300 {
                        client.post(b"held").expect("post");
                    }
                    grown += 1;
                }
                grown
            });
            for _ in 0..rounds(300) {
                assert_eq!(pair.client.request(b"call").expect("call").data, b"reply");
            }
            stop.store(true, SeqCst);
            grown = grower.join().unwrap();
            pair.client.one_way(b"end").expect("send");
        });
        note!("grown {grown} times");
    });
}
