// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sections and views: what is lent can be read by the receiver, and only while it holds it.

use alpc_tests::raw::*;
use alpc_tests::*;

const PAGE: u64 = 4096;

fn pair() -> Pair {
    Pair::taking(ALPC_TAKE_VIEWS)
}

#[test]
fn a_view_is_zeroes_until_it_is_written_and_arrives_as_it_was_written() {
    isolated(|| {
        let pair = pair();
        let section = pair.client.section(16 * PAGE).expect("section");
        let view = section.view(3 * PAGE + 1).expect("view");
        assert_eq!(view.size, 4 * PAGE);
        assert!(view
            .read(0, view.size as usize)
            .iter()
            .all(|&byte| byte == 0));
        view.fill(0x5a);
        let send = Transfer::new().send(b"look").flags(ALPC_RELEASE);
        send.lend(&pair.client, view, ALPC_VIEW_SECURE)
            .expect("send");
        let (message, received) = pair.port.receive_view().expect("receive");
        assert_eq!(message.data, b"look");
        let received = received.expect("view");
        assert_eq!(received.size, view.size);
        assert!(received
            .read(0, 4 * PAGE as usize)
            .iter()
            .all(|&byte| byte == 0x5a));
        assert!(!view.readable(0) && !view.writable(0, 1), "revoked");
        assert!(
            received.readable(0) && !received.writable(0, 1),
            "read-only"
        );
        pair.port.delete_view(received.base).expect("release");
        assert!(!received.readable(0));
        assert!(view.readable(0) && view.writable(5, 7));
        assert_eq!(view.get(5), 7);
        assert_eq!(view.get(6), 0x5a);
    });
}

#[test]
fn a_view_sent_again_shows_what_has_been_written_since() {
    isolated(|| {
        let pair = pair();
        let section = pair.client.section(2 * PAGE).expect("section");
        let view = section.view(PAGE).expect("view");
        let mut places = Vec::new();
        for round in 0..5 {
            view.fill(round);
            let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.lend(&pair.client, view, ALPC_VIEW_SECURE)
                .expect("send");
            let received = pair.port.receive_view().expect("receive").1.expect("view");
            assert!(received
                .read(0, PAGE as usize)
                .iter()
                .all(|&byte| byte == round));
            places.push(received.base);
            pair.port.delete_view(received.base).expect("release");
        }
        places.dedup();
        assert_eq!(places.len(), 1, "mapped once");
    });
}
