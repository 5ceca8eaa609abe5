// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files that nobody claimed and that do not close: whom they hold up.

use std::os::fd::OwnedFd;

use alpc_tests::files::pipe;
use alpc_tests::plenty::many_descriptors;
use alpc_tests::privilege::nested;
use alpc_tests::raw::*;
use alpc_tests::stuck::{closing_workers, Stuck};
use alpc_tests::wait::{poll_now, settle};
use alpc_tests::*;

/// What one user may keep, and all users in the namespaces of one owner.
const WORKERS: usize = 4;
const WORKERS_BELOW: usize = 32;
/// More than a work queue runs at once by default, where tests are not cut short.
fn many() -> usize {
    rounds(1100).max(2 * WORKERS as u64) as usize
}

/// Sends each file that its link brings on its way, and keeps none.
fn send_all(link: &Link, name: &str) {
    let client = Connect::to(name).run().expect("connect").port;
    while link.take() != 0 {
        let file = link.take_fd();
        let sent = client.one_way_with(&mut HandleContainer::one(&file));
        sent.expect("send");
        drop(file);
        link.sync();
    }
}

/// A service that claims no file.
struct Service {
    port: Port,
    servers: Vec<Port>,
}

impl Service {
    fn new(name: &str) -> Self {
        let create = Create::named(name).open();
        let port = create.takes(ALPC_TAKE_HANDLES, 0).run().expect("create");
        Self {
            port,
            servers: Vec::new(),
        }
    }

    fn accept(&mut self) {
        let request = self.port.receive().expect("a request for a connection");
        let server = Accept::new(request.id).run(&self.port).expect("accept");
        self.servers.push(server);
    }

    /// A client of this user's, which sends what it is given.
    fn client(&mut self, user: User, name: &'static str) -> Peer {
        let client = Peer::spawn(user, |link| send_all(link, name));
        self.accept();
        client
    }

    /// The client sends the file, nobody else has it open, and it is not claimed.
    fn leave_unclaimed(&self, client: &Link, file: OwnedFd) {
        client.put(1);
        client.put_fd(&file);
        drop(file);
        client.sync();
        self.port.receive().expect("receive");
    }

    /// The same with a file that closes at once.
    fn closes_a_pipe_of(&self, client: &Link) {
        let (reader, writer) = pipe();
        self.leave_unclaimed(client, writer);
        eventually(|| hung_up(&reader));
    }
}

fn hung_up(reader: &OwnedFd) -> bool {
    poll_now(reader, 0) & libc::POLLHUP != 0
}

/// How many workers are kept, once it is as many as that.
fn kept_workers(least: usize) -> usize {
    eventually(|| closing_workers() >= least);
    settle();
    closing_workers()
}

fn handles(user: User) -> u32 {
    user_usage(user.uid, 0).expect("usage").handles.used
}

fn end(client: Peer) {
    client.put(0);
    client.wait();
}

#[test]
fn files_that_do_not_close_hold_up_only_who_sent_them() {
    isolated_long(2, || {
        many_descriptors();
        let mut service = Service::new("closing/many");
        let mallory = service.client(MALLORY, "closing/many");
        let alice = service.client(ALICE, "closing/many");
        let many = many();
        let mut stuck = Stuck::new(many);
        for _ in 0..many {
            service.leave_unclaimed(&mallory, stuck.take());
        }
        for _ in 0..20 {
            service.closes_a_pipe_of(&alice);
        }
        eventually(|| handles(ALICE) == 0);
        // It keeps some workers, and pays for all files that are open still.
        assert_eq!(kept_workers(WORKERS), WORKERS);
        assert_eq!(handles(MALLORY), many as u32);
        // Its own files wait, and are closed in the end.
        let (reader, writer) = pipe();
        service.leave_unclaimed(&mallory, writer);
        assert_eq!(handles(MALLORY), many as u32 + 1);
        assert!(!hung_up(&reader));
        stuck.let_go();
        eventually(|| hung_up(&reader) && handles(MALLORY) == 0);
        eventually(|| closing_workers() == 0);
        end(mallory);
        end(alice);
    });
}

