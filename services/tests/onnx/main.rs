//! The ONNX service as its clients and its parent process see it.

mod binary;
mod http;
mod support;
