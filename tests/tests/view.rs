// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sections and views: what is lent can be read by the receiver, and only while it holds it.

use alpc_tests::inspect::fdinfo;
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const AUTO: u32 = ALPC_VIEW_AUTO_RELEASE;

/// A one-way message.
fn one_way() -> Transfer {
    Transfer::new().send(b"look").flags(ALPC_RELEASE)
}

#[test]
fn a_view_is_zeroes_until_it_is_written_and_arrives_as_it_was_written() {
    isolated(|| {
        let pair = Pair::of_views();
        let section = pair.client.section(16 * PAGE).expect("section");
        let view = section.view(3 * PAGE + 1).expect("view");
        assert_eq!(view.size, 4 * PAGE);
        view.assert_holds(0);
        view.fill(0x5a);
        one_way().lend(&pair.client, view, SECURE).expect("send");
        let (message, received) = pair.port.receive_view().expect("receive");
        assert_eq!(message.data, b"look");
        let received = received.expect("view");
        assert_eq!(received.size, view.size);
        received.assert_holds(0x5a);
        view.assert_closed();
        assert!(
            received.readable(0) && !received.writable(0, 1),
            "read-only"
        );
        pair.port.delete_view(received.base).expect("release");
        assert!(!received.is_there());
        view.assert_back(0x5a);
    });
}

#[test]
fn a_view_sent_again_shows_what_has_been_written_since() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(PAGE, 0);
        let mut places = Vec::new();
        for round in 0..5 {
            view.fill(round);
            one_way().lend(&pair.client, view, SECURE).expect("send");
            let received = pair.port.receive_view().expect("receive").1.expect("view");
            received.assert_holds(round);
            places.push(received.base);
            pair.port.delete_view(received.base).expect("release");
        }
        places.dedup();
        assert_eq!(places.len(), 1, "mapped once");
    });
}

#[test]
fn a_view_goes_with_every_kind_of_message_in_both_directions() {
    isolated(|| {
        let (port, server, peer) = client_peer("view/kinds", ALICE, |link, client| {
            // One-way, and a request of which nobody waits for the reply.
            for (byte, flags) in [(1, ALPC_RELEASE), (2, 0)] {
                let (section, view) = filled(&client, 2 * PAGE, byte);
                let send = Transfer::new().send(b"client's").flags(flags);
                send.lend(&client, view, SECURE).expect("send");
                view.assert_closed();
                link.sync();
                link.sync();
                view.assert_back(byte);
                drop(section);
            }
            let (reply, held) = client.receive_view().expect("receive");
            assert_eq!(reply.kind, ALPC_TYPE_REPLY);
            let held = held.expect("a view in a reply");
            held.assert_holds(3);
            client.delete_view(held.base).expect("release");
            // A call, a callback in it, its answer, and the reply.
            let (section, view) = filled(&client, PAGE, 4);
            let sync = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
            let mut lending = ViewContainer::lending(view.base, view.size, SECURE);
            let (callback, held) = sync.exchange(&client, &mut lending).expect("call");
            assert_eq!(callback.kind, ALPC_TYPE_REQUEST);
            let held = held.expect("a view in a callback");
            held.assert_holds(5);
            let (section2, view) = filled(&client, PAGE, 6);
            let answer = Transfer::new().send(b"answer").into(&callback).receive();
            let answer = answer.flags(ALPC_SYNC | ALPC_ANSWER);
            let mut lending = ViewContainer::lending(view.base, view.size, SECURE);
            lending.view.release = held.base;
            let (reply, held) = answer.exchange(&client, &mut lending).expect("answer");
            assert_eq!(reply.kind, ALPC_TYPE_REPLY);
            let held = held.expect("a view in the reply");
            held.assert_holds(7);
            client.delete_view(held.base).expect("release");
            drop((section, section2));
            // What the server begins.
            let (begun, held) = client.receive_view().expect("receive");
            assert_eq!(begun.kind, ALPC_TYPE_DATAGRAM);
            held.expect("a view").assert_holds(8);
            link.sync();
        });
        let take = |kind: u32, byte: u8| {
            let (message, held) = port.receive_view().expect("receive");
            assert_eq!(message.kind, kind);
            let held = held.expect("a view");
            held.assert_holds(byte);
            (message, held)
        };
        let (_, held) = take(ALPC_TYPE_DATAGRAM, 1);
        peer.sync();
        port.delete_view(held.base).expect("release");
        peer.sync();
        let (request, held) = take(ALPC_TYPE_REQUEST, 2);
        peer.sync();
        server.delete_view(held.base).expect("release");
        peer.sync();
        let (section, view) = filled(&port, PAGE, 3);
        let reply = Transfer::new().send(b"").into(&request).flags(ALPC_RELEASE);
        reply.lend(&port, view, SECURE).expect("reply");
        let (request, _) = take(ALPC_TYPE_REQUEST, 4);
        eventually(|| view.is_there());
        view.fill(5);
        let call = Transfer::new().send(b"").into(&request).receive();
        let mut lending = ViewContainer::lending(view.base, view.size, SECURE);
        let (answer, held) = call
            .flags(ALPC_SYNC)
            .exchange(&port, &mut lending)
            .expect("callback");
        view.assert_back(5);
        let held = held.expect("a view in the answer");
        held.assert_holds(6);
        view.fill(7);
        let reply = Transfer::new().send(b"").into(&answer).flags(ALPC_RELEASE);
        let mut lending = ViewContainer::lending(view.base, view.size, 0);
        lending.view.release = held.base;
        reply.with(&port, &mut lending).expect("reply");
        let (section2, view) = filled(&server, PAGE, 8);
        one_way().lend(&server, view, SECURE).expect("send");
        peer.sync();
        peer.wait();
        drop((section, section2));
    });
}

