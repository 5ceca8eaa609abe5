// SPDX-License-Identifier: GPL-2.0

//! Impersonation: nothing the client could not do, nothing the server could not reach.

use alpc_logic::impersonate::{decide, Guise, Person, Server};
use proptest::prelude::*;

/// Few ids and capabilities, so that they meet often. User 0 is the superuser.
const IDS: u32 = 5;
const FILE_SYSTEMS: u64 = 0b0011;
const SETUID: u64 = 0b0100;
const SETGID: u64 = 0b1000;

#[derive(Debug, Clone)]
struct Subject {
    users: [u32; 4],
    groups: [u32; 4],
    list: Vec<u32>,
    capabilities: u64,
    /// What exists in its namespace, by bit, and whether lists may be set there.
    mapped: u32,
    setgroups: bool,
}

impl Subject {
    fn maps(&self, id: u32) -> bool {
        self.mapped & (1 << id) != 0
    }
}

impl Person for Subject {
    fn user(&self) -> u32 {
        self.users[3]
    }

    fn group(&self) -> u32 {
        self.groups[3]
    }

    fn count(&self) -> u32 {
        self.list.len() as u32
    }

    fn at(&self, index: u32) -> Option<u32> {
        self.list.get(index as usize).copied()
    }
}

impl Server for Subject {
    fn is_user(&self, id: u32) -> bool {
        self.users.contains(&id)
    }

    fn is_in_group(&self, id: u32) -> bool {
        self.groups.contains(&id)
    }

    fn has_user(&self, id: u32) -> bool {
        self.maps(id)
    }

    fn has_group(&self, id: u32) -> bool {
        self.maps(id)
    }

    fn may_set_users(&self) -> bool {
        self.capabilities & SETUID != 0
    }

    fn may_set_group(&self) -> bool {
        self.capabilities & SETGID != 0
    }

    fn may_set_groups(&self) -> bool {
        self.capabilities & SETGID != 0 && self.setgroups
    }

    fn is_superuser(&self, id: u32) -> bool {
        id == 0
    }

    fn capabilities(&self) -> u64 {
        self.capabilities
    }

    fn of_file_systems(&self) -> u64 {
        FILE_SYSTEMS
    }
}

prop_compose! {
    fn subject()(
        users in [0..IDS, 0..IDS, 0..IDS, 0..IDS],
        groups in [0..IDS, 0..IDS, 0..IDS, 0..IDS],
        list in prop::collection::btree_set(0..IDS, 0..4),
        capabilities in 0..16_u64,
        mapped in 0..1_u32 << IDS,
        setgroups in any::<bool>(),
    ) -> Subject {
        let list = list.into_iter().collect();
        Subject { users, groups, list, capabilities, mapped, setgroups }
    }
}

/// All that the server could make of itself one step after the other, as the system calls allow
/// it: `setfsuid` and `setfsgid` to what it is in some respect, or to anything with the capability;
/// `setgroups` with the capability, where the namespace lets it; capabilities by dropping some. All
/// of them take numbers, so that only what is mapped can be set.
fn could_become(server: &Subject, user: u32, group: u32, list: &[u32], capabilities: u64) -> bool {
    let has = |capability: u64| server.capabilities & capability != 0;
    let setfsuid = server.maps(user) && (server.users.contains(&user) || has(SETUID));
    let setfsgid = server.maps(group) && (server.groups.contains(&group) || has(SETGID));
    let setgroups = has(SETGID) && server.setgroups && list.iter().all(|id| server.maps(*id));
    (user == server.user() || setfsuid)
        && (group == server.group() || setfsgid)
        && (list == server.list || setgroups)
        && capabilities & !server.capabilities == 0
}

fn worn_list<'a>(guise: &Guise, server: &'a Subject, client: &'a Subject) -> &'a [u32] {
    if guise.groups {
        &client.list
    } else {
        &server.list
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_is_taken_on_that_the_client_is_not(
        server in subject(),
        client in subject(),
        theirs in 0..16_u64,
    ) {
        if let Some(guise) = decide(&server, &client, theirs) {
            prop_assert_eq!((guise.user, guise.group), (client.user(), client.group()));
            prop_assert_eq!(worn_list(&guise, &server, &client), &client.list[..]);
            prop_assert_eq!(guise.capabilities & !theirs, 0);
        }
    }

    #[test]
    fn nothing_is_taken_on_that_the_server_could_not_reach(
        server in subject(),
        client in subject(),
        theirs in 0..16_u64,
    ) {
        if let Some(guise) = decide(&server, &client, theirs) {
            let list = worn_list(&guise, &server, &client);
            let Guise { user, group, capabilities, .. } = guise;
            prop_assert!(could_become(&server, user, group, list, capabilities));
        }
    }

    #[test]
    fn what_the_server_could_reach_is_not_refused(
        server in subject(),
        client in subject(),
        theirs in 0..16_u64,
    ) {
        if could_become(&server, client.user(), client.group(), &client.list, 0) {
            prop_assert!(decide(&server, &client, theirs).is_some());
        }
    }

    #[test]
    fn only_the_superuser_keeps_what_overrides_files(
        server in subject(),
        client in subject(),
        theirs in 0..16_u64,
    ) {
        if let Some(guise) = decide(&server, &client, theirs) {
            prop_assert!(guise.user == 0 || guise.capabilities & FILE_SYSTEMS == 0);
        }
    }

    #[test]
    fn without_capabilities_nobody_else_can_be_impersonated(
        server in subject(),
        client in subject(),
    ) {
        let server = Subject { capabilities: 0, ..server };
        if let Some(guise) = decide(&server, &client, !0) {
            prop_assert!(server.users.contains(&guise.user));
            prop_assert!(!guise.groups);
            prop_assert_eq!(guise.capabilities, 0);
        }
    }

    #[test]
    fn fewer_groups_are_a_change_too(server in subject(), removed in 0..4_usize) {
        let Some(removed) = removed.checked_rem(server.list.len()) else {
            return Ok(());
        };
        let mut client = server.clone();
        client.list.remove(removed);
        let server = Subject { setgroups: false, ..server };
        prop_assert_eq!(decide(&server, &client, 0), None);
    }
}
