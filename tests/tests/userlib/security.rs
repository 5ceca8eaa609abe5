// SPDX-License-Identifier: MIT OR Apache-2.0

//! Security contexts, by the crate.

use alpc::{
    Accept, AttachedSecurity, Client, ConnectBuilder, Endpoint, Options, Outcome, Port,
    PortBuilder, Received, Request, Security, Server, ServerPort,
};
use alpc_tests::creds::Me;
use alpc_tests::{isolated, Peer, ROOT};

use super::outcome;

/// A server and a client of this process, which take contexts, and say no more than who they are.
fn pair(security: Security) -> (Server, ServerPort, Client) {
    let server = PortBuilder::anonymous().take_security().create();
    let server = server.expect("create");
    let connector = server.connector().expect("connector");
    std::thread::scope(|scope| {
        let connect = ConnectBuilder::through(&connector).take_security();
        let client = scope.spawn(move || connect.security(security).connect());
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let port = request.accept_with(Accept::new().take_security());
        let client = client.join().expect("join").expect("connect");
        (server.clone(), port.expect("accept"), client)
    })
}

fn next<'p, 'b>(port: &'p Port, buffer: &'b mut [u8]) -> Request<'p, 'b> {
    let options = Options::new().ask_security();
    match port.receive_with(buffer, options).expect("receive") {
        Received::Request(request) => request,
        other => panic!("a request was expected: {other:?}"),
    }
}

fn told(request: &Request<'_, '_>) -> (Option<u64>, Security, bool) {
    let AttachedSecurity {
        number,
        security,
        revoked,
        ..
    } = request.security().expect("a context");
    (number, security, revoked)
}

#[test]
fn a_context_goes_before_the_level_of_the_connection_until_it_is_revoked() {
    isolated(|| {
        let (server, _port, client) = pair(Security::IDENTIFY);
        let own = Me::now();
        let mut buffer = [0; 64];

        client.send_request(b"").expect("send");
        let request = next(&server, &mut buffer);
        assert_eq!(request.security(), None);
        assert_eq!(outcome(request.as_caller(|| ())), Outcome::NotGranted);
        drop(request);

        let once = Options::new().security_once(Security::IMPERSONATE);
        client.send_request_with(b"", once).expect("send");
        let request = next(&server, &mut buffer);
        assert_eq!(told(&request), (None, Security::IMPERSONATE, false));
        request.as_caller(|| ()).expect("granted");
        drop(request);

        let level = Security::IMPERSONATE.effective_only();
        let context = client.create_security(level).expect("create");
        let options = Options::new().security(&context);
        client.send_request_with(b"held", options).expect("send");
        client.send_request_with(b"queued", options).expect("send");
        let request = next(&server, &mut buffer);
        assert_eq!(told(&request), (Some(context.number()), level, false));
        assert_eq!(level.level(), Security::IMPERSONATE);
        let within = request.as_caller(|| context.revoke().expect("revoke"));
        within.expect("it had begun");
        assert_eq!(outcome(request.as_caller(|| ())), Outcome::Revoked);
        drop(request);
        let request = next(&server, &mut buffer);
        assert_eq!(told(&request), (Some(context.number()), level, true));
        assert_eq!(outcome(request.as_caller(|| ())), Outcome::Revoked);
        drop(request);
        let sent = client.send_request_with(b"", options);
        assert_eq!(outcome(sent), Outcome::Revoked);
        assert_eq!(Me::now(), own);
    });
}

#[test]
fn a_context_that_is_dropped_stays_with_what_was_sent_with_it() {
    isolated(|| {
        let (server, _port, client) = pair(Security::default());
        let context = client.create_security(Security::IMPERSONATE);
        let context = context.expect("create");
        Peer::fork(ROOT, |_| {
            // SAFETY: The child ends without dropping it again.
            drop(unsafe { std::ptr::read(&context) });
        })
        .wait();
        let options = Options::new().security(&context);
        let sent = client.send_request_with(b"", options);
        sent.expect("the child's copy was none of its own");
        let number = context.number();
        drop(context);
        let mut buffer = [0; 64];
        let request = next(&server, &mut buffer);
        assert_eq!(told(&request), (Some(number), Security::IMPERSONATE, false));
        request.as_caller(|| ()).expect("granted");
    });
}

#[test]
fn of_an_anonymous_client_no_context_tells_more() {
    isolated(|| {
        let (_server, _port, client) = pair(Security::ANONYMOUS);
        let refused = client.create_security(Security::IDENTIFY);
        assert_eq!(refused.expect_err("anonymous").errno(), libc::EINVAL);
        let once = Options::new().security_once(Security::IMPERSONATE);
        let refused = client.send_with(b"", once).expect_err("anonymous");
        assert_eq!(refused.errno(), libc::EINVAL);
        let anonymous = client.create_security(Security::ANONYMOUS);
        anonymous.expect("create").revoke().expect("revoke");
    });
}

#[test]
fn contexts_are_limited_and_dropping_them_makes_room() {
    isolated(|| {
        let (_server, port, client) = pair(Security::default());
        let both: [&Endpoint; 2] = [&port, &client];
        for end in both {
            for _ in 0..2 {
                let make = || end.create_security(Security::IDENTIFY);
                let most: Vec<_> = (0..64).map(|_| make().expect("create")).collect();
                assert_eq!(outcome(make()), Outcome::Limit);
                drop(most);
            }
        }
        let context = client.create_security(Security::IDENTIFY).expect("create");
        drop(client);
        assert_eq!(outcome(context.revoke()), Outcome::Closed);
    });
}

#[test]
fn what_takes_no_contexts_is_sent_none() {
    isolated(|| {
        let (server, port, client) = super::pair();
        let both: [&Endpoint; 2] = [&port, &client];
        for end in both {
            let context = end.create_security(Security::IDENTIFY).expect("create");
            for options in [
                Options::new().security(&context),
                Options::new().security_once(Security::IMPERSONATE),
            ] {
                let sent = end.send_request_with(b"", options);
                assert_eq!(outcome(sent), Outcome::NotTaken);
            }
        }
        drop(server);
    });
}

#[test]
fn a_server_lends_its_client_its_identity_in_a_request_and_in_a_reply() {
    isolated(|| {
        let (server, port, client) = pair(Security::default());
        let context = port.create_security(Security::IMPERSONATE);
        let context = context.expect("create");
        let options = Options::new().security(&context);
        let mut buffer = [0; 64];
        port.send_request_with(b"", options).expect("send");
        let request = next(&client, &mut buffer);
        request.as_caller(|| ()).expect("granted");
        request.into_turn().reply(b"").expect("reply");

        client.send_request(b"").expect("send");
        let turn = next(&server, &mut buffer).into_turn();
        turn.reply_with(b"", options).expect("reply");
        let asking = Options::new().ask_security();
        let received = client.receive_with(&mut buffer, asking).expect("receive");
        let Received::Reply(reply) = received else {
            panic!("a reply was expected: {received:?}");
        };
        let security = reply.security().expect("a context");
        assert_eq!(security.number, Some(context.number()));
    });
}