#[test]
fn the_receiver_is_told_how_much_was_lent_and_how() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(3 * PAGE, 9);
        for (size, flags) in [(1, SECURE), (PAGE + 7, 0), (3 * PAGE, SECURE)] {
            let mut lending = ViewContainer::lending(view.base, size, flags);
            one_way().with(&pair.client, &mut lending).expect("send");
            let mut container = ViewContainer::receiving();
            let mut receive = Transfer::new().receive();
            receive.arg.recv_attributes = container.address();
            receive.run(&pair.port).expect("receive");
            let held = container.received().expect("a view");
            assert_eq!((held.size, held.flags), (size, flags));
            let base = held.base;
            View { base, size }.assert_holds(9);
            // All of the view is lent, not only what the receiver is told of.
            assert_eq!(view.readable(2 * PAGE as usize), flags == 0);
            pair.port.delete_view(base).expect("release");
            view.assert_back(9);
        }
    });
}

#[test]
fn a_message_without_a_view_says_so() {
    isolated(|| {
        let pair = Pair::of_views();
        pair.client.one_way(b"none").expect("send");
        assert_eq!(pair.port.receive_view().expect("receive").1, None);
        // An attribute that lends and releases nothing is as good as none.
        let mut nothing = ViewContainer::lending(0, 0, 0);
        one_way().with(&pair.client, &mut nothing).expect("send");
        assert_eq!(pair.port.receive_view().expect("receive").1, None);
    });
}

#[test]
fn a_receiver_that_has_no_room_for_a_view_gives_it_back_by_receiving() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(PAGE, 3);
        let mut context = ContextContainer::receiving();
        for container in [0, context.address()] {
            Transfer::new()
                .send(b"look")
                .lend(&pair.client, view, SECURE)
                .expect("send");
            view.assert_closed();
            let mut receive = Transfer::new().receive();
            receive.arg.recv_attributes = container;
            let message = receive.run(&pair.port).expect("receive");
            view.assert_back(3);
            pair.port.reply(&message, b"").expect("reply");
            pair.client.receive().expect("receive");
        }
    });
}

