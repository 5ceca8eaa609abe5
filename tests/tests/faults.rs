// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whatever fails inside the kernel, a call fails as a whole or succeeds as a
//! whole, and can be made again. Runs on the debug kernel only.

use std::os::fd::AsRawFd;

use alpc_tests::faults::{sweep, Fault};
use alpc_tests::raw::*;
use alpc_tests::*;

/// A transfer in which the fault happens.
fn transfer(fault: &Fault, port: &Port, transfer: &mut Transfer) -> Result<i32, i32> {
    transfer.point();
    fault.ioctl(port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut transfer.arg)
}

/// Nothing is queued and no conversation is open on either side.
fn assert_quiet(pair: &Pair) {
    for port in [&pair.port, &pair.client, &pair.server] {
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        let query = port.query_port().expect("query");
        assert_eq!(query.queued_messages, 0);
        assert_eq!(query.queued_bytes, 0);
        assert_eq!(query.conversations, 0);
    }
}

/// A descriptor that a call in which the fault happened may have given.
fn adopted(result: Result<i32, i32>) -> Option<Port> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: Just installed by the kernel, owned by nobody else.
    let port = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }.into());
    port.ok()
}

#[test]
fn a_query_can_be_made_again() {
    isolated_long(3, || {
        let device = device();
        sweep("QUERY", |fault| {
            let mut arg = alpc_query::default();
            if fault.ioctl(&device, ALPC_IOCTL_QUERY, &mut arg).is_err() {
                arg = query();
            }
            assert_eq!(arg.abi_version, ALPC_ABI_VERSION);
        });
    });
}

#[test]
fn a_query_of_a_port_can_be_made_again() {
    isolated_long(3, || {
        let pair = Pair::new();
        sweep("QUERY_PORT", |fault| {
            let mut arg = alpc_query_port::default();
            let _ = fault.ioctl(&pair.client, ALPC_IOCTL_QUERY_PORT, &mut arg);
            assert_quiet(&pair);
        });
    });
}

#[test]
fn a_query_of_an_identity_can_be_made_again() {
    isolated_long(3, || {
        let pair = Pair::new();
        pair.client.post(b"").expect("post");
        let request = pair.port.receive().expect("receive");
        let (mut groups, mut label) = ([0_u32; 8], [0_u8; 64]);
        sweep("QUERY_IDENTITY", |fault| {
            let mut arg = identity_argument(request.id, request.callback_id);
            (arg.groups, arg.group_count) = (groups.as_mut_ptr() as u64, 8);
            (arg.label, arg.label_length) = (label.as_mut_ptr() as u64, 64);
            if fault
                .ioctl(&pair.port, ALPC_IOCTL_QUERY_IDENTITY, &mut arg)
                .is_err()
            {
                assert_eq!((arg.outcome, arg.uid), (JUNK32, JUNK32));
            }
            let identity = pair.port.identity(&request).expect("identity");
            assert_eq!(identity.arg.pid, std::process::id());
        });
    });
}

#[test]
fn a_verification_and_an_open_can_be_made_again() {
    isolated_long(3, || {
        let device = device();
        let pair = Pair::with(Create::named("faults/open"));
        pair.client.post(b"").expect("post");
        let request = pair.port.receive().expect("receive");
        sweep("VERIFY", |fault| {
            let mut arg = alpc_verify {
                id: request.id,
                callback_id: request.callback_id,
                outcome: JUNK32,
                ..Default::default()
            };
            if fault
                .ioctl(&pair.port, ALPC_IOCTL_VERIFY, &mut arg)
                .is_err()
            {
                assert_eq!(arg.outcome, JUNK32);
            }
            assert_eq!(pair.port.verify(request.id, request.callback_id, 0), Ok(()));
        });
        sweep("OPEN", |fault| {
            let name = "faults/open";
            let mut arg = alpc_open {
                name: name.as_ptr() as u64,
                name_length: name.len() as u32,
                outcome: JUNK32,
                ..Default::default()
            };
            let result = fault.ioctl(&device, ALPC_IOCTL_OPEN, &mut arg);
            if adopted(result).is_none() {
                assert_eq!(arg.outcome, JUNK32);
            }
            open_port(name).expect("open");
        });
    });
}

