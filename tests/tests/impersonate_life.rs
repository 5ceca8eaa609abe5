// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an impersonation does when threads and processes begin, change and end.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use alpc_tests::creds::*;
use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "impersonate-life/server";
const GROUPS: &[u32] = &[7, 4242];
const DAVE: User = ALICE.with_groups(GROUPS);

/// A port, and a request of Dave's that is held there.
struct Stage {
    port: Port,
    _server: Port,
    request: Message,
    _client: Peer,
}

impl Stage {
    fn new() -> Self {
        let port = { Create::named(NAME).open() }.run().expect("create");
        let client = Peer::spawn(DAVE, |_| {
            let mut connect = Connect::to(NAME);
            connect.arg.security = ALPC_SECURITY_IMPERSONATE;
            let client = connect.run().expect("connect").port;
            let _ = client.request(b"x");
        });
        let asks = port.receive().expect("receive");
        let server = Accept::new(asks.id).run(&port).expect("accept");
        let request = port.receive().expect("receive");
        Self {
            port,
            _server: server,
            request,
            _client: client,
        }
    }

    fn impersonate(&self) -> Port {
        let way_back = self.port.impersonate(&self.request).expect("impersonate");
        assert!(is_dave(&Me::now()));
        way_back
    }
}

fn is_dave(me: &Me) -> bool {
    me.fs() == (DAVE.uid, DAVE.gid) && me.list == GROUPS && me.effective == 0
}

#[test]
fn other_threads_stay_what_they_are() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        let way_back = stage.impersonate();
        // A new thread is what its maker is at that time, and has no way back of its own.
        let new = thread::scope(|scope| {
            let inherits = || (is_dave(&Me::now()), way_back.revert(), is_dave(&Me::now()));
            scope.spawn(inherits).join().expect("join")
        });
        assert_eq!(new, (true, Err(libc::EPERM), true));
        way_back.revert().expect("revert");
        assert_eq!(Me::now(), own);
        // One that was there before doesn't change.
        let (go, gone) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        thread::scope(|scope| {
            let old = scope.spawn(|| {
                go.wait();
                let me = Me::now();
                gone.wait();
                me
            });
            let way_back = stage.impersonate();
            go.wait();
            gone.wait();
            assert_eq!(old.join().expect("join"), own);
            way_back.revert().expect("revert");
        });
    });
}

#[test]
fn the_way_back_is_gone_once() {
    isolated(|| {
        let stage = Stage::new();
        let way_back = stage.impersonate();
        way_back.revert().expect("revert");
        assert_eq!(way_back.revert(), Err(libc::EALREADY));
        for _ in 0..1000 {
            stage.impersonate().revert().expect("revert");
        }
    });
}

#[test]
fn closing_the_last_descriptor_goes_back_for_its_thread() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        let way_back = stage.impersonate();
        let second = way_back.duplicate();
        drop(way_back);
        assert!(is_dave(&Me::now()));
        drop(second);
        assert_eq!(Me::now(), own);
    });
}

#[test]
fn a_thread_whose_way_back_another_closes_stays_what_it_is() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        let way_back = stage.impersonate();
        thread::scope(|scope| scope.spawn(move || drop(way_back)).join().expect("join"));
        let me = Me::now();
        assert!(is_dave(&me));
        // It was no more than it could be, and can make itself what it was.
        set_capabilities(own.effective, own.permitted);
        set_list(&own.list);
        set_users(0, 0, 0);
        set_group(0);
        set_capabilities(own.effective, own.permitted);
        assert_eq!(Me::now(), own);
    });
}

