// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the number in a header is still the sender's, and who a server is before
//! anything is sent to it.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use alpc_tests::raw::*;
use alpc_tests::*;

/// A process that has this number, which must be free, and does nothing.
fn process_with_number(number: i32) -> i32 {
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
    }
    let args = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: std::ptr::from_ref(&number) as u64,
        set_tid_size: 1,
        ..Default::default()
    };
    // SAFETY: The argument is live for the call and says how long it is. The child uses nothing of
    // the parent's.
    unsafe {
        match libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) {
            0 => loop {
                libc::pause();
            },
            pid => pid as i32,
        }
    }
}

fn end(pid: i32) {
    // SAFETY: A child of this process, which has not been waited for.
    unsafe {
        assert_eq!(libc::kill(pid, libc::SIGKILL), 0);
        assert_eq!(libc::waitpid(pid, std::ptr::null_mut(), 0), pid);
    }
}

#[test]
fn a_number_is_the_senders_until_it_has_been_waited_for() {
    isolated(|| {
        let pair = Pair::new();
        let sender = Peer::fork(ROOT, |link| {
            pair.client.post(b"").expect("post");
            link.sync();
        });
        let request = pair.port.receive().expect("receive");
        let verify = || pair.port.verify(request.id, request.callback_id, 0);
        assert_eq!(verify(), Ok(()));
        // On the other port of the server's too.
        let (id, turn) = (request.id, request.callback_id);
        assert_eq!(pair.server.verify(id, turn, 0), Ok(()));
        sender.sync();
        // Dead, but not waited for.
        eventually(|| {
            let path = format!("/proc/{}/stat", request.pid);
            std::fs::read_to_string(path).is_ok_and(|stat| stat.contains(") Z "))
        });
        assert_eq!(verify(), Ok(()));
        sender.wait();
        assert_eq!(verify(), Err(fail::SENDER_GONE));
    });
}

#[test]
fn who_has_got_the_number_of_a_dead_sender_does_not_pass_for_it() {
    isolated(|| {
        let pair = Pair::new();
        let sender = Peer::fork(ROOT, |_| {
            pair.client.post(b"").expect("post");
        });
        let request = pair.port.receive().expect("receive");
        sender.wait();
        let impostor = process_with_number(request.pid as i32);
        assert_eq!(impostor, request.pid as i32);
        let verified = pair.port.verify(request.id, request.callback_id, 0);
        assert_eq!(verified, Err(fail::SENDER_GONE));
        end(impostor);
    });
}

#[test]
fn a_thread_is_verified_while_it_waits_for_the_answer() {
    isolated(|| {
        let pair = &Pair::new();
        let verify = |request: &Message, flags| {
            let (id, turn) = (request.id, request.callback_id);
            pair.port.verify(id, turn, flags)
        };
        std::thread::scope(|scope| {
            let (client, request) = pair.requested(scope, b"wait");
            assert_ne!(request.pid, request.tid);
            assert_eq!(verify(&request, ALPC_VERIFY_THREAD), Ok(()));
            assert_eq!(verify(&request, 0), Ok(()));
            // In a callback it is the client who holds something, and the server who waits.
            let port = &pair.port;
            let server = scope.spawn(move || port.callback(&request, b"call"));
            let call = client.join().expect("client").expect("callback");
            let verified = pair
                .client
                .verify(call.id, call.callback_id, ALPC_VERIFY_THREAD);
            assert_eq!(verified, Ok(()));
            let client = scope.spawn(move || pair.client.answer(&call, b""));
            let answer = server.join().expect("server").expect("answer");
            // It waits on for what it asked for.
            assert_eq!(verify(&answer, ALPC_VERIFY_THREAD), Ok(()));
            pair.port.reply(&answer, b"").expect("reply");
            client.join().expect("client").expect("reply");
        });
        // Nor does anybody for an asynchronous one.
        pair.client.post(b"post").expect("post");
        let request = pair.port.receive().expect("receive");
        let gone = verify(&request, ALPC_VERIFY_THREAD);
        assert_eq!(gone, Err(fail::SENDER_GONE));
        assert_eq!(verify(&request, 0), Ok(()));
    });
}

