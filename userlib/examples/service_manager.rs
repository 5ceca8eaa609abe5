// SPDX-License-Identifier: MIT OR Apache-2.0

//! A service manager, which opens its clients' files as its clients, not as root.
//!
//! A service is started as the user who asks for it, with a file of that user's as its input. Who
//! asks before it is registered waits until it is, and after a minute, or as many seconds as are
//! said, takes back what it has allowed. With the module loaded, `cargo build --example
//! service_manager`, and then in `target/debug/examples`:
//!
//! ```sh
//! # User 1000 may register services, 1002 may only look.
//! sudo ./service_manager serve 1000 1002 &
//! sudo -u '#1000' ./service_manager register greeter /bin/cat
//! sudo -u '#1001' ./service_manager start greeter /home/me/greeting
//! sudo -u '#1002' ./service_manager status
//! sudo -u '#1001' ./service_manager start other /home/me/greeting 5
//! ```

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{exit, Child, Command};
use std::time::Duration;

use alpc::{
    Accept, Acl, Client, ConnectBuilder, ConnectionRequest, NoticeKind, Options, PortBuilder,
    Received, Request, Rights, Security, Sender, ServerPort, Timeout, Turn, UserNamespace, Who,
};

/// Only the privileged make ports whose names begin with `system/`.
const NAME: &str = "system/service-manager";
const REFUSED: &str = "refused: ";

/// Errors are for people to read, here and at the other side.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", operator, ref lookers @ ..] => serve(operator, lookers),
        ["register", _, _, ..] => ask(&words.join(" ")),
        ["start", service, file] => start(service, file, "60"),
        ["start", service, file, seconds] => start(service, file, seconds),
        ["status"] => status(),
        _ => Err("serve, register, start or status? See the top of the source.".into()),
    };
    if let Err(error) = done {
        println!("{error}");
        exit(1);
    }
}

/// Says who it is, and nothing more, and only to root's port.
fn connect() -> Result<Client> {
    let builder = ConnectBuilder::new(NAME).require_uid(0);
    Ok(builder.security(Security::IDENTIFY).connect()?)
}

fn show(answer: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(answer);
    if text.starts_with(REFUSED) {
        return Err(text.into());
    }
    println!("{text}");
    Ok(())
}

fn ask(request: &str) -> Result<()> {
    let mut buffer = [0; 4096];
    show(connect()?.call(request.as_bytes(), &mut buffer)?.data())
}

/// One request for the list, and one for each service in it.
fn status() -> Result<()> {
    let client = connect()?;
    let (mut list, mut buffer) = ([0; 4096], [0; 4096]);
    let list = client.call(b"list", &mut list)?;
    for name in String::from_utf8_lossy(list.data()).split_whitespace() {
        let request = format!("status {name}");
        show(client.call(request.as_bytes(), &mut buffer)?.data())?;
    }
    Ok(())
}

