// SPDX-License-Identifier: MIT OR Apache-2.0

//! The harness itself: what fails must be seen to fail. Needs no module.

use std::os::fd::AsRawFd;
use std::time::Duration;

use alpc_tests::isolate::run;
use alpc_tests::memory::{unmapped, Pages, PAGE};
use alpc_tests::*;

fn failure(body: impl FnOnce()) -> String {
    run(body, Duration::from_secs(30)).expect_err("the body should have failed")
}

#[test]
fn programs_begin_with_no_signal_blocked() {
    // A shell that has SIGCHLD blocked never ends its `wait`.
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let blocked = status.lines().find(|line| line.starts_with("SigBlk:"));
    assert_eq!(blocked, Some("SigBlk:\t0000000000000000"));
}

#[test]
fn a_body_that_returns_passes() {
    isolated(|| {});
}

#[test]
fn a_panic_fails_with_its_message() {
    let said = failure(|| panic!("the reason"));
    assert!(
        said.contains("panicked") && said.contains("the reason"),
        "{said}"
    );
}

#[test]
fn a_signal_fails() {
    let said = failure(|| std::process::abort());
    assert!(said.contains("ended by signal 6"), "{said}");
}

#[test]
fn a_panic_of_a_peer_fails_with_name_and_message() {
    let said = failure(|| Peer::spawn(ROOT, |_| panic!("the peer's reason")).wait());
    assert!(
        said.contains("root: ") && said.contains("the peer's reason"),
        "{said}"
    );
}

#[test]
fn a_hang_is_ended_and_described() {
    let said = run(
        || {
            let _peer = Peer::spawn(ROOT, |link| link.sync());
            loop {
                std::thread::park();
            }
        },
        Duration::from_secs(1),
    )
    .expect_err("it hangs");
    assert!(said.contains("hung for 1 s"), "{said}");
    assert!(said.matches(" state S ").count() >= 2, "{said}");
}

#[test]
fn what_a_body_leaves_behind_is_killed() {
    isolated(|| {
        // A session of its own, out of reach of the group's signal.
        let peer = Peer::fork(ROOT, |_| {
            // SAFETY: No arguments.
            unsafe { libc::setsid() };
            loop {
                std::thread::park();
            }
        });
        std::mem::forget(peer);
    });
    assert_eq!(inspect::descendants(std::process::id() as i32), []);
}

#[test]
fn peers_exchange_order_numbers_and_descriptors() {
    isolated(|| {
        let peer = Peer::spawn(ROOT, |link| {
            link.sync();
            link.put(link.take() + 1);
            let file = std::fs::File::from(link.take_fd());
            let name = std::fs::read_link("/proc/self/exe").expect("exe");
            assert_eq!(
                file.metadata().expect("fstat").len(),
                name.metadata().expect("stat").len()
            );
        });
        peer.sync();
        peer.put(41);
        assert_eq!(peer.take(), 42);
        peer.put_fd(&std::fs::File::open("/proc/self/exe").expect("open"));
        peer.wait();
    });
}

#[test]
fn peers_are_who_they_should_be() {
    isolated(|| {
        for user in [ALICE, BOB.with_groups(&[77, 78])] {
            Peer::spawn(user, move |_| {
                let status = std::fs::read_to_string("/proc/self/status").expect("status");
                let line = |key| {
                    let line = status.lines().find(|l| l.starts_with(key)).expect(key);
                    let fields = line.split_whitespace().skip(1);
                    fields.map(|n| n.parse().expect(key)).collect::<Vec<u32>>()
                };
                assert_eq!(line("Uid:"), [user.uid; 4]);
                assert_eq!(line("Gid:"), [user.gid; 4]);
                assert_eq!(line("Groups:"), user.groups);
            })
            .wait();
        }
    });
}

#[test]
fn memory_fixtures_have_their_edges() {
    isolated(|| {
        let readable = |address: u64| {
            let (near, _far) = link::socketpair(libc::SOCK_STREAM);
            // SAFETY: The kernel checks the address.
            unsafe { libc::syscall(libc::SYS_write, near.as_raw_fd(), address, 1) == 1 }
        };
        let cliff = Pages::cliff();
        assert!(readable(cliff.end(1)));
        assert!(!readable(cliff.address() + PAGE as u64));
        assert!(readable(Pages::read_only(b"x").address()));
        assert!(!readable(unmapped()));
        for address in memory::HOSTILE {
            assert!(!readable(address), "{address:#x}");
        }
    });
}
