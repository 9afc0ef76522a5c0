//! The place of a runtime in a backend.

use std::path::PathBuf;

use agentkernel_core::{Availability, Result};
use tokio::sync::OnceCell;

use super::{Engine, Memory, Runtime, ask, locate, seen_from_the_stage};
use crate::beside::beside;
use crate::paths::RuntimeDir;

/// A container runtime, looked for when it is needed.
pub(crate) struct EngineSlot {
    pub(crate) engine: Engine,
    folders: Vec<PathBuf>,
    found: OnceCell<Runtime>,
}

impl EngineSlot {
    pub(crate) fn new(engine: Engine, folders: &[PathBuf]) -> Self {
        Self { engine, folders: folders.to_vec(), found: OnceCell::new() }
    }

    /// What is known of it without asking or trying.
    pub(crate) fn glance(&self, memories: &RuntimeDir) -> Option<Availability> {
        match locate(self.engine, &self.folders) {
            Ok(program) => Memory::recall(memories, self.engine, &program)?.availability(),
            Err(unavailable) => Some(unavailable),
        }
    }

    pub(crate) async fn find(&self, memories: &RuntimeDir) -> Result<&Runtime, Availability> {
        let (engine, folders, memories) = (self.engine, self.folders.clone(), memories.clone());
        let find = || async move {
            let find = move || {
                let path = locate(engine, &folders).and_then(|path| seen_from_the_stage(engine, path))?;
                match Memory::recall(&memories, engine, &path) {
                    Some(memory) => Ok(memory.runtime),
                    None => ask(engine, path).inspect(|runtime| Memory::keep(&memories, runtime, None)),
                }
            };
            let found = beside(find).await;
            found.unwrap_or_else(|why| {
                Err(Availability::Unavailable { needs: why.to_string(), hint: "report this".into() })
            })
        };
        self.found.get_or_try_init(find).await
    }
}
