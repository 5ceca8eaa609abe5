// SPDX-License-Identifier: GPL-2.0

//! What can be asked about a port and each of its connections.

use crate::engine::*;
use crate::world::*;

/// The numbers of all connections that are found, and how often it was looked.
fn found(w: &World) -> (Vec<u32>, u32) {
    let (mut all, mut from, mut looks) = (Vec::new(), 0, 0);
    loop {
        looks += 1;
        let next = match w.engine.next_connection(from) {
            Found::Connection(index, _) => {
                all.push(index);
                index + 1
            }
            Found::None(next) => next,
            Found::End => return (all, looks),
        };
        assert!(next > from, "it goes on");
        from = next;
    }
}

/// Messages and bytes to the server and to the client, conversations, refused sends.
fn uses(w: &World, conn: u32) -> [(u32, u32); 3] {
    match w.engine.next_connection(conn) {
        Found::Connection(index, uses) if index == conn => [
            uses.to_server,
            uses.to_client,
            (uses.conversations, uses.refused as u32),
        ],
        _ => panic!("connection {conn} is not found"),
    }
}

#[test]
fn each_connection_there_is_is_found_once() {
    let mut w = World::new();
    assert_eq!(found(&w).0, []);
    let all = [w.open(), w.open(), w.open()];
    assert_eq!(found(&w).0, all);
    w.close(all[1], Client);
    w.close(all[1], Server);
    w.drain();
    assert_eq!(found(&w).0, [all[0], all[2]]);
    w.end();
}

#[test]
fn no_look_takes_longer_the_more_places_there_are() {
    let mut w = World::with(false, 300);
    let all: Vec<_> = (0..300).map(|_| w.open()).collect();
    for &conn in &all[..299] {
        w.close(conn, Client);
        w.close(conn, Server);
    }
    w.drain();
    let (left, looks) = found(&w);
    assert_eq!(left, all[299..]);
    assert!(looks > 4, "{looks} looks at 300 places");
    w.end();
}

#[test]
fn a_connection_has_what_is_under_way_on_it_and_no_other() {
    let mut w = World::new();
    let (conn, other) = (w.open(), w.open());
    w.send(conn, Client, New::OneWay, 10).unwrap();
    w.send(conn, Client, New::Request, 20).unwrap();
    w.send(conn, Server, New::OneWay, 3).unwrap();
    assert_eq!(uses(&w, conn), [(2, 30), (1, 3), (1, 0)]);
    assert_eq!(uses(&w, other), [(0, 0); 3]);
    w.send(conn, Client, New::OneWay, 100).unwrap();
    w.send(conn, Client, New::OneWay, 70).unwrap();
    for sends in 1..4 {
        let full = w.send(conn, Client, New::OneWay, 1).err();
        assert_eq!(full, Some(Refusal::QueueFull));
        assert_eq!(uses(&w, conn)[2].1, sends);
    }
    assert_eq!(uses(&w, other), [(0, 0); 3]);
    w.end();
}
