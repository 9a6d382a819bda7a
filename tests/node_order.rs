//! The order of the system calls of the real node: no broadcast leaves the process before the
//! `fdatasync` that covers its signed bytes, and no job is acknowledged before the one that
//! covers its event. `strace` watches.

mod node_common;

use std::{fs, process::Command};

use node_common::{Outside, Running};

/// Jobs and requests on chain while it is watched.
const ASKED: u64 = 12;
const ASKED_ON_CHAIN: u64 = 3;

/// The calls that are watched: everything that changes the database or speaks to somebody.
const WATCHED: &str = "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync,rename";

/// A call, by the lines of the trace in which it begins and ends.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    name: String,
    /// What `strace -y` says of the descriptor.
    file: String,
    bytes: Vec<u8>,
    begun: usize,
    ended: Option<usize>,
    succeeded: bool,
}

impl Call {
    fn is_of_database(&self) -> bool {
        self.file.ends_with("/db")
    }
}

/// Reads a trace of several threads: a call that is interrupted by another thread's line is
/// `<unfinished ...>` and `resumed` later.
fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<(String, usize)> = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        let result = |text: &str| {
            let (call, result) = text.rsplit_once(" = ")?;
            call.trim_end()
                .ends_with(')')
                .then(|| !result.starts_with('-'))
        };
        if rest.starts_with("<... ") {
            if let Some(place) = open.iter().position(|(of, _)| of == thread) {
                let (_, call) = open.swap_remove(place);
                calls[call].ended = Some(line);
                calls[call].succeeded = result(rest) == Some(true);
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        let file = arguments
            .split_once('<')
            .and_then(|(_, after)| after.split_once('>'))
            .map_or_else(String::new, |(file, _)| unescape(file));
        let ended = result(rest);
        if ended.is_none() {
            open.push((thread.to_owned(), calls.len()));
        }
        calls.push(Call {
            name: name.to_owned(),
            file,
            bytes: quoted(arguments),
            begun: line,
            ended: ended.map(|_| line),
            succeeded: ended == Some(true),
        });
    }
    calls
}

/// All quoted strings of the arguments, one behind the other.
fn quoted(arguments: &str) -> Vec<u8> {
    arguments
        .split('"')
        .skip(1)
        .step_by(2)
        .flat_map(hex)
        .collect()
}

/// The bytes of `\x12\x34…`.
fn hex(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .map(|digits| u8::from_str_radix(digits, 16).expect("two digits, by -xx"))
        .collect()
}

/// A path, which `-xx` may have written in hexadecimal.
fn unescape(text: &str) -> String {
    if text.contains("\\x") {
        String::from_utf8_lossy(&hex(text)).into_owned()
    } else {
        text.to_owned()
    }
}

/// How many of each were seen, all in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    broadcasts: usize,
    acknowledgements: usize,
}

/// Holds the order of the calls against the promise.
fn judge(calls: &[Call]) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for call in calls.iter().filter(|call| !call.is_of_database()) {
        let text = String::from_utf8_lossy(&call.bytes);
        if text.contains("eth_sendRawTransaction") {
            let raw = text
                .split_once("\"0x")
                .and_then(|(_, after)| after.split_once('"'))
                .and_then(|(digits, _)| alloy::hex::decode(digits).ok())
                .ok_or(format!("no transaction in {text}"))?;
            durable_before(calls, call, &raw)
                .map_err(|why| format!("a broadcast in line {}: {why}", call.begun))?;
            seen.broadcasts += 1;
        } else if text.starts_with("HTTP/1.1 200")
            && let Some((_, id)) = text.split_once("\r\n\r\n{\"id\":\"")
        {
            let id = node_common::job_id(&id[..36]);
            durable_before(calls, call, &id.0)
                .map_err(|why| format!("an acknowledgement in line {}: {why}", call.begun))?;
            seen.acknowledgements += 1;
        }
    }
    Ok(seen)
}

/// Whether the key under which clients are known has a durable name.
fn client_key_is_named(calls: &[Call]) -> bool {
    let mut calls = calls.iter();
    let Some(path) = calls.find_map(|call| {
        let text = String::from_utf8_lossy(&call.bytes).into_owned();
        let (_, path) = text.split_once("client-key.new")?;
        (call.name == "rename").then(|| path.to_owned())
    }) else {
        return false;
    };
    let directory = path.strip_suffix("/client-key");
    calls.any(|call| call.name == "fsync" && call.succeeded && Some(&*call.file) == directory)
}