#[test]
fn a_child_is_what_its_parent_is_and_has_no_way_back() {
    isolated(|| {
        let stage = Stage::new();
        let way_back = stage.impersonate();
        // SAFETY: The child only looks at itself and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let good =
                is_dave(&Me::now()) && way_back.revert() == Err(libc::EPERM) && is_dave(&Me::now());
            drop(way_back);
            let good = good && is_dave(&Me::now());
            // SAFETY: Ends the child without running anything of its parent's.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let mut status = 0;
        // SAFETY: A live status word.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        way_back.revert().expect("the child has closed its own");
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

/// A program executed by the calling thread.
fn execute(path: &std::path::Path) -> std::io::Error {
    Command::new("/proc/self/exe")
        .args(["--exact", "a_program_says_who_it_is"])
        .env(SAYS, path)
        .exec()
}

#[test]
fn a_program_that_is_executed_is_the_server() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        let place = Place::new();
        for from_thread in [false, true] {
            let path = place.path().join(format!("status.{from_thread}"));
            let child = Peer::fork(ROOT, |_| {
                let run = || {
                    std::mem::forget(stage.impersonate());
                    panic!("{}", execute(&path));
                };
                match from_thread {
                    true => thread::scope(|scope| drop(scope.spawn(run).join())),
                    false => run(),
                }
            });
            child.wait();
            let status = std::fs::read_to_string(&path).expect("status");
            assert_eq!(Me::from_status(&status), own, "{from_thread}");
        }
    });
}

#[test]
fn what_a_thread_becomes_meanwhile_stays() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        let in_thread = |body: &(dyn Fn() + Sync)| {
            thread::scope(|scope| scope.spawn(body).join().expect("join"));
        };
        // Capabilities that are given up are not given back, nor those that could be raised again.
        in_thread(&|| {
            let way_back = stage.impersonate();
            set_capabilities(0, own.permitted & !(1 << CAP_DAC_OVERRIDE));
            way_back.revert().expect("revert");
            let me = Me::now();
            assert_eq!((me.fs(), &me.list), ((0, 0), &own.list));
            assert_eq!(me.permitted, own.permitted & !(1 << CAP_DAC_OVERRIDE));
            assert_eq!(me.effective, 0);
        });
        // Nor are ids. Whoever becomes Bob for good, or Dave, is that for files too.
        for user in [BOB, DAVE] {
            in_thread(&|| {
                let way_back = stage.impersonate();
                set_capabilities(own.effective, own.permitted);
                set_users(user.uid, user.uid, user.uid);
                let before = Me::now();
                way_back.revert().expect("revert");
                let me = Me::now();
                assert_eq!(me.users, [user.uid; 4]);
                assert_eq!((me.effective, me.permitted), (0, 0));
                assert_eq!((before.groups[3], me.groups), (DAVE.gid, [0; 4]));
                assert_eq!(me.list, own.list);
            });
        }
        // What has been set since is no longer what was taken on.
        in_thread(&|| {
            let way_back = stage.impersonate();
            set_capabilities(own.effective, own.permitted);
            set_fs_user(CAROL.uid);
            set_list(&[99]);
            way_back.revert().expect("revert");
            let me = Me::now();
            assert_eq!((me.fs(), &me.list[..]), ((CAROL.uid, 0), &[99][..]));
        });
    });
}

#[test]
fn the_end_of_the_message_or_of_the_port_is_not_the_end_of_it() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        let way_back = stage.impersonate();
        stage.port.reply(&stage.request, b"").expect("reply");
        assert!(is_dave(&Me::now()));
        drop(stage);
        assert!(is_dave(&Me::now()));
        way_back.revert().expect("revert");
        assert_eq!(Me::now(), own);
    });
}

#[test]
fn an_impersonation_within_another_is_one_of_what_the_thread_is_then() {
    isolated(|| {
        let stage = Stage::new();
        let pair = Pair::taking(ALPC_TAKE_SECURITY);
        let mut once = SecurityContainer::sending(0, ALPC_SECURITY_IMPERSONATE, ALPC_SECURITY_ONCE);
        let bob = Peer::spawn(BOB, |link| {
            let client = Port::from(link.take_fd());
            client.post_secured(b"", &mut once).expect("post");
        });
        bob.put_fd(&pair.client);
        bob.wait();
        let message = pair.port.receive().expect("receive");
        let own = Me::now();
        let outer = stage.impersonate();
        // Who is Dave can be Dave, and go back to being that.
        let inner = stage.impersonate();
        inner.revert().expect("revert");
        assert!(is_dave(&Me::now()));
        // It has not the capabilities now to be anybody else.
        let refused = pair.port.impersonate(&message).map(drop);
        assert_eq!(refused.unwrap_err(), fail::BEYOND_REACH);
        outer.revert().expect("revert");
        assert_eq!(Me::now(), own);
        pair.port.impersonate(&message).expect("impersonate");
        // Out of order: what is left has not more than before.
        let outer = stage.impersonate();
        let inner = stage.impersonate();
        outer.revert().expect("revert");
        inner.revert().expect("revert");
        let me = Me::now();
        assert_eq!((me.fs(), me.effective), ((0, 0), 0));
        assert_eq!(me.permitted, own.permitted);
    });
}