#[test]
fn a_side_that_takes_no_views_is_sent_none() {
    isolated(|| {
        for (client_takes, server_takes) in [(0, 1), (1, 0), (0, 0)] {
            let create = Create::anonymous().taking(server_takes);
            let port = create.context(1).run().expect("create");
            let (server, client) = pair::attach_taking(&port, 1, client_takes);
            for (from, to, takes) in [
                (&client, &port, server_takes),
                (&server, &client, client_takes),
            ] {
                let (_section, view) = filled(from, PAGE, 1);
                let result = one_way().lend(from, view, SECURE).map(drop);
                if takes == 0 {
                    assert_eq!(result, Err(fail::NOT_TAKEN));
                    assert_eq!(to.receive_now().unwrap_err(), fail::TIMED_OUT);
                    view.assert_back(1);
                } else {
                    assert_eq!(result, Ok(()));
                    to.receive().expect("receive");
                }
                // To give a view up, nothing must be taken.
                let release = one_way().with(from, &mut ViewContainer::releasing(view.base));
                assert_eq!(release.unwrap_err(), fail::NOT_A_VIEW);
            }
        }
    });
}

#[test]
fn a_message_that_could_not_be_received_keeps_its_view() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(PAGE, 6);
        one_way().lend(&pair.client, view, SECURE).expect("send");
        let fixed = memory::Pages::read_only(&[0, 0, 0, 0x40, 0, 0, 0, 0]);
        let cliff = memory::Pages::cliff();
        cliff.write(cliff.end(16), &ALPC_ATTR_VIEW.to_ne_bytes());
        let mut container = ViewContainer::receiving();
        for (what, capacity, data, attributes, errno) in [
            ("too small", 3, 0, container.address(), libc::ENOBUFS),
            ("bad data", 64, 8, container.address(), libc::EFAULT),
            ("read-only", 64, 0, fixed.address(), libc::EFAULT),
            ("half a container", 64, 0, cliff.end(16), libc::EFAULT),
        ] {
            let mut receive = Transfer::new().capacity(capacity);
            receive.point();
            receive.arg.recv_attributes = attributes;
            if data != 0 {
                receive.arg.recv_data = data;
            }
            let result = ioctl(&pair.port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut receive.arg);
            assert_eq!(result, Err(errno), "{what}");
            view.assert_closed();
        }
        let (message, held) = pair.port.receive_view().expect("receive");
        assert_eq!(message.data, b"look");
        held.expect("a view").assert_holds(6);
        // None of the failed ones has left it somewhere.
        assert_eq!(
            held.expect("a view").mapping().0,
            held.expect("a view").base
        );
    });
}

#[test]
fn a_secure_view_is_lent_once_at_a_time() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(PAGE, 1);
        one_way().lend(&pair.client, view, SECURE).expect("send");
        for flags in [SECURE, 0, AUTO, SECURE | AUTO] {
            let again = one_way().lend(&pair.client, view, flags);
            assert_eq!(again.unwrap_err(), fail::LENT);
        }
        let held = pair.port.receive_view().expect("receive").1.expect("view");
        let again = one_way().lend(&pair.client, view, SECURE);
        assert_eq!(again.unwrap_err(), fail::LENT);
        held.assert_holds(1);
        pair.port.delete_view(held.base).expect("release");
        one_way().lend(&pair.client, view, SECURE).expect("send");
    });
}

#[test]
fn a_view_that_is_not_secure_stays_its_senders_and_is_lent_often() {
    isolated(|| {
        let pair = Pair::of_views();
        let (section, view) = pair.view(PAGE, 1);
        let mut held = Vec::new();
        for _ in 0..3 {
            one_way().lend(&pair.client, view, 0).expect("send");
            held.push(pair.port.receive_view().expect("receive").1.expect("view"));
        }
        assert_eq!(fdinfo(&section, "alpc-views").as_deref(), Some("1, 1 lent"));
        view.assert_back(1);
        view.fill(2);
        held.iter().for_each(|held| held.assert_holds(2));
        for held in &held {
            assert!(!held.writable(0, 1));
            pair.port.delete_view(held.base).expect("release");
            view.set(0, 3);
        }
        assert_eq!(fdinfo(&section, "alpc-views").as_deref(), Some("1, 0 lent"));
    });
}

