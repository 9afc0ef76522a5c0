//! Output without an end, without a line's end, and with orders for the terminal.

use std::io::Write;

use super::{Ended, Exhaustion, Options, Progress};
use crate::attempt::errno_of;
use crate::sys::Errno;

pub const ALL: &[Exhaustion] = &[
    Exhaustion { name: "endless-output", run: endless_output },
    Exhaustion { name: "one-gigabyte-line", run: one_gigabyte_line },
    Exhaustion { name: "terminal-escapes", run: terminal_escapes },
];

/// Lines for ever, or for as many bytes as are wanted.
fn endless_output(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    Ok(flood(options.bytes.unwrap_or(u64::MAX), b"attack-probe\n"))
}

/// One line that is longer than anybody's buffer.
fn one_gigabyte_line(options: &Options, _progress: &Progress) -> Result<Ended, String> {
    Ok(flood(options.bytes.unwrap_or(1 << 30), b"x"))
}

/// Writes a pattern again and again, and a line's end, so that the last line stands alone.
fn flood(bytes: u64, pattern: &[u8]) -> Ended {
    let block = pattern.repeat(64 * 1024 / pattern.len());
    let mut left = bytes;
    let mut errno: Errno = 0;
    let mut out = std::io::stdout().lock();
    while left > 0 && errno == 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        match out.write_all(&block[..size]) {
            Ok(()) => left -= size as u64,
            Err(error) => errno = errno_of(&error),
        }
    }
    let _reader_is_gone = out.write_all(b"\n");
    Ended { count: bytes - left, errno, detail: "bytes were written".into() }
}

/// What a terminal would obey, if it were passed through to one.
fn terminal_escapes(_options: &Options, _progress: &Progress) -> Result<Ended, String> {
    const ORDERS: &[&str] = &[
        // The window's title, and a wish to be told it.
        "\x1b]0;attack-probe-title\x07",
        "\x1b[21t",
        // The clipboard.
        "\x1b]52;c;YXR0YWNrLXByb2Jl\x07",
        // Questions whose answer appears as typed input.
        "\x1b[6n",
        "\x1b[c",
        "\x1bP$q\"p\x1b\\",
        // A link whose text is not its target, the other screen, no echo of what was before.
        "\x1b]8;;http://attack-probe.invalid\x1b\\safe\x1b]8;;\x1b\\",
        "\x1b[?1049h\x1b[2J\x1b[3J\x1b[?25l",
        // The same introducers as single bytes of C1.
        "\u{9b}6n\u{9d}0;attack-probe-title\u{9c}",
    ];
    let mut out = std::io::stdout().lock();
    let all = ORDERS.join("\n") + "\n";
    out.write_all(all.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Ended { count: ORDERS.len() as u64, errno: 0, detail: "orders were written".into() })
}
