//! Everything that the node may do: asked of the outside, in the imperative.
//!
//! An effect is issued by [`crate::Machine::apply`] after its event is durable, stays in the
//! state until its first terminal outcome, and is issued again after a crash.

use alloc::{boxed::Box, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::types::{
    Address, Amount, BlockTime, EffectId, Hash, Interval, JobId, Nonce, PayloadAt, SubscriptionId,
};

/// An effect with its name and attempt, as it is handed to the executor.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Issued {
    /// Its name: the same for each attempt.
    pub id: EffectId,
    /// From 1; one more after a crash or a retry.
    pub attempt: u16,
    /// What to do.
    pub effect: Effect,
}

/// Something to do outside the machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Effect {
    /// Call `getContainerInputs(subscription, interval, timestamp, caller)` of a consumer.
    ///
    /// In the log before: the creation. After a crash: read again. Twice: a read is a read.
    /// Ends with `InputsRead`, or `Unavailable` when the chain does not answer.
    ReadInputs {
        /// The consumer.
        consumer: Address,
        /// The subscription.
        subscription: SubscriptionId,
        /// The interval.
        interval: Interval,
        /// Block time to pass as `timestamp`.
        timestamp: BlockTime,
        /// The node's account, passed as `caller`.
        caller: Address,
    },
    /// Read whether a wallet is valid, and what a subscription can be paid from in it: balance
    /// and allowance, without what is locked for others, and with what is locked for it.
    ///
    /// In the log before: the creation, or the revert that says that an allowance is lacking.
    /// Twice: a read is a read. Ends with `PayerRead`.
    ReadPayer {
        /// The subscription; 0 for a delegated one that the chain does not know yet, and for the
        /// node's own wallet.
        subscription: SubscriptionId,
        /// The consumer's wallet, or the node's own.
        wallet: Address,
        /// Whose allowance: the owner of the subscription, or the node's account.
        spender: Address,
        /// The token.
        token: Address,
    },
    /// Read `redundancyCount` and `nodeResponded` of an interval.
    ///
    /// Twice: a read is a read. Ends with `ResponsesRead`.
    ReadResponses {
        /// The subscription.
        subscription: SubscriptionId,
        /// The interval.
        interval: Interval,
        /// The node's account.
        node: Address,
    },
    /// Call a container (`docs/spec/container.md`).
    ///
    /// In the log before: the job or the inputs. After a crash: called again with the next
    /// attempt in its headers, unless the container's configuration says `rerun: false`.
    /// Ends with `ContainerAnswered`, `ContainerAnsweredOnchain`, `Container` or `NotRerun`.
    RunContainer(ContainerCall),
    /// Stop a container call that is under way: its client went away, or nobody needs it.
    ///
    /// Never outstanding: nothing comes of it, and after a crash there is nothing to stop.
    StopContainer {
        /// The call's effect.
        call: EffectId,
    },
    /// Run a transaction against the head without sending it, and quote gas and fees.
    ///
    /// In the log before: its plan. Twice: a read is a read. Ends with `Simulated`, `Reverted`
    /// or `Unavailable`.
    Simulate {
        /// The sender.
        from: Address,
        /// What the transaction does.
        action: Action,
        /// The block time to simulate with, where the RPC can.
        at: BlockTime,
    },
    /// Sign a transaction with the node's key.
    ///
    /// In the log before: nonce, action, gas and fees (this effect's event). After a crash:
    /// signed again; the same fields give the same bytes (RFC 6979). Nothing leaves the node
    /// before `Signed`, with the bytes, is in the log.
    Sign {
        /// EIP-155 chain id.
        chain_id: u64,
        /// The nonce, assigned by the machine.
        nonce: Nonce,
        /// What the transaction does.
        action: Action,
        /// Gas limit.
        gas_limit: u64,
        /// EIP-1559 `maxFeePerGas`, wei.
        max_fee_per_gas: u128,
        /// EIP-1559 `maxPriorityFeePerGas`, wei.
        max_priority_fee_per_gas: u128,
    },
    /// Send signed bytes to the RPC.
    ///
    /// In the log before: the signed bytes. After a crash: sent again. Twice: the same bytes,
    /// the same nonce, one transaction. Ends with `Broadcast`, `Rejected` or `Unknown`.
    Broadcast {
        /// The transaction's hash.
        tx: Hash,
        /// The nonce it uses.
        nonce: Nonce,
        /// The raw signed bytes.
        raw: PayloadAt,
    },
    /// Look what became of a nonce: the answer to every `Unknown`.
    ///
    /// Twice: a read is a read. Ends with `LookedUp`.
    LookUpTransaction {
        /// The nonce.
        nonce: Nonce,
        /// The newest transaction that uses it.
        tx: Hash,
    },
}

/// What a transaction of the node does.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Action {
    /// `Coordinator.deliverCompute`.
    Deliver(Delivery),
    /// `EIP712Coordinator.deliverComputeDelegatee`.
    DeliverDelegated {
        /// The signed subscription.
        subscription: Box<crate::event::Subscription>,
        /// The subscriber's nonce.
        nonce: u32,
        /// End of the signature's validity, seconds of block time.
        expiry: u32,
        /// Recovery byte.
        v: u8,
        /// First half of the signature.
        r: Hash,
        /// Second half of the signature.
        s: Hash,
        /// What is delivered; its subscription id is 0.
        delivery: Delivery,
    },
    /// Batch delivery, where the deployed contracts offer it.
    DeliverBatch(Vec<Delivery>),
    /// `Wallet.approve(spender, token, amount)` on the node's own wallet: the stake allowance.
    ApproveStake {
        /// The node's wallet.
        wallet: Address,
        /// Who may lock: the node's account.
        spender: Address,
        /// The token.
        token: Address,
        /// The allowance to set.
        amount: Amount,
    },
    /// `EIP712Coordinator.finalizeProofVerification` of a request whose week has passed.
    FinalizeProof {
        /// The subscription.
        subscription: SubscriptionId,
        /// The interval.
        interval: Interval,
        /// The node whose stake it is.
        node: Address,
    },
    /// Nothing: an empty transfer to the node's own account that uses a nonce up.
    FillNonce,
}

/// The arguments of one delivery; the bytes stand in the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Delivery {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The interval.
    pub interval: Interval,
    /// Argument `input`.
    pub input: PayloadAt,
    /// Argument `output`.
    pub output: PayloadAt,
    /// Argument `proof`.
    pub proof: PayloadAt,
    /// Argument `nodeWallet`.
    pub node_wallet: Address,
}

/// A call of one container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ContainerCall {
    /// The container.
    pub container: String,
    /// For whom.
    pub purpose: Purpose,
    /// What goes in.
    pub input: ContainerInput,
    /// Where the answer goes: decides the shape of the answer.
    pub destination: Location,
    /// Whether the answer must come with a proof.
    pub requires_proof: bool,
}

/// For whom a container is called; sent along as the job id of the call's headers.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Purpose {
    /// A client's job.
    Job(JobId),
    /// An interval of a subscription.
    Interval {
        /// The subscription; 0 for a delegated one that the chain does not know yet.
        subscription: SubscriptionId,
        /// The interval.
        interval: Interval,
    },
}

/// The `data` of a container call.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum ContainerInput {
    /// Raw bytes from the chain, sent as hexadecimal (`source` 0).
    Onchain(PayloadAt),
    /// A JSON object (`source` 1).
    Json(PayloadAt),
}

/// `source` and `destination` of the container contract (`docs/spec/container.md` 2).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Location {
    /// 0
    Onchain,
    /// 1
    Offchain,
    /// 2
    Stream,
}
