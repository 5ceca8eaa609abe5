// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong elsewhere when two things happened at once, and does not here. One test for each
//! bug, with what it was there and what holds here. Whoever comes first, nothing is used after its
//! end: a kernel with checkers says so itself, any other by what is lost or left.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::files::{eventfd, pipe, read, write};
use alpc_tests::pair::attach;
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

/// Whatever has the number now, which belongs to somebody else.
fn borrowed(number: RawFd) -> ManuallyDrop<Port> {
    // SAFETY: It is not closed here, and the kernel copes with a number that is not open.
    ManuallyDrop::new(Port::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Makes a number another descriptor of the same file, and closes what it was.
fn put_at(number: RawFd, fd: &impl AsFd) {
    // SAFETY: The number belongs to the test.
    let put = unsafe { libc::dup3(fd.as_fd().as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(put, number);
}

fn close(number: RawFd) {
    // SAFETY: The number belongs to the test.
    unsafe { libc::close(number) };
}

/// Two things at the same moment, each a little late by chance.
fn at_once<A: Send, B: Send>(
    rng: &mut Rng,
    most: u64,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    let (start, late) = (Barrier::new(2), [rng.below(most), rng.below(most)]);
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            start.wait();
            spin(late[0]);
            one()
        });
        start.wait();
        spin(late[1]);
        let other = other();
        (one.join().unwrap(), other)
    })
}

/// CVE-2023-21674: a port was freed while a call still used it. Here each call holds what it works
/// on: all of the descriptors change hands under calls of every kind, carrying everything.
#[test]
fn a_port_that_is_closed_under_every_call_is_not_used_after_its_end() {
    const NUMBERS: [RawFd; 4] = [500, 501, 502, 503];
    isolated_long(3, || {
        let (stop, acts) = (AtomicBool::new(false), AtomicU64::new(0));
        let act = |number: u64| {
            let mut rng = Rng::new(seed() ^ number);
            let event = eventfd();
            let mut last = Message {
                id: 0,
                callback_id: 0,
                kind: 0,
                flags: 0,
                data: vec![],
                pid: 0,
                tid: 0,
                uid: 0,
                gid: 0,
                port_context: 0,
                sequence: 0,
            };
            let mut seen = [0_u64; 10];
            while !stop.load(SeqCst) {
                let [port, server, client, section] = NUMBERS.map(borrowed);
                let end = *rng.pick(&[&port, &server, &client]);
                let which = rng.below(10);
                let done = match which {
                    0 => client.post_with(&mut HandleContainer::one(&event)).is_ok(),
                    1 => {
                        let entries = [alpc_handle {
                            fd: event.as_raw_fd(),
                            kind: 0,
                        }];
                        let base = section.view(PAGE).map_or(0, |view| view.base);
                        let ranges = Ranges::of(&[(base | 8, 8, BOTH)]);
                        let valid = EVERY_LOAD;
                        let lent = (base, PAGE, SECURE);
                        let mut all = EveryContainer::sending(valid, lent, &entries, &ranges);
                        let mut call = Transfer::new().send(b"x").receive().flags(ALPC_SYNC);
                        call.arg.send_attributes = all.address();
                        let called = call.timeout(rng.below(500_000)).run(&*client);
                        let _ = section.delete_view(base);
                        called.is_ok()
                    }
                    2 => {
                        let mut claimed = HandleContainer::claiming(1);
                        let receive = Transfer::new().receive().room_for(&mut claimed);
                        let received = { receive }.timeout(rng.below(500_000)).run(&**end);
                        if claimed.is_valid() && received.is_ok() {
                            drop(claimed.claimed());
                        }
                        let is_ok = received.map(|message| last = message).is_ok();
                        if is_ok && rng.one_in(2) {
                            let _ = end.reply(&last, b"y");
                        }
                        is_ok
                    }
                    3 => {
                        let mut room = ViewContainer::receiving();
                        let mut receive = Transfer::new().receive().now();
                        receive.arg.recv_attributes = room.address();
                        let received = receive.run(&**end);
                        let is_ok = received.map(|message| last = message).is_ok();
                        if is_ok && room.head.valid != 0 {
                            let _ = end.delete_view(room.view.base);
                        }
                        is_ok
                    }
                    4 => end.reply(&last, b"y").is_ok(),
                    5 => end.peek(&last, 0, 0, 8).is_ok() | end.claim(&last, 0).is_ok(),
                    6 => end.cancel(last.id, 0).is_ok(),
                    7 => end.identity(&last).is_ok() | end.peer_identity().is_ok(),
                    8 => rng.one_in(16) && end.disconnect().is_ok(),
                    _ => end.query_port().is_ok() | end.section(1).is_ok(),
                };
                seen[which as usize] += u64::from(done);
                acts.fetch_add(1, SeqCst);
            }
            seen
        };
        let seen = thread::scope(|scope| {
            let act = &act;
            let actors = [1, 2, 3].map(|number| scope.spawn(move || act(number)));
            for _ in 0..rounds(100) {
                let pair = Pair::taking(EVERYTHING);
                let section = pair.client.section(16 * PAGE).expect("section");
                for (number, fd) in
                    NUMBERS
                        .iter()
                        .zip([&pair.port, &pair.server, &pair.client, &section])
                {
                    put_at(*number, fd);
                }
                drop((pair, section));
                let before = acts.load(SeqCst);
                eventually(|| acts.load(SeqCst) > before + 60);
                NUMBERS.into_iter().for_each(close);
            }
            stop.store(true, SeqCst);
            actors.map(|actor| actor.join().unwrap())
        });
        note!("{seen:?}");
    });
}

