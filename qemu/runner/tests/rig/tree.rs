// SPDX-License-Identifier: MIT OR Apache-2.0

//! A copy of the rig in a temporary directory, as a tarball would have it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What the rig's scripts are, and what its gates look at.
const FILES: &[&str] = &["Makefile", "userlib/Cargo.toml", "alpc_mod/names.rs"];

pub struct Tree {
    dir: TempDir,
}

/// How a command of the rig ended.
pub struct End {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl End {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        End {
            ok: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The one line that says what is wrong, of a command that failed.
    pub fn error(&self) -> &str {
        let all = || format!("stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.ok, "it didn't fail\n{}", all());
        let mut lines = self.stderr.lines().filter(|l| l.starts_with("error: "));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no error\n{}", all()));
        assert_eq!(lines.next(), None, "one line\n{}", all());
        assert!(line.len() <= 100, "{} columns: {line}", line.len());
        line
    }

    pub fn succeeded(&self) {
        assert!(self.ok, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
    }
}

impl Tree {
    pub fn new() -> Self {
        let tree = Tree {
            dir: TempDir::with_prefix("alpc-rig-").expect("a temporary directory"),
        };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in FILES {
            copy(&from.join(file), &tree.repo().join(file));
        }
        for entry in fs::read_dir(from.join("qemu")).expect("qemu/").flatten() {
            if entry.file_type().expect("a type").is_file() {
                copy(
                    &entry.path(),
                    &tree.repo().join("qemu").join(entry.file_name()),
                );
            }
        }
        fs::create_dir(tree.path("bin")).expect("bin");
        tree
    }

    /// A path beside the repository's copy.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub fn write(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// A program that the rig finds before the machine's own.
    pub fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        self.write(&path, &format!("#!/bin/bash\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    /// A command in the repository's copy. It has nothing of this process but its path.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").expect("PATH");
        let mut command = Command::new(program);
        command
            .current_dir(self.repo())
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("ALPC_CACHE", self.cache())
            // Nobody listens there.
            .env("MIRROR", "http://127.0.0.1:9/debian");
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) -> End {
        end(self.command(program).args(args))
    }

    /// A script in which the rig's functions are known.
    pub fn script(&self, script: &str) -> Command {
        let mut command = self.command("bash");
        command.args(["-c", &format!(". qemu/lib.sh\n{script}")]);
        command
    }

    /// A script that may mount, where nobody sees it.
    pub fn mounting(&self, script: &str) -> Command {
        let id = Command::new("id").arg("-u").output().expect("id").stdout;
        let mut command = self.command("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if id != b"0\n" {
            command.arg("--map-root-user");
        }
        // The root, which runs these tests where the machine has no Rust, has no mount.
        let mount = "command -v mount >/dev/null || mount() { busybox mount \"$@\"; }";
        command.args(["bash", "-euc", &format!("{mount}\n{script}")]);
        command
    }
}

pub fn end(command: &mut Command) -> End {
    End::of(command.output().expect("a program that starts"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
    fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
}
