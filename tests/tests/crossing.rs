// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ports and people in namespaces of their own, and descriptors that cross from one to another.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::raw::*;
use alpc_tests::*;

const OVERFLOW: u32 = 65534;

fn unshare(what: i32) {
    // SAFETY: Takes no pointer; the caller has one thread.
    let result = unsafe { libc::unshare(what) };
    assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
}

/// Makes user and IPC namespace of its own, as anybody may, and is root in there.
fn own_namespaces(more: i32) {
    let (uid, gid) = {
        // SAFETY: They take nothing.
        unsafe { (libc::geteuid(), libc::getegid()) }
    };
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWIPC | more);
    std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).expect("map");
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).expect("map");
}

/// Accepts one, and answers one with `text`.
fn serve(port: &Port, text: &[u8]) -> Message {
    let asks = port.receive().expect("receive");
    let _server = Accept::new(asks.id).run(port).expect("accept");
    let request = port.receive().expect("receive");
    port.reply(&request, text).expect("reply");
    while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
    request
}

fn ask(connect: &mut Connect) -> Vec<u8> {
    ask_on(connect, &device())
}

fn ask_on(connect: &mut Connect, fd: &impl AsFd) -> Vec<u8> {
    let client = connect.run_on(fd).expect("connect").port;
    client.request(b"who?").expect("request").data
}

#[test]
fn anybody_has_names_of_its_own_in_an_ipc_namespace_of_its_own() {
    isolated(|| {
        const NAME: &str = "crossing/one";
        let outer = Create::named(NAME).open().run().expect("create");
        let alice = Peer::spawn(ALICE, |link| {
            own_namespaces(0);
            // What is outside can't be seen, let alone be in the way.
            let missing = Connect::to(NAME).run().map(drop);
            assert_eq!(missing, Err(fail::NAME_NOT_FOUND));
            assert_eq!(open_port(NAME).map(drop), Err(fail::NAME_NOT_FOUND));
            let inner = Create::named(NAME).run().expect("create");
            let client = Peer::fork(ROOT, |_| {
                assert_eq!(ask(&mut Connect::to(NAME)), b"inside");
            });
            serve(&inner, b"inside");
            client.wait();
            link.sync();
            link.sync();
        });
        alice.sync();
        let client = Peer::spawn(BOB, |_| {
            assert_eq!(ask(&mut Connect::to(NAME)), b"outside");
        });
        let request = serve(&outer, b"outside");
        assert_eq!(request.uid, BOB.uid);
        client.wait();
        alice.sync();
        alice.wait();
    });
}

#[test]
fn who_enters_an_ipc_namespace_finds_its_names() {
    isolated(|| {
        const NAME: &str = "crossing/entered";
        let inside = Peer::fork(ROOT, |link| {
            unshare(libc::CLONE_NEWIPC);
            let port = Create::named(NAME).run().expect("create");
            link.sync();
            serve(&port, b"inside");
        });
        inside.sync();
        assert_eq!(Connect::to(NAME).run().map(drop), Err(fail::NAME_NOT_FOUND));
        let path = format!("/proc/{}/ns/ipc", inside.pid());
        let namespace = std::fs::File::open(path).expect("namespace");
        // A device that was opened outside looks up where its user is.
        let opened = device();
        // SAFETY: An open descriptor; one thread.
        let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWIPC) };
        assert_eq!(entered, 0);
        assert_eq!(ask_on(&mut Connect::to(NAME), &opened), b"inside");
        inside.wait();
    });
}

#[test]
fn a_descriptor_is_of_the_same_port_wherever_it_is_used() {
    isolated(|| {
        let outer = Create::anonymous().open().run().expect("create");
        let through = outer.connect_descriptor().expect("descriptor");
        let alice = Peer::spawn(ALICE, |link| {
            let through = Port::from(link.take_fd());
            own_namespaces(0);
            assert_eq!(ask_on(&mut Connect::new(None), &through), b"outside");
            // One of hers goes the other way.
            let inner = Create::named("crossing/inner").open().run();
            let inner = inner.expect("create");
            link.put_fd(&inner.connect_descriptor().expect("descriptor"));
            let request = serve(&inner, b"inside");
            // The user that asks has no number in here, and its process none that she made.
            assert_eq!((request.uid, request.gid), (OVERFLOW, OVERFLOW));
            assert_ne!(request.pid, 0);
            // The port itself, with nobody left in the namespace of its name.
            link.put_fd(&inner);
            link.sync();
        });
        alice.put_fd(&through);
        let request = serve(&outer, b"outside");
        assert_eq!((request.uid, request.gid), (ALICE.uid, ALICE.gid));
        assert_eq!(request.pid, alice.pid() as u32);
        let inner = Port::from(alice.take_fd());
        assert_eq!(ask_on(&mut Connect::new(None), &inner), b"inside");
        let port = Port::from(alice.take_fd());
        alice.sync();
        alice.wait();
        let client = Peer::fork(ROOT, |_| {
            assert_eq!(ask_on(&mut Connect::new(None), &inner), b"orphan");
        });
        serve(&port, b"orphan");
        client.wait();
        let missing = Connect::to("crossing/inner").run().map(drop);
        assert_eq!(missing, Err(fail::NAME_NOT_FOUND));
    });
}

#[test]
fn who_is_in_none_of_the_receivers_namespaces_is_nobody_to_it() {
    isolated(|| {
        let pair = &Pair::with(Create::anonymous().takes(ALPC_TAKE_IDENTITY, 0));
        let (to_sender, to_receiver) = Link::pair();
        // Two containers side by side, of two users.
        let container = |user: User, body: &dyn Fn()| {
            Peer::fork(ROOT, |_| {
                // SAFETY: Takes no pointer; one thread.
                assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
                user.become_it();
                // To write its own maps, it has to be its own.
                // SAFETY: Takes no pointer.
                assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
                own_namespaces(libc::CLONE_NEWPID);
                Peer::fork(ROOT, |_| body()).wait();
            })
        };
        let receiver = container(ALICE, &|| {
            assert_eq!(std::process::id(), 1);
            let request = pair.port.receive().expect("receive");
            assert_eq!(
                (request.pid, request.tid, request.uid, request.gid),
                (0, 0, OVERFLOW, OVERFLOW)
            );
            let identity = pair.port.identity(&request).expect("identity");
            assert_eq!(identity.ids(), [[OVERFLOW; 4]; 2]);
            assert_eq!(identity.capabilities(), [0; 5]);
            assert_eq!(identity.arg.user_ns, ALPC_USER_NS_OTHER);
            assert_eq!((identity.arg.pid, identity.arg.tid), (0, 0));
            // It is there all the same, and the same as before.
            let (id, turn) = (request.id, request.callback_id);
            assert_eq!(pair.port.verify(id, turn, 0), Ok(()));
            assert_eq!(pair.port.verify(id, turn, ALPC_VERIFY_THREAD), Ok(()));
            pair.port.reply(&request, b"").expect("reply");
            to_sender.sync();
        });
        let sender = container(BOB, &|| {
            assert_eq!(std::process::id(), 1);
            let reply = pair.client.request(b"x").expect("request");
            assert_eq!(
                (reply.pid, reply.tid, reply.uid, reply.gid),
                (0, 0, OVERFLOW, OVERFLOW)
            );
            to_receiver.sync();
        });
        sender.wait();
        receiver.wait();
    });
}
