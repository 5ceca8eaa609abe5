// SPDX-License-Identifier: MIT OR Apache-2.0

//! The rig removes what it has made, and nothing else.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use crate::tree::{end, Tree};

const ROOT: &str = "root-0123456789abcdef";

/// What the rig of a version without marks has left in its cache.
fn fill(tree: &Tree, dir: &Path) {
    for file in [
        "lock",
        "root.log",
        "kernel-list.log",
        "kernel-7.3.4+deb13-amd64.log",
        "release-0123456789abcdef",
        "kvm-01234567-89ab-cdef-0123-456789abcdef",
        "root-0123456789abcdef/etc/debian_version",
        "root-fedcba9876543210.tmp/etc/passwd",
        "kernel-0123456789abcdef/versions.txt",
        "kernel.tmp/apt/names",
        "debug-0123456789abcdef/versions.txt",
        "debug.tmp/stock.txt",
        "cargo/registry/index",
    ] {
        tree.write(&dir.join(file), "");
    }
}

#[test]
fn a_foreign_directory_is_neither_used_nor_removed() {
    let tree = Tree::new();
    let photo = tree.cache().join("photos/a.jpg");
    tree.write(&photo, "mine");
    assert!(tree
        .run("make", &["distclean"])
        .error()
        .contains("(photos)"));
    assert!(tree.run("qemu/root.sh", &[]).error().contains("(photos)"));
    // Nor one whose only name could be the rig's too.
    tree.write(&tree.path("other/cargo/registry/mine"), "mine");
    let other = tree.path("other");
    for program in ["qemu/root.sh", "qemu/rig.sh"] {
        let refused = end(tree
            .command(program)
            .arg("distclean")
            .env("ALPC_CACHE", &other));
        assert!(refused.error().contains("the rig's"), "{}", refused.stderr);
    }
    assert_eq!(fs::read(photo).expect("the photo"), b"mine");
    assert!(other.join("cargo/registry/mine").exists());
    for dir in [tree.cache(), other] {
        assert_eq!(fs::read_dir(dir).expect("a directory").count(), 1);
    }
}

#[test]
fn a_cache_without_a_mark_is_used_and_removed() {
    let tree = Tree::new();
    fill(&tree, &tree.cache());
    end(&mut tree.script("lock_cache")).succeeded();
    assert!(tree.cache().join(".alpc-cache").exists());
    fs::remove_file(tree.cache().join(".alpc-cache")).expect("the mark");
    tree.run("make", &["distclean"]).succeeded();
    assert!(!tree.cache().exists());
}

#[test]
fn what_somebody_put_beside_the_rigs_own_stays() {
    let tree = Tree::new();
    fill(&tree, &tree.cache());
    end(&mut tree.script("lock_cache")).succeeded();
    let own = tree.cache().join("root-of-all/thoughts");
    tree.write(&own, "mine");
    tree.run("make", &["distclean"]).succeeded();
    assert_eq!(fs::read(&own).expect("thoughts"), b"mine");
    assert_eq!(fs::read_dir(tree.cache()).expect("cache").count(), 1);
}

#[test]
fn a_root_made_in_a_foreign_directory_is_used_still() {
    let tree = Tree::new();
    fill(&tree, &tree.cache());
    tree.write(&tree.cache().join("photos/a.jpg"), "mine");
    end(&mut tree.script("lock_cache")).succeeded();
    assert!(tree
        .run("make", &["distclean"])
        .error()
        .contains("(photos)"));
    assert!(tree.cache().join(ROOT).exists());
}

#[test]
fn a_mount_point_is_emptied_of_the_rigs_own_and_stays() {
    let tree = Tree::new();
    let done = end(&mut tree.mounting(
        "mkdir \"$ALPC_CACHE\"
         mount -t tmpfs tmpfs \"$ALPC_CACHE\"
         mkdir -p \"$ALPC_CACHE/lost+found/1\"
         bash -c '. qemu/lib.sh; lock_cache; mkdir -p \"$CACHE/root-0123456789abcdef/etc\"'
         make distclean
         ls \"$ALPC_CACHE\" \"$ALPC_CACHE/lost+found\"",
    ));
    done.succeeded();
    assert!(done.stdout.ends_with("lost+found:\n1\n"), "{}", done.stdout);
    assert!(!done.stdout.contains("root-"), "{}", done.stdout);
}