/// Whether the bytes were written to the database, and the database synced, before a call began.
fn durable_before(calls: &[Call], call: &Call, bytes: &[u8]) -> Result<(), String> {
    let of_database = || {
        calls
            .iter()
            .filter(|other| other.is_of_database() && other.succeeded)
    };
    let written = of_database()
        .filter(|write| write.name.starts_with("pwrite"))
        .filter(|write| write.bytes.windows(bytes.len()).any(|part| part == bytes))
        .filter_map(|write| write.ended)
        .min()
        .ok_or("its bytes were never written to the database")?;
    let synced = of_database().any(|sync| {
        sync.name == "fdatasync"
            && sync.begun > written
            && sync.ended.is_some_and(|ended| ended < call.begun)
    });
    if synced {
        Ok(())
    } else {
        Err(format!(
            "no fdatasync since its bytes were written in line {written}"
        ))
    }
}

/// The node behind `strace`: killed itself, since a tracer that is killed lets it go on.
struct Traced(Running);

impl Traced {
    fn kill(&self) {
        let tracer = self.0.id();
        let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-9", child]).status();
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn nothing_leaves_the_node_before_it_is_durable() {
    let outside = Outside::new(true);
    outside.configure("");
    let trace = outside.path("trace");
    let file = trace.to_str().expect("text");
    let watched = [
        "strace",
        "-f",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-e",
        "signal=none",
        "-e",
        WATCHED,
        "-o",
        file,
    ];
    let mut traced = Traced(outside.start(outside.command(&watched)));
    let (api, _) = traced.0.urls();
    outside.ask(&api, ASKED, ASKED_ON_CHAIN);
    outside.settle(&api);
    traced.kill();
    traced.0.end();
    let trace = fs::read_to_string(&trace).expect("a trace");
    let calls = parse(&trace);
    let seen = judge(&calls).expect("in order");
    println!("{} calls: {seen:?}", calls.len());
    assert!(
        seen.broadcasts >= usize::try_from(ASKED_ON_CHAIN).expect("small"),
        "{seen:?}"
    );
    assert!(
        seen.acknowledgements >= usize::try_from(ASKED).expect("small"),
        "{seen:?}"
    );

    assert!(client_key_is_named(&calls));

    // The judge sees what is wrong: without the syncs, and with each sync behind what follows it.
    let unsynced: Vec<Call> = calls
        .iter()
        .filter(|call| call.name != "fdatasync")
        .cloned()
        .collect();
    judge(&unsynced).expect_err("nothing is synced");
    let mut late = calls.clone();
    for call in late.iter_mut().filter(|call| call.name == "fdatasync") {
        call.ended = Some(usize::MAX);
    }
    judge(&late).expect_err("everything is synced too late");
}

#[test]
fn a_trace_is_read_as_strace_writes_it() {
    let broadcast = |digits: &str| {
        let body = format!("{{\"method\":\"eth_sendRawTransaction\",\"params\":[\"0x{digits}\"]}}");
        body.bytes()
            .map(|byte| format!("\\x{byte:02x}"))
            .collect::<String>()
    };
    let lines = [
        r#"11 pwrite64(7</d/log/0/db>, "\x01\xab\xcd\x02", 4, 0) = 4"#.to_owned(),
        "11 fdatasync(9</d/log/0/db> <unfinished ...>".to_owned(),
        "12 write(3<pipe:[1]>, \"\\x2e\", 1) = 1".to_owned(),
        "11 <... fdatasync resumed>) = 0".to_owned(),
        format!(
            "12 sendto(4<socket:[2]>, \"{}\", 60, 0, NULL, 0) = 60",
            broadcast("abcd")
        ),
    ];
    let trace = |order: &[usize]| {
        let chosen: Vec<_> = order.iter().map(|line| lines[*line].as_str()).collect();
        judge(&parse(&chosen.join("\n")))
    };
    let one = Seen {
        broadcasts: 1,
        acknowledgements: 0,
    };
    assert_eq!(trace(&[0, 1, 2, 3, 4]), Ok(one));
    assert_eq!(
        trace(&[0, 1, 2, 3]),
        Ok(Seen::default()),
        "no broadcast is none"
    );
    assert!(trace(&[0, 1, 2, 4, 3]).is_err(), "the sync had not ended");
    assert!(
        trace(&[1, 2, 3, 0, 4]).is_err(),
        "the sync was before the write"
    );
    assert!(trace(&[1, 2, 3, 4]).is_err(), "nothing was written");
    let failed = lines[3].replace("= 0", "= -1 EIO (Input/output error)");
    let text = [&lines[0], &lines[1], &failed, &lines[4]]
        .map(String::as_str)
        .join("\n");
    assert!(judge(&parse(&text)).is_err(), "the sync failed");
}
