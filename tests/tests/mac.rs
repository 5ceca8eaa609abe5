// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a security module is asked, and the audit daemon told: SELinux, with the policy in
//! `tests/policy/alpc.cil`. Ports are of the type `port`, what the domains may do to them is there.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::audit::{field, Records, AVC, KERNEL_OTHER};
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const NAME: &str = "mac/server";
const IMPERSONATE: u32 = ALPC_SECURITY_IMPERSONATE;

/// The calling process is in a domain from now on.
fn enter(domain: &str) {
    let label = format!("system:any:{domain}");
    std::fs::write("/proc/thread-self/attr/current", &label).expect("domain");
    let now = std::fs::read_to_string("/proc/thread-self/attr/current").expect("domain");
    assert_eq!(now.trim_end_matches('\0'), label);
}

/// A process of a domain's, which inherits nothing.
fn peer(domain: &'static str, user: User, body: impl FnOnce(&Link)) -> Peer {
    Peer::spawn(user, |link| {
        enter(domain);
        body(link);
    })
}

fn create() -> Result<Port, Failure> {
    let takes = ALPC_TAKE_VIEWS | ALPC_TAKE_SECURITY;
    Create::named(NAME).open().taking(takes).run()
}

fn connect_as(security: u32) -> Result<Port, Failure> {
    let mut connect = Connect::to(NAME).taking(ALPC_TAKE_VIEWS);
    connect.arg.security = security;
    connect.run().map(|connected| connected.port)
}

fn connect() -> Result<Port, Failure> {
    connect_as(0)
}

/// A server of a domain's that lets everybody in who is let, and answers until the end.
fn server(domain: &'static str) -> Peer {
    let server = peer(domain, ROOT, |link| {
        let port = create().expect("create");
        link.sync();
        let mut ends = Vec::new();
        loop {
            let message = port.receive().expect("receive");
            match message.kind {
                ALPC_TYPE_CONNECTION_REQUEST => ends.extend(Accept::new(message.id).run(&port)),
                _ if message.open() => port.reply(&message, b"yes").expect("reply"),
                _ => {}
            }
        }
    });
    server.sync();
    server
}

#[test]
fn a_port_is_made_by_who_may_make_one_of_its_kind() {
    isolated(|| {
        peer("client", ALICE, |_| {
            drop(create().expect("of its own type"))
        })
        .wait();
        peer("stranger", ALICE, |_| {
            assert_eq!(create().map(drop).unwrap_err(), fail::ACCESS_DENIED);
        })
        .wait();
        peer("server", ALICE, |_| {
            drop(create().expect("the name is free"))
        })
        .wait();
    });
}

#[test]
fn who_may_not_write_to_a_port_does_not_connect_whatever_its_list_says() {
    isolated(|| {
        let server = server("server");
        peer("client", ALICE, |_| {
            let client = connect().expect("connect");
            assert_eq!(client.request(b"x").expect("call").data, b"yes");
        })
        .wait();
        for domain in ["stranger", "looker"] {
            for user in [ALICE, ROOT] {
                peer(domain, user, |_| {
                    assert_eq!(connect().map(drop).unwrap_err(), fail::ACCESS_DENIED);
                })
                .wait();
            }
        }
        server.kill();
    });
}

#[test]
fn what_is_settled_when_it_connects_stays_whatever_its_user_becomes() {
    isolated(|| {
        let server = server("server");
        peer("client", ALICE, |_| {
            let client = connect().expect("connect");
            enter("stranger");
            assert_eq!(client.request(b"x").expect("call").data, b"yes");
            assert_eq!(connect().map(drop).unwrap_err(), fail::ACCESS_DENIED);
        })
        .wait();
        server.kill();
    });
}

