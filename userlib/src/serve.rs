// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server loop.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::accept::{Accept, ConnectionRequest};
use crate::endpoint::ServerPort;
use crate::error::{Error, Result};
use crate::failure::{Cause, Failure, Origin};
use crate::handles::Claimed;
use crate::message::{NoticeKind, Received, Request};
use crate::next::Next;
use crate::options::{Options, Timeout};
use crate::server::Server;
use crate::service::{Admission, Answer, Service};
use crate::stopper::Stopper;
use crate::turn::Turn;
use crate::turn_error::TurnError;
use crate::views::Inbox;

/// How often a thread that waits looks whether it is to end.
const LOOK: Duration = Duration::from_secs(1);

/// How long a thread leaves alone what it couldn't receive for want of memory.
const PAUSE: Duration = Duration::from_millis(10);

/// Receives and answers, one ioctl per request, and keeps the server ports of
/// the clients that it accepted.
///
/// It gives each connection a port context of its own, counted up from 1.
/// Several threads may [`run`](ServerLoop::run) one loop at once, each with a
/// service of its own; [`run_threads`](ServerLoop::run_threads) has them do so.
#[derive(Debug)]
pub struct ServerLoop<'s> {
    server: &'s Server,
    connections: Mutex<HashMap<u64, ServerPort>>,
    next_context: AtomicU64,
    stopper: Stopper,
    /// Whether a thread that waits has to look for the stopper.
    stoppable: bool,
    abort_on_panic: bool,
}

impl<'s> ServerLoop<'s> {
    /// A loop without connections. Dropping it disconnects those it has.
    pub fn new(server: &'s Server) -> Self {
        Self {
            server,
            connections: Mutex::default(),
            next_context: AtomicU64::new(1),
            stopper: Stopper::default(),
            stoppable: true,
            abort_on_panic: false,
        }
    }

    /// A loop of one thread that only its service stops.
    pub(crate) fn of_one_thread(server: &'s Server) -> Self {
        Self {
            stoppable: false,
            ..Self::new(server)
        }
    }

    /// Ends the process where the service panics, instead of going on: for services that can't
    /// be used any more after a method was left half done.
    #[must_use]
    pub fn abort_on_panic(self) -> Self {
        Self {
            abort_on_panic: true,
            ..self
        }
    }

    /// What ends the loop from another thread or a signal handler.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The server's end of the connection with this context, to send something
    /// of the server's own accord.
    pub fn port(&self, context: u64) -> Option<ServerPort> {
        self.connections().get(&context).cloned()
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, ServerPort>> {
        // The map is whole between any two of its calls.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the service says [`Answer::Stop`], a [`Stopper`] stops the loop, the port is
    /// disconnected, from whichever thread, or nobody can reach it any more
    /// ([`Outcome::NoClients`](crate::Outcome::NoClients)): a service that was made for some clients ends
    /// with the last of them. To go on without any, keep a [`Connector`].
    ///
    /// [`Connector`]: crate::Connector
    ///
    /// Begins with one ioctl to learn the port's largest message, and allocates
    /// a buffer of that size. While nothing comes a thread makes a system call each second.
    ///
    /// # Errors
    ///
    /// What concerns one client never ends the loop. [`Service::failed`] hears of it.
    ///
    /// | what fails | what becomes of it |
    /// | --- | --- |
    /// | an accept, for whatever reason | that client is refused, with one ioctl more |
    /// | a refusal | it is made without the service's answer, or the client has gone |
    /// | a reply, for whatever reason | the request is given up: its caller gets [`Outcome::Lost`](crate::Outcome::Lost), or has gone |
    /// | a method of the service, by a panic | the same, or the client is refused |
    ///
    /// Of the errors of a receive,
    ///
    /// | error | the loop |
    /// | --- | --- |
    /// | [`Closed`](crate::Outcome::Closed), [`NoClients`](crate::Outcome::NoClients) | ends, and returns `Ok` |
    /// | [`NoWindow`](crate::Outcome::NoWindow), or errno `ENOMEM` of a view | receives the message without its view, which goes back to its sender |
    /// | errno `ENOMEM`, `EMFILE`, `ENFILE`; [`Limit`](crate::Outcome::Limit): as many threads or processes hold something as can; errno `EAGAIN` of a view whose place another thread has just taken away | tries again after 10 ms: the message has been kept |
    /// | the time of [options](ServerLoop::run_with) that have one is up; a signal came, and they say that it [ends the wait](Options::interruptible); errno `EAGAIN` of a descriptor with `O_NONBLOCK` | ends with the error |
    /// | errno `EBADF`, `EFAULT`, `EINVAL`, `ENOTTY`, `EOPNOTSUPP`, and what else there may be | ends with the error: it would come again. No client can bring one about |
    pub fn run(&self, service: &mut impl Service) -> Result<()> {
        self.run_with(service, Options::new())
    }

    /// Serves as [`run`](ServerLoop::run) does, in so many new threads with a service each, made by
    /// `make`. Returns when all of them have ended: at once if there are none. Threads that take
    /// views or handles call [`run_with`](ServerLoop::run_with) instead, each with an [`Inbox`] of
    /// its own.
    ///
    /// ```no_run
    /// use alpc::{Answer, Request, Server, ServerLoop, Service};
    ///
    /// #[derive(Clone)]
    /// struct Upper;
    ///
    /// impl Service for Upper {
    ///     fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
    ///         reply.extend(request.data().iter().map(u8::to_ascii_uppercase));
    ///         Answer::Reply
    ///     }
    /// }
    ///
    /// let server = Server::create("demo/upper")?;
    /// ServerLoop::new(&server).run_threads(4, || Upper)?;
    /// # Ok::<(), alpc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of a thread that ends with one, which stops the loop for the others too. Or
    /// that of a thread that couldn't be started.
    pub fn run_threads<S: Service + Send>(
        &self,
        threads: usize,
        mut make: impl FnMut() -> S,
    ) -> Result<()> {
        let services: Vec<S> = (0..threads).map(|_| make()).collect();
        let run = |mut service: S| {
            let ended = self.run(&mut service);
            if ended.is_err() {
                self.stopper.stop();
            }
            ended
        };
        thread::scope(|scope| {
            let start = |service| thread::Builder::new().spawn_scoped(scope, || run(service));
            let started: Vec<_> = services.into_iter().map(start).collect();
            if started.iter().any(|thread| thread.is_err()) {
                self.stopper.stop();
            }
            let mut result = Ok(());
            for thread in started {
                result = result.and(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| {
                        std::panic::resume_unwind(panic);
                    }),
                    Err(error) => Err(Error::plain("start a thread", &error)),
                });
            }
            result
        })
    }

