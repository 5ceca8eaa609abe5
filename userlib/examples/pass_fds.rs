// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors with messages: a client has the server write to its file, and is
//! given another one in return.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::thread;

use alpc::{
    Accept, Claimed, ConnectBuilder, Flush, HandleKinds, NoticeKind, Options, PortBuilder,
    Received, Request, Result, Server,
};

const NAME: &str = "example/pass-fds";

fn main() -> Result<()> {
    let server = PortBuilder::new(NAME)
        .take_handles(HandleKinds::FILE)
        .create()?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&server));
        let called = call();
        server.disconnect(Flush::Everything)?;
        serving.join().expect("the server panicked")?;
        called
    })
}

fn call() -> Result<()> {
    let client = ConnectBuilder::new(NAME)
        .take_handles(HandleKinds::FILE)
        .connect()?;
    let mut file = scratch_file().expect("a file");
    let handles = [file.as_fd()];
    let claimed = Claimed::with_room(1);
    let options = Options::new().handles(&handles).claim_into(&claimed);
    client.call_with(b"write here", &mut [0; 64], options)?;

    let mut text = String::new();
    file.rewind().expect("a file can be rewound");
    file.read_to_string(&mut text).expect("it can be read");
    println!("client: {text:?} is in the file");
    for fd in claimed.take() {
        let length = File::from(fd).metadata().expect("metadata").len();
        println!("client: and another of {length} bytes came with the reply");
    }
    assert_eq!(text, "hello");
    Ok(())
}

/// A file without a name.
fn scratch_file() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("pass-fds-{}", std::process::id()));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    std::fs::remove_file(&path)?;
    file
}

fn serve(server: &Server) -> Result<()> {
    // Once and for all: clients may use up the descriptors that there are.
    let program = File::open("/proc/self/exe").expect("this program is a file");
    let mut buffer = [0; 4096];
    let mut clients = HashMap::new();
    for context in 1.. {
        let options = Options::new().ask_handles();
        match server.receive_with(&mut buffer, options) {
            Ok(Received::Request(request)) => {
                // Who sends what can't be claimed, or has gone, is no reason to end.
                if let Err(error) = answer(request, &program) {
                    println!("server: {error}");
                }
            }
            Ok(Received::Connection(request)) => {
                if let Ok(port) = request.accept_with(Accept::new().context(context)) {
                    clients.insert(context, port);
                }
            }
            Ok(Received::Notice(notice)) if notice.kind() == NoticeKind::PortClosed => {
                clients.remove(&notice.port_context());
            }
            Ok(_) => {}
            Err(error) if error.is_gone() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(request: Request<'_, '_>, program: &File) -> Result<()> {
    println!("server: {:?}", request.handles().kinds());
    for fd in request.claim_all()? {
        // It is the client's concern what can be written to it.
        let _ = File::from(fd).write_all(b"hello");
    }
    let handles = [program.as_fd()];
    let options = Options::new().handles(&handles);
    request.into_turn().reply_with(b"done", options)?;
    Ok(())
}
