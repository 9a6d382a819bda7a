//! `infernet log checkpoint`

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use infernet_state::types::WallTime;

use super::{
    super::{error::CliError, key, out::Out},
    DataDir,
};
use crate::{
    audit::{Past, utc},
    chain::signer::NodeKey,
    log::{SledReader, checkpoint::Tree},
};

#[derive(Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    pub(super) log: DataDir,
    /// The file of the node's key; without it the key is that of `INFERNET_PRIVATE_KEY`.
    #[arg(long)]
    private_key_file: Option<PathBuf>,
}

pub(super) fn run(args: CheckpointArgs) -> Result<(), CliError> {
    let key = match &args.private_key_file {
        Some(file) => NodeKey::from_file(file)?,
        None => key(None)?,
    };
    let reader = SledReader::look(&args.log.data_dir)?;
    let replay = Past::Directory(reader.clone()).replay_to(None)?;
    let node = replay
        .machine
        .config()
        .and_then(|config| Some(config.chain.as_ref()?.node));
    if let Some(node) = node.filter(|node| *node != key.address()) {
        return Err(CliError::OtherKey {
            found: key.address().to_string(),
            node: node.to_string(),
        });
    }
    let mut tree = Tree::begin(&reader)?;
    tree.grow(&reader, replay.head.seq)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let time = WallTime(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let statement = tree.statement(replay.machine.digest(), time);
    let checkpoint = statement.sign(|text| key.sign_text(text))?;
    reader.save_checkpoint(&checkpoint)?;
    let said = &checkpoint.statement;
    let mut out = Out::new();
    out.say(format!("log of       {}", said.identity));
    out.say(format!("events       {}-{}", said.first, said.head.seq));
    out.say(format!("head hash    {}", said.head.hash));
    out.say(format!("tree         {}", said.tree));
    out.say(format!("state digest {}", said.state));
    out.say(format!("time         {}", utc(time.0 / 1_000)));
    out.say(format!("signed by    {}", key.address()));
    out.finish()
}
