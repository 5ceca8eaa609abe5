// SPDX-License-Identifier: MIT OR Apache-2.0

//! Views: memory that is lent with a message, and that its receiver can trust.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::port::Port;
use crate::sys;
use crate::sys::view::{Held, Mapped, Owned};

/// Where views are made: addresses, and a limit of bytes.
///
/// It takes no memory but for its views, and ends with the last of them and of its
/// clones.
#[derive(Debug, Clone)]
pub struct Section(Arc<Mapped>);

impl Port {
    /// Makes a section for views of `size` bytes together, 64 MiB at most. They can be lent
    /// along any connection. One ioctl.
    pub fn section(&self, size: usize) -> Result<Section> {
        let mut argument = sys::alpc_create_section {
            size: size as u64,
            ..Default::default()
        };
        let made = Mapped::create(self.as_fd(), &mut argument);
        made.map(|section| Section(Arc::new(section)))
            .map_err(|error| Error::new("create section", &error, argument.outcome))
    }
}

impl Section {
    /// Makes a view of `size` bytes, rounded up to whole pages: memory, which is taken now. One
    /// ioctl.
    ///
    /// # Errors
    ///
    /// Errno `ENOSPC` if the section has no such gap, [`Outcome::Limit`](crate::Outcome::Limit)
    /// for one of the kernel's limits.
    pub fn view(&self, size: usize) -> Result<View> {
        let mut argument = sys::alpc_create_view {
            size: size as u64,
            ..Default::default()
        };
        Owned::create(&self.0, &mut argument)
            .map(View)
            .map_err(|error| Error::new("create view", &error, argument.outcome))
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Its descriptor, to be passed on as a handle: who has it can make and lend views.
    ///
    /// It maps all that is in the section, so there is none while this process has a view in it,
    /// or a clone of this: then the section comes back. The inner result is that of duplicating it.
    pub fn into_fd(self) -> Result<io::Result<OwnedFd>, Self> {
        Arc::try_unwrap(self.0)
            .map(Mapped::into_fd)
            .map_err(Section)
    }
}

/// Memory of this process's that can be lent. Derefs to the bytes, which are zeroes at first.
///
/// Dropping it deletes it, with one ioctl.
///
/// A forked child has no mapping of it: there nothing may be done with a view but to drop it,
/// which does nothing.
pub struct View(Owned);

impl View {
    /// Gives up access to the bytes, so that they can be lent: with the next message that is sent
    /// with [`Options::lend`](crate::Options::lend).
    ///
    /// ```no_run
    /// use alpc::{Client, Options};
    ///
    /// let client = Client::connect("demo/store")?;
    /// let section = client.section(1 << 20)?;
    /// let mut view = section.view(1 << 20)?;
    /// view.fill(7);
    /// let lent = view.lend();
    /// client.call_with(b"store", &mut [0; 64], Options::new().lend(&lent))?;
    /// // The server has released it, as this one does before it replies.
    /// let view = lent.reclaim().expect("released");
    /// # Ok::<(), alpc::Error>(())
    /// ```
    ///
    /// Once it is lent, the bytes are nobody's to write, so there is no way to get at them but to
    /// [reclaim](Lent::reclaim) the view:
    ///
    /// ```compile_fail
    /// fn wrong(mut view: alpc::View) {
    ///     let lent = view.lend();
    ///     view[0] = 1;
    /// }
    /// ```
    pub fn lend(self) -> Lent {
        let size = self.0.size();
        Lent {
            owned: self.0,
            size,
            auto_release: false,
        }
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for View {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("size", &self.len()).finish()
    }
}

/// A view that is lent, or about to be. Its bytes can't be reached until it is back.
///
/// Dropping it deletes the view for this process, with one ioctl. Who holds it keeps it.
///
/// A slice of the view doesn't outlive the lending:
///
/// ```compile_fail
/// fn wrong(view: alpc::View) -> u8 {
///     let bytes: &[u8] = &view;
///     let lent = view.lend();
///     bytes[0]
/// }
/// ```
///
/// and neither does one of a view that was reclaimed and is lent again:
///
/// ```compile_fail
/// fn wrong(lent: alpc::Lent) {
///     let mut view = lent.reclaim().unwrap();
///     let bytes = &mut view[..];
///     let lent = view.lend();
///     bytes[0] = 1;
/// }
/// ```
#[must_use = "dropping it deletes the view"]
pub struct Lent {
    owned: Owned,
    size: usize,
    auto_release: bool,
}

impl Lent {
    /// Lends only so many bytes from its beginning. What else is in the last page can be seen as
    /// well.
    pub fn only(self, size: usize) -> Self {
        Self {
            size: size.min(self.owned.size()),
            ..self
        }
    }