#[test]
fn the_thread_that_waits_on_for_another_is_not_the_sender() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"post").expect("post");
        let request = pair.port.receive().expect("receive");
        let tid = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                // SAFETY: Takes no pointer.
                let own = unsafe { libc::gettid() };
                tid.store(own as u32, Ordering::Release);
                let sent = ALPC_SEND | ALPC_RECEIVE | ALPC_SYNC | ALPC_SENT;
                let mut transfer = Transfer::new().flags(sent);
                transfer.arg.send_id = id;
                transfer.run(&pair.client)
            });
            eventually(|| {
                let tid = tid.load(Ordering::Acquire);
                tid != 0 && inspect::thread_sleeps(tid as i32)
            });
            let verified = pair
                .port
                .verify(request.id, request.callback_id, ALPC_VERIFY_THREAD);
            assert_eq!(verified, Err(fail::SENDER_GONE));
            pair.port.reply(&request, b"").expect("reply");
            waiter.join().expect("waiter").expect("reply");
        });
    });
}

#[test]
fn the_ends_of_a_connection_and_the_maker_of_a_port_are_verified_too() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            let port = Create::named("verify/alice").open().run().expect("create");
            let request = port.receive().expect("receive");
            let _end = Accept::new(request.id).run(&port).expect("accept");
            link.put_fd(&port);
            link.sync();
        });
        let client = loop {
            match Connect::to("verify/alice").run() {
                Ok(connected) => break connected.port,
                Err(failure) => assert_eq!(failure, fail::NAME_NOT_FOUND),
            }
        };
        let opened = open_port("verify/alice").expect("open");
        let kept = Port::from(alice.take_fd());
        assert_eq!(client.verify(0, 0, 0), Ok(()));
        assert_eq!(opened.verify(0, 0, 0), Ok(()));
        alice.sync();
        alice.wait();
        assert_eq!(client.verify(0, 0, 0), Err(fail::SENDER_GONE));
        assert_eq!(opened.verify(0, 0, 0), Err(fail::SENDER_GONE));
        drop(kept);
    });
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"").expect("post");
        let request = pair.port.receive().expect("receive");
        let (id, turn) = (request.id, request.callback_id);
        let ask = |port: &Port, id, turn, flags| port.verify(id, turn, flags);
        for flags in [2, 3, u32::MAX] {
            refused_with(ask(&pair.port, id, turn, flags), libc::EINVAL, "flags");
        }
        for (port, id, turn, flags) in [
            (&pair.port, 0, 0, 0),
            (&pair.client, 0, 1, 0),
            (&pair.client, 0, 0, ALPC_VERIFY_THREAD),
        ] {
            refused_with(ask(port, id, turn, flags), libc::EINVAL, "no such sender");
        }
        let mut arg = alpc_verify {
            id,
            callback_id: turn,
            flags: 0,
            outcome: JUNK32,
            reserved: 1,
        };
        let asked = verify_as_is(&pair.port, &mut arg);
        refused_with(asked, libc::EINVAL, "reserved");
        assert_eq!(arg.outcome, JUNK32);
        for flags in [0, ALPC_VERIFY_THREAD] {
            assert_eq!(ask(&pair.client, id, turn, flags), Err(fail::NOT_OWNER));
            assert_eq!(ask(&pair.port, id, turn + 1, flags), Err(fail::STALE_TURN));
            assert_eq!(ask(&pair.port, id + 1, turn, flags), Err(fail::NOT_FOUND));
        }
        let section = pair.port.section(4096).expect("section");
        refused_with(ask(&section, 0, 0, 0), libc::ENOTTY, "a section");
        let fixed = memory::Pages::read_only(&[0; 24]);
        // SAFETY: The kernel checks the address.
        let asked = unsafe { ioctl_at(pair.client.as_fd(), ALPC_IOCTL_VERIFY, fixed.address()) };
        assert_eq!(asked, Err(libc::EFAULT));
    });
}

