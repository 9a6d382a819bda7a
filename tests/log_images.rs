//! Power cuts below the real log on sled: what it asks of the system is recorded call by call, and
//! from that what a disk may hold when the power goes at any of them. Of everything that was not
//! synced any part may be there: names of files, their lengths, each of their sectors. The log
//! opens on every such image, with everything that was acknowledged.
//!
//! `strace` records.

mod log_common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use infernet_node::log::{
    EventLog, Keeper as _, LogReader, Record, SledLog, Snapshot, Stored, Upkeep as _,
};
use infernet_state::types::{Hash, PayloadAt, Seq};
use log_common::{Lcg, copy, options, payload, record};

/// The calls that are recorded: all that change what a disk holds, or when it is durable.
const CALLS: &str = "openat,write,pwrite64,ftruncate,fallocate,copy_file_range,fsync,fdatasync,\
                     rename,renameat,renameat2,mkdir,rmdir,unlink,unlinkat";

/// Images made at each call.
const IMAGES_PER_CALL: u64 = 2;

/// Images examined at once.
const WORKERS: usize = 3;

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

fn batch(number: u64) -> Vec<Record> {
    let mut rng = Lcg(number);
    (0..15)
        .map(|at| {
            let mut record = record(&mut rng, 300);
            if at % 7 == 0 {
                record.payloads.push(payload(&mut rng, 3000));
                record.payloads.push(payload(&mut rng, 300));
            }
            record
        })
        .collect()
}

fn snapshot(log: &SledLog) -> Snapshot {
    Snapshot {
        head: log.head(),
        digest: Hash([1; 32]),
        bytes: vec![5; 2000],
    }
}

/// Not a test of its own: opens the log, appends, keeps a snapshot, rolls, and says how
/// far it came.
#[test]
#[ignore = "started by the other test"]
fn child() {
    let Some(dir) = std::env::var_os("INFERNET_TEST_LOG") else {
        return;
    };
    println!();
    let mut log = SledLog::open(Path::new(&dir), &options()).unwrap();
    for number in 3..7 {
        let head = log.append(&batch(number)).unwrap();
        println!("acknowledged {}", head.seq);
        if number == 4 {
            log.keeper().save_snapshot(&snapshot(&log)).unwrap();
        }
        if number == 5 {
            log.roll(&snapshot(&log)).unwrap();
        }
    }
}

/// A file or a directory, whatever its name.
enum Node {
    File {
        now: Vec<u8>,
        durable: Vec<u8>,
        /// What was written since the last sync.
        writes: Vec<(usize, Vec<u8>)>,
    },
    Directory,
}

/// A change of names, in a directory.
struct Naming {
    directory: usize,
    /// The name that goes, and the name that comes.
    gone: Option<String>,
    new: Option<(String, usize)>,
    durable: bool,
}

/// Everything below the log's directory, as it is and as the disk has it.
struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    /// The names at the beginning, which are durable, and those of now.
    first: Names,
    names: Names,
    namings: Vec<Naming>,
}

type Names = BTreeMap<(usize, String), usize>;

