//! The past: where it is read from, and how it is replayed.

use std::{
    fs::File,
    io::BufReader,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use infernet_state::{Event, Issued, Machine, codec, types::Seq};

use super::AuditError;
use crate::{
    driver::REPLAY_CHUNK,
    log::{
        Head, LogError, LogReader as _, Mirror, MirrorReader, SledReader, Snapshot, Source, Stored,
        checkpoint::Checkpoint,
        export::{ExportError, Item, Reader},
    },
};

/// Where the past is read from.
pub enum Past {
    /// A stopped node's data directory.
    Directory(SledReader),
    /// A mirror that nobody writes.
    Mirror(Box<MirrorReader>),
    /// An export.
    File(PathBuf),
}

impl Past {
    /// Opens what is at `path`: a data directory, a mirror, or an export. Nothing there changes.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        if path.is_dir() {
            Self::directory(path)
        } else {
            Ok(Self::File(path.to_owned()))
        }
    }

    /// Opens a data directory or a mirror. Nothing there changes.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub fn directory(path: &Path) -> Result<Self, AuditError> {
        if Mirror::is_at(path) {
            return Ok(Self::Mirror(Box::new(MirrorReader::look(path)?)));
        }
        Ok(Self::Directory(SledReader::look(path)?))
    }

    /// What a copy is made from, for a directory or a mirror.
    #[must_use]
    pub fn source(&self) -> Option<&dyn Source> {
        match self {
            Self::Directory(reader) => Some(reader),
            Self::Mirror(mirror) => Some(mirror.as_ref()),
            Self::File(_) => None,
        }
    }

    /// Whose log a directory or a mirror holds.
    #[must_use]
    pub fn identity(&self) -> &str {
        match self {
            Self::Directory(reader) => reader.identity(),
            Self::Mirror(mirror) => mirror.identity().unwrap_or_default(),
            Self::File(_) => "",
        }
    }

    /// The checkpoints of a directory or a mirror, oldest first.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, AuditError> {
        Ok(match self {
            Self::Directory(reader) => reader.checkpoints()?,
            Self::Mirror(mirror) => mirror.checkpoints()?,
            Self::File(_) => Vec::new(),
        })
    }

    /// Replays from the beginning, or from the snapshot that stands for it, up to and with `to`
    /// or to the end. `each` is told where that is, then of every event, and may end it.
    ///
    /// # Errors
    /// [`AuditError`]; [`LogError::Gone`] and [`LogError::Missing`] when there is no event `to`.
    pub fn replay(
        &self,
        to: Option<Seq>,
        mut each: impl FnMut(Moment<'_>) -> ControlFlow<()>,
    ) -> Result<Replay, AuditError> {
        let mut begin = |base: Head, snapshot: Option<&Snapshot>| {
            let replay = Replay::begin(base, snapshot)?;
            match to {
                Some(to) if to < base.seq => Err(AuditError::Log(LogError::Gone {
                    seq: to,
                    first: Seq(base.seq.0 + 1),
                })),
                Some(_) | None => {
                    let _ = each(Moment::Begun(&replay));
                    Ok(replay)
                }
            }
        };
        let last = to.unwrap_or(Seq(u64::MAX));
        let replay = match self {
            Self::Directory(reader) => {
                let mut replay = begin(reader.base()?, reader.base_snapshot()?.as_ref())?;
                let last = last.min(reader.head().seq);
                while replay.head.seq < last {
                    let next = Seq(replay.head.seq.0 + 1);
                    for stored in reader.read(next, REPLAY_CHUNK)? {
                        if replay.head.seq < last && replay.step(&stored, &mut each)?.is_break() {
                            return Ok(replay);
                        }
                    }
                }
                replay
            }
            Self::Mirror(mirror) => {
                let mut replay = begin(mirror.base()?, mirror.base_snapshot()?.as_ref())?;
                let last = last.min(mirror.newest().seq);
                while replay.head.seq < last {
                    for full in mirror.full(Seq(replay.head.seq.0 + 1))? {
                        if replay.head.seq < last
                            && replay.step(&full.stored, &mut each)?.is_break()
                        {
                            return Ok(replay);
                        }
                    }
                }
                replay
            }
            Self::File(path) => {
                let mut reader = Reader::begin(open(path)?, None)?;
                let mut replay = begin(reader.found().base, reader.snapshot())?;
                while replay.head.seq < last
                    && let Some(item) = reader.read()?
                {
                    if let Item::Event { full, .. } = item
                        && replay.step(&full.stored, &mut each)?.is_break()
                    {
                        return Ok(replay);
                    }
                }
                replay
            }
        };
        match to {
            Some(to) if to > replay.head.seq => Err(AuditError::Log(LogError::Missing {
                seq: to,
                last: replay.head.seq,
            })),
            Some(_) | None => Ok(replay),
        }
    }

    /// The state behind an event, or at the end.
    ///
    /// # Errors
    /// As [`Past::replay`].
    pub fn replay_to(&self, to: Option<Seq>) -> Result<Replay, AuditError> {
        self.replay(to, |_| ControlFlow::Continue(()))
    }
}

