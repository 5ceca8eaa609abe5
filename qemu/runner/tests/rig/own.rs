// SPDX-License-Identifier: MIT OR Apache-2.0

//! What somebody brings along: a crate, or C programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::tree::{end, Tree};

const RUNNER: &str = env!("CARGO_BIN_EXE_alpc-vm");

/// A stand-in for cargo that tells what it is to do, and where.
const CARGO: &str = r#"
[ "$1" != --version ] || { echo "cargo 1.99.0"; exit; }
echo "cargo $*" >&2
echo "in $PWD with <$RUSTFLAGS> to $CARGO_TARGET_DIR"
"#;

#[test]
fn a_crate_is_built_where_it_lies_and_its_warnings_are_its_own() {
    let tree = Tree::new();
    tree.program("cargo", CARGO);
    tree.program("cc", "echo /bin/sh");
    tree.write(&tree.path("theirs/Cargo.toml"), "");
    let theirs = tree.path("theirs").display().to_string();
    let done = tree.run("qemu/cargo.sh", &["guest", "-c", &theirs, "build"]);
    done.succeeded();
    assert!(done
        .stdout
        .starts_with(&format!("in {theirs} with < -C target")));
    assert!(!done.stdout.contains("warnings"), "{}", done.stdout);
    let target = tree.repo().join("target/guest");
    assert!(done
        .stdout
        .ends_with(&format!(" to {}\n", target.display())));
    // This repository's own are errors.
    let done = tree.run("qemu/cargo.sh", &["guest", "build"]);
    assert!(done.stdout.contains("<-Dwarnings "), "{}", done.stdout);
}

/// Builds a crate with a cargo that says `metadata` and complains of `trouble`.
fn built_with(tree: &Tree, metadata: &str, trouble: &str) -> crate::tree::End {
    tree.write(&tree.path("metadata"), metadata);
    tree.write(&tree.path("trouble"), trouble);
    tree.program(
        "cargo",
        "case $1 in
         --version) echo 'cargo 1.99.0' ;;
         metadata) cat \"$HOME/../metadata\"; cat \"$HOME/../trouble\" >&2 ;;
         esac",
    );
    tree.program("cc", "echo /bin/sh");
    tree.write(&tree.path("theirs/Cargo.toml"), "");
    fs::create_dir_all(tree.path("home")).expect("home");
    fs::create_dir_all(tree.repo().join("target/qemu")).expect("target");
    let mut command = tree.script(
        ". qemu/own.sh; OWN_CRATE=$(cd ../theirs && pwd) OWN_C=
         guest_build() { echo \"built $*\"; }
         build_own && echo \"${OWN[@]}\"",
    );
    end(command.env("BUILT", Path::new(RUNNER).parent().expect("a directory")))
}

#[test]
fn alpc_is_replaced_where_a_crate_has_it_and_nowhere_else() {
    let tree = Tree::new();
    let none = r#"{"packages":[]}"#;
    let with = built_with(&tree, none, "");
    with.succeeded();
    assert!(with.stdout.contains("patch.crates-io."), "{}", with.stdout);
    assert!(with.stdout.ends_with("\n--run target/qemu/run.json\n"));
    let theirs = "warning: Patch `other v1.0.0 (/x)` was not used in the crate graph.";
    let with = built_with(&tree, none, theirs);
    assert!(with.stdout.contains("patch.crates-io."), "{}", with.stdout);
    let unused = "warning: Patch `alpc-linux v0.1.0 (/x)` was not used in the crate graph.";
    let without = built_with(&tree, none, unused);
    without.succeeded();
    assert!(!without.stdout.contains("patch"), "{}", without.stdout);
    assert!(!without.stderr.contains("not used"), "{}", without.stderr);
}

#[test]
fn a_strangers_package_is_refused_before_it_is_built() {
    let tree = Tree::new();
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    let package = format!(r#"{{"name":"alpc","version":"1.0.1","source":"{registry}"}}"#);
    let metadata = format!(r#"{{"packages":[{package}]}}"#);
    let refused = built_with(&tree, &metadata, "");
    assert!(refused.error().contains("alpc 1.0.1"), "{}", refused.stderr);
    assert!(!refused.stdout.contains("built"), "{}", refused.stdout);
}

#[test]
fn what_root_makes_in_a_users_crate_is_given_to_the_user() {
    let tree = Tree::new();
    let theirs = tree.path("theirs");
    for file in ["Cargo.toml", "Cargo.lock", "member/Cargo.toml"] {
        tree.write(&theirs.join(file), "");
    }
    // Who isn't root has nothing to give.
    let done = end(&mut tree.script(
        ". qemu/own.sh; [ \"$(id -u)\" = 0 ] || { echo 7; exit; }
         chown 7:7 ../theirs; OWN_CRATE=$(cd ../theirs/member && pwd)
         give_back_own; stat -c %u ../theirs/Cargo.lock",
    ));
    done.succeeded();
    assert_eq!(done.stdout, "7\n");
}

#[test]
fn each_c_file_with_a_main_becomes_a_program() {
    let tree = Tree::new();
    let theirs = tree.path("theirs");
    let main = "#include <stdio.h>\n#include <mine.h>\nint two(void);\n\
                int main(void) { return printf(\"%d\\n\", two() + MINE) != 2; }\n";
    tree.write(&theirs.join("one.c"), main);
    tree.write(&theirs.join("other.c"), main);
    tree.write(&theirs.join("two.c"), "int two(void) { return 2; }\n");
    tree.write(&tree.path("headers/mine.h"), "#define MINE 3\n");
    fs::create_dir_all(tree.path("out/bin")).expect("out");
    let script = tree.repo().join("qemu/c-inside.sh");
    let mut command = tree.command("bash");
    command.current_dir(&theirs).arg(&script);
    let build = command.arg(tree.path("headers")).arg(tree.path("out"));
    end(build).succeeded();
    for program in ["one", "other"] {
        let done = end(&mut Command::new(tree.path("out/bin").join(program)));
        assert_eq!(done.stdout, "5\n");
    }
    assert_eq!(fs::read_dir(tree.path("out/bin")).expect("bin").count(), 2);

    for file in ["one.c", "other.c"] {
        fs::remove_file(theirs.join(file)).expect("remove");
    }
    assert!(end(build).error().contains("no .c file here has a main()"));
}
