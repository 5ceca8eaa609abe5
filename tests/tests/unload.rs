// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading and unloading the module.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use alpc_tests::module::{load, unload, unload_soon};
use alpc_tests::places::{identity, place, place_of, place_of_mapping};
use alpc_tests::raw::*;
use alpc_tests::stuck::{closing_workers, Stuck};
use alpc_tests::views::PAGE;
use alpc_tests::wait::settle;
use alpc_tests::*;

const NODE: &str = "/dev/alpc";

#[test]
fn the_module_is_held_by_every_kind_of_descriptor() {
    isolated(|| {
        let pair = Pair::new();
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        let open = device();
        let Pair {
            port,
            server,
            client,
        } = pair;
        for descriptor in [open, client, server, through, port] {
            assert_eq!(unload(), Err(libc::EWOULDBLOCK));
            drop(descriptor);
        }
        unload_soon();
        assert!(!Path::new(NODE).exists(), "the node outlived the module");
        load().expect("load");
        Pair::new();
    });
}

#[test]
fn the_place_of_a_descriptor_outlives_the_module() {
    isolated(|| {
        let pair = Pair::of_views();
        let lent = pair.lent(PAGE, 1, 0);
        let through = pair.port.connect_descriptor().expect("connect descriptor");
        // What `O_PATH` opens keeps inode and name of a file, and not the module.
        let mut places = vec![
            ("connection port", place_of(&pair.port)),
            ("server port", place_of(&pair.server)),
            ("client port", place_of(&pair.client)),
            ("connect descriptor", place_of(&through)),
            ("section", place_of(&lent.section)),
            ("/dev/alpc", place_of(&device())),
            ("users", place("/sys/kernel/debug/alpc/users", 0)),
        ];
        places.extend(place_of_mapping(lent.held).map(|place| ("window", place)));
        let before: Vec<_> = places.iter().map(|(_, place)| identity(place)).collect();
        lent.held.unmap();
        lent.view.unmap();
        drop((pair, lent, through));
        unload_soon();
        let look = || {
            for ((name, place), before) in places.iter().zip(&before) {
                assert_eq!(identity(place), *before, "{name}");
                let link = format!("/proc/self/fd/{}", place.as_raw_fd());
                std::fs::read_link(&link).expect(name);
                std::fs::read_to_string(link.replace("/fd/", "/fdinfo/")).expect(name);
            }
        };
        look();
        for (name, place) in &places {
            // Nothing is open there, and nothing is left that could be.
            let link = format!("/proc/self/fd/{}", place.as_raw_fd());
            File::options().read(true).open(&link).expect_err(name);
        }
        load().expect("load");
        Pair::new();
        look();
    });
}

#[test]
fn the_module_is_held_by_the_open_file_of_all_users() {
    isolated(|| {
        let file = File::open("/sys/kernel/debug/alpc/users").expect("debugfs");
        assert_eq!(unload(), Err(libc::EWOULDBLOCK));
        drop(file);
        unload_soon();
        load().expect("load");
    });
}

#[test]
fn a_message_under_way_holds_nothing_once_its_descriptors_are_closed() {
    isolated(|| {
        let pair = Pair::new();
        for _ in 0..10 {
            pair.client.post(&[1; 1000]).expect("post");
            pair.client.one_way(&[1; 1000]).expect("send");
            pair.server.post(&[1; 1000]).expect("post");
        }
        pair.port.receive().expect("receive");
        pair.client.receive().expect("receive");
        drop(pair);
        unload_soon();
        load().expect("load");
    });
}

#[test]
fn a_file_that_does_not_close_holds_the_module() {
    isolated(|| {
        let mut stuck = Stuck::new(1);
        let client = Peer::spawn(ALICE, |link| {
            let pair = Pair::with_handles(0);
            let file = link.take_fd();
            let sent = pair.client.one_way_with(&mut HandleContainer::one(&file));
            sent.expect("send");
            // The receiver is of another process than the sender.
            link.put_fd(&pair.port);
            link.sync();
        });
        let file = stuck.take();
        client.put_fd(&file);
        drop(file);
        let port = Port::from(client.take_fd());
        client.sync();
        client.wait();
        drop(port);
        eventually(|| closing_workers() == 1);
        for _ in 0..10 {
            assert_eq!(unload(), Err(libc::EWOULDBLOCK));
            settle();
        }
        stuck.let_go();
        unload_soon();
        load().expect("load");
    });
}

#[test]
fn everybody_may_open_the_node_straight_after_loading() {
    isolated(|| {
        unload_soon();
        let alice = Peer::spawn(ALICE, |link| {
            link.sync();
            device();
            Create::anonymous().run().expect("create");
        });
        load().expect("load");
        alice.sync();
        alice.wait();
        let mode = std::fs::metadata(NODE).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    });
}

#[test]
fn unloading_and_loading_can_be_repeated() {
    isolated_long(2, || {
        for _ in 0..rounds(20) {
            unload_soon();
            load().expect("load");
            let pair = Pair::with(Create::named("unload/again"));
            pair.client.one_way(b"x").expect("send");
            assert_eq!(pair.port.receive().expect("receive").data, b"x");
        }
    });
}

#[test]
fn unloading_races_with_opening_cleanly() {
    isolated_long(2, || {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        // Whoever opens it in time holds it.
                        let file = File::options().read(true).write(true).open(NODE);
                        if let Ok(file) = file {
                            let mut arg = alpc_query::default();
                            let fd = std::os::fd::OwnedFd::from(file);
                            ioctl(&fd, ALPC_IOCTL_QUERY, &mut arg).expect("QUERY");
                        }
                    }
                });
            }
            for _ in 0..rounds(20) {
                unload_soon();
                load().expect("load");
            }
            done.store(true, SeqCst);
        });
    });
}

#[test]
fn a_process_that_dies_lets_the_module_go() {
    isolated(|| {
        let victim = Peer::spawn(ROOT, |link| {
            let pair = Pair::new();
            thread::scope(|scope| {
                scope.spawn(|| pair.client.request(b"x"));
                scope.spawn(|| pair.client.receive());
                pair.port.receive().expect("receive");
                link.sync();
                let _ = pair.port.receive();
            });
        });
        victim.sync();
        victim.until_asleep();
        assert_eq!(unload(), Err(libc::EWOULDBLOCK));
        victim.kill();
        unload_soon();
        load().expect("load");
    });
}
