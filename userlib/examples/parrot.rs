// SPDX-License-Identifier: MIT OR Apache-2.0

//! The smallest server and client there is.
//!
//! `parrot server` serves until it is killed, `parrot client WORD...` calls it.
//! Without arguments both run in one process.

use std::thread;

use alpc::{Acl, Client, Flush, PortBuilder, Result, Server};

const NAME: &str = "example/parrot";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("server") => serve(&listen()?),
        Some("client") => call(&arguments[1..]),
        _ => {
            let server = listen()?;
            thread::scope(|scope| {
                let serving = scope.spawn(|| serve(&server));
                let called = call(&["hello".into(), "world".into()]);
                // Ends the loop over there.
                server.disconnect(Flush::Everything)?;
                serving.join().expect("the server panicked")?;
                called
            })
        }
    }
}

fn listen() -> Result<Server> {
    PortBuilder::new(NAME).acl(&Acl::everyone()).create()
}

fn serve(server: &Server) -> Result<()> {
    server.serve(|request, reply| {
        let sender = request.sender();
        println!("server: process {} of user {}", sender.pid, sender.uid);
        reply.extend_from_slice(request.data());
    })
}

fn call(words: &[String]) -> Result<()> {
    let client = Client::connect(NAME)?;
    let mut buffer = [0; 4096];
    for word in words {
        let reply = client.call(word.as_bytes(), &mut buffer)?;
        println!("client: {}", String::from_utf8_lossy(reply.data()));
    }
    Ok(())
}
