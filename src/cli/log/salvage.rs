//! `infernet log salvage`

use std::path::PathBuf;

use clap::Args;

use super::{
    super::error::{CliError, output},
    DataDir, write_to,
};
use crate::{
    audit,
    log::{
        Salvage, Source as _,
        checkpoint::saved,
        export::{ExportError, export},
    },
};

#[derive(Args)]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(super) from: DataDir,
    /// The export to write; standard output without it, or with `-`.
    file: Option<PathBuf>,
    /// Whose log it is, where the directory no longer says so.
    #[arg(long)]
    identity: Option<String>,
}

pub(super) fn run(args: SalvageArgs) -> Result<(), CliError> {
    let salvage = Salvage::open(&args.from.data_dir)?;
    let identity = salvage
        .identity()
        .map(str::to_owned)
        .or(args.identity)
        .ok_or_else(|| CliError::NoIdentity {
            directory: args.from.data_dir.display().to_string(),
        })?;
    // A checkpoint that cannot be read vouches for nothing.
    let mut checkpoints = saved(&args.from.data_dir).unwrap_or_default();
    let newest = salvage.newest();
    checkpoints.retain(|checkpoint| checkpoint.statement.head.seq <= newest.seq);
    let head = write_to(args.file.as_deref(), |mut out| {
        export(&salvage, &identity, &checkpoints, &mut out, audit::view).map_err(
            |error| match error {
                ExportError::Stream { source, .. } => output("the export")(source),
                error => error.into(),
            },
        )
    })?;
    let base = salvage.base()?;
    eprintln!(
        "read events {}-{} of the log of {identity}, head hash {}",
        base.seq.0 + 1,
        head.seq,
        head.hash
    );
    for lost in salvage.lost() {
        eprintln!("lost: {lost}");
    }
    if salvage.lost().is_empty() {
        eprintln!("nothing that was acknowledged is missing");
    }
    Ok(())
}
