// SPDX-License-Identifier: MIT OR Apache-2.0

//! A request is received, and whoever has received it can't answer any more, while the port
//! lives on elsewhere: who waits for the answer is told. Who can still answer, still may.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use alpc_tests::files::pipe;
use alpc_tests::hang::Hang;
use alpc_tests::memory::PAGE;
use alpc_tests::pair::attach;
use alpc_tests::raw::*;
use alpc_tests::signals::tid;
use alpc_tests::wait::{eventually, settle};
use alpc_tests::*;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Takes a conversation over that another one has told of: its id and its turn.
fn take_over(port: &Port, id: u64, turn: u32, flags: u32) -> Result<(), Failure> {
    let mut transfer = Transfer::new().flags(ALPC_SEND | ALPC_ADOPT | flags);
    transfer.arg.send_id = id;
    transfer.arg.send_callback_id = turn;
    transfer.run(port)?;
    assert_ne!(transfer.arg.flags & ALPC_SENT, 0, "it is done");
    Ok(())
}

/// A message as somebody knows it who has been told its id, and begins at its first turn.
fn named(id: u64) -> Message {
    Message {
        id,
        callback_id: 0,
        kind: ALPC_TYPE_REQUEST,
        flags: 0,
        data: Vec::new(),
        pid: 0,
        tid: 0,
        uid: 0,
        gid: 0,
        port_context: 0,
        sequence: 0,
    }
}

/// Closes descriptors by their numbers, whoever owns them.
fn close(fds: &[&Port]) {
    for fd in fds {
        // SAFETY: The process ends soon, and uses none of them again.
        assert_eq!(unsafe { libc::close(fd.as_fd().as_raw_fd()) }, 0);
    }
}

/// A worker that has all descriptors of the test, in a table of its own. It receives one message,
/// says so, and goes on.
fn worker(pair: &Pair, goes_on: impl FnOnce(&Link, Message)) -> Peer {
    Peer::fork(ROOT, |link| {
        let message = pair.port.receive().expect("receive");
        link.put(message.id);
        goes_on(link, message);
    })
}

/// A call in a thread of its own, and something else meanwhile, which may end the call at once.
fn during<R: Send>(call: impl FnOnce() -> R + Send, meanwhile: impl FnOnce()) -> R {
    thread::scope(|scope| {
        let thread = scope.spawn(call);
        meanwhile();
        thread.join().expect("join")
    })
}

/// A request, and what comes of it, while a worker that has received it goes on and `meanwhile`
/// happens.
fn requested(
    pair: &Pair,
    goes_on: impl FnOnce(&Link, Message),
    meanwhile: impl FnOnce(Peer, u64),
) -> Result<Message, Failure> {
    let worker = worker(pair, goes_on);
    during(
        || pair.client.request(b"request"),
        || {
            let id = worker.take();
            meanwhile(worker, id);
        },
    )
}

/// Waits for what the test says, which is nothing.
fn stay(link: &Link, _message: Message) {
    link.take();
}

#[test]
fn who_waits_for_a_worker_that_is_killed_is_told() {
    isolated(|| {
        let pair = Pair::new();
        for _ in 0..3 {
            let result = requested(&pair, stay, |worker, _| worker.kill());
            assert_eq!(result.unwrap_err(), fail::LOST);
        }
        // The port lives on.
        let result = requested(
            &pair,
            |_, message| pair.port.reply(&message, b"reply").expect("reply"),
            Alone::wait,
        );
        assert_eq!(result.expect("reply").data, b"reply");
    });
}

/// A peer that ends as it should, whatever it has received.
trait Alone {
    fn wait(self, id: u64);
}

impl Alone for Peer {
    fn wait(self, _id: u64) {
        Peer::wait(self);
    }
}

