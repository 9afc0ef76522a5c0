//! What has to notice a fault.

use super::Fault;

/// That a fault is noticed: by which rule, in which words.
#[derive(Debug, Clone, Copy)]
pub struct Expectation {
    /// What is done wrong.
    pub fault: Fault,
    /// The rule that must be broken by it.
    pub rule: &'static str,
    /// Words in the reason, so that a rule is not believed that is broken for another reason.
    pub found: &'static str,
}

pub const fn expect(fault: Fault, rule: &'static str, found: &'static str) -> Expectation {
    Expectation { fault, rule, found }
}
