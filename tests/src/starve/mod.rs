// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether one process waits for another one that gets no processor time.
//!
//! A *stranger*, a process of one user, works in a loop on what it shares with a *victim*, a
//! process of another user. The stranger is starved, by its own will: it runs at `SCHED_IDLE` on a
//! processor where [`Hogs`] burn the time. The victim has the other processor to itself and times
//! one call, round after round. A stranger that is stopped while it has a sleeping lock stops
//! whoever wants that lock, and the victim's worst round tells.
//!
//! Neither a stopped nor a frozen stranger does that: signals, the freezer and `cpu.max` act on
//! the way to user space, where no lock of the kernel's is held.

mod hogs;
mod sched;
mod sides;
mod throttle;
mod watch;

use std::fmt::Write as _;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub use hogs::{Hogs, Pattern};
pub use sched::{idle, move_to, pin, starve, two_processors, unstarve, STRANGERS, VICTIMS};
pub use sides::{always, busy, cleaning, preparing, timed, using};
pub use throttle::Cgroup;
pub use watch::{Sample, Watch};

use crate::rng::Rng;
use crate::scale::{self, Time};
use crate::{note, rounds, wait, Peer, Shared, User, BOB, MALLORY};

/// How much longer than without hogs the victim may wait in its worst round.
///
/// What counts is the time in which the victim's thread has no processor. The rest of a round is
/// its own work, and the time that a busy host takes from a guest's processors, which is often
/// more than the bound. A starved stranger can't add to that: what is held with preemption off
/// ends at once. Where the guest's time is a count of instructions the work is bounded as well: by
/// twice of what it is with nobody starved, as caches of the kernel's may be empty.
///
/// A call that waits by its nature comes back late where the host has stopped the victim's
/// processor. So does a sleep, and the victim sleeps from each round to the next, with nothing that
/// it shares with the stranger. As much as the worst of these sleeps is late, a call may be too.
pub const BOUND: Duration = Duration::from_millis(10);

/// The bound on this kernel. Where the host takes time from the guest as it likes, only hogs that
/// burn for long show a lock that is held over them.
fn bound() -> Duration {
    match scale::time() {
        Time::Counted | Time::Real => BOUND * scale::slowness(),
        Time::Guessed => Pattern::LONG.burn / 2,
    }
}

/// The most that a round may take of its own, and a sleep be late, where a pair of measurements is to
/// say something: with the bound this is still less than one burst of the hogs.
fn decides(free: Duration, late: Duration) -> bool {
    free.max(late) <= 2 * bound()
}

/// How long the rounds of a measurement last at the least while the stranger is held, however few
/// they are: more than ten short bursts of the hogs, or three long ones.
fn held_for(means: &Hold) -> Duration {
    match means {
        Hold::Hogs(hogs) => (3 * hogs.every()).max(Duration::from_millis(400)),
        Hold::Memory(..) => Duration::from_millis(400),
    }
}

/// So many rounds, as is asked for, but no fewer than show a lock that is held over a burst: each
/// round has the chance to meet one. Where time says little, a few of them still have the kernel's
/// checkers look at all that is done here.
fn scaled(base: u64) -> u64 {
    let (part, least) = match scale::time() {
        Time::Counted | Time::Real => (1, 100),
        Time::Guessed => (100, 8),
    };
    (rounds(base) / part).max(base.min(least))
}

/// How many pairs of measurements are made before one that says nothing counts as a failure.
///
/// Where time is a count of instructions, nothing but the guest makes a round long: there the first
/// pair that exceeds the bound is a fault. Elsewhere a host that stops one processor in the middle of
/// some work of the kernel's, which another process then waits for, looks like one. That comes and
/// goes: so a pair within the bound excuses those before. For the same reason an unstarved worst
/// round above the bound is measured again, as often, and the best of these worst rounds counts.
const PAIRS: usize = 5;

/// What one of the two processes does, over and over.
pub trait Side {
    /// Lets go of what the last rounds have left. Nobody is starved.
    fn clean(&mut self) {}

    /// Makes what the next rounds use up. Nobody is starved, and the other side prepares as well.
    fn prepare(&mut self) {}

    /// For how many rounds what is prepared lasts.
    fn left(&self) -> usize {
        usize::MAX
    }

    /// One round. The victim times in it what it is about; the stranger need not.
    fn act(&mut self, watch: &mut Watch);
}

impl<F: FnMut(&mut Watch)> Side for F {
    fn act(&mut self, watch: &mut Watch) {
        self(watch)
    }
}

/// Sets a side up, in its process.
pub type SetUp = fn() -> Box<dyn Side>;

/// One call of the victim's against one loop of the stranger's.
pub struct Case {
    name: &'static str,
    victim: SetUp,
    stranger: SetUp,
    rounds: u64,
    batch: u64,
    means: Means,
    user: User,
}