impl Disk {
    fn load(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            nodes: vec![Node::Directory],
            first: Names::new(),
            names: Names::new(),
            namings: Vec::new(),
        };
        disk.load_below(root, 0);
        disk.first.clone_from(&disk.names);
        disk
    }

    fn load_below(&mut self, path: &Path, directory: usize) {
        for entry in path.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let id = self.nodes.len();
            self.names.insert((directory, name), id);
            if path.is_dir() {
                self.nodes.push(Node::Directory);
                self.load_below(&path, id);
            } else {
                let bytes = fs::read(&path).unwrap();
                self.nodes.push(Node::File {
                    now: bytes.clone(),
                    durable: bytes,
                    writes: Vec::new(),
                });
            }
        }
    }

    /// Directory and name of a path below the root.
    fn place(&self, path: &str) -> Option<(usize, String)> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        let mut parts: Vec<&str> = below.iter().map(|part| part.to_str().unwrap()).collect();
        let name = parts.pop()?.to_owned();
        let mut at = 0;
        for part in parts {
            at = *self.names.get(&(at, part.to_owned()))?;
        }
        Some((at, name))
    }

    fn find(&self, path: &str) -> Option<usize> {
        if Path::new(path) == self.root {
            return Some(0);
        }
        self.names.get(&self.place(path)?).copied()
    }

    fn name(&mut self, directory: usize, gone: Option<String>, new: Option<(String, usize)>) {
        if let Some(gone) = &gone {
            self.names.remove(&(directory, gone.clone()));
        }
        if let Some((name, id)) = &new {
            self.names.insert((directory, name.clone()), *id);
        }
        self.namings.push(Naming {
            directory,
            gone,
            new,
            durable: false,
        });
    }

    fn create(&mut self, path: &str, node: Node) {
        let Some((directory, name)) = self.place(path) else {
            return;
        };
        if !self.names.contains_key(&(directory, name.clone())) {
            let id = self.nodes.len();
            self.nodes.push(node);
            self.name(directory, None, Some((name, id)));
        }
    }

    fn remove(&mut self, path: &str) {
        if let Some((directory, name)) = self.place(path) {
            self.name(directory, Some(name), None);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (Some(old), Some(new)) = (self.place(from), self.place(to)) else {
            return;
        };
        assert_eq!(old.0, new.0, "names move within a directory: {from} {to}");
        let id = self.names[&old];
        self.name(old.0, Some(old.1), Some((new.1, id)));
    }

    fn write(&mut self, id: usize, at: usize, bytes: &[u8]) {
        let Node::File { now, writes, .. } = &mut self.nodes[id] else {
            panic!("a directory is written");
        };
        let end = at + bytes.len();
        now.resize(now.len().max(end), 0);
        now[at..end].copy_from_slice(bytes);
        writes.push((at, bytes.to_vec()));
    }

    /// Another length is durable with the next sync, and may be before.
    fn set_len(&mut self, id: usize, len: usize) {
        if let Node::File { now, .. } = &mut self.nodes[id] {
            now.resize(len, 0);
        }
    }

    fn sync(&mut self, id: usize) {
        match &mut self.nodes[id] {
            Node::File {
                now,
                durable,
                writes,
            } => {
                durable.clone_from(now);
                writes.clear();
            }
            Node::Directory => {
                for naming in self.namings.iter_mut().filter(|one| one.directory == id) {
                    naming.durable = true;
                }
            }
        }
    }

    /// What the disk may hold when the power goes now.
    fn image(&self, into: &Path, rng: &mut Lcg) {
        let mut names = self.first.clone();
        // A journal keeps the order of names, as far as it was written.
        let written = match rng.below(3) {
            0 => 0,
            1 => self.namings.len(),
            _ => rng.below(self.namings.len() + 1),
        };
        for (number, naming) in self.namings.iter().enumerate() {
            if naming.durable || number < written {
                if let Some(gone) = &naming.gone {
                    names.remove(&(naming.directory, gone.clone()));
                }
                if let Some((name, id)) = &naming.new {
                    names.insert((naming.directory, name.clone()), *id);
                }
            }
        }
        self.image_below(&names, 0, into, rng);
    }

    fn image_below(&self, names: &Names, directory: usize, into: &Path, rng: &mut Lcg) {
        fs::create_dir(into).unwrap();
        let below = names.range((directory, String::new())..(directory + 1, String::new()));
        for ((_, name), id) in below {
            let path = into.join(name);
            match &self.nodes[*id] {
                Node::Directory => self.image_below(names, *id, &path, rng),
                Node::File {
                    now,
                    durable,
                    writes,
                } => fs::write(path, torn(now, durable, writes, rng)).unwrap(),
            }
        }
    }
}

/// A file of which any part of what was written since the last sync is there.
fn torn(now: &[u8], durable: &[u8], writes: &[(usize, Vec<u8>)], rng: &mut Lcg) -> Vec<u8> {
    let mut image = durable.to_vec();
    let mood = rng.below(4);
    if mood == 0 {
        return image;
    }
    for (at, bytes) in writes {
        if mood == 1 && rng.below(2) == 0 {
            continue;
        }
        for (sector, part) in (0..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
            if mood == 2 && rng.below(2) == 0 {
                continue;
            }
            let begin = at + sector;
            image.resize(image.len().max(begin + part.len()), 0);
            image[begin..begin + part.len()].copy_from_slice(part);
        }
    }
    if rng.below(2) == 0 {
        image.resize(now.len(), 0);
    }
    image
}

