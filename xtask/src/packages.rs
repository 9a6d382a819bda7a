//! Whether the crates could be published: what a package's sources take in is in the package, and
//! its manifest says what a registry asks for. Nothing is built, and no network is needed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::shell::{self, Outcome};

/// What a source takes in: the text behind such a beginning, up to the next quote.
const TAKES_IN: [&str; 4] = [
    "include_str!(\"",
    "include_bytes!(\"",
    "include!(\"",
    "#[path = \"",
];

/// What a manifest must say, in `[package]`.
const SAYS: [&str; 4] = ["description = ", "license", "readme = ", "documentation = "];

/// Looks at every package of the workspace that is published.
pub(crate) fn check() -> Outcome {
    let mut checked = 0;
    for dir in members()? {
        let text = read(&dir.join("Cargo.toml"))?;
        let (_, package) = text
            .split_once("[package]\n")
            .ok_or_else(|| format!("{}: no package", dir.display()))?;
        let package = package.split("\n[").next().unwrap_or(package);
        if package.lines().any(|line| line == "publish = false") {
            continue;
        }
        let name = package
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .ok_or_else(|| format!("{}: no name", dir.display()))?;
        for said in SAYS {
            if !package.lines().any(|line| line.starts_with(said)) {
                return Err(format!("{name}: the manifest lacks `{}`", said.trim_end()));
            }
        }
        let files = files_of(name)?;
        if !files.contains(Path::new("README.md")) {
            return Err(format!("{name}: the package holds no README.md"));
        }
        for file in files.iter().filter(|file| is_source(file)) {
            let source = read(&dir.join(file))?;
            for taken in taken_in(&source) {
                let beside = file.parent().unwrap_or(Path::new(""));
                if !plain(&beside.join(taken)).is_some_and(|path| files.contains(&path)) {
                    return Err(format!(
                        "{name}: {} takes in {taken}, which is not in the package",
                        file.display()
                    ));
                }
            }
        }
        checked += 1;
    }
    if checked == 0 {
        return Err("no package was found".to_owned());
    }
    println!("{checked} packages hold what they need");
    Ok(())
}

/// The folders of the workspace's members.
fn members() -> Result<Vec<PathBuf>, String> {
    let root = shell::root();
    let text = read(&root.join("Cargo.toml"))?;
    let listed = text
        .lines()
        .find_map(|line| line.strip_prefix("members = [")?.strip_suffix(']'))
        .ok_or("the workspace's manifest lists no members in one line")?;
    let names = listed.split(',').map(|name| name.trim().trim_matches('"'));
    Ok(names.map(|name| root.join(name)).collect())
}

/// The files of a package, as cargo would pack them.
fn files_of(name: &str) -> Result<BTreeSet<PathBuf>, String> {
    let output = shell::cargo()
        .args(["package", "--list", "--offline", "--allow-dirty"])
        .args(["--package", name])
        .output()
        .map_err(|error| format!("cannot start `cargo package`: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{name}: `cargo package --list` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().map(PathBuf::from).collect())
}

fn is_source(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

/// The paths that a source takes in, as they are written; comments take in nothing.
fn taken_in(source: &str) -> impl Iterator<Item = &str> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| {
        TAKES_IN.iter().filter_map(|begin| {
            let (_, behind) = line.split_once(begin)?;
            Some(behind.split_once('"')?.0)
        })
    })
}

/// A path without `..`; `None` where it leads out of the package.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_of_a_package_is_found() {
        let source = "// include_str!(\"a\")\nconst A: &str = include_str!(\"../b/c.txt\");";
        assert_eq!(taken_in(source).collect::<Vec<_>>(), ["../b/c.txt"]);
        assert_eq!(plain(Path::new("src/../b/c.txt")), Some("b/c.txt".into()));
        assert_eq!(plain(Path::new("src/../../b/c.txt")), None);
    }
}
