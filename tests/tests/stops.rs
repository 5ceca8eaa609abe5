// SPDX-License-Identifier: MIT OR Apache-2.0

//! Stops that are no signals of the program's own: the freezer and a tracer.
//! A call that they interrupt goes on as if nothing had been, and sends once.

use alpc_tests::raw::*;
use alpc_tests::*;

/// A server in this process and a client that calls it ten times; `stop` is
/// run on the client in the middle of each call.
fn calls_survive(name: &'static str, stop: impl Fn(&Peer)) {
    let port = Create::named(name).open().run().expect("create");
    let client = Peer::spawn(ROOT, |_| {
        let client = Connect::to(name).run().expect("connect").port;
        for number in 0..10_u8 {
            let mut call = Transfer::new().send(&[number]).receive().flags(ALPC_SYNC);
            call = call.timeout(1_000_000_000_000);
            let reply = call.run(&client).expect("request");
            assert_eq!(reply.data, [number]);
        }
    });
    let request = port.receive().expect("receive");
    let _server = Accept::new(request.id).run(&port).expect("accept");
    for number in 0..10_u8 {
        let request = port.receive().expect("receive");
        assert_eq!(request.data, [number]);
        client.until_asleep();
        stop(&client);
        assert_eq!(
            port.receive_now().unwrap_err(),
            fail::TIMED_OUT,
            "sent twice"
        );
        port.reply(&request, &[number]).expect("reply");
    }
    client.wait();
}

#[test]
fn the_freezer_neither_ends_nor_repeats_a_call() {
    isolated(|| {
        let root = std::path::Path::new("/sys/fs/cgroup");
        let path = root.join("alpc-freezer");
        if std::fs::create_dir(&path).is_err() {
            note!("no cgroups here");
            return;
        }
        calls_survive("stops/freezer", |client| {
            let write = |file: &str, text: &str| {
                std::fs::write(path.join(file), text).expect(file);
            };
            write("cgroup.procs", &client.pid().to_string());
            for frozen in ["1", "0"] {
                write("cgroup.freeze", frozen);
                eventually(|| {
                    let events = std::fs::read_to_string(path.join("cgroup.events"));
                    events
                        .expect("events")
                        .contains(&format!("frozen {frozen}"))
                });
            }
            wait::settle();
        });
        eventually(|| std::fs::remove_dir(&path).is_ok());
    });
}

#[test]
fn a_tracer_neither_ends_nor_repeats_a_call() {
    isolated(|| {
        calls_survive("stops/tracer", |client| {
            let none = std::ptr::null_mut::<libc::c_void>();
            let trace = |request| {
                // SAFETY: Requests that take no pointers, to a child of ours.
                let result = unsafe { libc::ptrace(request, client.pid(), none, none) };
                assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            };
            trace(libc::PTRACE_SEIZE);
            for _ in 0..3 {
                trace(libc::PTRACE_INTERRUPT);
                let mut status = 0;
                // SAFETY: A live status word; the child stops, it doesn't end.
                let got = unsafe { libc::waitpid(client.pid(), &mut status, libc::__WALL) };
                assert_eq!(got, client.pid());
                assert!(libc::WIFSTOPPED(status));
                trace(libc::PTRACE_CONT);
                client.until_asleep();
            }
            trace(libc::PTRACE_INTERRUPT);
            let mut status = 0;
            // SAFETY: As above.
            unsafe { libc::waitpid(client.pid(), &mut status, libc::__WALL) };
            trace(libc::PTRACE_DETACH);
            wait::settle();
        });
    });
}