#[test]
fn a_view_lent_openly_is_closed_to_its_sender_when_it_is_lent_securely() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(PAGE, 1);
        one_way().lend(&pair.client, view, 0).expect("send");
        let open = pair.port.receive_view().expect("receive").1.expect("view");
        one_way().lend(&pair.client, view, SECURE).expect("send");
        let secure = pair.port.receive_view().expect("receive").1.expect("view");
        view.assert_closed();
        pair.port.delete_view(open.base).expect("release");
        view.assert_closed();
        secure.assert_holds(1);
        pair.port.delete_view(secure.base).expect("release");
        view.assert_back(1);
    });
}

#[test]
fn a_view_released_by_being_sent_goes_with_the_send() {
    isolated(|| {
        let pair = Pair::of_views();
        for flags in [AUTO, AUTO | SECURE] {
            let (section, view) = pair.view(2 * PAGE, 1);
            one_way().lend(&pair.client, view, flags).expect("send");
            assert!(!view.is_there() && !view.writable(0, 1), "gone");
            assert_eq!(fdinfo(&section, "alpc-views").as_deref(), Some("0, 0 lent"));
            let gone = section.delete_view(view.base);
            assert_eq!(gone.unwrap_err(), fail::NOT_A_VIEW);
            let held = pair.port.receive_view().expect("receive").1.expect("view");
            assert!(!view.is_there() && !view.writable(0, 1), "gone still");
            // Its addresses can be used again, with other memory.
            let next = section.view(2 * PAGE).expect("view");
            assert_eq!(next, view);
            next.assert_holds(0);
            next.fill(2);
            held.assert_holds(1);
            pair.port.delete_view(held.base).expect("release");
            next.assert_back(2);
        }
    });
}

#[test]
fn a_view_released_by_being_sent_goes_without_being_received_too() {
    isolated(|| {
        type End = fn(&Pair, &mut ViewContainer);
        let ends: [(&str, End); 4] = [
            ("timed out", |pair, lending| {
                let mut call = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
                call = call.timeout(1_000_000);
                let failure = call.with(&pair.client, lending).unwrap_err();
                assert_eq!(failure, fail::TIMED_OUT_SENT);
            }),
            ("cancelled", |pair, lending| {
                let mut post = Transfer::new().send(b"post");
                post.arg.send_attributes = lending.address();
                post.run(&pair.client).expect("send");
                pair.client.cancel(post.arg.send_id, 0).expect("cancel");
            }),
            ("received without room", |pair, lending| {
                one_way().with(&pair.client, lending).expect("send");
                pair.port.receive().expect("receive");
            }),
            ("disconnected", |pair, lending| {
                one_way().with(&pair.client, lending).expect("send");
                pair.port.disconnect().expect("disconnect");
            }),
        ];
        for (what, end) in ends {
            for flags in [AUTO, AUTO | SECURE, SECURE, 0] {
                let pair = Pair::of_views();
                let (section, view) = pair.view(PAGE, 1);
                end(&pair, &mut ViewContainer::lending(view.base, PAGE, flags));
                if what == "disconnected" {
                    drop(pair);
                }
                if flags & AUTO == 0 {
                    view.assert_back(1);
                    continue;
                }
                assert!(!view.is_there(), "{what}, {flags}");
                let next = section.view(PAGE).expect("view");
                assert_eq!(next, view, "{what}");
                next.assert_holds(0);
            }
        }
    });
}

