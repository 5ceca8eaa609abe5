// SPDX-License-Identifier: MIT OR Apache-2.0

//! Room for answers that nobody waits for: it is made by who asks.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use alpc_tests::files::*;
use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// The least room there is.
const LEAST: usize = 256;

fn told(port: &Port) -> u32 {
    port.query_port().expect("query").told_bytes
}

/// An asynchronous request with room for so many bytes: its conversation.
fn post(client: &Port, data: &[u8], room: u32) -> u64 {
    let mut send = Transfer::new().send(data).reply_bytes(room);
    send.run(client).expect("post");
    send.arg.send_id
}

fn receive(port: &Port) -> Message {
    Transfer::new()
        .capacity(ALPC_MESSAGE_MAX as usize)
        .now()
        .run(port)
        .expect("a message")
}

fn wide() -> Pair {
    Pair::with(Create::anonymous().max(ALPC_MESSAGE_MAX))
}

#[test]
fn an_answer_has_as_much_room_as_its_request_has_made() {
    isolated(|| {
        let pair = wide();
        // Asked for, the request's own length, the least: one after the other, so that room which
        // is used again is no larger for that.
        let cases = [
            (1, 5000, 5000),
            (1000, 0, 1000),
            (1, 0, LEAST),
            (0, 1, LEAST),
            (3000, 2999, 3000),
            (0, ALPC_MESSAGE_MAX, ALPC_MESSAGE_MAX as usize),
            (0, 300, 300),
        ];
        for (length, asked, room) in cases.into_iter().cycle().take(3 * cases.len()) {
            let id = post(&pair.client, &vec![1; length], asked);
            let request = receive(&pair.port);
            let answer = vec![length as u8; room];
            pair.port.reply(&request, &answer).expect("reply");
            assert_eq!(told(&pair.port), 0, "it is the client's");
            let reply = receive(&pair.client);
            assert_eq!((reply.id, reply.kind), (id, ALPC_TYPE_REPLY));
            assert_eq!(reply.data, answer);
            assert_eq!((reply.pid, reply.uid), (std::process::id(), 0));

            if room < ALPC_MESSAGE_MAX as usize {
                let id = post(&pair.client, &vec![1; length], asked);
                let request = receive(&pair.port);
                let too_long = pair.port.reply(&request, &vec![1; room + 1]);
                assert_eq!(too_long, Err(fail::TOO_LONG_FOR_REPLY));
                let notice = receive(&pair.client);
                assert_eq!((notice.id, notice.kind), (id, ALPC_TYPE_LOST_REPLY));
                assert_eq!(pair.port.reply(&request, b""), Err(fail::NOT_FOUND));
            }
        }
        assert_eq!(pair.port.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn answers_that_nobody_receives_take_nothing_of_any_share() {
    isolated(|| {
        let length = ALPC_MESSAGE_MAX;
        let pair = wide();
        let count = 40;
        for _ in 0..count {
            post(&pair.client, b"?", length);
            let request = receive(&pair.port);
            let answer = vec![7; length as usize];
            pair.port.reply(&request, &answer).expect("reply");
        }
        assert!(u64::from(count * length) > u64::from(query().queue_bytes) * 2);
        assert_eq!(told(&pair.port), 0);
        for _ in 0..count {
            assert_eq!(receive(&pair.client).data.len(), length as usize);
        }
    });
}

#[test]
fn an_answer_that_is_waited_for_needs_no_room() {
    isolated(|| {
        let pair = wide();
        let long = vec![5; ALPC_MESSAGE_MAX as usize];
        // In the wait for its conversation, and in that for the next message.
        for flags in [ALPC_SEND | ALPC_SENT | ALPC_SYNC, 0] {
            let id = post(&pair.client, b"?", 0);
            let request = receive(&pair.port);
            let client = Peer::fork(ROOT, |_| {
                let mut wait = Transfer::new().capacity(long.len()).flags(flags);
                if flags != 0 {
                    wait.arg.send_id = id;
                }
                assert_eq!(wait.run(&pair.client).expect("receive").data, long);
            });
            client.until_asleep();
            pair.port.reply(&request, &long).expect("reply");
            client.wait();
            assert_eq!(told(&pair.port), 0);
        }
    });
}

#[test]
fn each_message_of_the_clients_makes_room_for_the_next_of_the_servers() {
    isolated(|| {
        let pair = wide();
        post(&pair.client, b"?", 2000);
        for round in 0..10_u8 {
            let request = receive(&pair.port);
            let answer = vec![round; 2000];
            pair.port.reply_open(&request, &answer).expect("reply");
            assert_eq!(told(&pair.port), 0);
            let open = receive(&pair.client);
            assert_eq!(open.data, answer);
            let send = Transfer::new().send(b"!").into(&open).reply_bytes(2000);
            { send }.run(&pair.client).expect("send");
        }
        let request = receive(&pair.port);
        let long = vec![1; 2001];
        let refused = pair.port.reply_open(&request, &long);
        assert_eq!(refused, Err(fail::TOO_LONG_FOR_REPLY));
        assert_eq!(receive(&pair.client).kind, ALPC_TYPE_LOST_REPLY);
    });
}

#[test]
fn a_callback_to_who_does_not_wait_comes_in_its_room() {
    isolated(|| {
        let pair = wide();
        post(&pair.client, b"?", 1000);
        let request = receive(&pair.port);
        std::thread::scope(|scope| {
            let calls = scope.spawn(|| {
                Transfer::new()
                    .send(&[3; 1000])
                    .into(&request)
                    .receive()
                    .flags(ALPC_SYNC)
                    .run(&pair.port)
            });
            let callback = Transfer::new()
                .receive()
                .run(&pair.client)
                .expect("callback");
            assert_eq!(
                (callback.kind, callback.data.len()),
                (ALPC_TYPE_REQUEST, 1000)
            );
            let send = Transfer::new().send(b"!").into(&callback);
            { send }.reply_bytes(500).run(&pair.client).expect("send");
            let answer = calls.join().unwrap().expect("answer");
            pair.port.reply(&answer, &[4; 500]).expect("reply");
        });
        assert_eq!(receive(&pair.client).data, [4; 500]);
    });
}

#[test]
fn an_answer_brings_handles_and_names_its_sender() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        for _ in 0..3 {
            let (reader, writer) = pipe();
            post(&pair.client, b"?", 0);
            let request = pair.port.receive().expect("receive");
            let mut handles = HandleContainer::sending(&[writer.as_raw_fd()]);
            let mut reply = Transfer::new().send(b"take it").into(&request);
            reply = reply.flags(ALPC_RELEASE);
            reply.arg.send_attributes = handles.address();
            reply.run(&pair.port).expect("reply");
            drop(writer);
            assert_ne!(told(&pair.port), 0, "the handles are the server's");
            let mut room = HandleContainer::claiming(1);
            let got = pair.client.receive_with(&mut room).expect("receive");
            assert_eq!(
                (&got.data[..], got.pid),
                (&b"take it"[..], std::process::id())
            );
            let (claimed, _) = room.claimed();
            write(&claimed[0], b"through");
            drop(claimed);
            assert_eq!(read(&reader), b"through");
            assert_eq!(told(&pair.port), 0);
        }
    });
}

#[test]
fn room_is_made_by_who_does_not_wait_and_nobody_else() {
    isolated(|| {
        let pair = Pair::new();
        let one = || Transfer::new().send(b"x").reply_bytes(1);
        for flags in [
            ALPC_RELEASE,
            ALPC_SYNC | ALPC_RECEIVE,
            ALPC_RELEASE | ALPC_RECEIVE,
        ] {
            let refused = one().flags(flags).run(&pair.client);
            refused_with(refused, libc::EINVAL, "no answer that nobody waits for");
        }
        // A server needs none, and may say so.
        one().run(&pair.server).expect("send");
        assert_eq!(pair.client.receive().expect("receive").data, b"x");
        let receive = Transfer::new().receive().now().reply_bytes(1);
        refused_with(
            { receive }.run(&pair.client),
            libc::EINVAL,
            "nothing is sent",
        );
        pair.client.post(b"?").expect("post");
        let request = pair.port.receive().expect("receive");
        one().into(&request).run(&pair.port).expect("reply");
        let refused = one().into(&request).flags(ALPC_RELEASE).run(&pair.port);
        refused_with(refused, libc::EINVAL, "the last reply");
        let most = ALPC_MESSAGE_DEFAULT;
        let above = Transfer::new()
            .send(b"x")
            .reply_bytes(most + 1)
            .run(&pair.client);
        assert_eq!(above.err(), Some(fail::TOO_LONG));
        assert_eq!(pair.port.receive_now().err(), Some(fail::TIMED_OUT));
    });
}

/// Runs a call that a signal ends.
fn interrupted<T>(call: impl FnOnce() -> T) -> T {
    signals::catch(libc::SIGUSR1, 0);
    let (caller, over) = (signals::tid(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                signals::to_thread(caller, libc::SIGUSR1);
                wait::settle();
            }
        });
        let result = call();
        over.store(true, SeqCst);
        result
    })
}

