// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who does not read what it is sent does not use up the memory of who sends it: room for answers
//! is memory of who asks, and all else that a server sends has a bound of the server's own.

use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

use super::*;

/// What a small service may have.
const SMALL: u64 = 24 << 20;
const ANSWER: usize = 4096;
const CONNECTIONS: usize = 24;
/// Requests on each connection of a stranger's.
const EACH: usize = 200;

/// Answers that came, and requests of who reads them.
const SERVED: usize = 6;
/// What the server could not send.
const REFUSED: usize = 7;
/// Requests of others that it has seen to.
const HANDLED: usize = 8;

/// A service: answers each request at length, and tells each client something every now and then.
/// It uses memory of its own meanwhile.
fn serve(port: &Port, ends: &[Port], seen: Shared) {
    let answer = vec![7; ANSWER];
    let mut round = 0;
    loop {
        let request = port.receive().expect("receive");
        if request.data == b"end" {
            return;
        }
        if port.reply(&request, &answer).is_err() {
            seen[REFUSED].fetch_add(1, SeqCst);
        }
        round += 1;
        let to = &ends[round % ends.len()];
        let mut tell = Transfer::new().send(&answer);
        tell = tell.flags(ALPC_RELEASE | ALPC_NONBLOCK);
        if tell.run(to).is_err() {
            seen[REFUSED].fetch_add(1, SeqCst);
        }
        if request.uid != ALICE.uid {
            seen[HANDLED].fetch_add(1, SeqCst);
        }
        if round % 64 == 0 {
            // Where the limit is met, this is what somebody would be killed for.
            std::hint::black_box(vec![1_u8; 4 << 20]);
        }
    }
}

/// A user with many connections that asks as often as it may, and reads nothing.
fn reads_nothing(user: User, name: &'static str, seen: Shared) -> Peer {
    as_user(user, move |link| {
        let connect = |_| Connect::to(name).run().expect("connect").port;
        let clients: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        eventually(|| seen[TURNS].load(SeqCst) == 1);
        let mut asked = 0;
        for client in &clients {
            for _ in 0..rounds(EACH as u64) {
                let send = Transfer::new().send(b"?").reply_bytes(ANSWER as u32);
                match { send }.flags(ALPC_NONBLOCK).run(client) {
                    Ok(_) => asked += 1,
                    Err(fail::QUEUE_FULL) => wait::settle(),
                    Err(failure) => assert_eq!(failure, fail::LIMIT),
                }
            }
        }
        link.put(asked);
        link.sync();
    })
}

#[test]
fn a_server_with_little_memory_outlives_strangers_that_read_nothing() {
    isolated_long(4, || {
        let name = "memcg/strangers";
        let cgroup = Cgroup::with("strangers", SMALL);
        let seen = Shared::new();
        let server = Peer::spawn(ROOT, move |link| {
            many_descriptors();
            link.sync();
            let port = Create::named(name).open().run().expect("create");
            link.sync();
            let count = 1 + 3 * CONNECTIONS;
            let accept = |_| {
                let request = port.receive().expect("receive");
                Accept::new(request.id).run(&port).expect("accept")
            };
            let ends: Vec<_> = (0..count).map(accept).collect();
            link.sync();
            serve(&port, &ends, seen);
            link.sync();
        });
        cgroup.add(&server);
        server.sync();
        server.sync();
        let honest = Peer::spawn(ALICE, move |link| {
            let client = Connect::to(name).run().expect("connect").port;
            eventually(|| seen[TURNS].load(SeqCst) == 1);
            while seen[DONE].load(SeqCst) == 0 {
                let reply = client.request(b"?").expect("served");
                assert_eq!(reply.data, [7; ANSWER]);
                seen[SERVED].fetch_add(1, SeqCst);
                while client.receive_now().is_ok() {}
            }
            client.one_way(b"end").expect("send");
            link.sync();
        });
        let strangers = [BOB, CAROL, MALLORY].map(|user| reads_nothing(user, name, seen));
        server.sync();
        seen[TURNS].store(1, SeqCst);
        let asked: u64 = strangers.iter().map(|stranger| stranger.take()).sum();
        eventually(|| seen[HANDLED].load(SeqCst) == asked);
        let served = seen[SERVED].load(SeqCst);
        eventually(|| seen[SERVED].load(SeqCst) > served + 20);
        note!(
            "{asked} asked, {} refused, {served} served, {} bytes",
            seen[REFUSED].load(SeqCst),
            cgroup.current()
        );
        // Of all that, the server has no more than what it has said at its start.
        assert!(rounds(EACH as u64) < EACH as u64 || asked * ANSWER as u64 > 2 * SMALL);
        cgroup.assert_alive();
        seen[DONE].store(1, SeqCst);
        honest.sync();
        server.sync();
        server.wait();
        honest.wait();
        strangers.iter().for_each(|stranger| stranger.sync());
        strangers.into_iter().for_each(Peer::wait);
    });
}