#[test]
fn a_file_that_does_not_close_does_not_hold_up_the_next_of_its_user() {
    isolated(|| {
        let mut service = Service::new("closing/next");
        let alice = service.client(ALICE, "closing/next");
        let mut stuck = Stuck::new(WORKERS - 1);
        for _ in 1..WORKERS {
            service.leave_unclaimed(&alice, stuck.take());
            service.closes_a_pipe_of(&alice);
        }
        assert_eq!(handles(ALICE), WORKERS as u32 - 1);
        stuck.let_go();
        eventually(|| handles(ALICE) == 0);
        end(alice);
    });
}

#[test]
fn users_in_a_namespace_hold_up_their_like_but_not_its_owner() {
    const NAME: &str = "closing/inside";
    // One more than have places for all that they send.
    const USERS: usize = WORKERS_BELOW / WORKERS + 1;
    isolated(|| {
        let mut service = Service::new(NAME);
        let root = service.client(ROOT, NAME);
        let inside = nested("0 300000 100", 0, |link| {
            let mut clients = Vec::new();
            for uid in 1..=USERS as u32 {
                let user = User {
                    uid,
                    gid: uid,
                    ..ALICE
                };
                clients.push(Peer::spawn(user, |link| send_all(link, NAME)));
            }
            // One after another, as long as there are files.
            'all: for client in clients.iter().cycle() {
                for _ in 0..WORKERS {
                    let more = link.take();
                    if more == 0 {
                        break 'all;
                    }
                    client.put(more);
                    let file = link.take_fd();
                    client.put_fd(&file);
                    drop(file);
                    client.sync();
                    link.sync();
                }
            }
            clients.into_iter().for_each(end);
        });
        (0..USERS).for_each(|_| service.accept());
        let mut stuck = Stuck::new(WORKERS * USERS);
        for _ in 0..WORKERS * USERS {
            service.leave_unclaimed(&inside, stuck.take());
        }
        assert_eq!(kept_workers(WORKERS_BELOW), WORKERS_BELOW);
        service.closes_a_pipe_of(&root);
        stuck.let_go();
        eventually(|| closing_workers() == 0);
        end(inside);
        end(root);
    });
}

#[test]
fn what_a_server_sends_does_not_hold_up_its_clients_files() {
    isolated(|| {
        let mut service = Service::new("closing/own");
        let alice = service.client(ALICE, "closing/own");
        // Of another user than the one whose client takes no notice of what it is sent.
        let mallory = Peer::spawn(MALLORY, |link| {
            let create = Create::named("closing/hostile").open();
            let port = { create }.run().expect("create");
            link.sync();
            let request = port.receive().expect("a request for a connection");
            let server = Accept::new(request.id).run(&port).expect("accept");
            for _ in 0..WORKERS + 1 {
                let file = link.take_fd();
                let sent = server.one_way_with(&mut HandleContainer::one(&file));
                sent.expect("send");
                drop(file);
                link.sync();
            }
            link.sync();
        });
        mallory.sync();
        let victim = Peer::spawn(ALICE, |link| {
            let connect = Connect::to("closing/hostile").takes(ALPC_TAKE_HANDLES, 0);
            let client = { connect }.run().expect("connect").port;
            for _ in 0..WORKERS + 1 {
                link.sync();
                client.receive().expect("receive");
                link.sync();
            }
        });
        let mut stuck = Stuck::new(WORKERS + 1);
        for _ in 0..WORKERS + 1 {
            let file = stuck.take();
            mallory.put_fd(&file);
            drop(file);
            mallory.sync();
            victim.sync();
            victim.sync();
        }
        assert_eq!(kept_workers(WORKERS), WORKERS);
        service.closes_a_pipe_of(&alice);
        stuck.let_go();
        eventually(|| closing_workers() == 0);
        mallory.sync();
        mallory.wait();
        victim.wait();
        end(alice);
    });
}
