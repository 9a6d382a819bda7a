//! A process of the node: the production loop and executor, with simulated services, a chain
//! watcher and handlers of clients' requests around them.

use std::sync::{Arc, Mutex};

use infernet_node::{
    driver::{Clock as _, Driver, Fatal, Handle, Policy, Random as _, Reply, payload},
    executor::{BoxError, Ended, Executor, Payloads as _, Services, StopCalls},
    log::{MemoryReader, Retention},
};
use infernet_state::{
    Effect, Event, Issued, Machine,
    config::ClientId,
    effect::{Action, ContainerCall, ContainerInput, Location},
    event::{Failure, Idempotency, JobKind, JobRequest, Outcome, Success},
    types::{Amount, BlockRef, EffectId, JobId, SubscriptionId},
};

use super::{
    chain::{Call, GAS_PRICE, GAS_USED, RawTx, answer_to, digest, encode},
    outside::{Mood, Shared, config},
    steps::{FaultyLog, FaultyReader},
    world::{SimWorld, Tasks, Turn, lock},
};

/// Upkeep at every turn: histories have a few hundred events.
const POLICY: Policy = Policy {
    snapshot_events: 10,
    retention: Retention {
        budget_bytes: None,
        keep_events: None,
        roll_bytes: u64::MAX,
        roll_events: Some(20),
        erase_payloads: true,
    },
};

/// Between looks at the chain.
const POLL_MS: u64 = 1_000;

/// How the loop ended.
type End = Arc<Mutex<Option<Result<(), Fatal>>>>;

/// What a look at the process showed.
pub(crate) enum Seen {
    Alive,
    Waiting,
    Gone,
}

pub(crate) struct Node {
    pub(crate) handle: Handle,
    tasks: Tasks,
    world: SimWorld,
    outside: Shared,
    end: End,
}

struct NoCalls;

impl StopCalls for NoCalls {
    fn stop(&self, _: EffectId) {}
}

impl Node {
    /// Starts a process as the program does: recover, then the loop with its first events.
    ///
    /// # Errors
    /// What recovery says.
    pub(crate) fn start(
        log: &MemoryReader,
        world: &SimWorld,
        outside: &Shared,
    ) -> Result<Self, Fatal> {
        let (driver, handle) = Driver::recover(FaultyLog::reopen(log), world.clone(), POLICY)?;
        let (head, nonce) = {
            let outside = lock(outside);
            (outside.chain.head().reference, outside.chain.nonce())
        };
        let mut started = vec![Event::NodeStarted {
            at: world.now(),
            version: "simulated".to_owned(),
        }];
        started.extend(handle.view(Machine::upgrade));
        if handle.view(|machine| machine.config() != Some(&config())) {
            started.push(Event::ConfigChanged(config()));
        }
        started.push(Event::AccountObserved {
            head,
            nonce,
            balance: Amount::from(1_000_000_000_000_000_000),
        });
        let parts = Parts {
            world: world.clone(),
            outside: Arc::clone(outside),
            log: driver.reader(),
        };
        let executor = Executor::new(parts.services(), handle.clone(), world.clone());
        let mut tasks = Tasks::default();
        let end = End::default();
        let report = Arc::clone(&end);
        tasks.add(async move {
            let outcome = driver.run(started, executor, std::future::pending()).await;
            *lock(&report) = Some(outcome);
        });
        tasks.add(watch(handle.clone(), world.clone(), Arc::clone(outside)));
        Ok(Self {
            handle,
            tasks,
            world: world.clone(),
            outside: Arc::clone(outside),
            end,
        })
    }

    /// Does one thing.
    pub(crate) fn turn(&mut self) -> Seen {
        match self.tasks.turn(&self.world) {
            Turn::Crashed => Seen::Gone,
            Turn::Idle => Seen::Waiting,
            Turn::Polled => match &*lock(&self.end) {
                None => Seen::Alive,
                Some(Err(Fatal::Log(_))) => Seen::Gone,
                Some(other) => panic!("the loop ended: {other:?}"),
            },
        }
    }

