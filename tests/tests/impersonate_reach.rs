// SPDX-License-Identifier: MIT OR Apache-2.0

//! What impersonation must not give: to a server what it couldn't make of itself by system calls,
//! to a client any hold on its server, to a thread what it has put down meanwhile.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use alpc_tests::creds::*;
use alpc_tests::privilege::unshare;
use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::*;

const NAME: &str = "impersonate-reach/server";
const STAFF: u32 = 4242;
const SECBIT_NO_SETUID_FIXUP: u64 = 1 << 2;
/// Those that go with the superuser's access to files.
const OF_FILES: u64 = 0x1_0800_021f;

fn reads(path: &Path) -> bool {
    std::fs::read(path).is_ok()
}

/// From now on, ids and capabilities of the calling thread change apart.
fn part_ids_from_capabilities() {
    // SAFETY: Takes no pointer.
    let set = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// The first request that comes to a new port, once `link` has been told that there is one.
fn serve(link: &Link, prepare: impl FnOnce()) -> (Port, Port, Message) {
    let port = Create::named(NAME).open().run().expect("create");
    prepare();
    link.sync();
    let asks = port.receive().expect("receive");
    let server = Accept::new(asks.id).run(&port).expect("accept");
    let request = port.receive().expect("receive");
    (port, server, request)
}

fn call_as(user: User, security: u32, prepare: impl FnOnce()) -> Peer {
    Peer::spawn(user, |_| {
        prepare();
        let mut connect = Connect::to(NAME);
        connect.arg.security = security;
        let client = connect.run().expect("connect").port;
        client.request(b"x").expect("request");
    })
}

/// A server that is `user`, then what `prepare` makes of it, and holds a request of a client's.
fn meet(
    (user, prepare): (User, impl FnOnce()),
    (client, become_it): (User, impl FnOnce()),
    judge: impl FnOnce(&Port, &Message),
) {
    let server = Peer::spawn(user, |link| {
        let (port, _server, request) = serve(link, prepare);
        judge(&port, &request);
        port.reply(&request, b"").expect("reply");
    });
    server.sync();
    let client = call_as(client, ALPC_SECURITY_IMPERSONATE, become_it);
    server.wait();
    client.wait();
}

fn is_beyond_reach(port: &Port, request: &Message) {
    let own = Me::now();
    let refused = port.impersonate(request).map(drop);
    assert_eq!(refused.unwrap_err(), fail::BEYOND_REACH);
    assert_eq!(Me::now(), own);
}

#[test]
fn a_supplementary_group_does_not_take_the_place_of_one_that_denies() {
    isolated(|| {
        let place = Place::new();
        // Everybody may read it but members of the group.
        let file = place.file("denies", 0, STAFF, 0o604);
        let denied = User {
            gid: STAFF,
            ..ALICE.with_groups(&[7])
        };
        let other = User { gid: 7, ..denied };
        meet(
            (denied, || {}),
            (other, || assert!(reads(&file))),
            |port, request| {
                assert!(!reads(&file));
                is_beyond_reach(port, request);
                assert!(!reads(&file));
            },
        );
    });
}

#[test]
fn a_list_is_taken_on_if_the_server_could_have_set_it() {
    isolated(|| {
        let place = Place::new();
        // Members of the one group get there, and may read it unless they are of the other.
        let directory = place.directory("reached", 0, 7, 0o710);
        let file = directory.join("inner");
        std::os::unix::fs::chown(&file, Some(0), Some(STAFF)).expect("chown");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o604);
        std::fs::set_permissions(&file, mode).expect("chmod");
        let inside = User {
            uid: 100_000,
            gid: 100_000,
            ..ROOT
        };
        let server = Peer::spawn(ROOT, |link| {
            set_list(&[7, STAFF]);
            unshare(libc::CLONE_NEWUSER);
            link.sync();
            link.sync();
            set_group(0);
            set_users(0, 0, 0);
            let (port, _server, request) = serve(link, || {});
            assert!(!reads(&file));
            // It could lose all of its groups, but not keep one that has no number here.
            is_beyond_reach(&port, &request);
            port.reply(&request, b"").expect("reply");
        });
        server.sync();
        privilege::map_ids(server.pid(), "0 100000 10\n");
        server.sync();
        server.sync();
        let member = inside.with_groups(&[7]);
        let client = call_as(member, ALPC_SECURITY_IMPERSONATE, || assert!(reads(&file)));
        server.wait();
        client.wait();
    });
}

