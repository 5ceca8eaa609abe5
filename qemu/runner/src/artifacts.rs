// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into the guest: cargo's output, the module, and a minimal /etc.

use crate::initramfs::Archive;
use crate::options::Options;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The users of the guest: name and id, which is the group's too.
const USERS: &[(&str, u32)] = &[
    ("root", 0),
    ("alice", 1000),
    ("bob", 1001),
    ("carol", 1002),
    ("mallory", 1003),
    ("nobody", 65534),
];

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The root's cargo speaks of the repository, where this runs, as /repo. What this machine has
/// there may be another copy of it.
fn here(path: &str) -> PathBuf {
    PathBuf::from(path.strip_prefix("/repo/").unwrap_or(path))
}

/// The executables in cargo's messages by target name; tests or programs. A
/// name that several packages share is told apart by its package.
fn executables(messages: &str, want_tests: bool) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let is_test = message["profile"]["test"].as_bool().unwrap_or(false);
        let (Some(path), Some(name)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
        ) else {
            continue;
        };
        if message["reason"] == "compiler-artifact" && is_test == want_tests {
            let name = match found.contains_key(name) {
                false => name.to_string(),
                true => format!(
                    "{name}-{}",
                    message["target"]["kind"][0].as_str().unwrap_or("2")
                ),
            };
            found.insert(name, here(path));
        }
    }
    found
}

/// Whether a test binary has a test whose name contains `filter`. One that can't be asked on
/// this machine may have it.
fn has_test(binary: &Path, filter: &str) -> bool {
    let listed = Command::new(binary).args(["--list", filter]).output();
    listed.map_or(true, |listed| {
        !listed.status.success() || String::from_utf8_lossy(&listed.stdout).contains(": test\n")
    })
}

/// Tests of what only the debug kernel has.
const DEBUG_ONLY: &[&str] = &["faults", "view_faults"];

/// Tests of what only a guest with a policy has.
const POLICY_ONLY: &[&str] = &["mac"];

fn add(
    archive: &mut Archive,
    dir: &str,
    lists: &[PathBuf],
    tests: bool,
    wanted: impl Fn(&str, &Path) -> bool,
) -> Result<Vec<String>, String> {
    let mut added = Vec::new();
    for list in lists {
        let messages = String::from_utf8_lossy(&read(list)?).into_owned();
        for (name, path) in executables(&messages, tests) {
            if wanted(&name, &path) {
                archive.file(&format!("{dir}/{name}"), 0o755, &read(&path)?);
                added.push(name);
            }
        }
    }
    Ok(added)
}

