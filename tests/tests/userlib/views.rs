// SPDX-License-Identifier: MIT OR Apache-2.0

//! Views: lent, held, given back.

use std::thread;

use alpc::{
    Answer, Client, ConnectBuilder, Flush, HeldView, Inbox, NoticeKind, Options, Outcome,
    PortBuilder, Received, Request, SecureView, Server, ServerLoop, Service,
};
use alpc_tests::raw::{View, ViewContainer};
use alpc_tests::{isolated, Peer, Transfer, BOB};

use super::{expect_notice, outcome, pair, pair_with_views};

const PAGE: usize = 4096;

/// Receives whatever comes next by any port, and its view.
fn receive(port: &alpc::Port) -> Option<HeldView> {
    let inbox = Inbox::new();
    let options = Options::new().view_into(&inbox);
    let received = port.receive_with(&mut [0; 64], options).map(|received| {
        if let Received::Request(request) = received {
            request.into_turn().into_id();
        }
    });
    received.expect("receive");
    inbox.take()
}

fn secure(port: &alpc::Port) -> SecureView {
    let view = receive(port).expect("a view");
    view.secure().expect("a secure one")
}

/// Whether the process in which this is forked does `body` to its end.
fn forked(body: impl FnOnce()) -> bool {
    // SAFETY: The child does what it is asked to, and leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        body();
        // SAFETY: Ends this process.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: Our own child and a live integer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status == 0
}

#[test]
fn a_view_is_lent_with_a_call_and_comes_back() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(3 * PAGE).expect("section");
        assert_eq!(section.size(), 3 * PAGE);
        let mut view = section.view(2 * PAGE - 1).expect("view");
        assert_eq!((view.len(), view[PAGE]), (2 * PAGE, 0));
        assert_eq!(section.view(2 * PAGE).unwrap_err().errno(), libc::ENOSPC);
        for round in 1..4 {
            view.fill(round);
            let lent = view.lend().only(PAGE + 1);
            let back = thread::scope(|scope| {
                scope.spawn(|| {
                    let inbox = Inbox::new();
                    let options = Options::new().view_into(&inbox);
                    let mut buffer = [0; 64];
                    let received = server.receive_with(&mut buffer, options);
                    let Received::Request(request) = received.expect("receive") else {
                        panic!("a request was expected");
                    };
                    let held = inbox.take().and_then(HeldView::secure).expect("a view");
                    assert_eq!(*held, [round; PAGE + 1]);
                    assert!(inbox.take().is_none());
                    drop(held);
                    request.into_turn().reply(b"read").expect("reply");
                });
                let options = Options::new().lend(&lent);
                let mut buffer = [0; 64];
                let reply = client.call_with(b"read this", &mut buffer, options);
                assert_eq!(reply.expect("call").data(), b"read");
                lent.reclaim()
            });
            view = back.expect("it was released");
            assert_eq!(*view, [round; 2 * PAGE]);
        }
    });
}

#[test]
fn it_is_lent_until_it_is_dropped_over_there() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(PAGE).expect("section");
        let mut view = section.view(PAGE).expect("view");
        view.fill(3);
        let lent = view.lend();
        let lending = Options::new().lend(&lent);
        client.send_with(b"", lending).expect("send");
        let again = client.send_with(b"", lending);
        assert_eq!(outcome(again), Outcome::Lent);
        let lent = lent.reclaim().expect_err("it is under way");
        let held = secure(&server);
        let lent = lent.reclaim().expect_err("it is held");
        // The section and the last of what its owner has of it may go.
        drop((section, lent));
        drop(client);
        assert_eq!(*held, [3; PAGE]);
    });
}