impl Case {
    pub fn of(name: &'static str, victim: SetUp, stranger: SetUp) -> Self {
        Self {
            name,
            victim,
            stranger,
            rounds: 1000,
            batch: u64::MAX,
            means: Means::Hogs(Pattern::BURSTS),
            user: BOB,
        }
    }

    /// So many rounds are enough, since each takes long.
    pub fn rounds(self, rounds: u64) -> Self {
        Self { rounds, ..self }
    }

    /// There are no more rounds than these between two preparations, and so in a row of bursts.
    pub fn batch(self, batch: u64) -> Self {
        Self { batch, ..self }
    }

    pub fn means(self, means: Means) -> Self {
        Self { means, ..self }
    }

    /// Whose the victim is.
    pub fn user(self, user: User) -> Self {
        Self { user, ..self }
    }
}

/// What keeps a stranger from going on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// Its processor is taken from it.
    Hogs(Pattern),
    /// Its memory cgroup, above `memory.high`, makes it sleep when it takes memory. Inside a call the
    /// kernel does that where the call takes more than 64 pages, and else on the way to user space,
    /// where no lock of the kernel's is held. So this is for calls that take as much. A lock that is
    /// held while less is allocated is found by the hogs.
    Memory,
}

// What the controller tells a process, and what it answers.
const SET_UP: u64 = 0;
const CLEAN: u64 = 1;
const PREPARE: u64 = 2;
const ACT: u64 = 3;
const DONE: u64 = 4;

// What is shared by all processes of a case.
const STOP: usize = 0;
const WAITED: usize = 1;
const TOOK: usize = 2;
const COUNT: usize = 3;
const TURNS: usize = 4;
const SPACING: usize = 5;
const LATE: usize = 6;
const CAME: usize = 7;

/// A case, measured with nobody starved and with the stranger starved.
struct Pair {
    free: Sample,
    starved: Sample,
    /// How often the starved stranger came round, since the last preparation.
    turns: u64,
}

impl Pair {
    /// What speaks against this pair, if anything does.
    fn fault(&self) -> Option<Fault> {
        let (free, starved) = (&self.free, &self.starved);
        let within =
            |free: Duration, starved: Duration| starved <= free.max(self.starved.late) + bound();
        let work_counts = scale::time() == Time::Counted;
        if starved.done * 10 < starved.rounds * 9 {
            Some(Fault::FewRounds)
        } else if !within(free.waited, starved.waited) {
            Some(Fault::Held)
        } else if work_counts && !within(2 * free.took, starved.took) {
            Some(Fault::Work)
        } else if !decides(free.waited, starved.late) {
            Some(Fault::Undecided)
        } else {
            None
        }
    }
}

/// What speaks against a pair.
#[derive(Clone, Copy)]
enum Fault {
    FewRounds,
    Held,
    Work,
    Undecided,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::FewRounds => "too few rounds do what they are about",
            Self::Held => "a stranger holds up its victim",
            Self::Work => "a stranger makes work for its victim",
            Self::Undecided => "undecided: it takes too long with nobody starved",
        }
    }
}

/// Fails unless the victim's worst round stays within the bound. It is to be run in a process of
/// its own; with one processor only it says so and passes.
#[track_caller]
pub fn nobody_waits(case: &Case) {
    if !two_processors() {
        note!("not tried: one processor");
        return;
    }
    pin(VICTIMS);
    let mut tried = String::new();
    for _ in 0..PAIRS {
        let pair = pair(case);
        let fault = pair.fault();
        let _ = writeln!(
            tried,
            "{}: {}; the worst round {}; unstarved {}; {} turns of the stranger",
            case.name,
            fault.map_or("within the bound", Fault::text),
            pair.starved,
            pair.free,
            pair.turns
        );
        match fault {
            None => {
                note!("{}", tried.trim_end());
                return;
            }
            Some(Fault::Held | Fault::Work) if scale::time() == Time::Counted => break,
            Some(_) => {}
        }
    }
    panic!("no pair is without a fault, or one has a sure one\n{tried}");
}

/// Measures a case twice, in processes of its own.
fn pair(case: &Case) -> Pair {
    let page = Shared::new();
    let stranger = side(MALLORY, STRANGERS, page, case.stranger);
    let victim = side(case.user, VICTIMS, page, case.victim);
    let cgroup = (case.means == Means::Memory).then(|| Cgroup::of(&stranger));
    for side in [&stranger, &victim] {
        side.put(SET_UP);
    }
    let mut free = measure(case, page, &stranger, &victim, None);
    for _ in 1..PAIRS {
        if free.waited > bound() {
            let again = measure(case, page, &stranger, &victim, None);
            free = if again.waited < free.waited {
                again
            } else {
                free
            };
        }
    }
    // Dropped before the processes, so that nothing starves these when they end.
    let hold = match (case.means, cgroup) {
        (Means::Hogs(pattern), _) => Hold::Hogs(Hogs::spawn(pattern)),
        (Means::Memory, None) => unreachable!("it was made above"),
        (Means::Memory, Some(cgroup)) => {
            let high = cgroup.current() + BEYOND;
            Hold::Memory(cgroup, high)
        }
    };
    let starved = measure(case, page, &stranger, &victim, Some(&hold));
    let turns = page[TURNS].load(SeqCst);
    Pair {
        free,
        starved,
        turns,
    }
}

