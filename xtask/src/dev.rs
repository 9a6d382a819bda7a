//! `cargo xtask dev`: build two binaries, then become `infernet dev`.

use std::{os::unix::process::CommandExt as _, process::Command};

use crate::shell::{self, Outcome};

/// Builds the node and the inference service.
pub(crate) fn build() -> Outcome {
    shell::run(shell::cargo().args([
        "build",
        "--package",
        "infernet-node",
        "--package",
        "infernet-services",
        "--bins",
    ]))
}

/// Builds what is needed and replaces this process, so that signals and the exit code are those
/// of `infernet` itself.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let binary = shell::binaries().join("infernet");
    if !binary.exists() {
        eprintln!("building the node and the inference service: the first time takes minutes");
    }
    build()?;
    let error = Command::new(&binary).arg("dev").args(arguments).exec();
    Err(format!("cannot start {}: {error}", binary.display()))
}
