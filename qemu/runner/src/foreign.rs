// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a crate takes for `alpc`: the registry has a package of that name that is somebody
//! else's.

use serde_json::Value;
use std::path::Path;

/// The packages that pass for this repository's in a crate; its own name comes last.
fn names(userlib: &Path) -> Result<Vec<String>, String> {
    let manifest = userlib.join("Cargo.toml");
    let text =
        std::fs::read_to_string(&manifest).map_err(|e| format!("{}: {e}", manifest.display()))?;
    let ours = text
        .lines()
        .find_map(|line| line.strip_prefix("name = "))
        .map(|name| name.trim_matches('"').to_string());
    Ok(["alpc".to_string()].into_iter().chain(ours).collect())
}

/// The first package of one of these names that doesn't lie on this machine.
fn stranger(metadata: &Value, names: &[String]) -> Option<String> {
    metadata["packages"].as_array()?.iter().find_map(|package| {
        let name = package["name"].as_str()?;
        let source = package["source"].as_str()?;
        let version = package["version"].as_str()?;
        let is_it = names.iter().any(|one| one == name) && source.starts_with("registry+");
        is_it.then(|| format!("{name} {version}"))
    })
}

/// The manifest of the first package of that name that lies on this machine, but not in
/// `userlib`: another copy of this repository, whose module may speak another ABI.
fn another_copy<'a>(metadata: &'a Value, name: &str, userlib: &Path) -> Option<&'a str> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    metadata["packages"].as_array()?.iter().find_map(|package| {
        let manifest = package["manifest_path"].as_str()?;
        let is_local = package["name"].as_str()? == name && package["source"].is_null();
        let is_it = is_local && real(Path::new(manifest).parent()?) != real(userlib);
        is_it.then_some(manifest)
    })
}

/// Refuses a crate that would be built with a stranger's package, and tells of one that is
/// built with another copy of this repository's.
pub fn check(metadata: &str, userlib: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(metadata).map_err(|e| format!("{metadata}: {e}"))?;
    let parsed: Value = serde_json::from_str(&text).map_err(|e| format!("{metadata}: {e}"))?;
    let userlib = Path::new(userlib);
    let names = names(userlib)?;
    let ours = &names[names.len() - 1];
    if let Some(manifest) = another_copy(&parsed, ours, userlib) {
        eprintln!("NOTE: the crate takes {manifest}, and the module is that of this repository");
    }
    match stranger(&parsed, &names) {
        None => Ok(()),
        Some(package) => Err(format!(
            "the crate would take {package} from the registry, and that is another package\n       \
             its Cargo.toml should have: {ours} = {{ path = \"{}\" }}",
            userlib.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(packages: &str) -> Option<String> {
        let metadata = format!("{{\"packages\":[{packages}]}}");
        let metadata = serde_json::from_str(&metadata).expect("JSON");
        stranger(&metadata, &["alpc".into(), "alpc-linux".into()])
    }

    #[test]
    fn another_copy_of_this_repository_is_told() {
        let package = |dir: &str, source: &str| {
            let text = format!(
                r#"{{"packages":[{{"name":"alpc-linux","source":{source},"manifest_path":"{dir}/Cargo.toml"}}]}}"#
            );
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        let here = Path::new("/nowhere/userlib");
        let other = package("/other/userlib", "null");
        let found = another_copy(&other, "alpc-linux", here);
        assert_eq!(found, Some("/other/userlib/Cargo.toml"));
        for same in [
            package("/nowhere/userlib", "null"),
            package("/other/userlib", "\"registry+x\""),
        ] {
            assert_eq!(another_copy(&same, "alpc-linux", here), None);
        }
    }

    #[test]
    fn only_a_package_of_the_registry_is_a_strangers() {
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        let package = |name: &str, source: &str| {
            format!("{{\"name\":\"{name}\",\"version\":\"1.0.1\",\"source\":{source}}}")
        };
        let here = package("alpc", "null");
        let other = package("libc", &format!("\"{registry}\""));
        let theirs = package("alpc", &format!("\"{registry}\""));
        assert_eq!(found(&here), None);
        assert_eq!(found(&other), None);
        assert_eq!(found(""), None);
        assert_eq!(
            found(&format!("{other},{theirs}")),
            Some("alpc 1.0.1".into())
        );
    }
}
