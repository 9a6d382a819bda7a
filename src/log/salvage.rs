//! Reads the events of a log that sled does not open, or of a damaged mirror.
//!
//! sled keeps a block's bytes in one piece in its file, and a block names its place in the chain.
//! So the file is searched for blocks, and the chain is put together from them, without sled.
//! Nothing is changed.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use infernet_state::types::{Hash, PayloadAt, Seq};

use super::{
    Head, LogError,
    archive::{self, Archive},
    block::{Block, MAGIC},
    checkpoint,
    directory::{Witness, lock_to_read, read_description},
    file::{BLOCKS, payload_of},
    limits::BLOCK_BYTES_MAX,
    mirror::{self, Mirror},
    pack::Packs,
    preserve,
    snapshot::{self, BASE_FILE, Snapshot},
    source::Source,
    store::DB_FILE,
    volume::{Directory, storage},
};

/// What is read at once, in bytes.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// What was found of a log.
#[derive(Debug)]
pub struct Salvage {
    identity: Option<String>,
    file: File,
    name: String,
    base: Head,
    head: Head,
    /// The chain: where each block stands in the file, by its last event.
    blocks: BTreeMap<u64, (u64, usize)>,
    archives: Vec<Arc<Archive>>,
    snapshot: Option<Snapshot>,
    packs: Option<Packs<Directory>>,
    lost: Vec<String>,
    _lock: Option<File>,
}

/// A block that was found.
#[derive(Clone, Copy)]
struct Found {
    at: u64,
    len: usize,
    head: Head,
    /// Whether a commit ends with it.
    ends_commit: bool,
    erased: usize,
}

/// Blocks by the head before them; of one block there may be several versions.
type Finds = BTreeMap<(Seq, [u8; 32]), Vec<Found>>;

/// Blocks that follow one another, by their last event: offset and length.
struct Chain {
    base: Head,
    head: Head,
    blocks: BTreeMap<u64, (u64, usize)>,
}

/// Where the parts of a log or of a mirror are, and what stands beside them.
struct Place {
    identity: Option<String>,
    /// The file with the blocks.
    file: PathBuf,
    snapshot: PathBuf,
    packs: PathBuf,
    /// The event after which the blocks begin, if that is known.
    begins: Option<Seq>,
    /// The newest event that is known to have been acknowledged.
    acknowledged: Head,
}

impl Place {
    fn mirror(path: &Path, lost: &mut Vec<String>) -> Self {
        let unreadable = |error: LogError| lost.push(error.to_string());
        let checkpoints = checkpoint::saved(path).unwrap_or_default();
        let heads = checkpoints.iter().map(|known| known.statement.head);
        Self {
            identity: mirror::read_description(path)
                .map_err(unreadable)
                .unwrap_or(None),
            file: path.join(BLOCKS),
            snapshot: path.join(mirror::BASE_FILE),
            packs: path.to_owned(),
            begins: None,
            acknowledged: heads.max_by_key(|head| head.seq).unwrap_or_default(),
        }
    }

    /// Every version that there is of the current database, the best first.
    fn log(path: &Path, lost: &mut Vec<String>) -> Vec<Self> {
        let description = read_description(path).unwrap_or_else(|error| {
            lost.push(error.to_string());
            None
        });
        let (identity, named) = description.map_or((None, None), |description| {
            (Some(description.identity), description.log)
        });
        let acknowledged = Witness::seen(path).unwrap_or(None).unwrap_or_default();
        let versions = databases(path, named).into_iter().map(|database| {
            let begins = database.file_stem().and_then(|name| name.to_str());
            Self {
                identity: identity.clone(),
                file: database.join(DB_FILE),
                snapshot: database.join(BASE_FILE),
                packs: path.join("packs"),
                begins: begins.and_then(|name| name.parse().ok()).map(Seq),
                acknowledged,
            }
        });
        versions.collect()
    }
}

/// What was found at a place.
struct Searched {
    place: Place,
    file: File,
    name: String,
    snapshot: Option<Snapshot>,
    chain: Chain,
}