#[test]
fn an_id_that_no_system_call_could_name_is_not_taken_on() {
    isolated(|| {
        let server = Peer::spawn(ROOT, |link| {
            set_users(CAROL.uid, 0, 0);
            set_list(&[]);
            unshare(libc::CLONE_NEWUSER);
            link.sync();
            link.sync();
            set_group(0);
            set_users(u32::MAX, 0, 0);
            let (port, _server, request) = serve(link, || {});
            is_beyond_reach(&port, &request);
            port.reply(&request, b"").expect("reply");
        });
        server.sync();
        privilege::map_ids(server.pid(), "0 100000 10\n");
        server.sync();
        server.sync();
        let carol = User {
            gid: 100_000,
            ..CAROL
        };
        let client = call_as(carol, ALPC_SECURITY_IMPERSONATE, || {});
        server.wait();
        client.wait();
    });
}

#[test]
fn an_effective_id_that_is_set_meanwhile_stays_for_files() {
    isolated(|| {
        let place = Place::new();
        let roots = place.file("roots", 0, 0, 0o600);
        let staffs = place.file("staffs", BOB.uid, 0, 0o040);
        meet((ROOT, || {}), (ALICE, || {}), |port, request| {
            let own = Me::now();
            let way_back = port.impersonate(request).expect("impersonate");
            set_capabilities(own.effective, own.permitted);
            // For a while: real and saved ids stay, and lead back.
            set_effective_group(ALICE.gid);
            set_users(u32::MAX, ALICE.uid, u32::MAX);
            assert!(!reads(&roots) && !reads(&staffs));
            way_back.revert().expect("revert");
            assert_eq!(Me::now().fs(), (ALICE.uid, ALICE.gid));
            assert!(!reads(&roots) && !reads(&staffs));
        });
    });
}

#[test]
fn what_overrides_files_goes_with_the_superuser() {
    isolated(|| {
        let place = Place::new();
        let bobs = place.file("bobs", BOB.uid, BOB.gid, 0o600);
        // A server whose real user is Alice, as whom it uses files; a superuser otherwise.
        let alice = || {
            set_users(ALICE.uid, 0, 0);
            set_fs_user(ALICE.uid);
        };
        meet((ROOT, alice), (ROOT, || {}), |port, request| {
            let own = Me::now();
            assert!(!reads(&bobs));
            let way_back = port.impersonate(request).expect("impersonate");
            set_capabilities(own.permitted, own.permitted);
            assert!(reads(&bobs));
            way_back.revert().expect("revert");
            let me = Me::now();
            assert_eq!(me.fs().0, ALICE.uid);
            assert_eq!(me.effective & OF_FILES, 0);
            assert!(!reads(&bobs));
        });
    });
}

#[test]
fn a_client_with_capabilities_over_files_lends_them_to_nobody() {
    isolated(|| {
        let place = Place::new();
        let bobs = place.file("bobs", BOB.uid, BOB.gid, 0o600);
        // Alice with all of root's capabilities.
        let mighty = || {
            part_ids_from_capabilities();
            set_group(ALICE.gid);
            set_users(ALICE.uid, ALICE.uid, ALICE.uid);
            assert!(reads(&bobs));
        };
        for parted in [false, true] {
            let prepare = || {
                if parted {
                    part_ids_from_capabilities();
                }
            };
            meet((ROOT, prepare), (ROOT, mighty), |port, request| {
                let own = Me::now();
                let way_back = port.impersonate(request).expect("impersonate");
                assert_eq!(Me::now().effective, own.effective & !OF_FILES);
                assert!(!reads(&bobs));
                way_back.revert().expect("revert");
                assert_eq!(Me::now(), own);
            });
        }
    });
}

