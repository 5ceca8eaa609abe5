// SPDX-License-Identifier: GPL-2.0

//! What a server becomes to file systems when it impersonates, if it may.
//!
//! Two rules hold at once. It gets nothing that the client has not. And it gets nothing that it
//! could not get by itself, with the ids it has and with the capabilities it holds over the user
//! namespace in which other ids are mapped: so impersonation is no way to more rights, but one to
//! fewer. If it can't become all of what the client is, it becomes nothing of it.
#![deny(unsafe_code)]

/// Who somebody is to file systems. Ids mean the same for everybody.
pub trait Person {
    /// The user.
    fn user(&self) -> u32;
    /// The group.
    fn group(&self) -> u32;
    /// How many supplementary groups there are.
    fn count(&self) -> u32;
    /// The supplementary group at an index, if there are so many. They are in order.
    fn at(&self, index: u32) -> Option<u32>;
}

/// Who impersonates, with what it could do about itself.
pub trait Server: Person {
    /// Whether it is this user in some respect, and so can be in every other.
    fn is_user(&self, id: u32) -> bool;
    /// The same of a group. Its list counts for nothing: who is in a group by that can't make it
    /// the one that is given to files.
    fn is_in_group(&self, id: u32) -> bool;
    /// Whether the user exists in its namespace: no other can be named.
    fn has_user(&self, id: u32) -> bool;
    /// The same of a group.
    fn has_group(&self, id: u32) -> bool;
    /// Whether it may become any user that exists.
    fn may_set_users(&self) -> bool;
    /// The same of a group.
    fn may_set_group(&self) -> bool;
    /// Whether it may change its list of groups, to any that exist.
    fn may_set_groups(&self) -> bool;
    /// Whether this user is the superuser of its namespace.
    fn is_superuser(&self, id: u32) -> bool;
    /// What capabilities it has now, that are in effect and permitted.
    fn capabilities(&self) -> u64;
    /// Those that the superuser has for being that, and that nobody else keeps.
    fn of_file_systems(&self) -> u64;
}

/// What is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guise {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// Whether the client's supplementary groups take the place of the server's.
    pub groups: bool,
    /// The capabilities that are in effect.
    pub capabilities: u64,
}

/// What `server` becomes that impersonates `client`, or nothing if it may not.
///
/// `theirs` are the capabilities that the client has over the server's user namespace.
pub fn decide(server: &impl Server, client: &impl Person, theirs: u64) -> Option<Guise> {
    let (user, group) = (client.user(), client.group());
    let groups = !are_alike(server, client);
    if !reaches_user(server, user) || !reaches_group(server, group) {
        return None;
    }
    // Fewer groups are a change, too: a group may have less access than everybody else.
    if groups && !(server.may_set_groups() && has_groups(server, client)) {
        return None;
    }
    let mut capabilities = theirs & server.capabilities();
    if !server.is_superuser(user) {
        capabilities &= !server.of_file_systems();
    }
    Some(Guise {
        user,
        group,
        groups,
        capabilities,
    })
}

/// Whether two have the same supplementary groups.
fn are_alike(one: &impl Person, other: &impl Person) -> bool {
    one.count() == other.count() && (0..one.count()).all(|index| one.at(index) == other.at(index))
}

fn reaches_user(server: &impl Server, id: u32) -> bool {
    let can_be = || server.is_user(id) || server.may_set_users();
    id == server.user() || (server.has_user(id) && can_be())
}

fn reaches_group(server: &impl Server, id: u32) -> bool {
    let can_be = || server.is_in_group(id) || server.may_set_group();
    id == server.group() || (server.has_group(id) && can_be())
}

/// Whether all of the client's supplementary groups can be named where the server is: those that
/// it has itself it could only lose.
fn has_groups(server: &impl Server, client: &impl Person) -> bool {
    (0..client.count())
        .filter_map(|index| client.at(index))
        .all(|id| server.has_group(id))
}
