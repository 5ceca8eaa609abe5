// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lengths, buffers and LPC mode: what was sent arrives, or nothing does.

use std::thread;

use alpc_tests::memory::{Pages, PAGE};
use alpc_tests::raw::*;
use alpc_tests::*;

#[test]
fn payloads_of_every_size_arrive_intact() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().max(ALPC_MESSAGE_MAX));
        let mut rng = rng::Rng::new(1);
        for length in [
            0, 1, 7, 8, 63, 64, 255, 256, 4095, 4096, 4097, 32768, 65535, 65536,
        ] {
            let data = rng.bytes(length);
            pair.client.one_way(&data).expect("send");
            let mut receive = Transfer::new().capacity(length);
            let message = receive.run(&pair.port).expect("receive");
            assert!(message.data == data, "{length} bytes were changed");
        }
    });
}

#[test]
fn a_payload_above_the_maximum_is_too_long_in_both_directions() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().max(100));
        let (fits, long) = ([1; 100], [1; 101]);
        assert_eq!(pair.client.one_way(&long), Err(fail::TOO_LONG));
        assert_eq!(pair.client.post(&long), Err(fail::TOO_LONG));
        assert_eq!(pair.client.request(&long).unwrap_err(), fail::TOO_LONG);
        assert_eq!(pair.server.one_way(&long), Err(fail::TOO_LONG));
        pair.client.post(&fits).expect("post");
        let request = pair.port.receive().expect("receive");
        assert_eq!(request.data, fits);
        assert_eq!(pair.port.reply(&request, &long), Err(fail::TOO_LONG));
        // A reply that failed leaves the turn where it was.
        pair.port.reply(&request, &fits).expect("reply");
        assert_eq!(pair.client.receive().expect("receive").data, fits);
    });
}

#[test]
fn the_default_maximum_is_a_page() {
    isolated(|| {
        let pair = Pair::new();
        let query = pair.client.query_port().expect("query");
        assert_eq!(query.max_message_length, ALPC_MESSAGE_DEFAULT);
        pair.client.one_way(&[1; PAGE]).expect("send");
        assert_eq!(pair.client.one_way(&[1; PAGE + 1]), Err(fail::TOO_LONG));
    });
}

#[test]
fn the_smaller_maximum_of_both_sides_counts() {
    isolated(|| {
        let port = Create::anonymous().max(1000).run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut ends = Vec::new();
        for (client_most, accept_most, most) in [(0, 0, 1000), (500, 0, 500), (0, 300, 300)] {
            let mut connect = Connect::new(None).asynchronous();
            connect.arg.max_message_length = client_most;
            let client = connect.run_on(&through).expect("connect").port;
            let request = port.receive().expect("receive");
            let mut accept = Accept::new(request.id);
            accept.arg.max_message_length = accept_most;
            let server = accept.run(&port).expect("accept");
            for end in [&client, &server] {
                let query = end.query_port().expect("query");
                assert_eq!(query.max_message_length, most);
                assert_eq!(
                    end.one_way(&vec![0; most as usize + 1]),
                    Err(fail::TOO_LONG)
                );
                end.one_way(&vec![0; most as usize]).expect("send");
            }
            port.receive().expect("receive");
            ends.push((client, server));
        }
    });
}

#[test]
fn a_buffer_that_is_too_small_says_how_much_is_needed_and_keeps_the_message() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(&[5; 100]).expect("post");
        for capacity in [0, 1, 99] {
            let mut small = Transfer::new().capacity(capacity);
            assert_eq!(small.run(&pair.port).unwrap_err(), fail::BUFFER_TOO_SMALL);
            assert_eq!(small.arg.recv_length, 100);
            // Nothing else was told.
            let arg = &small.arg;
            assert_eq!(
                (arg.id, arg.callback_id, arg.type_),
                (JUNK64, JUNK32, JUNK16)
            );
            assert_eq!((arg.pid, arg.uid, arg.sequence), (JUNK32, JUNK32, JUNK64));
        }
        let request = Transfer::new()
            .capacity(100)
            .run(&pair.port)
            .expect("receive");
        assert_eq!(request.data, [5; 100]);
        pair.port.reply(&request, b"").expect("reply");
    });
}

