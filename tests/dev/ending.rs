//! How `infernet dev` ends, and what it leaves behind: nothing that runs.

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, Running, dev, place, request, text};

/// What `/proc/PID/stat` says of a process: its state and its parent; `None` when it is gone.
fn process(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

/// The running children of a process.
fn children(parent: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| process(*pid).is_some_and(|(state, of)| of == parent && state != 'Z'))
        .collect()
}

/// Waits until none of them runs any more; one that only waits to be buried does not run.
fn assert_gone(pids: &[u32]) {
    let begun = Instant::now();
    let runs = |pid: &u32| process(*pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'));
    while pids.iter().any(runs) {
        assert!(begun.elapsed() < PATIENCE, "{pids:?} go on running");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .expect("a shell");
    assert!(status.success(), "kill -{name} {pid}");
}

#[test]
fn a_stop_that_is_asked_for_is_no_failure_and_leaves_no_child() {
    let world = tempfile::tempdir().expect("a directory");
    for (name, when) in [
        ("TERM", "data directory"),
        ("TERM", "ready"),
        ("INT", "staying up"),
    ] {
        let mut running = Running::start(world.path(), &[]);
        running.wait_for(when);
        let ours = children(running.pid());
        signal(name, running.pid());
        assert_eq!(running.code(), Some(0), "SIG{name} at `{when}`");
        assert_gone(&ours);
    }
}

#[test]
fn a_stop_before_the_answer_is_a_failure_of_once() {
    let world = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(world.path(), &["--once"]);
    running.wait_for("data directory");
    signal("TERM", running.pid());
    assert_eq!(running.code(), Some(1));
}

#[test]
fn a_killed_node_takes_its_service_along_and_a_killed_service_comes_back() {
    let world = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(world.path(), &["--no-request"]);
    running.wait_for("ready");
    let services = children(running.pid());
    assert_eq!(services.len(), 1, "{services:?}");
    signal("KILL", services[0]);
    assert_gone(&services);
    let api = place(world.path()).api;
    let output = request(&["--offchain", "--flower", "6.7,3.3,5.7,2.5", "--url", &api]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("virginica"), "{}", text(&output));

    let services = children(running.pid());
    assert_eq!(services.len(), 1, "{services:?}");
    running.kill();
    assert_gone(&services);
}

/// Runs a command whose standard output nobody reads any more.
fn unread(mut command: Command) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
        .wait_with_output()
        .expect("ends")
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = tempfile::tempdir().expect("a directory");
    let output = unread(dev(Some(world.path()), &["--once"]));
    assert!(output.status.success(), "{}", text(&output));
    assert!(!text(&output).contains("panicked"), "{}", text(&output));

    let mut replay = Command::new(env!("CARGO_BIN_EXE_infernet"));
    replay.args(["replay", "--data-dir"]).arg(world.path());
    let output = unread(replay);
    assert!(output.status.success(), "{}", text(&output));
    assert!(!text(&output).contains("panicked"), "{}", text(&output));
}
