//! A simulated disk: what was synced survives a power cut, what was not may survive in part.
//!
//! Each file has a durable image and the operations since its last sync. A power cut keeps,
//! drops or tears each sector of each pending write, in any order and independently; names that
//! were not synced may be lost or come back. A cut can be set for the n-th operation, which is
//! then itself carried out in part, and everything after it fails.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::volume::{Volume, VolumeFile};

/// What a disk writes in one piece, in bytes.
const SECTOR_BYTES: usize = 512;

/// A source of choices for power cuts; deterministic, so that a failing seed reproduces itself.
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_number() % bound
    }
}

/// An operation that was not yet synced.
#[derive(Clone, Debug)]
enum Pending {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A file: what is durable, what the process sees, and how the two differ.
#[derive(Clone, Debug, Default)]
struct Node {
    durable: Vec<u8>,
    visible: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    operations: u64,
    cut_at: Option<u64>,
    choices: Option<Choices>,
}

impl Inner {
    /// Counts an operation; true when the power goes during it.
    fn step(&mut self) -> io::Result<bool> {
        self.operations += 1;
        match self.cut_at {
            Some(cut) if self.operations > cut => Err(power_cut()),
            Some(cut) => Ok(self.operations == cut),
            None => Ok(false),
        }
    }
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

/// A file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimFile {
    disk: SimDisk,
    node: usize,
}

fn power_cut() -> io::Error {
    io::Error::other("the power is gone")
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// Cuts the power during the operation with this number, counted as [`SimDisk::operations`].
    pub fn cut_at(&self, operation: u64, choices: Choices) {
        let mut inner = self.inner();
        inner.cut_at = Some(operation);
        inner.choices = Some(choices);
    }

    /// The disk as it is found after a power cut now.
    #[must_use]
    pub fn after_power_cut(&self, choices: &mut Choices) -> Self {
        let inner = self.inner();
        let mut names = inner.durable_names.clone();
        let changed: Vec<_> = inner
            .names
            .keys()
            .chain(inner.durable_names.keys())
            .filter(|name| inner.names.get(*name) != inner.durable_names.get(*name))
            .cloned()
            .collect();
        for name in changed {
            if choices.below(2) == 0 {
                match inner.names.get(&name) {
                    Some(node) => names.insert(name, *node),
                    None => names.remove(&name),
                };
            }
        }
        let nodes = inner
            .nodes
            .iter()
            .map(|node| node.survive(choices))
            .collect();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                nodes,
                names: names.clone(),
                durable_names: names,
                ..Inner::default()
            })),
        }
    }

    /// Flips a bit of a file, durably: what bit rot does.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut inner = self.inner();
        if let Some(node) = inner.names.get(name).copied() {
            let node = &mut inner.nodes[node];
            for image in [&mut node.durable, &mut node.visible] {
                if let Some(byte) = image.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }
}

impl Node {
    /// What is left of the file after a power cut.
    fn survive(&self, choices: &mut Choices) -> Self {
        let mut image = self.durable.clone();
        for pending in &self.pending {
            match pending {
                Pending::Length(len) if choices.below(2) == 0 => image.resize(*len, 0),
                Pending::Length(_) => {}
                Pending::Write { at, bytes } => survive_write(&mut image, *at, bytes, choices),
            }
        }
        Self {
            durable: image.clone(),
            visible: image,
            pending: Vec::new(),
        }
    }
}

/// Keeps, drops or tears each sector of a write.
fn survive_write(image: &mut Vec<u8>, at: usize, bytes: &[u8], choices: &mut Choices) {
    // Most often a write survives or is lost as a whole.
    let mood = choices.below(4);
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes
            .len()
            .min(((at + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - at);
        let kept = match (mood, choices.below(8)) {
            (0, _) | (2..=3, 0..=2) => 0,
            (2..=3, 3) => usize::try_from(choices.below((to - from) as u64)).unwrap_or(0),
            _ => to - from,
        };
        if kept > 0 {
            put(image, at + from, &bytes[from..from + kept]);
        } else if choices.below(2) == 0 && image.len() < at + to {
            // The length got there, the bytes did not.
            image.resize(at + to, 0);
        }
        from = to;
    }
}

/// Writes into an image, extending it with zeroes.
fn put(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if image.len() < at + bytes.len() {
        image.resize(at + bytes.len(), 0);
    }
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A position as an index.
fn index(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(io::Error::other)
}

impl Volume for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str, create: bool) -> io::Result<SimFile> {
        let mut inner = self.inner();
        if inner.step()? {
            return Err(power_cut());
        }
        let node = match inner.names.get(name) {
            Some(node) => *node,
            None if create => {
                let node = inner.nodes.len();
                inner.nodes.push(Node::default());
                inner.names.insert(name.to_owned(), node);
                node
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(SimFile {
            disk: self.clone(),
            node,
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.inner();
        if inner.step()? {
            return Err(power_cut());
        }
        Ok(inner.names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let cut = inner.step()?;
        inner.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        if cut { Err(power_cut()) } else { Ok(()) }
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.step()? {
            return Err(power_cut());
        }
        inner.durable_names = inner.names.clone();
        Ok(())
    }

    fn name(&self) -> String {
        "the simulated disk".into()
    }
}

impl VolumeFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.inner().nodes[self.node].visible.len() as u64)
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let at = index(at)?;
        let inner = self.disk.inner();
        let found = at
            .checked_add(bytes.len())
            .and_then(|end| inner.nodes[self.node].visible.get(at..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = index(at)?;
        let mut inner = self.disk.inner();
        let cut = inner.step()?;
        let node = &mut inner.nodes[self.node];
        put(&mut node.visible, at, bytes);
        node.pending.push(Pending::Write {
            at,
            bytes: bytes.to_vec(),
        });
        if cut { Err(power_cut()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        let mut inner = self.disk.inner();
        let cut = inner.step()?;
        let node = &mut inner.nodes[self.node];
        node.visible.resize(len, 0);
        node.pending.push(Pending::Length(len));
        if cut { Err(power_cut()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let cut = inner.step()?;
        let mut choices = inner.choices.clone();
        let node = &mut inner.nodes[self.node];
        if cut {
            // A sync that did not finish may have written any part.
            if let Some(choices) = &mut choices {
                node.durable = node.survive(choices).durable;
            }
            return Err(power_cut());
        }
        node.durable = node.visible.clone();
        node.pending.clear();
        Ok(())
    }
}
