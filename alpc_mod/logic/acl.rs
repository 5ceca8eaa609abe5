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
    /// The user to whom belongs what the list is about.
    Owner,
    /// Those of the user namespace of who made that.
    UserNamespace,
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
    /// Whether the subject is the owner's user.
    fn is_owner(&self) -> bool;
    /// Whether the subject's user namespace is the maker's, and not one below it.
    fn is_in_user_namespace(&self) -> bool;
}

/// Those of the wanted rights that the list grants the subject.
pub fn granted(entries: &[Entry], wanted: u32, subject: &impl Subject) -> u32 {
    let (mut granted, mut open) = (0, wanted);
    for entry in entries {
        if open == 0 {
            break;
        }
        // The rights are looked at first: asking for membership in a group may be slow.
        let settles = open & entry.rights;
        if settles == 0 || !matches(entry.who, subject) {
            continue;
        }
        open &= !settles;
        if entry.effect == Effect::Allow {
            granted |= settles;
        }
    }
    granted
}

/// Whether an entry for `who` is about the subject.
fn matches(who: Who, subject: &impl Subject) -> bool {
    match who {
        Who::User(id) => subject.is_user(id),
        Who::Group(id) => subject.in_group(id),
        Who::Everyone => true,
        Who::Owner => subject.is_owner(),
        Who::UserNamespace => subject.is_in_user_namespace(),
    }
}