/// What Alice has tried with a process, and has got.
fn holds_of(pid: i32) -> Vec<&'static str> {
    let mut got = Vec::new();
    let proc = format!("/proc/{pid}");
    for file in [
        "mem",
        "environ",
        "maps",
        "auxv",
        "syscall",
        "fdinfo",
        "fd",
        "map_files",
    ] {
        let path = Path::new(&proc).join(file);
        let read = match file {
            "fd" | "fdinfo" | "map_files" => std::fs::read_dir(&path).is_ok(),
            "mem" => std::fs::File::open(&path).is_ok(),
            _ => std::fs::read(&path).is_ok_and(|bytes| !bytes.is_empty()),
        };
        if read {
            got.push(file);
        }
    }
    for link in ["exe", "cwd", "root", "ns/user"] {
        if std::fs::read_link(Path::new(&proc).join(link)).is_ok() {
            got.push(link);
        }
    }
    let limit: *const u8 = std::ptr::null();
    let mut old = [0_u64; 2];
    let mut word = [0_u64; 1];
    let local = [word.as_mut_ptr() as u64, 8];
    let pid = i64::from(pid);
    // SAFETY: Numbers, and addresses of what is live.
    unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let tries = [
            (
                "seize",
                libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0),
            ),
            ("kill", libc::syscall(libc::SYS_kill, pid, 0)),
            (
                "pidfd signal",
                libc::syscall(libc::SYS_pidfd_send_signal, pidfd, 0, 0, 0),
            ),
            (
                "pidfd getfd",
                libc::syscall(libc::SYS_pidfd_getfd, pidfd, 0, 0),
            ),
            (
                "prlimit",
                libc::syscall(libc::SYS_prlimit64, pid, 0, limit, old.as_mut_ptr()),
            ),
            (
                "priority",
                libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, 1),
            ),
            (
                "affinity",
                libc::syscall(libc::SYS_sched_setaffinity, pid, 8, word.as_ptr()),
            ),
            (
                "read memory",
                libc::syscall(
                    libc::SYS_process_vm_readv,
                    pid,
                    local.as_ptr(),
                    1,
                    local.as_ptr(),
                    1,
                    0,
                ),
            ),
        ];
        got.extend(
            tries
                .iter()
                .filter(|(_, result)| *result >= 0)
                .map(|(name, _)| name),
        );
    }
    got
}

#[test]
fn a_client_gets_no_hold_on_the_server_that_impersonates_it() {
    isolated(|| {
        let server = Peer::spawn(ROOT, |link| {
            let (port, _server, request) = serve(link, || {});
            let way_back = port.impersonate(&request).expect("impersonate");
            // The worst that it can do.
            // SAFETY: Takes no pointer.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
            link.sync();
            link.sync();
            way_back.revert().expect("revert");
            port.reply(&request, b"").expect("reply");
        });
        server.sync();
        let client = call_as(ALICE, ALPC_SECURITY_IMPERSONATE, || {});
        server.sync();
        let attacker = Peer::spawn(ALICE, |_| {
            assert_eq!(holds_of(server.pid()), [""; 0]);
            // Of its own processes it has them all, so it is no matter of how it asks.
            let own = holds_of(std::process::id() as i32);
            assert!(own.contains(&"environ") && own.contains(&"kill"));
        });
        attacker.wait();
        server.sync();
        server.wait();
        client.wait();
    });
}

#[test]
fn of_other_processes_a_server_reads_no_more_than_its_client() {
    isolated(|| {
        let (alice, bob) = (
            Peer::spawn(ALICE, |link| link.sync()),
            Peer::spawn(BOB, |link| link.sync()),
        );
        let environ = |peer: &Peer| std::fs::read(format!("/proc/{}/environ", peer.pid())).is_ok();
        let both = || [&alice, &bob].map(environ);
        let expected = [true, false];
        let client = || assert_eq!(both(), expected);
        meet((ROOT, || {}), (ALICE, client), |port, request| {
            assert_eq!(both(), [true, true]);
            let way_back = port.impersonate(request).expect("impersonate");
            assert_eq!(both(), expected);
            way_back.revert().expect("revert");
        });
        alice.sync();
        bob.sync();
    });
}

/// Where a program says who it is, in the environment.
const SAYS: &str = "ALPC_TEST_SAYS";

