//! The copy of the database that is made while it is being opened: it is durable before anything
//! relies on it, it takes the database's place only when it is what was copied, and nobody else
//! has the directory meanwhile.

mod log_common;

use std::{
    cell::RefCell,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use infernet_node::{
    crash,
    log::{
        EventLog, LogError, LogReader, Mirror, Options, Record, Salvage, SledLog, SledReader,
        Source, Stored,
    },
};
use infernet_state::types::Seq;
use log_common::{Lcg, copy, options, payload, record};

const DATABASE: &str = "log/00000000000000000000";

/// What is done at a named place.
type Deed = Box<dyn FnMut()>;

thread_local! {
    static DEED: RefCell<Option<(&'static str, Deed)>> = const { RefCell::new(None) };
}

/// Calls `deed` whenever this thread passes `place`.
fn at(place: &'static str, deed: impl FnMut() + 'static) {
    DEED.with(|slot| *slot.borrow_mut() = Some((place, Box::new(deed))));
}

/// Every test begins with it: the places can be watched only before the first is passed.
fn watch() {
    static WATCHED: std::sync::Once = std::sync::Once::new();
    WATCHED.call_once(|| {
        assert!(crash::watch(|passed| {
            DEED.with(|slot| {
                if let Some((place, deed)) = &mut *slot.borrow_mut()
                    && *place == passed
                {
                    deed();
                }
            });
        }));
    });
}

fn batch(number: u64) -> Vec<Record> {
    let mut rng = Lcg(number);
    let mut batch: Vec<Record> = (0..20).map(|_| record(&mut rng, 300)).collect();
    batch[0].payloads.push(payload(&mut rng, 5000));
    batch
}

/// A log in `dir/home`, what is in it, and the copy of its database that an opening made, whole.
fn begun(dir: &Path) -> (PathBuf, Vec<Stored>, PathBuf) {
    let home = dir.join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    for number in 0..6 {
        log.append(&batch(number)).unwrap();
    }
    drop(log);
    let before = home.join(DATABASE).with_extension("before");
    let kept = dir.join("kept");
    at("open.preserved", {
        let kept = kept.clone();
        move || copy(&before, &kept)
    });
    let log = SledLog::open(&home, &options()).unwrap();
    at("", || {});
    let events = log.reader().read(Seq(1), usize::MAX).unwrap();
    assert_eq!(events.len(), 120);
    assert!(kept.join("db").exists());
    (home, events, kept)
}

fn read(reader: &SledReader) -> Vec<Stored> {
    reader.read(Seq(1), usize::MAX).unwrap()
}

#[test]
fn a_torn_copy_never_takes_the_place_of_the_database() {
    watch();
    let dir = tempfile::tempdir().unwrap();
    let (home, events, whole) = begun(dir.path());
    let tear = |copy: &Path, how: &str| {
        let db = copy.join("db");
        let mut bytes = fs::read(&db).unwrap();
        match how {
            "nothing in it" => {
                fs::remove_dir_all(copy).unwrap();
                fs::create_dir(copy).unwrap();
            }
            "its data never reached the disk" => fs::write(&db, []).unwrap(),
            "a short file" => fs::write(&db, &bytes[..bytes.len() / 2]).unwrap(),
            "a flipped bit" => {
                bytes[1000] ^= 1;
                fs::write(&db, &bytes).unwrap();
            }
            "a missing file" => fs::remove_file(copy.join("conf")).unwrap(),
            _ => fs::remove_file(copy.join("preserved.json")).unwrap(),
        }
    };
    for how in [
        "nothing in it",
        "its data never reached the disk",
        "a short file",
        "a flipped bit",
        "a missing file",
        "nothing that says what it was",
    ] {
        let copied = dir.path().join("copy");
        copy(&home, &copied);
        let database = copied.join(DATABASE);
        let before = database.with_extension("before");
        copy(&whole, &before);
        tear(&before, how);
        assert_eq!(
            read(&SledReader::look(&copied).unwrap()),
            events,
            "{how}: looked at"
        );
        let salvage = Salvage::open(&copied).unwrap();
        assert_eq!(salvage.newest().seq, Seq(120), "{how}: salvaged");
        drop(salvage);
        // Where the log is refused as well, both stay for the salvage.
        let db = fs::read(database.join("db")).unwrap();
        fs::write(database.join("db"), &db[..10_000]).unwrap();
        let refused = SledLog::open(&copied, &options()).unwrap_err();
        assert!(refused.to_string().starts_with("E-LOG-0"), "{refused}");
        assert!(database.with_extension("torn").exists(), "{how}");
        assert_eq!(
            fs::read(database.join("db")).unwrap(),
            &db[..10_000],
            "{how}: the refused database is as it was"
        );
        fs::write(database.join("db"), &db).unwrap();
        let log = SledLog::open(&copied, &options()).unwrap();
        assert_eq!(read(&log.reader()), events, "{how}");
        drop(log);
        let names = fs::read_dir(copied.join("log")).unwrap().count();
        assert_eq!(names, 1, "{how}: nothing is left over");
        fs::remove_dir_all(&copied).unwrap();
    }
    // The whole one does, and is looked at before: the opening had changed the database.
    copy(&whole, &home.join(DATABASE).with_extension("before"));
    fs::write(home.join(DATABASE).join("db"), vec![0; 100_000]).unwrap();
    assert_eq!(read(&SledReader::look(&home).unwrap()), events);
    assert_eq!(Salvage::open(&home).unwrap().newest().seq, Seq(120));
    let log = SledLog::open(&home, &options()).unwrap();
    assert_eq!(read(&log.reader()), events);
}

#[test]
fn a_copy_is_all_there_is_where_the_database_has_no_file() {
    watch();
    let dir = tempfile::tempdir().unwrap();
    let (home, events, whole) = begun(dir.path());
    fs::remove_file(whole.join("preserved.json")).unwrap();
    let database = home.join(DATABASE);
    let whole_db = fs::read(database.join("db")).unwrap();
    // An opening was killed while it put the copy back.
    for (extension, emptied) in [("before", false), ("before", true), ("torn", false)] {
        copy(&whole, &database.with_extension(extension));
        fs::remove_dir_all(&database).unwrap();
        if emptied {
            fs::create_dir(&database).unwrap();
            fs::write(database.join("conf"), "").unwrap();
        }
        assert_eq!(read(&SledReader::look(&home).unwrap()), events);
        assert_eq!(Salvage::open(&home).unwrap().newest().seq, Seq(120));
        let log = SledLog::open(&home, &options()).unwrap();
        assert_eq!(read(&log.reader()), events, "{extension}");
        drop(log);
        let names = fs::read_dir(home.join("log")).unwrap().count();
        assert_eq!(names, 1, "{extension}: nothing is left over");
    }
    // A damaged database is salvaged of the copy that was set aside, a whole one is not.
    copy(&whole, &database.with_extension("torn"));
    fs::write(database.join("db"), vec![0; 100_000]).unwrap();
    assert_eq!(Salvage::open(&home).unwrap().newest().seq, Seq(120));
    fs::write(database.join("db"), &whole_db).unwrap();
    fs::write(database.with_extension("torn").join("db"), vec![0; 100_000]).unwrap();
    assert_eq!(Salvage::open(&home).unwrap().newest().seq, Seq(120));
}

#[test]
fn left_overs_do_not_take_the_space_that_an_opening_needs() {
    watch();
    let dir = tempfile::tempdir().unwrap();
    let (home, _, whole) = begun(dir.path());
    let database = home.join(DATABASE);
    for extension in ["copying", "discard", "before"] {
        copy(&whole, &database.with_extension(extension));
    }
    let stranger = Options {
        identity: Some("another log".to_owned()),
        ..options()
    };
    let refused = SledLog::open(&home, &stranger).unwrap_err();
    assert!(matches!(refused, LogError::Identity { .. }), "{refused}");
    let left = || fs::read_dir(home.join("log")).unwrap().count();
    assert_eq!(left(), 4, "nothing of another's goes");
    let greedy = Options {
        free_floor_bytes: u64::MAX,
        ..options()
    };
    let refused = SledLog::open(&home, &greedy).unwrap_err();
    assert!(matches!(refused, LogError::NoSpace { .. }), "{refused}");
    assert_eq!(left(), 2, "what is needed stays");
}

/// Not a test of its own: opens the log, and a mirror of it if it is told where.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    if let Some(dir) = std::env::var_os("INFERNET_TEST_LOG") {
        let log = SledLog::open(Path::new(&dir), &options()).unwrap();
        if let Some(mirror) = std::env::var_os("INFERNET_TEST_MIRROR") {
            Mirror::open(Path::new(&mirror), &log.reader()).unwrap();
        }
    }
}

