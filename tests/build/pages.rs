// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cuts what serves out of the READMEs, the documentation and the examples, for a test to run it.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const READMES: [&str; 2] = ["../README.md", "../userlib/README.md"];
const SOURCES: &str = "../userlib/src";
const EXAMPLES: &str = "../userlib/examples";

/// Writes `pages.rs`: a module for each program that serves, and a list of them.
pub fn cut() {
    for path in READMES.into_iter().chain([SOURCES, EXAMPLES]) {
        println!("cargo:rerun-if-changed={path}");
    }
    let mut pages = Pages {
        out: PathBuf::from(env::var("OUT_DIR").expect("OUT_DIR")),
        modules: String::new(),
        list: String::new(),
        count: 0,
    };
    for path in READMES {
        pages.add_blocks(Path::new(path), "");
    }
    for path in files(SOURCES) {
        pages.add_blocks(&path, "//");
    }
    for path in files(EXAMPLES) {
        pages.add_example(&path);
    }
    let Pages {
        out, modules, list, ..
    } = pages;
    let text = format!("{modules}\npub const PAGES: &[Page] = &[\n{list}];\n");
    fs::write(out.join("pages.rs"), text).expect("pages.rs");
}

/// The Rust files of a directory and of those in it, in a fixed order.
fn files(directory: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let entries = fs::read_dir(directory).expect(directory);
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    for path in paths {
        match path.is_dir() {
            true => all.extend(files(path.to_str().expect("a name"))),
            false => all.push(path),
        }
    }
    all
}

struct Pages {
    out: PathBuf,
    modules: String,
    list: String,
    count: usize,
}

impl Pages {
    /// Those code blocks of a page that make a port and receive on it. The page's lines begin with
    /// `comment`, and one character more that says whose documentation it is.
    fn add_blocks(&mut self, path: &Path, comment: &str) {
        let text = fs::read_to_string(path).expect("a page");
        let mut block: Option<String> = None;
        for line in text.lines() {
            let line = match comment {
                "" => line,
                _ => match line.trim_start().strip_prefix(comment) {
                    Some(line) => line
                        .get(1..)
                        .map_or("", |l| l.strip_prefix(' ').unwrap_or(l)),
                    None => "",
                },
            };
            match &mut block {
                None if line.starts_with("```") && is_rust(&line[3..]) => {
                    block = Some(String::new());
                }
                None if line.starts_with("```") => block = Some("// No program\n".into()),
                Some(code) if line.starts_with("```") => {
                    let code = std::mem::take(code);
                    block = None;
                    self.add_block(path, &code);
                }
                Some(code) => {
                    // Rustdoc doesn't show these lines, but compiles them.
                    let line = match line.trim_start() {
                        "#" => "",
                        hidden => hidden.strip_prefix("# ").unwrap_or(line),
                    };
                    writeln!(code, "{line}").expect("a string");
                }
                None => {}
            }
        }
    }

    fn add_block(&mut self, path: &Path, code: &str) {
        let Some(name) = port(code).filter(|_| receives(code)) else {
            // A loop without a port could not be run here, so no page has one.
            assert!(!accepts(code), "{}: {code}", path.display());
            return;
        };
        let code = match code.contains("fn main()") {
            true => code.replace("fn main()", "pub fn main()"),
            false => format!("pub fn main() -> alpc::Result<()> {{\n{code}}}\n"),
        };
        self.add(path, name, &code);
    }

    /// An example, which goes on serving when its own client has what it wants.
    fn add_example(&mut self, path: &Path) {
        let text = fs::read_to_string(path).expect("an example");
        let original = path.canonicalize().expect("a path");
        let own = original
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        // It has a thread of the test now, and not a process with words of its own.
        let whole = original.display().to_string();
        let code = text
            .replace(
                "server.disconnect(Flush::Everything)?;",
                "std::thread::park();",
            )
            .replace("std::env::args_os().nth(1)", "None::<&str>")
            .replace("std::env::current_exe()", "Ok::<_, ()>(\"/bin/true\")")
            .replace(
                &format!("include_bytes!({own:?})"),
                &format!("include_bytes!({whole:?})"),
            );
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("const NAME: &str = "));
        let name = name.and_then(quoted).expect("an example has a NAME");
        let code = match own {
            "service_manager.rs" => {
                format!("{code}\npub fn serves() {{ serve(\"0\", &[]).expect(NAME) }}\n")
            }
            _ => format!("{code}\npub fn serves() {{ main().expect(NAME) }}\n"),
        };
        self.module(path, name, &code, "serves()");
    }

    fn add(&mut self, path: &Path, name: &str, code: &str) {
        self.module(path, name, code, "main().expect(\"it serves\")");
    }

    fn module(&mut self, path: &Path, name: &str, code: &str, call: &str) {
        let module = format!("page_{}", self.count);
        let file = self.out.join(format!("{module}.rs"));
        fs::write(&file, code).expect("a module");
        self.count += 1;
        let page = path.strip_prefix("..").expect("a file of the repository");
        writeln!(
            self.modules,
            "#[allow(warnings)]\n#[path = {file:?}]\nmod {module};"
        )
        .expect("a string");
        writeln!(
            self.list,
            "    Page {{ page: \"{}\", name: {name:?}, serve: || {{ {module}::{call}; }} }},",
            page.display()
        )
        .expect("a string");
    }
}

/// Whether a block that is marked so is a program.
fn is_rust(mark: &str) -> bool {
    !mark.contains("compile_fail") && (mark.is_empty() || mark.contains("rust") || mark == "no_run")
}

/// The name of the port that a program makes.
fn port(code: &str) -> Option<&str> {
    let makers = ["Server::create(", "PortBuilder::new("];
    makers.iter().find_map(|maker| {
        let (_, argument) = code.split_once(maker)?;
        quoted(argument)
    })
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.split('"').next()
}

fn receives(code: &str) -> bool {
    let ways = [
        ".serve(",
        ".run(",
        ".run_with(",
        ".run_threads(",
        ".receive",
    ];
    ways.iter().any(|way| code.contains(way))
}

fn accepts(code: &str) -> bool {
    code.contains("Received::Connection(")
}
