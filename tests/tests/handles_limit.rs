// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles: how many one user may have in messages, and whom those of a user may hold up.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use alpc_tests::files::*;
use alpc_tests::plenty::*;
use alpc_tests::raw::*;
use alpc_tests::*;

/// What one user may have, as the module was told.
fn most() -> usize {
    let line = std::fs::read_to_string("/proc/cmdline").expect("the kernel's command line");
    line.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("alpc.handles_per_user="))
        .map_or(16384, |value| value.parse().expect("a number"))
}

/// A file, often enough for the fullest message.
fn full(file: &OwnedFd) -> HandleContainer {
    HandleContainer::sending(&[file.as_raw_fd(); ALPC_HANDLES_MAX as usize])
}

/// How many handles go into messages before one is refused.
fn until_limit(mut send: impl FnMut(&mut HandleContainer) -> Result<(), Failure>) -> usize {
    let file = eventfd();
    let (made, failure) = until_failure(|| send(&mut full(&file)));
    assert_eq!(failure, fail::LIMIT);
    let mut last = full(&file);
    let left = most() - made.len() * ALPC_HANDLES_MAX as usize;
    last.handle().count = left as u32 + 1;
    assert_eq!(send(&mut last), Err(fail::LIMIT));
    if left != 0 {
        last.handle().count = left as u32;
        send(&mut last).expect("the rest");
    }
    made.len() * ALPC_HANDLES_MAX as usize + left
}

#[test]
fn a_user_has_no_more_handles_in_messages_than_stated() {
    isolated_long(2, || {
        let alice = as_user(ALICE, |link| {
            let pair = Pair::with_handles(0);
            // Over all connections, and apart from them what servers send.
            let (_server, second) = {
                let connect = Connect::new(None).takes(ALPC_TAKE_HANDLES, 0);
                pair::attach_as(&pair.port, 1, connect)
            };
            assert_eq!(until_limit(|all| pair.client.one_way_with(all)), most());
            let file = eventfd();
            let one = || HandleContainer::one(&file);
            assert_eq!(second.one_way_with(&mut one()), Err(fail::LIMIT));
            assert_eq!(until_limit(|all| pair.server.one_way_with(all)), most());
            assert_eq!(pair.server.one_way_with(&mut one()), Err(fail::LIMIT));
            second.one_way(b"no handles").expect("no handles");
            link.sync();
            link.sync();
            // What is dropped, received or refused is given back.
            // Connections are served in turn, so one of two is full of them.
            for _ in 0..2 {
                pair.port.receive().expect("receive");
            }
            second.one_way_with(&mut one()).expect("given back");
            let mut wrong = one();
            wrong.entries[0].fd = -1;
            for _ in 0..most() {
                assert_eq!(second.one_way_with(&mut wrong), Err(fail::NO_HANDLE));
            }
            // What the server has not received counts on when its client has gone.
            drop(pair.client);
            let left = until_failure(|| second.one_way_with(&mut full(&file))).0;
            assert!(left.len() <= 1);
            until_failure(|| pair.port.receive_now());
            assert_eq!(until_limit(|all| second.one_way_with(all)), most());
        });
        alice.sync();
        as_user(BOB, |_| {
            let pair = Pair::with_handles(0);
            let sent = pair
                .client
                .one_way_with(&mut HandleContainer::one(&eventfd()));
            sent.expect("another user is not concerned");
        })
        .wait();
        alice.sync();
        alice.wait();
    });
}

/// Brings up the loopback device of this guest.
fn loopback_up() {
    // SAFETY: The structure is live, and names the device.
    unsafe {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        let mut device: libc::ifreq = std::mem::zeroed();
        device.ifr_name[0] = b'l' as _;
        device.ifr_name[1] = b'o' as _;
        device.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
        let request = libc::SIOCSIFFLAGS as libc::Ioctl;
        assert_eq!(libc::ioctl(socket.as_raw_fd(), request, &mut device), 0);
    }
}

/// A connection with bytes on their way that its end would wait for, and the other end.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut stream = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (other, _) = listener.accept().expect("accept");
    stream.set_nonblocking(true).expect("nonblock");
    while stream.write(&[1; 65536]).is_ok() {}
    stream.set_nonblocking(false).expect("block");
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 1000,
    };
    // SAFETY: A live structure of that size.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            std::mem::size_of_val(&linger) as u32,
        )
    };
    assert_eq!(set, 0);
    (stream, other)
}

#[test]
fn a_socket_that_lingers_keeps_no_thread_of_the_kernel() {
    isolated(|| {
        loopback_up();
        let port = Create::named("handles/linger").open();
        let port = port.takes(ALPC_TAKE_HANDLES, 0).run().expect("create");
        let client = Peer::spawn(ROOT, |link| {
            let client = Connect::to("handles/linger").run().expect("connect").port;
            let (stream, other) = lingering();
            let (reader, writer) = pipe();
            let fds = [stream.as_raw_fd(), writer.as_raw_fd()];
            let sent = client.one_way_with(&mut HandleContainer::sending(&fds));
            sent.expect("send");
            drop((stream, writer));
            link.sync();
            // The server lets go of both: the one is not held up by the other.
            let start = Instant::now();
            assert_eq!(read(&reader), b"");
            assert!(start.elapsed() < Duration::from_secs(10));
            // And all that was written comes.
            let mut all = Vec::new();
            let mut other = other;
            std::io::Read::read_to_end(&mut other, &mut all).expect("read");
            assert!(all.len() >= 65536 && all.iter().all(|&byte| byte == 1));
        });
        let request = port.receive().expect("receive");
        let _server = Accept::new(request.id).run(&port).expect("accept");
        client.sync();
        port.receive().expect("receive");
        client.wait();
    });
}
