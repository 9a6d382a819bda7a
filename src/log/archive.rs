//! Closed parts of the log: a block file each, written and read back whole before the sled
//! database that it came from is given up.
//!
//! `<data-dir>/archives/<first>-<last>.blocks`, positions in 20 digits, so that names sort; and
//! `<first>-<last>.snap`, the snapshot that the part began with, so that the oldest one kept can
//! be replayed without those before it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use infernet_state::types::Seq;

use super::{
    Head, LogError,
    block::{self, Block, PackAt, Place},
    blockfile::{self, BlockFile, Tail},
    directory::replace,
    limits::BLOCK_BYTES_MAX,
    snapshot::{self, Snapshot},
    store::{damaged, parse},
    volume::{Directory, Volume as _, VolumeFile as _, storage, sync_dir},
};
use crate::crash;

/// Extension of the file that says that an archive's payloads are erased.
const BARE: &str = "bare";

/// Where the first block of a block file stands: behind its head.
const BLOCKS_AT: u64 = 48;

/// An archive without payloads, and where in the packs those stand that it had: place and length.
pub(crate) type Bare = (Arc<Archive>, Vec<(PackAt, u32)>);

/// A closed part. It is opened, and its chain checked, when it is first read.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    /// Its first event.
    pub(crate) first: Seq,
    /// Its last event.
    pub(crate) last: Seq,
    opened: OnceLock<BlockFile<File>>,
    /// Its payloads are erased.
    bare: bool,
}

impl Archive {
    /// The block file, checked.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn blocks(&self) -> Result<&BlockFile<File>, LogError> {
        if let Some(blocks) = self.opened.get() {
            return Ok(blocks);
        }
        let name = self.path.display().to_string();
        let file = File::open(&self.path).map_err(storage("open", &name))?;
        let blocks = BlockFile::open(file, &name, Tail::Refuse)?
            .ok_or_else(|| damaged(self.first, format!("{name} is no block file")))?;
        if blocks.base().seq.0 + 1 != self.first.0 || blocks.head().seq != self.last {
            return Err(damaged(
                self.first,
                format!("{name} does not hold the events of its name"),
            ));
        }
        Ok(self.opened.get_or_init(|| blocks))
    }

    /// The head before its first event. Where it was not opened yet, nothing else of it is read or
    /// checked.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Storage`].
    pub(crate) fn base(&self) -> Result<Head, LogError> {
        if let Some(blocks) = self.opened.get() {
            return Ok(blocks.base());
        }
        let name = self.path.display().to_string();
        let file = File::open(&self.path).map_err(storage("open", &name))?;
        let len = file.length().map_err(storage("measure", &name))?;
        blockfile::base_of(&file, len, &name)?
            .filter(|base| base.seq.0 + 1 == self.first.0)
            .ok_or_else(|| {
                damaged(
                    self.first,
                    format!("{name} does not begin as its name says"),
                )
            })
    }

    /// The first pack that its first commit refers to, or names as the packs' end. Nothing else of
    /// it is read or checked.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Storage`].
    pub(crate) fn first_pack(&self) -> Result<u32, LogError> {
        let failed = |error| storage("read", self.path.display())(error);
        let found = File::open(&self.path).and_then(|file| Ok((file.length()?, file)));
        let (len, file) = found.map_err(failed)?;
        let mut at = BLOCKS_AT;
        let mut buffer = Vec::new();
        loop {
            let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
            buffer.resize(left.min(BLOCK_BYTES_MAX), 0);
            file.read_at(at, &mut buffer).map_err(failed)?;
            let (block, size) =
                Block::parse(&buffer).map_err(|error| damaged(self.first, error))?;
            if let Some(pack) = first_pack_of(&block, self.first)? {
                return Ok(pack);
            }
            at += size as u64;
        }
    }

    /// The snapshot that it begins with; `None` when it begins with the first event.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Storage`].
    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        if self.first.0 == 1 {
            return Ok(None);
        }
        let path = self.path.with_extension("snap");
        let base = self.base()?;
        match snapshot::read_file(&path)? {
            Some(snapshot) if snapshot.head == base => Ok(Some(snapshot)),
            _ => Err(damaged(
                base.seq,
                format!("the snapshot {} is not what was recorded", path.display()),
            )),
        }
    }

    /// Keeps the snapshot that it begins with beside it, durably.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn keep_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        replace(
            &self.path.with_extension("snap"),
            &snapshot::encode(snapshot),
        )
    }

    /// Writes it again with one block replaced by another with the same events.
    ///
    /// # Durability
    /// The new archive is in the place of the old one, durably, when it returns.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn rewrite(&self, block: &[u8]) -> Result<Arc<Self>, LogError> {
        let directory = self.path.parent().unwrap_or(&self.path);
        let replaced = parse(block, self.first)?.first;
        let old = self.blocks()?;
        write(directory, old.base(), old.head(), |put| {
            old.blocks(|bytes| {
                let same = parse(bytes, self.first)?.first == replaced;
                put(if same { block } else { bytes })
            })
        })
    }

    /// Whether its payloads are erased.
    pub(crate) fn is_bare(&self) -> bool {
        self.bare
    }

    /// Writes it again without any payload; the packs are the caller's to clear, and
    /// [`Archive::mark_bare`] is to be called when that is done.
    ///
    /// # Durability
    /// As [`Archive::rewrite`].
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn without_payloads(&self) -> Result<Bare, LogError> {
        let directory = self.path.parent().unwrap_or(&self.path);
        let old = self.blocks()?;
        let mut packs = Vec::new();
        let new = write(directory, old.base(), old.head(), |put| {
            old.blocks(|bytes| {
                let erased = block::erase_all(bytes).map_err(|error| damaged(self.first, error))?;
                packs.extend(erased.packs);
                put(&erased.block)
            })
        })?;
        Ok((new, packs))
    }

    /// Remembers, durably, that nothing is left to erase.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn mark_bare(&self) -> Result<Arc<Self>, LogError> {
        replace(&self.path.with_extension(BARE), &[])?;
        Ok(Arc::new(Self {
            path: self.path.clone(),
            first: self.first,
            last: self.last,
            opened: OnceLock::new(),
            bare: true,
        }))
    }

    /// Removes it, durably.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn remove(&self) -> Result<(), LogError> {
        let remove = || {
            fs::remove_file(&self.path)?;
            for beside in ["snap", BARE].map(|kind| self.path.with_extension(kind)) {
                if beside.exists() {
                    fs::remove_file(&beside)?;
                }
            }
            self.path.parent().map_or(Ok(()), sync_dir)
        };
        remove().map_err(storage("remove", self.path.display()))
    }
}