#[test]
fn a_waiter_whose_buffer_is_too_small_for_the_next_message_returns() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut small = Transfer::new().capacity(10);
                let result = small.run(&pair.port).map(|_| ());
                (result, small.arg.recv_length)
            });
            wait::settle();
            pair.client.one_way(&[5; 100]).expect("send");
            let result = waiter.join().expect("join");
            assert_eq!(result, (Err(fail::BUFFER_TOO_SMALL), 100));
        });
        assert_eq!(pair.port.receive().expect("receive").data, [5; 100]);
    });
}

#[test]
fn a_message_too_long_for_a_receiver_is_not_overtaken() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.one_way(&[1; 100]).expect("send");
        pair.client.one_way(&[2; 10]).expect("send");
        for _ in 0..3 {
            let result = Transfer::new().capacity(50).now().run(&pair.port);
            assert_eq!(result.unwrap_err(), fail::BUFFER_TOO_SMALL);
        }
        assert_eq!(pair.port.receive().expect("receive").data, [1; 100]);
        assert_eq!(pair.port.receive().expect("receive").data, [2; 10]);
    });
}

#[test]
fn a_reply_too_long_for_its_waiter_is_for_the_next_receive_that_has_room() {
    isolated(|| {
        for (open, expected) in [(false, fail::NOT_FOUND), (true, fail::ALREADY_RECEIVED)] {
            let pair = Pair::new();
            thread::scope(|scope| {
                let client = scope.spawn(|| {
                    let mut call = Transfer::new().send(b"?").capacity(10).flags(ALPC_SYNC);
                    let failure = call.run(&pair.client).unwrap_err();
                    assert_eq!(failure, fail::BUFFER_TOO_SMALL);
                    // As another thread may, which waits for whatever comes.
                    let reply = pair.client.receive().expect("receive");
                    assert_eq!(
                        (reply.id, &reply.data[..]),
                        (call.arg.send_id, &[9; 100][..])
                    );
                    call.recv = vec![JUNK; 100];
                    assert_eq!(call.run(&pair.client).unwrap_err(), expected);
                });
                let request = pair.port.receive().expect("receive");
                match open {
                    true => pair.port.reply_open(&request, &[9; 100]).expect("reply"),
                    false => pair.port.reply(&request, &[9; 100]).expect("reply"),
                }
                client.join().expect("join");
            });
        }
    });
}

#[test]
fn a_reply_too_long_for_its_waiter_is_kept_for_it() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut call = Transfer::new().send(b"?").capacity(10).flags(ALPC_SYNC);
                let failure = call.run(&pair.client).unwrap_err();
                assert_eq!(failure, fail::BUFFER_TOO_SMALL);
                assert_eq!(call.arg.recv_length, 100);
                assert_ne!(call.arg.flags & ALPC_SENT, 0, "it was sent");
                assert_ne!(call.arg.send_id, 0);
                // The same call with more room only waits.
                call.recv = vec![JUNK; 100];
                call.run(&pair.client).expect("resume")
            });
            let request = pair.port.receive().expect("receive");
            pair.port.reply(&request, &[9; 100]).expect("reply");
            assert_eq!(client.join().expect("join").data, [9; 100]);
        });
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn a_buffer_that_cannot_be_written_keeps_the_message() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(&[5; 100]).expect("post");
        let read_only = Pages::read_only(b"");
        let cliff = Pages::cliff();
        for address in [0, memory::unmapped(), read_only.address(), cliff.end(50)]
            .into_iter()
            .chain(memory::HOSTILE)
        {
            let mut receive = Transfer::new().flags(ALPC_RECEIVE);
            receive.arg.recv_data = address;
            receive.arg.recv_capacity = 100;
            let result = receive.run_as_is(&pair.port);
            refused_with(result, libc::EFAULT, &format!("{address:#x}"));
        }
        let request = pair.port.receive().expect("receive");
        assert_eq!(request.data, [5; 100]);
        pair.port.reply(&request, b"").expect("reply");
    });
}

