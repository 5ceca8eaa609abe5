// SPDX-License-Identifier: GPL-2.0

//! The evaluation of an access control list, by NT's rule.
//!
//! Entries are read in order. A right is settled by the first entry that names it and that matches
//! the subject, and a right that no entry settles is denied.
#![deny(unsafe_code)]

/// What an entry does with its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It grants them.
    Allow,
    /// It denies them.
    Deny,
}

/// Whom an entry matches. Ids mean the same for every subject, see [`Subject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The user with this id.
    User(u32),
    /// Members of the group with this id.
    Group(u32),
    /// Every subject.
    Everyone,
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it does.
    pub effect: Effect,
    /// Whom it matches.
    pub who: Who,
    /// The rights it names.
    pub rights: u32,
}

/// Whose rights are in question.
pub trait Subject {
    /// Whether this is the subject's user id.
    fn is_user(&self, id: u32) -> bool;
    /// Whether the subject is a member of this group.
    fn in_group(&self, id: u32) -> bool;
}

/// Whether the list grants the subject all of the wanted rights.
///
/// Wanting nothing is granted always; a list without entries grants nothing else.
pub fn evaluate(entries: &[Entry], wanted: u32, subject: &impl Subject) -> bool {
    let mut open = wanted;
    for entry in entries {
        if open == 0 {
            break;
        }
        // The rights are looked at first: asking for membership in a group may be slow.
        let settles = open & entry.rights;
        if settles == 0 || !matches(entry.who, subject) {
            continue;
        }
        match entry.effect {
            Effect::Allow => open &= !settles,
            Effect::Deny => return false,
        }
    }
    open == 0
}

/// Whether an entry for `who` is about the subject.
fn matches(who: Who, subject: &impl Subject) -> bool {
    match who {
        Who::User(id) => subject.is_user(id),
        Who::Group(id) => subject.in_group(id),
        Who::Everyone => true,
    }
}
