//! `infernet log import`

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    super::{error::CliError, out::Out},
    Signer, verify,
};
use crate::{
    audit,
    log::{Options, export::import},
};

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// An export.
    file: PathBuf,
    /// The data directory to make; it must not hold a log.
    #[arg(long)]
    data_dir: PathBuf,
    #[command(flatten)]
    signer: Signer,
}

pub(super) fn run(args: ImportArgs) -> Result<(), CliError> {
    let unreadable = |reason: String| CliError::Input {
        file: args.file.display().to_string(),
        reason,
    };
    if args.file.is_dir() {
        return Err(unreadable(
            "it is a directory; a mirror is restored with `infernet log mirror restore`".to_owned(),
        ));
    }
    // Everything is verified before anything is made.
    let report = audit::verify(&args.file, args.signer.address)?;
    let file = File::open(&args.file).map_err(|error| unreadable(error.to_string()))?;
    import(BufReader::new(file), &args.data_dir, &restoring())?;
    let mut out = Out::new();
    verify::say(&mut out, &report, args.signer.address);
    made(&mut out, &args.data_dir);
    out.finish()
}

/// How a data directory is made from a copy, whosever log it is.
pub(super) fn restoring() -> Options {
    Options {
        create: true,
        ..Options::existing()
    }
}

/// Says what was made, and what to think of before a node goes on with it.
pub(super) fn made(out: &mut Out, data_dir: &Path) {
    out.say(format!("restored to  {}", data_dir.display()));
    out.say(
        "A node goes on from here. Where the chain shows more transactions than the log, it sends \
         nothing until `infernet run --lift-quarantine` says that no second copy runs. With the file \
         client-key of the old directory beside it, clients stay the same to the node.",
    );
}
