// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many views a process can hold on one port, and that no user takes all the room.

use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const MAX: u64 = ALPC_SECTION_MAX as u64;

fn one_way() -> Transfer {
    Transfer::new().send(b"look").flags(ALPC_RELEASE)
}

/// Lends `size` bytes to a server that holds all it receives, over connection after connection,
/// until it is refused, and says how often that went well.
fn lend_until_refused(name: &str, link: Option<&Link>, size: u64) -> (usize, Failure) {
    let mut connections = Vec::new();
    let mut count = 0;
    let (_section, view) = {
        let client = client(name);
        let filled = filled(&client, size, 0);
        connections.push(client);
        filled
    };
    loop {
        for _ in 0..ALPC_VIEWS_LENT_MAX {
            let port = connections.last().expect("a connection");
            if let Err(failure) = one_way().lend(port, view, 0) {
                if let Some(link) = link {
                    // Connections and views stay until the others have had their turn.
                    link.sync();
                    link.sync();
                }
                return (count, failure);
            }
            count += 1;
        }
        connections.push(client(name));
    }
}

/// Accepts every connection, and holds every view that comes until nobody asks any more.
fn hold_all(port: &Port) -> Vec<View> {
    let mut held = Vec::new();
    loop {
        let (message, view) = match port.receive_view() {
            Ok(received) => received,
            Err(fail::CLOSED) => return held,
            Err(failure) => panic!("{failure:?}"),
        };
        held.extend(view);
        if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
            std::mem::forget(Accept::new(message.id).run(port).expect("accept"));
        }
    }
}

#[test]
fn a_server_is_lent_as_many_views_and_bytes_as_stated() {
    isolated_long(2, || {
        let views = ALPC_WINDOW_VIEWS_MAX as usize;
        let whole = (u64::from(ALPC_WINDOW_ROOM) / MAX) as usize;
        for (name, size, most) in [("room/views", PAGE, views), ("room/bytes", MAX, whole)] {
            let port = server(name);
            std::thread::scope(|scope| {
                let server = scope.spawn(|| hold_all(&port));
                // Whoever has made the port may take all of it.
                let lent = lend_until_refused(name, None, size);
                assert_eq!(lent, (most, fail::LIMIT));
                port.disconnect().expect("disconnect");
                assert_eq!(server.join().expect("join").len(), most);
            });
        }
    });
}

#[test]
fn one_user_leaves_room_for_the_views_of_others() {
    isolated_long(2, || {
        let name = "room/users";
        let port = server(name);
        std::thread::scope(|scope| {
            let server = scope.spawn(|| hold_all(&port));
            let mut left = ALPC_WINDOW_VIEWS_MAX as usize;
            let mut peers = Vec::new();
            for user in [ALICE, BOB, CAROL] {
                let peer = Peer::spawn(user, move |link| {
                    let (count, failure) = lend_until_refused(name, Some(link), PAGE);
                    assert_eq!((count, failure), (left / 2, fail::LIMIT));
                });
                peer.sync();
                peers.push(peer);
                left -= left / 2;
            }
            for peer in peers {
                peer.sync();
                peer.wait();
            }
            port.disconnect().expect("disconnect");
            let held = server.join().expect("join");
            assert_eq!(held.len(), ALPC_WINDOW_VIEWS_MAX as usize - left);
            held.iter().for_each(|view| assert_eq!(view.get(0), 0));
        });
    });
}

/// Receives and answers what there is.
fn receive_all(port: &Port, how: &str) {
    loop {
        let mut container = ViewContainer::receiving();
        let mut receive = Transfer::new().receive().now();
        if how != "received without" {
            receive.arg.recv_attributes = container.address();
        }
        let Ok(message) = receive.run(port) else {
            return;
        };
        if how == "released" {
            let base = container.received().expect("a view").base;
            port.delete_view(base).expect("release");
        }
        port.reply(&message, b"").expect("reply");
    }
}

#[test]
fn room_is_given_back_however_a_view_ends() {
    isolated(|| {
        let name = "room/back";
        let port = server(name);
        let peer = Peer::spawn(ALICE, move |link| {
            let (section, view) = filled(&client(name), MAX, 0);
            let half = u64::from(ALPC_WINDOW_ROOM) / 2 / MAX;
            for flags in [0, 0, 0, ALPC_VIEW_AUTO_RELEASE] {
                let client = client(name);
                let request = || Transfer::new().send(b"look");
                for _ in 0..half {
                    request().lend(&client, view, 0).expect("send");
                }
                let refused = request().lend(&client, view, flags);
                assert_eq!(refused.unwrap_err(), fail::LIMIT);
                assert!(view.is_there());
                link.sync();
                link.sync();
            }
            drop(section);
        });
        let accept_next = || loop {
            let message = port.receive().expect("receive");
            if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
                return Accept::new(message.id).run(&port).expect("accept");
            }
        };
        let first = accept_next();
        for how in ["released", "received without", "never received", "held"] {
            let end = accept_next();
            peer.sync();
            if how != "never received" {
                receive_all(&port, how);
            }
            peer.sync();
            drop(end);
        }
        peer.wait();
        drop(first);
    });
}

