// SPDX-License-Identifier: MIT OR Apache-2.0

//! Nobody waits for a stranger's file system: not to have handles closed, and not with what a dead
//! client has left.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use alpc_tests::fuse::{self, Control, Mounted};
use alpc_tests::hang::Hang;
use alpc_tests::module::{load, unload, unload_soon};
use alpc_tests::raw::*;
use alpc_tests::starve::{pin, two_processors, Hogs, Pattern, STRANGERS};
use alpc_tests::*;

/// How long anything may take that a stranger has no part in, on a busy host.
const BOUND: Duration = Duration::from_secs(5);

/// Waits until `done` says so, for no longer than the bound: whether it has.
fn within_the_bound(mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < BOUND {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

// ---------------------------------------------------------------- closing handles

const HONEST: &str = "fuse/honest";

/// Connections that files are sent on, and messages on each.
const CONNECTIONS: usize = 6;
const MESSAGES: usize = 200;

/// Takes files from everybody.
fn honest_server() -> Port {
    let create = Create::named(HONEST).open().takes(ALPC_TAKE_HANDLES, 0);
    { create }.run().expect("create")
}

/// Sends so many files of a file system, one in each message.
fn send_files(client: &Port, count: usize) {
    for _ in 0..count {
        let file: OwnedFd = fuse::open(0, 0).into();
        let mut one = HandleContainer::one(&file);
        client.one_way_with(&mut one).expect("send");
    }
}

/// Changes such a file, and keeps its file system from writing that.
fn never_close(changed: &mut File, control: Control) {
    changed.write_all(b"changed").expect("write");
    control.hold(0, &[fuse::WRITE]);
}

/// Sends files of its own, whose closing does not end until its file system writes what it has
/// changed: never.
fn sends_files(control: Control, connections: usize, messages: usize) -> impl FnOnce(&Link) {
    move |link| {
        let connect = |_| Connect::to(HONEST).run().expect("connect").port;
        let clients: Vec<_> = (0..connections).map(connect).collect();
        let mut changed = fuse::open(0, 0);
        for client in &clients {
            send_files(client, messages);
        }
        never_close(&mut changed, control);
        // What has been sent is there to be received.
        drop(clients);
        link.sync();
        link.take();
    }
}

/// Accepts so many connections.
fn accepted(port: &Port, connections: usize) -> Vec<Port> {
    (0..connections).map(|_| views::accept(port)).collect()
}

/// Receives so many messages, whose handles are closed.
fn drops_handles(port: &Port, messages: usize) {
    for _ in 0..messages {
        let message = port.receive().expect("receive");
        assert_eq!(message.kind, ALPC_TYPE_DATAGRAM);
    }
}

/// How long it takes, if it ends, until a pipe is closed that one process of a user sends to
/// another one, which does not claim it.
fn hang_up() -> Option<Duration> {
    let pair = Pair::with_handles(0);
    let (reader, writer) = files::pipe();
    let sender = Peer::fork(ROOT, |_| {
        let sent = pair.client.one_way_with(&mut HandleContainer::one(&writer));
        sent.expect("send");
    });
    drop(writer);
    sender.wait();
    let begun = Instant::now();
    pair.port.receive().expect("receive");
    let closed = wait::poll_within(&reader, libc::POLLIN, BOUND);
    (closed & libc::POLLHUP != 0).then(|| begun.elapsed())
}

/// The kernel makes one worker after the other, as those that there are wait.
fn until_no_more_workers_come() {
    let workers = || inspect::processes_named("kworker").len();
    let mut before = 0;
    while workers() > before {
        before = workers();
        std::thread::sleep(Duration::from_millis(300));
    }
    note!("{before} workers");
}

#[test]
fn files_that_are_never_closed_do_not_stop_the_closing_of_others() {
    isolated_long(2, || {
        let control = Control::new();
        let port = honest_server();
        let stranger = Peer::spawn(CAROL, |link| {
            link.sync();
            let before = hang_up().expect("a hang-up without a stranger");
            link.sync();
            link.sync();
            let after = hang_up();
            let used = user_usage(CAROL.uid, 0).expect("usage").handles.used;
            note!("closed after {before:?}; beside files that are never closed: {after:?}");
            link.put(u64::from(after.is_some()));
            link.put(used.into());
        });
        stranger.sync();
        stranger.sync();
        let sender = sends_files(control, CONNECTIONS, MESSAGES);
        let (attacker, _) = fuse::user_of(MALLORY, Mounted::Alone, control, sender);
        let servers = accepted(&port, CONNECTIONS);
        attacker.sync();
        drops_handles(&port, CONNECTIONS * MESSAGES);
        eventually(|| control.waiting() > 0);
        until_no_more_workers_come();
        stranger.sync();
        let (closed, used) = (stranger.take(), stranger.take());
        // What waits is let go of, whatever has come of it.
        control.answer_all();
        assert_eq!(closed, 1, "a stranger's pipe is not closed");
        assert_eq!(used, 0, "handles that a stranger is charged for");
        stranger.wait();
        drop(servers);
    });
}

#[test]
fn a_file_that_is_never_closed_does_not_hold_who_unloads_the_module() {
    isolated_long(2, || {
        let control = Control::new();
        let port = honest_server();
        let sender = sends_files(control, 1, 1);
        let (attacker, _) = fuse::user_of(MALLORY, Mounted::Alone, control, sender);
        let servers = accepted(&port, 1);
        attacker.sync();
        drops_handles(&port, 1);
        eventually(|| control.waiting() > 0);
        drop((servers, port));
        wait::settle();
        let page = Shared::new();
        let unloader = Peer::spawn(ROOT, |_| {
            let result = unload();
            page[0].store(1, std::sync::atomic::Ordering::SeqCst);
            assert!(
                [Ok(()), Err(libc::EWOULDBLOCK)].contains(&result),
                "{result:?}"
            );
        });
        let answered = within_the_bound(|| page[0].load(std::sync::atomic::Ordering::SeqCst) == 1);
        control.answer_all();
        unloader.wait();
        if inspect::module_references().is_some() {
            unload_soon();
        }
        load().expect("load");
        assert!(answered, "unloading waits for a file of a user's");
    });
}

/// A user of a container's.
const fn inside(uid: u32) -> User {
    User {
        name: "inside",
        uid,
        gid: uid,
        groups: &[],
    }
}

/// Two user namespaces of the caller's with these ids. In the first one more users than there are
/// places for have files that never close; in the other one somebody hangs up.
fn closes_in_a_namespace_beside(hostile: &'static str, other: &'static str) {
    const USERS: usize = 9;
    const EACH: usize = 6;
    let control = Control::new();
    let port = honest_server();
    let other = privilege::nested(other, 0, |link| {
        inside(7).become_it();
        let before = hang_up().expect("a hang-up without a stranger");
        link.sync();
        link.sync();
        let after = hang_up();
        note!("closed after {before:?}; beside another namespace's files: {after:?}");
        link.put(u64::from(after.is_some()));
        link.take();
    });
    other.sync();
    let attacker = fuse::in_namespace(hostile, control, move |link| {
        let mut changed = fuse::open(0, 0);
        let users: Vec<_> = (1..=USERS as u32)
            .map(|uid| {
                Peer::fork(inside(uid), |link| {
                    let client = Connect::to(HONEST).run().expect("connect").port;
                    link.sync();
                    // All are to be accepted before the first message comes.
                    link.sync();
                    send_files(&client, EACH);
                    link.sync();
                    link.take();
                })
            })
            .collect();
        for _ in 0..3 {
            users.iter().for_each(|user| user.sync());
        }
        never_close(&mut changed, control);
        link.sync();
        link.take();
    });
    let servers = accepted(&port, USERS);
    attacker.sync();
    drops_handles(&port, USERS * EACH);
    eventually(|| control.waiting() > 0);
    until_no_more_workers_come();
    other.sync();
    let closed = other.take();
    control.answer_all();
    assert_eq!(closed, 1, "a stranger's pipe is not closed");
    drop(servers);
}

#[test]
fn namespaces_of_one_owner_do_not_stop_the_closing_of_each_others_files() {
    isolated_long(2, || {
        closes_in_a_namespace_beside("0 100000 1000", "0 200000 1000");
    });
}

#[test]
fn nor_do_namespaces_within_the_same_one() {
    isolated_long(2, || {
        let outer = privilege::nested("0 100000 10000", 0, |link| {
            closes_in_a_namespace_beside("0 1000 1000", "0 2000 1000");
            link.put(1);
        });
        assert_eq!(outer.take(), 1);
    });
}

#[test]
fn files_that_are_sent_on_anothers_connection_do_not_stop_the_closing_of_its_own() {
    isolated_long(2, || {
        const FILES: usize = 6;
        let control = Control::new();
        let port = honest_server();
        let before = hang_up().expect("a hang-up without a stranger");
        let (attacker, _) = fuse::user_of(MALLORY, Mounted::Alone, control, move |link| {
            let client: Port = link.take_fd().into();
            let mut changed = fuse::open(0, 0);
            send_files(&client, FILES);
            never_close(&mut changed, control);
            link.sync();
            link.take();
        });
        let (client, _server) = std::thread::scope(|scope| {
            let asked = scope.spawn(|| Connect::to(HONEST).run().expect("connect").port);
            let server = views::accept(&port);
            (asked.join().expect("a connection"), server)
        });
        attacker.put_fd(&client);
        attacker.sync();
        drops_handles(&port, FILES);
        eventually(|| control.waiting() > 0);
        until_no_more_workers_come();
        let after = hang_up();
        control.answer_all();
        note!(
            "closed after {before:?}; beside files sent where this user has connected: {after:?}"
        );
        assert!(after.is_some(), "a pipe of who has connected is not closed");
    });
}

// ------------------------------------------------------- what a dead client leaves

const NAME: &str = "fuse/memory";

/// Ends a process that is no child of this one, and waits until that is over. One that has its end
/// to itself may wait in that for its own file system: so nobody waits for long.
///
/// Nothing of it is read in `/proc`: who does that uses its memory, and may be the last to do so.
fn kill(process: i32) {
    // SAFETY: Takes no pointer; the result is a descriptor of this test's own, if it is one.
    let pidfd = unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, process, 0);
        assert!(pidfd >= 0, "pidfd_open");
        OwnedFd::from_raw_fd(pidfd as i32)
    };
    // SAFETY: A process of this test's.
    assert_eq!(unsafe { libc::kill(process, libc::SIGKILL) }, 0);
    wait::poll_within(&pidfd, libc::POLLIN, Duration::from_millis(300));
}

