//! `cargo xtask fuzz`: coverage-guided fuzzing through cargo-fuzz, on the stable toolchain.

use crate::{
    needs,
    shell::{self, Outcome},
};

/// Runs one target, or each for the same time.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Outcome {
    needs::cargo_fuzz()?;
    let targets = match target {
        Some(target) => vec![target.to_owned()],
        None => all()?,
    };
    for target in targets {
        println!("fuzzing {target} for {seconds} s");
        shell::run(
            shell::cargo()
                // libFuzzer's instrumentation needs unstable flags of the compiler.
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["fuzz", "run", &target, "--"])
                .arg(format!("-max_total_time={seconds}")),
        )?;
    }
    Ok(())
}

fn all() -> Result<Vec<String>, String> {
    let directory = shell::root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&directory)
        .map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let mut targets: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    targets.sort();
    Ok(targets)
}
