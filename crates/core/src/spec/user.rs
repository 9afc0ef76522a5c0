//! As whom the processes of a sandbox run.

use std::fmt;
use std::str::FromStr;

/// As whom processes run inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

impl User {
    /// The user of every sandbox unless another is named: 65532, "nonroot" by the convention of
    /// distroless images.
    pub const SANDBOX: Self = Self { uid: 65532, gid: 65532 };
    /// The superuser of the sandbox's own user namespace.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

impl fmt::Display for User {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.uid, self.gid)
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a user; write UID, UID:GID or root (ids 0 to 65535)");
        if text == "root" {
            return Ok(Self::ROOT);
        }
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        let id = |word: &str| word.parse::<u16>().map(u32::from).map_err(|_| wrong());
        Ok(Self { uid: id(uid)?, gid: id(gid)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_inside_the_mapped_range() {
        assert_eq!("1000:100".parse(), Ok(User { uid: 1000, gid: 100 }));
        assert_eq!("root".parse(), Ok(User::ROOT));
        for wrong in ["", "-1", "65536", "1000:", "alice", "1:2:3"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong}");
        }
    }
}