/// A server that reads all memory that one request after the other offers, and says each time when
/// a read has begun, and when it has ended.
fn reader(length: usize) -> Peer {
    let server = Peer::spawn(BOB, move |link| {
        pin(STRANGERS);
        let port = Create::named(NAME).open().taking_memory().run();
        let port = port.expect("create");
        let mut room = vec![0_u8; length];
        link.sync();
        loop {
            let message = port.receive().expect("receive");
            match message.kind {
                ALPC_TYPE_CONNECTION_REQUEST => {
                    let server = Accept::new(message.id).run(&port).expect("accept");
                    std::mem::forget(server);
                }
                ALPC_TYPE_REQUEST => {
                    let mut arg = memory_argument(&message, 0, ALPC_MEMORY_READ);
                    (arg.data, arg.length) = (room.as_mut_ptr() as u64, length as u64);
                    link.put(0);
                    let _ = memory_as_is(&port, &mut arg);
                    link.put(1);
                }
                _ => {}
            }
        }
    });
    server.sync();
    server
}

/// Offers memory in a call without end.
fn offers(start: *const u8, length: usize) {
    let client = Connect::to(NAME).run().expect("connect").port;
    let ranges = Ranges::of(&[(start as u64, length, ALPC_MEMORY_READ)]);
    let _ = Transfer::offering(&ranges).run(&client);
}