#[test]
fn a_question_who_has_what_can_be_asked_again() {
    isolated_long(3, || {
        let (device, pair) = (device(), Pair::new());
        sweep("QUERY_USER", |fault| {
            let mut arg = alpc_query_user::default();
            let _ = fault.ioctl(&device, ALPC_IOCTL_QUERY_USER, &mut arg);
            assert_ne!(user_usage(0, 0).expect("usage").ports.used, 0);
        });
        sweep("QUERY_CONNECTION", |fault| {
            let mut arg = alpc_query_connection::default();
            let _ = fault.ioctl(&pair.port, ALPC_IOCTL_QUERY_CONNECTION, &mut arg);
            assert_eq!(pair.port.connections_usage().len(), 1);
        });
    });
}

#[test]
fn a_token_that_could_not_be_told_leaves_the_message() {
    isolated_long(3, || {
        // Each pair remembers nobody at first.
        sweep("receive with TOKEN", |fault| {
            let pair = Pair::new();
            pair.client.post(b"token").expect("post");
            let mut room = TokenContainer::room();
            let mut transfer = Transfer::new().receive().now();
            transfer.arg.recv_attributes = room.address();
            transfer.point();
            let received = fault.ioctl(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut transfer.arg);
            if received.is_err() {
                let (request, token) = pair.port.receive_token().expect("receive");
                assert_eq!(request.data, b"token");
                assert_ne!(token.token_id, 0);
            }
        });
    });
}

#[test]
fn a_request_for_somebody_is_sent_whole_or_not_at_all() {
    isolated_long(3, || {
        let pair = Pair::new();
        sweep("send with RECEIVER", |fault| {
            let mut container = ReceiverContainer::new(Some(0), None);
            let mut transfer = Transfer::new().send(b"for root");
            transfer.arg.send_attributes = container.address();
            transfer.point();
            let sent = fault.ioctl(
                &pair.client,
                ALPC_IOCTL_SEND_WAIT_RECEIVE,
                &mut transfer.arg,
            );
            match pair.port.receive_now() {
                Ok(request) => {
                    assert_eq!(request.data, b"for root");
                    pair.port.reply(&request, b"").expect("reply");
                    pair.client.receive().expect("reply");
                }
                // A sender that could not be told of it has sent, but not the other way round.
                Err(failure) => {
                    assert_eq!(failure, fail::TIMED_OUT);
                    assert!(sent.is_err());
                }
            }
            assert_quiet(&pair);
        });
    });
}

#[test]
fn a_list_that_could_not_be_replaced_is_the_old_one() {
    isolated_long(3, || {
        let (old, new) = ([allow(ALPC_ACL_EVERYONE, 0)], [deny(ALPC_ACL_USER, 1); 3]);
        let port = Create::anonymous().acl(&old).run().expect("create");
        let before = port.query_acl().expect("query");
        sweep("SET_ACL", |fault| {
            let mut arg = acl_argument(&new);
            if fault.ioctl(&port, ALPC_IOCTL_SET_ACL, &mut arg).is_err() {
                assert_eq!(arg.outcome, JUNK32);
                assert_eq!(port.query_acl().expect("query"), before);
            } else {
                assert_eq!(port.query_acl().expect("query").count, 3);
            }
            port.set_acl(Some(&old)).expect("set");
        });
        sweep("QUERY_ACL", |fault| {
            let mut room = old;
            let mut arg = acl_argument(&room);
            arg.entries = room.as_mut_ptr() as u64;
            let _ = fault.ioctl(&port, ALPC_IOCTL_QUERY_ACL, &mut arg);
            assert_eq!(port.query_acl().expect("query"), before);
        });
    });
}

#[test]
fn a_port_that_could_not_be_made_leaves_no_name() {
    isolated_long(3, || {
        let device = device();
        sweep("CREATE_PORT", |fault| {
            let mut create = Create::named("faults/create").open().context(9);
            create.point();
            let result = fault.ioctl(&device, ALPC_IOCTL_CREATE_PORT, &mut create.arg);
            if adopted(result).is_none() {
                assert_eq!(create.arg.outcome, JUNK32);
                let failure = Connect::to("faults/create").run().unwrap_err();
                assert_eq!(failure, fail::NAME_NOT_FOUND);
            }
            let port = create.run().expect("the name is free");
            drop(pair::attach(&port, 1));
        });
    });
}

