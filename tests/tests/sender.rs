// SPDX-License-Identifier: MIT OR Apache-2.0

//! All that can be asked of who has sent a message.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;

use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "sender/server";
const GROUPS: &[u32] = &[7, 4242, 100_000];
const DAVE: User = ALICE.with_groups(GROUPS);

fn server() -> Port {
    let create = Create::named(NAME).open().takes(ALPC_TAKE_IDENTITY, 0);
    { create }.run().expect("create")
}

fn admit(port: &Port) -> Port {
    let request = port.receive().expect("receive");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    Accept::new(request.id).run(port).expect("accept")
}

/// A line of this thread's `/proc/thread-self/status`.
fn status(key: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.expect(key).trim().to_string()
}

fn numbers(line: &str) -> Vec<u32> {
    let words = line.split_ascii_whitespace();
    words.map(|word| word.parse().expect("a number")).collect()
}

fn own(file: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/thread-self/{file}"));
    let text = text.unwrap_or_default();
    text.trim_end_matches(['\n', '\0']).to_string()
}

/// What the calling thread knows of itself, in one line for each thing.
fn self_portrait() -> String {
    let caps = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(status);
    let cgroup = own("cgroup");
    let cgroup = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
    let directory = format!("/sys/fs/cgroup{}", cgroup.unwrap_or("/"));
    let inode = std::fs::metadata(directory).map_or(0, |directory| directory.ino());
    [
        status("Uid:"),
        status("Gid:"),
        status("Groups:"),
        caps.join(" "),
        own("loginuid"),
        own("sessionid"),
        own("attr/current"),
        inode.to_string(),
    ]
    .join("\n")
}

/// Whether that is who was told of.
#[track_caller]
fn assert_like(identity: &Identity, portrait: &str) {
    let lines: Vec<_> = portrait.split('\n').collect();
    let [users, groups] = identity.ids();
    assert_eq!(numbers(lines[0]), users);
    assert_eq!(numbers(lines[1]), groups);
    assert_eq!(numbers(lines[2]), identity.groups);
    let caps = lines[3].split(' ');
    let caps = caps.map(|word| u64::from_str_radix(word, 16).expect("a mask"));
    assert_eq!(caps.collect::<Vec<_>>(), identity.capabilities());
    for (line, told) in [(4, identity.arg.loginuid), (5, identity.arg.session)] {
        // A kernel without audit has no such files.
        let number = lines[line].parse().unwrap_or(u32::MAX);
        assert_eq!(number, told, "line {line}");
    }
    assert_eq!(lines[6], identity.label());
    let inode: u64 = lines[7].parse().expect("an inode");
    if inode != 0 {
        assert_eq!(inode, identity.arg.cgroup);
    }
    assert_eq!(identity.arg.user_ns, ALPC_USER_NS_SAME);
}

#[test]
fn the_holder_of_a_request_learns_all_of_its_sender() {
    isolated(|| {
        let port = server();
        for user in [ROOT, DAVE, BOB] {
            let client = Peer::spawn(user, |_| {
                let client = Connect::to(NAME).run().expect("connect").port;
                let portrait = self_portrait();
                client.request(portrait.as_bytes()).expect("request");
            });
            let server = admit(&port);
            let request = port.receive().expect("receive");
            // On either of the server's ports.
            for port in [&port, &server] {
                let identity = port.identity(&request).expect("identity");
                let portrait = String::from_utf8(request.data.clone()).expect("text");
                assert_like(&identity, &portrait);
                let pid = client.pid() as u32;
                assert_eq!((identity.arg.pid, identity.arg.tid), (pid, pid));
            }
            port.reply(&request, b"").expect("reply");
            client.wait();
            while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
        }
    });
}

