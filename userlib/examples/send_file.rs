// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sends a file of any size, and gets it back in capitals.
//!
//! `send_file FILE`, or without an argument this program's own source.

use std::collections::HashMap;
use std::thread;

use alpc::bulk::{Caller, Outbox, Received, Receiver};
use alpc::{Accept, ConnectBuilder, Flush, NoticeKind, Options, PortBuilder, Result, Server};

const NAME: &str = "example/send-file";

fn main() -> Result<()> {
    let contents = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read(path).expect("the file can be read"),
        None => include_bytes!("send_file.rs").repeat(1000),
    };
    let server = PortBuilder::new(NAME).take_views().take_memory().create()?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&server));
        let sent = send(&contents);
        server.disconnect(Flush::Everything)?;
        serving.join().expect("the server panicked")?;
        sent
    })
}

fn send(contents: &[u8]) -> Result<()> {
    // The reply may be as long.
    let client = ConnectBuilder::new(NAME).take_views().connect()?;
    let reply = Caller::new(&client)?.call(contents)?;
    println!("client: {} bytes came back, {:?}", reply.len(), reply.way());
    assert!(reply.eq_ignore_ascii_case(contents));
    Ok(())
}

fn serve(server: &Server) -> Result<()> {
    let mut receiver = Receiver::new(server)?;
    let mut outbox = Outbox::new(server)?;
    let mut clients = HashMap::new();
    for context in 1.. {
        match receiver.receive() {
            Ok(Received::Request(message, turn)) => {
                let (length, way) = (message.bytes.len(), message.bytes.way());
                println!(
                    "server: {length} bytes from {}, {way:?}",
                    message.sender.pid
                );
                let reply = message.bytes.to_ascii_uppercase();
                let back = message.bytes.give_back();
                let options = Options::new().give_back(&back);
                if let Err(failed) = outbox.reply_with(turn, &reply, options) {
                    println!("server: {failed}");
                }
            }
            // Its memory did not come in time: the turn is dropped, and the call fails.
            Ok(Received::Unread(unread, _)) => println!("server: {}", unread.error),
            // A client that has gone before it was accepted is no reason to end.
            Ok(Received::Other(alpc::Received::Connection(request))) => {
                if let Ok(port) = request.accept_with(Accept::new().context(context)) {
                    clients.insert(context, port);
                }
            }
            Ok(Received::Other(alpc::Received::Notice(notice))) => {
                if notice.kind() == NoticeKind::PortClosed {
                    clients.remove(&notice.port_context());
                }
            }
            Ok(_) => {}
            Err(error) if error.is_gone() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
