//! `infernet log erase`

use std::path::PathBuf;

use clap::Args;
use infernet_state::types::{Hash, PayloadAt, Seq};

use super::{
    super::{error::CliError, out::Out},
    DataDir,
};
use crate::log::{EventLog as _, Mirror, Options, SledLog, Source, payloads};

#[derive(Args)]
pub(crate) struct EraseArgs {
    /// The payload's SHA-256, as `infernet replay` and exports show it.
    #[arg(value_parser = hash)]
    payload: Hash,
    #[command(flatten)]
    pub(super) log: DataDir,
    /// Only the one that came with this event; without it, wherever the same bytes came.
    #[arg(long, value_name = "SEQ")]
    event: Option<u64>,
    /// A mirror to erase it in as well; may be given several times.
    #[arg(long)]
    mirror: Vec<PathBuf>,
}

pub(super) fn run(args: EraseArgs) -> Result<(), CliError> {
    let mut log = SledLog::open(&args.log.data_dir, &Options::existing())?;
    let wanted = |at: &PayloadAt| {
        at.payload.hash == args.payload && args.event.is_none_or(|event| at.seq == Seq(event))
    };
    let mut out = Out::new();
    let found = find(&log.reader(), wanted)?;
    for at in &found {
        let news = log.erase(*at)?;
        out.say(format!(
            "event {}: {} bytes {}",
            at.seq,
            at.payload.len,
            if news {
                "erased"
            } else {
                "were erased before; erased again"
            }
        ));
    }
    let mut anywhere = !found.is_empty();
    for path in &args.mirror {
        let mut mirror = Mirror::existing(path)?;
        let found = find(&mirror, wanted)?;
        anywhere |= !found.is_empty();
        for at in &found {
            mirror.erase(*at)?;
            out.say(format!("event {}: erased in {}", at.seq, path.display()));
        }
    }
    if !anywhere {
        return Err(CliError::NoPayload {
            payload: args.payload.to_string(),
        });
    }
    out.say("Older exports, backups and other mirrors still hold it.");
    out.finish()
}

/// Where a payload stands in a log.
fn find(
    source: &impl Source,
    wanted: impl Fn(&PayloadAt) -> bool,
) -> Result<Vec<PayloadAt>, CliError> {
    let mut found = Vec::new();
    payloads(source, |at, _| {
        if wanted(&at) {
            found.push(at);
        }
    })?;
    Ok(found)
}

/// A SHA-256 as it is typed.
fn hash(text: &str) -> Result<Hash, String> {
    let mut hash = [0; 32];
    alloy::hex::decode_to_slice(text, &mut hash)
        .map(|()| Hash(hash))
        .map_err(|error| {
            format!("a payload is named by its SHA-256, 64 hexadecimal digits: {error}")
        })
}