/// A disconnect met a send or a receive half way, and what that worked on was gone. Here the one or
/// the other is first: each file that was sent is received or closed, and none twice.
#[test]
fn a_disconnect_amid_sends_and_receives_drops_each_message_once() {
    isolated_long(2, || {
        let mut rng = Rng::new(seed());
        for round in 0..rounds(100) {
            let pair = Pair::taking(EVERYTHING);
            let (reader, writer) = pipe();
            let go = AtomicBool::new(true);
            let send = || {
                let mut sent = 0;
                while pair
                    .client
                    .one_way_with(&mut HandleContainer::one(&writer))
                    .is_ok()
                {
                    sent += 1;
                }
                sent
            };
            let receive = || {
                let mut claimed = Vec::new();
                while go.load(SeqCst) {
                    let mut room = HandleContainer::claiming(1);
                    if pair.port.receive_with(&mut room).is_err() {
                        break;
                    }
                    if room.is_valid() {
                        claimed.extend(room.claimed().0);
                    }
                }
                claimed
            };
            let end = || {
                match round % 3 {
                    0 => pair.client.disconnect(),
                    1 => pair.server.disconnect(),
                    _ => pair.port.disconnect(),
                }
                .expect("disconnect");
                go.store(false, SeqCst);
                // Who waits for a message gets the last one, or the port's end.
                let _ = pair.port.disconnect_with(ALPC_DISCONNECT_NO_FLUSH);
            };
            let (sent, claimed) = thread::scope(|scope| {
                let receiver = scope.spawn(receive);
                let (sent, ()) = at_once(&mut rng, 400, send, end);
                (sent, receiver.join().unwrap())
            });
            assert!(claimed.len() <= sent, "{} of {sent}", claimed.len());
            drop(writer);
            for (number, one) in claimed.iter().enumerate() {
                write(one, &[number as u8]);
                assert_eq!(read(&reader), [number as u8]);
            }
            drop(claimed);
            assert_eq!(read(&reader), b"", "closed by the last");
        }
    });
}

/// CVE-2019-2215 of Binder: an epoll stayed on a wait queue in an object that an ioctl freed. Here
/// what is polled is held by its file: ports end in every way while epolls come to them and go.
#[test]
fn an_epoll_outlives_the_ports_that_end_under_it() {
    const NUMBERS: [RawFd; 3] = [500, 501, 502];
    isolated_long(2, || {
        // SAFETY: Takes no pointers; the descriptor is owned here.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let stop = AtomicBool::new(false);
        let control = |operation, number: RawFd, events: i32| {
            let mut event = libc::epoll_event {
                events: events as u32,
                u64: 0,
            };
            // SAFETY: A live event.
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, number, &mut event) == 0 }
        };
        let look = |timeout| {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 3];
            // SAFETY: Room for three.
            unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 3, timeout) }
        };
        let mut rng = Rng::new(seed());
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    look(1);
                }
            });
            scope.spawn(|| {
                let mut rng = Rng::new(1);
                let (mut added, mut deleted) = (0, 0);
                while !stop.load(SeqCst) {
                    let number = *rng.pick(&NUMBERS);
                    let events = *rng.pick(&[
                        libc::EPOLLIN,
                        libc::EPOLLIN | libc::EPOLLET,
                        libc::EPOLLOUT | libc::EPOLLEXCLUSIVE,
                    ]);
                    added += u64::from(control(libc::EPOLL_CTL_ADD, number, events));
                    deleted += u64::from(control(libc::EPOLL_CTL_DEL, number, 0));
                    if rng.one_in(3) {
                        control(libc::EPOLL_CTL_ADD, number, events);
                    }
                }
                note!("{added} added, {deleted} deleted");
            });
            for _ in 0..rounds(150) {
                let pair = Pair::new();
                for (number, fd) in NUMBERS.iter().zip([&pair.port, &pair.server, &pair.client]) {
                    put_at(*number, fd);
                }
                pair.client.post(b"x").expect("post");
                pair.server.post(b"x").expect("post");
                let Pair {
                    port,
                    server,
                    client,
                } = pair;
                spin(rng.below(300));
                let which = [&port, &server, &client];
                rng.pick(&which).disconnect().expect("disconnect");
                let mut order = [Some(port), Some(server), Some(client)];
                for _ in 0..6 {
                    let place = rng.below(3) as usize;
                    order[place] = None;
                    close(NUMBERS[place]);
                }
            }
            stop.store(true, SeqCst);
        });
        NUMBERS.into_iter().for_each(close);
        assert_eq!(look(0), 0, "what is closed is not ready");
    });
}