#[test]
fn a_descriptor_is_for_who_may_use_those_of_the_domain_that_has_made_it() {
    isolated(|| {
        let server = server("server");
        peer("client", ALICE, |_| {
            let client = connect().expect("connect");
            let through = open_port(NAME).expect("open");
            enter("recluse");
            // They have no label, but each has a maker.
            for result in [
                client.request(b"x").map(drop),
                Connect::new(None).run_on(&through).map(drop),
            ] {
                assert_eq!(result.unwrap_err().errno, libc::EACCES);
            }
        })
        .wait();
        server.kill();
    });
}

#[test]
fn a_connect_descriptor_is_for_who_may_read_a_port() {
    isolated(|| {
        let server = server("server");
        peer("looker", ALICE, |_| {
            let through = open_port(NAME).expect("open");
            // It is one way to connect, and no right to.
            let refused = Connect::new(None).run_on(&through).map(drop).unwrap_err();
            assert_eq!(refused, fail::ACCESS_DENIED);
        })
        .wait();
        for domain in ["lender_not", "stranger"] {
            peer(domain, ROOT, |_| {
                assert_eq!(open_port(NAME).map(drop).unwrap_err(), fail::ACCESS_DENIED);
            })
            .wait();
        }
        server.kill();
    });
}

#[test]
fn views_are_lent_by_who_may_append_to_a_port_and_else_nothing_is_sent() {
    isolated(|| {
        let server = server("server");
        for (domain, may) in [("client", true), ("lender_not", false)] {
            peer(domain, ALICE, move |_| {
                let client = connect().expect("connect");
                let section = client.section(PAGE).expect("section");
                let view = section.view(PAGE).expect("view");
                poke(view.base, 7).expect("write");
                let mut container = ViewContainer::lending(view.base, view.size, ALPC_VIEW_SECURE);
                let result = Transfer::new().send(b"x").flags(ALPC_SYNC).receive();
                let result = result.with(&client, &mut container);
                match may {
                    true => assert_eq!(result.expect("call").data, b"yes"),
                    false => {
                        assert_eq!(result.unwrap_err(), fail::ACCESS_DENIED);
                        poke(view.base, 8).expect("it is the owner's still");
                        assert_eq!(client.query_port().expect("query").conversations, 0);
                    }
                }
                assert_eq!(client.request(b"x").expect("call").data, b"yes");
            })
            .wait();
        }
        server.kill();
    });
}

/// The thread's file system user.
fn fs_user() -> u32 {
    creds::Me::now().fs().0
}

#[test]
fn clients_are_impersonated_by_who_may_execute_a_port() {
    isolated(|| {
        for (domain, may) in [("server", true), ("timid", false)] {
            let server = peer(domain, ROOT, move |link| {
                let (port, _end, request) = creds::serve(NAME, link, || {});
                match (may, port.impersonate(&request)) {
                    (true, Ok(way_back)) => {
                        assert_eq!(fs_user(), ALICE.uid);
                        way_back.revert().expect("revert");
                    }
                    (false, result) => {
                        assert_eq!(result.map(drop).unwrap_err(), fail::ACCESS_DENIED);
                    }
                    (true, Err(failure)) => panic!("{failure:?}"),
                }
                assert_eq!(fs_user(), 0);
                port.reply(&request, b"").expect("reply");
            });
            server.sync();
            let client = peer("client", ALICE, |_| {
                let client = connect_as(IMPERSONATE).expect("connect");
                client.request(b"x").expect("call");
            });
            client.wait();
            server.wait();
        }
    });
}

