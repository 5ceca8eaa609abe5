// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares what C sees in `alpc.h` with what Rust sees in `bindings.rs`, and
//! both with the golden text `abi.txt`.
//!
//! `ALPC_BLESS=1` rewrites the golden text: do it when the ABI is changed on
//! purpose.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADER: &str = include_str!("../alpc.h");
const BINDINGS: &str = include_str!("../bindings.rs");

/// What Rust made of one structure.
struct Layout {
    name: &'static str,
    size: usize,
    fields: Vec<(&'static str, usize, usize)>,
}

/// The layout of each listed structure. A field whose C name is a keyword of
/// Rust has an underscore behind it, as in the bindings.
macro_rules! layouts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        vec![$({
            let value = alpc_uapi::$name::default();
            Layout {
                name: stringify!($name),
                size: size_of::<alpc_uapi::$name>(),
                fields: vec![$((
                    stringify!($field).trim_end_matches('_'),
                    std::mem::offset_of!(alpc_uapi::$name, $field),
                    size_of_val(&value.$field),
                )),*],
            }
        }),*]
    };
}

fn layouts() -> Vec<Layout> {
    layouts! {
        alpc_acl_entry { type_, who, id, rights, reserved }
        alpc_attributes { allocated, valid }
        alpc_attr_security { context, security, flags }
        alpc_attr_context {
            port_context, message_context, id, sequence, callback_id, reserved,
        }
        alpc_attr_view { base, size, release, flags, reserved }
        alpc_handle { fd, kind }
        alpc_attr_handle { handles, count, flags, index, error }
        alpc_attr_token { token_id, session_id, modified_id }
        alpc_memory_range { base, length, access, reserved }
        alpc_attr_memory { ranges, count, reserved }
        alpc_attr_receiver { uid, gid, flags, reserved }
        alpc_query {
            abi_version, reserved, features, ports_per_user, connections_per_user,
            conversations_per_user, conversations_per_connection, queue_messages,
            queue_bytes, pending_connections, connections_per_port, view_pages,
            view_pages_per_user, sections_per_port, reserved1,
        }
        alpc_create_port {
            name, acl, context, name_length, acl_count, flags, max_message_length,
            queue_messages, queue_bytes, max_connections, accept, outcome, handle_kinds,
            told_bytes, reserved,
        }
        alpc_acl { entries, count, flags, outcome, reserved }
        alpc_connect {
            name, send_data, recv_data, context, name_length, send_length,
            recv_capacity, required_uid, required_gid, max_message_length,
            queue_messages, queue_bytes, accept, handle_kinds, timeout, flags, outcome, fd,
            recv_length, server_pid, server_uid, server_gid, reserved1, required_label,
            required_label_length, security,
        }
        alpc_open { name, name_length, flags, outcome, reserved }
        alpc_accept {
            id, send_data, context, send_length, flags, max_message_length,
            queue_messages, queue_bytes, accept, outcome, handle_kinds,
        }
        alpc_transfer {
            send_data, recv_data, send_attributes, recv_attributes, send_length,
            recv_capacity, send_callback_id, reply_bytes, timeout, flags, outcome, send_id,
            id, callback_id, type_, type_flags, recv_length, pid, tid, uid, gid,
            reserved1, port_context, sequence,
        }
        alpc_cancel { id, flags, outcome }
        alpc_disconnect { flags, reserved }
        alpc_query_port {
            role, state, flags, max_message_length, queue_messages, queue_bytes,
            queued_messages, queued_bytes, connections, conversations, context, sequence,
            peer_pid, peer_uid, peer_gid, refused, sections, views,
            told_limit, told_bytes,
        }
        alpc_gauge { used, limit, refused }
        alpc_query_user {
            uid, flags, ports, connections, left_connections, conversations, told_conversations,
            view_pages, handles, told_handles,
        }
        alpc_query_connection {
            index, state, context, refused, pid, uid, gid, conversations, to_server_messages,
            to_server_bytes, to_client_messages, to_client_bytes, views_to_server,
            views_to_client,
        }
        alpc_create_section { size, flags, outcome }
        alpc_create_view { size, base, offset, flags, outcome }
        alpc_delete_view { base, flags, outcome }
        alpc_query_view { base, size, state, flags }
        alpc_query_identity {
            id, groups, label, cgroup, cap_effective, cap_permitted, cap_inheritable,
            cap_bounding, cap_ambient, callback_id, flags, group_count, label_length, pid, tid,
            uid, euid, suid, fsuid, gid, egid, sgid, fsgid, loginuid, session, user_ns, outcome
        }
        alpc_verify { id, callback_id, flags, outcome, reserved }
        alpc_security { context, security, flags, outcome, reserved }
        alpc_impersonate { id, callback_id, flags, outcome, reserved }
        alpc_claim { id, handles, callback_id, index, count, flags, claimed, outcome }
        alpc_memory {
            id, data, offset, length, callback_id, index, flags, outcome, done, timeout,
            timeout_flags, reserved,
        }
    }
}

