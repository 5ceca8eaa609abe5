// SPDX-License-Identifier: MIT OR Apache-2.0

//! Readiness, level-triggered, of every kind of port.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use alpc_tests::raw::*;
use alpc_tests::wait::{poll_now, poll_wait};
use alpc_tests::*;

const IN: i16 = libc::POLLIN;
const OUT: i16 = libc::POLLOUT;
const HUP: i16 = libc::POLLHUP;

#[test]
fn a_port_is_readable_exactly_while_a_receive_would_not_wait() {
    isolated(|| {
        let pair = Pair::new();
        for (to, from) in [(&pair.port, &pair.client), (&pair.client, &pair.server)] {
            assert_eq!(poll_now(to, IN), 0);
            from.one_way(b"1").expect("send");
            from.one_way(b"2").expect("send");
            for _ in 0..2 {
                assert_eq!(poll_now(to, IN), IN);
                assert_eq!(poll_now(to, IN), IN, "looking changes nothing");
                to.receive().expect("receive");
            }
            assert_eq!(poll_now(to, IN), 0);
        }
    });
}

#[test]
fn requests_make_the_connection_port_readable_and_not_the_server_port() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"x").expect("post");
        assert_eq!(poll_now(&pair.port, IN), IN);
        assert_eq!(poll_now(&pair.server, IN), 0);
        let request = pair.port.receive().expect("receive");
        pair.port.reply(&request, b"").expect("reply");
        assert_eq!(poll_now(&pair.client, IN), IN);
    });
}

#[test]
fn replies_to_what_the_server_began_make_its_communication_port_readable() {
    isolated(|| {
        let pair = Pair::new();
        pair.server.post(b"x").expect("post");
        let request = pair.client.receive().expect("receive");
        pair.client.reply(&request, b"").expect("reply");
        assert_eq!(poll_now(&pair.server, IN), IN);
        assert_eq!(poll_now(&pair.port, IN), 0);
        pair.server.receive().expect("receive");
        assert_eq!(poll_now(&pair.server, IN), 0);
    });
}

#[test]
fn connection_requests_and_replies_make_readable() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        assert_eq!(poll_now(&port, IN), IN);
        assert_eq!(poll_now(&client, IN | OUT), 0, "not accepted yet");
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        assert_eq!(poll_now(&client, IN | OUT), IN | OUT);
        client.receive().expect("receive");
        assert_eq!(poll_now(&client, IN | OUT), OUT);
    });
}

#[test]
fn a_sleeping_poll_wakes_for_a_message() {
    isolated(|| {
        let pair = Pair::new();
        for (to, from) in [(&pair.port, &pair.client), (&pair.client, &pair.server)] {
            thread::scope(|scope| {
                let poller = scope.spawn(|| poll_wait(to, IN));
                wait::settle();
                assert!(!poller.is_finished());
                from.one_way(b"x").expect("send");
                assert_eq!(poller.join().expect("join") & IN, IN);
            });
            to.receive().expect("receive");
        }
    });
}

#[test]
fn notices_wake_who_polls_the_connection_port() {
    isolated(|| {
        let pair = Pair::new();
        // Somebody else may come.
        let _through = pair.port.connect_descriptor().expect("connect descriptor");
        thread::scope(|scope| {
            let poller = scope.spawn(|| poll_wait(&pair.port, IN));
            wait::settle();
            drop(pair.client);
            assert_eq!(poller.join().expect("join") & IN, IN);
        });
        let notice = pair.port.receive().expect("receive");
        assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
        assert_eq!(poll_now(&pair.port, IN), 0);
        assert_eq!(poll_now(&pair.server, IN) & HUP, HUP);
    });
}

