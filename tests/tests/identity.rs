// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel writes into a message, and that nothing a sender puts
//! there survives.

use std::thread;

use alpc_tests::pair::{CLIENT_CONTEXT, PORT_CONTEXT, SERVER_CONTEXT};
use alpc_tests::raw::*;
use alpc_tests::*;

const NAME: &str = "identity/server";

/// A server of this test that admits everyone.
fn server() -> Port {
    let create = Create::named(NAME).context(PORT_CONTEXT).open();
    { create }.run().expect("create")
}

/// Accepts the next client with this context.
fn admit(port: &Port, context: u64) -> Port {
    let request = port.receive().expect("receive");
    assert_eq!(request.kind, ALPC_TYPE_CONNECTION_REQUEST);
    let mut accept = Accept::new(request.id).context(context);
    accept.run(port).expect("accept")
}

#[test]
fn each_message_names_the_process_user_and_group_of_its_sender() {
    isolated(|| {
        let port = server();
        for user in [ROOT, ALICE, BOB, User { gid: 4242, ..CAROL }] {
            let client = Peer::spawn(user, |_| {
                let client = Connect::to(NAME).run().expect("connect").port;
                client.one_way(b"1").expect("send");
                client.post(b"2").expect("post");
                client.request(b"3").expect("request");
            });
            let _server = admit(&port, 7);
            for _ in 0..3 {
                let message = port.receive().expect("receive");
                let pid = client.pid() as u32;
                assert_eq!((message.pid, message.tid), (pid, pid));
                assert_eq!((message.uid, message.gid), (user.uid, user.gid));
                if message.data == b"3" {
                    port.reply(&message, b"").expect("reply");
                }
            }
            client.wait();
            // Cancelled, closed: notices of a client that has gone.
            while port.receive().expect("receive").kind != ALPC_TYPE_PORT_CLOSED {}
        }
    });
}

#[test]
fn the_thread_that_sends_is_named() {
    isolated(|| {
        let pair = Pair::new();
        let tids: Vec<u32> = (0..3)
            .map(|_| {
                thread::scope(|scope| {
                    let send = || {
                        pair.client.one_way(b"").expect("send");
                        signals::tid() as u32
                    };
                    scope.spawn(send).join().expect("join")
                })
            })
            .collect();
        for tid in tids {
            let message = pair.port.receive().expect("receive");
            assert_eq!((message.pid, message.tid), (std::process::id(), tid));
        }
    });
}

#[test]
fn the_identity_is_that_of_the_send_not_of_the_connect() {
    isolated(|| {
        let port = server();
        let client = Peer::spawn(ROOT, |_| {
            let client = Connect::to(NAME).run().expect("connect").port;
            client.one_way(b"as root").expect("send");
            BOB.become_it();
            client.one_way(b"as bob").expect("send");
        });
        let _server = admit(&port, 7);
        let ids: Vec<_> = (0..2)
            .map(|_| port.receive().expect("receive"))
            .map(|message| (message.uid, message.gid))
            .collect();
        assert_eq!(ids, [(0, 0), (BOB.uid, BOB.gid)]);
        client.wait();
    });
}

#[test]
fn a_passed_port_sends_as_whoever_uses_it() {
    isolated(|| {
        let pair = Pair::new();
        let bob = Peer::spawn(BOB, |link| {
            let client = Port::from(link.take_fd());
            let reply = client.request(b"as bob").expect("request");
            assert_eq!((reply.uid, reply.data.as_slice()), (0, &b"yes"[..]));
        });
        bob.put_fd(&pair.client);
        let request = pair.port.receive().expect("receive");
        assert_eq!((request.uid, request.pid), (BOB.uid, bob.pid() as u32));
        pair.port.reply(&request, b"yes").expect("reply");
        bob.wait();
    });
}

#[test]
fn a_reply_names_whoever_replies() {
    isolated(|| {
        let alice = Peer::spawn(ALICE, |link| {
            let port = server();
            link.sync();
            let _server = admit(&port, 7);
            let request = port.receive().expect("receive");
            port.reply(&request, b"").expect("reply");
            link.sync();
        });
        alice.sync();
        let client = Connect::to(NAME).run().expect("connect").port;
        let reply = client.request(b"").expect("request");
        assert_eq!((reply.uid, reply.gid), (ALICE.uid, ALICE.gid));
        assert_eq!(
            (reply.pid, reply.tid),
            (alice.pid() as u32, alice.pid() as u32)
        );
        alice.sync();
        alice.wait();
    });
}

#[test]
fn what_a_sender_writes_into_output_fields_never_gets_through() {
    isolated(|| {
        let pair = Pair::new();
        let mut forged = Transfer::new().send(b"honest").flags(ALPC_RELEASE);
        forged.arg = alpc_transfer {
            id: 1,
            callback_id: 99,
            type_: ALPC_TYPE_PORT_CLOSED as u16,
            type_flags: 0xffff,
            pid: 1,
            tid: 1,
            uid: 12345,
            gid: 12345,
            port_context: 0xbad,
            sequence: 77,
            ..forged.arg
        };
        forged.run(&pair.client).expect("send");
        let message = pair.port.receive().expect("receive");
        assert_eq!(message.kind, ALPC_TYPE_DATAGRAM);
        assert_eq!((message.flags, message.id, message.callback_id), (0, 0, 0));
        assert_eq!((message.uid, message.gid), (0, 0));
        assert_eq!(message.pid, std::process::id());
        assert_eq!(message.port_context, SERVER_CONTEXT);
        assert_ne!(message.sequence, 77);
    });
}

