// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a user sees of a program whose `main` returns an error: one line that says what to do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use alpc::{CancelMode, Client, Connector, PortBuilder, Received, Server, Turn};
use alpc_tests::privilege::unshare;
use alpc_tests::{isolated, module, note, Link, Peer, ALICE, ROOT};

const NO_FILE: &str = "[No such file or directory (os error 2)]";
const NOT_PERMITTED: &str = "[Operation not permitted (os error 1)]";
const INVALID: &str = "[Invalid argument (os error 22)]";

fn program(what: &str, name: &str) -> Command {
    let mut program = Command::new("/bin/alpc-fails");
    program.args([what, name]).env_remove("RUST_BACKTRACE");
    program
}

/// What is on standard error when a program has failed.
fn seen_of(child: Child) -> String {
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn seen(what: &str, name: &str) -> String {
    let child = program(what, name).stderr(Stdio::piped()).spawn();
    seen_of(child.expect("spawn"))
}

/// One that waits for a line.
fn waiting(what: &str, name: &str) -> Child {
    let mut program = program(what, name);
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    program.stderr(Stdio::piped()).spawn().expect("spawn")
}

fn go_on(child: &mut Child) {
    let mut input = child.stdin.take().expect("standard input");
    input.write_all(b"\n").expect("write");
}

#[track_caller]
fn assert_seen(seen: &str, line: &str, errno: &str) {
    assert_eq!(seen, format!("Error: {line} {errno}\n"));
}

/// Mounts a file system, for the calling process alone if that has a namespace of its own.
fn mount(kind: &str, place: &str, options: &str) {
    let word = |word| std::ffi::CString::new(word).expect("no NUL");
    let [kind, place, options] = [word(kind), word(place), word(options)];
    // SAFETY: Live strings.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            place.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(result, 0, "mount: {}", std::io::Error::last_os_error());
}

/// An empty /dev, for the calling process and those that it makes.
fn empty_dev() {
    unshare(libc::CLONE_NEWNS);
    mount("tmpfs", "/dev", "mode=0755");
}

/// Major and minor number of the device.
fn numbers() -> (u32, u32) {
    let numbers = fs::read_to_string("/sys/class/misc/alpc/dev").expect("numbers");
    let (major, minor) = numbers.trim().split_once(':').expect("major:minor");
    (major.parse().expect("major"), minor.parse().expect("minor"))
}

/// Runs `body` in a process of its own, which may change what it has.
fn apart(body: impl FnOnce(&Link)) {
    Peer::fork(ROOT, body).wait();
}

#[test]
fn a_device_that_cant_be_opened_is_told_by_its_cause() {
    isolated(|| {
        module::unload_soon();
        let unloaded = seen("connect", "printed");
        module::load().expect("load");
        assert_seen(
            &unloaded,
            "open /dev/alpc: the module isn't loaded: load it (modprobe alpc)",
            NO_FILE,
        );
        apart(|_| {
            empty_dev();
            assert_seen(
                &seen("create", "printed"),
                "open /dev/alpc: the module is loaded, but /dev has no node for it: bind /dev/alpc into this container or sandbox",
                NO_FILE,
            );
            let (major, minor) = numbers();
            // SAFETY: A live string.
            let made = unsafe {
                let mode = libc::S_IFCHR | 0o600;
                libc::mknod(c"/dev/alpc".as_ptr(), mode, libc::makedev(major, minor))
            };
            assert_eq!(made, 0);
            ALICE.become_it();
            assert_seen(
                &seen("open", "printed"),
                "open /dev/alpc: /dev/alpc should be mode 0666, and not on a nodev mount: look at udev's rules",
                "[Permission denied (os error 13)]",
            );
        });
        // The kernel of the debug tier has no such controller.
        let controllers = fs::read_to_string("/proc/cgroups").expect("cgroups");
        let has_devices = controllers.lines().any(|line| line.starts_with("devices"));
        if !has_devices {
            note!("no device cgroup here");
        }
        apart(|_| {
            if !has_devices {
                return;
            }
            let place = Path::new("/tmp/devices");
            fs::create_dir(place).expect("a directory");
            unshare(libc::CLONE_NEWNS);
            mount("cgroup", "/tmp/devices", "devices");
            let group = place.join("printed");
            fs::create_dir(&group).expect("a cgroup");
            let (major, minor) = numbers();
            fs::write(group.join("devices.deny"), format!("c {major}:{minor} rwm")).expect("deny");
            let me = std::process::id().to_string();
            fs::write(group.join("cgroup.procs"), &me).expect("join");
            let seen = seen("connect", "printed");
            fs::write(place.join("cgroup.procs"), &me).expect("leave");
            fs::remove_dir(group).expect("no cgroup");
            assert_seen(
                &seen,
                "open /dev/alpc: the device cgroup of this process doesn't allow it: allow /dev/alpc to this container or service (DeviceAllow=, --device)",
                NOT_PERMITTED,
            );
        });
        assert_seen(
            &seen("use all descriptors", "printed"),
            "open /dev/alpc: this process has too many open descriptors: close some, or raise the limit (ulimit -n)",
            "[Too many open files (os error 24)]",
        );
    });
}

#[test]
fn a_name_is_told_with_what_is_wrong_with_it() {
    isolated(|| {
        let absent = "no port has that name in this IPC namespace: is the service running, and in no other one (container, PrivateIPC=)?";
        for (what, operation) in [("connect", "connect to"), ("open", "open port")] {
            let line = format!("{operation} \"printed/absent\": {absent}");
            assert_seen(&seen(what, "printed/absent"), &line, NO_FILE);
        }
        let server = Server::create("printed/elsewhere").expect("create");
        apart(|_| {
            unshare(libc::CLONE_NEWIPC);
            let line = format!("connect to \"printed/elsewhere\": {absent}");
            assert_seen(&seen("connect", "printed/elsewhere"), &line, NO_FILE);
        });
        assert_seen(
            &seen("create", "printed/elsewhere"),
            "create port \"printed/elsewhere\": another port has that name: is the service running already?",
            "[Address already in use (os error 98)]",
        );
        drop(server);
        assert_seen(
            &seen("create", ""),
            "create port \"\": a name has at least one byte (PortBuilder::anonymous makes a port without a name)",
            INVALID,
        );
        for what in ["create port", "connect to", "open port"] {
            let line = format!("{what} \"/printed\": a name has no empty part: no slash at either end, and no two in a row");
            let what = what.split(' ').next().expect("a word");
            assert_seen(&seen(what, "/printed"), &line, INVALID);
        }
    });
}

/// A server that does `then` with its first request. Everything of it ends with that.
fn serving(name: &str, then: impl FnOnce(&Server, Turn<'_>)) {
    let server = PortBuilder::new(name).create().expect("create");
    let (mut buffer, mut clients) = ([0; 4096], Vec::new());
    loop {
        match server.receive(&mut buffer).expect("receive") {
            Received::Connection(request) => clients.push(request.accept().expect("accept")),
            Received::Request(request) => return then(&server, request.into_turn()),
            Received::Notice(_) => return,
            other => panic!("{other:?}"),
        }
    }
}

fn end_at_once() {
    // SAFETY: Plain numbers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// What a program sees that does this with the port of a server.
fn seen_of_server(what: &str, server: impl FnOnce(&str)) -> (String, Peer) {
    const NAME: &str = "printed/served";
    let server = Peer::spawn(ROOT, |_| server(NAME));
    alpc_tests::eventually(|| Connector::open(NAME).is_ok());
    (seen(what, NAME), server)
}

#[test]
fn what_becomes_of_a_call_is_told_in_a_line() {
    isolated(|| {
        let (refused, server) = seen_of_server("connect", |name| {
            let server = Server::create(name).expect("create");
            let mut buffer = [0; 64];
            let Received::Connection(request) = server.receive(&mut buffer).expect("receive")
            else {
                panic!("a connection request was expected");
            };
            request.refuse(b"").expect("refuse");
        });
        assert_seen(
            &refused,
            "connect to \"printed/served\": the server refused the connection: its answer may say why",
            "[Connection refused (os error 111)]",
        );
        server.wait();
        let (long, server) = seen_of_server("call long", |name| {
            serving(name, |_, _| panic!("a request"))
        });
        assert_seen(
            &long,
            "call: the payload is above the port's maximum: split it, send it by alpc::bulk, or have the server raise PortBuilder::max_message_length",
            "[Message too long (os error 90)]",
        );
        server.wait();
        let (late, server) = seen_of_server("call late", |name| {
            serving(name, |server, turn| {
                server
                    .receive(&mut [0; 64])
                    .map(drop)
                    .expect("the notice of its end");
                drop(turn);
            });
        });
        assert_seen(
            &late,
            "call: the time was up after the message was sent: it may have had its effect",
            "[Connection timed out (os error 110)]",
        );
        server.wait();
    });
}

#[test]
fn a_dead_server_is_told_with_what_it_had_received() {
    isolated(|| {
        let (received, server) = seen_of_server("call", |name| serving(name, |_, _| end_at_once()));
        assert_seen(
            &received,
            "call: the request was received but won't be answered: it may have had its effect",
            "[Connection reset by peer (os error 104)]",
        );
        server.killed();
        let (unreceived, server) = seen_of_server("call", |name| {
            let server = Server::create(name).expect("create");
            let mut buffer = [0; 64];
            let Received::Connection(request) = server.receive(&mut buffer).expect("receive")
            else {
                panic!("a connection request was expected");
            };
            let _port = request.accept().expect("accept");
            assert_eq!(
                alpc_tests::wait::poll_wait(&server, libc::POLLIN),
                libc::POLLIN
            );
            end_at_once();
        });
        assert_seen(
            &unreceived,
            "call: the peer ended the connection: connect anew",
            "[Broken pipe (os error 32)]",
        );
        server.killed();
    });
}

#[test]
fn a_reply_to_what_was_cancelled_is_told_through_a_turn() {
    isolated(|| {
        let mut program = waiting("answer", "printed/answer");
        let mut said = BufReader::new(program.stdout.take().expect("standard output"));
        let mut until = |word: &str| {
            let mut line = String::new();
            said.read_line(&mut line).expect("read");
            assert_eq!(line.trim(), word);
        };
        until("there");
        let client = Client::connect("printed/answer").expect("connect");
        let id = client.send_request(b"?").expect("send");
        until("received");
        client.cancel(id, CancelMode::Always).expect("cancel");
        go_on(&mut program);
        assert_seen(
            &seen_of(program),
            "reply: the request was cancelled: drop what was done for it",
            "[Operation canceled (os error 125)]",
        );
    });
}

#[test]
fn want_of_memory_is_told_in_a_line() {
    isolated(|| {
        let group = Path::new("/sys/fs/cgroup/printed");
        fs::create_dir(group).expect("a cgroup");
        fs::write(group.join("memory.max"), "8M").expect("a limit");
        let builder = PortBuilder::new("printed/full").max_message_length(65536);
        let server = builder.create().expect("create");
        let mut program = waiting("fill", "printed/full");
        let clients: Vec<_> = (0..16)
            .map(|_| match server.receive(&mut [0; 64]).expect("receive") {
                Received::Connection(request) => request.accept().expect("accept"),
                other => panic!("{other:?}"),
            })
            .collect();
        fs::write(group.join("cgroup.procs"), program.id().to_string()).expect("move");
        go_on(&mut program);
        let seen = seen_of(program);
        drop((clients, server));
        fs::remove_dir(group).expect("no cgroup");
        assert_seen(
            &seen,
            "send: no memory within the control group's limit: try again with less",
            "[Cannot allocate memory (os error 12)]",
        );
    });
}