/// What `strace` told, call by call.
struct Recording {
    disk: Disk,
    /// By descriptor: where the next plain write goes.
    offsets: BTreeMap<String, usize>,
    acknowledged: u64,
}

/// The bytes of a string as `strace -xx` writes it.
fn unescape(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The strings of a call, in order.
fn strings(call: &str) -> Vec<Vec<u8>> {
    call.split('"').skip(1).step_by(2).map(unescape).collect()
}

/// Descriptor and path of the first argument: `5<\x2f…>`.
fn descriptor(arguments: &str) -> Option<(String, String)> {
    let (number, rest) = arguments.split_once('<')?;
    let path = unescape(rest.split_once('>')?.0);
    Some((number.to_owned(), String::from_utf8(path).ok()?))
}

impl Recording {
    /// Takes note of a call; true when it concerns the log's directory.
    fn take(&mut self, call: &str) -> bool {
        let Some((name, rest)) = call.split_once('(') else {
            return false;
        };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else {
            return false;
        };
        if result.starts_with('-') || result.starts_with('?') {
            return false;
        }
        let paths = || {
            strings(arguments)
                .into_iter()
                .map(|path| String::from_utf8(path).unwrap())
                .collect::<Vec<_>>()
        };
        match name {
            "openat" => {
                let path = &paths()[0];
                if arguments.contains("O_CREAT") {
                    let file = Node::File {
                        now: Vec::new(),
                        durable: Vec::new(),
                        writes: Vec::new(),
                    };
                    self.disk.create(path, file);
                }
                let Some((number, path)) = descriptor(result) else {
                    return false;
                };
                self.offsets.insert(number, 0);
                let Some(id) = self.disk.find(&path) else {
                    return false;
                };
                if arguments.contains("O_TRUNC") {
                    self.disk.set_len(id, 0);
                }
                arguments.contains("O_CREAT")
            }
            "write" | "pwrite64" => {
                let (number, path) = descriptor(arguments).unwrap();
                let bytes = strings(arguments).remove(0);
                if number == "1" {
                    let said = String::from_utf8_lossy(&bytes).into_owned();
                    let mut told = said
                        .lines()
                        .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
                    self.acknowledged = told.next_back().unwrap_or(self.acknowledged);
                    return false;
                }
                let Some(id) = self.disk.find(&path) else {
                    return false;
                };
                assert!(result.starts_with(&bytes.len().to_string()), "{result}");
                let at = if name == "write" {
                    let next = self.offsets.entry(number).or_default();
                    *next += bytes.len();
                    *next - bytes.len()
                } else {
                    let at = arguments.trim_end_matches(')').rsplit(", ").next().unwrap();
                    at.parse().unwrap()
                };
                self.disk.write(id, at, &bytes);
                true
            }
            "ftruncate" => {
                let (_, path) = descriptor(arguments).unwrap();
                let Some(id) = self.disk.find(&path) else {
                    return false;
                };
                let len = arguments.trim_end_matches(')').rsplit(", ").next().unwrap();
                self.disk.set_len(id, len.parse().unwrap());
                true
            }
            "fsync" | "fdatasync" => {
                let (_, path) = descriptor(arguments).unwrap();
                let found = self.disk.find(&path);
                found.into_iter().for_each(|id| self.disk.sync(id));
                found.is_some()
            }
            "mkdir" => {
                self.disk.create(&paths()[0], Node::Directory);
                true
            }
            "rename" => {
                let paths = paths();
                self.disk.rename(&paths[0], &paths[1]);
                true
            }
            "unlink" | "rmdir" => {
                self.disk.remove(&paths()[0]);
                true
            }
            "unlinkat" => {
                let below = descriptor(arguments).filter(|_| !arguments.starts_with("AT_FDCWD"));
                let name = paths().remove(0);
                match below {
                    Some((_, directory)) => self.disk.remove(&format!("{directory}/{name}")),
                    None => self.disk.remove(&name),
                }
                true
            }
            other => panic!("{other} is not understood: {arguments}"),
        }
    }
}

/// A place in memory, where there is room: images are written and read many hundred times.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(memory)
        .is_ok_and(|space| space.f_bavail * space.f_frsize > 512 * 1024 * 1024);
    roomy
        .then(|| tempfile::tempdir_in(memory).ok())
        .flatten()
        .unwrap_or_else(|| tempfile::tempdir().unwrap())
}

