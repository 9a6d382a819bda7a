//! Why a command ends, with its exit code and what helps.

use std::{io, path::Path};

use infernet_state::{codec::CodecError, machine::Halt};

use crate::{
    audit::AuditError,
    chain::signer::KeyError,
    driver::Fatal,
    log::{LogError, export::ExportError},
    node::NodeError,
};

/// Why a command ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The past.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What was to be verified does not hold, or cannot be verified.
    #[error(transparent)]
    Verification(AuditError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody reads the output any more: no error.
    #[error("the output was closed")]
    Closed,
    /// The output cannot be written.
    #[error("E-CLI-001: {place} cannot be written: {reason}; nothing else was changed")]
    Output {
        /// Where to.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// A file cannot be read.
    #[error("E-CLI-002: {file} cannot be read: {reason}")]
    Input {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The key is not the node's.
    #[error("E-CLI-003: the key is that of {found}, the log's node is {node}; use the node's key")]
    OtherKey {
        /// Whose key it is.
        found: String,
        /// Whose it should be.
        node: String,
    },
    /// No such payload.
    #[error(
        "E-CLI-004: no event brought the payload {payload}; `infernet replay` shows payloads by their SHA-256"
    )]
    NoPayload {
        /// Its hash.
        payload: String,
    },
    /// Nobody knows whose log it is.
    #[error(
        "E-CLI-005: {directory} no longer says whose log it is; give --identity, which is \
         `registry 0x…` with the Registry's address of the node's configuration, or `no chain`"
    )]
    NoIdentity {
        /// The directory.
        directory: String,
    },
}

impl CliError {
    /// The process's exit code, as ARCHITECTURE.md lists them.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Node(error) => error.exit_code(),
            Self::Log(error) => log_code(error),
            Self::Export(error) => export_code(error),
            Self::Audit(error) => audit_code(error),
            Self::Verification(
                AuditError::Log(error) | AuditError::Export(ExportError::Log(error)),
            ) if is_damage(error) => 7,
            Self::Verification(error) => audit_code(error),
            Self::Key(_) | Self::OtherKey { .. } => 3,
            Self::Closed => 0,
            Self::Output { .. }
            | Self::Input { .. }
            | Self::NoPayload { .. }
            | Self::NoIdentity { .. } => 1,
        }
    }

    /// Commands that help, a line each.
    pub(super) fn help(&self, data_dir: Option<&Path>) -> Vec<String> {
        match self {
            Self::Log(error)
            | Self::Audit(AuditError::Log(error) | AuditError::Export(ExportError::Log(error)))
            | Self::Verification(
                AuditError::Log(error) | AuditError::Export(ExportError::Log(error)),
            )
            | Self::Export(ExportError::Log(error))
            | Self::Node(NodeError::Fatal(Fatal::Log(error))) => log_help(error, data_dir),
            Self::Node(NodeError::Fatal(Fatal::Halt(halt)))
            | Self::Audit(AuditError::Halt(halt))
            | Self::Verification(AuditError::Halt(halt)) => halt_help(halt, data_dir),
            Self::Node(NodeError::Fatal(Fatal::Newer(halt)))
            | Self::Audit(AuditError::Newer(halt))
            | Self::Verification(AuditError::Newer(halt)) => newer_help(halt, data_dir),
            Self::Node(_)
            | Self::Export(_)
            | Self::Audit(_)
            | Self::Verification(_)
            | Self::Key(_)
            | Self::Closed
            | Self::Output { .. }
            | Self::Input { .. }
            | Self::OtherKey { .. }
            | Self::NoPayload { .. }
            | Self::NoIdentity { .. } => Vec::new(),
        }
    }
}

/// The data directory, as it would be typed.
fn shown(data_dir: Option<&Path>) -> String {
    data_dir.map_or_else(|| "DIR".to_owned(), |path| path.display().to_string())
}

/// What names the version that continued a log with a newer logic: the start before it.
fn newer_help(halt: &Halt, data_dir: Option<&Path>) -> Vec<String> {
    let before = halt.seq.0.saturating_sub(1);
    let dir = shown(data_dir);
    vec![format!(
        "infernet replay --data-dir {dir} --to {before}   the last start that it shows names the version"
    )]
}

/// What to do about a log with an event that halts the machine.
fn halt_help(halt: &Halt, data_dir: Option<&Path>) -> Vec<String> {
    let before = halt.seq.0.saturating_sub(1);
    if before == 0 {
        return Vec::new();
    }
    let dir = shown(data_dir);
    vec![
        format!("infernet replay --data-dir {dir} --break {before}   the state before it"),
        format!(
            "infernet log export --data-dir {dir} --to {before} before.jsonl   the log as it was then"
        ),
        "infernet log import before.jsonl --data-dir NEW   a log made of it, once the cause is \
         mended (docs/audit.md, \"After a halt\")"
            .to_owned(),
    ]
}

