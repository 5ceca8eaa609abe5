// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a careful reader of the module found to go wrong: locks held where they
//! must not be, threads that were served and not woken.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::*;

/// An asynchronous connect through `through`: its pending client port.
fn pending(through: &Port) -> Port {
    let mut connect = Connect::new(None).asynchronous();
    connect.run_on(through).expect("connect").port
}

/// Waits for the answer to the request of `client` by the connect that goes on.
fn resume(through: &Port, client: &Port, capacity: usize) -> Result<Vec<u8>, Failure> {
    let mut connect = Connect::new(None)
        .capacity(capacity)
        .flags(ALPC_CONNECT_SENT);
    connect.arg.fd = client.as_fd().as_raw_fd();
    let again = connect.run_on(through)?;
    // It is the descriptor that the caller has already, not one more.
    let fd = OwnedFd::from(again.port).into_raw_fd();
    assert_eq!(fd, client.as_fd().as_raw_fd());
    Ok(again.data)
}

#[test]
fn an_answer_that_came_before_the_connect_was_resumed_is_there() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let client = pending(&through);
        let request = port.receive().expect("request");
        let mut accept = Accept::new(request.id).data(b"welcome");
        let _server = accept.run(&port).expect("accept");
        assert_eq!(resume(&through, &client, 64), Ok(b"welcome".to_vec()));
        client.one_way(b"x").expect("send");
        assert_eq!(port.receive().expect("receive").data, b"x");
        // The answer was the only one.
        assert_eq!(resume(&through, &client, 64), Err(fail::NOT_FOUND));
    });
}

#[test]
fn a_refusal_that_came_before_the_connect_was_resumed_is_there() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        for capacity in [64, 1] {
            let client = pending(&through);
            let request = port.receive().expect("request");
            let mut accept = Accept::new(request.id).data(b"go away");
            accept.refuse(&port).expect("refuse");
            assert_eq!(resume(&through, &client, capacity), Err(fail::REFUSED));
        }
    });
}

#[test]
fn an_answer_too_long_for_a_resumed_connect_ends_the_connection() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let client = pending(&through);
        let request = port.receive().expect("request");
        let mut accept = Accept::new(request.id).data(b"welcome");
        let server = accept.run(&port).expect("accept");
        assert_eq!(
            resume(&through, &client, 1),
            Err(fail::BUFFER_TOO_SMALL),
            "it can't be told"
        );
        assert_eq!(server.one_way(b"x"), Err(fail::DISCONNECTED));
    });
}

#[test]
fn a_port_that_closed_before_the_connect_was_resumed_has_refused() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let client = pending(&through);
        drop(port);
        let failure = resume(&through, &client, 64).unwrap_err();
        assert!(
            [fail::REFUSED, fail::NOT_FOUND].contains(&failure),
            "{failure:?}"
        );
    });
}

#[test]
fn a_resumed_connect_races_with_its_answer() {
    isolated_long(5, || {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let total = rounds(3_000);
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                for round in 0..total {
                    let request = loop {
                        // Between them come the ends of the connections before.
                        let message = port.receive().expect("receive");
                        if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
                            break message;
                        }
                    };
                    let mut accept = Accept::new(request.id).data(b"y");
                    match round % 3 {
                        0 => accept.refuse(&port).expect("refuse"),
                        _ => drop(accept.run(&port).expect("accept")),
                    }
                }
            });
            for round in 0..total {
                let client = pending(&through);
                match resume(&through, &client, if round % 2 == 0 { 8 } else { 0 }) {
                    Ok(data) => assert_eq!(data, b"y"),
                    Err(failure) => assert!(
                        [
                            fail::REFUSED,
                            fail::BUFFER_TOO_SMALL,
                            fail::DISCONNECTED,
                            fail::NOT_FOUND,
                            fail::LOST,
                        ]
                        .contains(&failure),
                        "{failure:?}"
                    ),
                }
            }
            server.join().expect("join");
        });
    });
}

/// A connection whose messages have at most 50 bytes, at a port that allows 80:
/// what is between is found out where the queue is.
fn narrow() -> (Port, Port, Port) {
    let port = Create::anonymous()
        .max(80)
        .share(256, 100)
        .run()
        .expect("create");
    let through = port.connect_descriptor().expect("connect descriptor");
    let mut connect = Connect::new(None).asynchronous();
    connect.arg.max_message_length = 50;
    let client = connect.run_on(&through).expect("connect").port;
    let request = port.receive().expect("request");
    let server = Accept::new(request.id).run(&port).expect("accept");
    client.receive().expect("reply");
    (port, server, client)
}

