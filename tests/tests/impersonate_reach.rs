// SPDX-License-Identifier: MIT OR Apache-2.0

//! What impersonation must not give: to a server what it couldn't make of itself by system calls,
//! to a client any hold on its server, to a thread what it has put down meanwhile.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use alpc_tests::creds::*;
use alpc_tests::privilege::unshare;
use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "impersonate-reach/server";
const STAFF: u32 = 4242;

fn reads(path: &Path) -> bool {
    std::fs::read(path).is_ok()
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
        let (port, _server, request) = serve(NAME, link, prepare);
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
            let (port, _server, request) = serve(NAME, link, || {});
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
            let (port, _server, request) = serve(NAME, link, || {});
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
            let (port, _server, request) = serve(NAME, link, || {});
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
                let (port, _server, request) = serve(NAME, link, || {});
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
