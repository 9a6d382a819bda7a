//! `infernet request`

use std::time::Duration;

use super::{RequestArgs, out::put};
use crate::{
    dev::{self, Announcement, Classification, DevError, Place},
    node::NodeError,
};

/// How long an on-chain answer is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// How often the consumer contract is looked at.
const ANSWER_POLL: Duration = Duration::from_millis(100);

pub(super) fn run(args: RequestArgs) -> Result<(), NodeError> {
    super::runtime()?.block_on(ask(args))
}

async fn ask(args: RequestArgs) -> Result<(), NodeError> {
    if args.offchain {
        let api = match &args.data_dir {
            Some(data_dir) => Place::read(data_dir)?.api,
            None => args.url,
        };
        let (job, answer) = dev::ask_offchain(&api, args.flower).await?;
        put!("job {job} succeeded")?;
        return show(&answer);
    }
    let world = match &args.data_dir {
        Some(data_dir) => Place::read(data_dir)?.world,
        None => Announcement::ask(&args.url).await?,
    };
    let asked = dev::ask_onchain(&world.rpc, args.flower).await?;
    put!(
        "asked in block {}: subscription {}, transaction {}",
        asked.block,
        asked.id,
        asked.tx
    )?;
    let provider = dev::provider(&world.rpc)?;
    let wait = async {
        loop {
            if let Some(answer) = dev::stored_answer(&provider, asked.id).await? {
                return Ok::<_, DevError>(answer);
            }
            tokio::time::sleep(ANSWER_POLL).await;
        }
    };
    let answer = tokio::time::timeout(ANSWER_WAIT, wait)
        .await
        .map_err(|_| DevError::Api {
            reason: format!(
                "subscription {} has no answer after {} s; it stays asked",
                asked.id,
                ANSWER_WAIT.as_secs()
            ),
        })??;
    put!("the consumer contract stored:")?;
    show(&answer)
}

/// Prints a classification, a line a class.
fn show(answer: &Classification) -> Result<(), NodeError> {
    put!("  {}", answer.name())?;
    for (class, probability) in dev::CLASSES.iter().zip(&answer.probabilities) {
        put!("    {class:<11} {probability:.6}")?;
    }
    Ok(())
}
