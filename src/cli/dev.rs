//! `infernet dev`

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{DevArgs, out::show};
use crate::{
    dev::{self, DevError, Options, World},
    node::NodeError,
};

/// How long the answer may take before `--once` gives up.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// How often the consumer contract is looked at.
const ANSWER_POLL: Duration = Duration::from_millis(25);

pub(super) fn run(args: DevArgs) -> Result<(), NodeError> {
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(serve(args));
    // Blocking work that is under way must not hold the exit up: what counts is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(args: DevArgs) -> Result<(), NodeError> {
    let begun = Instant::now();
    let mut interrupted = std::pin::pin!(interrupted());
    let data_dir = match &args.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => fresh()?,
    };
    show!("infernet dev: a development chain with public keys; nothing here is worth anything");
    show!("data directory {}", data_dir.display());
    let options = Options {
        data_dir,
        listen: args.listen,
        admin_listen: args.admin_listen,
        rpc_listen: args.rpc_listen,
        block_time: args
            .block_time
            .map(|seconds| Duration::from_secs(seconds.into())),
    };
    let world = tokio::select! {
        world = World::start(&options) => world?,
        // What stands already is on disk: a start that is broken off goes on next time.
        () = &mut interrupted => return unanswered(&args).map_err(NodeError::from),
    };
    announce(&world);
    let told = world.node.handle().head();
    let story = tokio::spawn(dev::tell(
        world.node.reader().clone(),
        told.clone(),
        *told.borrow(),
        begun,
        |line| show!("{line}"),
    ));
    let console = tokio::spawn(print_console(world.devnet.console(), begun));

    let stay = async {
        if !args.no_request {
            request(&world, &args, begun).await?;
        }
        if !args.once {
            invite(&world);
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    let outcome = tokio::select! {
        biased;
        reason = world.broken() => reason.map_or(Ok(()), Err),
        () = &mut interrupted => unanswered(&args),
        outcome = stay => outcome,
    };
    // Why the node's loop ended goes before what came of that.
    let stopped = world.stop().await;
    story.abort();
    console.abort();
    stopped.and(outcome.map_err(NodeError::from))
}

/// A stop that was asked for is as good as any, but `--once` is about the answer.
fn unanswered(args: &DevArgs) -> Result<(), DevError> {
    if args.once {
        return Err(DevError::Off {
            reason: "stopped before all was done; start again with the same --data-dir to go on"
                .to_owned(),
        });
    }
    Ok(())
}

fn announce(world: &World) {
    let place = &world.place;
    match world.deployed {
        0 => show!("the contracts are there"),
        steps => show!("contracts deployed with {steps} transactions"),
    }
    show!(
        "chain     {} (chain id 31337, for development only)",
        place.world.rpc
    );
    show!("node      {} (operator: {})", place.api, place.admin);
    show!("registry  {}", place.world.registry);
    show!("consumer  {}", place.world.consumer);
    show!("ready");
}

/// One paid request, from the transaction to the posted ledger.
async fn request(world: &World, args: &DevArgs, begun: Instant) -> Result<(), DevError> {
    // What a crash left under way comes first, so that the ledger below is this request's.
    within(world.settled()).await?;
    let before = world.statement();
    let tell = |line: String| show!("{}", dev::moment(begun, &format!("consumer    {line}")));
    tell(format!(
        "asks {} about a flower of {} cm and offers {} wei",
        dev::CONTAINER,
        args.flower,
        dev::PRICE
    ));
    let asked = dev::ask_onchain(&world.place.world.rpc, args.flower).await?;
    tell(format!(
        "transaction {} in block {}: subscription {}",
        asked.tx, asked.block, asked.id
    ));
    let provider = dev::provider(&world.place.world.rpc)?;
    let answer = within(async {
        loop {
            match dev::stored_answer(&provider, asked.id).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => tokio::time::sleep(ANSWER_POLL).await,
                Err(error) => return Err(error),
            }
        }
    })
    .await??;
    within(world.settled()).await?;
    show!(
        "answer: {} (as the consumer contract stored it)",
        answer.name()
    );
    for (class, probability) in dev::CLASSES.iter().zip(&answer.probabilities) {
        show!("  {class:<11} {probability:.6}");
    }
    show!("the node's ledger, in wei (debits, and credits with a minus):");
    for line in before.compared(&world.statement()) {
        show!("{line}");
    }
    world.audit().await?;
    show!("balanced, and equal to what the chain holds");
    Ok(())
}

async fn within<T>(wait: impl Future<Output = T>) -> Result<T, DevError> {
    tokio::time::timeout(ANSWER_WAIT, wait)
        .await
        .map_err(|_| DevError::Off {
            reason: format!(
                "no answer within {} s; the lines above show how far it came",
                ANSWER_WAIT.as_secs()
            ),
        })
}

fn invite(world: &World) {
    let api = &world.place.api;
    show!("staying up; Ctrl-C ends it. Ask again from a second terminal:");
    show!("  infernet request --url {api} --flower 6.7,3.3,5.7,2.5");
    show!("  infernet request --url {api} --offchain");
}

/// Resolves at Ctrl-C or SIGTERM. Both are taken from the moment of the call.
pub(super) fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};

    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        let [interrupt, terminate] = signals;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
        }
    }
}

/// Resolves at the first signal; never for one that the system does not let us take.
async fn received(signal: std::io::Result<tokio::signal::unix::Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

async fn print_console(
    mut messages: tokio::sync::broadcast::Receiver<crate::devnet::ConsoleMessage>,
    begun: Instant,
) {
    use tokio::sync::broadcast::error::RecvError;

    loop {
        match messages.recv().await {
            Ok(message) => {
                let line = format!(
                    "block {:<5} console.log: {}",
                    message.block_number, message.text
                );
                show!("{}", dev::moment(begun, &line));
            }
            Err(RecvError::Lagged(lost)) => show!("({lost} console lines were not shown)"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// A directory that nobody else uses; it stays after the end, so that it can be looked into.
fn fresh() -> Result<PathBuf, DevError> {
    let name = format!("infernet-dev-{:016x}", rand::random::<u64>());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).map_err(|error| DevError::Place {
        reason: format!("{}: {error}", path.display()),
    })?;
    Ok(path)
}