#[test]
fn who_is_interrupted_in_its_wait_finds_its_answer_as_long_as_it_has_a_part() {
    isolated(|| {
        let mut create = Create::named("answers/interrupted")
            .open()
            .max(ALPC_MESSAGE_MAX);
        let port = create.run().expect("create");
        let bob = as_user(BOB, |link| {
            let client = Connect::to("answers/interrupted")
                .run()
                .expect("connect")
                .port;
            let mut given_up = Vec::new();
            // As a signal does: the request lives on, and nobody waits.
            for _ in 0..30 {
                let mut call = Transfer::new().send(b"?").receive().flags(ALPC_SYNC);
                let failure = interrupted(|| call.run(&client).expect_err("a signal"));
                assert_eq!(failure, fail::INTERRUPTED_SENT);
                given_up.push(call.arg);
            }
            link.sync();
            link.sync();
            let mut answered = 0;
            for arg in given_up {
                let mut wait = Transfer::new().capacity(ALPC_MESSAGE_MAX as usize);
                wait.point();
                wait.arg = alpc_transfer {
                    recv_data: wait.arg.recv_data,
                    recv_capacity: wait.arg.recv_capacity,
                    ..arg
                };
                match wait.run_as_is(&client) {
                    Ok(message) => {
                        assert_eq!(message.data.len(), ALPC_MESSAGE_MAX as usize);
                        answered += 1;
                    }
                    Err(failure) => assert_eq!(failure, fail::LOST),
                }
            }
            link.put(answered);
        });
        let _end = views::accept(&port);
        let requests: Vec<_> = (0..30).map(|_| port.receive().expect("receive")).collect();
        bob.sync();
        let long = vec![1; ALPC_MESSAGE_MAX as usize];
        let mut sent = 0;
        for request in &requests {
            match port.reply(request, &long) {
                Ok(()) => sent += 1,
                Err(failure) => {
                    assert!([fail::LIMIT, fail::QUEUE_FULL].contains(&failure));
                    let mut up = Transfer::new().send(b"").into(request);
                    up = up.flags(ALPC_RELEASE | ALPC_DISCARD);
                    up.run(&port).expect("the turn is where it was");
                }
            }
        }
        let info = port.query_port().expect("query");
        let part = 1..=info.told_limit / 8;
        assert!(part.contains(&info.told_bytes), "{}", info.told_bytes);
        assert!((5..30).contains(&sent), "{sent}");
        bob.sync();
        assert_eq!(bob.take(), sent);
        bob.wait();
        eventually(|| told(&port) == 0);
    });
}