#[test]
fn threads_and_processes_that_end_impersonating_leave_nothing() {
    isolated(|| {
        let stage = Stage::new();
        let own = Me::now();
        for _ in 0..20 {
            thread::scope(|scope| {
                let leaves = || std::mem::forget(stage.impersonate());
                scope.spawn(leaves).join().expect("join");
            });
        }
        let killed = Peer::fork(ROOT, |link| {
            std::mem::forget(stage.impersonate());
            link.sync();
            link.sync();
        });
        killed.sync();
        killed.kill();
        assert_eq!(Me::now(), own);
    });
}

#[test]
fn a_library_that_sets_ids_of_all_threads_leaves_none_with_others() {
    isolated(|| {
        let stage = Stage::new();
        // SAFETY: Takes no pointer. The library makes all threads call it.
        let become_bob = || unsafe { libc::setresuid(BOB.uid, BOB.uid, BOB.uid) };
        let with_thread = |impersonates: fn(&Stage) -> Option<Port>| {
            Peer::fork(ROOT, |link| {
                let (go, gone) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
                thread::scope(|scope| {
                    let thread = scope.spawn(|| {
                        let way_back = impersonates(&stage);
                        go.wait();
                        gone.wait();
                        drop(way_back);
                        Me::now()
                    });
                    go.wait();
                    assert_eq!(become_bob(), 0);
                    gone.wait();
                    let me = thread.join().expect("join");
                    assert_eq!(me.users, [BOB.uid; 4]);
                    assert_eq!(Me::now().users, [BOB.uid; 4]);
                    assert_eq!((me.effective, me.permitted), (0, 0));
                    link.put(1);
                });
            })
        };
        let quiet = with_thread(|_| None);
        assert_eq!(quiet.take(), 1);
        quiet.wait();
        // With the capability, it is what the others are, and has no way back from that.
        let able = with_thread(|stage| {
            let own = Me::now();
            let way_back = stage.impersonate();
            set_capabilities(own.effective, own.permitted);
            Some(way_back)
        });
        assert_eq!(able.take(), 1);
        able.wait();
        // Without, the process ends there and then.
        let unable = with_thread(|stage| Some(stage.impersonate()));
        unable.aborted();
    });
}

#[test]
fn signals_ptrace_and_calls_are_the_servers() {
    isolated(|| {
        let stage = Stage::new();
        let bob = Peer::spawn(BOB, |link| link.sync());
        let way_back = stage.impersonate();
        // The real, effective and saved ids are what signals and messages go by.
        let pair = Pair::new();
        pair.client.one_way(b"").expect("send");
        let message = pair.port.receive().expect("receive");
        assert_eq!((message.uid, message.gid), (0, 0));
        way_back.revert().expect("revert");
        bob.sync();
        bob.wait();
    });
}

#[test]
fn a_process_that_impersonates_is_not_dumpable_any_more() {
    isolated(|| {
        let stage = Stage::new();
        let server = Peer::fork(ROOT, |_| {
            // SAFETY: Takes no pointer.
            let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
            assert_eq!(dumpable(), 1);
            let way_back = stage.impersonate();
            assert_ne!(dumpable(), 1);
            way_back.revert().expect("revert");
            assert_ne!(dumpable(), 1);
        });
        server.wait();
    });
}
