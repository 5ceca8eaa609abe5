// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a user can't do to another one: as its client, as its server, as a
//! third party.

use std::os::fd::{IntoRawFd, OwnedFd};

use alpc_tests::raw::*;
use alpc_tests::*;

#[test]
fn an_answer_that_has_come_before_it_is_waited_for_again_is_taken() {
    isolated(|| {
        for accept in [true, false] {
            let port = Create::anonymous().run().expect("create");
            let through = port.connect_descriptor().expect("connect descriptor");
            let mut connect = Connect::new(None).asynchronous();
            let pending = connect.run_on(&through).expect("connect").port;
            let request = port.receive().expect("receive");
            let mut answer = Accept::new(request.id).data(b"answer");
            let server = match accept {
                true => Some(answer.run(&port).expect("accept")),
                false => answer.refuse(&port).map(|()| None).expect("refuse"),
            };
            let mut again = Connect::new(None).flags(ALPC_CONNECT_SENT);
            again.arg.fd = OwnedFd::from(pending).into_raw_fd();
            let result = again.run_on(&through);
            match &server {
                Some(server) => {
                    let connected = result.expect("the answer");
                    assert_eq!(connected.data, b"answer");
                    connected.port.one_way(b"x").expect("send");
                    assert_eq!(port.receive().expect("receive").data, b"x");
                    drop(connected);
                    assert_eq!(server.one_way(b"y"), Err(fail::DISCONNECTED));
                }
                None => assert_eq!(result.unwrap_err(), fail::REFUSED),
            }
        }
    });
}
