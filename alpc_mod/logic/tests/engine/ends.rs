// SPDX-License-Identifier: GPL-2.0

//! How conversations end before their answer, and who is told what.

use crate::engine::*;
use crate::threads::*;
use crate::world::*;

#[test]
fn a_cancel_tells_who_must_know_and_nobody_else() {
    // Stage; then by who began it and by the other: result of a plain cancel, of a
    // try, what the other side finds, and what an operation of the other's says.
    let not_owner = "Err(NotOwner)";
    let table = [
        (
            0,
            "Ok(false)",
            "Ok(false)",
            "",
            not_owner,
            not_owner,
            "Request",
        ),
        (
            1,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "Canceled",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
        ),
        (
            2,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
        ),
        (
            3,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "Canceled",
        ),
        (
            4,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
        ),
        (
            5,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "Canceled",
        ),
        (
            6,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "Canceled",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
        ),
        (
            7,
            "Ok(true)",
            "Err(AlreadyReceived)",
            "Canceled",
            "Ok(true)",
            "Err(AlreadyReceived)",
            "LostReply",
        ),
    ];
    for origin in [Client, Server] {
        for (stage, near_plain, near_try, far_finds, far_plain, far_try, near_finds) in table {
            for (by, try_only, result, found) in [
                (origin, false, near_plain, far_finds),
                (origin, true, near_try, if stage == 0 { "" } else { "kept" }),
                (origin.other(), false, far_plain, near_finds),
                (origin.other(), true, far_try, "kept"),
            ] {
                let mut w = World::new();
                let conn = w.open();
                let id = staged(&mut w, conn, origin, stage);
                let got = format!("{:?}", w.cancel(by, id, try_only));
                assert_eq!(
                    got, result,
                    "stage {stage} {origin:?} by {by:?} try {try_only}"
                );
                if found != "kept" && got.starts_with("Ok") {
                    let left = match found.is_empty() {
                        true => 0,
                        false => 1,
                    };
                    assert_eq!(w.engine.gauges(client(conn)).conversations, left);
                    let late = w.answer(by.other(), id, 0, How::Reply).err();
                    let expected = match found {
                        "Canceled" => Refusal::Ended(End::Canceled),
                        "LostReply" => Refusal::Ended(End::Lost),
                        _ => Refusal::NotFound,
                    };
                    assert_eq!(late, Some(expected), "stage {stage} {origin:?} by {by:?}");
                    assert_eq!(w.cancel(by.other(), id, false), Err(expected));
                    let again = match found {
                        "Canceled" => Refusal::Ended(End::Canceled),
                        _ => Refusal::NotFound,
                    };
                    assert_eq!(w.cancel(by, id, false), Err(again));
                    assert_eq!(
                        w.discard(by, id, 0),
                        Err(match found {
                            "" => Refusal::NotFound,
                            _ => Refusal::NotOwner,
                        })
                    );
                    let seen = finds(&mut w, conn, by.other());
                    assert_eq!(seen, found, "stage {stage} {origin:?} by {by:?}");
                    assert_eq!(finds(&mut w, conn, by), "");
                }
                w.end();
            }
        }
    }
}

#[test]
fn to_let_go_says_so_only_to_who_is_owed_an_answer() {
    for origin in [Client, Server] {
        for (stage, by_origin, found) in [
            (1, false, "LostReply"),
            (3, true, ""),
            (5, true, "LostReply"),
            (7, false, "LostReply"),
        ] {
            let mut w = World::new();
            let conn = w.open();
            let id = staged(&mut w, conn, origin, stage);
            let by = if by_origin { origin } else { origin.other() };
            let turn = [0, 0, 0, 1, 0, 1, 0, 2][stage as usize];
            assert_eq!(w.discard(by.other(), id, turn), Err(Refusal::NotOwner));
            assert_eq!(w.discard(by, id, turn + 1), Err(Refusal::StaleTurn));
            assert_eq!(w.discard(by, id, turn), Ok(()));
            assert_eq!(
                finds(&mut w, conn, by.other()),
                found,
                "stage {stage} {origin:?}"
            );
            assert_eq!(finds(&mut w, conn, by), "");
            w.end();
        }
    }
}

#[test]
fn who_began_a_conversation_and_goes_on_with_it_is_told_that_nothing_more_comes() {
    for origin in [Client, Server] {
        for is_received in [true, false] {
            let mut w = World::new();
            let conn = w.open();
            let other = origin.other();
            let id = staged(&mut w, conn, origin, 3);
            // It has its answer, asks for the next, and does not wait.
            w.answer(origin, id, 1, How::Reply).unwrap();
            if is_received {
                drop(w.collect(other, id, 100).message());
                assert_eq!(w.discard(other, id, 2), Ok(()));
            } else {
                assert_eq!(w.cancel(other, id, false), Ok(true));
            }
            assert_eq!(finds(&mut w, conn, origin), "LostReply", "{origin:?}");
            assert_eq!(finds(&mut w, conn, other), "");
            w.end();
        }
    }
}

