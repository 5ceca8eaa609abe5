// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server learns that nobody can reach its port any more, and that somebody can again.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use alpc_tests::raw::*;
use alpc_tests::wait::{asleep, poll_now, poll_wait};
use alpc_tests::*;

const IN: i16 = libc::POLLIN;
const RDHUP: i16 = libc::POLLRDHUP;

fn anonymous() -> Port {
    Create::anonymous().run().expect("create")
}

fn descriptor(port: &Port) -> Port {
    port.connect_descriptor().expect("connect descriptor")
}

/// Every way to look at a port says that nobody can reach it, or none does.
#[track_caller]
fn is_alone(port: &Port, alone: bool) {
    let (failure, events) = match alone {
        true => (fail::NO_CLIENTS, IN | RDHUP),
        false => (fail::TIMED_OUT, 0),
    };
    for _ in 0..2 {
        assert_eq!(port.receive_now().unwrap_err(), failure);
        assert_eq!(poll_now(port, IN | RDHUP), events);
        assert_eq!(poll_now(port, RDHUP), events & RDHUP);
    }
}

/// What a thread that waits at the port is told when something else has been done.
#[track_caller]
fn told_by(port: &Port, what: impl FnOnce()) -> Result<Message, Failure> {
    asleep(|| port.receive(), what)
}

fn connect_later(through: &Port) -> Port {
    let mut connect = Connect::new(None).asynchronous();
    connect.run_on(through).expect("connect").port
}

/// A connection request that is received.
fn request(port: &Port) -> Message {
    let request = port.receive().expect("receive");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    request
}

fn nonblocking(port: &Port) -> Port {
    let fd = port.as_fd().as_raw_fd();
    // SAFETY: Plain numbers, and a descriptor that is open.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(set, 0);
    port.duplicate()
}

#[test]
fn a_port_that_nobody_was_let_to_waits() {
    isolated(|| {
        let port = anonymous();
        is_alone(&port, false);
        let mut receive = Transfer::new().receive().timeout(50_000_000);
        assert_eq!(receive.run(&port).unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn the_end_of_the_last_descriptor_wakes_every_thread_that_receives() {
    isolated(|| {
        let port = anonymous();
        let (first, last) = (descriptor(&port), descriptor(&port));
        drop(first);
        is_alone(&port, false);
        thread::scope(|scope| {
            let others: Vec<_> = (0..5).map(|_| scope.spawn(|| port.receive())).collect();
            let told = told_by(&port, || drop(last));
            assert_eq!(told.unwrap_err(), fail::NO_CLIENTS);
            for thread in others {
                let told = thread.join().expect("join");
                assert_eq!(told.unwrap_err(), fail::NO_CLIENTS);
            }
        });
        is_alone(&port, true);
    });
}

#[test]
fn a_call_that_begins_then_is_told_whether_it_would_wait_or_not() {
    isolated(|| {
        let port = anonymous();
        drop(descriptor(&port));
        assert_eq!(port.receive().unwrap_err(), fail::NO_CLIENTS);
        let mut receive = Transfer::new().receive().timeout(u64::MAX / 4);
        assert_eq!(receive.run(&port).unwrap_err(), fail::NO_CLIENTS);
        // It is told even who has no room for a message.
        let none = Transfer::new().capacity(0).run(&port);
        assert_eq!(none.unwrap_err(), fail::NO_CLIENTS);
        let port = nonblocking(&port);
        assert_eq!(port.receive().unwrap_err(), fail::NO_CLIENTS);
    });
}

#[test]
fn a_new_descriptor_ends_it_and_its_end_begins_it_anew() {
    isolated(|| {
        let port = anonymous();
        for _ in 0..3 {
            let through = descriptor(&port);
            is_alone(&port, false);
            let (server, client) = pair::attach(&port, 1);
            drop(through);
            is_alone(&port, false);
            client.one_way(b"x").expect("send");
            assert_eq!(port.receive().expect("receive").data, b"x");
            drop((client, server));
            let notice = port.receive().expect("the client's end");
            assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
            is_alone(&port, true);
        }
    });
}

#[test]
fn a_connection_counts_until_it_has_ended_and_what_it_left_comes_first() {
    isolated(|| {
        let port = anonymous();
        let (server, client) = pair::attach(&port, 1);
        is_alone(&port, false);
        client.one_way(b"last").expect("send");
        client
            .disconnect_with(ALPC_DISCONNECT_NO_FLUSH)
            .expect("disconnect");
        // Both have a descriptor still, and neither leads anywhere.
        assert_eq!(poll_now(&port, IN | RDHUP), IN | RDHUP);
        assert_eq!(port.receive().expect("receive").data, b"last");
        let notice = port.receive().expect("receive");
        assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
        is_alone(&port, true);
        drop((client, server));
        is_alone(&port, true);

        // And where the server ends it.
        let (server, client) = pair::attach(&port, 1);
        is_alone(&port, false);
        let told = told_by(&port, || server.disconnect().expect("disconnect"));
        assert_eq!(told.unwrap_err(), fail::NO_CLIENTS);
        drop(client);
        is_alone(&port, true);
    });
}

#[test]
fn a_thread_that_waits_gets_the_notice_and_the_others_are_told_of_nobody() {
    isolated(|| {
        for _ in 0..rounds(50) {
            let port = anonymous();
            let (_server, client) = pair::attach(&port, 1);
            thread::scope(|scope| {
                let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| port.receive())).collect();
                drop(client);
                let mut told: Vec<_> = waiting
                    .into_iter()
                    .map(|thread| thread.join().expect("join").map(|message| message.kind))
                    .collect();
                told.sort_by_key(Result::is_err);
                assert_eq!(told[0], Ok(ALPC_TYPE_PORT_CLOSED));
                assert_eq!(told[1..], [Err(fail::NO_CLIENTS); 2]);
            });
        }
    });
}

#[test]
fn a_request_to_connect_counts_until_it_is_answered_or_withdrawn() {
    isolated(|| {
        // Refused, though the client keeps its descriptor.
        let port = anonymous();
        let client = connect_later(&descriptor(&port));
        assert_eq!(poll_now(&port, RDHUP), 0);
        let asked = request(&port);
        is_alone(&port, false);
        let told = told_by(&port, || {
            Accept::new(asked.id).refuse(&port).expect("refuse");
        });
        assert_eq!(told.unwrap_err(), fail::NO_CLIENTS);
        is_alone(&port, true);
        drop(client);

        // Withdrawn before it was received: there is nothing to be received first.
        let client = connect_later(&descriptor(&port));
        assert_eq!(poll_now(&port, RDHUP), 0);
        drop(client);
        is_alone(&port, true);

        // And after that, which leaves a notice.
        let client = connect_later(&descriptor(&port));
        let asked = request(&port);
        drop(client);
        let notice = port.receive().expect("receive");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, asked.id));
        is_alone(&port, true);
    });
}

