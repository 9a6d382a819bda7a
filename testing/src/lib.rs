//! Property tests for Infernet.
#![forbid(unsafe_code)]

pub mod abi;
pub mod evm;
pub mod model;
pub mod play;
pub mod strategies;
pub mod twin;
