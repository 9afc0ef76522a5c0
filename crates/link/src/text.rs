//! Words of the guest, made fit for a person's terminal.

use std::io;

/// Longest piece of a guest's text that is passed on, in characters.
const LEN_MAX: usize = 500;

/// The text without what a terminal would obey instead of showing, and of bounded length.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    let mut safe: String = text.chars().take(LEN_MAX).map(shown).collect();
    if text.chars().nth(LEN_MAX).is_some() {
        safe.push('…');
    }
    safe
}

/// Characters that reorder or hide what stands around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Bytes that are mostly text: a path, a program's name.
pub(crate) fn printable_bytes(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// What the kernel means by an errno, in its own words and without the number.
pub(crate) fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_by_a_guest() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d\u{9b}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(printable("größe 日本"), "größe 日本");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(printable(&"ä".repeat(LEN_MAX)).chars().count(), LEN_MAX);
        let cut = printable(&"ä".repeat(LEN_MAX + 1));
        assert!(cut.ends_with('…') && cut.chars().count() == LEN_MAX + 1);
    }

    #[test]
    fn an_errno_becomes_words() {
        assert_eq!(errno_text(2), "No such file or directory");
        assert!(errno_text(-7).contains("-7"));
    }
}
