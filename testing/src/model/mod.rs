//! A reference model of the contracts: what a call does, in plain Rust.
//!
//! It follows `docs/spec/contracts.md`, sections 0, 2 to 5 and 7 to 9: every check in its order, every
//! event, every revert reason. It has no EVM, no storage layout, no gas: those are the contract's
//! business. Time and caller come as parameters; all interval arithmetic is uint32 and wraps.
//!
//! The decisions that can be made without the state stand in [`Rules`]; [`Reference`] and
//! [`Infernet`] are the two dialects. What stands around the contracts (tokens, consumers,
//! verifiers) is modelled as the scripted contracts of `contracts/src/mocks` behave.
//!
//! ```
//! use infernet_testing::model::{Call, Deployment, Infernet, Model, Returned, address};
//! use revm::primitives::U256;
//!
//! let mut model = Model::new(&Infernet, Deployment::example(), 1_700_000_000);
//! let request = Call::CreateSubscription {
//!     containers: "hello-world".into(),
//!     frequency: 1,
//!     period: 0,
//!     redundancy: 1,
//!     lazy: false,
//!     payment_token: address(0),
//!     payment_amount: Default::default(),
//!     wallet: address(0),
//!     verifier: address(0),
//! };
//! let outcome = model.call(address(0xc0), &request).expect("anybody may ask");
//! assert_eq!(outcome.returned, Returned::Number(U256::from(1)));
//! assert!(model.subscription(1).is_some());
//! ```

mod around;
mod branch;
mod coordinator;
mod delegation;
mod extras;
mod inbox;
mod reason;
mod rules;
mod types;
mod wallet;

use std::collections::{BTreeMap, BTreeSet};

use revm::primitives::{Address, B256, U256};

pub use around::{Consumer, ConsumerScript, Control, Habit, Token, Verifier, VerifierScript};
pub use branch::{Branch, Coverage};
pub use delegation::{recover, signing_hash};
pub use inbox::direct_write_origin;
pub use reason::{ContractError, Reason, Revert};
pub use rules::{HANDOVER_SECONDS, Infernet, PROOF_SECONDS, Reference, Rules};
pub use types::{
    Answer, BatchItem, CANCELLED, COIN, Call, Delegated, Emitted, InboxItem, Log, Outcome,
    OwnershipChange, Restricted, Returned, Subscription, container_id,
};
pub use wallet::{Fee, Ownable, Wallet};

/// A short address for examples and tests: the number in its last bytes.
#[must_use]
pub const fn address(number: u64) -> Address {
    let mut bytes = [0; 20];
    let tail = number.to_be_bytes();
    let mut at = 0;
    while at < 8 {
        bytes[12 + at] = tail[at];
        at += 1;
    }
    Address::new(bytes)
}

/// Where the contracts of one deployment are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deployment {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Registry.
    pub registry: Address,
    /// EIP712Coordinator.
    pub coordinator: Address,
    /// Inbox.
    pub inbox: Address,
    /// Reader.
    pub reader: Address,
    /// Fee.
    pub fee: Address,
    /// WalletFactory.
    pub wallet_factory: Address,
}

impl Deployment {
    /// The addresses of a deployment by `deployer` from its nonce `nonce` on (section 1).
    #[must_use]
    pub fn predict(chain_id: u64, deployer: Address, nonce: u64) -> Self {
        let created = |step: u64| deployer.create(nonce.wrapping_add(step));
        Self {
            chain_id,
            registry: created(0),
            coordinator: created(1),
            inbox: created(2),
            reader: created(3),
            fee: created(4),
            wallet_factory: created(5),
        }
    }

    /// Some deployment, where no EVM is needed.
    #[must_use]
    pub fn example() -> Self {
        Self::predict(31_337, address(0xde), 0)
    }
}

/// An open proof request (section 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofRequest {
    /// The verdict must come before this second (uint32 of block time).
    pub expiry: u32,
    /// The wallet that holds the node's stake.
    pub node_wallet: Address,
    /// What the consumer's wallet holds for the node.
    pub consumer_escrowed: U256,
}

/// The state of one deployment and of what stands around it.
#[derive(Clone, Debug)]
pub struct Model {
    rules: &'static dyn Rules,
    at: Deployment,
    time: u64,
    next_id: u32,
    subscriptions: BTreeMap<u32, Subscription>,
    counts: BTreeMap<(u32, u32), u16>,
    responded: BTreeSet<(u32, u32, Address)>,
    proof_requests: BTreeMap<(u32, u32, Address), ProofRequest>,
    delegated_ids: BTreeMap<(Address, u32), u32>,
    max_nonces: BTreeMap<Address, u32>,
    funded: BTreeSet<u32>,
    reserved: BTreeMap<u32, U256>,
    delivering: bool,
    fee: Fee,
    wallets: BTreeMap<Address, Wallet>,
    wallets_made: u64,
    inbox: BTreeMap<(B256, Address), Vec<InboxItem>>,
    coins: BTreeMap<Address, U256>,
    tokens: BTreeMap<Address, Token>,
    consumers: BTreeMap<Address, Consumer>,
    verifiers: BTreeMap<Address, Verifier>,
    logs: Vec<Log>,
    trace: Vec<Branch>,
}