    /// Has the message delete the view for this process. Whoever receives the view keeps it. If
    /// nothing is sent the view stays.
    pub fn auto_release(self) -> Self {
        Self {
            auto_release: true,
            ..self
        }
    }

    /// The view, if nobody has it: it was released, or not lent. One ioctl.
    ///
    /// # Errors
    ///
    /// It comes back as it is while somebody has it, and when it was sent with
    /// [`auto_release`](Lent::auto_release).
    pub fn reclaim(self) -> Result<View, Self> {
        if self.owned.is_gone() {
            return Err(self);
        }
        let mut argument = sys::alpc_query_view {
            base: self.owned.base(),
            ..Default::default()
        };
        let asked = sys::query_view(self.owned.section(), &mut argument);
        if asked.is_err() || argument.state != sys::ALPC_VIEW_STATE_OWNED {
            return Err(self);
        }
        Ok(View(self.owned))
    }

    fn attribute(&self) -> sys::alpc_attr_view {
        let auto_release = match self.auto_release {
            true => sys::ALPC_VIEW_AUTO_RELEASE,
            false => 0,
        };
        sys::alpc_attr_view {
            base: self.owned.base(),
            size: self.size as u64,
            flags: sys::ALPC_VIEW_SECURE | auto_release,
            ..Default::default()
        }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("size", &self.size).finish()
    }
}

/// A view that was received and is held: released when it is dropped, with one ioctl.
///
/// It is kept by nothing but this, and stays whatever its sender does or becomes. It keeps the
/// port from being disconnected, as a clone of it would.
#[derive(Debug)]
pub enum HeldView {
    /// One whose sender can't touch it.
    Secure(SecureView),
    /// One whose sender may write it at any time.
    Shared(SharedView),
}

impl HeldView {
    pub(crate) fn new(port: Arc<Handle>, view: &sys::alpc_attr_view) -> Option<Self> {
        Held::new(port, view).map(Self::of)
    }

    fn of(held: Held<Arc<Handle>>) -> Self {
        match held.is_secure() {
            true => Self::Secure(SecureView(held)),
            false => Self::Shared(SharedView(held)),
        }
    }

    /// Gives up access to the bytes, so that they can go back with a message: see [`GivenBack`].
    pub fn give_back(self) -> GivenBack {
        match self {
            Self::Secure(view) => view.give_back(),
            Self::Shared(view) => view.give_back(),
        }
    }

    /// The view, if it is secure. Another one is released.
    pub fn secure(self) -> Option<SecureView> {
        match self {
            Self::Secure(view) => Some(view),
            Self::Shared(_) => None,
        }
    }
}

/// A received view that nobody can write. Derefs to the bytes.
///
/// # Why that is sound
///
/// A `&[u8]` promises that the bytes exist and don't change while it lives.
///
/// 1. It borrows from this object, and the view is released by nothing in safe code but this
///    object's drop, or a send that consumes it. So while it lives this process holds the view.
/// 2. While it is held, the kernel has the pages mapped here: they were taken when the view was
///    made, are not swapped, belong to no file that could be truncated, and the mapping can't be
///    split, moved or made writable. Nothing that the sender does ends that.
/// 3. From before this process could learn of the message until the release, the sender has no
///    page table entry for them, a fault is refused, and no `struct page` exists that anything in
///    the kernel, or a device, could hold to write to. The processors' cached translations were
///    flushed before the message was sent, so what was written is what is seen.
/// 4. No other process gets them: the view is shown to the one that received it, and to no second
///    one at the same time.
/// 5. A forked child has no mapping of it. Who forks by unsafe code sees to it that nothing is done
///    with the view there but to drop it.
///
/// `uapi/data.rst` says how the kernel does that. What is left is to unmap it by unsafe code, and
/// failing hardware.
///
/// ```compile_fail
/// fn wrong(view: alpc::SecureView) -> u8 {
///     let bytes: &[u8] = &view;
///     drop(view);
///     bytes[0]
/// }
/// ```
pub struct SecureView(Held<Arc<Handle>>);

impl SecureView {
    /// Gives up access to the bytes, so that they can go back with a message: see [`GivenBack`].
    ///
    /// ```compile_fail
    /// fn wrong(view: alpc::SecureView) -> u8 {
    ///     let bytes: &[u8] = &view;
    ///     let back = view.give_back();
    ///     bytes[0]
    /// }
    /// ```
    pub fn give_back(self) -> GivenBack {
        GivenBack(Some(self.0))
    }
}

impl Deref for SecureView {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl fmt::Debug for SecureView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.len();
        f.debug_struct("SecureView").field("size", &size).finish()
    }
}

/// A received view that its sender may be writing. It can be copied from.
#[derive(Debug)]
pub struct SharedView(Held<Arc<Handle>>);

impl SharedView {
    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Gives up access to the bytes, so that they can go back with a message: see [`GivenBack`].
    pub fn give_back(self) -> GivenBack {
        GivenBack(Some(self.0))
    }

