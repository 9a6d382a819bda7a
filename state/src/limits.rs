//! Bounds that no configuration moves, each with its reason.

/// Answers asked for in one event: new work beyond it waits, still due, for the next block. Keeps
/// the ordinals of one event's effects (16 bits) far from their end.
pub const TAKE_UPS_PER_EVENT_MAX: usize = 1_024;

/// Subscriptions looked at in one event, whether work begins for them or they are passed over;
/// the rest stay due for the next block. Passing over issues nothing, but takes its time.
pub const LOOKS_PER_EVENT_MAX: usize = 16_384;

/// Wall-time deadlines served by one event; the rest stay due and ask for the next event at once.
pub const DEADLINES_PER_EVENT_MAX: usize = 1_024;

/// Open jobs of clients, and again of intervals, whatever the configuration says: ending all of
/// them at once (a reorg) must fit the ordinals of one event. That costs a job three effects at
/// most: its container stopped or its nonce filled, a delivery looked at again, a nonce resumed.
pub const OPEN_JOBS_CAP: u32 = 10_000;

/// Attempts to read the chain for one purpose. With the default backoff, which ends at a minute,
/// this outlasts a day without a chain.
pub const READ_ATTEMPTS_MAX: u16 = 1_500;

/// Attempts to sign, or to hand a transaction to the RPC, before its delivery is given up.
pub const SEND_ATTEMPTS_MAX: u16 = 60;

/// Tries to hand over a delivery that the RPC refuses for a reason of its own, before it is given up:
/// later nonces wait for it. With the default backoff half a minute, a few blocks.
pub const REFUSED_ATTEMPTS_MAX: u16 = 7;

/// Bytes of a signed transaction that pools take.
pub const TRANSACTION_BYTES_MAX: u64 = 128 * 1024;

/// What a transaction holds beside the items of a delivery: fees, signature, selector, a delegated
/// subscription.
pub const ENVELOPE_BYTES: u64 = 2 * 1024;

/// What one item of a delivery holds beside the contents of its three arguments: ids, wallet, and
/// the place and length of each argument.
pub const DELIVERY_BYTES: u64 = 512;

/// Rest of a finalisation that failed as often as a chore may, before it begins anew. A day: the
/// week that the verifier had is over, stake and price wait, and each round costs nine
/// simulations.
pub const FINALIZE_REST_MS: u64 = 24 * 3_600_000;

/// Attempts at a delegated request that nobody created, of those that failed by what it asks for:
/// each is a call of its containers, and its client pays for none.
pub const DELEGATED_ATTEMPTS_MAX: u8 = 3;

/// Simulations in a row that revert, of a delivery or a chore, before it is given up. With the
/// default backoff the last comes two minutes after the first: heads that concern nobody are not
/// recorded, so that they cannot be counted, and by then an RPC that lags some blocks behind the
/// one that told of the head has caught up. An interval that closes before ends it anyway.
pub const REVERTED_SIMULATIONS_MAX: u16 = 9;

/// Waits in a row for a fee at which a delivery is worth its price. With the default backoff nearly
/// an hour, longer than a peak of fees lasts; a callback never closes, and its job takes up room.
pub const UNPROFITABLE_WAITS_MAX: u16 = 60;

/// Versions of one transaction (fee bumps and withdrawals): each is a hash that the watcher has
/// to look for. At the usual quarter more per bump, 24 versions are a price 200 times the first, at
/// the least that pools take, a tenth, still nine times.
pub const VERSIONS_MAX: usize = 24;

/// Added to the estimated gas, as a divisor: a quarter. Between simulation and inclusion other
/// nodes' deliveries change which storage slots are warm or zero.
pub const GAS_MARGIN_DIVISOR: u64 = 4;

/// Arrangements of configured containers that are hashed when the configuration changes. Where
/// the permutations of the configured length would be more, the longest ones are left out.
pub const ARRANGEMENTS_MAX: usize = 100_000;

/// Posted and voided ledger entries kept in memory for views; older ones stand in the log, and a
/// replay of its range shows them.
pub const LEDGER_ENTRIES_KEPT: usize = 100_000;

/// Tokens, beside those that are of use, whose accounts are kept: strangers make them for the gas.
pub const LEDGER_TOKENS_KEPT: usize = 1_000;

/// Entries that write a token off at once: sums of a stranger's token may be larger than one entry
/// holds, and the rest of them is next.
pub const WRITE_OFFS_AT_ONCE_MAX: usize = 8;

/// Finished deliveries kept in memory for views.
pub const DELIVERIES_KEPT: usize = 10_000;

/// Retired subscriptions (refused, cancelled, completed) kept in memory for views; older ones
/// stand in the log. Strangers create them.
pub const RETIRED_SUBSCRIPTIONS_KEPT: usize = 10_000;

/// Wallets before the present one that are remembered, the newest ones. Each is a change of the
/// configuration within the time that a proof may be open, a week and its finality.
pub const FORMER_WALLETS_KEPT: usize = 64;

/// How far ahead of the head a delegated subscription may become active, in seconds of block
/// time: 31 days. Until then it takes the room of others.
pub const DELEGATED_AHEAD_MAX_S: u64 = 31 * 24 * 3_600;

/// Recorded blocks remembered above the final one: where a reorg during the node's absence is
/// looked for. Deeper ones go back to the final block, which is right, and more work.
pub const RECENT_BLOCKS_MAX: usize = 256;

/// Containers of one client's job, or of one that is reported: far more than any chain of them is
/// long, and few enough that a request's record stays small.
pub const JOB_CONTAINERS_MAX: usize = 256;