fn log_help(error: &LogError, data_dir: Option<&Path>) -> Vec<String> {
    let dir = shown(data_dir);
    let restore = [
        format!("infernet log info --data-dir {dir}   what is there"),
        format!(
            "infernet log salvage --data-dir {dir} salvaged.jsonl   what can be read, as an export"
        ),
        "infernet log import salvaged.jsonl --data-dir NEW   a log made of it".to_owned(),
        "infernet log mirror restore MIRROR --data-dir NEW   a log made of a mirror".to_owned(),
    ];
    match error {
        LogError::Damaged { .. }
        | LogError::Unreadable { .. }
        | LogError::Lost { .. }
        | LogError::PackMissing { .. }
        | LogError::Payload { .. } => restore.into(),
        LogError::MirrorDamaged { directory, .. } => vec![
            format!(
                "infernet log mirror update EMPTY --data-dir {dir}   another one, of a log that is whole"
            ),
            format!(
                "infernet log salvage --data-dir {directory} salvaged.jsonl   what can be read of this \
                 one, as an export"
            ),
            "infernet log import salvaged.jsonl --data-dir NEW   a log made of it".to_owned(),
        ],
        LogError::Directory { .. } if data_dir.is_some_and(|dir| dir.join("log").exists()) => {
            restore.into()
        }
        LogError::Directory { .. }
        | LogError::Storage { .. }
        | LogError::Locked { .. }
        | LogError::Newer { .. }
        | LogError::TooLarge { .. }
        | LogError::Identity { .. }
        | LogError::NoSpace { .. }
        | LogError::Failed
        | LogError::Gone { .. }
        | LogError::Missing { .. }
        | LogError::Mirror { .. }
        | LogError::NoScratch { .. } => Vec::new(),
    }
}

/// Whether what was written is not what is there: what a verification is to find out.
fn is_damage(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Damaged { .. }
            | LogError::MirrorDamaged { .. }
            | LogError::Unreadable { .. }
            | LogError::Lost { .. }
            | LogError::PackMissing { .. }
            | LogError::Payload { .. }
    )
}

fn log_code(error: &LogError) -> u8 {
    match error {
        LogError::Locked { .. } | LogError::Newer { .. } | LogError::Identity { .. } => 4,
        // What was asked for is not there; the log is as it should be.
        LogError::Gone { .. } | LogError::Missing { .. } => 1,
        LogError::Storage { .. }
        | LogError::Damaged { .. }
        | LogError::TooLarge { .. }
        | LogError::NoSpace { .. }
        | LogError::Unreadable { .. }
        | LogError::Lost { .. }
        | LogError::PackMissing { .. }
        | LogError::Payload { .. }
        | LogError::Directory { .. }
        | LogError::Failed
        | LogError::Mirror { .. }
        | LogError::MirrorDamaged { .. }
        | LogError::NoScratch { .. } => 5,
    }
}

fn export_code(error: &ExportError) -> u8 {
    match error {
        ExportError::Log(error) => log_code(error),
        ExportError::Stream { .. } => 1,
        ExportError::Newer { .. } => 4,
        ExportError::Line { .. } | ExportError::Incomplete { .. } | ExportError::Signer { .. } => 7,
    }
}

fn audit_code(error: &AuditError) -> u8 {
    match error {
        AuditError::Log(error) => log_code(error),
        AuditError::Export(error) => export_code(error),
        AuditError::Codec(CodecError::Unknown { .. }) | AuditError::Newer(_) => 4,
        AuditError::Codec(_) => 5,
        AuditError::Halt(_) => 6,
        AuditError::Snapshot { .. }
        | AuditError::State { .. }
        | AuditError::View { .. }
        | AuditError::Headless { .. }
        | AuditError::Unsigned { .. }
        | AuditError::Broken { .. }
        | AuditError::Unnamed { .. }
        | AuditError::Absent { .. }
        | AuditError::Unfit { .. }
        | AuditError::Proof { .. }
        | AuditError::NoProof { .. } => 7,
        AuditError::Untouched { .. }
        | AuditError::NoCheckpoint { .. }
        | AuditError::Pipe { .. } => 1,
        AuditError::Subject { .. } => 2,
    }
}

/// What the system said of the output.
pub(super) fn output(place: &str) -> impl FnOnce(io::Error) -> CliError {
    let place = place.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::Closed,
        _ => CliError::Output {
            place,
            reason: error.to_string(),
        },
    }
}
