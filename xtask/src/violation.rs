//! A house rule that was broken: where, which rule, and the way out.

use std::fmt;

/// One broken rule, told to the person who must mend it.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// The crate's manifest, or `file:line`.
    pub place: String,
    pub rule: String,
    pub way_out: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.place)?;
        writeln!(f, "  rule:    {}", self.rule)?;
        write!(f, "  way out: {}", self.way_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_prints_place_rule_and_way_out() {
        let violation =
            Violation { place: "a.rs:1".into(), rule: "no x".into(), way_out: "write y instead".into() };
        assert_eq!(violation.to_string(), "error: a.rs:1\n  rule:    no x\n  way out: write y instead");
    }
}
