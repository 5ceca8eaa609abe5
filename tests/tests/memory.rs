// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caller memory: whose it is, who may reach it, when, and how far.

use std::thread;

use alpc_tests::memory::Pages;
use alpc_tests::raw::*;
use alpc_tests::*;

const READ: u32 = ALPC_MEMORY_READ;
const WRITE: u32 = ALPC_MEMORY_WRITE;

fn taking() -> Pair {
    Pair::with(Create::anonymous().taking_memory())
}

/// Bytes of which none is like its neighbours.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A failure that has no outcome, after so many bytes.
fn short(errno: i32, done: u64) -> Short {
    let outcome = JUNK32;
    Short {
        failure: Failure { errno, outcome },
        done,
    }
}

/// One that is found before anything is begun.
fn unbegun(errno: i32) -> Short {
    short(errno, JUNK64)
}

fn told(failure: Failure) -> Short {
    Short { failure, done: 0 }
}

/// A client in a process of its own, which offers memory and ends when it is answered.
fn offerer(pair: &Pair, make: impl FnOnce() -> Ranges, after: impl FnOnce(&Link)) -> Peer {
    Peer::fork(ROOT, |link| {
        let ranges = make();
        Transfer::offering(&ranges).run(&pair.client).expect("call");
        after(link);
    })
}

/// The same by a thread of this one.
fn offered<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    port: &'scope Port,
    ranges: Ranges,
) -> thread::ScopedJoinHandle<'scope, Result<Message, Failure>> {
    scope.spawn(move || Transfer::offering(&ranges).run(port))
}

#[test]
fn the_holder_reads_and_writes_by_index_offset_and_length() {
    isolated(|| {
        let pair = taking();
        let client = Peer::fork(ROOT, |_| {
            let first = pattern(100_000);
            let second = vec![1_u8; 3];
            let mut third = vec![2_u8; 200_001];
            let ranges = Ranges::of(&[
                (first.as_ptr() as u64 + 1, 99_998, READ),
                (second.as_ptr() as u64, 3, READ),
                (third.as_mut_ptr() as u64 + 1, 200_000, BOTH),
            ]);
            Transfer::offering(&ranges).run(&pair.client).expect("call");
            assert_eq!(first, pattern(100_000));
            assert_eq!(second, [1; 3]);
            let mut expected = vec![2_u8; 200_001];
            expected[1..70_001].copy_from_slice(&pattern(70_000));
            expected[100_001] = 9;
            expected[200_000] = 8;
            assert!(third == expected);
        });
        let request = pair.port.receive().expect("receive");
        let all = pattern(100_000);
        for (offset, length) in [
            (0, 99_998),
            (0, 1),
            (99_997, 1),
            (4094, 3),
            (1, 65_536),
            (0, 0),
            (99_998, 0),
        ] {
            let read = pair.port.peek(&request, 0, offset, length).expect("peek");
            assert!(read == all[1 + offset as usize..][..length], "{offset}");
        }
        assert_eq!(pair.server.peek(&request, 1, 0, 3), Ok(vec![1; 3]));
        pair.port
            .poke(&request, 2, 0, &pattern(70_000))
            .expect("poke");
        pair.port.poke(&request, 2, 100_000, &[9]).expect("poke");
        pair.server.poke(&request, 2, 199_999, &[8]).expect("poke");
        let read = pair.port.peek(&request, 2, 0, 70_000).expect("peek");
        assert!(read == pattern(70_000));
        pair.port.reply(&request, b"").expect("reply");
        client.wait();
    });
}