/// Not a test, but the program that is executed below.
#[test]
fn a_program_says_who_it_is() {
    if let Some(path) = std::env::var_os(SAYS) {
        let status = std::fs::read("/proc/thread-self/status").expect("status");
        std::fs::write(path, status).expect("write");
    }
}

#[test]
fn a_program_of_another_user_is_that_user_for_files() {
    isolated(|| {
        let place = Place::new();
        let says = place.directory("says", 0, 0, 0o777);
        for owner in [BOB, ALICE] {
            let program = place.path().join(format!("program.{}", owner.name));
            std::fs::copy("/proc/self/exe", &program).expect("copy");
            std::os::unix::fs::chown(&program, Some(owner.uid), None).expect("chown");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
            std::fs::set_permissions(&program, mode).expect("chmod");
            let path = says.join(owner.name);
            let server = Peer::spawn(ROOT, |link| {
                set_list(&[77]);
                let (port, _server, request) = serve(link, || {});
                std::mem::forget(port.impersonate(&request).expect("impersonate"));
                let mut command = Command::new(&program);
                command.args(["--exact", "a_program_says_who_it_is"]);
                command.env(SAYS, &path);
                panic!("{}", command.exec());
            });
            server.sync();
            let client = Peer::spawn(ALICE, |_| {
                let mut connect = Connect::to(NAME);
                connect.arg.security = ALPC_SECURITY_IMPERSONATE;
                let client = connect.run().expect("connect").port;
                // The program doesn't answer.
                assert_eq!(client.request(b"x").unwrap_err(), fail::LOST);
            });
            server.wait();
            client.wait();
            let status = std::fs::read_to_string(&path).expect("status");
            let me = Me::from_status(&status);
            assert_eq!(me.users, [0, owner.uid, owner.uid, owner.uid]);
            assert_eq!((me.groups, &me.list[..]), ([0; 4], &[77][..]));
        }
    });
}

#[test]
fn a_message_id_of_another_client_impersonates_nobody() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_SECURITY);
        let (server, client) = pair::attach_taking(&pair.port, 1, ALPC_TAKE_SECURITY);
        let mut once = SecurityContainer::sending(0, ALPC_SECURITY_IMPERSONATE, ALPC_SECURITY_ONCE);
        pair.client
            .post_secured(b"root's", &mut once)
            .expect("post");
        let roots = pair.port.receive().expect("receive");
        let own = Me::now();
        // Another connection's ends, either of them, and another port, don't hold that.
        let elsewhere = Pair::new();
        for port in [
            &client,
            &server,
            &pair.client,
            &elsewhere.port,
            &elsewhere.server,
        ] {
            let refused = port.impersonate(&roots).map(drop).unwrap_err();
            assert!(
                refused == fail::NOT_FOUND || refused == fail::NOT_OWNER,
                "{refused:?}"
            );
            assert_eq!(Me::now(), own);
        }
        // Nor does a client get its own words into the conversation of another one.
        let mut forged = Transfer::new().into(&roots).send(b"forged");
        let refused = forged.run(&client).map(drop).unwrap_err();
        assert!(
            refused == fail::NOT_FOUND || refused == fail::NOT_OWNER,
            "{refused:?}"
        );
        // What it sends by itself is its own, and lets nobody be impersonated.
        client.post(b"forged").expect("post");
        let forged = pair.port.receive().expect("receive");
        assert_ne!(forged.id, roots.id);
        let refused = pair.port.impersonate(&forged).map(drop);
        assert_eq!(refused.unwrap_err(), fail::NOT_GRANTED);
        pair.port.impersonate(&roots).expect("impersonate");
    });
}

#[test]
fn who_gives_up_capabilities_while_impersonating_does_not_regain_them() {
    isolated(|| {
        meet((ROOT, || {}), (ALICE, || {}), |port, request| {
            let own = Me::now();
            let way_back = port.impersonate(request).expect("impersonate");
            // SAFETY: Takes no pointer.
            let dropped = unsafe {
                set_capabilities(1 << 8, own.permitted);
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)
            };
            assert_eq!(dropped, 0);
            part_ids_from_capabilities();
            way_back.revert().expect("revert");
            // SAFETY: Takes no pointer.
            let (bounded, bits) = unsafe {
                (
                    libc::prctl(libc::PR_CAPBSET_READ, CAP_DAC_OVERRIDE),
                    libc::prctl(libc::PR_GET_SECUREBITS),
                )
            };
            assert_eq!((bounded, bits as u64), (0, SECBIT_NO_SETUID_FIXUP));
            assert_eq!(Me::now().effective, 1 << 8);
        });
    });
}