#[test]
fn servers_that_lend_and_clients_that_impersonate_are_asked_as_what_they_are_then() {
    isolated(|| {
        let server = peer("server", ROOT, |link| {
            let port = create().expect("create");
            link.sync();
            let end = accept(&port);
            let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
            end.post_secured(b"who", &mut once).expect("send");
            link.sync();
            let section = end.section(PAGE).expect("section");
            let view = section.view(PAGE).expect("view");
            for (domain, result) in [("lender_not", Err(fail::ACCESS_DENIED)), ("server", Ok(()))] {
                enter(domain);
                let mut container = ViewContainer::lending(view.base, view.size, ALPC_VIEW_SECURE);
                let mut send = Transfer::new().send(b"view");
                send.arg.send_attributes = container.address();
                assert_eq!(send.run(&end).map(drop), result, "{domain}");
            }
            link.sync();
            link.sync();
        });
        server.sync();
        let client = peer("client", ALICE, |link| {
            let mut connect = Connect::to(NAME).taking(ALPC_TAKE_VIEWS | ALPC_TAKE_SECURITY);
            let client = connect.run().expect("connect").port;
            let message = client.receive().expect("receive");
            assert_eq!(message.data, b"who");
            let refused = client.impersonate(&message).map(drop).unwrap_err();
            assert_eq!(refused, fail::ACCESS_DENIED);
            client.reply(&message, b"").expect("reply");
            link.sync();
            link.sync();
            assert_eq!(client.receive().expect("receive").data, b"view");
            assert_eq!(client.receive_now().unwrap_err(), fail::TIMED_OUT);
        });
        client.sync();
        server.sync();
        server.sync();
        client.sync();
        client.wait();
        server.sync();
        server.wait();
    });
}

#[test]
fn a_port_is_passed_to_who_may_read_and_write_it_and_an_end_to_anybody() {
    isolated(|| {
        let holder = peer("server", ROOT, |link| {
            let port = create().expect("create");
            link.put_fd(&port);
            link.sync();
        });
        let (passed, end) = (holder.take_fd(), Pair::new());
        for (domain, may) in [("server", true), ("client", true), ("stranger", false)] {
            let receiver = Peer::fork(ALICE, |_| {
                // It has the descriptor by fork, which asks nobody. To use it is another thing.
                let port = Port::from(passed.try_clone().expect("duplicate"));
                enter(domain);
                let result = port.receive_now();
                // The client has no right to its ioctls either.
                match domain {
                    "server" => assert_eq!(result.unwrap_err(), fail::TIMED_OUT),
                    _ => assert_eq!(result.unwrap_err().errno, libc::EACCES),
                }
                let (ours, theirs) = Link::pair();
                theirs.put_fd(&port);
                assert_eq!(ours.try_take_fd().is_some(), may, "{domain}");
                theirs.put_fd(&end.client);
                let client = Port::from(ours.try_take_fd().expect("an end"));
                client.one_way(b"x").expect("send");
            });
            receiver.wait();
            assert_eq!(end.port.receive().expect("receive").data, b"x");
        }
        holder.sync();
        holder.wait();
    });
}

#[test]
fn who_may_have_no_memory_to_map_makes_no_views_and_receives_none() {
    isolated(|| {
        let server = peer("timid", ROOT, |link| {
            let port = create().expect("create");
            let section = port.section(PAGE).map(drop);
            assert_eq!(section.unwrap_err(), fail::ACCESS_DENIED);
            link.sync();
            let _end = accept(&port);
            let mut container = ViewContainer::receiving();
            let mut receive = Transfer::new().receive();
            receive.arg.recv_attributes = container.address();
            assert_eq!(receive.run(&port).unwrap_err(), fail::NO_WINDOW);
            let message = port.receive().expect("it stays");
            assert_eq!(message.data, b"x");
            port.reply(&message, b"yes").expect("reply");
        });
        server.sync();
        peer("client", ALICE, |_| {
            let client = connect().expect("connect");
            let section = client.section(PAGE).expect("section");
            let view = section.view(PAGE).expect("view");
            let mut container = ViewContainer::lending(view.base, view.size, ALPC_VIEW_SECURE);
            let call = Transfer::new().send(b"x").flags(ALPC_SYNC).receive();
            let reply = call.with(&client, &mut container).expect("call");
            assert_eq!(reply.data, b"yes");
            poke(view.base, 1).expect("it has come back");
        })
        .wait();
        server.wait();
    });
}

