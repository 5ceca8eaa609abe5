// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whom a server becomes, compared with whom system calls would make it, over generated pairs.

use alpc_tests::creds::*;
use alpc_tests::privilege::unshare;
use alpc_tests::raw::*;
use alpc_tests::rng::{seed, Rng};
use alpc_tests::*;

const NAME: &str = "impersonate-pairs/server";
const STAFF: u32 = 4242;
const PAIRS: u64 = 120;

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
        let (port, _server, request) = serve(NAME, link, || {
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
        for round in 0..rounds(PAIRS) {
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
        if rounds(PAIRS) >= PAIRS {
            assert!(reached.iter().all(|&count| count > 5), "{reached:?}");
        }
    });
}