/// Runs a command behind `strace`; what it did to files, a line a call.
fn traced(command: &mut Command, dir: &Path) -> String {
    let trace = dir.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "4096"])
        .args([
            "-e",
            "trace=fsync,fdatasync,pwrite64,ftruncate,rename,mkdir",
        ])
        .arg("-o")
        .arg(&trace)
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(command.get_current_dir().unwrap_or(dir))
        .output()
        .unwrap_or_else(|error| panic!("strace: {error}; install it with apt-get install strace"))
        .status;
    assert!(status.success());
    fs::read_to_string(&trace).unwrap()
}

/// The command that runs [`child`].
fn child_on(log: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--ignored", "--test-threads=1"])
        .env("INFERNET_TEST_LOG", log);
    command
}

#[test]
fn the_name_of_what_is_made_is_durable() {
    watch();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let made = |trace: &str, made: &str, holder: &Path| {
        let mut lines = trace.lines();
        let begun = lines.any(|line| line.contains("mkdir(") && line.contains(made));
        let synced = lines.any(|line| {
            line.contains("fsync(") && line.contains(&format!("<{}>", holder.display()))
        });
        assert!(begun && synced, "{made}:\n{trace}");
    };
    let trace = traced(
        child_on(&dir.join("a/b/data")).env("INFERNET_TEST_MIRROR", dir.join("c/mirror")),
        &dir,
    );
    made(&trace, "/a\"", &dir);
    made(&trace, "/a/b\"", &dir.join("a"));
    made(&trace, "/a/b/data\"", &dir.join("a/b"));
    made(&trace, "/c\"", &dir);
    made(&trace, "/c/mirror\"", &dir.join("c"));
    // A bare name is in the working directory.
    let trace = traced(&mut child_on(Path::new("bare")), &dir);
    made(&trace, "\"bare\"", &dir);
    // An export has a name too.
    let mut export = Command::new(env!("CARGO_BIN_EXE_infernet"));
    export.args(["log", "export", "--data-dir", "bare", "export.jsonl"]);
    let trace = traced(&mut export, &dir);
    let mut lines = trace.lines();
    let file = format!("<{}/export.jsonl>", dir.display());
    assert!(lines.any(|line| line.contains("fsync(") && line.contains(&file)));
    let name = format!("<{}>", dir.display());
    assert!(
        lines.any(|line| line.contains("fsync(") && line.contains(&name)),
        "{trace}"
    );
}

