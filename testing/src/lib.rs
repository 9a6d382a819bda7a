//! Property tests for Infernet: a model of its contracts, an EVM to hold it against, and strategies for
//! both and for the node's machine.
//!
//! * Test **a consumer of your own** on the real contracts: [`evm::World`] deploys them in an EVM in memory; copy
//!   `testing/tests/own_consumer.rs`, which the guide `docs/testing.md` explains.
//! * Ask **what the contracts do**: [`model::Model`] says it for any call, with every event and every revert reason, without
//!   an EVM. [`model::Rules`] holds its decisions; there are those of the original contracts
//!   ([`model::Reference`]) and those of this project's ([`model::Infernet`]).
//! * Hold **contracts of your own** that claim to be Infernet's against the model: [`twin::Twin`] makes each call on both sides and
//!   compares everything; [`play::Series`] does so with random sequences and shrinks what fails.
//! * Let **the node's machine** work on the contracts: [`node::play`] lets it play one of the nodes, and compares what it
//!   knows and books with what they say.
//! * Drive **the node's machine**: [`strategies::events`] gives sequences of its events, sensible or not.
//!
//! ```
//! use infernet_testing::{
//!     evm::{Build, World},
//!     model::{Answer, Call, address},
//! };
//! use revm::primitives::Address;
//!
//! let (mut world, at) = World::deployed(Build::Paris);
//! // Nobody has asked for anything yet: the contract says `SubscriptionNotFound`.
//! let deliver = Call::DeliverCompute {
//!     id: 1,
//!     interval: 1,
//!     answer: Answer::default(),
//!     node_wallet: Address::ZERO,
//! };
//! let end = world.execute(address(7), &deliver.message(&at));
//! assert_eq!(end.to_string(), "reverted with 0x1a00354f");
//! ```
//!
//! Nothing here is meant for production: errors are panics where a test would end anyway.
#![forbid(unsafe_code)]

pub mod abi;
pub mod evm;
pub mod model;
pub mod node;
pub mod play;
pub mod strategies;
pub mod twin;