#[test]
fn a_call_that_connects_keeps_the_descriptor_that_is_closed_meanwhile() {
    isolated(|| {
        let port = anonymous();
        let through = descriptor(&port);
        // A call holds the file it was made on, so closing its only descriptor leaves the request.
        let fd = through.as_fd().as_raw_fd();
        let connected = asleep(
            || Connect::new(None).run_on(&through),
            || {
                // SAFETY: It is open, and given back before `through` ends.
                unsafe {
                    let spare = libc::dup(port.as_fd().as_raw_fd());
                    assert!(spare >= 0);
                    assert_eq!(libc::dup3(spare, fd, libc::O_CLOEXEC), fd);
                    assert_eq!(libc::close(spare), 0);
                }
                let asked = request(&port);
                is_alone(&port, false);
                let server = Accept::new(asked.id).run(&port).expect("accept");
                is_alone(&port, false);
                std::mem::forget(server);
            },
        );
        let client = connected.expect("connect").port;
        is_alone(&port, false);
        drop(client);
        let notice = port.receive().expect("receive");
        assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
        is_alone(&port, true);
    });
}

#[test]
fn a_descriptor_that_somebody_else_has_counts_until_that_ends() {
    isolated(|| {
        let port = anonymous();
        let through = descriptor(&port);
        // Forked, so the process has a duplicate.
        let peer = Peer::spawn(BOB, |link| {
            let _through = link.take_fd();
            link.sync();
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        });
        peer.put_fd(&through);
        drop(through);
        peer.sync();
        is_alone(&port, false);
        let told = told_by(&port, || peer.kill());
        assert_eq!(told.unwrap_err(), fail::NO_CLIENTS);
    });
}