#[test]
fn who_waits_for_a_worker_that_ends_by_itself_or_crashes_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let result = requested(&pair, |_, _| (), |worker, _| Peer::wait(worker));
        assert_eq!(result.unwrap_err(), fail::LOST);
        // With as much of a core dump as the machine makes.
        let crashes = |_: &Link, _: Message| std::process::abort();
        let result = requested(&pair, crashes, |worker, _| worker.aborted());
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn who_does_not_wait_gets_a_notice() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"request").expect("post");
        let worker = worker(&pair, stay);
        assert_eq!(worker.take(), id);
        worker.kill();
        let notice = pair.client.receive().expect("notice");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
    });
}

#[test]
fn who_goes_on_with_a_conversation_and_does_not_wait_gets_a_notice_too() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"request").expect("post");
        let message = pair.port.receive().expect("receive");
        pair.port.reply_open(&message, b"a part").expect("reply");
        let part = pair.client.receive().expect("reply");
        let worker = worker(&pair, stay);
        pair.client.reply_open(&part, b"the next").expect("reply");
        assert_eq!(worker.take(), id);
        worker.kill();
        let notice = pair.client.receive().expect("notice");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
    });
}

#[test]
fn a_worker_is_told_of_that_waits_with_its_reply_for_the_next() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            let mut message = pair.port.receive().expect("receive");
            loop {
                link.put(message.id);
                message = pair.port.reply_receive(&message, b"reply").expect("next");
                if message.data == b"last" {
                    break;
                }
            }
            link.put(message.id);
            link.take();
        });
        for _ in 0..20 {
            assert!(pair.client.request(b"request").is_ok());
            worker.take();
        }
        worker.until_asleep();
        let result = during(
            || pair.client.request(b"last"),
            || {
                worker.take();
                worker.kill();
            },
        );
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn a_worker_that_closes_its_last_descriptor_can_not_answer() {
    isolated(|| {
        let pair = Pair::new();
        let result = requested(
            &pair,
            |link, _| {
                close(&[&pair.port, &pair.server]);
                link.sync();
                link.take();
            },
            |worker, _| {
                worker.sync();
                worker.until_asleep();
                worker.kill();
            },
        );
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn a_worker_lives_on_and_the_end_of_its_descriptors_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let worker = worker(&pair, |link, _| {
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

#[test]
fn a_worker_answers_by_whichever_descriptor_it_has_left() {
    isolated(|| {
        let pair = Pair::new();
        let by_server = |_: &Link, message: Message| {
            close(&[&pair.port]);
            pair.server
                .reply(&message, b"by the server's")
                .expect("reply");
        };
        let result = requested(&pair, by_server, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by the server's");

        let by_port = |_: &Link, message: Message| {
            close(&[&pair.server]);
            pair.port.reply(&message, b"by the port").expect("reply");
        };
        let result = requested(&pair, by_port, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by the port");

        let by_duplicate = |_: &Link, message: Message| {
            let duplicate = pair.port.duplicate();
            close(&[&pair.port, &pair.server]);
            duplicate.reply(&message, b"by a duplicate").expect("reply");
        };
        let result = requested(&pair, by_duplicate, Alone::wait);
        assert_eq!(result.expect("reply").data, b"by a duplicate");
    });
}

#[test]
fn the_last_of_several_descriptors_counts() {
    isolated(|| {
        let pair = Pair::new();
        let closes: [fn(&Pair, &Port); 4] = [
            |pair, duplicate| close(&[&pair.port, &pair.server, duplicate]),
            |pair, duplicate| close(&[&pair.server, duplicate, &pair.port]),
            |pair, duplicate| close(&[duplicate, &pair.port, &pair.server]),
            |_, _| {
                // SAFETY: All but what the link needs; the process uses none of them again.
                let all = unsafe { libc::syscall(libc::SYS_close_range, 3, 2, 0) };
                assert_eq!(all, -1, "an empty range is refused");
                for fd in 3..200 {
                    let link = format!("/proc/self/fd/{fd}");
                    let is_port = std::fs::read_link(link)
                        .is_ok_and(|to| to.to_string_lossy().contains("[alpc-"));
                    if is_port {
                        // SAFETY: As above.
                        let closed = unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) };
                        assert_eq!(closed, 0);
                    }
                }
            },
        ];
        for close_all in closes {
            let worker = worker(&pair, |link, _| {
                let duplicate = pair.port.duplicate();
                link.sync();
                close_all(&pair, &duplicate);
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
        }
    });
}

#[test]
fn other_requests_of_the_worker_are_told_of_by_their_own_connection() {
    isolated(|| {
        let pair = Pair::new();
        let (server, client) = attach(&pair.port, 7);
        let first = pair.client.post(b"first").expect("post");
        let second = client.post(b"second").expect("post");
        let worker = Peer::fork(ROOT, |link| {
            for _ in 0..2 {
                pair.port.receive().expect("receive");
            }
            // Of the first it can answer still.
            close(&[&pair.port, &server]);
            link.sync();
            link.take();
            close(&[&pair.server]);
            link.take();
        });
        worker.sync();
        assert_eq!(client.receive().expect("notice").id, second);
        assert_eq!(pair.client.receive_now().unwrap_err(), fail::TIMED_OUT);
        worker.put(0);
        assert_eq!(pair.client.receive().expect("notice").id, first);
        worker.kill();
    });
}

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

#[test]
fn what_is_taken_over_is_the_new_holders() {
    isolated(|| {
        let pair = Pair::new();
        let second = Peer::fork(ROOT, |link| {
            let id = link.take();
            for (id, turn, failure) in [
                (id, 1, fail::STALE_TURN),
                (id + (1 << 24), 0, fail::NOT_FOUND),
            ] {
                let refused = take_over(&pair.port, id, turn, 0);
                assert_eq!(refused.unwrap_err(), failure);
            }
            assert_eq!(
                take_over(&pair.client, id, 0, 0).unwrap_err(),
                fail::NOT_OWNER
            );
            take_over(&pair.port, id, 0, 0).expect("adopt");
            link.sync();
            link.take();
            pair.server
                .reply(&named(id), b"by the heir")
                .expect("reply");
            let id = link.take();
            take_over(&pair.server, id, 0, 0).expect("adopt");
            link.sync();
            link.take();
        });
        let result = requested(&pair, stay, |first, id| {
            second.put(id);
            second.sync();
            first.kill();
            second.put(0);
        });
        assert_eq!(result.expect("reply").data, b"by the heir");
        let mut heir = Some(second);
        let result = requested(&pair, stay, |first, id| {
            let second = heir.take().expect("a second");
            second.put(id);
            second.sync();
            first.kill();
            second.kill();
        });
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn what_is_taken_over_by_who_can_not_answer_any_more_is_given_up() {
    isolated(|| {
        let pair = Pair::new();
        let second = Peer::fork(ROOT, |link| {
            let id = link.take();
            // The thread is in its call, and still reads the argument: the id's upper half.
            const HEAD: usize = std::mem::offset_of!(alpc_transfer, id) - 4;
            assert!(u32::try_from(id).is_ok());
            let hang = Hang::new(2);
            hang.fill(0..1);
            let address = hang.address() + (PAGE - HEAD) as u64;
            let arg = alpc_transfer {
                flags: ALPC_SEND | ALPC_ADOPT,
                send_id: id,
                ..Default::default()
            };
            // SAFETY: So many bytes of both are there.
            unsafe { (address as *mut u8).copy_from((&raw const arg).cast(), HEAD) };
            let fd = pair.port.as_fd().as_raw_fd();
            thread::scope(|scope| {
                let adopts = scope.spawn(move || {
                    // SAFETY: The argument is as long as the request says.
                    let result = unsafe {
                        let request = ALPC_IOCTL_SEND_WAIT_RECEIVE as libc::Ioctl;
                        libc::ioctl(fd, request, address)
                    };
                    (result, std::io::Error::last_os_error().raw_os_error())
                });
                hang.until_wanted();
                close(&[&pair.port, &pair.server]);
                hang.fill(1..2);
                let adopted = adopts.join().expect("join");
                assert_eq!(adopted, (-1, Some(libc::EBADF)));
            });
            link.sync();
            link.take();
        });
        let result = requested(&pair, stay, |first, id| {
            second.put(id);
            second.sync();
            first.kill();
            second.kill();
        });
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn a_request_for_adoption_is_all_there_is_to_it() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"request").expect("post");
        let message = pair.port.receive().expect("receive");
        for flags in [
            ALPC_ADOPT,
            ALPC_SEND | ALPC_ADOPT | ALPC_RELEASE,
            ALPC_SEND | ALPC_ADOPT | ALPC_SYNC | ALPC_RECEIVE,
            ALPC_SEND | ALPC_ADOPT | ALPC_DISCARD,
            ALPC_HOLD_THREAD,
            ALPC_SEND | ALPC_HOLD_THREAD,
        ] {
            let mut transfer = Transfer::new().flags(flags).into(&message);
            transfer.arg.flags = flags;
            let failure = transfer.run(&pair.port).unwrap_err();
            assert_eq!(failure.errno, libc::EINVAL, "{flags:#x}");
        }
        let mut with_data = Transfer::new().send(b"data").into(&message);
        with_data.arg.flags = ALPC_SEND | ALPC_ADOPT;
        assert_eq!(with_data.run(&pair.port).unwrap_err().errno, libc::EINVAL);
        let mut of_nothing = Transfer::new().flags(ALPC_SEND | ALPC_ADOPT);
        assert_eq!(of_nothing.run(&pair.port).unwrap_err().errno, libc::EINVAL);
        // With the next message behind it.
        pair.client.one_way(b"next").expect("send");
        let mut transfer = Transfer::new().into(&message).receive();
        transfer.arg.flags |= ALPC_SEND | ALPC_ADOPT;
        assert_eq!(transfer.run(&pair.port).expect("next").data, b"next");
        pair.port.reply(&message, b"reply").expect("reply");
        assert_eq!(pair.client.receive().expect("reply").id, id);
    });
}

#[test]
fn a_conversation_ends_with_its_thread_if_that_is_asked_for() {
    isolated(|| {
        let pair = Pair::new();
        for (flags, told) in [(0, false), (ALPC_HOLD_THREAD, true)] {
            let id = pair.client.post(b"request").expect("post");
            let message = thread::scope(|scope| {
                scope
                    .spawn(|| Transfer::new().receive().flags(flags).run(&pair.port))
                    .join()
            });
            let message = message.expect("join").expect("receive");
            assert_eq!(message.id, id);
            match told {
                true => {
                    let notice = pair.client.receive().expect("notice");
                    assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
                    let failure = pair.port.reply(&message, b"reply").unwrap_err();
                    assert_eq!(failure, fail::NOT_FOUND);
                }
                false => {
                    settle();
                    pair.port.reply(&message, b"reply").expect("reply");
                    assert_eq!(pair.client.receive().expect("reply").data, b"reply");
                }
            }
        }
    });
}

#[test]
fn a_thread_that_lives_answers_what_ends_with_it() {
    isolated(|| {
        let pair = Pair::new();
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                for _ in 0..100 {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    let message = transfer.run(&pair.port).expect("receive");
                    pair.port.reply(&message, b"reply").expect("reply");
                }
                // What it takes over goes with it, too.
                let message = pair.port.receive().expect("receive");
                take_over(&pair.port, message.id, 0, ALPC_HOLD_THREAD).expect("adopt");
            });
            for _ in 0..100 {
                assert_eq!(
                    pair.client.request(b"request").expect("reply").data,
                    b"reply"
                );
            }
            assert_eq!(pair.client.request(b"last").unwrap_err(), fail::LOST);
            server.join().expect("join");
        });
    });
}

#[test]
fn many_threads_end_with_what_they_hold() {
    isolated(|| {
        let pair = Pair::new();
        let threads = rounds(100).max(5);
        let ids: Vec<u64> = (0..threads)
            .map(|_| pair.client.post(b"request").expect("post"))
            .collect();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    transfer.run(&pair.port).expect("receive");
                });
            }
        });
        let mut told: Vec<u64> = ids
            .iter()
            .map(|_| {
                let notice = pair.client.receive().expect("notice");
                assert_eq!(notice.kind, ALPC_TYPE_LOST_REPLY);
                notice.id
            })
            .collect();
        told.sort_unstable();
        let mut ids = ids;
        ids.sort_unstable();
        assert_eq!(told, ids);
    });
}