#[test]
fn the_end_of_the_connection_is_a_hang_up() {
    isolated(|| {
        let pair = Pair::new();
        assert_eq!(poll_now(&pair.client, IN) & HUP, 0);
        thread::scope(|scope| {
            let poller = scope.spawn(|| poll_wait(&pair.client, IN));
            wait::settle();
            pair.server.disconnect().expect("disconnect");
            assert_eq!(poller.join().expect("join") & HUP, HUP);
        });
        assert_eq!(poll_now(&pair.server, IN) & HUP, HUP);

        let pair = Pair::new();
        drop(pair.port);
        assert_eq!(poll_now(&pair.client, IN) & HUP, HUP);
    });
}

#[test]
fn a_refusal_wakes_who_polls_the_client_port() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        thread::scope(|scope| {
            let poller = scope.spawn(|| poll_wait(&client, IN));
            wait::settle();
            Accept::new(request.id).refuse(&port).expect("refuse");
            assert_eq!(poller.join().expect("join") & IN, IN);
        });
    });
}

#[test]
fn a_port_is_writable_while_its_share_of_the_queue_has_room() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().share(2, 0));
        for (from, to) in [(&pair.client, &pair.port), (&pair.server, &pair.client)] {
            assert_eq!(poll_now(from, OUT), OUT);
            from.one_way(b"1").expect("send");
            assert_eq!(poll_now(from, OUT), OUT);
            from.one_way(b"2").expect("send");
            assert_eq!(poll_now(from, OUT), 0);
            thread::scope(|scope| {
                let poller = scope.spawn(|| poll_wait(from, OUT));
                wait::settle();
                assert!(!poller.is_finished());
                to.receive().expect("receive");
                assert_eq!(poller.join().expect("join"), OUT);
            });
            to.receive().expect("receive");
        }
    });
}

#[test]
fn a_waiter_takes_its_reply_away_from_poll() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"x");
            pair.port.reply(&request, b"y").expect("reply");
            client.join().expect("join").expect("request");
        });
        assert_eq!(poll_now(&pair.client, IN), 0);
    });
}

#[test]
fn epoll_reports_level_and_edge() {
    isolated(|| {
        let pair = Pair::new();
        let (level, edge) = (Epoll::new(), Epoll::new());
        level.add(&pair.port, libc::EPOLLIN as u32, 1);
        edge.add(&pair.port, (libc::EPOLLIN | libc::EPOLLET) as u32, 2);
        assert_eq!((level.look(), edge.look()), (None, None));
        pair.client.one_way(b"1").expect("send");
        assert_eq!((level.look(), edge.look()), (Some(1), Some(2)));
        assert_eq!((level.look(), edge.look()), (Some(1), None));
        pair.client.one_way(b"2").expect("send");
        assert_eq!(edge.look(), Some(2));
        pair.port.receive().expect("receive");
        assert_eq!(level.look(), Some(1));
        pair.port.receive().expect("receive");
        assert_eq!((level.look(), edge.look()), (None, None));
    });
}

#[test]
fn closing_a_port_that_is_polled_is_clean() {
    isolated(|| {
        for _ in 0..rounds(100) {
            let epoll = Epoll::new();
            let pair = Pair::new();
            epoll.add(&pair.port, libc::EPOLLIN as u32, 1);
            epoll.add(&pair.client, libc::EPOLLIN as u32, 2);
            epoll.add(&pair.server, libc::EPOLLIN as u32, 3);
            pair.client.one_way(b"x").expect("send");
            assert_eq!(epoll.look(), Some(1));
            drop(pair);
            assert_eq!(epoll.look(), None);
        }
    });
}

#[test]
fn no_wake_up_is_lost_between_many_pollers_and_senders() {
    isolated(|| {
        let pair = Pair::new();
        let each = rounds(1000);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..each {
                        pair.client.request(b"x").expect("request");
                    }
                });
            }
            let mut left = 2 * each;
            while left > 0 {
                assert_eq!(poll_wait(&pair.port, IN), IN);
                while let Ok(request) = pair.port.receive_now() {
                    pair.port.reply(&request, b"y").expect("reply");
                    left -= 1;
                }
            }
        });
    });
}

struct Epoll(std::os::fd::OwnedFd);

