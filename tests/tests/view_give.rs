// SPDX-License-Identifier: MIT OR Apache-2.0

//! A held view goes back with a message: if that is sent, and before anybody has it.

use std::thread;

use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const AUTO: u32 = ALPC_VIEW_AUTO_RELEASE;
const SIZE: u64 = 3 * PAGE;

/// A one-way message.
fn one_way() -> Transfer {
    Transfer::new().send(b"back").flags(ALPC_RELEASE)
}

/// A pair with a held view, where the server's next message to the client must wait for room.
fn full() -> (Pair, Lent) {
    let create = Create::anonymous().taking(ALPC_TAKE_VIEWS).share(1, 0);
    let port = create.context(1).run().expect("create");
    let (server, client) = pair::attach_taking(&port, 1, ALPC_TAKE_VIEWS);
    let pair = Pair {
        port,
        server,
        client,
    };
    let lent = pair.lent(SIZE, 3, SECURE);
    pair.server.one_way(b"full").expect("send");
    (pair, lent)
}

/// The holder has it, and may give it up.
#[track_caller]
fn assert_held(pair: &Pair, lent: &Lent, what: &str) {
    lent.held.assert_holds(3);
    lent.view.assert_closed();
    let state = pair.port.query_view(lent.held.base);
    let held = (SIZE, ALPC_VIEW_STATE_HELD, SECURE);
    assert_eq!(state, Ok(held), "{what}");
}

/// The owner has it, and nobody else.
#[track_caller]
fn assert_given(pair: &Pair, lent: &Lent, what: &str) {
    assert!(!lent.held.is_there(), "{what}");
    lent.view.assert_back(3);
    let again = pair.port.delete_view(lent.held.base);
    assert_eq!(again.unwrap_err(), fail::NOT_A_VIEW, "{what}");
}

#[test]
fn a_view_goes_back_with_any_message() {
    isolated(|| {
        let pair = Pair::of_views();
        type Send = fn(&Pair, &Message, &mut ViewContainer) -> Result<Message, Failure>;
        let sends: [(&str, Send); 4] = [
            ("reply", |pair, to, container| {
                let reply = Transfer::new().send(b"").into(to).flags(ALPC_RELEASE);
                reply.with(&pair.port, container)
            }),
            ("reply that goes on", |pair, to, container| {
                Transfer::new()
                    .send(b"")
                    .into(to)
                    .with(&pair.port, container)
            }),
            ("another message", |pair, _, container| {
                let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
                send.with(&pair.server, container)
            }),
            ("a message of another connection", |_, _, container| {
                let other = Pair::new();
                let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
                send.with(&other.client, container)
            }),
        ];
        for (what, send) in sends {
            let lent = pair.lent(SIZE, 3, SECURE);
            let mut container = ViewContainer::releasing(lent.held.base);
            send(&pair, &lent.message, &mut container).expect(what);
            assert_given(&pair, &lent, what);
        }
    });
}

#[test]
fn a_view_is_held_still_if_the_message_is_not_sent() {
    isolated(|| {
        let (pair, lent) = full();
        let base = lent.held.base;
        let now = || one_way().flags(ALPC_RELEASE | ALPC_NONBLOCK);
        let lending = |base, size, flags| ViewContainer::lending(base, size, flags);
        let (_section, own) = filled(&pair.server, PAGE, 1);
        let mut stale = now().into(&lent.message);
        stale.arg.send_callback_id ^= 7;
        let mut nowhere = now();
        (nowhere.arg.send_id, nowhere.arg.send_callback_id) = (12345, 1);
        let long = now().send(&[0; 60_000]);
        let cases = [
            ("no room", now(), lending(0, 0, 0), fail::QUEUE_FULL),
            (
                "no room in time",
                one_way().timeout(1000),
                lending(0, 0, 0),
                fail::TIMED_OUT,
            ),
            ("too long", long, lending(0, 0, 0), fail::TOO_LONG),
            ("another turn", stale, lending(0, 0, 0), fail::STALE_TURN),
            (
                "no conversation",
                nowhere,
                lending(0, 0, 0),
                fail::NOT_FOUND,
            ),
            (
                "not a view to lend",
                now(),
                lending(base, PAGE, AUTO),
                fail::NOT_A_VIEW,
            ),
            (
                "no room for a view lent",
                now(),
                lending(own.base, PAGE, SECURE | AUTO),
                fail::QUEUE_FULL,
            ),
        ];
        for (what, send, mut container, expected) in cases {
            container.view.release = base;
            let failure = send.with(&pair.server, &mut container).unwrap_err();
            assert_eq!(failure, expected, "{what}");
            assert_held(&pair, &lent, what);
            own.assert_back(1);
        }
        pair.client.disconnect().expect("disconnect");
        let mut container = ViewContainer::releasing(base);
        let failure = one_way().with(&pair.server, &mut container).unwrap_err();
        assert_eq!(failure, fail::DISCONNECTED);
        assert_held(&pair, &lent, "disconnected");
        pair.port.delete_view(base).expect("release");
        assert_given(&pair, &lent, "released");
    });
}