#[test]
fn one_thread_too_many_is_told_the_limit_and_the_message_stays() {
    isolated(|| {
        let pair = &Pair::new();
        thread::scope(|scope| {
            // Those that hold something, which end with this.
            let mut held = Vec::new();
            let failure = loop {
                pair.server.post(b"question").expect("post");
                let (tell, told) = channel();
                let (keep, kept) = channel::<()>();
                scope.spawn(move || {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    tell.send(transfer.run(&pair.client).err()).expect("tell");
                    let _ = kept.recv();
                });
                match told.recv_timeout(LIMIT).expect("a thread that tells") {
                    None => held.push(keep),
                    Some(failure) => break failure,
                }
            };
            assert_eq!(failure, fail::LIMIT);
            // One more is that of the process.
            assert_eq!(held.len(), 63);
            let message = pair.client.receive().expect("receive");
            pair.client.reply(&message, b"answer").expect("reply");
        });
    });
}

#[test]
fn a_thread_ends_with_what_it_holds_at_several_ports() {
    isolated(|| {
        let pairs: Vec<Pair> = (0..20).map(|_| Pair::new()).collect();
        let ids: Vec<u64> = pairs
            .iter()
            .map(|pair| pair.client.post(b"request").expect("post"))
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for pair in &pairs {
                    let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
                    let message = transfer.run(&pair.port).expect("receive");
                    assert_eq!(message.kind, ALPC_TYPE_REQUEST);
                }
            });
        });
        for (pair, id) in pairs.iter().zip(ids) {
            let notice = pair.client.receive().expect("notice");
            assert_eq!((notice.kind, notice.id), (ALPC_TYPE_LOST_REPLY, id));
        }
    });
}