#[test]
fn an_identity_stays_what_it_was_whatever_becomes_of_the_sender() {
    isolated(|| {
        let port = server();
        let client = Peer::spawn(ROOT, |link| {
            let client = Connect::to(NAME).run().expect("connect").port;
            let portrait = self_portrait();
            client.post(portrait.as_bytes()).expect("post");
            DAVE.become_it();
            let portrait = self_portrait();
            client.post(portrait.as_bytes()).expect("post");
            link.sync();
            link.sync();
        });
        let _server = admit(&port);
        let requests = [(); 2].map(|()| port.receive().expect("receive"));
        client.sync();
        let portraits = requests.each_ref().map(|request| {
            let identity = port.identity(request).expect("identity");
            let portrait = String::from_utf8(request.data.clone()).expect("text");
            assert_like(&identity, &portrait);
            portrait
        });
        assert_ne!(portraits[0], portraits[1]);
        client.sync();
        client.wait();
    });
}

#[test]
fn where_a_sender_is_placed_is_told_if_the_server_takes_it() {
    isolated(|| {
        let root = std::path::Path::new("/sys/fs/cgroup");
        let other = root.join(format!("alpc-sender-{}", std::process::id()));
        std::fs::create_dir(&other).expect("cgroup");
        let number = |path: &std::path::Path| path.metadata().expect("cgroup").ino();
        for takes in [0, ALPC_TAKE_IDENTITY] {
            let port = Create::anonymous().takes(takes, 0).run().expect("create");
            let through = port.connect_descriptor().expect("descriptor");
            let (to_root, to_other) = (root.join("cgroup.procs"), other.join("cgroup.procs"));
            let peer = Peer::fork(ROOT, |_| {
                std::fs::write(&to_other, "0").expect("move");
                let mut connect = Connect::new(None);
                let client = connect.run_on(&through).expect("connect").port;
                client.request(b"").expect("request");
                std::fs::write(&to_root, "0").expect("move");
                client.request(b"").expect("request");
            });
            let request = port.receive().expect("receive");
            let asks = port.identity(&request).expect("identity");
            assert_eq!(asks.arg.cgroup, number(&other));
            let server = Accept::new(request.id).run(&port).expect("accept");
            for path in [&other, root] {
                let request = port.receive().expect("receive");
                let sender = port.identity(&request).expect("identity");
                let told = match takes {
                    0 => (0, u32::MAX, u32::MAX),
                    _ => (number(path), asks.arg.loginuid, asks.arg.session),
                };
                let arg = &sender.arg;
                assert_eq!((arg.cgroup, arg.loginuid, arg.session), told);
                port.reply(&request, b"").expect("reply");
            }
            // Who connected is told as it was.
            let peers = server.peer_identity().expect("identity");
            assert_eq!(peers.arg.cgroup, number(&other));
            peer.wait();
        }
        eventually(|| std::fs::remove_dir(&other).is_ok());
    });
}

#[test]
fn a_client_that_sends_in_the_moment_of_its_acceptance_tells_where_it_is() {
    isolated_long(2, || {
        let port = Create::anonymous()
            .takes(ALPC_TAKE_IDENTITY, 0)
            .run()
            .expect("create");
        let through = port.connect_descriptor().expect("descriptor");
        for _ in 0..rounds(3000) {
            let client = Connect::new(None)
                .asynchronous()
                .run_on(&through)
                .expect("connect")
                .port;
            let request = port.receive().expect("receive");
            std::thread::scope(|scope| {
                scope.spawn(|| while client.post(b"now").is_err() {});
                let _server = Accept::new(request.id).run(&port).expect("accept");
                let first = port.receive().expect("receive");
                let sender = port.identity(&first).expect("identity");
                assert_ne!(sender.arg.cgroup, 0);
                port.release(&first).expect("release");
            });
        }
    });
}

#[test]
fn threads_with_different_credentials_are_told_apart_on_one_connection() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().takes(ALPC_TAKE_IDENTITY, 0));
        let call = |id: libc::gid_t| {
            // SAFETY: For this thread alone, which the library's wrapper would not do. No pointer.
            let set = unsafe { libc::syscall(libc::SYS_setresgid, -1, id, -1) };
            assert_eq!(set, 0);
            let portrait = self_portrait();
            pair.client.request(portrait.as_bytes()).expect("request");
        };
        std::thread::scope(|scope| {
            let callers = [0, 1234, 5678].map(|id| scope.spawn(move || call(id)));
            let mut seen = Vec::new();
            for _ in &callers {
                let request = pair.port.receive().expect("receive");
                let identity = pair.port.identity(&request).expect("identity");
                let portrait = String::from_utf8(request.data.clone()).expect("text");
                assert_like(&identity, &portrait);
                assert_eq!(identity.arg.egid, request.gid);
                seen.push(identity.arg.egid);
                pair.port.reply(&request, b"").expect("reply");
            }
            seen.sort_unstable();
            assert_eq!(seen, [0, 1234, 5678]);
        });
    });
}

