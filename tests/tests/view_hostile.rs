// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a sender or a receiver of views may try at the cost of others.

use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;

fn one_way() -> Transfer {
    Transfer::new().send(b"look").flags(ALPC_RELEASE)
}

#[test]
fn whole_pages_that_were_not_lent_are_not_seen() {
    isolated(|| {
        survive_refusals();
        for flags in [0, SECURE] {
            let pair = Pair::of_views();
            let (_section, view) = pair.view(4 * PAGE, 7);
            let size = PAGE + 1;
            let part = View { size, ..view };
            one_way().lend(&pair.client, part, flags).expect("send");
            let (_, held) = pair.port.receive_view().expect("receive");
            let held = held.expect("a view");
            assert_eq!(held.size, size);
            held.assert_holds(7);
            assert_eq!(peek(held.base + 2 * PAGE - 1), Ok(7), "the same page");
            assert_eq!(peek(held.base + 2 * PAGE), Err(libc::SIGBUS));
            assert_eq!(peek(held.base + 3 * PAGE), Err(libc::SIGBUS));
        }
    });
}
