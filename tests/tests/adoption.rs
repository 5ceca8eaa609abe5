// SPDX-License-Identifier: MIT OR Apache-2.0

//! A request is taken over by another process than the one that has received it.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use alpc_tests::hang::Hang;
use alpc_tests::memory::PAGE;
use alpc_tests::raw::*;
use alpc_tests::worker::{close, named, requested, stay, take_over};
use alpc_tests::*;

#[test]
fn what_is_taken_over_is_the_new_holders() {
    isolated(|| {
        let pair = Pair::new();
        let second = Peer::fork(ROOT, |link| {
            let id = link.take();
            for (id, turn, failure) in [
                (id, 1, fail::STALE_TURN),
                (id + (1 << 24), 0, fail::NOT_FOUND),
            ] {
                let refused = take_over(&pair.port, id, turn, 0);
                assert_eq!(refused.unwrap_err(), failure);
            }
            assert_eq!(
                take_over(&pair.client, id, 0, 0).unwrap_err(),
                fail::NOT_OWNER
            );
            take_over(&pair.port, id, 0, 0).expect("adopt");
            link.sync();
            link.take();
            pair.server
                .reply(&named(id), b"by the heir")
                .expect("reply");
            let id = link.take();
            take_over(&pair.server, id, 0, 0).expect("adopt");
            link.sync();
            link.take();
        });
        let result = requested(&pair, stay, |first, id| {
            second.put(id);
            second.sync();
            first.kill();
            second.put(0);
        });
        assert_eq!(result.expect("reply").data, b"by the heir");
        let mut heir = Some(second);
        let result = requested(&pair, stay, |first, id| {
            let second = heir.take().expect("a second");
            second.put(id);
            second.sync();
            first.kill();
            second.kill();
        });
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn what_is_taken_over_by_who_can_not_answer_any_more_is_given_up() {
    isolated(|| {
        let pair = Pair::new();
        let second = Peer::fork(ROOT, |link| {
            let id = link.take();
            // The thread is in its call, and still reads the argument: the id's upper half.
            const HEAD: usize = std::mem::offset_of!(alpc_transfer, id) - 4;
            assert!(u32::try_from(id).is_ok());
            let hang = Hang::new(2);
            hang.fill(0..1);
            let address = hang.address() + (PAGE - HEAD) as u64;
            let arg = alpc_transfer {
                flags: ALPC_SEND | ALPC_ADOPT,
                send_id: id,
                ..Default::default()
            };
            // SAFETY: So many bytes of both are there.
            unsafe { (address as *mut u8).copy_from((&raw const arg).cast(), HEAD) };
            let fd = pair.port.as_fd().as_raw_fd();
            thread::scope(|scope| {
                let adopts = scope.spawn(move || {
                    // SAFETY: The argument is as long as the request says.
                    let result = unsafe {
                        let request = ALPC_IOCTL_SEND_WAIT_RECEIVE as libc::Ioctl;
                        libc::ioctl(fd, request, address)
                    };
                    (result, std::io::Error::last_os_error().raw_os_error())
                });
                hang.until_wanted();
                close(&[&pair.port, &pair.server]);
                hang.fill(1..2);
                let adopted = adopts.join().expect("join");
                assert_eq!(adopted, (-1, Some(libc::EBADF)));
            });
            link.sync();
            link.take();
        });
        let result = requested(&pair, stay, |first, id| {
            second.put(id);
            second.sync();
            first.kill();
            second.kill();
        });
        assert_eq!(result.unwrap_err(), fail::LOST);
    });
}

#[test]
fn a_request_for_adoption_is_all_there_is_to_it() {
    isolated(|| {
        let pair = Pair::new();
        let id = pair.client.post(b"request").expect("post");
        let message = pair.port.receive().expect("receive");
        for flags in [
            ALPC_ADOPT,
            ALPC_SEND | ALPC_ADOPT | ALPC_RELEASE,
            ALPC_SEND | ALPC_ADOPT | ALPC_SYNC | ALPC_RECEIVE,
            ALPC_SEND | ALPC_ADOPT | ALPC_DISCARD,
            ALPC_HOLD_THREAD,
            ALPC_SEND | ALPC_HOLD_THREAD,
        ] {
            let mut transfer = Transfer::new().flags(flags).into(&message);
            transfer.arg.flags = flags;
            let failure = transfer.run(&pair.port).unwrap_err();
            assert_eq!(failure.errno, libc::EINVAL, "{flags:#x}");
        }
        let mut with_data = Transfer::new().send(b"data").into(&message);
        with_data.arg.flags = ALPC_SEND | ALPC_ADOPT;
        assert_eq!(with_data.run(&pair.port).unwrap_err().errno, libc::EINVAL);
        let mut of_nothing = Transfer::new().flags(ALPC_SEND | ALPC_ADOPT);
        assert_eq!(of_nothing.run(&pair.port).unwrap_err().errno, libc::EINVAL);
        // With the next message behind it.
        pair.client.one_way(b"next").expect("send");
        let mut transfer = Transfer::new().into(&message).receive();
        transfer.arg.flags |= ALPC_SEND | ALPC_ADOPT;
        assert_eq!(transfer.run(&pair.port).expect("next").data, b"next");
        pair.port.reply(&message, b"reply").expect("reply");
        assert_eq!(pair.client.receive().expect("reply").id, id);
    });
}