#[test]
fn a_connection_request_is_judged_by_more_than_its_header() {
    isolated(|| {
        let port = server();
        let client = Peer::spawn(DAVE, |_| {
            let portrait = self_portrait();
            let mut connect = Connect::to(NAME).data(portrait.as_bytes());
            connect.run().expect("connect");
        });
        let request = port.receive().expect("receive");
        let identity = port.identity(&request).expect("identity");
        let portrait = String::from_utf8(request.data.clone()).expect("text");
        assert_like(&identity, &portrait);
        assert_eq!(identity.groups, GROUPS);
        let _server = Accept::new(request.id).run(&port).expect("accept");
        let over = port.identity(&request).map(drop);
        assert_eq!(over.unwrap_err(), fail::NOT_FOUND);
        client.wait();
    });
}

#[test]
fn each_end_of_a_connection_knows_the_other() {
    isolated(|| {
        let alice = Peer::spawn(ROOT.with_groups(GROUPS), |link| {
            let port = server();
            let refused = port.peer_identity().map(drop);
            refused_with(refused, libc::EINVAL, "a connection port has no other end");
            link.put_fd(&port.connect_descriptor().expect("descriptor"));
            link.sync();
            let request = port.receive().expect("receive");
            link.sync();
            let end = Accept::new(request.id).run(&port).expect("accept");
            BOB.become_it();
            link.sync();
            let peer = end.peer_identity().expect("identity");
            assert_eq!((peer.arg.pid, peer.arg.euid), (request.pid, 0));
            link.sync();
        });
        let through = Port::from(alice.take_fd());
        // Before it connects: who has made the port.
        let maker = through.peer_identity().expect("identity");
        assert_eq!(maker.arg.pid, alice.pid() as u32);
        assert_eq!((maker.arg.euid, &maker.groups[..]), (0, GROUPS));
        alice.sync();
        let mut connect = Connect::new(None).asynchronous();
        let client = connect.run_on(&through).expect("connect").port;
        let early = client.peer_identity().map(drop);
        assert_eq!(early.unwrap_err(), fail::NOT_CONNECTED);
        alice.sync();
        alice.sync();
        // As it was when it accepted.
        let server = client.peer_identity().expect("identity");
        assert_eq!((server.arg.euid, &server.groups[..]), (0, GROUPS));
        assert_ne!(server.arg.cap_effective, 0);
        alice.sync();
        alice.wait();
    });
}

#[test]
fn who_is_in_another_user_namespace_has_no_capabilities_here() {
    isolated(|| {
        let pair = Pair::new();
        let inside = Peer::fork(ROOT, |_| {
            // SAFETY: Takes no pointer; one thread.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
            assert_ne!(u64::from_str_radix(&status("CapEff:"), 16), Ok(0));
            let reply = pair.client.request(b"from below").expect("request");
            assert_eq!(reply.data, b"seen");
            // The other way round, the server is somewhere else.
            let above = pair.client.peer_identity().expect("identity");
            assert_eq!(above.arg.user_ns, ALPC_USER_NS_OTHER);
            assert_eq!(above.capabilities(), [0; 5]);
            assert_eq!(above.ids(), [[65534; 4]; 2]);
        });
        let request = pair.port.receive().expect("receive");
        let identity = pair.port.identity(&request).expect("identity");
        assert_eq!(identity.arg.user_ns, ALPC_USER_NS_BELOW);
        assert_eq!(identity.capabilities(), [0; 5]);
        assert_eq!(identity.arg.pid, inside.pid() as u32);
        pair.port.reply(&request, b"seen").expect("reply");
        inside.wait();
    });
}