/// Receives one message at `port` with room for its context.
fn receive_with_context(port: &Port) -> (Message, ContextContainer) {
    let mut container = ContextContainer::receiving();
    let mut receive = Transfer::new().receive();
    receive.arg.recv_attributes = container.address();
    let message = receive.run(port).expect("receive");
    (message, container)
}

#[test]
fn the_context_attribute_is_filled_in_for_whoever_has_room() {
    isolated(|| {
        let pair = Pair::new();
        pair.client.post(b"x").expect("post");
        let (message, container) = receive_with_context(&pair.port);
        assert_eq!(container.head.allocated, ALPC_ATTR_CONTEXT);
        assert_eq!(container.head.valid, ALPC_ATTR_CONTEXT);
        let context = container.context;
        assert_eq!(context.port_context, SERVER_CONTEXT);
        assert_eq!(context.message_context, 0);
        assert_eq!(context.id, message.id);
        assert_eq!(context.callback_id, message.callback_id);
        assert_eq!(context.sequence, message.sequence);
        assert_eq!(context.reserved, 0);
    });
}

#[test]
fn each_side_gets_back_its_own_message_context() {
    isolated(|| {
        let pair = Pair::new();
        let send = |port: &Port, transfer: Transfer, value: u64| {
            let mut container = ContextContainer::sending(value);
            // What the kernel knows better is ignored.
            container.context.port_context = 0xbad;
            container.context.id = 0xbad;
            container.context.sequence = 0xbad;
            container.context.callback_id = 0xbad;
            let mut transfer = transfer;
            transfer.arg.send_attributes = container.address();
            transfer.run(port).expect("send");
        };
        send(&pair.client, Transfer::new().send(b"1"), 0xc11e);
        let (first, container) = receive_with_context(&pair.port);
        assert_eq!(container.context.message_context, 0, "not the other side's");
        assert_eq!(container.context.port_context, SERVER_CONTEXT);
        send(&pair.port, Transfer::new().send(b"2").into(&first), 0x5e4e);
        let (second, container) = receive_with_context(&pair.client);
        assert_eq!(container.context.message_context, 0xc11e);
        assert_eq!(container.context.port_context, CLIENT_CONTEXT);
        pair.client.reply_open(&second, b"3").expect("reply");
        let (third, container) = receive_with_context(&pair.port);
        assert_eq!(container.context.message_context, 0x5e4e);
        pair.port.reply_open(&third, b"4").expect("reply");
        let (fourth, container) = receive_with_context(&pair.client);
        assert_eq!(
            container.context.message_context, 0xc11e,
            "kept until changed"
        );
        pair.client.release(&fourth).expect("release");
    });
}

#[test]
fn reserved_attributes_are_not_supported_and_unknown_ones_invalid() {
    isolated(|| {
        let pair = Pair::new();
        // Room for every structure there may be, so that only the bit counts.
        #[repr(C)]
        struct Container(alpc_attributes, [u64; 64]);
        for bit in 0..32 {
            let bit = 1_u32 << bit;
            const KNOWN: u32 = ALPC_ATTR_SECURITY
                | ALPC_ATTR_VIEW
                | ALPC_ATTR_CONTEXT
                | ALPC_ATTR_HANDLE
                | ALPC_ATTR_TOKEN
                | ALPC_ATTR_MEMORY
                | ALPC_ATTR_RECEIVER;
            if bit & KNOWN != 0 {
                continue;
            }
            let errno = if bit > ALPC_ATTR_MEMORY {
                libc::EOPNOTSUPP
            } else {
                libc::EINVAL
            };
            for valid in [0, bit] {
                let head = alpc_attributes {
                    allocated: bit,
                    valid,
                };
                let mut container = Container(head, [0; 64]);
                let address = std::ptr::from_mut(&mut container) as u64;
                let mut send = Transfer::new().send(b"x").flags(ALPC_RELEASE);
                send.arg.send_attributes = address;
                refused_with(send.run(&pair.client), errno, &format!("send {bit:#x}"));
                pair.client.one_way(b"there").expect("send");
                let mut receive = Transfer::new().receive();
                receive.arg.recv_attributes = address;
                refused_with(receive.run(&pair.port), errno, &format!("receive {bit:#x}"));
                assert_eq!(pair.port.receive().expect("receive").data, b"there");
            }
        }
        // Valid, but not allocated.
        let mut container = ContextContainer::sending(1);
        container.head.allocated = 0;
        let mut send = Transfer::new().send(b"x").flags(ALPC_RELEASE);
        send.arg.send_attributes = container.address();
        refused_with(
            send.run(&pair.client),
            libc::EINVAL,
            "valid beyond allocated",
        );
    });
}
