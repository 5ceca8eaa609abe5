// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may impersonate whom, and what that gives: real files, of several users.

use std::path::{Path, PathBuf};

use alpc_tests::creds::*;
use alpc_tests::plenty::knock;
use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "impersonate/server";
const IMPERSONATE: u32 = ALPC_SECURITY_IMPERSONATE;
const DYNAMIC: u32 = IMPERSONATE | ALPC_SECURITY_DYNAMIC;
const STAFF: u32 = 4242;
const IN_STAFF: &[u32] = &[7, STAFF];
/// A group of the server's.
const OWN: u32 = 4343;

fn unshare(what: i32) {
    // SAFETY: Takes no pointer; the caller has one thread.
    let result = unsafe { libc::unshare(what) };
    assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
}

fn server() -> Port {
    let create = Create::named(NAME).open().taking(ALPC_TAKE_SECURITY);
    { create }.run().expect("create")
}

fn connect(security: u32) -> Port {
    let mut connect = Connect::to(NAME).taking(ALPC_TAKE_SECURITY);
    connect.arg.security = security;
    connect.run().expect("connect").port
}

/// A client that has sent one request, which the server holds.
struct Held {
    client: Peer,
    _server: Port,
    request: Message,
}

impl Held {
    /// `prepare` runs in the client before it connects, and gives the payload.
    fn new(port: &Port, user: User, security: u32, prepare: impl FnOnce(&Link) -> Vec<u8>) -> Self {
        let client = Peer::spawn(user, |link| {
            let data = prepare(link);
            let client = connect(security);
            client.request(&data).expect("request");
        });
        let server = Self::admit(port);
        let request = port.receive().expect("receive");
        assert_eq!(request.kind, ALPC_TYPE_REQUEST);
        Self {
            client,
            _server: server,
            request,
        }
    }

    fn admit(port: &Port) -> Port {
        loop {
            let request = port.receive().expect("receive");
            if request.kind == ALPC_TYPE_CONNECTION_REQUEST {
                return Accept::new(request.id).run(port).expect("accept");
            }
        }
    }

    fn of(port: &Port, user: User) -> Self {
        Self::new(port, user, IMPERSONATE, |_| b"x".to_vec())
    }

    fn end(self, port: &Port) {
        port.reply(&self.request, b"").expect("reply");
        self.client.wait();
    }
}

/// Files with all kinds of permissions, in the order of [`attempts`].
fn files(place: &Place) -> Vec<PathBuf> {
    let owners = [(0, 0), (ALICE.uid, ALICE.gid), (BOB.uid, BOB.gid)];
    let groups = [(0, STAFF), (BOB.uid, STAFF)];
    let mut files = Vec::new();
    for (uid, gid) in owners.into_iter().chain(groups) {
        // The last two: a group that has less than everybody else, an owner that has.
        for mode in [0o600, 0o640, 0o604, 0o606, 0o044, 0o604] {
            let name = format!("{uid}.{gid}.{mode:o}.{}", files.len());
            files.push(place.file(&name, uid, gid, mode));
        }
        for mode in [0o700, 0o750, 0o705, 0o770, 0o777] {
            let name = format!("{uid}.{gid}.{mode:o}.{}", files.len());
            files.push(place.directory(&name, uid, gid, mode));
        }
    }
    files
}

/// What the caller may do with each: read it, write to it, or reach and make files in it.
fn attempts(files: &[PathBuf]) -> Vec<u8> {
    files
        .iter()
        .flat_map(|path| {
            let reads = std::fs::File::open(path).is_ok();
            let writes = std::fs::OpenOptions::new().append(true).open(path).is_ok();
            let reaches = std::fs::read(path.join("inner")).is_ok();
            let made = path.join("made");
            let makes = std::fs::write(&made, "").is_ok();
            if makes {
                std::fs::remove_file(made).expect("remove");
            }
            [reads, writes, reaches, makes].map(u8::from)
        })
        .collect()
}

