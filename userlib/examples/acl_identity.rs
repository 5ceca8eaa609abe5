// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may connect, and who is calling. Needs root, to become other users.
//!
//! The port admits user 1000 and nobody else, root included. The server sees
//! which process and user each message comes from; the client makes sure whose
//! port it is before it says a word.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use alpc::{Acl, ConnectBuilder, Flush, Outcome, PortBuilder, Result, Who};

const NAME: &str = "example/identity";

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("client") {
        return call();
    }
    let acl = Acl::new().allow(Who::User(1000));
    let server = PortBuilder::new(NAME).acl(&acl).create()?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            server.serve(|request, reply| {
                let who = request.sender();
                let line = format!(
                    "pid {}, tid {}, uid {}, gid {}",
                    who.pid, who.tid, who.uid, who.gid
                );
                reply.extend_from_slice(line.as_bytes());
            })
        });
        for uid in [1000, 1001, 0] {
            let program = std::env::current_exe().expect("this program has a path");
            let status = Command::new(program)
                .arg("client")
                .uid(uid)
                .gid(uid)
                .status();
            match status {
                Ok(status) => assert!(status.success(), "client of user {uid}: {status}"),
                Err(error) => println!("can't become user {uid}: {error}"),
            }
        }
        server.disconnect(Flush::Everything)?;
        serving.join().expect("the server panicked")
    })
}

fn call() -> Result<()> {
    let client = match ConnectBuilder::new(NAME).require_uid(0).connect() {
        Ok(client) => client,
        Err(error) if error.outcome() == Some(Outcome::AccessDenied) => {
            println!("refused: {error}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut buffer = [0; 256];
    let reply = client.call(b"who am I?", &mut buffer)?;
    println!("admitted: I am {}", String::from_utf8_lossy(reply.data()));
    Ok(())
}