    /// Serves as [`run`](ServerLoop::run) does, with options of what is received: to ask for handles
    /// and memory, and where views
    /// and claimed handles go. The service takes them from there, so each thread has an
    /// [`Inbox`] of its own. What the service has left there when it is done with a message is
    /// released and closed. To close what was claimed may [take long](Turn::claim), and the other
    /// clients wait meanwhile. So they do for a client's memory that never comes: a service that
    /// uses such memory gives it a time, as by
    /// [`MemoryRange::read_exact_at`](crate::MemoryRange::read_exact_at).
    ///
    /// Without [`Options::view_into`] a message that lends a view isn't for the service: a request is
    /// given up, so that its sender gets [`Outcome::Lost`](crate::Outcome::Lost), and [`Service::failed`] hears of it.
    ///
    /// ```no_run
    /// use alpc::{Answer, Inbox, Options, PortBuilder, Request, ServerLoop, Service};
    ///
    /// struct Sum<'a>(&'a Inbox);
    ///
    /// impl Service for Sum<'_> {
    ///     fn request(&mut self, _: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
    ///         let Some(view) = self.0.take().and_then(|view| view.secure()) else {
    ///             return Answer::Discard;
    ///         };
    ///         let sum: u64 = view.iter().map(|&byte| u64::from(byte)).sum();
    ///         reply.extend_from_slice(&sum.to_le_bytes());
    ///         Answer::Reply
    ///     }
    /// }
    ///
    /// let server = PortBuilder::new("demo/sum").take_views().create()?;
    /// let inbox = Inbox::new();
    /// ServerLoop::new(&server).run_with(&mut Sum(&inbox), Options::new().view_into(&inbox))?;
    /// # Ok::<(), alpc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`run`](ServerLoop::run).
    pub fn run_with<'o>(
        &self,
        service: &mut impl Service,
        options: impl Into<Options<'o>>,
    ) -> Result<()> {
        let unwanted = Inbox::new();
        let mut options = options.into().without_attachments();
        let takes_views = options.inbox.is_some();
        let inbox = *options.inbox.get_or_insert(&unwanted);
        let looks = self.stoppable && options.timeout == Timeout::Infinite;
        if looks {
            options.timeout = LOOK.into();
        }
        let mut buffer = vec![0; self.server.query()?.max_message_length];
        let mut reply = Vec::new();
        let mut owed: Option<Owed<'_>> = None;
        let mut crowded = false;
        loop {
            if self.stopper.is_stopped() {
                if let Some(Owed { turn, to }) = owed {
                    if let Err(failed) = turn.reply(&reply) {
                        self.give_up(service, failed, to);
                    }
                }
                return Ok(());
            }
            let without_view = std::mem::take(&mut crowded);
            let options = match without_view {
                // If another thread has not been faster.
                true => Options {
                    inbox: None,
                    timeout: Timeout::ZERO,
                    ..options
                },
                false => options,
            };
            let result = match owed.take() {
                Some(Owed { turn, to }) => {
                    match turn.reply_and_receive_with(&reply, &mut buffer[..], options) {
                        Ok(received) => Ok(received),
                        Err(failed) if failed.error.was_sent() => Err(failed.error),
                        Err(failed) => {
                            self.give_up(service, failed, to);
                            continue;
                        }
                    }
                }
                None => self.server.receive_with(&mut buffer[..], options),
            };
            let received = match result {
                Ok(received) => received,
                Err(error) => {
                    let next = Next::after(&error, !without_view, looks || without_view);
                    if next.is_a_failure(&error) {
                        self.tell(service, Cause::Receive(&error), Origin::default());
                    }
                    match next {
                        Next::End => return Ok(()),
                        Next::Fail => return Err(error),
                        Next::WithoutView => crowded = true,
                        Next::Later => thread::sleep(PAUSE),
                        Next::Again => {}
                    }
                    continue;
                }
            };
            reply.clear();
            let from = Origin::of(&received);
            if !takes_views && inbox.clear() {
                // Its requester is told before the service is.
                drop(received);
                // What was claimed of it is not the next message's.
                drop(options.claimed.map(Claimed::take));
                self.tell(service, Cause::View, from);
                continue;
            }
            match received {
                Received::Request(request) => owed = self.answer(service, request, &mut reply),
                Received::Datagram(message) => {
                    self.guard(service, from, |service| service.datagram(&message));
                }
                Received::Connection(request) => self.admit(service, request, &mut reply),
                Received::Notice(notice) => {
                    self.guard(service, from, |service| service.notice(&notice));
                    if notice.kind() == NoticeKind::PortClosed {
                        let gone = self.connections().remove(&notice.port_context());
                        // With the table unlocked.
                        drop(gone);
                    }
                }
                // Replies to what the service began arrive on the server port
                // it began it on, and the rest isn't for servers.
                _ => {}
            }
            if let Some(claimed) = options.claimed {
                drop(claimed.take());
            }
            if inbox.clear() {
                self.tell(service, Cause::View, from);
            }
        }
    }

    /// Has the service answer. What is then to be sent is owed.
    fn answer<'p>(
        &self,
        service: &mut impl Service,
        mut request: Request<'p, '_>,
        reply: &mut Vec<u8>,
    ) -> Option<Owed<'p>> {
        let from = Origin::of_message(&request);
        match self.catch(|| service.request(&mut request, reply)) {
            Ok(Answer::Discard) => return None,
            Ok(Answer::Reply) => {}
            Ok(Answer::Stop) => self.stopper.stop(),
            Err(panic) => {
                // Its requester is told before the service is.
                drop(request);
                self.tell(service, Cause::Panic(&*panic), from);
                return None;
            }
        }
        let turn = request.into_turn();
        Some(Owed { turn, to: from })
    }

    fn admit(
        &self,
        service: &mut impl Service,
        request: ConnectionRequest<'_, '_>,
        answer: &mut Vec<u8>,
    ) {
        let context = self.next_context.fetch_add(1, Ordering::Relaxed);
        let from = Origin {
            port_context: Some(context),
            ..Origin::of_message(&request)
        };
        let decide = |service: &mut _| Service::connection(service, &request, context, answer);
        // One that is dropped is refused, with no descriptor needed for it.
        let Some(admission) = self.guard(service, from, decide) else {
            return;
        };
        let result = match admission {
            Admission::Refuse => request.refuse(answer),
            Admission::Accept => self.accept(request, Accept::new(), context, answer),
            Admission::AcceptWith(accept) => self.accept(request, accept, context, answer),
        };
        if let Err(error) = result {
            self.tell(service, Cause::Accept(&error), from);
        }
    }

    fn accept(
        &self,
        request: ConnectionRequest<'_, '_>,
        accept: Accept<'_>,
        context: u64,
        answer: &[u8],
    ) -> Result<()> {
        // Locked before the accept: another thread may receive the
        // client's last notice as soon as the port exists.
        let mut connections = self.connections();
        let port = request.accept_with(accept.payload(answer).context(context))?;
        connections.insert(context, port);
        Ok(())
    }

    /// Gives a request up whose reply could not be sent.
    fn give_up(&self, service: &mut impl Service, failed: TurnError<Turn<'_>>, to: Origin) {
        let TurnError { error, turn } = failed;
        // Its requester is told before the service is.
        drop(turn);
        self.tell(service, Cause::Reply(&error), to);
    }

    /// Has the service do something, and tells it if it panics.
    fn guard<S: Service, T>(
        &self,
        service: &mut S,
        from: Origin,
        act: impl FnOnce(&mut S) -> T,
    ) -> Option<T> {
        self.catch(|| act(service))
            .inspect_err(|panic| self.tell(service, Cause::Panic(&**panic), from))
            .ok()
    }

    fn tell(&self, service: &mut impl Service, cause: Cause<'_>, from: Origin) {
        // A second panic, as of a log that can't be written, is no reason to end either.
        let _ = self.catch(|| service.failed(Failure::new(cause, from)));
    }

    fn catch<T>(&self, act: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
        // What a panic leaves half done is the service's own, and its author has been told.
        let result = catch_unwind(AssertUnwindSafe(act));
        if result.is_err() && self.abort_on_panic {
            process::abort();
        }
        result
    }
}

/// A reply that is to be sent.
struct Owed<'p> {
    turn: Turn<'p>,
    to: Origin,
}
