//! `infernet log prove` and `infernet log verify-proof`

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use infernet_state::{codec, types::Seq};

use super::{
    super::{
        error::{CliError, output},
        out::{Out, plain},
        past,
    },
    Signer, write_to,
};
use crate::audit::{Proof, utc};

/// The longest proof, in bytes: an event twice over, and a path.
const PROOF_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Args)]
pub(crate) struct ProveArgs {
    /// The event.
    seq: u64,
    /// The data directory of a stopped node, or a mirror.
    #[arg(long, env = "INFERNET_DATA_DIR", required_unless_present = "file")]
    pub(super) data_dir: Option<PathBuf>,
    /// An export, instead of a directory.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The file to write; standard output without it.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct VerifyProofArgs {
    /// The proof; `-` for standard input.
    file: PathBuf,
    #[command(flatten)]
    signer: Signer,
}

pub(super) fn prove(args: ProveArgs) -> Result<(), CliError> {
    let past = past(args.file.as_deref(), args.data_dir.as_deref())?;
    let proof = Proof::of(&past, Seq(args.seq))?;
    let json = proof.to_json()?;
    write_to(args.out.as_deref(), |out| {
        writeln!(out, "{json}").map_err(output("the proof"))
    })
}

pub(super) fn verify(args: VerifyProofArgs) -> Result<(), CliError> {
    let text = read(&args.file).map_err(|error| CliError::Input {
        file: args.file.display().to_string(),
        reason: error.to_string(),
    })?;
    let proof = Proof::verify(&text, args.signer.address)?;
    let event = &proof.stored.event;
    let words = codec::decode(event.kind, event.version, &event.body)
        .map_or_else(|error| error.to_string(), |event| event.to_string());
    let said = &proof.checkpoint.statement;
    let mut out = Out::new();
    out.say(format!("event {}: {words}", proof.stored.seq));
    out.say(format!(
        "is one of the events {}-{} of the log of {}",
        said.first,
        said.head.seq,
        plain(&said.identity)
    ));
    out.say(format!(
        "signed by {} at {}{}",
        proof.signer,
        utc(said.time.0 / 1_000),
        if args.signer.address.is_some() {
            ", as it must be"
        } else {
            "; whether that is the node, --address says"
        }
    ));
    out.say("verified");
    out.finish()
}

/// A file or standard input, bounded.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin()
            .take(PROOF_BYTES_MAX)
            .read_to_string(&mut text)?;
    } else {
        File::open(path)?
            .take(PROOF_BYTES_MAX)
            .read_to_string(&mut text)?;
    }
    Ok(text)
}
