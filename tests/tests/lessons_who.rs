// SPDX-License-Identifier: MIT OR Apache-2.0

//! What went wrong in NT's ports, and does not here: who somebody is, and what is told to whom. One
//! test for each bug, with what it was there and what holds here.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::SeqCst;

use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

/// Writes who somebody else is wherever the kernel will say who this is.
fn forge(transfer: &mut Transfer, whom: u64) {
    let id = whom as u32;
    let arg = &mut transfer.arg;
    (arg.pid, arg.tid, arg.uid, arg.gid) = (id, id, id, id);
    (arg.id, arg.sequence, arg.port_context) = (whom, whom, whom);
    (arg.type_, arg.callback_id) = (ALPC_TYPE_CONNECTION_REPLY as u16, id);
}

/// CVE-2016-3372: a kernel interface let a process send as another one. Here whatever a sender writes
/// where the identity stands is overwritten, in each kind of message.
#[test]
fn an_identity_that_its_sender_forges_is_overwritten_with_its_own() {
    isolated(|| {
        let port = server("lessons/forge");
        let client = Peer::spawn(MALLORY, |_| {
            let mut connect = Connect::to("lessons/forge");
            (connect.arg.server_pid, connect.arg.server_uid) = (1, ALICE.uid);
            let client = connect.run().expect("connect").port;
            assert_eq!(connect.arg.server_uid, ROOT.uid);
            let mut context = ContextContainer::sending(5);
            (context.context.port_context, context.context.id) = (77, 77);
            let whom = u64::from(ALICE.uid);
            for flags in [ALPC_RELEASE, 0] {
                let mut send = Transfer::new().send(b"forged").flags(flags);
                send.arg.send_attributes = context.address();
                forge(&mut send, whom);
                send.run(&client).expect("send");
            }
            let mut call = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
            forge(&mut call, whom);
            let callback = call.run(&client).expect("callback");
            assert_eq!(callback.uid, ROOT.uid);
            let mut answer = Transfer::new().send(b"").into(&callback).receive();
            forge(&mut answer, whom);
            let reply = answer.flags(ALPC_SYNC | ALPC_ANSWER).run(&client);
            assert_eq!(reply.expect("reply").uid, ROOT.uid);
        });
        let forger = client.pid() as u32;
        let is_forger = |message: &Message| {
            let who = (message.pid, message.tid, message.uid, message.gid);
            assert_eq!(who, (forger, forger, MALLORY.uid, MALLORY.gid));
            if message.open() {
                let told = port.identity(message).expect("identity");
                assert_eq!(told.ids(), [[MALLORY.uid; 4], [MALLORY.gid; 4]]);
            }
        };
        let request = port.receive().expect("receive");
        is_forger(&request);
        let accept = Accept::new(request.id).context(SERVER).run(&port);
        let end = accept.expect("accept");
        assert_eq!(end.peer_identity().expect("identity").arg.uid, MALLORY.uid);
        for kind in [ALPC_TYPE_DATAGRAM, ALPC_TYPE_REQUEST, ALPC_TYPE_REQUEST] {
            let mut context = ContextContainer::receiving();
            let mut receive = Transfer::new().receive();
            receive.arg.recv_attributes = context.address();
            let message = receive.run(&port).expect("receive");
            is_forger(&message);
            assert_eq!((message.kind, message.port_context), (kind, SERVER));
            assert_eq!(context.context.port_context, SERVER);
            if message.data.is_empty() {
                let answer = port.callback(&message, b"who?").expect("answer");
                is_forger(&answer);
                port.reply(&answer, b"").expect("reply");
            }
        }
        client.wait();
    });
}

const SERVER: u64 = 0x5eed;

/// CVE-2019-1162 and its like: who could connect was trusted with every message from then on. Here
/// each message says who sends it, so that a connection which is passed on doesn't speak for who
/// made it, even when both use it at once.
#[test]
fn a_connection_in_other_hands_does_not_speak_for_who_made_it() {
    // A server that takes more of each sender has a message of its own for each, others have not.
    for takes in [0, ALPC_TAKE_IDENTITY] {
        isolated(|| two_hands(takes));
    }
}

