// SPDX-License-Identifier: MIT OR Apache-2.0

//! Views, the section that they are in, and the window that they are received in.

use std::os::fd::AsRawFd;

use alpc_tests::raw::*;
use alpc_tests::starve::*;
use alpc_tests::views::{map_section, unmap_windows, PAGE};
use alpc_tests::{Peer, ROOT};

use super::stage::*;

/// What the owner of a section uses beside the views that it lends, and the room for these.
const BULK: u64 = 48 << 20;
const ROOM: u64 = 4 << 20;

const SECURE: u32 = ALPC_VIEW_SECURE;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// A section of the stranger's, and views in it that it lends to the victim.
fn lent(stage: &'static Stage, size: u64) -> (&'static Port, impl FnMut()) {
    let section: &Port = Box::leak(Box::new(stage.client.section(size).expect("section")));
    let view = |_| section.view(PAGE).expect("view");
    let views: Vec<View> = (0..batch()).map(view).collect();
    let lend = move || {
        empty(&stage.client);
        for &view in &views {
            // As a request: so it can be given back with a reply.
            let sent = Transfer::new()
                .send(b"look")
                .lend(&stage.client, view, SECURE);
            sent.expect("send");
        }
    };
    (section, lend)
}

/// A view of the same section that is not lent, and where it begins in the section.
fn bulk(section: &Port) -> (View, u64) {
    let bulk = section.view(BULK).expect("view");
    let (start, ..) = bulk.mapping();
    (bulk, bulk.base - start)
}

/// Lends views, and meanwhile maps their section again and again, and uses another view there: that
/// fills page tables for many pages at a time.
pub fn lends() -> Box<dyn Side> {
    let stage = stranger();
    let (section, lend) = lent(stage, BULK + ROOM);
    let (_, offset) = bulk(section);
    preparing(lend, mapping_and_using(section, offset))
}

/// Maps a section again and again, and uses this view of it.
fn mapping_and_using(section: &'static Port, offset: u64) -> impl FnMut() {
    let mut mapped: Option<View> = None;
    let mut at = 0;
    move || {
        let again = *mapped.get_or_insert_with(|| {
            let start = map_section(section, BULK + ROOM, READ_WRITE).expect("mmap");
            View {
                base: start + offset,
                size: BULK,
            }
        });
        // A turn is a part of it, so that a stranger that is to stop is soon told.
        let end = at + BULK / 16;
        for page in (at..end).step_by(PAGE as usize) {
            again.set(page as usize, 1);
        }
        at = end % BULK;
        if at == 0 {
            again.unmap();
            mapped = None;
        }
    }
}

/// Lends views of a section that it has mapped many times, and has one call use all of these: that
/// takes more memory for page tables than a call may that isn't to sleep in the middle.
pub fn lends_for_all_its_memory() -> Box<dyn Side> {
    const MAPPINGS: usize = 31;
    const PAGE_TABLE: u64 = 2 << 20;
    let stage = stranger();
    let (section, lend) = lent(stage, BULK + ROOM);
    let (_, offset) = bulk(section);
    let zeros = std::fs::File::open("/dev/zero").expect("/dev/zero");
    preparing(lend, move || {
        let map = |_| map_section(section, BULK + ROOM, READ_WRITE).expect("mmap");
        let starts: Vec<_> = (0..MAPPINGS).map(map).collect();
        let mut bytes = Vec::new();
        for start in &starts {
            for at in (0..BULK).step_by(PAGE_TABLE as usize) {
                bytes.push(libc::iovec {
                    iov_base: (start + offset + at) as *mut _,
                    iov_len: 1,
                });
            }
        }
        // SAFETY: Live entries; the bytes are in mappings of this process's own.
        unsafe { libc::readv(zeros.as_raw_fd(), bytes.as_ptr(), bytes.len() as i32) };
        for start in starts {
            // SAFETY: The whole mapping, of which nothing is used any more.
            unsafe { libc::munmap(start as *mut _, (BULK + ROOM) as usize) };
        }
    })
}

/// Receives all views that the other side has lent.
fn held(stage: &'static Stage) -> Vec<(Message, View)> {
    let receive = |_| {
        let (message, view) = stage.port.receive_view().expect("receive");
        (message, view.expect("a view"))
    };
    (0..batch()).map(receive).collect()
}

fn releases() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || held(stage),
        move |(message, view), watch| {
            let released = watch.time(|| stage.port.delete_view(view.base));
            released.expect("release");
            let_go(&stage.port, &message);
        },
    )
}