#[test]
fn a_connect_descriptor_that_could_not_be_made_leaves_nothing() {
    isolated_long(3, || {
        let port = Create::anonymous().run().expect("create");
        sweep("CREATE_CONNECT", |fault| {
            let through = adopted(fault.bare_ioctl(&port, ALPC_IOCTL_CREATE_CONNECT));
            let through = through.unwrap_or_else(|| port.connect_descriptor().expect("connect"));
            let client = Connect::new(None).asynchronous().run_on(&through);
            port.receive_now().expect("its request");
            drop((client, through));
            port.receive_now().expect("its notice");
        });
    });
}

#[test]
fn a_connect_that_failed_is_not_told_to_the_server() {
    isolated_long(3, || {
        let device = device();
        let port = Create::named("faults/connect").run().expect("create");
        sweep("CONNECT, asynchronous", |fault| {
            let mut connect = Connect::to("faults/connect").data(b"hello").asynchronous();
            connect.point();
            let result = fault.ioctl(&device, ALPC_IOCTL_CONNECT, &mut connect.arg);
            match adopted(result) {
                Some(client) => {
                    let request = port.receive_now().expect("the request");
                    assert_eq!(request.data, b"hello");
                    drop(client);
                    port.receive_now().expect("the notice");
                }
                None => {
                    assert_eq!(connect.arg.outcome, JUNK32);
                    assert_eq!(connect.arg.fd, -1);
                }
            }
            assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
            assert_eq!(port.query_port().expect("query").connections, 0);
        });
    });
}

#[test]
fn a_connect_that_failed_after_the_answer_leaves_no_connection() {
    isolated_long(5, || {
        let device = device();
        sweep("CONNECT", |fault| {
            let port = Create::named("faults/wait").run().expect("create");
            let mut connect = Connect::to("faults/wait").data(b"hello");
            connect.point();
            std::thread::scope(|scope| {
                let server = scope.spawn(|| {
                    let Ok(request) = port.receive() else { return };
                    if request.kind != ALPC_TYPE_CONNECTION_REQUEST {
                        return;
                    }
                    // It may have given up in the meantime.
                    let accepted = Accept::new(request.id).data(b"welcome").run(&port);
                    let notice = port.receive();
                    drop((accepted, notice));
                });
                let client = adopted(fault.ioctl(&device, ALPC_IOCTL_CONNECT, &mut connect.arg));
                match &client {
                    Some(client) => {
                        assert_eq!(&connect.recv[..7], b"welcome");
                        client.one_way(b"x").expect("send");
                    }
                    None => assert_eq!(connect.arg.outcome, JUNK32),
                }
                drop(client);
                // The thread may not even have been told of a connection.
                port.disconnect().expect("disconnect");
                server.join().expect("join");
            });
            let query = port.query_port().expect("query");
            assert_eq!(query.conversations, 0);
        });
    });
}

#[test]
fn a_request_that_could_not_be_accepted_waits_on() {
    isolated_long(3, || {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        for refuse in [false, true] {
            sweep(if refuse { "REFUSE" } else { "ACCEPT" }, |fault| {
                let client = Connect::new(None).asynchronous().run_on(&through);
                let client = client.expect("connect").port;
                let request = port.receive().expect("request");
                let mut accept = Accept::new(request.id).context(5);
                if refuse {
                    accept.arg.flags |= ALPC_REFUSE;
                }
                let data = b"words";
                accept.arg.send_data = data.as_ptr() as u64;
                accept.arg.send_length = data.len() as u32;
                let result = fault.ioctl(&port, ALPC_IOCTL_ACCEPT, &mut accept.arg);
                let mut server = None;
                match (result, refuse) {
                    (Ok(0), true) => {}
                    (Ok(_), _) => server = adopted(result),
                    (Err(_), _) => {
                        let query = client.query_port().expect("query");
                        assert_eq!(query.state, ALPC_STATE_PENDING);
                        let mut again = Accept::new(request.id).data(data);
                        if refuse {
                            again.refuse(&port).expect("refuse");
                        } else {
                            server = Some(again.run(&port).expect("accept"));
                        }
                    }
                }
                let answer = client.receive_now().expect("the answer");
                assert_eq!(answer.data, data);
                assert_eq!(server.is_some(), !refuse);
                drop((client, server));
                while port.receive_now().is_ok() {}
                assert_eq!(port.query_port().expect("query").connections, 0);
            });
        }
    });
}