#[test]
fn who_may_not_map_memory_has_neither_views_nor_a_window_until_it_may() {
    isolated(|| {
        let server = peer("server", ROOT, |link| {
            let port = create().expect("create");
            link.sync();
            let end = accept(&port);
            enter("mapless");
            let section = end.section(PAGE).expect("section");
            let refused = section.view(PAGE).map(drop).unwrap_err();
            assert_eq!(refused, fail::ACCESS_DENIED);
            let receive = || {
                let mut container = ViewContainer::receiving();
                let mut receive = Transfer::new().receive();
                receive.arg.recv_attributes = container.address();
                receive.run(&port)
            };
            assert_eq!(receive().unwrap_err(), fail::NO_WINDOW);
            enter("server");
            let message = receive().expect("it has stayed, and the window is another");
            assert_eq!(message.data, b"x");
            port.reply(&message, b"yes").expect("reply");
        });
        server.sync();
        peer("client", ALICE, |_| {
            let client = connect().expect("connect");
            let section = client.section(PAGE).expect("section");
            let view = section.view(PAGE).expect("view");
            let mut container = ViewContainer::lending(view.base, view.size, ALPC_VIEW_SECURE);
            let call = Transfer::new().send(b"x").flags(ALPC_SYNC).receive();
            let reply = call.with(&client, &mut container).expect("call");
            assert_eq!(reply.data, b"yes");
        })
        .wait();
        server.wait();
    });
}

#[test]
fn a_handle_is_claimed_by_who_may_read_and_write_it() {
    isolated(|| {
        let pair = Pair::with_handles(0);
        for (domain, may) in [("server", true), ("stranger", false)] {
            // A section of the type that its maker has.
            let sender = Peer::fork(ROOT, |_| {
                enter("server");
                let section = pair.client.section(PAGE).expect("section");
                let mut one = HandleContainer::one(&section);
                pair.client.post_with(&mut one).expect("send");
            });
            sender.wait();
            let receiver = Peer::fork(ROOT, |_| {
                let message = pair.port.receive().expect("receive");
                enter(domain);
                let mut claim = Claim::new(&message, 0, 1);
                let result = claim.run(&pair.port);
                match may {
                    true => drop(result.expect("claim")),
                    false => assert_eq!(result.unwrap_err().errno, libc::EACCES),
                }
            });
            receiver.wait();
        }
    });
}

#[test]
fn a_port_can_be_neither_opened_anew_nor_executed() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let path = format!("/proc/self/fd/{}", port.as_fd().as_raw_fd());
        let error = std::fs::File::open(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
        let none: [*const libc::c_char; 1] = [std::ptr::null()];
        // SAFETY: The path and the lists are terminated, and outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                port.as_fd().as_raw_fd(),
                c"".as_ptr(),
                none.as_ptr(),
                none.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        let error = std::io::Error::last_os_error().raw_os_error();
        assert_eq!((result, error), (-1, Some(libc::ENXIO)));
    });
}

#[test]
fn a_port_keeps_the_label_and_the_mode_that_it_was_made_with() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let fd = port.as_fd().as_raw_fd();
        let label = c"system:object_r:port";
        let (name, length) = (c"security.selinux", label.to_bytes_with_nul().len());
        // SAFETY: The name is terminated, and the value has so many bytes.
        let relabel =
            || unsafe { libc::fsetxattr(fd, name.as_ptr(), label.as_ptr().cast(), length, 0) };
        // SAFETY: Takes no pointer.
        let change = || unsafe { libc::fchmod(fd, 0) };
        for call in [&relabel as &dyn Fn() -> i32, &change] {
            let result = call();
            let error = std::io::Error::last_os_error().raw_os_error();
            assert_eq!((result, error), (-1, Some(libc::EOPNOTSUPP)));
        }
    });
}

