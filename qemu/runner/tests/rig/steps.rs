// SPDX-License-Identifier: MIT OR Apache-2.0

//! A step that fails says which, and why.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tree::{end, Tree};

#[test]
fn without_a_network_the_root_says_so() {
    let tree = Tree::new();
    // In the root there is none, and so no real one to fail.
    if Command::new("mmdebstrap")
        .arg("--version")
        .output()
        .is_err()
    {
        tree.program(
            "mmdebstrap",
            "echo 'E: Could not connect to 127.0.0.1:9' >&2; exit 1",
        );
    }
    let failed = tree.run("qemu/root.sh", &[]);
    let line = failed.error();
    assert!(
        line.starts_with("error: making a Debian trixie root failed: no network: "),
        "{line}"
    );
}

#[test]
fn without_room_nothing_is_begun() {
    let tree = Tree::new();
    tree.program("mmdebstrap", "touch \"$ALPC_CACHE/begun\"");
    let failed = end(&mut tree.mounting(
        "mkdir \"$ALPC_CACHE\"; mount -t tmpfs -o size=1m tmpfs \"$ALPC_CACHE\"; qemu/root.sh",
    ));
    let line = failed.error();
    assert!(line.contains("no disk: the Debian root"), "{line}");
}

#[test]
fn a_disk_that_fills_up_is_named() {
    let tree = Tree::new();
    let failed = end(&mut tree.mounting(
        "mkdir disk; mount -t tmpfs -o size=1m tmpfs disk
         bash -c '. qemu/lib.sh; lock_cache; say \"filling a disk (small)\"
         with_progress \"$CACHE/root.log\" 1 dd if=/dev/zero of=disk/file bs=1M'",
    ));
    let line = failed.error();
    assert!(
        line.starts_with("error: filling a disk failed: no disk: "),
        "{line}"
    );
}

#[test]
fn a_missing_right_is_named() {
    let tree = Tree::new();
    let failed = end(tree
        .command("qemu/root.sh")
        .env("ALPC_CACHE", "/dev/null/cache"));
    assert!(failed.error().contains("no right"));
    let failed = end(&mut tree.script(
        "lock_cache; say 'mounting it'
         with_progress \"$CACHE/root.log\" 1 bash -c 'echo mount: /x: permission denied.; exit 32'",
    ));
    let line = failed.error();
    assert!(
        line.starts_with("error: mounting it failed: no right: "),
        "{line}"
    );
}

#[test]
fn an_unknown_failure_shows_what_was_said_last() {
    let tree = Tree::new();
    let failed = end(&mut tree.script(
        "lock_cache; say 'baking a cake'
         with_progress \"$CACHE/root.log\" 1 bash -c 'echo no eggs; exit 1'",
    ));
    assert!(failed.error().starts_with("error: baking a cake failed: "));
    assert!(failed.stderr.contains("no eggs\n"), "{}", failed.stderr);
}

/// A stand-in for mmdebstrap that gets as far as its tree, tells `started`, and holds `held`.
fn slow(tree: &Tree) {
    tree.program(
        "mmdebstrap",
        "for word in \"$@\"; do case $word in *.tmp) mkdir -p \"$word/etc\" ;; esac; done
         exec 5>../held; flock 5; touch ../started; sleep 300",
    );
}