/// Begins to give a view back with a message that must wait for room, runs `meanwhile`, and says
/// what became of the message.
fn giving(pair: &Pair, lent: &Lent, meanwhile: impl FnOnce(i32)) -> Result<(), Failure> {
    let (tell, told) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let giver = scope.spawn(move || {
            tell.send(signals::tid()).expect("tell");
            let mut container = ViewContainer::releasing(lent.held.base);
            one_way().with(&pair.server, &mut container).map(drop)
        });
        let tid = told.recv().expect("a thread");
        eventually(|| inspect::thread_sleeps(tid));
        // Nobody's, while the message waits.
        eventually(|| pair.port.query_view(lent.held.base) == Err(libc::ENXIO));
        assert!(!lent.held.is_there());
        lent.view.assert_closed();
        meanwhile(tid);
        giver.join().expect("join")
    })
}

#[test]
fn a_view_that_one_thread_gives_back_is_no_other_threads_to_give() {
    isolated(|| {
        let (pair, lent) = full();
        let base = lent.held.base;
        let sent = giving(&pair, &lent, |_| {
            let deleted = pair.port.delete_view(base);
            assert_eq!(deleted.unwrap_err(), fail::NOT_A_VIEW);
            let mut container = ViewContainer::releasing(base);
            let reply = Transfer::new().send(b"").into(&lent.message);
            let released = reply.flags(ALPC_RELEASE).with(&pair.port, &mut container);
            assert_eq!(released.unwrap_err(), fail::NOT_A_VIEW);
            pair.client.receive().expect("what fills the queue");
        });
        assert_eq!(sent, Ok(()));
        assert_given(&pair, &lent, "sent");
        assert_eq!(pair.client.receive().expect("receive").data, b"back");
    });
}

#[test]
fn a_send_that_a_signal_ends_gives_nothing_back_and_one_that_goes_on_does() {
    isolated(|| {
        let (pair, lent) = full();
        signals::catch(libc::SIGUSR1, 0);
        let ended = giving(&pair, &lent, |tid| {
            signals::to_thread(tid, libc::SIGUSR1);
        });
        assert_eq!(ended, Err(fail::INTERRUPTED));
        assert_held(&pair, &lent, "interrupted");
        signals::catch(libc::SIGUSR1, libc::SA_RESTART);
        let sent = giving(&pair, &lent, |tid| {
            let before = signals::caught();
            signals::to_thread(tid, libc::SIGUSR1);
            eventually(|| signals::caught() > before);
            pair.client.receive().expect("what fills the queue");
        });
        assert_eq!(sent, Ok(()));
        assert_given(&pair, &lent, "went on");
        assert_eq!(pair.client.receive().expect("receive").data, b"back");
    });
}

/// A server that answers the request of a thread that waits, gives its view back with that, and
/// waits for the next one, until a signal comes.
fn answers_and_waits(pair: &Pair, tell: impl FnOnce(i32)) -> Result<(), Failure> {
    let (request, held) = pair.port.receive_view().expect("receive");
    wait::settle();
    let mut back = ViewContainer::releasing(held.expect("a view").base);
    let reply = Transfer::new().send(b"").into(&request).receive();
    tell(signals::tid());
    let reply = reply.flags(ALPC_RELEASE);
    reply.exchange(&pair.port, &mut back).map(drop)
}