#[test]
fn a_client_looks_at_its_server_before_it_connects() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            let port = Create::named("verify/alice").run().expect("create");
            link.sync();
            link.sync();
            // Whoever only looked has asked for nothing.
            assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
            drop(port);
            link.sync();
            link.sync();
        });
        alice.sync();
        let opened = open_port("verify/alice").expect("open");
        let maker = opened.peer_identity().expect("identity");
        assert_eq!(maker.arg.euid, ALICE.uid);
        assert_eq!(maker.arg.pid, alice.pid() as u32);
        let info = opened.query_port().expect("query");
        assert_eq!(
            (info.role, info.state),
            (ALPC_ROLE_CONNECT, ALPC_STATE_OPEN)
        );
        // To look is not to be admitted: there is no access control list.
        let denied = Connect::new(None).run_on(&opened).map(drop);
        assert_eq!(denied, Err(fail::ACCESS_DENIED));
        alice.sync();
        alice.sync();
        // The descriptor is not the name: whoever has that next is somebody else.
        let squatter = Create::named("verify/alice").run().expect("create");
        let info = opened.query_port().expect("query");
        assert_eq!(info.state, ALPC_STATE_DISCONNECTED);
        let maker = opened.peer_identity().expect("identity");
        assert_eq!(maker.arg.euid, ALICE.uid);
        assert_eq!(squatter.receive_now().unwrap_err(), fail::TIMED_OUT);
        alice.sync();
        alice.wait();
    });
}

#[test]
fn a_port_is_opened_by_its_name_and_nothing_else() {
    isolated(|| {
        let _port = Create::named("verify/open").run().expect("create");
        assert_eq!(
            open_port("verify/close").map(drop),
            Err(fail::NAME_NOT_FOUND)
        );
        let name = "verify/open";
        let good = alpc_open {
            name: name.as_ptr() as u64,
            name_length: name.len() as u32,
            flags: 0,
            outcome: JUNK32,
            reserved: 0,
        };
        let edits: [fn(&mut alpc_open); 6] = [
            |arg| arg.flags = 1,
            |arg| arg.reserved = 1,
            |arg| arg.name = 0,
            |arg| arg.name_length = 0,
            |arg| arg.name_length = 256,
            |arg| arg.name_length = u32::MAX,
        ];
        for edit in edits {
            let mut arg = good;
            edit(&mut arg);
            refused_with(open_port_as_is(&mut arg), libc::EINVAL, "argument");
            assert_eq!(arg.outcome, JUNK32);
        }
        for bad in memory::HOSTILE {
            if bad != 0 {
                let mut arg = alpc_open { name: bad, ..good };
                refused_with(open_port_as_is(&mut arg), libc::EFAULT, "name");
            }
        }
        let opened = open_port_as_is(&mut { good }).expect("open");
        assert!(close_on_exec(&opened));
    });
}

#[test]
fn a_server_is_required_by_its_label() {
    isolated(|| {
        const NAME: &str = "verify/label";
        let port = Create::named(NAME).open().run().expect("create");
        let maker = open_port(NAME)
            .expect("open")
            .peer_identity()
            .expect("identity");
        let label = maker.label().to_string();
        let connect = |label: &str| {
            let mut connect = Connect::to(NAME).asynchronous().required_label(label);
            connect.run().map(|connected| connected.port)
        };
        let refused = |label: &str| connect(label).map(drop);
        let almost = match label.len() {
            0 => "x".to_string(),
            length => label[..length - 1].to_string() + "?",
        };
        let wrong = [
            almost,
            format!("{label}?"),
            format!("{label}\0"),
            format!("?{label}"),
            "x".repeat(ALPC_LABEL_MAX as usize),
        ];
        for wrong in wrong {
            assert_eq!(refused(&wrong), Err(fail::SERVER_MISMATCH), "{wrong:?}");
        }
        if label.len() > 1 {
            assert_eq!(refused(&label[1..]), Err(fail::SERVER_MISMATCH));
        }
        assert_eq!(port.receive_now().unwrap_err(), fail::TIMED_OUT);
        if !label.is_empty() {
            let _client = connect(&label).expect("the right label");
            let request = port.receive().expect("receive");
            assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
        }
        refused_with(connect(""), libc::EINVAL, "no label at all");
        let long = "x".repeat(ALPC_LABEL_MAX as usize + 1);
        refused_with(connect(&long), libc::EINVAL, "too long");
        let mut connect = Connect::to(NAME).asynchronous();
        connect.label = b"x".to_vec();
        refused_with(connect.run(), libc::EINVAL, "not asked for");
        for bad in memory::HOSTILE {
            if bad != 0 {
                let mut connect = Connect::to(NAME).asynchronous().required_label("x");
                connect.point();
                connect.arg.required_label = bad;
                refused_with(connect.run_as_is(&device()), libc::EFAULT, "label");
            }
        }
    });
}