#[test]
fn what_is_refused_is_in_the_audit_records_with_both_labels() {
    isolated(|| {
        audit::enable(true);
        let records = Records::open();
        let server = server("server");
        peer("stranger", ALICE, |_| {
            assert_eq!(connect().map(drop).unwrap_err(), fail::ACCESS_DENIED);
        })
        .wait();
        let record = records.next(AVC);
        assert!(record.contains("{ write }"), "{record}");
        assert_eq!(field(&record, "scontext"), "system:any:stranger");
        assert_eq!(field(&record, "tcontext"), "system:object_r:port");
        assert_eq!(field(&record, "tclass"), "anon_inode");
        server.kill();
        audit::enable(false);
    });
}

#[test]
fn whom_the_list_refuses_is_not_asked_of_the_security_module() {
    isolated(|| {
        audit::enable(true);
        let records = Records::open();
        let server = peer("server", ROOT, |link| {
            let _port = Create::named(NAME).run().expect("create");
            link.sync();
            link.sync();
        });
        server.sync();
        peer("stranger", ALICE, |_| {
            assert_eq!(connect().map(drop).unwrap_err(), fail::ACCESS_DENIED);
        })
        .wait();
        assert_eq!(records.rest(AVC), [""; 0]);
        peer("stranger", ROOT, |_| {
            assert_eq!(connect().map(drop).unwrap_err(), fail::ACCESS_DENIED);
        })
        .wait();
        assert_eq!(records.rest(AVC).len(), 1);
        server.sync();
        server.wait();
        audit::enable(false);
    });
}

#[test]
fn the_record_of_a_port_without_a_name_has_none() {
    isolated(|| {
        audit::enable(true);
        let records = Records::open();
        let pair = Pair::with(Create::anonymous().taking(ALPC_TAKE_SECURITY));
        let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
        pair.client.post_secured(b"x", &mut once).expect("send");
        let message = pair.port.receive().expect("receive");
        let way_back = pair.port.impersonate(&message).expect("impersonate");
        way_back.revert().expect("revert");
        let record = records.next(KERNEL_OTHER);
        assert!(record.contains("op=alpc-impersonate opid="), "{record}");
        audit::enable(false);
    });
}

/// A server that impersonates whoever sends, as often as each request says.
fn impersonator(domain: &'static str, name: &'static str) -> Peer {
    impersonator_of(ROOT, domain, name)
}

fn impersonator_of(user: User, domain: &'static str, name: &'static str) -> Peer {
    let server = peer(domain, user, |link| {
        let create = Create::named(name).open().taking(ALPC_TAKE_SECURITY).run();
        let port = create.expect("create");
        link.sync();
        let mut ends = Vec::new();
        loop {
            let message = port.receive().expect("receive");
            match message.kind {
                ALPC_TYPE_CONNECTION_REQUEST => ends.extend(Accept::new(message.id).run(&port)),
                _ if message.open() => {
                    for _ in 0..message.data[0] {
                        match port.impersonate(&message) {
                            Ok(way_back) => way_back.revert().expect("revert"),
                            // Who has sent it was killed meanwhile.
                            Err(fail::CANCELED) => break,
                            Err(failure) => panic!("{failure:?}"),
                        }
                    }
                    let _ = port.reply(&message, b"");
                }
                _ => {}
            }
        }
    });
    server.sync();
    server
}

