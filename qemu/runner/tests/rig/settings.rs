// SPDX-License-Identifier: MIT OR Apache-2.0

//! Settings are judged before anything is built for them, and arrive as they were typed.

use std::fs;
use std::path::Path;

use crate::tree::{end, Tree};

#[test]
fn nonsense_is_told_at_once() {
    let tree = Tree::new();
    for (typed, words) in [
        ("vm-test CPUS=abc", "CPUS=abc: want a number"),
        ("vm-test CPUS=0", "CPUS=0: want a number"),
        ("vm-test BOOT_TIMEOUT=1h", "BOOT_TIMEOUT=1h: want"),
        ("vm-test ALPC_ACCEL=fast", "want kvm, tcg or auto"),
        ("vm-test ENV=A=1 B", "B: want NAME=VALUE"),
        ("vm-test ENV=ALPC_TEST_TIMEOUT=1h", "1h: want a number"),
        ("shell CPUS=2", "somebody who types"),
        ("kernel FLAVOUR=debian", "want cloud-amd64, amd64"),
        ("run CRATE=nowhere", "there is no such directory"),
        ("run CRATE=qemu", "CRATE=qemu holds no Cargo.toml"),
        ("run C=userlib", "C=userlib holds no .c file"),
        ("run C=/usr/include", "can't be seen from the root"),
        ("shell CRATE=nowhere", "there is no such directory"),
        ("run RUN=x", "make run CRATE=dir"),
        ("modules KDIR=/nowhere", "there is no such directory"),
    ] {
        let (target, setting) = typed.split_once(' ').expect("two words");
        let failed = tree.run("make", &[target, setting]);
        assert!(failed.error().contains(words), "{typed}: {}", failed.stderr);
        assert!(!tree.repo().join("target/guest").exists());
        assert!(!tree.cache().exists());
    }
}

#[test]
fn kvm_without_access_is_told_at_once() {
    let tree = Tree::new();
    if fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
    {
        // Where there is one, hide it.
        let failed = end(tree
            .mounting("mkdir dev; mount -t tmpfs tmpfs dev; touch dev/null; mount -o bind /dev/null dev/null
                       mount -o move dev /dev; qemu/rig.sh vm-test")
            .env("ALPC_ACCEL", "kvm"));
        assert!(failed.error().contains("/dev/kvm"));
        return;
    }
    let failed = tree.run("make", &["vm-test", "ALPC_ACCEL=kvm"]);
    assert!(failed.error().contains("/dev/kvm"), "{}", failed.stderr);
}

#[test]
fn another_tree_is_called_by_its_own_release() {
    let tree = Tree::new();
    let kdir = tree.path("linux");
    tree.write(&kdir.join("README"), "");
    let setting = format!("KDIR={}", kdir.display());
    assert!(tree
        .run("make", &["modules", &setting])
        .error()
        .contains("it has no .config"));
    tree.write(&kdir.join(".config"), "# CONFIG_RUST is not set\n");
    tree.write(
        &kdir.join("include/config/kernel.release"),
        "9.9.9-elsewhere\n",
    );
    let failed = tree.run("make", &["modules", &setting]);
    assert_eq!(
        failed.error(),
        "error: 9.9.9-elsewhere is built without CONFIG_RUST"
    );
}

#[test]
fn a_package_is_put_together_in_an_empty_tree() {
    let tree = Tree::new();
    tree.program("modinfo", "echo '7.3.9+x SMP preempt'");
    tree.program("depmod", "exit 1");
    tree.write(&tree.repo().join("alpc.ko"), "");
    let stage = tree.path("stage");
    let setting = format!("DESTDIR={}", stage.display());
    tree.run("make", &["install", &setting]).succeeded();
    let installed = stage.join("lib/modules/7.3.9+x/updates/alpc.ko");
    assert!(installed.exists());
    // What runs here is another.
    let failed = tree.run("make", &["install"]);
    assert!(failed.error().contains("is not installed here"));
}

#[test]
fn a_dollar_stays_one() {
    let tree = Tree::new();
    tree.program("rig.sh", "printf '%s|' \"$RUN\" \"$ENV\" \"$CRATE\" >&1");
    fs::copy(tree.path("bin/rig.sh"), tree.repo().join("qemu/rig.sh")).expect("rig.sh");
    let run = "for i in 1 2; do echo \"$i $$ ${HOME}\" # $(x)\ndone";
    let done = tree.run(
        "make",
        &["run", &format!("RUN={run}"), "ENV=A=$HOME", "CRATE=/a $b/c"],
    );
    done.succeeded();
    assert_eq!(done.stdout, format!("{run}|A=$HOME|/a $b/c|"));
    let mut command = tree.command("make");
    let done = end(command.arg("run").env("RUN", run).env("CRATE", "$c"));
    assert_eq!(done.stdout, format!("{run}||$c|"));
}

#[test]
fn the_callers_directory_may_hold_a_dollar() {
    let tree = Tree::new();
    let script = "#!/bin/bash\necho \"$ALPC_CALLER\"\n";
    tree.write(&tree.repo().join("qemu/rig.sh"), script);
    let done = end(tree.command("make").arg("demo").env("PWD", "/a $b/c"));
    done.succeeded();
    assert_eq!(done.stdout, "/a $b/c\n");
}

#[test]
fn a_path_may_hold_a_dollar_and_a_blank() {
    let tree = Tree::new();
    let repo = tree.path("a $HOME b");
    fs::rename(tree.repo(), &repo).expect("rename");
    let cache = tree.path("c $HOME d");
    let mut command = tree.command("make");
    command.current_dir(&repo).arg("distclean");
    let run = |command: &mut std::process::Command| {
        fs::create_dir_all(repo.join("target")).expect("target");
        tree.write(&cache.join("lock"), "");
        tree.write(&cache.join("kernel.tmp/x"), "");
        end(command).succeeded();
        assert!(!cache.exists());
        assert!(!repo.join("target").exists());
    };
    run(command.env("ALPC_CACHE", &cache));
    run(command
        .env_remove("ALPC_CACHE")
        .arg(format!("ALPC_CACHE={}", cache.display())));
}

#[test]
fn a_crate_is_looked_for_where_make_was_called_too() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("elsewhere/mine")).expect("a directory");
    let mut command = tree.command("make");
    command
        .current_dir(tree.path("elsewhere"))
        .env("PWD", tree.path("elsewhere"));
    let failed = end(command.args(["-C", "../repo", "run", "CRATE=mine"]));
    assert!(
        failed.error().contains("CRATE=mine holds no Cargo.toml"),
        "{}",
        failed.stderr
    );
    let place = tree.path("elsewhere/mine");
    assert!(
        failed.stderr.contains(place.to_str().expect("a path")),
        "{}",
        failed.stderr
    );
}

