//! The command line.

mod dev;
mod out;
mod replay;
mod request;
mod run;

use std::{
    io::{ErrorKind, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{dev::Flower, node::NodeError};

/// Where the embedded chain listens, unless told otherwise.
const DEV_RPC_LISTEN: &str = "127.0.0.1:8545";

#[derive(Parser)]
#[command(
    name = "infernet",
    version,
    about = "Infernet node: smart contracts ask, it answers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Run(RunArgs),
    /// Run a whole development world: chain, contracts, inference service, node, consumer.
    Dev(DevArgs),
    /// Ask a running `infernet dev` for an inference, on chain or off.
    Request(RequestArgs),
    /// Show every event of a stopped node's log in words, and the digest of its state.
    Replay(ReplayArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The configuration file (TOML).
    #[arg(long, env = "INFERNET_CONFIG", default_value = "infernet.toml")]
    config: PathBuf,
    /// Where the log lives; goes before the file's `data_dir`.
    #[arg(long, env = "INFERNET_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients connect; goes before the file's `server.listen`.
    #[arg(long, env = "INFERNET_LISTEN")]
    listen: Option<SocketAddr>,
    /// Confirm that sending may go on although the chain is ahead of the log (a restored backup;
    /// be sure that no second copy runs with the same key).
    #[arg(long)]
    lift_quarantine: bool,
}

#[derive(Args)]
struct DevArgs {
    /// Sepal length, sepal width, petal length, petal width, in cm.
    #[arg(long, default_value = "5.1,3.5,1.4,0.2", allow_hyphen_values = true)]
    flower: Flower,
    /// Where the world lives; a fresh temporary directory without it.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// End after the answer: 0 when all was well.
    #[arg(long)]
    once: bool,
    /// Send no request of its own.
    #[arg(long, conflicts_with = "once")]
    no_request: bool,
    /// Where clients connect.
    #[arg(long, default_value = crate::config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Where the operator connects.
    #[arg(long, default_value = crate::config::DEFAULT_ADMIN_LISTEN)]
    admin_listen: SocketAddr,
    /// Where the embedded chain listens.
    #[arg(long, default_value = DEV_RPC_LISTEN)]
    rpc_listen: SocketAddr,
    /// Seconds between blocks, 1 to 30; without it each transaction gets its own block at once.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=30))]
    block_time: Option<u16>,
}

#[derive(Args)]
struct RequestArgs {
    /// Sepal length, sepal width, petal length, petal width, in cm.
    #[arg(long, default_value = "5.1,3.5,1.4,0.2", allow_hyphen_values = true)]
    flower: Flower,
    /// Ask over REST instead of on chain.
    #[arg(long)]
    offchain: bool,
    /// The data directory of the running `infernet dev`.
    #[arg(long, conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    /// The URL of the running `infernet dev`.
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
}

#[derive(Args)]
struct ReplayArgs {
    /// The data directory of a stopped node.
    #[arg(long, env = "INFERNET_DATA_DIR")]
    data_dir: PathBuf,
    /// Stop behind this event.
    #[arg(long)]
    to: Option<u64>,
    /// Print only the last lines: count, head hash and digest.
    #[arg(long)]
    quiet: bool,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("INFERNET_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would be told where it just failed, on standard error.
        .log_internal_errors(false)
        .init();
    let outcome = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Request(args) => request::run(args),
        Command::Replay(args) => replay::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(NodeError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when this fails.
            let _ = writeln!(std::io::stderr(), "infernet: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The tokio runtime of a command.
fn runtime() -> Result<tokio::runtime::Runtime, NodeError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| NodeError::Runtime {
            reason: error.to_string(),
        })
}
