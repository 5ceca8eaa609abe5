// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the calls for sections and views refuse, and how many of everything there may be.

use std::os::fd::AsFd;

use alpc_tests::inspect::fdinfo;
use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const MAX: u64 = ALPC_SECTION_MAX as u64;

fn one_way() -> Transfer {
    Transfer::new().send(b"look").flags(ALPC_RELEASE)
}

#[test]
fn sections_and_views_have_sizes_within_bounds() {
    isolated(|| {
        let pair = Pair::of_views();
        for size in [0, MAX + 1, 1 << 32, 1 << 63, u64::MAX] {
            refused_with(pair.client.section(size), libc::EINVAL, "section");
        }
        for port in [&pair.client, &pair.server, &pair.port] {
            let section = port.section(MAX).expect("the largest");
            for size in [0, MAX + 1, 1 << 32, u64::MAX] {
                refused_with(section.view(size), libc::EINVAL, "view");
            }
        }
        let section = pair.client.section(PAGE + 1).expect("section");
        refused_with(section.view(2 * PAGE + 1), libc::EINVAL, "view");
        section.view(2 * PAGE).expect("what it was rounded up to");
        refused_with(section.view(1), libc::ENOSPC, "no addresses left");
    });
}

#[test]
fn calls_for_sections_and_views_refuse_flags() {
    isolated(|| {
        let pair = Pair::of_views();
        let (section, view) = pair.view(PAGE, 1);
        for bit in 0..32 {
            let flags = 1 << bit;
            let outcome = JUNK32;
            let mut create = alpc_create_section {
                size: PAGE,
                flags,
                outcome,
            };
            let result = ioctl(&pair.client, ALPC_IOCTL_CREATE_SECTION, &mut create);
            assert_eq!((result, create.outcome), (Err(libc::EINVAL), JUNK32));
            let mut create = alpc_create_view {
                offset: JUNK64,
                size: 1,
                base: 0,
                flags,
                outcome,
            };
            let result = ioctl(&section, ALPC_IOCTL_CREATE_VIEW, &mut create);
            assert_eq!((result, create.outcome), (Err(libc::EINVAL), JUNK32));
            let mut delete = alpc_delete_view {
                base: view.base,
                flags,
                outcome,
            };
            let result = ioctl(&section, ALPC_IOCTL_DELETE_VIEW, &mut delete);
            assert_eq!((result, delete.outcome), (Err(libc::EINVAL), JUNK32));
        }
        view.assert_back(1);
    });
}

#[test]
fn a_section_knows_its_own_calls_and_checks_their_arguments() {
    isolated(|| {
        let pair = Pair::of_views();
        let (section, view) = pair.view(PAGE, 1);
        let known = [
            ALPC_IOCTL_CREATE_VIEW,
            ALPC_IOCTL_DELETE_VIEW,
            ALPC_IOCTL_QUERY_VIEW,
        ];
        for number in 0..=255 {
            if !known.iter().any(|request| request & 0xff == number) {
                let request = libc::_IOWR::<[u8; 128]>(ALPC_IOC_MAGIC, number) as u32;
                let result = ioctl(&section, request, &mut [0_u8; 128]);
                assert_eq!(result, Err(libc::ENOTTY), "{number:#x}");
            }
        }
        let cliff = memory::Pages::cliff();
        for request in known {
            let edge = [0, memory::unmapped(), cliff.end(4)];
            for address in memory::HOSTILE.into_iter().chain(edge) {
                // SAFETY: The kernel checks the address.
                let result = unsafe { ioctl_at(section.as_fd(), request, address) };
                assert_eq!(result, Err(libc::EFAULT), "{request:#x} at {address:#x}");
            }
            let small = request & !(0x3fff << 16) | (8 << 16);
            assert_eq!(ioctl(&section, small, &mut 1_u64), Err(libc::EINVAL));
            // Longer with zeroes at its end it may be, with anything else not.
            let large = request & !(0x3fff << 16) | (64 << 16);
            let mut arg = [0_u8; 64];
            arg[63] = 1;
            assert_eq!(ioctl(&section, large, &mut arg), Err(libc::E2BIG));
        }
        let query = section.query_port();
        assert_eq!(query.err().map(|it| it.errno), Some(libc::ENOTTY));
        assert_ne!(wait::poll_now(&section, libc::POLLIN) & libc::POLLERR, 0);
        view.assert_back(1);
    });
}