#[test]
fn who_has_said_the_last_word_is_not_told_that_nobody_read_it() {
    for origin in [Client, Server] {
        let mut w = World::new();
        let conn = w.open();
        let id = staged(&mut w, conn, origin, 3);
        w.answer(origin, id, 1, How::FinalReply).unwrap();
        assert_eq!(w.cancel(origin.other(), id, false), Ok(true));
        assert_eq!(finds(&mut w, conn, origin), "", "{origin:?}");
        w.end();
    }
}

#[test]
fn who_waits_for_a_conversation_learns_its_end_at_once() {
    for (received, by, end) in [
        (false, Client, End::Canceled),
        (true, Client, End::Lost),
        (true, Server, End::Lost),
    ] {
        let mut w = World::new();
        let conn = w.open();
        let id = w.call(1, conn, Client, 100);
        if received {
            drop(w.next(PORT).message());
        }
        assert_eq!(w.cancel(by, id, false), Ok(received));
        assert_eq!(word(&w.taken(1)), format!("Ended {end:?}"));
        assert_eq!(finds(&mut w, conn, Client), "");
        let notice = if by == Client && received {
            "Canceled"
        } else {
            ""
        };
        assert_eq!(finds(&mut w, conn, Server), notice);
        w.end();
    }
}

#[test]
fn a_notice_is_learned_once_by_receiving_or_by_collecting() {
    for (by, end) in [(Client, End::Canceled), (Server, End::Lost)] {
        let mut w = World::new();
        let conn = w.open();
        let id = staged(&mut w, conn, Client, 1);
        w.cancel(by, id, false).unwrap();
        let other = by.other();
        assert_eq!(
            w.collect(by, id, 100).word(),
            "NotFound",
            "it is not for this side"
        );
        assert_eq!(w.collect(other, id, 100).word(), format!("Ended {end:?}"));
        assert_eq!(w.collect(other, id, 100).word(), "NotFound");
        assert_eq!(finds(&mut w, conn, other), "");
        w.end();
    }
}

#[test]
fn a_notice_that_could_not_be_copied_comes_again() {
    let mut w = World::new();
    let conn = w.open();
    let id = staged(&mut w, conn, Client, 1);
    w.cancel(Client, id, false).unwrap();
    let notice = w.next(PORT).message();
    assert_eq!(
        (notice.id, notice.body.is_some(), notice.peer.is_some()),
        (id, false, true)
    );
    w.undeliver(notice);
    assert_eq!(w.collect(Server, id, 100).word(), "Ended Canceled");
    w.end();
}

#[test]
fn what_is_cancelled_makes_room_and_lets_the_next_through() {
    let mut w = World::new();
    let conn = w.open();
    let large = w.send(conn, Client, New::Request, 90).unwrap().id;
    w.send(conn, Client, New::OneWay, 90).unwrap();
    w.wait_room(1, conn, Client, 90);
    assert_eq!(w.cancel(Client, large, false), Ok(false));
    assert_eq!(word(&w.taken(1)), "Room");
    assert_eq!(w.engine.gauges(PORT).bytes, 90);
    w.end();

    let mut w = World::new();
    let conn = w.open();
    for thread in 1..=4 {
        w.wait_next(thread, PORT, 20);
    }
    let large = w.send(conn, Client, New::Request, 90).unwrap().id;
    w.send(conn, Client, New::OneWay, 10).unwrap();
    w.send(conn, Client, New::OneWay, 10).unwrap();
    assert!(w.is_waiting(1));
    w.cancel(Client, large, false).unwrap();
    let got = w.taken_message(1);
    w.settle(got);
    w.end();
}

#[test]
fn a_cancelled_callback_is_known_to_be_lost_to_who_asked() {
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    drop(w.next(PORT).message());
    w.answer(Server, id, 0, How::Callback).unwrap();
    drop(w.taken_message(1));
    w.wait_for(2, Server, id, 100);
    assert_eq!(w.discard(Client, id, 1), Ok(()));
    assert_eq!(word(&w.taken(2)), "Ended Lost");
    assert_eq!(w.engine.gauges(client(conn)).conversations, 0);
    w.end();
}

#[test]
fn a_request_that_is_not_for_its_receiver_ends_there() {
    // One that is waited for: its thread is told.
    let mut w = World::new();
    let conn = w.open();
    let id = w.call(1, conn, Client, 100);
    let got = w.next(PORT).message();
    w.reject(got);
    assert_eq!(word(&w.taken(1)), "Ended Mismatch");
    assert_eq!(w.discard(Server, id, 0), Err(Refusal::NotFound));
    assert_eq!(w.next(PORT).word(), "Empty");
    w.end();
    // One that is not: a notice.
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    let got = w.next(PORT).message();
    w.reject(got);
    let notice = w.next(client(conn)).message();
    assert_eq!(notice.what, What::LostReply);
    w.settle(notice);
    assert_eq!(w.discard(Server, id, 0), Err(Refusal::NotFound));
    w.end();
    // One that was cancelled while it was looked at.
    let mut w = World::new();
    let conn = w.open();
    let id = w.request(conn, Client).id;
    let got = w.next(PORT).message();
    assert_eq!(w.cancel(Client, id, false), Ok(true));
    w.reject(got);
    assert_eq!(w.next(PORT).word(), "Canceled");
    w.end_with_notices();
}
