// SPDX-License-Identifier: MIT OR Apache-2.0

//! Payloads are memory of whoever sends them: they count in its memory cgroup,
//! and where that ends a send fails. Nobody is killed.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::raw::*;
use alpc_tests::*;

mod answers;
mod foreign;
mod killed;

const LIMIT: u64 = 8 << 20;

/// A memory cgroup, gone when dropped. Whoever was in it must have ended.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        Self::with(name, LIMIT)
    }

    fn with(name: &str, limit: u64) -> Self {
        let root = PathBuf::from("/sys/fs/cgroup");
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("a memory controller");
        let this = Self(root.join(name));
        fs::create_dir(&this.0).expect("cgroup");
        this.write("memory.max", &limit.to_string());
        // A kernel without swap has no such file.
        if this.0.join("memory.swap.max").exists() {
            this.write("memory.swap.max", "0");
        }
        this
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect(file);
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect(file)
    }

    fn add(&self, peer: &Peer) {
        self.write("cgroup.procs", &peer.pid().to_string());
    }

    fn current(&self) -> u64 {
        self.read("memory.current").trim().parse().expect("bytes")
    }

    /// How often something has happened.
    fn events(&self, key: &str) -> u64 {
        let events = self.read("memory.events");
        let line = events.lines().find_map(|line| line.strip_prefix(key));
        line.expect(key).trim().parse().expect("a count")
    }

    /// The limit was met, and by nobody that would have had to be killed.
    fn assert_nobody_was_killed(&self) {
        assert!(self.events("max ") > 0, "the limit was never met");
        self.assert_alive();
    }

    /// Nobody would have had to be killed.
    fn assert_alive(&self) {
        assert_eq!((self.events("oom "), self.events("oom_kill ")), (0, 0));
    }

    /// Waits until hardly anything is charged. What a processor has set aside
    /// stays charged for a while.
    fn until_empty(&self) {
        eventually(|| self.current() < LIMIT / 4);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever was in it may be a moment from its end.
        eventually(|| fs::remove_dir(&self.0).is_ok());
    }
}

/// Keeps all memory that this process has, so that a fault asks for none: that
/// would invoke the killer, and rightly. What is there already is charged to
/// the cgroup in which it came to be.
fn keep_memory() {
    let all = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: A live limit, and a call that takes no pointer.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &all), 0);
        assert_eq!(libc::mlockall(libc::MCL_CURRENT), 0);
    }
}

/// What the process that meets its limit has done so far.
const SENT: usize = 0;
const ERRNO: usize = 1;
const OUTCOME: usize = 2;
const FLAGS: usize = 3;
/// How often it may go on.
const TURNS: usize = 4;
const DONE: usize = 5;

/// Connects to `name` often and, each time it is allowed to, sends one-way
/// messages over all connections until that fails for want of memory.
fn flooder(name: &'static str, length: usize, connections: usize, seen: Shared) -> Peer {
    Peer::spawn(ROOT, move |link| {
        keep_memory();
        BOB.become_it();
        link.sync();
        let connect = |_| Connect::to(name).run().expect("connect").port;
        let clients: Vec<_> = (0..connections).map(connect).collect();
        // No memory of this process's own is needed from here on.
        let data = vec![7; length];
        let mut transfer = Transfer::new().send(&data);
        transfer = transfer.flags(ALPC_RELEASE | ALPC_NONBLOCK);
        transfer.point();
        let ready = transfer.arg;
        keep_memory();
        link.sync();
        for turn in 1.. {
            eventually(|| seen[TURNS].load(SeqCst) >= turn);
            for client in &clients {
                let failure = loop {
                    transfer.arg = ready;
                    match transfer.run_as_is(client) {
                        Ok(_) => seen[SENT].fetch_add(1, SeqCst),
                        Err(failure) => break failure,
                    };
                };
                seen[ERRNO].store(failure.errno as u64, SeqCst);
                seen[OUTCOME].store(failure.outcome.into(), SeqCst);
                seen[FLAGS].store((transfer.arg.flags & ALPC_SENT).into(), SeqCst);
                if failure != fail::QUEUE_FULL {
                    break;
                }
            }
            seen[DONE].store(turn, SeqCst);
        }
    })
}

