// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that a call lends.

use std::thread;
use std::time::Duration;

use alpc::{Offer, Options, Outcome, PortBuilder, Received, Request, Server};
use alpc_tests::hang::Hang;
use alpc_tests::isolated;
use alpc_tests::memory::PAGE;

use super::{pair, pair_of};

fn request<'p, 'b>(server: &'p Server, buffer: &'b mut [u8]) -> Request<'p, 'b> {
    let options = Options::new().ask_memory();
    match server.receive_with(buffer, options).expect("receive") {
        Received::Request(request) => request,
        other => panic!("a request was expected: {other:?}"),
    }
}

#[test]
fn slices_are_lent_for_the_length_of_a_call() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
        let name = b"a name";
        let mut contents = vec![1_u8; 100_000];
        let mut both = *b"both";
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 64];
                let request = request(&server, &mut buffer);
                let memory = request.memory();
                assert_eq!((memory.len(), memory.is_empty()), (3, false));
                let lengths: Vec<_> = memory.iter().map(|range| range.len()).collect();
                assert_eq!(lengths, [6, 100_000, 4]);
                let [name, contents, both] = [0, 1, 2].map(|n| memory.get(n).expect("a range"));
                assert!(memory.get(3).is_none());
                assert!(name.is_readable() && !name.is_writable());
                assert!(!contents.is_readable() && contents.is_writable());
                assert!(both.is_readable() && both.is_writable() && !both.is_empty());

                let mut text = [0; 4];
                name.read_at(2, &mut text).expect("read");
                assert_eq!(&text, b"name");
                both.read_at(0, &mut text).expect("read");
                assert_eq!(&text, b"both");
                contents.write_at(1, &[2; 99_999]).expect("write");
                both.write_at(3, b"s").expect("write");
                let errno = |result: Result<(), alpc::Error>| result.unwrap_err().errno();
                assert_eq!(errno(name.write_at(0, b"x")), libc::EACCES);
                assert_eq!(errno(contents.read_at(0, &mut text)), libc::EACCES);
                assert_eq!(errno(name.read_at(3, &mut text)), libc::EINVAL);
                assert_eq!(errno(name.read_at(u64::MAX, &mut text)), libc::EINVAL);
                request.into_turn().reply(b"done").expect("reply");
            });
            let memory = Offer::new()
                .readable(name)
                .writable(&mut contents)
                .shared(&mut both);
            let mut answer = [0; 64];
            let options = Options::new();
            let reply = client.call_with_memory(b"?", &memory, &mut answer, options);
            assert_eq!(reply.expect("call").data(), b"done");
        });
        assert_eq!(contents[0], 1);
        assert!(contents[1..].iter().all(|&byte| byte == 2));
        assert_eq!(&both, b"bots");
    });
}

#[test]
fn a_call_that_fails_lends_nothing_any_more() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
        let mut memory = [0_u8; 16];
        thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut buffer = [0; 64];
                let request = request(&server, &mut buffer);
                let range = request.memory().get(0).expect("a range");
                range.write_at(0, &[1; 16]).expect("write");
                // The reply is too long: the caller gives up, and can't resume.
                let (_, turn) = request.split();
                turn.reply(&[0; 65]).expect("reply");
                let request = super::request(&server, &mut buffer);
                assert!(request.memory().is_empty(), "it was not asked for");
                drop(request);
            });
            let offer = Offer::new().shared(&mut memory);
            let mut answer = [0; 64];
            let error = client.call_with_memory(b"", &offer, &mut answer, Options::new());
            let error = error.expect_err("too long");
            assert_eq!(error.outcome(), Some(Outcome::BufferTooSmall));
            let id = error.conversation().expect("a conversation");
            let resumed = client.resume(id, &mut answer, Options::new());
            assert_eq!(resumed.unwrap_err().outcome(), Some(Outcome::NotFound));
            let error = client.call_with_memory(b"", &offer, &mut answer, Options::new());
            assert_eq!(error.unwrap_err().outcome(), Some(Outcome::Lost));
            holder.join().expect("join");
            let timeout = Duration::from_millis(1);
            let error = client.call_with_memory(b"", &offer, &mut answer, timeout);
            assert!(error.unwrap_err().is_timeout());
        });
        assert_eq!(memory, [1; 16]);
    });
}