#[test]
fn what_is_mounted_in_the_cache_is_not_removed() {
    let tree = Tree::new();
    fill(&tree, &tree.cache());
    tree.write(&tree.path("precious/photo"), "mine");
    let refused = end(&mut tree.mounting(
        "mount -o bind ../precious \"$ALPC_CACHE/root-0123456789abcdef/etc\"; make distclean",
    ));
    assert!(
        refused.stderr.contains(" is mounted: unmount it first"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        fs::read(tree.path("precious/photo")).expect("the photo"),
        b"mine"
    );
}

#[test]
fn a_link_in_the_cache_is_removed_and_what_it_names_is_not() {
    let tree = Tree::new();
    tree.write(&tree.path("precious/photo"), "mine");
    tree.write(&tree.cache().join("lock"), "");
    std::os::unix::fs::symlink(tree.path("precious"), tree.cache().join("cargo")).expect("a link");
    tree.run("make", &["distclean"]).succeeded();
    assert!(!tree.cache().exists());
    assert!(tree.path("precious/photo").exists());
}

#[test]
fn a_link_to_the_cache_is_looked_through() {
    let tree = Tree::new();
    let link = tree.path("link");
    std::os::unix::fs::symlink(tree.cache(), &link).expect("a link");
    let photo = tree.cache().join("photos/a.jpg");
    tree.write(&photo, "mine");
    let distclean = || {
        end(tree
            .command("make")
            .arg("distclean")
            .env("ALPC_CACHE", &link))
    };
    assert!(distclean().error().contains("(photos)"));
    fs::remove_dir_all(tree.cache()).expect("the photos");
    fill(&tree, &tree.cache());
    distclean().succeeded();
    assert!(!tree.cache().exists());
}

#[test]
fn what_is_mounted_behind_a_link_is_not_removed() {
    let tree = Tree::new();
    fill(&tree, &tree.cache());
    tree.write(&tree.path("precious/photo"), "mine");
    std::os::unix::fs::symlink(tree.path(""), tree.path("link")).expect("a link");
    let mut mounting = tree
        .mounting("mount -o bind ../precious ../cache/root-0123456789abcdef/etc; make distclean");
    let refused = end(mounting.env("ALPC_CACHE", tree.path("link/cache")));
    assert!(
        refused.stderr.contains(" is mounted: unmount it first"),
        "{}",
        refused.stderr
    );
    assert!(tree.path("precious/photo").exists());
}

#[test]
fn what_is_removed_in_part_passes_for_nothing() {
    let tree = Tree::new();
    fill(&tree, &tree.cache());
    end(&mut tree.script("lock_cache")).succeeded();
    // It ends in the midst of the root.
    tree.program(
        "rm",
        "case \"$*\" in */root-0123*) exit 1 ;; esac; exec /bin/rm \"$@\"",
    );
    let failed = tree.run("make", &["distclean"]);
    assert!(failed.error().contains("no right to remove"));
    assert!(!tree.cache().join(ROOT).exists());
    assert!(tree.cache().join(format!("{ROOT}.tmp")).exists());
    fs::remove_file(tree.path("bin/rm")).expect("rm");
    tree.run("make", &["distclean"]).succeeded();
    assert!(!tree.cache().exists());
}

#[test]
fn a_cache_in_use_is_removed_when_it_no_longer_is() {
    let tree = Tree::new();
    let mut user = tree
        .script("lock_cache; mkdir \"$CACHE/debug.tmp\"; echo locked; read -r; touch \"$CACHE/debug.tmp/done\"")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut line = String::new();
    let mut said = BufReader::new(user.stdout.take().expect("stdout"));
    said.read_line(&mut line).expect("a line");
    let mut remover = tree
        .command("qemu/rig.sh")
        .arg("distclean")
        .stderr(Stdio::piped())
        .spawn()
        .expect("rig.sh");
    line.clear();
    let mut told = BufReader::new(remover.stderr.take().expect("stderr"));
    told.read_line(&mut line).expect("a line");
    assert!(line.contains("waiting for another make"), "{line}");
    assert!(tree.cache().join("debug.tmp").exists());
    user.stdin
        .take()
        .expect("stdin")
        .write_all(b"\n")
        .expect("a line");
    assert!(user.wait().expect("wait").success());
    assert!(remover.wait().expect("wait").success());
    assert!(!tree.cache().exists());
}

#[test]
fn what_a_guest_runs_from_is_not_removed() {
    let tree = Tree::new();
    tree.write(&tree.repo().join("target/qemu.lock"), "");
    tree.write(&tree.cache().join("lock"), "");
    for target in ["clean", "distclean"] {
        let script = format!("exec 7<target/qemu.lock; flock 7; make {target} 7<&-");
        let refused = end(&mut tree.script(&script));
        assert!(refused.error().contains("a guest runs from here"));
        assert!(tree.repo().join("target/qemu.lock").exists());
        assert!(tree.cache().exists());
    }
    tree.run("make", &["distclean"]).succeeded();
    assert!(!tree.repo().join("target").exists());
}

#[test]
fn without_a_home_the_cache_is_in_the_users_own() {
    let tree = Tree::new();
    let mut script = tree.script("echo \"$CACHE\"");
    let done = end(script.env_remove("HOME").env_remove("ALPC_CACHE"));
    done.succeeded();
    assert!(done.stdout.starts_with('/'), "{}", done.stdout);
    assert!(done.stdout.ends_with("/.cache/alpc\n"), "{}", done.stdout);
}