/// Lets `client` flood until its memory ends. It lives, and nothing was sent
/// by halves.
fn flood(cgroup: &Cgroup, seen: Shared) {
    let turn = seen[TURNS].fetch_add(1, SeqCst) + 1;
    eventually(|| seen[DONE].load(SeqCst) == turn);
    refused_for_want_of_memory(cgroup, seen);
}

/// The last send met the limit, and nothing but that came of it.
fn refused_for_want_of_memory(cgroup: &Cgroup, seen: Shared) {
    assert_eq!(seen[ERRNO].load(SeqCst), libc::ENOMEM as u64);
    assert_eq!(seen[OUTCOME].load(SeqCst), u64::from(JUNK32));
    assert_eq!(seen[FLAGS].load(SeqCst), 0, "nothing was sent");
    cgroup.assert_nobody_was_killed();
    let (held, sent) = (cgroup.current(), seen[SENT].load(SeqCst));
    note!("{held} bytes charged, {sent} messages sent");
    assert!(held > LIMIT / 8 * 7, "{held} bytes charged");
}

/// Takes all messages that wait at `port`: how many, all of this length.
fn drain(port: &Port, length: usize) -> u64 {
    let mut count = 0;
    let mut receive = Transfer::new().capacity(length).now();
    while let Ok(message) = receive.run(port) {
        assert_eq!(message.kind, ALPC_TYPE_DATAGRAM);
        assert_eq!(message.data, vec![7; length]);
        receive.recv.fill(JUNK);
        count += 1;
    }
    count
}

/// A client that is connected, and has not flooded yet.
struct Flooding {
    cgroup: Cgroup,
    port: Port,
    servers: Vec<Port>,
    seen: Shared,
    client: Peer,
    /// What is charged already.
    before: u64,
}

fn about_to_flood(name: &'static str, length: usize, connections: usize) -> Flooding {
    let cgroup = Cgroup::new(name);
    let port = Create::named(format!("memcg/{name}"))
        .open()
        .max(ALPC_MESSAGE_MAX)
        .run()
        .expect("create");
    let seen = Shared::new();
    let address: &'static str = format!("memcg/{name}").leak();
    let client = flooder(address, length, connections, seen);
    cgroup.add(&client);
    client.sync();
    let servers: Vec<_> = (0..connections)
        .map(|_| {
            let request = port.receive().expect("receive");
            Accept::new(request.id).run(&port).expect("accept")
        })
        .collect();
    client.sync();
    let before = cgroup.current();
    Flooding {
        cgroup,
        port,
        servers,
        seen,
        client,
        before,
    }
}

/// A client that floods up to its limit, is drained, and floods again; then
/// it is killed with everything queued.
fn one_way_messages_fail(name: &'static str, length: usize, connections: usize) {
    let Flooding {
        cgroup,
        port,
        servers,
        seen,
        client,
        before,
    } = about_to_flood(name, length, connections);
    // Who needs more places in the port's table than there ever were pays for them,
    // and the port keeps them.
    let mut most = before + LIMIT / 2;
    let sent: Vec<_> = (0..3)
        .map(|_| {
            seen[SENT].store(0, SeqCst);
            flood(&cgroup, seen);
            let sent = seen[SENT].load(SeqCst);
            assert_eq!(drain(&port, length), sent);
            eventually(|| cgroup.current() < most);
            most = cgroup.current() + LIMIT / 8;
            sent
        })
        .collect();
    // What stays is there to be used again. A processor may have set a few pages
    // aside when another one meets the limit.
    let enough = sent[0] / 10 * 9;
    assert!(sent.iter().all(|&sent| sent > enough), "{sent:?}");
    flood(&cgroup, seen);
    // What a client had sent before its end stays, for the server to receive;
    // with the server it goes.
    client.kill();
    wait::settle();
    assert!(cgroup.current() > LIMIT / 2);
    drop((port, servers));
    cgroup.until_empty();
    cgroup.assert_nobody_was_killed();
}

