//! A command, as text.

use crate::digits::{bytes, digits};

/// What is run: program and arguments, variables as `NAME=value`, the folder, and whether there is stdin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Its folder.
    pub cwd: Vec<u8>,
    /// Whether its stdin can be asked for.
    pub has_stdin: bool,
    /// Program and arguments; never none.
    pub argv: Vec<Vec<u8>>,
    /// Its variables.
    pub env: Vec<Vec<u8>>,
}

impl Words {
    /// As text: folder, stdin, number of words, words, variables, each ended by a zero, as digits. None has a zero in it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = Vec::new();
        let stdin: &[u8] = if self.has_stdin { b"stdin" } else { b"" };
        let count = self.argv.len().to_string();
        let head = [&self.cwd[..], stdin, count.as_bytes()];
        for word in head.into_iter().chain(self.argv.iter().chain(&self.env).map(Vec::as_slice)) {
            text.extend_from_slice(word);
            text.push(0);
        }
        digits(&text)
    }

    /// Reads such a text; `None` of another.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = bytes(text.as_bytes())?;
        let mut words = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let cwd = words.next()?;
        let has_stdin = words.next()? == b"stdin";
        let count: usize = std::str::from_utf8(&words.next()?).ok()?.parse().ok()?;
        let argv: Vec<_> = words.by_ref().take(count).collect();
        let env: Vec<_> = words.collect();
        let is_whole = count > 0 && argv.len() == count && env.iter().all(|one| one.contains(&b'='));
        is_whole.then_some(Self { cwd, has_stdin, argv, env })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_text_and_back_and_nothing_else_is() {
        let word = |text: &str| text.as_bytes().to_vec();
        let words = Words {
            cwd: word("/tmp"),
            has_stdin: true,
            argv: vec![word("echo"), word(""), vec![0xff]],
            env: vec![word("A=1=2"), word("B=")],
        };
        assert_eq!(Words::parse(&words.to_text()), Some(words.clone()));
        let none = Words { argv: Vec::new(), ..words.clone() };
        assert_eq!(Words::parse(&none.to_text()), None);
        let nameless = Words { env: vec![word("A")], ..words.clone() };
        assert_eq!(Words::parse(&nameless.to_text()), None);
        let text = words.to_text();
        for cut in 0..text.len() {
            drop(Words::parse(&text[..cut])); // whatever it is, it is no panic
        }
        assert_eq!((Words::parse(""), Words::parse("00"), Words::parse("g")), (None, None, None));
    }
}