impl Model {
    /// A fresh deployment at a block time, in seconds, with the default fee of 500 (5 %) for the zero address.
    #[must_use]
    pub fn new(rules: &'static dyn Rules, at: Deployment, time: u64) -> Self {
        Self {
            rules,
            at,
            time,
            next_id: 1,
            subscriptions: BTreeMap::new(),
            counts: BTreeMap::new(),
            responded: BTreeSet::new(),
            proof_requests: BTreeMap::new(),
            delegated_ids: BTreeMap::new(),
            max_nonces: BTreeMap::new(),
            funded: BTreeSet::new(),
            reserved: BTreeMap::new(),
            delivering: false,
            fee: Fee::new(Address::ZERO, 500),
            wallets: BTreeMap::new(),
            wallets_made: 0,
            inbox: BTreeMap::new(),
            coins: BTreeMap::new(),
            tokens: BTreeMap::new(),
            consumers: BTreeMap::new(),
            verifiers: BTreeMap::new(),
            logs: Vec::new(),
            trace: Vec::new(),
        }
    }

    /// Whether everything that can be read is the same.
    #[must_use]
    pub fn same_state(&self, other: &Self) -> bool {
        self.next_id == other.next_id
            && self.subscriptions == other.subscriptions
            && self.counts == other.counts
            && self.responded == other.responded
            && self.proof_requests == other.proof_requests
            && self.delegated_ids == other.delegated_ids
            && self.max_nonces == other.max_nonces
            && self.reserved == other.reserved
            && self.fee == other.fee
            && self.wallets == other.wallets
            && self.inbox == other.inbox
            && self.coins == other.coins
            && self.tokens == other.tokens
    }

    /// The same state under other rules.
    #[must_use]
    pub fn under(&self, rules: &'static dyn Rules) -> Self {
        Self {
            rules,
            ..self.clone()
        }
    }

    /// Sets the block time, in seconds.
    pub fn set_time(&mut self, time: u64) {
        self.time = time;
    }

    /// Makes a call as a transaction of its own: it succeeds as a whole, or changes nothing.
    ///
    /// # Errors
    /// [`Revert`], with the reason that the contract gives.
    pub fn call(&mut self, from: Address, call: &Call) -> Result<Outcome, Revert> {
        self.logs.clear();
        self.trace.clear();
        let before = self.clone();
        match self.dispatch(from, call) {
            Ok(returned) => Ok(Outcome {
                returned,
                logs: std::mem::take(&mut self.logs),
            }),
            Err(revert) => {
                self.roll_back(before);
                Err(revert)
            }
        }
    }

    /// The branches that the newest call took, those that were undone included.
    #[must_use]
    pub fn trace(&self) -> &[Branch] {
        &self.trace
    }

    /// A call by anybody, also inside another.
    fn dispatch(&mut self, from: Address, call: &Call) -> Result<Returned, Revert> {
        match call {
            Call::CreateSubscription { .. } => self.create_subscription(from, call),
            Call::CancelSubscription { id } => self.cancel_subscription(from, *id),
            Call::DeliverCompute {
                id,
                interval,
                answer,
                node_wallet,
            } => self.deliver(from, *id, *interval, answer, *node_wallet),
            Call::FinalizeProof {
                id,
                interval,
                node,
                valid,
            } => self.finalize_proof(from, *id, *interval, *node, *valid),
            Call::DeliverBatch(items) => self.deliver_batch(from, items),
            Call::FundSubscription { id } => self.fund_subscription(from, *id),
            Call::ReleaseReserve { id } => self.release_reserve(*id),
            Call::CreateDelegated(delegated) => {
                self.create_delegated(delegated).map(Returned::number)
            }
            Call::DeliverDelegated {
                delegated,
                interval,
                answer,
                node_wallet,
            } => {
                let id = self.create_delegated(delegated)?;
                self.deliver(from, id, *interval, answer, *node_wallet)
            }
            Call::CreateWallet { owner } => Ok(self.create_wallet(from, *owner)),
            Call::Approve {
                wallet,
                spender,
                token,
                amount,
            } => self.approve(from, *wallet, *spender, *token, *amount),
            Call::Withdraw {
                wallet,
                token,
                amount,
            } => self.withdraw(from, *wallet, *token, *amount),
            Call::Restricted { .. } => Err(refuse(
                ContractError::NotCoordinator,
                Branch::WalletNotCoordinator,
            )),
            Call::Ownership { of, change } => self.change_ownership(from, *of, *change),
            Call::UpdateFee { fee } => self.update_fee(from, *fee),
            Call::WriteInbox {
                container_id,
                answer,
            } => Ok(self.write_directly(from, *container_id, answer)),
            Call::WriteInboxViaCoordinator { .. } => Err(refuse(
                ContractError::NotCoordinator,
                Branch::InboxNotCoordinator,
            )),
            Call::ReadInbox {
                container_id,
                node,
                index,
            } => self.read_inbox(*container_id, *node, *index),
            Call::ReadInterval { active_at, period } => Ok(self.read_interval(*active_at, *period)),
            Call::TransferToken { token, to, amount } => {
                self.transfer_token(from, *token, *to, *amount)
            }
            Call::SendCoin { to, amount } => self.send_coin(from, *to, *amount),
        }
    }

