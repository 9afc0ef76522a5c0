//! What an attempt is, and how the system's answer becomes a verdict.

use crate::situation::Situation;
pub use crate::sys::Errno;
use crate::sys::Reply;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The attack was refused.
    Blocked,
    /// The attack worked.
    Open,
    /// The attack could not be attempted, or the answer proves nothing.
    Error,
}

impl Verdict {
    /// The word on the JSON line.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Blocked => "BLOCKED",
            Verdict::Open => "OPEN",
            Verdict::Error => "ERROR",
        }
    }
}

/// Where the positive control of an attempt may run: where it can say OPEN and do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Harmless anywhere, as root on the host too.
    Host,
    /// Harmless on the host inside pid and mount namespaces of its own.
    Namespaces,
    /// Only inside a sandbox, deliberately weakened.
    Sandbox,
}

impl Control {
    /// The word on the JSON line.
    pub fn word(self) -> &'static str {
        match self {
            Control::Host => "host",
            Control::Namespaces => "namespaces",
            Control::Sandbox => "sandbox",
        }
    }
}

/// Refusals that mean the same whatever was tried.
const REFUSED: &[Errno] = &[libc::EPERM, libc::EACCES, libc::ENOSYS];

/// One attack.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Its name, in kebab case.
    pub id: &'static str,
    /// Where its positive control may run.
    pub control: Control,
    /// What it tries, in one line.
    pub what: &'static str,
    /// Errors that the kernel gives only after the permission check: the attack would have worked.
    pub granted: &'static [Errno],
    /// Errors, beyond those that always mean it, with which this attack is refused.
    pub refused: &'static [Errno],
    /// Whether OPEN is a fact worth knowing and not a hole.
    pub informational: bool,
    /// Does it, in a child process of its own.
    pub run: fn(&Situation) -> Outcome,
}

impl Attempt {
    /// An attempt that only success proves OPEN.
    pub const fn new(
        id: &'static str,
        control: Control,
        what: &'static str,
        run: fn(&Situation) -> Outcome,
    ) -> Self {
        Attempt { id, control, what, granted: &[], refused: &[], informational: false, run }
    }

    /// The same, with errors that prove OPEN.
    pub const fn granted(mut self, granted: &'static [Errno]) -> Self {
        self.granted = granted;
        self
    }

    /// The same, with further errors that prove BLOCKED.
    pub const fn refused(mut self, refused: &'static [Errno]) -> Self {
        self.refused = refused;
        self
    }

    /// The same, as a fact that is no hole.
    pub const fn informational(mut self) -> Self {
        self.informational = true;
        self
    }

    /// What an outcome means for this attempt. The worst of several answers counts.
    pub fn judge(&self, outcome: Outcome) -> Finding {
        let answers = match outcome {
            Outcome::Known(finding) => return finding,
            Outcome::Answers(answers) => answers,
        };
        let count = answers.len();
        let findings: Vec<Finding> = answers.into_iter().map(|one| self.judge_one(one)).collect();
        worst(findings, count)
    }

    fn judge_one(&self, (target, answer): (String, Answer)) -> Finding {
        let colon = if target.is_empty() { "" } else { ": " };
        let errno = match answer {
            Ok(detail) => return Finding::new(Verdict::Open, 0, format!("{target}{colon}{detail}")),
            Err(errno) => errno,
        };
        let words = std::io::Error::from_raw_os_error(errno);
        if self.granted.contains(&errno) {
            let detail = format!("{target}{colon}permission was granted: only then comes {words}");
            return Finding::new(Verdict::Open, errno, detail);
        }
        let is_refusal = REFUSED.contains(&errno) || self.refused.contains(&errno);
        let verdict = if is_refusal { Verdict::Blocked } else { Verdict::Error };
        Finding::new(verdict, errno, format!("{target}{colon}{words}"))
    }
}

/// How many targets the detail names.
const NAMED_MAX: usize = 4;