fn gives_back() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || held(stage),
        move |(message, view), watch| {
            let reply = Transfer::new().send(b"thanks").into(&message);
            let reply = reply.flags(ALPC_RELEASE);
            let mut back = ViewContainer::releasing(view.base);
            let replied = watch.time(|| reply.with(&stage.port, &mut back));
            replied.expect("a reply");
        },
    )
}

fn asks_about_a_view() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || held(stage),
        move |(message, view), watch| {
            let asked = watch.time(|| stage.port.query_view(view.base));
            asked.expect("QUERY_VIEW");
            stage.port.delete_view(view.base).expect("release");
            let_go(&stage.port, &message);
        },
    )
}

fn receives_views() -> Box<dyn Side> {
    let stage = victim();
    using(
        || vec![(); batch() as usize],
        |(), watch| {
            let (message, view) = watch.time(|| {
                let (message, view) = stage.port.receive_view().expect("receive");
                let view = view.expect("a view");
                view.get(0);
                (message, view)
            });
            stage.port.delete_view(view.base).expect("release");
            let_go(&stage.port, &message);
        },
    )
}

/// One round ends the mapping of all that is held.
fn unmaps_its_window() -> Box<dyn Side> {
    let stage = victim();
    using(
        move || vec![(); (batch() / 4) as usize],
        move |(), watch| {
            for _ in 0..4 {
                let (message, _) = stage.port.receive_view().expect("receive");
                let_go(&stage.port, &message);
            }
            watch.time(unmap_windows);
        },
    )
}

/// Receives the victim's views, looks at all of each, and releases it.
fn holds() -> Box<dyn Side> {
    let stage = stranger();
    // Whether there was one.
    let hold = || {
        let mut room = ViewContainer::receiving();
        let mut receive = Transfer::new().receive().now();
        receive.arg.recv_attributes = room.address();
        let Ok(message) = receive.run(&stage.port) else {
            return false;
        };
        if let Some(view) = room.received() {
            let view = View {
                base: view.base,
                size: view.size,
            };
            for at in (0..view.size).step_by(PAGE as usize) {
                view.get(at as usize);
            }
            stage.port.delete_view(view.base).expect("release");
        }
        let_go(&stage.port, &message);
        true
    };
    let all = move || while hold() {};
    let one = move || {
        hold();
    };
    cleaning(all, one)
}

/// Bytes of a view that the victim lends.
const LENT: u64 = 64 * PAGE;

/// Lends a view, if it is not lent.
fn lend(stage: &Stage, view: View) -> bool {
    let send = Transfer::new().send(b"look");
    let send = send.flags(ALPC_RELEASE | ALPC_NONBLOCK);
    send.lend(&stage.client, view, SECURE).is_ok()
}

/// Has views of one section, and does this once with each of them, when all have come back.
fn lending(
    stage: &'static Stage,
    act: impl FnMut(&Port, View, &mut Watch) + 'static,
) -> Box<dyn Side> {
    let section: &Port = Box::leak(Box::new(stage.client.section(16 * ROOM).expect("section")));
    let view = |_| section.view(LENT).expect("view");
    let views: Vec<View> = (0..batch()).map(view).collect();
    let mut act = act;
    using(
        move || views.clone(),
        move |view, watch| act(section, view, watch),
    )
}

fn lends_to_the_stranger() -> Box<dyn Side> {
    let stage = victim();
    lending(stage, |_, view, watch| {
        watch.time_if(|| lend(stage, view), |&lent| lent);
    })
}

fn asks_about_its_own() -> Box<dyn Side> {
    let stage = victim();
    lending(stage, |section, view, watch| {
        if lend(stage, view) {
            let asked = watch.time(|| section.query_view(view.base));
            asked.expect("QUERY_VIEW");
        }
    })
}

/// A server that deletes the views that come with requests, and answers. It waits nearly always.
fn calls_a_server_of_views() -> Box<dyn Side> {
    let stage = victim();
    Box::leak(Box::new(accept(&stage.port)));
    let (client, _) = Box::leak(Box::new(own_client(stage)));
    std::thread::spawn(|| {
        let mut room = ViewContainer::receiving();
        let mut receive = Transfer::new().capacity(PAGE as usize);
        loop {
            room.head.valid = 0;
            receive.recv.fill(JUNK);
            receive.arg.recv_attributes = room.address();
            let message = receive.run(&stage.port).expect("receive");
            if let Some(view) = room.received() {
                stage.port.delete_view(view.base).expect("release");
            }
            match message.open() {
                // Its end may have come before.
                true => drop(stage.port.reply(&message, b"reply")),
                false => let_go(&stage.port, &message),
            }
        }
    });
    timed(move || drop(client.request(b"request").expect("a reply")))
}

/// Threads that send at a time: so a view that is lent waits for long until its message has room.
const SENDERS: usize = 64;