/// The first pack that a commit refers to or ends in, if this block of it decides that: it holds
/// the first payload in a pack, or ends the commit.
///
/// # Errors
/// [`LogError::Damaged`].
pub(crate) fn first_pack_of(block: &Block<'_>, near: Seq) -> Result<Option<u32>, LogError> {
    let mut first = None;
    block
        .payloads(|entry| {
            if let Place::Pack(at) = entry.place
                && !entry.erased
                && first.is_none()
            {
                first = Some(at.pack.min(block.packs.pack));
            }
        })
        .map_err(|error| damaged(near, error))?;
    Ok(first.or_else(|| block.ends_commit.then_some(block.packs.pack)))
}

/// Removes unfinished archives, and what stood beside archives that are gone.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn clear_unfinished(directory: &Path) -> Result<(), LogError> {
    let volume = Directory::new(directory);
    let names = volume
        .list()
        .map_err(storage("list", directory.display()))?;
    for name in &names {
        let alone = [".snap", ".bare"].iter().any(|kind| {
            let archive = name.strip_suffix(kind).map(|stem| format!("{stem}.blocks"));
            archive.is_some_and(|archive| !names.contains(&archive))
        });
        if alone || name.ends_with(".new") {
            volume.remove(name).map_err(storage("remove", name))?;
        }
    }
    Ok(())
}

/// The archives of a directory, oldest first; none when there is no such directory. Changes
/// nothing.
///
/// # Errors
/// [`LogError`]; [`LogError::Damaged`] when one between two others is missing.
pub(crate) fn list(directory: &Path) -> Result<Vec<Arc<Archive>>, LogError> {
    let volume = Directory::to_read(directory);
    let mut archives: Vec<Arc<Archive>> = Vec::new();
    let names = volume
        .list()
        .map_err(storage("list", directory.display()))?;
    for name in &names {
        let Some((first, last)) = span(name) else {
            continue;
        };
        if let Some(before) = archives.last()
            && before.last.0 + 1 != first.0
        {
            return Err(damaged(
                Seq(before.last.0 + 1),
                format!("the archive before {name} is missing"),
            ));
        }
        archives.push(Arc::new(Archive {
            path: directory.join(name),
            first,
            last,
            opened: OnceLock::new(),
            bare: directory.join(name).with_extension(BARE).exists(),
        }));
    }
    Ok(archives)
}

/// Writes blocks into a new archive, reads it back whole, and only then gives it its name.
/// `fill` hands every block over, in order; the file ends at `head`.
///
/// # Durability
/// The archive is durable when it returns.
///
/// # Errors
/// [`LogError`]; there is then no archive of that name.
pub(crate) fn write(
    directory: &Path,
    base: Head,
    head: Head,
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), LogError>) -> Result<(), LogError>,
) -> Result<Arc<Archive>, LogError> {
    let first = Seq(base.seq.0 + 1);
    let path = directory.join(format!("{:020}-{:020}.blocks", first.0, head.seq.0));
    let new = path.with_extension("new");
    let name = new.display().to_string();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)
        .map_err(storage("create", &name))?;
    let mut blocks = BlockFile::create(file, &name, base, PackAt::default())?;
    fill(&mut |block| blocks.append(&[block]))?;
    crash::point("archive.written");
    blocks.sync()?;
    crash::point("archive.synced");
    drop(blocks);
    // What is on the disk counts, not what was meant to be there.
    let file = File::open(&new).map_err(storage("open", &name))?;
    let written = BlockFile::open(file, &name, Tail::Refuse)?
        .ok_or_else(|| damaged(first, "the archive was not written"))?;
    if written.base() != base || written.head() != head {
        return Err(damaged(first, "the archive is not what was to be written"));
    }
    crash::point("archive.checked");
    fs::rename(&new, &path)
        .and_then(|()| sync_dir(directory))
        .map_err(storage("name", path.display()))?;
    crash::point("archive.named");
    let opened = OnceLock::new();
    opened.get_or_init(|| written);
    Ok(Arc::new(Archive {
        path,
        first,
        last: head.seq,
        opened,
        bare: false,
    }))
}

/// First and last position in an archive's name.
fn span(name: &str) -> Option<(Seq, Seq)> {
    let (first, last) = name.strip_suffix(".blocks")?.split_once('-')?;
    Some((Seq(first.parse().ok()?), Seq(last.parse().ok()?)))
}
