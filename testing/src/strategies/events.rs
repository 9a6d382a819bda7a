//! Event sequences for the node's machine.