#[test]
fn one_user_leaves_no_gap_too_small_for_the_views_of_others() {
    isolated_long(2, || {
        const MIB: u64 = 1 << 20;
        let name = "room/gaps";
        let port = server(name);
        let alice = Peer::spawn(ALICE, move |link| {
            let client = client(name);
            let (_section, view) = filled(&client, MAX, 0);
            let lend = |what: &[u8], size: u64| {
                let request = Transfer::new().send(what).receive().flags(ALPC_SYNC);
                let part = View { size, ..view };
                request.lend(&client, part, 0).expect("lend");
            };
            // What is short stays between what is long and goes.
            for _ in 0..32 {
                lend(b"goes", 15 * MIB);
                lend(b"stays", PAGE);
            }
            client.request(b"let go").expect("request");
            for _ in 0..6 {
                lend(b"goes", 60 * MIB);
                lend(b"stays", 16 * MIB);
            }
            lend(b"goes", 17 * MIB);
            lend(b"stays", 16 * MIB);
            client.request(b"let go").expect("request");
            link.sync();
            link.sync();
        });
        let alices = accept(&port);
        let (mut stay, mut go, mut rounds) = (Vec::new(), Vec::new(), 0);
        while rounds < 2 {
            let (message, view) = port.receive_view().expect("receive");
            match (&message.data[..], view) {
                (b"goes", Some(view)) => go.push(view),
                (b"stays", Some(view)) => stay.push(view),
                _ => {
                    rounds += 1;
                    for view in go.drain(..) {
                        port.delete_view(view.base).expect("release");
                    }
                }
            }
            port.reply(&message, b"").expect("reply");
        }
        alice.sync();
        let bob = Peer::spawn(BOB, move |link| {
            let client = client(name);
            let (_section, view) = filled(&client, MAX, 7);
            one_way().lend(&client, view, 0).expect("lend");
            link.sync();
        });
        let bobs = accept(&port);
        let (_, view) = port.receive_view().expect("there is a gap");
        let view = view.expect("a view");
        assert_eq!((view.get(0), view.get(MAX as usize - 1)), (7, 7));
        for peer in [alice, bob] {
            peer.sync();
            peer.wait();
        }
        drop((alices, bobs));
    });
}

#[test]
fn a_receiver_without_room_for_another_view_is_told_so_and_loses_nothing() {
    isolated_long(2, || {
        let pair = Pair::of_views();
        let (_section, view) = filled(&pair.server, MAX, 7);
        let most = ALPC_WINDOW_SIZE / MAX;
        // A server may lend its client more than has room there.
        for _ in 0..=most {
            one_way().lend(&pair.server, view, 0).expect("send");
        }
        let (mut held, failure) = until_failure(|| pair.client.receive_view());
        assert_eq!((held.len() as u64, failure), (most, fail::NO_WINDOW));
        let again = pair.client.receive_view();
        assert_eq!(again.unwrap_err(), fail::NO_WINDOW);
        held.iter().for_each(|held| {
            let view = held.1.expect("a view");
            assert_eq!((view.get(0), view.get(MAX as usize - 1)), (7, 7));
        });
        // The message is kept, and received when there is room.
        let last = held.pop().expect("views").1.expect("a view");
        pair.client.delete_view(last.base).expect("release");
        let next = pair.client.receive_view().expect("receive").1;
        assert_eq!(next.expect("a view").get(0), 7);
    });
}

/// Receives, and answers with the view that it was lent, until the port is closed.
fn serve(port: &Port, ready: std::sync::mpsc::Sender<i32>) {
    ready.send(signals::tid()).expect("send");
    let mut next = port.receive_view();
    while let Ok((message, view)) = next {
        let view = view.expect("a view");
        let reply = Transfer::new().send(b"").into(&message).receive();
        let reply = reply.flags(ALPC_RELEASE);
        next = reply.exchange(port, &mut ViewContainer::releasing(view.base));
    }
    assert_eq!(next.unwrap_err(), fail::CLOSED);
}

#[test]
fn a_window_has_room_for_views_however_many_threads_have_answered_with_one_and_wait() {
    isolated_long(2, || {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(MAX, 0);
        let (ready, came) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for round in 0..ALPC_WINDOW_SIZE / MAX + 8 {
                // Who waits since last is served first, so each call has a thread of its own.
                let ready = ready.clone();
                scope.spawn(|| serve(&pair.port, ready));
                let server = came.recv().expect("a thread");
                eventually(|| inspect::thread_sleeps(server));
                let call = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
                let reply = call.lend(&pair.client, view, 0);
                assert!(reply.is_ok(), "{round}: {reply:?}");
                eventually(|| inspect::thread_sleeps(server));
            }
            pair.port.disconnect().expect("disconnect");
        });
    });
}
