//! The contracts, as their artifacts describe them. Written by `cargo xtask contracts build`; do not edit.

use alloy_sol_types::sol;

sol! {
    #![sol(extra_derives(Debug, PartialEq, Eq))]

    /// One delivery of a batch; fields as the parameters of `deliverCompute`.
    struct BatchDelivery {
        uint32 subscriptionId;
        uint32 interval;
        bytes input;
        bytes output;
        bytes proof;
        address nodeWallet;
    }

    /// One stored result. Subscription and interval 0: written directly, not through the
    /// coordinator.
    struct InboxItem {
        uint32 timestamp;
        uint32 subscriptionId;
        uint32 interval;
        bytes input;
        bytes output;
        bytes proof;
    }

    /// A request for compute, answered once (period 0) or in every interval.
    struct Subscription {
        /// consumer that receives the results
        address owner;
        /// time (seconds) from which it can be answered; 2^32-1: cancelled
        uint32 activeAt;
        /// length of an interval in seconds; 0: one interval without end
        uint32 period;
        /// how many intervals are answered
        uint32 frequency;
        /// how many nodes answer each interval
        uint16 redundancy;
        /// keccak256(abi.encode(name)) of the container, or of the names of a chain joined by
        /// commas
        bytes32 containerId;
        /// whether results go to the inbox instead of the consumer
        bool lazy;
        /// verifier of the proofs; zero: none, the node is paid at once
        address verifier;
        /// payment per answer, in the smallest unit of the token; 0: free
        uint256 paymentAmount;
        /// token of the payment; zero: the chain's own coin
        address paymentToken;
        /// wallet that pays
        address wallet;
    }

    /// Says where the contracts of one deployment are. Consumers read it once, in their
    /// constructors.
    interface Registry {
        /// The coordinator: subscriptions and deliveries.
        function COORDINATOR() external view returns (address);
        /// The protocol fee and its recipient.
        function FEE() external view returns (address);
        /// The inbox: stored results of lazy subscriptions.
        function INBOX() external view returns (address);
        /// The reader: batched views over the coordinator.
        function READER() external view returns (address);
        /// The factory of payment wallets.
        function WALLET_FACTORY() external view returns (address);
    }

    /// A coordinator that also takes subscriptions which a consumer's signer created off chain, by
    /// signature (EIP-712).
    interface Coordinator {
        /// A node answered, as part of a batch; `redundancy` counts the answers to the interval,
        /// this one included.
        event Delivered(uint32 indexed id, uint32 indexed interval, address indexed node, uint16 redundancy);
        /// One delivery of a batch failed; `reason` is the selector of its error (zero: no data, or
        /// out of gas).
        event DeliveryFailed(uint32 indexed id, uint32 indexed interval, address indexed node, bytes4 reason);
        /// A proof was judged (`active`), or its time ran out and somebody released the escrows:
        /// then the node was paid, whatever `valid` says.
        event ProofVerified(uint32 indexed id, uint32 indexed interval, address indexed node, bool active, address verifier, bool valid);
        /// Payments that were locked ahead, and that no interval can use any more, were unlocked.
        event ReserveReleased(uint32 indexed id, address indexed wallet, uint256 payments, uint256 amount);
        /// A subscription was cancelled.
        event SubscriptionCancelled(uint32 indexed id);
        /// A subscription was created.
        event SubscriptionCreated(uint32 indexed id);
        /// A node answered.
        event SubscriptionFulfilled(uint32 indexed id, address indexed node);
        /// The payments of a subscription were locked ahead.
        event SubscriptionFunded(uint32 indexed id, address indexed wallet, uint256 payments, uint256 amount);
        /// Name in the EIP-712 domain.
        function EIP712_NAME() external view returns (string);
        /// Version in the EIP-712 domain.
        function EIP712_VERSION() external view returns (string);
        /// What this coordinator offers beyond deployments without this getter; grows with each
        /// addition.
        function VERSION() external view returns (uint256);
        /// Cancels a subscription of the caller: it is never active again. What waits for a
        /// verifier is still settled.
        function cancelSubscription(uint32 subscriptionId) external;
        /// Creates a subscription of the caller. Nothing is validated; it is active one period from
        /// now.
        function createSubscription(string containerId, uint32 frequency, uint32 period, uint16 redundancy, bool lazy, address paymentToken, uint256 paymentAmount, address wallet, address verifier) external returns (uint32);
        /// Creates the subscription that the owner's signer signed, or returns its id if owner and
        /// nonce are known: then nothing else is looked at.
        function createSubscriptionDelegatee(uint32 nonce, uint32 expiry, Subscription sub, uint8 v, bytes32 r, bytes32 s) external returns (uint32);
        /// Id of a delegated subscription: by keccak256(abi.encode(address owner, uint32 nonce)); 0
        /// if there is none.
        function delegateCreatedIds(bytes32 key) external view returns (uint32);
        /// Delivers the caller's answer to an interval.
        function deliverCompute(uint32 subscriptionId, uint32 deliveryInterval, bytes input, bytes output, bytes proof, address nodeWallet) external;
        /// Delivers several answers of the caller in one transaction. One that fails is undone by
        /// itself.
        function deliverComputeBatch(BatchDelivery[] deliveries) external returns (uint256 delivered);
        /// Creates the signed subscription unless it exists, and delivers to it; parameters as
        /// `createSubscriptionDelegatee` and `deliverCompute`.
        function deliverComputeDelegatee(uint32 nonce, uint32 expiry, Subscription sub, uint8 v, bytes32 r, bytes32 s, uint32 deliveryInterval, bytes input, bytes output, bytes proof, address nodeWallet) external;
        /// One delivery of a batch, for `node`; only this contract itself calls it.
        function deliverComputeFor(uint32 subscriptionId, uint32 deliveryInterval, bytes input, bytes output, bytes proof, address nodeWallet, address node) external;
        /// The EIP-712 domain (EIP-5267).
        function eip712Domain() external view returns (bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions);
        /// Settles a delivery that was made under a verifier. Within a week the verifier judges:
        /// valid pays the node, not valid slashes its stake to the consumer's wallet. Afterwards
        /// anyone can call, and the node is paid.
        function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
        /// Locks, in the wallet of one of the caller's subscriptions, all payments that can still
        /// fall due. From then on deliveries are paid from what is locked, which neither the
        /// wallet's owner nor other subscriptions can touch.
        function fundSubscription(uint32 subscriptionId) external;
        /// A subscription; all zero if there is none of that id.
        function getSubscription(uint32 subscriptionId) external view returns (Subscription);
        /// The current interval, from 1: the k-th covers \[activeAt + (k-1) * period, activeAt + k
        /// * period).
        function getSubscriptionInterval(uint32 activeAt, uint32 period) external view returns (uint32);
        /// Id of the next subscription; ids start at 1.
        function id() external view returns (uint32);
        /// The highest nonce of an owner's delegated subscriptions; 0 also if there is none. For
        /// information only.
        function maxSubscriberNonce(address owner) external view returns (uint32);
        /// Whether a node has answered: by keccak256(abi.encode(uint32 subscriptionId, uint32
        /// interval, address node)).
        function nodeResponded(bytes32 key) external view returns (bool);
        /// An open proof request: by the key of `nodeResponded`; all zero if there is none.
        function proofRequests(bytes32 key) external view returns (uint32 expiry, address nodeWallet, uint256 consumerEscrowed);
        /// How many nodes have answered an interval: by keccak256(abi.encode(uint32 subscriptionId,
        /// uint32 interval)).
        function redundancyCount(bytes32 key) external view returns (uint16);
        /// Unlocks what was locked ahead for answers that can no longer be given, because their
        /// interval is over or the subscription was cancelled; open to anyone.
        function releaseReserve(uint32 subscriptionId) external;
        /// How many payments the wallet of a funded subscription holds locked for it.
        function reservedPayments(uint32 subscriptionId) external view returns (uint256);
    }

    /// Results of lazy subscriptions, and whatever a node cares to publish: append-only per
    /// container and node.
    interface Inbox {
        /// An item was stored.
        event NewInboxItem(bytes32 indexed containerId, address indexed node, uint256 index);
        /// One item, field by field; reverts if there is none of that index.
        function items(bytes32 containerId, address node, uint256 index) external view returns (uint32 timestamp, uint32 subscriptionId, uint32 interval, bytes input, bytes output, bytes proof);
        /// How many items `node` stored for `containerId`.
        function length(bytes32 containerId, address node) external view returns (uint256);
        /// One item; panics (0x32) if there is none of that index.
        function read(bytes32 containerId, address node, uint256 index) external view returns (InboxItem item);
        /// The items with index `start` up to, but without, `end`; fewer if there are fewer.
        function readBatch(bytes32 containerId, address node, uint256 start, uint256 end) external view returns (InboxItem[] batch);
        /// Stores an item in the caller's name.
        function write(bytes32 containerId, bytes input, bytes output, bytes proof) external returns (uint256 index);
        /// Stores a delivery; only the coordinator.
        function writeViaCoordinator(bytes32 containerId, address node, uint32 subscriptionId, uint32 interval, bytes input, bytes output, bytes proof) external returns (uint256 index);
    }

    /// Many subscriptions or counts in one call.
    interface Reader {
        /// Which subscriptions with id `startId` up to, but without, `endId` can still be answered:
        /// neither cancelled nor over (those that are not active yet included).
        function readActive(uint32 startId, uint32 endId) external view returns (uint32[] ids);
        /// For each subscription: the current interval (as `readIntervals`) and the selector of the
        /// error with which a delivery of `node` would be refused now, before payment and consumer;
        /// zero if it would not.
        function readDeliverable(uint32[] ids, address node) external view returns (uint32[] intervals, bytes4[] errors);
        /// The current interval of each subscription, by the block's time; 0 before it is active,
        /// or when it is cancelled or unknown.
        function readIntervals(uint32[] ids) external view returns (uint32[] intervals);
        /// Whether `node` has answered each (id, interval); panics (0x32) if `intervals` is shorter
        /// than `ids`.
        function readNodeResponded(uint32[] ids, uint32[] intervals, address node) external view returns (bool[] responded);
        /// How many nodes have answered each (id, interval); panics (0x32) if `intervals` is
        /// shorter than `ids`.
        function readRedundancyCountBatch(uint32[] ids, uint32[] intervals) external view returns (uint16[] counts);
        /// The subscriptions with id `startId` up to, but without, `endId`; unknown ones are all
        /// zero.
        function readSubscriptionBatch(uint32 startId, uint32 endId) external view returns (Subscription[] batch);
    }

    /// One owner, who hands over either at once or in two steps: the new owner requests, the old
    /// one completes.
    interface Ownable {
        /// An account withdrew its request for the ownership.
        event OwnershipHandoverCanceled(address indexed pendingOwner);
        /// An account asked for the ownership.
        event OwnershipHandoverRequested(address indexed pendingOwner);
        /// The ownership went from one account to another (from zero: at construction; to zero:
        /// renounced).
        event OwnershipTransferred(address indexed oldOwner, address indexed newOwner);
        /// Withdraws the caller's own request.
        function cancelOwnershipHandover() external payable;
        /// Completes the request of `pendingOwner`.
        function completeOwnershipHandover(address pendingOwner) external payable;
        /// The owner; zero when renounced.
        function owner() external view returns (address);
        /// Until when (seconds) the request of `pendingOwner` can be completed; 0 without a
        /// request.
        function ownershipHandoverExpiresAt(address pendingOwner) external view returns (uint256);
        /// Gives the ownership up for good.
        function renounceOwnership() external payable;
        /// Asks for the ownership; the owner can complete the request within 48 hours.
        function requestOwnershipHandover() external payable;
        /// Gives the ownership away at once.
        function transferOwnership(address newOwner) external payable;
    }

    /// The protocol fee, in ten-thousandths, and its recipient: the owner of this contract.
    interface Fee {
        /// The fee changed.
        event FeeUpdated(uint16 oldFee, uint16 newFee);
        /// The fee in ten-thousandths.
        function FEE() external view returns (uint16);
        /// Who receives the fees.
        function FEE_RECIPIENT() external view returns (address);
        /// Fee and recipient in one call.
        function feeAndRecipient() external view returns (uint16 fee, address recipient);
        /// Sets the fee; only the owner.
        function updateFee(uint16 newFee) external;
    }

    /// Holds funds that pay for computations (consumers) or stand as stakes (nodes). The owner
    /// approves spenders; only the coordinator moves funds, in a spender's name and within his
    /// allowance, or locks them in escrow.
    interface Wallet {
        /// The owner set an allowance.
        event Approval(address indexed spender, address token, uint256 amount);
        /// The coordinator locked or unlocked in a spender's name.
        event Escrow(address indexed spender, address token, uint256 amount, bool locked);
        /// The coordinator paid in a spender's name.
        event Transfer(address indexed spender, address token, address indexed to, uint256 amount);
        /// The owner withdrew.
        event Withdrawl(address token, uint256 amount);
        /// How much of `token` `spender` may use.
        function allowance(address spender, address token) external view returns (uint256);
        /// Sets (does not add to) what `spender` may use of `token`; only the owner.
        function approve(address spender, address token, uint256 amount) external;
        /// Locks `amount` in the name of `spender`; only the coordinator.
        function cLock(address spender, address token, uint256 amount) external;
        /// Unlocks `amount` in the name of `spender` and pays it to `to`; only the coordinator. The
        /// same as `cUnlock` and `cTransfer`: what the one gives back to the allowance the other
        /// takes from it, so the allowance is left alone.
        function cRelease(address spender, address token, address to, uint256 amount) external;
        /// Pays `amount` to `to` in the name of `spender`; only the coordinator.
        function cTransfer(address spender, address token, address to, uint256 amount) external;
        /// Two payments in the name of `spender`, in order; only the coordinator. The same as two
        /// calls of `cTransfer`, but both amounts leave the allowance before either is sent.
        function cTransferTwo(address spender, address token, address to, uint256 amount, address secondTo, uint256 secondAmount) external;
        /// Unlocks `amount` in the name of `spender` and gives the allowance back; only the
        /// coordinator.
        function cUnlock(address spender, address token, uint256 amount) external;
        /// How much of `token` is locked.
        function lockedBalance(address token) external view returns (uint256);
        /// How much of `token` can be withdrawn, paid out or locked.
        function unlockedBalance(address token) external view returns (uint256);
        /// Sends unlocked funds to the owner; only the owner.
        function withdraw(address token, uint256 amount) external;
    }

    /// Makes wallets; only wallets made here are taken by the coordinator.
    interface WalletFactory {
        /// A wallet was made.
        event WalletCreated(address indexed caller, address indexed owner, address wallet);
        /// Makes a wallet for `initialOwner`; open to anyone.
        function createWallet(address initialOwner) external returns (address wallet);
        /// Whether `wallet` was made here.
        function isValidWallet(address wallet) external view returns (bool);
    }

    /// A contract that judges a node's proof before the node is paid.
    interface Verifier {
        /// The verifier's fee per proof, in the smallest unit of `token`.
        function fee(address token) external view returns (uint256);
        /// Where the verifier's fee is paid to; any address.
        function getWallet() external view returns (address);
        /// Whether the verifier takes its fee in `token` (zero: the chain's own coin).
        function isSupportedToken(address token) external view returns (bool);
        /// Asks for a verdict on one delivery.
        function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes proof) external;
    }

    /// What every consumer has in common: it takes results from the coordinator, and from nobody
    /// else.
    interface Consumer {
        /// What the containers shall compute on; nodes ask here before each run. Empty by default.
        function getContainerInputs(uint32 subscriptionId, uint32 interval, uint32 timestamp, address caller) external view returns (bytes);
        /// Hands one result to this consumer; only the coordinator.
        function rawReceiveCompute(uint32 subscriptionId, uint32 interval, uint16 redundancy, address node, bytes input, bytes output, bytes proof, bytes32 containerId, uint256 index) external;
        /// The signing key changed.
        event SignerUpdated(address indexed oldSigner, address indexed newSigner);
        /// The key that may sign subscriptions for this contract.
        function getSigner() external view returns (address);
        /// A node was put on the list or taken off.
        event AllowlistUpdated(address indexed node, bool allowed);
        /// Whether `node` may deliver.
        function isAllowedNode(address node) external view returns (bool);
    }

    /// Has a flower's measurements classified by a node and keeps the answer.
    interface IrisConsumer {
        /// A flower was classified.
        event Classified(uint32 indexed id, uint8 class, address node);
        /// The answer to a request.
        function answers(uint32 id) external view returns (bool known, uint8 class, address node, uint32 interval, int32[] values);
        /// Asks one node for a classification.
        function requestClassification(string containerId, bytes inputs, address paymentToken, uint256 paymentAmount, address wallet) external returns (uint32 id);
    }

    /// Creates whatever it is asked to, for anybody, and ignores what it receives.
    interface PlainConsumer {
        /// Cancels one of this contract's subscriptions.
        function cancel(uint32 id) external;
        /// A subscription; owner, activeAt and containerId of `sub` are ignored.
        function create(string containerId, Subscription sub) external returns (uint32);
        /// A callback request.
        function requestCompute(string containerId, bytes inputs, uint16 redundancy, address paymentToken, uint256 paymentAmount, address wallet, address verifier) external returns (uint32);
        /// Changes the signing key.
        function updateSigner(address signer) external;
    }

    /// A verifier whose verdict is set from outside; it receives its own fees.
    interface MockVerifier {
        /// Judges one delivery.
        function finalize(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
        /// Changes the way it answers.
        function setMode(uint8 mode) external;
        /// Takes a token from now on, at a fee.
        function support(address token, uint256 price) external;
    }

    /// A consumer for tests: says what it received, then does what it was told to do. It takes no
    /// plain coin.
    interface ScriptedConsumer {
        /// An answer came.
        event Received(uint32 subscriptionId, uint32 interval, uint16 redundancy, address node, bytes input, bytes output, bytes proof, bytes32 containerId, uint256 index);
        /// The script's call was made, and ended so.
        event Tried(bool succeeded, bytes returned);
        /// Sets what follows a received answer: nothing; a revert with `data`; a call of `target`
        /// with `data` whose revert is handed on; or the same call whose end is told in an event.
        function setScript(uint8 script, address target, bytes data) external;
        /// Changes the signer.
        function setSigner(address signer) external;
    }

    /// A verifier for tests, with fees and verdicts as it was told. It judges at once, or waits to
    /// be asked to.
    interface ScriptedVerifier {
        /// A verdict was asked for.
        event ProofAsked(uint32 subscriptionId, uint32 interval, address node, bytes proof);
        /// Sets what follows a request, and where the fee goes.
        function setScript(uint8 script, address wallet) external;
        /// Sets whether a token is taken, and the fee in it.
        function setToken(address token, bool supported, uint256 amount) external;
    }

    /// A token for tests, with the habits of the honest and the odd ones.
    interface ScriptedToken {
        /// Tokens moved; from zero: made, to zero: destroyed.
        event Transfer(address indexed from, address indexed to, uint256 amount);
        /// What an account holds.
        function balanceOf(address account) external view returns (uint256);
        /// Sets what an account holds, as mints, burns and rebasing tokens do.
        function setBalance(address account, uint256 amount) external;
        /// Sends `amount` to `to`, by habit.
        function transfer(address to, uint256 amount) external returns (bool);
    }

    /// Every error that a transaction of a node can end in.
    interface Errors {
        /// A batch holds more deliveries than the result has bits.
        error BatchTooLong();
        /// A contract for the bytes could not be created.
        error BytesNotStored();
        /// The balance of the chain's own coin is too short.
        error ETHTransferFailed();
        /// The ownership cannot be given up while funds are locked.
        error FundsLocked();
        /// The spender's allowance is too short.
        error InsufficientAllowance();
        /// The unlocked balance is too short, or less is locked than is to be unlocked.
        error InsufficientFunds();
        /// As many nodes as asked for have answered the interval.
        error IntervalCompleted();
        /// The interval is not the current one.
        error IntervalMismatch();
        /// The signature is malformed: nobody's, or not in its canonical form.
        error InvalidSignature();
        /// A wallet was not made by the deployment's factory.
        error InvalidWallet();
        /// The ownership cannot be given to the zero address; renounce it instead.
        error NewOwnerIsZeroAddress();
        /// The account has no valid handover request.
        error NoHandoverRequest();
        /// The node is not on the consumer's list.
        error NodeNotAllowed();
        /// The node has answered the interval already.
        error NodeRespondedAlready();
        /// The caller is not the coordinator.
        error NotCoordinator();
        /// The caller does not own the subscription.
        error NotSubscriptionOwner();
        /// The subscription is free, over or funded already.
        error NothingToFund();
        /// The call is for this contract itself only.
        error OnlySelf();
        /// There is no such proof request, or it is settled.
        error ProofRequestNotFound();
        /// A delivery was entered while another is under way.
        error Reentrancy();
        /// The signature's time is over.
        error SignatureExpired();
        /// The signature is not that of the owner's signer.
        error SignerMismatch();
        /// All intervals of the subscription are over.
        error SubscriptionCompleted();
        /// The subscription is not active yet, or cancelled.
        error SubscriptionNotActive();
        /// There is no such subscription.
        error SubscriptionNotFound();
        /// The token refused, returned false, or is no contract.
        error TransferFailed();
        /// The caller is not the owner.
        error Unauthorized();
        /// The caller is not the subscription's verifier.
        error UnauthorizedVerifier();
        /// The verifier does not take its fee in the payment's token.
        error UnsupportedVerifierToken();
        /// The creation failed, or a wallet was asked for a factory's work.
        error WalletNotCreated();
    }
}