#[test]
fn an_attribute_that_makes_no_sense_is_invalid() {
    isolated(|| {
        let pair = Pair::of_views();
        let (_section, view) = pair.view(2 * PAGE, 1);
        let refuses = |what: &str, edit: &dyn Fn(&mut alpc_attr_view)| {
            let mut container = ViewContainer::lending(view.base, view.size, SECURE);
            edit(&mut container.view);
            let result = one_way().with(&pair.client, &mut container);
            refused_with(result, libc::EINVAL, what);
            view.assert_back(1);
            assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        };
        refuses("no size", &|it| it.size = 0);
        refuses("too long", &|it| it.size += 1);
        refuses("far too long", &|it| it.size = u64::MAX);
        refuses("size of nothing", &|it| it.base = 0);
        refuses("flags of nothing", &|it| (it.base, it.size) = (0, 0));
        refuses("reserved", &|it| it.reserved = 1);
        for bit in 2..32 {
            refuses("flag", &|it| it.flags |= 1 << bit);
        }
        let mut container = ViewContainer::lending(view.base, view.size, SECURE);
        container.head.allocated = 0;
        let result = one_way().with(&pair.client, &mut container);
        refused_with(result, libc::EINVAL, "valid, but not allocated");
    });
}

#[test]
fn only_the_beginning_of_a_view_is_its_address() {
    isolated(|| {
        let pair = Pair::of_views();
        let lent = pair.lent(2 * PAGE, 1, SECURE);
        let section = pair.client.section(8 * PAGE).expect("section");
        let view = section.view(2 * PAGE).expect("view");
        let other = memory::Pages::two();
        let held = lent.held.base;
        let none = [
            0,
            1,
            view.base + 1,
            view.base + PAGE,
            // Addresses of the section at which there is no view.
            view.base + 2 * PAGE,
            view.base + 7 * PAGE,
            held + 1,
            held + PAGE,
            held + 2 * PAGE,
            other.address(),
            memory::unmapped(),
        ];
        for base in none.into_iter().chain(memory::HOSTILE) {
            let mut container = ViewContainer::lending(base, PAGE, SECURE);
            if base != 0 {
                let lend = one_way().with(&pair.client, &mut container);
                assert_eq!(lend.unwrap_err(), fail::NOT_A_VIEW, "lend {base:#x}");
                let mut container = ViewContainer::releasing(base);
                let release = one_way().with(&pair.client, &mut container);
                assert_eq!(release.unwrap_err(), fail::NOT_A_VIEW, "release {base:#x}");
            }
            for port in [&pair.client, &pair.port, &section] {
                let delete = port.delete_view(base).unwrap_err();
                assert_eq!(delete, fail::NOT_A_VIEW, "delete {base:#x}");
            }
        }
        assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        lent.held.assert_holds(1);
        lent.view.assert_closed();
    });
}

#[test]
fn a_received_view_is_not_lent_on_and_an_own_one_not_released() {
    isolated(|| {
        let pair = Pair::of_views();
        let lent = pair.lent(PAGE, 1, 0);
        let on = one_way().lend(&pair.server, lent.held, SECURE);
        assert_eq!(on.unwrap_err(), fail::NOT_A_VIEW);
        let release = one_way().with(&pair.client, &mut ViewContainer::releasing(lent.view.base));
        assert_eq!(release.unwrap_err(), fail::NOT_A_VIEW);
        lent.held.assert_holds(1);
        lent.view.assert_back(1);
        // Each is released and deleted once.
        pair.port.delete_view(lent.held.base).expect("release");
        let again = pair.port.delete_view(lent.held.base);
        assert_eq!(again.unwrap_err(), fail::NOT_A_VIEW);
        let (_section, view) = pair.view(PAGE, 1);
        pair.client.delete_view(view.base).expect("delete");
        let again = pair.client.delete_view(view.base);
        assert_eq!(again.unwrap_err(), fail::NOT_A_VIEW);
    });
}

#[test]
fn nobody_releases_what_another_process_holds() {
    isolated(|| {
        let (port, _end, peer) = client_peer("rules/others", ALICE, |link, client| {
            let (section, view) = filled(&client, PAGE, 1);
            one_way().lend(&client, view, SECURE).expect("send");
            let held = link.take();
            for port in [&client, &section] {
                assert_eq!(port.delete_view(held), Err(fail::NOT_A_VIEW));
            }
            let mut container = ViewContainer::releasing(held);
            let release = one_way().with(&client, &mut container).unwrap_err();
            assert_eq!(release, fail::NOT_A_VIEW);
            view.assert_closed();
            link.sync();
        });
        let held = port.receive_view().expect("receive").1.expect("view");
        peer.put(held.base);
        peer.sync();
        held.assert_holds(1);
        peer.wait();
    });
}

