// SPDX-License-Identifier: MIT OR Apache-2.0

//! Without a free descriptor nothing that needs one happens, and nothing of
//! the attempt is left.

use alpc_tests::raw::*;
use alpc_tests::*;

/// What a call comes to while this process has no descriptor to give.
fn without_descriptors<T>(call: impl FnOnce() -> T) -> T {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: A live limit.
    assert_eq!(
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) },
        0
    );
    // Numbers from the limit on are never given, those in use stay in use.
    set_limit(&libc::rlimit {
        rlim_cur: 0,
        ..before
    });
    let result = call();
    set_limit(&before);
    result
}

fn set_limit(limit: &libc::rlimit) {
    // SAFETY: A live limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }, 0);
}

/// Runs `call` without descriptors: it must fail with EMFILE, say nothing else,
/// and leave no object behind.
fn fails_and_leaves_nothing<T>(what: &str, call: impl FnOnce() -> Result<T, Failure>) {
    let before = inspect::module_references();
    let failure = match without_descriptors(call) {
        Ok(_) => panic!("{what}: succeeded"),
        Err(failure) => failure,
    };
    assert_eq!(failure.errno, libc::EMFILE, "{what}: {failure:?}");
    assert_eq!(failure.outcome, JUNK32, "{what}: the outcome was written");
    eventually(|| inspect::module_references() == before);
}

#[test]
fn a_port_without_a_descriptor_leaves_no_name() {
    isolated(|| {
        let device = device();
        let mut create = Create::named("descriptors/create").open();
        create.point();
        for _ in 0..3 {
            fails_and_leaves_nothing("CREATE_PORT", || {
                let result = ioctl(&device, ALPC_IOCTL_CREATE_PORT, &mut create.arg);
                let outcome = create.arg.outcome;
                result.map_err(|errno| Failure { errno, outcome })
            });
            let failure = Connect::to("descriptors/create").run().unwrap_err();
            assert_eq!(failure, fail::NAME_NOT_FOUND);
        }
        create.run().expect("the name is free");
    });
}

#[test]
fn a_connect_descriptor_that_has_no_number_is_none() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        fails_and_leaves_nothing("CREATE_CONNECT", || port.connect_descriptor());
        port.connect_descriptor().expect("connect descriptor");
    });
}

#[test]
fn a_connect_without_a_descriptor_is_not_told_to_the_server() {
    isolated(|| {
        let device = device();
        let port = Create::named("descriptors/connect").run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let attempts: [(&str, Connect, &Port); 4] = [
            ("by name", Connect::to("descriptors/connect"), &device),
            (
                "by name, asynchronous",
                Connect::to("descriptors/connect").asynchronous(),
                &device,
            ),
            ("through a descriptor", Connect::new(None), &through),
            (
                "through a descriptor, asynchronous",
                Connect::new(None).asynchronous(),
                &through,
            ),
        ];
        for (what, mut connect, fd) in attempts {
            connect.point();
            fails_and_leaves_nothing(what, || connect.run_as_is(fd));
            assert_eq!(connect.arg.fd, -1, "{what}");
            assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT, "{what}");
            let query = port.query_port().expect("query");
            assert_eq!((query.connections, query.sequence), (0, 0), "{what}");
        }
        let (_server, client) = pair::attach(&port, 1);
        client.one_way(b"x").expect("send");
    });
}

/// An argument as it lies in memory, but for what `run` fills in.
fn bytes(accept: &Accept) -> [u8; size_of::<alpc_accept>()] {
    let arg = alpc_accept {
        send_data: 0,
        send_length: 0,
        ..accept.arg
    };
    // SAFETY: Plain numbers, seen as bytes.
    unsafe { std::mem::transmute(arg) }
}

#[test]
fn a_request_that_could_not_be_accepted_can_be_accepted_later() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let client = Connect::new(None)
            .asynchronous()
            .run_on(&through)
            .expect("connect")
            .port;
        let request = port.receive().expect("receive");
        let mut accept = Accept::new(request.id).data(b"welcome").context(7);
        for _ in 0..3 {
            let before = bytes(&accept);
            fails_and_leaves_nothing("ACCEPT", || accept.run(&port));
            assert_eq!(bytes(&accept), before, "the argument was written");
            // The client hasn't been told anything.
            assert_eq!(
                client.query_port().expect("query").state,
                ALPC_STATE_PENDING
            );
            assert_eq!(client.one_way(b"x"), Err(fail::NOT_CONNECTED));
        }
        let server = accept.run(&port).expect("accept");
        assert_eq!(server.query_port().expect("query").context, 7);
        let reply = client.receive().expect("receive");
        assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
        assert_eq!(reply.data, b"welcome");
        client.one_way(b"x").expect("send");
        assert_eq!(port.receive().expect("receive").port_context, 7);
    });
}

#[test]
fn a_refusal_needs_no_descriptor() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        without_descriptors(|| Accept::new(request.id).refuse(&port)).expect("refuse");
        assert_eq!(
            client.receive().expect("receive").kind,
            ALPC_TYPE_CONNECTION_REFUSED
        );
    });
}