#[test]
fn nothing_outside_the_ranges_and_against_their_direction_is_reached() {
    isolated(|| {
        let pair = taking();
        let mut memory = pattern(64);
        let base = memory.as_mut_ptr() as u64;
        thread::scope(|scope| {
            let ranges = Ranges::of(&[
                (base, 16, READ),
                (base + 16, 16, WRITE),
                (base + 32, 16, BOTH),
            ]);
            let client = offered(scope, &pair.client, ranges);
            let port = &pair.port;
            let request = port.receive().expect("receive");
            let invalid = Err(unbegun(libc::EINVAL));
            for (index, offset, length) in [
                (0, 0, 17),
                (0, 16, 1),
                (0, 17, 0),
                (0, u64::MAX, 1),
                (0, u64::MAX, 2),
                (0, 1, 16),
                (3, 0, 1),
                (u32::MAX, 0, 0),
            ] {
                assert_eq!(port.peek(&request, index, offset, length), invalid);
            }
            let mut arg = memory_argument(&request, 0, READ);
            arg.length = u64::MAX;
            assert_eq!(memory_as_is(port, &mut arg), Err(unbegun(libc::EINVAL)));
            arg.offset = 2;
            assert_eq!(memory_as_is(port, &mut arg), Err(unbegun(libc::EINVAL)));
            for flags in [0, 3, 4, 7, 8, 9, u32::MAX] {
                let mut arg = memory_argument(&request, 2, flags);
                assert_eq!(memory_as_is(port, &mut arg), Err(unbegun(libc::EINVAL)));
            }
            let denied = unbegun(libc::EACCES);
            assert_eq!(port.poke(&request, 0, 0, b"x"), Err(denied));
            assert_eq!(port.peek(&request, 1, 0, 1), Err(denied));
            assert_eq!(port.peek(&request, 1, 0, 0), Err(denied));
            assert_eq!(port.poke(&request, 1, 0, &[0xee; 16]), Ok(()));
            assert_eq!(port.poke(&request, 2, 0, &[0xdd; 16]), Ok(()));
            // The holder's own buffer.
            for address in memory::HOSTILE {
                for flags in [READ, WRITE] {
                    let mut arg = memory_argument(&request, 2, flags);
                    (arg.data, arg.length) = (address, 16);
                    let failed = memory_as_is(port, &mut arg).unwrap_err();
                    assert_eq!(failed.failure.errno, libc::EFAULT);
                    assert!(failed.done == 0 || failed.done == JUNK64);
                }
            }
            let cliff = Pages::cliff();
            let mut arg = memory_argument(&request, 2, READ);
            (arg.data, arg.length) = (cliff.end(5), 16);
            let failed = memory_as_is(port, &mut arg);
            assert_eq!(failed, Err(short(libc::EFAULT, 5)));
            assert_eq!(cliff.read(cliff.end(5), 5), [0xdd; 5]);
            port.reply(&request, b"").expect("reply");
            client.join().expect("join").expect("call");
        });
        let mut expected = pattern(64);
        expected[16..32].fill(0xee);
        expected[32..48].fill(0xdd);
        assert_eq!(memory, expected);
    });
}

#[test]
fn the_receiver_is_told_lengths_and_directions_but_no_addresses() {
    isolated(|| {
        let pair = taking();
        let memory = [0_u8; 64];
        let base = memory.as_ptr() as u64;
        let list: Vec<_> = (0..64)
            .map(|i| (base + i, 64 - i as usize, 1 + i as u32 % 3))
            .collect();
        for room in [0, 1, 63, 64, 100] {
            thread::scope(|scope| {
                let client = scope.spawn(|| {
                    let ranges = Ranges::of(&list);
                    Transfer::offering(&ranges).run(&pair.client)
                });
                let mut told = Ranges::room(room);
                if room == 0 {
                    told.container.memory.ranges = 0;
                }
                let mut receive = Transfer::new().receive();
                receive.arg.recv_attributes = told.address();
                let request = receive.run(&pair.port).expect("receive");
                assert_eq!(told.container.head.valid, ALPC_ATTR_MEMORY);
                assert_eq!(told.container.memory.count, 64);
                for (i, range) in told.list.iter().enumerate() {
                    match list.get(i) {
                        Some(&(_, length, access)) => {
                            assert_eq!((range.base, range.length), (0, length as u64));
                            assert_eq!((range.access, range.reserved), (access, 0));
                        }
                        None => assert_eq!(range.length, JUNK64),
                    }
                }
                assert_eq!(
                    pair.port.peek(&request, 63, 0, 1).is_ok(),
                    list[63].2 & 1 != 0
                );
                pair.port.reply(&request, b"").expect("reply");
                client.join().expect("join").expect("call");
            });
        }
        // A message without any has none to tell of.
        pair.client.one_way(b"").expect("send");
        let mut told = Ranges::room(2);
        let mut receive = Transfer::new().receive();
        receive.arg.recv_attributes = told.address();
        receive.run(&pair.port).expect("receive");
        assert_eq!(told.container.head.valid, 0);
        assert_eq!(told.container.memory.count, 2);
        told.container.memory.reserved = 1;
        refused_with(receive.run(&pair.port), libc::EINVAL, "reserved");
    });
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    isolated(|| {
        let pair = taking();
        let memory = [0_u8; 16];
        let base = memory.as_ptr() as u64;
        let refused = |ranges: &Ranges, errno, what: &str| {
            let result = Transfer::offering(ranges).now().run(&pair.client);
            refused_with(result, errno, what);
            assert_eq!(pair.port.receive_now().unwrap_err(), fail::TIMED_OUT);
        };
        refused(&Ranges::of(&[]), libc::EINVAL, "none");
        refused(&Ranges::of(&[(base, 1, READ); 65]), libc::EINVAL, "65");
        for (base, length, access, errno) in [
            (base, 0, READ, libc::EINVAL),
            (base, 1, 0, libc::EINVAL),
            (base, 1, 4, libc::EINVAL),
            (base, 1, u32::MAX, libc::EINVAL),
            (base, usize::MAX, READ, libc::EFAULT),
            (u64::MAX, 1, READ, libc::EFAULT),
            (u64::MAX, 2, READ, libc::EFAULT),
            (0x7fff_ffff_e000, 0x4000, READ, libc::EFAULT),
            (0xffff_8880_0000_0000, 1, READ, libc::EFAULT),
        ] {
            refused(&Ranges::of(&[(base, length, access)]), errno, "a range");
        }
        let mut ranges = Ranges::of(&[(base, 1, READ)]);
        ranges.list[0].reserved = 1;
        refused(&ranges, libc::EINVAL, "reserved");
        let mut ranges = Ranges::of(&[(base, 1, READ)]);
        ranges.container.memory.reserved = 1;
        refused(&ranges, libc::EINVAL, "reserved of the list");
        for address in memory::HOSTILE {
            ranges = Ranges::of(&[(base, 1, READ)]);
            ranges.container.memory.ranges = address;
            refused(&ranges, libc::EFAULT, "a list nowhere");
        }
    });
}