#[test]
fn subordinate_ids_are_advised_that_nobody_has() {
    let tree = Tree::new();
    tree.write(
        &tree.path("subuid"),
        "first:100000:65536\nsecond:231072:65536\n",
    );
    tree.write(&tree.path("subgid"), "first:100000:65536\n# 1:900000:1\n");
    let ids = |files: &str| {
        let done = end(&mut tree.script(&format!("free_ids {files}")));
        done.succeeded();
        done.stdout
    };
    assert_eq!(ids("../subuid ../subgid"), "296608-362143\n");
    assert_eq!(ids("../subgid ../nowhere"), "165536-231071\n");
    assert_eq!(ids("../nowhere"), "100000-165535\n");
}

#[test]
fn another_kind_of_machine_is_told_at_once() {
    let tree = Tree::new();
    tree.program("uname", "echo aarch64");
    assert!(tree.run("make", &["demo"]).error().contains("aarch64"));
    assert!(!tree.cache().exists());
}

#[test]
fn where_cd_may_go_instead_is_of_no_concern() {
    let tree = Tree::new();
    tree.write(&tree.path("other/qemu/lib.sh"), "exit 9\n");
    let mut command = tree.command("bash");
    let done = end(command
        .args(["-c", ". qemu/lib.sh; echo \"$QEMU_DIR\""])
        .env("CDPATH", format!("{}:.", tree.path("other").display())));
    done.succeeded();
    assert_eq!(done.stdout, format!("{}/qemu\n", tree.repo().display()));
}

#[test]
fn a_cache_in_the_repository_is_no_part_of_it() {
    let tree = Tree::new();
    let cache = tree.repo().join("big");
    tree.write(&cache.join("kernel-0123456789abcdef/a.rs"), "");
    let mut script = tree.script("files '*.rs'");
    let done = end(script.env("ALPC_CACHE", "big"));
    done.succeeded();
    assert_eq!(done.stdout, "alpc_mod/names.rs\n");
}

#[test]
fn the_gates_need_no_git() {
    let tree = Tree::new();
    let gates = |names: &[&str]| tree.run("qemu/gates.sh", names);
    assert!(!Path::new(&tree.repo()).join(".git").exists());
    gates(&["spdx", "unsafe", "length"]).succeeded();
    tree.write(&tree.repo().join("alpc_mod/bad.rs"), "fn f() {}\n");
    // What was built is not looked at.
    tree.write(&tree.repo().join("target/worse.rs"), "fn f() {}\n");
    let failed = gates(&["spdx"]);
    assert!(!failed.ok);
    assert!(
        failed.stderr.contains("alpc_mod/bad.rs: no SPDX"),
        "{}",
        failed.stderr
    );
    assert!(!failed.stderr.contains("worse.rs"), "{}", failed.stderr);
    assert!(gates(&["unsafe"])
        .stderr
        .contains("alpc_mod/bad.rs: has no #![deny"));
    // A gate that sees nothing has not been passed.
    fs::remove_dir_all(tree.repo().join("alpc_mod")).expect("alpc_mod");
    assert!(!gates(&["unsafe"]).ok);
}
