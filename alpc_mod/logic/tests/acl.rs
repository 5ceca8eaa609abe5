// SPDX-License-Identifier: GPL-2.0

//! Access control lists against a second reading of the rule.

use alpc_logic::acl::{evaluate, Effect, Entry, Subject, Who};
use proptest::prelude::*;

/// A subject with few ids, so that entries match often.
#[derive(Debug)]
struct Person {
    user: u32,
    groups: Vec<u32>,
}

impl Subject for Person {
    fn is_user(&self, id: u32) -> bool {
        self.user == id
    }

    fn in_group(&self, id: u32) -> bool {
        self.groups.contains(&id)
    }
}

/// The rule, one right at a time: the first matching entry that names the right settles it.
fn by_the_rule(entries: &[Entry], wanted: u32, person: &Person) -> bool {
    (0..32)
        .map(|bit| 1 << bit)
        .filter(|right| wanted & right != 0)
        .all(|right| {
            entries
                .iter()
                .filter(|entry| entry.rights & right != 0)
                .find(|entry| match entry.who {
                    Who::User(id) => id == person.user,
                    Who::Group(id) => person.groups.contains(&id),
                    Who::Everyone => true,
                })
                .is_some_and(|entry| entry.effect == Effect::Allow)
        })
}

fn entry() -> impl Strategy<Value = Entry> {
    let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Deny)];
    let who = prop_oneof![
        (0..4u32).prop_map(Who::User),
        (0..4u32).prop_map(Who::Group),
        Just(Who::Everyone),
    ];
    (effect, who, 0..16u32).prop_map(|(effect, who, rights)| Entry {
        effect,
        who,
        rights,
    })
}

fn person() -> impl Strategy<Value = Person> {
    (0..4u32, prop::collection::vec(0..4u32, 0..3))
        .prop_map(|(user, groups)| Person { user, groups })
}

proptest! {
    #[test]
    fn evaluation_follows_the_rule(
        entries in prop::collection::vec(entry(), 0..8),
        wanted in 0..16u32,
        person in person(),
    ) {
        prop_assert_eq!(
            evaluate(&entries, wanted, &person),
            by_the_rule(&entries, wanted, &person)
        );
    }

    #[test]
    fn wanting_less_never_loses_a_right(
        entries in prop::collection::vec(entry(), 0..8),
        wanted in 0..16u32,
        mask in 0..16u32,
        person in person(),
    ) {
        if evaluate(&entries, wanted, &person) {
            prop_assert!(evaluate(&entries, wanted & mask, &person));
        }
    }

    #[test]
    fn entries_behind_one_that_denies_everyone_are_dead(
        before in prop::collection::vec(entry(), 0..4),
        after in prop::collection::vec(entry(), 0..4),
        wanted in 0..16u32,
        person in person(),
    ) {
        let mut entries = before;
        entries.push(Entry { effect: Effect::Deny, who: Who::Everyone, rights: u32::MAX });
        let short = evaluate(&entries, wanted, &person);
        entries.extend(after);
        prop_assert_eq!(evaluate(&entries, wanted, &person), short);
    }
}

#[test]
fn an_empty_list_admits_nobody() {
    let root = Person {
        user: 0,
        groups: vec![0],
    };
    assert!(!evaluate(&[], 1, &root));
    assert!(evaluate(&[], 0, &root));
}

#[test]
fn the_order_of_entries_decides() {
    let person = Person {
        user: 1,
        groups: vec![2],
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
    assert!(evaluate(&[allow, deny], 1, &person));
    assert!(!evaluate(&[deny, allow], 1, &person));
}

#[test]
fn rights_may_be_granted_by_several_entries() {
    let person = Person {
        user: 1,
        groups: vec![2],
    };
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
    assert!(evaluate(&[first, second], 3, &person));
    assert!(!evaluate(&[first, second], 7, &person));
}
