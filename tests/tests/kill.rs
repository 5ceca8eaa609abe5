// SPDX-License-Identifier: MIT OR Apache-2.0

//! Clients killed at any moment, whatever they are doing: each is told of
//! once, what it had sent is received or dropped, and nothing is left of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use alpc_tests::raw::*;
use alpc_tests::rng::Rng;
use alpc_tests::*;

/// What the clients count: messages that they began to send, and messages
/// that they know to have been sent.
const BEGUN: usize = 0;
const SENT: usize = 1;
/// How many clients there are at a time.
const CLIENTS: usize = 3;

/// Sends something, counted before and after: killed in between, it may have
/// been sent or not.
fn counted<T>(seen: Shared, send: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    seen[BEGUN].fetch_add(1, SeqCst);
    let result = send();
    match result {
        Ok(_) => seen[SENT].fetch_add(1, SeqCst),
        // Known not to have been sent.
        Err(_) => seen[BEGUN].fetch_sub(1, SeqCst),
    };
    result
}

/// Connects and sends all kinds of messages, without end.
fn victim(name: &str, seed: u64, seen: Shared) {
    let mut rng = Rng::new(seed);
    loop {
        let connect = || Connect::to(name).run();
        let client = counted(seen, connect).expect("connect").port;
        let mut last = None;
        for _ in 0..rng.below(40) {
            match rng.below(5) {
                0 => counted(seen, || client.one_way(b"one-way")).expect("send"),
                1 => last = counted(seen, || client.post(b"post")).ok(),
                2 => {
                    if let Some(id) = last.take() {
                        let _ = client.cancel(id, 0);
                    }
                }
                3 => while client.receive_now().is_ok() {},
                _ => call(&client, seen),
            }
        }
    }
}

/// A request, and an answer to the callback that may come.
fn call(client: &Port, seen: Shared) {
    let mut message = counted(seen, || client.request(b"call")).expect("request");
    while message.kind == ALPC_TYPE_REQUEST {
        message = counted(seen, || client.answer(&message, b"answer")).expect("answer");
    }
}

/// What the server's threads have seen.
#[derive(Default)]
struct Server {
    /// Connections that haven't been closed, by context; without a port while
    /// they are being accepted.
    open: Mutex<BTreeMap<u64, Option<Port>>>,
    accepted: AtomicU64,
    closed: AtomicU64,
    received: AtomicU64,
    notices: AtomicU64,
}

impl Server {
    /// Serves until the port is disconnected.
    fn run(&self, port: &Port, seed: u64) {
        let mut rng = Rng::new(seed);
        let mut held = Vec::new();
        loop {
            let message = match port.receive() {
                Ok(message) => message,
                Err(failure) => {
                    assert_eq!(failure, fail::CLOSED);
                    return;
                }
            };
            match message.kind {
                ALPC_TYPE_CANCELED => {
                    self.notices.fetch_add(1, SeqCst);
                    continue;
                }
                ALPC_TYPE_PORT_CLOSED => {
                    self.notices.fetch_add(1, SeqCst);
                    self.gone(message.port_context);
                    continue;
                }
                _ => self.received.fetch_add(1, SeqCst),
            };
            match message.kind {
                ALPC_TYPE_CONNECTION_REQUEST => self.accept(port, &message),
                ALPC_TYPE_REQUEST => match rng.below(8) {
                    // Nobody waits for these: they may stay open until the end.
                    0 if message.data == b"post" && held.len() < 100 => held.push(message),
                    1 | 2 if message.data == b"call" => self.callback(port, &message),
                    _ => self.reply(port, &message),
                },
                ALPC_TYPE_DATAGRAM => {}
                other => panic!("type {other}"),
            }
            if rng.one_in(10) {
                for message in held.drain(..) {
                    self.reply(port, &message);
                }
            }
        }
    }

