//! `infernet`: the node, its development world and its tools, in one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    infernet_node::cli::main()
}
