// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict on a boot: exit device, init's last line, tests, kernel log.

use crate::guest::{Outcome, EXIT_SUCCESS};
use crate::options::Options;
use crate::scan;

#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    pub passed: u64,
    pub failed: u64,
    pub problems: Vec<String>,
}

/// The numbers of a line like `test result: ok. 3 passed; 1 failed; ...`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let numbers = line.split_once("test result: ")?.1;
    let before = |word: &str| {
        numbers
            .split_once(word)?
            .0
            .split_whitespace()
            .last()?
            .parse()
            .ok()
    };
    Some((before(" passed")?, before(" failed")?))
}

/// How much of what the failed tests of a binary have said is told again.
const LINES_TOLD: usize = 60;

/// Sums up libtest's results, and keeps what failed tests have said. A binary that failed
/// without a failed test of its own (it crashed, hung, or left the module in use) counts as one.
fn tally(guest: &str) -> Verdict {
    let mut verdict = Verdict::default();
    let mut of_this_binary = 0;
    // libtest has two parts headed so: what each failed test has said, and their names.
    let mut told = None;
    for line in guest.lines() {
        if line == "failures:" {
            told = told.is_none().then_some(0);
        } else if let Some(lines) = told.as_mut().filter(|lines| **lines < LINES_TOLD) {
            if !line.is_empty() {
                *lines += 1;
                verdict.problems.push(line.to_string());
            }
        }
        if let Some((passed, failed)) = counts(line) {
            verdict.passed += passed;
            verdict.failed += failed;
            of_this_binary += failed;
        } else if line.starts_with("init: ") && line.contains(": FAILED in ") {
            verdict.failed += u64::from(of_this_binary == 0);
            verdict.problems.push(line.to_string());
            (of_this_binary, told) = (0, None);
        } else if line.starts_with("init: ") && line.contains(": ok in ") {
            (of_this_binary, told) = (0, None);
        }
    }
    verdict
}

/// How QEMU ended: by its own last words, which come without the kernel's time stamp.
fn end(outcome: &Outcome) -> String {
    let words = outcome
        .kernel
        .lines()
        .rfind(|line| !line.trim().is_empty() && !line.starts_with('['));
    match (words, outcome.status) {
        (Some(words), _) => words.trim().to_string(),
        (None, Some(status)) => format!("QEMU's exit status is {status}"),
        (None, None) => "QEMU was killed".into(),
    }
}

pub fn judge(options: &Options, outcome: &Outcome) -> Verdict {
    let mut verdict = tally(&outcome.guest);
    let last: Vec<&str> = outcome
        .guest
        .lines()
        .filter(|l| *l == "init: success" || *l == "init: failure")
        .collect();
    let before = verdict.problems.len();
    if let Some(why) = outcome.killed {
        verdict
            .problems
            .push(format!("the guest {why}, and was killed"));
    } else if last.is_empty() {
        verdict.problems.push(format!(
            "the guest ended without a verdict: {}",
            end(outcome)
        ));
    } else if last.len() > 1 {
        verdict
            .problems
            .push("more than one verdict of init".into());
    } else if last != ["init: success"] || outcome.status != Some(EXIT_SUCCESS) {
        verdict.problems.push("init says failure".into());
    }
    let bad = scan::bad_lines(&outcome.kernel);
    for line in bad.iter().take(20) {
        verdict
            .problems
            .push(format!("the kernel's log has: {line}"));
    }
    if options.mode == "test" {
        if verdict.passed + verdict.failed == 0 {
            verdict.problems.push("no test ran".into());
        }
        // Trouble that no test noticed is a failure of its own.
        if verdict.problems.len() > before && verdict.failed == 0 {
            verdict.failed = 1;
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let args = "boot --name n --mode test".split(' ').map(String::from);
        Options::parse(args).expect("a valid command line")
    }

    fn outcome(guest: &str) -> Outcome {
        Outcome {
            status: Some(EXIT_SUCCESS),
            killed: None,
            kernel: String::new(),
            guest: guest.into(),
        }
    }

    const GOOD: &str = "init: a\ntest result: ok. 3 passed; 0 failed; 1 ignored\ninit: a: ok in 0.10 s\n\
                        init: b\ntest result: ok. 2 passed; 0 failed\ninit: b: ok in 0.10 s\ninit: success\n";

    #[test]
    fn a_good_run_passes() {
        let verdict = judge(&options(), &outcome(GOOD));
        assert_eq!(
            verdict,
            Verdict {
                passed: 5,
                failed: 0,
                problems: vec![]
            }
        );
    }

    #[test]
    fn failures_are_counted_once() {
        let guest = "test result: FAILED. 3 passed; 2 failed\ninit: a: FAILED in 1.00 s\n\
                     init: b: killed by signal 11\ninit: b: FAILED in 1.00 s\ninit: failure\n";
        let verdict = judge(&options(), &outcome(guest));
        assert_eq!((verdict.passed, verdict.failed), (3, 3));
        assert!(!verdict.problems.is_empty());
    }

    #[test]
    fn what_a_failed_test_has_said_is_told() {
        let guest = "test x ... FAILED\n\nfailures:\n\n---- x stdout ----\n\nit broke\n\n\nfailures:\n    x\n\n\
                     test result: FAILED. 3 passed; 1 failed\ninit: a: FAILED in 1.00 s\ninit: failure\n";
        let verdict = judge(&options(), &outcome(guest));
        assert_eq!(
            verdict.problems,
            [
                "---- x stdout ----",
                "it broke",
                "init: a: FAILED in 1.00 s",
                "init says failure"
            ]
        );
        assert_eq!((verdict.passed, verdict.failed), (3, 1));
    }

    #[test]
    fn qemu_has_the_last_word() {
        let mut silent = outcome("");
        silent.status = Some(1);
        let mut outspoken = outcome("");
        outspoken.kernel = "[    0.1] Linux\nqemu-system-x86_64: no KVM\n".into();
        for (outcome, words) in [
            (silent, "status is 1"),
            (outspoken, ": qemu-system-x86_64: no KVM"),
        ] {
            let problems = judge(&options(), &outcome).problems;
            assert!(problems[0].ends_with(words), "{problems:?}");
        }
    }

    #[test]
    fn each_witness_can_fail_the_run() {
        let mut bad_status = outcome(GOOD);
        bad_status.status = Some(35);
        let mut bad_log = outcome(GOOD);
        bad_log.kernel = "[    1.0] BUG: bad\n".into();
        let mut timed_out = outcome(GOOD);
        timed_out.killed = Some("took too long");
        let cut = outcome("init: a\ntest result: ok. 3 passed; 0 failed\n");
        let nothing = outcome("init: success\n");
        let twice = outcome(&format!("{GOOD}init: success\n"));
        for outcome in [bad_status, bad_log, timed_out, cut, nothing, twice] {
            let verdict = judge(&options(), &outcome);
            assert!(
                !verdict.problems.is_empty() && verdict.failed > 0,
                "{verdict:?}"
            );
        }
    }
}
