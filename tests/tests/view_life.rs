// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who ends a lent view: only the process that holds it, by its release, or by the end of its last
//! mapping. Nothing that the sender does or that becomes of it, and nothing that becomes of ports.

use std::os::fd::{AsFd, AsRawFd};

use alpc_tests::inspect::fdinfo;
use alpc_tests::raw::*;
use alpc_tests::views::*;
use alpc_tests::*;

const SECURE: u32 = ALPC_VIEW_SECURE;
const SIZE: u64 = 3 * PAGE;

/// Where the client has lent its view from.
struct Sender {
    client: Port,
    section: Port,
    view: View,
    /// The conversation, if it is one.
    id: u64,
    /// Whether somebody holds the view.
    held: bool,
}

impl Sender {
    /// The view has not come back by what was done. If nobody had it, it may have.
    fn assert_away(view: View, held: bool) {
        match held || !view.is_there() {
            true => view.assert_closed(),
            false => view.assert_back(5),
        }
    }
}

/// What a sender does, with the message under way or the view held.
type Deed = fn(Sender, &Link);

const DEEDS: [(&str, Deed); 9] = [
    ("disconnects", |it, _| {
        it.client.disconnect().expect("disconnect");
        Sender::assert_away(it.view, it.held);
    }),
    ("closes its port", |it, _| {
        drop(it.client);
        Sender::assert_away(it.view, it.held);
    }),
    ("closes its section", |it, _| {
        drop(it.section);
        it.view.assert_closed();
    }),
    ("closes and unmaps its section", |it, _| {
        drop(it.section);
        it.view.unmap();
    }),
    ("unmaps its section and maps it again", |it, _| {
        let (start, len, _) = it.view.mapping();
        it.view.unmap();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        let fd = it.section.as_fd().as_raw_fd();
        // SAFETY: Where nothing is.
        let again = unsafe { libc::mmap(start as *mut _, len as usize, protection, flags, fd, 0) };
        assert_eq!(again as u64, start);
        it.view.assert_closed();
    }),
    ("deletes its view and makes another", |it, _| {
        it.section.delete_view(it.view.base).expect("delete");
        let next = it.section.view(SIZE).expect("view");
        assert_eq!(next, it.view);
        next.assert_holds(0);
        next.fill(0xaa);
    }),
    ("cancels", |it, _| {
        if it.id != 0 {
            let told = it.client.cancel(it.id, 0).expect("cancel");
            // If it was received, the holder has it.
            if told == ALPC_OUTCOME_ALREADY_RECEIVED {
                it.view.assert_closed();
            } else {
                it.view.assert_back(5);
            }
        }
    }),
    ("ends", |_, _| {}),
    ("is killed", |_, link| {
        link.sync();
        eventually(|| false);
    }),
];

/// A client of ALICE's that lends a view in a request or a one-way message, and then does it.
fn sender(name: &'static str, flags: u32, held: bool, deed: Deed) -> (Port, Port, Peer) {
    client_peer(name, ALICE, move |link, client| {
        let (section, view) = filled(&client, SIZE, 5);
        let mut send = Transfer::new().send(b"look").flags(flags);
        let mut lending = ViewContainer::lending(view.base, SIZE, SECURE);
        send.arg.send_attributes = lending.address();
        send.run(&client).expect("send");
        view.assert_closed();
        link.sync();
        link.sync();
        let id = send.arg.send_id;
        deed(
            Sender {
                client,
                section,
                view,
                id,
                held,
            },
            link,
        );
        link.sync();
        link.sync();
    })
}

#[test]
fn nothing_that_the_sender_does_ends_a_view_that_is_held() {
    isolated_long(2, || {
        for flags in [0, ALPC_RELEASE] {
            for (what, deed) in DEEDS {
                let (port, server, peer) = sender("life/held", flags, true, deed);
                peer.sync();
                let held = port.receive_view().expect("receive").1.expect("a view");
                peer.sync();
                peer.sync();
                held.assert_holds(5);
                if what == "is killed" {
                    peer.kill();
                } else {
                    peer.sync();
                    peer.wait();
                }
                held.assert_holds(5);
                drop(server);
                held.assert_holds(5);
                port.delete_view(held.base).expect("release");
                assert!(!held.is_there());
            }
        }
    });
}

