//! The command line.

mod dev;
mod error;
mod log;
mod out;
mod replay;
mod request;
mod run;

use std::{
    io::{ErrorKind, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    audit::{AuditError, Past, Subject},
    chain::signer::{KeyError, NodeKey},
    dev::Flower,
    node::NodeError,
};
use error::CliError;

/// The environment variable with the node's key.
const KEY_VARIABLE: &str = "INFERNET_PRIVATE_KEY";

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
    /// Replay the past: every event in words, the state, what differs between two moments, the
    /// story of one job, subscription or transaction, or a statement of the books.
    Replay(ReplayArgs),
    /// Export, verify, prove, mirror, salvage: everything about a log that no node holds.
    #[command(subcommand)]
    Log(log::LogCommand),
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
    /// The data directory of a stopped node, or a mirror.
    #[arg(long, env = "INFERNET_DATA_DIR", required_unless_present = "file")]
    data_dir: Option<PathBuf>,
    /// An export, instead of a directory.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Stop behind this event.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Stop behind this event and show the state in words; on a terminal, go on step by step.
    #[arg(long = "break", value_name = "SEQ", conflicts_with_all = ["to", "diff", "explain"])]
    breakpoint: Option<u64>,
    /// What differs between the states behind two events, in words; 0 is the beginning.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["to", "explain"])]
    diff: Option<Vec<u64>>,
    /// The story of job:UUID, sub:ID or tx:0xHASH: every event that touched it, and why each
    /// effect was issued.
    #[arg(long, value_name = "SUBJECT")]
    explain: Option<Subject>,
    /// A statement of the books for the events FROM to TO: every entry, and each account before
    /// and behind; `--to` says by which later event it is settled, or else the last.
    #[arg(
        long,
        num_args = 2,
        value_names = ["FROM", "TO"],
        conflicts_with_all = ["breakpoint", "diff", "explain", "quiet"]
    )]
    statement: Option<Vec<u64>>,
    /// The statement as one line of JSON.
    #[arg(long, requires = "statement")]
    json: bool,
    /// Print only the last lines: count, head hash and digest.
    #[arg(long)]
    quiet: bool,
}

/// The past of an export, or else of a directory.
fn past(file: Option<&Path>, data_dir: Option<&Path>) -> Result<Past, AuditError> {
    match file {
        Some(file) => Ok(Past::File(file.to_owned())),
        None => Past::directory(data_dir.unwrap_or(Path::new(""))),
    }
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
    let mut data_dir = cli.command.data_dir();
    let outcome = match cli.command {
        Command::Run(args) => run::settings(&args)
            .and_then(|file| {
                data_dir.clone_from(&file.data_dir);
                run::run(args, file)
            })
            .map_err(CliError::from),
        Command::Dev(args) => dev::run(args).map_err(CliError::from),
        Command::Request(args) => request::run(args).map_err(CliError::from),
        Command::Replay(args) => replay::run(args),
        Command::Log(command) => log::run(command),
    };
    match outcome {
        Ok(()) | Err(CliError::Closed) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(CliError::Node(NodeError::Output(error))) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nobody is left to be told when this fails.
            let mut told = std::io::stderr().lock();
            let _ = writeln!(told, "infernet: {error}");
            let help = error.help(data_dir.as_deref());
            if !help.is_empty() {
                let _ = writeln!(told, "what helps:");
            }
            for line in help {
                let _ = writeln!(told, "  {line}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

impl Command {
    /// The data directory that it is about, where the command line says so.
    fn data_dir(&self) -> Option<PathBuf> {
        match self {
            Self::Run(args) => args.data_dir.clone(),
            Self::Dev(args) => args.data_dir.clone(),
            Self::Request(_) => None,
            Self::Replay(args) => args.data_dir.clone(),
            Self::Log(command) => command.data_dir().map(Path::to_owned),
        }
    }
}

/// The node's key: from the environment, or else from a file.
fn key(file: Option<&Path>) -> Result<NodeKey, KeyError> {
    match (file, std::env::var_os(KEY_VARIABLE)) {
        (Some(file), None) => NodeKey::from_file(file),
        (None | Some(_), _) => NodeKey::from_env(KEY_VARIABLE),
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
