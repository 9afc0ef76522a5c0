//! The name of a sandbox.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is safe as a file name, a host name, a cgroup and a word on any command line:
/// `^[a-z0-9][a-z0-9-]{0,62}$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxName(String);

impl SandboxName {
    /// A name from 64 random bits: `ak-` and sixteen hexadecimal digits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(format!("ak-{bits:016x}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a sandbox name; use 1 to 63 of a-z, 0-9 and '-', not beginning with '-'"
            ))
        }
    }
}

impl TryFrom<String> for SandboxName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SandboxName> for String {
    fn from(name: SandboxName) -> Self {
        name.0
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_a_path_an_option_or_a_newline() {
        for wrong in ["", ".", "..", "../evil", "-v", "a/b", "A", "a b", "a\n", "ä", &"a".repeat(64)] {
            assert!(wrong.parse::<SandboxName>().is_err(), "{wrong:?}");
        }
        for right in ["a", "0", "my-sandbox-1", &"a".repeat(63)] {
            assert!(right.parse::<SandboxName>().is_ok(), "{right:?}");
        }
        assert!(SandboxName::from_random(u64::MAX).as_str().parse::<SandboxName>().is_ok());
    }
}
