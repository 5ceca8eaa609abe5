// SPDX-License-Identifier: MIT OR Apache-2.0

//! alpc-fails WHAT NAME - does one thing with the port NAME, and returns its error from `main`.

use std::error::Error;
use std::io;
use std::time::Duration;

use alpc::{Client, Flush, PortBuilder, Received, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, name] = &arguments[..] else {
        return Err("alpc-fails WHAT NAME".into());
    };
    match &what[..] {
        "create" => Server::create(name).map(drop)?,
        "open" => alpc::Connector::open(name).map(drop)?,
        "connect" => Client::connect(name).map(drop)?,
        "call" => Client::connect(name)?
            .call_vec(b"?", &mut Vec::new())
            .map(drop)?,
        "call late" => Client::connect(name)?
            .call_with(b"?", &mut Vec::new(), Duration::from_millis(10))
            .map(drop)?,
        "call long" => Client::connect(name)?
            .call_vec(&[0; 5000], &mut Vec::new())
            .map(drop)?,
        "answer" => answer(name)?,
        "fill" => fill(name)?,
        "use all descriptors" => {
            use_all_descriptors()?;
            Client::connect(name).map(drop)?;
        }
        what => return Err(format!("{what} is nothing to do").into()),
    }
    Ok(())
}

/// Says when it has received a request, and answers it after a line of input.
fn answer(name: &str) -> Result<(), Box<dyn Error>> {
    let server = PortBuilder::new(name).create()?;
    let (mut buffer, mut clients) = ([0; 64], Vec::new());
    println!("there");
    loop {
        match server.receive(&mut buffer)? {
            Received::Connection(request) => clients.push(request.accept()?),
            Received::Request(request) => {
                println!("received");
                io::stdin().read_line(&mut String::new())?;
                request.into_turn().reply(b"too late")?;
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
}

/// Sends what nobody receives until it is not to be had any more, after a line of input.
fn fill(name: &str) -> Result<(), Box<dyn Error>> {
    let clients: Vec<Client> = (0..16)
        .map(|_| Client::connect(name))
        .collect::<alpc::Result<_>>()?;
    io::stdin().read_line(&mut String::new())?;
    let filled = clients
        .iter()
        .try_for_each(|client| (0..16).try_for_each(|_| client.send(&[1; 65536])));
    // Words take memory too.
    for client in &clients {
        client.disconnect(Flush::Everything)?;
    }
    Ok(filled?)
}

/// Leaves room for none but the three that there are.
fn use_all_descriptors() -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 3,
        rlim_max: 3,
    };
    // SAFETY: A live limit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
