// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes in the memory of a caller who does not let them come.

use std::thread;
use std::time::{Duration, Instant};

use alpc::bulk::{Caller, Outbox, Received, Receiver, Unread, MEMORY_TIME};
use alpc::{
    Acl, Client, ConnectBuilder, Error, Flush, Offer, Options, Outcome, PortBuilder, Server,
    Timeout,
};
use alpc_tests::hang::Hang;
use alpc_tests::memory::PAGE;
use alpc_tests::scale::slowness;
use alpc_tests::{isolated, isolated_long, Peer, BOB, ROOT};

use super::pair_of;

const NAME: &str = "userlib/late";
/// For how long the server receives, and for how long it waits for memory.
const TIME: Duration = Duration::from_millis(200);
const CALLS: u64 = 10;

/// Pages of this process as a slice to lend.
fn slice(pages: &Hang, count: usize) -> &[u8] {
    // SAFETY: The memory is there as long as the borrow, and nobody but a server looks at it.
    unsafe { std::slice::from_raw_parts(pages.address() as *const u8, count * PAGE) }
}

/// Replies what is asked until the port is disconnected. Gives how many requests it could not read.
fn echo(server: &Server, options: Options<'_>) -> u64 {
    let receiver = Receiver::new(server).expect("receiver");
    let mut receiver = receiver.memory_time(TIME);
    let mut outbox = Outbox::new(server).expect("outbox");
    let mut clients = Vec::new();
    let mut unread = 0;
    loop {
        match receiver.receive_with(options) {
            Ok(Received::Request(message, turn)) => {
                // Its sender may have gone.
                let _ = outbox.reply(turn, &message.bytes[..1]);
            }
            Ok(Received::Unread(..)) => unread += 1,
            Ok(Received::Other(alpc::Received::Connection(request))) => {
                clients.push(request.accept().expect("accept"));
            }
            Ok(_) => {}
            Err(error) if error.is_timeout() => {}
            Err(error) => {
                assert_eq!(error.outcome(), Some(Outcome::Closed));
                return unread;
            }
        }
    }
}

/// Has a client that lends memory that never comes, again and again, beside one of another user.
fn serves_others(options: Options<'_>) {
    let acl = Acl::everyone();
    let server = PortBuilder::new(NAME).acl(&acl).take_memory().create();
    let server = server.expect("create");
    let hostile = Peer::spawn(ROOT, |link| {
        let client = Client::connect(NAME).expect("connect");
        let hang = Hang::new(2);
        let mut answer = [0; 64];
        link.sync();
        loop {
            let offer = Offer::new().readable(slice(&hang, 2));
            let error = client.call_with_memory(b"", &offer, &mut answer, Options::new());
            assert_eq!(error.unwrap_err().outcome(), Some(Outcome::Lost));
        }
    });
    let honest = Peer::spawn(BOB, |link| {
        let client = ConnectBuilder::new(NAME).connect().expect("connect");
        let mut caller = Caller::new(&client).expect("caller");
        link.sync();
        link.sync();
        let limit = 20 * slowness() * TIME;
        let answered = (0..CALLS).filter(|_| caller.call_with(&[7; 5000], limit).is_ok());
        link.put(answered.count() as u64);
    });
    let (answered, unread) = thread::scope(|scope| {
        let serving = scope.spawn(|| echo(&server, options));
        honest.sync();
        hostile.sync();
        hostile.until_asleep();
        honest.sync();
        let answered = honest.take();
        hostile.kill();
        server.disconnect(Flush::Everything).expect("disconnect");
        (answered, serving.join().expect("join"))
    });
    honest.wait();
    assert_eq!(answered, CALLS);
    assert!(unread > 0, "no call was hostile");
}

#[test]
fn memory_that_never_comes_keeps_no_other_client_from_a_server_with_a_time_for_it() {
    isolated_long(2, || serves_others(TIME.into()));
}

#[test]
fn memory_that_never_comes_keeps_no_other_client_from_a_server_that_does_not_wait() {
    isolated_long(2, || serves_others(Options::new().nonblocking()));
}

