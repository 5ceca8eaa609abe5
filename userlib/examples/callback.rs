// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server that asks back before it answers, and a message that it sends of
//! its own accord.

use std::thread;
use std::time::{Duration, Instant};

use alpc::{
    Answer, Client, Flush, Message, Notice, Options, Received, Request, Result, Server, ServerLoop,
    Service,
};

const NAME: &str = "example/callback";

/// How long a client may take for all that it is asked because of one request. It need not answer
/// at all, or may answer each time late, and the server has one thread for all clients.
const PATIENCE: Duration = Duration::from_millis(300);

/// Deletes files, in earnest if it were one, after asking about each.
struct Deleter;

impl Service for Deleter {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        let mut deleted = 0;
        let names = request.data();
        let until = Instant::now() + PATIENCE;
        for name in names.split(|&byte| byte == b' ') {
            let mut answer = [0; 16];
            let left = until.saturating_duration_since(Instant::now());
            match request.turn_mut().call_with(name, &mut answer, left) {
                Ok(answer) if answer.data() == b"yes" => deleted += 1,
                Ok(_) => {}
                Err(error) => {
                    println!("server: {error}");
                    return Answer::Discard;
                }
            }
        }
        reply.extend_from_slice(format!("{deleted} deleted").as_bytes());
        Answer::Reply
    }

    fn datagram(&mut self, message: &Message<'_>) {
        println!("server: client {} is here", message.port_context());
    }

    fn notice(&mut self, notice: &Notice) {
        println!("server: {:?}, {}", notice.kind(), notice.port_context());
    }
}

fn main() -> Result<()> {
    let server = Server::create(NAME)?;
    let serving = ServerLoop::new(&server);
    thread::scope(|scope| {
        let thread = scope.spawn(|| serving.run(&mut Deleter));
        let result = call(&serving);
        server.disconnect(Flush::Everything)?;
        thread.join().expect("the server panicked")?;
        result
    })
}

fn call(serving: &ServerLoop<'_>) -> Result<()> {
    let client = Client::connect(NAME)?;
    client.send(b"hello")?;

    let mut buffer = [0; 256];
    let reply = client.call_with_callbacks(
        b"draft notes letter",
        &mut buffer,
        Options::new(),
        |callback, answer| {
            let name = String::from_utf8_lossy(callback.data()).into_owned();
            let yes = name != "letter";
            println!("client: delete {name}? {yes}");
            answer.extend_from_slice(if yes { b"yes" } else { b"no" });
        },
    )?;
    println!("client: {}", String::from_utf8_lossy(reply.data()));
    assert_eq!(reply.data(), b"2 deleted");

    // The first client of a loop has context 1.
    let port = serving.port(1).expect("the client is connected");
    port.send(b"the disk is nearly full")?;
    match client.receive(&mut buffer)? {
        Received::Datagram(message) => {
            println!("client: told {:?}", String::from_utf8_lossy(message.data()));
        }
        other => println!("client: unexpected {other:?}"),
    }
    Ok(())
}
