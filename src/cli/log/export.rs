//! `infernet log export`

use std::path::PathBuf;

use clap::Args;
use infernet_state::types::Seq;

use super::{
    super::error::{CliError, output},
    DataDir, write_to,
};
use crate::{
    audit::{self, Past},
    log::{
        Head, LogError, Part, Source,
        export::{ExportError, export},
    },
};

#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(super) from: DataDir,
    /// The file to write; standard output without it, or with `-`.
    file: Option<PathBuf>,
    /// The first event; the state before it goes along as a snapshot.
    #[arg(long = "from", value_name = "SEQ")]
    first: Option<u64>,
    /// The last event.
    #[arg(long = "to", value_name = "SEQ")]
    last: Option<u64>,
}

pub(super) fn run(args: ExportArgs) -> Result<(), CliError> {
    let past = Past::open(&args.from.data_dir)?;
    let checkpoints = past.checkpoints()?;
    let Some(source) = past.source() else {
        return Err(CliError::Input {
            file: args.from.data_dir.display().to_string(),
            reason: "it is an export already".to_owned(),
        });
    };
    let begin = source.base()?;
    // The state before the first event, where that is not the log's own beginning.
    let before = match args.first {
        Some(first) if Seq(first.saturating_sub(1)) > begin.seq => {
            Some(past.replay_to(Some(Seq(first - 1)))?.snapshot()?)
        }
        Some(first) if first <= begin.seq.0 => {
            return Err(CliError::Log(LogError::Gone {
                seq: Seq(first),
                first: Seq(begin.seq.0 + 1),
            }));
        }
        Some(_) | None => source.base_snapshot()?,
    };
    let base = before.as_ref().map_or(begin, |snapshot| snapshot.head);
    let head = match args.last {
        Some(last) => head_at(source, Seq(last), base)?,
        None => source.newest(),
    };
    let part = Part::new(source, base, before, head);
    let head = write_to(args.file.as_deref(), |mut out| {
        export(&part, past.identity(), &checkpoints, &mut out, audit::view).map_err(|error| {
            match error {
                ExportError::Stream { source, .. } => output("the export")(source),
                error => error.into(),
            }
        })
    })?;
    eprintln!(
        "events {}-{} of the log of {}, head hash {}",
        base.seq.0 + 1,
        head.seq,
        past.identity(),
        head.hash
    );
    Ok(())
}

/// The head at an event that there must be, not before `base`.
fn head_at(source: &dyn Source, seq: Seq, base: Head) -> Result<Head, CliError> {
    let (first, newest) = (Seq(base.seq.0 + 1), source.newest().seq);
    if seq < first {
        return Err(CliError::Log(LogError::Gone { seq, first }));
    }
    let found = source.full(seq.min(newest))?;
    match found.first() {
        Some(full) if full.stored.seq == seq => Ok(Head {
            seq,
            hash: full.stored.hash,
        }),
        Some(_) | None => Err(CliError::Log(LogError::Missing { seq, last: newest })),
    }
}
