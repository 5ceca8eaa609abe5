// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names, ports, and who connects to them.

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::{inspect, BOB, ROOT};

use super::stage::*;

const OWN: &str = "strangers/own";

fn makes_a_port() -> Box<dyn Side> {
    let stage = victim();
    timed(|| Create::named(OWN).run_on(&stage.device).expect("create"))
}

fn asks_the_device() -> Box<dyn Side> {
    let stage = victim();
    timed(|| query_on(&stage.device))
}

fn opens_a_name() -> Box<dyn Side> {
    let stage = victim();
    timed(|| open_port_on(&stage.device, VICTIM).expect("open"))
}

/// To a port of its own, which nobody has to serve for that.
fn connects() -> Box<dyn Side> {
    let stage = victim();
    let mut receive = receiving();
    always(move |watch| {
        watch.time(|| knock(stage, VICTIM));
        drain(&stage.port, &mut receive);
    })
}

fn connects_to_the_stranger() -> Box<dyn Side> {
    let stage = victim();
    timed(|| knock(stage, STRANGER))
}

fn makes_a_connect_descriptor() -> Box<dyn Side> {
    let stage = victim();
    timed(|| stage.port.connect_descriptor().expect("connect descriptor"))
}

/// A port that is asked for connections in advance, and the requests.
fn requests(stage: &'static Stage) -> Vec<(Port, Message)> {
    let through = stage.port.connect_descriptor().expect("connect descriptor");
    let knock = |_| {
        let knock = Connect::new(None).takes(TAKES, 0).asynchronous();
        let client = { knock }.run_on(&through).expect("connect").port;
        // A stranger that has left is accepted no more.
        let mine = loop {
            let request = next(&stage.port, ALPC_TYPE_CONNECTION_REQUEST);
            match request.uid == alpc_tests::MALLORY.uid {
                true => let_go(&stage.port, &request),
                false => break request,
            }
        };
        (client, mine)
    };
    (0..batch()).map(knock).collect()
}

fn accepts() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || requests(stage),
        move |(_client, request), watch| {
            let accepted = watch.time(|| Accept::new(request.id).run(&stage.port));
            drop(accepted.expect("ACCEPT"));
        },
    )
}

fn refuses() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || requests(stage),
        move |(_client, request), watch| {
            let refused = watch.time(|| Accept::new(request.id).refuse(&stage.port));
            refused.expect("ACCEPT");
        },
    )
}

fn asks_for_its_list() -> Box<dyn Side> {
    let stage = victim();
    timed(|| stage.port.query_acl().expect("QUERY_ACL"))
}

fn sets_its_list() -> Box<dyn Side> {
    let stage = victim();
    let list = [allow(ALPC_ACL_EVERYONE, 0); 64];
    timed(move || stage.port.set_acl(Some(&list)).expect("SET_ACL"))
}

fn asks_for_its_connections() -> Box<dyn Side> {
    let stage = victim();
    timed(|| stage.port.connection_usage(0).expect("a connection"))
}

fn asks_what_it_has() -> Box<dyn Side> {
    let stage = victim();
    timed(|| user_usage_on(&stage.device, BOB.uid, 0).expect("QUERY_USER"))
}

fn asks_what_its_port_is() -> Box<dyn Side> {
    let stage = victim();
    timed(|| {
        for port in [&stage.port, &stage.server, &stage.client] {
            port.query_port().expect("QUERY_PORT");
        }
    })
}

fn looks_into_fdinfo() -> Box<dyn Side> {
    let stage = victim();
    timed(|| {
        for port in [&stage.port, &stage.server, &stage.client] {
            inspect::fdinfo(port, "pos").expect("fdinfo");
        }
    })
}

/// As only root may.
fn looks_at_all_users() -> Box<dyn Side> {
    victim();
    timed(|| std::fs::read("/sys/kernel/debug/alpc/users").expect("users"))
}

rows! {
    a_port_is_made_and_ended_while_a_stranger_makes_ports:
        ["CREATE_PORT", "close of a connection port"], makes_a_port, makes_ports;
    the_device_answers_while_a_stranger_makes_ports: ["QUERY"], asks_the_device, makes_ports;
    a_name_is_opened_while_a_stranger_makes_ports:
        ["OPEN", "close of a connect descriptor"], opens_a_name, makes_ports;
    a_name_is_opened_while_a_stranger_connects_by_it: ["OPEN"], opens_a_name, knocks;
    a_client_connects_while_a_stranger_connects:
        ["CONNECT", "close of a client port"], connects, knocks;
    a_client_connects_to_a_port_that_its_server_does_not_serve:
        ["CONNECT", "close of a client port"], connects_to_the_stranger, serves;
    a_connect_descriptor_is_made_while_a_stranger_connects:
        ["CREATE_CONNECT"], makes_a_connect_descriptor, knocks;
    a_client_is_accepted_while_a_stranger_connects:
        ["ACCEPT", "close of a server port"], accepts, knocks;
    a_client_is_refused_while_a_stranger_connects: ["ACCEPT"], refuses, knocks;
    a_list_is_read_while_a_stranger_connects: ["QUERY_ACL"], asks_for_its_list, knocks;
    a_list_is_replaced_while_a_stranger_connects: ["SET_ACL"], sets_its_list, knocks;
    a_server_looks_at_its_connections_while_a_stranger_connects:
        ["QUERY_CONNECTION"], asks_for_its_connections, knocks;
    a_user_learns_what_it_has_while_a_stranger_makes_ports:
        ["QUERY_USER"], asks_what_it_has, makes_ports;
    a_port_says_what_it_is_while_a_stranger_floods_it:
        ["QUERY_PORT"], asks_what_its_port_is, floods;
    fdinfo_tells_while_a_stranger_floods_the_port: ["fdinfo"], looks_into_fdinfo, floods;
    root_reads_what_all_users_have_while_a_stranger_makes_ports:
        ["users"], looks_at_all_users, makes_ports, user ROOT;
}