#[test]
fn a_server_that_does_not_take_it_is_not_asked() {
    isolated(|| {
        let (_server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
        let none = Offer::new();
        let mut answer = [0; 8];
        let error = client.call_with_memory(b"", &none, &mut answer, Options::new());
        assert_eq!(error.unwrap_err().errno(), libc::EINVAL);
        let (_server, _port, client) = pair();
        let offer = Offer::new().readable(b"memory");
        let error = client.call_with_memory(b"", &offer, &mut answer, Options::new());
        assert_eq!(error.unwrap_err().outcome(), Some(Outcome::NotTaken));
    });
}

#[test]
fn a_server_that_calls_back_is_refused() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
        let memory = [0_u8; 16];
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 64];
                let mut request = request(&server, &mut buffer);
                let error = request.turn_mut().call(b"?", &mut [0; 8]).unwrap_err();
                assert_eq!(error.outcome(), Some(Outcome::Lost));
            });
            let offer = Offer::new().readable(&memory);
            let mut answer = [0; 8];
            let error = client.call_with_memory(b"", &offer, &mut answer, Options::new());
            assert_eq!(error.unwrap_err().outcome(), Some(Outcome::WrongKind));
        });
    });
}

#[test]
fn a_server_need_not_wait_for_memory_that_is_slow_to_come() {
    isolated(|| {
        let (server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
        let hang = Hang::new(2);
        hang.fill(0..1);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 64];
                let request = request(&server, &mut buffer);
                let range = request.memory().get(0).expect("a range");
                let mut data = [1_u8; 2 * PAGE];
                let now = Options::new().nonblocking();
                assert_eq!(range.read_at_with(0, &mut data, now).expect("read"), PAGE);
                assert!(data[..PAGE] == [0; PAGE] && data[PAGE..] == [1; PAGE]);
                assert_eq!(range.write_at_with(0, &data, now).expect("write"), PAGE);
                let soon = Duration::from_millis(20);
                assert_eq!(range.read_at_with(0, &mut data, soon).expect("read"), PAGE);
                let error = |result: Result<usize, alpc::Error>| result.unwrap_err();
                let second = PAGE as u64;
                let late = error(range.read_at_with(second, &mut data[PAGE..], soon));
                assert_eq!(late.outcome(), Some(Outcome::TimedOut));
                let late = error(range.write_at_with(second, &data[PAGE..], now));
                assert_eq!(late.errno(), libc::EAGAIN);
                let late = range.read_exact_at(0, &mut data, soon).unwrap_err();
                assert_eq!(late.outcome(), Some(Outcome::TimedOut));
                let late = range.write_all_at(0, &data, now).unwrap_err();
                assert_eq!(late.errno(), libc::EAGAIN);
                hang.fill(1..2);
                range.read_exact_at(0, &mut data, soon).expect("read");
                range.write_all_at(0, &data, soon).expect("write");
                let all = range.read_at_with(0, &mut data, now).expect("read");
                assert_eq!(all, 2 * PAGE);
                request.into_turn().reply(b"done").expect("reply");
            });
            // SAFETY: The memory is there until the test is over, and used by the server alone.
            let slow =
                unsafe { std::slice::from_raw_parts_mut(hang.address() as *mut u8, 2 * PAGE) };
            let offer = Offer::new().shared(slow);
            let mut answer = [0; 64];
            let reply = client.call_with_memory(b"?", &offer, &mut answer, Options::new());
            assert_eq!(reply.expect("call").data(), b"done");
        });
    });
}
