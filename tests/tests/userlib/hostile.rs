// SPDX-License-Identifier: MIT OR Apache-2.0

//! A service of 64 descriptors, another user who does all it can to end it, and an honest client.

use std::panic;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use alpc::{
    Acl, Answer, Cause, Client, ConnectBuilder, Device, Failure, Options, Outcome, PortBuilder,
    Received, Request, ServerLoop, Service,
};
use alpc_tests::plenty::as_user;
use alpc_tests::syscalls::SystemCalls;
use alpc_tests::{
    eventually, inspect, isolated, isolated_long, note, rounds, Peer, Shared, ALICE, BOB, ROOT,
};

use super::outcome;

const NAME: &str = "userlib/hostile";
const DESCRIPTORS: u64 = 64;
/// What an honest client asks while somebody is hostile.
const ASKED: u64 = 1000;
/// What the service's memory may vary by, in KiB.
const SPARE: u64 = 512;
/// System calls for what is not counted: of those that were killed, and while nothing came.
const SOME: u64 = 300;

/// What the service was told, and what its clients have done.
#[derive(Clone, Copy)]
enum Count {
    NotAccepted,
    NotReplied,
    Panicked,
    Other,
    Connected,
    Asked,
}

fn add(counts: Shared, what: Count) {
    counts[what as usize].fetch_add(1, SeqCst);
}

fn get(counts: Shared, what: Count) -> u64 {
    counts[what as usize].load(SeqCst)
}

struct Target(Shared);

impl Service for Target {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        match request.data() {
            b"stop" => return Answer::Stop,
            b"long" => reply.resize(4097, 0),
            b"more" => reply.resize(1000, 0),
            b"panic" => panic!("as it was asked to"),
            b"slow" => std::thread::sleep(Duration::from_micros(200)),
            data => reply.extend_from_slice(data),
        }
        Answer::Reply
    }

    fn failed(&mut self, failure: Failure<'_>) {
        let blames_bob = failure.sender.is_some_and(|sender| sender.uid == BOB.uid);
        let what = match failure.cause {
            _ if !blames_bob || failure.port_context.is_none() => Count::Other,
            Cause::Accept(_) => Count::NotAccepted,
            Cause::Reply(_) => Count::NotReplied,
            Cause::Panic(_) => Count::Panicked,
            _ => Count::Other,
        };
        add(self.0, what);
    }
}

fn few_descriptors() {
    let few = libc::rlimit {
        rlim_cur: DESCRIPTORS,
        rlim_max: DESCRIPTORS,
    };
    // SAFETY: A live limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
}

/// Serves with few descriptors until it is asked to stop.
fn serve(counts: Shared) -> Peer {
    let server = Peer::spawn(ROOT, |link| {
        panic::set_hook(Box::new(|_| {}));
        few_descriptors();
        let acl = Acl::everyone();
        // More than it has descriptors for.
        let builder = PortBuilder::new(NAME).acl(&acl).max_connections(16_384);
        let server = builder.create().expect("create");
        link.sync();
        let ended = ServerLoop::new(&server).run(&mut Target(counts));
        // The hook says nothing.
        link.put(u64::from(ended.is_ok()));
    });
    server.sync();
    server
}

/// Is connected, asks as often as it is told, and tells how many right answers it has got.
fn honest() -> Peer {
    let honest = Peer::spawn(ALICE, |link| {
        let client = Client::connect(NAME).expect("connect");
        link.sync();
        let mut buffer = [0; 64];
        loop {
            let asked = link.take();
            let right = |number: &u64| {
                let request = number.to_le_bytes();
                let reply = client.call(&request, &mut buffer);
                reply.is_ok_and(|reply| reply.data() == request)
            };
            link.put((0..asked).filter(right).count() as u64);
            if asked == 0 {
                return;
            }
        }
    });
    honest.sync();
    honest
}

/// Connects, if there is a descriptor for it.
fn connect(counts: Shared) -> Option<Client> {
    let made = Client::connect(NAME);
    match made {
        Ok(client) => {
            add(counts, Count::Connected);
            Some(client)
        }
        Err(error) => {
            // The other half of what a port has is for others.
            let expected = matches!(error.outcome(), Some(Outcome::Refused | Outcome::Limit));
            assert!(expected, "{error}");
            None
        }
    }
}