fn two_hands(takes: u32) {
    let create = Create::named("lessons/hands").open();
    let port = create.taking(takes).run().expect("create");
    let speak = |client: &Port, user: User| {
        let said = user.uid.to_le_bytes();
        for round in 0..rounds(300) {
            if round % 3 == 0 {
                client.one_way(&said).expect("send");
            }
            let reply = client.request(&said).expect("request");
            assert_eq!(reply.data, said);
        }
    };
    let maker = Peer::spawn(ALICE, |link| {
        let client = Connect::to("lessons/hands").run().expect("connect").port;
        link.put_fd(&client);
        link.sync();
        speak(&client, ALICE);
    });
    let end = accept(&port);
    let taker = Peer::spawn(MALLORY, |link| {
        let client = Port::from(link.take_fd());
        link.sync();
        speak(&client, MALLORY);
    });
    let client = maker.take_fd();
    taker.put_fd(&client);
    taker.sync();
    maker.sync();
    drop(client);
    let mut seen = [0; 2];
    loop {
        let message = port.receive().expect("receive");
        if message.kind == ALPC_TYPE_PORT_CLOSED {
            break;
        }
        let pid = match message.uid {
            uid if uid == ALICE.uid => maker.pid(),
            uid if uid == MALLORY.uid => taker.pid(),
            uid => panic!("user {uid}"),
        };
        seen[usize::from(message.uid == ALICE.uid)] += 1;
        assert_eq!(message.data, message.uid.to_le_bytes());
        assert_eq!((message.pid, message.gid), (pid as u32, message.uid));
        if message.kind == ALPC_TYPE_REQUEST {
            let told = port.identity(&message).expect("identity");
            assert_eq!(told.ids(), [[message.uid; 4]; 2]);
            assert_eq!(told.arg.pid, message.pid);
            port.reply(&message, &message.data).expect("reply");
        }
    }
    assert!(seen.iter().all(|seen| *seen >= rounds(300)), "{seen:?}");
    // Who made it stays who made it.
    assert_eq!(end.peer_identity().expect("identity").arg.uid, ALICE.uid);
    maker.wait();
    taker.wait();
}

/// Name squatting: whoever took a well-known name first was given what was meant for its owner.
/// Here a client says who the server must be, and is not even announced to another one, however
/// quickly the name changes hands.
#[test]
fn a_squatter_of_a_name_is_told_nothing_by_who_requires_its_owner() {
    const NAME: &str = "lessons/squat";
    isolated(|| {
        let shared = Shared::new();
        let (stop, told, held) = (&shared[0], &shared[1], &shared[2]);
        let hold = |user: User| {
            Peer::spawn(user, |link| {
                while stop.load(SeqCst) == 0 {
                    let Ok(port) = Create::named(NAME).open().run() else {
                        std::thread::yield_now();
                        continue;
                    };
                    link.put(0);
                    if user == MALLORY {
                        held.fetch_add(1, SeqCst);
                    }
                    link.take();
                    while let Ok(request) = port.receive_now() {
                        assert_ne!(user, MALLORY, "told {request:?}");
                        if request.kind == ALPC_TYPE_CONNECTION_REQUEST {
                            assert_eq!(request.data, b"secret");
                            told.fetch_add(1, SeqCst);
                        }
                    }
                }
                link.put(1);
            })
        };
        let ask = || {
            let connect = Connect::to(NAME).data(b"secret").required_uid(ALICE.uid);
            connect.asynchronous().run().map(|connected| connected.port)
        };
        let owner = hold(ALICE);
        assert_eq!(owner.take(), 0);
        let first = ask().expect("of its owner");
        let squatter = hold(MALLORY);
        owner.put(0);
        // One of them has it next. Whose it is decides, at the moment of connecting.
        let mut outcomes = [0; 3];
        for _ in 0..rounds(300) {
            let mine = ask();
            match &mine {
                Ok(port) => {
                    outcomes[0] += 1;
                    let by = port.query_port().expect("query");
                    assert_eq!(by.role, ALPC_ROLE_CLIENT);
                }
                Err(fail::SERVER_MISMATCH) => outcomes[1] += 1,
                Err(fail::NAME_NOT_FOUND | fail::REFUSED) => outcomes[2] += 1,
                Err(other) => panic!("{other:?}"),
            }
            for holder in [&owner, &squatter] {
                if wait::poll_now(&**holder, libc::POLLIN) != 0 {
                    assert_eq!(holder.take(), 0);
                    holder.put(0);
                }
            }
        }
        stop.store(1, SeqCst);
        for holder in [&owner, &squatter] {
            while holder.take() == 0 {
                holder.put(0);
            }
        }
        owner.wait();
        squatter.wait();
        drop(first);
        note!("{outcomes:?}, squatted {}", held.load(SeqCst));
        assert!(told.load(SeqCst) >= 1);
    });
}