#[test]
fn an_answer_that_can_not_be_copied_is_kept_at_its_receivers_expense() {
    isolated(|| {
        let pair = wide();
        let long = vec![6; ALPC_MESSAGE_MAX as usize];
        let (mut ids, count) = (Vec::new(), 30);
        for _ in 0..count {
            std::thread::scope(|scope| {
                let call = scope.spawn(|| {
                    let mut call = Transfer::new().send(b"?").flags(ALPC_SYNC | ALPC_RECEIVE);
                    call.point();
                    call.arg.recv_data = 16;
                    call.arg.recv_capacity = ALPC_MESSAGE_MAX;
                    let failure = call.run_as_is(&pair.client).expect_err("no such memory");
                    assert_eq!(failure.errno, libc::EFAULT);
                    call.arg.send_id
                });
                let request = receive_when_there(&pair.port);
                let (id, turn) = (request.id, request.callback_id);
                eventually(|| pair.port.verify(id, turn, ALPC_VERIFY_THREAD).is_ok());
                pair.port.reply(&request, &long).expect("reply");
                ids.push(call.join().unwrap());
            });
        }
        assert_eq!(told(&pair.port), 0);
        // What comes back is first in line.
        for id in ids.into_iter().rev() {
            let reply = receive(&pair.client);
            assert_eq!((reply.id, reply.data.len()), (id, long.len()));
        }
    });
}

fn receive_when_there(port: &Port) -> Message {
    Transfer::new()
        .capacity(ALPC_MESSAGE_MAX as usize)
        .run(port)
        .expect("a message")
}
