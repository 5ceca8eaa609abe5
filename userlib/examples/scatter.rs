// SPDX-License-Identifier: MIT OR Apache-2.0

//! A call that lends slices of its own memory: the server reads a key from one,
//! and writes a record to two others, where the caller wants its parts to be.

use std::thread;
use std::time::Duration;

use alpc::{
    Answer, Client, Failure, Flush, Offer, Options, PortBuilder, Request, Result, ServerLoop,
    Service,
};

const NAME: &str = "example/scatter";

/// How long one access waits for a caller's memory. A caller can lend memory that never comes, and
/// the server has one thread for all callers.
const PATIENCE: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let server = PortBuilder::new(NAME).take_memory().create()?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let options = Options::new().ask_memory();
            ServerLoop::new(&server).run_with(&mut Records, options)
        });
        let called = look_up();
        server.disconnect(Flush::Everything)?;
        serving.join().expect("the server panicked")?;
        called
    })
}

fn look_up() -> Result<()> {
    let client = Client::connect(NAME)?;
    let mut head = [0; 8];
    let mut body = vec![0; 1 << 20];
    let slices = Offer::new()
        .readable(b"the key")
        .writable(&mut head)
        .writable(&mut body);
    let mut answer = [0; 16];
    let reply = client.call_with_memory(b"look up", &slices, &mut answer, Options::new())?;
    println!("client: {}", String::from_utf8_lossy(reply.data()));
    // The server can't reach them any more.
    let length = u64::from_le_bytes(head) as usize;
    println!("client: {length} bytes of {:?}", char::from(body[0]));
    assert!(body[..length].iter().all(|&byte| byte == b'k'));
    Ok(())
}

struct Records;

impl Service for Records {
    fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
        // Who lends something else, is too slow or goes away is no reason to end.
        let text = answer(request).unwrap_or_else(|error| error.to_string());
        reply.extend_from_slice(text.as_bytes());
        Answer::Reply
    }

    fn failed(&mut self, failure: Failure<'_>) {
        println!("server: {failure}");
    }
}

fn answer(request: &Request<'_, '_>) -> Result<String> {
    let memory = request.memory();
    let slices = [0, 1, 2].map(|index| memory.get(index));
    let [Some(key), Some(head), Some(body)] = slices else {
        return Ok("three slices".into());
    };
    let mut text = [0; 16];
    let length = text.len().min(key.len() as usize);
    // Once: the caller could change it until a second time.
    key.read_exact_at(0, &mut text[..length], PATIENCE)?;
    println!("server: {:?}", String::from_utf8_lossy(&text[..length]));

    let record = vec![b'k'; 300_000.min(body.len() as usize)];
    body.write_all_at(0, &record, PATIENCE)?;
    head.write_all_at(0, &(record.len() as u64).to_le_bytes(), PATIENCE)?;
    Ok("found".into())
}
