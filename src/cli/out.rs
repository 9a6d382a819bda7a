//! Standard output, a line at a time: a reader that goes away (`| head`) is no error.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use super::error::{CliError, output};

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
    /// [`CliError::Closed`], [`CliError::Output`].
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        self.flush();
        self.failed
            .map_or(Ok(()), |error| Err(output("standard output")(error)))
    }
}
