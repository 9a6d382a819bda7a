//! The machine, held to what it promises. One binary, because most of it shares a little world.
//!
//! | module | what it holds |
//! |---|---|
//! | `life` | scenes: one thing after the other, and what comes of it |
//! | `wallets` | what the wallets' events mean, where two look alike |
//! | `retired` | what strangers leave behind |
//! | `reorgs` | reorgs across the boundary of intervals |
//! | `delegated` | delegated subscriptions: what is late, fails, is brought twice |
//! | `sending` | what becomes of a transaction that is not taken, or comes back |
//! | `nonces` | one nonce for itself: its refusals, its items, what its stakes wait for |
//! | `lives` | random lives: every promise after every event |
//! | `nonsense` | events that no world would bring |
//! | `hostile` | amounts that a stranger's token may name |
//! | `policy` | what is taken on and what is not, at the edges |
//! | `together` | requests that meet in one commit |
//! | `stakes` | what is at stake for proofs: its cap, its release |
//! | `again` | what is done once, judged again, tried again |
//! | `edges` | limits of gas, fees, attempts, time and height |
//! | `books` | several payments outstanding at once |
//! | `tables` | every life cycle, written out |
//! | `coverage` | every step that a table allows is made, some in `scenes` |
//! | `events` | golden events, of every kind and version |
//! | `logs` | golden logs, with their digests |
//! | `fuzz` | what the fuzz targets do, without a fuzzer |
//! | `snapshots` | golden snapshots, of every layout of the state |
//!
//! `INFERNET_CASES` and `INFERNET_SEED` explore further; `INFERNET_BLESS=1` writes golden files.

mod again;
mod books;
mod common;
mod coverage;
mod delegated;
mod edges;
mod events;
mod fuzz;
mod fuzzed;
mod hostile;
mod life;
mod lives;
mod logs;
mod nonces;
mod nonsense;
mod policy;
mod reorgs;
mod retired;
mod scenes;
mod sending;
mod snapshots;
mod stakes;
mod tables;
mod together;
mod wallets;
