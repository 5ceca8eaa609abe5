// SPDX-License-Identifier: MIT OR Apache-2.0

//! Security contexts that many threads make, attach, delete and revoke at once, while their
//! messages are impersonated, and impersonation at the limits of its process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use alpc_tests::creds::Me;
use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::*;

const IMPERSONATE: u32 = ALPC_SECURITY_IMPERSONATE;
const LEVELS: [u32; 5] = [
    0,
    ALPC_SECURITY_ANONYMOUS,
    ALPC_SECURITY_IDENTIFY,
    IMPERSONATE,
    IMPERSONATE | ALPC_SECURITY_DYNAMIC | ALPC_SECURITY_EFFECTIVE_ONLY,
];

/// The largest number that a context has had.
struct Last(AtomicU64);

impl Last {
    fn note(&self, context: u64) {
        self.0.fetch_max(context, Ordering::Relaxed);
    }

    /// A context that there may be.
    fn any(&self, rng: &mut Rng) -> u64 {
        let last = self.0.load(Ordering::Relaxed);
        last.saturating_sub(rng.below(80)).max(1)
    }
}

/// Fails unless it went well, or as it may where others do the same.
#[track_caller]
fn tolerate<T>(result: Result<T, Failure>) -> Option<T> {
    const MAY_BE: [Failure; 5] = [
        fail::NOT_A_CONTEXT,
        fail::REVOKED,
        fail::LIMIT,
        fail::QUEUE_FULL,
        fail::TIMED_OUT,
    ];
    match result {
        Ok(value) => Some(value),
        Err(failure) if MAY_BE.contains(&failure) => None,
        Err(failure) => panic!("{failure:?}"),
    }
}

fn send_any(port: &Port, last: &Last, rng: &mut Rng) {
    let level = *rng.pick(&LEVELS);
    let mut container = match rng.below(4) {
        0 => SecurityContainer::sending(0, level, ALPC_SECURITY_CREATE),
        1 => SecurityContainer::sending(0, level, ALPC_SECURITY_ONCE),
        2 => SecurityContainer::sending(last.any(rng), 0, 0),
        _ => SecurityContainer::sending(last.any(rng), 0, ALPC_SECURITY_DELETE),
    };
    let creates = container.security.flags == ALPC_SECURITY_CREATE;
    let mut post = Transfer::new().send(b"x").flags(ALPC_NONBLOCK);
    post.arg.send_attributes = container.address();
    if tolerate(post.run(port)).is_some() && creates {
        last.note(container.security.context);
    }
    while port.receive_now().is_ok() {}
}

fn change_any(port: &Port, last: &Last, rng: &mut Rng) {
    match rng.below(4) {
        0 | 1 => {
            if let Some(context) = tolerate(port.create_security(*rng.pick(&LEVELS))) {
                last.note(context);
            }
        }
        2 => drop(tolerate(port.delete_security(last.any(rng)))),
        _ => drop(tolerate(port.revoke_security(last.any(rng)))),
    }
}

/// Receives one, and goes as far with it as it may.
fn receive_any(port: &Port, own: &Me) {
    let mut container = SecurityContainer::receiving();
    let mut transfer = Transfer::new().receive().timeout(10_000_000);
    transfer.arg.recv_attributes = container.address();
    let Some(message) = tolerate(transfer.run(port)) else {
        return;
    };
    let (_, level, _) = container.told().expect("a context");
    match port.impersonate(&message) {
        Ok(way_back) => {
            assert_eq!(level & IMPERSONATE, IMPERSONATE);
            way_back.revert().expect("revert");
        }
        Err(failure) if failure == fail::REVOKED => {}
        Err(failure) => assert_eq!(
            (failure, level & IMPERSONATE == IMPERSONATE),
            (fail::NOT_GRANTED, false)
        ),
    }
    assert_eq!(&Me::now(), own);
    port.reply(&message, b"").expect("reply");
}

#[test]
fn contexts_that_many_use_at_once_are_all_there_or_gone_in_the_end() {
    isolated_long(2, || {
        let seed = seed();
        note!("ALPC_SEED={seed}");
        let pair = &Pair::taking(ALPC_TAKE_SECURITY);
        let (last, over) = (&Last(AtomicU64::new(0)), &AtomicBool::new(false));
        thread::scope(|scope| {
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let own = Me::now();
                        while !over.load(Ordering::Relaxed) {
                            receive_any(&pair.port, &own);
                        }
                    })
                })
                .collect();
            let others: Vec<_> = (0..4_u64)
                .map(|index| {
                    scope.spawn(move || {
                        let rng = &mut Rng::new(seed ^ index);
                        for _ in 0..rounds(1500) {
                            match index {
                                0 | 1 => send_any(&pair.client, last, rng),
                                _ => change_any(&pair.client, last, rng),
                            }
                        }
                    })
                })
                .collect();
            others.into_iter().for_each(|it| it.join().expect("join"));
            over.store(true, Ordering::Relaxed);
            receivers
                .into_iter()
                .for_each(|it| it.join().expect("join"));
        });
        while let Ok(message) = pair.port.receive_now() {
            pair.port.reply(&message, b"").expect("reply");
        }
        while pair.client.receive_now().is_ok() {}
        for context in 1..=last.0.load(Ordering::Relaxed) {
            tolerate(pair.client.delete_security(context));
        }
        for _ in 0..ALPC_CONTEXTS_MAX {
            pair.client
                .create_security(IMPERSONATE)
                .expect("all are free");
        }
        assert_eq!(pair.client.create_security(0), Err(fail::LIMIT));
    });
}

#[test]
fn without_a_descriptor_for_the_way_back_nothing_is_taken_on() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_SECURITY);
        let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
        let bob = Peer::spawn(BOB, |link| {
            let client = Port::from(link.take_fd());
            client.post_secured(b"", &mut once).expect("post");
        });
        bob.put_fd(&pair.client);
        bob.wait();
        let message = pair.port.receive().expect("receive");
        let own = Me::now();
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: A live structure.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            let none = libc::rlimit {
                rlim_cur: 0,
                ..limit
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &none), 0);
        }
        refused_with(
            pair.port.impersonate(&message).map(drop),
            libc::EMFILE,
            "no room",
        );
        // SAFETY: A live structure.
        unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0) };
        assert_eq!(Me::now(), own);
        pair.port
            .impersonate(&message)
            .expect("impersonate")
            .revert()
            .expect("revert");
        assert_eq!(Me::now(), own);
    });
}

#[test]
fn an_anonymous_client_is_nobody_in_what_its_port_says_of_connections() {
    isolated(|| {
        let port = Create::named("security-race/server")
            .open()
            .run()
            .expect("create");
        let client = Peer::spawn(ALICE, |link| {
            let mut connect = Connect::to("security-race/server").asynchronous();
            connect.arg.security = ALPC_SECURITY_ANONYMOUS;
            let _client = connect.run().expect("connect").port;
            link.sync();
            link.sync();
        });
        client.sync();
        // Asking, connected, and gone.
        let nobody = || {
            let all = port.connections_usage();
            let seen: Vec<_> = all.iter().map(|it| (it.pid, it.uid, it.gid)).collect();
            assert_eq!(seen, [(0, 65534, 65534)]);
        };
        nobody();
        let asks = port.receive().expect("receive");
        let _server = Accept::new(asks.id).run(&port).expect("accept");
        nobody();
        client.sync();
        client.wait();
        nobody();
    });
}