impl Searched {
    /// The place of several whose chain leads farthest, the first of equal ones.
    fn best(
        places: Vec<Place>,
        archived: Head,
        lost: &mut Vec<String>,
    ) -> Result<Option<Self>, LogError> {
        let mut best: Option<Self> = None;
        let mut failed = None;
        for place in places {
            match Self::new(place, archived) {
                Ok(next) if best.as_ref().is_none_or(|best| best.leads() < next.leads()) => {
                    best = Some(next);
                }
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (best, failed) {
            (None, Some(error)) => Err(error),
            (best, failed) => {
                lost.extend(failed.map(|error| error.to_string()));
                Ok(best)
            }
        }
    }

    fn new(place: Place, archived: Head) -> Result<Self, LogError> {
        let name = place.file.display().to_string();
        let file = File::open(&place.file).map_err(storage("open", &name))?;
        let found = search(&file, &name)?;
        let snapshot = snapshot::read_file(&place.snapshot).unwrap_or(None);
        let chain = put_together(&found, &place, snapshot.as_ref(), archived);
        Ok(Self {
            place,
            file,
            name,
            snapshot,
            chain,
        })
    }

    /// How far the chain leads, and from where.
    fn leads(&self) -> (Seq, Reverse<Seq>, bool) {
        let base = self.chain.base;
        let snapshot = self.snapshot.as_ref();
        (
            self.chain.head.seq,
            Reverse(base.seq),
            snapshot.is_some_and(|snapshot| snapshot.head == base),
        )
    }
}

impl Salvage {
    /// Searches a data directory, or a mirror, that no process holds.
    ///
    /// # Errors
    /// [`LogError::Directory`] when there is no database file, [`LogError::Locked`],
    /// [`LogError::Storage`].
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let lock = lock_to_read(path)?;
        let mut lost = Vec::new();
        let places = if Mirror::is_at(path) {
            vec![Place::mirror(path, &mut lost)]
        } else {
            Place::log(path, &mut lost)
        };
        let archives = archive::list(&path.join("archives")).unwrap_or_else(|error| {
            lost.push(format!("the archives: {error}"));
            Vec::new()
        });
        let archived = archives
            .last()
            .and_then(|archive| Some(archive.blocks().ok()?.head()));
        let archived = archived.unwrap_or_default();
        let Searched {
            place,
            file,
            name,
            snapshot,
            chain,
        } = Searched::best(places, archived, &mut lost)?.ok_or_else(|| LogError::Directory {
            file: path.join("log").display().to_string(),
            reason: "there is no database in it".into(),
        })?;
        let packs = Packs::open_to_read(Directory::to_read(place.packs))
            .map_err(|error| lost.push(format!("the payloads: {error}")))
            .ok();
        let mut salvage = Self {
            identity: place.identity,
            file,
            name,
            base: chain.base,
            head: chain.head,
            blocks: chain.blocks,
            archives: Vec::new(),
            snapshot,
            packs,
            lost,
            _lock: lock,
        };
        salvage.join_archives(archives);
        salvage.check_snapshot();
        let acknowledged = place.acknowledged.seq;
        if acknowledged > salvage.head.seq {
            salvage.lost.push(format!(
                "events {}-{acknowledged}, which were acknowledged",
                salvage.head.seq.0 + 1
            ));
        }
        Ok(salvage)
    }

    /// Puts the archives that lead up to the database before it.
    fn join_archives(&mut self, archives: Vec<Arc<Archive>>) {
        let mut joined = Vec::new();
        let mut base = self.base;
        let mut snapshot = self.snapshot.take();
        for archive in archives.into_iter().rev() {
            match archive.blocks() {
                Ok(blocks) if blocks.head() == base => {
                    base = blocks.base();
                    snapshot = archive.snapshot().unwrap_or(None);
                    joined.push(archive);
                }
                // A roll that did not come to an end made it of what the database has.
                Ok(blocks) if blocks.base().seq >= base.seq => {}
                Ok(blocks) => {
                    self.lost.push(format!(
                        "events {}-{}: the archive that ends with event {} does not join them",
                        blocks.head().seq.0 + 1,
                        base.seq,
                        blocks.head().seq
                    ));
                    break;
                }
                Err(error) => {
                    self.lost.push(format!("an archive: {error}"));
                    break;
                }
            }
        }
        joined.reverse();
        self.archives = joined;
        self.base = base;
        self.snapshot = snapshot;
    }

    /// Drops a snapshot of another state than the one before the first event, and says what is
    /// missing before it.
    fn check_snapshot(&mut self) {
        let base = self.base;
        self.snapshot.take_if(|snapshot| snapshot.head != base);
        if base.seq > Seq(0) && self.snapshot.is_none() {
            self.lost.push(format!(
                "events 1-{}, and the snapshot that stands for them: no state can be made of what \
                 comes behind",
                base.seq
            ));
        }
    }

    /// Whose log it is, if that could be read.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// What could not be read, in words. Payloads that are lost come out as erased ones do.
    #[must_use]
    pub fn lost(&self) -> &[String] {
        &self.lost
    }
}

/// The directories of the current database, which is the one that is named, or else the newest:
/// its own, and those of its copies.
fn databases(path: &Path, named: Option<String>) -> Vec<PathBuf> {
    let logs = path.join("log");
    let newest = || {
        let entries = logs.read_dir().ok()?;
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .max()
    };
    let Some(name) = named.or_else(newest) else {
        return Vec::new();
    };
    preserve::places(&logs.join(name))
}

/// Every whole block in a file. What looks like one inside another is a payload, and whoever sent
/// it may have made it look so.
fn search(file: &File, name: &str) -> Result<Finds, LogError> {
    let len = file.metadata().map_err(storage("measure", name))?.len();
    let mut found = Finds::new();
    let mut buffer = vec![0; CHUNK_BYTES + BLOCK_BYTES_MAX];
    let mut from = 0;
    // Where the last block ended.
    let mut end = 0;
    while from < len {
        let want = usize::try_from(len - from).map_or(buffer.len(), |left| left.min(buffer.len()));
        let bytes = &mut buffer[..want];
        file.read_exact_at(bytes, from)
            .map_err(storage("read", name))?;
        // A block that begins in the overlap is found with the next chunk.
        let starts = bytes.windows(MAGIC.len()).take(CHUNK_BYTES);
        for (offset, _) in starts.enumerate().filter(|(_, window)| *window == MAGIC) {
            let at = from + offset as u64;
            if at < end {
                continue;
            }
            let Ok((block, len)) = Block::parse(&bytes[offset..]) else {
                continue;
            };
            if block.check().is_err() {
                continue;
            }
            let mut erased = 0;
            let counted = block.payloads(|entry| erased += usize::from(entry.erased));
            if counted.is_err() {
                continue;
            }
            end = at + len as u64;
            let before = block.head_before();
            found
                .entry((before.seq, before.hash.0))
                .or_default()
                .push(Found {
                    at,
                    len,
                    head: block.head(),
                    ends_commit: block.ends_commit,
                    erased,
                });
        }
        from += CHUNK_BYTES as u64;
    }
    Ok(found)
}

/// How far the blocks behind a place lead: whether to what was acknowledged, and to which event.
type Reach = (bool, Seq);

/// How far the blocks behind each place lead; a place that leads to no end of a commit is missing.
fn reaches(found: &Finds, acknowledged: Head) -> BTreeMap<(Seq, [u8; 32]), Reach> {
    let mut reaches = BTreeMap::new();
    // Backwards: a block leads to a later place than the one before it.
    for (before, versions) in found.iter().rev() {
        let best = versions
            .iter()
            .filter_map(|version| reach(version, &reaches, acknowledged))
            .max();
        if let Some(best) = best {
            reaches.insert(*before, best);
        }
    }
    reaches
}

/// How far a block leads, by where the places behind it lead; `None` when no commit ends with it or
/// behind it.
fn reach(
    version: &Found,
    reaches: &BTreeMap<(Seq, [u8; 32]), Reach>,
    acknowledged: Head,
) -> Option<Reach> {
    let behind = reaches.get(&(version.head.seq, version.head.hash.0));
    let ends = version.ends_commit.then_some((false, version.head.seq));
    let (seen, last) = behind.copied().or(ends)?;
    Some((seen || version.head == acknowledged, last))
}

/// The chain from the log's beginning that leads to what was acknowledged, or else the farthest; to
/// the end of a commit, since one that is not whole never happened. It begins
/// from its snapshot, without one from the earliest block, and without any from the end of the
/// archives. Of several versions of a block the one with the most payloads erased counts.
fn put_together(
    found: &Finds,
    place: &Place,
    snapshot: Option<&Snapshot>,
    archived: Head,
) -> Chain {
    let reaches = reaches(found, place.acknowledged);
    let leads = |head: Head| reaches.get(&(head.seq, head.hash.0)).copied();
    let earliest = || {
        found
            .keys()
            .map(|(seq, hash)| Head {
                seq: *seq,
                hash: Hash(*hash),
            })
            .filter(|head| place.begins.is_none_or(|begins| head.seq >= begins))
            .filter(|head| leads(*head).is_some())
            .max_by_key(|head| (Reverse(head.seq), *head == archived, leads(*head)))
    };
    let base = snapshot
        .map(|snapshot| snapshot.head)
        .or_else(earliest)
        .unwrap_or(archived);
    let mut head = base;
    let mut blocks = BTreeMap::new();
    while let Some((_, next)) = found.get(&(head.seq, head.hash.0)).and_then(|versions| {
        versions
            .iter()
            .filter_map(|version| {
                let (seen, last) = reach(version, &reaches, place.acknowledged)?;
                Some(((seen, last, version.erased), version))
            })
            .max_by_key(|(rank, _)| *rank)
    }) {
        blocks.insert(next.head.seq.0, (next.at, next.len));
        head = next.head;
    }
    Chain { base, head, blocks }
}

impl Source for Salvage {
    fn base(&self) -> Result<Head, LogError> {
        Ok(self.base)
    }

    fn newest(&self) -> Head {
        self.head
    }

    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        Ok(self.snapshot.clone())
    }

    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        let missing = LogError::Missing {
            seq,
            last: self.head.seq,
        };
        let archive = self.archives.iter().find(|archive| seq <= archive.last);
        if let Some(archive) = archive {
            return archive.blocks()?.block(seq)?.ok_or(missing);
        }
        let Some((_, (at, len))) = self.blocks.range(seq.0..).next() else {
            return Err(missing);
        };
        let mut bytes = vec![0; *len];
        self.file
            .read_exact_at(&mut bytes, *at)
            .map_err(storage("read", &self.name))?;
        Ok(bytes)
    }

    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        let bytes = self.block(at.seq)?;
        match &self.packs {
            // What is lost cannot be told from what was erased: neither is there.
            Some(packs) => Ok(payload_of(&bytes, at, packs).unwrap_or(None)),
            None => Ok(None),
        }
    }
}
