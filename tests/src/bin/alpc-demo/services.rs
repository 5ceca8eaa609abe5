// SPDX-License-Identifier: MIT OR Apache-2.0

//! The example `service_manager`, which opens the files of its clients as those clients.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use alpc_tests::creds::Place;
use alpc_tests::{User, ALICE, BOB, CAROL, ROOT};

use super::say;

/// A run of the example, whose lines are told as they are waited for.
struct Program {
    name: &'static str,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn start(user: User, arguments: &[&str]) -> Self {
        let path = std::env::current_exe().expect("the demo has a path");
        say(
            user.name,
            &format!("$ service_manager {}", arguments.join(" ")),
        );
        let mut child = Command::new(path.with_file_name("service_manager"))
            .args(arguments)
            .uid(user.uid)
            .gid(user.gid)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example is beside the demo");
        let output = child.stdout.take().expect("it is piped");
        Self {
            name: user.name,
            child,
            lines: BufReader::new(output),
        }
    }

    /// Tells the next line.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("read");
        assert!(length > 0, "{} has no more to say", self.name);
        say(self.name, line.trim_end());
        line
    }

    /// Tells lines until one has this in it.
    #[track_caller]
    fn says(&mut self, expected: &str) {
        while !self.line().contains(expected) {}
    }

    /// Waits for its end.
    #[track_caller]
    fn ends(mut self, well: bool) {
        let status = self.child.wait().expect("wait");
        assert_eq!(status.success(), well, "{}: {status}", self.name);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, or is to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end, with this as its last word.
#[track_caller]
fn run(user: User, arguments: &[&str], expected: &str, well: bool) {
    let mut program = Program::start(user, arguments);
    program.says(expected);
    program.ends(well);
}

pub fn chapter() {
    let place = Place::new();
    let file = |name, owner: User, what| {
        let path = place.file(name, owner.uid, owner.gid, 0o600);
        std::fs::write(&path, what).expect(name);
        path.into_os_string().into_string().expect("a plain name")
    };
    let bobs = &file("bobs", BOB, "this is in bob's file\n");
    let roots = &file("roots", ROOT, "and this in root's\n");
    let [operator, looker] = [ALICE, CAROL].map(|user| user.uid.to_string());

    say("demo", "alice may register services, carol may only look");
    let mut manager = Program::start(ROOT, &["serve", &operator, &looker]);
    manager.says("listening");
    let greeter = ["register", "greeter", "/bin/busybox", "cat"];
    let no = "refused: only root and the operator";
    run(BOB, &greeter, no, false);
    run(ALICE, &greeter, "greeter is registered", true);
    manager.says("uid 1000: \"register");

    say("demo", "the manager is root, and opens files as who asks");
    let own = ["start", "greeter", bobs];
    run(BOB, &own, "greeter is started", true);
    manager.says("this is in bob's file");
    let denied = "refused: Permission denied";
    run(BOB, &["start", "greeter", roots], denied, false);
    run(ALICE, &own, denied, false);
    run(CAROL, &own, "for want of the right", false);
    manager.says("uid 1002: \"start");

    say("demo", "who sends again is known by the token");
    run(CAROL, &["status"], "as uid 1001", true);
    assert!(manager.line().starts_with("looked up uid 1002"));
    assert!(manager.line().starts_with("uid 1002: \"list"));
    assert!(manager.line().starts_with("uid 1002: \"status greeter"));

    say(
        "demo",
        "bob waits twice for what isn't there, once for a second only",
    );
    let late = ["start", "late", bobs];
    let mut patient = Program::start(BOB, &late);
    manager.says("uid 1001: \"start late");
    let mut impatient = Program::start(BOB, &[&late[..], &["1"]].concat());
    manager.says("uid 1001: \"start late");
    impatient.says("I revoke");
    let cat = ["register", "late", "/bin/busybox", "cat"];
    run(ALICE, &cat, "late is registered", true);
    patient.says("late is started");
    patient.ends(true);
    impatient.says("refused: impersonate: the security context is revoked");
    impatient.ends(false);
    manager.says("this is in bob's file");
}