/// Connects as often as it takes until there is a descriptor for it.
fn connected(counts: Shared) -> Client {
    loop {
        if let Some(client) = connect(counts) {
            return client;
        }
        std::thread::yield_now();
    }
}

/// What a hostile client does, so many times.
type Attack = fn(Shared, u64);

/// Keeps every connection, those too that are refused, as far as limits let it.
fn hold(counts: Shared, times: u64) {
    let device = Device::open().expect("open");
    let mut held = Vec::new();
    let mut buffer = [0; 64];
    for _ in 0..times {
        let builder = ConnectBuilder::new(NAME).device(&device);
        let client = match builder.start() {
            Ok(client) => client,
            Err(error) => {
                assert_eq!(error.outcome(), Some(Outcome::Limit), "{error}");
                // Half of what a port has is one user's: as many as it can.
                held.truncate(held.len() / 2);
                continue;
            }
        };
        match client.receive(&mut buffer).expect("an answer") {
            Received::Accepted(_) => add(counts, Count::Connected),
            Received::Refused(_) => {}
            other => panic!("{other:?}"),
        }
        held.push(client);
    }
}

/// Connects and goes.
fn come_and_go(counts: Shared, times: u64) {
    for _ in 0..times {
        drop(connect(counts));
    }
}

/// Asks, and receives nothing.
fn ask_only(counts: Shared, times: u64) {
    let mut client = connected(counts);
    for time in 0..times {
        let request = if time % 2 == 0 { b"this" } else { b"more" };
        match client.send_request_with(request, Options::new().nonblocking()) {
            Ok(_) => add(counts, Count::Asked),
            Err(error) if error.would_block() => std::thread::yield_now(),
            // As many as are open at once.
            Err(error) => {
                assert_eq!(error.outcome(), Some(Outcome::Limit), "{error}");
                client = connected(counts);
            }
        }
    }
}

/// Asks for what is too long to be sent.
fn ask_for_much(counts: Shared, times: u64) {
    let client = connected(counts);
    for _ in 0..times.div_ceil(4) {
        assert_eq!(outcome(client.call(b"long", &mut [0; 64])), Outcome::Lost);
        add(counts, Count::Asked);
    }
}

/// Finds a fault in the service.
fn have_it_panic(counts: Shared, times: u64) {
    let client = connected(counts);
    for _ in 0..times.div_ceil(10) {
        assert_eq!(outcome(client.call(b"panic", &mut [0; 64])), Outcome::Lost);
        add(counts, Count::Asked);
    }
}

/// Calls until it is killed.
fn be_killed(counts: Shared, times: u64) {
    for _ in 0..times.div_ceil(200) {
        let victim = Peer::fork(ROOT, |link| {
            let client = connected(counts);
            link.sync();
            loop {
                let _ = client.call(b"slow", &mut [0; 64]);
                add(counts, Count::Asked);
            }
        });
        victim.sync();
        std::thread::sleep(Duration::from_millis(2));
        victim.kill();
    }
}

const ATTACKS: [(&str, Attack); 6] = [
    ("hold", hold),
    ("come and go", come_and_go),
    ("ask only", ask_only),
    ("ask for much", ask_for_much),
    ("have it panic", have_it_panic),
    ("be killed", be_killed),
];