/// Somebody, by few ids and capabilities, so that they meet often.
#[derive(Clone, Debug)]
struct Somebody {
    users: [u32; 3],
    fs_user: u32,
    groups: [u32; 3],
    fs_group: u32,
    list: Vec<u32>,
    effective: u64,
    permitted: u64,
}

const USERS: [u32; 4] = [0, 1000, 1001, 1002];
const GROUPS: [u32; 5] = [0, 7, 1000, 1001, STAFF];

impl Somebody {
    fn any(rng: &mut Rng) -> Self {
        let mask = |rng: &mut Rng| match rng.below(4) {
            0 => 0,
            1 => !0,
            _ => rng.word() | rng.word(),
        };
        let permitted = mask(rng);
        let users = [0; 3].map(|_| *rng.pick(&USERS));
        let groups = [0; 3].map(|_| *rng.pick(&GROUPS));
        let some = rng.below(3) + 1;
        Self {
            users,
            fs_user: *rng.pick(&USERS),
            groups,
            fs_group: *rng.pick(&GROUPS),
            list: GROUPS.into_iter().filter(|_| rng.one_in(some)).collect(),
            effective: permitted & mask(rng),
            permitted,
        }
    }

    /// Somebody who is like that in most respects.
    fn like(&self, rng: &mut Rng) -> Self {
        let mut other = Self::any(rng);
        if !rng.one_in(3) {
            other.fs_user = *rng.pick(&[self.users[0], self.users[1], self.users[2], self.fs_user]);
        }
        if !rng.one_in(3) {
            let own = [
                self.groups[0],
                self.groups[1],
                self.groups[2],
                self.fs_group,
            ];
            other.fs_group = *rng.pick(&own);
        }
        if !rng.one_in(3) {
            other.list = self.list.clone();
        }
        other
    }

    /// Makes the calling thread, which is root, that, but for its capabilities.
    fn become_it(&self) {
        part_ids_from_capabilities();
        set_list(&self.list);
        let [real, effective, saved] = self.groups;
        set_groups(real, effective, saved);
        set_fs_group(self.fs_group);
        let [real, effective, saved] = self.users;
        set_users(real, effective, saved);
        set_fs_user(self.fs_user);
    }

    fn keep_capabilities(&mut self) {
        let all = Me::now().permitted;
        (self.effective, self.permitted) = (self.effective & all, self.permitted & all);
        set_capabilities(self.effective, self.permitted);
    }

    /// Whether the calling thread, which is that, can become this by system calls.
    fn can_become(&self, other: &Self) -> bool {
        let mut good = true;
        // SAFETY: Numbers, and the address of a live list. They are calls of this thread alone.
        unsafe {
            if self.list != other.list {
                let list = &other.list;
                good &= libc::syscall(libc::SYS_setgroups, list.len(), list.as_ptr()) == 0;
            }
            if self.fs_group != other.fs_group {
                libc::syscall(libc::SYS_setfsgid, other.fs_group);
                good &= libc::syscall(libc::SYS_setfsgid, -1) == i64::from(other.fs_group);
            }
            if self.fs_user != other.fs_user {
                libc::syscall(libc::SYS_setfsuid, other.fs_user);
                good &= libc::syscall(libc::SYS_setfsuid, -1) == i64::from(other.fs_user);
            }
        }
        good
    }
}

/// In a process that ends with it.
fn in_a_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: The child makes system calls and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let result = i32::from(body());
        // SAFETY: Ends the child without running anything of its parent's.
        unsafe { libc::_exit(result) };
    }
    let mut status = 0;
    // SAFETY: A live status word.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status));
    libc::WEXITSTATUS(status) == 1
}