    /// Clients without an acknowledgement ask; some ask again, or twice at once.
    pub(crate) fn let_clients_ask(&mut self) {
        let mut outside = lock(&self.outside);
        for place in 0..outside.clients.len() {
            let client = &mut outside.clients[place];
            let done = client.job.is_some() && client.asked > 2;
            if done || client.asking || !self.world.chance(50) {
                continue;
            }
            client.asking = true;
            for _ in 0..=self.world.below(2) {
                client.asked += 1;
                self.tasks.add(ask(
                    place,
                    client.containers.clone(),
                    self.handle.clone(),
                    self.world.clone(),
                    Arc::clone(&self.outside),
                ));
            }
        }
    }
}

/// A client's request, as the interface hands it to the loop.
async fn ask(
    place: usize,
    containers: Vec<&'static str>,
    handle: Handle,
    world: SimWorld,
    outside: Shared,
) {
    world.sleep_ms(world.below(300)).await;
    let mut id = [0; 16];
    world.fill(&mut id);
    let id = JobId(id);
    let input = payload(format!("client {place}").into_bytes());
    let request = JobRequest {
        job: id,
        client: ClientId([1; 16]),
        at: world.now(),
        kind: JobKind::Offchain,
        containers: containers.iter().map(|id| (*id).to_owned()).collect(),
        input: input.reference,
        requires_proof: false,
        idempotency: Some(Idempotency {
            key: digest(&[place as u8]),
            body: input.reference.hash,
        }),
    };
    let reply = handle
        .request(Event::JobAccepted(request), vec![input])
        .await;
    let lost = world.chance(20);
    let mut outside = lock(&outside);
    let client = &mut outside.clients[place];
    client.asking = false;
    let job = match reply {
        Ok(Reply::Recorded(_)) => id,
        Ok(Reply::Known(job)) => job,
        Ok(Reply::NoRoom) => return,
        Ok(refused) => panic!("client {place}: {refused:?}"),
        Err(_) => return,
    };
    if !lost {
        let known = *client.job.get_or_insert(job);
        assert_eq!(known, job, "client {place} was told of two jobs");
    }
}

#[derive(Clone)]
struct Parts {
    world: SimWorld,
    outside: Shared,
    log: FaultyReader,
}

impl Parts {
    fn services(&self) -> Services {
        let (containers, reads, transactions) = (self.clone(), self.clone(), self.clone());
        let containers = tower::service_fn(move |issued: Issued| containers.clone().run(issued));
        let reads = tower::service_fn(move |issued: Issued| reads.clone().read(issued));
        let transactions =
            tower::service_fn(move |issued: Issued| transactions.clone().transact(issued));
        Services::new(containers, NoCalls).with_chain(reads, transactions)
    }

    async fn run(self, issued: Issued) -> Result<Ended, BoxError> {
        let Effect::RunContainer(call) = &issued.effect else {
            panic!("{issued}: not for a container");
        };
        let (ContainerInput::Onchain(at) | ContainerInput::Json(at)) = call.input;
        let input = self.log.fetch(at)?;
        let mood = lock(&self.outside).call(&self.world, &call.container, &call.purpose);
        self.world.sleep_ms(self.world.below(2_000)).await;
        if matches!(mood, Mood::Hang) {
            self.world.sleep_ms(10_000).await;
        }
        Ok(match mood {
            Mood::Answer => answered(call, &input),
            Mood::Fail | Mood::Hang => {
                let error = payload(b"{\"error\":\"moody\"}".to_vec());
                Ended {
                    outcome: Outcome::Failed(Failure::Container {
                        error: error.reference,
                        retry: true,
                    }),
                    payloads: vec![error],
                }
            }
        })
    }

