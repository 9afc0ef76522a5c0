//! The nearest valid word to one that is not.

/// The candidate that `word` was most likely meant to be, if any is near enough to be worth saying.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        // Half the word wrong is no typing mistake any more.
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(2))
        .min()
        .map(|(_, candidate)| candidate)
}

/// "unknown profile 'x'; did you mean 'y'? (one of a, b, c)".
#[must_use]
pub fn unknown(what: &str, word: &str, candidates: &[&str]) -> String {
    let all = candidates.join(", ");
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("unknown {what} '{word}'; did you mean '{near}'? (one of: {all})"),
        None => format!("unknown {what} '{word}' (one of: {all})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word_and_nonsense_finds_none() {
        let profiles = ["restrictive", "moderate", "permissive"];
        assert_eq!(nearest("restrictve", profiles), Some("restrictive"));
        assert_eq!(nearest("PERMISIVE", profiles), Some("permissive"));
        assert_eq!(nearest("xyz", profiles), None);
    }
}
