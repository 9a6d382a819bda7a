//! The one door for chores: `cargo xtask dev`, `test`, `bench`, `contracts`, `fuzz`.

mod bench;
mod contracts;
mod dev;
mod fuzz;
mod needs;
mod packages;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the Infernet workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build what is needed and run `infernet dev`; everything behind it goes to the command.
    #[command(disable_help_flag = true)]
    Dev {
        /// Flags of `infernet dev`, `--help` among them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install what the tests need, then run everything that CI runs.
    Test {
        /// Many more cases of each property; takes hours.
        #[arg(long)]
        long: bool,
        /// Run only the steps whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Run benchmarks: a table for people, or one JSON object a line.
    Bench {
        /// Which; all of them without a name.
        name: Option<String>,
        /// `{"measure","value","unit","baseline"}` a line.
        #[arg(long)]
        json: bool,
    },
    /// Compile, check or test the contracts (needs Node.js).
    Contracts {
        #[command(subcommand)]
        action: Contracts,
    },
    /// Run the fuzzers for a while.
    Fuzz {
        /// Which target; all of them without a name.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
}

#[derive(Subcommand)]
enum Contracts {
    /// Compile, and write `contracts/artifacts` and the Rust bindings.
    Build,
    /// Compile, and fail if artifacts or bindings differ from what is committed, something public has no notice, or a source
    /// is not formatted.
    Check,
    /// `check` and all contract tests.
    Test {
        /// 10,000 fuzz runs instead of 256, from a fresh seed, and the Cancun build.
        #[arg(long)]
        long: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Dev { arguments } => dev::run(&arguments),
        Chore::Test { long, only } => test::run(long, only.as_deref()),
        Chore::Bench { name, json } => bench::run(name.as_deref(), json),
        Chore::Contracts { action } => needs::node().and_then(|()| match action {
            Contracts::Build => contracts::build(),
            Contracts::Check => contracts::check(),
            Contracts::Test { long } => contracts::test(long),
        }),
        Chore::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