    async fn read(self, issued: Issued) -> Result<Ended, BoxError> {
        self.world.sleep_ms(self.world.below(300)).await;
        if self.world.chance(5) {
            return Err("the chain does not answer".into());
        }
        let outside = lock(&self.outside);
        let chain = &outside.chain;
        let success = match &issued.effect {
            Effect::ReadInputs {
                subscription,
                interval,
                ..
            } => {
                let input = payload(chain.inputs(*subscription, *interval));
                return Ok(Ended {
                    outcome: Outcome::Succeeded(Success::InputsRead {
                        input: input.reference,
                    }),
                    payloads: vec![input],
                });
            }
            Effect::ReadPayer { .. } => Success::PayerRead {
                valid: true,
                balance: Amount::MAX,
                allowance: Amount::MAX,
            },
            Effect::ReadResponses {
                subscription,
                interval,
                ..
            } => {
                let responded = chain.responded(*subscription, *interval);
                Success::ResponsesRead {
                    responses: responded.into(),
                    responded,
                }
            }
            Effect::Simulate { action, at, .. } => {
                let Action::Deliver(delivery) = action else {
                    panic!("{action}: nothing here asks for it");
                };
                if !chain.simulate(delivery.subscription.0, delivery.interval.0, *at) {
                    return Ok(Ended::plain(Outcome::Failed(Failure::Reverted {
                        selector: [9; 4],
                        reason: "simulated".to_owned(),
                    })));
                }
                Success::Simulated {
                    gas: GAS_USED,
                    base_fee: GAS_PRICE - 1,
                    priority_fee: 1,
                }
            }
            other => panic!("{other}: no read"),
        };
        Ok(Ended::plain(Outcome::Succeeded(success)))
    }

    async fn transact(self, issued: Issued) -> Result<Ended, BoxError> {
        self.world.sleep_ms(self.world.below(300)).await;
        match &issued.effect {
            Effect::Sign {
                nonce,
                action,
                max_fee_per_gas,
                ..
            } => {
                let call = match action {
                    Action::Deliver(delivery) => Call::Deliver {
                        subscription: delivery.subscription.0,
                        interval: delivery.interval.0,
                        output: self.log.fetch(delivery.output)?,
                    },
                    Action::FillNonce => Call::Nothing,
                    other => panic!("{other}: nothing here asks for it"),
                };
                let raw = payload(encode(&RawTx {
                    nonce: nonce.0,
                    max_fee: *max_fee_per_gas,
                    call,
                }));
                Ok(Ended {
                    outcome: Outcome::Succeeded(Success::Signed {
                        tx: raw.reference.hash,
                        raw: raw.reference,
                    }),
                    payloads: vec![raw],
                })
            }
            Effect::Broadcast { tx, raw, .. } => {
                let bytes = self.log.fetch(*raw)?;
                // Lost on the way there.
                if self.world.chance(5) {
                    return Err("no answer".into());
                }
                let outcome = {
                    let mut outside = lock(&self.outside);
                    let head = infernet_node::log::LogReader::head(&self.log).seq.0;
                    outside.log_at_arrival.entry(*tx).or_insert(head);
                    outside.chain.broadcast(&bytes)
                };
                self.world.sleep_ms(self.world.below(300)).await;
                // Lost on the way back.
                if self.world.chance(5) {
                    return Err("no answer".into());
                }
                Ok(Ended::plain(outcome))
            }
            Effect::LookUpTransaction { nonce, tx } => {
                let found = lock(&self.outside).chain.look_up(*nonce, *tx);
                Ok(Ended::plain(Outcome::Succeeded(Success::LookedUp(found))))
            }
            other => panic!("{other}: no transaction"),
        }
    }
}