#[test]
fn a_payload_that_cannot_be_read_is_not_sent() {
    isolated(|| {
        let pair = Pair::new();
        let cliff = Pages::cliff();
        for address in [0, memory::unmapped(), cliff.end(50)]
            .into_iter()
            .chain(memory::HOSTILE)
        {
            for flags in [0, ALPC_RELEASE, ALPC_SYNC | ALPC_RECEIVE] {
                let mut send = Transfer::new().flags(ALPC_SEND | flags);
                send.arg.send_data = address;
                send.arg.send_length = 100;
                let result = send.run_as_is(&pair.client);
                refused_with(result, libc::EFAULT, &format!("{address:#x}"));
                assert_eq!(send.arg.send_id, 0);
                assert_eq!(send.arg.flags & ALPC_SENT, 0);
            }
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(pair.client.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn data_may_lie_across_pages_at_any_offset_and_end_at_the_last_byte() {
    isolated(|| {
        let pair = Pair::new();
        let (out, back) = (Pages::two(), Pages::two());
        let cliff = Pages::cliff();
        let data: Vec<u8> = (0..100).collect();
        for (source, target) in [
            (out.end(1), back.end(99)),
            (out.end(99), back.end(1)),
            (out.end(50), cliff.end(100)),
        ] {
            out.write(source, &data);
            let mut send = Transfer::new().flags(ALPC_SEND | ALPC_RELEASE);
            send.arg.send_data = source;
            send.arg.send_length = 100;
            send.run_as_is(&pair.client).expect("send");
            let mut receive = Transfer::new().flags(ALPC_RECEIVE);
            receive.arg.recv_data = target;
            receive.arg.recv_capacity = 100;
            receive.recv = vec![JUNK; 0];
            let result = ioctl(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive.arg);
            assert_eq!(result, Ok(0));
            let pages = if target == cliff.end(100) {
                &cliff
            } else {
                &back
            };
            assert_eq!(pages.read(target, 100), data);
        }
    });
}

#[test]
fn payload_and_answer_may_share_their_memory() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut buffer = [b'a'; 64];
                let mut call = Transfer::new().flags(ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC);
                call.arg.send_data = buffer.as_mut_ptr() as u64;
                call.arg.send_length = 64;
                call.arg.recv_data = call.arg.send_data;
                call.arg.recv_capacity = 64;
                let result = ioctl(&pair.client, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut call.arg);
                assert_eq!(result, Ok(0));
                buffer
            });
            let request = pair.port.receive().expect("receive");
            assert_eq!(request.data, [b'a'; 64]);
            pair.port.reply(&request, &[b'b'; 32]).expect("reply");
            let buffer = client.join().expect("join");
            assert_eq!(buffer[..32], [b'b'; 32]);
            assert_eq!(buffer[32..], [b'a'; 32]);
        });
    });
}

#[test]
fn an_lpc_mode_port_carries_256_bytes_and_not_257() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().flags(ALPC_PORT_LPC_MODE));
        let query = pair.client.query_port().expect("query");
        assert_eq!(query.max_message_length, ALPC_LPC_MESSAGE_MAX);
        assert_eq!(query.flags & ALPC_PORT_LPC_MODE, ALPC_PORT_LPC_MODE);
        let (fits, long) = (&[3; 256], [3; 257]);
        assert_eq!(pair.client.one_way(&long), Err(fail::TOO_LONG));
        assert_eq!(pair.client.request(&long).unwrap_err(), fail::TOO_LONG);
        pair.client.one_way(fits).expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, fits);
        thread::scope(|scope| {
            let (client, request) = pair.requested(scope, fits);
            assert_eq!(pair.port.reply(&request, &long), Err(fail::TOO_LONG));
            pair.port.reply(&request, fits).expect("reply");
            assert_eq!(client.join().expect("join").expect("request").data, fits);
        });
    });
}

#[test]
fn an_lpc_mode_port_refuses_asynchronous_requests() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().flags(ALPC_PORT_LPC_MODE));
        for end in [&pair.client, &pair.server] {
            assert_eq!(end.post(b"x"), Err(fail::WRONG_KIND));
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}