    /// Copies bytes from `offset` on, each as it is at some moment. Nothing beyond the end.
    pub fn copy(&self, offset: usize, to: &mut [u8]) -> Option<()> {
        self.0.copy(offset, to)
    }
}

/// A received view that goes back with a message, which saves the ioctl that dropping it takes:
/// the next message that is sent with [`Options::give_back`](crate::Options::give_back).
///
/// Its owner has it before it can receive that message. If nothing is sent, it is held still.
/// Dropping what no message has taken releases it, with one ioctl.
///
/// ```no_run
/// use alpc::{Inbox, Options, Request};
///
/// /// Answers a request that was received with `Options::new().view_into(inbox)`.
/// fn answer(request: Request<'_, '_>, inbox: &Inbox) {
///     let Some(view) = inbox.take().and_then(|view| view.secure()) else {
///         return;
///     };
///     let sum: u64 = view.iter().map(|&byte| u64::from(byte)).sum();
///     let back = view.give_back();
///     let options = Options::new().give_back(&back);
///     if let Err(failed) = request.into_turn().reply_with(&sum.to_ne_bytes(), options) {
///         // Whoever asked may have gone. The view is released in any case.
///         eprintln!("{failed}");
///     }
/// }
/// ```
///
/// The loop around it is that of the [crate's own page](crate#which-message-for-which-need).
#[must_use = "dropping it releases the view"]
pub struct GivenBack(Option<Held<Arc<Handle>>>);

impl GivenBack {
    /// Nothing that could go back.
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    /// The view, if no message has taken it.
    pub fn keep(self) -> Option<HeldView> {
        self.0.filter(|held| !held.is_gone()).map(HeldView::of)
    }
}

impl fmt::Debug for GivenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = self.0.as_ref().is_none_or(Held::is_gone);
        f.debug_struct("GivenBack").field("gone", &gone).finish()
    }
}

/// The views that a message takes with it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Leaving<'a> {
    lent: Option<&'a Lent>,
    back: Option<&'a Held<Arc<Handle>>>,
}

impl<'a> Leaving<'a> {
    /// Says that they are about to be sent. Fails if one is gone, since another view may have its
    /// place.
    pub(crate) fn new(lent: Option<&'a Lent>, back: Option<&'a GivenBack>) -> Result<Self> {
        let gone = |operation| {
            let error = io::Error::from_raw_os_error(libc::ENXIO);
            Error::new(operation, &error, sys::ALPC_OUTCOME_NOT_A_VIEW)
        };
        let back = back.and_then(|back| back.0.as_ref());
        if lent.is_some_and(|lent| lent.auto_release && lent.owned.set_gone(true)) {
            return Err(gone("lend"));
        }
        if back.is_some_and(|back| back.set_gone(true)) {
            Self { lent, back: None }.unsent();
            return Err(gone("give back"));
        }
        Ok(Self { lent, back })
    }

    /// Says that nothing was sent after all.
    pub(crate) fn unsent(self) {
        if let Some(lent) = self.lent {
            lent.owned.set_gone(false);
        }
        if let Some(back) = self.back {
            back.set_gone(false);
        }
    }

    /// The attribute that says so, if there are any.
    pub(crate) fn attribute(self) -> Option<sys::alpc_attr_view> {
        if self.lent.is_none() && self.back.is_none() {
            return None;
        }
        let lent = self.lent.map(Lent::attribute).unwrap_or_default();
        let release = self.back.map_or(0, Held::base);
        Some(sys::alpc_attr_view { release, ..lent })
    }
}

/// Where the views of received messages go: see [`Options::view_into`](crate::Options::view_into).
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Vec<HeldView>>);

impl Inbox {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn put(&self, view: HeldView) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        views.push(view);
    }

    /// Releases what has not been taken. Whether there was anything.
    pub(crate) fn clear(&self) -> bool {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = std::mem::take(&mut *views);
        !left.is_empty()
    }

    /// The view that came last, if it has not been taken.
    pub fn take(&self) -> Option<HeldView> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        views.pop()
    }
}