#[test]
fn a_view_to_be_released_by_being_sent_stays_when_nothing_is_sent() {
    isolated(|| {
        let pair = Pair::of_views();
        for flags in [AUTO, AUTO | SECURE] {
            let (_own, view) = pair.view(PAGE, 1);
            let mut container = ViewContainer::lending(view.base, PAGE, flags);
            container.view.release = view.base;
            let refused = one_way().with(&pair.client, &mut container);
            assert_eq!(refused.unwrap_err(), fail::NOT_A_VIEW);
            view.assert_back(1);

            Transfer::new().send(b"").run(&pair.client).expect("send");
            let message = pair.port.receive().expect("receive");
            let (_other, others) = filled(&pair.port, PAGE, 2);
            for wrong in [0, 1 << 40] {
                let mut answer = one_way().into(&message);
                answer.arg.send_id ^= wrong;
                answer.arg.send_callback_id ^= 7;
                let mut container = ViewContainer::lending(others.base, PAGE, flags);
                answer.with(&pair.port, &mut container).unwrap_err();
                others.assert_back(2);
            }
            pair.port.reply(&message, b"").expect("reply");
            pair.client.receive().expect("receive");
        }
        let (_section, view) = pair.view(PAGE, 3);
        pair.port.disconnect().expect("disconnect");
        for flags in [AUTO, AUTO | SECURE] {
            let mut container = ViewContainer::lending(view.base, PAGE, flags);
            one_way().with(&pair.client, &mut container).unwrap_err();
            view.assert_back(3);
        }
    });
}

#[test]
fn processes_that_share_a_port_see_what_they_have_received_each() {
    isolated(|| {
        let port = server("view/fork");
        let lender = Peer::spawn(ALICE, |link| {
            let client = client("view/fork");
            for byte in [1, 2] {
                let (_section, view) = filled(&client, PAGE, byte);
                Transfer::new()
                    .send(b"")
                    .lend(&client, view, SECURE)
                    .expect("send");
            }
            link.sync();
        });
        let _end = accept(&port);
        let receive = |byte| {
            let held = port.receive_view().expect("receive").1.expect("a view");
            held.assert_holds(byte);
            held
        };
        // Two windows at one address would be no test.
        let mine = receive(1);
        let other = Peer::fork(BOB, |link| {
            let held = receive(2);
            assert_ne!(held.base, mine.base);
            link.put(held.base);
            assert!(!mine.is_there(), "not inherited, and not received here");
            let release = port.delete_view(mine.base).unwrap_err();
            assert_eq!(release, fail::NOT_A_VIEW);
            link.sync();
            held.assert_holds(2);
            port.delete_view(held.base).expect("release");
            link.sync();
        });
        let base = other.take();
        let theirs = View { base, size: PAGE };
        assert!(!theirs.is_there());
        assert_eq!(port.delete_view(base).unwrap_err(), fail::NOT_A_VIEW);
        mine.assert_holds(1);
        port.delete_view(mine.base).expect("release");
        other.sync();
        other.sync();
        other.wait();
        lender.sync();
        lender.wait();
    });
}

#[test]
fn a_section_works_in_every_process_that_has_its_descriptor() {
    isolated(|| {
        let (port, _server, peer) = client_peer("view/passed", ALICE, |link, client| {
            let section = Port::from(link.take_fd());
            // It is not mapped here before it is needed.
            let view = section.view(PAGE).expect("view");
            view.fill(4);
            link.put(view.base - view.mapping().0);
            link.sync();
            view.assert_holds(5);
            one_way().lend(&client, view, SECURE).expect("send");
            link.sync();
            link.sync();
            view.assert_back(5);
        });
        let (section, first) = filled(&port, 4 * PAGE, 1);
        section.delete_view(first.base).expect("delete");
        let start = first.mapping().0;
        peer.put_fd(&section);
        let offset = peer.take();
        // Both see the same views, and neither sees a lent one.
        let base = start + offset;
        let view = View { base, size: PAGE };
        view.assert_holds(4);
        view.fill(5);
        peer.sync();
        peer.sync();
        view.assert_closed();
        let held = port.receive_view().expect("receive").1.expect("a view");
        held.assert_holds(5);
        assert_eq!(
            one_way().lend(&port, view, 0).unwrap_err().errno,
            libc::EINVAL
        );
        port.delete_view(held.base).expect("release");
        peer.sync();
        // It writes there, too.
        peer.wait();
        view.assert_back(5);
    });
}
