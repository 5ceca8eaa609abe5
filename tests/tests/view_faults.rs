// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whatever fails inside the kernel, a section or view is there or is not, and a loan is under way
//! or is not. Runs on the debug kernel only.

use alpc_tests::faults::{sweep, Fault};
use alpc_tests::plenty::until_failure;
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const SIZE: u64 = 3 * PAGE;

/// A call that says in its outcome how it failed, which is not at all when a fault is the reason.
macro_rules! assert_untold {
    ($arg:expr) => {
        assert!([JUNK32, ALPC_OUTCOME_OK].contains(&$arg.outcome))
    };
}

#[test]
fn a_section_that_could_not_be_made_is_not_counted() {
    isolated_long(3, || {
        let pair = Pair::of_views();
        sweep("CREATE_SECTION", |fault| {
            use std::os::fd::{FromRawFd, OwnedFd};
            let mut arg = alpc_create_section {
                size: SIZE,
                outcome: JUNK32,
                ..Default::default()
            };
            match fault.ioctl(&pair.client, ALPC_IOCTL_CREATE_SECTION, &mut arg) {
                // SAFETY: Just installed by the kernel, owned by nobody else.
                Ok(fd) => drop(unsafe { OwnedFd::from_raw_fd(fd) }),
                Err(_) => assert_untold!(arg),
            }
        });
        let all = until_failure(|| pair.client.section(PAGE)).0;
        assert_eq!(all.len() as u32, query().sections_per_port);
    });
}

#[test]
fn a_view_that_could_not_be_made_takes_no_place() {
    isolated_long(3, || {
        let pair = Pair::of_views();
        for mapped in [false, true] {
            sweep("CREATE_VIEW", |fault| {
                let section = pair.client.section(SIZE).expect("section");
                if mapped {
                    let view = section.view(PAGE).expect("view");
                    section.delete_view(view.base).expect("delete");
                }
                let mut arg = alpc_create_view {
                    offset: JUNK64,
                    size: SIZE,
                    outcome: JUNK32,
                    base: JUNK64,
                    flags: 0,
                };
                match fault.ioctl(&section, ALPC_IOCTL_CREATE_VIEW, &mut arg) {
                    Ok(_) => {
                        let (base, size) = (arg.base, arg.size);
                        View { base, size }.assert_holds(0);
                        section.delete_view(base).expect("delete");
                    }
                    Err(_) => assert_untold!(arg),
                }
                let view = section.view(SIZE).expect("all of it is free");
                view.assert_holds(0);
                drop(section);
                unmap_everything();
            });
        }
    });
}

/// Lets the port have its window: it keeps that, and each round shall end as it began.
fn warm(pair: &Pair) {
    let lent = pair.lent(PAGE, 1, 0);
    pair.port.delete_view(lent.held.base).expect("release");
    pair.port.release(&lent.message).expect("release");
    pair.client.receive_now().expect("the notice");
    lent.held.unmap();
    lent.view.unmap();
}

#[test]
fn a_delete_that_failed_deleted_nothing() {
    isolated_long(3, || {
        let pair = Pair::of_views();
        warm(&pair);
        for release in [false, true] {
            sweep("DELETE_VIEW", |fault| {
                let lent = pair.lent(SIZE, 1, SECURE);
                let mut own = pair.client.section(SIZE).expect("section");
                let mut view = lent.held;
                if !release {
                    own = lent.section.duplicate();
                    pair.port.delete_view(lent.held.base).expect("release");
                    view = lent.view;
                }
                let mut arg = alpc_delete_view {
                    base: view.base,
                    flags: 0,
                    outcome: JUNK32,
                };
                if fault
                    .ioctl(&pair.port, ALPC_IOCTL_DELETE_VIEW, &mut arg)
                    .is_err()
                {
                    assert_untold!(arg);
                    view.assert_holds(1);
                    pair.port.delete_view(view.base).expect("made again");
                }
                assert!(!view.is_there());
                if release {
                    lent.view.assert_back(1);
                }
                pair.port.release(&lent.message).expect("release");
                pair.client.receive_now().expect("the notice");
                drop((own, lent));
                unmap_everything();
                let again = pair.lent(PAGE, 2, 0);
                pair.port.release(&again.message).expect("release");
                pair.client.receive_now().expect("the notice");
                drop(again);
                unmap_everything();
            });
        }
    });
}

