//! Clean-up after programs that were killed, and the container that is removed when nobody holds it.

use std::path::Path;
use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind};
use serde_json::Value;

use super::argv::{self, Argv, ContainerName};
use super::cli::{ANSWER_DEADLINE, CREATE_DEADLINE, Cli, SLOW_DEADLINE, Trouble};
use super::holder::{self, Holder};
use crate::owner::{OWNER, SANDBOX};

/// Whose a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Somebody else made it.
    Foreign,
    /// Ours, and its holder lives, or may live.
    Held,
    /// Ours, and its holder is gone.
    Abandoned,
}

/// Judges a container as it was listed or inspected.
pub(super) fn whose(container: &Value, folder: &Path) -> Whose {
    let labels = &container["configuration"]["labels"];
    if labels[SANDBOX].as_str().is_none() {
        return Whose::Foreign;
    }
    match labels[OWNER].as_str() {
        Some(holder) if holder::is_gone(folder, holder) => Whose::Abandoned,
        _ => Whose::Held,
    }
}

/// Removes every container of ours whose holder is gone, and what shows that holders are. What fails is left for the next
/// time.
pub(super) async fn reap(cli: &Cli, folder: &Path) {
    let Ok(listed) = cli.ask_json(argv::list(), ANSWER_DEADLINE).await else { return };
    let mut kept = Vec::new();
    for container in listed.as_array().into_iter().flatten() {
        let configuration = &container["configuration"];
        // An image can bring no labels along here; its container's name is looked at all the same.
        let name = configuration["id"].as_str().and_then(ContainerName::ours);
        if let Some(name) = name.filter(|_| whose(container, folder) == Whose::Abandoned)
            && cli.ask(argv::delete(&name), SLOW_DEADLINE).await.is_ok()
        {
            continue;
        }
        kept.extend(configuration["labels"][OWNER].as_str());
    }
    holder::tidy(folder, &kept);
}

/// Makes room for a container of this name, which is taken, or says who has it.
pub(super) async fn make_room(
    cli: &Cli,
    folder: &Path,
    name: &ContainerName,
    found: &Value,
) -> Result<(), Error> {
    let taken = |why: &str| Error::new(ErrorKind::NameTaken, "take the sandbox's name", why).on(name);
    match whose(found, folder) {
        Whose::Foreign => {
            let why = "a container of Apple's that is not ours has it, and is left alone";
            Err(taken(why).hint("choose another --name"))
        }
        Whose::Held => Err(taken("a live sandbox has it").hint("choose another --name, or leave it out")),
        Whose::Abandoned => match cli.ask(argv::delete(name), SLOW_DEADLINE).await {
            Ok(_) => Ok(()),
            Err(why) if why.is_not_found() => Ok(()), // gone meanwhile
            Err(why) => Err(why.error("remove what was left of it")),
        },
    }
}

/// A container that is ended and removed when this is dropped.
#[derive(Debug)]
pub(super) struct Doomed {
    cli: Cli,
    name: ContainerName,
    holder: Arc<Holder>,
    is_gone: bool,
}

impl Doomed {
    /// Makes it with these words. Whoever waits for that and gives up leaves it doomed, once it is there: a thread of its
    /// own makes it.
    pub(super) async fn make(
        cli: &Cli,
        name: &ContainerName,
        holder: &Arc<Holder>,
        words: Argv,
    ) -> Result<Self, Trouble> {
        let (cli, name, holder) = (cli.clone(), name.clone(), Arc::clone(holder));
        let make = move || {
            holder.leave_something();
            let made = cli.ask_now(&words, CREATE_DEADLINE);
            match made {
                Ok(_) => {
                    holder.is_settled();
                    Ok(Self { cli, name, holder, is_gone: false })
                }
                Err(why @ Trouble::Refused(_)) => {
                    holder.is_settled();
                    Err(why)
                }
                // The services behind the program may still make it.
                Err(why @ Trouble::NoAnswer(_)) => Err(why),
            }
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.map_err(|why| Trouble::NoAnswer(why.to_string()))?
    }

    /// One that was found, and is ours.
    pub(super) fn found(cli: &Cli, name: &ContainerName, holder: &Arc<Holder>) -> Self {
        Self { cli: cli.clone(), name: name.clone(), holder: Arc::clone(holder), is_gone: false }
    }

    pub(super) fn name(&self) -> &ContainerName {
        &self.name
    }

    pub(super) fn cli(&self) -> &Cli {
        &self.cli
    }

    /// Somebody else has seen to it.
    pub(super) fn forget(mut self) {
        self.is_gone = true;
    }

    /// It is there still, and nobody of us can remove it: the next start does.
    pub(super) fn leave(self) {
        self.holder.leave_something();
        self.forget();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        // A thread, for whoever drops this may be the last that the async runtime does. If the program ends before it
        // has, the end of the agent's stream ends the container, too.
        let (cli, name, holder) = (self.cli.clone(), self.name.clone(), Arc::clone(&self.holder));
        let remove = move || {
            if let Err(why) = cli.ask_now(&argv::delete(&name), SLOW_DEADLINE)
                && !why.is_not_found()
            {
                holder.leave_something();
            }
        };
        drop(std::thread::Builder::new().name("ak-remove".into()).spawn(remove));
    }
}
