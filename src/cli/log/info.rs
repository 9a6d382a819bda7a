//! `infernet log info`

use std::{fs, path::Path};

use super::{
    super::{error::CliError, out::Out},
    size,
};
use crate::{
    audit::utc,
    log::{
        LogError, LogReader as _, Salvage, SledReader, Source as _, checkpoint::saved, tree_bytes,
    },
};

pub(super) fn run(data_dir: &Path) -> Result<(), CliError> {
    let mut out = Out::new();
    let opened = SledReader::look(data_dir);
    if let Err(LogError::Locked { .. }) = &opened {
        // Whoever holds it may be writing: what is counted meanwhile would be no moment.
        return opened.map(drop).map_err(CliError::from);
    }
    match &opened {
        Ok(reader) => healthy(&mut out, reader)?,
        Err(error) => damaged(&mut out, data_dir, error),
    }
    parts(&mut out, data_dir);
    out.finish()?;
    opened.map(drop).map_err(CliError::from)
}

/// A log that a node would open.
fn healthy(out: &mut Out, reader: &SledReader) -> Result<(), CliError> {
    let (base, head) = (reader.base()?, reader.head());
    out.say(format!("log of       {}", reader.identity()));
    out.say(format!("events       {}-{}", base.seq.0 + 1, head.seq));
    out.say(format!("head hash    {}", head.hash));
    if let Some(snapshot) = reader.base_snapshot()? {
        out.say(format!(
            "begins with  the state behind event {}, digest {}",
            snapshot.head.seq, snapshot.digest
        ));
    }
    for checkpoint in reader.checkpoints()?.iter().rev().take(1) {
        let said = &checkpoint.statement;
        let signer = checkpoint
            .signer()
            .map_or_else(|| "nobody".to_owned(), |signer| signer.to_string());
        out.say(format!(
            "vouched for  events {}-{}, by {signer} at {}",
            said.first,
            said.head.seq,
            utc(said.time.0 / 1_000)
        ));
    }
    Ok(())
}

/// A log that a node refuses: what a salvage finds.
fn damaged(out: &mut Out, data_dir: &Path, error: &LogError) {
    out.say(format!("a node refuses this log: {error}"));
    match Salvage::open(data_dir) {
        Ok(salvage) => {
            let newest = salvage.newest();
            let base = salvage.base().map_or(0, |base| base.seq.0);
            out.say(format!(
                "log of       {}",
                salvage
                    .identity()
                    .unwrap_or("somebody: its description is lost")
            ));
            out.say(format!(
                "readable     events {}-{}, head hash {}",
                base + 1,
                newest.seq,
                newest.hash
            ));
            for lost in salvage.lost() {
                out.say(format!("lost         {lost}"));
            }
        }
        Err(error) => out.say(format!("nothing can be read either: {error}")),
    }
}

/// What is on the disk.
fn parts(out: &mut Out, data_dir: &Path) {
    for (name, what) in [
        ("log", "current database"),
        ("archives", "closed parts of the log"),
        ("packs", "payloads"),
        ("snapshots", "cached states"),
    ] {
        let path = data_dir.join(name);
        if !path.is_dir() {
            continue;
        }
        let bytes = tree_bytes(&path).unwrap_or(0);
        out.say(format!("{name:<12} {what}, {}", size(bytes)));
        let mut names: Vec<_> = fs::read_dir(&path)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some((entry.as_ref().ok()?.file_name(), entry.ok()?.path())))
            .collect();
        names.sort();
        for (name, path) in names {
            let bytes = if path.is_dir() {
                tree_bytes(&path).unwrap_or(0)
            } else {
                path.metadata().map_or(0, |metadata| metadata.len())
            };
            out.say(format!(
                "             {}  {}",
                name.to_string_lossy(),
                size(bytes)
            ));
        }
    }
    let checkpoints = saved(data_dir).map_or(0, |all| all.len());
    out.say(format!("checkpoints  {checkpoints}"));
}
