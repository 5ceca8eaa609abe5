// SPDX-License-Identifier: MIT OR Apache-2.0

//! The crate `alpc` against the module: what its types promise.

mod acl;
mod bulk;
mod bulk_late;
mod bulk_room;
mod calls;
mod failures;
mod forked;
mod handles;
mod hostile;
mod identity;
mod impersonate;
mod memory;
mod pages;
mod passing;
mod printed;
mod security;
mod serve;
mod stops;
mod turns;
mod views;

use std::thread;

use alpc::{
    Client, ConnectBuilder, Error, NoticeKind, Outcome, PortBuilder, Received, Request, Server,
    ServerPort,
};

/// A server, a client, and the server's end of their connection.
pub fn pair_of(builder: PortBuilder<'_>) -> (Server, ServerPort, Client) {
    let server = builder.create().expect("create");
    let connector = server.connector().expect("connector");
    thread::scope(|scope| {
        let client = scope.spawn(|| connector.connect().expect("connect"));
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let accept = alpc::Accept::new().context(7);
        let port = request.accept_with(accept).expect("accept");
        (server.clone(), port, client.join().expect("join"))
    })
}

/// A server, a client that takes views, and the server's end of their connection.
pub fn pair_with_views(builder: PortBuilder<'_>) -> (Server, ServerPort, Client) {
    let server = builder.take_views().create().expect("create");
    let connector = server.connector().expect("connector");
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let connect = ConnectBuilder::through(&connector).take_views();
            connect.connect().expect("connect")
        });
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let accept = alpc::Accept::new().context(7);
        let port = request.accept_with(accept).expect("accept");
        (server.clone(), port, client.join().expect("join"))
    })
}

pub fn pair() -> (Server, ServerPort, Client) {
    pair_of(PortBuilder::anonymous().max_message_length(65536))
}

pub fn request<'p, 'b>(server: &'p Server, buffer: &'b mut [u8]) -> Request<'p, 'b> {
    match server.receive(buffer).expect("receive") {
        Received::Request(request) => request,
        other => panic!("a request was expected: {other:?}"),
    }
}

#[track_caller]
pub fn expect_notice(server: &Server, kind: NoticeKind) {
    match server.receive(&mut [0; 64]).expect("receive") {
        Received::Notice(notice) => {
            assert_eq!(notice.kind(), kind);
            assert_eq!(notice.port_context(), 7);
        }
        other => panic!("{kind:?} was expected: {other:?}"),
    }
}

/// How something failed that fails with an outcome.
#[track_caller]
pub fn outcome<T>(result: Result<T, Error>) -> Outcome {
    let error = result.err().expect("a failure");
    error.outcome().expect("an outcome")
}