#[test]
fn long_messages_fail_at_the_senders_limit_and_kill_nobody() {
    isolated(|| one_way_messages_fail("long", ALPC_MESSAGE_MAX as usize, 12));
}

#[test]
fn messages_of_a_page_fail_at_the_senders_limit_and_kill_nobody() {
    isolated(|| one_way_messages_fail("page", 4096, 12));
}

/// Whether short messages can use up the memory before a limit on their number is
/// reached. A kernel may have been told to allow fewer.
fn enough_can_be_sent() -> bool {
    let enough = query().conversations_per_user >= 65536;
    if !enough {
        note!("not tried: this kernel was told to allow few messages");
    }
    enough
}

#[test]
fn short_messages_fail_at_the_senders_limit_and_kill_nobody() {
    if !enough_can_be_sent() {
        return;
    }
    isolated_long(2, || one_way_messages_fail("short", 200, 200));
}

#[test]
fn a_port_that_has_ended_gives_its_table_back_whoever_keeps_its_other_descriptors() {
    if !enough_can_be_sent() {
        return;
    }
    isolated_long(2, || {
        let all = about_to_flood("ended", 200, 200);
        flood(&all.cgroup, all.seen);
        assert_eq!(drain(&all.port, 200), all.seen[SENT].load(SeqCst));
        let most = all.before + LIMIT / 8;
        wait::settle();
        assert!(all.cgroup.current() > most, "the port keeps it");
        let _through = all.port.connect_descriptor().expect("connect descriptor");
        drop((all.port, all.servers));
        eventually(|| all.cgroup.current() < most);
        all.client.kill();
        all.cgroup.until_empty();
    });
}

#[test]
fn a_share_that_ends_first_is_full_and_takes_no_memory() {
    isolated(|| {
        let cgroup = Cgroup::new("share");
        let port = Create::named("memcg/share").open().max(ALPC_MESSAGE_MAX);
        let port = { port }.run().expect("create");
        let client = Peer::spawn(BOB, |link| {
            link.sync();
            let client = Connect::to("memcg/share").run().expect("connect").port;
            let data = vec![7; ALPC_MESSAGE_MAX as usize];
            let mut transfer = Transfer::new().send(&data);
            transfer = transfer.flags(ALPC_RELEASE | ALPC_NONBLOCK);
            let failure = loop {
                if let Err(failure) = transfer.run(&client) {
                    break failure;
                }
                transfer.arg.flags &= !ALPC_SENT;
            };
            assert_eq!(failure, fail::QUEUE_FULL);
            link.sync();
            // What is refused stays nowhere, however often.
            for _ in 0..1000 {
                assert_eq!(transfer.run(&client).unwrap_err(), fail::QUEUE_FULL);
            }
            link.sync();
            link.sync();
        });
        cgroup.add(&client);
        client.sync();
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        client.sync();
        let before = cgroup.current();
        client.sync();
        assert!(cgroup.current() < before + LIMIT / 8);
        client.sync();
        client.wait();
    });
}

/// Makes views until that fails and deletes them, each time it is allowed to.
fn view_maker(length: u64, seen: Shared) -> Peer {
    Peer::spawn(ROOT, move |link| {
        keep_memory();
        BOB.become_it();
        link.sync();
        let port = Create::anonymous().run().expect("create");
        let section = port.section(8 * LIMIT).expect("section");
        let mut views = Vec::with_capacity(256);
        views.push(section.view(length).expect("view"));
        keep_memory();
        for turn in 1.. {
            eventually(|| seen[TURNS].load(SeqCst) >= turn);
            let failure = loop {
                match section.view(length) {
                    Ok(view) => views.push(view),
                    Err(failure) => break failure,
                }
            };
            seen[SENT].store(views.len() as u64, SeqCst);
            seen[ERRNO].store(failure.errno as u64, SeqCst);
            seen[OUTCOME].store(failure.outcome.into(), SeqCst);
            seen[DONE].store(turn, SeqCst);
            eventually(|| seen[TURNS].load(SeqCst) > turn);
            for view in views.drain(..) {
                section.delete_view(view.base).expect("delete");
            }
        }
    })
}