#[test]
fn a_server_can_do_with_files_exactly_what_its_client_can() {
    isolated(|| {
        let (port, place) = (server(), Place::new());
        let files = files(&place);
        let own = Me::now();
        let all = attempts(&files);
        let mut seen = vec![all];
        for user in [
            ROOT,
            ROOT.with_groups(IN_STAFF),
            ALICE,
            ALICE.with_groups(IN_STAFF),
            BOB,
            BOB.with_groups(&[ALICE.gid]),
            User {
                gid: STAFF,
                ..CAROL
            },
        ] {
            for security in [IMPERSONATE, DYNAMIC] {
                let held = Held::new(&port, user, security, |_| attempts(&files));
                let way_back = port.impersonate(&held.request).expect("impersonate");
                assert_eq!(attempts(&files), held.request.data, "{user:?}");
                let me = Me::now();
                assert_eq!((me.fs(), &me.list[..]), ((user.uid, user.gid), user.groups));
                // Nothing else has changed.
                assert_eq!(
                    (me.users[..3].to_vec(), me.groups[..3].to_vec()),
                    (vec![0; 3], vec![0; 3])
                );
                assert_eq!(me.permitted, own.permitted);
                way_back.revert().expect("revert");
                assert_eq!(Me::now(), own);
                seen.push(held.request.data.clone());
                held.end(&port);
            }
        }
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 5, "the users differ in what they may do");
    });
}

#[test]
fn what_is_made_belongs_to_the_client() {
    use std::os::unix::fs::MetadataExt;
    isolated(|| {
        let (port, place) = (server(), Place::new());
        let directory = place.directory("open", 0, 0, 0o777);
        let held = Held::of(&port, ALICE);
        let way_back = port.impersonate(&held.request).expect("impersonate");
        let made = directory.join("made");
        std::fs::write(&made, "").expect("write");
        way_back.revert().expect("revert");
        let metadata = made.metadata().expect("metadata");
        assert_eq!((metadata.uid(), metadata.gid()), (ALICE.uid, ALICE.gid));
        held.end(&port);
    });
}

#[test]
fn nobody_is_impersonated_who_has_not_said_so() {
    isolated(|| {
        let port = server();
        let own = Me::now();
        for level in [
            0,
            ALPC_SECURITY_IDENTIFY,
            ALPC_SECURITY_ANONYMOUS,
            ALPC_SECURITY_ANONYMOUS | ALPC_SECURITY_DYNAMIC,
        ] {
            let held = Held::new(&port, ALICE, level, |_| b"x".to_vec());
            let refused = port.impersonate(&held.request).map(drop);
            assert_eq!(refused.unwrap_err(), fail::NOT_GRANTED);
            assert_eq!(Me::now(), own);
            held.end(&port);
        }
    });
}

#[test]
fn a_client_without_the_right_is_not_impersonated_whatever_it_says() {
    isolated(|| {
        let entries = [
            withhold(ALPC_ACL_USER, ALICE.uid, ALPC_RIGHT_IMPERSONATE),
            allow(ALPC_ACL_EVERYONE, 0),
        ];
        let mut create = Create::named(NAME).acl(&entries).taking(ALPC_TAKE_SECURITY);
        let port = create.run().expect("create");
        let own = Me::now();
        for (user, granted) in [(ALICE, false), (BOB, true)] {
            let held = Held::of(&port, user);
            match port.impersonate(&held.request) {
                Ok(way_back) if granted => way_back.revert().expect("revert"),
                result => assert_eq!(result.map(drop), Err(fail::NOT_GRANTED)),
            }
            assert_eq!(Me::now(), own);
            held.end(&port);
        }
    });
}

#[test]
fn the_right_is_the_clients_and_not_that_of_who_impersonates_a_server() {
    isolated(|| {
        let port = {
            let entries = [grant(ALPC_ACL_EVERYONE, 0, ALPC_RIGHT_CONNECT)];
            let mut create = Create::named(NAME).acl(&entries).taking(ALPC_TAKE_SECURITY);
            create.run().expect("create")
        };
        let mut begun = Connect::to(NAME).taking(ALPC_TAKE_SECURITY).asynchronous();
        let client = begun.run().expect("connect").port;
        let server = Held::admit(&port);
        assert_eq!(
            client.receive().expect("answer").kind,
            ALPC_TYPE_CONNECTION_REPLY
        );
        let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
        server.post_secured(b"", &mut once).expect("post");
        let message = client.receive().expect("receive");
        client
            .impersonate(&message)
            .expect("granted")
            .revert()
            .expect("revert");
        let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
        client.post_secured(b"", &mut once).expect("post");
        let message = port.receive().expect("receive");
        let refused = port.impersonate(&message).map(drop);
        assert_eq!(refused, Err(fail::NOT_GRANTED));
    });
}

