// SPDX-License-Identifier: GPL-2.0

//! A port that nobody can reach any more: when that is so, who is told, and what ends it.

use crate::engine::*;
use crate::world::*;

const NOBODY: &str = "Ended NoClients";

/// A connection to a port that nothing else leads to.
fn only(w: &mut World) -> u32 {
    w.add_descriptor();
    let conn = w.open();
    w.lose_descriptor();
    conn
}

/// What a receive at the port finds, each after the other, until it is that nothing more comes.
fn all(w: &mut World) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        let got = w.next(PORT);
        words.push(got.word());
        match got {
            Got::Message(delivery) if delivery.idle => w.settle(delivery),
            Got::Message(_) => {}
            _ => return words,
        }
    }
}

#[test]
fn nobody_is_missed_before_there_was_a_descriptor() {
    let mut w = World::new();
    assert_eq!(w.next(PORT).word(), "Empty");
    let conn = w.open();
    w.close(conn, Client);
    w.close(conn, Server);
    assert_eq!(all(&mut w), ["PortClosed", "Empty"], "it has a name");
    w.end();
}

#[test]
fn the_end_of_the_last_descriptor_tells_all_who_wait_and_who_polls() {
    let mut w = World::new();
    w.add_descriptor();
    w.add_descriptor();
    for thread in 1..6 {
        w.wait_next(thread, PORT, 100);
    }
    w.lose_descriptor();
    assert!(w.awake.is_empty(), "there is another one");
    w.port_polled = false;
    w.lose_descriptor();
    assert!(w.port_polled);
    for thread in 1..6 {
        assert_eq!(word(&w.taken(thread)), NOBODY);
    }
    for _ in 0..2 {
        assert_eq!(w.next(PORT).word(), NOBODY, "it is a state");
    }
    w.add_descriptor();
    assert_eq!(w.next(PORT).word(), "Empty");
    w.wait_next(1, PORT, 100);
    w.lose_descriptor();
    assert_eq!(word(&w.taken(1)), NOBODY);
    w.end();
}

#[test]
fn a_connection_counts_while_it_is_pending_or_open_and_no_longer() {
    for by in [Client, Server] {
        let mut w = World::new();
        w.add_descriptor();
        let (conn, sent) = w.connect();
        w.lose_descriptor();
        w.settle_request(sent.id);
        assert_eq!(w.next(PORT).word(), "Empty");
        assert_eq!(w.accept(sent.id), Ok(conn));
        assert_eq!(w.next(PORT).word(), "Empty");
        // Whoever still has a descriptor of what has ended reaches nobody by it.
        w.disconnect(conn, by, true);
        let notices: &[&str] = match by {
            Client => &["PortClosed", NOBODY],
            Server => &[NOBODY],
        };
        assert_eq!(all(&mut w), notices);
        w.end();
    }
}

#[test]
fn a_refusal_ends_the_way_of_who_asked() {
    let mut w = World::new();
    w.add_descriptor();
    let (conn, sent) = w.connect();
    w.lose_descriptor();
    w.settle_request(sent.id);
    // Many wait at the client's end too, so that either end has threads left to be served.
    for thread in 1..4 {
        w.wait_next(thread, PORT, 100);
        w.wait_next(thread + 3, client(conn), 100);
    }
    assert_eq!(w.refuse(sent.id), Ok(()));
    for thread in 1..4 {
        assert_eq!(word(&w.taken(thread)), NOBODY);
    }
    assert_eq!(w.next(PORT).word(), NOBODY);
    for thread in 4..7 {
        if let Hand::Message(answer) = w.taken(thread) {
            w.settle(answer);
        }
    }
    w.end();
}

#[test]
fn a_request_that_is_withdrawn_leaves_nobody() {
    let mut w = World::new();
    w.add_descriptor();
    let (conn, _) = w.connect();
    w.lose_descriptor();
    assert_eq!(w.receive(PORT, 5).word(), "TooSmall 10");
    w.close(conn, Client);
    assert_eq!(w.next(PORT).word(), NOBODY);
    w.end();
}

