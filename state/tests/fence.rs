//! What the machine is made of, and what cannot reach it.
#![allow(clippy::disallowed_methods, reason = "cargo says where it is")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Every crate that is linked into the machine, with the features that are switched on. None has
/// a clock, file, socket, thread or random number, and none has its `std` on.
const ALLOWED: &[(&str, &str)] = &[
    ("bincode", "alloc,serde"),
    ("block-buffer", ""),
    ("cfg-if", ""),
    ("cpufeatures", ""),
    ("crunchy", "default,limit_128"),
    ("crypto-common", ""),
    ("digest", "block-buffer,core-api,default"),
    ("generic-array", "more_lengths"),
    ("infernet-state", ""),
    // Of `cpufeatures`, on some processors: which instructions there are.
    ("libc", ""),
    ("ruint", "alloc"),
    ("serde", "alloc,derive,serde_derive"),
    ("serde_core", "alloc,result"),
    ("sha2", ""),
    ("thiserror", ""),
    ("tiny-keccak", "default,keccak"),
    ("typenum", ""),
    ("unty", ""),
];

/// The lints without which the fence has holes.
const DENIED: &[&str] = &[
    "arithmetic_side_effects",
    "as_conversions",
    "disallowed_methods",
    "disallowed_types",
    "expect_used",
    "float_arithmetic",
    "indexing_slicing",
    "panic",
    "unreachable",
    "unwrap_used",
    "wildcard_enum_match_arm",
];

/// What no source of the machine says.
const FORBIDDEN: &[&str] = &[
    "extern crate std",
    "std::",
    "unsafe ",
    "f32",
    "f64",
    "HashMap",
    "HashSet",
    "static mut",
    "thread_local",
    "async ",
    "println!",
    "#[expect(",
    "#[allow(",
];

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn only_allowed_crates_reach_the_machine() {
    let output = Command::new(env!("CARGO"))
        .current_dir(package())
        .args([
            "tree",
            "--package",
            "infernet-state",
            "--offline",
            "--locked",
        ])
        .args(["--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).expect("text");
    let present: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(package, features)| (package.split(' ').next().unwrap_or(package), features))
        .collect();
    let allowed: BTreeSet<(&str, &str)> = ALLOWED.iter().copied().collect();
    let new: Vec<_> = present.difference(&allowed).collect();
    assert!(new.is_empty(), "not allowed in the machine: {new:?}");
    // `libc` comes on some processors only; the rest is everywhere.
    assert!(present.len() + 1 >= allowed.len(), "allowed in vain");
    for (name, features) in present {
        assert!(
            features.split(',').all(|feature| feature != "std"),
            "{name} has its std"
        );
    }
}

/// The sources, with their paths.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else {
            let text = fs::read_to_string(&path).expect("a source");
            all.push((path, text));
        }
    }
    all
}

#[test]
fn no_source_reaches_outside() {
    let sources = sources(&package().join("src"));
    assert!(sources.len() > 30, "the sources were found");
    for (path, text) in sources {
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in FORBIDDEN {
                assert!(
                    !line.contains(word),
                    "{}:{}: {word}",
                    path.display(),
                    number + 1
                );
            }
        }
        assert!(
            text.lines().count() <= 600,
            "{} is too long",
            path.display()
        );
    }
}

#[test]
fn the_lints_are_on() {
    let root = fs::read_to_string(package().join("src/lib.rs")).expect("the root");
    assert!(root.contains("#![no_std]"));
    assert!(root.contains("#![forbid(unsafe_code)]"));
    let denied = root
        .split_once("#![deny(")
        .and_then(|(_, rest)| rest.split_once(")]"))
        .map(|(list, _)| list)
        .expect("a list of denied lints");
    for lint in DENIED {
        assert!(denied.contains(&format!("clippy::{lint}")), "{lint}");
    }
    let clippy = fs::read_to_string(package().join("clippy.toml")).expect("clippy.toml");
    for path in ["HashMap", "HashSet", "Instant", "SystemTime", "thread"] {
        assert!(clippy.contains(path), "{path}");
    }
    assert_eq!(
        clippy.matches("path = ").count(),
        clippy.matches("reason = ").count(),
        "each with its reason"
    );
}
