// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server and the client in C that somebody begins with: with each other, and each with
//! a peer that means no good.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use alpc_tests::raw::*;
use alpc_tests::*;

const SERVER: &[u8] = include_bytes!(env!("ALPC_C_EXAMPLE_SERVER"));
const CLIENT: &[u8] = include_bytes!(env!("ALPC_C_EXAMPLE_CLIENT"));

/// What one of them is called, and how it is begun.
fn command(program: &[u8], path: &str, user: User) -> Command {
    fs::write(path, program).expect(path);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect(path);
    let mut command = Command::new(path);
    command
        .uid(user.uid)
        .gid(user.gid)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn client(user: User, name: &str, text: &str) -> Child {
    let mut command = command(CLIENT, "/tmp/alpc-c-example-client", user);
    command.args([name, text]).spawn().expect("client")
}

/// Its exit status and all that it said.
fn end(client: Child) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = client.wait_with_output().expect("wait");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout) + &text(stderr))
}

/// A server of the name, which has few descriptors. It ends with the test.
struct Server(Child);

impl Server {
    fn start(name: &str) -> Self {
        let mut command = command(SERVER, "/tmp/alpc-c-example-server", ALICE);
        // SAFETY: Both calls are async-signal-safe, and the structure is valid.
        unsafe {
            command.pre_exec(|| {
                let few = libc::rlimit {
                    rlim_cur: 24,
                    rlim_max: 24,
                };
                libc::setrlimit(libc::RLIMIT_NOFILE, &few);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.arg(name).spawn().expect("server");
        let mut line = String::new();
        let said = child.stdout.take().expect("stdout");
        BufReader::new(said).read_line(&mut line).expect("a line");
        assert_eq!(line, format!("{name} is served\n"));
        Server(child)
    }

    fn descriptors(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.0.id());
        fs::read_dir(dir).expect("a live server").count()
    }

    fn serves(&self, name: &str) {
        let (status, said) = end(client(BOB, name, "once more"));
        let pid = self.0.id();
        let expected = format!("connected to process {pid} of user 1000\nONCE MORE\n");
        assert_eq!((status, said), (Some(0), expected));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_in_c_answers_the_client_in_c() {
    isolated(|| {
        let server = Server::start("c/shout");
        server.serves("c/shout");
        let (status, said) = end(client(BOB, "c/nobody", "x"));
        assert_eq!(status, Some(1));
        assert!(said.contains("(outcome 21)"), "{said}");
    });
}

#[test]
fn the_server_in_c_outlives_what_clients_do_to_it() {
    isolated(|| {
        const NAME: &str = "c/tough";
        let server = Server::start(NAME);
        let before = server.descriptors();

        // More connections than it has descriptors, held; then as many one after the other.
        let holder = Peer::spawn(MALLORY, |link| {
            let mut held = Vec::new();
            while let Ok(connected) = Connect::to(NAME).run() {
                held.push(connected.port);
                assert!(held.len() < 1000, "nobody refuses");
            }
            assert!(!held.is_empty());
            link.sync();
            // Whoever waits is still answered.
            let answer = held[0].request(b"held").expect("a reply");
            assert_eq!(answer.data, b"HELD");
            link.sync();
        });
        holder.sync();
        assert_eq!(server.descriptors(), 24);
        holder.sync();
        holder.wait();
        wait::eventually(|| server.descriptors() == before);
        Peer::spawn(MALLORY, |_| {
            for _ in 0..100 {
                let connected = Connect::to(NAME).run().expect("connect");
                connected
                    .port
                    .one_way(b"nothing to say to that")
                    .expect("send");
            }
        })
        .wait();
        server.serves(NAME);

        // Requests whose answers nobody reads, of any length that the port takes, up to the end
        // of the share; and requests that are cancelled.
        let asker = Peer::spawn(MALLORY, |link| {
            let port = Connect::to(NAME).run().expect("connect").port;
            for round in 0.. {
                let asked = Transfer::new()
                    .flags(ALPC_SEND)
                    .send(&vec![b'a'; [0, 1, 4096][round % 3]])
                    .timeout(0)
                    .run(&port);
                if asked.is_err() {
                    break;
                }
                assert!(round < 100_000, "there is no limit");
            }
            let other = Connect::to(NAME).run().expect("connect").port;
            for _ in 0..50 {
                let id = other.post(b"never mind").expect("send");
                let _ = other.cancel(id, 0);
            }
            link.sync();
            link.take();
        });
        asker.sync();
        server.serves(NAME);
        asker.kill();

        // Ends in the middle of a call.
        for _ in 0..20 {
            let caller = Peer::spawn(MALLORY, |link| {
                let port = Connect::to(NAME).run().expect("connect").port;
                link.sync();
                loop {
                    port.request(b"killed in here").expect("a reply");
                }
            });
            caller.sync();
            caller.kill();
        }
        server.serves(NAME);
        wait::eventually(|| server.descriptors() == before);
    });
}

#[test]
fn the_client_in_c_ends_whatever_the_server_does() {
    isolated(|| {
        const NAME: &str = "c/nasty";
        let port = Create::named(NAME).open().run().expect("create");
        let called = |text: &str| {
            let client = client(BOB, NAME, text);
            let request = port.receive().expect("receive");
            let server = Accept::new(request.id).run(&port).expect("accept");
            let request = port.receive().expect("receive");
            assert_eq!(request.data, text.as_bytes());
            (client, server, request)
        };
        let gone = || assert_eq!(port.receive().expect("receive").kind, ALPC_TYPE_PORT_CLOSED);

        // An answer that would do something to a terminal.
        let (client, server, request) = called("one");
        port.reply(&request, b"\x1b]0;mine\x07\n").expect("reply");
        let (status, said) = end(client);
        assert_eq!(status, Some(0));
        assert!(said.ends_with("\n?]0;mine??\n"), "{said:?}");
        drop(server);
        gone();

        // A question instead of an answer.
        let (client, server, request) = called("two");
        let back = port.callback(&request, b"why?");
        assert_eq!(back.err(), Some(fail::LOST));
        assert_eq!(end(client).0, Some(1));
        drop(server);

        // None at all.
        let client = self::client(BOB, NAME, "three");
        wait::eventually(|| match port.receive().expect("receive").kind {
            ALPC_TYPE_CONNECTION_REQUEST => true,
            ALPC_TYPE_PORT_CLOSED => false,
            kind => panic!("a message of type {kind}"),
        });
        let (status, said) = end(client);
        assert_eq!(status, Some(1));
        assert!(said.contains("timed out"), "{said}");
    });
}