    fn accept(&self, port: &Port, request: &Message) {
        // Before another thread can be told that it is over.
        let context = self.accepted.fetch_add(1, SeqCst);
        self.open.lock().expect("lock").insert(context, None);
        match Accept::new(request.id).context(context).run(port) {
            Ok(server) => {
                if let Some(place) = self.open.lock().expect("lock").get_mut(&context) {
                    *place = Some(server);
                }
            }
            Err(failure) => {
                assert!(dead(&failure), "{failure:?}");
                self.gone(context);
            }
        }
    }

    fn gone(&self, context: u64) {
        let open = self.open.lock().expect("lock").remove(&context);
        assert!(open.is_some(), "connection {context} ended twice");
        self.closed.fetch_add(1, SeqCst);
    }

    fn reply(&self, port: &Port, to: &Message) {
        if let Err(failure) = port.reply(to, b"reply") {
            assert!(dead(&failure), "{failure:?}");
        }
    }

    fn callback(&self, port: &Port, to: &Message) {
        match port.callback(to, b"callback") {
            Ok(answer) => {
                assert_eq!(answer.data, b"answer");
                self.received.fetch_add(1, SeqCst);
                self.reply(port, &answer);
            }
            Err(failure) => assert!(dead(&failure), "{failure:?}"),
        }
    }
}

/// True for what may come of a conversation whose client has been killed, or
/// has cancelled it.
fn dead(failure: &Failure) -> bool {
    use fail::*;
    [CANCELED, NOT_FOUND, DISCONNECTED, LOST].contains(failure)
}

#[test]
fn clients_killed_whatever_they_do_are_told_of_once_and_leave_nothing() {
    isolated_long(3, || {
        let seed = rng::seed();
        let mut rng = Rng::new(seed);
        let name = "kill/server";
        let port = Create::named(name).open().run().expect("create");
        let (server, seen) = (Server::default(), Shared::new());
        let time = Duration::from_millis(rounds(20_000));
        let (start, mut kills) = (Instant::now(), 0);
        thread::scope(|scope| {
            for thread in 0..2 {
                let (server, port) = (&server, &port);
                scope.spawn(move || server.run(port, seed + thread));
            }
            let mut victims = Vec::new();
            while start.elapsed() < time {
                let (user, seed) = (*rng.pick(&[ALICE, BOB, CAROL]), rng.word());
                victims.push(Peer::spawn(user, |_| victim(name, seed, seen)));
                if victims.len() == CLIENTS {
                    thread::sleep(Duration::from_micros(rng.below(20_000)));
                    victims
                        .swap_remove(rng.below(CLIENTS as u64) as usize)
                        .kill();
                    kills += 1;
                }
            }
            for victim in victims {
                victim.kill();
                kills += 1;
            }
            // Every notice comes, and nothing more.
            let query = || port.query_port().expect("query");
            eventually(|| query().connections == 0 && query().queued_messages == 0);
            eventually(|| server.open.lock().expect("lock").is_empty());
            wait::settle();
            let end = query();
            assert_eq!((end.connections, end.conversations), (0, 0));
            assert_eq!((end.queued_messages, end.queued_bytes), (0, 0));
            balance(&server, seen, end.sequence);
            port.disconnect().expect("disconnect");
        });
        note!("{kills} clients killed");
    });
}

/// Sent is received and dropped; accepted is closed.
fn balance(server: &Server, seen: Shared, arrived: u64) {
    let count = |number: &AtomicU64| number.load(SeqCst);
    let (begun, sent) = (count(&seen[BEGUN]), count(&seen[SENT]));
    let (received, notices) = (count(&server.received), count(&server.notices));
    let (accepted, closed) = (count(&server.accepted), count(&server.closed));
    note!(
        "{begun} messages begun, {sent} sent, {arrived} arrived, {received} received; \
         {accepted} connections, {notices} notices"
    );
    assert_eq!(accepted, closed, "each connection ends once");
    let messages = arrived - notices;
    assert!(received <= messages, "received more than arrived");
    assert!(
        sent <= messages && messages <= begun,
        "sent = received + dropped"
    );
}