#[test]
fn a_view_is_as_it_was_sent_whatever_the_sender_does_before_it_is_received() {
    isolated_long(2, || {
        for (what, deed) in DEEDS {
            let (port, server, peer) = sender("life/sent", ALPC_RELEASE, false, deed);
            peer.sync();
            peer.sync();
            peer.sync();
            let alive = (what != "is killed").then_some(peer);
            // With its sender gone a one-way message may be there or not, but not by halves.
            let mut container = ViewContainer::receiving();
            let mut receive = Transfer::new().receive().now();
            receive.arg.recv_attributes = container.address();
            match receive.run(&port) {
                Ok(message) if message.kind == ALPC_TYPE_DATAGRAM => {
                    let held = container.received().expect("a view");
                    let held = View {
                        base: held.base,
                        size: held.size,
                    };
                    held.assert_holds(5);
                    if let Some(peer) = alive {
                        peer.sync();
                        peer.wait();
                    }
                    held.assert_holds(5);
                    port.delete_view(held.base).expect("release");
                }
                other => {
                    let gone = ["disconnects", "closes its port"].contains(&what);
                    assert!(gone, "{what}: {other:?}");
                }
            }
            drop(server);
        }
    });
}

#[test]
fn a_call_that_times_out_leaves_its_view_with_who_has_received_it() {
    isolated(|| {
        let (port, _server, peer) = client_peer("life/timeout", BOB, |link, client| {
            let (_section, view) = filled(&client, SIZE, 6);
            let mut call = Transfer::new().send(b"call").receive().flags(ALPC_SYNC);
            call = call.timeout(300_000_000);
            let failure = call.lend(&client, view, SECURE).unwrap_err();
            assert_eq!(failure.errno, libc::ETIMEDOUT);
            view.assert_closed();
            link.sync();
            link.sync();
            view.assert_back(6);
        });
        let held = port.receive_view().expect("receive").1.expect("a view");
        peer.sync();
        held.assert_holds(6);
        port.delete_view(held.base).expect("release");
        peer.sync();
        peer.wait();
    });
}

#[test]
fn a_held_view_outlives_every_port_of_its_holder() {
    isolated(|| {
        let other = Pair::of_views();
        let pair = Pair::of_views();
        let lent = pair.lent(SIZE, 8, SECURE);
        pair.port.disconnect().expect("disconnect");
        lent.held.assert_holds(8);
        lent.view.assert_closed();
        let Pair {
            port,
            server,
            client,
        } = pair;
        drop(server);
        drop(port);
        lent.held.assert_holds(8);
        lent.view.assert_closed();
        drop(client);
        lent.held.assert_holds(8);
        lent.view.assert_closed();
        // Any port of the module is good for the call.
        other.client.delete_view(lent.held.base).expect("release");
        assert!(!lent.held.is_there());
        lent.view.assert_back(8);
    });
}

#[test]
fn a_client_holds_what_a_server_has_lent_it_as_long() {
    isolated(|| {
        let pair = Pair::of_views();
        let (section, view) = filled(&pair.server, SIZE, 8);
        let send = Transfer::new().send(b"look").flags(ALPC_RELEASE);
        send.lend(&pair.server, view, SECURE).expect("send");
        let held = pair
            .client
            .receive_view()
            .expect("receive")
            .1
            .expect("view");
        drop(pair);
        held.assert_holds(8);
        view.assert_closed();
        section.delete_view(held.base).expect("release");
        view.assert_back(8);
    });
}

#[test]
fn a_window_goes_with_the_last_descriptor_that_could_need_it() {
    isolated(|| {
        for made_before in [true, false] {
            let pair = Pair::of_views();
            let (_section, view) = pair.view(PAGE, 1);
            if made_before {
                let send = Transfer::new().send(b"").flags(ALPC_RELEASE);
                send.lend(&pair.client, view, 0).expect("send");
                let held = pair.port.receive_view().expect("receive").1.expect("view");
                pair.port.delete_view(held.base).expect("release");
            }
            // An answer that can be received on what is left when the port is closed.
            pair.server.post(b"ask").expect("post");
            let asked = pair.client.receive().expect("receive");
            let reply = Transfer::new().send(b"").into(&asked).flags(ALPC_RELEASE);
            reply.lend(&pair.client, view, SECURE).expect("reply");
            let Pair {
                port,
                server,
                client,
            } = pair;
            drop(port);
            let held = server.receive_view().expect("receive").1.expect("view");
            held.assert_holds(1);
            server.delete_view(held.base).expect("release");
            drop((server, client));
            assert_eq!(mapping(held.base), None, "made before: {made_before}");
        }
    });
}

/// A holder of BOB's does something to a view that this process has lent it, and this process
/// has it back.
fn ends(name: &'static str, what: &str, deed: impl FnOnce(&Link, &Port, &Message, View)) {
    let (client, peer) = server_peer(name, BOB, |link, port, end| {
        let (message, held) = port.receive_view().expect("receive");
        let held = held.expect("a view");
        held.assert_holds(4);
        link.sync();
        link.sync();
        for fd in [port.as_fd(), end.as_fd(), link.as_fd()] {
            // SAFETY: Takes no pointer. They live on in another program, the mapping does not.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) };
        }
        deed(link, &port, &message, held);
        link.sync();
        link.sync();
        drop(end);
    });
    let (section, view) = filled(&client, SIZE, 4);
    let send = Transfer::new().send(b"look");
    send.lend(&client, view, SECURE).expect("send");
    peer.sync();
    view.assert_closed();
    peer.sync();
    if what == "exit" {
        peer.wait();
    } else {
        peer.sync();
        if what == "kill" {
            view.assert_closed();
            peer.kill();
        }
    }
    view.assert_back(4);
    assert_eq!(fdinfo(&section, "alpc-views").as_deref(), Some("1, 0 lent"));
}

