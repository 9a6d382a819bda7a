//! `infernet-service`: one inference service, as a container's or a node's child process.

use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
};

use clap::{Args, Parser, Subcommand};
use infernet_codec::model_id::{ModelId, ModelIdError};
use infernet_services::{
    config::{self, ServeArgs},
    http,
    models::ModelStore,
    onnx::{self, OnnxOptions, OnnxService},
};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// The inference services of Infernet.
#[derive(Debug, Parser)]
#[command(name = "infernet-service", version)]
struct Cli {
    #[command(subcommand)]
    service: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run ONNX models. A model for iris flowers is built in: local/infernet/iris:iris.onnx
    Onnx(OnnxArgs),
}

#[derive(Debug, Args)]
struct OnnxArgs {
    #[command(flatten)]
    serve: ServeArgs,

    /// Directory of model repositories, `{storage}/{owner}/{name}/{version|default}/`
    /// [default: ~/.cache/ritual]
    #[arg(long, value_name = "DIR", env = "ONNX_CACHE_DIR", value_parser = config::path)]
    cache_dir: Option<PathBuf>,

    /// Model of requests that name none, loaded at start:
    /// `{storage}/{owner}/{name}[/{version}]:{file}`
    #[arg(long, value_name = "ID", env = "ONNX_DEFAULT_MODEL_ID", value_parser = model_id)]
    default_model: Option<ModelId>,

    /// How many models stay loaded
    #[arg(long, value_name = "N", env = "ONNX_MODEL_LRU_CACHE_SIZE", default_value = "64",
        value_parser = count)]
    lru: NonZeroUsize,

    /// How many models run at once [default: the number of processors]
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroUsize>,
}

fn model_id(text: &str) -> Result<ModelId, ModelIdError> {
    config::unquoted(text).parse()
}

fn count(text: &str) -> Result<NonZeroUsize, std::num::ParseIntError> {
    config::unquoted(text).parse()
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Standard output carries the ready line alone.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let Command::Onnx(args) = cli.service;
    let outcome = runtime.block_on(run_onnx(args));
    // A model that is still running must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn run_onnx(args: OnnxArgs) -> Result<(), Box<dyn std::error::Error>> {
    let options = args.serve.options();
    // Bound first: a port in use is told before a large model is loaded.
    let listener = http::bind(options.listen).await?;
    let processors = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let service = OnnxService::start(OnnxOptions {
        store: ModelStore::new(args.cache_dir.or_else(config::default_cache_dir)),
        default_model: args.default_model,
        loaded_max: args.lru,
        concurrency: args.concurrency.unwrap_or(processors),
    })
    .await?;
    http::serve(
        Arc::new(service),
        listener,
        &options,
        ready(onnx::SERVICE_ID),
    )
    .await?;
    Ok(())
}

/// What a parent process reads from standard output, as one line.
#[derive(Debug, Serialize)]
struct ReadyLine {
    ready: bool,
    address: SocketAddr,
    service: &'static str,
}

/// Writes the line that tells a parent process where the service listens.
fn ready(service: &'static str) -> impl FnOnce(SocketAddr) -> io::Result<()> {
    move |address| {
        let line = ReadyLine {
            ready: true,
            address,
            service,
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(&line)?)?;
        stdout.flush()
    }
}
