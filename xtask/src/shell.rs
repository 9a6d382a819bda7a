//! Running other programs, from the root of the workspace.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// What a chore comes to; the error is a sentence for people.
pub(crate) type Outcome = Result<(), String>;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The cargo that runs this chore.
pub(crate) fn cargo() -> Command {
    at_root(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// A program, to be run at the root.
pub(crate) fn at_root(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Where cargo puts binaries of the `dev` profile.
pub(crate) fn binaries() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join("debug")
}

/// Runs a command to its end; not exiting with 0 is an error that names it.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    let status = command
        .status()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{shown}` failed: {status}"))
    }
}

/// Whether a program can be started at all.
pub(crate) fn exists(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok()
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