/// What the service has in memory, in KiB, and how many descriptors.
fn weight(server: &Peer) -> (u64, usize) {
    let proc = format!("/proc/{}", server.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let descriptors = std::fs::read_dir(format!("{proc}/fd")).expect("fd").count();
    (resident.expect("VmRSS"), descriptors)
}

/// Has some of them attack at once while an honest client asks. Returns when they have gone, and the
/// service has noticed.
fn attack(what: &str, attacks: &[Attack], times: u64, counts: Shared, who: &Who) {
    let begin = std::time::Instant::now();
    let before = [Count::NotAccepted, Count::Connected, Count::Asked].map(|c| get(counts, c));
    let calls = who.calls.borrow_mut().as_mut().map(SystemCalls::count);
    let (_, descriptors) = weight(&who.server);
    let hostile: Vec<_> = attacks
        .iter()
        .map(|attack| as_user(BOB, |_| attack(counts, times)))
        .collect();
    let mut answers = 0;
    loop {
        // The last time, which is the first one with short attacks, nobody is hostile any more.
        let over = hostile.iter().all(|peer| inspect::has_ended(peer.pid()));
        who.honest.put(ASKED);
        assert_eq!(who.honest.take(), ASKED, "{what}: answers that are right");
        answers += ASKED;
        if over {
            break;
        }
    }
    for peer in hostile {
        peer.wait();
    }
    // What is queued of those who have gone is received by then, but for the end of some.
    eventually(|| weight(&who.server).1 == descriptors);
    let after = [Count::NotAccepted, Count::Connected, Count::Asked].map(|c| get(counts, c));
    let [refused, accepted, asked] = [0, 1, 2].map(|i| after[i] - before[i]);
    let (resident, _) = weight(&who.server);
    note!("{what}: {answers} answers; {accepted} accepted, {refused} refused, {asked} asked");
    note!("    {resident} KiB, {:?}", begin.elapsed());
    if let Some(calls) = calls {
        let made = who
            .calls
            .borrow_mut()
            .as_mut()
            .map_or(0, SystemCalls::count)
            - calls;
        // Of a client that is refused: to receive its request, to fail to accept it, and to refuse
        // it. Of one that is accepted: those of its beginning and of its end, with what debug builds
        // add. Of what is asked: to receive, to fail to reply, and to give it up.
        let most = answers + 3 * refused + 8 * accepted + 3 * asked + SOME;
        note!("    {made} system calls, {most} at most");
        assert!(made <= most, "{what}: {made} system calls, {most} expected");
    }
}

struct Who {
    server: Peer,
    honest: Peer,
    calls: std::cell::RefCell<Option<SystemCalls>>,
}

#[test]
fn a_service_of_few_descriptors_outlives_all_that_another_user_can_do() {
    isolated_long(4, || {
        let counts = Shared::new();
        let server = serve(counts);
        let honest = honest();
        let calls = SystemCalls::of(server.pid()).into();
        let who = Who {
            server,
            honest,
            calls,
        };
        // What it takes once and keeps.
        for (what, one) in ATTACKS {
            attack(what, &[one], 200, counts, &who);
        }
        let (before, _) = weight(&who.server);
        let times = rounds(10_000);
        let all = ATTACKS.map(|(_, attack)| attack);
        for (what, one) in ATTACKS {
            attack(what, &[one], times, counts, &who);
        }
        attack("all together", &all, times / 4, counts, &who);
        let (after, _) = weight(&who.server);
        assert!(
            after <= before + SPARE,
            "{before} KiB before, {after} after"
        );

        assert!(get(counts, Count::NotAccepted) >= times / 2);
        assert!(get(counts, Count::NotReplied) >= times / 4);
        assert!(get(counts, Count::Panicked) >= times / 10);
        assert_eq!(get(counts, Count::Other), 0);
        who.honest.put(0);
        who.honest.take();
        who.honest.wait();
        let client = Client::connect(NAME).expect("connect");
        client.call(b"stop", &mut [0; 8]).expect("call");
        assert_eq!(who.server.take(), 1, "the loop's end");
        who.server.wait();
    });
}

#[test]
fn a_user_who_keeps_all_connections_that_he_gets_leaves_descriptors_for_others() {
    const NAME: &str = "userlib/places";
    isolated(|| {
        let server = Peer::spawn(ROOT, |link| {
            few_descriptors();
            let acl = Acl::everyone();
            let server = PortBuilder::new(NAME).acl(&acl).create().expect("create");
            link.sync();
            let opens = || std::fs::File::open("/proc/self/exe").is_ok();
            let _ = server.serve(|_, reply| reply.push(u8::from(opens())));
        });
        server.sync();
        let hostile = as_user(BOB, |link| {
            let mut held = Vec::new();
            let error = loop {
                match Client::connect(NAME) {
                    Ok(client) => held.push(client),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.outcome(), Some(Outcome::Limit), "{error}");
            link.sync();
            link.sync();
        });
        hostile.sync();
        Peer::spawn(ALICE, |_| {
            let client = Client::connect(NAME).expect("connect");
            let mut buffer = [0; 8];
            let reply = client.call(b"", &mut buffer).expect("call");
            assert_eq!(reply.data(), [1], "the service can open nothing");
        })
        .wait();
        hostile.kill();
        server.kill();
    });
}
