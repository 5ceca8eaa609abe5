// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a server loop of several threads ends.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use alpc::{Answer, Client, Outcome, PortBuilder, Request, ServerLoop, Service, Stopper};
use alpc_tests::{eventually, isolated, Peer, ROOT};

use super::outcome;

/// Keeps its thread until `held` is as many as are to be together.
#[derive(Clone)]
struct Together<'a> {
    held: &'a AtomicUsize,
    threads: &'a Mutex<HashSet<thread::ThreadId>>,
}

impl Service for Together<'_> {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        self.threads
            .lock()
            .expect("lock")
            .insert(thread::current().id());
        match request.data() {
            b"stop" => return Answer::Stop,
            b"hold" => {
                self.held.fetch_add(1, SeqCst);
                eventually(|| self.held.load(SeqCst) >= 4);
            }
            _ => {}
        }
        reply.extend_from_slice(request.data());
        Answer::Reply
    }
}

/// Runs four threads, and has `stop` end them.
fn four(name: &'static str, stop: impl FnOnce(&Client, Stopper)) {
    isolated(|| {
        let server = PortBuilder::new(name).create().expect("create");
        let serving = ServerLoop::new(&server);
        let (held, threads) = (AtomicUsize::new(0), Mutex::default());
        let service = Together {
            held: &held,
            threads: &threads,
        };
        let client = OnceLock::new();
        thread::scope(|scope| {
            let running = scope.spawn(|| serving.run_threads(4, || service.clone()));
            let client = client.get_or_init(|| Client::connect(name).expect("connect"));
            // None of them comes back before all are there.
            let calls: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| client.call(b"hold", &mut [0; 8]).map(drop)))
                .collect();
            for call in calls {
                call.join().expect("join").expect("call");
            }
            assert_eq!(threads.lock().expect("lock").len(), 4);
            assert!(!running.is_finished());
            stop(client, serving.stopper());
            running.join().expect("join").expect("the loop's end");
            assert!(serving.stopper().is_stopped());
            // The port and its connections are there still, but nobody receives.
            let port = serving.port(1).expect("the connection is kept");
            port.send(b"still here").expect("send");
            let mut buffer = [0; 8];
            let left = client.call_with(b"?", &mut buffer, Duration::from_millis(50));
            assert_eq!(outcome(left), Outcome::TimedOutSent);
            serving
                .run_threads(2, || service.clone())
                .expect("stopped for good");
        });
    });
}

#[test]
fn a_service_that_stops_ends_all_threads_of_its_loop() {
    four("userlib/stop-4", |client, _| {
        let mut buffer = [0; 8];
        let reply = client
            .call(b"stop", &mut buffer)
            .expect("its answer is sent");
        assert_eq!(reply.data(), b"");
    });
}

#[test]
fn a_stopper_ends_them_from_another_thread() {
    four("userlib/stopper", |_, stopper| {
        thread::spawn(move || stopper.stop()).join().expect("join");
    });
}

#[test]
fn a_flag_that_something_else_sets_ends_them() {
    four("userlib/stop-flag", |_, stopper| {
        Arc::<AtomicBool>::from(stopper).store(true, SeqCst);
    });
}

#[test]
fn what_was_received_before_the_stop_is_answered() {
    isolated(|| {
        let server = PortBuilder::new("userlib/drain").create().expect("create");
        let serving = ServerLoop::new(&server);
        let held = AtomicUsize::new(0);
        let threads = Mutex::default();
        let service = Together {
            held: &held,
            threads: &threads,
        };
        let client = OnceLock::new();
        thread::scope(|scope| {
            let running = scope.spawn(|| serving.run_threads(2, || service.clone()));
            let connect = || Client::connect("userlib/drain").expect("connect");
            let client = client.get_or_init(connect);
            let called = scope.spawn(|| client.call(b"hold", &mut [0; 8]).map(drop));
            eventually(|| held.load(SeqCst) == 1);
            serving.stopper().stop();
            held.store(4, SeqCst);
            called.join().expect("join").expect("it is answered");
            running.join().expect("join").expect("the loop's end");
        });
    });
}

static STOPPER: OnceLock<Stopper> = OnceLock::new();

extern "C" fn terminate(_: libc::c_int) {
    if let Some(stopper) = STOPPER.get() {
        stopper.stop();
    }
}

#[test]
fn sigterm_ends_a_server_that_has_a_handler_for_it() {
    isolated(|| {
        let peer = Peer::spawn(ROOT, |link| {
            let server = PortBuilder::new("userlib/term").create().expect("create");
            let serving = ServerLoop::new(&server);
            STOPPER.get_or_init(|| serving.stopper());
            let handler = terminate as *const () as libc::sighandler_t;
            // SAFETY: The handler does nothing but a load and a store.
            unsafe { libc::signal(libc::SIGTERM, handler) };
            link.sync();
            let (held, threads) = (AtomicUsize::new(0), Mutex::default());
            let service = Together {
                held: &held,
                threads: &threads,
            };
            serving
                .run_threads(3, || service.clone())
                .expect("the loop's end");
        });
        peer.sync();
        let client = Client::connect("userlib/term").expect("connect");
        client.call(b"?", &mut [0; 8]).expect("call");
        peer.signal(libc::SIGTERM);
        peer.wait();
        client
            .call(b"?", &mut [0; 8])
            .map(drop)
            .expect_err("nobody serves");
    });
}
