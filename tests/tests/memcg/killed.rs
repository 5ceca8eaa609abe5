// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whom the kernel kills in a memory cgroup that has views and is full, and what the other side
//! sees of it.

use alpc_tests::views::*;
use alpc_tests::*;

use super::*;

/// Room for views, and for a process of which there is more than of any other.
const ROOM: u64 = 96 << 20;
const VIEW: u64 = 32 << 20;

fn cgroup(name: &str) -> Cgroup {
    let cgroup = Cgroup::new(name);
    cgroup.write("memory.max", &ROOM.to_string());
    cgroup
}

/// Takes memory until the kernel ends that.
fn take_all() -> ! {
    loop {
        std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

impl Cgroup {
    /// A figure of one of its files with several.
    fn figure(&self, file: &str, name: &str) -> u64 {
        let figures = self.read(file);
        let line = figures.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().expect("a figure")
    }

    /// How often somebody in it was killed for want of memory.
    fn killed(&self) -> u64 {
        self.figure("memory.events", "oom_kill ")
    }
}

#[test]
fn who_has_made_views_lives_and_who_has_the_most_other_memory_is_killed() {
    isolated(|| {
        let cgroup = cgroup("views-live");
        let (port, _end, maker) = client_peer("killed/other", BOB, |link, client| {
            link.sync();
            let (_section, view) = filled(&client, VIEW, 9);
            let call = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
            call.lend(&client, view, ALPC_VIEW_SECURE).expect("call");
            view.assert_holds(9);
        });
        cgroup.add(&maker);
        maker.sync();
        let (request, view) = port.receive_view().expect("receive");
        let view = view.expect("a view");
        assert!(cgroup.current() >= VIEW, "who makes a view pays for it");
        assert!(cgroup.figure("memory.stat", "kernel ") >= VIEW);
        let hog = Peer::spawn(ALICE, |link| {
            link.sync();
            take_all();
        });
        cgroup.add(&hog);
        hog.sync();
        hog.killed();
        assert_eq!(cgroup.killed(), 1);
        view.assert_holds(9);
        let reply = Transfer::new().send(b"").into(&request).flags(ALPC_RELEASE);
        let mut back = ViewContainer::releasing(view.base);
        reply.with(&port, &mut back).expect("reply");
        maker.wait();
    });
}

#[test]
fn views_of_who_was_killed_stay_with_their_holder_at_the_expense_of_the_cgroup() {
    isolated(|| {
        let cgroup = cgroup("views-stay");
        let (port, _end, client) = client_peer("killed/maker", BOB, |link, client| {
            link.sync();
            let (_section, view) = filled(&client, VIEW, 8);
            let (_other, _kept) = filled(&client, VIEW, 1);
            let send = Transfer::new().send(b"post");
            send.lend(&client, view, ALPC_VIEW_SECURE).expect("send");
            link.sync();
            link.take();
            take_all();
        });
        cgroup.add(&client);
        client.sync();
        client.sync();
        let (request, view) = port.receive_view().expect("receive");
        let view = view.expect("a view");
        assert_eq!(request.kind, ALPC_TYPE_REQUEST);
        client.put(0);
        client.killed();
        assert_eq!(cgroup.killed(), 1);
        // The server sees what it sees of any client that ends.
        for kind in [ALPC_TYPE_CANCELED, ALPC_TYPE_PORT_CLOSED] {
            assert_eq!(port.receive().expect("receive").kind, kind);
        }
        view.assert_holds(8);
        // What nobody holds went with the process.
        eventually(|| cgroup.current() < VIEW + VIEW / 4);
        assert!(cgroup.current() >= VIEW);
        port.delete_view(view.base).expect("release");
        eventually(|| cgroup.current() < VIEW / 4);
    });
}
