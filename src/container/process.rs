//! A container that is a child process of ours: the built-in services, without Docker.
//!
//! The child says where it listens with one line of JSON on its standard output,
//! `{"ready":true,"address":"127.0.0.1:PORT","service":…}`. It ends when its standard input does:
//! that is how it dies with its parent, however the parent ends. When it dies by itself it is
//! started again, with growing pauses and not for ever.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{
    io::BufReader,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    task::JoinHandle,
};

use super::{Backend, ContainerError, Endpoint, lines::next_line};
use crate::driver::BoxFuture;

/// A child that does not end this long after the end of its input is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The pause before the first restart; doubles with each further one.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between restarts.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A child that ran this long starts with a clean record.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What is kept of the standard error, for the message when a child does not come up.
const LAST_LINES: usize = 8;

/// How long the end of the standard error is waited for once the child is gone; a grandchild may
/// hold it open.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);

/// What a child inherits of the node's environment: enough to find its files and to speak the
/// user's language. The rest may hold the node's secrets.
const INHERITED: [&str; 11] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// How to start a child. Not printable: the environment may hold secrets.
#[derive(Clone)]
pub struct ProcessConfig {
    /// The container's id.
    pub id: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside a small part of ours.
    pub env: Vec<(String, String)>,
    /// How long it may take to become ready: a model is loaded in that time.
    pub ready_within: Duration,
    /// Restarts in a row before it is given up.
    pub restarts_max: u32,
}

impl ProcessConfig {
    /// A program with arguments, the usual bounds, and nothing added to its environment.
    #[must_use]
    pub fn new(id: &str, program: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self {
            id: id.to_owned(),
            program: program.into(),
            args,
            env: Vec::new(),
            ready_within: Duration::from_secs(60),
            restarts_max: 10,
        }
    }

    fn program_name(&self) -> String {
        self.program.display().to_string()
    }
}

/// A running child and its supervisor.
pub struct Process {
    id: String,
    address: watch::Receiver<Option<SocketAddr>>,
    stop: watch::Sender<bool>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Process {
    /// Starts the child and waits until it is ready.
    ///
    /// # Errors
    /// [`ContainerError::Spawn`], [`ContainerError::Ended`], [`ContainerError::NotReady`]; the
    /// last two with what the child said last.
    pub async fn start(config: ProcessConfig) -> Result<Self, ContainerError> {
        let running = Running::launch(&config).await?;
        let (address_sender, address) = watch::channel(Some(running.address));
        let (stop, stopped) = watch::channel(false);
        let id = config.id.clone();
        let supervisor = tokio::spawn(supervise(config, running, address_sender, stopped));
        Ok(Self {
            id,
            address,
            stop,
            supervisor: Mutex::new(Some(supervisor)),
        })
    }

    /// Where it listens now; `None` between a death and the next start.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.borrow()
    }
}

impl Backend for Process {
    fn endpoint(&self) -> Option<Endpoint> {
        self.address().and_then(Endpoint::local)
    }

    fn stop(&self) -> BoxFuture<()> {
        self.stop.send_replace(true);
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(|held| held.into_inner())
            .take();
        let id = self.id.clone();
        Box::pin(async move {
            if let Some(supervisor) = supervisor
                && supervisor.await.is_err()
            {
                tracing::warn!(container = %id, "the supervisor of the container broke off");
            }
        })
    }
}

/// Keeps the child running until it is told to stop, or it dies too often.
async fn supervise(
    config: ProcessConfig,
    mut running: Running,
    address: watch::Sender<Option<SocketAddr>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut restarts: u32 = 0;
    loop {
        let began = Instant::now();
        tokio::select! {
            status = running.child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::warn!(container = %config.id, %status, "the container ended");
            }
            // A supervisor whose owner is gone stops like one that is told to.
            () = told_to_stop(&mut stopped) => {
                address.send_replace(None);
                running.stop().await;
                return;
            }
        }
        address.send_replace(None);
        if began.elapsed() >= STABLE_AFTER {
            restarts = 0;
        }
        running = loop {
            if restarts >= config.restarts_max {
                tracing::error!(
                    container = %config.id,
                    restarts,
                    "the container is given up; mend it and restart the node"
                );
                return;
            }
            let pause = RESTART_PAUSE
                .saturating_mul(2_u32.saturating_pow(restarts))
                .min(RESTART_PAUSE_MAX);
            restarts = restarts.saturating_add(1);
            let launched = async {
                tokio::time::sleep(pause).await;
                Running::launch(&config).await
            };
            tokio::select! {
                launched = launched => match launched {
                    Ok(running) => break running,
                    Err(error) => tracing::warn!(%error, restarts, "the container did not come up"),
                },
                () = told_to_stop(&mut stopped) => return,
            }
        };
        address.send_replace(Some(running.address));
    }
}