#[test]
fn what_was_sent_comes_first() {
    for arrival_order in [false, true] {
        let mut w = World::with(arrival_order, 8);
        let conn = only(&mut w);
        let other = {
            w.add_descriptor();
            let conn = w.open();
            w.lose_descriptor();
            conn
        };
        for conn in [conn, other] {
            w.send(conn, Client, New::OneWay, 10).unwrap();
        }
        w.close(conn, Client);
        w.close(other, Client);
        assert!(w.engine.has_no_clients());
        let words = all(&mut w);
        assert_eq!(words.last().map(String::as_str), Some(NOBODY));
        let of = |what| words.iter().filter(|word| *word == what).count();
        assert_eq!((of("Datagram"), of("PortClosed"), words.len()), (2, 2, 5));
        w.end();
    }
}

#[test]
fn who_waits_with_too_little_room_is_told_behind_what_another_takes() {
    let mut w = World::new();
    let conn = only(&mut w);
    for thread in 1..4 {
        w.wait_next(thread, PORT, 5);
    }
    w.send(conn, Client, New::OneWay, 50).unwrap();
    w.close(conn, Client);
    let told: Vec<_> = w.awake.iter().copied().collect();
    for thread in told {
        assert_eq!(word(&w.taken(thread)), "TooSmall 50");
    }
    let first = w.next(PORT).message();
    assert_eq!(first.what, What::Datagram);
    w.settle(first);
    let rest = [1, 2, 3].map(|thread| match w.inboxes.contains_key(&thread) {
        true => match w.taken(thread) {
            Hand::Message(delivery) => {
                let what = format!("{:?}", delivery.what);
                w.settle(delivery);
                what
            }
            hand => word(&hand),
        },
        false => String::new(),
    });
    assert!(!rest.contains(&"Ended Closed".into()), "{rest:?}");
    let closed = rest.iter().filter(|word| *word == "PortClosed").count();
    let mut left = all(&mut w);
    assert_eq!(left.pop().as_deref(), Some(NOBODY));
    assert_eq!(closed + left.len(), 1, "{rest:?} {left:?}");
    w.end();
}

#[test]
fn nobody_is_told_between_the_steps_of_an_end() {
    for steps in 1..4 {
        let mut w = World::new();
        let conn = only(&mut w);
        w.wait_next(1, PORT, 100);
        w.wait_next(2, PORT, 100);
        let progress = w.disconnect_partly(conn, Client, steps.min(1));
        for _ in 0..steps {
            assert_eq!(w.next(PORT).word(), "Empty");
        }
        assert!(w.awake.is_empty());
        w.disconnect_on(conn, Client, progress);
        let mut words = [1, 2].map(|thread| match w.taken(thread) {
            Hand::Message(delivery) => {
                let what = format!("{:?}", delivery.what);
                w.settle(delivery);
                what
            }
            hand => word(&hand),
        });
        words.sort();
        assert_eq!(words, [NOBODY, "PortClosed"]);
        w.end();
    }
}

#[test]
fn a_connection_through_the_descriptor_that_goes_takes_its_place() {
    let mut w = World::new();
    w.add_descriptor();
    w.wait_next(1, PORT, 100);
    // The call that connects has the file.
    let (conn, sent) = w.connect();
    w.lose_descriptor();
    assert_eq!(w.taken_message(1).what, What::ConnectionRequest);
    assert_eq!(w.next(PORT).word(), "Empty");
    assert_eq!(w.accept(sent.id), Ok(conn));
    w.end();
}

#[test]
fn of_a_port_that_is_shut_that_is_told_and_nothing_else() {
    let mut w = World::new();
    let conn = only(&mut w);
    w.wait_next(1, PORT, 100);
    w.shut(false);
    assert_eq!(word(&w.taken(1)), "Ended Closed");
    w.close(conn, Client);
    w.add_descriptor();
    w.lose_descriptor();
    assert_eq!(w.next(PORT).word(), "Ended Closed");
    w.end();
}
