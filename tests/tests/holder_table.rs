// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which process holds a request that has been received: whoever has the table of descriptors.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use alpc_tests::files::pipe;
use alpc_tests::raw::*;
use alpc_tests::wait::settle;
use alpc_tests::worker::{close, during, requested, worker, Alone};
use alpc_tests::*;

#[test]
fn a_child_may_answer_and_the_end_of_its_parent_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let answered = |_: &Link, message: Message| {
            let child = Peer::fork(ROOT, |_| {
                pair.port.reply(&message, b"by a child").expect("reply");
            });
            Peer::wait(child);
        };
        let result = requested(&pair, answered, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by a child");

        let result = requested(
            &pair,
            |link, _| {
                let child = Peer::fork(ROOT, |link| {
                    // It goes on without its parent.
                    prctl_off();
                    link.sync();
                    std::thread::sleep(std::time::Duration::from_secs(3));
                });
                child.sync();
                link.take();
            },
            |worker, _| {
                worker.until_asleep();
                worker.kill();
            },
        );
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

/// Outlives the parent.
fn prctl_off() {
    // SAFETY: Takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }, 0);
}

/// A pipe that is full.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe();
    // SAFETY: A live descriptor, and a buffer of that length.
    unsafe {
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        while libc::write(writer.as_raw_fd(), [0u8; 4096].as_ptr().cast(), 4096) > 0 {}
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, 0);
    }
    (reader, writer)
}

/// Becomes a program that waits until somebody reads what it writes.
fn exec_and_wait(output: &OwnedFd) {
    let args = [
        c"/proc/self/exe".as_ptr(),
        c"--list".as_ptr(),
        std::ptr::null(),
    ];
    // SAFETY: Live descriptors and strings.
    unsafe {
        libc::dup2(output.as_raw_fd(), 1);
        libc::dup2(output.as_raw_fd(), 2);
        libc::execv(c"/proc/self/exe".as_ptr(), args.as_ptr());
    }
    panic!("exec: {}", std::io::Error::last_os_error());
}

#[test]
fn a_program_that_a_worker_becomes_holds_on_if_it_has_the_descriptors() {
    isolated(|| {
        let pair = Pair::new();
        let (reader, writer) = full_pipe();
        // They are closed on exec.
        let gone = worker(&pair, |_, _| exec_and_wait(&writer));
        let failure = during(
            || pair.client.request(b"request"),
            || {
                gone.take();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        gone.kill();

        let stays = worker(&pair, |_, _| {
            // SAFETY: A live descriptor.
            unsafe { libc::fcntl(pair.port.as_fd().as_raw_fd(), libc::F_SETFD, 0) };
            exec_and_wait(&writer);
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                stays.take();
                stays.until_asleep();
                assert_eq!(pair.client.query_port().expect("query").conversations, 1);
                stays.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        drop((reader, writer));
    });
}

#[test]
fn a_thread_with_a_table_of_its_own_does_not_hold_what_its_process_has_received() {
    isolated(|| {
        let pair = Pair::new();
        let worker = worker(&pair, |link, _| {
            let (sender, receiver) = std::sync::mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(move || {
                    // SAFETY: Takes a number.
                    assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
                    sender.send(()).expect("send");
                    loop {
                        thread::park();
                    }
                });
                receiver.recv().expect("a thread");
                link.sync();
                // Only the other's are left.
                close(&[&pair.port, &pair.server]);
            });
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                worker.take();
                worker.sync();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        worker.kill();
    });
}

/// A process that shares the caller's table of descriptors, but not its memory.
fn sharer(body: impl FnOnce()) -> i32 {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: As fork, but for the table.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } as i32;
    if pid == 0 {
        body();
        // SAFETY: Ends the process without a look at what it shares.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0, "clone: {}", std::io::Error::last_os_error());
    pid
}

#[test]
fn whoever_shares_the_table_holds_as_well() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            let pid = sharer(|| {
                let message = pair.port.receive().expect("receive");
                link.put(message.id);
            });
            let mut status = 0;
            // SAFETY: A child of ours.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0);
            link.sync();
            link.take();
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                worker.take();
                worker.sync();
                settle();
                assert_eq!(pair.client.query_port().expect("query").conversations, 1);
                worker.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
    });
}

#[test]
fn a_descriptor_under_way_is_not_the_workers() {
    isolated(|| {
        let pair = Pair::new();
        let worker = worker(&pair, |link, _| {
            let (end, _other) = Link::pair();
            end.put_fd(&pair.port);
            link.sync();
            close(&[&pair.port, &pair.server]);
            link.take();
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                worker.take();
                worker.sync();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        worker.kill();
    });
}
