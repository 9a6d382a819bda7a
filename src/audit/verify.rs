//! Verification: frames, chain, payloads, trees, signatures, and the state that the events lead to.

use std::{
    io::{BufRead, BufReader, BufWriter},
    ops::ControlFlow,
    path::Path,
    thread,
};

use infernet_state::{
    codec::CodecError,
    types::{Address, Hash, Seq},
};

use super::{
    AuditError,
    past::{Moment, Past, Replay, open},
    view,
};
use crate::log::{
    Source,
    checkpoint::Checkpoint,
    export::{self, ExportError, Item, Misfit, PROGRAM, Reader, Verified, misfit, without_numbers},
};

/// What a log was found to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What stands in it.
    pub found: Verified,
    /// Digest of the state behind its newest event.
    pub state: Hash,
    /// The newest event that a checkpoint covers: what comes behind it nobody vouches for.
    pub vouched: Option<Seq>,
    /// Readable views that were held against their frames; 0 when another version wrote them.
    pub views: u64,
}

/// Verifies what is at `path`: an export, a stopped node's data directory or a mirror. `signer`
/// is who must have signed the checkpoints. Needs neither key nor chain.
///
/// # Errors
/// [`AuditError`] with the first thing that does not fit.
pub fn verify(path: &Path, signer: Option<Address>) -> Result<Report, AuditError> {
    let past = Past::open(path)?;
    match past.source() {
        None => verify_lines(open(path)?, signer),
        Some(source) => verify_source(source, past.identity(), &past.checkpoints()?, signer),
    }
}

/// Verifies an export.
fn verify_lines(input: impl BufRead, signer: Option<Address>) -> Result<Report, AuditError> {
    let mut reader = Reader::begin(input, signer)?;
    let found = reader.found();
    // Another version may have had other words.
    let same_words = found.program == PROGRAM;
    let mut views = 0;
    let mut vouched = None;
    // Frames and chain come first: they can be judged without a state to begin with.
    let mut replay = match Replay::begin(found.base, reader.snapshot()) {
        Err(error @ AuditError::Headless { .. }) => {
            while reader.read()?.is_some() {}
            return Err(error);
        }
        begun => begun?,
    };
    while let Some(item) = reader.read()? {
        match item {
            Item::Event { full, view: shown } => {
                let stored = &full.stored;
                if same_words {
                    if without_numbers(view(stored)) != shown {
                        return Err(AuditError::View { seq: stored.seq });
                    }
                    views += 1;
                }
                let mut named = Vec::new();
                let _ = replay
                    .step(stored, |moment| {
                        if let Moment::Passed(step) = moment {
                            named = step.event.payloads();
                        }
                        ControlFlow::Continue(())
                    })
                    .map_err(|error| unfit(stored.seq, error))?;
                let seq = stored.seq;
                match misfit(&full, named) {
                    Some(Misfit::Unnamed(hash)) => return Err(AuditError::Unnamed { seq, hash }),
                    Some(Misfit::Absent(hash)) => return Err(AuditError::Absent { seq, hash }),
                    None => {}
                }
            }
            Item::Checkpoint(checkpoint) => {
                let said = &checkpoint.statement;
                let replayed = replay.machine.digest();
                if said.state != replayed {
                    return Err(AuditError::State {
                        seq: said.head.seq,
                        signed: said.state,
                        replayed,
                    });
                }
                vouched = Some(said.head.seq);
            }
        }
    }
    replay
        .machine
        .audit()
        .map_err(|broken| AuditError::Broken {
            seq: replay.head.seq,
            broken,
        })?;
    if let (Some(signer), None) = (signer, vouched) {
        return Err(AuditError::Unsigned { signer });
    }
    Ok(Report {
        vouched,
        found: reader.found().clone(),
        state: replay.machine.digest(),
        views,
    })
}

/// An event that does not hold: what is verified is not what a node recorded. One of a newer
/// version cannot be judged.
fn unfit(seq: Seq, error: AuditError) -> AuditError {
    match error {
        AuditError::Codec(CodecError::Unknown { .. }) | AuditError::Newer(_) => error,
        AuditError::Codec(error) => AuditError::Unfit {
            seq,
            reason: error.to_string(),
        },
        AuditError::Halt(halt) => AuditError::Unfit {
            seq,
            reason: halt.to_string(),
        },
        other => other,
    }
}

/// Verifies a directory: it is read through as an export of it would be.
fn verify_source(
    source: &dyn Source,
    identity: &str,
    checkpoints: &[Checkpoint],
    signer: Option<Address>,
) -> Result<Report, AuditError> {
    let (reading, writing) = std::io::pipe().map_err(|error| AuditError::Pipe {
        reason: error.to_string(),
    })?;
    thread::scope(|scope| {
        let verifying = scope
            .spawn(move || verify_lines(BufReader::with_capacity(1024 * 1024, reading), signer));
        let mut out = BufWriter::with_capacity(1024 * 1024, writing);
        let written = export::export(source, identity, checkpoints, &mut out, view);
        drop(out);
        let verified = verifying.join().map_err(|_| AuditError::Pipe {
            reason: "the verifying thread is gone".to_owned(),
        })?;
        match (written, verified) {
            // The reader ended first: it says why.
            (Err(ExportError::Stream { .. }) | Ok(_), verified) => verified,
            (Err(error), _) => Err(error.into()),
        }
    })
}