/// Kills the client while the server reads, and says whether the server goes on.
fn survives(control: Control, server: &Peer, client: i32, after_its_death: impl FnOnce()) -> bool {
    kill(client);
    after_its_death();
    let goes_on = wait::poll_within(&**server, libc::POLLIN, BOUND) != 0;
    if !goes_on {
        let stuck = inspect::describe(&[server.pid()]);
        note!("the server of a client that has died is in\n{stuck}");
        server.signal(libc::SIGKILL);
        let ended = within_the_bound(|| inspect::has_ended(server.pid()));
        note!("killed, it {}", if ended { "ends" } else { "lives on" });
        control.answer_all();
    }
    goes_on
}

/// The client has a read under way, and offers a page of another file.
#[test]
fn a_read_of_a_dead_client_that_never_ends_is_not_its_servers() {
    isolated(|| {
        let (control, server) = (Control::new(), reader(4096));
        control.hold(0, &[fuse::READ]);
        control.hold(1, &[fuse::READ]);
        let (_attacker, client) = fuse::user_of(MALLORY, Mounted::ByRoot, control, |_| {
            fuse::begin_to_read(&fuse::open(0, libc::O_DIRECT));
            offers(fuse::map(&fuse::open(1, 0)), 4096);
        });
        assert_eq!(server.take(), 0);
        // The read under way, and the page that the server wants.
        eventually(|| control.waiting() == 2);
        assert!(survives(control, &server, client, || control.answer(1)));
    });
}