#[test]
fn only_a_call_offers_memory_and_only_to_who_takes_it() {
    isolated(|| {
        let pair = taking();
        let memory = [0_u8; 16];
        let ranges = Ranges::of(&[(memory.as_ptr() as u64, 16, READ)]);
        let with = |mut transfer: Transfer| {
            transfer.arg.send_attributes = ranges.address();
            transfer
        };
        let request = || Transfer::new().send(b"");
        for (what, transfer) in [
            ("asynchronous", request()),
            ("one-way", request().flags(ALPC_RELEASE)),
            ("and the next message", request().receive()),
            ("nothing sent", Transfer::new().receive()),
        ] {
            refused_with(with(transfer).run(&pair.client), libc::EINVAL, what);
        }
        pair.client.post(b"").expect("post");
        let held = pair.port.receive().expect("receive");
        for (what, transfer) in [
            ("reply", request().flags(ALPC_RELEASE)),
            ("open reply", request()),
            ("callback", request().receive().flags(ALPC_SYNC)),
            ("answer", request().receive().flags(ALPC_SYNC | ALPC_ANSWER)),
        ] {
            refused_with(
                with(transfer.into(&held)).run(&pair.port),
                libc::EINVAL,
                what,
            );
        }
        let nothing = pair.port.peek(&held, 0, 0, 1);
        assert_eq!(nothing, Err(unbegun(libc::EINVAL)), "it has none");
        // The client does not take any of the server's.
        let failure = Transfer::offering(&ranges).run(&pair.server).unwrap_err();
        assert_eq!(failure, fail::NOT_TAKEN);
        let plain = Pair::new();
        let failure = Transfer::offering(&ranges).run(&plain.client).unwrap_err();
        assert_eq!(failure, fail::NOT_TAKEN);
        assert_eq!(plain.port.receive_now().unwrap_err(), fail::TIMED_OUT);
    });
}

#[test]
fn only_the_holder_reaches_it_and_only_while_it_holds() {
    isolated(|| {
        let pair = taking();
        let (other_server, _other_client) = pair::attach(&pair.port, 2);
        let stranger = taking();
        let memory = [7_u8; 16];
        thread::scope(|scope| {
            let ranges = Ranges::of(&[(memory.as_ptr() as u64, 16, BOTH)]);
            let client = offered(scope, &pair.client, ranges);
            let request = pair.port.receive().expect("receive");
            let port = &pair.port;
            for (what, who, failure) in [
                ("the client", &pair.client, fail::NOT_OWNER),
                ("another client's port", &other_server, fail::NOT_FOUND),
                ("another port", &stranger.port, fail::NOT_FOUND),
                ("another's client", &stranger.client, fail::NOT_FOUND),
            ] {
                let result = who.peek(&request, 0, 0, 1);
                assert_eq!(result, Err(told(failure)), "{what}");
            }
            let mut stale = request.clone();
            stale.callback_id += 1;
            let result = port.peek(&stale, 0, 0, 1);
            assert_eq!(result, Err(told(fail::STALE_TURN)));
            assert_eq!(port.peek(&request, 0, 0, 1), Ok(vec![7]));
            port.reply(&request, b"").expect("reply");
            let result = port.poke(&request, 0, 0, b"x");
            assert_eq!(result, Err(told(fail::NOT_FOUND)));
            client.join().expect("join").expect("call");
        });
        assert_eq!(memory, [7; 16]);
    });
}