/// A child of this process, which shares nothing with it, with a number that is free.
fn fork_as(number: i32, body: impl FnOnce()) -> i32 {
    /// `struct clone_args`, as far as it is used.
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        unused: [u64; 4],
        exit_signal: u64,
        stack: [u64; 3],
        set_tid: u64,
        set_tid_size: u64,
    }
    let mut args = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: std::ptr::from_ref(&number) as u64,
        set_tid_size: 1,
        ..Default::default()
    };
    let size = size_of::<CloneArgs>();
    // SAFETY: As fork does it: this process has one thread, and the child ends with _exit.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    assert!(pid >= 0, "clone3: {}", std::io::Error::last_os_error());
    if pid == 0 {
        body();
        // SAFETY: Ends the process.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: A live status word.
    assert_eq!(
        unsafe { libc::waitpid(pid as i32, &mut status, 0) },
        pid as i32
    );
    assert_eq!(status, 0);
    pid as i32
}

/// Reused process numbers: a server acted on a number that had become another process's. Here the
/// identity of a message is kept with it, and nothing of the kernel's is looked up by a number: who
/// has the number now is neither taken for the sender nor reached through its message.
#[test]
fn a_process_that_gets_the_number_of_a_dead_sender_is_not_the_sender() {
    isolated(|| {
        let create = Create::named("lessons/number").open();
        let port = create.taking_memory().run().expect("create");
        let sender = Peer::spawn(ALICE, |link| {
            let client = Connect::to("lessons/number").run().expect("connect").port;
            link.put_fd(&client);
            link.put(client.post(b"mine").expect("post"));
            let secret = [1_u8; 8];
            let ranges = Ranges::of(&[(secret.as_ptr() as u64, 8, BOTH)]);
            Transfer::offering(&ranges)
                .run(&client)
                .expect_err("killed before");
        });
        let _end = accept(&port);
        let client = Port::from(sender.take_fd());
        let id = sender.take();
        let post = port.receive().expect("receive");
        let call = port.receive().expect("receive");
        assert_eq!(port.peek(&call, 0, 0, 8), Ok(vec![1; 8]));
        let number = sender.pid();
        sender.kill();
        let notice = port.receive().expect("receive");
        assert_eq!((notice.kind, notice.id), (ALPC_TYPE_CANCELED, call.id));

        let other = fork_as(number, || {
            MALLORY.become_it();
            client.one_way(b"not mine").expect("send");
            // The descriptor gives the side, and no more than any other process would have by it.
            let resumed = Transfer::new().flags(ALPC_SEND | ALPC_SENT | ALPC_SYNC);
            let mut resumed = resumed.receive().now();
            resumed.arg.send_id = call.id;
            assert_eq!(resumed.run(&client).unwrap_err(), fail::NOT_FOUND);
        });
        assert_eq!(other, number);
        assert_eq!(
            (id, post.pid, post.uid),
            (post.id, number as u32, ALICE.uid)
        );
        let later = port.receive().expect("receive");
        assert_eq!(later.data, b"not mine");
        assert_eq!((later.pid, later.uid), (number as u32, MALLORY.uid));
        let told = port.identity(&post).expect("identity");
        assert_eq!(told.ids(), [[ALICE.uid; 4], [ALICE.gid; 4]]);
        let gone = port.peek(&call, 0, 0, 8).unwrap_err();
        assert_eq!(gone.failure, fail::NOT_FOUND);
        port.reply(&post, b"").expect("reply");
    });
}

