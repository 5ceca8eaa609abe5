// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every program of the README, of the documentation and of the examples that serves goes on,
//! whatever a client does, and keeps nothing of one that has gone.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::panic;
use std::time::Duration;

use alpc::{Client, ConnectBuilder, HandleKinds, Offer, Options, Outcome, Security};
use alpc_tests::{eventually, inspect, isolated_long, note, rounds, Link, Peer, ALICE, ROOT};

/// A program that serves.
pub struct Page {
    /// Where it is.
    page: &'static str,
    /// Its port.
    name: &'static str,
    /// Doesn't return.
    serve: fn(),
}

// Of `build/pages.rs`.
include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Fewer than the connections that one client makes at once.
const DESCRIPTORS: u64 = 48;
/// No wait of a client is for ever.
const PATIENCE: Duration = Duration::from_secs(20);

fn serve(page: &'static Page) -> Peer {
    let server = Peer::spawn(ROOT, |link| {
        let few = libc::rlimit {
            rlim_cur: DESCRIPTORS,
            rlim_max: DESCRIPTORS,
        };
        // SAFETY: A live limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        let nowhere = std::fs::File::options().write(true).open("/dev/null");
        let nowhere = nowhere.expect("/dev/null");
        for fd in [1, 2] {
            // SAFETY: What it says there is nobody's concern.
            unsafe { libc::dup2(nowhere.as_raw_fd(), fd) };
        }
        drop(nowhere);
        // A service's panics are its loop's to catch. What else ends it ends this process.
        panic::set_hook(Box::new(|_| {}));
        link.sync();
        let _ = panic::catch_unwind(page.serve);
    });
    server.sync();
    server
}

fn connect(name: &str) -> alpc::Result<Client> {
    let connect = ConnectBuilder::new(name).options(PATIENCE);
    connect
        .take_views()
        .take_handles(HandleKinds::ANY)
        .security(Security::IMPERSONATE)
        .connect()
}

/// Does all that is no good.
fn be_hostile(name: &str, link: &Link) {
    // Comes and goes, more often than there are descriptors.
    for _ in 0..rounds(10 * DESCRIPTORS) {
        if let Ok(client) = connect(name) {
            let _ = client.send_request(b"and gone");
        }
    }
    // Has more connections at once than there are descriptors.
    let held: Vec<_> = (0..2 * DESCRIPTORS)
        .filter_map(|_| connect(name).ok())
        .collect();
    assert!(
        !held.is_empty() && held.len() < 2 * DESCRIPTORS as usize,
        "{}",
        held.len()
    );
    // Asks, and receives nothing.
    for client in held.iter().take(4) {
        for length in [0, 1, 255, 256, 4096].repeat(2) {
            let _ = client.send_request_with(&vec![0xff; length], Options::new().nonblocking());
        }
        let _ = client.send(&[0; 100]);
    }
    // Sends what it likes.
    let client = held.last().expect("a connection");
    let mut buffer = [0; 4096];
    let files = [std::fs::File::open("/proc/self/exe").expect("a file")];
    let handles = [files[0].as_fd()];
    let options = Options::from(PATIENCE);
    let _ = client.call_with(&[0xff; 4096], &mut buffer, options.handles(&handles));
    let section = client.section(1 << 20).expect("section");
    for size in [4096, 1 << 19] {
        let lent = section.view(size).expect("view").lend();
        let _ = client.call_with(b"look", &mut buffer, options.lend(&lent));
        let _ = client.send_with(b"look", options.nonblocking().lend(&lent));
    }
    let mut little = [0; 1];
    let memory = Offer::new().readable(b"key").writable(&mut little);
    let _ = client.call_with_memory(b"look up", &memory, &mut buffer, options);
    drop(client.call_with(b"start a /dev/zero", &mut [0; 1], options));
    // Names a pipe that nobody writes to.
    let pipe = format!("/tmp/pages-{}", std::process::id());
    let path = CString::new(pipe.clone()).expect("a path");
    // SAFETY: A live path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let _ = client.call_with(pipe.as_bytes(), &mut buffer, Duration::from_secs(1));
    // Is killed in mid-call, with all that it holds.
    link.sync();
    loop {
        let _ = client.call_with(b"and killed", &mut buffer, PATIENCE);
    }
}

/// An honest client, which tells each time it is asked whether it gets an answer, if only that
/// there is none.
fn be_honest(name: &str, link: &Link) {
    let Some(client) = connected(name) else {
        return link.put(0);
    };
    loop {
        let mut buffer = [0; 4096];
        let answer = client.call_with(b"hello", &mut buffer, PATIENCE);
        let answered = match answer {
            Ok(_) => true,
            // It is no request that this service knows, or it asks in return.
            Err(error) => matches!(error.outcome(), Some(Outcome::Lost | Outcome::WrongKind)),
        };
        link.put(u64::from(answered));
        link.take();
    }
}

/// Connects as soon as there is a port, if its list admits this user.
fn connected(name: &str) -> Option<Client> {
    loop {
        match connect(name) {
            Ok(client) => return Some(client),
            Err(error) if error.outcome() == Some(Outcome::AccessDenied) => return None,
            Err(error) => assert_eq!(error.outcome(), Some(Outcome::NameNotFound), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn descriptors(server: &Peer) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    entries.map_or(0, Iterator::count)
}

/// Has a program serve while a client is hostile to it.
fn attack(page: &'static Page) {
    let Page { page: at, name, .. } = page;
    let server = serve(page);
    let run = |user| {
        let honest = Peer::spawn(user, |link| be_honest(name, link));
        (honest.take() == 1).then_some((user, honest))
    };
    // Whom its list admits.
    let (user, honest) = run(ROOT).or_else(|| run(ALICE)).expect("somebody");
    note!("{at}: {name}, as {}", user.name);
    // An example has a client of its own at first.
    let mut before = 0;
    eventually(|| {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, descriptors(&server)) == descriptors(&server)
    });
    let hostile = Peer::spawn(user, |link| be_hostile(name, link));
    hostile.sync();
    honest.put(0);
    assert_eq!(honest.take(), 1, "{at}: {name} answers nobody else");
    hostile.kill();
    let ended = || inspect::has_ended(server.pid());
    eventually(|| descriptors(&server) <= before || ended());
    assert!(!ended(), "{at}: {name} has ended");
    honest.put(0);
    assert_eq!(honest.take(), 1, "{at}: {name} answers nobody");
    honest.kill();
    server.kill();
}

#[test]
fn every_loop_that_is_shown_outlives_a_hostile_client() {
    assert!(PAGES.len() >= 15, "{} programs found", PAGES.len());
    isolated_long(5, || PAGES.iter().for_each(attack));
}
