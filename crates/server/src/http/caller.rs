//! Who asks.

use std::net::SocketAddr;
use std::sync::Arc;

use agentkernel_api::ErrorKind;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;

use crate::failure::{Failure, Outcome};
use crate::metrics;
use crate::tokens::Tokens;

/// How a request came, as its connection knows it.
#[derive(Clone)]
pub enum Way {
    /// Over the unix socket, from a process of this user, who is the daemon's or root.
    Socket {
        /// The user.
        uid: u32,
    },
    /// Over TCP.
    Tcp {
        /// Where the daemon listens.
        address: SocketAddr,
        /// Who may come.
        tokens: Arc<Tokens>,
    },
}

/// A place among the connections, held by each request that may outlast its connection.
#[derive(Clone)]
pub struct Place {
    _held: Arc<(OwnedSemaphorePermit, metrics::Connection)>,
}

impl Place {
    pub fn new(permit: OwnedSemaphorePermit, connection: metrics::Connection) -> Self {
        Self { _held: Arc::new((permit, connection)) }
    }
}

/// Who asks, once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose sandboxes are his.
    pub owner: String,
    /// Whether he may do what concerns the host and all owners: he could do so without the daemon.
    pub is_operator: bool,
}

impl Caller {
    /// Whoever this is, or why nobody is let in.
    pub fn of(way: &Way, headers: &HeaderMap) -> Outcome<Self> {
        match way {
            Way::Socket { uid } => Ok(Self { owner: agentkernel_api::owner_of(*uid), is_operator: true }),
            Way::Tcp { tokens, .. } => {
                let owner = bearer(headers).and_then(|token| tokens.owner(token));
                let refused = || {
                    Failure::new(
                        ErrorKind::Unauthorized,
                        "let the caller in",
                        "the token is missing or wrong",
                    )
                    .hint("send the header 'Authorization: Bearer TOKEN'")
                };
                Ok(Self { owner: owner.ok_or_else(refused)?.to_owned(), is_operator: false })
            }
        }
    }

    /// That he may do what concerns all owners.
    pub fn check_operator(&self) -> Outcome<()> {
        self.check("do what concerns all owners")
    }

    /// That he may name files, folders and images of the host.
    pub fn check_host_paths(&self, request: &agentkernel_api::SandboxRequest) -> Outcome<()> {
        if request.image.as_deref().is_some_and(|image| image != "host") {
            // What an engine keeps may be private.
            self.check("name an image of the host")
        } else if request.mounts.is_empty()
            && request.rootfs.is_none()
            && request.module.is_none()
            && request.unix_socket.is_none()
        {
            Ok(())
        } else {
            self.check("name a path of the host")
        }
    }

    fn check(&self, what: &str) -> Outcome<()> {
        if self.is_operator {
            return Ok(());
        }
        let failure = Failure::new(ErrorKind::Forbidden, what, "a token is not enough for that");
        Err(failure.hint("ask over the unix socket, as the user of the daemon"))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Outcome<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Failure::internal("the caller is not known"))
    }
}

impl<S: Sync> FromRequestParts<S> for Place {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Outcome<Self> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Failure::internal("the connection is not known"))
    }
}
