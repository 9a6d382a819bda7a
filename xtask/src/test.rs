//! `cargo xtask test`: installs what the tests need, then runs everything that CI runs.

use std::time::Instant;

use crate::{
    contracts, dev, needs, packages,
    shell::{self, Outcome},
};

/// A step: its name, and what it does (`long` asks for many more cases).
struct Step {
    name: &'static str,
    run: fn(long: bool) -> Outcome,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "contracts",
        run: contracts,
    },
    Step {
        name: "gas",
        run: gas,
    },
    Step {
        name: "lints",
        run: lints,
    },
    Step {
        name: "layers",
        run: layers,
    },
    Step {
        name: "packages",
        run: |_| packages::check(),
    },
    Step {
        name: "binaries",
        run: |_| dev::build(),
    },
    Step {
        name: "tests",
        run: tests,
    },
];

/// Runs all steps, or those whose name contains `only`, and stops at the first that fails.
pub(crate) fn run(long: bool, only: Option<&str>) -> Outcome {
    let begun = Instant::now();
    let mut done = 0;
    for step in STEPS
        .iter()
        .filter(|step| only.is_none_or(|only| step.name.contains(only)))
    {
        println!("== {} ==", step.name);
        let started = Instant::now();
        (step.run)(long).map_err(|reason| format!("{}: {reason}", step.name))?;
        println!("== {} took {} s ==", step.name, started.elapsed().as_secs());
        done += 1;
    }
    if done == 0 {
        return Err("no such step".to_owned());
    }
    println!("all {done} steps passed in {} s", begun.elapsed().as_secs());
    Ok(())
}

fn format(_long: bool) -> Outcome {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

fn lints(_long: bool) -> Outcome {
    shell::run(shell::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    // What the documentation refers to must exist.
    shell::run(
        shell::cargo()
            .args(["doc", "--quiet", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn contracts(long: bool) -> Outcome {
    needs::node()?;
    contracts::test(long)
}

fn gas(_long: bool) -> Outcome {
    contracts::gas(false, true)
}

/// The node's binary must not link the inference engine.
fn layers(_long: bool) -> Outcome {
    let output = shell::cargo()
        .args([
            "tree",
            "--package",
            "infernet-node",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .output()
        .map_err(|error| format!("cannot start `cargo tree`: {error}"))?;
    let tree = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !tree.contains("infernet-state") {
        return Err(format!(
            "`cargo tree` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    match tree.lines().find(|line| line.starts_with("tract")) {
        Some(line) => Err(format!(
            "the node links {line}; services are processes of their own"
        )),
        None => Ok(()),
    }
}

fn tests(long: bool) -> Outcome {
    needs::node()?;
    needs::strace()?;
    let mut cargo = shell::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if long {
        cargo.env("INFERNET_TEST_LONG", "1");
    }
    shell::run(&mut cargo)
}
