//! Of which image a container is made, and how the engine gets that.

use std::sync::Arc;

use agentkernel_core::{BackendKind, Error, ErrorKind, Image, ImageName, Result, SandboxSpec};
use serde_json::{Value, json};

use super::ContainerBackend;
use crate::api::Engine;
use crate::image::{self, Base, LABEL};
use crate::owner::{self, Claim, Lost, Owner};
use crate::reaper::Doomed;

/// Most of an image's variables that are passed on, bytes.
const ENV_MAX: usize = 64 << 10;

/// Where a root comes from.
pub(super) enum Source<'a> {
    /// From this host, on an image of ours.
    Host(Base<'a>),
    /// From an image that the engine keeps.
    Named(Extended),
}

/// Somebody else's image, to which the agent is added.
pub(super) struct Extended {
    image: ImageName,
    id: String,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    workspace_mode: u32,
}

impl ContainerBackend {
    /// Finds out what a description means by its image.
    pub(super) async fn source(&self, engine: &Engine, spec: &SandboxSpec) -> Result<Source<'_>> {
        let workspace_mode = if self.kind == BackendKind::Podman { 0o1777 } else { 0o755 };
        let Image::Named(name) = spec.image() else {
            return Ok(Source::Host(Base { folders: &self.folders, user: spec.user(), workspace_mode }));
        };
        let what = "find the image";
        let found = engine.inspect_image(name.as_str()).await.map_err(|why| {
            if why.is_no_image() {
                let why = format!("{} does not have it, and nothing is fetched for a sandbox", self.kind);
                return Error::new(ErrorKind::Boot, what, why)
                    .on(name)
                    .hint(format!("{0} pull {name}, or of a file {0} load -i FILE", self.kind));
            }
            why.error(&engine.known, what)
        })?;
        refuse_volumes(name, &found)?;
        let id =
            found["Id"].as_str().ok_or_else(|| Error::new(ErrorKind::Boot, what, "it has no id").on(name))?;
        let (image, id, env) = (name.clone(), id.to_owned(), env_of(&found["Config"]["Env"]));
        Ok(Source::Named(Extended { image, id, env, workspace_mode }))
    }
}

/// A volume is a place on the host's disk that can be written to without a limit.
fn refuse_volumes(name: &ImageName, found: &Value) -> Result<()> {
    let volumes =
        found["Config"]["Volumes"].as_object().map(|volumes| volumes.keys().cloned().collect::<Vec<_>>());
    let volumes = volumes.filter(|volumes| !volumes.is_empty());
    volumes.map_or(Ok(()), |volumes| {
        let why = format!("it has volumes ({}), which have no limit", volumes.join(", "));
        Err(Error::new(ErrorKind::ControlRefused, "start the sandbox", why)
            .on(format!("image {name}"))
            .hint("use an image without VOLUME"))
    })
}

/// An image's variables, for commands alone. One that is no variable is left out.
pub(crate) fn env_of(list: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut room = ENV_MAX;
    let entries = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    entries
        .filter_map(|entry| entry.split_once('='))
        .filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0'))
        .take_while(|(name, value)| {
            let left = room.checked_sub(name.len() + value.len());
            room = left.unwrap_or(0);
            left.is_some()
        })
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

impl Source<'_> {
    /// The image that has the agent.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Host(base) => base.name(),
            Self::Named(extended) => image::extended_name(&extended.id, extended.workspace_mode),
        }
    }

    /// Variables that the image has for commands.
    pub(super) fn env(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Host(_) => Vec::new(),
            Self::Named(extended) => extended.env.clone(),
        }
    }

    /// Gives it to the engine.
    pub(super) async fn provide(&self, engine: &Engine, owner: &Owner, lost: &Arc<Lost>) -> Result<()> {
        match self {
            Self::Host(base) => provide(engine, base).await,
            Self::Named(extended) => extended.provide(engine, owner, lost, &self.name()).await,
        }
    }
}

impl Extended {
    /// Adds the agent in a container that is never started.
    async fn provide(&self, engine: &Engine, owner: &Owner, lost: &Arc<Lost>, name: &str) -> Result<()> {
        let what = "add the guest agent to the image";
        let failed = |why: crate::trouble::Trouble| why.error(&engine.known, what).on(&self.image);
        let tar =
            image::extension(self.workspace_mode).map_err(|why| Error::new(ErrorKind::Host, what, why))?;
        let mut bits = [0; 8];
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())
            .map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
        let container = format!("agentkernel-import-{:016x}", u64::from_le_bytes(bits));
        let claim = Claim::new(lost, container.clone());
        let labels = owner::labels("import", "", owner, &claim);
        let body = match engine.kind() {
            BackendKind::Podman => json!({
                "image": self.id, "labels": labels, "command": ["x"], "netns": {"nsmode": "none"},
                "image_volume_mode": "ignore",
            }),
            _ => json!({"Image": self.id, "Labels": labels, "Cmd": ["x"], "NetworkDisabled": true}),
        };
        let doomed = Doomed::of(engine, engine.create(&container, body).await, claim).map_err(failed)?;
        engine.upload(doomed.id(), tar).await.map_err(failed)?;
        engine.commit(doomed.id(), name, &image::label()).await.map_err(failed)?;
        engine.remove(doomed.id()).await.map_err(failed)?;
        doomed.forget();
        Ok(())
    }
}

/// Gives the engine our image, and takes older ones away.
async fn provide(engine: &Engine, base: &Base<'_>) -> Result<()> {
    let what = "give the engine its base image";
    let tar = base.tar().map_err(|why| Error::new(ErrorKind::Host, what, why))?;
    let own = base.name();
    engine.import(&own, &image::label(), tar).await.map_err(|why| why.error(&engine.known, what))?;
    let Ok(images) = engine.images(LABEL).await else { return Ok(()) };
    for image in images.as_array().into_iter().flatten().filter(|image| image::is_outdated(image, &own)) {
        if let Some(id) = image["Id"].as_str() {
            // One that a container has stays; whoever wants one that is gone makes it again.
            engine.remove_image(id).await.ok();
        }
    }
    Ok(())
}
