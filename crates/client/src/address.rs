//! Where the daemon is.

use std::fmt;
use std::path::PathBuf;

/// Where the daemon is, and by what it knows us.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of this host; the daemon sees who we are.
    Unix(PathBuf),
    /// TCP, with a token.
    Tcp {
        /// `HOST:PORT`.
        host: String,
        /// The secret that stands for its owner.
        token: String,
    },
}

impl Address {
    /// What the daemon is called in requests.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp { host, .. } => host,
        }
    }

    /// The value of the header by which it knows us.
    pub(crate) fn authorization(&self) -> Option<String> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { token, .. } => Some(format!("Bearer {token}")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(out),
            Self::Tcp { host, .. } => out.write_str(host),
        }
    }
}

impl fmt::Debug for Address {
    /// Without the token.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let address = Address::Tcp { host: "127.0.0.1:80".into(), token: "secret".into() };
        assert!(!format!("{address} {address:?}").contains("secret"));
    }
}