/// Asks with room for long answers until that fails for want of memory, each time it may.
fn asker(name: &'static str, seen: Shared) -> Peer {
    Peer::spawn(ROOT, move |link| {
        keep_memory();
        BOB.become_it();
        link.sync();
        let client = Connect::to(name).run().expect("connect").port;
        let mut transfer = Transfer::new().send(b"?").reply_bytes(ALPC_MESSAGE_MAX);
        transfer = transfer.flags(ALPC_NONBLOCK);
        transfer.point();
        let ready = transfer.arg;
        keep_memory();
        link.sync();
        for turn in 1.. {
            eventually(|| seen[TURNS].load(SeqCst) >= turn);
            let failure = loop {
                transfer.arg = ready;
                match transfer.run_as_is(&client) {
                    Ok(_) => seen[SENT].fetch_add(1, SeqCst),
                    Err(failure) => break failure,
                };
            };
            seen[ERRNO].store(failure.errno as u64, SeqCst);
            seen[OUTCOME].store(failure.outcome.into(), SeqCst);
            seen[FLAGS].store((transfer.arg.flags & ALPC_SENT).into(), SeqCst);
            seen[DONE].store(turn, SeqCst);
        }
    })
}

#[test]
fn room_for_answers_is_memory_of_who_asks_and_fails_at_its_limit() {
    isolated(|| {
        let name = "memcg/room";
        let cgroup = Cgroup::new("room");
        let mut create = Create::named(name).open().max(ALPC_MESSAGE_MAX);
        let port = create.run().expect("create");
        let seen = Shared::new();
        let client = asker(name, seen);
        cgroup.add(&client);
        client.sync();
        let _end = views::accept(&port);
        client.sync();
        flood(&cgroup, seen);
        let sent = seen[SENT].load(SeqCst);
        // The answers have their room, however much there is of them, and nothing is the server's.
        let answer = vec![7; ALPC_MESSAGE_MAX as usize];
        for _ in 0..sent {
            let request = port.receive_now().expect("a request");
            port.reply(&request, &answer).expect("reply");
        }
        assert_eq!(port.query_port().expect("query").told_bytes, 0);
        assert!(cgroup.current() > LIMIT / 8 * 7);
        client.kill();
        cgroup.until_empty();
        cgroup.assert_nobody_was_killed();
    });
}

/// Files of a file system that answers when it likes, and long answers that one has room for.
const FILES: usize = 4;
const LONG: usize = ALPC_MESSAGE_MAX as usize;
const PER_FILE: usize = fuse::SIZE as usize / LONG;

/// Calls by as many threads as there is room for answers in memory of those files, which isn't there.
fn calls_into_files(name: &str, control: fuse::Control) {
    let client = Connect::to(name).run().expect("connect").port;
    let maps: Vec<usize> = (0..FILES)
        .map(|file| fuse::map(&fuse::open(file, 0)) as usize)
        .collect();
    (0..FILES).for_each(|file| control.hold(file, &[fuse::READ]));
    std::thread::scope(|scope| {
        for at in maps
            .iter()
            .flat_map(|map| (0..PER_FILE).map(move |part| map + part * LONG))
        {
            let client = &client;
            scope.spawn(move || {
                let mut call = Transfer::new().send(b"?");
                call = call.flags(ALPC_SYNC | ALPC_RECEIVE);
                call.point();
                call.arg.recv_data = at as u64;
                call.arg.recv_capacity = ALPC_MESSAGE_MAX;
                let result = ioctl(client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut call.arg);
                assert_eq!(
                    (result.is_ok(), call.arg.recv_length),
                    (true, ALPC_MESSAGE_MAX)
                );
            });
        }
    });
}

