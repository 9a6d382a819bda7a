//! The deterministic machine of the Infernet node.
//!
//! [`Event`] is everything that can happen, [`Effect`] everything the node may do, and
//! [`Machine::apply`] the only way from one to the other. No clock, file, socket, thread or
//! random number can reach this crate.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod codec;
pub mod config;
pub mod effect;
pub mod event;
pub mod machine;
pub mod types;

pub use config::Config;
pub use effect::{Effect, Issued};
pub use event::Event;
pub use machine::Machine;