#[test]
fn what_a_dead_client_has_changed_in_a_file_is_not_written_by_its_server() {
    isolated(|| {
        let (control, server) = (Control::new(), reader(4096));
        control.hold(0, &[fuse::WRITE]);
        control.hold(1, &[fuse::READ]);
        let (_attacker, client) = fuse::user_of(MALLORY, Mounted::ByRoot, control, |_| {
            let changed = fuse::map(&fuse::open(0, 0));
            // SAFETY: A byte of this process's own mapping.
            unsafe { changed.write_volatile(7) };
            offers(fuse::map(&fuse::open(1, 0)), 4096);
        });
        assert_eq!(server.take(), 0);
        eventually(|| control.waiting() == 1);
        assert!(survives(control, &server, client, || control.answer(1)));
    });
}

/// How often a client is killed while the server puts its pages in.
const ATTEMPTS: usize = 5;

#[test]
fn a_dead_clients_huge_pages_are_put_in_with_nothing_of_it_left_to_the_server() {
    const LENGTH: usize = 128 << 20;
    if !two_processors() {
        // The hogs would take it from the test as well.
        note!("not tried: one processor");
        return;
    }
    isolated_long(2, || {
        let server = reader(LENGTH);
        // It loses its processor again and again, also while it puts in pages.
        let hogs = Hogs::spawn(Pattern {
            hogs: 5,
            ..Pattern::LONG
        });
        hogs.begin();
        for attempt in 0..ATTEMPTS {
            let control = Control::new();
            control.hold(0, &[fuse::READ]);
            let (_attacker, client) = fuse::user_of(MALLORY, Mounted::Alone, control, |_| {
                fuse::begin_to_read(&fuse::open(0, libc::O_DIRECT));
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                // SAFETY: A new mapping, where the kernel likes, that advice is given for.
                let start = unsafe {
                    let start = libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, -1, 0);
                    assert_ne!(start, libc::MAP_FAILED);
                    libc::madvise(start, LENGTH, libc::MADV_HUGEPAGE);
                    start
                };
                offers(start.cast(), LENGTH);
            });
            assert_eq!(server.take(), 0);
            eventually(|| control.waiting() == 1);
            std::thread::sleep(Duration::from_millis(20 + 5 * attempt as u64));
            assert!(survives(control, &server, client, || ()));
            assert_eq!(server.take(), 1);
        }
    });
}

const UNPRIVILEGED: &str = "/proc/sys/vm/unprivileged_userfaultfd";

/// Lets every user have `userfaultfd`, until it is dropped.
struct Unprivileged(String);

impl Unprivileged {
    fn new() -> Self {
        let before = std::fs::read_to_string(UNPRIVILEGED).expect("a setting");
        std::fs::write(UNPRIVILEGED, "1").expect("a setting");
        Self(before)
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let _ = std::fs::write(UNPRIVILEGED, &self.0);
    }
}

#[test]
fn a_page_that_a_dead_client_has_held_back_leaves_nothing_of_it_to_the_server() {
    let _setting = Unprivileged::new();
    isolated_long(2, || {
        let server = reader(4096);
        for _ in 0..ATTEMPTS {
            let control = Control::new();
            control.hold(0, &[fuse::READ]);
            let (_attacker, client) = fuse::user_of(MALLORY, Mounted::Alone, control, |_| {
                fuse::begin_to_read(&fuse::open(0, libc::O_DIRECT));
                let hang = Hang::new(1);
                offers(hang.address() as *const u8, 4096);
            });
            assert_eq!(server.take(), 0);
            eventually(|| control.waiting() == 1);
            wait::settle();
            assert!(survives(control, &server, client, || ()));
            assert_eq!(server.take(), 1);
        }
    });
}
