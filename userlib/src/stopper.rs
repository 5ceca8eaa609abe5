// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ending a server loop from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Ends a [`ServerLoop`](crate::ServerLoop) in all its threads: from
/// [`ServerLoop::stopper`](crate::ServerLoop::stopper).
///
/// # SIGTERM
///
/// To stop is one atomic store, so a signal handler may do it. A crate that sets a flag at a
/// signal takes the flag itself, as in `signal_hook::flag::register(SIGTERM, stopper.into())`; a
/// thread that waits for signals calls [`stop`](Stopper::stop). With nothing but `libc`:
///
/// ```no_run
/// use std::sync::OnceLock;
///
/// use alpc::{Answer, Request, Server, ServerLoop, Service, Stopper};
///
/// struct Echo;
///
/// impl Service for Echo {
///     fn request(&mut self, request: &mut Request<'_, '_>, reply: &mut Vec<u8>) -> Answer {
///         reply.extend_from_slice(request.data());
///         Answer::Reply
///     }
/// }
///
/// static STOPPER: OnceLock<Stopper> = OnceLock::new();
///
/// extern "C" fn terminate(_: libc::c_int) {
///     if let Some(stopper) = STOPPER.get() {
///         stopper.stop();
///     }
/// }
///
/// let server = Server::create("demo/echo")?;
/// let serving = ServerLoop::new(&server);
/// STOPPER.get_or_init(|| serving.stopper());
/// // SAFETY: The handler does nothing but a load and a store.
/// unsafe { libc::signal(libc::SIGTERM, terminate as *const () as libc::sighandler_t) };
/// serving.run_threads(4, || Echo)?;
/// println!("every request that was received has been answered");
/// # Ok::<(), alpc::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// Ends the loop, for good. Each of its threads answers the request that it has, receives
    /// nothing more, and returns `Ok` from [`ServerLoop::run`](crate::ServerLoop::run). One that
    /// waits for messages does so within a second. Where
    /// [`run_with`](crate::ServerLoop::run_with) was given a time, one that waits ends when that is
    /// up, with the error that says so.
    ///
    /// The port and its connections stay. What clients have sent meanwhile waits for whoever
    /// receives next, and fails when the port is dropped. Never blocks, and may be called in a
    /// signal handler.
    pub fn stop(&self) {
        // SYNC: Relaxed will do, as nothing else is passed on by it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the loop has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The flag itself: true stops the loop.
impl From<Stopper> for Arc<AtomicBool> {
    fn from(stopper: Stopper) -> Self {
        stopper.0
    }
}
