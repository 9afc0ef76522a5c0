//! How much is trusted to a sandbox, in a word.

use std::str::FromStr;

use crate::suggest;

/// How much is trusted to a sandbox. Isolation is the same in all; limits and users differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The default: small limits, no root.
    Restrictive,
    /// Larger limits for builds and tests, no root.
    Moderate,
    /// Large limits; root inside is allowed, with capabilities that end at the user namespace.
    Permissive,
}

impl Profile {
    /// Every profile, most restrictive first.
    pub const ALL: &'static [Self] = &[Self::Restrictive, Self::Moderate, Self::Permissive];

    /// The word that the user types.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restrictive => "restrictive",
            Self::Moderate => "moderate",
            Self::Permissive => "permissive",
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|profile| profile.as_str() == word);
        found.ok_or_else(|| suggest::unknown("profile", word, &["restrictive", "moderate", "permissive"]))
    }
}
