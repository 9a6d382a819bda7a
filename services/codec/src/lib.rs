//! Wire formats shared by nodes, consumer contracts and inference services.
//!
//! - [`vector`]: the tensor that travels, as JSON and as ABI bytes.
//! - [`model_id`]: which file of which model repository.
//! - [`inference`]: the on-chain request and answer of the ONNX and Torch services.
//! - [`container`]: the five-key answer that a container gives for the chain.
//!
//! The crate is separate from the services so that the node can speak these formats without
//! linking an inference engine: Cargo unifies features per package over a whole workspace build,
//! so a feature of the services' crate could not promise that.
//!
//! Everything here is pure: no I/O, no clock, and no panic on any input.

pub mod container;
pub mod inference;
pub mod model_id;
pub mod vector;

mod abi;
mod element;