/// Whether one of the test binaries is called `name`.
fn is_binary(lists: &[PathBuf], name: &str) -> Result<bool, String> {
    for list in lists {
        if executables(&String::from_utf8_lossy(&read(list)?), true).contains_key(name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The initramfs for a boot. Where `--only` names a test binary, that one goes
/// in alone, and all of it is run: the option is then used up.
pub fn image(options: &mut Options) -> Result<Vec<u8>, String> {
    let mut archive = Archive::default();
    for dir in [
        "proc", "sys", "dev", "bin", "etc", "tests", "run", "home", "drivers",
    ] {
        archive.dir(dir, 0o755, 0);
    }
    archive.dir("tmp", 0o1777, 0);
    archive.dir("root", 0o700, 0);
    archive.character_device("dev/console", 0o600, 5, 1);

    let mut passwd = String::new();
    let mut group = String::new();
    for &(name, id) in USERS {
        let home = match id {
            0 => "/root".to_string(),
            _ => format!("/home/{name}"),
        };
        if id != 0 {
            archive.dir(&home, 0o755, id);
        }
        passwd += &format!("{name}:x:{id}:{id}::{home}:/bin/sh\n");
        group += &format!("{name}:x:{id}:\n");
    }
    archive.file("etc/passwd", 0o644, passwd.as_bytes());
    archive.file("etc/group", 0o644, group.as_bytes());

    archive.file("init", 0o755, &read(&options.init)?);
    archive.file("alpc.ko", 0o644, &read(&options.module)?);
    if let Some(policy) = &options.policy {
        archive.file("policy", 0o600, &read(policy)?);
    }
    for driver in &options.drivers {
        let name = driver.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("drivers/{name}"), 0o644, &read(driver)?);
    }
    archive.file("bin/busybox", 0o755, &read(&options.busybox)?);
    archive.symlink("bin/sh", "busybox");
    if let Some(cmd) = &options.cmd {
        archive.file(
            "run.cmd",
            0o755,
            format!("PATH=/run:/bin\ncd /tmp\n{cmd}\n").as_bytes(),
        );
    }

    let only = options.only.take();
    let is_listed = |name: &str| {
        let in_list = |list: &[String]| list.iter().any(|one| one == name);
        (options.binaries.is_empty() || in_list(&options.binaries)) && !in_list(&options.skip)
    };
    // The name of a binary that is not in this run may be a part of a test's name.
    let (binary, filter) = match only {
        Some(only) if is_listed(&only) && is_binary(&options.tests, &only)? => (Some(only), None),
        other => (None, other),
    };
    let tests = add(&mut archive, "tests", &options.tests, true, |name, path| {
        is_listed(name)
            && (options.policy.is_some() || !POLICY_ONLY.contains(&name))
            && (options.debug || !DEBUG_ONLY.contains(&name))
            && binary.as_ref().is_none_or(|binary| binary == name)
            && filter.as_ref().is_none_or(|part| has_test(path, part))
    })?;
    if options.mode == "test" && tests.is_empty() {
        return Err(match filter.or(binary) {
            Some(name) if DEBUG_ONLY.contains(&name.as_str()) => {
                format!("T={name}: those are tests of the debug kernel (FLAVOUR=debug)")
            }
            Some(part) => {
                format!("T={part}: no test binary has that name, and no test contains it")
            }
            None => "there are no test binaries".into(),
        });
    }
    options.only = filter;
    add(&mut archive, "bin", &options.bins, false, |_, _| true)?;
    let mut programs = add(&mut archive, "run", &options.run, false, |_, _| true)?;
    for program in &options.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("run/{name}"), 0o755, &read(program)?);
        programs.push(name.into_owned());
    }
    if options.mode == "run" {
        one_or_told(&programs, options.cmd.is_some())?;
    }
    Ok(archive.finish())
}

/// Without a command line there is one program to run: which of several would be a guess.
fn one_or_told(programs: &[String], told: bool) -> Result<(), String> {
    match programs {
        [] => Err("there is no program to run".into()),
        [first, second, ..] if !told => Err(format!(
            "several programs, and no RUN: {}\n       RUN='{second} & sleep 1; {first}' would run two",
            programs.join(", "),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"
{"reason":"compiler-artifact","target":{"name":"calls","kind":["test"]},"profile":{"test":true},"executable":"/t/calls-1"}
{"reason":"compiler-artifact","target":{"name":"demo","kind":["bin"]},"profile":{"test":false},"executable":"/t/demo"}
{"reason":"compiler-artifact","target":{"name":"demo","kind":["bin"]},"profile":{"test":true},"executable":"/t/demo-1"}
{"reason":"compiler-artifact","target":{"name":"libc","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"build-finished","success":true}
no json at all"#;

    #[test]
    fn several_programs_are_named_where_none_was_chosen() {
        let programs = ["client".to_string(), "server".to_string()];
        let why = one_or_told(&programs, false).expect_err("two");
        assert!(why.contains("client, server"), "{why}");
        assert_eq!(one_or_told(&programs, true), Ok(()));
        assert_eq!(one_or_told(&programs[..1], false), Ok(()));
        assert!(one_or_told(&[], true).is_err());
    }

    #[test]
    fn a_test_binary_is_asked_for_its_tests() {
        let this = std::env::current_exe().expect("a path");
        assert!(has_test(&this, "binary_is_asked_for"));
        assert!(!has_test(&this, "no_test_is_called_this_way"));
        assert!(has_test(Path::new("/nonexistent"), "x"));
    }

    #[test]
    fn tests_and_programs_are_told_apart() {
        let tests: Vec<String> = executables(MESSAGES, true).into_keys().collect();
        assert_eq!(tests, ["calls", "demo"]);
        let programs = executables(MESSAGES, false);
        assert_eq!(programs.len(), 1);
        assert_eq!(programs["demo"], Path::new("/t/demo"));
        assert_eq!(here("/repo/target/x"), Path::new("target/x"));
    }
}
