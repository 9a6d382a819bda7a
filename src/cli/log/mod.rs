//! `infernet log`: what operators and auditors do with a log that no node holds.

mod checkpoint;
mod erase;
mod export;
mod import;
mod info;
mod mirror;
mod proof;
mod salvage;
mod verify;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, Subcommand};
use infernet_state::types::Address;

use super::error::{CliError, output};
use crate::{
    chain::convert,
    log::volume::{parent_of, sync_dir},
};

#[derive(Subcommand)]
pub(super) enum LogCommand {
    /// What is in a data directory: head, sizes, archives, packs, snapshots, checkpoints.
    Info(DataDir),
    /// Write the log as JSON lines, for auditors and for other machines.
    Export(export::ExportArgs),
    /// Verify an export, a stopped node's data directory or a mirror. Needs neither key nor chain.
    Verify(verify::VerifyArgs),
    /// Make a log from an export, in a data directory that holds none.
    Import(import::ImportArgs),
    /// Read what can be read of a damaged log, as an export.
    Salvage(salvage::SalvageArgs),
    /// Verify a mirror, or make a log from it.
    #[command(subcommand)]
    Mirror(mirror::MirrorCommand),
    /// Sign the newest event and the state behind it with the node's key.
    Checkpoint(checkpoint::CheckpointArgs),
    /// Prove that an event is in the log, without showing the others.
    Prove(proof::ProveArgs),
    /// Verify such a proof. Needs nothing but the proof and the node's address.
    VerifyProof(proof::VerifyProofArgs),
    /// Erase a payload for good; the events and their hash chain stay as they are.
    Erase(erase::EraseArgs),
}

/// A data directory that no process holds.
#[derive(Args)]
pub(super) struct DataDir {
    /// The data directory of a stopped node.
    #[arg(long, env = "INFERNET_DATA_DIR")]
    pub(super) data_dir: PathBuf,
}

/// Who must have signed.
#[derive(Args)]
pub(super) struct Signer {
    /// The node's address: checkpoints that another one signed are refused.
    #[arg(long, value_parser = address)]
    address: Option<Address>,
}

/// Runs a command.
pub(super) fn run(command: LogCommand) -> Result<(), CliError> {
    match command {
        LogCommand::Info(args) => info::run(&args.data_dir),
        LogCommand::Export(args) => export::run(args),
        LogCommand::Verify(args) => verify::run(&args.path, args.signer.address),
        LogCommand::Import(args) => import::run(args),
        LogCommand::Salvage(args) => salvage::run(args),
        LogCommand::Mirror(command) => mirror::run(command),
        LogCommand::Checkpoint(args) => checkpoint::run(args),
        LogCommand::Prove(args) => proof::prove(args),
        LogCommand::VerifyProof(args) => proof::verify(args),
        LogCommand::Erase(args) => erase::run(args),
    }
}

impl LogCommand {
    /// The data directory that it is about.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        match self {
            Self::Info(args) => Some(&args.data_dir),
            Self::Export(args) => Some(&args.from.data_dir),
            Self::Salvage(args) => Some(&args.from.data_dir),
            Self::Checkpoint(args) => Some(&args.log.data_dir),
            Self::Erase(args) => Some(&args.log.data_dir),
            Self::Prove(args) => args.data_dir.as_deref(),
            Self::Verify(args) if args.path.is_dir() => Some(&args.path),
            Self::Verify(_) | Self::Import(_) | Self::Mirror(_) | Self::VerifyProof(_) => None,
        }
    }
}

/// An address as it is typed.
fn address(text: &str) -> Result<Address, String> {
    alloy::primitives::Address::from_str(text)
        .map(convert::from_address)
        .map_err(|error| format!("an address is 0x and 40 hexadecimal digits: {error}"))
}

/// Writes to a new file, durably, or to standard output. An existing file is left as it is; one
/// that was begun and not finished is removed. One that is finished stays, with a warning where
/// its name cannot be made durable.
fn write_to<T>(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        let mut out = BufWriter::with_capacity(1024 * 1024, io::stdout().lock());
        let written = write(&mut out)?;
        out.flush().map_err(output("standard output"))?;
        return Ok(written);
    };
    let place = path.display().to_string();
    let file = File::create_new(path).map_err(output(&place))?;
    let mut out = BufWriter::with_capacity(1024 * 1024, file);
    let written = write(&mut out).and_then(|written| {
        let flushed = out.flush().and_then(|()| out.get_ref().sync_all());
        flushed.map(|()| written).map_err(output(&place))
    });
    if written.is_err() {
        // What is left of it could be taken for an export.
        let _ = fs::remove_file(path);
    } else if let Err(error) = sync_dir(parent_of(path)) {
        // Nobody is left to be told when this fails.
        let _ = writeln!(
            io::stderr().lock(),
            "{place} is complete, but a power cut may still remove it: its name cannot be made \
             durable: {error}"
        );
    }
    written
}

/// Bytes in a form that people read.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} bytes"),
        unit => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}
