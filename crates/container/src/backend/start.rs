//! One pass: create, attach, start.

use std::fs::Metadata;
use std::path::PathBuf;

use agentkernel_cgroup::Membership;
use agentkernel_core::{
    BackendKind, BindMount, DuplexStream, Error, ErrorKind, Posture, Result, SandboxSpec,
};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

use super::ContainerBackend;
use super::source::Source;
use crate::api::{ContainerId, Engine, container_name};
use crate::boundary::ContainerBoundary;
use crate::files;
use crate::owner::{self, Claim, Owner, ProcessId};
use crate::plan::{self, Facts, HostFolders, Plan};
use crate::posture::{self, Expected};
use crate::reaper::{self, Doomed};
use crate::stream::Attached;
use crate::trouble::Trouble;
use crate::watch::Watch;

/// What is being done, for errors.
const WHAT: &str = "start the sandbox";

/// Times that a container is asked for: an image may have to be made first, and a name to be freed, and another
/// program may undo either just then. A name is free after some tenths of a second, if Podman is just removing who had it.
const ATTEMPTS: u32 = 12;

/// The kernel's default of the highest number of a process, `PID_MAX_DEFAULT`.
const PID_MAX_DEFAULT: u64 = 1 << 15;

const TOO_FEW_IDS: &str = "this user has too few ids of his own: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, \
     and apt-get install uidmap; then podman system migrate; or run as root";

/// A container that runs.
pub(super) struct Started {
    pub(super) boundary: Box<ContainerBoundary>,
    pub(super) stream: Box<dyn DuplexStream>,
    /// What commands get of the image's own variables.
    pub(super) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) read_posture: Box<dyn FnOnce() -> Posture + Send>,
}

impl ContainerBackend {
    pub(super) async fn start(&self, engine: &Engine, spec: &SandboxSpec) -> Result<Started> {
        let owner =
            Owner::this().ok_or_else(|| Error::new(ErrorKind::Host, WHAT, "/proc is not readable"))?;
        // Once, and after an engine that failed us; whatever is in the way of a name is looked at by itself.
        reaper::reap(engine, &owner, &self.lost).await;
        let failed = |why: Trouble| why.error(&engine.known, WHAT);
        self.refuse_limits(engine, spec).await?;
        spec.mounts().iter().try_for_each(refuse_special)?;
        let source = self.source(engine, spec).await?;
        let claim = Claim::new(&self.lost, container_name(spec.name()));
        let plan = self.plan(spec, &owner, &claim, &source)?;
        let made = self.create(engine, spec, &owner, &plan, &source).await;
        let doomed = Doomed::of(engine, made, claim)?;
        let (attached, events) = tokio::join!(engine.attach(doomed.id()), engine.events(doomed.id()));
        let (stream, begun) = attached.map_err(|why| explain(engine, why, spec))?;
        let events = events.map_err(failed)?;
        let (stream, words) = Attached::new(stream, &begun);
        let watch = Watch::start(engine.clone(), doomed.id().clone(), events, words.clone(), spec.lifetime());
        engine.start(doomed.id()).await.map_err(|why| explain(engine, why, spec))?;
        let inspected = engine.inspect(doomed.id().as_str()).await.map_err(failed)?;
        let (init, group) = find_on_the_host(&inspected, doomed.id());
        let expected = Expected::new(spec, plan.told);
        let read_posture = {
            let (expected, group) = (expected.clone(), group.clone());
            Box::new(move || expected.check(&inspected, group.as_ref()))
        };
        let boundary = ContainerBoundary::new(engine.clone(), doomed, watch, init, group, expected);
        Ok(Started {
            boundary: Box::new(boundary),
            stream: Box::new(stream),
            env: source.env(),
            read_posture,
        })
    }