#[test]
fn a_context_goes_before_the_level_of_the_connection() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_SECURITY);
        for (port, at) in [(&pair.client, &pair.port), (&pair.server, &pair.client)] {
            for level in [IMPERSONATE, ALPC_SECURITY_IDENTIFY] {
                let mut once = SecurityContainer::sending(0, level, ALPC_SECURITY_ONCE);
                port.post_secured(b"", &mut once).expect("post");
                let message = at.receive().expect("receive");
                match (level, at.impersonate(&message)) {
                    (IMPERSONATE, Ok(way_back)) => way_back.revert().expect("revert"),
                    (_, Err(failure)) => assert_eq!(failure, fail::NOT_GRANTED),
                    (_, Ok(_)) => panic!("not granted"),
                }
            }
            port.post(b"").expect("post");
            let message = at.receive().expect("receive");
            let refused = at.impersonate(&message).map(drop);
            assert_eq!(refused.unwrap_err(), fail::NOT_GRANTED);
        }
    });
}

#[test]
fn a_revoked_context_is_not_impersonated_wherever_its_message_is() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_SECURITY);
        let id = pair.client.create_security(IMPERSONATE).expect("create");
        let mut container = SecurityContainer::sending(id, 0, 0);
        for _ in 0..2 {
            pair.client.post_secured(b"", &mut container).expect("post");
        }
        let held = pair.port.receive().expect("receive");
        let begun = pair.port.impersonate(&held).expect("impersonate");
        pair.client.revoke_security(id).expect("revoke");
        // What has begun goes on, and ends as ever.
        begun.revert().expect("revert");
        let under_way = pair.port.receive().expect("receive");
        for message in [held, under_way] {
            let refused = pair.port.impersonate(&message).map(drop);
            assert_eq!(refused.unwrap_err(), fail::REVOKED);
        }
    });
}

#[test]
fn static_is_who_connected_and_dynamic_who_sends() {
    isolated(|| {
        let port = server();
        for (security, expected) in [(IMPERSONATE, 0), (DYNAMIC, BOB.uid)] {
            let client = Peer::spawn(ROOT, |_| {
                let client = connect(security);
                BOB.become_it();
                client.request(b"").expect("request");
            });
            let _server = Held::admit(&port);
            let request = port.receive().expect("receive");
            let way_back = port.impersonate(&request).expect("impersonate");
            assert_eq!(Me::now().users[3], expected);
            way_back.revert().expect("revert");
            port.reply(&request, b"").expect("reply");
            client.wait();
        }
        // The same of contexts, which capture who makes them.
        let takes = ALPC_TAKE_SECURITY;
        let pair = Pair::taking(takes);
        for (security, expected) in [(IMPERSONATE, 0), (DYNAMIC, ALICE.uid)] {
            let id = pair.client.create_security(security).expect("create");
            let sender = Peer::fork(ALICE, |_| {
                let mut container = SecurityContainer::sending(id, 0, 0);
                pair.client.post_secured(b"", &mut container).expect("post");
            });
            sender.wait();
            let message = pair.port.receive().expect("receive");
            let way_back = pair.port.impersonate(&message).expect("impersonate");
            assert_eq!(Me::now().users[3], expected);
            way_back.revert().expect("revert");
        }
    });
}

/// Runs `body` in a server of its own, and gives its port's descriptor to nobody.
fn serving(user: User, prepare: impl FnOnce(), body: impl FnOnce(&Port, &Me)) -> Peer {
    Peer::spawn(user, |link| {
        let port = server();
        prepare();
        let own = Me::now();
        link.sync();
        body(&port, &own);
    })
}

fn client_of(user: User, security: u32) -> Peer {
    Peer::spawn(user, move |_| {
        let client = connect(security);
        client.request(b"x").expect("request");
    })
}

/// Answers the next request after looking whether its sender can be impersonated.
fn judge(port: &Port, own: &Me) -> Result<Me, Failure> {
    let server = Held::admit(port);
    let request = port.receive().expect("receive");
    let judged = port.impersonate(&request).map(|way_back| {
        let me = Me::now();
        way_back.revert().expect("revert");
        me
    });
    assert_eq!(&Me::now(), own, "as before");
    port.reply(&request, b"").expect("reply");
    // The notice of its end comes behind.
    while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
    drop(server);
    judged
}

