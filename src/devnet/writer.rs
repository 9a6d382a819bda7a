//! The one writer of the chain, on a thread of its own.
//!
//! It takes the commands that wait, carries them out on a copy of the chain, appends what they
//! amount to as one journal frame, syncs, and only then publishes the copy and answers. So nobody
//! ever sees a block, a transaction or a state that a power cut could take back; and readers, who
//! work on the published version, never wait for a sync.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Mining;
use super::block::Block;
use super::chain::{Chain, Refusal};
use super::command::{Command, Reply};
use super::console::ConsoleMessage;
use super::error::DevnetError;
use super::journal::Journal;
use super::limits::{GROUP_COMMANDS_MAX, WRITER_QUEUE};

type Answer = oneshot::Sender<Result<Reply, Refusal>>;

enum Message {
    Run(Command, Answer),
    SetMining(Mining, Answer),
    Stop(oneshot::Sender<()>),
}

/// The way to the writer, and the newest published chain.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    messages: mpsc::Sender<Message>,
    published: watch::Receiver<Chain>,
    stood_still: watch::Receiver<Option<String>>,
}

impl Handle {
    /// The newest durable version of the chain.
    pub(super) fn chain(&self) -> Chain {
        self.published.borrow().clone()
    }

    /// Resolves when the chain can store nothing more, with the reason; never otherwise.
    pub(super) async fn stood_still(&self) -> String {
        let mut reason = self.stood_still.clone();
        let seen = reason.wait_for(Option::is_some).await;
        match seen.ok().and_then(|reason| reason.clone()) {
            Some(reason) => reason,
            // The writer ended in order.
            None => std::future::pending().await,
        }
    }

    /// Carries out a command; durable when it returns.
    pub(super) async fn run(&self, command: Command) -> Result<Reply, Refusal> {
        self.ask(|answer| Message::Run(command, answer)).await
    }

    /// Changes the way blocks are mined, for this process.
    pub(super) async fn set_mining(&self, mining: Mining) -> Result<(), Refusal> {
        self.ask(|answer| Message::SetMining(mining, answer))
            .await
            .map(drop)
    }

    async fn ask(&self, message: impl FnOnce(Answer) -> Message) -> Result<Reply, Refusal> {
        let (answer, reply) = oneshot::channel();
        self.messages
            .send(message(answer))
            .await
            .map_err(|_| Refusal::Stopped)?;
        reply.await.map_err(|_| Refusal::Stopped)?
    }