#[test]
fn a_process_ends_with_what_its_threads_hold() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            let mut transfer = Transfer::new().receive().flags(ALPC_HOLD_THREAD);
            transfer.run(&pair.port).expect("receive");
            link.put(0);
            link.take();
        });
        let failure = during(
            || pair.client.request(b"request"),
            || {
                worker.take();
                worker.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
    });
}

#[test]
fn a_client_whose_request_for_a_connection_nobody_holds_any_more_is_refused() {
    isolated(|| {
        let pair = Pair::new();
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        let worker = worker(&pair, stay);
        let failure = during(
            || Connect::new(None).run_on(&through).map(|_| ()),
            || {
                worker.take();
                worker.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::REFUSED);
        // There is nothing left to be answered, and the next one is served.
        let (_server, _client) = attach(&pair.port, 1);
    });
}

#[test]
fn requests_for_a_connection_that_are_lost_take_no_place_of_those_to_come() {
    isolated_long(2, || {
        let pair = Pair::with(Create::anonymous().open());
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        let client = Peer::fork(ALICE, |link| {
            let many = || -> Vec<_> {
                (0..400)
                    .map(|_| {
                        let mut connect = Connect::new(None).asynchronous();
                        connect.run_on(&through).expect("a place")
                    })
                    .collect()
            };
            let lost = many();
            link.sync();
            link.sync();
            // Nobody has more places than are free.
            drop((many(), lost));
        });
        client.sync();
        // Who receives them ends before the client goes on.
        let worker = Peer::fork(ROOT, |_| {
            for _ in 0..400 {
                pair.port.receive().expect("receive");
            }
        });
        Peer::wait(worker);
        client.sync();
        Peer::wait(client);
    });
}

#[test]
fn a_server_whose_question_a_client_takes_into_its_grave_is_told() {
    isolated(|| {
        let pair = Pair::new();
        let client = Peer::fork(ROOT, |link| {
            let message = pair.client.receive().expect("receive");
            link.put(message.id);
            link.take();
        });
        let failure = during(
            || pair.server.request(b"question"),
            || {
                client.take();
                client.kill();
            },
        )
        .unwrap_err();
        assert_eq!(failure, fail::LOST);
        // The connection is there still.
        pair.client.one_way(b"still").expect("send");
        assert_eq!(pair.port.receive().expect("receive").data, b"still");
    });
}

#[test]
fn what_a_thread_receives_whose_process_has_closed_the_port_stays_for_others() {
    isolated(|| {
        let pair = Pair::new();
        let worker = Peer::fork(ROOT, |link| {
            thread::scope(|scope| {
                let (sender, receiver) = std::sync::mpsc::channel();
                let port = &pair.port;
                let waits = scope.spawn(move || {
                    sender.send(tid()).expect("send");
                    port.receive()
                });
                let tid = receiver.recv().expect("a thread");
                eventually(|| inspect::thread_sleeps(tid));
                close(&[&pair.port, &pair.server]);
                link.sync();
                let failure = waits.join().expect("join").unwrap_err();
                assert_eq!(failure.errno, libc::EBADF);
            });
        });
        worker.sync();
        let id = pair.client.post(b"request").expect("post");
        Peer::wait(worker);
        let message = pair.port.receive().expect("receive");
        assert_eq!((message.id, message.data.as_slice()), (id, &b"request"[..]));
        pair.port.reply(&message, b"reply").expect("reply");
        assert_eq!(pair.client.receive().expect("reply").data, b"reply");
    });
}

#[test]
fn workers_killed_at_any_moment_leave_nobody_waiting() {
    isolated_long(2, || {
        let pair = Pair::new();
        let mut outcomes = [0u32; 2];
        for round in 0..rounds(60).max(10) {
            let worker = Peer::fork(ROOT, |_| {
                let mut message = pair.port.receive().expect("receive");
                loop {
                    message = pair.port.reply_receive(&message, b"reply").expect("next");
                }
            });
            let killer = thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_micros(round * 37 % 3000));
                    // SAFETY: A child that is not reaped yet.
                    unsafe { libc::kill(worker.pid(), libc::SIGKILL) };
                });
                let calls = scope.spawn(|| {
                    let mut answered = 0;
                    loop {
                        // With a worker that is gone it would wait for the next one.
                        let mut transfer = Transfer::new().send(b"request").receive();
                        transfer = transfer.flags(ALPC_SYNC).timeout(100_000_000);
                        match transfer.run(&pair.client) {
                            Ok(_) => answered += 1,
                            Err(failure) => return (answered, failure),
                        }
                    }
                });
                killer.join().expect("join");
                calls.join().expect("join")
            });
            drop(worker);
            outcomes[usize::from(killer.1 == fail::LOST)] += 1;
            assert!(
                killer.1 == fail::LOST || killer.1 == fail::TIMED_OUT_SENT,
                "{:?}",
                killer.1
            );
            // What it had not received is here, or has been cancelled.
            while pair.port.receive_now().is_ok() {}
        }
        eprintln!("queued, lost: {outcomes:?}");
        let left = pair.client.query_port().expect("query").conversations;
        assert_eq!(left, 0);
    });
}
