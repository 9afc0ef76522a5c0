//! How subcommands find the daemon, and ask it.

use agentkernel_api as api;
use agentkernel_client::{Address, Client, Error};
use agentkernel_core::{Error as CoreError, nearest};

use super::block_on;
use crate::environment::Environment;
use crate::errors::Failure;

/// The daemon of this environment, whether it is there or not.
pub fn client(environment: &Environment) -> Client {
    Client::new(Address::Unix(environment.socket()))
}

/// Asks the daemon something.
pub fn ask<T, F>(environment: &Environment, question: impl FnOnce(Client) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    block_on(question(client(environment)))
}

/// An error about a sandbox, with the way out where the name is not known.
pub async fn about(client: &Client, name: &str, error: Error) -> CoreError {
    let is_unknown = error.kind() == Some(api::ErrorKind::NoSuchSandbox);
    let error = CoreError::from(error);
    if !is_unknown || error.hint.is_some() {
        return error;
    }
    let known = client.list(true).await.unwrap_or_default().sandboxes;
    match nearest(name, known.iter().map(|sandbox| sandbox.name.as_str())) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("agentkernel ps -a lists the sandboxes that there are"),
    }
}

/// The same as a result.
pub async fn told<T>(client: &Client, name: &str, result: Result<T, Error>) -> Result<T, Failure> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(about(client, name, error).await.into()),
    }
}