    /// Ends the writer after what was asked before; the journal is closed when it returns.
    pub(super) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(done)).await.is_ok() {
            // The sender is dropped with the thread's last act, the journal before it.
            let _ = stopped.await;
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

struct Writer {
    chain: Chain,
    journal: Option<Journal>,
    mining: Mining,
    ticks: Option<Interval>,
    publish: watch::Sender<Chain>,
    stand_still: watch::Sender<Option<String>>,
    console: broadcast::Sender<ConsoleMessage>,
}

/// Starts the writer. Without a journal nothing outlives the process.
///
/// # Errors
/// The operating system refuses a thread.
pub(super) fn spawn(
    chain: Chain,
    journal: Option<Journal>,
    mining: Mining,
    console: broadcast::Sender<ConsoleMessage>,
) -> std::io::Result<Handle> {
    let (messages, queue) = mpsc::channel(WRITER_QUEUE);
    let (publish, published) = watch::channel(chain.clone());
    let (stand_still, stood_still) = watch::channel(None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name("devnet-writer".into())
        .spawn(move || {
            runtime.block_on(async {
                let mut writer = Writer {
                    chain,
                    journal,
                    mining,
                    ticks: None,
                    publish,
                    stand_still,
                    console,
                };
                writer.set_mining(mining);
                let done = writer.serve(queue).await;
                drop(writer);
                drop(done);
            });
        })?;
    Ok(Handle {
        messages,
        published,
        stood_still,
    })
}

impl Writer {
    /// Serves until it is told to stop, or nobody is left who could ask.
    async fn serve(&mut self, mut queue: mpsc::Receiver<Message>) -> Option<oneshot::Sender<()>> {
        if self.mining == Mining::Auto {
            // An earlier run may have left transactions in the pool.
            self.group(vec![(Command::Flush, None)]);
        }
        loop {
            let first = tokio::select! {
                message = queue.recv() => Some(message?),
                () = next_tick(self.ticks.as_mut()) => None,
            };
            let mut commands = Vec::new();
            match first {
                None => commands.push((Command::Tick, None)),
                Some(message) => match self.sort(message, &mut commands) {
                    None => {}
                    stop => return stop,
                },
            }
            while commands.len() < GROUP_COMMANDS_MAX {
                let Ok(message) = queue.try_recv() else { break };
                match message {
                    Message::Run(command, answer) => commands.push((command, Some(answer))),
                    other => {
                        // Order matters: what came before is carried out first.
                        self.group(std::mem::take(&mut commands));
                        if let Some(done) = self.sort(other, &mut commands) {
                            return Some(done);
                        }
                    }
                }
            }
            self.group(commands);
        }
    }

    fn sort(
        &mut self,
        message: Message,
        commands: &mut Vec<(Command, Option<Answer>)>,
    ) -> Option<oneshot::Sender<()>> {
        match message {
            Message::Run(command, answer) => commands.push((command, Some(answer))),
            Message::SetMining(mining, answer) => {
                self.set_mining(mining);
                if mining == Mining::Auto {
                    commands.push((Command::Flush, Some(answer)));
                } else {
                    let _ = answer.send(Ok(Reply::Done));
                }
            }
            Message::Stop(done) => return Some(done),
        }
        None
    }

    fn set_mining(&mut self, mining: Mining) {
        self.mining = mining;
        self.ticks = match mining {
            Mining::Interval(period) => {
                let period = period.max(Duration::from_millis(1));
                let mut ticks = interval_at(Instant::now() + period, period);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Some(ticks)
            }
            Mining::Auto | Mining::Manual => None,
        };
    }

    /// Carries out commands and makes them durable together.
    fn group(&mut self, commands: Vec<(Command, Option<Answer>)>) {
        if commands.is_empty() {
            return;
        }
        let mut next = self.chain.clone();
        let (mut entries, mut blocks, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for (command, answer) in commands {
            let reply = match next.execute(command, now(), self.mining == Mining::Auto) {
                Ok((reply, outcome)) => {
                    entries.extend(outcome.entries);
                    blocks.extend(outcome.blocks);
                    Ok(reply)
                }
                Err(refusal) => {
                    if answer.is_none() {
                        tracing::warn!(%refusal, "the devnet could not mine a block");
                    }
                    Err(refusal)
                }
            };
            answers.push((answer, reply));
        }
        let stored = match &mut self.journal {
            Some(journal) if !entries.is_empty() => journal.append(&entries),
            _ => Ok(()),
        };
        match stored {
            Ok(()) => {
                self.chain = next;
                self.publish.send_replace(self.chain.clone());
                self.tell(&blocks);
            }
            Err(error) => {
                let refusal = Refusal::Storage(error.to_string());
                // The first reason counts: what follows it is only that nothing may follow.
                self.stand_still.send_if_modified(|reason| {
                    let first = reason.is_none();
                    if first {
                        tracing::error!(%error, "the devnet cannot store what happens and stands still");
                        *reason = Some(plain(&error));
                    }
                    first
                });
                answers
                    .iter_mut()
                    .for_each(|(_, reply)| *reply = Err(refusal.clone()));
            }
        }
        for (answer, reply) in answers {
            if let Some(answer) = answer {
                // A client that went away does not hear the answer; what it asked is done.
                let _ = answer.send(reply);
            }
        }
    }

    fn tell(&self, blocks: &[Arc<Block>]) {
        for block in blocks {
            for mined in &block.transactions {
                for (index, text) in (0..).zip(&mined.console) {
                    // Without a receiver the text stays in the block.
                    let _ = self.console.send(ConsoleMessage {
                        block_number: block.number(),
                        transaction_hash: mined.tx.hash(),
                        index,
                        text: text.clone(),
                    });
                }
            }
        }
    }
}

/// What went wrong, without the code and the advice.
fn plain(error: &DevnetError) -> String {
    match error {
        DevnetError::Storage { path, source } => format!("{}: {source}", path.display()),
        other => other.to_string(),
    }
}

async fn next_tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