/// Opens an export.
///
/// # Errors
/// [`ExportError::Stream`].
pub(crate) fn open(path: &Path) -> Result<BufReader<File>, ExportError> {
    let file = File::open(path).map_err(|error| ExportError::Stream {
        action: "read",
        source: std::io::Error::new(error.kind(), format!("{}: {error}", path.display())),
    })?;
    Ok(BufReader::with_capacity(1024 * 1024, file))
}

/// A replay under way.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The state behind [`Replay::head`].
    pub machine: Machine,
    /// The newest event that was applied.
    pub head: Head,
    /// Where the replay began; zero for the beginning of the log.
    pub base: Head,
}

/// A moment of a replay.
#[derive(Clone, Copy, Debug)]
pub enum Moment<'a> {
    /// Before the first event.
    Begun(&'a Replay),
    /// Behind an event.
    Passed(Step<'a>),
}

/// An event that was replayed.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The event as it stands in the log.
    pub stored: &'a Stored,
    /// The event.
    pub event: &'a Event,
    /// What the machine issued.
    pub effects: &'a [Issued],
    /// The state behind it.
    pub machine: &'a Machine,
}

impl Replay {
    /// Begins behind `base`, with the snapshot of the state there.
    ///
    /// # Errors
    /// [`AuditError::Headless`] when there is none and must be; [`AuditError::Snapshot`].
    pub fn begin(base: Head, snapshot: Option<&Snapshot>) -> Result<Self, AuditError> {
        let machine = match snapshot {
            None if base == Head::default() => Machine::new(),
            None => return Err(AuditError::Headless { base: base.seq }),
            Some(snapshot) => restore(snapshot)?,
        };
        Ok(Self {
            machine,
            head: base,
            base,
        })
    }

    /// Applies the next event and shows it.
    ///
    /// # Errors
    /// [`AuditError::Codec`], [`AuditError::Halt`], [`AuditError::Newer`].
    pub fn step(
        &mut self,
        stored: &Stored,
        mut each: impl FnMut(Moment<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, AuditError> {
        let event = codec::decode(stored.event.kind, stored.event.version, &stored.event.body)?;
        let effects = self.machine.apply(&event)?;
        self.head = Head {
            seq: stored.seq,
            hash: stored.hash,
        };
        Ok(each(Moment::Passed(Step {
            stored,
            event: &event,
            effects: &effects,
            machine: &self.machine,
        })))
    }

    /// The state as a snapshot.
    ///
    /// # Errors
    /// [`AuditError::Snapshot`].
    pub fn snapshot(&self) -> Result<Snapshot, AuditError> {
        let bytes = self
            .machine
            .snapshot()
            .map_err(|error| AuditError::Snapshot {
                seq: self.head.seq,
                reason: error.to_string(),
            })?;
        Ok(Snapshot {
            head: self.head,
            digest: self.machine.digest(),
            bytes,
        })
    }
}

/// The machine of a snapshot, whose digest must be the one it comes with.
fn restore(snapshot: &Snapshot) -> Result<Machine, AuditError> {
    let wrong = |reason: String| AuditError::Snapshot {
        seq: snapshot.head.seq,
        reason,
    };
    let machine = Machine::restore(&snapshot.bytes)
        .map_err(|error| wrong(format!("cannot be read ({error})")))?;
    let digest = Machine::snapshot_digest(&snapshot.bytes)
        .map_err(|error| wrong(format!("cannot be read ({error})")))?;
    if digest != snapshot.digest || machine.seq() != snapshot.head.seq {
        return Err(wrong(format!(
            "holds the state {digest} behind event {}, not {}",
            machine.seq(),
            snapshot.digest
        )));
    }
    Ok(machine)
}