#[test]
fn a_send_that_failed_sent_nothing() {
    const LONG: usize = 60_000;
    isolated_long(3, || {
        let pair = Pair::with(Create::anonymous().max(65536).share(64, 1 << 20));
        for (what, flags) in [("one-way", ALPC_RELEASE), ("request", 0)] {
            for length in [0, 64, LONG] {
                let data = vec![0x5a; length];
                sweep(&format!("{what} of {length} bytes"), |fault| {
                    let mut send = Transfer::new().send(&data).flags(flags);
                    let result = transfer(fault, &pair.client, &mut send);
                    let received = Transfer::new().capacity(LONG).now().run(&pair.port);
                    match result {
                        Ok(_) => {
                            let message = received.expect("it was sent");
                            assert_eq!(message.data, data);
                            if flags == 0 {
                                assert_eq!(message.id, send.arg.send_id);
                                pair.port.release(&message).expect("release");
                                pair.client.receive_now().expect("the notice");
                            }
                        }
                        Err(libc::ENOMEM) => {
                            assert_eq!(received.unwrap_err(), fail::TIMED_OUT);
                        }
                        // What has been sent stays sent, when only that could not be told.
                        Err(_) => {
                            if let Ok(message) = received {
                                assert_eq!(message.data, data);
                                if message.open() {
                                    pair.port.release(&message).expect("release");
                                    pair.client.receive_now().expect("the notice");
                                }
                            }
                        }
                    }
                    assert_quiet(&pair);
                });
            }
        }
    });
}

#[test]
fn a_receive_that_failed_keeps_the_message() {
    isolated_long(3, || {
        let pair = Pair::new();
        for contexts in [false, true] {
            sweep("receive", |fault| {
                let id = pair.client.post(b"question").expect("post");
                let mut container = ContextContainer::receiving();
                let mut receive = Transfer::new().receive();
                if contexts {
                    receive.arg.recv_attributes = container.address();
                }
                let message = match transfer(fault, &pair.port, &mut receive) {
                    Ok(_) => receive.message(8),
                    Err(_) => pair.port.receive_now().expect("it is kept"),
                };
                assert_eq!((message.id, &message.data[..]), (id, &b"question"[..]));
                pair.port.reply(&message, b"answer").expect("reply");
                assert_eq!(pair.client.receive_now().expect("answer").data, b"answer");
                assert_quiet(&pair);
            });
        }
    });
}

#[test]
fn a_call_that_failed_can_be_made_again_and_gets_its_own_answer() {
    isolated_long(5, || {
        let pair = Pair::new();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut next = pair.port.receive();
                while let Ok(message) = next {
                    next = match message.kind {
                        ALPC_TYPE_REQUEST if message.open() => {
                            let data = message.data.clone();
                            pair.port.reply_receive(&message, &data)
                        }
                        _ => pair.port.receive(),
                    };
                }
            });
            let mut serial = 0_u64;
            sweep("call", |fault| {
                serial += 1;
                let words = serial.to_ne_bytes();
                let mut call = Transfer::new().send(&words).receive().flags(ALPC_SYNC);
                if transfer(fault, &pair.client, &mut call).is_ok() {
                    assert_eq!(call.recv[..8], words);
                }
                serial += 1;
                let words = serial.to_ne_bytes();
                let answer = pair.client.request(&words).expect("the call made again");
                assert_eq!(answer.data, words);
                // An answer that could not be given was kept.
                while pair.client.receive_now().is_ok() {}
                let query = pair.client.query_port().expect("query");
                assert_eq!((query.conversations, query.queued_messages), (0, 0));
            });
            pair.port.disconnect().expect("disconnect");
            server.join().expect("join");
        });
    });
}

