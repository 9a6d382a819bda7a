//! The contracts: install their tools, compile, compare, test, measure.
//!
//! Everything runs through the scripts in `contracts/tools`, so that the same commands work without cargo.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Name of the copy of the lock file that is kept beside what was installed from it.
const INSTALLED_LOCK: &str = "node_modules/.installed-package-lock.json";

/// Installs the tools (`npm ci`) if they are missing or were installed from another lock file.
///
/// # Errors
/// A message that says which step failed and what to do.
pub(crate) fn install() -> Result<(), String> {
    let dir = contracts_dir()?;
    let lock = dir.join("package-lock.json");
    let wanted = fs::read(&lock).map_err(|e| format!("{} cannot be read: {e}", lock.display()))?;
    let stamp = dir.join(INSTALLED_LOCK);
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(&dir, "npm", &["ci"], &[])?;
    fs::write(&stamp, wanted).map_err(|e| format!("{} cannot be written: {e}", stamp.display()))
}

/// Compiles the contracts and writes `contracts/artifacts` and the Rust bindings made from them.
///
/// # Errors
/// A message that says which step failed.
pub(crate) fn build() -> Result<(), String> {
    install()?;
    node(&["tools/build.mjs", "build"], &[])
}

/// Compiles the contracts and fails if `contracts/artifacts` or the Rust bindings differ, if something public has no notice, or if
/// a source is not formatted.
///
/// # Errors
/// A message that says which step failed; the differing files are printed before.
pub(crate) fn check() -> Result<(), String> {
    install()?;
    node(&["tools/forge.mjs", "fmt", "--check"], &[])?;
    node(&["tools/build.mjs", "check"], &[])
}

/// Runs `check` and all contract tests against the committed artifacts; with `long`, also against the Cancun build, and with
/// 10,000 fuzz runs instead of 256 from a seed that differs each time.
///
/// # Errors
/// A message that says which step failed; the failing tests are printed before.
pub(crate) fn test(long: bool) -> Result<(), String> {
    install()?;
    // Compiling and testing read the same files and write different ones, and neither keeps all cores busy.
    thread::scope(|scope| {
        let checked = scope.spawn(check);
        let tested = forge_tests(long);
        let checked = checked
            .join()
            .map_err(|_| "the check panicked".to_owned())?;
        tested.and(checked)
    })
}

/// Runs all contract tests; parameters and errors as [`test()`].
fn forge_tests(long: bool) -> Result<(), String> {
    if !long {
        // The seed is that of foundry.toml, so that a run can be repeated.
        return node(&["tools/forge.mjs", "test"], &[]);
    }
    let seed = format!("{:#x}", RandomState::new().hash_one(0));
    println!("the tests' seed is {seed}");
    let forge = ["tools/forge.mjs", "test", "--fuzz-seed", &seed];
    node(&forge, &[("FOUNDRY_PROFILE", "long")])?;
    node(
        &forge,
        &[
            ("INFERNET_BUILD", "cancun"),
            ("FOUNDRY_EVM_VERSION", "cancun"),
        ],
    )
}

/// Measures the gas of whole transactions on anvil and prints it: as a table, or with `json` as one object per line. With `check`,
/// fails if a figure is above the committed table.
///
/// # Errors
/// A message that says which step failed; the figures that rose are printed before.
pub(crate) fn gas(json: bool, check: bool) -> Result<(), String> {
    install()?;
    if check {
        node(&["tools/gas.mjs", "--check"], &[])?;
    }
    match (json, check) {
        (true, _) => node(&["tools/gas.mjs", "--json"], &[]),
        (false, false) => node(&["tools/gas.mjs"], &[]),
        (false, true) => Ok(()),
    }
}

/// Runs a script in `contracts`.
fn node(args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    run(&contracts_dir()?, "node", args, env)
}

/// Runs a command and waits; its output goes where ours goes.
fn run(dir: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let line = format!("{program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .current_dir(dir)
        .envs(env.iter().copied())
        .status()
        .map_err(|e| {
            format!("`{line}` cannot be started ({e}): is {program} installed and in the PATH?")
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}` in {} failed: {status}", dir.display()))
    }
}

/// The folder of the contracts, beside this crate.
fn contracts_dir() -> Result<PathBuf, String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest
        .parent()
        .ok_or("the xtask crate has no parent folder")?;
    Ok(root.join("contracts"))
}
