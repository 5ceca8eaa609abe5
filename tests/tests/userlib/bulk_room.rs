// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes in the memory of a caller, and a receiver that has no room for them.

use alpc::bulk::{Caller, Outbox, Received, Receiver};
use alpc::{Acl, Client, Offer, Options, PortBuilder};
use alpc_tests::memory::PAGE;
use alpc_tests::{isolated, Peer, BOB};

const NAME: &str = "userlib/room";
/// What a call lends, and what the server has left for all that it does.
const LENT: usize = 64 << 20;
const LEFT: usize = 32 << 20;

/// Lets this process map no more than `LEFT` bytes beyond those that it has mapped.
fn limit_address_space() {
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = sizes.split(' ').next().expect("a number");
    let mapped = pages.parse::<usize>().expect("a number") * PAGE;
    let most = (mapped + LEFT) as libc::rlim_t;
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: A live limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// Receives until it has answered a request that it could read. Gives how many it had no room for.
fn serve(receiver: &mut Receiver<'_>, outbox: &mut Outbox<'_>) -> u64 {
    let mut clients = Vec::new();
    let mut unread = 0;
    loop {
        match receiver.receive().expect("receive") {
            Received::Request(message, turn) => {
                outbox.reply(turn, &message.bytes[..3]).expect("reply");
                return unread;
            }
            Received::Unread(told, turn) => {
                let error = told.error;
                assert_eq!(error.errno(), libc::ENOMEM, "{error}");
                assert_eq!(error.outcome(), None);
                unread += 1;
                turn.reply(b"no").expect("reply");
            }
            Received::Other(alpc::Received::Connection(request)) => {
                clients.push(request.accept().expect("accept"));
            }
            _ => {}
        }
    }
}

#[test]
fn a_request_that_there_is_no_room_for_leaves_the_server_to_the_next_one() {
    isolated(|| {
        let serving = Peer::spawn(BOB, |link| {
            let acl = Acl::everyone();
            let server = PortBuilder::new(NAME).acl(&acl).take_memory().create();
            let server = server.expect("create");
            let mut receiver = Receiver::new(&server).expect("receiver");
            let mut outbox = Outbox::new(&server).expect("outbox");
            limit_address_space();
            link.sync();
            link.put(serve(&mut receiver, &mut outbox));
            link.sync();
        });
        serving.sync();
        let client = Client::connect(NAME).expect("connect");
        let bytes = vec![0; LENT];
        let offer = Offer::new().readable(&bytes);
        let mut answer = [0; 64];
        let reply = client.call_with_memory(b"", &offer, &mut answer, Options::new());
        assert_eq!(reply.expect("it is answered").data(), b"no");
        let mut caller = Caller::new(&client).expect("caller");
        assert_eq!(&caller.call(&[7; 5000]).expect("call")[..], [7; 3]);
        assert_eq!(serving.take(), 1);
        serving.sync();
        serving.wait();
    });
}