/// A page whose first use waits until somebody says that it may go on.
struct Slow {
    page: *mut libc::c_void,
    faults: std::fs::File,
}

// SAFETY: The page is read by system calls only, and the file is a file.
unsafe impl Sync for Slow {}

impl Slow {
    const SIZE: usize = 4096;
    const API: u64 = 0xc018_aa3f;
    const REGISTER: u64 = 0xc020_aa00;
    const ZERO: u64 = 0xc020_aa04;

    fn new() -> Option<Self> {
        // SAFETY: A new mapping, and live arguments of the sizes that the requests say.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
            if fd < 0 {
                note!("no userfaultfd");
                return None;
            }
            let faults = std::fs::File::from_raw_fd(fd as i32);
            let (access, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            let page = libc::mmap(std::ptr::null_mut(), Self::SIZE, access, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            let slow = Self { page, faults };
            slow.ask(Self::API, [0xaa, 0, 0, 0]);
            // What is missing.
            slow.ask(Self::REGISTER, [page as u64, Self::SIZE as u64, 1, 0]);
            Some(slow)
        }
    }

    fn ask(&self, request: u64, mut arg: [u64; 4]) {
        // SAFETY: No request reads or writes more than the argument has.
        let result = unsafe { libc::ioctl(self.faults.as_raw_fd(), request, &mut arg) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// A request whose payload is there.
    fn post(&self, client: &Port) -> Result<(), Failure> {
        let mut transfer = Transfer::new().flags(ALPC_SEND);
        transfer.arg.send_data = self.page as u64;
        transfer.arg.send_length = 8;
        transfer.run_as_is(client).map(drop)
    }

    /// Whether somebody waits for the page.
    fn is_awaited(&self) -> bool {
        (&self.faults).read(&mut [0_u8; 32]).is_ok()
    }

    fn go_on(&self) {
        self.ask(Self::ZERO, [self.page as u64, Self::SIZE as u64, 0, 0]);
    }
}

#[test]
fn no_send_begun_before_the_server_accepts_comes_without_its_origin() {
    isolated(|| {
        let Some(slow) = Slow::new() else { return };
        let port = server();
        let connect = Connect::to(NAME).asynchronous().run();
        let client = connect.expect("connect").port;
        let request = port.receive().expect("receive");
        let (_server, sent) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| slow.post(&client));
            eventually(|| sender.is_finished() || slow.is_awaited());
            let server = Accept::new(request.id).run(&port).expect("accept");
            slow.go_on();
            (server, sender.join().expect("join"))
        });
        if let Err(failure) = sent {
            assert_eq!(failure, fail::NOT_CONNECTED);
            client.post(b"now").expect("post");
        }
        // Nor do those that use its memory again.
        for _ in 0..3 {
            let message = port.receive().expect("receive");
            assert_eq!(message.kind, ALPC_TYPE_REQUEST);
            assert_ne!(port.identity(&message).expect("identity").arg.cgroup, 0);
            port.reply(&message, b"").expect("reply");
            client.receive().expect("receive");
            client.post(b"again").expect("post");
        }
    });
}

