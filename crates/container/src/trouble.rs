//! What goes wrong with an engine, in words for whoever must act.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use agentkernel_core::{Availability, BackendKind, Error, ErrorKind};
use agentkernel_http::StatusCode;

use agentkernel_http::NoAnswer;

/// Why an engine cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// What is missing, in one sentence.
    pub(crate) needs: String,
    /// What provides it.
    pub(crate) hint: String,
}

impl Unusable {
    pub(crate) fn error(self, kind: BackendKind) -> Error {
        Error::new(ErrorKind::Unavailable, "start the sandbox", format!("it needs {}", self.needs))
            .on(kind)
            .hint(self.hint)
    }
}

impl From<Unusable> for Availability {
    fn from(Unusable { needs, hint }: Unusable) -> Self {
        Self::Unavailable { needs, hint }
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing was heard.
    NoAnswer(NoAnswer),
    /// The engine said no.
    Refused { status: StatusCode, message: String },
}

impl From<NoAnswer> for Trouble {
    fn from(why: NoAnswer) -> Self {
        Self::NoAnswer(why)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(why) => why.fmt(out),
            Self::Refused { status, message } => write!(out, "{message} ({})", status.as_u16()),
        }
    }
}

impl Trouble {
    pub(crate) fn is(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// Whether the image is not there; of Podman's own API in words alone, too.
    pub(crate) fn is_no_image(&self) -> bool {
        self.is(StatusCode::NOT_FOUND)
            || matches!(self, Self::Refused { message, .. } if message.contains("image not known"))
    }

    /// Whether somebody has the name already; Podman says so in words alone.
    pub(crate) fn is_conflict(&self) -> bool {
        self.is(StatusCode::CONFLICT)
            || matches!(self, Self::Refused { message, .. } if message.contains("is already in use by"))
    }

    /// Whether what was asked about is not there. Podman says so in the words of its database, too, of what it is just removing.
    pub(crate) fn is_gone(&self) -> bool {
        self.is(StatusCode::NOT_FOUND)
            || matches!(self, Self::Refused { message, .. } if message.contains("no such container"))
    }

    /// As an error of what was being done.
    pub(crate) fn error(self, engine: &Known, what: &str) -> Error {
        match self {
            Self::NoAnswer(NoAnswer::Unreachable(why)) => unreachable(engine, &why).error(engine.kind),
            Self::NoAnswer(why) => Error::new(ErrorKind::Boot, what, why).on(engine.kind),
            Self::Refused { .. } => Error::new(ErrorKind::Boot, what, self).on(engine.kind),
        }
    }
}

/// What is known of an engine without asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) kind: BackendKind,
    /// Whether its program is installed.
    pub(crate) is_installed: bool,
    pub(crate) socket: PathBuf,
}

impl Known {
    pub(crate) fn new(kind: BackendKind, is_installed: bool, socket: &Path) -> Self {
        Self { kind, is_installed, socket: socket.to_owned() }
    }
}

/// Why nobody answers on the socket.
pub(crate) fn unreachable(engine: &Known, why: &io::Error) -> Unusable {
    let Known { kind, is_installed, socket } = engine;
    let socket = socket.display();
    let (install, start, join) = match kind {
        BackendKind::Podman => (
            "apt-get install podman",
            "systemctl start podman.socket",
            "use your own: systemctl --user start podman.socket",
        ),
        _ => (
            "apt-get install docker.io",
            "systemctl start docker",
            "become root, or join its group, which makes you root's equal: usermod -aG docker USER",
        ),
    };
    match why.kind() {
        io::ErrorKind::PermissionDenied => Unusable {
            needs: format!("permission to use {socket}, which this user does not have"),
            hint: join.into(),
        },
        _ if !is_installed => Unusable {
            needs: format!("{kind}, which is not installed (nobody listens on {socket})"),
            hint: install.into(),
        },
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Unusable {
            needs: format!("a running {kind} engine, and nobody listens on {socket}"),
            hint: start.into(),
        },
        _ => Unusable { needs: format!("a running {kind} engine on {socket}: {why}"), hint: start.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_for_silence_has_its_own_way_out() {
        let told = |is_installed, kind: io::ErrorKind| {
            let engine = Known::new(BackendKind::Docker, is_installed, Path::new("/run/d.sock"));
            unreachable(&engine, &kind.into()).hint
        };
        assert!(told(false, io::ErrorKind::NotFound).contains("apt-get install"));
        assert!(told(true, io::ErrorKind::NotFound).contains("systemctl start"));
        assert!(told(true, io::ErrorKind::ConnectionRefused).contains("systemctl start"));
        for is_installed in [true, false] {
            assert!(told(is_installed, io::ErrorKind::PermissionDenied).contains("group"));
        }
    }
}
