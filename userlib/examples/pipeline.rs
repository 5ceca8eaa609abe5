// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests without waiting: a client keeps several under way and takes the
//! replies as they come.

use std::collections::HashMap;
use std::thread;

use alpc::{Answer, Client, Flush, Received, Result, Server};

const NAME: &str = "example/pipeline";
const REQUESTS: u64 = 100;
/// How many are under way at most. The rest of the share of the queue is left
/// to others.
const WINDOW: usize = 16;

fn main() -> Result<()> {
    let server = Server::create(NAME)?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            server.serve(|request, reply| {
                let Ok(number) = request.data().try_into().map(u64::from_le_bytes) else {
                    return Answer::Discard;
                };
                let square = number.wrapping_mul(number);
                reply.extend_from_slice(&square.to_le_bytes());
                Answer::Reply
            })
        });
        let sum = sum_of_squares();
        server.disconnect(Flush::Everything)?;
        serving.join().expect("the server panicked")?;
        let sum = sum?;
        println!("the squares up to {REQUESTS} make {sum}");
        assert_eq!(sum, REQUESTS * (REQUESTS + 1) * (2 * REQUESTS + 1) / 6);
        Ok(())
    })
}

fn sum_of_squares() -> Result<u64> {
    let client = Client::connect(NAME)?;
    let mut under_way = HashMap::new();
    let mut numbers = 1..=REQUESTS;
    let mut buffer = [0; 8];
    let mut sum = 0;
    loop {
        while under_way.len() < WINDOW {
            let Some(number) = numbers.next() else { break };
            let id = client.send_request(&number.to_le_bytes())?;
            under_way.insert(id, number);
        }
        if under_way.is_empty() {
            return Ok(sum);
        }
        match client.receive(&mut buffer)? {
            Received::Reply(reply) => {
                let id = reply.conversation().expect("a reply has a conversation");
                let asked = under_way.remove(&id).expect("nobody else asks here");
                let square = number(reply.data());
                assert_eq!(square, asked * asked);
                sum += square;
            }
            other => println!("unexpected: {other:?}"),
        }
    }
}

fn number(data: &[u8]) -> u64 {
    u64::from_le_bytes(data.try_into().expect("eight bytes"))
}
