// What is measured, what the reference needs for it, and what it must cost at least.

// Prices of the chain (Yellow Paper, EIP-2929, EIP-3529).
const TRANSACTION = 21_000;
const CREATION = 32_000;
const CODE_BYTE = 200;
const COLD_ACCOUNT = 2_600;
const COLD_WORD = 2_100;
const NEW_WORD = 22_100; // cold, from zero
const CHANGED_WORD = 5_000; // cold, from one value to another
const RESTORED_WORD = 2_300; // cold, changed and changed back: 2,100 + 2,900 + 100, 2,800 refunded
const FLASHED_WORD = 2_300; // cold, from zero and back: 2,100 + 20,000 + 100, 19,900 refunded
const CLEARED_WORD = 200; // cold, to zero: 5,000, 4,800 refunded
const REWRITTEN_WORD = 200; // read and written again, warm
const COIN = 6_700; // sending the own coin: 9,000, of which the receiver hands the stipend back
const ECRECOVER = 3_000;
const log = (topics, bytes) => 375 + 375 * topics + 8 * bytes;

const sum = (...parts) => parts.reduce((total, part) => total + part, 0);

// Events.
const CREATED = log(2, 0);
const FULFILLED = log(3, 0);
const TRANSFER = log(3, 64);
const ESCROW = log(2, 96);
const VERIFIED = log(4, 96);
const INBOX_ITEM = log(3, 32);
const ERC20_TRANSFER = log(3, 32);

// Creating: the next id, and the words of the subscription that are not zero.
const create = (words) => sum(CHANGED_WORD, words * NEW_WORD, CREATED);

// Delivering: the guard, the subscription's first word, count, the node's answer, the consumer, the event.
const deliver = (count) => sum(RESTORED_WORD, COLD_WORD, count, NEW_WORD, COLD_ACCOUNT, FULFILLED);

// Paying: the subscription's wallet word, both wallets, their code, fee and recipient.
const WALLETS = sum(COLD_WORD, 2 * COLD_ACCOUNT, COLD_ACCOUNT, COLD_ACCOUNT, COLD_WORD);
// At once: allowance, what is locked; two payments.
const ETH = sum(WALLETS, CHANGED_WORD, COLD_WORD, COLD_ACCOUNT, 2 * (COIN + TRANSFER));
const ERC20 = sum(
  WALLETS,
  COLD_WORD, // the subscription's token word
  sum(CHANGED_WORD, COLD_WORD, COLD_ACCOUNT),
  sum(3 * CHANGED_WORD, REWRITTEN_WORD), // three balances, one of them twice
  2 * (TRANSFER + ERC20_TRANSFER),
);
// Under a verifier: its word, the verifier with three words of its own, three payments, two locks, the request.
const VERIFIER = sum(WALLETS, COLD_WORD, COLD_ACCOUNT, 3 * COLD_WORD, COLD_ACCOUNT, 3 * (COIN + TRANSFER), 2 * ESCROW);
const ASYNC = sum(VERIFIER, 2 * CHANGED_WORD, 2 * CHANGED_WORD, NEW_WORD);
const SETTLED = sum(2 * ESCROW, COIN, TRANSFER, VERIFIED);
const ATOMIC = sum(VERIFIER, CHANGED_WORD, 3 * RESTORED_WORD, FLASHED_WORD, SETTLED);

/**
 * `baseline`: the figure of the Infernet SDK 1.1.0. `goal`: by how many percent ours must be lower; 0: lower at all. `floor`: what remains if nothing but intrinsic gas, storage words, events, calls
 * to other accounts and (added when measuring) calldata is paid for, with every word packed as far as the getters allow.
 */
export const MEASURES = [
  { name: "create_free", what: "createSubscription, free", baseline: 107_066, goal: 8, floor: create(2) },
  {
    name: "create_erc20_verifier",
    what: "createSubscription with ERC-20, wallet and verifier",
    baseline: 187_470,
    goal: 8,
    floor: create(5),
  },
  {
    name: "request_callback_free",
    what: "callback request through a consumer, free, two bytes of input",
    baseline: 133_995,
    goal: 8,
    floor: sum(create(2), COLD_ACCOUNT, NEW_WORD),
  },
  {
    name: "deliver_free_first",
    what: "deliverCompute, free, first node of an interval",
    baseline: 93_289,
    goal: 12,
    floor: deliver(NEW_WORD),
  },
  { name: "deliver_free_second", what: "the same, second node", baseline: 76_189, goal: 12, floor: deliver(CHANGED_WORD) },
  {
    name: "deliver_eth",
    what: "deliverCompute paid in ETH, second node",
    baseline: 126_622,
    goal: 8,
    floor: sum(deliver(CHANGED_WORD), ETH),
  },
  { name: "deliver_eth_first", what: "the same, first node", floor: sum(deliver(NEW_WORD), ETH) },
  {
    name: "deliver_erc20",
    what: "deliverCompute paid in ERC-20, second node",
    baseline: 130_716,
    goal: 8,
    floor: sum(deliver(CHANGED_WORD), ERC20),
  },
  { name: "deliver_erc20_first", what: "the same, first node", floor: sum(deliver(NEW_WORD), ERC20) },
  {
    name: "deliver_lazy",
    what: "deliverCompute, free and lazy, first node, the node's first item",
    baseline: 194_709,
    goal: 12,
    floor: sum(deliver(NEW_WORD), COLD_WORD, COLD_ACCOUNT, 3 * NEW_WORD, INBOX_ITEM),
  },
  {
    name: "deliver_atomic",
    what: "deliverCompute with an atomic verifier, ETH, second node",
    baseline: 219_252,
    goal: 8,
    floor: sum(deliver(CHANGED_WORD), ATOMIC),
  },
  { name: "deliver_atomic_first", what: "the same, first node", floor: sum(deliver(NEW_WORD), ATOMIC) },
  {
    name: "deliver_async",
    what: "deliverCompute with an asynchronous verifier, ETH, second node",
    baseline: 229_878,
    goal: 8,
    floor: sum(deliver(CHANGED_WORD), ASYNC),
  },
  { name: "deliver_async_first", what: "the same, first node", floor: sum(deliver(NEW_WORD), ASYNC) },
  {
    name: "finalize_valid",
    what: "finalizeProofVerification, valid, through the verifier",
    baseline: 81_762,
    goal: 0,
    floor: sum(COLD_ACCOUNT, CLEARED_WORD, 3 * COLD_WORD, 3 * COLD_ACCOUNT, 3 * CHANGED_WORD, SETTLED),
  },
  {
    name: "delegated_create_deliver",
    what: "deliverComputeDelegatee that creates, free, nonce 0",
    baseline: 200_264,
    goal: 10,
    floor: sum(create(2), NEW_WORD, ECRECOVER, COLD_WORD, deliver(NEW_WORD), -COLD_WORD),
  },
  {
    name: "create_wallet",
    what: "createWallet",
    baseline: 752_308,
    goal: 80,
    floor: sum(CREATION, 55 * CODE_BYTE, NEW_WORD, CHANGED_WORD, log(3, 0), log(3, 32)),
  },
  { name: "deploy_coordinator", what: "deployment of the EIP712Coordinator", baseline: 3_978_290, goal: 30 },
].map((measure) => ({ ...measure, floor: measure.floor === undefined ? undefined : measure.floor + TRANSACTION }));
