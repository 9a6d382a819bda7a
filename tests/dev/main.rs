//! `infernet dev` from the outside: the answer, the money, and `kill -9`.

mod chain;
mod clients;
mod delegated;
mod disk;
mod ending;
mod operator;
mod pause;
mod refusals;
mod run;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use alloy::{
    primitives::{B256, U256},
    providers::{Provider as _, RootProvider},
    rpc::types::Filter,
    sol_types::{SolCall as _, SolEvent as _},
};
use infernet_contracts::Coordinator;
use infernet_node::dev::{self, Place};
use rand::Rng as _;

/// Kills in the test command; the promise holds for any number.
const KILLS: usize = 50;

/// Nothing that `dev` does takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn dev(data_dir: Option<&Path>, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infernet"));
    command.args([
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    command.args(["--rpc-listen", "127.0.0.1:0"]).args(more);
    if let Some(data_dir) = data_dir {
        command.arg("--data-dir").arg(data_dir);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn request(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infernet"))
        .arg("request")
        .args(arguments)
        .output()
        .expect("starts")
}

fn infernet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(arguments)
        .env_remove("INFERNET_PRIVATE_KEY")
        .output()
        .expect("starts")
}

fn text(output: &Output) -> String {
    format!(
        "{}\n--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn three_flowers_are_classified_and_paid_for() {
    let flowers = [
        ("5.1,3.5,1.4,0.2", "setosa"),
        ("5.9,3.0,4.2,1.5", "versicolor"),
        ("6.7,3.3,5.7,2.5", "virginica"),
    ];
    for (flower, class) in flowers {
        let output = dev(None, &["--once", "--flower", flower])
            .output()
            .expect("starts");
        let shown = text(&output);
        assert!(output.status.success(), "{flower}: {shown}");
        assert!(
            shown.contains(&format!("answer: {class}")),
            "{flower}: {shown}"
        );
        assert!(shown.contains("balanced"), "{flower}: {shown}");
    }
}

/// A `dev` that runs; killed when dropped.
struct Running(Child);

impl Running {
    fn start(data_dir: &Path, more: &[&str]) -> Self {
        let mut command = dev(Some(data_dir), more);
        command.stderr(Stdio::null());
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        Self(command.spawn().expect("starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the end; the exit code, or `None` for one that a signal ended.
    fn code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }

    fn kill(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("gone");
    }

    /// Reads standard output until a line holds `wanted`.
    fn wait_for(&mut self, wanted: &str) {
        let stdout = self.0.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout);
        let begun = Instant::now();
        let mut seen = String::new();
        while begun.elapsed() < PATIENCE {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("readable") == 0 {
                break;
            }
            seen.push_str(&line);
            if line.contains(wanted) {
                // What follows is read away, so that the child never blocks on a full pipe.
                std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
                return;
            }
        }
        panic!("`{wanted}` was not shown:\n{seen}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(serde::Deserialize)]
struct Status {
    seq: u64,
    digest: String,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn place(data_dir: &Path) -> Place {
    Place::read(data_dir).expect("dev announced itself")
}

/// How often each subscription was fulfilled, by id from 1.
async fn deliveries(provider: &RootProvider) -> Vec<usize> {
    let coordinator = "0x2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1"
        .parse()
        .expect("an address");
    let next = provider
        .call(
            alloy::rpc::types::TransactionRequest::default()
                .to(coordinator)
                .input(Coordinator::idCall {}.abi_encode().into()),
        )
        .await
        .expect("the chain answers");
    let next = Coordinator::idCall::abi_decode_returns(&next).expect("a number");
    let filter = Filter::new()
        .address(coordinator)
        .event_signature(Coordinator::SubscriptionFulfilled::SIGNATURE_HASH)
        .from_block(0);
    let logs = provider.get_logs(&filter).await.expect("the chain answers");
    (1..next)
        .map(|id| {
            logs.iter()
                .filter(|log| log.topics()[1] == B256::from(U256::from(id)))
                .count()
        })
        .collect()
}

#[test]
fn killed_at_any_moment_it_delivers_each_request_once() {
    let world = tempfile::tempdir().expect("a directory");
    let data_dir = world.path();
    let mut random = rand::rng();
    for _ in 0..KILLS {
        let mut running = Running::start(data_dir, &[]);
        // Start-up, request and delivery take a second or two together.
        std::thread::sleep(Duration::from_millis(random.random_range(20..2_500)));
        running.kill();
    }
    // One more run, undisturbed, settles what is outstanding and asks once more itself.
    let output = dev(Some(data_dir), &["--once"]).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output));

    let mut running = Running::start(data_dir, &["--no-request"]);
    running.wait_for("ready");
    let place = place(data_dir);
    let status: Status = runtime().block_on(async {
        let provider = dev::provider(&place.world.rpc).expect("a URL");
        let counts = deliveries(&provider).await;
        assert!(!counts.is_empty());
        assert!(
            counts.iter().all(|count| *count == 1),
            "deliveries by subscription: {counts:?}"
        );
        for id in 1..=counts.len() {
            let id = u32::try_from(id).expect("few");
            let answer = dev::stored_answer(&provider, id).await.expect("readable");
            assert_eq!(
                answer.map(|answer| answer.name()),
                Some("setosa"),
                "subscription {id}"
            );
        }
        reqwest::get(format!("{}/admin/status", place.admin))
            .await
            .expect("answers")
            .json()
            .await
            .expect("a status")
    });
    running.kill();

    let replay = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_infernet"))
            .args(["replay", "--data-dir"])
            .arg(data_dir)
            .args(["--to", &status.seq.to_string()])
            .args(more)
            .output()
            .expect("starts");
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = replay(&[]);
    assert!(
        shown.contains(&status.digest),
        "{} is not in\n{shown}",
        status.digest
    );
    assert_eq!(shown, replay(&[]), "a second replay prints the same");
}

#[test]
fn a_second_process_is_refused() {
    let world = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(world.path(), &["--no-request"]);
    running.wait_for("ready");
    let output = dev(Some(world.path()), &["--once"])
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(
        text(&output).contains("in use by another process"),
        "{}",
        text(&output)
    );
    let output = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(["replay", "--data-dir"])
        .arg(world.path())
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let place = place(world.path());
    let virginica = ["--offchain", "--flower", "6.7,3.3,5.7,2.5"];
    let output = request(&[&virginica[..], &["--url", &place.api]].concat());
    assert!(text(&output).contains("virginica"), "{}", text(&output));
    let output = request(&["--flower", "5.9,3.0,4.2,1.5", "--url", &place.api]);
    assert!(text(&output).contains("versicolor"), "{}", text(&output));
}