#[test]
fn a_client_does_not_take_identities() {
    isolated(|| {
        let port = server();
        for takes in [ALPC_TAKE_IDENTITY, ALPC_TAKE_IDENTITY | ALPC_TAKE_VIEWS] {
            let mut connect = Connect::to(NAME).asynchronous().takes(takes, 0);
            refused_with(connect.run().map(drop), libc::EINVAL, "connect");
        }
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn only_what_there_is_room_for_is_written() {
    isolated(|| {
        let port = server();
        let client = Peer::spawn(DAVE, |_| {
            let client = Connect::to(NAME).run().expect("connect").port;
            client.request(b"").expect("request");
        });
        let _server = admit(&port);
        let request = port.receive().expect("receive");
        let ask = |groups, label| {
            let asked = port.identity_with_room(request.id, request.callback_id, groups, label);
            asked.expect("identity")
        };
        let all = ask(64, 256);
        for room in [0, 1, 2, 3, 4] {
            let some = ask(room, 0);
            assert_eq!(some.arg.group_count as usize, GROUPS.len());
            assert_eq!(some.groups, GROUPS[..room.min(GROUPS.len())]);
        }
        let length = all.arg.label_length as usize;
        for room in [1, length.saturating_sub(1), length, length + 9] {
            let some = ask(0, room);
            assert_eq!(some.arg.label_length as usize, length);
            if room >= length {
                assert_eq!(some.label(), all.label());
                assert!(some.label[length..].iter().all(|&byte| byte == 0xa5));
            } else {
                assert!(some.label.iter().all(|&byte| byte == 0xa5));
            }
        }
        port.reply(&request, b"").expect("reply");
        client.wait();
    });
}

#[test]
fn only_the_holder_of_a_message_may_ask_of_it() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"").expect("post");
        let request = pair.port.receive().expect("receive");
        let ask = |port: &Port, id, turn| port.identity_with_room(id, turn, 0, 0).map(drop);
        let (id, turn) = (request.id, request.callback_id);
        assert_eq!(ask(&pair.client, id, turn), Err(fail::NOT_OWNER));
        assert_eq!(ask(&pair.port, id, turn + 1), Err(fail::STALE_TURN));
        assert_eq!(ask(&pair.port, id + 1, turn), Err(fail::NOT_FOUND));
        let other = Pair::new();
        ask(&other.port, id, turn).unwrap_err();
        pair.port.reply(&request, b"").expect("reply");
        assert_eq!(ask(&pair.port, id, turn), Err(fail::NOT_OWNER));
        pair.client.receive().expect("reply");
        assert_eq!(ask(&pair.port, id, turn), Err(fail::NOT_FOUND));
        let section = pair.port.section(4096).expect("section");
        assert_eq!(ask(&section, 0, 0).unwrap_err().errno, libc::ENOTTY);
    });
}

#[test]
fn an_argument_that_makes_no_sense_is_refused_and_left_alone() {
    isolated(|| {
        let pair = Pair::new();
        let room = [JUNK32; 4];
        let address = room.as_ptr() as u64;
        let edits: [fn(&mut alpc_query_identity, u64); 6] = [
            |arg, _| arg.flags = 1,
            |arg, _| arg.group_count = 4,
            |arg, at| arg.groups = at,
            |arg, _| arg.label_length = 4,
            |arg, at| arg.label = at,
            |arg, _| arg.callback_id = 1,
        ];
        for edit in edits {
            let mut arg = identity_argument(0, 0);
            edit(&mut arg, address);
            let asked = pair.client.ask_identity(&mut arg);
            refused_with(asked, libc::EINVAL, "argument");
            assert_eq!((arg.uid, arg.cap_bounding), (JUNK32, JUNK64));
            assert_eq!(arg.outcome, JUNK32);
        }
        assert_eq!(room, [JUNK32; 4]);
        for bad in memory::HOSTILE {
            if bad == 0 {
                continue;
            }
            let label = pair
                .client
                .peer_identity()
                .expect("identity")
                .arg
                .label_length;
            let mut arg = identity_argument(0, 0);
            (arg.label, arg.label_length) = (bad, 4096);
            if label != 0 {
                refused_with(pair.client.ask_identity(&mut arg), libc::EFAULT, "label");
            }
            // Whoever has no groups needs no memory for them.
            let groups = pair.client.peer_identity().expect("identity").groups;
            let mut arg = identity_argument(0, 0);
            (arg.groups, arg.group_count) = (bad, 64);
            if !groups.is_empty() {
                refused_with(pair.client.ask_identity(&mut arg), libc::EFAULT, "groups");
            }
        }
        let fixed = memory::Pages::read_only(&[0; 160]);
        // SAFETY: The kernel checks the address.
        let asked = unsafe {
            ioctl_at(
                pair.client.as_fd(),
                ALPC_IOCTL_QUERY_IDENTITY,
                fixed.address(),
            )
        };
        assert_eq!(asked, Err(libc::EFAULT));
    });
}
