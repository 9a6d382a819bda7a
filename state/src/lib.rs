//! The deterministic machine of the Infernet node.
//!
//! [`Event`] is everything that can happen, [`Effect`] everything the node may do, and
//! [`Machine::apply`] the only way from one to the other. No clock, file, socket, thread or
//! random number can reach this crate.
//!
//! ```
//! use infernet_state::{Event, Machine, types::WallTime};
//!
//! let mut machine = Machine::new();
//! let came_up = Event::NodeStarted { at: WallTime(1), version: "1".into() };
//! // A driver makes the event durable first, and then carries out what comes back.
//! assert_eq!(machine.apply(&came_up)?, []);
//! assert_eq!(machine.audit(), Ok(()));
//! # Ok::<(), infernet_state::machine::Halt>(())
//! ```
//!
//! What is where: the life cycles are [`subscription`], [`delegation`], [`job`], [`delivery`],
//! [`transaction`], [`chore`], [`proof`] and [`breaker`], each with its diagram; money is
//! [`ledger`], what the chain says [`chain`], bytes [`codec`], bounds [`limits`]. [`audit`]
//! checks all invariants of a state, [`trace`] tells what an event moved.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::alloc_instead_of_core,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::get_unwrap,
    clippy::indexing_slicing,
    clippy::iter_over_hash_type,
    clippy::panic,
    clippy::std_instead_of_alloc,
    clippy::std_instead_of_core,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

pub mod account;
pub mod admission;
pub mod audit;
mod books;
pub mod breaker;
mod catching_up;
pub mod chain;
pub mod chore;
mod clock;
pub mod codec;
pub mod config;
pub mod delegation;
pub mod delivery;
mod describe;
mod digest;
pub mod effect;
pub mod event;
pub mod inspect;
pub mod job;
pub mod ledger;
pub mod limits;
pub mod machine;
mod needs;
mod numbered;
pub mod outbox;
mod paged;
mod payee;
mod payments;
pub mod proof;
pub mod schedule;
mod signed;
mod simulation;
pub mod subscription;
mod tally;
pub mod trace;
mod tracking;
pub mod transaction;
#[doc(hidden)]
pub mod trial;
pub mod types;

pub use config::Config;
pub use effect::{Effect, Issued};
pub use event::Event;
pub use machine::Machine;