#[test]
fn a_view_lent_in_vain_is_back() {
    isolated(|| {
        let pair = Pair::with(Create::anonymous().taking(ALPC_TAKE_VIEWS).share(1, 0));
        let (_section, view) = pair.view(PAGE, 2);
        let lend = |edit: &dyn Fn(&mut ViewContainer), send: Transfer| {
            let mut container = ViewContainer::lending(view.base, PAGE, SECURE);
            edit(&mut container);
            let result = send.with(&pair.client, &mut container);
            view.assert_back(2);
            result.unwrap_err()
        };
        let send = || {
            Transfer::new()
                .send(b"")
                .flags(ALPC_RELEASE | ALPC_NONBLOCK)
        };
        let bad_release = lend(&|it| it.view.release = view.base, send());
        assert_eq!(bad_release, fail::NOT_A_VIEW);
        pair.client.one_way(b"full").expect("send");
        assert_eq!(lend(&|_| {}, send()), fail::QUEUE_FULL);
        let waiting = Transfer::new().send(b"").receive().flags(ALPC_SYNC);
        assert_eq!(lend(&|_| {}, waiting.timeout(1000)), fail::TIMED_OUT);
        let mut nowhere = send();
        nowhere.arg.send_id = 12345;
        nowhere.arg.send_callback_id = 1;
        assert_eq!(lend(&|_| {}, nowhere), fail::NOT_FOUND);
        pair.port.disconnect().expect("disconnect");
        assert_eq!(lend(&|_| {}, send()), fail::DISCONNECTED);
    });
}

#[test]
fn the_description_of_a_section_counts_its_views_and_their_bytes() {
    isolated(|| {
        let pair = Pair::of_views();
        let section = pair.client.section(10 * PAGE).expect("section");
        let line = |key| fdinfo(&section, key).expect(key);
        assert_eq!(line("alpc-section"), "40960 bytes");
        assert_eq!(
            (line("alpc-views"), line("alpc-view-bytes")),
            ("0, 0 lent".into(), "0".into())
        );
        let view = section.view(PAGE + 1).expect("view");
        section.view(1).expect("view");
        one_way().lend(&pair.client, view, SECURE).expect("send");
        assert_eq!(
            (line("alpc-views"), line("alpc-view-bytes")),
            ("2, 1 lent".into(), "12288".into())
        );
        pair.port.receive().expect("receive");
        assert_eq!(line("alpc-views"), "2, 0 lent");
    });
}

#[test]
fn a_section_has_as_many_views_as_stated() {
    isolated(|| {
        let pair = Pair::of_views();
        let most = ALPC_SECTION_VIEWS_MAX as usize;
        let section = pair
            .client
            .section(2 * most as u64 * PAGE)
            .expect("section");
        let (views, failure) = until_failure(|| section.view(1));
        assert_eq!((views.len(), failure.errno), (most, libc::ENOSPC));
        for (index, view) in views.iter().enumerate() {
            view.assert_holds(0);
            view.fill(index as u8);
        }
        for (index, view) in views.iter().enumerate().step_by(2) {
            view.assert_holds(index as u8);
            section.delete_view(view.base).expect("delete");
        }
        for _ in (0..most).step_by(2) {
            section.view(1).expect("view").assert_holds(0);
        }
        refused_with(section.view(1), libc::ENOSPC, "one more");
        views.iter().skip(1).step_by(2).for_each(|view| {
            view.assert_holds(((view.base - views[0].base) / PAGE) as u8);
        });
    });
}

#[test]
fn a_descriptor_makes_as_many_sections_as_stated() {
    isolated(|| {
        let pair = Pair::of_views();
        let most = query().sections_per_port as usize;
        for port in [&pair.client, &pair.server, &pair.port] {
            let (mut made, failure) = until_failure(|| port.section(MAX));
            assert_eq!((made.len(), failure), (most, fail::LIMIT));
            // One that is mapped lives as long as its mapping.
            let last = made.pop().expect("a section");
            let view = last.view(PAGE).expect("view");
            drop(last);
            assert_eq!(port.section(PAGE).err(), Some(fail::LIMIT));
            view.unmap();
            let again = || port.section(PAGE).ok();
            let mut room = again();
            eventually(|| {
                room = room.take().or_else(again);
                room.is_some()
            });
        }
    });
}

