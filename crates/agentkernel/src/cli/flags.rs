//! What a sandbox is to be: the flags that `run`, `create` and `pool` have in common.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use agentkernel_core::{
    Access, BindMount, ByteSize, CpuCount, Error, ErrorKind, Image, Limit, Profile, WarmUp,
};
use agentkernel_core::{BackendKind, HostSocket, Result, SandboxName, SandboxSpec, User};
use agentkernel_runtime::config::{self, Layer, Settings};
use agentkernel_runtime::{BackendRequest, run};

use super::words::OneOf;
use crate::environment::Environment;

/// What --backend may say.
pub const BACKENDS: &[&str] = &{
    let mut words = ["auto"; BackendKind::ALL.len() + 1];
    let mut at = 0;
    while at < BackendKind::ALL.len() {
        words[at + 1] = BackendKind::ALL[at].as_str();
        at += 1;
    }
    words
};
/// What --profile may say.
pub const PROFILES: &[&str] = &["restrictive", "moderate", "permissive"];

/// What a sandbox is to be.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SandboxFlags {
    /// What holds the sandbox; auto is the strongest boundary that works here [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = OneOf::new(BACKENDS, BackendRequest::from_str))]
    backend: Option<BackendRequest>,

    /// Root file system: host is the programs of this host without its files; others are images that docker,
    /// podman or apple has, such as docker.io/library/busybox [default: host]
    #[arg(long, value_name = "IMAGE", value_parser = config::parse_image)]
    image: Option<Image>,

    /// Use the folder DIR as root file system, read-only, instead of an image
    #[arg(long, value_name = "DIR", conflicts_with = "image")]
    rootfs: Option<PathBuf>,

    /// Run the Wasm module in FILE instead of Linux programs; the command's words are its arguments
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "rootfs"])]
    module: Option<PathBuf>,

    /// Defaults of the limits below, and whether root is allowed [default: restrictive]
    #[arg(long, value_name = "PROFILE", value_parser = OneOf::new(PROFILES, Profile::from_str))]
    profile: Option<Profile>,

    /// Mount a file or folder of this host, read-write unless :ro is said. May be repeated
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro]")]
    volume: Vec<OsString>,

    /// Serve a unix socket of this host inside, as /run/agentkernel/NAME. Bytes pass, and nothing else
    #[arg(long, value_name = "HOST_PATH:NAME")]
    unix_socket: Option<OsString>,

    /// Run as this user of the sandbox; root needs --profile permissive [default: 65532:65532]
    #[arg(long, value_name = "UID[:GID]|root")]
    user: Option<User>,

    /// Processors, for example 1.5, or unlimited [default: 1; moderate 2; permissive 4]
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Limit<CpuCount>>,

    /// Memory, in bytes or with K, M, G, T, or unlimited [default: 512M; moderate 2G; permissive 8G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Limit<ByteSize>>,

    /// Processes and threads, or unlimited [default: 256; moderate 1024; permissive 4096]
    #[arg(long, value_name = "NUMBER", value_parser = config::parse_pids)]
    pids: Option<Limit<u32>>,

    /// Size of each writable place, in bytes or with K, M, G, T [default: 1G; moderate 4G; permissive 16G]
    #[arg(long, value_name = "SIZE")]
    disk: Option<ByteSize>,

    /// Have /bin/sh run SCRIPT in it once before it is handed out: a warm sandbox while it waits, another before its
    /// first command. What it leaves stays; if it fails, so does the start
    #[arg(long, value_name = "SCRIPT")]
    warm_up: Option<OsString>,

    /// What it calls itself: a-z, 0-9 and -. Such a sandbox is never a warm one [default: random]
    #[arg(long, value_name = "NAME")]
    hostname: Option<SandboxName>,

    /// With --backend qemu: emulate the machine in software, without KVM; not a security boundary
    #[arg(long)]
    emulate: bool,
}

/// A complaint about what was typed.
pub fn usage(place: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, "read the command line", why).on(place)
}

impl SandboxFlags {
    /// Those of a module, with no more than can be said of it.
    pub fn of_module(
        backend: Option<BackendRequest>,
        module: &Path,
        memory: Option<Limit<ByteSize>>,
    ) -> Self {
        Self { backend, module: Some(module.to_owned()), memory, ..Self::default() }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        let Self {
            backend,
            image,
            rootfs,
            module,
            profile,
            volume,
            unix_socket,
            user,
            cpus,
            memory,
            pids,
            disk,
            warm_up,
            hostname,
            emulate,
        } = self;
        backend.is_none()
            && image.is_none()
            && rootfs.is_none()
            && module.is_none()
            && profile.is_none()
            && volume.is_empty()
            && unix_socket.is_none()
            && user.is_none()
            && cpus.is_none()
            && memory.is_none()
            && pids.is_none()
            && disk.is_none()
            && warm_up.is_none()
            && hostname.is_none()
            && !emulate
    }

    /// The layer of these flags.
    pub fn layer(&self, environment: &Environment) -> Result<Layer> {
        let rootfs = self.rootfs.as_deref().map(|path| rootfs(path, environment)).transpose()?;
        let module = self.module.as_deref().map(|path| module(path, environment)).transpose()?;
        Ok(Layer {
            backend: self.backend,
            image: module.or(rootfs).or_else(|| self.image.clone()),
            profile: self.profile,
            cpus: self.cpus,
            memory: self.memory,
            pids: self.pids,
            disk: self.disk,
            ..Layer::default()
        })
    }

