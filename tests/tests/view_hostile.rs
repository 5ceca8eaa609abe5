// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a sender or a receiver of views may try at the cost of others.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use alpc_tests::memory::Pages;
use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

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

#[test]
fn a_view_is_released_by_nobody_before_it_is_received() {
    isolated_long(2, || {
        survive_refusals();
        let pair = Pair::of_views();
        let (_section, view) = pair.view(PAGE, 7);
        let lend = || {
            one_way()
                .lend(&pair.client, view, SECURE)
                .map(drop)
                .expect("send");
        };
        lend();
        let base = pair.port.receive_view().expect("receive").1.expect("view");
        let base = base.base;
        pair.port.delete_view(base).expect("release");
        lend();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let _ = pair.port.delete_view(base);
                }
            });
            let mut container = ViewContainer::receiving();
            let mut transfer = Transfer::new().receive();
            transfer.recv = vec![0; 64];
            transfer.arg.recv_attributes = container.address();
            transfer.point();
            // SAFETY: The bytes of a plain structure.
            let bytes = unsafe {
                std::slice::from_raw_parts(
                    (&raw const transfer.arg).cast::<u8>(),
                    std::mem::size_of_val(&transfer.arg),
                )
            };
            // What it learns can't be written: the message stays.
            let memory = Pages::read_only(bytes);
            let mut lost = 0;
            for _ in 0..scale::rounds(5000) {
                // SAFETY: The kernel checks the address.
                let result = unsafe {
                    ioctl_at(
                        pair.port.as_fd(),
                        ALPC_IOCTL_SEND_WAIT_RECEIVE,
                        memory.address(),
                    )
                };
                assert_eq!(result, Err(libc::EFAULT));
                lost += u32::from(poke(view.base, 1).is_ok());
            }
            stop.store(true, Relaxed);
            assert_eq!(lost, 0, "its sender has it back, and it is under way");
        });
        let held = pair.port.receive_view().expect("receive").1.expect("view");
        held.assert_holds(7);
    });
}

#[test]
fn what_a_client_keeps_of_its_sections_is_not_counted_for_the_server() {
    isolated_long(4, || {
        let most = query().connections_per_user;
        if most > query().connections_per_port / 4 {
            note!("{most} connections are too many for this test");
            return;
        }
        let alice = Peer::spawn(ALICE, |link| {
            let port = Create::named("views/alice").open().run().expect("create");
            link.sync();
            loop {
                let message = port.receive().expect("receive");
                if message.kind == ALPC_TYPE_CONNECTION_REQUEST {
                    drop(Accept::new(message.id).run(&port).expect("accept"));
                }
            }
        });
        alice.sync();
        as_user(MALLORY, move |_| {
            let mut kept = Vec::new();
            for _ in 0..most + 2 {
                let client = Connect::to("views/alice").run().expect("connect").port;
                kept.push(client.section(PAGE).expect("section"));
            }
        })
        .wait();
        alice.kill();
    });
}

#[test]
fn a_section_is_mapped_by_no_more_than_stated() {
    isolated(|| {
        let pair = Pair::of_views();
        let (section, _view) = pair.view(PAGE, 1);
        let map = || map_section(&section, PAGE, READ_WRITE);
        let made: Vec<_> = (0..1000).map_while(|_| map().ok()).collect();
        assert_eq!(made.len(), 63, "the view's own mapping is one");
        assert_eq!(map(), Err(libc::ENOMEM));
        View {
            base: made[0],
            size: PAGE,
        }
        .unmap();
        map().expect("one less");
    });
}
