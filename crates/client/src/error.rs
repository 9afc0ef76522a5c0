//! Why the daemon did not do what it was asked.

use std::fmt::{self, Display};
use std::io;

use agentkernel_api as api;
use agentkernel_core as core;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the daemon did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No daemon answers there: nothing was asked of anybody.
    NoDaemon(Box<core::Error>),
    /// The daemon refused, in its own words.
    Refused(Box<api::Error>),
    /// What came back was no answer. The request may have begun, and may go on.
    Broken(Box<core::Error>),
}

impl Error {
    pub(crate) fn no_daemon(place: impl Display, why: &io::Error) -> Self {
        let (why, hint) = match why.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ("no daemon is running".to_owned(), "start one with: agentkernel serve --detach")
            }
            io::ErrorKind::WouldBlock => (
                "the daemon does not take connections".to_owned(),
                "it is busy or stopped; its log may say more",
            ),
            io::ErrorKind::PermissionDenied => {
                ("it is another user's".to_owned(), "set AGENTKERNEL_HOME to a folder of your own")
            }
            _ => (why.to_string(), "start one with: agentkernel serve --detach"),
        };
        let error = core::Error::new(core::ErrorKind::Unavailable, "reach the daemon", why).on(place);
        Self::NoDaemon(Box::new(error.hint(hint)))
    }

    pub(crate) fn broken(what: &str, why: impl Display) -> Self {
        let error = core::Error::new(core::ErrorKind::Host, what, why);
        Self::Broken(Box::new(
            error.hint("see the daemon's log; agentkernel ps -a says what became of its sandboxes"),
        ))
    }

    pub(crate) fn late(what: &str, deadline: std::time::Duration) -> Self {
        let why = format!("the daemon has not answered within {deadline:?}");
        Self::Broken(Box::new(core::Error::new(core::ErrorKind::Timeout, what, why)))
    }

    /// The kind that the daemon named, if it answered.
    #[must_use]
    pub fn kind(&self) -> Option<api::ErrorKind> {
        match self {
            Self::Refused(error) => Some(error.kind),
            Self::NoDaemon(_) | Self::Broken(_) => None,
        }
    }

    /// Whether it is certain that nothing was begun because there is no daemon, or it is about to end: what was asked
    /// may then be asked elsewhere.
    #[must_use]
    pub fn has_not_begun(&self) -> bool {
        matches!(self, Self::NoDaemon(_)) || self.kind() == Some(api::ErrorKind::Stopping)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(error) | Self::Broken(error) => error.fmt(out),
            Self::Refused(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoDaemon(error) | Error::Broken(error) => *error,
            Error::Refused(error) => from_api(*error),
        }
    }
}

fn from_api(error: api::Error) -> core::Error {
    let api::Error { kind, what, subject, why, hint, .. } = error;
    core::Error { kind: kind_of(kind), what, subject, why, hint }
}

/// The nearest kind of our own: what differs is told by the words.
fn kind_of(kind: api::ErrorKind) -> core::ErrorKind {
    use api::ErrorKind as Api;
    use core::ErrorKind as Core;
    match kind {
        Api::Usage => Core::Usage,
        Api::Unavailable | Api::Busy | Api::Stopping | Api::StoreFailed => Core::Unavailable,
        Api::NotSupported | Api::MethodNotAllowed | Api::WrongType => Core::NotSupported,
        Api::ControlRefused => Core::ControlRefused,
        Api::Boot => Core::Boot,
        Api::WarmUp => Core::WarmUp,
        Api::NoSuchSandbox | Api::NotFound => Core::NoSuchSandbox,
        Api::NameTaken => Core::NameTaken,
        Api::CommandNotFound => Core::CommandNotFound,
        Api::CommandNotExecutable => Core::CommandNotExecutable,
        Api::CommandRefused | Api::Conflict | Api::TooLarge => Core::CommandRefused,
        Api::Trapped => Core::Trapped,
        Api::File => Core::File,
        Api::SandboxGone | Api::Gone => Core::SandboxGone,
        Api::ProtocolBroken => Core::ProtocolBroken,
        Api::Timeout => Core::Timeout,
        Api::Cleanup => Core::Cleanup,
        Api::Unauthorized | Api::Forbidden | Api::Host => Core::Host,
        Api::Internal | Api::Other => Core::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: api::ErrorKind) -> Error {
        Error::Refused(Box::new(api::Error {
            kind,
            what: "make the sandbox".into(),
            subject: "x".into(),
            why: "because".into(),
            hint: Some("try".into()),
            request_id: String::new(),
            sandbox: None,
        }))
    }

    #[test]
    fn the_daemons_words_arrive() {
        let error = core::Error::from(refused(api::ErrorKind::NameTaken));
        assert_eq!(
            (error.to_string().as_str(), error.hint.as_deref()),
            ("make the sandbox: x: because", Some("try"))
        );
        assert_eq!(error.kind, core::ErrorKind::NameTaken);
    }

    #[test]
    fn only_what_cannot_have_begun_may_be_asked_elsewhere() {
        assert!(Error::no_daemon("there", &io::ErrorKind::ConnectionRefused.into()).has_not_begun());
        assert!(refused(api::ErrorKind::Stopping).has_not_begun());
        assert!(!refused(api::ErrorKind::Busy).has_not_begun());
        assert!(!refused(api::ErrorKind::Boot).has_not_begun());
        assert!(!Error::broken("run the command", "reset").has_not_begun());
    }
}