#[test]
fn a_send_refused_for_its_length_leaves_nobody_behind_who_waits_for_room() {
    isolated(|| {
        let (port, _server, client) = narrow();
        client.one_way(&[1; 50]).expect("send");
        client.one_way(&[2; 10]).expect("send");
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let client = &client;
            let waiter = scope.spawn(move || {
                tell.send(signals::tid()).expect("tell");
                client.one_way(&[3; 50])
            });
            let tid = told.recv().expect("tid");
            eventually(|| inspect::thread_sleeps(tid));
            wait::settle();
            assert_eq!(client.one_way(&[4; 60]), Err(fail::TOO_LONG));
            wait::settle();
            for first in [1, 2, 3] {
                assert_eq!(port.receive().expect("receive").data[0], first);
            }
            assert_eq!(waiter.join().expect("join"), Ok(()));
        });
    });
}

/// An epoll with an exclusive entry for a port.
fn exclusively(port: &Port) -> OwnedFd {
    // SAFETY: Makes a new descriptor.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: Just made, owned by nobody else.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32,
        u64: 0,
    };
    let port = port.as_fd().as_raw_fd();
    // SAFETY: Live descriptors and a live event.
    let added = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, port, &mut event) };
    assert_eq!(added, 0);
    epoll
}

/// Waits until the epoll has something to tell.
fn epoll_wait(epoll: &OwnedFd) -> u32 {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: One live event.
    let ready = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, -1) };
    assert_eq!(ready, 1);
    event.events
}

#[test]
fn the_end_wakes_every_epoll_that_waits_exclusively() {
    isolated(|| {
        for client_end in [false, true] {
            let pair = Pair::new();
            let target = if client_end { &pair.client } else { &pair.port };
            let epolls: Vec<_> = (0..3).map(|_| exclusively(target)).collect();
            thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let waiters: Vec<_> = epolls
                    .iter()
                    .map(|epoll| {
                        let tell = tell.clone();
                        scope.spawn(move || {
                            tell.send(signals::tid()).expect("tell");
                            epoll_wait(epoll)
                        })
                    })
                    .collect();
                for tid in told.iter().take(epolls.len()) {
                    eventually(|| inspect::thread_sleeps(tid));
                }
                wait::settle();
                pair.port.disconnect().expect("disconnect");
                for waiter in waiters {
                    assert_ne!(waiter.join().expect("join"), 0);
                }
            });
        }
    });
}

#[test]
fn who_got_its_ids_after_its_first_message_is_seen_by_them() {
    isolated(|| {
        // SAFETY: No pointers; this process has one thread.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
        let pair = Pair::new();
        let seen = |what: &[u8]| {
            pair.client.one_way(what).expect("send");
            let message = pair.port.receive().expect("receive");
            (message.uid, message.gid)
        };
        let request = || {
            thread::scope(|scope| {
                let (call, request) = pair.requested(scope, b"x");
                pair.port.reply(&request, b"y").expect("reply");
                let reply = call.join().expect("join").expect("reply");
                (request.uid, reply.uid)
            })
        };
        const NOBODY: u32 = 65534;
        assert_eq!(seen(b"x"), (NOBODY, NOBODY));
        assert_eq!(request(), (NOBODY, NOBODY));
        std::fs::write("/proc/self/uid_map", "7 0 1").expect("uid_map");
        std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
        std::fs::write("/proc/self/gid_map", "8 0 1").expect("gid_map");
        assert_eq!(seen(b"y"), (7, 8));
        assert_eq!(request(), (7, 7));
        let info = pair.server.query_port().expect("query");
        assert_eq!((info.peer_uid, info.peer_gid), (7, 8));
    });
}

/// Descriptors that several threads use and close, and what they received.
struct Melee {
    ports: Vec<Mutex<Option<Arc<Port>>>>,
    messages: Mutex<Vec<Message>>,
}

impl Melee {
    /// A port, connections in every state, and messages under way.
    fn new(rng: &mut Rng) -> Self {
        let flags = match rng.one_in(2) {
            true => ALPC_PORT_ARRIVAL_ORDER,
            false => 0,
        };
        let port = Create::anonymous().flags(flags).run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut ports = Vec::new();
        for _ in 0..=rng.below(3) {
            let client = pending(&through);
            match rng.below(8) {
                0 => {}
                1 => drop(port.receive().expect("request")),
                2 => {
                    let request = port.receive_now();
                    let _ = request.map(|request| Accept::new(request.id).refuse(&port));
                }
                _ => {
                    let request = port.receive_now();
                    if let Ok(Ok(server)) = request.map(|r| Accept::new(r.id).run(&port)) {
                        ports.push(server);
                    }
                    if rng.one_in(2) {
                        let _ = client.receive_now();
                    }
                }
            }
            ports.push(client);
        }
        ports.extend([port, through]);
        let shared = |port| Mutex::new(Some(Arc::new(port)));
        Self {
            ports: ports.into_iter().map(shared).collect(),
            messages: Mutex::default(),
        }
    }