    /// What it is to call itself, if that was said.
    pub fn hostname(&self) -> Option<&SandboxName> {
        self.hostname.as_ref()
    }

    /// The description, with what the layers together say. What it calls itself does not depend on its name, as it
    /// does not in a daemon, whose warm sandboxes are older than the names that they are given.
    pub fn spec(
        &self,
        name: Option<&SandboxName>,
        environment: &Environment,
        settings: &Settings,
    ) -> Result<SandboxSpec> {
        let random = run::random_name()?;
        let mut spec = SandboxSpec::builder(name.unwrap_or(&random).clone(), settings.profile)
            .image(settings.image.clone())
            .limits(settings.limits)
            .emulate(self.emulate)
            .lifetime(run::lifetime(settings.timeout));
        if self.hostname.is_some() || name.is_some() {
            spec = spec.hostname(self.hostname.clone().unwrap_or(random));
        }
        if let Some(user) = self.user {
            spec = spec.user(user);
        }
        for text in &self.volume {
            spec = spec.mount(mount(text, environment)?);
        }
        if let Some(text) = &self.unix_socket {
            spec = spec.host_socket(Some(unix_socket(text, environment)?));
        }
        if let Some(script) = &self.warm_up {
            let words = [b"/bin/sh", &b"-c"[..], script.as_bytes()];
            let owner = agentkernel_api::owner_of(rustix::process::geteuid().as_raw());
            spec = spec.warm_up(Some(WarmUp { argv: words.map(<[u8]>::to_vec).to_vec(), owner }));
        }
        spec.build()
    }
}

/// Refuses a backend that was named and runs no Wasm modules, which is `what` was wanted of it.
pub fn check_runs_modules(backend: BackendRequest, what: &str) -> Result<()> {
    match backend {
        BackendRequest::Auto | BackendRequest::Named(BackendKind::Wasm | BackendKind::Hyperlight) => Ok(()),
        BackendRequest::Named(_) => {
            let error = Error::new(ErrorKind::NotSupported, what, "it runs Linux programs alone");
            Err(error.on(backend).hint("use --backend wasm, or hyperlight"))
        }
    }
}

/// What holds with these flags, in this environment.
pub fn settings(flags: &Layer, environment: &Environment) -> Result<Settings> {
    let files = config::Files::read(&environment.config_paths())?;
    Ok(files.resolve(&environment.layer()?, flags))
}

fn rootfs(path: &Path, environment: &Environment) -> Result<Image> {
    let path = environment.absolute(path)?;
    let place = || format!("--rootfs {}", path.display());
    let facts = path.metadata().map_err(|why| usage(place(), why))?;
    if !facts.is_dir() {
        return Err(usage(place(), "it is not a folder"));
    }
    Ok(Image::Rootfs(path))
}

/// The module in a file that may be named relative to the working directory.
pub fn module(path: &Path, environment: &Environment) -> Result<Image> {
    agentkernel_runtime::module_file(&environment.absolute(path)?).map(Image::Module)
}

/// Reads `SRC:DST[:ro]`. Paths are bytes, and SRC may be relative to the working directory.
fn mount(text: &OsStr, environment: &Environment) -> Result<BindMount> {
    let place = || format!("-v {}", text.display());
    let parts: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b':').collect();
    let (source, target, access) = match parts[..] {
        [source, target] | [source, target, b"rw"] => (source, target, Access::ReadWrite),
        [source, target, b"ro"] => (source, target, Access::ReadOnly),
        [_, _, option] => {
            let why = format!("'{}' is not a mount option; use ro or rw", option.escape_ascii());
            return Err(usage(place(), why));
        }
        _ => return Err(usage(place(), "it is not a mount; write SRC:DST or SRC:DST:ro")),
    };
    if source.is_empty() || target.is_empty() {
        return Err(usage(place(), "it is not a mount; write SRC:DST or SRC:DST:ro"));
    }
    let source = environment.absolute(Path::new(OsStr::from_bytes(source)))?;
    source.metadata().map_err(|why| usage(place(), format!("{}: {why}", source.display())))?;
    BindMount::new(&source, Path::new(OsStr::from_bytes(target)), access).map_err(|why| usage(place(), why))
}

/// Reads `HOST_PATH:NAME`. The path is bytes, may contain colons, and may be relative to the working directory.
fn unix_socket(text: &OsStr, environment: &Environment) -> Result<HostSocket> {
    let place = || format!("--unix-socket {}", text.display());
    let bytes = text.as_bytes();
    let colon = bytes.iter().rposition(|byte| *byte == b':');
    let parts = colon.map(|at| (&bytes[..at], &bytes[at + 1..])).filter(|(path, _)| !path.is_empty());
    let (path, name) =
        parts.ok_or_else(|| usage(place(), "it is not a socket and a name; write HOST_PATH:NAME"))?;
    let path = environment.absolute(Path::new(OsStr::from_bytes(path)))?;
    let facts = path.metadata().map_err(|why| usage(place(), format!("{}: {why}", path.display())))?;
    if !facts.file_type().is_socket() {
        return Err(usage(place(), format!("{} is not a socket", path.display())));
    }
    HostSocket::new(&path, &String::from_utf8_lossy(name)).map_err(|why| usage(place(), why))
}