    fn plan(&self, spec: &SandboxSpec, owner: &Owner, claim: &Claim, image: &Source<'_>) -> Result<Plan> {
        let home = self.settings.runtime_dir.display().to_string();
        let filter = match self.kind {
            BackendKind::Podman => files::filter(&self.settings.runtime_dir).map_err(|why| {
                Error::new(ErrorKind::Host, "write the system call filter", why)
                    .on(self.settings.runtime_dir.display())
            })?,
            _ => PathBuf::new(),
        };
        let facts = Facts {
            kind: self.kind,
            filter,
            processes_max: processes_max(),
            image: image.name(),
            host: match image {
                Source::Host(_) => self.folders.clone(),
                Source::Named(_) => HostFolders::default(),
            },
            labels: owner::labels(spec.name().as_str(), &home, owner, claim)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        plan::container(spec, &facts)
    }

    /// Makes the container, and first what it needs.
    async fn create(
        &self,
        engine: &Engine,
        spec: &SandboxSpec,
        owner: &Owner,
        plan: &Plan,
        source: &Source<'_>,
    ) -> Result<ContainerId> {
        let name = container_name(spec.name());
        let mut asked = plan.body.clone();
        if let Some(weaken) = &self.weaken {
            weaken(&mut asked);
        }
        for _ in 0..ATTEMPTS {
            match engine.create(&name, asked.clone()).await {
                Ok(id) => return Ok(id),
                Err(why) if why.is_no_image() => self.provide(engine, owner, source).await?,
                Err(why) if why.is_conflict() => reaper::make_room(engine, owner, &name).await?,
                Err(why) => return Err(explain(engine, why, spec)),
            }
        }
        let why = "its image or its name is taken away as fast as it is made";
        Err(Error::new(ErrorKind::Boot, WHAT, why).on(engine.kind()))
    }

    /// Gives the engine its image, unless another boot of ours has done so meanwhile.
    async fn provide(&self, engine: &Engine, owner: &Owner, source: &Source<'_>) -> Result<()> {
        let _one_at_a_time = self.providing.lock().await;
        match engine.inspect_image(&source.name()).await {
            Ok(_) => Ok(()),
            Err(_) => source.provide(engine, owner, &self.lost).await,
        }
    }
}

/// Refuses what an engine would mount as it is: a socket or a device is a way out. What is not there is for the engine to say.
fn refuse_special(mount: &BindMount) -> Result<()> {
    let is_special = |facts: Metadata| !facts.is_dir() && !facts.is_file();
    if std::fs::metadata(mount.source()).is_ok_and(is_special) {
        let why = "only folders and regular files can be mounted";
        return Err(Error::new(ErrorKind::ControlRefused, WHAT, why)
            .on(format!("mount {}", mount.source().display()))
            .hint("a socket is given with --unix-socket"));
    }
    Ok(())
}

/// No user has more processes than his own limit, nor than there are numbers.
fn processes_max() -> u64 {
    let limit = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
    let numbers = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    limit.min(numbers.and_then(|text| text.trim().parse().ok()).unwrap_or(PID_MAX_DEFAULT))
}

/// An engine's refusal, with the way out where it is known.
fn explain(engine: &Engine, why: Trouble, spec: &SandboxSpec) -> Error {
    let text = why.to_string();
    let error = why.error(&engine.known, WHAT);
    // Docker's words, and Podman's.
    let is_missing = ["bind source path does not exist", "statfs /"].iter().any(|word| text.contains(word));
    if is_missing {
        let named = spec.mounts().iter().find(|mount| text.contains(&*mount.source().to_string_lossy()));
        return match named {
            Some(mount) => error.on(format!("mount {}", mount.source().display())),
            None => error.hint("the engine does not run on this host's files: use --backend oci"),
        };
    }
    let known: &[(&[&str], &str)] = &[
        (&["client version", "too new"], "agentkernel doctor says which version of the engine is needed"),
        (&["setting rlimit type 7"], "ask for fewer open files: the engine itself may not have so many"),
        // What runc says, and crun.
        (&["setup user: invalid argument"], TOO_FEW_IDS),
        (&["crun: cannot setres", "Invalid argument"], TOO_FEW_IDS),
    ];
    for (words, hint) in known {
        if words.iter().all(|word| text.contains(word)) {
            return error.hint(*hint);
        }
    }
    error
}

/// The container's first process and control group, if the engine runs on this host and has made one.
fn find_on_the_host(inspected: &Value, id: &ContainerId) -> (Option<ProcessId>, Option<Membership>) {
    let pid = posture::first_process(inspected);
    let group = pid.and_then(|pid| Membership::in_container(pid, id.as_str()));
    let init = pid.filter(|_| group.is_some()).and_then(ProcessId::of);
    (init, group)
}