#[test]
fn each_connection_whose_client_is_impersonated_has_one_record() {
    isolated(|| {
        audit::enable(true);
        let records = Records::open();
        // What could end a field, or begin another one.
        let name = "mac/a b\" res=0\u{e9}";
        let server = impersonator("server", name);
        let connect = |security| {
            let mut connect = Connect::to(name);
            connect.arg.security = security;
            connect.run().expect("connect").port
        };
        let mut clients = Vec::new();
        for user in [ALICE, BOB] {
            let client = peer("client", user, |link| {
                let client = connect(IMPERSONATE);
                for _ in 0..3 {
                    client.request(&[3]).expect("call");
                }
                link.sync();
            });
            client.sync();
            let record = records.next(KERNEL_OTHER);
            assert_eq!(field(&record, "op"), "alpc-impersonate");
            let digits = name.bytes().fold(String::new(), |digits, byte| {
                digits + &format!("{byte:02X}")
            });
            assert_eq!(field(&record, "port"), digits);
            assert_eq!(field(&record, "opid"), client.pid().to_string());
            assert_eq!(field(&record, "ouid"), user.uid.to_string());
            assert_eq!(field(&record, "ogid"), user.gid.to_string());
            assert_eq!(field(&record, "obj"), "system:any:client");
            assert_eq!(field(&record, "lost"), "0");
            assert_eq!(field(&record, "pid"), server.pid().to_string());
            assert_eq!(field(&record, "uid"), "0");
            assert_eq!(field(&record, "fsuid"), user.uid.to_string());
            assert_eq!(field(&record, "subj"), "system:any:server");
            assert_eq!(field(&record, "res"), "1");
            clients.push(client);
        }
        clients.into_iter().for_each(Peer::wait);
        assert_eq!(records.rest(KERNEL_OTHER), [""; 0]);
        // With a dynamic level, a new record for who differs from the last.
        let pair = peer("client", ROOT, |_| {
            let client = connect(IMPERSONATE | ALPC_SECURITY_DYNAMIC);
            for user in [ALICE, ALICE, BOB] {
                creds::set_users(0, user.uid, 0);
                client.request(&[2]).expect("call");
                creds::set_users(0, 0, 0);
            }
        });
        pair.wait();
        let of = records.rest(KERNEL_OTHER);
        let of: Vec<&str> = of.iter().map(|record| field(record, "ouid")).collect();
        assert_eq!(of, [ALICE.uid.to_string(), BOB.uid.to_string()]);
        server.kill();
        audit::enable(false);
    });
}

#[test]
fn a_flood_of_records_is_cut_and_counted_and_other_users_have_theirs() {
    isolated(|| {
        const FLOOD: u64 = 200;
        const AT_ONCE: u64 = 64;
        audit::enable(true);
        let records = Records::open();
        let server = peer("server", CAROL, |link| {
            let port = Create::named("mac/flood").open().run().expect("create");
            link.sync();
            for _ in 0..FLOOD {
                let asks = port.receive().expect("receive");
                let _end = Accept::new(asks.id).run(&port).expect("accept");
                let request = port.receive().expect("receive");
                let way_back = port.impersonate(&request).expect("impersonate");
                way_back.revert().expect("revert");
                port.reply(&request, b"").expect("reply");
                while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
            }
            link.sync();
        });
        server.sync();
        let client = peer("client", CAROL, |_| {
            for _ in 0..FLOOD {
                let mut connect = Connect::to("mac/flood");
                connect.arg.security = IMPERSONATE;
                let client = connect.run().expect("connect").port;
                client.request(b"x").expect("call");
            }
        });
        client.wait();
        server.sync();
        server.wait();
        let all = records.rest(KERNEL_OTHER);
        let told: u64 = all
            .iter()
            .map(|record| field(record, "lost").parse::<u64>().expect("a number"))
            .sum();
        let count = all.len() as u64;
        note!("{count} records of {FLOOD}, {told} told to be lost");
        assert!(count >= AT_ONCE && count + told <= FLOOD);
        let other = impersonator("server", "mac/other");
        peer("client", ALICE, |_| {
            let mut connect = Connect::to("mac/other");
            connect.arg.security = IMPERSONATE;
            let client = connect.run().expect("connect").port;
            client.request(&[1]).expect("call");
        })
        .wait();
        let record = records.next(KERNEL_OTHER);
        assert_eq!(field(&record, "ouid"), ALICE.uid.to_string());
        assert_eq!(field(&record, "lost"), "0");
        other.kill();
        audit::enable(false);
    });
}

/// A user that nobody else is: what it has used up is no other test's.
const fn spender(id: u32) -> User {
    User {
        name: "spender",
        uid: id,
        gid: id,
        groups: &[],
    }
}

