//! Which version of the `container` program can do what.

use std::fmt;

/// A version of the program. Its authors number releases `MAJOR.MINOR.PATCH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl Version {
    /// That version.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The version in what `container --version` prints: `container CLI version 1.2.2 (build: release, commit: 8a9e3f1)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_once("version ")?.1.split_whitespace().next()?;
        let mut numbers = word.splitn(3, '.');
        let mut number = || numbers.next()?.parse().ok();
        Some(Self { major: number()?, minor: number()?, patch: number()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Something that the program learnt, and when: read in the source of each of its releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feature {
    /// As it is written on its command line.
    pub(crate) words: &'static str,
    /// What of a sandbox needs it.
    pub(crate) field: &'static str,
    pub(crate) since: Version,
}

/// What every sandbox needs, the youngest last. Everything else that is asked of the program is in 0.5.0 and older, or
/// in none of these.
pub(crate) const NEEDED: [Feature; 4] = [
    Feature { words: "--network none", field: "network none", since: Version::new(0, 6, 0) },
    Feature { words: "--read-only", field: "a read-only root", since: Version::new(0, 8, 0) },
    Feature { words: "--ulimit", field: "limits of a process", since: Version::new(0, 9, 0) },
    Feature { words: "--cap-drop", field: "no capabilities", since: Version::new(0, 12, 0) },
];

/// Needed where `/dev/shm` is to be smaller than the 64 MiB that it has by itself.
pub(crate) const SHM_SIZE: Feature =
    Feature { words: "--shm-size", field: "the size of /dev/shm", since: Version::new(1, 0, 0) };

/// The youngest feature that this version lacks, if it lacks any.
pub(crate) fn missing(version: Version) -> Option<Feature> {
    NEEDED.into_iter().rev().find(|feature| version < feature.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_where_it_is_printed_and_nothing_else_is_one() {
        let text = "container CLI version 1.2.2 (build: release, commit: 8a9e3f1)\n";
        assert_eq!(Version::parse(text), Some(Version::new(1, 2, 2)));
        assert!(
            Version::new(0, 12, 3) < Version::new(1, 0, 0) && Version::new(0, 9, 0) < Version::new(0, 12, 0)
        );
        for wrong in
            ["", "container", "version", "version x.y.z", "version 1.2", "version 1.2.x", "version 1.-2.3"]
        {
            assert_eq!(Version::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_old_version_lacks_the_youngest_of_what_it_has_not_yet() {
        let lacks = |version| missing(version).map(|feature| feature.words);
        assert_eq!(lacks(Version::new(0, 5, 0)), Some("--cap-drop"));
        assert_eq!(lacks(Version::new(0, 11, 9)), Some("--cap-drop"));
        assert_eq!(lacks(Version::new(0, 12, 0)), None);
        assert_eq!(lacks(Version::new(1, 2, 2)), None);
        assert!(NEEDED.windows(2).all(|pair| pair[0].since < pair[1].since), "the youngest last");
    }
}