/// Whether `server` can impersonate each of these clients.
fn reaches(user: User, prepare: impl FnOnce(), clients: &[(User, bool)]) {
    let expected: Vec<bool> = clients.iter().map(|(_, reached)| *reached).collect();
    let server = serving(user, prepare, |port, own| {
        for (index, expected) in expected.into_iter().enumerate() {
            match judge(port, own) {
                Ok(_) => assert!(expected, "client {index} is reached"),
                Err(failure) => {
                    assert_eq!(failure, fail::BEYOND_REACH);
                    assert!(!expected, "client {index} is out of reach");
                }
            }
        }
    });
    server.sync();
    for (client, _) in clients {
        client_of(*client, IMPERSONATE).wait();
    }
    server.wait();
}

#[test]
fn a_server_without_capabilities_reaches_nobody_but_itself() {
    isolated(|| {
        let staff = ALICE.with_groups(IN_STAFF);
        reaches(
            staff,
            || {},
            &[
                (staff, true),
                // Who leaves a group for another one may leave one that denies.
                (
                    User {
                        gid: STAFF,
                        ..staff
                    },
                    false,
                ),
                (BOB.with_groups(IN_STAFF), false),
                (ROOT.with_groups(IN_STAFF), false),
                (User { gid: 9, ..staff }, false),
                // More groups, other ones, fewer: less may be more.
                (ALICE.with_groups(&[7, 8, STAFF]), false),
                (ALICE.with_groups(&[8, STAFF]), false),
                (ALICE.with_groups(&[STAFF]), false),
                (ALICE, false),
            ],
        );
    });
}

#[test]
fn users_and_groups_take_a_capability_each() {
    isolated(|| {
        let bob = BOB.with_groups(&[]);
        let same_user = User {
            gid: BOB.gid,
            ..ROOT
        };
        let same_group = User { gid: 0, ..BOB };
        let more = ROOT.with_groups(IN_STAFF);
        let drop_one = |capability: u32| move || drop_capabilities(1 << capability, false);
        reaches(
            ROOT,
            drop_one(CAP_SETUID),
            &[
                (ROOT, true),
                (bob, false),
                (same_user, true),
                (same_group, false),
                (more, true),
            ],
        );
        reaches(
            ROOT,
            drop_one(CAP_SETGID),
            &[
                (ROOT, true),
                (bob, false),
                (same_user, false),
                (same_group, true),
                (more, false),
            ],
        );
    });
}

#[test]
fn a_group_that_denies_is_not_left_behind() {
    isolated(|| {
        let place = Place::new();
        // Everybody may read it but members of the group.
        let file = place.file("denies", 0, STAFF, 0o604);
        let member = ALICE.with_groups(&[STAFF]);
        let reads = |path: &Path| std::fs::read(path).is_ok();
        // A server that may take groups on is denied as the client is.
        let port = server();
        let held = Held::new(&port, member, IMPERSONATE, |_| vec![u8::from(reads(&file))]);
        assert_eq!(held.request.data, [0]);
        let way_back = port.impersonate(&held.request).expect("impersonate");
        assert!(!reads(&file));
        way_back.revert().expect("revert");
        held.end(&port);
        drop(port);
        // One that is a member itself can't lose the group for a client that is none.
        reaches(member, || {}, &[(member, true), (ALICE, false)]);
    });
}

#[test]
fn it_takes_no_longer_for_each_group_however_many_there_are() {
    isolated(|| {
        let port = server();
        let time = |count: u32| {
            set_list(&(0..count).map(|i| 2 * i + 1).collect::<Vec<_>>());
            let held = Held::new(&port, ROOT, IMPERSONATE, |_| {
                set_list(&(0..count).map(|i| 2 * i).collect::<Vec<_>>());
                b"x".to_vec()
            });
            let begun = std::time::Instant::now();
            let way_back = port.impersonate(&held.request).expect("impersonate");
            let time = begun.elapsed();
            way_back.revert().expect("revert");
            held.end(&port);
            time
        };
        let few = time(4096);
        let many = time(32768);
        note!("{few:?} for 4096, {many:?} for 32768");
        // Eight times as many; each with each would be 64 times.
        assert!(many < few * 24, "{many:?} after {few:?}");
        set_list(&[]);
    });
}