#[test]
fn a_view_is_back_when_its_holder_has_released_it() {
    isolated(|| {
        ends("life/call", "call", |_, port, _, held| {
            port.delete_view(held.base).expect("release");
        });
        ends("life/reply", "reply", |_, port, message, held| {
            let reply = Transfer::new().send(b"").into(message).flags(ALPC_RELEASE);
            let mut container = ViewContainer::releasing(held.base);
            reply.with(port, &mut container).expect("reply");
        });
    });
}

#[test]
fn a_view_is_back_when_its_holder_has_unmapped_it() {
    isolated(|| {
        ends("life/munmap", "munmap", |_, _, _, held| held.unmap());
        ends("life/over", "mapped over", |_, _, _, held| {
            let (start, len, _) = held.mapping();
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            // SAFETY: The window, of which nothing is used any more.
            let over =
                unsafe { libc::mmap(start as *mut _, len as usize, libc::PROT_READ, flags, -1, 0) };
            assert_eq!(over as u64, start);
            assert_eq!(held.get(0), 0);
        });
    });
}

#[test]
fn a_view_is_back_when_its_holder_has_ended() {
    isolated(|| {
        ends("life/kill", "kill", |_, _, _, _| {});
        ends("life/exit", "exit", |_, _, _, _| {
            // SAFETY: Ends the process at once.
            unsafe { libc::_exit(0) }
        });
    });
}

#[test]
fn a_view_is_back_when_its_holder_runs_another_program() {
    isolated(|| {
        ends("life/exec", "exec", |link, _, _, _| {
            exec_self(link);
        });
    });
}

/// Becomes another program, which does the two `sync` that are left, through its standard input.
fn exec_self(link: &Link) -> ! {
    // SAFETY: Takes no pointer.
    unsafe { libc::dup2(link.as_fd().as_raw_fd(), 0) };
    let error = std::os::unix::process::CommandExt::exec(
        std::process::Command::new("/proc/self/exe")
            .args(["--ignored", "--exact", "the_program_that_a_holder_becomes"])
            .args(["--nocapture", "--test-threads=1"])
            .env("ALPC_EXECED", "1")
            .stdout(std::process::Stdio::null()),
    );
    panic!("exec: {error}");
}

#[test]
#[ignore = "run by another test"]
fn the_program_that_a_holder_becomes() {
    if std::env::var_os("ALPC_EXECED").is_none() {
        return;
    }
    use std::io::{Read, Write};
    use std::os::fd::FromRawFd;
    // SAFETY: Whoever runs this put it there.
    let mut link = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(0) });
    let mut word = [0; 8];
    for _ in 0..2 {
        link.write_all(&0x0073_796e_6300_u64.to_ne_bytes())
            .expect("write");
        if link.read(&mut word).expect("read") == 0 {
            return;
        }
    }
}

#[test]
fn a_holder_that_has_unmapped_its_window_gets_views_in_a_new_one() {
    isolated(|| {
        let pair = Pair::of_views();
        for round in 1..4 {
            let lent = pair.lent(PAGE, round, SECURE);
            let second = pair.lent(PAGE, round + 10, SECURE);
            lent.held.assert_holds(round);
            second.held.unmap();
            lent.view.assert_back(round);
            second.view.assert_back(round + 10);
            for lent in [lent, second] {
                let gone = pair.port.delete_view(lent.held.base);
                assert_eq!(gone.unwrap_err(), fail::NOT_A_VIEW);
                pair.port.reply(&lent.message, b"").expect("reply");
            }
        }
    });
}

#[test]
fn memory_is_given_back_when_neither_side_has_the_view() {
    isolated(|| {
        let pair = Pair::of_views();
        let lent = pair.lent(PAGE, 1, SECURE);
        lent.section.delete_view(lent.view.base).expect("delete");
        assert!(!lent.view.is_there());
        assert_eq!(
            fdinfo(&lent.section, "alpc-view-bytes").as_deref(),
            Some("0")
        );
        lent.held.assert_holds(1);
        lent.view.unmap();
        drop(lent.section);
        lent.held.assert_holds(1);
        pair.port.delete_view(lent.held.base).expect("release");
        pair.port.reply(&lent.message, b"").expect("reply");
    });
}
