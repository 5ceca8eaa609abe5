// SPDX-License-Identifier: MIT OR Apache-2.0

//! What somebody brings along.

use crate::tree::{end, Tree};
use std::process::Command;

#[test]
fn a_strangers_package_is_refused() {
    let tree = Tree::new();
    let registry = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    for (source, refused) in [("null", false), (registry, true)] {
        let package = format!("{{\"name\":\"alpc\",\"version\":\"1.0.1\",\"source\":{source}}}");
        let metadata = tree.path("metadata.json");
        tree.write(&metadata, &format!("{{\"packages\":[{package}]}}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_alpc-vm"));
        let done = end(command
            .arg("crate")
            .arg(&metadata)
            .arg(tree.repo().join("userlib")));
        match refused {
            true => assert!(done.error().contains("alpc 1.0.1"), "{}", done.stderr),
            false => done.succeeded(),
        }
    }
}