#[test]
fn capabilities_are_those_that_both_have() {
    isolated(|| {
        let place = Place::new();
        let file = place.file("alices", ALICE.uid, ALICE.gid, 0o600);
        let reads = || std::fs::read(&file).is_ok();
        let port = server();
        let dac = (1 << CAP_DAC_OVERRIDE) | (1 << 2);
        let cases = [
            // What the client could make effective counts, unless it says otherwise.
            (IMPERSONATE, false, true),
            (IMPERSONATE | ALPC_SECURITY_EFFECTIVE_ONLY, false, false),
            (IMPERSONATE, true, false),
        ];
        for (security, permitted_too, expected) in cases {
            let held = Held::new(&port, ROOT, security, |_| {
                drop_capabilities(dac, permitted_too);
                vec![1]
            });
            let way_back = port.impersonate(&held.request).expect("impersonate");
            assert_eq!(reads(), expected);
            way_back.revert().expect("revert");
            held.end(&port);
        }
        drop(port);
        // The server's count as well.
        let server = serving(
            ROOT,
            || drop_capabilities(dac, false),
            |port, own| {
                let me = judge(port, own).expect("impersonate");
                assert_eq!(me.effective & dac, 0);
                assert_eq!(me.effective, own.effective);
            },
        );
        server.sync();
        client_of(ROOT, IMPERSONATE).wait();
        server.wait();
    });
}

#[test]
fn root_of_another_namespace_is_nobody_here() {
    isolated(|| {
        let place = Place::new();
        let file = place.file("alices", ALICE.uid, ALICE.gid, 0o600);
        let roots = place.file("roots", 0, 0, 0o600);
        let port = server();
        let held = Held::new(&port, ROOT, IMPERSONATE, |_| {
            unshare(libc::CLONE_NEWUSER);
            // All capabilities, over nothing.
            assert_ne!(Me::now().effective, 0);
            let reads = [&file, &roots].map(|file| u8::from(std::fs::read(file).is_ok()));
            reads.to_vec()
        });
        assert_eq!(held.request.data, [0, 1]);
        let way_back = port.impersonate(&held.request).expect("impersonate");
        let reads = [&file, &roots].map(|file| u8::from(std::fs::read(file).is_ok()));
        assert_eq!(reads.to_vec(), held.request.data);
        assert_eq!(Me::now().effective, 0);
        way_back.revert().expect("revert");
        held.end(&port);
    });
}

/// A server that is root of a namespace with the ids from 100000 on, and what it makes of clients
/// with these ids outside: whether it reaches them.
fn contained(setgroups: bool, clients: &[(User, bool)]) {
    let expected: Vec<bool> = clients.iter().map(|(_, reached)| *reached).collect();
    let server = Peer::spawn(ROOT, |link| {
        set_list(&[]);
        unshare(libc::CLONE_NEWUSER);
        link.sync();
        link.sync();
        set_group(0);
        set_users(0, 0, 0);
        // Nothing that it takes on is more than it is.
        let port = server();
        let own = Me::now();
        link.sync();
        for (index, expected) in expected.into_iter().enumerate() {
            match judge(&port, &own) {
                Ok(_) => assert!(expected, "client {index} is reached"),
                Err(failure) => {
                    assert_eq!(failure, fail::BEYOND_REACH, "client {index}");
                    assert!(!expected, "client {index} is out of reach");
                }
            }
        }
    });
    server.sync();
    let proc = format!("/proc/{}", server.pid());
    if !setgroups {
        std::fs::write(format!("{proc}/setgroups"), "deny").expect("setgroups");
    }
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("{proc}/{file}"), "0 100000 10\n").expect(file);
    }
    server.sync();
    server.sync();
    for (client, _) in clients {
        client_of(*client, IMPERSONATE).wait();
    }
    server.wait();
}

const fn inside(id: u32) -> User {
    User {
        name: "inside",
        uid: id,
        gid: id,
        groups: &[],
    }
}

#[test]
fn a_containers_root_reaches_its_own_users_and_no_others() {
    isolated(|| {
        contained(
            true,
            &[
                (inside(100_000), true),
                (inside(100_005), true),
                (inside(100_005).with_groups(&[100_001, 100_002]), true),
                (inside(100_005).with_groups(&[100_001, 200_000]), false),
                (
                    User {
                        gid: 200_000,
                        ..inside(100_005)
                    },
                    false,
                ),
                (inside(100_010), false),
                (ALICE, false),
                (ROOT, false),
            ],
        );
    });
}

#[test]
fn where_setgroups_is_denied_groups_stay_as_they_are() {
    isolated(|| {
        contained(
            false,
            &[
                (inside(100_005), true),
                (inside(100_005).with_groups(&[100_001]), false),
                (
                    User {
                        gid: 100_001,
                        ..inside(100_005)
                    },
                    true,
                ),
            ],
        );
    });
}

