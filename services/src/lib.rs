//! The containers' side of Infernet: services that answer a node over the container contract
//! (`docs/spec/container.md`).
//!
//! A service is a module that implements [`http::Service`]; everything around it is shared:
//! [`input`] validates what a node sends, [`http`] serves it, [`models`] finds model files,
//! [`resources`] describes the machine, [`workflow`] is the life cycle of an inference, and
//! [`config`] reads the settings that all services have in common. Wire formats are in
//! `infernet-codec`.
//!
//! - [`onnx`]: ONNX models on tract.

pub mod config;
pub mod http;
pub mod input;
pub mod models;
pub mod onnx;
pub mod resources;
pub mod workflow;

mod shutdown;
