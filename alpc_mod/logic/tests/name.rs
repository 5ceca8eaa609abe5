// SPDX-License-Identifier: GPL-2.0

//! The syntax of port names, on good names, bad names and any bytes.

use alpc_logic::name::{check, may_make, realm, NameError, Realm, MAX_LENGTH};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(name) = check(&bytes) {
            let _ = realm(name);
        }
    }

    #[test]
    fn a_name_comes_back_byte_for_byte(
        parts in prop::collection::vec("[a-zA-Z0-9_.é€😀-]{1,12}", 1..5)
    ) {
        prop_assume!(parts.iter().all(|part| part != "." && part != ".."));
        let name = parts.join("/");
        if name.len() <= MAX_LENGTH {
            prop_assert_eq!(check(name.as_bytes()), Ok(name.as_str()));
            prop_assert_eq!(name.split('/').collect::<Vec<_>>(), parts.clone());
        } else {
            prop_assert_eq!(check(name.as_bytes()), Err(NameError::Length));
        }
        let is_open = parts[0] != "system" && parts[0] != "user";
        prop_assert_eq!(realm(&name) == Realm::Anyone, is_open);
    }

    #[test]
    fn what_is_accepted_has_none_of_the_forbidden(text in "[a./\u{0}\u{7f}\u{85}]{0,8}") {
        let parts_are_good = text.split('/').all(|part| !["", ".", ".."].contains(&part));
        let good = parts_are_good && !text.contains(['\u{0}', '\u{7f}', '\u{85}']);
        prop_assert_eq!(check(text.as_bytes()).is_ok(), good);
    }
}

#[test]
fn length_is_one_to_255_bytes() {
    assert_eq!(check(b""), Err(NameError::Length));
    assert!(check(&[b'a'; MAX_LENGTH]).is_ok());
    assert_eq!(check(&[b'a'; MAX_LENGTH + 1]), Err(NameError::Length));
    // Bytes count, not characters.
    assert_eq!(check("é".repeat(128).as_bytes()), Err(NameError::Length));
}

#[test]
fn components_are_never_empty_nor_dots() {
    for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", "./a"] {
        assert_eq!(check(bad.as_bytes()), Err(NameError::Component), "{bad:?}");
    }
    for good in ["a", "a/b", "...", "a.b/.c", " ", "a\\b", "é/€"] {
        assert_eq!(check(good.as_bytes()), Ok(good));
    }
}

#[test]
fn control_characters_and_broken_utf8_are_refused() {
    for bad in ["a\0b", "\n", "a\u{7f}", "a\u{85}b"] {
        assert_eq!(check(bad.as_bytes()), Err(NameError::Control), "{bad:?}");
    }
    for bad in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
        assert_eq!(check(bad), Err(NameError::Encoding), "{bad:?}");
    }
}

#[test]
fn only_the_first_component_reserves() {
    for name in ["system", "system/x", "system/1000", "system/user/1"] {
        assert_eq!(realm(name), Realm::Privileged, "{name:?}");
    }
    for name in [
        "systems", "users/1", "a/system", "System", "x/user", "User/1",
    ] {
        assert_eq!(realm(name), Realm::Anyone, "{name:?}");
    }
}

#[test]
fn a_users_part_is_under_the_one_spelling_of_its_id() {
    for (name, id) in [
        ("user/0", 0),
        ("user/0/x", 0),
        ("user/1000/bus", 1000),
        ("user/4294967294/a/b", u32::MAX - 1),
    ] {
        assert_eq!(realm(name), Realm::User(id), "{name:?}");
    }
    for look_alike in [
        "user",
        "user/x",
        "user/007/x",
        "user/00",
        "user/0x1/x",
        "user/+1/x",
        "user/-1/x",
        "user/1 /x",
        "user/ 1/x",
        "user/1e3/x",
        "user/1_000/x",
        // Digits, but not those.
        "user/\u{0661}/x",
        "user/\u{ff11}/x",
        // The id that nobody has, and more.
        "user/4294967295/x",
        "user/4294967296/x",
        "user/18446744073709551616/x",
    ] {
        assert_eq!(realm(look_alike), Realm::Privileged, "{look_alike:?}");
    }
}

proptest! {
    /// The other way round: a part is a user's exactly if it is what that id is printed as.
    #[test]
    fn an_id_reads_as_it_is_printed(part in "[0-9+x]{1,11}", rest in "(/[a-z0-9]{1,4}){0,2}") {
        let name = format!("user/{part}{rest}");
        let id = part.parse::<u64>().ok().filter(|id| id.to_string() == part);
        let expected = match id {
            Some(id) if id < u64::from(u32::MAX) => Realm::User(id as u32),
            _ => Realm::Privileged,
        };
        prop_assert_eq!(realm(&name), expected);
    }
}

#[test]
fn what_is_kept_for_somebody_is_made_by_that_one_or_by_privilege() {
    let without = |name, id| may_make(name, id, || false);
    assert!(without("a/b", None));
    assert!(without("user/5/x", Some(5)));
    for (name, id) in [
        ("user/5/x", Some(6)),
        ("user/5/x", None),
        ("user/4294967295/x", None),
        ("user/05/x", Some(5)),
        ("user", Some(0)),
        ("system/x", Some(0)),
    ] {
        assert!(!without(name, id), "{name:?} as {id:?}");
        assert!(may_make(name, id, || true), "{name:?} as {id:?}");
    }
}

#[test]
fn privilege_is_asked_for_only_where_it_counts() {
    for (name, id) in [("a", None), ("user/5/x", Some(5))] {
        assert!(may_make(name, id, || unreachable!()));
    }
}
