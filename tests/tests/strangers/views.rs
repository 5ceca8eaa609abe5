// SPDX-License-Identifier: MIT OR Apache-2.0

//! Views of a stranger's, and the section that they are in.

use alpc_tests::isolated_long;
use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::views::PAGE;

use super::stage::{self, Stage};

/// Views that are lent at a time.
const VIEWS: u64 = 200;

/// What the owner of a section fills and empties beside them.
const BULK: u64 = 16 << 20;

/// A client that lends views, and meanwhile has another one of the same section come and go.
struct Owner {
    stage: &'static Stage,
    section: Port,
    views: Vec<View>,
}

impl Owner {
    fn set_up() -> Box<dyn Side> {
        let stage = stage::stranger();
        let section = stage.client.section(2 * BULK).expect("section");
        let view = |_| section.view(PAGE).expect("view");
        let views = (0..VIEWS).map(view).collect();
        Box::new(Self {
            stage,
            section,
            views,
        })
    }
}

impl Side for Owner {
    fn prepare(&mut self) {
        for &view in &self.views {
            let send = Transfer::new().send(b"look").flags(ALPC_RELEASE);
            let lent = send.lend(&self.stage.client, view, ALPC_VIEW_SECURE);
            lent.expect("send");
        }
    }

    /// One page's use after the other has page tables filled, and deleting empties them.
    fn act(&mut self, _: &mut Watch) {
        let bulk = self.section.view(BULK).expect("view");
        for at in (0..bulk.size).step_by(PAGE as usize) {
            bulk.set(at as usize, 1);
        }
        self.section.delete_view(bulk.base).expect("delete");
    }
}

/// A server that releases views.
struct Holder {
    stage: &'static Stage,
    held: Vec<View>,
}

impl Holder {
    fn set_up() -> Box<dyn Side> {
        let stage = stage::victim();
        let held = Vec::new();
        Box::new(Self { stage, held })
    }
}

impl Side for Holder {
    fn prepare(&mut self) {
        // What the last batch of rounds has left.
        for view in self.held.drain(..) {
            self.stage.port.delete_view(view.base).expect("release");
        }
        for _ in 0..VIEWS {
            let (_, view) = self.stage.port.receive_view().expect("receive");
            self.held.push(view.expect("a view"));
        }
    }

    fn act(&mut self, watch: &mut Watch) {
        let view = self.held.pop().expect("a view");
        let released = watch.time(|| self.stage.port.delete_view(view.base));
        released.expect("release");
    }
}

#[test]
fn a_release_of_a_view_does_not_wait_for_its_owner() {
    isolated_long(2, || {
        nobody_waits(&Case {
            name: "DELETE_VIEW of a received view",
            stranger: Owner::set_up,
            victim: Holder::set_up,
            batch: VIEWS,
            means: Means::Hogs(Pattern::BURSTS),
        })
    });
}