#[test]
fn a_signal_ends_the_wait_of_who_has_given_a_view_back() {
    isolated(|| {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::of_views();
        let (_section, view) = pair.view(SIZE, 3);
        let (tell, told) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let server =
                scope.spawn(|| answers_and_waits(&pair, |tid| tell.send(tid).expect("tell")));
            let request = Transfer::new().send(b"look").receive().flags(ALPC_SYNC);
            request.lend(&pair.client, view, SECURE).expect("call");
            let tid = told.recv().expect("a thread");
            eventually(|| inspect::thread_sleeps(tid));
            signals::to_thread(tid, libc::SIGUSR1);
            assert_eq!(server.join().expect("join"), Err(fail::INTERRUPTED_SENT));
        });
        view.assert_back(3);
    });
}

#[test]
fn a_signal_may_come_while_the_receiver_takes_its_view_back() {
    isolated_long(2, || {
        signals::catch(libc::SIGUSR1, 0);
        let pair = Pair::of_views();
        let section = pair.client.section(64 << 20).expect("section");
        let view = section.view(64 << 20).expect("view");
        for round in 0..rounds(40) {
            (0..view.size as usize)
                .step_by(PAGE as usize)
                .for_each(|at| view.set(at, 1));
            let (tell, told) = std::sync::mpsc::channel();
            thread::scope(|scope| {
                let server =
                    scope.spawn(|| answers_and_waits(&pair, |tid| tell.send(tid).expect("tell")));
                scope.spawn(move || {
                    let tid = told.recv().expect("a thread");
                    thread::sleep(std::time::Duration::from_micros(round * 50));
                    while signals::to_thread(tid, libc::SIGUSR1) {
                        thread::sleep(std::time::Duration::from_micros(200));
                    }
                });
                let request = Transfer::new().send(b"look").receive().flags(ALPC_SYNC);
                request.lend(&pair.client, view, 0).expect("call");
                let ended = server.join().expect("join").unwrap_err();
                assert!([fail::INTERRUPTED, fail::INTERRUPTED_SENT].contains(&ended));
            });
        }
    });
}

#[test]
fn a_view_whose_mapping_ends_while_it_is_given_back_is_back() {
    isolated(|| {
        for sends in [true, false] {
            let (pair, lent) = full();
            let sent = giving(&pair, &lent, |_| {
                lent.held.unmap();
                match sends {
                    true => drop(pair.client.receive().expect("what fills the queue")),
                    false => pair.client.disconnect().expect("disconnect"),
                }
            });
            let expected = if sends {
                Ok(())
            } else {
                Err(fail::DISCONNECTED)
            };
            assert_eq!(sent, expected);
            assert_given(&pair, &lent, "unmapped");
        }
    });
}

#[test]
fn a_view_is_held_still_when_the_port_is_closed_while_it_is_given_back() {
    isolated(|| {
        let (pair, lent) = full();
        let Pair {
            port,
            server,
            client,
        } = pair;
        let mut port = Some(port);
        let base = lent.held.base;
        thread::scope(|scope| {
            let giver = scope.spawn(|| {
                let mut container = ViewContainer::releasing(base);
                one_way().with(&server, &mut container).map(drop)
            });
            eventually(|| server.query_view(base) == Err(libc::ENXIO));
            wait::settle();
            drop(port.take());
            let failure = giver.join().expect("join").unwrap_err();
            assert_eq!(failure, fail::CLOSED);
        });
        lent.held.assert_holds(3);
        lent.view.assert_closed();
        // The window ends with the last view in it.
        server.delete_view(base).expect("release");
        assert_eq!(mapping(base), None);
        lent.view.assert_back(3);
        drop(client);
    });
}

