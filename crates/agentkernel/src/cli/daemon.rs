//! How subcommands find the daemon, and ask it.

use std::time::Duration;

use agentkernel_api as api;
use agentkernel_client::{Client, Error};
use agentkernel_core::{Error as CoreError, nearest};

use super::block_on;
use crate::environment::Environment;
use crate::errors::Failure;

/// How long a daemon that failed may take to say of which version it is.
const VERSION_DEADLINE: Duration = Duration::from_secs(2);

/// Asks the daemon of this environment something.
pub fn ask<T, F>(environment: &Environment, question: impl FnOnce(Client) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let client = Client::new(environment.daemon()?);
    block_on(async {
        match question(client.clone()).await {
            Err(Failure::Daemon(error)) => Err(explained(environment, &client, *error).await.into()),
            answer => answer,
        }
    })
}

/// An error of the daemon's, with the way out that only the program knows.
pub async fn explained(environment: &Environment, client: &Client, error: Error) -> CoreError {
    let hint = match (&error, error.kind()) {
        (Error::NoDaemon(_), _) if environment.is_daemon_named() => Some(
            "AGENTKERNEL_URL names this daemon: start it there, or unset the variable to use your own".into(),
        ),
        (_, Some(api::ErrorKind::Unauthorized)) => Some(
            "AGENTKERNEL_API_KEY is what follows the colon in a line of the daemon's file of tokens".into(),
        ),
        (Error::Refused(refused), Some(api::ErrorKind::Gone)) => start_hint(refused),
        (Error::Broken(_), _) => other_daemon(environment, client).await,
        (_, Some(kind)) if may_be_another_version(kind) => other_daemon(environment, client).await,
        _ => None,
    };
    let error = CoreError::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// How to have a sandbox once more that has ended.
fn start_hint(refused: &api::Error) -> Option<String> {
    let sandbox = refused.sandbox.as_ref().filter(|sandbox| !sandbox.run)?;
    Some(format!("agentkernel start {} makes it once more, without its files", sandbox.name))
}

/// Whether a daemon of another version may refuse so what one of ours would do.
fn may_be_another_version(kind: api::ErrorKind) -> bool {
    use api::ErrorKind as Kind;
    matches!(kind, Kind::Usage | Kind::NotFound | Kind::MethodNotAllowed | Kind::NotSupported | Kind::Other)
}

/// That what answers is a daemon of another version, or none at all, if it is.
async fn other_daemon(environment: &Environment, client: &Client) -> Option<String> {
    let ours = env!("CARGO_PKG_VERSION");
    match tokio::time::timeout(VERSION_DEADLINE, client.info()).await {
        Ok(Ok(info)) if info.version == ours => None,
        Ok(Ok(info)) => Some(format!(
            "the daemon is agentkernel {}, and this is {ours}: end it with agentkernel shutdown, and start it again",
            info.version
        )),
        _ if environment.is_daemon_named() => {
            Some("AGENTKERNEL_URL names what answers there: look whether it is a daemon's address".into())
        }
        _ => None,
    }
}

/// An error about a sandbox, with the way out where the name is not known.
pub async fn about(client: &Client, name: &str, error: Error) -> Failure {
    let has_hint = matches!(&error, Error::Refused(refused) if refused.hint.is_some());
    if error.kind() != Some(api::ErrorKind::NoSuchSandbox) || has_hint {
        return error.into();
    }
    let known = client.list(true).await.unwrap_or_default().sandboxes;
    let error = CoreError::from(error);
    let error = match nearest(name, known.iter().map(|sandbox| sandbox.name.as_str())) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("agentkernel ps -a lists the sandboxes that there are"),
    };
    error.into()
}

/// The same as a result.
pub async fn told<T>(client: &Client, name: &str, result: Result<T, Error>) -> Result<T, Failure> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(about(client, name, error).await),
    }
}