/// The committed artifacts: ABI and code, as JSON.
pub mod artifacts {
    pub const ALLOWLIST: &str = include_str!("../artifacts/Allowlist.json");
    pub const BASE_CONSUMER: &str = include_str!("../artifacts/BaseConsumer.json");
    pub const CALLBACK_CONSUMER: &str = include_str!("../artifacts/CallbackConsumer.json");
    pub const COORDINATOR: &str = include_str!("../artifacts/Coordinator.json");
    pub const DELEGATOR: &str = include_str!("../artifacts/Delegator.json");
    pub const DIFFUSION_NFT: &str = include_str!("../artifacts/DiffusionNFT.json");
    pub const EIP712_COORDINATOR: &str = include_str!("../artifacts/EIP712Coordinator.json");
    pub const FEE: &str = include_str!("../artifacts/Fee.json");
    pub const GROTH16_VERIFIER: &str = include_str!("../artifacts/Groth16Verifier.json");
    pub const HASH_VERIFIER: &str = include_str!("../artifacts/HashVerifier.json");
    pub const I_VERIFIER: &str = include_str!("../artifacts/IVerifier.json");
    pub const INBOX: &str = include_str!("../artifacts/Inbox.json");
    pub const IRIS_CLASSIFIER: &str = include_str!("../artifacts/IrisClassifier.json");
    pub const IRIS_CONSUMER: &str = include_str!("../artifacts/IrisConsumer.json");
    pub const MOCK_TOKEN: &str = include_str!("../artifacts/MockToken.json");
    pub const MOCK_VERIFIER: &str = include_str!("../artifacts/MockVerifier.json");
    pub const OPTIMISTIC_VERIFIER: &str = include_str!("../artifacts/OptimisticVerifier.json");
    pub const OWNABLE: &str = include_str!("../artifacts/Ownable.json");
    pub const PLAIN_CONSUMER: &str = include_str!("../artifacts/PlainConsumer.json");
    pub const PROMPTER: &str = include_str!("../artifacts/Prompter.json");
    pub const PROMPTS_GPT: &str = include_str!("../artifacts/PromptsGPT.json");
    pub const PROVEN_IRIS: &str = include_str!("../artifacts/ProvenIris.json");
    pub const READER: &str = include_str!("../artifacts/Reader.json");
    pub const REFERENCE_COORDINATOR: &str = include_str!("../artifacts/ReferenceCoordinator.json");
    pub const REFERENCE_FEE: &str = include_str!("../artifacts/ReferenceFee.json");
    pub const REFERENCE_WALLET: &str = include_str!("../artifacts/ReferenceWallet.json");
    pub const REFERENCE_WALLET_FACTORY: &str =
        include_str!("../artifacts/ReferenceWalletFactory.json");
    pub const REGISTRY: &str = include_str!("../artifacts/Registry.json");
    pub const SAYS_GM: &str = include_str!("../artifacts/SaysGM.json");
    pub const SCRIPTED_CONSUMER: &str = include_str!("../artifacts/ScriptedConsumer.json");
    pub const SCRIPTED_TOKEN: &str = include_str!("../artifacts/ScriptedToken.json");
    pub const SCRIPTED_VERIFIER: &str = include_str!("../artifacts/ScriptedVerifier.json");
    pub const SUBSCRIPTION_CONSUMER: &str = include_str!("../artifacts/SubscriptionConsumer.json");
    pub const WALLET: &str = include_str!("../artifacts/Wallet.json");
    pub const WALLET_FACTORY: &str = include_str!("../artifacts/WalletFactory.json");
    pub const CANCUN_COORDINATOR: &str = include_str!("../artifacts/cancun/Coordinator.json");
    pub const CANCUN_EIP712_COORDINATOR: &str =
        include_str!("../artifacts/cancun/EIP712Coordinator.json");
}
