//! A proof that one event is in the log, as a file that verifies without the log: the event, its
//! audit path (RFC 6962), and the signed checkpoint whose tree holds it.

use infernet_state::types::{Address, Hash, Seq};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AuditError,
    past::{Past, open},
    view,
};
use crate::log::{
    LogError, Stored,
    checkpoint::{Checkpoint, CheckpointJson},
    export::{Item, PROGRAM, Reader, without_numbers},
    frame, merkle,
    text::{Base64, Hex, Number},
    walk,
};

/// The format of proofs that this program writes, and the only one so far.
const FORMAT: u64 = 1;

/// The longest audit path: a tree of more leaves than positions has no place for another node.
const PATH_MAX: usize = 64;

/// A proof that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The event; its hash in the log's chain is not part of what is proven.
    pub stored: Stored,
    /// The audit path, from the leaf's neighbour up.
    pub path: Vec<Hash>,
    /// The checkpoint whose tree holds the event.
    pub checkpoint: Checkpoint,
    /// Who signed the checkpoint.
    pub signer: Address,
}

/// A proof as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofJson {
    format: Number,
    /// The version of the program that wrote it.
    program: String,
    seq: Number,
    frame: Base64,
    /// The readable view, for people.
    event: Value,
    path: Vec<Hex>,
    checkpoint: CheckpointJson,
}

impl Proof {
    /// Proves an event by the newest checkpoint that covers it.
    ///
    /// # Errors
    /// [`LogError::Gone`], [`LogError::Missing`], [`AuditError::NoCheckpoint`]; [`AuditError`].
    pub fn of(past: &Past, seq: Seq) -> Result<Self, AuditError> {
        let gathered = Gathered::from(past, seq)?;
        let first = Seq(gathered.base.0 + 1);
        let Some(stored) = gathered.stored else {
            let last = Seq(gathered.base.0 + gathered.leaves.len() as u64);
            return Err(AuditError::Log(if seq < first {
                LogError::Gone { seq, first }
            } else {
                LogError::Missing { seq, last }
            }));
        };
        let covers = |checkpoint: &&Checkpoint| {
            let said = &checkpoint.statement;
            first <= said.first && said.first <= seq && seq <= said.head.seq
        };
        let checkpoint = gathered
            .checkpoints
            .iter()
            .rfind(covers)
            .ok_or(AuditError::NoCheckpoint { seq })?;
        let said = &checkpoint.statement;
        let place = |seq: Seq| usize::try_from(seq.0 - first.0).unwrap_or(usize::MAX);
        let tree = gathered
            .leaves
            .get(place(said.first)..=place(said.head.seq))
            .unwrap_or_default();
        let path = merkle::path(tree, place(seq) - place(said.first)).unwrap_or_default();
        let proof = Self {
            stored,
            path,
            checkpoint: checkpoint.clone(),
            signer: Address::ZERO,
        };
        // What does not hold is not handed out.
        proof.check(None)
    }

    /// The proof as JSON, for a file.
    ///
    /// # Errors
    /// [`AuditError::NoProof`], which no event brings about.
    pub fn to_json(&self) -> Result<String, AuditError> {
        let unwritable = |reason: String| AuditError::NoProof { reason };
        let mut bytes = Vec::new();
        frame::encode(&self.stored.event, &mut bytes)
            .map_err(|error| unwritable(error.to_string()))?;
        let json = ProofJson {
            format: Number(FORMAT),
            program: PROGRAM.to_owned(),
            seq: Number(self.stored.seq.0),
            frame: Base64(bytes),
            event: without_numbers(view(&self.stored)),
            path: self.path.iter().map(|hash| Hex::of(*hash)).collect(),
            checkpoint: CheckpointJson::from(&self.checkpoint),
        };
        serde_json::to_string_pretty(&json).map_err(|error| unwritable(error.to_string()))
    }

