// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection with both ends in one process: enough for most sentences.

use crate::raw::*;

/// Context values, to be told apart in a dump.
pub const PORT_CONTEXT: u64 = 0x1111_2222_3333_4444;
pub const SERVER_CONTEXT: u64 = 0x5555_6666_7777_8888;
pub const CLIENT_CONTEXT: u64 = 0x9999_aaaa_bbbb_cccc;

pub struct Pair {
    /// The connection port, where the server receives.
    pub port: Port,
    /// The server communication port.
    pub server: Port,
    /// The client communication port.
    pub client: Port,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(Create::anonymous())
    }

    pub fn with(create: Create) -> Self {
        let port = create.context(PORT_CONTEXT).run().expect("create");
        let (server, client) = attach(&port, SERVER_CONTEXT);
        Self {
            port,
            server,
            client,
        }
    }

    /// Both sides take what `takes` says, from each other.
    pub fn taking(takes: u32) -> Self {
        let create = Create::anonymous().taking(takes);
        let port = { create }.context(PORT_CONTEXT).run().expect("create");
        let (server, client) = attach_taking(&port, SERVER_CONTEXT, takes);
        Self {
            port,
            server,
            client,
        }
    }

    /// Takes handles of these kinds on both sides, 0 for all that need not be asked for.
    pub fn with_handles(kinds: u32) -> Self {
        let create = Create::anonymous().context(PORT_CONTEXT);
        let port = create.takes(ALPC_TAKE_HANDLES, kinds).run();
        let port = port.expect("create");
        let connect = Connect::new(None).takes(ALPC_TAKE_HANDLES, kinds);
        let (server, client) = attach_as(&port, SERVER_CONTEXT, connect);
        Self {
            port,
            server,
            client,
        }
    }

    /// A sync request by a thread of its own, and the request as the server
    /// received it.
    pub fn requested<'scope>(
        &'scope self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        data: &'static [u8],
    ) -> (
        std::thread::ScopedJoinHandle<'scope, Result<Message, Failure>>,
        Message,
    ) {
        let thread = scope.spawn(move || self.client.request(data));
        let request = self.port.receive().expect("receive");
        assert_eq!(request.data, data);
        (thread, request)
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// One more connection to `port`: its server and client communication ports.
pub fn attach(port: &Port, server_context: u64) -> (Port, Port) {
    attach_as(port, server_context, Connect::new(None))
}

/// One more connection to `port`, whose client takes something.
pub fn attach_taking(port: &Port, server_context: u64, takes: u32) -> (Port, Port) {
    attach_as(port, server_context, Connect::new(None).taking(takes))
}

/// One more connection to `port`, whose client asks for something as it connects.
pub fn attach_as(port: &Port, server_context: u64, connect: Connect) -> (Port, Port) {
    let through = port.connect_descriptor().expect("connect descriptor");
    let client = connect
        .context(CLIENT_CONTEXT)
        .asynchronous()
        .run_on(&through)
        .expect("connect")
        .port;
    let request = port.receive().expect("connection request");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    let server = Accept::new(request.id)
        .context(server_context)
        .run(port)
        .expect("accept");
    let reply = client.receive().expect("connection reply");
    assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
    (server, client)
}