/// Not a test of its own: looks at a log for as long as somebody listens.
#[test]
#[ignore = "started by the other test"]
fn looker() {
    if let Some(dir) = std::env::var_os("INFERNET_TEST_LOG") {
        let reader = SledReader::look(Path::new(&dir)).unwrap();
        println!("\nlooking at {} events", reader.head().seq);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    }
}

#[test]
fn what_a_killed_process_looked_at_is_removed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let scratch = dir.path().join("tmp");
    fs::create_dir(&scratch).unwrap();
    drop(SledLog::open(&home, &options()).unwrap());
    let look = || {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "looker", "--ignored", "--nocapture"])
            .env("INFERNET_TEST_LOG", &home)
            .env("TMPDIR", &scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines.by_ref().map_while(Result::ok);
        assert!(said.any(|line| line.starts_with("looking")));
        (child, lines)
    };
    let copies = || fs::read_dir(&scratch).unwrap().count();
    fs::create_dir(scratch.join("infernet-other")).unwrap();
    let (mut killed, _) = look();
    assert_eq!(copies(), 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(copies(), 2, "it had no time to clear away");
    let mut one = look();
    assert_eq!(copies(), 2, "the old one is gone");
    let mut another = look();
    assert_eq!(copies(), 3, "one that is needed stays");
    for (child, _) in [&mut one, &mut another] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    assert_eq!(copies(), 1);
}

#[test]
fn the_copy_is_durable_before_the_database_is_touched() {
    watch();
    let dir = tempfile::tempdir().unwrap();
    let (home, _, _) = begun(dir.path());
    let text = traced(&mut child_on(&home), dir.path());
    let from = |line: usize, call: &str, what: &str| {
        let found = text
            .lines()
            .skip(line)
            .position(|line| line.contains(call) && line.contains(what));
        found.map(|found| line + found)
    };
    let database = home.join(DATABASE);
    let name = |extension: &str| database.with_extension(extension).display().to_string();
    let renamed = from(0, "rename(", &format!("{}\")", name("before"))).expect("it gets its name");
    // Every file of the copy, then its directory, then the name.
    for file in ["/db>", "/conf>", "/preserved.json>", ">"] {
        let synced = from(0, "sync(", &format!("{}{file}", name("copying")));
        assert!(
            synced.is_some_and(|synced| synced < renamed),
            "{file} is not synced before the name:\n{text}"
        );
    }
    let logs = home.join("log").display().to_string();
    let named = from(renamed, "sync(", &format!("<{logs}>")).expect("the name is synced");
    for change in ["pwrite64(", "ftruncate("] {
        let changed = from(0, change, &format!("<{}/db>", database.display()));
        assert!(
            changed.is_none_or(|changed| named < changed),
            "{change} before the copy is durable:\n{text}"
        );
    }
    assert!(from(named, "pwrite64(", "/db>").is_some(), "{text}");
}

#[test]
fn a_refused_directory_is_held_until_the_copy_is_back() {
    watch();
    let dir = tempfile::tempdir().unwrap();
    let (home, _, _) = begun(dir.path());
    let db = home.join(DATABASE).join("db");
    let bytes = fs::read(&db).unwrap();
    fs::write(&db, &bytes[..10_000]).unwrap();
    let (heard, said) = std::sync::mpsc::channel();
    let lock = home.join("LOCK");
    at("open.opened", move || {
        let lock = fs::File::open(&lock).unwrap();
        heard.send(lock.try_lock().is_ok()).unwrap();
    });
    let refused = SledLog::open(&home, &options()).unwrap_err();
    assert!(refused.to_string().starts_with("E-LOG-0"), "{refused}");
    assert_eq!(said.try_recv(), Ok(false), "somebody else could have it");
}
