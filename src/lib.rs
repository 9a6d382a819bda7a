//! The Infernet node: everything around the deterministic machine of `infernet-state`.

pub mod chain;
pub mod crash;
pub mod driver;
pub mod executor;
pub mod log;