#[test]
fn a_view_of_who_is_killed_while_it_gives_it_back_is_back() {
    isolated(|| {
        let (client, peer) = server_peer("give/kill", BOB, |link, port, end| {
            let held = port.receive_view().expect("receive").1.expect("a view");
            let fill = || one_way().flags(ALPC_NONBLOCK).run(&end);
            assert_eq!(plenty::until_failure(fill).1, fail::QUEUE_FULL);
            link.sync();
            let mut container = ViewContainer::releasing(held.base);
            let _ = one_way().with(&end, &mut container);
            unreachable!("it is killed");
        });
        let (_section, view) = filled(&client, SIZE, 4);
        let send = Transfer::new().send(b"look");
        send.lend(&client, view, SECURE).expect("send");
        peer.sync();
        peer.until_asleep();
        view.assert_closed();
        peer.kill();
        eventually(|| view.is_there());
        view.assert_back(4);
    });
}

/// Moves this thread to the first processor, and lets it run there when nobody else does.
fn stay_behind(others_go_first: bool) {
    // SAFETY: Zeroes are an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: Live structures, of this thread.
    unsafe {
        libc::CPU_SET(0, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
        if others_go_first {
            let none = libc::sched_param { sched_priority: 0 };
            assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &none), 0);
        }
    }
}

#[test]
fn a_view_given_with_a_message_to_who_dies_then_is_back() {
    isolated(|| {
        let pair = Pair::of_views();
        let lent = pair.lent(SIZE, 3, SECURE);
        // It goes to a third party, whose thread is killed before it runs again.
        let (client, peer) = server_peer("give/dying", ROOT, |link, port, _end| {
            let victim = Peer::fork(ROOT, |_| {
                stay_behind(true);
                let mut message = port.receive().expect("receive");
                loop {
                    message = port.reply_receive(&message, b"").expect("reply");
                }
            });
            link.put(victim.pid() as u64);
            link.sync();
            let message = port.receive().expect("receive");
            port.reply(&message, b"late").expect("reply");
            link.sync();
            victim.kill();
        });
        let victim = peer.take() as i32;
        thread::scope(|scope| {
            let giver = scope.spawn(|| {
                stay_behind(false);
                for _ in 0..5 {
                    client.request(b"first").expect("request");
                }
                eventually(|| inspect::sleeps(victim));
                let mut back = ViewContainer::releasing(lent.held.base);
                let call = Transfer::new().send(b"back").receive().flags(ALPC_SYNC);
                // SAFETY: It is a live process until its parent has looked.
                unsafe { libc::kill(victim, libc::SIGKILL) };
                call.with(&client, &mut back).map(|reply| reply.data)
            });
            // Nobody receives.
            eventually(|| lent.view.is_there());
            assert_given(&pair, &lent, "sent");
            peer.sync();
            assert_eq!(giver.join().expect("join"), Ok(b"late".to_vec()));
        });
        peer.sync();
        peer.wait();
    });
}

#[test]
fn who_has_the_answer_can_write_the_view_at_once() {
    isolated_long(2, || {
        // Half of the answers find the client asleep, the others find it looking.
        let name = "give/answer";
        let (client, peer) = server_peer(name, BOB, |_, port, end| {
            let (mut message, mut held) = port.receive_view().expect("receive");
            while let Some(view) = held {
                let mut back = ViewContainer::releasing(view.base);
                let reply = Transfer::new().send(b"").into(&message).receive();
                let reply = reply.flags(ALPC_RELEASE);
                (message, held) = reply.exchange(&port, &mut back).expect("reply");
            }
            drop(end);
        });
        let (_section, view) = filled(&client, SIZE, 0);
        for round in 0..rounds(3000) {
            let byte = round as u8;
            view.fill(byte);
            let request = Transfer::new().send(b"look");
            if round % 2 == 0 {
                let request = request.receive().flags(ALPC_SYNC);
                request.lend(&client, view, SECURE).expect("call");
            } else {
                request.lend(&client, view, SECURE).expect("send");
                while let Err(failure) = client.receive_now() {
                    assert_eq!(failure, fail::TIMED_OUT);
                }
            }
            // To be too early would be the end of this process.
            view.assert_holds(byte);
            view.set(0, !byte);
        }
        client.disconnect().expect("disconnect");
        peer.wait();
    });
}
