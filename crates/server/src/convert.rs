//! From the words of the API to what is meant, and back.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use agentkernel_api as api;
use agentkernel_api::{CommandRequest, CommandResult, SandboxRequest, StdinMode, Word};
use agentkernel_core::{
    Access, BindMount, CauseOfDeath, Command, CommandUser, ExitStatus, Exited, HostSocket, Image, Limits,
    Phases, Profile, SandboxName, SandboxSpec, Stdin, TerminalSize, Usage, User, WarmUp,
};
use agentkernel_runtime::BackendRequest;
use agentkernel_runtime::config::{self, Layer};

use crate::clock;
use crate::failure::{Failure, Outcome};

/// A century: more is a mistake, and would overflow clocks further down.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What a sandbox of this owner's is to be, and in which backend. Time is kept by the daemon, and so no part of it.
pub fn spec(
    request: &SandboxRequest,
    name: SandboxName,
    owner: &str,
) -> Outcome<(BackendRequest, SandboxSpec)> {
    let settings = config::Files::default().resolve(&Layer::default(), &layer(request)?);
    let mut spec = SandboxSpec::builder(name, settings.profile).image(settings.image).limits(settings.limits);
    if let Some(user) = word("sandbox.user", request.user.as_deref())? {
        spec = spec.user(user);
    }
    if let Some(hostname) = word("sandbox.hostname", request.hostname.as_deref())? {
        spec = spec.hostname(hostname);
    }
    spec = spec.emulate(request.emulate);
    let argv = request.warm_up.iter().map(|word| word.as_bytes().to_vec()).collect();
    spec = spec.warm_up(Some(WarmUp { argv, owner: owner.to_owned() }));
    for (index, one) in request.mounts.iter().enumerate() {
        spec = spec.mount(mount(index, one)?);
    }
    if let Some(socket) = &request.unix_socket {
        spec = spec.host_socket(Some(host_socket(socket)?));
    }
    for (name, value) in &request.env {
        check_variable("sandbox.env", name, value)?;
    }
    Ok((settings.backend, spec.build()?))
}

fn layer(request: &SandboxRequest) -> Outcome<Layer> {
    let image = request.image.as_deref().map(config::parse_image).transpose();
    let image = image.map_err(|why| Failure::usage("sandbox.image", why))?;
    let rootfs = request.rootfs.as_ref().map(rootfs).transpose()?;
    let module = request.module.as_ref().map(module).transpose()?;
    if usize::from(image.is_some()) + usize::from(rootfs.is_some()) + usize::from(module.is_some()) > 1 {
        return Err(Failure::usage("sandbox", "only one of image, rootfs and module can be given"));
    }
    let pids = request.pids.as_deref().map(config::parse_pids).transpose();
    Ok(Layer {
        backend: word("sandbox.backend", request.backend.as_deref())?,
        image: module.or(rootfs).or(image),
        profile: word("sandbox.profile", request.profile.as_deref())?,
        cpus: word("sandbox.cpus", request.cpus.as_deref())?,
        memory: word("sandbox.memory", request.memory.as_deref())?,
        pids: pids.map_err(|why| Failure::usage("sandbox.pids", why))?,
        disk: word("sandbox.disk", request.disk.as_deref())?,
        output_limit: None,
        timeout: None,
    })
}

fn word<T: FromStr<Err: Display>>(place: &str, text: Option<&str>) -> Outcome<Option<T>> {
    text.map(str::parse).transpose().map_err(|why| Failure::usage(place, why))
}

fn rootfs(path: &Word) -> Outcome<Image> {
    let path = path_of(path);
    let wrong = |why: &dyn Display| Failure::usage(format!("sandbox.rootfs: {}", path.display()), why);
    if !path.is_absolute() {
        return Err(wrong(&"it is not an absolute path"));
    }
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Ok(Image::Rootfs(path.to_owned())),
        Ok(_) => Err(wrong(&"it is not a folder")),
        Err(why) => Err(wrong(&why)),
    }
}

fn module(path: &Word) -> Outcome<Image> {
    let path = path_of(path);
    let wrong = |why: &dyn Display| Failure::usage(format!("sandbox.module: {}", path.display()), why);
    if !path.is_absolute() {
        return Err(wrong(&"it is not an absolute path"));
    }
    agentkernel_runtime::module_file(path).map(Image::Module).map_err(|error| wrong(&error.why))
}

fn mount(index: usize, mount: &api::Mount) -> Outcome<BindMount> {
    let place = || format!("sandbox.mounts[{index}]");
    let (source, target) = (path_of(&mount.source), path_of(&mount.target));
    let access = if mount.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let mount = BindMount::new(source, target, access).map_err(|why| Failure::usage(place(), why))?;
    let missing = |why| Failure::usage(place(), format!("{}: {why}", source.display()));
    fs::metadata(source).map_err(missing)?;
    Ok(mount)
}

/// Whether anybody listens there shows when somebody connects: whoever does may come and go.
fn host_socket(socket: &api::UnixSocket) -> Outcome<HostSocket> {
    let path = path_of(&socket.host_path);
    HostSocket::new(path, &socket.name).map_err(|why| Failure::usage("sandbox.unix_socket", why))
}

fn path_of(word: &Word) -> &Path {
    Path::new(OsStr::from_bytes(word.as_bytes()))
}

/// A name that the user gave.
pub fn name(text: &str) -> Outcome<SandboxName> {
    text.parse().map_err(|why: String| Failure::usage("sandbox.name", why))
}

