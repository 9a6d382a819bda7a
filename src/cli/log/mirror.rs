//! `infernet log mirror`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{
    super::{error::CliError, out::Out},
    Signer,
    import::{made, restoring},
    verify,
};
use crate::{
    audit,
    log::{Mirror, MirrorReader, Options, SledReader, Source as _, checkpoint, restore},
};

#[derive(Subcommand)]
pub(crate) enum MirrorCommand {
    /// Verify a mirror that no node writes.
    Verify(VerifyArgs),
    /// Make a log from a mirror, in a data directory that holds none.
    Restore(RestoreArgs),
    /// Copy what a stopped node's log has and the mirror has not.
    Update(UpdateArgs),
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The mirror.
    mirror: PathBuf,
    #[command(flatten)]
    signer: Signer,
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The mirror.
    mirror: PathBuf,
    /// The data directory to make; it must not hold a log.
    #[arg(long)]
    data_dir: PathBuf,
    /// Whose log it is, where the mirror does not say so.
    #[arg(long)]
    identity: Option<String>,
    #[command(flatten)]
    signer: Signer,
}

#[derive(Args)]
pub(crate) struct UpdateArgs {
    /// The mirror; it is made where there is none.
    mirror: PathBuf,
    /// The data directory of a stopped node.
    #[arg(long, env = "INFERNET_DATA_DIR")]
    data_dir: PathBuf,
}

pub(super) fn run(command: MirrorCommand) -> Result<(), CliError> {
    match command {
        MirrorCommand::Verify(args) => {
            there(&args.mirror)?;
            verify::run(&args.mirror, args.signer.address)
        }
        MirrorCommand::Restore(args) => restore_to(args),
        MirrorCommand::Update(args) => {
            let reader = SledReader::look(&args.data_dir)?;
            let head = Mirror::open(&args.mirror, &reader)?.follow(&reader)?;
            let mut out = Out::new();
            out.say(format!("the mirror has all events up to {}", head.seq));
            out.say(format!("head hash    {}", head.hash));
            out.finish()
        }
    }
}

fn restore_to(args: RestoreArgs) -> Result<(), CliError> {
    there(&args.mirror)?;
    // Everything is verified before anything is made.
    let report = audit::verify(&args.mirror, args.signer.address)?;
    let mirror = MirrorReader::look(&args.mirror)?;
    let identity = mirror.identity().map(str::to_owned).or(args.identity);
    let identity = identity.ok_or_else(|| CliError::NoIdentity {
        directory: args.mirror.display().to_string(),
    })?;
    let options = Options {
        identity: Some(identity),
        ..restoring()
    };
    restore(&mirror, &args.data_dir, &options)?;
    let mut out = Out::new();
    verify::say(&mut out, &report, args.signer.address);
    made(&mut out, &args.data_dir);
    // Those of events that are not here any more vouch for nothing that is.
    let base = mirror.base()?.seq;
    for checkpoint in mirror.checkpoints()? {
        if checkpoint.statement.head.seq > base {
            checkpoint::append(&args.data_dir, &checkpoint)?;
        }
    }
    out.finish()
}

/// Refuses what is no mirror.
fn there(path: &Path) -> Result<(), CliError> {
    if Mirror::is_at(path) {
        return Ok(());
    }
    Err(CliError::Input {
        file: path.display().to_string(),
        reason: "there is no mirror in it".to_owned(),
    })
}