/// One that succeeds.
fn quick(tree: &Tree) {
    tree.program(
        "mmdebstrap",
        "for word in \"$@\"; do case $word in *.tmp)
         mkdir -p \"$word/etc\"; touch \"$word/etc/debian_version\" ;; esac; done",
    );
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_step_ends_whole_and_its_leftovers_make_room() {
    let tree = Tree::new();
    slow(&tree);
    let run = tree
        .command("qemu/root.sh")
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("root.sh");
    wait_until("it starts", || tree.path("started").exists());
    // The shell's own, since a root has no program of that name.
    let kill = format!("kill -TERM -- -{}", run.id());
    end(&mut tree.script(&kill)).succeeded();
    let output = run.wait_with_output().expect("wait");
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().expect("a line");
    assert_eq!(last, "error: interrupted while making a Debian trixie root");
    assert!(!said.contains("Killed"), "{said}");
    // Nothing of it works on, and would be in the way of the next.
    wait_until("all of it has ended", || {
        let held = Command::new("flock")
            .arg("-n")
            .arg(tree.path("held"))
            .arg("true")
            .status();
        held.expect("flock").success()
    });

    // A disk with room for one of them.
    tree.program(
        "df",
        "free=9000; ! compgen -G \"$ALPC_CACHE/*.tmp\" >/dev/null || free=5000
         printf 'Filesystem\\nx x x %s x x\\n' $free",
    );
    quick(&tree);
    let done = tree.run("qemu/root.sh", &[]);
    done.succeeded();
    assert!(
        done.stdout
            .starts_with(tree.cache().to_str().expect("a path")),
        "{}",
        done.stdout
    );
}

/// A stand-in for the root, in which the archive has one kernel and each step succeeds.
const ROOT: &str = r#"#!/bin/bash
cd "$3/kernel.tmp"
case "$*" in
*"inside.sh list") echo "7.3.9+x 1 linux-source-7.3" >candidates ;;
*"inside.sh fetch "*) mkdir debs source && touch debs/x source/Makefile ;;
*"inside.sh prepare "*) touch versions.txt ;;
*) exit 9 ;;
esac
"#;

#[test]
fn a_kernel_tree_is_made_once_from_what_its_steps_leave() {
    let tree = Tree::new();
    tree.write(&tree.repo().join("qemu/enter.sh"), ROOT);
    let root = end(&mut tree.script("root_dir")).stdout;
    tree.write(&Path::new(root.trim()).join("etc/debian_version"), "");
    tree.write(&tree.cache().join("lock"), "");
    tree.write(&tree.cache().join("kernel.tmp/source/rest"), "");
    let first = tree.run("qemu/kdir.sh", &[]);
    first.succeeded();
    let dir = Path::new(first.stdout.trim());
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("the tree")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["source", "versions.txt"]);
    assert!(!dir.join("source/rest").exists());
    assert!(!tree.cache().join("kernel.tmp").exists());
    // Nothing is left to do.
    tree.write(&tree.repo().join("qemu/enter.sh"), "#!/bin/false\n");
    let again = tree.run("qemu/kdir.sh", &[]);
    again.succeeded();
    assert_eq!(again.stdout, first.stdout);
}

#[test]
fn a_kernel_that_the_archive_has_no_more_is_named() {
    let tree = Tree::new();
    let none = "#!/bin/bash\n: >\"$3/kernel.tmp/candidates\"\n";
    tree.write(&tree.repo().join("qemu/enter.sh"), none);
    let root = end(&mut tree.script("root_dir")).stdout;
    tree.write(&Path::new(root.trim()).join("etc/debian_version"), "");
    tree.write(&tree.cache().join("lock"), "");
    let failed = end(tree.command("qemu/kdir.sh").env("KRELEASE", "7.3.8+x"));
    assert!(failed.error().contains("has no kernel 7.3.8+x"));
}

#[test]
fn without_a_terminal_progress_is_told_by_lines() {
    let tree = Tree::new();
    let done = end(tree
        .script("lock_cache; say 'waiting'; with_progress \"$CACHE/root.log\" 4 bash -c 'echo; sleep 2'")
        .env("ALPC_PROGRESS_EVERY", "1"));
    done.succeeded();
    assert!(done.stderr.contains("25 %\n"), "{}", done.stderr);
    assert!(!done.stderr.contains('\r'), "{}", done.stderr);
}

#[test]
fn the_bar_fits_its_terminal() {
    let tree = Tree::new();
    for (columns, full) in [(12, 12), (24, 24), (40, 40), (200, 56)] {
        let done = end(tree.script("draw 99").env("COLUMNS", columns.to_string()));
        done.succeeded();
        let widest = done.stderr.split('\r').map(str::len).max().expect("a bar");
        assert!(
            widest < columns && widest <= full,
            "{columns}: {:?}",
            done.stderr
        );
    }
}