#[test]
fn it_goes_back_with_a_message_and_else_is_held_still() {
    isolated(|| {
        let (server, port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(PAGE).expect("section");
        let mut view = section.view(PAGE).expect("view");
        for round in 1..4 {
            view.fill(round);
            let lent = view.lend();
            let lending = Options::new().lend(&lent);
            client.send_with(b"", lending).expect("send");
            let back = secure(&server).give_back();
            let giving = Options::new().give_back(&back);
            // Nothing is sent, so nothing goes.
            let long = port.send_with(&[0; 65536], giving);
            assert_eq!(outcome(long), Outcome::TooLong);
            let held = back.keep().and_then(HeldView::secure);
            let held = held.expect("it is held");
            assert_eq!(*held, [round; PAGE]);
            let lent = lent.reclaim().expect_err("it is held");
            let back = match round {
                1 => HeldView::Secure(held).give_back(),
                _ => held.give_back(),
            };
            let giving = Options::new().give_back(&back);
            port.send_with(b"", giving).expect("send");
            view = lent.reclaim().expect("it went back");
            assert_eq!(*view, [round; PAGE]);
            // Another view has its place, and doesn't go with a second message.
            let other = section.view(PAGE);
            assert_eq!(other.unwrap_err().errno(), libc::ENOSPC);
            let again = port.send_with(b"", giving);
            assert_eq!(outcome(again), Outcome::NotAView);
            assert!(back.keep().is_none());
            while client.try_receive(&mut [0; 64]).expect("receive").is_some() {}
        }
    });
}

#[test]
fn what_no_message_has_taken_is_released_by_dropping_it() {
    isolated(|| {
        let (server, port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(2 * PAGE).expect("section");
        let [one, two] = [1, 2].map(|byte| {
            let mut view = section.view(PAGE).expect("view");
            view.fill(byte);
            let lent = view.lend();
            let lending = Options::new().lend(&lent);
            client.send_with(b"", lending).expect("send");
            lent
        });
        let (first, second) = (secure(&server), secure(&server));
        drop(first.give_back());
        let one = one.reclaim().expect("it was released");
        // What has the place of one that went with a message is not released with it.
        let back = second.give_back();
        let giving = Options::new().give_back(&back);
        port.send_with(b"", giving).expect("send");
        two.reclaim().expect("it went back");
        let lent = one.lend();
        let lending = Options::new().lend(&lent);
        client.send_with(b"", lending).expect("send");
        let held = secure(&server);
        drop(back);
        assert_eq!(*held, [1; PAGE]);
        drop(lent.reclaim().expect_err("it is held"));
    });
}

#[test]
fn a_receiver_without_an_inbox_gives_it_back_at_once() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(PAGE).expect("section");
        let lent = section.view(PAGE).expect("view").lend();
        let sent = client.send_with(b"", Options::new().lend(&lent));
        sent.expect("send");
        drop(server.receive(&mut [0; 64]).expect("receive"));
        let mut view = lent.reclaim().expect("nobody has it");
        view.fill(1);
        let (_server, _port, client) = pair();
        let lent = view.lend().auto_release();
        let refused = client.send_with(b"", Options::new().lend(&lent));
        assert_eq!(outcome(refused), Outcome::NotTaken);
        let view = lent.reclaim().expect("nothing was lent");
        assert_eq!(*view, [1; PAGE]);
    });
}

#[test]
fn one_that_its_message_deletes_is_not_deleted_twice() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(PAGE).expect("section");
        let mut view = section.view(PAGE).expect("view");
        view.fill(1);
        let address = view.as_ptr();
        let lent = view.lend().auto_release();
        let lending = Options::new().lend(&lent);
        client.send_with(b"", lending).expect("send");
        let held = secure(&server);
        let mut other = section.view(PAGE).expect("the place is free");
        assert_eq!(other.as_ptr(), address);
        // It has the place of the other one now, which is nobody's to lend or delete.
        assert_eq!(outcome(client.send_with(b"", lending)), Outcome::NotAView);
        let lent = lent.reclaim().expect_err("there is none any more");
        drop(lent);
        other.fill(2);
        assert_eq!(*other, [2; PAGE]);
        assert_eq!(*held, [1; PAGE]);
    });
}