#[test]
fn an_answer_that_waits_for_its_receivers_memory_is_no_memory_of_the_servers() {
    isolated_long(2, || {
        let name = "memcg/absent";
        let cgroup = Cgroup::with("absent", SMALL);
        let (seen, count) = (Shared::new(), (FILES * PER_FILE) as u64);
        let server = Peer::spawn(ROOT, move |link| {
            link.sync();
            let mut create = Create::named(name).open().max(ALPC_MESSAGE_MAX);
            let port = create.run().expect("create");
            link.sync();
            let _end = views::accept(&port);
            let answer = vec![7; LONG];
            while seen[SERVED].load(SeqCst) < count {
                let request = port.receive().expect("receive");
                port.reply(&request, &answer).expect("reply");
                seen[SERVED].fetch_add(1, SeqCst);
            }
            link.sync();
            link.sync();
        });
        cgroup.add(&server);
        server.sync();
        server.sync();
        let before = cgroup.current();
        let control = fuse::Control::new();
        let (files, _) = fuse::user_of(ROOT, fuse::Mounted::ByRoot, control, move |link| {
            calls_into_files(name, control);
            link.sync();
        });
        server.sync();
        wait::settle();
        let most = before + (2 << 20);
        note!(
            "{} bytes before, {} with all answered",
            before,
            cgroup.current()
        );
        eventually(|| cgroup.current() < most);
        control.answer_all();
        files.sync();
        server.sync();
        server.wait();
        files.kill();
    });
}

/// Connections on which an answer can't be copied.
const LEFT: usize = 100;

/// Answers a request of the server's on each connection, and makes a call whose answer has nowhere
/// to go.
fn calls_into_nowhere(name: &str) -> Vec<Port> {
    let connect = |_| Connect::to(name).run().expect("connect").port;
    let clients: Vec<_> = (0..LEFT).map(connect).collect();
    for client in &clients {
        let request = client.receive().expect("a request");
        client.reply(&request, b"").expect("reply");
        let mut call = Transfer::new().send(b"?").flags(ALPC_SYNC | ALPC_RECEIVE);
        call.point();
        call.arg.recv_data = 16;
        call.arg.recv_capacity = ALPC_MESSAGE_MAX;
        let failure = call.run_as_is(client).expect_err("no such memory");
        assert_eq!(failure.errno, libc::EFAULT);
    }
    clients
}

#[test]
fn an_answer_that_stays_is_no_memory_of_a_server_that_has_asked_on_its_connection() {
    isolated(|| {
        let name = "memcg/asked";
        let cgroup = Cgroup::with("asked", SMALL);
        let server = Peer::spawn(ROOT, move |link| {
            many_descriptors();
            link.sync();
            let mut create = Create::named(name).open().max(ALPC_MESSAGE_MAX);
            let port = create.run().expect("create");
            link.sync();
            let ends: Vec<_> = (0..LEFT).map(|_| views::accept(&port)).collect();
            let answer = vec![7; LONG];
            link.sync();
            for end in &ends {
                end.post(b"?").expect("a request");
                end.receive().expect("its answer");
                let request = port.receive().expect("receive");
                let (id, turn) = (request.id, request.callback_id);
                eventually(|| port.verify(id, turn, ALPC_VERIFY_THREAD).is_ok());
                end.reply(&request, &answer).expect("reply");
            }
            assert_eq!(port.query_port().expect("query").told_bytes, 0);
            link.sync();
            link.sync();
        });
        cgroup.add(&server);
        server.sync();
        server.sync();
        let client = Peer::spawn(ROOT, move |link| {
            many_descriptors();
            let _clients = calls_into_nowhere(name);
            link.sync();
            link.sync();
        });
        server.sync();
        let before = cgroup.current();
        server.sync();
        client.sync();
        wait::settle();
        note!("{before} bytes before, {} after", cgroup.current());
        let most = before + (2 << 20);
        eventually(|| cgroup.current() < most);
        client.sync();
        client.wait();
        server.sync();
        server.wait();
    });
}