/// Resolves when the child shall stop, or nobody is left who could say so.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// A child that said that it is ready.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    address: SocketAddr,
}

/// The line that a child writes when it is ready.
#[derive(Deserialize)]
struct Ready {
    ready: bool,
    address: SocketAddr,
}

/// What a child last wrote to its standard error.
type LastLines = Arc<Mutex<VecDeque<String>>>;

impl Running {
    /// Starts the child and waits for its line.
    async fn launch(config: &ProcessConfig) -> Result<Self, ContainerError> {
        let mut command = Command::new(&config.program);
        command
            .args(&config.args)
            .env_clear()
            .envs(
                INHERITED
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C in a terminal goes to the node alone, which then stops the child in order.
        #[cfg(unix)]
        command.process_group(0);
        let spawn_error = |reason: String| ContainerError::Spawn {
            id: config.id.clone(),
            program: config.program_name(),
            reason,
        };
        let mut child = command
            .spawn()
            .map_err(|error| spawn_error(error.to_string()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(spawn_error(
                "its standard streams are not connected".to_owned(),
            ));
        };
        let last = LastLines::default();
        let told = tokio::spawn(tell(
            config.id.clone(),
            BufReader::new(stderr),
            Arc::clone(&last),
        ));
        let mut stdout = BufReader::new(stdout);
        match tokio::time::timeout(config.ready_within, ready_line(&mut stdout)).await {
            Ok(Some(address)) => {
                tokio::spawn(tell(config.id.clone(), stdout, LastLines::default()));
                Ok(Self {
                    child,
                    stdin: Some(stdin),
                    address,
                })
            }
            // Its standard output ended: so will it, or it is stopped.
            Ok(None) => {
                drop(stdin);
                let status = match tokio::time::timeout(STOP_GRACE, child.wait()).await {
                    Ok(Ok(status)) => status.to_string(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it closed its output and went on".to_owned(),
                };
                let _ = tokio::time::timeout(LAST_LINES_WITHIN, told).await;
                Err(ContainerError::Ended {
                    id: config.id.clone(),
                    program: config.program_name(),
                    status,
                    said: said(&last),
                })
            }
            Err(_) => Err(ContainerError::NotReady {
                id: config.id.clone(),
                program: config.program_name(),
                within: config.ready_within,
                said: said(&last),
            }),
        }
    }

    /// Ends the child: by the end of its input, or by force.
    async fn stop(mut self) {
        drop(self.stdin.take());
        if tokio::time::timeout(STOP_GRACE, self.child.wait())
            .await
            .is_err()
        {
            // An error means that it is gone already.
            let _ = self.child.kill().await;
        }
    }
}

/// Reads until the child says where it listens; `None` when its output ends before.
async fn ready_line(stdout: &mut BufReader<ChildStdout>) -> Option<SocketAddr> {
    loop {
        let line = next_line(stdout).await?;
        if let Ok(Ready {
            ready: true,
            address,
        }) = serde_json::from_str(&line)
        {
            return Some(address);
        }
    }
}

/// Hands a child's output to the node's own log, and keeps the end of it.
async fn tell(
    container: String,
    mut output: BufReader<impl tokio::io::AsyncRead + Unpin>,
    last: LastLines,
) {
    while let Some(line) = next_line(&mut output).await {
        tracing::info!(target: "infernet_node::container::output", %container, "{line}");
        let mut last = last.lock().unwrap_or_else(|held| held.into_inner());
        if last.len() >= LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
}

fn said(last: &LastLines) -> String {
    let last = last.lock().unwrap_or_else(|held| held.into_inner());
    if last.is_empty() {
        return String::new();
    }
    let lines: Vec<&str> = last.iter().map(String::as_str).collect();
    format!("; it said: {}", lines.join(" | "))
}
