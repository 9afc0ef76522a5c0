//! A value of the command line that is one of some words: completed by shells, and corrected by us.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

/// Reads a value with `parse`, whose error names the nearest valid word; shells are told the `words`.
#[derive(Debug, Clone)]
pub struct OneOf<T: 'static> {
    words: &'static [&'static str],
    parse: fn(&str) -> Result<T, String>,
}

impl<T> OneOf<T> {
    /// One of these words.
    pub fn new(words: &'static [&'static str], parse: fn(&str) -> Result<T, String>) -> Self {
        Self { words, parse }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for OneOf<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        TypedValueParser::parse_ref(&self.parse, command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use agentkernel_core::{BackendKind, Profile};

    use crate::cli::flags::{BACKENDS, PROFILES};

    #[test]
    fn every_word_that_is_offered_is_one_that_exists() {
        let profiles: Vec<_> = Profile::ALL.iter().map(|profile| profile.as_str()).collect();
        assert_eq!(PROFILES, profiles);
        let backends: Vec<_> = BackendKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(BACKENDS[0], "auto");
        assert_eq!(BACKENDS[1..], backends);
    }
}
