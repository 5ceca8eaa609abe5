// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors that travel with messages.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread;

use alpc::{
    Accept, Claimed, Client, ConnectBuilder, HandleKinds, Options, Outcome, PortBuilder, Received,
    Server, ServerPort,
};
use alpc_tests::{files, isolated};

use super::{outcome, pair_of, request};

/// A server, its end and a client that take handles of these kinds.
fn pair_taking(
    server_takes: HandleKinds,
    client_takes: HandleKinds,
) -> (Server, ServerPort, Client) {
    let server = PortBuilder::anonymous().take_handles(server_takes).create();
    let server = server.expect("create");
    let connector = server.connector().expect("connector");
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let connect = ConnectBuilder::through(&connector).take_handles(client_takes);
            connect.connect().expect("connect")
        });
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let accept = Accept::new().take_handles(server_takes);
        let port = request.accept_with(accept).expect("accept");
        (server.clone(), port, client.join().expect("join"))
    })
}

#[test]
fn a_request_brings_files_that_are_claimed_by_index() {
    isolated(|| {
        let (server, _port, client) = pair_taking(HandleKinds::ANY, HandleKinds::ANY);
        let (reader, writer) = files::pipe();
        let file = files::unnamed_file();
        let handles = [file.as_fd(), writer.as_fd()];
        let options = Options::new().handles(&handles);
        client
            .send_request_with(b"take these", options)
            .expect("send");
        drop(writer);
        let mut buffer = [0; 64];
        let options = Options::new().ask_handles();
        let Received::Request(request) =
            server.receive_with(&mut buffer, options).expect("receive")
        else {
            panic!("a request was expected");
        };
        let told = request.handles();
        assert_eq!(told.len(), 2);
        assert_eq!(told.kinds(), [HandleKinds::FILE, HandleKinds::PIPE]);
        assert!(HandleKinds::ANY.contains(HandleKinds::FILE | HandleKinds::PIPE));
        assert_eq!(outcome(request.claim(2)), Outcome::BadHandle);
        let mut claimed = File::from(request.claim(1).expect("claim"));
        claimed.write_all(b"through").expect("write");
        assert!(files::same(&file, &request.claim_all().expect("claim")[0]));
        drop(claimed);
        request.into_turn().reply(b"").expect("reply");
        drop((server, client));
        let mut all = Vec::new();
        File::from(reader).read_to_end(&mut all).expect("read");
        assert_eq!(all, b"through");
    });
}

#[test]
fn what_is_not_taken_is_told_from_what_cannot_be_sent() {
    isolated(|| {
        let (server, port, client) = pair_taking(HandleKinds::FILE, HandleKinds::PIPE);
        let file = files::unnamed_file();
        let handles = [file.as_fd()];
        let options = Options::new().handles(&handles);
        assert_eq!(outcome(port.send_with(b"", options)), Outcome::NotTaken);
        client.send_with(b"", options).expect("send");
        let handles = [server.as_fd()];
        let options = Options::new().handles(&handles);
        assert_eq!(outcome(client.send_with(b"", options)), Outcome::BadHandle);
    });
}

#[test]
fn final_replies_and_datagrams_are_claimed_as_they_come() {
    isolated(|| {
        let (server, _port, client) = pair_taking(HandleKinds::ANY, HandleKinds::ANY);
        let file = files::eventfd();
        let handles = [file.as_fd(); 3];
        let options = Options::new().handles(&handles);
        client.send_with(b"", options).expect("send");
        let claimed = Claimed::with_room(2);
        let taking = Options::new().claim_into(&claimed);
        let received = server.receive_with(&mut [0; 64], taking).map(drop);
        received.expect("receive");
        let fds = claimed.take();
        assert_eq!(fds.len(), 2);
        assert!(fds.iter().all(|fd| files::same(fd, &file)));
        thread::scope(|scope| {
            scope.spawn(|| {
                let turn = request(&server, &mut [0; 64]).into_turn();
                turn.reply_with(b"yours", options).expect("reply");
            });
            let mut buffer = [0; 64];
            let reply = client.call_with(b"?", &mut buffer, taking).expect("call");
            assert_eq!((reply.data(), reply.handles().len()), (&b"yours"[..], 3));
        });
        assert_eq!(claimed.take().len(), 2);
        assert!(claimed.take().is_empty());
    });
}

#[test]
fn who_takes_handles_of_no_kinds_takes_none() {
    isolated(|| {
        let builder = PortBuilder::anonymous().take_handles(HandleKinds::empty());
        let (_server, _port, client) = pair_of(builder);
        let file = files::unnamed_file();
        let handles = [file.as_fd()];
        let sent = client.send_with(b"", Options::new().handles(&handles));
        assert_eq!(outcome(sent), Outcome::NotTaken);
    });
}