fn worst(findings: Vec<Finding>, count: usize) -> Finding {
    let has = |verdict| findings.iter().any(|one| one.verdict == verdict);
    let verdict = if has(Verdict::Open) {
        Verdict::Open
    } else if has(Verdict::Error) || findings.is_empty() {
        Verdict::Error
    } else {
        Verdict::Blocked
    };
    let of_verdict: Vec<Finding> = findings.into_iter().filter(|one| one.verdict == verdict).collect();
    let Some(first) = of_verdict.first() else { return Finding::error("there was nothing to try") };
    let named: Vec<&str> = of_verdict.iter().take(NAMED_MAX).map(|one| one.detail.as_str()).collect();
    let total = if count > 1 { format!("{} of {count}: ", of_verdict.len()) } else { String::new() };
    Finding::new(verdict, first.errno, format!("{total}{}", named.join("; ")))
}

/// What the system said about one target: what was gained, or the errno of the refusal.
pub type Answer = Result<String, Errno>;

/// What running an attempt brought.
#[derive(Debug)]
pub enum Outcome {
    /// A verdict that needs no list of errors.
    Known(Finding),
    /// Answers by target, to be judged by the attempt's lists.
    Answers(Vec<(String, Answer)>),
}

impl Outcome {
    /// The attack worked.
    pub fn open(detail: impl Into<String>) -> Self {
        Outcome::Known(Finding::new(Verdict::Open, 0, detail))
    }

    /// The attack was refused.
    pub fn blocked(errno: Errno, detail: impl Into<String>) -> Self {
        Outcome::Known(Finding::new(Verdict::Blocked, errno, detail))
    }

    /// The attack could not be attempted.
    pub fn error(detail: impl Into<String>) -> Self {
        Outcome::Known(Finding::error(detail))
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Outcome::Answers(vec![(String::new(), answer)])
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        answer(reply).into()
    }
}

/// A raw reply as an answer.
pub fn answer(reply: Reply) -> Answer {
    reply.map(|value| format!("the call returned {value}"))
}

/// The errno of an I/O error; 0, which is no refusal, where it has none.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().unwrap_or(0)
}

/// What is printed about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What came of it.
    pub verdict: Verdict,
    /// Why, as the kernel says it; 0 where it gave no error.
    pub errno: Errno,
    /// Why, for a person.
    pub detail: String,
}

impl Finding {
    /// A finding.
    pub fn new(verdict: Verdict, errno: Errno, detail: impl Into<String>) -> Self {
        Finding { verdict, errno, detail: detail.into() }
    }

    /// A finding that proves nothing.
    pub fn error(detail: impl Into<String>) -> Self {
        Finding::new(Verdict::Error, 0, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt =
        Attempt::new("a", Control::Host, "b", |_| Outcome::open("c")).granted(&[libc::ENOENT]).refused(&[9]);

    fn verdict(answers: Vec<(String, Answer)>) -> Verdict {
        ATTEMPT.judge(Outcome::Answers(answers)).verdict
    }

    fn one(answer: Answer) -> Vec<(String, Answer)> {
        vec![("target".into(), answer)]
    }

    #[test]
    fn success_and_errors_behind_the_permission_check_are_open() {
        assert_eq!(verdict(one(Ok("in".into()))), Verdict::Open);
        assert_eq!(verdict(one(Err(libc::ENOENT))), Verdict::Open);
    }

    #[test]
    fn only_known_refusals_are_blocked() {
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS, 9] {
            assert_eq!(verdict(one(Err(errno))), Verdict::Blocked);
        }
        for errno in [0, libc::EINVAL, libc::EFAULT] {
            assert_eq!(verdict(one(Err(errno))), Verdict::Error);
        }
    }

    #[test]
    fn the_worst_of_several_answers_counts_and_none_is_an_error() {
        let refused = || ("a".to_owned(), Err(libc::EPERM));
        let unknown = || ("b".to_owned(), Err(libc::EIO));
        assert_eq!(verdict(vec![refused(), unknown()]), Verdict::Error);
        assert_eq!(verdict(vec![refused(), unknown(), ("c".into(), Ok("in".into()))]), Verdict::Open);
        assert_eq!(verdict(vec![]), Verdict::Error);
    }
}