#[test]
fn only_what_is_held_can_be_impersonated() {
    isolated(|| {
        let pair = Pair::taking(ALPC_TAKE_SECURITY);
        let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
        pair.client.post_secured(b"", &mut once).expect("post");
        let request = pair.port.receive().expect("receive");
        let ask = |port: &Port, id, callback_id| {
            let mut arg = alpc_impersonate {
                id,
                callback_id,
                outcome: JUNK32,
                ..Default::default()
            };
            port.ask_impersonate(&mut arg).map(drop)
        };
        let (id, turn) = (request.id, request.callback_id);
        assert_eq!(ask(&pair.client, id, turn), Err(fail::NOT_OWNER));
        assert_eq!(ask(&pair.port, id, turn + 1), Err(fail::STALE_TURN));
        assert_eq!(ask(&pair.port, id + 1, turn), Err(fail::NOT_FOUND));
        let other = Pair::new();
        ask(&other.port, id, turn).unwrap_err();
        for port in [&pair.port, &pair.server] {
            ask(port, id, turn).expect("impersonate");
        }
        pair.port.reply(&request, b"").expect("reply");
        assert_eq!(ask(&pair.port, id, turn), Err(fail::NOT_OWNER));
        let mut connect = Connect::new(None).asynchronous();
        connect.arg.security = IMPERSONATE;
        let through = pair.port.connect_descriptor().expect("descriptor");
        let _client = connect.run_on(&through).expect("connect");
        let request = pair.port.receive().expect("receive");
        let asked = ask(&pair.port, request.id, request.callback_id);
        assert_eq!(asked, Err(fail::WRONG_KIND));
        for bad in [
            alpc_impersonate {
                flags: 1,
                ..Default::default()
            },
            alpc_impersonate {
                reserved: 1,
                ..Default::default()
            },
        ] {
            let mut arg = bad;
            let asked = pair.port.ask_impersonate(&mut arg).map(drop);
            refused_with(asked, libc::EINVAL, "argument");
        }
    });
}

#[test]
fn a_caller_that_can_not_be_told_takes_nothing_on() {
    use std::os::fd::AsFd;
    isolated(|| {
        let port = server();
        let held = Held::of(&port, ALICE);
        let own = Me::now();
        let words = [held.request.id, u64::from(held.request.callback_id), 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let argument = memory::Pages::read_only(&bytes);
        // SAFETY: The kernel checks the address.
        let asked = unsafe { ioctl_at(port.as_fd(), ALPC_IOCTL_IMPERSONATE, argument.address()) };
        assert_eq!(asked, Err(libc::EFAULT));
        assert_eq!(Me::now(), own);
        held.end(&port);
    });
}

#[test]
fn lists_of_other_ports_go_by_the_groups_that_are_taken_on_and_by_the_servers_user() {
    isolated(|| {
        set_list(&[OWN]);
        let port = server();
        let lists: [(&str, &[alpc_acl_entry], bool, bool); 6] = [
            (
                "clients-group",
                &[allow(ALPC_ACL_GROUP, STAFF)],
                false,
                true,
            ),
            ("own-group", &[allow(ALPC_ACL_GROUP, OWN)], true, false),
            (
                "clients-user",
                &[allow(ALPC_ACL_USER, ALICE.uid)],
                false,
                false,
            ),
            ("own-user", &[allow(ALPC_ACL_USER, 0)], true, true),
            (
                "clients-group-denied",
                &[deny(ALPC_ACL_GROUP, STAFF), allow(ALPC_ACL_EVERYONE, 0)],
                true,
                false,
            ),
            (
                "own-group-denied",
                &[deny(ALPC_ACL_GROUP, OWN), allow(ALPC_ACL_EVERYONE, 0)],
                false,
                true,
            ),
        ];
        let others: Vec<Port> = lists
            .iter()
            .map(|(name, list, ..)| Create::named(name).acl(list).run().expect("create"))
            .collect();
        let held = Held::of(&port, ALICE.with_groups(IN_STAFF));
        let check = |impersonates: bool| {
            for (name, _, own, taken_on) in &lists {
                let is_let_in = if impersonates { *taken_on } else { *own };
                match knock(name) {
                    Ok(_) => assert!(is_let_in, "{name}, impersonating: {impersonates}"),
                    Err(failure) => {
                        assert_eq!(failure, fail::ACCESS_DENIED);
                        assert!(!is_let_in, "{name}, impersonating: {impersonates}");
                    }
                }
            }
        };
        check(false);
        let way_back = port.impersonate(&held.request).expect("impersonate");
        check(true);
        way_back.revert().expect("revert");
        check(false);
        held.end(&port);
        drop(others);
    });
}
