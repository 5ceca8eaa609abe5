// SPDX-License-Identifier: MIT OR Apache-2.0

//! A victim and a stranger, each of which has a port that takes everything, and is a client of the
//! other's. And what a stranger may do that nobody in particular shares with it.

use alpc_tests::raw::*;
use alpc_tests::scale::{self, Time};
use alpc_tests::starve::*;
use alpc_tests::{rounds, wait};

/// Everything that either side can take.
pub const TAKES: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY | ALPC_TAKE_SECURITY;

/// The name of the victim's port.
pub const VICTIM: &str = "strangers/victim";
/// The name of the stranger's port.
pub const STRANGER: &str = "strangers/stranger";

/// What is prepared at a time: a multiple of four, and no more than the 256 views that can be lent.
pub fn batch() -> u64 {
    let least = match scale::time() {
        Time::Guessed => 4,
        Time::Counted | Time::Real => 25,
    };
    4 * rounds(62).max(least)
}

/// What one of the two has, for as long as it lives.
pub struct Stage {
    /// Its connection port.
    pub port: Port,
    /// Its end of the other's connection to that.
    pub server: Port,
    /// Its own connection to the other's port.
    pub client: Port,
    /// `/dev/alpc`. Opening that is no call of the module's: it takes a lock that the kernel has
    /// for all of its small devices.
    pub device: Port,
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
        device: device(),
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
        device: device(),
    }))
}

/// A port that admits everybody.
fn port(name: &str) -> Port {
    let create = Create::named(name).open().takes(TAKES, 0);
    { create }.max(ALPC_MESSAGE_MAX).run().expect("create")
}

/// Connects as soon as there is a port.
pub fn connect(name: &str) -> Port {
    let mut connected = None;
    wait::eventually(|| {
        let mut connect = Connect::to(name).takes(TAKES & !ALPC_TAKE_MEMORY, 0);
        connect.arg.security = ALPC_SECURITY_IMPERSONATE;
        match connect.run() {
            Ok(done) => connected = Some(done.port),
            Err(failure) => assert_eq!(failure, fail::NAME_NOT_FOUND),
        }
        connected.is_some()
    });
    connected.expect("a connection")
}

/// Accepts the connection that is asked for next, whatever else comes.
pub fn accept(port: &Port) -> Port {
    let request = next(port, ALPC_TYPE_CONNECTION_REQUEST);
    Accept::new(request.id).run(port).expect("accept")
}

/// A connection of the victim's to its own port, which the stranger uses too.
pub fn own_client(stage: &Stage) -> (Port, Port) {
    let through = stage.port.connect_descriptor().expect("connect descriptor");
    let connect = Connect::new(None).takes(TAKES, 0).asynchronous();
    let client = { connect }.run_on(&through).expect("connect").port;
    let server = accept(&stage.port);
    let reply = client.receive().expect("connection reply");
    assert_eq!(reply.kind, ALPC_TYPE_CONNECTION_REPLY);
    (client, server)
}

/// The next message of this type. All others are let go of.
pub fn next(port: &Port, kind: u32) -> Message {
    let mut receive = Transfer::new().capacity(ALPC_MESSAGE_MAX as usize);
    loop {
        receive.recv.fill(JUNK);
        let message = receive.run(port).expect("receive");
        if message.kind == kind {
            return message;
        }
        let_go(port, &message);
    }
}

/// Owes nothing for it any more.
pub fn let_go(port: &Port, message: &Message) {
    match message.kind {
        ALPC_TYPE_CONNECTION_REQUEST => drop(Accept::new(message.id).refuse(port)),
        _ if message.open() => drop(port.release(message)),
        _ => {}
    }
}

/// More than a round adds to a queue, and few enough that a round soon ends.
const DRAINED: usize = 16;

/// Receives what there is, and lets go of it: whether that was all. It waits for nothing. It also ends
/// where somebody sends as fast as this receives.
pub fn drain(port: &Port, receive: &mut Transfer) -> bool {
    for _ in 0..DRAINED {
        receive.recv.fill(JUNK);
        match receive.run(port) {
            Ok(message) => let_go(port, &message),
            Err(_) => return true,
        }
    }
    false
}