/// CVE-2020-0423 of Binder: an item was taken off a list, and its owner freed before it was looked
/// at. Here who takes a message has it: it is whole, with its file, or was never there, whatever
/// becomes of who sent it.
#[test]
fn a_message_whose_sender_goes_while_it_is_taken_is_whole() {
    const LENGTH: usize = 65_536;
    isolated_long(2, || {
        let create = Create::anonymous().max(65_536).takes(ALPC_TAKE_HANDLES, 0);
        let port = create.share(16, 1 << 20).run().expect("create");
        let mut rng = Rng::new(seed());
        let mut seen = [0; 2];
        for round in 0..rounds(150) {
            let (server, client) = attach(&port, 1);
            let (reader, writer) = pipe();
            let data = vec![round as u8; LENGTH];
            let mut handle = HandleContainer::one(&writer);
            let mut post = Transfer::new().send(&data).handles(&mut handle);
            post.run(&client).expect("send");
            let id = post.arg.send_id;
            drop((writer, post));
            let take = || {
                let mut room = HandleContainer::claiming(1);
                let receive = Transfer::new().capacity(LENGTH).now();
                let message = receive.room_for(&mut room).run(&port).ok()?;
                (message.kind == ALPC_TYPE_REQUEST).then(|| (message, room.claimed().0))
            };
            let go = || match round % 3 {
                0 => drop(client),
                1 => client.disconnect().expect("disconnect"),
                _ => drop(client.cancel(id, 0)),
            };
            let (taken, ()) = at_once(&mut rng, 300, take, go);
            seen[usize::from(taken.is_some())] += 1;
            if let Some((message, claimed)) = taken {
                assert!(message.data == data, "not what was sent");
                write(&claimed[0], b"mine");
                assert_eq!(read(&reader), b"mine");
            }
            while port.receive_now().is_ok() {}
            drop(server);
            while port.receive_now().is_ok() {}
            eventually(|| wait::poll_now(&reader, libc::POLLIN) & libc::POLLHUP != 0);
        }
        note!("{seen:?}");
    });
}

/// CVE-2025-68260 of Rust Binder: one thread moved a list away to drop it, and another removed an
/// entry from what it took for the old one. Here both find their message under the lock, or not at
/// all: single ones are cancelled and received while all are dropped.
#[test]
fn a_cancel_while_a_queue_is_dropped_finds_its_message_or_nothing() {
    isolated_long(2, || {
        let port = Create::anonymous().run().expect("create");
        let mut rng = Rng::new(seed());
        for round in 0..rounds(80) {
            let (server, client) = attach(&port, 1);
            let mut ids: Vec<_> = (0..96).map(|_| client.post(b"x").expect("post")).collect();
            for _ in 0..rng.below(32) {
                port.receive().expect("receive");
            }
            (0..96).for_each(|at| ids.swap(at, rng.below(96) as usize));
            let cancel = || {
                for id in &ids {
                    match client.cancel(*id, 0) {
                        Ok(_) => {}
                        Err(fail::NOT_FOUND | fail::CANCELED | fail::LOST) => {}
                        Err(fail::DISCONNECTED | fail::CLOSED) => {}
                        Err(failure) => panic!("{failure:?}"),
                    }
                }
            };
            let end = || match round % 3 {
                0 => client.disconnect().expect("disconnect"),
                1 => server.disconnect().expect("disconnect"),
                _ => while port.receive_now().is_ok() {},
            };
            at_once(&mut rng, 600, cancel, end);
            drop((server, client));
            while port.receive_now().is_ok() {}
            let left = port.query_port().expect("query");
            let left = [left.queued_messages, left.conversations, left.connections];
            assert_eq!(left, [0; 3]);
        }
    });
}