#[test]
fn views_fail_at_their_makers_limit_and_kill_nobody() {
    isolated(|| {
        let (cgroup, seen) = (Cgroup::new("views"), Shared::new());
        let maker = view_maker(1 << 18, seen);
        cgroup.add(&maker);
        maker.sync();
        for _ in 0..3 {
            flood(&cgroup, seen);
            assert!(seen[SENT].load(SeqCst) > 8, "views");
        }
        maker.kill();
        cgroup.until_empty();
        cgroup.assert_nobody_was_killed();
    });
}

/// Fills the memory with messages, then gives ports lists and asks for servers with long labels: how
/// many lists were taken, and how many calls failed for want of memory.
fn sets_lists_at_its_limit(name: &str, seen: Shared) {
    let entry = grant(ALPC_ACL_USER, BOB.uid, ALPC_RIGHT_CONNECT);
    let list = vec![entry; ALPC_ACL_MAX as usize];
    let connect = |_| Connect::to(name).run().expect("connect").port;
    let clients: Vec<_> = (0..12).map(connect).collect();
    let ports: Vec<_> = (0..64)
        .map(|_| Create::anonymous().run().expect("create"))
        .collect();
    let data = vec![7; 4096];
    let mut transfer = Transfer::new().send(&data);
    transfer = transfer.flags(ALPC_RELEASE | ALPC_NONBLOCK);
    transfer.point();
    let ready = transfer.arg;
    let label = "l".repeat(ALPC_LABEL_MAX as usize);
    let mut labelled = Connect::to(name).asynchronous().required_label(&label);
    labelled.point();
    let asked = labelled.arg;
    let device = device();
    keep_memory();
    for client in &clients {
        let full = loop {
            transfer.arg = ready;
            if let Err(failure) = transfer.run_as_is(client) {
                break failure;
            }
        };
        assert!(
            full == fail::QUEUE_FULL || full.errno == libc::ENOMEM,
            "{full:?}"
        );
    }
    for port in &ports {
        match port.set_acl(Some(&list)) {
            Ok(()) => seen[SENT].fetch_add(1, SeqCst),
            Err(failure) => seen[ERRNO].fetch_add(u64::from(failure.errno == libc::ENOMEM), SeqCst),
        };
        labelled.arg = asked;
        let refused = labelled
            .run_as_is(&device)
            .map(|_| ())
            .expect_err("no such label");
        let mismatch = refused == fail::SERVER_MISMATCH;
        assert!(mismatch || refused.errno == libc::ENOMEM, "{refused:?}");
    }
}

#[test]
fn long_lists_and_labels_fail_at_the_limit_and_kill_nobody() {
    isolated(|| {
        let name = "memcg/lists";
        let cgroup = Cgroup::new("lists");
        let mut create = Create::named(name).open().max(ALPC_MESSAGE_MAX);
        let port = create.run().expect("create");
        let seen = Shared::new();
        let owner = Peer::spawn(ROOT, move |link| {
            keep_memory();
            BOB.become_it();
            link.sync();
            // There is no memory for one more word when this has ended.
            sets_lists_at_its_limit(name, seen);
        });
        cgroup.add(&owner);
        owner.sync();
        let servers: Vec<_> = (0..12)
            .map(|_| {
                let request = port.receive().expect("receive");
                Accept::new(request.id).run(&port).expect("accept")
            })
            .collect();
        owner.wait();
        let (taken, failed) = (seen[SENT].load(SeqCst), seen[ERRNO].load(SeqCst));
        note!("{taken} lists taken, {failed} refused for want of memory");
        assert_eq!(taken + failed, 64);
        assert!(failed > 0);
        cgroup.assert_nobody_was_killed();
        drop((port, servers));
        cgroup.until_empty();
    });
}