/// How much more than at rest a stranger may have that takes nearly 3 MiB in one call: it sleeps in
/// that call, and not before or after it, for some hundredths of a second each time.
const BEYOND: u64 = 1 << 19;

enum Hold {
    Hogs(Hogs),
    Memory(Cgroup, u64),
}

/// A process that does what it is told to.
fn side(user: crate::User, processor: usize, page: Shared, set_up: fn() -> Box<dyn Side>) -> Peer {
    Peer::spawn(user, move |link| {
        pin(processor);
        assert_eq!(link.take(), SET_UP);
        let mut side = set_up();
        let mut rng = Rng::new(1);
        loop {
            match link.take() {
                CLEAN => side.clean(),
                PREPARE => side.prepare(),
                ACT if processor == STRANGERS => {
                    let mut watch = Watch::default();
                    while page[STOP].load(SeqCst) == 0 {
                        side.act(&mut watch);
                        page[TURNS].fetch_add(1, SeqCst);
                    }
                }
                ACT => {
                    let mut watch = Watch::default();
                    let (mut late, mut made) = (Duration::ZERO, 0);
                    let spacing = page[SPACING].load(SeqCst);
                    while made < page[COUNT].load(SeqCst) && side.left() > 0 {
                        made += 1;
                        watch.round(|watch| side.act(watch));
                        if spacing > 0 {
                            // Any time, so that rounds and bursts are not in step.
                            let nap = Duration::from_nanos(rng.below(2 * spacing));
                            let begun = Instant::now();
                            std::thread::sleep(nap);
                            late = late.max(begun.elapsed().saturating_sub(nap));
                        }
                    }
                    let sample = watch.sample();
                    page[WAITED].store(sample.waited.as_nanos() as u64, SeqCst);
                    page[TOOK].store(sample.took.as_nanos() as u64, SeqCst);
                    page[LATE].store(late.as_nanos() as u64, SeqCst);
                    page[COUNT].store(sample.rounds, SeqCst);
                    page[CAME].store(sample.done, SeqCst);
                }
                other => panic!("told to do {other}"),
            }
            link.put(DONE);
        }
    })
}

/// The victim's worst round, while the stranger is held by `means`.
fn measure(
    case: &Case,
    page: Shared,
    stranger: &Peer,
    victim: &Peer,
    means: Option<&Hold>,
) -> Sample {
    let mut worst = Sample::default();
    let all = scaled(case.rounds);
    while worst.rounds < all {
        let count = scaled(case.batch).min(all - worst.rounds);
        // What the victim owes the stranger gets to know of before that goes on.
        for side in [victim, stranger] {
            side.put(CLEAN);
            assert_eq!(side.take(), DONE);
        }
        for side in [stranger, victim] {
            side.put(PREPARE);
        }
        for side in [stranger, victim] {
            assert_eq!(side.take(), DONE);
        }
        page[STOP].store(0, SeqCst);
        page[COUNT].store(count, SeqCst);
        page[TURNS].store(0, SeqCst);
        let spacing = means.map_or(Duration::ZERO, |means| held_for(means) / all as u32);
        page[SPACING].store(spacing.as_nanos() as u64, SeqCst);
        stranger.put(ACT);
        // It is in its loop before anybody starves it.
        wait::eventually(|| page[TURNS].load(SeqCst) > 0);
        match means {
            Some(Hold::Hogs(hogs)) => {
                starve(stranger.pid());
                hogs.begin();
            }
            Some(Hold::Memory(cgroup, high)) => cgroup.throttle(*high),
            None => {}
        }
        victim.put(ACT);
        assert_eq!(victim.take(), DONE);
        page[STOP].store(1, SeqCst);
        match means {
            Some(Hold::Hogs(hogs)) => {
                hogs.end();
                unstarve(stranger.pid());
            }
            Some(Hold::Memory(cgroup, _)) => cgroup.release(),
            None => {}
        }
        assert_eq!(stranger.take(), DONE);
        worst.add(Sample {
            waited: Duration::from_nanos(page[WAITED].load(SeqCst)),
            took: Duration::from_nanos(page[TOOK].load(SeqCst)),
            late: Duration::from_nanos(page[LATE].load(SeqCst)),
            rounds: page[COUNT].load(SeqCst),
            done: page[CAME].load(SeqCst),
        });
    }
    worst
}