#[test]
fn a_descriptor_under_way_in_a_socket_counts() {
    isolated(|| {
        let port = anonymous();
        let (here, there) = Link::pair();
        let through = descriptor(&port);
        here.put_fd(&through);
        drop(through);
        is_alone(&port, false);
        let through = Port::from(there.take_fd());
        let client = connect_later(&through);
        here.put_fd(&through);
        drop(through);
        drop(client);
        let told = told_by(&port, || drop((here, there)));
        // The request that was withdrawn has left nothing.
        assert_eq!(told.unwrap_err(), fail::NO_CLIENTS);
    });
}

#[test]
fn a_port_with_a_name_is_never_alone() {
    isolated(|| {
        let port = Create::named("no-clients/named").run().expect("create");
        let (server, client) = pair::attach(&port, 1);
        drop(client);
        drop(server);
        let notice = port.receive().expect("receive");
        assert_eq!(notice.kind, ALPC_TYPE_PORT_CLOSED);
        is_alone(&port, false);
    });
}

#[test]
fn a_descriptor_that_could_not_be_made_is_not_missed() {
    isolated(|| {
        let port = anonymous();
        let limit = |soft| {
            // SAFETY: Two live structures.
            unsafe {
                let mut old = std::mem::zeroed::<libc::rlimit>();
                assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut old), 0);
                let new = libc::rlimit {
                    rlim_cur: soft,
                    ..old
                };
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &new), 0);
                old.rlim_cur
            }
        };
        let before = limit(0);
        let made = port.connect_descriptor();
        limit(before);
        refused_with(made, libc::EMFILE, "CREATE_CONNECT");
        is_alone(&port, false);
    });
}

#[test]
fn who_polls_is_woken_for_the_hang_up_alone_and_once_by_an_edge() {
    isolated(|| {
        let port = anonymous();
        // SAFETY: A new descriptor, and a live event.
        let epoll = unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            assert!(epoll >= 0);
            let events = (libc::EPOLLRDHUP | libc::EPOLLET) as u32;
            let mut event = libc::epoll_event { events, u64: 0 };
            let fd = port.as_fd().as_raw_fd();
            assert_eq!(
                libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event),
                0
            );
            OwnedFd::from_raw_fd(epoll)
        };
        let edges = |milliseconds| {
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: Room for one event.
            let found = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, milliseconds) };
            (found == 1).then_some(event.events)
        };
        let hang_up = Some(libc::EPOLLRDHUP as u32);
        type End = fn(Port, &Port);
        let ends: [End; 3] = [
            |through, _| drop(through),
            |through, port| {
                let client = connect_later(&through);
                drop(through);
                Accept::new(request(port).id).refuse(port).expect("refuse");
                drop(client);
            },
            |through, port| {
                let (server, client) = pair::attach(port, 1);
                drop(through);
                drop(client);
                drop(server);
                port.receive().expect("the notice");
            },
        ];
        for end in ends {
            let through = descriptor(&port);
            assert_eq!(edges(0), None);
            thread::scope(|scope| {
                let sleeper = scope.spawn(|| poll_wait(&port, RDHUP));
                wait::settle();
                assert!(!sleeper.is_finished());
                end(through, &port);
                assert_eq!(sleeper.join().expect("join"), RDHUP);
            });
            assert_eq!(edges(60_000), hang_up);
            assert_eq!(edges(0), None, "once");
            is_alone(&port, true);
        }
    });
}

#[test]
fn a_reply_goes_out_though_nobody_is_left_to_be_received_from() {
    isolated(|| {
        let port = anonymous();
        let (_server, client) = pair::attach(&port, 1);
        let id = client.post(b"x").expect("post");
        let asked = port.receive().expect("receive");
        assert_eq!(asked.id, id);
        // The last connection goes while the reply's call waits for the next message.
        let mut reply = Transfer::new().send(b"y").into(&asked).receive();
        reply = reply.flags(ALPC_RELEASE);
        let told = asleep(
            || reply.run(&port).map(|message| message.kind),
            || {
                assert_eq!(client.receive().expect("receive").data, b"y");
                drop(client);
            },
        );
        assert_eq!(told, Ok(ALPC_TYPE_PORT_CLOSED));
        is_alone(&port, true);
        assert_eq!(port.disconnect(), Ok(()));
        assert_eq!(port.receive().unwrap_err(), fail::CLOSED);
        assert_eq!(poll_now(&port, RDHUP) & RDHUP, 0, "it has ended instead");
    });
}
