//! The Infernet node: everything around the deterministic machine of `infernet-state`.

pub mod api;
pub mod audit;
pub mod chain;
pub mod cli;
pub mod config;
pub mod container;
pub mod copies;
pub mod crash;
pub mod dev;
pub mod devnet;
pub mod driver;
pub mod executor;
pub mod log;
pub mod node;
pub mod ports;
pub mod streams;

mod words;
