// SPDX-License-Identifier: GPL-2.0

//! Sections: where a process makes the views that it lends.
//!
//! A section is addresses, and a descriptor that owns them. Memory is taken by each view in it, and
//! given back when neither the owner nor a borrower has the view any more.
#![deny(unsafe_code)]

use crate::{
    arena::Arena,
    backing::Backing,
    buffer::{
        copy_range_out,
        copy_struct_in,
        copy_struct_out, //
    },
    charge::{
        Charge,
        Charger, //
    },
    comm::CommPort,
    file::{
        new_file,
        ObjectFile,
        PollTable, //
    },
    ioctl,
    outcome::{
        or_denied,
        Failure,
        Outcome, //
    },
    pages::{
        bytes_of,
        pages_of,
        Pages, //
    },
    port::Port,
    quota::{
        Counter,
        Kind, //
    },
    shared::{
        shared,
        shared_pinned, //
    },
    slot::{
        Open,
        Then, //
    },
    uapi,
    view, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    bindings,
    fs::file::File,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// Sections made on one descriptor: a few for each of the threads that fill views at once.
pub(crate) const SECTIONS_PER_PORT: u32 = 64;

/// The descriptor that a section was made on, which counts it.
pub(crate) enum Maker {
    Port(Arc<Port>),
    End(Arc<CommPort>),
}

impl Maker {
    fn sections(&self) -> Result<Arc<Counter>> {
        match self {
            Self::Port(port) => port.sections.counter(&port.maker),
            Self::End(end) => end.sections.counter(&end.port().maker),
        }
    }
}

/// One section in the count of its maker, as long as this exists. It keeps the count and not the
/// maker: what is left of a connection must not be there for as long as a user likes.
struct Counted(Arc<Counter>);

impl Counted {
    fn new(maker: &Maker) -> Result<Self, Failure> {
        let sections = maker.sections()?;
        match sections.take(SECTIONS_PER_PORT) {
            true => Ok(Self(sections)),
            false => Err(Outcome::Limit.into()),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A section.
#[pin_data]
pub(crate) struct Section {
    #[pin]
    arena: Arena,
    /// Who pays for the views' pages.
    charger: Arc<Charger>,
    /// Its views that are lent.
    lent: Arc<Counter>,
    _counted: Counted,
}

/// `ALPC_IOC_CREATE_SECTION`.
pub(crate) fn create(maker: Maker, size: usize, addr: u64) -> Result<isize> {
    const FIRST: usize = size_of::<uapi::alpc_create_section>();
    let arg: uapi::alpc_create_section = copy_struct_in(size, addr, FIRST)?;
    let write = |outcome: u32| {
        let answer = uapi::alpc_create_section { outcome, ..arg };
        let at = offset_of!(uapi::alpc_create_section, outcome);
        copy_range_out(size, addr, &answer, ioctl::field(at))
    };
    try_create(maker, size, addr, &arg)
        .map_err(|failure| ioctl::report(failure, arg.outcome, write))
}

fn try_create(
    maker: Maker,
    size: usize,
    addr: u64,
    arg: &uapi::alpc_create_section,
) -> Result<isize, Failure> {
    if arg.flags != 0 || arg.size == 0 || arg.size > u64::from(uapi::ALPC_SECTION_MAX) {
        return Err(EINVAL.into());
    }
    let pages = pages_of(arg.size).ok_or(EINVAL)?;
    let accounts = match &maker {
        Maker::Port(port) => port.place.maker().accounts(),
        Maker::End(end) => end.port().place.maker().accounts(),
    };
    let charger = Charger::for_current(accounts)?;
    let counted = Counted::new(&maker)?;
    let lent = shared(Counter::new())?;
    let section = shared_pinned(pin_init!(Section {
        arena <- Arena::new(pages, 1, uapi::ALPC_SECTION_VIEWS_MAX as usize, true),
        charger,
        lent,
        _counted: counted,
    }))?;
    let file = new_file(section).map_err(or_denied)?;
    let answer = uapi::alpc_create_section {
        size: bytes_of(pages),
        outcome: uapi::ALPC_OUTCOME_OK,
        ..*arg
    };
    copy_struct_out(size, addr, &answer)?;
    Ok(file.install())
}

impl Section {
    /// Its addresses.
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// `ALPC_IOC_CREATE_VIEW`.
    fn create_view(&self, file: &File, size: usize, addr: u64) -> Result<isize> {
        const FIRST: usize = size_of::<uapi::alpc_create_view>();
        let arg: uapi::alpc_create_view = copy_struct_in(size, addr, FIRST)?;
        let write = |outcome: u32| {
            let answer = uapi::alpc_create_view { outcome, ..arg };
            let at = offset_of!(uapi::alpc_create_view, outcome);
            copy_range_out(size, addr, &answer, ioctl::field(at))
        };
        self.try_create_view(file, size, addr, &arg)
            .map_err(|failure| ioctl::report(failure, arg.outcome, write))
    }

    fn try_create_view(
        &self,
        file: &File,
        size: usize,
        addr: u64,
        arg: &uapi::alpc_create_view,
    ) -> Result<isize, Failure> {
        if arg.flags != 0 || arg.size == 0 || arg.size > self.arena.size() {
            return Err(EINVAL.into());
        }
        let count = pages_of(arg.size).ok_or(EINVAL)?;
        let charge =
            Charge::several(&self.charger, Kind::Page, count).map_err(|_| Outcome::Limit)?;
        let backing = Backing::new(Pages::new(count, charge)?, &self.lent)?;
        self.arena.map(file).map_err(or_denied)?;
        // `EAGAIN` if another thread has just unmapped it.
        let at = self.arena.add(backing, count, Open::Owner, None)?;
        let answer = uapi::alpc_create_view {
            size: bytes_of(count),
            base: at.addr,
            offset: bytes_of(at.start),
            outcome: uapi::ALPC_OUTCOME_OK,
            ..*arg
        };
        copy_struct_out(size, addr, &answer).inspect_err(|_| {
            self.delete(file, at.start, Some(at.id));
        })?;
        Ok(0)
    }

    /// Deletes the view at a page, whichever that is or the one with this `id`, and says whether
    /// there was one. Who borrows it keeps it.
    pub(crate) fn delete(&self, file: &File, start: u32, id: Option<u64>) -> bool {
        let deleted = self.arena.with_slot(file, start, |slot| {
            match (&slot.backing, id) {
                (_, Some(id)) if id != slot.id => return Err(()),
                // It leaves with a message, and is deleted once that is sent.
                (None, None) => return Err(()),
                (None, Some(_)) => {}
                (Some(backing), _) => backing.set_owned(false),
            }
            Ok(((), Then::Remove))
        });
        matches!(deleted, Some(Ok(())))
    }
}

impl ObjectFile for Section {
    const NAME: &'static CStr = c"[alpc-section]";
    const MAPPED: bool = true;

    fn ioctl(
        this: ArcBorrow<'_, Self>,
        file: &File,
        _nonblock: bool,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        let size = ioctl::size(cmd);
        match ioctl::base(cmd) {
            ioctl::CREATE_VIEW => this.create_view(file, size, arg as u64),
            ioctl::DELETE_VIEW => view::delete(size, arg as u64),
            ioctl::QUERY_VIEW => view::query(size, arg as u64),
            _ => Err(ENOTTY),
        }
    }

    fn arena(&self) -> Option<&Arena> {
        Some(&self.arena)
    }

    fn poll<'file>(&'file self, _table: PollTable<'file>) -> u32 {
        bindings::POLLERR
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        let (views, pages) = this.arena.usage();
        seq_print!(
            m,
            "alpc-section:\t{} bytes\nalpc-views:\t{views}, {} lent\nalpc-view-bytes:\t{}\n",
            this.arena.size(),
            this.lent.get(),
            bytes_of(pages)
        );
    }

    fn release(_this: Arc<Self>) {}
}
