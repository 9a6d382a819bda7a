//! Lines of a child's output, however long or malformed they are.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// A longer line is cut: the rest of it is read and dropped.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024;

/// The next line without its end, at most [`LINE_BYTES_MAX`] bytes of it; `None` at the end of
/// the stream, or when it breaks.
pub(super) async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let buffer = reader.fill_buf().await.ok()?;
        if buffer.is_empty() {
            break;
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (text, consumed) = match end {
            Some(end) => (buffer.get(..end).unwrap_or(buffer), end + 1),
            None => (buffer, buffer.len()),
        };
        let room = LINE_BYTES_MAX.saturating_sub(line.len()).min(text.len());
        line.extend_from_slice(text.get(..room).unwrap_or_default());
        reader.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    any.then(|| String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_not_lost() {
        let long = "x".repeat(LINE_BYTES_MAX + 10);
        let text = format!("one\r\n{long}\n\nlast");
        let mut reader = tokio::io::BufReader::with_capacity(64, text.as_bytes());
        assert_eq!(next_line(&mut reader).await.as_deref(), Some("one"));
        assert_eq!(
            next_line(&mut reader).await.map(|line| line.len()),
            Some(LINE_BYTES_MAX)
        );
        assert_eq!(next_line(&mut reader).await.as_deref(), Some(""));
        assert_eq!(next_line(&mut reader).await.as_deref(), Some("last"));
        assert_eq!(next_line(&mut reader).await, None);
    }
}