/// One pair: whether the server has become the client. `mapped` is for a server in a namespace.
fn try_pair(rng: &mut Rng, mapped: Option<(&[u32], &[u32], bool)>) -> bool {
    let mut server = Somebody::any(rng);
    let mut client = server.like(rng);
    let only = rng.one_in(2);
    let peer = Peer::spawn(ROOT, |link| {
        let (port, _server, request) = serve(link, || {
            server.become_it();
            if mapped.is_some() {
                unshare(libc::CLONE_NEWUSER);
                link.sync();
                link.sync();
            }
            server.keep_capabilities();
        });
        let own = Me::now();
        let expected = in_a_child(|| server.can_become(&client));
        let reached = match port.impersonate(&request) {
            Ok(way_back) => {
                assert!(expected, "beyond reach: {server:?} {client:?}");
                let me = Me::now();
                let mut effective = 0;
                if mapped.is_none() {
                    assert_eq!(me.fs(), (client.fs_user, client.fs_group));
                    assert_eq!(me.list, client.list);
                    // What the kernel has made of those asked for.
                    let theirs =
                        u64::from_str_radix(std::str::from_utf8(&request.data).expect("text"), 16);
                    effective = theirs.expect("a mask") & own.effective;
                    if client.fs_user != 0 {
                        effective &= !OF_FILES;
                    }
                }
                assert_eq!(me.effective, effective, "{server:?} {client:?}");
                assert_eq!(me.permitted, own.permitted);
                assert_eq!(
                    (&me.users[..3], &me.groups[..3]),
                    (&own.users[..3], &own.groups[..3])
                );
                way_back.revert().expect("revert");
                1
            }
            Err(failure) => {
                assert_eq!(failure, fail::BEYOND_REACH);
                assert!(!expected, "within reach: {server:?} {client:?}");
                0
            }
        };
        assert_eq!(Me::now(), own);
        port.reply(&request, b"").expect("reply");
        link.put(reached);
    });
    if let Some((users, groups, may_set)) = mapped {
        peer.sync();
        let proc = format!("/proc/{}", peer.pid());
        if !may_set {
            std::fs::write(format!("{proc}/setgroups"), "deny").expect("setgroups");
        }
        for (file, ids) in [("uid_map", users), ("gid_map", groups)] {
            let map: Vec<String> = ids.iter().map(|id| format!("{id} {id} 1\n")).collect();
            let map = map.concat();
            std::fs::write(format!("{proc}/{file}"), map).expect(file);
        }
        peer.sync();
    }
    peer.sync();
    let caller = Peer::spawn(ROOT, |_| {
        client.become_it();
        client.keep_capabilities();
        let mut connect = Connect::to(NAME);
        connect.arg.security = ALPC_SECURITY_IMPERSONATE;
        let mut theirs = client.permitted;
        if only {
            connect.arg.security |= ALPC_SECURITY_EFFECTIVE_ONLY;
            theirs = client.effective;
        }
        let port = connect.run().expect("connect").port;
        port.request(format!("{theirs:x}").as_bytes())
            .expect("request");
    });
    let reached = peer.take();
    peer.wait();
    caller.wait();
    reached == 1
}

#[test]
fn a_server_becomes_whom_system_calls_could_make_it_and_nobody_else() {
    isolated_long(2, || {
        let seed = seed();
        note!("ALPC_SEED={seed}");
        let rng = &mut Rng::new(seed);
        let mut reached = [0; 2];
        for round in 0..rounds(120) {
            let case = (round % 2) as usize;
            let ids = |rng: &mut Rng, all: &[u32]| -> Vec<u32> {
                let chosen = all.iter().copied().filter(|_| !rng.one_in(3));
                chosen.collect()
            };
            let (mut users, mut groups) = (ids(rng, &USERS), ids(rng, &GROUPS));
            // There is no empty map.
            if users.is_empty() {
                users.push(0);
            }
            if groups.is_empty() {
                groups.push(0);
            }
            let mapped = (&users[..], &groups[..], !rng.one_in(3));
            reached[case] += u32::from(try_pair(rng, (case == 1).then_some(mapped)));
        }
        note!("reached: {reached:?}");
        assert!(reached.iter().all(|&count| count > 5), "{reached:?}");
    });
}
