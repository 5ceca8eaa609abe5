// SPDX-License-Identifier: MIT OR Apache-2.0

//! A victim and a stranger, each of which has a port that takes everything, and is a client of the
//! other's.

use alpc_tests::raw::*;
use alpc_tests::wait;

/// Everything that either side can take.
pub const TAKES: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY | ALPC_TAKE_SECURITY;

const VICTIM: &str = "strangers/victim";
const STRANGER: &str = "strangers/stranger";

/// What one of the two has, for as long as it lives.
pub struct Stage {
    /// Its connection port.
    pub port: Port,
    /// Its end of the other's connection to that.
    #[expect(dead_code)]
    pub server: Port,
    /// Its own connection to the other's port.
    pub client: Port,
}

/// Opens the stage for the victim.
pub fn victim() -> &'static Stage {
    let port = port(VICTIM);
    let server = accept(&port);
    let client = connect(STRANGER);
    Box::leak(Box::new(Stage {
        port,
        server,
        client,
    }))
}

/// Opens the stage for the stranger.
pub fn stranger() -> &'static Stage {
    let port = port(STRANGER);
    let client = connect(VICTIM);
    let server = accept(&port);
    Box::leak(Box::new(Stage {
        port,
        server,
        client,
    }))
}

/// A port that admits everybody.
fn port(name: &str) -> Port {
    let create = Create::named(name)
        .open()
        .taking(TAKES)
        .max(ALPC_MESSAGE_MAX);
    { create }.run().expect("create")
}

/// Connects as soon as there is a port.
fn connect(name: &str) -> Port {
    let mut connected = None;
    wait::eventually(|| {
        let mut connect = Connect::to(name).takes(TAKES, 0);
        connect.arg.security = ALPC_SECURITY_IMPERSONATE;
        match connect.run() {
            Ok(done) => connected = Some(done.port),
            Err(failure) => assert_eq!(failure, fail::NAME_NOT_FOUND),
        }
        connected.is_some()
    });
    connected.expect("a connection")
}

fn accept(port: &Port) -> Port {
    let request = port.receive().expect("connection request");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    Accept::new(request.id).run(port).expect("accept")
}