#[test]
fn a_side_of_a_connection_is_lent_as_many_views_as_stated() {
    isolated(|| {
        let pair = Pair::of_views();
        let most = ALPC_VIEWS_LENT_MAX as usize;
        let (_section, view) = pair.view(PAGE, 1);
        let (lent, failure) = until_failure(|| {
            one_way().lend(&pair.client, view, 0)?;
            pair.port.receive_view()
        });
        assert_eq!((lent.len(), failure), (most, fail::LIMIT));
        // What is refused is as it was, and the other direction has its own number.
        let secure = one_way().lend(&pair.client, view, SECURE).unwrap_err();
        assert_eq!(secure, fail::LIMIT);
        view.assert_back(1);
        one_way().lend(&pair.server, view, 0).expect("send");
        let held = lent[0].1.expect("a view");
        pair.port.delete_view(held.base).expect("release");
        one_way().lend(&pair.client, view, SECURE).expect("send");
    });
}

#[test]
fn a_users_views_have_as_many_pages_as_stated_over_all_sections() {
    isolated_long(3, || {
        let limits = query();
        // One user alone has no more than it leaves to the others.
        let most = limits.view_pages_per_user.min(limits.view_pages / 2);
        let step = most / 16;
        as_user(ALICE, move |link| {
            let pair = Pair::of_views();
            let port = &pair.client;
            let size = u64::from(step) * PAGE;
            let make = || {
                let section = port.section(size.min(MAX))?;
                let view = section.view(size.min(MAX))?;
                Ok((section, view))
            };
            let (mut made, failure) = until_failure(make);
            assert_eq!(failure, fail::LIMIT);
            let pages = made.len() as u64 * size.min(MAX) / PAGE;
            assert!(pages <= most.into() && pages + u64::from(step) > most.into());
            link.sync();
            link.sync();
            // A borrower keeps the pages, which count as long.
            let (section, view) = made.pop().expect("views");
            one_way().lend(port, view, SECURE).expect("send");
            let held = pair.port.receive_view().expect("receive").1.expect("view");
            section.delete_view(view.base).expect("delete");
            let (section, view) = (port.section(size.min(MAX)).expect("section"), held);
            assert_eq!(section.view(size.min(MAX)), Err(fail::LIMIT));
            assert_eq!(view.get(0), 0);
            pair.port.delete_view(view.base).expect("release");
            section.view(size.min(MAX)).expect("given back");
        })
        .run_beside(|| {
            as_user(BOB, |_| {
                let port = Create::anonymous().run().expect("create");
                let section = port.section(PAGE).expect("section");
                section.view(PAGE).expect("another user is not concerned");
            })
            .wait();
        });
        note!("{most} pages");
    });
}

/// Doing something while a process is stopped between two `sync`.
trait RunBeside {
    fn run_beside(self, body: impl FnOnce());
}

impl RunBeside for Peer {
    fn run_beside(self, body: impl FnOnce()) {
        self.sync();
        body();
        self.sync();
        self.wait();
    }
}

#[test]
fn a_query_says_who_has_a_view() {
    isolated(|| {
        let pair = Pair::of_views();
        let (section, view) = pair.view(2 * PAGE, 1);
        let owned = Ok((2 * PAGE, ALPC_VIEW_STATE_OWNED, 0));
        assert_eq!(section.query_view(view.base), owned);
        for (flags, secure) in [(SECURE, ALPC_VIEW_SECURE), (0, 0)] {
            let mut container = ViewContainer::lending(view.base, 5, flags);
            let sent = one_way().with(&pair.client, &mut container);
            sent.expect("send");
            let lent = Ok((2 * PAGE, ALPC_VIEW_STATE_LENT, secure));
            assert_eq!(pair.client.query_view(view.base), lent);
            let received = pair.port.receive_view().expect("receive").1.expect("view");
            let held = Ok((5, ALPC_VIEW_STATE_HELD, secure));
            assert_eq!(pair.port.query_view(received.base), held);
            assert_eq!(section.query_view(view.base), lent);
            for base in [view.base + PAGE, received.base + PAGE, 0, 1, u64::MAX] {
                assert_eq!(section.query_view(base), Err(libc::ENXIO), "{base:#x}");
            }
            pair.port.delete_view(received.base).expect("release");
            assert_eq!(section.query_view(received.base), Err(libc::ENXIO));
            assert_eq!(section.query_view(view.base), owned);
        }
    });
}
