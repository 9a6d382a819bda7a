//! Standard output: whoever reads it may go away before we end (`| head -1`).

use std::{
    fmt::Arguments,
    io::{self, BufWriter, StdoutLock, Write as _},
};

use super::error::CliError;
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

/// Lines on their way to standard output.
pub(super) struct Out {
    out: BufWriter<StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Out {
    pub(super) fn new() -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            failed: None,
        }
    }

    /// Says a line. What cannot be written is reported by [`Out::finish`].
    pub(super) fn say(&mut self, line: impl AsRef<str>) {
        if self.failed.is_none()
            && let Err(error) = writeln!(self.out, "{}", line.as_ref())
        {
            self.failed = Some(error);
        }
    }

    /// Whether anybody still listens.
    pub(super) fn is_open(&self) -> bool {
        self.failed.is_none()
    }

    /// Shows everything that was said.
    pub(super) fn flush(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.out.flush()
        {
            self.failed = Some(error);
        }
    }

    /// # Errors
    /// [`NodeError::Output`].
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        self.flush();
        match self.failed {
            Some(error) => Err(NodeError::Output(error).into()),
            None => Ok(()),
        }
    }
}

/// A text of unknown origin with its control characters escaped, so that it cannot pass for
/// anything else on a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut plain, char| {
        if char.is_control() {
            plain.extend(char.escape_default());
        } else {
            plain.push(char);
        }
        plain
    })
}