/// `pub const NAME: TYPE = VALUE;` lines of the bindings, in their order.
fn constants() -> Vec<(&'static str, u64)> {
    let statements = BINDINGS.split(';').map(str::trim);
    statements
        .filter_map(|s| s.split_once("pub const ").map(|(_, rest)| rest))
        .map(|rest| {
            let (name, rest) = rest.split_once(':').expect("a typed constant");
            let (_, value) = rest.split_once('=').expect("a value");
            (name, value.trim().parse().expect("an integer"))
        })
        .collect()
}

/// The name a constant has in C. Ioctl numbers are renamed for bindgen's sake.
fn c_name(name: &str) -> String {
    name.replace("ALPC_IOCTL_", "ALPC_IOC_")
}

/// The ABI as Rust sees it.
fn rust_text() -> String {
    let mut text = String::new();
    for (name, value) in constants() {
        writeln!(text, "const {} {value:#x}", c_name(name)).unwrap();
    }
    for layout in layouts() {
        writeln!(text, "struct {} {}", layout.name, layout.size).unwrap();
        for (field, offset, size) in layout.fields {
            writeln!(text, "field {}.{field} {offset} {size}", layout.name).unwrap();
        }
    }
    text
}

/// A C program that prints the ABI as C sees it, in the same form.
fn c_program() -> String {
    let mut code = String::from(
        "#include \"alpc.h\"\n#include <stddef.h>\n#include <stdio.h>\n\nint main(void)\n{\n",
    );
    for (name, _) in constants() {
        let name = c_name(name);
        writeln!(
            code,
            "\tprintf(\"const {name} 0x%llx\\n\", (unsigned long long)({name}));"
        )
        .unwrap();
    }
    for Layout { name, fields, .. } in layouts() {
        writeln!(
            code,
            "\tprintf(\"struct {name} %u\\n\", (unsigned)sizeof(struct {name}));"
        )
        .unwrap();
        for (field, ..) in fields {
            writeln!(
                code,
                "\tprintf(\"field {name}.{field} %u %u\\n\", (unsigned)offsetof(struct {name}, {field}),\n\
                 \t       (unsigned)sizeof(((struct {name} *)0)->{field}));"
            )
            .unwrap();
        }
    }
    code + "\treturn 0;\n}\n"
}

/// The same as compile-time assertions, for targets that can't be linked here.
fn c_assertions() -> String {
    let mut code = String::from("#include \"alpc.h\"\n#include <stddef.h>\n\n");
    let mut check = |condition: String| {
        writeln!(code, "_Static_assert({condition}, \"{condition}\");").unwrap();
    };
    for (name, value) in constants() {
        check(format!("{} == {value}u", c_name(name)));
    }
    for layout in layouts() {
        let name = layout.name;
        check(format!("sizeof(struct {name}) == {}", layout.size));
        for (field, offset, size) in layout.fields {
            check(format!("offsetof(struct {name}, {field}) == {offset}"));
            check(format!("sizeof(((struct {name} *)0)->{field}) == {size}"));
        }
    }
    code
}

fn uapi() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs a compiler with every warning an error.
fn compile(compiler: &str, arguments: &[&str], source: &Path) {
    let output = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(uapi())
        .args(arguments)
        .arg(source)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{compiler} {arguments:?}:\n{errors}"
    );
}