/// The first container of two hands its input on: what is delivered depends on the request alone.
fn answered(call: &ContainerCall, input: &[u8]) -> Ended {
    if call.destination != Location::Onchain {
        let output = payload(input.to_vec());
        return Ended {
            outcome: Outcome::Succeeded(Success::ContainerAnswered {
                output: output.reference,
            }),
            payloads: vec![output],
        };
    }
    let json = payload(b"{\"answer\":true}".to_vec());
    let output = payload(answer_to(input));
    let empty = payload(Vec::new());
    Ended {
        outcome: Outcome::Succeeded(Success::ContainerAnsweredOnchain {
            output: json.reference,
            deliver_input: empty.reference,
            deliver_output: output.reference,
            deliver_proof: empty.reference,
        }),
        payloads: vec![json, output, empty],
    }
}

/// Follows the chain by the protocol of the production watcher, without its RPC.
async fn watch(handle: Handle, world: SimWorld, outside: Shared) {
    let mut tip: Option<BlockRef> = handle.view(|machine| machine.chain().head);
    loop {
        while let Some(events) = next_facts(&handle, &outside, &mut tip) {
            if handle.observe_all(events).await.is_err() {
                return;
            }
        }
        world.sleep_ms(POLL_MS).await;
    }
}

/// The next thing to tell of the chain; `None` when all is told.
fn next_facts(handle: &Handle, outside: &Shared, tip: &mut Option<BlockRef>) -> Option<Vec<Event>> {
    let outside = lock(outside);
    let chain = &outside.chain;
    let recorded = handle.view(|machine| machine.chain().head);
    let Some(at) = *tip else {
        let block = chain.head().reference;
        *tip = Some(block);
        return Some(vec![Event::ChainCommitted {
            block,
            facts: Vec::new(),
        }]);
    };
    if !chain.is_canonical(&at) {
        let ancestor = handle.view(|machine| {
            let view = machine.chain();
            let known = view.finalized.iter().chain(view.recent());
            let common = known.filter(|block| chain.is_canonical(block));
            common.max_by_key(|block| block.number).copied()
        });
        let ancestor = ancestor.unwrap_or(chain.block(0).expect("genesis").reference);
        *tip = Some(ancestor);
        if recorded.is_some_and(|newest| newest.number > ancestor.number) {
            return Some(vec![Event::ChainReorged { ancestor }]);
        }
    }
    while let Some(next) = tip.and_then(|at| chain.block(at.number + 1)) {
        let (block, facts) = (next.reference, next.facts.clone());
        *tip = Some(block);
        if !facts.is_empty() || is_due(handle, &block) {
            return Some(vec![Event::ChainCommitted { block, facts }]);
        }
    }
    let at = (*tip)?;
    let settled = chain.newest_final();
    let oldest = handle.view(|machine| machine.chain().unfinalized_from());
    if oldest.is_some_and(|oldest| settled.number >= oldest) {
        return Some(vec![Event::ChainFinalized { block: settled }]);
    }
    // Where a fork is shorter than what was seen before, nothing more is waited for.
    let waits = handle.view(|machine| machine.chain().catching_up);
    if waits.is_some_and(|to| to > at.number) {
        return Some(vec![Event::HeadObserved { head: at }]);
    }
    if is_due(handle, &at) {
        return Some(vec![Event::ChainCommitted {
            block: at,
            facts: Vec::new(),
        }]);
    }
    let cursor = handle.view(Machine::sync_cursor)?;
    let subscriptions = chain.living(&at, cursor);
    let next = subscriptions
        .last()
        .map_or(cursor, |last| SubscriptionId(last.id.0 + 1));
    Some(vec![Event::SubscriptionsSynced {
        block: at,
        subscriptions,
        next,
    }])
}

fn is_due(handle: &Handle, block: &BlockRef) -> bool {
    handle.view(|machine| {
        let recorded = machine.chain().head.map_or(0, |head| head.number);
        let deadline = machine.next_block_deadline();
        block.number > recorded
            && (deadline.time.is_some_and(|time| block.time >= time)
                || deadline.number.is_some_and(|number| block.number >= number))
    })
}
