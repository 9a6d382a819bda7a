//! Standard output: whoever reads it may go away before we end (`| head -1`).

use std::{
    fmt::Arguments,
    io::{self, Write as _},
};

use crate::node::NodeError;

/// A line for somebody who watches. One who has gone, or a place that is full, does not stop the
/// world that is being watched.
pub(super) fn show_line(line: Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A line of a command's result, which is worth nothing unless it arrives.
///
/// # Errors
/// [`NodeError::Output`].
pub(super) fn put_line(line: Arguments<'_>) -> Result<(), NodeError> {
    writeln!(io::stdout().lock(), "{line}").map_err(NodeError::Output)
}

/// [`show_line`] with the arguments of `println!`.
macro_rules! show {
    ($($argument:tt)*) => { $crate::cli::out::show_line(format_args!($($argument)*)) };
}

/// [`put_line`] with the arguments of `println!`.
macro_rules! put {
    ($($argument:tt)*) => { $crate::cli::out::put_line(format_args!($($argument)*)) };
}

pub(super) use {put, show};