impl Epoll {
    fn new() -> Self {
        use std::os::fd::FromRawFd;
        // SAFETY: A new descriptor, owned here.
        unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            assert!(fd >= 0);
            Self(std::os::fd::OwnedFd::from_raw_fd(fd))
        }
    }

    fn add(&self, fd: &impl AsFd, events: u32, number: u64) {
        let mut event = libc::epoll_event {
            events,
            u64: number,
        };
        let (epoll, fd) = (self.0.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: A live event.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
        assert_eq!(result, 0);
    }

    /// The number of one ready descriptor, if there is one now.
    fn look(&self) -> Option<u64> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: Room for one event.
        let ready = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, 0) };
        assert!(ready >= 0);
        (ready == 1).then_some(event.u64)
    }
}

/// Tells what is new of a port, once for each change.
struct Edges(std::os::fd::OwnedFd);

impl Edges {
    fn of(port: &impl AsFd) -> Self {
        use std::os::fd::FromRawFd;
        // SAFETY: A new descriptor, and a live event.
        unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            assert!(epoll >= 0);
            let events = libc::EPOLLOUT | libc::EPOLLET;
            let (events, u64) = (events as u32, 0);
            let mut event = libc::epoll_event { events, u64 };
            let port = port.as_fd().as_raw_fd();
            let added = libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, port, &mut event);
            assert_eq!(added, 0);
            Self(std::os::fd::OwnedFd::from_raw_fd(epoll))
        }
    }

    /// Whether something is new, for which it is waited so long.
    fn any(&self, milliseconds: i32) -> bool {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: Room for one event.
        let found = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, milliseconds) };
        assert!((0..=1).contains(&found));
        found == 1
    }
}

/// Sends one-way messages of this length until there is no room for one more.
fn send_until_full(port: &Port, length: usize) -> u32 {
    let mut sent = 0;
    loop {
        let transfer = Transfer::new().send(&vec![1; length]);
        match transfer.flags(ALPC_RELEASE).now().run(port) {
            Ok(_) => sent += 1,
            Err(failure) => {
                assert_eq!(failure, fail::QUEUE_FULL);
                return sent;
            }
        }
    }
}

#[test]
fn who_had_no_room_for_a_message_is_told_when_there_is_some_whatever_remains() {
    const MOST: u32 = 4000;
    isolated(|| {
        let pair = Pair::with(Create::anonymous().max(MOST).share(16, 8192));
        for (from, to) in [(&pair.client, &pair.port), (&pair.server, &pair.client)] {
            for length in [1000, 3000, MOST as usize] {
                let edges = Edges::of(from);
                assert!(edges.any(0));
                assert!(!edges.any(0), "no change");
                let sent = send_until_full(from, length);
                assert!(sent >= 2);
                // No busy loop at what can't be.
                assert_eq!(poll_now(from, OUT), 0);
                for _ in 0..sent {
                    to.receive().expect("receive");
                }
                assert!(edges.any(60_000));
                assert_eq!(poll_now(from, OUT), OUT);
                send_until_full(from, length);
                while to.receive_now().is_ok() {}
            }
        }
    });
}

#[test]
fn a_port_that_may_be_written_to_takes_a_message_of_any_size() {
    const MOST: usize = 4096;
    isolated(|| {
        let pair = Pair::with(
            Create::anonymous()
                .max(MOST as u32)
                .share(8, 3 * MOST as u32),
        );
        let mut rng = rng::Rng::new(5);
        for _ in 0..rounds(2000) {
            let may = poll_now(&pair.client, OUT) == OUT;
            let length = match may && rng.one_in(2) {
                true => MOST,
                false => rng.below(MOST as u64) as usize,
            };
            let transfer = Transfer::new().send(&vec![1; length]);
            let sent = transfer.flags(ALPC_RELEASE).now().run(&pair.client);
            assert!(sent.is_ok() || !may);
            // What did not fit was not promised.
            if sent.is_err() {
                assert_eq!(poll_now(&pair.client, OUT), 0);
            }
            if rng.one_in(2) {
                let _ = pair.port.receive_now();
            }
        }
    });
}
