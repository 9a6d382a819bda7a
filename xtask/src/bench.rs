//! `cargo xtask bench`: each benchmark measures ratios against a named baseline in one run.

use crate::{
    contracts, needs,
    shell::{self, Outcome},
};

/// A benchmark: its name, and what measures it.
struct Bench {
    name: &'static str,
    by: By,
}

enum By {
    /// The benchmark target of that name in this package, with these features.
    Cargo {
        package: &'static str,
        features: &'static [&'static str],
    },
    /// The contracts' scripts, on anvil.
    Gas,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "machine",
        by: By::Cargo {
            package: "infernet-state",
            features: &[],
        },
    },
    Bench {
        name: "log",
        by: By::Cargo {
            package: "infernet-node",
            // SQLite and redb do the same work in the same table.
            features: &["rivals"],
        },
    },
    Bench {
        name: "gas",
        by: By::Gas,
    },
];

/// Runs one benchmark or all.
pub(crate) fn run(name: Option<&str>, json: bool) -> Outcome {
    let chosen: Vec<_> = BENCHES
        .iter()
        .filter(|bench| name.is_none_or(|name| name == bench.name))
        .collect();
    if chosen.is_empty() {
        let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        return Err(format!(
            "no such benchmark; there are: {}",
            known.join(", ")
        ));
    }
    for bench in chosen {
        match bench.by {
            By::Cargo { package, features } => cargo_bench(package, features, bench.name, json)?,
            By::Gas => {
                needs::node()?;
                contracts::gas(json, false)?;
            }
        }
    }
    Ok(())
}

fn cargo_bench(package: &str, features: &[&str], name: &str, json: bool) -> Outcome {
    let mut cargo = shell::cargo();
    cargo.args(["bench", "--quiet", "--package", package, "--bench", name]);
    cargo.args(features.iter().flat_map(|feature| ["--features", feature]));
    if json {
        cargo.args(["--", "--json"]);
    }
    shell::run(&mut cargo)
}
