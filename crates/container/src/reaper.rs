//! Clean-up after programs that were killed, and engines that were.

use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};

use serde_json::Value;

use crate::api::{ContainerId, Engine, NAME_PREFIX};
use crate::owner::{self, Claim, Lost, Owner, Whose};
use agentkernel_http::{Content, Method, Server, StatusCode};

/// Until a name that nobody has is asked for once more.
const PAUSE: Duration = Duration::from_millis(100);

/// Removes every container of ours whose owner is gone, and whatever is lost. What fails is left for the next time.
pub(crate) async fn reap(engine: &Engine, this: &Owner, lost: &Lost) {
    let Some(names) = lost.take() else { return };
    for name in names {
        // Podman that is killed may keep it in its storage alone, without a label, where it is in the way of the next of its name.
        let is_done = match engine.inspect(&name).await {
            Ok(_) => true, // its labels tell whose it is
            Err(why) => why.is_gone() && engine.remove_called(&name).await.is_ok(),
        };
        if !is_done {
            lost.add(name);
        }
    }
    let Ok(containers) = engine.ours().await else { return };
    for container in containers.as_array().into_iter().flatten() {
        // An image can bring labels along, and so give ours to the container of somebody else; its name it cannot.
        let is_named = container["Names"].as_array().into_iter().flatten().all(has_our_name);
        let is_abandoned = is_named && owner::whose(&container["Labels"], this) == Whose::Abandoned;
        if let Some(id) = container["Id"].as_str().and_then(ContainerId::parse).filter(|_| is_abandoned) {
            engine.remove(&id).await.ok();
        }
    }
}

fn has_our_name(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.trim_start_matches('/').starts_with(NAME_PREFIX))
}

/// Makes room for a container of this name, or says who has it.
pub(crate) async fn make_room(engine: &Engine, this: &Owner, name: &str) -> Result<()> {
    let taken = |why: String| Error::new(ErrorKind::NameTaken, "take the sandbox's name", why).on(name);
    let found = match engine.inspect(name).await {
        Ok(found) => found,
        Err(why) if why.is_gone() => {
            // Gone meanwhile, or about to be.
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        Err(why) => return Err(why.error(&engine.known, "take the sandbox's name")),
    };
    match owner::whose(&found["Config"]["Labels"], this) {
        Whose::Foreign => {
            let why = format!("a container of {} that is not ours has it, and is left alone", engine.kind());
            Err(taken(why).hint("choose another --name"))
        }
        Whose::Held => {
            Err(taken("a live sandbox has it".into()).hint("choose another --name, or leave it out"))
        }
        Whose::Abandoned => match found["Id"].as_str().and_then(ContainerId::parse) {
            Some(id) => {
                engine.remove(&id).await.map_err(|why| why.error(&engine.known, "remove what was left of it"))
            }
            None => Ok(()),
        },
    }
}

/// A container that is killed and removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Doomed {
    server: Server,
    id: ContainerId,
    /// None once somebody else has seen to it.
    claim: Option<Claim>,
}

impl Doomed {
    /// What was asked for by this claim. One that was not made may be there for all we know.
    pub(crate) fn of<E>(engine: &Engine, made: Result<ContainerId, E>, claim: Claim) -> Result<Self, E> {
        match made {
            Ok(id) => Ok(Self { server: engine.server().clone(), id, claim: Some(claim) }),
            Err(why) => {
                claim.lose();
                Err(why)
            }
        }
    }

    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Somebody else has seen to it.
    pub(crate) fn forget(mut self) {
        self.claim = None;
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        // A thread, for whoever drops this may be the last that the async runtime does. If the program ends before it
        // has, the end of the container's stdin ends it, too.
        let (server, id) = (self.server.clone(), self.id.clone());
        let remove = move || match remove(&server, &id) {
            true => drop(claim),
            false => claim.lose(),
        };
        drop(std::thread::Builder::new().name("ak-remove".into()).spawn(remove));
    }
}

/// Whether a container is certainly gone after this.
fn remove(server: &Server, id: &ContainerId) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return false;
    };
    let path = format!("/v{}{}", crate::api::VERSION, crate::api::removal(id.as_str()));
    let asked = server.ask(Method::DELETE, &path, Content::Nothing, crate::api::SLOW_DEADLINE);
    let answer = runtime.block_on(asked);
    answer.is_ok_and(|answer| answer.status.is_success() || answer.status == StatusCode::NOT_FOUND)
}
