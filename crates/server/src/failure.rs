//! Why a request was not fulfilled.

use std::fmt::Display;
use std::time::Duration;

use agentkernel_api as api;
use agentkernel_api::ErrorKind;
use agentkernel_core as core;
use axum::response::{IntoResponse, Response};

use crate::status;

/// What a handler returns.
pub type Outcome<T> = Result<T, Failure>;

/// What failed, on what, why, and the way out; it becomes the body of the reply.
#[derive(Debug, Clone)]
pub struct Failure {
    /// For decisions, the status among them.
    pub kind: ErrorKind,
    /// The words.
    pub error: Box<core::Error>,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
    /// The sandbox that has ended.
    pub sandbox: Option<Box<api::Sandbox>>,
}

impl Failure {
    /// A failure without subject and hint.
    pub fn new(kind: ErrorKind, what: &str, why: impl Display) -> Self {
        // The kind of the inner error is not looked at: it carries the words.
        let error = core::Error::new(core::ErrorKind::Internal, what, why);
        Self { kind, error: Box::new(error), retry_after: None, sandbox: None }
    }

    /// A wrong request.
    pub fn usage(place: impl Display, why: impl Display) -> Self {
        Self::new(ErrorKind::Usage, "read the request", why).on(place)
    }

    /// A limit that is reached.
    pub fn busy(what: &str, why: impl Display) -> Self {
        let soon = Duration::from_secs(1);
        Self { retry_after: Some(soon), ..Self::new(ErrorKind::Busy, what, why) }
    }

    /// A sandbox that its owner does not have.
    pub fn no_such_sandbox(word: &str) -> Self {
        Self::new(ErrorKind::NoSuchSandbox, "find the sandbox", "you have none of that name").on(word)
    }

    /// A sandbox that has ended.
    pub fn gone(sandbox: &api::Sandbox) -> Self {
        let cause = sandbox.cause.map_or("it is being taken down".into(), |cause| {
            let detail = sandbox.detail.as_deref().filter(|detail| !detail.is_empty());
            detail
                .map_or(format!("it has ended: {cause}"), |detail| format!("it has ended: {cause}, {detail}"))
        });
        let failure = Self::new(ErrorKind::Gone, "use the sandbox", cause).on(&sandbox.name);
        Self { sandbox: Some(Box::new(sandbox.clone())), ..failure }
    }

    /// The daemon takes no more requests.
    pub fn stopping() -> Self {
        Self::new(ErrorKind::Stopping, "make the sandbox", "the daemon is being stopped")
    }

    /// A part of the daemon is not there any more, which only its end can explain.
    pub fn internal(why: impl Display) -> Self {
        Self::new(ErrorKind::Internal, "answer the request", why)
    }

    /// Names the thing that it happened to.
    #[must_use]
    pub fn on(mut self, subject: impl Display) -> Self {
        self.error = Box::new(self.error.on(subject));
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error = Box::new(self.error.hint(hint));
        self
    }

    /// What the client is told.
    pub fn told(&self, request_id: &str) -> api::Error {
        let core::Error { what, subject, why, hint, .. } = *self.error.clone();
        let (kind, request_id) = (self.kind, request_id.to_owned());
        api::Error { kind, what, subject, why, hint, request_id, sandbox: self.sandbox.clone() }
    }
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Self {
        Self { kind: kind_of(error.kind), error: Box::new(error), retry_after: None, sandbox: None }
    }
}

/// The outermost layer writes the body, for it knows the request's id.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = status::of(self.kind).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn kind_of(kind: core::ErrorKind) -> ErrorKind {
    match kind {
        core::ErrorKind::Usage => ErrorKind::Usage,
        core::ErrorKind::Unavailable => ErrorKind::Unavailable,
        core::ErrorKind::NotSupported => ErrorKind::NotSupported,
        core::ErrorKind::ControlRefused => ErrorKind::ControlRefused,
        core::ErrorKind::Boot => ErrorKind::Boot,
        core::ErrorKind::WarmUp => ErrorKind::WarmUp,
        core::ErrorKind::NoSuchSandbox => ErrorKind::NoSuchSandbox,
        core::ErrorKind::NoSuchSnapshot => ErrorKind::NotFound,
        core::ErrorKind::NameTaken => ErrorKind::NameTaken,
        core::ErrorKind::CommandNotFound => ErrorKind::CommandNotFound,
        core::ErrorKind::CommandNotExecutable => ErrorKind::CommandNotExecutable,
        core::ErrorKind::CommandRefused => ErrorKind::CommandRefused,
        core::ErrorKind::Trapped => ErrorKind::Trapped,
        core::ErrorKind::File => ErrorKind::File,
        core::ErrorKind::SandboxGone => ErrorKind::SandboxGone,
        core::ErrorKind::ProtocolBroken => ErrorKind::ProtocolBroken,
        core::ErrorKind::Timeout => ErrorKind::Timeout,
        core::ErrorKind::Cleanup => ErrorKind::Cleanup,
        core::ErrorKind::Host => ErrorKind::Host,
        core::ErrorKind::Internal => ErrorKind::Internal,
    }
}
