//! The machine, held to what it promises. One binary, because most of it shares a little world.
//!
//! | module | what it holds |
//! |---|---|
//! | `life` | scenes: one thing after the other, and what comes of it |
//! | `wallets` | what the wallets' events mean, where two look alike |
//! | `retired` | what strangers leave behind |
//! | `reorgs` | reorgs across the boundary of intervals |
//! | `delegated` | delegated subscriptions: what is late, fails, is brought twice |
//! | `created` | delegated subscriptions that others create, and reorgs that take that back |
//! | `sending` | what becomes of a transaction that is not taken, or comes back |
//! | `nonces` | one nonce for itself: its refusals, its items, what its stakes wait for |
//! | `keys` | nonces that others use with the same key, and what an operator confirms |
//! | `requests` | delegated requests beside the records of the chain |
//! | `moves` | what becomes of a nonce while the chain moves on |
//! | `returns` | what a reorg gives back to the pool, and approvals |
//! | `lives` | random lives: every promise after every event |
//! | `nonsense` | events that no world would bring |
//! | `hostile` | amounts that a stranger's token may name |
//! | `strangers` | what strangers do within the node's own transactions |
//! | `policy` | what is taken on and what is not, at the edges |
//! | `intervals` | the arithmetic of intervals, and those that are missed |
//! | `bounds` | what one event does, and what takes no turn |
//! | `breaker` | what opens the circuit breaker, and what waits for it |
//! | `together` | requests that meet in one commit |
//! | `stakes` | what is at stake for proofs: its cap, its release |
//! | `absences` | what became due while the node was away |
//! | `again` | what is done once, judged again, tried again |
//! | `late` | delegated requests that come while the recorded head is old |
//! | `attempts` | how often a delegated request is attempted, which items a batch answered |
//! | `changes` | what changes under work that is under way: the chain, the wallet, free nonces |
//! | `edges` | limits of gas, fees, attempts, time and height |
//! | `books` | several payments outstanding at once |
//! | `entries` | what each event of a wallet, and each receipt, is booked as |
//! | `payees` | the edges of the books: former wallets, verdicts, tokens that are kept |
//! | `prices` | whose price it is, where two answers or two records meet |
//! | `clients` | clients' jobs: refusals, containers, what is reported |
//! | `deadlines` | which blocks and moments are asked for, and what is restored |
//! | `shown` | what is told of deliveries and requests, and what a client may give up |
//! | `tables` | every life cycle, written out |
//! | `coverage` | every step that a table allows is made, some in `scenes` |
//! | `events` | golden events, of every kind and version |
//! | `logs` | golden logs, with their digests |
//! | `fuzz` | what the fuzz targets do, without a fuzzer |
//! | `snapshots` | golden snapshots, of every layout of the state |
//!
//! `INFERNET_CASES` and `INFERNET_SEED` explore further; `INFERNET_BLESS=1` writes golden files.

mod absences;
mod again;
mod attempts;
mod books;
mod bounds;
mod breaker;
mod changes;
mod clients;
mod common;
mod coverage;
mod created;
mod deadlines;
mod delegated;
mod edges;
mod entries;
mod events;
mod fuzz;
mod fuzzed;
mod hostile;
mod intervals;
mod keys;
mod late;
mod life;
mod lives;
mod logs;
mod moves;
mod nonces;
mod nonsense;
mod payees;
mod policy;
mod prices;
mod reorgs;
mod requests;
mod retired;
mod returns;
mod scenes;
mod sending;
mod shown;
mod snapshots;
mod stakes;
mod strangers;
mod tables;
mod together;
mod wallets;