    fn act(&self, rng: &mut Rng) {
        let place = rng.pick(&self.ports);
        if rng.one_in(12) {
            drop(place.lock().expect("lock").take());
            return;
        }
        let Some(port) = place.lock().expect("lock").clone() else {
            return;
        };
        let message = {
            let messages = self.messages.lock().expect("lock");
            match messages.is_empty() {
                true => None,
                false => Some(rng.pick(&messages).clone()),
            }
        };
        let capacity = *rng.pick(&[0, 4, 64]);
        let mut call = Transfer::new();
        match (rng.below(12), message) {
            (0, _) => {
                let _ = port.disconnect_with(rng.below(2) as u32);
                return;
            }
            (1, Some(message)) => {
                let _ = port.cancel(message.id, rng.below(2) as u32);
                return;
            }
            (2, _) => {
                let _ = port.query_port();
                return;
            }
            (3 | 4, _) => call = call.send(b"new"),
            (5, _) => call = call.send(b"one-way").flags(ALPC_RELEASE),
            (6, _) => call = call.send(b"call").capacity(capacity).flags(ALPC_SYNC),
            (7, Some(to)) => call = call.send(b"final").into(&to).flags(ALPC_RELEASE),
            (8, Some(to)) => call = call.send(b"reply").into(&to),
            (9, Some(to)) => {
                let flags = *rng.pick(&[ALPC_SYNC, ALPC_SYNC | ALPC_ANSWER]);
                call = call.send(b"back").into(&to).capacity(capacity).flags(flags);
            }
            (10, Some(to)) => call = call.send(b"").into(&to).flags(ALPC_RELEASE | ALPC_DISCARD),
            _ => call = call.capacity(capacity),
        }
        call = call.timeout(*rng.pick(&[0, 1, 20_000, 200_000]));
        call.point();
        // Sometimes what is received can't be given to the caller, and goes back.
        if rng.one_in(4) && call.arg.recv_data != 0 {
            call.arg.recv_data = memory::HOSTILE[0];
        }
        let receives = call.arg.flags & ALPC_RECEIVE != 0;
        if let Ok(message) = call.run_as_is(&*port) {
            if receives && message.id != 0 {
                self.messages.lock().expect("lock").push(message);
            }
        }
    }
}

/// What a memory cgroup holds of the kernel's objects, in bytes.
fn objects(cgroup: &std::path::Path) -> u64 {
    let stat = std::fs::read_to_string(cgroup.join("memory.stat")).expect("memory.stat");
    let line = stat
        .lines()
        .find_map(|l| l.strip_prefix("slab_unreclaimable "));
    line.and_then(|bytes| bytes.parse().ok()).expect("bytes")
}

#[test]
fn whatever_ends_meanwhile_no_memory_is_left() {
    isolated_long(10, || {
        let cgroup = std::path::Path::new("/sys/fs/cgroup/alpc-safety");
        if std::fs::create_dir(cgroup).is_err() {
            note!("no cgroups here");
            return;
        }
        let seed = seed();
        note!("ALPC_SEED={seed}");
        let total = rounds(4_000);
        let fighters = Peer::spawn(ROOT, |_| {
            std::fs::write(cgroup.join("cgroup.procs"), "0").expect("cgroup.procs");
            let melee = Mutex::new(Arc::new(Melee::new(&mut Rng::new(seed))));
            let barrier = Barrier::new(3);
            thread::scope(|scope| {
                for number in 0..3 {
                    let (melee, barrier) = (&melee, &barrier);
                    let mut rng = Rng::new(seed.wrapping_add(number));
                    scope.spawn(move || {
                        for _ in 0..total {
                            if barrier.wait().is_leader() {
                                *melee.lock().expect("lock") = Arc::new(Melee::new(&mut rng));
                            }
                            barrier.wait();
                            let melee = melee.lock().expect("lock").clone();
                            for _ in 0..rng.below(40) {
                                melee.act(&mut rng);
                            }
                            for port in &melee.ports {
                                drop(port.lock().expect("lock").take());
                            }
                        }
                    });
                }
            });
        });
        fighters.wait();
        // A port with its tables is some 10 KiB. What is freed late, is soon.
        let deadline = Instant::now() + Duration::from_secs(20);
        while objects(cgroup) > 64 << 10 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let left = objects(cgroup);
        note!("{left} bytes of objects after {total} rounds");
        assert!(left <= 64 << 10, "{left} bytes are left");
        eventually(|| std::fs::remove_dir(cgroup).is_ok());
    });
}
