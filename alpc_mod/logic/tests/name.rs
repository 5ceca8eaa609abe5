// SPDX-License-Identifier: GPL-2.0

//! The syntax of port names, on good names, bad names and any bytes.

use alpc_logic::name::{check, reserved, NameError, MAX_LENGTH};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(name) = check(&bytes) {
            let _ = reserved(name);
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
        prop_assert_eq!(reserved(&name), parts[0] == "system" || parts[0] == "user");
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
    for name in ["system", "user", "system/x", "user/1000/bus"] {
        assert!(reserved(name), "{name:?}");
    }
    for name in ["systems", "users/x", "a/system", "System", "x/user"] {
        assert!(!reserved(name), "{name:?}");
    }
}
