// SPDX-License-Identifier: MIT OR Apache-2.0

//! A file, handed from one process to another in a view that its sender can't
//! write while the other one has it.

use std::fs::File;
use std::io::{Error, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use alpc::{
    Acl, ConnectBuilder, HeldView, Inbox, NoticeKind, Options, PortBuilder, Received, SecureView,
    Who,
};
use alpc_tests::{files, Link, Peer, ALICE, BOB};

use super::say;

const NAME: &str = "demo/files";
const CHUNK: usize = 4 << 20;
const CHUNKS: usize = 16;
/// The request to let go of the view of the one before.
const RETURN: &[u8] = b"give it back";

pub fn chapter() {
    let receiver = Peer::spawn(ALICE, receive);
    receiver.sync();
    Peer::spawn(BOB, |_| send()).wait();
    receiver.wait();
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| word.try_into());
    words.fold(0, |sum: u64, word| {
        let word = u64::from_le_bytes(word.expect("eight bytes"));
        (sum ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(9)
    })
}

/// Has the kernel write the file's first byte to where a view is.
fn overwrite(file: &File, view: *mut u8) -> Result<(), Error> {
    // SAFETY: Of a view that is lent it is to be refused, and one that isn't is nobody else's.
    match unsafe { libc::pread(file.as_raw_fd(), view.cast(), 1, 0) } {
        1 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn send() {
    let me = "bob";
    let mut file = File::from(files::memfd(0).expect("memfd"));
    let mut block = vec![0_u8; CHUNK];
    for chunk in 0..CHUNKS {
        for (at, byte) in block.iter_mut().enumerate() {
            *byte = (at ^ (at >> 9) ^ (chunk * 37)) as u8;
        }
        file.write_all(&block).expect("write");
    }
    let mebibytes = (CHUNK * CHUNKS) >> 20;
    say(me, &format!("has a file of {mebibytes} MiB for alice"));

    let connect = ConnectBuilder::new(NAME).require_uid(ALICE.uid);
    let client = connect.connect().expect("connect");
    let section = client.section(CHUNK).expect("section");
    let mut view = section.view(CHUNK).expect("view");
    let mut buffer = [0; 64];
    for chunk in 0..CHUNKS {
        let offset = (chunk * CHUNK) as u64;
        file.read_exact_at(&mut view, offset).expect("read");
        let expected = sum(&view).to_le_bytes();
        let start = view.as_mut_ptr();
        let lent = view.lend();
        let options = Options::new().lend(&lent);
        let reply = client.call_with(&expected, &mut buffer, options);
        assert_eq!(reply.expect("call").data(), b"as you said");

        let error = overwrite(&file, start).expect_err("bob wrote what alice holds");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        if chunk == 0 {
            let text = format!("read() into the view that alice holds: {error}");
            say(me, &text);
        }
        let reply = client.call(RETURN, &mut buffer).expect("call");
        assert_eq!(reply.data(), b"here it is");
        view = lent.reclaim().expect("alice gave it back");
        overwrite(&file, start).expect("bob has the view again");
        if chunk == 0 {
            say(me, "and again when she has given it back: it works");
        }
    }
}

fn receive(link: &Link) {
    let me = "alice";
    let acl = Acl::new().allow(Who::User(BOB.uid));
    let builder = PortBuilder::new(NAME).acl(&acl).take_views();
    let server = builder.create().expect("create");
    say(me, &format!("listens on \"{NAME}\", and takes views"));
    link.sync();

    let inbox = Inbox::new();
    let mut buffer = [0; 4096];
    let mut connection = None;
    let mut held: Option<(SecureView, u64)> = None;
    let mut total = 0;
    loop {
        let options = Options::new().view_into(&inbox);
        match server.receive_with(&mut buffer, options).expect("receive") {
            Received::Connection(request) => {
                connection = Some(request.accept().expect("accept"));
            }
            Received::Request(request) if request.data() == RETURN => {
                let (view, before) = held.take().expect("a view to give back");
                assert_eq!(sum(&view), before, "it changed while alice held it");
                total += view.len();
                let back = view.give_back();
                let options = Options::new().give_back(&back);
                let reply = request.into_turn().reply_with(b"here it is", options);
                reply.expect("reply");
            }
            Received::Request(request) => {
                let view = inbox.take().and_then(HeldView::secure);
                let view = view.expect("a secure view");
                let told = u64::from_le_bytes(request.data().try_into().expect("a sum"));
                assert_eq!((sum(&view), view.len()), (told, CHUNK));
                held = Some((view, told));
                request.into_turn().reply(b"as you said").expect("reply");
            }
            Received::Notice(notice) if notice.kind() == NoticeKind::PortClosed => break,
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert!(connection.is_some() && held.is_none());
    assert_eq!(total, CHUNK * CHUNKS);
    let text = format!(
        "read {} MiB where bob wrote them, and checked them twice",
        total >> 20
    );
    say(me, &text);
}