/// Makes so many requests on one connection, each with a context of its own.
fn flood(name: &str, count: u64) {
    let client = Connect::to(name).run().expect("connect").port;
    for _ in 0..count {
        let mut once = SecurityContainer::sending(0, IMPERSONATE, ALPC_SECURITY_ONCE);
        client.post_secured(&[1], &mut once).expect("send");
        client.receive().expect("reply");
    }
}

/// The records of a kind of all who were impersonated, and how many they say are lost.
fn counted(all: &[String]) -> (u64, u64) {
    let lost = |record: &String| field(record, "lost").parse::<u64>().expect("a number");
    (all.len() as u64, all.iter().map(lost).sum())
}

#[test]
fn who_floods_a_server_uses_up_its_own_records_and_not_those_of_other_clients() {
    isolated(|| {
        audit::enable(true);
        let records = Records::open();
        let server = impersonator("server", "mac/flooded");
        let flooding = peer("client", spender(1101), |link| {
            flood("mac/flooded", 200);
            link.sync();
            flood("mac/flooded", u64::MAX);
        });
        flooding.sync();
        peer("client", BOB, |_| flood("mac/flooded", 1)).wait();
        flooding.kill();
        let all = records.rest(KERNEL_OTHER);
        let of = |user: User| {
            let is_of = |record: &&String| field(record, "ouid") == user.uid.to_string();
            all.iter().filter(is_of).count()
        };
        assert!(of(spender(1101)) >= 64);
        assert_eq!(of(BOB), 1);
        server.kill();
        audit::enable(false);
    });
}

#[test]
fn what_a_user_has_used_up_does_not_come_back_with_other_ports() {
    isolated(|| {
        const ROUNDS: u64 = 4;
        const AT_ONCE: u64 = 64;
        const USER: User = spender(1102);
        audit::enable(true);
        let records = Records::open();
        let began = std::time::Instant::now();
        for _ in 0..ROUNDS {
            let server = impersonator_of(USER, "server", "mac/short");
            peer("client", USER, |_| flood("mac/short", AT_ONCE)).wait();
            server.kill();
        }
        let back = began.elapsed().as_millis() as u64 / 100 + 1;
        // One more comes back, and tells of what is lost.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let server = impersonator_of(USER, "server", "mac/short");
        peer("client", USER, |_| flood("mac/short", 1)).wait();
        server.kill();
        let (count, told) = counted(&records.rest(KERNEL_OTHER));
        note!("{count} records, {told} told to be lost, {back} have come back");
        assert!(count <= AT_ONCE + back + 1);
        assert_eq!(count + told, ROUNDS * AT_ONCE + 1);
        audit::enable(false);
    });
}

#[test]
fn a_record_that_the_audit_system_has_not_taken_is_made_at_the_next_impersonation() {
    isolated(|| {
        audit::enable(true);
        let records = Records::open();
        let server = impersonator("server", "mac/again");
        let client = peer("client", ALICE, |link| {
            let mut connect = Connect::to("mac/again");
            connect.arg.security = IMPERSONATE;
            let client = connect.run().expect("connect").port;
            for _ in 0..2 {
                link.sync();
                client.request(&[1]).expect("call");
                link.sync();
            }
            client.request(&[1]).expect("call");
        });
        audit::exclude(KERNEL_OTHER, true);
        client.sync();
        client.sync();
        assert_eq!(records.rest(KERNEL_OTHER), [""; 0]);
        audit::exclude(KERNEL_OTHER, false);
        client.sync();
        client.sync();
        let of = records.rest(KERNEL_OTHER);
        let of: Vec<&str> = of.iter().map(|record| field(record, "ouid")).collect();
        assert_eq!(of, [ALICE.uid.to_string()]);
        client.wait();
        assert_eq!(records.rest(KERNEL_OTHER), [""; 0]);
        server.kill();
        audit::enable(false);
    });
}