    /// Reads a proof and verifies it: frame, path, tree and signature; and, with an address, who
    /// signed. Needs nothing else.
    ///
    /// # Errors
    /// [`AuditError::NoProof`], [`AuditError::Proof`].
    pub fn verify(text: &str, signer: Option<Address>) -> Result<Self, AuditError> {
        let unreadable = |reason: String| AuditError::NoProof { reason };
        let json: ProofJson =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if json.format.0 != FORMAT {
            return Err(unreadable(format!(
                "it has format {}, this program reads {FORMAT}",
                json.format.0
            )));
        }
        let wrong = |reason: &str| AuditError::Proof {
            reason: reason.to_owned(),
        };
        let event = match frame::decode(&json.frame.0) {
            Ok((frame, len)) if len == json.frame.0.len() => frame.to_event(),
            Ok(_) => return Err(wrong("there are bytes behind the frame")),
            Err(error) => return Err(wrong(&error.to_string())),
        };
        let stored = Stored {
            seq: Seq(json.seq.0),
            hash: Hash::ZERO,
            event,
        };
        if json.program == PROGRAM && json.event != without_numbers(view(&stored)) {
            return Err(wrong("the readable view is not what the frame says"));
        }
        let path: Option<Vec<Hash>> = json.path.iter().map(Hex::hash).collect();
        let proof = Self {
            stored,
            path: path.ok_or_else(|| wrong("a hash of the path is not 32 bytes long"))?,
            checkpoint: json
                .checkpoint
                .read()
                .ok_or_else(|| wrong("a field of the checkpoint has the wrong length"))?,
            signer: Address::ZERO,
        };
        proof.check(signer)
    }

    /// Itself with its signer, if it holds.
    fn check(self, expected: Option<Address>) -> Result<Self, AuditError> {
        let wrong = |reason: String| AuditError::Proof { reason };
        let said = &self.checkpoint.statement;
        let seq = self.stored.seq;
        if self.path.len() > PATH_MAX || said.first.0 == 0 || seq < said.first {
            return Err(wrong(format!(
                "the checkpoint is of events {}-{}, not of event {seq}",
                said.first, said.head.seq
            )));
        }
        let index = seq.0 - said.first.0;
        let size = said.head.seq.0.saturating_sub(said.first.0) + 1;
        let leaf = merkle::leaf(seq, &self.stored.event);
        if !merkle::verify(&said.tree, &leaf, index, size, &self.path) {
            return Err(wrong(format!(
                "its path does not lead from event {seq} to the checkpoint's tree"
            )));
        }
        let Some(signer) = self.checkpoint.signer() else {
            return Err(wrong("the checkpoint's signature is none".to_owned()));
        };
        match expected {
            Some(expected) if expected != signer => Err(wrong(format!(
                "the checkpoint is signed by {signer}, not by {expected}"
            ))),
            Some(_) | None => Ok(Self { signer, ..self }),
        }
    }
}

/// What a proof is made from.
struct Gathered {
    /// The last event before the first leaf.
    base: Seq,
    leaves: Vec<Hash>,
    stored: Option<Stored>,
    checkpoints: Vec<Checkpoint>,
}

impl Gathered {
    fn from(past: &Past, seq: Seq) -> Result<Self, AuditError> {
        let mut gathered = Self {
            base: Seq(0),
            leaves: Vec::new(),
            stored: None,
            checkpoints: past.checkpoints()?,
        };
        match past {
            Past::File(path) => {
                let mut reader = Reader::begin(open(path)?, None)?;
                gathered.base = reader.found().base.seq;
                while let Some(item) = reader.read()? {
                    match item {
                        Item::Event { full, .. } => gathered.push(full.stored, seq),
                        Item::Checkpoint(checkpoint) => gathered.checkpoints.push(*checkpoint),
                    }
                }
            }
            Past::Directory(_) | Past::Mirror(_) => {
                if let Some(source) = past.source() {
                    gathered.base = source.base()?.seq;
                    walk(source, |full| {
                        gathered.push(full.stored, seq);
                        Ok::<(), LogError>(())
                    })?;
                }
            }
        }
        Ok(gathered)
    }

    fn push(&mut self, stored: Stored, wanted: Seq) {
        self.leaves.push(merkle::leaf(stored.seq, &stored.event));
        if stored.seq == wanted {
            self.stored = Some(stored);
        }
    }
}