#[test]
fn no_right_over_the_caller_is_needed() {
    isolated(|| {
        let port = Create::named("memory/alice").open().taking_memory();
        let server = Peer::spawn(ALICE, |link| {
            let mut port = port;
            let port = port.run().expect("create");
            link.sync();
            let request = port.receive().expect("receive");
            let _server = Accept::new(request.id).run(&port).expect("accept");
            let request = port.receive().expect("receive");
            let read = port.peek(&request, 0, 0, 6).expect("peek");
            assert_eq!(read, b"secret");
            port.poke(&request, 0, 0, b"public").expect("poke");
            // And none is given.
            let mut byte = 0_u8;
            let local = libc::iovec {
                iov_base: std::ptr::from_mut(&mut byte).cast(),
                iov_len: 1,
            };
            let remote = libc::iovec {
                iov_base: link.take() as *mut _,
                iov_len: 1,
            };
            // SAFETY: One live byte.
            let got =
                unsafe { libc::process_vm_readv(request.pid as i32, &local, 1, &remote, 1, 0) };
            assert_eq!(got, -1);
            port.reply(&request, b"").expect("reply");
            link.sync();
        });
        server.sync();
        let client = Peer::spawn(ROOT, |link| {
            let client = Connect::to("memory/alice").run().expect("connect").port;
            let memory = *b"secret";
            link.put(memory.as_ptr() as u64);
            let ranges = Ranges::of(&[(memory.as_ptr() as u64, 6, BOTH)]);
            Transfer::offering(&ranges).run(&client).expect("call");
            assert_eq!(std::hint::black_box(memory), *b"public");
        });
        server.put(client.take());
        client.wait();
        server.sync();
        server.wait();
    });
}

#[test]
fn a_server_may_offer_its_own_to_a_client_that_takes_it() {
    isolated(|| {
        let port = Create::anonymous().run().expect("create");
        let through = port.connect_descriptor().expect("connect descriptor");
        let mut connect = Connect::new(None).asynchronous();
        connect.arg.accept = ALPC_TAKE_MEMORY;
        let client = connect.run_on(&through).expect("connect").port;
        let request = port.receive().expect("receive");
        let server = Accept::new(request.id).run(&port).expect("accept");
        client.receive().expect("receive");
        let memory = pattern(5000);
        thread::scope(|scope| {
            let ranges = Ranges::of(&[(memory.as_ptr() as u64, 5000, READ)]);
            let caller = offered(scope, &server, ranges);
            let request = client.receive().expect("receive");
            assert_eq!(client.peek(&request, 0, 0, 5000), Ok(pattern(5000)));
            client.reply(&request, b"").expect("reply");
            caller.join().expect("join").expect("call");
        });
    });
}

#[test]
fn pages_come_as_they_are_wanted() {
    isolated(|| {
        let pair = taking();
        const LENGTH: usize = 3 << 20;
        let fresh = move || {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: A new mapping, where the kernel likes.
            let start =
                unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, -1, 0) };
            assert_ne!(start, libc::MAP_FAILED);
            start
        };
        for huge in [false, true] {
            let client = offerer(
                &pair,
                || {
                    let start = fresh();
                    if huge {
                        // SAFETY: The mapping is ours.
                        unsafe { libc::madvise(start, LENGTH, libc::MADV_HUGEPAGE) };
                    }
                    Ranges::of(&[(start as u64, LENGTH, BOTH), (fresh() as u64, LENGTH, READ)])
                },
                |_| {},
            );
            let request = pair.port.receive().expect("receive");
            let port = &pair.port;
            assert!(port.peek(&request, 1, 0, LENGTH) == Ok(vec![0; LENGTH]));
            port.poke(&request, 0, 0, &pattern(LENGTH)).expect("poke");
            assert!(port.peek(&request, 0, 0, LENGTH) == Ok(pattern(LENGTH)));
            port.reply(&request, b"").expect("reply");
            client.wait();
        }
    });
}
