//! What a rule is.

use std::fmt;
use std::pin::Pin;

use super::context::Context;

/// One sentence of the contract, and the function that tries to break it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Group and name, the same for ever: `streams.stdout_and_stderr_are_separate`.
    pub name: &'static str,
    /// The sentence.
    pub proves: &'static str,
    pub(crate) needs: Needs,
    pub(crate) check: Check,
}

/// What a backend must have for a rule to apply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Terminal,
    Boundary,
    /// A boundary that shares the host's kernel, whose namespaces can be compared with the host's.
    SharedKernel,
    UidBlocks,
    Memory,
    Cpus,
    Pids,
    ResizeMemory,
    ResizeCpus,
    Pause,
    Adopt,
    PauseAndAdopt,
    Snapshots,
    WarmUp,
}

/// A rule's function. It is done when the rule holds.
pub type Check = for<'a> fn(&'a Context<'a>) -> Pin<Box<dyn Future<Output = Kept> + Send + 'a>>;

/// Whether a rule was kept.
pub type Kept = Result<(), Broken>;

/// Why a rule does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

impl From<agentkernel_core::Error> for Broken {
    fn from(error: agentkernel_core::Error) -> Self {
        Self(format!("{error} ({:?})", error.kind))
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(format!("the suite itself: {error}"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A rule of the table: `rule!("group.name", Needs::Nothing, function, "The sentence.")`.
macro_rules! rule {
    ($name:literal, $needs:expr, $check:path, $proves:literal) => {
        $crate::conformance::Rule {
            name: $name,
            proves: $proves,
            needs: $needs,
            check: |context| Box::pin($check(context)),
        }
    };
}

/// Leaves the rule as broken, with the reason, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Broken(format!($($reason)+)));
        }
    };
}

pub(super) use {ensure, rule};

/// Leaves the rule as broken unless both are the same.
#[expect(clippy::needless_pass_by_value, reason = "called in a hundred places, and reads best so")]
pub fn same<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Kept {
    ensure!(found == expected, "{what}: found {found:?}, expected {expected:?}");
    Ok(())
}

/// The same for bytes, of which only the first difference is told.
pub fn same_bytes(what: &str, found: &[u8], expected: &[u8]) -> Kept {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let near = |bytes: &[u8]| {
        let part = bytes.get(at..bytes.len().min(at + 24)).unwrap_or_default();
        format!("\"{}\"", part.escape_ascii())
    };
    Err(Broken(format!(
        "{what}: {} bytes, expected {}; the first difference is at byte {at}: found {}, expected {}",
        found.len(),
        expected.len(),
        near(found),
        near(expected),
    )))
}