/// Compiles and runs the printing program.
fn c_text(compiler: &str, standard: &str, source: &str) -> String {
    let source = write(source, &c_program());
    let binary = source.with_extension("bin");
    compile(
        compiler,
        &[standard, "-o", binary.to_str().unwrap()],
        &source,
    );
    let output = Command::new(&binary).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn assert_same(what: &str, left: &str, right: &str) {
    for (left, right) in left.lines().zip(right.lines()) {
        assert_eq!(left, right, "{what}");
    }
    assert_eq!(left.lines().count(), right.lines().count(), "{what}");
}

#[test]
fn c99_sees_what_rust_sees() {
    assert_same(
        "C99, Rust",
        &c_text("cc", "-std=c99", "c99.c"),
        &rust_text(),
    );
}

#[test]
fn cxx_sees_what_rust_sees() {
    assert_same(
        "C++, Rust",
        &c_text("c++", "-std=c++11", "cxx.cpp"),
        &rust_text(),
    );
}

#[test]
fn thirty_two_bits_see_the_same_layout() {
    let source = write("m32.c", &c_assertions());
    // The 64-bit asm/ headers serve: they say the same for 32 bits, and the
    // 32-bit ones are rarely installed.
    let multiarch = Command::new("cc")
        .arg("-print-multiarch")
        .output()
        .expect("cc");
    let multiarch = String::from_utf8(multiarch.stdout).unwrap();
    let include = format!("/usr/include/{}", multiarch.trim());
    let narrow: &[&str] = if cfg!(target_arch = "x86_64") {
        &["-m32"]
    } else {
        &[]
    };
    let mut arguments = vec!["-std=c11", "-fsyntax-only", "-idirafter", &include];
    arguments.extend(narrow);
    compile("cc", &arguments, &source);
}

#[test]
fn the_golden_text_is_current() {
    let path = uapi().join("tests/abi.txt");
    let head = "# SPDX-License-Identifier: MIT OR Apache-2.0\n";
    let text = rust_text();
    if std::env::var_os("ALPC_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{text}")).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let golden = golden
        .strip_prefix(head)
        .expect("the licence line comes first");
    assert_same("golden text (ALPC_BLESS=1 rewrites it)", golden, &text);
}

#[test]
fn no_structure_has_padding() {
    for layout in layouts() {
        let mut end = 0;
        for (field, offset, size) in &layout.fields {
            assert_eq!(*offset, end, "padding before {}.{field}", layout.name);
            assert_eq!(
                offset % size.min(&8),
                0,
                "{}.{field} is not aligned",
                layout.name
            );
            end = offset + size;
        }
        assert_eq!(end, layout.size, "padding at the end of {}", layout.name);
        assert_eq!(end % 8, 0, "{} is not a multiple of eight", layout.name);
    }
}

#[test]
fn every_structure_and_field_is_listed_here() {
    let mut found = Vec::new();
    let mut rest = BINDINGS;
    while let Some((_, tail)) = rest.split_once("pub struct ") {
        let (name, tail) = tail.split_once('{').unwrap();
        let (body, tail) = tail.split_once('}').unwrap();
        let fields = body.split("pub ").skip(1);
        let fields = fields.map(|f| f.split_once(':').unwrap().0.trim_end_matches('_'));
        found.push((name.trim(), fields.collect::<Vec<_>>()));
        rest = tail;
    }
    let listed = layouts()
        .into_iter()
        .map(|layout| {
            let fields = layout.fields.iter().map(|field| field.0).collect();
            (layout.name, fields)
        })
        .collect::<Vec<(&str, Vec<&str>)>>();
    assert_eq!(listed, found);
}

#[test]
fn every_macro_of_the_header_reaches_rust() {
    let constants = constants();
    for line in HEADER.lines() {
        let Some(rest) = line.strip_prefix("#define ALPC_") else {
            continue;
        };
        let name = format!("ALPC_{}", rest.split_whitespace().next().unwrap());
        assert!(
            constants.iter().any(|(rust, _)| c_name(rust) == name),
            "{name} has no Rust constant"
        );
    }
}

#[test]
fn every_field_has_kernel_doc() {
    for layout in layouts() {
        let head = format!(" * struct {} - ", layout.name);
        let (_, doc) = HEADER.split_once(&head).expect(&head);
        let (doc, _) = doc.split_once("*/").unwrap();
        for (field, ..) in layout.fields {
            assert!(
                doc.contains(&format!(" * @{field}: ")),
                "{}.{field} has no kernel-doc",
                layout.name
            );
        }
    }
}