fn transfer(fault: &Fault, port: &Port, transfer: &mut Transfer) -> Result<i32, i32> {
    transfer.point();
    fault.ioctl(port, ALPC_IOCTL_SEND_WAIT_RECEIVE, &mut transfer.arg)
}

#[test]
fn a_view_of_a_message_that_could_not_be_sent_is_back() {
    isolated_long(3, || {
        let pair = Pair::of_views();
        let (section, view) = pair.view(SIZE, 3);
        warm(&pair);
        for flags in [SECURE, 0] {
            sweep("lend", |fault| {
                let mut container = ViewContainer::lending(view.base, SIZE, flags);
                let mut send = Transfer::new().send(b"x").flags(ALPC_RELEASE);
                send.arg.send_attributes = container.address();
                let result = transfer(fault, &pair.client, &mut send);
                let mut container = ViewContainer::receiving();
                let mut receive = Transfer::new().receive().now();
                receive.arg.recv_attributes = container.address();
                match receive.run(&pair.port) {
                    Ok(_) => {
                        let held = container.received().expect("a view");
                        let (base, size) = (held.base, held.size);
                        View { base, size }.assert_holds(3);
                        pair.port.delete_view(base).expect("release");
                    }
                    Err(failure) => {
                        assert_eq!(failure, fail::TIMED_OUT);
                        result.expect_err("it was sent");
                    }
                }
                view.assert_back(3);
                unmap_windows();
            });
        }
        // None is counted as lent that is not.
        let all = until_failure(|| {
            let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
            send.lend(&pair.client, view, 0)?;
            pair.port.receive_view()
        });
        assert_eq!(all.0.len() as u32, ALPC_VIEWS_LENT_MAX);
        drop(section);
    });
}

#[test]
fn a_view_that_could_not_be_given_back_is_held() {
    isolated_long(3, || {
        let pair = Pair::of_views();
        warm(&pair);
        sweep("give back", |fault| {
            let lent = pair.lent(SIZE, 5, SECURE);
            let mut container = ViewContainer::releasing(lent.held.base);
            let mut reply = Transfer::new().send(b"x").into(&lent.message);
            reply.arg.flags |= ALPC_RELEASE;
            reply.arg.send_attributes = container.address();
            let result = transfer(fault, &pair.port, &mut reply);
            // A caller that could not be told of it has sent it nevertheless.
            if let Err(failure) = pair.client.receive_now() {
                assert_eq!(failure, fail::TIMED_OUT);
                result.expect_err("it was sent");
                lent.held.assert_holds(5);
                lent.view.assert_closed();
                pair.port.delete_view(lent.held.base).expect("release");
                pair.port.release(&lent.message).expect("release");
                pair.client.receive_now().expect("the notice");
            }
            assert!(!lent.held.is_there());
            lent.view.assert_back(5);
            drop(lent);
            unmap_everything();
        });
    });
}

#[test]
fn a_receive_that_failed_keeps_the_view_with_the_message() {
    isolated_long(5, || {
        for again in [false, true] {
            sweep("receive a view", |fault| {
                let pair = Pair::of_views();
                if again {
                    let lent = pair.lent(PAGE, 1, SECURE);
                    pair.port.delete_view(lent.held.base).expect("release");
                }
                let (section, view) = pair.view(SIZE, 4);
                let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
                send.lend(&pair.client, view, SECURE).expect("send");
                let mut container = ViewContainer::receiving();
                let mut receive = Transfer::new().receive();
                receive.arg.recv_attributes = container.address();
                let held = match transfer(fault, &pair.port, &mut receive) {
                    Ok(_) => {
                        let held = container.received().expect("a view");
                        let (base, size) = (held.base, held.size);
                        View { base, size }
                    }
                    Err(_) => {
                        view.assert_closed();
                        let (_, held) = pair.port.receive_view().expect("it is kept");
                        held.expect("a view")
                    }
                };
                held.assert_holds(4);
                assert_eq!(held.base, held.mapping().0, "nothing else is there");
                pair.port.delete_view(held.base).expect("release");
                view.assert_back(4);
                drop((pair, section));
                unmap_everything();
            });
        }
    });
}
