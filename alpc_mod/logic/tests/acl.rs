// SPDX-License-Identifier: GPL-2.0

//! Access control lists against a second reading of the rule.

use alpc_logic::acl::{granted, Effect, Entry, Subject, Who};
use proptest::prelude::*;

/// A subject with few ids, so that entries match often.
#[derive(Debug, Clone)]
struct Person {
    user: u32,
    groups: Vec<u32>,
    /// The user id of who made what the list is about.
    maker: u32,
    is_near: bool,
}

impl Subject for Person {
    fn is_user(&self, id: u32) -> bool {
        self.user == id
    }

    fn in_group(&self, id: u32) -> bool {
        self.groups.contains(&id)
    }

    fn is_owner(&self) -> bool {
        self.user == self.maker
    }

    fn is_in_user_namespace(&self) -> bool {
        self.is_near
    }
}

/// The rule, one right at a time: the first matching entry that names the right settles it.
fn by_the_rule(entries: &[Entry], wanted: u32, person: &Person) -> u32 {
    (0..32)
        .map(|bit| 1 << bit)
        .filter(|right| wanted & right != 0)
        .filter(|right| {
            entries
                .iter()
                .filter(|entry| entry.rights & right != 0)
                .find(|entry| match entry.who {
                    Who::User(id) => id == person.user,
                    Who::Group(id) => person.groups.contains(&id),
                    Who::Everyone => true,
                    Who::Owner => person.user == person.maker,
                    Who::UserNamespace => person.is_near,
                })
                .is_some_and(|entry| entry.effect == Effect::Allow)
        })
        .sum()
}

fn entry() -> impl Strategy<Value = Entry> {
    let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Deny)];
    let who = prop_oneof![
        (0..4u32).prop_map(Who::User),
        (0..4u32).prop_map(Who::Group),
        Just(Who::Everyone),
        Just(Who::Owner),
        Just(Who::UserNamespace),
    ];
    (effect, who, rights()).prop_map(|(effect, who, rights)| Entry {
        effect,
        who,
        rights,
    })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..8)
}

/// Few rights, the highest bit among them.
fn rights() -> impl Strategy<Value = u32> {
    (0..64u32, any::<bool>()).prop_map(|(low, high)| low | (u32::from(high) << 31))
}

fn person() -> impl Strategy<Value = Person> {
    let groups = prop::collection::vec(0..4u32, 0..3);
    (0..4u32, groups, 0..4u32, any::<bool>()).prop_map(|(user, groups, maker, is_near)| Person {
        user,
        groups,
        maker,
        is_near,
    })
}

proptest! {
    #[test]
    fn evaluation_follows_the_rule(
        entries in entries(),
        wanted in rights(),
        person in person(),
    ) {
        prop_assert_eq!(
            granted(&entries, wanted, &person),
            by_the_rule(&entries, wanted, &person)
        );
    }

    #[test]
    fn what_is_granted_was_wanted_and_does_not_depend_on_what_else_was(
        entries in entries(),
        wanted in rights(),
        mask in rights(),
        person in person(),
    ) {
        let all = granted(&entries, wanted, &person);
        prop_assert_eq!(all & !wanted, 0);
        prop_assert_eq!(granted(&entries, wanted & mask, &person), all & mask);
    }

    #[test]
    fn entries_behind_one_that_settles_everything_are_dead(
        before in entries(),
        after in entries(),
        effect in prop_oneof![Just(Effect::Allow), Just(Effect::Deny)],
        wanted in rights(),
        person in person(),
    ) {
        let mut entries = before;
        entries.push(Entry { effect, who: Who::Everyone, rights: u32::MAX });
        let short = granted(&entries, wanted, &person);
        entries.extend(after);
        prop_assert_eq!(granted(&entries, wanted, &person), short);
    }

    #[test]
    fn an_entry_for_the_owner_is_one_for_the_makers_id(
        entries in entries(),
        wanted in rights(),
        person in person(),
    ) {
        let mut spelt_out = entries.clone();
        for entry in &mut spelt_out {
            if entry.who == Who::Owner {
                entry.who = Who::User(person.maker);
            }
        }
        prop_assert_eq!(
            granted(&entries, wanted, &person),
            granted(&spelt_out, wanted, &person)
        );
    }
}

const PERSON: Person = Person {
    user: 1,
    groups: Vec::new(),
    maker: 0,
    is_near: false,
};

#[test]
fn an_empty_list_grants_nothing_to_anybody() {
    let root = Person {
        user: 0,
        groups: vec![0],
        maker: 0,
        is_near: true,
    };
    assert_eq!(granted(&[], u32::MAX, &root), 0);
}

#[test]
fn the_order_of_entries_decides() {
    let person = Person {
        groups: vec![2],
        ..PERSON
    };
    let allow = Entry {
        effect: Effect::Allow,
        who: Who::User(1),
        rights: 1,
    };
    let deny = Entry {
        effect: Effect::Deny,
        who: Who::Group(2),
        rights: 1,
    };
    assert_eq!(granted(&[allow, deny], 1, &person), 1);
    assert_eq!(granted(&[deny, allow], 1, &person), 0);
}

#[test]
fn rights_may_be_granted_by_several_entries() {
    let first = Entry {
        effect: Effect::Allow,
        who: Who::User(1),
        rights: 1,
    };
    let second = Entry {
        effect: Effect::Allow,
        who: Who::Everyone,
        rights: 2,
    };
    assert_eq!(granted(&[first, second], 7, &PERSON), 3);
}

#[test]
fn one_right_may_be_denied_of_those_that_a_later_entry_allows() {
    let deny = Entry {
        effect: Effect::Deny,
        who: Who::Everyone,
        rights: 4,
    };
    let allow = Entry {
        effect: Effect::Allow,
        who: Who::User(1),
        rights: 7,
    };
    assert_eq!(granted(&[deny, allow], 7, &PERSON), 3);
}

#[test]
fn a_namespace_below_the_makers_is_another_one() {
    let near = Entry {
        effect: Effect::Allow,
        who: Who::UserNamespace,
        rights: 1,
    };
    assert_eq!(granted(&[near], 1, &PERSON), 0);
    let inside = Person {
        is_near: true,
        ..PERSON
    };
    assert_eq!(granted(&[near], 1, &inside), 1);
}