    /// Undoes everything since `before`, but keeps the branches that were taken.
    fn roll_back(&mut self, before: Self) {
        let trace = std::mem::take(&mut self.trace);
        *self = Self { trace, ..before };
    }

    /// uint32 of the block time.
    fn now(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the contract truncates")]
        let now = self.time as u32;
        now
    }

    fn mark(&mut self, branch: Branch) {
        self.trace.push(branch);
    }

    fn emit(&mut self, address: Address, event: Emitted) {
        self.logs.push(Log { address, event });
    }

    /// Decides by the rules, and marks where the reference would decide otherwise.
    fn decide<T: PartialEq>(&mut self, mark: Branch, decision: impl Fn(&dyn Rules) -> T) -> T {
        let own = decision(self.rules);
        if own != decision(&Reference) {
            self.mark(mark);
        }
        own
    }
}

/// What anybody can read.
impl Model {
    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &'static dyn Rules {
        self.rules
    }

    /// Where the contracts are.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.at
    }

    /// Block time in seconds.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// `Coordinator.id()`: the id of the next subscription.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Sets the id of the next subscription, to come near its end.
    pub fn set_next_id(&mut self, id: u32) {
        self.next_id = id;
    }

    /// A subscription, if there is one of that id.
    #[must_use]
    pub fn subscription(&self, id: u32) -> Option<&Subscription> {
        self.subscriptions.get(&id)
    }

    /// All subscriptions, by id.
    #[must_use]
    pub fn subscriptions(&self) -> &BTreeMap<u32, Subscription> {
        &self.subscriptions
    }

    /// The interval of a subscription that runs now, 0 if there is no such subscription.
    #[must_use]
    pub fn current_interval(&self, id: u32) -> u32 {
        self.subscription(id).map_or(0, |sub| {
            self.rules.interval(self.now(), sub.active_at, sub.period)
        })
    }

    /// `redundancyCount` by (id, interval), where it is not zero.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<(u32, u32), u16> {
        &self.counts
    }

    /// Who responded: `nodeResponded` by (id, interval, node).
    #[must_use]
    pub fn responded(&self) -> &BTreeSet<(u32, u32, Address)> {
        &self.responded
    }

    /// Open proof requests by (id, interval, node).
    #[must_use]
    pub fn proof_requests(&self) -> &BTreeMap<(u32, u32, Address), ProofRequest> {
        &self.proof_requests
    }

    /// `delegateCreatedIds` by (owner, nonce).
    #[must_use]
    pub fn delegated_ids(&self) -> &BTreeMap<(Address, u32), u32> {
        &self.delegated_ids
    }

    /// `maxSubscriberNonce` by owner, where it was raised.
    #[must_use]
    pub fn max_nonces(&self) -> &BTreeMap<Address, u32> {
        &self.max_nonces
    }

    /// `reservedPayments`: how many payments are locked ahead, by subscription.
    #[must_use]
    pub fn reserved(&self) -> &BTreeMap<u32, U256> {
        &self.reserved
    }

    /// The fee contract.
    #[must_use]
    pub fn fee(&self) -> &Fee {
        &self.fee
    }

    /// Sets the fee contract's state, as a deployment would.
    pub fn set_fee(&mut self, owner: Address, fee: u16) {
        self.fee = Fee::new(owner, fee);
    }

    /// The wallets, by address.
    #[must_use]
    pub fn wallets(&self) -> &BTreeMap<Address, Wallet> {
        &self.wallets
    }

    /// The items of the Inbox by (container, node).
    #[must_use]
    pub fn inbox(&self) -> &BTreeMap<(B256, Address), Vec<InboxItem>> {
        &self.inbox
    }

    /// Coins by account, for the accounts that the model knows.
    #[must_use]
    pub fn coins(&self) -> &BTreeMap<Address, U256> {
        &self.coins
    }

    /// The tokens, by address.
    #[must_use]
    pub fn tokens(&self) -> &BTreeMap<Address, Token> {
        &self.tokens
    }

    /// The scripted consumers, by address.
    #[must_use]
    pub fn consumers(&self) -> &BTreeMap<Address, Consumer> {
        &self.consumers
    }

    /// The scripted verifiers, by address.
    #[must_use]
    pub fn verifiers(&self) -> &BTreeMap<Address, Verifier> {
        &self.verifiers
    }
}

/// An error of the contracts.
fn refuse(error: ContractError, at: Branch) -> Revert {
    Revert {
        reason: Reason::Error(error),
        at,
    }
}

/// Solidity's arithmetic panic.
fn overflow(at: Branch) -> Revert {
    Revert {
        reason: Reason::Panic(0x11),
        at,
    }
}

/// A revert without data.
fn empty(at: Branch) -> Revert {
    Revert {
        reason: Reason::Empty,
        at,
    }
}