#[test]
fn what_its_sender_may_write_is_only_copied() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(PAGE).expect("section");
        let mut view = section.view(PAGE).expect("view");
        view[..3].copy_from_slice(b"abc");
        let mut container = ViewContainer::lending(view.as_ptr() as u64, 3, 0);
        let sent = Transfer::new().send(b"").with(&client, &mut container);
        sent.expect("send");
        let Some(HeldView::Shared(held)) = receive(&server) else {
            panic!("a shared view was expected");
        };
        let mut copy = [0; 2];
        assert_eq!(held.size(), 3);
        assert_eq!((held.copy(0, &mut copy), copy), (Some(()), *b"ab"));
        view[1] = b'x';
        assert_eq!((held.copy(1, &mut copy), copy), (Some(()), *b"xc"));
        assert!(held.copy(2, &mut copy).is_none());
        assert!(held.copy(usize::MAX, &mut copy).is_none());
        assert!(HeldView::Shared(held).secure().is_none());
    });
}

#[test]
fn pages_that_are_not_lent_are_not_shown() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(8 * PAGE).expect("section");
        let mut view = section.view(8 * PAGE).expect("view");
        for size in [1, PAGE, PAGE + 1, 7 * PAGE, 8 * PAGE] {
            view.fill(5);
            let lent = view.lend().only(size);
            let sent = client.send_with(b"", Options::new().lend(&lent));
            sent.expect("send");
            let held = secure(&server);
            let shown = View {
                base: held.as_ptr() as u64,
                size: 8 * PAGE as u64,
            };
            let count = size.div_ceil(PAGE);
            for page in 0..8 {
                assert_eq!(
                    shown.readable(page * PAGE),
                    page < count,
                    "{page} of {size}"
                );
            }
            drop(held);
            view = lent.reclaim().expect("it was released");
            assert_eq!(*view, [5; 8 * PAGE]);
        }
    });
}

#[test]
fn a_held_view_keeps_the_port() {
    isolated(|| {
        let (server, port, client) = pair_with_views(PortBuilder::anonymous());
        let mut view = port.section(PAGE).and_then(|s| s.view(PAGE)).expect("view");
        view.fill(9);
        let lent = view.lend();
        port.send_with(b"", Options::new().lend(&lent))
            .expect("send");
        let held = secure(&client);
        drop(client);
        assert!(server.try_receive(&mut [0; 64]).expect("receive").is_none());
        assert_eq!(*held, [9; PAGE]);
        drop(held);
        expect_notice(&server, NoticeKind::PortClosed);
        assert_eq!(*lent.reclaim().expect("it was released"), [9; PAGE]);
    });
}

#[test]
fn a_forked_child_that_drops_them_changes_nothing() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(2 * PAGE).expect("section");
        let mut own = section.view(PAGE).expect("view");
        own.fill(4);
        let lent = section.view(PAGE).expect("view").lend();
        let sent = client.send_with(b"", Options::new().lend(&lent));
        sent.expect("send");
        let held = secure(&server);
        let mut all = Some((section, own, lent, held));
        assert!(forked(|| drop(all.take())));
        let (_section, own, lent, held) = all.expect("this process has them");
        assert_eq!((&*own, &*held), (&[4; PAGE][..], &[0; PAGE][..]));
        let lent = lent.reclaim().expect_err("it is held");
        drop(held);
        lent.reclaim().expect("it was released");
    });
}

#[test]
fn a_section_is_passed_on_without_views_only() {
    isolated(|| {
        let (_server, _port, client) = pair();
        let section = client.section(PAGE).expect("section");
        let view = section.view(PAGE).expect("view");
        let section = section.into_fd().expect_err("it has a view");
        drop(view);
        let fd = section.into_fd().expect("it has none").expect("dup");
        let size = alpc_tests::inspect::fdinfo(&fd, "alpc-section");
        assert_eq!(size.as_deref(), Some("4096 bytes"));
    });
}

