// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles in the children of the process that made them.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use alpc::{Client, Port, PortBuilder, Server, ServerPort, State};
use alpc_tests::privilege::unshare;
use alpc_tests::{eventually, inspect, isolated, rounds, Peer, ROOT};

use super::pair;

type All = (Server, ServerPort, Client);

/// Whether all three still have their connection, and a message goes through it.
fn is_connected((server, port, client): &All) -> bool {
    let open = |port: &Port| port.query().expect("query").state == State::Open;
    client.send(b"x").is_ok()
        && server.receive(&mut [0; 64]).is_ok()
        && [&**server, port, client].into_iter().all(open)
}

/// Whether dropping a handle disconnects the port. A second descriptor keeps it from being closed.
fn drop_disconnects(handle: Server) -> bool {
    let second = handle.as_fd().try_clone_to_owned().expect("a duplicate");
    drop(handle);
    is_disconnected(second)
}

fn is_disconnected(port: OwnedFd) -> bool {
    let port = Port::from(port);
    let state = port.query().expect("query").state;
    drop(port.into_fd());
    state == State::Disconnected
}

fn anonymous() -> Server {
    PortBuilder::anonymous().create().expect("create")
}

/// Ends the process that a fork has made, if this is it, after `body`. The parent waits for it, and
/// says whether it has come to its end.
fn in_child(pid: i64, body: impl FnOnce()) -> bool {
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        body();
        // SAFETY: Ends the process.
        unsafe { libc::_exit(0) }
    }
    let mut status = 0;
    // SAFETY: A live status word.
    let waited = unsafe { libc::waitpid(pid as i32, &mut status, 0) };
    i64::from(waited) == pid && status == 0
}

fn fork() -> i64 {
    // SAFETY: The child uses its own copy of everything, and ends with _exit.
    i64::from(unsafe { libc::fork() })
}

/// Without anything that a C library does at a fork.
fn raw_clone() -> i64 {
    // SAFETY: As above.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }
}

/// Without the handlers of `pthread_atfork`.
fn bare_fork() -> i64 {
    extern "C" {
        fn _Fork() -> libc::pid_t;
    }
    // SAFETY: As above.
    i64::from(unsafe { _Fork() })
}

/// Makes a process of this number.
fn clone_as(number: i32) -> i64 {
    let set_tid = [number];
    // Up to set_tid_size, in 64-bit words.
    let mut arguments = [0_u64; 10];
    arguments[4] = libc::SIGCHLD as u64;
    arguments[8] = set_tid.as_ptr() as u64;
    arguments[9] = 1;
    let size = size_of_val(&arguments);
    // SAFETY: Live arguments; the child as above.
    unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size) }
}

#[test]
fn a_child_that_drops_its_copies_disconnects_nothing_however_it_was_made() {
    isolated(|| {
        for make in [fork, raw_clone, bare_fork] {
            let mut all = Some(pair());
            assert!(in_child(make(), || drop(all.take())));
            assert!(is_connected(all.as_ref().expect("the parent's")));
            // And of its own it is the maker.
            let mut server = Some(anonymous());
            assert!(in_child(make(), || {
                assert!(drop_disconnects(anonymous()));
                assert!(in_child(make(), || drop(server.take())));
                let inherited = server.take().expect("the parent's");
                assert!(!drop_disconnects(inherited));
            }));
            assert!(drop_disconnects(server.expect("the parent's")));
        }
    });
}

#[test]
fn a_child_of_vfork_changes_nothing_for_its_parent() {
    extern "C" fn end(_: *mut libc::c_void) -> i32 {
        0
    }
    isolated(|| {
        let (all, server) = (pair(), anonymous());
        let mut stack = vec![0_u64; 8192];
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: The child has that stack while this thread waits, and touches nothing else.
        let pid = unsafe {
            let top = stack.as_mut_ptr_range().end;
            libc::clone(end, top.cast(), flags, std::ptr::null_mut())
        };
        assert!(in_child(i64::from(pid), || ()));
        // By posix_spawn.
        let spawned = Command::new("/proc/self/exe")
            .arg("--list")
            .stdout(Stdio::null())
            .status();
        assert!(spawned.expect("spawn").success());
        assert!(is_connected(&all));
        assert!(drop_disconnects(server));
    });
}

#[test]
fn the_first_process_of_a_namespace_isnt_that_of_the_one_around_it() {
    isolated(|| {
        Peer::fork(ROOT, |_| {
            unshare(libc::CLONE_NEWPID);
            Peer::fork(ROOT, |_| {
                assert_eq!(std::process::id(), 1);
                let mut all = Some(pair());
                unshare(libc::CLONE_NEWPID);
                assert!(in_child(fork(), || {
                    assert_eq!(std::process::id(), 1);
                    drop(all.take());
                }));
                assert!(is_connected(all.as_ref().expect("the parent's")));
            })
            .wait();
        })
        .wait();
    });
}

#[test]
fn a_process_with_the_number_of_a_dead_maker_isnt_the_maker() {
    isolated(|| {
        let (ours, theirs) = alpc_tests::Link::pair();
        let maker = Peer::fork(ROOT, move |_| {
            let mut all = Some(pair());
            let number = std::process::id() as i32;
            if fork() != 0 {
                // It dies without a word.
                return std::mem::forget(all);
            }
            // The test itself takes the dead maker's number back.
            theirs.sync();
            assert!(in_child(clone_as(number), || {
                assert_eq!(std::process::id() as i32, number);
                drop(all.take());
            }));
            assert!(is_connected(all.as_ref().expect("the parent's")));
            theirs.put(1);
            // SAFETY: Ends the process.
            unsafe { libc::_exit(0) }
        });
        let number = maker.pid();
        maker.wait();
        eventually(|| !std::path::Path::new(&format!("/proc/{number}")).exists());
        assert!(inspect::has_ended(number));
        ours.sync();
        assert_eq!(ours.take(), 1);
    });
}

#[test]
fn threads_of_a_child_agree_on_who_they_are() {
    const THREADS: usize = 6;
    isolated(|| {
        let inherited = anonymous();
        for _ in 0..rounds(50) {
            assert!(in_child(fork(), || {
                let start = Barrier::new(THREADS);
                let made: Vec<Server> = thread::scope(|scope| {
                    let make = || {
                        start.wait();
                        anonymous()
                    };
                    let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(make)).collect();
                    let joined = threads.into_iter().map(|thread| thread.join());
                    joined.map(|made| made.expect("join")).collect()
                });
                assert!(made.into_iter().all(drop_disconnects));
            }));
        }
        assert!(drop_disconnects(inherited));
    });
}
