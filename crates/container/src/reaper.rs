//! Clean-up after programs that were killed.

use agentkernel_core::{Error, ErrorKind, Result};

use serde_json::Value;

use crate::api::{ContainerId, Engine, NAME_PREFIX};
use crate::owner::{self, Owner, Whose};
use agentkernel_http::{Content, Server};

/// Removes every container of ours whose owner is gone. What fails is left for the next time.
pub(crate) async fn reap(engine: &Engine, this: &Owner) {
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
        Err(why) if why.is(agentkernel_http::StatusCode::NOT_FOUND) => return Ok(()), // gone meanwhile
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
    is_gone: bool,
}

impl Doomed {
    pub(crate) fn new(engine: &Engine, id: ContainerId) -> Self {
        Self { server: engine.server().clone(), id, is_gone: false }
    }

    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Somebody else has seen to it.
    pub(crate) fn forget(mut self) {
        self.is_gone = true;
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        // A thread, for whoever drops this may be the last that the async runtime does. If the program ends before it
        // has, the end of the container's stdin ends it, too.
        let (server, id) = (self.server.clone(), self.id.clone());
        let remove = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                let path = format!("/v{}{}", crate::api::VERSION, crate::api::removal(&id));
                let asked = server.ask(
                    agentkernel_http::Method::DELETE,
                    &path,
                    Content::Nothing,
                    crate::api::SLOW_DEADLINE,
                );
                drop(runtime.block_on(asked));
            }
        };
        drop(std::thread::Builder::new().name("ak-remove".into()).spawn(remove));
    }
}