/// Maps and uses a section, which is to be starved. A process of the same user's, which is not, sends
/// views of it that are the receiver's from then on.
fn uses_a_section_whose_views_leave() -> Box<dyn Side> {
    stranger();
    // One message at a time.
    let mut connect = Connect::to(VICTIM).takes(TAKES & !ALPC_TAKE_MEMORY, 0);
    connect.arg.queue_messages = 1;
    let client: &Port = Box::leak(Box::new({ connect }.run().expect("connect").port));
    let section: &Port = Box::leak(Box::new(client.section(BULK + ROOM).expect("section")));
    let (_, offset) = bulk(section);
    let senders = Peer::fork(ROOT, move |link| {
        pin(VICTIMS);
        link.sync();
        // Until the victim has gone.
        for _ in 0..SENDERS {
            std::thread::spawn(|| while client.one_way(&[7; 1024]).is_ok() {});
        }
        let lend = || {
            let view = section.view(PAGE).expect("view");
            let asked = Transfer::new().send(b"look").receive().flags(ALPC_SYNC);
            asked.lend(client, view, ALPC_VIEW_AUTO_RELEASE)
        };
        while lend().is_ok() {}
    });
    Box::leak(Box::new(senders)).sync();
    busy(mapping_and_using(section, offset))
}

/// With views of the same section under way and held.
fn makes_views() -> Box<dyn Side> {
    let stage = victim();
    lending(stage, |section, view, watch| {
        lend(stage, view);
        watch.time(|| {
            let view = section.view(LENT).expect("view");
            view.set(0, 1);
            section.delete_view(view.base).expect("delete");
        });
    })
}

/// Of a section of which the stranger has a view.
fn makes_sections() -> Box<dyn Side> {
    let stage = victim();
    always(move |watch| {
        watch.time(|| {
            // A section that the stranger has a view of counts still.
            let Ok(section) = stage.client.section(LENT) else {
                return;
            };
            let view = section.view(LENT).expect("view");
            view.set(0, 1);
            let send = Transfer::new().send(b"look");
            let send = send.flags(ALPC_RELEASE | ALPC_NONBLOCK);
            let _ = send.lend(&stage.client, view, SECURE);
            view.unmap();
        });
    })
}

rows! {
    a_release_of_a_view_does_not_wait_for_its_owner: ["DELETE_VIEW"], releases, lends;
    a_release_of_a_view_comes_back_though_its_owner_gets_no_time_at_all:
        ["DELETE_VIEW"], releases, lends, means Means::Hogs(Pattern::LONG);
    a_release_of_a_view_does_not_wait_for_an_owner_that_has_no_memory:
        ["DELETE_VIEW"], releases, lends_for_all_its_memory, rounds 500,
        means Means::Memory;
    a_view_is_given_back_with_a_reply_whatever_its_owner_does: ["ATTR_VIEW"], gives_back, lends;
    a_view_is_given_back_with_a_reply_though_its_owner_has_no_memory:
        ["ATTR_VIEW"], gives_back, lends_for_all_its_memory, rounds 500,
        means Means::Memory;
    a_held_view_is_asked_about_whatever_its_owner_does: ["QUERY_VIEW"], asks_about_a_view, lends;
    a_view_of_a_starved_owner_is_received: ["ATTR_VIEW"], receives_views, lends;
    a_view_is_received_though_its_owner_has_no_memory:
        ["ATTR_VIEW"], receives_views, lends_for_all_its_memory, rounds 500,
        means Means::Memory;
    a_waiting_server_is_woken_though_its_client_can_not_use_its_own_section:
        ["ATTR_VIEW"], calls_a_server_of_views, uses_a_section_whose_views_leave, rounds 500;
    a_window_is_unmapped_whatever_the_owners_of_its_views_do:
        ["munmap of a window"], unmaps_its_window, lends;
    a_window_is_unmapped_though_the_owners_of_its_views_have_no_memory:
        ["munmap of a window"], unmaps_its_window, lends_for_all_its_memory, rounds 125, means Means::Memory;
    a_view_is_lent_to_a_starved_holder: ["ATTR_VIEW"], lends_to_the_stranger, holds;
    an_own_view_is_asked_about_whatever_its_holder_does: ["QUERY_VIEW"], asks_about_its_own, holds;
    views_are_made_used_and_deleted_whatever_the_holders_of_others_do:
        ["CREATE_VIEW", "DELETE_VIEW"], makes_views, holds;
    a_section_comes_and_goes_whatever_the_holder_of_its_view_does:
        ["CREATE_SECTION", "close of a section", "munmap of a section"], makes_sections, holds;
}