/// What a server is told of a call that lends memory, of which only the first page is there.
fn told(pages: usize, receive: impl FnOnce(&Server) -> (Error, Duration)) -> (Error, Duration) {
    let (server, _port, client) = pair_of(PortBuilder::anonymous().take_memory());
    let hang = Hang::new(pages);
    hang.fill(0..1);
    thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let offer = Offer::new().readable(slice(&hang, pages));
            let mut answer = [0; 64];
            let reply = client.call_with_memory(b"", &offer, &mut answer, Options::new());
            assert_eq!(reply.expect("it is answered").data(), b"no");
        });
        let told = receive(&server);
        // The call may be in a page fault of its own.
        hang.fill(1..pages);
        calling.join().expect("join");
        told
    })
}

/// Receives a request that cannot be read, and answers it. Gives how long the last receive took.
fn unread(receiver: &mut Receiver<'_>, options: Options<'_>) -> (Error, Duration) {
    loop {
        let begin = Instant::now();
        let (told, turn) = match receiver.receive_with(options) {
            Ok(Received::Unread(told, turn)) => (told, turn),
            // It has not come yet.
            Err(error) if error.is_timeout() => continue,
            other => panic!("a request that can't be read was expected: {other:?}"),
        };
        let taken = begin.elapsed();
        let Unread {
            error,
            sender,
            port_context,
            ..
        } = told;
        assert_eq!((sender.pid, port_context), (std::process::id(), 7));
        turn.reply(b"no").expect("reply");
        return (error, taken);
    }
}

#[test]
fn a_late_request_is_told_as_such_and_can_be_answered() {
    isolated(|| {
        let timed = |options: Options<'static>| {
            told(3, move |server| {
                let mut receiver = Receiver::new(server).expect("receiver");
                unread(&mut receiver, options)
            })
        };
        let late = MEMORY_TIME + 10 * slowness() * TIME;
        let (error, taken) = timed(Options::new());
        assert_eq!(
            (error.outcome(), error.errno()),
            (Some(Outcome::TimedOut), libc::ETIMEDOUT)
        );
        assert!(taken >= MEMORY_TIME && taken < late, "{taken:?}");
        let (error, _) = timed(Options::new().nonblocking());
        assert_eq!((error.outcome(), error.errno()), (None, libc::EAGAIN));
    });
}

#[test]
fn memory_has_its_time_however_little_is_left_of_that_of_the_receive() {
    isolated(|| {
        let timed = |timeout: Timeout| {
            told(2, move |server| {
                let mut receiver = Receiver::new(server).expect("receiver");
                unread(&mut receiver, timeout.into())
            })
        };
        let uptime = std::fs::read_to_string("/proc/uptime").expect("uptime");
        let seconds = uptime.split(' ').next().expect("a number");
        let now = Duration::from_secs_f64(seconds.parse().expect("a number"));
        for timeout in [TIME.into(), Timeout::ZERO, Timeout::Boottime(now)] {
            let (error, taken) = timed(timeout);
            assert_eq!(error.outcome(), Some(Outcome::TimedOut));
            assert!(taken >= MEMORY_TIME, "{timeout:?}: {taken:?}");
        }
    });
}

#[test]
fn more_memory_has_more_time() {
    isolated(|| {
        // Half of what gets another second.
        let (error, taken) = told((8 << 20) / PAGE, |server| {
            let mut receiver = Receiver::new(server).expect("receiver");
            unread(&mut receiver, Options::new())
        });
        assert_eq!(error.outcome(), Some(Outcome::TimedOut));
        let least = MEMORY_TIME + Duration::from_millis(500);
        assert!(taken >= least, "{taken:?}");
    });
}

#[test]
fn a_time_for_memory_goes_before_that_of_the_receive() {
    isolated(|| {
        let (error, taken) = told(2, |server| {
            let receiver = Receiver::new(server).expect("receiver");
            let mut receiver = receiver.memory_time(2 * TIME);
            unread(&mut receiver, TIME.into())
        });
        assert_eq!(error.outcome(), Some(Outcome::TimedOut));
        assert!(taken >= 2 * TIME, "{taken:?}");
        let (error, taken) = told(2, |server| {
            let receiver = Receiver::new(server).expect("receiver");
            let mut receiver = receiver.memory_time(Duration::ZERO);
            unread(&mut receiver, Options::new())
        });
        assert_eq!(error.outcome(), Some(Outcome::TimedOut));
        assert!(taken < 10 * slowness() * TIME, "{taken:?}");
    });
}
