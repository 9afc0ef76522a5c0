//! The posture of a live sandbox: each control as it should be and as the host sees it.

use serde::{Deserialize, Serialize};

/// One control, read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Stable name: `capabilities.effective`, `namespace.net`, `limit.memory`.
    pub name: String,
    /// What it must be.
    pub expected: String,
    /// What the host reads.
    pub actual: String,
    /// Whether they agree.
    pub held: bool,
}

impl Control {
    /// A control that must have exactly this value.
    #[must_use]
    pub fn exact(name: &str, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        let (expected, actual) = (expected.into(), actual.into());
        Self { name: name.into(), held: expected == actual, expected, actual }
    }

    /// A control whose value was judged by its own rule; `expected` says the rule in words.
    #[must_use]
    pub fn judged(name: &str, expected: impl Into<String>, actual: impl Into<String>, held: bool) -> Self {
        Self { name: name.into(), expected: expected.into(), actual: actual.into(), held }
    }
}

/// All controls of one live sandbox, read from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// The controls, each explained in docs/security-posture.md.
    pub controls: Vec<Control>,
}

impl Posture {
    /// The controls that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Control> {
        self.controls.iter().filter(|control| !control.held)
    }

    /// Whether every control holds. A posture without controls proves nothing, so it does not hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.controls.is_empty() && self.broken().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_posture_proves_nothing() {
        assert!(!Posture::default().holds());
    }
}
