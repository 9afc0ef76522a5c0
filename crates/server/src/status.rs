//! Which HTTP status each kind of failure has: the only place that knows status codes.

use agentkernel_api::ErrorKind;
use axum::http::StatusCode;

/// The status of a failure. A command that fails is no failure of ours: its exit code is in a reply with status 200.
pub fn of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Usage | ErrorKind::CommandRefused => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound | ErrorKind::NoSuchSandbox => StatusCode::NOT_FOUND,
        ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::Conflict | ErrorKind::NameTaken => StatusCode::CONFLICT,
        ErrorKind::Gone | ErrorKind::SandboxGone => StatusCode::GONE,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::WarmUp
        | ErrorKind::CommandNotFound
        | ErrorKind::CommandNotExecutable
        | ErrorKind::Trapped
        | ErrorKind::File => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::NotSupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::ProtocolBroken => StatusCode::BAD_GATEWAY,
        ErrorKind::Unavailable | ErrorKind::ControlRefused | ErrorKind::Stopping => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::StoreFailed => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Boot | ErrorKind::Cleanup | ErrorKind::Host | ErrorKind::Internal | ErrorKind::Other => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