#[test]
fn a_reply_that_failed_can_be_made_again() {
    isolated_long(3, || {
        let pair = Pair::new();
        for and_receive in [false, true] {
            sweep("reply", |fault| {
                let id = pair.client.post(b"question").expect("post");
                let request = pair.port.receive_now().expect("request");
                assert_eq!(request.id, id);
                let mut reply = Transfer::new().send(b"answer").into(&request);
                reply = reply.flags(ALPC_RELEASE);
                if and_receive {
                    pair.client.one_way(b"next").expect("send");
                    reply = reply.receive();
                }
                let failed = transfer(fault, &pair.port, &mut reply).is_err();
                let mut answer = pair.client.receive_now();
                if failed && answer.is_err() {
                    pair.port.reply(&request, b"answer").expect("made again");
                    answer = pair.client.receive_now();
                }
                assert_eq!(answer.expect("the answer").data, b"answer");
                if and_receive && failed {
                    assert_eq!(pair.port.receive_now().expect("it is kept").data, b"next");
                }
                assert_quiet(&pair);
            });
        }
    });
}

#[test]
fn a_cancel_that_failed_can_be_made_again() {
    isolated_long(3, || {
        let pair = Pair::new();
        sweep("CANCEL", |fault| {
            let id = pair.client.post(b"question").expect("post");
            let mut cancel = alpc_cancel {
                id,
                flags: 0,
                outcome: JUNK32,
            };
            if fault
                .ioctl(&pair.client, ALPC_IOCTL_CANCEL, &mut cancel)
                .is_err()
            {
                assert_eq!(cancel.outcome, JUNK32);
                match pair.client.cancel(id, 0) {
                    Ok(_) | Err(fail::NOT_FOUND) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            assert_quiet(&pair);
        });
    });
}

#[test]
fn a_disconnect_that_failed_can_be_made_again() {
    isolated_long(3, || {
        sweep("DISCONNECT", |fault| {
            let pair = Pair::new();
            let mut arg = alpc_disconnect::default();
            if fault
                .ioctl(&pair.client, ALPC_IOCTL_DISCONNECT, &mut arg)
                .is_err()
            {
                pair.client.one_way(b"still there").expect("send");
                pair.client.disconnect().expect("disconnect");
            }
            assert_eq!(pair.client.one_way(b"x"), Err(fail::CLOSED));
        });
    });
}

#[test]
fn a_call_that_offers_memory_can_be_made_again() {
    isolated_long(5, || {
        let pair = Pair::with(Create::anonymous().taking_memory());
        let mut memory = vec![0_u8; 20_000];
        let base = memory.as_mut_ptr() as u64;
        sweep("call that offers memory", |fault| {
            std::thread::scope(|scope| {
                let ranges = Ranges::of(&[(base, 20_000, BOTH), (base, 1, BOTH)]);
                let server = scope.spawn(|| {
                    let request = pair.port.receive().expect("receive");
                    pair.port.poke(&request, 0, 0, &[1; 20_000]).expect("poke");
                    pair.port.reply(&request, b"").expect("reply");
                });
                let mut call = Transfer::offering(&ranges);
                let result = transfer(fault, &pair.client, &mut call);
                // What was sent stays sent.
                if result.is_err() && call.arg.flags & ALPC_SENT == 0 {
                    let again = Transfer::offering(&ranges).run(&pair.client);
                    again.expect("the call made again");
                }
                server.join().expect("join");
                while pair.client.receive_now().is_ok() {}
            });
            assert_quiet(&pair);
        });
        assert!(memory == [1; 20_000]);
    });
}

#[test]
fn a_copy_of_a_callers_memory_fails_and_says_how_far_it_came() {
    isolated_long(5, || {
        let pair = Pair::with(Create::anonymous().taking_memory());
        let memory = vec![1_u8; 200_000];
        let ranges = Ranges::of(&[(memory.as_ptr() as u64, 200_000, BOTH)]);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| Transfer::offering(&ranges).run(&pair.client));
            let request = pair.port.receive().expect("receive");
            for access in [ALPC_MEMORY_READ, ALPC_MEMORY_WRITE] {
                sweep("MEMORY", |fault| {
                    let mut data = vec![1_u8; 200_000];
                    let mut arg = memory_argument(&request, 0, access);
                    (arg.data, arg.length) = (data.as_mut_ptr() as u64, 200_000);
                    match fault.ioctl(&pair.port, ALPC_IOCTL_MEMORY, &mut arg) {
                        Ok(_) => assert_eq!((arg.done, arg.outcome), (200_000, 0)),
                        Err(_) => assert!(arg.done == JUNK64 || arg.done < 200_000),
                    }
                    assert!(data == [1; 200_000]);
                });
            }
            pair.port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
        assert!(memory == [1; 200_000]);
    });
}

#[test]
fn handles_that_could_not_be_sent_leave_nothing_open() {
    isolated_long(3, || {
        const KINDS: u32 = ALPC_HANDLE_PIPE | ALPC_HANDLE_PATH | ALPC_HANDLE_NAMESPACE;
        let pair = Pair::with_handles(KINDS);
        for count in [1, 20] {
            sweep(&format!("a message with {count} handles"), |fault| {
                let (reader, writer) = files::pipe();
                let mut fds = vec![writer.as_raw_fd(); count];
                let others = [places::place("/tmp", 0), files::open("/proc/self/ns/uts")];
                for (fd, other) in fds.iter_mut().skip(1).zip(&others) {
                    *fd = other.as_raw_fd();
                }
                let mut handles = HandleContainer::sending(&fds);
                let mut send = Transfer::new().send(b"x").flags(ALPC_RELEASE);
                send = send.handles(&mut handles);
                let result = transfer(fault, &pair.client, &mut send);
                drop(writer);
                let mut room = HandleContainer::claiming(count);
                let mut receive = Transfer::new().receive().now().room_for(&mut room);
                match receive.run(&pair.port) {
                    Ok(_) => assert_eq!(room.claimed().0.len(), count),
                    Err(failure) => {
                        assert_eq!(failure, fail::TIMED_OUT);
                        result.expect_err("it was sent");
                    }
                }
                assert_eq!(files::read(&reader), b"", "nobody has it any more");
                assert_quiet(&pair);
            });
        }
    });
}

#[test]
fn a_claim_that_failed_leaves_no_descriptor_that_nobody_knows_of() {
    isolated_long(3, || {
        let pair = Pair::with_handles(0);
        for at_receive in [false, true] {
            sweep("claim", |fault| {
                let (reader, writer) = files::pipe();
                let mut handles = HandleContainer::sending(&[writer.as_raw_fd(); 3]);
                let id = pair.client.post_with(&mut handles).expect("post");
                drop(writer);
                let mut room = HandleContainer::claiming(3);
                if at_receive {
                    let mut receive = Transfer::new().receive().room_for(&mut room);
                    let message = match transfer(fault, &pair.port, &mut receive) {
                        Ok(_) => receive.message(0),
                        Err(_) => pair.port.receive_with(&mut room).expect("it is kept"),
                    };
                    assert_eq!(message.id, id);
                    let installed = room.entries.iter().take_while(|entry| entry.fd >= 0);
                    drop(own(&room.entries[..installed.count()]));
                    pair.port.release(&message).expect("release");
                } else {
                    let message = pair.port.receive().expect("receive");
                    let mut claim = Claim::new(&message, 0, 3);
                    claim.point();
                    let result = fault.ioctl(&pair.port, ALPC_IOCTL_CLAIM, &mut claim.arg);
                    let installed = match (result, claim.arg.claimed) {
                        // Not even that could be told.
                        (_, JUNK32) => 0,
                        (Ok(_), claimed) => claimed,
                        // What is told may be what was hoped for.
                        (Err(_), _) => {
                            let entries = claim.entries.iter();
                            entries
                                .take_while(|e| e.fd >= 0 && e.kind != JUNK32)
                                .count() as u32
                        }
                    };
                    drop(own(&claim.entries[..installed as usize]));
                    pair.port.release(&message).expect("release");
                }
                pair.client.receive_now().expect("the notice");
                assert_eq!(files::read(&reader), b"", "nobody has it any more");
                assert_quiet(&pair);
            });
        }
    });
}

#[test]
fn a_send_that_failed_leaves_no_message_without_its_origin_to_the_next() {
    isolated_long(3, || {
        sweep("SEND to who takes identities", |fault| {
            let pair = Pair::with(Create::anonymous().takes(ALPC_TAKE_IDENTITY, 0));
            let mut first = Transfer::new().send(b"1");
            let sent = transfer(fault, &pair.client, &mut first).is_ok();
            pair.client.post(b"2").expect("send");
            for _ in 0..=i32::from(sent) {
                let request = pair.port.receive().expect("receive");
                let sender = pair.port.identity(&request).expect("identity");
                assert_ne!(sender.arg.cgroup, 0);
            }
        });
    });
}