/// A time that the user gave.
pub fn time(place: &str, time_ms: Option<u64>) -> Outcome<Option<Duration>> {
    match time_ms.map(Duration::from_millis) {
        Some(Duration::ZERO) => Err(Failure::usage(place, "it is no time at all; the shortest is 1")),
        Some(time) if time > TIME_MAX => Err(Failure::usage(place, "it is more than a century")),
        other => Ok(other),
    }
}

/// A command, on top of the variables of its sandbox.
pub fn command(request: &CommandRequest, env: &BTreeMap<String, Word>, profile: Profile) -> Outcome<Command> {
    if request.argv.first().is_none_or(|program| program.as_bytes().is_empty()) {
        return Err(Failure::usage("command.argv", "the command's name is empty"));
    }
    if request.argv.iter().any(|word| word.as_bytes().contains(&0)) {
        return Err(Failure::usage("command.argv", "a word cannot contain NUL"));
    }
    let mut command = Command::new(request.argv.iter().map(agentkernel_api::Word::as_bytes));
    let mut merged = env.clone();
    for (name, value) in &request.env {
        check_variable("command.env", name, value)?;
        merged.insert(name.clone(), value.clone());
    }
    command.env = merged.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
    command.cwd = request.cwd.as_ref().map(|path| absolute("command.cwd", path)).transpose()?;
    command.user = user(request, profile)?;
    command.stdin = match request.stdin {
        StdinMode::None => Stdin::Null,
        StdinMode::Pipe => Stdin::Pipe,
    };
    command.terminal = request.terminal.map(terminal);
    command.timeout = time("command.timeout_ms", request.timeout_ms)?;
    Ok(command)
}

fn user(request: &CommandRequest, profile: Profile) -> Outcome<Option<CommandUser>> {
    let user: Option<User> = word("command.user", request.user.as_deref())?;
    if user.is_some_and(|user| user.uid == 0) && profile != Profile::Permissive {
        let failure = Failure::usage("command.user", "root is refused in the sandbox's profile");
        return Err(failure.hint("make the sandbox with the profile permissive"));
    }
    Ok(user.map(|User { uid, gid }| CommandUser { uid, gid }))
}

fn check_variable(place: &str, name: &str, value: &Word) -> Outcome<()> {
    let place = || format!("{place}.{}", name.escape_debug());
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Failure::usage(place(), "a variable's name is not empty and has neither '=' nor NUL"));
    }
    if value.as_bytes().contains(&0) {
        return Err(Failure::usage(place(), "a value cannot contain NUL"));
    }
    Ok(())
}

/// An absolute path in the sandbox.
pub fn absolute(place: &str, path: &Word) -> Outcome<Vec<u8>> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') || bytes.contains(&0) {
        return Err(Failure::usage(place, "it is not an absolute path in the sandbox"));
    }
    Ok(bytes.to_vec())
}

/// The size of a terminal.
pub fn terminal(size: api::TerminalSize) -> TerminalSize {
    TerminalSize { rows: size.rows, cols: size.cols }
}

/// Limits, as they are written on the command line.
pub fn limits(limits: &Limits) -> api::Limits {
    api::Limits {
        memory: limits.memory.to_string(),
        cpus: limits.cpus.to_string(),
        pids: limits.pids.to_string(),
        disk: limits.disk.to_string(),
    }
}

/// Phases and their residual.
pub fn phases(phases: &Phases) -> api::Phases {
    let ns = |time: Option<Duration>| time.map(clock::nanoseconds);
    api::Phases {
        queue_ns: ns(phases.queue),
        acquire_ns: ns(phases.acquire),
        boot_ns: ns(phases.boot),
        ready_ns: ns(phases.ready),
        exec_ns: ns(phases.exec),
        stop_ns: ns(phases.stop),
        residual_ns: ns(Some(phases.residual())),
        total_ns: ns(Some(phases.total)),
    }
}

/// What was used.
pub fn usage(usage: &Usage) -> api::Usage {
    api::Usage {
        user_ns: clock::nanoseconds(usage.user),
        system_ns: clock::nanoseconds(usage.system),
        wall_ns: clock::nanoseconds(usage.wall),
        max_rss_kib: usage.max_rss_kib,
    }
}

/// What is known of a command that has ended.
pub fn exited(exited: &Exited) -> CommandResult {
    let (exit_code, signal) = match exited.status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
    };
    CommandResult {
        exit_code,
        signal,
        timed_out: exited.timed_out,
        usage: Some(usage(&exited.usage)),
        ..CommandResult::default()
    }
}

/// A cause of death.
pub fn cause(cause: CauseOfDeath) -> api::CauseOfDeath {
    match cause {
        CauseOfDeath::Exited => api::CauseOfDeath::Exited,
        CauseOfDeath::Killed => api::CauseOfDeath::Killed,
        CauseOfDeath::Timeout => api::CauseOfDeath::Timeout,
        CauseOfDeath::Idle => api::CauseOfDeath::Idle,
        CauseOfDeath::OutOfMemory => api::CauseOfDeath::OutOfMemory,
        CauseOfDeath::BoundaryCrashed => api::CauseOfDeath::BoundaryCrashed,
        CauseOfDeath::HostPressure => api::CauseOfDeath::HostPressure,
        CauseOfDeath::Shutdown => api::CauseOfDeath::Shutdown,
    }
}
