// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ports in LPC mode: short messages, callbacks as everywhere, and nothing
//! asynchronous that would be answered.

use std::thread;

use alpc_tests::raw::*;
use alpc_tests::*;

const FITS: [u8; 256] = [3; 256];
const LONG: [u8; 257] = [3; 257];

fn pair() -> Pair {
    Pair::with(Create::anonymous().flags(ALPC_PORT_LPC_MODE))
}

#[test]
fn callbacks_of_256_bytes_pass_and_of_257_do_not() {
    isolated(|| {
        let pair = pair();
        for server in [&pair.port, &pair.server] {
            thread::scope(|scope| {
                let client = scope.spawn(|| {
                    let callback = pair.client.request(&FITS).expect("request");
                    assert_eq!(
                        (callback.kind, &callback.data[..]),
                        (ALPC_TYPE_REQUEST, &FITS[..])
                    );
                    let failure = pair.client.answer(&callback, &LONG).unwrap_err();
                    assert_eq!(failure, fail::TOO_LONG);
                    // It still has the turn.
                    pair.client.answer(&callback, &FITS).expect("answer")
                });
                let request = pair.port.receive().expect("receive");
                let failure = server.callback(&request, &LONG).unwrap_err();
                assert_eq!(failure, fail::TOO_LONG);
                let answer = server.callback(&request, &FITS).expect("callback");
                assert_eq!((answer.id, &answer.data[..]), (request.id, &FITS[..]));
                assert_eq!(server.reply(&answer, &LONG), Err(fail::TOO_LONG));
                server.reply(&answer, &FITS).expect("reply");
                assert_eq!(client.join().expect("join").data, FITS);
            });
        }
        assert_eq!(pair.port.query_port().expect("query").conversations, 0);
    });
}

#[test]
fn callbacks_nest_in_both_directions() {
    isolated(|| {
        let pair = pair();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let callback = pair.client.request(b"1").expect("request");
                assert_eq!(callback.data, b"2");
                let answer = pair.client.callback(&callback, b"3").expect("callback");
                assert_eq!(
                    (answer.kind, &answer.data[..]),
                    (ALPC_TYPE_REPLY, &b"4"[..])
                );
                pair.client.answer(&answer, b"5").expect("answer").data
            });
            let request = pair.port.receive().expect("receive");
            let nested = pair.port.callback(&request, b"2").expect("callback");
            assert_eq!(
                (nested.kind, &nested.data[..]),
                (ALPC_TYPE_REQUEST, &b"3"[..])
            );
            let answer = pair.port.answer(&nested, b"4").expect("answer");
            assert_eq!(answer.data, b"5");
            pair.port.reply(&answer, b"6").expect("reply");
            assert_eq!(client.join().expect("join"), b"6");
        });
    });
}

#[test]
fn a_reply_that_keeps_the_conversation_open_passes_the_turn() {
    isolated(|| {
        let pair = pair();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let open = pair.client.request(b"1").expect("request");
                assert_eq!((open.open(), &open.data[..]), (true, &b"2"[..]));
                pair.client.reply_open(&open, b"3").expect("reply");
                pair.client.receive().expect("receive")
            });
            let request = pair.port.receive().expect("receive");
            pair.port.reply_open(&request, b"2").expect("reply");
            let request = pair.port.receive().expect("receive");
            assert_eq!(request.data, b"3");
            pair.port.reply(&request, b"4").expect("reply");
            assert_eq!(client.join().expect("join").data, b"4");
        });
    });
}

#[test]
fn a_server_may_begin_what_it_waits_for() {
    isolated(|| {
        let pair = pair();
        thread::scope(|scope| {
            let server = scope.spawn(|| pair.server.request(&FITS).expect("request"));
            let request = pair.client.receive().expect("receive");
            assert_eq!(request.data, FITS);
            pair.client.reply(&request, &FITS).expect("reply");
            assert_eq!(server.join().expect("join").data, FITS);
            assert_eq!(pair.server.request(&LONG).unwrap_err(), fail::TOO_LONG);
        });
    });
}

#[test]
fn connecting_and_accepting_carry_256_bytes_and_not_257() {
    isolated(|| {
        let port = Create::anonymous()
            .flags(ALPC_PORT_LPC_MODE)
            .run()
            .expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let connect = |data: &[u8]| {
            let mut connect = Connect::new(None).data(data).asynchronous();
            connect.run_on(&through).map(|connected| connected.port)
        };
        assert_eq!(connect(&LONG).map(drop), Err(fail::TOO_LONG));
        let client = connect(&FITS).expect("connect");
        let request = port.receive().expect("receive");
        assert_eq!(request.data, FITS);
        let failure = Accept::new(request.id).data(&LONG).run(&port).map(drop);
        assert_eq!(failure, Err(fail::TOO_LONG));
        let server = Accept::new(request.id).data(&FITS).run(&port);
        let _server = server.expect("the request is still there");
        assert_eq!(client.receive().expect("receive").data, FITS);
    });
}