#[test]
fn answers_to_callbacks_lend_nothing_again() {
    isolated(|| {
        let (server, _port, client) = pair_with_views(PortBuilder::anonymous());
        let section = client.section(PAGE).expect("section");
        let lent = section.view(PAGE).expect("view").lend();
        thread::scope(|scope| {
            scope.spawn(|| {
                let inbox = Inbox::new();
                let mut buffer = [0; 64];
                let options = Options::new().view_into(&inbox);
                let received = server.receive_with(&mut buffer, options);
                let Received::Request(mut request) = received.expect("receive") else {
                    panic!("a request was expected");
                };
                for _ in 0..2 {
                    let mut answer = [0; 8];
                    let answer = request.turn_mut().call(b"?", &mut answer).expect("call");
                    assert_eq!(answer.data(), b"!");
                }
                request.into_turn().reply(b"").expect("reply");
            });
            let options = Options::new().lend(&lent);
            let mut buffer = [0; 64];
            let called = client.call_with_callbacks(b"", &mut buffer, options, |_, answer| {
                answer.extend_from_slice(b"!");
            });
            drop(called.expect("call"));
        });
        lent.reclaim().expect("it was released with the inbox");
    });
}

/// Sums up the bytes of views.
struct Sum<'a>(&'a Inbox);

impl Service for Sum<'_> {
    fn request(&mut self, _: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        let Some(view) = self.0.take().and_then(HeldView::secure) else {
            return Answer::Discard;
        };
        let sum: u64 = view.iter().map(|&byte| u64::from(byte)).sum();
        reply.extend_from_slice(&sum.to_le_bytes());
        Answer::Reply
    }
}

#[test]
fn a_server_loop_receives_them() {
    isolated(|| {
        let builder = PortBuilder::new("userlib/sum").take_views();
        let server = builder.create().expect("create");
        let serving = ServerLoop::new(&server);
        thread::scope(|scope| {
            let loops = [0, 1].map(|_| {
                scope.spawn(|| {
                    let inbox = Inbox::new();
                    let options = Options::new().view_into(&inbox);
                    serving.run_with(&mut Sum(&inbox), options)
                })
            });
            let client = Client::connect("userlib/sum").expect("connect");
            let section = client.section(PAGE).expect("section");
            let mut view = section.view(PAGE).expect("view");
            let mut buffer = [0; 64];
            for value in 1..20 {
                view.fill(value);
                let lent = view.lend();
                let options = Options::new().lend(&lent);
                let reply = client.call_with(b"", &mut buffer, options).expect("call");
                let expected = (u64::from(value) * PAGE as u64).to_le_bytes();
                assert_eq!(reply.data(), expected);
                view = lent.reclaim().expect("it was released");
            }
            assert_eq!(outcome(client.call(b"", &mut buffer)), Outcome::Lost);
            server.disconnect(Flush::Everything).expect("disconnect");
            for thread in loops {
                thread.join().expect("join").expect("the loop's end");
            }
        });
    });
}

#[test]
fn a_view_outlives_the_process_that_lent_it() {
    isolated(|| {
        const NAME: &str = "userlib/views";
        let acl = alpc::Acl::everyone();
        let builder = PortBuilder::new(NAME).acl(&acl).take_views();
        let server: Server = builder.create().expect("create");
        let peer = Peer::spawn(BOB, |link| {
            let client = ConnectBuilder::new(NAME).connect().expect("connect");
            let section = client.section(1 << 20).expect("section");
            let mut view = section.view(1 << 20).expect("view");
            view.fill(7);
            let lent = view.lend();
            let sent = client.send_with(b"", Options::new().lend(&lent));
            sent.expect("send");
            link.sync();
            unreachable!("it is killed before");
        });
        let mut buffer = [0; 64];
        let Received::Connection(request) = server.receive(&mut buffer).expect("receive") else {
            panic!("a connection request was expected");
        };
        let port = request.accept().expect("accept");
        let held = secure(&server);
        peer.kill();
        assert!(held.iter().all(|&byte| byte == 7));
        drop((port, server));
        assert_eq!(held.len(), 1 << 20);
        assert!(held.iter().all(|&byte| byte == 7));
    });
}