/// Receives all that there is, while nobody sends.
pub fn empty(port: &Port) {
    while !drain(port, &mut receiving()) {}
}

/// A receive for [`drain`].
pub fn receiving() -> Transfer {
    Transfer::new().capacity(ALPC_MESSAGE_MAX as usize).now()
}

/// A one-way message that never waits for room.
pub fn flooding(data: &[u8]) -> Transfer {
    let transfer = Transfer::new().send(data);
    transfer.flags(ALPC_RELEASE | ALPC_NONBLOCK)
}

/// Sends once more, if there is room.
pub fn again(transfer: &mut Transfer, port: &Port) -> bool {
    transfer.arg.flags &= !ALPC_SENT;
    transfer.run(port).is_ok()
}

/// A stranger that makes and ends ports.
pub fn makes_ports() -> Box<dyn Side> {
    let stage = stranger();
    busy(move || {
        let device = &stage.device;
        let made = Create::named("strangers/other").open().run_on(device);
        let opened = open_port_on(device, "strangers/other");
        drop((made.expect("create"), opened.expect("open")));
    })
}

/// Asks for a connection to this port, and takes that back.
pub fn knock(stage: &Stage, name: &str) {
    let mut connect = Connect::to(name).takes(TAKES, 0).asynchronous();
    drop(connect.run_on(&stage.device).expect("connect"));
}

/// A stranger that asks the victim for connections.
pub fn knocks() -> Box<dyn Side> {
    let stage = stranger();
    busy(|| knock(stage, VICTIM))
}

/// A stranger that fills the victim's queue, and uses the same port in other ways.
pub fn floods() -> Box<dyn Side> {
    let stage = stranger();
    let mut long = flooding(&vec![7; ALPC_MESSAGE_MAX as usize]);
    let mut asked = Transfer::new().send(b"never mind").flags(ALPC_NONBLOCK);
    busy(move || {
        again(&mut long, &stage.client);
        asked.arg.send_id = 0;
        if again(&mut asked, &stage.client) {
            let _ = stage.client.cancel(asked.arg.send_id, 0);
        }
    })
}

/// A stranger that serves what the victim sends it: it receives, and lets go.
pub fn serves() -> Box<dyn Side> {
    let stage = stranger();
    let mut receive = receiving();
    let serve = move || {
        drain(&stage.port, &mut receive);
    };
    cleaning(|| empty(&stage.port), serve)
}

/// A victim that sends, to the stranger: no more at a time than a starved server has room for.
pub fn sends(stage: &'static Stage, mut transfer: Transfer) -> Box<dyn Side> {
    let mut receive = receiving();
    let send = move |(), watch: &mut Watch| {
        transfer.arg.send_id = 0;
        watch.time_if(|| again(&mut transfer, &stage.client), |&sent| sent);
        drain(&stage.client, &mut receive);
    };
    using(|| vec![(); batch() as usize], send)
}

/// Receives once, and lets go of what that is.
pub fn receives_once(port: &Port, receive: &mut Transfer, watch: &mut Watch) {
    receive.recv.fill(JUNK);
    if let Ok(message) = watch.time_if(|| receive.run(port), Result::is_ok) {
        let_go(port, &message);
    }
}

/// A stranger that asks the victim so, many times, and receives what comes back.
pub fn asks_with(stage: &'static Stage, mut asked: Transfer) -> Box<dyn Side> {
    let mut receive = receiving();
    let ask = move || {
        empty(&stage.client);
        for _ in 0..batch() {
            asked.arg.send_id = 0;
            assert!(again(&mut asked, &stage.client));
        }
    };
    let serve = move || {
        drain(&stage.client, &mut receive);
    };
    preparing(ask, serve)
}

/// Receives all that the stranger has prepared to ask.
pub fn asked(stage: &Stage) -> Vec<Message> {
    let receive = |_| next(&stage.port, ALPC_TYPE_REQUEST);
    (0..batch()).map(receive).collect()
}
