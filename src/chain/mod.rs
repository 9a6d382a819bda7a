//! The chain edge: the only part of the node that speaks to an RPC.
//!
//! [`connect`] finds the contracts, [`watcher`] turns what the chain says into events, [`reads`]
//! and [`transactions`] carry out the machine's effects. Nothing here decides: what a fact
//! means is the machine's.
//!
//! **Invariant:** no nonce, fee or gas limit is ever filled in here; each is a field of an
//! effect, or a fact in an event.

pub mod abi;
mod backoff;
pub mod connect;
pub mod delegation;
pub mod reads;
pub mod rpc;
pub mod rpc_error;
pub mod signer;
pub mod transactions;
pub mod watcher;

pub use infernet_contracts::convert;