struct Expected {
    events: Vec<Stored>,
    payloads: Vec<(PayloadAt, Vec<u8>)>,
}

/// What a disk may hold at a moment.
struct Image {
    path: PathBuf,
    acknowledged: u64,
    what: String,
}

/// Opens an image: everything acknowledged is there, and nothing else than was written.
fn examine(image: &Image, expected: &Expected) {
    let Image {
        path,
        acknowledged,
        what,
    } = image;
    let log = SledLog::open(path, &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let reader = log.reader();
    let head = reader.head().seq;
    assert!(head.0 >= *acknowledged, "{what}: {head} of {acknowledged}");
    assert_eq!(head.0 % 15, 0, "{what}: a commit is whole or not there");
    let events = reader.read(Seq(1), usize::MAX).unwrap();
    assert!(
        events == expected.events[..events.len()] && events.len() as u64 == head.0,
        "{what}: another history"
    );
    for (at, bytes) in expected.payloads.iter().filter(|(at, _)| at.seq <= head) {
        let found = reader.payload(*at).unwrap();
        assert_eq!(found.as_ref(), Some(bytes), "{what}: event {}", at.seq);
    }
}

/// The calls of a trace, each when it had ended.
fn whole_calls(trace: &str) -> Vec<String> {
    let mut unfinished: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, begun);
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let begun = unfinished.remove(thread).unwrap();
            calls.push(begun.to_owned() + rest.split_once("resumed>").unwrap().1);
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

#[test]
fn whatever_the_disk_holds_at_a_power_cut_is_everything_acknowledged() {
    let dir = place();
    let home = dir.path().join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    for number in 0..3 {
        log.append(&batch(number)).unwrap();
    }
    drop(log);
    let begun = dir.path().join("begun");
    copy(&home, &begun);
    let trace = dir.path().join("trace");
    let recorded = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "100000000", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={CALLS}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("INFERNET_TEST_LOG", &home)
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("strace: {error}; install it with apt-get install strace"));
    assert!(recorded.success());

    let log = SledLog::open(&home, &options()).unwrap();
    let events = log.reader().read(Seq(1), usize::MAX).unwrap();
    assert_eq!(events.len(), 7 * 15);
    let payloads = (0..7).flat_map(batch).zip(1..).flat_map(|(record, seq)| {
        let payloads = record.payloads.into_iter();
        payloads.map(move |payload| {
            let at = PayloadAt {
                seq: Seq(seq),
                payload: payload.reference,
            };
            (at, payload.bytes)
        })
    });
    let expected = Expected {
        payloads: payloads.collect(),
        events,
    };
    drop(log);

    let mut recording = Recording {
        disk: Disk::load(&begun),
        offsets: BTreeMap::new(),
        acknowledged: 3 * 15,
    };
    recording.disk.root.clone_from(&home);
    let calls = fs::read_to_string(&trace).unwrap();
    let (hand_over, images) = mpsc::sync_channel::<Image>(WORKERS);
    let images = Arc::new(Mutex::new(images));
    let moments = thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (images, expected) = (Arc::clone(&images), &expected);
            scope.spawn(move || {
                loop {
                    let next = images.lock().unwrap().recv();
                    let Ok(image) = next else { return };
                    examine(&image, expected);
                    fs::remove_dir_all(&image.path).unwrap();
                }
            });
        }
        // When all of them have failed nobody takes an image any more.
        drop(images);
        // The power goes behind each call.
        let mut moments = 0_u64;
        for call in whole_calls(&calls) {
            if !recording.take(&call) {
                continue;
            }
            moments += 1;
            let shown: String = call.chars().take(60).collect();
            for seed in 0..IMAGES_PER_CALL {
                let path = dir.path().join(format!("image-{moments}-{seed}"));
                recording.disk.image(&path, &mut Lcg(moments * 1000 + seed));
                let image = Image {
                    path,
                    acknowledged: recording.acknowledged,
                    what: format!("moment {moments}, image {seed}, behind {shown}"),
                };
                hand_over.send(image).expect("somebody examines it");
            }
        }
        drop(hand_over);
        moments
    });
    assert_eq!(recording.acknowledged, 7 * 15);
    assert!(moments > 100, "{moments}");
}
