//! The languages, and the words with which their interpreters run code.

use std::fmt;
use std::str::FromStr;

use agentkernel_core::unknown;

use crate::{javascript, python};

/// A language that there is an interpreter of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// JavaScript, by QuickJS-ng.
    Js,
    /// Python, by CPython.
    Python,
}

/// What is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code<'a> {
    /// The code; without it, it is what comes on standard input.
    pub text: Option<&'a str>,
    /// Whether the value of its last expression is printed.
    pub print: bool,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Js, Self::Python];

    /// Its word on a command line, which is also the name of its files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Js => "js",
            Self::Python => "python",
        }
    }

    /// What its interpreter takes, after its own name.
    #[must_use]
    pub fn arguments(self, code: &Code<'_>) -> Vec<String> {
        let mode = if code.print { "-p" } else { "-e" };
        let before: &[&str] = match self {
            Self::Js => &[],
            Self::Python => python::BEFORE_CODE,
        };
        let words = before.iter().copied().chain([mode]).chain(code.text);
        words.map(str::to_owned).collect()
    }

    /// What its interpreter is made of, as a digest: another one means that it has to be made anew.
    pub(crate) fn recipe(self) -> String {
        match self {
            Self::Js => javascript::recipe(),
            Self::Python => python::SHA256.to_owned(),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|language| language.as_str() == word);
        known.ok_or_else(|| unknown("language", word, &Self::ALL.map(Self::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_one_word_whatever_it_is() {
        let code = Code { text: Some("-p 'x'"), print: false };
        assert_eq!(Language::Js.arguments(&code), ["-e", "-p 'x'"]);
        assert_eq!(Language::Js.arguments(&Code { text: None, print: true }), ["-p"]);
        let words = Language::Python.arguments(&code);
        assert_eq!(words[..4], ["-I", "-S", "-B", "-c"]);
        assert_eq!(words[5..], ["-e", "-p 'x'"]);
    }

    #[test]
    fn a_language_is_read_by_its_word() {
        for language in Language::ALL {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        let why = "pyhton".parse::<Language>().expect_err("unknown");
        assert_eq!(why, "unknown language 'pyhton'; did you mean 'python'? (one of: js, python)");
    }
}
