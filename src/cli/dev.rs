//! `infernet dev`

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::DevArgs;
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
    let data_dir = match &args.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => fresh()?,
    };
    println!("infernet dev: a development chain with public keys; nothing here is worth anything");
    println!("data directory {}", data_dir.display());
    let world = World::start(&Options {
        data_dir,
        listen: args.listen,
        admin_listen: args.admin_listen,
        rpc_listen: args.rpc_listen,
        block_time: args
            .block_time
            .map(|seconds| Duration::from_secs(seconds.into())),
    })
    .await?;
    announce(&world);
    let told = world.node.handle().head();
    let story = tokio::spawn(dev::tell(
        world.node.reader().clone(),
        told.clone(),
        *told.borrow(),
        begun,
        |line| println!("{line}"),
    ));
    let console = tokio::spawn(print_console(world.devnet.console(), begun));

    let asked = async {
        if args.no_request {
            return Ok(());
        }
        request(&world, &args).await
    };
    let outcome = tokio::select! {
        outcome = asked => outcome,
        () = interrupted() => Ok(()),
    };
    let outcome = match outcome {
        Ok(()) if !args.once => stay(world).await,
        outcome => {
            let stopped = world.stop().await;
            outcome.map_err(NodeError::from).and(stopped)
        }
    };
    story.abort();
    console.abort();
    outcome
}

fn announce(world: &World) {
    let place = &world.place;
    match world.deployed {
        0 => println!("the contracts are there"),
        steps => println!("contracts deployed with {steps} transactions"),
    }
    println!(
        "chain     {} (chain id 31337, for development only)",
        place.world.rpc
    );
    println!("node      {} (operator: {})", place.api, place.admin);
    println!("registry  {}", place.world.registry);
    println!("consumer  {}", place.world.consumer);
    println!("ready");
}

/// One paid request, from the transaction to the posted ledger.
async fn request(world: &World, args: &DevArgs) -> Result<(), DevError> {
    // What a crash left under way comes first, so that the ledger below is this request's.
    within(world.settled()).await?;
    println!("ledger before:");
    world.ledger().iter().for_each(|line| println!("  {line}"));
    println!(
        "the consumer asks for {} about {}, offering {} wei",
        dev::CONTAINER,
        args.flower,
        dev::PRICE
    );
    let asked = dev::ask_onchain(&world.place.world.rpc, args.flower).await?;
    println!(
        "transaction {} in block {}: subscription {}",
        asked.tx, asked.block, asked.id
    );
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
    println!(
        "answer: {} (as the consumer contract stored it)",
        answer.name()
    );
    for (class, probability) in dev::CLASSES.iter().zip(&answer.probabilities) {
        println!("  {class:<11} {probability:.6}");
    }
    println!("ledger after:");
    world.ledger().iter().for_each(|line| println!("  {line}"));
    world.audit().await?;
    println!("balanced, and equal to what the chain holds");
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

async fn stay(world: World) -> Result<(), NodeError> {
    println!("staying up; Ctrl-C ends it. Ask again from a second terminal:");
    println!(
        "  infernet request --url {} --flower 6.7,3.3,5.7,2.5",
        world.place.api
    );
    println!("  infernet request --url {} --offchain", world.place.api);
    let World { node, devnet, .. } = world;
    let outcome = node.run(interrupted()).await;
    devnet.shutdown().await;
    outcome
}

/// Resolves at Ctrl-C or SIGTERM.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

async fn print_console(
    mut messages: tokio::sync::broadcast::Receiver<crate::devnet::ConsoleMessage>,
    begun: Instant,
) {
    use tokio::sync::broadcast::error::RecvError;

    loop {
        match messages.recv().await {
            Ok(message) => println!(
                "{:>8.3} s  block {:<5} console.log: {}",
                begun.elapsed().as_secs_f64(),
                message.block_number,
                message.text
            ),
            Err(RecvError::Lagged(lost)) => println!("({lost} console lines were not shown)"),
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