/// Bytes of the kernel's pool were copied out with structures that were not filled in whole. Here
/// memory is made full of a secret and freed first: nothing that another user is given has a trace
/// of it, and nothing is written where nothing is said to be.
#[test]
fn a_secret_in_freed_memory_shows_in_no_output() {
    const SECRET: u8 = 0x5a;
    isolated(|| {
        let fill = Peer::spawn(ALICE, |_| {
            let pair = Pair::with(Create::anonymous().max(65_536).taking(ALPC_TAKE_VIEWS));
            for length in [64, 128, 192, 256, 512, 1024, 4096, 8192, 65_536_usize] {
                let data = vec![SECRET; length];
                for _ in 0..8 {
                    pair.client.post(&data).expect("post");
                }
                for _ in 0..8 {
                    let held = Transfer::new().capacity(65_536).run(&pair.port);
                    pair.port
                        .reply(&held.expect("receive"), &data)
                        .expect("reply");
                    let reply = Transfer::new().capacity(65_536).run(&pair.client);
                    reply.expect("receive");
                }
            }
            let (section, view) = filled(&pair.client, 1 << 20, SECRET);
            section.delete_view(view.base).expect("delete");
        });
        fill.wait();
        let look = Peer::spawn(MALLORY, |_| {
            let is_secret = |bytes: &[u8]| bytes.windows(4).any(|four| four == [SECRET; 4]);
            let pair = Pair::taking(EVERYTHING);
            // Longer than the kernel knows: the rest is neither read for anything nor written.
            let longer = |request: u32, port: &Port| {
                let mut room = vec![0; 1024];
                let size = ((request >> 16) & 0x3fff) as usize;
                let request = (request & !(0x3fff << 16)) | (1024 << 16);
                // SAFETY: The room is as long as the request says.
                let asked = unsafe { ioctl_at(port.as_fd(), request, room.as_mut_ptr() as u64) };
                assert_eq!(asked, Ok(0));
                assert!(!is_secret(&room), "{request:x}: {room:x?}");
                assert!(room[size..].iter().all(|&byte| byte == 0), "{request:x}");
            };
            longer(ALPC_IOCTL_QUERY, &device());
            for port in [&pair.port, &pair.server, &pair.client] {
                longer(ALPC_IOCTL_QUERY_PORT, port);
            }
            for port in [&pair.server, &pair.client] {
                longer(ALPC_IOCTL_QUERY_IDENTITY, port);
            }
            for length in [0, 1, 63, 255, 4095] {
                let (_section, view) = filled(&pair.client, 1, 1);
                let data = vec![7; length];
                let mut container = ViewContainer::lending(view.base, 1, 0);
                let post = Transfer::new().send(&data);
                post.with(&pair.client, &mut container).expect("post");
                let mut receive = Transfer::new().receive();
                let mut every = [JUNK; 8 + 32 + 40 + 24 + 16];
                let attributes = ALPC_ATTR_VIEW | ALPC_ATTR_CONTEXT;
                every[..4].copy_from_slice(&attributes.to_le_bytes());
                receive.arg.recv_attributes = every.as_mut_ptr() as u64;
                let message = receive.run(&pair.port).expect("receive");
                assert!(
                    !is_secret(&receive.recv) && !is_secret(&every),
                    "{every:x?}"
                );
                assert_eq!(every[80..], [JUNK; 40]);
                let base = u64::from_le_bytes(every[8..16].try_into().expect("8 bytes"));
                let seen = View { base, size: PAGE }.read(1, PAGE as usize - 1);
                assert_eq!(seen, [1; PAGE as usize - 1]);
                let told = pair.port.identity(&message).expect("identity");
                assert!(!is_secret(&told.label));
                pair.port.reply(&message, b"").expect("reply");
                pair.client.receive().expect("receive");
            }
            let section = pair.client.section(1 << 20).expect("section");
            section.view(1 << 20).expect("view").assert_holds(0);
        });
        look.wait();
    });
}

const EVERYTHING: u32 = ALPC_TAKE_VIEWS | ALPC_TAKE_HANDLES | ALPC_TAKE_MEMORY;