/// Lets the manager act as this user: for this request only, and while it is wanted.
fn start(service: &str, file: &str, seconds: &str) -> Result<()> {
    let mut patience = Timeout::Relative(Duration::from_secs(seconds.parse()?));
    let client = connect()?;
    let request = format!("start {service} {file}");
    let context = client.create_security(Security::IMPERSONATE)?;
    let options = Options::new().security(&context);
    client.send_request_with(request.as_bytes(), options)?;
    let mut buffer = [0; 4096];
    loop {
        match client.receive_with(&mut buffer, patience) {
            Ok(Received::Reply(reply)) => return show(reply.data()),
            Ok(_) => return Err("the manager doesn't answer".into()),
            Err(error) if error.is_timeout() => {
                // The manager has the request still, but can't open the file any more.
                context.revoke()?;
                println!("still not registered: I revoke what I have allowed");
                patience = Timeout::Infinite;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn serve(operator: &str, lookers: &[&str]) -> Result<()> {
    let mut acl = Acl::new();
    for looker in lookers {
        acl = acl.withhold(Who::User(looker.parse()?), Rights::IMPERSONATE);
    }
    // No containers: their users may have any ids they like.
    acl = acl.grant(Who::UserNamespace, Rights::CONNECT | Rights::IMPERSONATE);
    let server = PortBuilder::new(NAME).acl(&acl).take_security().create()?;
    println!("listening on {NAME}");

    let mut manager = Manager {
        operator: operator.parse()?,
        connections: HashMap::new(),
        operators: HashMap::new(),
        services: BTreeMap::new(),
        waiting: Vec::new(),
    };
    let mut buffer = [0; 4096];
    for context in 1.. {
        match server.receive_with(&mut buffer, Options::new().ask_token())? {
            Received::Connection(request) => manager.accept(request, context),
            Received::Request(request) => manager.request(request),
            Received::Notice(notice) if notice.kind() == NoticeKind::PortClosed => {
                manager.connections.remove(&notice.port_context());
            }
            Received::Notice(notice) => {
                // Whoever waited has gone, or doesn't want it any more.
                let over = notice.conversation();
                let kept = |start: &Start<'_>| Some(start.turn.id().conversation) != over;
                manager.waiting.retain(kept);
            }
            _ => {}
        }
    }
    Ok(())
}

struct Service {
    command: Vec<String>,
    running: Option<(Child, u32)>,
}

/// A request to start a service that isn't registered.
struct Start<'s> {
    turn: Turn<'s>,
    sender: Sender,
    service: String,
    file: String,
}

struct Manager<'s> {
    operator: u32,
    /// A client's end lasts as long as its connection.
    connections: HashMap<u64, ServerPort>,
    /// Whether a sender may register services, by its token: which is nobody else's, and another
    /// one as soon as its credentials change.
    operators: HashMap<u64, bool>,
    services: BTreeMap<String, Service>,
    waiting: Vec<Start<'s>>,
}

impl<'s> Manager<'s> {
    fn accept(&mut self, request: ConnectionRequest<'_, '_>, context: u64) {
        // An error means that the client has gone again.
        if let Ok(port) = request.accept_with(Accept::new().context(context)) {
            self.connections.insert(context, port);
        }
    }

    fn request(&mut self, request: Request<'s, '_>) {
        let sender = request.sender();
        let operator = self.is_operator(&request);
        let text = String::from_utf8_lossy(request.data()).into_owned();
        let turn = request.into_turn();
        println!("uid {}: {text:?}", sender.uid);
        let words: Vec<&str> = text.split_whitespace().collect();
        let result = match (words.as_slice(), operator) {
            (_, Err(error)) => Err(error),
            (["start", service, file], _) => {
                let start = Start {
                    turn,
                    sender,
                    service: service.to_string(),
                    file: file.to_string(),
                };
                return self.launch_or_wait(start);
            }
            (["register", name, command @ ..], Ok(true)) => self.register(name, command),
            (["register", ..], _) => Err("only root and the operator may register".into()),
            (["list"], _) => Ok(Vec::from_iter(self.services.keys().cloned()).join(" ")),
            (["status", service], _) => self.status(service),
            _ => Err("that is no request".into()),
        };
        answer(turn, result);
        // What somebody waits for may have been registered.
        for start in std::mem::take(&mut self.waiting) {
            self.launch_or_wait(start);
        }
    }

    fn is_operator(&mut self, request: &Request<'_, '_>) -> Result<bool> {
        let token = request.token().ok_or("a message without a token")?;
        if let Some(operator) = self.operators.get(&token.credentials) {
            return Ok(*operator);
        }
        let who = request.identity()?;
        if who.namespace != UserNamespace::Same {
            return Err("you are not of this user namespace".into());
        }
        let user = who.user.effective;
        let operator = user == 0 || user == self.operator;
        println!("looked up uid {user}: operator {operator}");
        if self.operators.len() >= 1000 {
            self.operators.clear();
        }
        self.operators.insert(token.credentials, operator);
        Ok(operator)
    }

    fn register(&mut self, name: &str, command: &[&str]) -> Result<String> {
        if command.is_empty() || self.services.contains_key(name) {
            return Err("no command, or a name that is taken".into());
        }
        let command = command.iter().map(|word| word.to_string()).collect();
        let running = None;
        let service = Service { command, running };
        self.services.insert(name.to_owned(), service);
        Ok(format!("{name} is registered"))
    }

    fn status(&mut self, name: &str) -> Result<String> {
        let service = self.services.get_mut(name).ok_or("no such service")?;
        Ok(match &mut service.running {
            None => format!("{name}: not started"),
            Some((child, uid)) => match child.try_wait()? {
                None => format!("{name}: runs as uid {uid}, pid {}", child.id()),
                Some(status) => format!("{name}: ran as uid {uid}, {status}"),
            },
        })
    }

    fn launch_or_wait(&mut self, start: Start<'s>) {
        // How many requests a user can have us hold is limited by the kernel.
        if !self.services.contains_key(&start.service) {
            return self.waiting.push(start);
        }
        let result = self.launch(&start);
        answer(start.turn, result);
    }

    fn launch(&mut self, start: &Start<'_>) -> Result<String> {
        let input = open_as_caller(&start.turn, &start.file)?;
        let name = &start.service;
        let service = self.services.get_mut(name).ok_or("no such service")?;
        if let Some((child, _)) = &mut service.running {
            if child.try_wait()?.is_none() {
                return Err(format!("{name} runs already").into());
            }
        }
        let Sender { uid, gid, .. } = start.sender;
        let mut command = Command::new(&service.command[0]);
        command.args(&service.command[1..]).stdin(input);
        service.running = Some((command.uid(uid).gid(gid).spawn()?, uid));
        Ok(format!("{name} is started"))
    }
}

/// Opens a client's file: whether it may is for the file system to say.
fn open_as_caller(turn: &Turn<'_>, path: &str) -> Result<File> {
    if !path.starts_with('/') {
        return Err("the file's name must be absolute".into());
    }
    let mut options = File::options();
    // A pipe would keep the manager waiting, and a terminal could become its own.
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = turn.as_caller(|| options.open(path))??;
    let regular = file.metadata()?.is_file();
    regular
        .then_some(file)
        .ok_or_else(|| "that is no regular file".into())
}

fn answer(turn: Turn<'_>, result: Result<String>) {
    let text = result.unwrap_or_else(|error| format!("{REFUSED}{error}"));
    if let Err(gone) = turn.reply(text.as_bytes()) {
        println!("nobody to answer: {gone}");
    }
}
