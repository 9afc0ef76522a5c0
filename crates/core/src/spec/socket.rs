//! One socket of the host, served inside a sandbox.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest name, in bytes: a file name has 255, an address of a socket 107 with its folder.
const NAME_LEN_MAX: usize = 63;

/// A unix socket of the host that a sandbox may talk to, by a socket of its own.
///
/// Nothing of the host is mounted: the guest agent listens in the sandbox, and whoever holds the sandbox connects each
/// connection to the host's socket and passes bytes. Descriptors and credentials do not pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostSocket {
    path: PathBuf,
    name: String,
}

impl HostSocket {
    /// Folder of the sandbox where its name is. The image has a link here that leads to [`HostSocket::FOLDER`].
    pub const SHOWN_FOLDER: &'static str = "/run/agentkernel";

    /// Where it really is: on a file system that is there, and can be written to, in every sandbox.
    pub const FOLDER: &'static str = "/dev/shm/.agentkernel";

    /// The socket at the absolute path `path` of the host, called `name` in the sandbox: 1 to 63 of letters, digits,
    /// `.`, `_` and `-`, beginning with a letter or digit.
    pub fn new(path: &Path, name: &str) -> Result<Self, String> {
        if !path.is_absolute() {
            return Err(format!("the host path '{}' is not an absolute path", path.display()));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !begins || name.len() > NAME_LEN_MAX || !name.bytes().all(is_plain) {
            return Err(format!(
                "'{}' is no name for a socket; use 1 to {NAME_LEN_MAX} of letters, digits, '.', '_' and '-', and begin \
                 with a letter or digit",
                name.escape_debug()
            ));
        }
        Ok(Self { path: path.to_owned(), name: name.to_owned() })
    }

    /// Where it is on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called in the sandbox.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the guest agent listens.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", Self::FOLDER, self.name)
    }
}

/// As it is written: `HOST_PATH:NAME`.
impl fmt::Display for HostSocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.path.display(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_file_name() {
        for name in ["a", "llm.sock", "A-1_b", "0"] {
            let socket = HostSocket::new(Path::new("/run/x"), name).expect("valid");
            assert_eq!(socket.place(), format!("/dev/shm/.agentkernel/{name}"));
        }
        let long = "a".repeat(NAME_LEN_MAX + 1);
        for name in ["", ".", "..", ".a", "-a", "a/b", "a b", "ä", "a\n", "a\0", &long] {
            assert!(HostSocket::new(Path::new("/run/x"), name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_host_path_is_absolute() {
        let why = HostSocket::new(Path::new("run/x"), "x").expect_err("refused");
        assert_eq!(why, "the host path 'run/x' is not an absolute path");
    }
}
